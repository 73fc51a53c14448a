# SPDX-License-Identifier: BSD-2-Clause
"""The operations of the benchmark of devices, what they may cost, and the tables of it. Tested by tools/tests/test_bench.py and
the step devices/bench-io."""
import statistics

from pblib.benchops import Op
from pblib.table import table

NULL = Op("null", 1, 1, "the handshake alone; subtracted from the others", group="device", acting=1)
RATIO = 1.4  # CPU relative to bare, at the depth that a loaded disk has
EXITS = 1.1  # exits an interrupt of the device, those of the guest's own timer apart
TIMER = ("WRMSR", "RDMSR")  # which the guest sets anew whenever it goes idle and comes back, under any hypervisor
TRAPPED = 0.01  # accesses to a device's registers by memory that exit, an operation: none, but for a driver's rare ones
# `workers` is the queue depth, of one process.
OPS = [
    Op("nvme", 1, 4000, "4 KiB random read, NVMe, depth 1", group="device", acting=1),
    Op("nvme", 16, 8000, "4 KiB random read, NVMe, depth 16", RATIO, group="device", acting=1),
    Op("ahci", 1, 4000, "4 KiB random read, AHCI, depth 1", group="device", acting=1),
    Op("ahci", 16, 8000, "4 KiB random read, AHCI, depth 16", RATIO, group="device", acting=1),
    Op("recv", 1, 16000, "received packet of 1460 bytes, e1000e", group="device", acting=1),
]
COUNTERS = ("mmio", "pio", "device_irqs")


def done(op, sample):
    """Operations: reads, or packets as the card counts them."""
    return sample.packets if op.name.startswith("recv") and sample.packets else op.count


class Figures:
    """Of one operation, the medians of its rounds: CPU time bare and hosted in us, ratio, what there is of each an operation."""

    def __init__(self, op, bare, hosted, null):
        """bare, hosted: samples, a round each; null: (bare's, hosted's) samples of the handshake."""
        idle = [statistics.median(s.cpu for s in samples) for samples in null]
        self.bare, self.hosted = ([max(s.cpu - base, 0) * 1e6 / done(op, s) for s in samples]
                                  for samples, base in zip((bare, hosted), idle))
        self.ratio = statistics.median(h / b for b, h in zip(self.bare, self.hosted)) if min(self.bare) > 0 else None
        self.interrupts_bare = statistics.median(s.interrupts / done(op, s) for s in bare)
        self.interrupts = statistics.median(s.interrupts / done(op, s) for s in hosted)
        nothing = {k: statistics.median(s.counts.get(k, 0) for s in null[1]) for s in hosted for k in s.counts}
        self.counts = {k: statistics.median(max(s.counts.get(k, 0) - n, 0) / done(op, s) for s in hosted) for k, n in nothing.items()}

    def exits(self):
        """kind -> exits an operation, the frequent ones first."""
        found = {k[5:]: n for k, n in self.counts.items() if k.startswith("exit:")}
        return {k: n for k, n in sorted(found.items(), key=lambda x: -x[1]) if n >= 0.001}

    def exits_an_interrupt(self):
        """(all, those but of the guest's timer), or None without an interrupt. An interrupt is what the device raised: two of them
        may be one to the guest."""
        raised, exits = self.counts.get("device_irqs") or self.interrupts, self.exits()
        if not raised:
            return None
        return tuple(sum(n for k, n in exits.items() if k not in without) / raised for without in ((), TIMER))


def cost_table(ops, figures):
    rows = []
    for op in ops:
        f = figures[op]
        text = "" if not op.target else "met" if f.ratio is not None and f.ratio <= op.target else "MISSED"
        rows.append([op.what, "%.1f" % statistics.median(f.bare), "%.1f" % statistics.median(f.hosted),
                     "-" if f.ratio is None else "%.2f" % f.ratio, "%.2f" % op.target if op.target else "", text])
    return table(["us of host CPU an operation", "bare", "patchbay", "ratio", "target", ""], rows)


def exit_table(ops, figures):
    kinds = list(dict.fromkeys(k for op in ops for k in figures[op].exits()))
    rows = []
    for op in ops:
        f, exits = figures[op], figures[op].exits()
        per = f.exits_an_interrupt()
        rows.append([op.what, "%.3f" % f.interrupts_bare, "%.3f" % f.interrupts, "%.3f" % sum(exits.values()),
                     "%.3f" % f.counts.get("device_irqs", 0), "-" if per is None else "%.2f" % per[0], "-" if per is None else "%.2f" % per[1]] + ["%.3f" % exits.get(k, 0) for k in kinds])
    return table(["an operation", "interrupts bare", "interrupts", "exits", "raised", "exits/raised", "timer apart"] + kinds, rows)


def trapped(ops, figures):
    """Operations whose device's registers are trapped: what must not be."""
    return [op for op in ops if figures[op].counts.get("mmio", 0) > TRAPPED]


def too_many_exits(ops, figures):
    """Operations that exit more often than their interrupts explain."""
    return [op for op in ops if (figures[op].exits_an_interrupt() or (0, 0))[1] > EXITS]


def as_json(ops, figures):
    return [{"op": op.what, "bare_us": figures[op].bare, "hosted_us": figures[op].hosted, "ratio": figures[op].ratio,
             "interrupts_bare": figures[op].interrupts_bare, "interrupts": figures[op].interrupts, "exits": figures[op].exits(),
             "counters": {k: figures[op].counts.get(k, 0) for k in COUNTERS}} for op in ops]
