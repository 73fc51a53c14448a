#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Boots Patchbay as the Makefile's variables say and gives the guest's console.
On a terminal: the guest's shell; Ctrl-A x quits. Otherwise: the lines of standard input are typed into the
shell, then Ctrl-D, and the run ends when the guest powers off. Exit status: README.md, "Exit codes".
Tested by tools/check.py."""
import os
import signal
import sys

from pblib import config, emu, session


def write_out(data):
    while data:
        try:
            data = data[os.write(1, data):]
        except BlockingIOError:
            continue


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(session.USAGE))
    run = config.from_environment()
    interactive = os.isatty(0)
    feed = None
    if not interactive:
        run.timeout = run.timeout or 1800
        if run.own_initrd and "pb.script=" not in run.append:
            feed = 0
    s = session.Session(run, interactive, feed, write_out)
    try:
        status = s.run()
    except emu.Problem as e:
        print("run: %s" % e, file=sys.stderr)
        return session.USAGE
    except KeyboardInterrupt:
        return 130
    if status != 0:
        print("\nrun: %s" % s.reason, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
