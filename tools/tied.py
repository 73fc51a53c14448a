#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Becomes a program that ends when the one that started it does, in whatever way that ends: tied.py [--parent PID] PROGRAM
ARGUMENT... The kernel kills it (prctl(2), PR_SET_PDEATHSIG). PID: who starts it, in case that is gone already. "Who" is a
thread: what a thread starts ends with the thread at the latest. Tested by tools/tests/test_lifeline.py."""
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(argv):
    parent = os.getppid()
    if argv[:1] == ["--parent"]:
        parent, argv = int(argv[1]), argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it ended before it could be noticed
        return 1
    try:
        os.execvp(argv[0], argv)
    except OSError as e:
        print("%s: %s" % (argv[0], e.strerror), file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
