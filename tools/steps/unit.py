# SPDX-License-Identifier: BSD-2-Clause
"""hv/ on the host, and the tools' own tests. Run by tools/check.py."""
import glob
import os
import sys

from pblib import ktap, steps
from pblib.linux import LOGS, OUT
from pblib.steps import ALONE, HEAVY, Step
from steps.build import MAKE, quiet

SANITIZER_ENV = {
    "ASAN_OPTIONS": "abort_on_error=0:detect_leaks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


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


def micro(results):
    """The microbenchmarks once: they end, each patch of the pair arrives, every table has its figures."""
    results.command(MAKE + ["O=" + OUT, "micro"], 600)
    output = results.command([sys.executable, "tools/benchmicro.py", "2"], 300)
    for word in ("pair-throughput, million/s", "drain-empty, ns", "fill, batch", "448 page tables", "shadow pools"):
        results.expect(word in output, "no line with '%s'" % word)


STEPS = [  # what builds in the output folder is alone; of the short ones beside others, one at a time builds there
    Step("unit/asan", host_tests("host"), weight=ALONE, quick=True, bound=7200),
    Step("unit/tsan", host_tests("tsan"), weight=ALONE, quick=True, bound=7200),
    Step("unit/sim", simulator, weight=ALONE, quick=True, bound=7200),
    Step("unit/coverage", coverage, weight=ALONE),
    Step("unit/micro", micro, weight=HEAVY, shares=("make",)),
    Step("unit/fuzz", fuzz, shares=("make",), packages=("clang", "libclang-rt-dev")),
    Step("unit/tools", python_tests, quick=True),
]
