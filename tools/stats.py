#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The patchbay-stats line of a console log as tables: stats.py LOG [--all]. Tested by tools/tests/test_stats_tool.py."""
import argparse
import signal
import sys

from pblib import stats


def main(argv):
    parser = argparse.ArgumentParser(description="The patchbay-stats line as tables.")
    parser.add_argument("log", help="console log with a patchbay-stats line, - for standard input")
    parser.add_argument("--all", action="store_true", help="counters that are zero, too")
    parser.add_argument("--vm", default="", help="only lines of that VM, where there are several")
    args = parser.parse_args(argv)
    try:
        found = stats.read(args.log, args.vm)
    except (OSError, stats.Malformed) as e:
        print("stats: %s" % e, file=sys.stderr)
        return 1
    print("\n".join(stats.tables(found, args.all)))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # into head, for one
    sys.exit(main(sys.argv[1:]))
