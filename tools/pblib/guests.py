# SPDX-License-Identifier: BSD-2-Clause
"""Operating systems and programs that users bring, each until it has done its work: Debian's three kernels, with
command lines people type, stress-ng and memtester, CPUs taken away and given back, kexec, memtest86+, Xen with a dom0,
Mach. Tested by being the guests group of `make check`."""
import os
import re
import threading

from pblib import config, linuxlog, session, steps
from pblib.linux import OUT, boot, judge_linux
from pblib.steps import HEAVY, IMAGE, Step, emulator

_making = threading.Lock()


def obtain(results, *names):
    """Builds or fetches these files of the output folder. False, and a skip, where the distribution has no such
    package; False, and a failure, where it has and it cannot be had."""
    targets = [os.path.join(OUT, n) for n in names]
    with _making:
        code, output = steps.run_command(["make", "--no-print-directory", "O=" + OUT] + targets, 900)
    results.log(output)
    if code != 0 and "this distribution has no package" in output:
        results.skip(re.search(r"this distribution has no package.*", output).group(0))
        return False
    return results.expect(code == 0, "cannot make %s" % ", ".join(names))


# --- Linux ----------------------------------------------------------------------------------------
def linux(name, script="smoke", kernel="vmlinuz", initrd="initrd.gz", append="", ops=5, hv="audit=2", nproc=None,
          allow=None, status=session.OK, **fields):
    """A step. nproc: CPUs that Linux must find, if not all. allow: pattern of lines that would be complaints
    elsewhere. status: how the run ends."""

    def action(results):
        if not obtain(results, "cache/" + kernel, initrd):
            return
        run = config.Run(kernel=os.path.join(OUT, "cache", kernel), initrd=os.path.join(OUT, initrd), hv=hv,
                         append=("console=ttyS0 pb.script=%s pb.ops=%d %s" % (script, ops, append)).strip(), direct=True,
                         test=True, timeout=900, own_initrd=True, **fields)
        s = boot(results, "guests-" + name, run)
        if s is None:
            return
        if allow:
            s.lines = [line for line in s.lines if not re.search(allow, line)]
        results.expect(s.status == status, "status %s, not %s: %s" % (s.status, status, s.reason))
        s.status = session.OK if s.status == status else s.status
        run.smp = nproc or run.smp
        judge_linux(results, s, run, dict(word.partition("=")[::2] for word in hv.split()))

    return Step("guests/" + name, action, IMAGE, emulator(fields.get("smp", 4)))


# --- memtest86+: its screen on the serial line ----------------------------------------------------
class Screen:
    """The text of a terminal that is only told where to write."""

    CODE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b.")

    def __init__(self, columns=80, rows=25):
        self.columns, self.rows = columns, rows
        self.cells = [[" "] * columns for _ in range(rows)]
        self.row = self.column = 0
        self._held = ""

    def write(self, data):
        text = self._held + data.decode("latin-1")
        self._held = ""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                match = self.CODE.match(text, at)
                if not match:  # the rest of it comes with the next bytes
                    self._held = text[at:]
                    return
                at = match.end()
                if match.group(2) in ("H", "f"):
                    numbers = [int(n) if n.isdigit() else 1 for n in (match.group(1) or "1;1").split(";")] + [1]
                    self.row, self.column = numbers[0] - 1, numbers[1] - 1
                continue
            self._put(text[at])
            at += 1

    def _put(self, character):
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row += 1
        elif character >= " ":
            if 0 <= self.row < self.rows and 0 <= self.column < self.columns:
                self.cells[self.row][self.column] = character
            self.column += 1

    def lines(self):
        return ["".join(row).rstrip() for row in self.cells]

    def find(self, pattern):
        """The first group of a pattern, or None."""
        match = re.search(pattern, "\n".join(self.lines()))
        return match.group(1) if match else None


def memtest(results):
    """Every test but the last, which only waits: all CPUs in parallel, and no error."""
    if not obtain(results, "cache/memtest"):
        return
    screen, seen = Screen(), set()

    def done(data):
        screen.write(data)
        test = screen.find(r"#(\d+) ")
        if test is not None:
            seen.add(int(test))
        return 10 in seen or screen.find(r"Errors: *([1-9]\d*)") is not None or screen.find(r"Pass: *([1-9]\d*)")

    run = config.Run(kernel=os.path.join(OUT, "cache/memtest"), append="console=ttyS0,115200 nobench nosm keyboard=legacy",
                     hv="audit=2 mem=64", direct=True, test=True, timeout=1200)
    s = boot(results, "guests-memtest", run, done)
    if s is None:
        return
    results.log("\n".join(screen.lines()))
    results.expect(s.status == session.OK, "status %s: %s" % (s.status, s.reason))
    results.expect(screen.find(r"SMP: (4T) "), "it does not use 4 CPUs")
    results.expect(screen.find(r"Errors: *(0)\b"), "it reports errors")
    # They come in order; a short one may come and go between two updates of the screen, the sixth is long.
    results.expect(seen >= {6, 10}, "tests seen: %s" % sorted(seen))


# --- Xen ------------------------------------------------------------------------------------------
def xen(results):
    """Debian's Xen brings up 4 CPUs, builds a dom0 of Debian's Linux, paravirtual and with its own page tables under
    Xen's control, and that runs a verified load and powers the machine off. smap=0: QEMU 7.2 pops IRET's frame with
    supervisor rights, so that a dom0 dies of SMAP there, on the bare emulator as well."""
    if not obtain(results, "cache/xen", "cache/vmlinuz", "initrd.gz"):
        return
    # Xen takes a module's first word for its file name.
    modules = "%s role=initrd -- placeholder console=hvc0 pb.script=load pb.ops=2, %s role=initrd" % (
        os.path.join(OUT, "cache/vmlinuz"), os.path.join(OUT, "initrd.gz"))
    run = config.Run(kernel=os.path.join(OUT, "cache/xen"), modules=modules, hv="audit=1", direct=True, test=True,
                     append="smap=0 cpuidle=0 com1=115200 console=com1 loglvl=all noreboot", timeout=1200)
    s = boot(results, "guests-xen", run)
    if s is None:
        return
    for pattern in (r"Brought up 4 CPUs", r"Xen-e820 RAM map", r"Building a PV Dom0", r"^pb: nproc 4", r"^pb: session ok",
                    r"Entering ACPI S5 state"):
        results.expect(any(re.search(pattern, line) for line in s.lines), "nothing says '%s'" % pattern)
    results.expect(s.status == session.OK, "status %s: %s" % (s.status, s.reason))
    stats = s.stats[-1] if s.stats else None
    problems = linuxlog.check_stats(stats, {"audit": "1"}, run.smp)
    results.expect(not problems, "statistics: " + "; ".join(problems))


# 32-bit kernels measure it against the PIT once, and an emulator that loses its CPU in those milliseconds fails that.
PM_TIMER = r"PM-Timer running at invalid rate"

def mach(results):
    """GNU Mach, two-level paging and segments with limits, to where it misses the servers it was not given."""
    if not obtain(results, "cache/mach"):
        return
    text = bytearray()

    def done(data):
        text.extend(data)
        return b"No bootstrap code loaded" in text

    run = config.Run(kernel=os.path.join(OUT, "cache/mach"), append="console=com0", hv="audit=2", smp=2, mem=512,
                     direct=True, test=True, timeout=600)
    s = boot(results, "guests-mach", run, done)
    if s is not None:
        results.expect(s.status == session.OK, "status %s: %s" % (s.status, s.reason))
        results.expect(b"GNU Mach" in text and b"RTC time is" in text, "it does not say what it should")


STEPS = [
    # Three paging modes: PAE, two levels, and four (in the linux group).
    linux("686-pae", "full", "vmlinuz-686-pae", "initrd-i386.gz", ops=10, allow=PM_TIMER),
    linux("686", "full", "vmlinuz-686", "initrd-i386.gz", ops=10, allow=PM_TIMER),
    linux("rt", kernel="vmlinuz-rt"),  # PREEMPT_RT
    linux("stress", "stress", initrd="initrd-tools.gz"),
    linux("hotplug", "hotplug", ops=10, allow=r"smpboot: CPU \d is now offline"),
    # The old kernel's timer interrupt is still on its way.
    linux("kexec", "kexec", initrd="initrd-kexec.gz", allow="Spurious LAPIC timer interrupt"),
    # The MP table, the PIT and the 8259 instead of ACPI; a reset by the keyboard controller, as there is no S5.
    linux("acpi-off", append="acpi=off no_timer_check pb.end=reboot", status=session.RESET),
    linux("noapic", append="noapic"),
    linux("nolapic", "load", append="nolapic", nproc=1, smp=2),
    linux("pti", append="pti=on maxcpus=2 mem=300M hugepages=8 nokaslr", nproc=2),
    Step("guests/memtest", memtest, IMAGE, HEAVY),
    Step("guests/mach", mach, IMAGE),
    Step("guests/xen", xen, IMAGE, HEAVY),
]
