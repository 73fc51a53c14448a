# SPDX-License-Identifier: BSD-2-Clause
"""What must not be in the console of a Linux guest, and what must be in the statistics after it.
Tested by tools/tests/test_pblib.py."""
import re

# Complaints of the kernel about CPUs, timers, interrupt controllers, or itself. Linux measures the PM timer once, for a few
# ms, against another clock: on a busy host a clock that is right seems a third too fast. One that is wrong is so by more.
# It looks for a step back, too, and takes a wrap of the 24 bits for one if its two reads are more than 0xfff ticks (1.1 ms)
# apart, as they are when the host runs something else in between.
WRAPPED = r"inconsistent results: 0xff[0-9a-f]{4}, 0x[0-9a-f]{1,4}\b"
COMPLAINTS = [re.compile(p) for p in (
    r"Kernel panic|Oops:|\bBUG:|WARNING: CPU|Call Trace:|general protection fault|unable to handle|invalid opcode:",
    r"soft lockup|hard LOCKUP|rcu.*(stall|INFO:)|blocked for more than|watchdog: BUG",
    r"TSC.*(unstable|unsynchroni[sz]ed|unreliable|warp|disabled)|Marking clocksource|timekeeping watchdog",
    r"(?i)calibrat\w*.*(fail|disagree|disabl|unable|bad)|unable to calibrate|PIT calibration (?!matches)",
    r"(?i)PM-?Timer (failed|had(?! " + WRAPPED + r")|running at invalid rate: (\d\d?|[2-9]\d\d|\d{4,})%)|APIC frequency too slow|APIC timer disabled",
    r"(?i)CPU\s?#?\d+.*(not responding|failed|stuck|unresponsive|offline)|do_boot_cpu failed",
    r"(?i)smpboot:.*(fail|bad|bogus|not)|more processors than|nr_cpus.*exceed",
    r"(?i)MP-BIOS bug|timer doesn't work|trying to set up timer as|\.\.\.\s*failed",
    r"(?i)APIC error|spurious.*(interrupt|APIC)|nobody cared|lost.*interrupt|No irq handler for vector",
    r"(?i)IO-?APIC.*(fail|invalid|broken|disabl|not connected)|x2apic.*(fail|unsupported|disabled by)",
    r"(?i)ACPI (BIOS )?(Error|Warning|Exception)|ACPI: .*(Unable to|Invalid|[Bb]ad checksum)",
    r"(?i)unchecked MSR|mtrr: your CPUs|mtrr.*(inconsist|BIOS bug)|\[Firmware (Bug|Warn)\]",
    r"(?i)Unstable clock|clocksource.*unstable|clock skew",
    r"(?i)segfault|traps: .*trap|Bad page|corrupt",
)]


# QEMU 10's `-cpu max` is an AMD processor of family 6, an Athlon to a 32-bit kernel, which warns with a trace that such
# are not for SMP; bare as well. What other processors it warns of is still a complaint.
ATHLON = re.compile(r"smpboot: CPU0: AMD QEMU .*family: 0x6,")
ATHLON_TRACE = re.compile(r"WARNING: This combination of AMD processors is not suitable for SMP")
END_OF_TRACE = re.compile(r"---\[ end trace")


def complaints(lines):
    """The lines the kernel should not have printed."""
    found = []
    athlon = any(ATHLON.search(line) for line in lines)
    expected = False  # in the trace of that warning
    for line in lines:
        if line.startswith(("pb: irq:", "patchbay-stats:")):
            continue
        expected |= athlon and bool(ATHLON_TRACE.search(line))
        if expected:
            expected = not END_OF_TRACE.search(line)
            continue
        if any(p.search(line) for p in COMPLAINTS):
            found.append(line)
    return found


def total(stats, name):
    """A counter summed over the CPUs."""
    if name in stats.get("total", {}):
        return stats["total"][name]
    return sum(cpu.get(name, 0) for cpu in stats.get("cpus", []))


# Options that save exits a kernel's habits would cost, and what counts them.
FORESEEN = (("reload", "reloads"), ("fresh", "fresh"), ("dying", "dying"))


def unforeseen(stats, options):
    """Which of these never happened although they are on? 64-bit Linux with processes that come and go has all."""
    off = {name for name, _ in FORESEEN if options.get(name) == "off"}
    if options.get("mmu") == "ref":  # it keeps no tables, and so has no code at hand either
        return []
    if options.get("unsync") == "off":
        off.add("fresh")
    return [name for name, counter in FORESEEN if name not in off and not total(stats, counter)]


def check_stats(stats, options, ncpus):
    """Problems in one stats line, given the options (name -> value) and the number of CPUs."""
    if not stats or "error" in stats:
        return [stats.get("error", "empty") if stats else "no patchbay-stats line"]
    problems = []

    def want(condition, text):
        if not condition:
            problems.append(text)

    def n(name):
        return total(stats, name)

    want(n("audit_findings") == 0, "audit_findings %d" % n("audit_findings"))
    want(n("parked") == 0, "parked %d" % n("parked"))
    want(n("fill_single") > 0, "no fills: was this a shadow pager?")
    if options.get("mmu", "shadow") == "ref":
        # The reference pager keeps nothing across events: no trace, no channel, nothing to audit.
        want(n("trace_installs") == 0 and n("posts") == 0, "mmu=ref and the shadow pager was at work")
        return problems
    if int(options.get("audit", 0)) > 0:
        want(n("audits") > 0, "audit=%s and no audit ran" % options["audit"])
    want(n("traced_writes") > 0, "no traced write")
    want(n("trace_installs") > 0, "no trace installed")
    if ncpus > 1:
        for name in ("posts", "drains", "patches_applied", "doorbells"):
            want(n(name) > 0, "%s is 0 with %d CPUs" % (name, ncpus))
    if options.get("interest") == "off":
        want(n("skips") == 0, "interest=off and %d skips" % n("skips"))
    elif ncpus > 1:
        want(n("skips") > 0, "the interest rule never skipped")
    if options.get("unsync") == "off":
        # Upper tables and stores that cannot be emulated still pass through the same word, to be dropped.
        want(n("unsync_in") == 0, "unsync=off and %d leaf tables went unsync" % n("unsync_in"))
    else:
        want(n("unsync_in") > 0, "no page ever went unsync")
    if options.get("derived", "off") != "on":
        want(n("derived_used") == 0, "derived=off and %d derived values used" % n("derived_used"))
    if options.get("pool") == "64":
        want(n("reclaims") > 0, "64 shadow pages and none was reclaimed")
    if options.get("large") == "off":
        want(n("fill_large") == 0, "large=off and %d large fills" % n("fill_large"))
    if options.get("batch") == "off":
        want(n("fill_batch") == 0, "batch=off and %d batch fills" % n("fill_batch"))
    for name, counter in FORESEEN:
        if options.get(name) == "off":
            want(n(counter) == 0, "%s=off and %s is %d" % (name, counter, n(counter)))
    if options.get("postpone") == "off":
        want(n("patches_postponed") == 0, "postpone=off and %d postponed" % n("patches_postponed"))
    return problems
