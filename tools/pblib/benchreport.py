# SPDX-License-Identifier: BSD-2-Clause
"""What the benchmark's samples say: per operation cost, ratios, exits by kind, targets; as tables and for JSON.
Tested by tools/tests/test_bench.py."""
import statistics

from pblib import benchops
from pblib.table import table

COUNTERS = ["posts", "skips", "coalesces", "drains", "drains_empty", "patches_applied", "fills", "traced_writes",
            "zaps", "unsync_in", "unsync_reread", "doorbells", "acks_waited", "flush_all", "flush_page"]
BARE, HOSTED = "bare", "patchbay"


class Results:
    """Samples by contestant and operation, round by round; a null sample belongs to each round."""

    def __init__(self, names):
        self.names = names
        self.samples = {}  # (contestant, label) -> [Sample]
        self.boots = {}  # contestant -> Sample

    def add(self, name, op, sample):
        self.samples.setdefault((name, op.label), []).append(sample)

    def has(self, name, op):
        return bool(self.samples.get((name, op.label)))

    def _null(self, name, pick):
        nulls = self.samples.get((name, benchops.NULL.label), [])
        return statistics.median(pick(s) for s in nulls) if nulls else 0

    def cost(self, name, op):
        """Microseconds of host CPU an operation, one value a round."""
        null = self._null(name, lambda s: s.cpu)
        return [max(s.cpu - null, 0) * 1e6 / op.done for s in self.samples[name, op.label]]

    def wall(self, name, op):
        """Microseconds an operation of one worker."""
        per = op.count
        return [s.wall * 1e6 / per for s in self.samples[name, op.label]]

    def ratios(self, name, op, base=BARE):
        """Cost relative to `base`, of the rounds that both have."""
        return [a / b for a, b in zip(self.cost(name, op), self.cost(base, op)) if b > 0]

    def ratio(self, name, op, base=BARE):
        found = self.ratios(name, op, base)
        return statistics.median(found) if found else None

    def count(self, name, op, counter):
        """A counter an operation; the handshake's own share subtracted."""
        null = self._null(name, lambda s: s.counts.get(counter, 0))
        values = [s.counts.get(counter, 0) - null for s in self.samples[name, op.label]]
        return max(statistics.median(values), 0) / op.done

    def exits(self, name, op):
        """kind -> exits an operation, the frequent ones first."""
        kinds = {k for s in self.samples[name, op.label] for k in s.counts if k.startswith("exit:")}
        found = {k[5:]: self.count(name, op, k) for k in kinds}
        return {k: n for k, n in sorted(found.items(), key=lambda x: -x[1]) if n >= 0.005}

    def counters(self, name, op):
        found = {c: self.count(name, op, c) for c in COUNTERS if c != "fills"}
        found["fills"] = self.count(name, op, "fill_single") + self.count(name, op, "fill_batch")
        return {c: found[c] for c in COUNTERS}


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def verdicts(results, ops):
    """label -> (ratio, bound or None) of the hosted contestant."""
    both = [op for op in ops if results.has(BARE, op) and results.has(HOSTED, op)]
    ratios = {op.label: results.ratio(HOSTED, op) for op in both}
    empty = next((op for op in both if op.name == "cpuid"), None)
    found = {}
    for op in both:
        bare, exit_cost = statistics.median(results.cost(BARE, op)), None
        if empty and bare > 0:
            exit_cost = statistics.median(results.cost(HOSTED, empty)) / bare
        found[op.label] = (ratios[op.label], benchops.bound(op, ratios, exit_cost))
    return found


def _us(value):
    return "%.2f" % value if value < 100 else "%.0f" % value


def _ratio(value):
    return "%.2f" % value if value else "-"


def _range(values):
    return "%s..%s" % (_us(min(values)), _us(max(values)))


def cost_table(results, ops, others):
    """CPU cost and wall, bare against the others."""
    judged = verdicts(results, ops)
    head = ["operation", "bare us", "(min..max)"]
    for name in others:
        head += [name + " us", "(min..max)", "ratio"]
    head += ["wall bare", "wall " + others[0], "target", ""]
    rows = []
    for op in ops:
        if not all(results.has(n, op) for n in [BARE] + others):
            continue
        bare = results.cost(BARE, op)
        row = [op.label, _us(statistics.median(bare)), _range(bare)]
        for name in others:
            cost = results.cost(name, op)
            row += [_us(statistics.median(cost)), _range(cost), _ratio(results.ratio(name, op))]
        ratio, bound = judged.get(op.label, (None, None))
        row += [_us(statistics.median(results.wall(n, op))) for n in (BARE, others[0])]
        row += ["%.2f" % bound if bound else "-", "" if not bound else "met" if ratio and ratio <= bound else "MISSED"]
        rows.append(row)
    return table(head, rows)


def _number(value):
    return "." if value < 0.005 else "%.2f" % value if value < 100 else "%.0f" % value


def exit_table(results, ops, name):
    """Exits by kind an operation: the kinds that matter anywhere."""
    ops = [op for op in ops if results.has(name, op)]
    found = {op.label: results.exits(name, op) for op in ops}
    weight = {}
    for exits in found.values():
        for kind, n in exits.items():
            weight[kind] = weight.get(kind, 0) + n / (sum(exits.values()) or 1)
    kinds = sorted(weight, key=lambda k: -weight[k])[:12]
    return table(["exits per op, " + name, "all"] + kinds,
                 [[op.label, _number(sum(found[op.label].values()))] + [_number(found[op.label].get(k, 0)) for k in kinds]
                  for op in ops])


def counter_table(results, ops, name):
    ops = [op for op in ops if results.has(name, op)]
    return table(["per op, " + name] + COUNTERS,
                 [[op.label] + [_number(v) for v in results.counters(name, op).values()] for op in ops])


def variant_table(results, ops):
    """Costs of the variants relative to Patchbay as it is, and that one's own in microseconds. !: cheaper by more
    than 5 % in each of several rounds, which asks for an explanation."""
    variants = [n for n in results.names if n not in (BARE, HOSTED)]
    rows = []
    for name in [HOSTED] + variants:
        row = [name]
        for op in ops:
            if not (results.has(name, op) and results.has(HOSTED, op)):
                row.append("?")
            elif name == HOSTED:
                row.append(_us(statistics.median(results.cost(name, op))) + "us")
            else:
                found = results.ratios(name, op, HOSTED)
                better = len(found) > 1 and max(found) < 0.95
                row.append(_ratio(results.ratio(name, op, HOSTED)) + ("!" if better else ""))
        rows.append(row)
    return table(["relative cost"] + [op.label for op in ops], rows)


def growth_table(results, runs):
    """runs: [(cpus, bare, hosted, ops)]. Rows: operation; columns: bare and hosted cost and ratio by CPUs."""
    head, rows = ["us an operation"], {}
    for cpus, bare, hosted, ops in runs:
        head += ["bare %d" % cpus, "hosted %d" % cpus, "ratio"]
        for op in ops:
            row = rows.setdefault(op.name, [op.name])
            if results.has(bare, op) and results.has(hosted, op):
                row += [_us(statistics.median(results.cost(n, op))) for n in (bare, hosted)]
                row.append(_ratio(results.ratio(hosted, op, bare)))
            else:
                row += ["?"] * 3
    return table(head, rows.values())


def boot_line(results):
    """Until the guest's program runs; one sample a contestant, all of them booted by the emulator itself."""
    boots = results.boots
    if BARE not in boots or HOSTED not in boots:
        return []
    ratio = boots[HOSTED].cpu / boots[BARE].cpu
    return ["boot: bare %.1f s of CPU, Patchbay %.1f s, ratio %.2f, target %.2f: %s"
            % (boots[BARE].cpu, boots[HOSTED].cpu, ratio, benchops.BOOT_TARGET,
               "met" if ratio <= benchops.BOOT_TARGET else "MISSED")]


def as_json(results, ops):
    """For build/bench.json: everything the tables show, and each round's figure."""
    judged = verdicts(results, ops)
    out = []
    for op in ops:
        entry = {"op": op.name, "workers": op.workers, "count": op.count, "what": op.what, "contestants": {}}
        for name in results.names:
            if not results.has(name, op):
                continue
            cost, wall = results.cost(name, op), results.wall(name, op)
            one = {"cpu_us": spread(cost), "cpu_us_rounds": cost, "wall_us": spread(wall), "wall_us_rounds": wall}
            if name != BARE:
                if results.has(BARE, op):
                    one["ratio"] = results.ratio(name, op)
                one["exits"], one["counters"] = results.exits(name, op), results.counters(name, op)
            entry["contestants"][name] = one
        if op.label in judged:
            ratio, bound = judged[op.label]
            entry["ratio"], entry["target"] = ratio, bound
            entry["met"] = bool(ratio and ratio <= bound) if bound else None
        out.append(entry)
    return {"contestants": results.names, "operations": out,
            "boot": {n: {"cpu_s": s.cpu, "wall_s": s.wall} for n, s in results.boots.items()}}
