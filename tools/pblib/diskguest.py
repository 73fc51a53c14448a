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
SILENCE = 60  # seconds without a character after which a prompt is asked for again
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

    def asked(self, pattern, start, again):
        """Like after; again: what is typed whenever nothing has come for SILENCE. For lines that a kernel's message may have cut in
        two, or that answer a key which came before anybody read it."""
        size, since = len(self.text), time.monotonic()
        while time.monotonic() < self.end:
            found = re.search(pattern, self.text[start:])
            if found:
                return found
            if len(self.text) != size:
                size, since = len(self.text), time.monotonic()
            elif time.monotonic() - since > SILENCE:
                since = time.monotonic()
                self.send(again)
            if not self.pump():
                return re.search(pattern, self.text[start:])
        return None

    def log_in(self, start=0, host="patchbay"):
        """The login prompt of systemd's getty, and a root shell behind it."""
        answers = {"%s login: " % host: "root\r", "Password: ": "patchbay\r"}
        while True:
            found = self.asked(r"%s login: |Password: |root@%s:\S*# " % (host, host), start, "\r")
            if not found:
                return False
            start += found.end()
            if found.group() not in answers:
                break
            self.send(answers[found.group()])
        return self.command("export TERM=dumb LC_ALL=C; stty -echo cols 200; dmesg -n 1; PS1='> '", again=True)[0] == 0

    def command(self, text, again=False):
        """(status, output) of a shell command. again: it may be typed again."""
        self.commands += 1
        mark, start = "end-%d" % self.commands, len(self.text)
        line = "%s; echo \"%s\"=$?\r" % (text, mark)
        self.send(line)
        if not (self.asked(mark + r"=\d+\n", start, line) if again else self.after(mark + r"=\d+\n", start)):
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
