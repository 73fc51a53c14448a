#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What an operation of one VM costs with 0, 1 and 2 neighbours. First by instructions, which the emulator counts exactly (-icount):
the neighbours have booted and wait in their shells, since what they execute would be counted too. Then with neighbours under their
verified load: the exits of the VM's own CPU, and the host's CPU time of that CPU's thread, which says something on an idle
machine with a CPU for each VM only. Figures, never a verdict. Tested by the step vms/bench of tools/check.py."""
import argparse
import os
import sys

from pblib import benchguest, benchops, config, countops, table

NEIGHBOURS = (0, 1, 2)
OPS = {op.name: op for op in countops.OPS if op.name in ("fork", "exec", "mmap1")}
MEASURED = "console=ttyS0 quiet no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1 tsc=reliable nokaslr norandmaps pb.script=bench"
LOAD = "console=ttyS0 quiet nowatchdog rcupdate.rcu_cpu_stall_suppress=1 pb.script=load pb.ops=1000000"
IDLE = "console=ttyS0 quiet no_timer_check nowatchdog tsc=reliable"
TICKS = ("INTR", "WRMSR", "HLT", "IO", "CPUID")  # come with time, not with forks


def vm(name, cpu, mem, line):
    return "%s:cpus=%d,mem=%dM,append=%s" % (name, cpu, mem, line.replace(" ", "+"))


class Machine(benchguest.Machine):
    """The VM that is measured on CPU 0 of the machine, in front on the console, and its neighbours."""

    def __init__(self, neighbours, counted, limit):
        out = os.environ.get("O") or "build"
        line = [vm("one", 0, 256, MEASURED)]
        line += [vm("near%d" % n, n, 192, IDLE if counted else LOAD) for n in range(1, neighbours + 1)]
        run = config.Run(out=out, name="bench-vms-%d" % neighbours, vms=" ".join(line), smp=1 + max(NEIGHBOURS), mem=1024, direct=True,
                         test=True, count=counted)
        run.log = run.file("console")
        super().__init__("%d neighbours" % neighbours, run, limit)
        self.neighbours, self.counted, self._thread = neighbours, counted, 0

    def boot(self):
        """Until the neighbours are where they are meant to be, too."""
        first = super().boot()
        self.resume()
        self._sendall("query-cpus-fast")
        self.stop()
        return first

    def _sendall(self, name):
        """The host's thread of CPU 0."""
        self._qmp.sendall(b'{"execute": "%s"}\n' % name.encode())
        while not self._thread:
            answer = benchguest.json.loads(self._replies.readline())
            for cpu in answer.get("return", []):
                if cpu["cpu-index"] == 0:
                    self._thread = cpu["thread-id"]

    def _cpu_seconds(self):
        if not self._thread:
            return super()._cpu_seconds()
        with open("/proc/%d/task/%d/schedstat" % (self._child.pid, self._thread), encoding="ascii") as f:
            return int(f.read().split()[0]) / 1e9  # another process's thread has no clock for us

    def _wait(self, word):
        """The console belongs to the VM that is measured from the first key on; before it the neighbours speak, too."""
        if word != "PBB ready" or not self.neighbours:
            return super()._wait(word)
        ready, waits = "", {"near%d" % n for n in range(1, self.neighbours + 1)}
        while waits or not ready:
            line = super()._wait("| ")
            text = line[2:]
            if text.startswith("PBB ready"):
                ready = text
            elif text.startswith("patchbay-guest: shell" if self.counted else "pb: nproc"):
                waits.pop()
        return ready

    def close(self):
        """The neighbours never end by themselves."""
        if hasattr(self, "_child"):
            os.killpg(self._child.pid, benchguest.signal.SIGKILL)
            self._child.wait()
            self._log.close()


def measured(neighbours, counted, ops, args):
    """op name -> (instructions, CPU seconds, exits by kind) an operation."""
    m = Machine(neighbours, counted, args.limit)
    m.boot()
    try:
        m.measure(benchops.NULL)
        null = m.measure(benchops.NULL)
        found = {}
        for op in ops:
            s = m.measure(op)
            found[op.name] = (countops.cost(s, null, op), max(s.cpu - null.cpu, 0) / op.done, countops.exits(s, null, op))
        print("%s, %s: done" % (m.name, "idle" if counted else "under load"), flush=True)
        return found
    finally:
        m.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ops", default="fork exec mmap1")
    parser.add_argument("--limit", type=int, default=900, help="seconds for an answer of the guest")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--loaded", action="store_true", help="only beside neighbours under load")
    only.add_argument("--idle", action="store_true", help="only instructions, beside idle ones: exact on a busy host too")
    args = parser.parse_args()
    ops = [OPS[name] for name in args.ops.split()]
    if not args.loaded:
        idle = {n: measured(n, True, ops, args) for n in NEIGHBOURS}
        rows = [[op.name] + ["%.0f" % idle[n][op.name][0] for n in NEIGHBOURS] +
                ["%.4f" % (idle[n][op.name][0] / idle[0][op.name][0]) for n in NEIGHBOURS[1:]] for op in ops]
        print("\n" + "\n".join(table.table(["instructions an operation, idle neighbours", "0", "1", "2", "1 : 0", "2 : 0"], rows)), flush=True)
    if args.idle:
        return
    load = {n: measured(n, False, ops, args) for n in NEIGHBOURS}
    rows = []
    for op in ops:
        for n in NEIGHBOURS:
            _, cpu, kinds = load[n][op.name]
            own = {k: v for k, v in kinds.items() if k not in TICKS}
            rows.append([op.name, str(n), "%.1f" % sum(own.values()), " ".join("%s %.1f" % kv for kv in list(own.items())[:4]),
                         "%.0f" % (cpu * 1e6), "%.2f" % (cpu / load[0][op.name][1]) if load[0][op.name][1] else ""])
    print("\n" + "\n".join(table.table(["an operation", "loaded neighbours", "exits but for ticks", "of which", "CPU us", ": 0"], rows)))


if __name__ == "__main__":
    try:
        main()
    except benchguest.Failed as e:
        sys.exit("bench-vms: %s" % e)
