# SPDX-License-Identifier: BSD-2-Clause
"""No emulator outlives the tool that started it, and no tool the make that called it, however either ends: by its terminal,
by a signal that can be caught, or by SIGKILL. Tested by tools/tests/test_lifeline.py."""
import os
import signal
import sys
import threading
import time

TIED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tied.py")
MAKES, SHELLS = ("make", "gmake"), ("sh", "dash", "bash")
POLL_SECONDS = 0.5


def tied(args):
    """The command that runs `args` and ends with the thread that starts it. Its process is the program's own."""
    return [sys.executable, "-S", TIED, "--parent", str(os.getpid())] + list(args)


def end_children(thread):
    """Ends the programs that a thread of this process (its native id) has started and not yet waited for."""
    try:
        with open("/proc/self/task/%d/children" % thread, encoding="ascii") as f:
            children = [int(pid) for pid in f.read().split()]
    except OSError:  # the thread has ended
        return
    for pid in children:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _stat(pid):
    """(name, parent, start time) of a process, or None."""
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as f:
            text = f.read()
    except OSError:
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    return name, int(fields[1]), int(fields[19])


def makes():
    """[(process, start time)] of every make above this process up to the first one's caller, with the shells between."""
    chain, last, pid = [], 0, os.getppid()
    while pid > 1:
        found = _stat(pid)
        if found is None or found[0] not in MAKES + SHELLS:
            break
        chain.append((pid, found[2]))
        if found[0] in MAKES:
            last = len(chain)
        pid = found[1]
    return chain[:last]


def all_there(chain):
    below = os.getppid()
    for pid, start in chain:
        found = _stat(pid)
        if pid != below or found is None or found[2] != start:
            return False
        below = found[1]
    return True


def end_with_callers(end=lambda: sys.exit(2)):
    """From here on the tool ends when its terminal is closed, when it is told to (SIGTERM), and when a make that called it
    is gone. end: what then happens, in the main thread. A SIGHUP that the caller ignores (nohup) stays ignored."""
    signal.signal(signal.SIGTERM, lambda *_: end())
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: end())
    chain = makes()

    def watch():
        while all_there(chain):
            time.sleep(POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    if chain:
        threading.Thread(target=watch, daemon=True).start()
