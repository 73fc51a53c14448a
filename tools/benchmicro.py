#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs the microbenchmarks of tools/micro and shows them beside each other: ns on this machine's own CPUs, the channels
of the matrix against shared ones under a lock, the matrix with 1 to 31 CPUs, the pool that shrinks, memory. Figures,
never a verdict. Tested by the step unit/micro of tools/check.py."""
import json
import os
import subprocess
import sys

from pblib import benchplot
from pblib.table import table


def measure(programs, words):
    """{(name, variant, parameter): (value, unit)} of all lines "micro NAME VARIANT PARAMETER VALUE UNIT"."""
    found = {}
    for program in programs:
        text = subprocess.run([program] + words, check=True, capture_output=True, text=True).stdout
        for line in text.splitlines():
            _, name, variant, parameter, value, unit = line.split()
            found[name, variant, int(parameter)] = (float(value), unit)
    return found


def pick(found, name):
    """parameter -> variant -> value."""
    rows = {}
    for (n, variant, parameter), (value, _) in found.items():
        if n == name:
            rows.setdefault(parameter, {})[variant] = value
    return rows


def quotient(row, a, b):
    return "%.2f" % (row[a] / row[b]) if row.get(a) and row.get(b) else "-"


def channel_rows(found):
    rows = []
    for name in ("post", "coalesce", "drain-one", "drain-patch", "drain-empty", "pair-store", "pair-patch",
                 "pair-throughput"):
        for row in pick(found, name).values():
            unit = next(u for (n, _, _), (_, u) in found.items() if n == name)
            rows.append(["%s, %s" % (name, unit)] + ["%.2f" % row[v] for v in ("matrix", "locked", "channel", "mutex")]
                        + [quotient(row, "locked", "matrix"), quotient(row, "mutex", "channel")])
    return rows


def single_rows(found):
    names = ("store-plain", "store-untraced", "store-skip", "lookup", "fill", "walk", "translate", "translate-cached",
             "invlpg-idle", "cr3-idle", "write-and-invlpg")
    return [["%s, %s" % (name, variant), "%.1f" % value] for name in names
            for row in pick(found, name).values() for variant, value in row.items()]


def scale_rows(found):
    rows = []
    for cpus, private in sorted(pick(found, "replay-private").items()):
        shared, idle = (pick(found, n)[cpus] for n in ("replay-shared", "replay-private-idle"))
        rows.append([cpus] + ["%.1f" % x for x in (private["matrix"], private["locked"], shared["matrix"],
                                                   shared["locked"], shared["matrix"] / cpus, idle["matrix"])])
    return rows


def pool_rows(found):
    access, faults = pick(found, "reclaim-access"), pick(found, "reclaim-faults")
    return [[n, "%.1f" % row["pool"], "%.3f" % faults[n]["pool"],
             "%.0f" % (row["pool"] / faults[n]["pool"]) if faults[n]["pool"] >= 0.05 else "-"]
            for n, row in sorted(access.items(), reverse=True)]


def memory_rows(found):
    pools = pick(found, "memory-pools")
    return [[cpus, "%.1f" % pools[cpus]["4GiB"], "%.2f" % pick(found, "memory-matrix")[cpus]["used"],
             "%.2f" % pick(found, "memory-trace-words")[cpus]["4GiB"]] for cpus in sorted(pools)]


def show(found):
    parts = [
        table(["protocol (locked, mutex: one shared channel)", "matrix", "locked", "channel", "mutex", "locked/matrix",
               "mutex/channel"], channel_rows(found)),
        table(["one thread", "ns"], single_rows(found)),
        table(["ns a store, all work included; CPUs", "private", "locked", "shared by all", "locked", "a consumer",
               "idle event"], scale_rows(found)),
        table(["448 page tables; pool, pages", "ns an access", "faults", "ns a fault"], pool_rows(found)),
        table(["MiB for 4 GiB of RAM; CPUs", "shadow pools", "matrix", "trace words"], memory_rows(found)),
    ]
    print("\n\n".join("\n".join(p) for p in parts))


def plot(found, path):
    series = {}
    for name, variant, label in (("replay-private", "matrix", "private table, matrix"),
                                 ("replay-private", "locked", "private table, locked"),
                                 ("replay-shared", "matrix", "table of all, matrix"),
                                 ("replay-shared", "locked", "table of all, locked")):
        series[label] = [(cpus, row[variant]) for cpus, row in sorted(pick(found, name).items())]
    benchplot.lines(path + ".svg", "ns a store, all work included, replayed by one thread", series)


def main(argv):
    out = os.environ.get("O") or "build"
    programs = [os.path.join(out, "micro", n) for n in ("coherency", "mmu")]
    found = measure(programs, argv)
    show(found)
    path = os.path.join(out, "bench-micro")
    plot(found, path)
    with open(path + ".json", "w", encoding="ascii") as f:
        json.dump([{"name": n, "variant": v, "parameter": p, "value": x, "unit": u}
                   for (n, v, p), (x, u) in found.items()], f, indent=1)
    print("\n%s.json" % path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
