#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""`make gdb`: starts the emulator stopped, with its console in build/gdb.console, and gdb attached to it.
GDB_COMMANDS="cmd;cmd" runs those commands and ends (for scripts). Tested by the gdb group of `make check`."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from pblib import config, emu, lifeline  # pylint: disable=wrong-import-position


def main():
    lifeline.end_with_callers()
    run = config.from_environment()
    run.name, run.gdb = os.environ.get("NAME") or "gdb", True
    console, socket = run.file("console"), run.file("socket")
    if os.path.exists(socket):
        os.remove(socket)
    args = emu.qemu_args(run)
    with open(console, "wb") as out:
        machine = subprocess.Popen(lifeline.tied(args), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    while not os.path.exists(socket) and machine.poll() is None:
        time.sleep(0.1)
    print("console: %s   (tail -f it in another terminal)" % console, flush=True)
    here = os.path.dirname(os.path.abspath(__file__))
    gdb = ["gdb", "-q", "-ex", "set architecture i386:x86-64", "-ex", "source %s/hv.py" % here,
           "-ex", "target remote " + socket]
    script = os.environ.get("GDB_COMMANDS", "")
    for command in filter(None, script.split(";")):
        gdb += ["-ex", command.strip()]
    if script:
        gdb.append("-batch")
    try:
        return subprocess.run(lifeline.tied(gdb + [run.elf]), check=False).returncode
    finally:
        machine.kill()
        machine.wait()
        if os.path.exists(socket):
            os.remove(socket)


if __name__ == "__main__":
    sys.exit(main())
