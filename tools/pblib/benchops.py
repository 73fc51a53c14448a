# SPDX-License-Identifier: BSD-2-Clause
"""The operations of the benchmark: how often each is done, and what Patchbay is to reach. The counts are fixed, so
that figures of different days and machines speak of the same work. Tested by tools/tests/test_bench.py."""
import dataclasses

FIRST_TOUCH_EXITS = 2  # the guest's own fault and the fill


@dataclasses.dataclass(frozen=True)
class Op:
    name: str  # as tools/initramfs/pbbench.c knows it
    workers: int
    count: int  # operations of each worker; about half a second on the bare emulator
    what: str
    target: float = 0.0  # CPU cost relative to bare at most; 0: none
    growth: float = 0.0  # ... or relative to Patchbay's own ratio with one worker
    group: str = "one"
    acting: int = 0  # workers that do operations, if not all

    @property
    def label(self):
        return "%s/%d" % (self.name, self.workers)

    @property
    def done(self):
        """Operations of all workers together."""
        return self.count * (self.acting or self.workers)


NULL = Op("null", 1, 0, "the handshake alone; subtracted from the others")


def _one_and_four(name, one, four, what, target, growth=1.25):
    return [Op(name, 1, one, what, target), Op(name, 4, four, what, 0, growth, "four")]


OPS = (
    [Op("loop", 1, 250000, "1000 dependent integer steps", 1.05),
     Op("loop", 4, 100000, "1000 dependent integer steps", 1.05, 0, "four"),
     Op("syscall", 1, 600000, "getppid", 1.05),
     Op("syscall", 4, 200000, "getppid", 1.05, 0, "four"),
     Op("cpuid", 1, 30000, "CPUID: an empty exit")]
    + _one_and_four("fork", 250, 80, "fork, exit, wait", 2.3)
    + [Op("fork8m", 1, 60, "fork with 8 MiB resident", 2.3)]
    + _one_and_four("exec", 80, 30, "fork and exec of a static program", 2.3)
    + _one_and_four("mmap1", 3000, 1000, "mmap of a page, touch, munmap", 2.3)
    + _one_and_four("mmap256", 40, 15, "mmap of 256 pages, touch, munmap", 2.3)
    + _one_and_four("mprotect", 5000, 1600, "mprotect R, read, RW, write", 2.3)
    + _one_and_four("touch", 12000, 4000, "first touch of an anonymous page", 2.3)
    + _one_and_four("cow", 8000, 3000, "copy-on-write fault", 2.3)
    + [Op("walk", 1, 4000000, "read of a random page of 32 MiB"),
       Op("thr-touch", 4, 4000, "first touch by threads of one process", 0, 0, "threads"),
       Op("thr-mmap", 4, 200, "mmap, touch, munmap by threads of one process", 0, 0, "threads"),
       Op("thr-mprotect", 4, 100, "mprotect cycle by threads of one process", 0, 0, "threads"),
       Op("pipe", 1, 3000, "pipe ping-pong on one CPU", 1.6, 0, "pipe", 1),
       Op("pipe", 2, 1500, "pipe ping-pong between two CPUs", 1.6, 0, "pipe", 1),
       Op("shoot-munmap", 2, 1000, "mmap1 while another CPU runs in the process", 2.0, 0, "shoot", 1),
       Op("shoot-munmap", 4, 60, "mmap1 while three others do", 0, 0, "shoot", 1),
       Op("shoot-mprotect", 2, 1500, "mprotect cycle while another CPU runs in the process", 2.0, 0, "shoot", 1),
       Op("shoot-mprotect", 4, 30, "mprotect cycle while three others do", 0, 0, "shoot", 1)]
)


BOOT_TARGET = 1.8
# stress-ng, bogo operations of each worker; another initramfs (make bench-stress).
STRESS = [Op("stress-" + name, 4, count, "stress-ng --%s 4" % name, 3.0, 0, "stress")
          for name, count in (("fork", 40), ("mmap", 2), ("mprotect", 150), ("tlb-shootdown", 4), ("fault", 200),
                              ("vm", 16), ("switch", 1500))]
# One option each away from the default: what each part of the design is worth. The first is the default again: how
# much two machines of one kind differ, which is a lot where spinning CPUs share the host's.
MODES = ["coherency=matrix", "coherency=locked", "coherency=shootdown", "overflow=shootdown", "consumers=all",
         "interest=off", "derived=on", "unsync=off", "postpone=off", "batch=off", "large=off", "reload=off", "iopair=off", "fresh=off",
         "upper=off",
         "dying=off", "shortcuts=off", "pveoi=off", "hvsig=own", "mmu=ref"]
MODE_OPS = "fork exec mmap1 mprotect/1 touch/1 cow/1 thr-mmap shoot pipe/2"
# A smaller and smaller pool: how reclaim costs.
POOLS = ["pool=%d" % n for n in (4096, 1024, 512, 256, 128, 64)]
POOL_OPS = "fork/1 exec/1 fork8m mmap256/1 touch/1 fork/4"
GROWTH_CPUS = (1, 2, 4, 8)


def growth(cpus, scale=1):
    """The operations whose cost is followed over the number of CPUs, with all of them at work."""
    def op(name, total, what, acting=0):
        return Op(name, cpus, max(1, int(total * scale / (cpus if not acting else cpus * cpus))), what, acting=acting)

    return [op("fork", 240, "fork, exit, wait"), op("mmap1", 3000, "mmap of a page, touch, munmap"),
            op("touch", 12000, "first touch"), op("shoot-mprotect", 1600, "mprotect cycle while the others run", 1),
            op("shoot-munmap", 1600, "mmap1 while the others run", 1)]


class Unknown(Exception):
    """An operation that is not there."""


def scaled(ops, cpus, scale):
    return [dataclasses.replace(op, count=max(1, int(op.count * scale))) for op in ops if op.workers <= cpus]


def choose(words, cpus, scale=1):
    """OPS= of the user: labels (fork/4), names (fork: with every number of workers) or groups; none: all.
    scale: factor on all counts."""
    known = scaled(OPS, cpus, scale)
    if not words:
        return known
    chosen = []
    for word in words:
        found = [op for op in known if word in (op.label, op.name, op.group)]
        if not found:
            raise Unknown("no operation %s with %d CPUs; there are: %s"
                          % (word, cpus, " ".join(op.label for op in known)))
        chosen += [op for op in found if op not in chosen]
    return chosen


def bound(op, ratios, empty_exit):
    """The ratio that op is to reach, or None. ratios: label -> ratio, of this run. empty_exit: cost of an empty
    exit relative to one operation on the bare emulator, or None."""
    if op.growth:
        one = ratios.get("%s/1" % op.name)
        return one * op.growth if one else None
    if op.name == "touch" and op.workers == 1 and empty_exit:
        return max(op.target, 1.15 * FIRST_TOUCH_EXITS * empty_exit)
    if op.name.startswith("shoot-") and op.workers == 4:
        # No worse than bare's own growth: the ratio does not rise with the CPUs.
        return ratios.get("%s/2" % op.name)
    return op.target or None
