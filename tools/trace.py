#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Event rings from a console log: trace.py LOG [--json FILE] prints a summary, and writes Chrome/Perfetto trace JSON
(open it in ui.perfetto.dev or chrome://tracing). The log holds the block that HV="trace=1" prints at power-off, or that
the monitor's key E prints. Tested by tools/tests/test_trace.py."""
import argparse
import signal
import sys

from pblib import trace


def main(argv):
    parser = argparse.ArgumentParser(description="Summary and Perfetto JSON of an event trace.")
    parser.add_argument("log", help="console log with a patchbay-trace block, - for standard input")
    parser.add_argument("--json", metavar="FILE", help="write Chrome trace JSON there")
    parser.add_argument("--block", type=int, default=-1, help="which block of the log, counted from 0; default: the last")
    args = parser.parse_args(argv)
    try:
        dump = trace.read(args.log, args.block)
    except (OSError, trace.Malformed) as e:
        print("trace: %s" % e, file=sys.stderr)
        return 1
    print("\n".join(trace.summary(dump)))
    if args.json:
        count = trace.write_json(dump, args.json)
        print("%s: %d events" % (args.json, count))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # into head, for one
    sys.exit(main(sys.argv[1:]))
