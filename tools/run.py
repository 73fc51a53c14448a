#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Boots Patchbay as the Makefile's variables say and gives the guest's console.
On a terminal: the guest's shell; Ctrl-A x quits. Otherwise: the lines of standard input are typed into the
shell, then Ctrl-D, and the run ends when the guest powers off. Exit status: tools/README.md, "Exit codes".
Tested by tools/check.py."""
import os
import sys

from pblib import config, emu, lifeline, session


def write_out(data):
    while data:
        try:
            data = data[os.write(1, data):]
        except BlockingIOError:
            continue


def silent(run):
    """What to say of a machine that says nothing."""

    def say(seconds):
        keys = [word[len("escape="):] for word in run.hv.split() if word.startswith("escape=")]
        key = keys[-1].replace("^", "Ctrl-") if keys else "Ctrl-T"
        if run.bare:
            where = ""
        elif key == "off":
            where = "; without escape=off two keys would open Patchbay's monitor"
        else:
            where = "; %s %s on a terminal opens Patchbay's monitor, where c shows what each CPU does and h the keys" % (key, key)
        print("\r\nrun: no output for %d s%s; Ctrl-A x ends the run\r" % (seconds, where), file=sys.stderr, flush=True)

    return say


def main():
    lifeline.end_with_callers()
    run = config.from_environment()
    interactive = os.isatty(0)
    feed = None
    if not interactive:
        run.timeout = run.timeout or 1800
        if run.disk or (run.own_initrd and "pb.script=" not in run.append):
            feed = 0
    s = session.Session(run, interactive, feed, write_out, silent=silent(run))
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
