#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""`make gdb`: starts the emulator stopped, with its console in build/gdb.console, and gdb attached to it.
GDB_COMMANDS="cmd;cmd" runs those commands and ends (for scripts). Tested by hand and by such scripts."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from pblib import config, emu  # pylint: disable=wrong-import-position


def main():
    run = config.from_environment()
    run.name, run.gdb = "gdb", True
    console = run.file("console")
    args = emu.qemu_args(run)
    with open(console, "wb") as out:
        machine = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    print("console: %s   (tail -f it in another terminal)" % console)
    time.sleep(1)
    here = os.path.dirname(os.path.abspath(__file__))
    gdb = ["gdb", "-q", "-ex", "set architecture i386:x86-64", "-ex", "source %s/hv.py" % here,
           "-ex", "target remote localhost:1234"]
    script = os.environ.get("GDB_COMMANDS", "")
    for command in filter(None, script.split(";")):
        gdb += ["-ex", command.strip()]
    if script:
        gdb.append("-batch")
    try:
        return subprocess.run(gdb + [run.elf], check=False).returncode
    finally:
        machine.kill()
        machine.wait()


if __name__ == "__main__":
    sys.exit(main())
