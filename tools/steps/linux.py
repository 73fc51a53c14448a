# SPDX-License-Identifier: BSD-2-Clause
"""Debian's Linux with scripted sessions, one boot a step, and the benchmarks' tools. Run by tools/check.py."""
import json
import os
import sys

from pblib.linux import OUT, linux, paused
from pblib.steps import HEAVY, IMAGE, Skip, Step, emulator


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
    """The exact counts: no more than 3 % over the recorded ones (tools/bench-count.json), where the compiler is the one
    they were recorded with: another one, with its system's kernel, counts otherwise."""
    if results.command(["gcc", "-dumpversion"], 60).strip().split(".")[0] != COUNTED_WITH:
        raise Skip("the counts are recorded with Debian 12's gcc %s and kernel" % COUNTED_WITH)
    output = results.command([sys.executable, "tools/benchcount.py", "budget", "--ops", "cpuid fork mmap1 mprotect touch cow"], 900)
    results.expect("budget: 6 operations, 0 over" in output, "a count is over its budget")


COUNTED_WITH = "12"
MODES = [  # one option each away from the default
    "coherency=locked", "coherency=shootdown", "overflow=shootdown", "consumers=all", "interest=off", "derived=on",
    "unsync=off", "postpone=off", "batch=off", "large=off",
    "reload=off fresh=off dying=off shortcuts=off", "mmu=ref", "pcid=off invpcid=off",
]


def step(name, script="full", hv="audit=2", ops=20, smp=4, quick=False, **fields):
    log = "linux-" + name.replace("=", "-").replace(" ", "-")
    return Step("linux/" + name, linux(log, script, hv, ops, smp=smp, **fields), IMAGE, emulator(smp), quick=quick)


STEPS = [
    step("full-4", ops=100, timeout=1500),
    step("cpus-1", smp=1),
    step("cpus-2", smp=2, quick=True),
    Step("linux/bench", bench_tool, IMAGE, HEAVY, ("make",)),
    Step("linux/count", count_tool, IMAGE),
    # Trap 32: shadow pages and roots go while they are in use.
    step("reclaim", hv="audit=2 pool=64", smp=2),
    # Two MOV CR3 a system call, most of which flush nothing.
    step("pti", "smoke", ops=10, append="pti=on", smp=2),
    Step("linux/paused", paused, IMAGE, HEAVY),
]
STEPS += [step(mode, "smoke", "audit=2 " + mode, 10, quick=mode == "coherency=locked") for mode in MODES]
