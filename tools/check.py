#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs the checks: check.py [GROUP...], groups: build lint unit model guest bochs linux guests boot badinput console
monitor gdb docs; a step's name, or its beginning from the group on (linux/co). Prints each step, keeps logs in build/logs, and ends with
"N passed, N failed"; the exit status is 0 only if nothing failed. Time limits are bounds against hanging, never
assertions. Tested by .ci/run."""
import glob
import json
import os
import re
import shutil
import sys

from pblib import (badinput, cite, consoles, docs, gdbsteps, guests, kinds, ktap, lifeline, lint, menu, models, monitor,
                   registers, steps, typist)
from pblib.linux import LOGS, OUT, guest_tests, linux, paused, tasks_stopped, terminal
from pblib.steps import Step

PACKAGES = {  # group, toolchain or step -> packages that a distribution may lack
    "clang": ("clang",), "unit/fuzz": ("clang", "libclang-rt-dev"), "model/explored": ("spin",), "gdb": ("gdb",),
    "bochs": ("bochs", "bochsbios", "vgabios"),
}
JOBS = str(os.cpu_count() or 2)
MAKE = ["make", "--no-print-directory", "-j" + JOBS]
SANITIZER_ENV = {
    "ASAN_OPTIONS": "abort_on_error=0:detect_leaks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


# --- builds ---------------------------------------------------------------------------------------
def quiet(results, output):
    results.expect(" warning: " not in output, "the build prints warnings")


def kept(results, elf):
    """What compilers call without being told to: dropped by link-time optimisation, the next version's link fails. And what
    debuggers stop at by name."""
    names = set(re.findall(r" [Tt] (\w+)$", results.command(["nm", elf], 60), re.M))
    for name in ("memcpy", "memmove", "memset", "memcmp", "strlen", "exit_dispatch", "subvmm_run", "subvmm_end"):
        results.expect(name in names, "%s has no %s" % (elf, name))


def build(toolchain, out, targets):
    def action(results):
        steps.needs_package(OUT, *PACKAGES.get(toolchain, ()))
        quiet(results, results.command(MAKE + ["O=" + out, "TOOLCHAIN=" + toolchain] + targets(out), 1200))
        kept(results, out + "/patchbay.elf")

    return action


def hypervisor(out):
    return ["all", out + "/patchbay.elf32"]


def everything(out):
    return hypervisor(out) + ["guest", out + "/cache/vmlinuz", out + "/initrd.gz"]


def iso(results):
    """The distributed image."""
    if os.path.exists(OUT + "/patchbay.iso"):
        os.remove(OUT + "/patchbay.iso")
    quiet(results, results.command(MAKE + ["O=" + OUT, OUT + "/patchbay.iso"], 600))


def reproducible(results):
    """The image, its ELF file and the initramfs come out the same in another folder."""
    again = steps.second_folder(OUT)
    results.command(MAKE + ["O=" + again, again + "/patchbay.iso"], 600)
    for name in ("patchbay.elf", "initrd.gz", "patchbay.iso"):
        pair = []
        for out in (OUT, again):
            with open(os.path.join(out, name), "rb") as f:
                pair.append(f.read())
        results.expect(pair[0] == pair[1], "%s differs between two builds" % name)
    shutil.rmtree(again)


# --- host tests -----------------------------------------------------------------------------------
def host_tests(flavour):
    """One step per sanitizer: builds what builds, runs every test, counts each TAP line."""

    def action(results):
        tsan = flavour == "tsan"
        names = sorted(os.path.basename(p)[:-2] for p in glob.glob("tools/tests/test_*.c"))
        names = [n for n in names if n.endswith("_tsan") == tsan]
        if "test_decode" in names and "libzydis-dev" in steps.missing_packages(OUT):
            names.remove("test_decode")
            results.skip("test_decode: this distribution has no package libzydis-dev")
        results.expect(names, "no host tests of this kind")
        paths = ["%s/%s/%s" % (OUT, flavour, n) for n in names]
        output = results.command(MAKE + ["-k", "O=" + OUT] + paths, 1800, text="not every host test builds")
        quiet(results, output)
        for path in paths:
            run_host_test(results, path)

    return action


def run_host_test(results, path):
    name = os.path.basename(path)
    code, output = steps.run_command([path], 900, SANITIZER_ENV)
    results.log("$ %s\n%s\nstatus %s" % (path, output, code))
    report = ktap.parse(output)
    results.report(name, report)
    if report.ok:
        results.expect(code == 0, "%s: status %s" % (name, code))


def python_tests(results):
    """The tools' own tests."""
    for path in sorted(glob.glob("tools/tests/test_*.py")):
        code, output = steps.run_command([sys.executable, path], 300, {"PYTHONPATH": "tools"})
        results.log(output)
        results.report(os.path.basename(path), ktap.parse(output))
        results.expect(code == 0, "%s: status %s" % (path, code))


def simulator(results):
    """A million steps of random SMP guests on the pager under sanitizers, half of them with two-slot channels."""
    programs = ["%s/%s/sim" % (OUT, flavour) for flavour in ("sim", "sim2")]
    results.command(MAKE + ["O=" + OUT] + programs, 1200)
    for path in programs:
        code, output = steps.run_command([path, "steps=500000"], 1800, SANITIZER_ENV)
        results.log("$ %s\n%s\nstatus %s" % (path, output, code))
        results.report(path, ktap.parse(output))
        results.expect(code == 0, "%s: status %s" % (path, code))


def coverage(results):
    """Line coverage of hv/ by the host tests; hv/coherency and hv/mmu must reach 90 %."""
    results.command([sys.executable, "tools/cov.py"], 1800)


def fuzz(results):
    """A bounded run of each fuzzer from its corpus, which stays as it is; longer ones by hand (tools/README.md)."""
    names = sorted(os.path.basename(p)[:-2] for p in glob.glob("tools/tests/fuzz_*.c"))
    paths = ["%s/fuzz/%s" % (OUT, n) for n in names]
    results.command(MAKE + ["-k", "O=" + OUT] + paths, 1200, text="not every fuzzer builds")
    for path in paths:
        found = path + ".found"  # new inputs go here
        os.makedirs(found, exist_ok=True)
        seeds = [d for d in ["tools/tests/corpus/" + os.path.basename(path)[5:]] if os.path.isdir(d)]
        results.command([path, "-runs=50000", "-max_len=8192", "-seed=1", "-max_total_time=60",
                         "-artifact_prefix=%s/" % LOGS, found] + seeds, 300)


def bench_tool(results):
    """The benchmark from end to end with a few operations of each kind: every figure is there, and the exits that
    cannot be avoided are counted. No figure is judged."""
    results.command([sys.executable, "tools/bench.py", "--rounds=1", "--smp=2", "--scale=0.004", "--name=check-bench"], 600)
    with open(os.path.join(OUT, "check-bench.json"), encoding="ascii") as f:
        found = {"%s/%d" % (x["op"], x["workers"]): x["contestants"] for x in json.load(f)["operations"]}
    results.expect(len(found) >= 12, "too few operations: %s" % " ".join(found))
    for label, one in found.items():
        if results.expect(set(one) == {"bare", "patchbay"}, "%s was not done by both" % label):
            results.expect(one["patchbay"]["wall_us"]["median"] > 0, "%s took no time" % label)
    for label, kind, least in (("cpuid/1", "CPUID", 1), ("mprotect/1", "INVLPG", 2), ("touch/1", "PF", 1)):
        seen = found.get(label, {}).get("patchbay", {}).get("exits", {}).get(kind, 0)
        # The handshake's own share is subtracted, which may be one too many of a few.
        results.expect(seen >= least * 0.75, "%s: %s exits an operation: %s, not %d" % (label, kind, seen, least))
    results.expect(os.path.exists(os.path.join(OUT, "check-bench.svg")), "no plot")


def count_tool(results):
    """The exact counts: no more than 3 % over the recorded ones (tools/bench-count.json)."""
    output = results.command([sys.executable, "tools/benchcount.py", "budget", "--ops", "cpuid fork mmap1 mprotect touch cow"], 900)
    results.expect("budget: 6 operations, 0 over" in output, "a count is over its budget")


def micro(results):
    """The microbenchmarks once: they end, each patch of the pair arrives, every table has its figures."""
    results.command(MAKE + ["O=" + OUT, "micro"], 600)
    output = results.command([sys.executable, "tools/benchmicro.py", "2"], 300)
    for word in ("pair-throughput, million/s", "drain-empty, ns", "fill, batch", "448 page tables", "shadow pools"):
        results.expect(word in output, "no line with '%s'" % word)


def explore_models(results):
    """Each run is one check. In the console: what was explored, and within which bounds (DEEP=1: larger ones)."""
    output = results.command(["tools/model/run.sh"], 36000 if os.environ.get("DEEP") else 3600)
    lines = output.splitlines()
    results.passed += sum(line.startswith("ok: ") for line in lines)
    for line in lines:
        if line.startswith("FAILED"):
            results.fail(line)
    results.expect(lines and "bad variants refuted" in lines[-1], "the models gave no summary")
    print("\n".join(lines), flush=True)


def lint_step(function):
    def action(results):
        problems = function(OUT)
        for text in problems:
            results.fail(text)
        if not problems:
            results.passed += 1

    return action


# --- the list -------------------------------------------------------------------------------------
MODES = [  # one option each away from the default
    "coherency=locked", "coherency=shootdown", "overflow=shootdown", "consumers=all", "interest=off", "derived=on",
    "unsync=off", "postpone=off", "batch=off", "large=off",
    "reload=off fresh=off dying=off", "mmu=ref", "pcid=off invpcid=off",
]


def all_steps():
    image = ("build/gcc",)
    s = [
        Step("build/gcc", "build", build("gcc", OUT, everything), alone=True),
        Step("build/clang", "build", build("clang", OUT + "/clang", hypervisor), alone=True),
        Step("build/image", "build", iso, image),
        Step("build/reproducible", "build", reproducible, ("build/image",)),
    ]
    s += [Step("lint/" + name, "lint", lint_step(function), image if built else ())
          for name, function, built in lint.CHECKS]
    s += [
        Step("unit/asan", "unit", host_tests("host"), alone=True),
        Step("unit/tsan", "unit", host_tests("tsan"), alone=True),
        Step("unit/sim", "unit", simulator, alone=True),
        Step("unit/coverage", "unit", coverage, alone=True),
        Step("unit/micro", "unit", micro),
        Step("unit/fuzz", "unit", fuzz),
        Step("unit/tools", "unit", python_tests),
        Step("lint/cite", "lint", lint_step(cite.problems)),
        Step("lint/registers", "lint", lint_step(registers.problems)),
        Step("lint/docs", "lint", lint_step(docs.problems_of), image),
        Step("lint/model-map", "lint", lint_step(models.problems)),
        Step("model/map", "model", lint_step(models.problems)),
        Step("model/explored", "model", explore_models),
    ]
    for smp in (1, 2, 4):
        s.append(Step("guest/bare-%d" % smp, "guest", guest_tests("guest-bare-%d" % smp, smp, True), image))
    for smp in (1, 2, 4):
        s.append(Step("guest/hosted-%d" % smp, "guest", guest_tests("guest-hosted-%d" % smp, smp, False, mem=512), image))
    for hv in ("audit=3", "coherency=locked", "coherency=shootdown", "unsync=off", "interest=off derived=on"):
        name = "hosted-" + hv.replace("=", "-").replace(" ", "-")
        s.append(Step("guest/" + name, "guest", guest_tests("guest-" + name, 4, False, hv, mem=512), image))
    # Stores that cannot go unsync stay emulated: what shows a compare-exchange that is not one.
    for name, words, hv in (("race-emulated", "test=race.* scale=4", "unsync=off"),
                            ("resurrect", "test=trans.resurrect scale=10", "")):
        s.append(Step("guest/" + name, "guest", guest_tests("guest-" + name, 4, False, hv, append=words, mem=512), image))
    # The same tests as 32-bit guests with PAE and two-level tables, and modes mixed; by multiboot; above 4 GiB.
    for kind in ("pae", "32"):
        for smp, bare in ((2, True), (1, False), (4, False)):
            name = "%s-%s-%d" % (kind, "bare" if bare else "hosted", smp)
            s.append(Step("guest/" + name, "guest", guest_tests(
                "guest-" + name, smp, bare, mem=256 if bare else 512, image="tests-%s.bin" % kind), image))
        s.append(Step("guest/%s-audit" % kind, "guest", guest_tests(
            "guest-%s-audit" % kind, 4, False, "audit=3", "test=modes.*", mem=512, image="tests-%s.bin" % kind), image))
    s.append(Step("guest/pae-multiboot", "guest", guest_tests(
        "guest-pae-multiboot", 2, False, append="test=smp.*", mem=512, image="tests-pae.elf"), image))
    for name, kind in (("tests.bin", "64"), ("tests-pae.bin", "pae"), ("tests-32.bin", "32")):
        s.append(Step("guest/above-4g-" + kind, "guest", guest_tests(
            "guest-above-4g-" + kind, 2, False, append="test=memory.*", mem=6144, image=name,
            machine="q35" if kind == "64" else "pc"), image))
    # Hardware task switches exit under Bochs only.
    s.append(Step("guest/tasks-stopped", "guest", tasks_stopped, image))
    for kind in ("pae", "32"):
        s.append(Step("bochs/tasks-" + kind, "bochs", guest_tests(
            "bochs-tasks-" + kind, 2, False, append="watchdog=4 test=task.* tasks=1", bochs=True,
            image="tests-%s.bin" % kind), image))
    # TSC 100 MHz: the watchdog's second is 25 there.
    for smp in (1, 2):
        for kind, words in (("bare", "watchdog=4 bochs=1"), ("hosted", "watchdog=4")):
            name = "%s-%d" % (kind, smp)
            s.append(Step("bochs/" + name, "bochs", guest_tests(
                "bochs-" + name, smp, kind == "bare", append=words, bochs=True), image))
    for kind in ("pae", "32"):
        for how, words in (("bare", "watchdog=4 bochs=1"), ("hosted", "watchdog=4")):
            name = "%s-%s-1" % (kind, how)
            s.append(Step("bochs/" + name, "bochs", guest_tests(
                "bochs-" + name, 1, how == "bare", append=words, bochs=True, image="tests-%s.bin" % kind), image))
    s.append(Step("bochs/linux-1", "bochs", linux("bochs-linux-1", "smoke", ops=5, smp=1, mem=512, emu="bochs"), image))
    s += [
        Step("linux/full-4", "linux", linux("linux-full-4", "full", "audit=2", 100, timeout=1500), image),
        Step("linux/cpus-1", "linux", linux("linux-cpus-1", "full", "audit=2", 20, smp=1), image),
        Step("linux/cpus-2", "linux", linux("linux-cpus-2", "full", "audit=2", 20, smp=2), image),
    ]
    # Trap 32: shadow pages and roots go while they are in use.
    s.append(Step("linux/bench", "linux", bench_tool, image))
    s.append(Step("linux/count", "linux", count_tool, image))
    s.append(Step("linux/reclaim", "linux", linux("linux-reclaim", "full", "audit=2 pool=64", 20, smp=2), image))
    # Two MOV CR3 a system call, most of which flush nothing.
    s.append(Step("linux/pti", "linux", linux("linux-pti", "smoke", "audit=2", 10, append="pti=on", smp=2), image))
    s.append(Step("linux/paused", "linux", paused, image))
    for mode in MODES:
        name = "linux-" + mode.replace("=", "-").replace(" ", "-")
        s.append(Step("linux/" + mode, "linux", linux(name, "smoke", "audit=2 " + mode, 10), image))
    s += boot_steps(image)
    s += [Step("boot/" + name, "boot", action, ("build/image",)) for name, action in menu.CASES]
    s += [Step("boot/" + name, "boot", action, image) for name, action in kinds.CASES]
    s += [Step("guests/" + name, "guests", action, image) for name, action in guests.CASES]
    s += [Step("badinput/" + name, "badinput", action, image) for name, action in badinput.CASES]
    s += [Step("console/" + name, "console", action, image) for name, action in consoles.CASES + typist.CASES]
    s += [Step("monitor/" + name, "monitor", action, image) for name, action in monitor.CASES]
    s += [Step("gdb/" + name, "gdb", action, image) for name, action in gdbsteps.CASES]
    s.append(Step("docs/commands", "docs", docs.commands(OUT, lambda: {step.name for step in all_steps()}), image))
    return s


def boot_steps(image):
    def step(name, **fields):
        return Step("boot/" + name, "boot", linux("boot-" + name, fields.pop("script", "smoke"), **fields), image)

    return [
        step("cpus-8", smp=8, ops=10, timeout=1200),
        step("uefi", fw="uefi", smp=2, ops=5),
        step("usb", usb=True, smp=2, ops=5),
        step("multiboot1", direct=True, smp=2, ops=5),
        step("q35", machine="q35", smp=2, ops=5),
        step("qemu64", cpu="qemu64", smp=2, ops=5),
        step("memory-6g", mem=6144, smp=2, ops=5),
        step("bare", bare=True, script="full", ops=100),
        Step("boot/terminal-exit", "boot", terminal(False, {"SMP": "4", "NAME": "terminal-1"}), image),
        Step("boot/terminal-escape", "boot", terminal(True, {"SMP": "1", "NAME": "terminal-2"}), image + ("boot/terminal-exit",)),
    ]


def main():
    os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "KERNEL", "INITRD", "APPEND", "MODULES", "HV", "SMP", "MEM",
                 "TIMEOUT", "SILENCE", "LOG", "FW", "EMU", "TEST", "CPU", "MACHINE", "USB", "BARE", "DIRECT", "NAME"):
        os.environ.pop(name, None)
    os.environ["O"] = OUT
    lifeline.end_with_callers(lambda: os._exit(2))  # not by an exception, which would wait for the steps' threads
    # One version and date for every build of this check, whatever is committed meanwhile.
    for name, args in (("VERSION", ["describe", "--always", "--dirty"]), ("SOURCE_DATE_EPOCH", ["log", "-1", "--format=%ct"])):
        code, text = steps.run_command(["git"] + args, 60)
        if code == 0:
            os.environ.setdefault(name, text.strip())
    wanted = sys.argv[1:]
    chosen = steps.choose(all_steps(), wanted)
    if not chosen:
        print("check: no step is called %s" % " ".join(wanted))
        return 2
    needed = {n for s in chosen for n in s.needs}
    chosen = [s for s in all_steps() if s.name in needed and s.name not in {c.name for c in chosen}] + chosen
    for step in chosen:
        step.packages = PACKAGES.get(step.group, ()) + PACKAGES.get(step.name, ())
    os.makedirs(LOGS, exist_ok=True)
    runner = steps.Runner(chosen, LOGS, emit=lambda text: print(text, flush=True))
    good = runner.run()
    print("%d passed, %d failed%s" % (runner.passed, runner.failed, ", %d skipped" % runner.skipped if runner.skipped else ""))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
