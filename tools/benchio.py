#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the machine's own devices cost a guest: host CPU time, exits and interrupts of a random read of 4 KiB (NVMe, AHCI, queue
depth 1 and 16) and of a received packet (e1000e), on the bare emulator and on Patchbay, in turn, in one invocation. The exits are
counts, exact on a busy machine too; the CPU times want an idle one. Exit status 1: an access to a device's registers exits, or
something went wrong. Tested by the step devices/bench-io of tools/check.py."""
import argparse
import json
import os
import random
import socketserver
import sys
import threading

from pblib import benchguest, benchops, config, ioops, lifeline
from pblib.benchreport import BARE, HOSTED

DISK_BYTES = 64 << 20
GUEST = ("console=ttyS0 quiet no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1 pb.script=io pb.port=%d")


class Stream(socketserver.ThreadingTCPServer):
    """Sends to whoever has sent it a byte, until it is left."""
    daemon_threads = allow_reuse_address = True

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            data = bytes(1 << 16)
            try:
                if self.request.recv(1):
                    while True:
                        self.request.sendall(data)
            except OSError:
                pass  # it has what it wants

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Stream.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def out():
    return os.environ.get("O") or "build"


def disk(name):
    """Blocks that are not holes: what is read comes from the host's page cache."""
    path = os.path.join(out(), "bench-io-%s.img" % name)
    with open(path, "wb") as f:
        f.write(random.Random(1).randbytes(1 << 20) * (DISK_BYTES >> 20))
    return path


def machine(args, name, bare, port, disks):
    words = []
    for kind, device in (("nvme", "nvme,serial=pb"), ("ahci", "ide-hd,bus=ide.1")):
        words += ["-drive", "if=none,id=%s,format=raw,snapshot=on,file=%s" % (kind, disks[kind]), "-device", "%s,drive=%s" % (device, kind)]
    words += ["-netdev", "user,id=net", "-device", "e1000e,netdev=net,romfile="]
    run = config.Run(out=out(), name=args.name + "-" + name, kernel=out() + "/cache/virtio-vmlinuz", initrd=out() + "/initrd-io.gz",
                     append=(GUEST % port + " " + args.append).strip(), hv=args.hv, words="role=linux pci=all", smp=args.smp,
                     bare=bare, direct=not bare, test=True, machine="q35", extra=tuple(words), count=args.count, count_idle=True)
    run.log = run.file("console")
    return benchguest.Machine(name, run, limit=args.limit)


def measure(machines, ops, rounds):
    """(contestant, op) -> samples."""
    found = {}
    for number in range(rounds):
        print("round %d of %d" % (number + 1, rounds), flush=True)
        for op in [ioops.NULL] * 3 + ops:
            for m in machines:
                found.setdefault((m.name, op), []).append(m.measure(op))
    return found


def report(args, ops, found):
    figures = {op: ioops.Figures(op, found[BARE, op], found[HOSTED, op], (found[BARE, ioops.NULL], found[HOSTED, ioops.NULL]))
               for op in ops}
    for lines in (ioops.cost_table(ops, figures), ioops.exit_table(ops, figures)):
        print("\n" + "\n".join(lines))
    path = os.path.join(out(), args.name + ".json")
    with open(path, "w", encoding="ascii") as f:
        json.dump({"smp": args.smp, "rounds": args.rounds, "hv": args.hv, "append": args.append, "ops": ioops.as_json(ops, figures)}, f, indent=1)
    print("\n" + path)
    for op in ioops.too_many_exits(ops, figures):
        print("more than %.1f exits an interrupt, the timer's apart: %s" % (ioops.EXITS, op.what))
    trapped = ioops.trapped(ops, figures)
    for op in trapped:
        print("TRAPPED: the device's registers exit: " + op.what)
    return 1 if trapped else 0


def arguments(argv):
    e = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=int(e("ROUNDS") or 3))
    parser.add_argument("--smp", type=int, default=int(e("SMP") or 1))
    parser.add_argument("--hv", default=e("HV") or "", help="options of the hypervisor")
    parser.add_argument("--append", default="", help="more words of the guest's command line, such as nohz=off")
    parser.add_argument("--scale", type=float, default=float(e("SCALE") or 1), help="factor on all counts")
    parser.add_argument("--count", action="store_true", default=e("COUNT") == "1", help="the emulator's time is instructions: no more "
                        "timer ticks on a busy machine; CPU times are not comparable with those without")
    parser.add_argument("--limit", type=int, default=900, help="seconds for one answer, against hanging only")
    parser.add_argument("--name", default="bench-io", help="of the files with results and consoles")
    return parser.parse_args(argv)


def main(argv):
    lifeline.end_with_callers()
    args = arguments(argv)
    ops = benchops.scaled(ioops.OPS, 64, args.scale)
    stream, disks = Stream(), {kind: disk(kind) for kind in ("nvme", "ahci")}
    machines = [machine(args, name, name == BARE, stream.server_address[1], disks) for name in (BARE, HOSTED)]
    try:
        for m in machines:
            m.boot()
            print("%s: ready" % m.name, flush=True)
        return report(args, ops, measure(machines, ops, args.rounds))
    except (benchguest.Failed, OSError) as problem:
        print("bench-io: %s" % problem, file=sys.stderr)
        return 1
    finally:
        for m in machines:
            m.close()
        stream.shutdown()
        for path in disks.values():
            os.remove(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
