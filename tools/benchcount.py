#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Instructions an operation, bare and on Patchbay, counted by the emulator (QEMU's -icount: its time is the number of
instructions executed by guest and hypervisor). Exact whatever else the machine does. `ops`: one CPU, with exits by
kind and, of a PROFILE=1 build, where each exit's instructions go; `growth`: four CPUs, four workers against one;
`budget`: the recorded counts must hold, with programs at the same addresses in each boot (--renew records them). Tested by the step linux/count of tools/check.py."""
import argparse
import json
import os
import struct
import sys

from pblib import benchguest, benchops, config, countops

HERE = os.path.dirname(os.path.abspath(__file__))
BUDGET = os.path.join(HERE, "bench-count.json")
# No clock watchdog and no timer check: time is instructions here, and jumps while the guest sleeps.
GUEST = ("console=ttyS0 quiet no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1 tsc=reliable "
         "pb.script=bench")
FIXED = " nokaslr norandmaps"  # where a program lies decides how many page tables it has: 5 % of a fork
NULL = benchops.NULL


def out():
    return os.environ.get("O") or "build"


def machine(name, smp=1, bare=False, hv="", build=None, limit=900, fixed=False):
    build = build or out()
    run = config.Run(out=build, name="count-" + name, kernel=out() + "/cache/vmlinuz", initrd=out() + "/initrd.gz",
                     append=GUEST + (FIXED if fixed else ""), hv=hv, smp=smp, bare=bare, direct=not bare, test=True, count=True)
    run.log = run.file("console")
    return benchguest.Machine(name, run, limit=limit)


def kvm_machine(npt):
    run = config.Run(out=out(), name="count-kvm-" + npt, kernel=out() + "/cache/kvm-vmlinuz", mem=2048,
                     initrd=out() + "/kvm-initrd", smp=1, bare=True, test=True, count=True,
                     append="console=ttyS0 quiet no_timer_check tsc=reliable pb.npt=%s pb.smp=1 pb.mem=1024" % npt)
    run.log = run.file("console")
    return benchguest.Machine("kvm npt=" + npt, run, limit=2400)


class Profile:
    """hv_profile of hv/base/profile.h, if this build has it."""

    def __init__(self, m):
        self.machine = m
        image = benchguest.elfsym.Image(m.run.elf)
        self.kinds = image.strings("vmexit_name")
        self.address, self.size = image.symbols.get("hv_profile", (0, 0))
        self.there = self.size > 31 * 1024  # one for each CPU, not the empty one

    def read(self):
        data = self.machine.memory(self.address, self.size)
        sums = struct.unpack_from("<%dQ" % (4 * 64), data, 16)
        return {kind: sums[4 * i:4 * i + 4] for i, kind in enumerate(self.kinds)}


def measure(m, ops):
    """name -> (sample, parts or None); NULL first, measured twice: the first pays for what is new."""
    m.boot()
    try:
        profile = None if m.run.bare else Profile(m)
        m.measure(NULL)
        found = {}
        for op in [NULL] + ops:
            before = profile.read() if profile and profile.there else None
            sample = m.measure(op)
            after = profile.read() if before else None
            parts = {k: [b - a for a, b in zip(before[k], after[k])] for k in after} if before else None
            found[op.name] = (sample, parts)
        return found
    finally:
        m.close()


def costs_of(found, ops):
    return {op.name: countops.cost(found[op.name][0], found["null"][0], op) for op in ops}


def parts_of(found, ops):
    """All operations together: kind -> (exits, sums)."""
    total = {}
    for op in ops:
        sample, parts = found[op.name]
        for kind, sums in (parts or {}).items():
            count = sample.counts.get("exit:" + kind, 0)
            n, old = total.get(kind, (0, [0] * 4))
            total[kind] = (n + count, [a + b for a, b in zip(old, sums)])
    return {k: v for k, v in total.items() if v[0] > 20}


def say(lines):
    print("\n" + "\n".join(lines), flush=True)


def where_they_go(args, ops):
    """A run of a PROFILE=1 build: each kind of exit split at the borders of its round."""
    empty = next(op for op in countops.OPS if op.name == "cpuid")
    ops = [empty] + [op for op in ops if op is not empty]
    found = measure(machine("profile", hv=args.hv, build=args.profile), ops)
    if found["cpuid"][1] is None:
        raise benchguest.Failed("%s is not a build with PROFILE=1" % args.profile)
    count, sums = parts_of(found, [empty])["CPUID"]
    # Between two CPUIDs the guest itself does two or three instructions.
    say(countops.part_table(parts_of(found, ops[1:] or ops), sums[0] / count))


def one_cpu(args, ops):
    """Bare, Patchbay, and what else was asked for, one after the other."""
    fixed = args.what == "budget"
    makers = [("bare", lambda: machine("bare", bare=True, fixed=fixed)),
              ("patchbay", lambda: machine("patchbay", hv=args.hv, fixed=fixed))]
    if args.base:
        makers.append(("base", lambda: machine("base", hv=args.hv, build=args.base)))
    makers += [("kvm npt=" + n, lambda n=n: kvm_machine(n)) for n in args.npt.split()]
    found = {}
    for name, make in makers:
        found[name] = measure(make(), ops)
        print("%s: done" % name, flush=True)
    costs = {name: costs_of(f, ops) for name, f in found.items()}
    say(countops.cost_table(ops, costs, [name for name, _ in makers]))
    ours = found["patchbay"]
    kinds = {op.name: countops.exits(ours[op.name][0], ours["null"][0], op) for op in ops}
    say(countops.exit_table(ops, kinds))
    if args.profile:
        where_they_go(args, ops)
    if args.base:
        say(["%-10s %.3f of base" % (op.name, costs["patchbay"][op.name] / costs["base"][op.name]) for op in ops])
    with open(os.path.join(out(), "bench-count.json"), "w", encoding="ascii") as f:
        json.dump({"costs": costs, "exits": kinds}, f, indent=1)
    return costs


def growth(args):
    """Four CPUs: all of them at work against one."""
    names = args.ops.split() or countops.GROWTH
    one = [op for op in countops.OPS if op.name in names]
    # Each worker does what the one did: a quarter each would count a worker's start, its first tables and roots, four times.
    four = [benchops.dataclasses.replace(op, workers=4) for op in one]
    found1, found4 = [measure(machine("growth%d" % k, smp=4, hv=args.hv), ops) for k, ops in ((1, one), (4, four))]
    rows, bad = [], False
    for a, b in zip(one, four):
        x, y = costs_of(found1, [a])[a.name], costs_of(found4, [b])[b.name]
        bad |= y / x > countops.GROWTH_TARGET
        rows.append([a.name, "%.0f" % x, "%.0f" % y, "%.3f" % (y / x), "%.2f" % countops.GROWTH_TARGET,
                     "met" if y / x <= countops.GROWTH_TARGET else "MISSED"])
    say(countops.table(["instructions an operation, 4 CPUs", "1 worker", "4 workers", "growth", "target", ""], rows))


def budget(args, ops):
    costs = one_cpu(args, ops)
    now = countops.budget_of(ops, costs)
    if args.renew:
        with open(BUDGET, "w", encoding="ascii") as f:
            json.dump(now, f, indent=1)
            f.write("\n")
        print("%s: written" % BUDGET)
        return 0
    over = countops.over_budget(now, countops.load_budget(BUDGET))
    for line in over:
        print("over budget: " + line)
    print("budget: %d operations, %d over (renew: make bench-count-budget RENEW=1)" % (len(now), len(over)))
    return 1 if over else 0


def main(argv):
    e = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="ops", choices=["ops", "growth", "budget"])
    parser.add_argument("--ops", default=e("OPS") or "", help="operations; default: all")
    parser.add_argument("--hv", default=e("HV") or "", help="options of the hypervisor")
    parser.add_argument("--npt", default=e("NPT") or "", help="KVM beside it: 0, 1 or both")
    parser.add_argument("--base", default="", help="folder with an earlier revision's build")
    parser.add_argument("--profile", default="", help="folder with a PROFILE=1 build: where each exit's instructions go")
    parser.add_argument("--renew", action="store_true", default=e("RENEW") == "1", help="budget: record today's figures")
    args = parser.parse_args(argv)
    words = args.ops.split()
    ops = [op for op in countops.OPS if not words or op.name in words]
    if not ops or len(words) > len(ops):
        print("benchcount: operations are: %s" % " ".join(op.name for op in countops.OPS), file=sys.stderr)
        return 2
    try:
        if args.what == "growth":
            growth(args)
        elif args.what == "budget" or args.renew:
            return budget(args, ops)
        else:
            one_cpu(args, ops)
    except (benchguest.Failed, OSError) as problem:
        print("benchcount: %s" % problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
