# SPDX-License-Identifier: BSD-2-Clause
"""What README asks of a person, as it is typed: make disk, make run DISK= NET=1 on a terminal, log in, look, write a file, reboot,
and the file is there. Run by tools/check.py."""
import os
import subprocess

from pblib.diskguest import DISK
from pblib.linux import LOGS, OUT, Terminal
from pblib.steps import Step, emulator

LIMIT = 1500  # seconds for a boot, against hanging only
PROMPT = r"root@patchbay:\S*# "


def log_in(t):
    """A root shell behind the login prompt of systemd's getty, and whether Patchbay was booted before it."""
    hosted = t.find(r"boot: Patchbay|patchbay login: ", LIMIT) == "boot: Patchbay" and t.wait_for("patchbay login: ", LIMIT)
    if not hosted:
        return False
    t.send("root\r")
    if not t.wait_for("Password: ", LIMIT):
        return False
    t.send("patchbay\r")
    return t.wait_for(PROMPT, LIMIT)


def typed(results, t, command, pattern):
    """One command, what it must say, and the prompt again."""
    t.send(command + "\r")
    results.expect(t.wait_for(pattern, 300) and t.wait_for(PROMPT, 300), "%s: no %s" % (command, pattern))


def session(results):
    copy = os.path.join(OUT, "disk-session.copy")
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", DISK, copy], check=True)
    t = Terminal(["make", "--no-print-directory", "O=" + OUT, "run", "DISK=" + copy, "NET=1", "NAME=disk-session"],
                 os.path.join(LOGS, "devices-session.console"))
    try:
        if not results.expect(log_in(t), "no login on Patchbay: " + t.text[-300:]):
            return
        for command, pattern in (("lspci", "Ethernet controller"), ("lsblk", r"sda3\s.* /\s"), ("ip addr", r"inet 10\.0\.2\.15/"),
                                 ("nproc", r"\s4\s"), ("echo kept-$((6*7)) > /root/file; cat /root/file", r"[\r\n]kept-42")):
            typed(results, t, command, pattern)
        t.send("reboot\r")
        if not results.expect(log_in(t), "no login on Patchbay after the reboot: " + t.text[-300:]):
            return
        typed(results, t, "cat /root/file", r"[\r\n]kept-42")
        t.send("poweroff\r")
        results.expect(t.wait_for("guest powered off", LIMIT), "no power-off: " + t.text[-300:])
    finally:
        status = t.close()
        os.remove(copy)
    results.expect(status == 0, "make run ended with status %s" % status)


STEPS = [Step("devices/session", session, ("devices/disk",), emulator(4), ("make",), bound=2 * LIMIT, asked=True)]
