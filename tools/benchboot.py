#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Compares one boot of Linux on Patchbay with the same boot on the bare emulator, run in turn: wall time to init,
CPU time of the whole emulator, exits by kind; `--modes` adds every coherency mode. Figures, never a verdict.
Tested by `make bench-boot`."""
import os
import resource
import sys

from pblib import config, lifeline, linuxlog, session

MODES = ["", "coherency=locked", "coherency=shootdown", "overflow=shootdown", "consumers=all", "interest=off",
         "derived=on", "unsync=off"]


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def one(out, smp, bare, hv="", script="boot"):
    run = config.Run(out=out, name="bench", kernel=out + "/cache/vmlinuz", initrd=out + "/initrd.gz",
                     append="console=ttyS0 pb.script=" + script, hv=hv, smp=smp, bare=bare, test=True, timeout=900,
                     log=out + "/bench.console")
    before = cpu_seconds()
    s = session.Session(run)
    s.run()
    if s.status != 0:
        print("bench-boot: %s: %s" % ("bare" if bare else "hosted " + hv, s.reason))
        return None
    init = s.marks.get("patchbay-guest: init", 0)
    return {"init": init, "end": s.seconds, "cpu": cpu_seconds() - before, "stats": s.stats[-1] if s.stats else {}}


def show(name, r):
    if r:
        print("%-24s to init %6.1f s   to power-off %6.1f s   emulator CPU %6.1f s" % (name, r["init"], r["end"], r["cpu"]))


def show_exits(stats):
    exits = stats.get("total", {}).get("exits", {})
    for kind, n in sorted(exits.items(), key=lambda item: -item[1]):
        print("    %-14s %10d" % (kind, n))
    print("    %-14s %10d" % ("all", sum(exits.values())))


def main():
    lifeline.end_with_callers()
    out = os.environ.get("O") or "build"
    smp = int(os.environ.get("SMP") or 4)
    rounds = int(os.environ.get("ROUNDS") or 1)
    good = True
    for _ in range(rounds):
        bare, hosted = one(out, smp, True), one(out, smp, False)
        show("bare emulator", bare)
        show("Patchbay", hosted)
        good = good and bool(bare and hosted)
        if bare and hosted:
            print("CPU cost, Patchbay / bare: %.2f" % (hosted["cpu"] / bare["cpu"]))
            show_exits(hosted["stats"])
    if "--modes" in sys.argv:
        names = "posts coalesces skips overflows drains patches_applied unsync_in doorbells acks_waited".split()
        for mode in MODES:
            r = one(out, smp, False, mode, "smoke")
            show(mode or "default", r)
            if r:
                print("    " + "  ".join("%s %d" % (n, linuxlog.total(r["stats"], n)) for n in names))
            good = good and bool(r)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
