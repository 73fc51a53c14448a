#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Costs of operations in a Linux guest: on the bare emulator and on Patchbay, in turn, operation by operation, in one
invocation. All guests are booted at the start; while one works the others stand still. Host CPU time of the whole
emulator is the measure, since it does not depend on what else the machine does; wall time is shown beside it.
Figures, never a verdict. Tested by the step linux/bench of tools/check.py."""
import argparse
import json
import os
import sys
import time

from pblib import benchguest, benchops, benchreport, config
from pblib.benchreport import BARE, HOSTED


def machine(out, name, smp, hv, bare):
    run = config.Run(out=out, name="bench-" + name.replace("=", "-").replace(" ", "-"), kernel=out + "/cache/vmlinuz",
                     initrd=out + "/initrd.gz", append="console=ttyS0 quiet pb.script=bench", hv=hv, smp=smp,
                     bare=bare, direct=not bare, test=True)
    run.log = run.file("console")
    return benchguest.Machine(name, run)


def say(text):
    print(text, flush=True)


def boot(machines, results):
    for m in machines:
        sample = m.boot()
        results.boots[m.name] = sample
        say("%-24s ready after %5.1f s, %5.1f s of CPU" % (m.name, sample.wall, sample.cpu))


def one_round(machines, results, ops):
    for m in machines:
        for _ in range(3):
            results.add(m.name, benchops.NULL, m.measure(benchops.NULL))
    for op in ops:
        for m in machines:
            results.add(m.name, op, m.measure(op))
        texts = []
        for m in machines:
            text = "%s %.2f us" % (m.name, results.cost(m.name, op)[-1])
            ratios = results.ratios(m.name, op) if m.name != BARE and results.has(BARE, op) else []
            texts.append(text + (" (%.2f)" % ratios[-1] if ratios else ""))
        say("  %-18s %s" % (op.label, ", ".join(texts)))


def report(results, ops, path, settings):
    names = [n for n in results.names if n != BARE]
    say("")
    say("\n".join(benchreport.cost_table(results, ops)))
    for name in names[:1]:
        say("")
        say("\n".join(benchreport.exit_table(results, ops, name)))
        say("")
        say("\n".join(benchreport.counter_table(results, ops, name)))
    found = benchreport.as_json(results, ops)
    found["settings"] = settings
    with open(path + ".json", "w", encoding="ascii") as f:
        json.dump(found, f, indent=1)
    say("\n%s.json" % path)


def arguments(argv):
    e = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ops", default=e("OPS") or "", help="operations, labels or groups; default: all")
    parser.add_argument("--rounds", type=int, default=int(e("ROUNDS") or 3))
    parser.add_argument("--smp", type=int, default=int(e("SMP") or 4))
    parser.add_argument("--hv", default=e("HV") or "", help="options of the hypervisor")
    parser.add_argument("--scale", type=float, default=float(e("SCALE") or 1), help="factor on all counts")
    return parser.parse_args(argv)


def main(argv):
    args = arguments(argv)
    out = os.environ.get("O") or "build"
    try:
        ops = benchops.choose(args.ops.split(), args.smp, args.scale)
    except benchops.Unknown as e:
        print("bench: %s" % e, file=sys.stderr)
        return 2
    machines = [machine(out, BARE, args.smp, "", True), machine(out, HOSTED, args.smp, args.hv, False)]
    results = benchreport.Results([m.name for m in machines])
    settings = {"smp": args.smp, "rounds": args.rounds, "hv": args.hv, "scale": args.scale,
                "date": time.strftime("%Y-%m-%d %H:%M:%S"), "host_cpus": os.cpu_count()}
    try:
        boot(machines, results)
        for number in range(args.rounds):
            say("round %d of %d" % (number + 1, args.rounds))
            one_round(machines, results, ops)
    except benchguest.Failed as e:
        print("bench: %s" % e, file=sys.stderr)
        return 1
    finally:
        for m in machines:
            m.close()
    report(results, ops, out + "/bench", settings)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
