#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Costs of operations in a Linux guest: on the bare emulator and on Patchbay, in turn, operation by operation, in one
invocation. All guests are booted at the start; while one works the others stand still. Host CPU time of the whole
emulator is the measure, since it hardly depends on what else the machine does; wall time is shown beside it.
`ops`: the operations; `modes`: each option of the design away from its default; `pool`: smaller and smaller shadow
pools; `growth`: 1, 2, 4, 8 CPUs; `kvm`: Linux's KVM beside it, nested in the same emulator;
`stress`: stress-ng. Figures, never a verdict. Tested by the step linux/bench of tools/check.py."""
import argparse
import json
import os
import sys
import time

from pblib import benchguest, benchops, benchplot, benchreport, config, lifeline
from pblib.benchreport import BARE, HOSTED

# no_timer_check: a busy machine emulates the PIT too late for Linux's look at it, on the bare emulator.
# The rest: a guest that stood still for a minute has no reason to complain.
GUEST = "console=ttyS0 quiet no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1 pb.script=bench"


def machine(args, name, smp, hv, bare):
    out = os.environ.get("O") or "build"
    run = config.Run(out=out, name=args.name + "-" + "-".join(name.replace("=", " ").split()), kernel=out + "/cache/vmlinuz",
                     initrd=out + args.initrd, append=GUEST, hv=hv, smp=smp,
                     bare=bare, direct=not bare, test=True)
    run.log = run.file("console")
    return benchguest.Machine(name, run)


def kvm_machine(args, npt):
    """The same guest, as large, under KVM in a Linux that owns the emulated machine."""
    out = os.environ.get("O") or "build"
    run = config.Run(out=out, name="%s-kvm-%s" % (args.name, npt), kernel=out + "/cache/kvm-vmlinuz", mem=2048,
                     initrd=out + "/kvm-initrd", smp=args.smp, bare=True, test=True,
                     append="console=ttyS0 quiet no_timer_check pb.npt=%s pb.smp=%d pb.mem=1024" % (npt, args.smp))
    run.log = run.file("console")
    return benchguest.Machine("kvm npt=" + npt, run, limit=400)


def say(text=""):
    print(text, flush=True)


def boot(machines, results):
    for m in machines:
        sample = m.boot()
        results.boots[m.name] = sample
        say("%-24s ready after %5.1f s, %5.1f s of CPU" % (m.name, sample.wall, sample.cpu))


def null(machines, results):
    for m in machines:
        for _ in range(3):
            results.add(m.name, benchops.NULL, m.measure(benchops.NULL))


def one_op(machines, results, op, base=BARE):
    texts = []
    for m in machines:
        results.add(m.name, op, m.measure(op))
        text = "%s %.2f us" % (m.name, results.cost(m.name, op)[-1])
        ratios = results.ratios(m.name, op, base) if m.name != base and results.has(base, op) else []
        texts.append(text + (" (%.2f)" % ratios[-1] if ratios else ""))
    say("  %-18s %s" % (op.label, ", ".join(texts)))


def path_of(args):
    """Of the results, without suffix."""
    return os.path.join(os.environ.get("O") or "build", args.name + ("" if args.what == "ops" else "-" + args.what))


def save(path, found, args):
    found["settings"] = {"what": args.what, "smp": args.smp, "rounds": args.rounds, "hv": args.hv, "scale": args.scale,
                         "date": time.strftime("%Y-%m-%d %H:%M:%S"), "host_cpus": os.cpu_count()}
    with open(path + ".json", "w", encoding="ascii") as f:
        json.dump(found, f, indent=1)
    say("\n%s.json" % path)


def measure(machines, work):
    """Boots, works, ends the guests; what went wrong, or None. What was measured until then is kept."""
    try:
        work()
        return None
    except (benchguest.Failed, OSError) as e:
        return str(e)
    except KeyboardInterrupt:
        return "interrupted"
    finally:
        for m in machines:
            m.close()


def compare(args, ops, variants):
    """Bare, Patchbay, Patchbay with each variant's options, KVM."""
    machines = [machine(args, BARE, args.smp, "", True), machine(args, HOSTED, args.smp, args.hv, False)]
    machines += [machine(args, v, args.smp, (args.hv + " " + v).strip(), False) for v in variants]
    kvm = [kvm_machine(args, npt) for npt in args.npt.split()] if args.what == "kvm" else []
    machines += kvm
    results = benchreport.Results([m.name for m in machines])

    def work():
        boot(machines, results)
        for number in range(args.rounds):
            say("round %d of %d" % (number + 1, args.rounds))
            null(machines, results)
            for op in ops:
                one_op(machines, results, op)

    problem = measure(machines, work)
    parts = [benchreport.cost_table(results, ops, [HOSTED] + [m.name for m in kvm]), benchreport.boot_line(results)]
    parts += [benchreport.variant_table(results, ops)] if variants else []
    parts += [benchreport.exit_table(results, ops, HOSTED), benchreport.counter_table(results, ops, HOSTED)]
    say("\n" + "\n\n".join("\n".join(p) for p in parts if p))
    path = path_of(args)
    benchplot.bars(path + ".svg", "CPU cost on Patchbay / bare emulator (mark: target)",
                   [(label,) + found for label, found in benchreport.verdicts(results, ops).items() if label != "cpuid/1"])
    save(path, benchreport.as_json(results, ops), args)
    return problem


def growth(args):
    """The same operations with 1, 2, 4, 8 CPUs, all of them at work."""
    runs, machines = [], []
    for cpus in args.cpus:
        pair = [machine(args, "%s %d" % (name, cpus), cpus, "" if bare else args.hv, bare)
                for name, bare in ((BARE, True), (HOSTED, False))]
        machines += pair
        runs.append((cpus, pair[0].name, pair[1].name, benchops.growth(cpus, args.scale)))
    results = benchreport.Results([m.name for m in machines])

    def work():
        boot(machines, results)
        for number in range(args.rounds):
            say("round %d of %d" % (number + 1, args.rounds))
            null(machines, results)
            for i, (_, bare, _, ops) in enumerate(runs):
                for op in ops:
                    one_op(machines[2 * i:2 * i + 2], results, op, bare)

    problem = measure(machines, work)
    say("\n" + "\n".join(benchreport.growth_table(results, runs)))
    path, found, series = path_of(args), [], {}
    for cpus, bare, hosted, ops in runs:
        for name in (bare, hosted):
            for op in [op for op in ops if results.has(name, op)]:
                cost = benchreport.spread(results.cost(name, op))
                found.append({"op": op.name, "cpus": cpus, "contestant": name.split()[0], "cpu_us": cost})
                series.setdefault("%s, %s" % (op.name, name.split()[0]), []).append((cpus, cost["median"]))
    benchplot.lines(path + ".svg", "us of host CPU an operation, all CPUs at work", series)
    save(path, {"growth": found}, args)
    return problem


def arguments(argv):
    e = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="ops", choices=["ops", "modes", "pool", "growth", "kvm", "stress"])
    parser.add_argument("--ops", default=e("OPS") or "", help="operations, labels or groups; default: all")
    parser.add_argument("--rounds", type=int, default=int(e("ROUNDS") or 3))
    parser.add_argument("--smp", type=int, default=int(e("SMP") or 4))
    parser.add_argument("--hv", default=e("HV") or "", help="options of the hypervisor")
    parser.add_argument("--variants", default=e("VARIANTS") or "", help="modes, pool: these instead, separated by ;")
    parser.add_argument("--scale", type=float, default=float(e("SCALE") or 1), help="factor on all counts")
    parser.add_argument("--npt", default=e("NPT") or "0", help="kvm: 0 shadow paging, 1 nested paging, or both")
    parser.add_argument("--name", default="bench", help="of the files with results and consoles")
    parser.add_argument("--cpus", type=lambda text: [int(n) for n in text.split(",")],
                        default=list(benchops.GROWTH_CPUS), help="growth: numbers of CPUs, by commas")
    args = parser.parse_args(argv)
    args.initrd = "/initrd-bench.gz" if args.what == "stress" else "/initrd.gz"
    return args


def main(argv):
    lifeline.end_with_callers()
    args = arguments(argv)
    variants, words = {"modes": (benchops.MODES, benchops.MODE_OPS),
                       "pool": (benchops.POOLS, benchops.POOL_OPS)}.get(args.what, ([], ""))
    if args.variants:
        variants = [v.strip() for v in args.variants.split(";") if v.strip()]
    try:
        if args.what == "stress":
            ops = benchops.scaled(benchops.STRESS, args.smp, args.scale)
        else:
            ops = benchops.choose((args.ops or words).split(), args.smp, args.scale)
    except benchops.Unknown as e:
        print("bench: %s" % e, file=sys.stderr)
        return 2
    problem = growth(args) if args.what == "growth" else compare(args, ops, variants)
    if problem:
        print("bench: %s" % problem, file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
