# SPDX-License-Identifier: BSD-2-Clause
"""Two Debian VMs as a person has them: log in to both over one serial line, ping, copy a file, reboot one, look at both with the
monitor, power both off. With the times of each part. Run by tools/check.py."""
import os
import random
import re
import signal
import threading
import time

from pblib import vms
from pblib.diskguest import LIMIT, SILENCE, Logged
from pblib.linux import OUT
from pblib.steps import HEAVY, IMAGE, Skip, Step
from steps.build import MAKE

NAMES = ("left", "right")
# As boot/README.md has it.
LINE = "left:cpus=0-1,kernel=debian,virtio=net right:cpus=2-3,kernel=debian,virtio=net"
ADDRESSES = dict(zip(NAMES, (vms.ADDRESS % 1, vms.ADDRESS % 2)))
KEYS = "\x14\x14"
READY = r"patchbay> $"


class Stalls:
    """Stops the emulator at random moments, for moments: its timers, interrupts and doorbells all come late, and at once."""

    def __init__(self, child, seed):
        self.child, self.chance, self.over, self.count = child, random.Random(seed), threading.Event(), 0
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        while not self.over.wait(self.chance.choice((0.05, 0.3, 2)) * self.chance.random()) and self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGSTOP)
            self.over.wait(self.chance.choice((0.01, 0.1, 1.5)) * self.chance.random())
            os.killpg(self.child.pid, signal.SIGCONT)
            self.count += 1

    def end(self):
        self.over.set()
        self.thread.join()


class Pair(Logged):
    """The two, one of them in front."""

    def __init__(self):
        super().__init__("vms-debian", kernel="none", vms=LINE, smp=4, mem=3072, test=False)
        self.end += 2 * LIMIT

    def comes_up(self, name):
        """To its login, or to where nothing comes any more: that line may have been cut by a kernel's message, and then log_in asks."""
        size, since = 0, time.monotonic()
        while time.monotonic() < self.end and not self.said(r"%s *\| Debian GNU/Linux \d+ %s ttyS0" % (name, name)):
            if len(self.text) != size:
                size, since = len(self.text), time.monotonic()
            if time.monotonic() - since > 2 * SILENCE:
                return self.said(r"%s *\| " % name)
            if not self.pump():
                return False
        return time.monotonic() < self.end

    def state(self):
        """Where everything stands: QEMU's view of the CPUs, then the monitor's of both VMs."""
        self.end = max(self.end, time.monotonic() + 300)
        cpus = self.monitor("info registers -a")
        said = [self.monitor_keys("v%s\r" % name, "c", "s", "d", "m") for name in NAMES]
        return "\n".join([cpus] + said)

    def monitor_keys(self, *keys):
        """Opens the monitor, types each of these, leaves it; what it said."""
        start = len(self.text)
        self.send(KEYS)
        self.after(READY, start)
        for key in keys:
            at = len(self.text)
            self.send(key)
            self.after(r"(?s)\n.*" + READY, at)
        at = len(self.text)
        self.send("q")
        self.after("monitor left", at)
        return self.text[start:]

    def front(self, name):
        """That VM gets the keys from now on; a prompt of it is asked for."""
        said = self.monitor_keys("v%s\r" % name)
        start = len(self.text)
        self.send("\r")
        return "VM %s is in front" % name in said, start


class Clock:
    """The seconds of each part, for the console."""

    def __init__(self, results):
        self.results, self.last, self.parts = results, time.monotonic(), []

    def part(self, name):
        now = time.monotonic()
        self.parts.append("%s %.0f s" % (name, now - self.last))
        self.last = now

    def say(self):
        self.results.notes.append("         " + ", ".join(self.parts))


def log_in(results, m, name):
    front, start = m.front(name)
    return results.expect(front and m.log_in(start, name), "no login on %s: %s" % (name, m.text[-400:]))


def does(results, m, command, word=""):
    """A command in the VM in front, its status and a word of what it says."""
    status, text = m.command(command)
    return results.expect(status == 0 and word in text, "%s: status %s: %s" % (command, status, text.strip()[-300:]))


def talk(results, m, clock):
    for name in NAMES:
        if not results.expect(m.comes_up(name), "%s does not come to its login" % name):
            return False
    clock.part("boot of both to the login")
    for name in NAMES:
        if not log_in(results, m, name):
            return False
    clock.part("login on both")
    does(results, m, "ip -br addr; nproc", ADDRESSES["right"])
    does(results, m, "ping -c 5 -W 20 " + ADDRESSES["left"], "5 received")
    clock.part("ping")
    if not does(results, m, "(nc -l 9000 </dev/null >got) 2>err & for i in $(seq 600); do ss -ltn | grep -q :9000 && break; sleep 1; done; "
                "ss -ltn | grep -q :9000"):
        return False
    m.front("left")
    if not does(results, m, "head -c 8M /dev/urandom >sent && nc -N %s 9000 <sent && sha256sum <sent" % ADDRESSES["right"]):
        return False  # the other one waits for it
    _, ours = m.command("sha256sum <sent")
    m.front("right")
    _, theirs = m.command("wait; cat err; sha256sum <got")
    digest = ours.split("-")[0].strip()[-64:]
    results.expect(len(digest) == 64 and digest in theirs, "8 MiB, not the same: %s and %s" % (ours.strip(), theirs.strip()))
    clock.part("8 MiB copied")
    start = len(m.text)
    m.send("reboot\r")
    results.expect(m.after(r"VM right: guest reset", start) and m.after(r"VM right: starts again", start), "no reboot")
    results.expect(m.log_in(start, "right"), "no login after the reboot: " + m.text[-400:])
    does(results, m, "ping -c 2 -W 20 %s; ls got 2>&1" % ADDRESSES["left"] + " | grep -q 'No such'", "2 received")
    clock.part("reboot of one to its shell")
    for name in NAMES:
        said = m.monitor_keys("v%s\r" % name, "s", "m")
        results.expect(re.search(r"VM %s:\n(?s:.*)shadow_pages" % name, said) and "consumer 1" in said, "s and m of %s: %s" % (name, said[-300:]))
        results.log(said)
    m.front("left")
    does(results, m, "nproc", "2")
    clock.part("s and m of both")
    start = len(m.text)
    m.send("poweroff\r")
    results.expect(m.after(r"VM left: off; the others go on", start), "left does not power off")
    m.front("right")
    start = len(m.text)
    m.send("poweroff\r")
    off = results.expect(m.after("no VM runs any more", start) and m.ended() == 0, "the machine does not end with status 0")
    clock.part("power-off of both")
    return off


def session(results, stalls):
    root = vms.debian(OUT) + ".ext4"
    if os.geteuid() != 0 and not os.path.exists(root):
        raise Skip("make root needs root")
    results.command(MAKE + ["O=" + OUT, root], 3000)
    if not results.expect(os.path.exists(root), "there is no Debian"):
        return
    clock = Clock(results)
    m = Pair()
    late = Stalls(m.child, 14) if stalls else None
    try:
        good = talk(results, m, clock)
        if late:
            late.end()
            results.notes.append("         stopped %d times" % late.count)
        if not good and m.child.poll() is None:
            results.log(m.state())
    finally:
        if late:
            late.end()
        clock.say()
        results.log(m.text)
        m.close()


STEPS = [
    Step("vms/debian", lambda results: session(results, False), IMAGE, HEAVY, packages=("debootstrap",), shares=("make",), asked=True,
         bound=7200),
    Step("vms/stalls", lambda results: session(results, True), IMAGE, HEAVY, packages=("debootstrap",), shares=("make",), asked=True,
         bound=7200),
]
