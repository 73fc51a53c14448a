# SPDX-License-Identifier: BSD-2-Clause
"""A machine that boots the disk of make disk: its menu, logging in, commands with their status. Tested by being what the steps
of tools/steps/devices_disk.py use."""
import os
import re
import subprocess
import time

from pblib import steps
from pblib.consoles import Machine
from pblib.linux import OUT

SUITE = os.environ.get("SUITE") or "bookworm"
DISK = os.path.join(OUT, "disk-%s.img" % SUITE)
LIMIT = 4500  # seconds, against hanging only: systemd, 256 MiB and a reboot, emulated, beside whatever else there is
NEXT = "\x0e"  # Ctrl-N, GRUB's "next line"


def needs_root():
    if os.geteuid() != 0 and not os.path.exists(DISK):
        raise steps.Skip("make disk needs root")


class Logged(Machine):
    """A machine with Debian's login prompt on its serial console, on which commands are typed."""

    commands = 0

    def after(self, pattern, start):
        """Like expect, in what comes after `start` of the text."""
        while time.monotonic() < self.end:
            if re.search(pattern, self.text[start:]):
                return True
            if not self.pump():
                return bool(re.search(pattern, self.text[start:]))
        return False

    def log_in(self, start=0, host="patchbay"):
        """The login prompt of systemd's getty, and a root shell behind it."""
        if not self.after(r"%s login: " % host, start):
            return False
        self.send("root\r")
        if not self.after(r"Password: ", start):
            return False
        self.send("patchbay\r")
        if not self.after(r"root@%s:\S*# " % host, start):
            return False
        return self.command("export TERM=dumb LC_ALL=C; stty -echo cols 200; dmesg -n 1; PS1='> '")[0] == 0

    def command(self, text):
        """(status, output) of a shell command."""
        self.commands += 1
        mark, start = "end-%d" % self.commands, len(self.text)
        self.send("%s; echo \"%s\"=$?\r" % (text, mark))
        if not self.after(mark + r"=\d+\n", start):
            return -1, self.text[start:]
        found = re.search(r"(?s)(.*?)%s=(\d+)\n" % mark, self.text[start:])
        return int(found.group(2)), re.sub(r"^(> )+", "", found.group(1))  # the prompt before it


class DiskMachine(Logged):
    """On a copy of the disk, which is there until remove()."""

    def __init__(self, name, keep=False, **fields):
        copy = os.path.join(OUT, "disk-%s.copy" % name)
        if not keep:
            subprocess.run(["cp", "--sparse=always", "--reflink=auto", DISK, copy], check=True)
        super().__init__("disk-" + name, kernel="none", direct=False, disk=copy, machine="q35",
                         **dict({"smp": 2, "mem": 1024, "test": False}, **fields))
        self.copy = copy
        self.end += LIMIT

    def remove(self):
        self.close()
        for path in (self.copy, self.run.file("ovmf-vars"), self.run.file("debugcon")):
            if os.path.exists(path):
                os.remove(path)
