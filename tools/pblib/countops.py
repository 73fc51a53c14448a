# SPDX-License-Identifier: BSD-2-Clause
"""The operations of the instruction-count benchmark, their targets, and its tables. Counts are exact, so each is done
far fewer times than where time is measured. Tested by tools/tests/test_count.py and the step linux/count."""
import json

from pblib.benchops import Op
from pblib.table import table

# target: instructions relative to bare, at most. CPUID's is absolute (EMPTY_TARGET).
OPS = [
    Op("cpuid", 1, 2000, "CPUID: an empty exit"),
    Op("fork", 1, 100, "fork, exit, wait", 1.18),
    Op("exec", 1, 40, "fork and exec of a static program", 1.20),
    Op("mmap1", 1, 3000, "mmap of a page, touch, munmap", 1.22),
    Op("mmap256", 1, 24, "mmap of 256 pages, touch, munmap", 1.22),
    Op("reuse", 1, 24, "1 MiB touched, given back, touched again"),
    Op("mprotect", 1, 1000, "mprotect R, read, RW, write", 1.06),
    Op("touch", 1, 4096, "first touch of an anonymous page", 1.22),
    Op("cow", 1, 2048, "copy-on-write fault", 1.24),
    Op("pipe", 1, 600, "pipe ping-pong on one CPU", 1.12, acting=1),
]
EMPTY_TARGET = 420
GROWTH_TARGET = 1.15
GROWTH = ["fork", "exec", "mmap1", "mprotect", "touch", "cow"]
BUDGET_SLACK = 1.03
PARTS = ["guest", "after", "handler", "before"]  # enum profile_part of hv/base/profile.h


def cost(sample, null, op):
    """Instructions an operation, the handshake's own taken off."""
    return (sample.tsc - null.tsc) / op.done


def exits(sample, null, op):
    """kind -> exits an operation, the frequent ones first."""
    found = {k[5:]: (n - null.counts.get(k, 0)) / op.done for k, n in sample.counts.items() if k.startswith("exit:")}
    return {k: n for k, n in sorted(found.items(), key=lambda x: -x[1]) if n >= 0.01}


def verdict(op, bare, hosted):
    """(text of the target, met or not); ("", None) without one."""
    if op.name == "cpuid":
        return "<= %d" % EMPTY_TARGET, hosted - bare <= EMPTY_TARGET
    return ("%.2f" % op.target, hosted / bare <= op.target) if op.target else ("", None)


def cost_table(ops, costs, contestants):
    """costs: contestant -> op name -> instructions an operation."""
    base, ours = contestants[0], contestants[1]
    head = ["instructions an operation", base]
    for name in contestants[1:]:
        head += [name, "ratio"]
    rows = []
    for op in ops:
        bare = costs[base][op.name]
        row = [op.name, "%.0f" % bare]
        for name in contestants[1:]:
            row += ["%.0f" % costs[name][op.name], "%.3f" % (costs[name][op.name] / bare)]
        text, met = verdict(op, bare, costs[ours][op.name])
        rows.append(row + [text, "" if met is None else "met" if met else "MISSED"])
    return table(head + ["target", ""], rows)


def exit_table(ops, found):
    """found: op name -> exits()."""
    weight = {}
    for counts in found.values():
        for kind, n in counts.items():
            weight[kind] = weight.get(kind, 0) + n / (sum(counts.values()) or 1)
    kinds = sorted(weight, key=lambda k: -weight[k])[:10]
    return table(["exits an operation", "all"] + kinds,
                 [[op.name, "%.2f" % sum(found[op.name].values())] + ["%.2f" % found[op.name].get(k, 0) for k in kinds]
                  for op in ops])


def part_table(parts, switch):
    """parts: kind -> (exits, sums of the parts). switch: instructions of a world switch, from CPUID's rounds."""
    rows = []
    for kind, (count, sums) in sorted(parts.items(), key=lambda x: -sum(x[1][1][1:])):
        mean = [s / count for s in sums]
        rows.append([kind, "%d" % count, "%.0f" % switch] + ["%.0f" % m for m in mean[1:]] +
                    ["%.0f" % (switch + sum(mean[1:])), "%.0f" % max(mean[0] - switch, 0)])
    return table(["instructions an exit", "exits", "switch", "loop after", "handler", "loop before", "all", "guest until it"],
                 rows)


def budget_of(ops, costs):
    """What is recorded: CPUID's instructions, and for the others the ratio to the bare machine of the same run, which
    another guest kernel hardly changes."""
    bare, ours = costs["bare"], costs["patchbay"]
    return {op.name: round(ours[op.name] - bare[op.name], 1) if op.name == "cpuid"
            else round(ours[op.name] / bare[op.name], 4) for op in ops}


def over_budget(now, budget):
    """Lines for what costs more than the budget allows; only the part beyond the bare machine can grow by our doing,
    but the whole is judged."""
    return ["%s: %s, budget %s" % (name, value, budget[name]) for name, value in sorted(now.items())
            if name in budget and value > budget[name] * BUDGET_SLACK]


def load_budget(path):
    with open(path, encoding="ascii") as f:
        return json.load(f)
