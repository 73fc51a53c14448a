#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Event rings from a console log: trace.py LOG [--json FILE] [--svg FILE] prints a summary, writes Chrome/Perfetto trace
JSON (open it in ui.perfetto.dev or chrome://tracing), and draws a stretch of it. The log holds the block that HV="trace=1" prints at power-off, or that
the monitor's key E prints. Tested by tools/tests/test_trace.py."""
import argparse
import signal
import sys

from pblib import trace, tracepic


def main(argv):
    parser = argparse.ArgumentParser(description="Summary and Perfetto JSON of an event trace.")
    parser.add_argument("log", help="console log with a patchbay-trace block, - for standard input")
    parser.add_argument("--json", metavar="FILE", help="write Chrome trace JSON there")
    parser.add_argument("--svg", metavar="FILE", help="draw the stretch with the most patches between CPUs there")
    parser.add_argument("--us", type=float, default=6000, help="length of that stretch in microseconds; default: 6000")
    parser.add_argument("--block", type=int, default=-1, help="which block of the log, counted from 0; default: the last")
    parser.add_argument("--vm", default="", help="only blocks of that VM, where there are several")
    args = parser.parse_args(argv)
    try:
        dump = trace.read(args.log, args.block, args.vm)
    except (OSError, trace.Malformed) as e:
        print("trace: %s" % e, file=sys.stderr)
        return 1
    print("\n".join(trace.summary(dump)))
    if args.json:
        count = trace.write_json(dump, args.json)
        print("%s: %d events" % (args.json, count))
    if args.svg:
        with open(args.svg, "w", encoding="ascii") as f:
            f.write(tracepic.draw(dump, args.us))
        print("%s: drawn" % args.svg)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # into head, for one
    sys.exit(main(sys.argv[1:]))
