# SPDX-License-Identifier: BSD-2-Clause
"""Types on the console of a guest that sends each key back by interrupt and halts in between (guest/tests_console.c), in
bursts at random times, while the host is busy: no key may be lost. KEYS=20000 in the environment makes it long.
Tested by being the typing steps of the console group of `make check`."""
import os
import random
import re
import select
import subprocess
import sys
import time

from pblib import consoles
from pblib.linux import OUT
from pblib.steps import HEAVY, IMAGE, Step

KEYS = int(os.environ.get("KEYS", "") or 1600)  # for each machine
STILL = 60  # seconds without a key coming back: it stands
LOAD = "while True: pass"
ESCAPE = 0x14


class Typist:
    """One machine, its keys and what came back."""

    def __init__(self, name, smp, bare, seed):
        steps = 8 if smp > 1 else 4
        append = "test=console.echo keys=%d" % max(KEYS // steps, 1)
        self.m = consoles.Machine(name, kernel=os.path.join(OUT, "guest", "tests.bin"), append=append, smp=smp,
                                  mem=512, bare=bare, hv="" if bare else "test=1 console=com1")
        self.m.run.test = True
        self.chance, self.data, self.done = random.Random(seed), b"", 0
        self.step = "start"

    def read(self, seconds):
        """Takes output; False: the emulator has ended."""
        out = self.m.child.stdout
        if not select.select([out], [], [], seconds)[0]:
            return True
        data = os.read(out.fileno(), 65536)
        self.m.log.write(data)
        self.data += data
        return bool(data)

    def find(self, pattern):
        """Waits for it and drops it with what is before; None when nothing comes any more."""
        end = time.monotonic() + 4 * STILL
        while time.monotonic() < end:
            match = re.search(pattern, self.data)
            if match:
                self.data = self.data[match.end():]
                return match
            if not self.read(1):
                return None
        return None

    def keys(self, count):
        """Random values but the monitor's escape."""
        return bytes(self.chance.choice([v for v in range(256) if v != ESCAPE]) for _ in range(count))

    def type(self, text):
        """Types it; true when all of it has come back in order."""
        sent, moved, pause = 0, time.monotonic(), 0.0
        while len(self.data) < len(text) and time.monotonic() < moved + STILL:
            if sent < len(text) and time.monotonic() >= pause:
                n = self.chance.choice((1, 1, 2, 3, 7, 16, 17, 40, 150))
                sent += os.write(self.m.child.stdin.fileno(), text[sent:sent + n])
                pause = time.monotonic() + self.chance.choice((0, 0, 0.001, 0.01, 0.05))
            before = len(self.data)
            if not self.read(max(0.0, min(0.2, pause - time.monotonic())) if sent < len(text) else 0.2):
                break
            if len(self.data) > before:
                moved = time.monotonic()
        back, self.data = self.data[:len(text)], self.data[len(text):]
        self.done += len(back)
        return back == text

    def session(self, results):
        """Everything the guest asks for; true if it got it."""
        while True:
            match = self.find(rb"type (\d+) on (cpu\d+ \S+)\n|typed all\n")
            if not results.expect(match, "the guest does not ask for keys after " + self.step):
                return False
            if not match.group(1):
                results.log("%d keys came back" % self.done)
                return True
            self.step = match.group(2).decode()
            text = self.keys(int(match.group(1)))
            if not results.expect(self.type(text), "%s: not all of %d keys came back" % (self.step, len(text))):
                self.m.send("\x14\x14c\x64")  # where everything stands, for the log
                for _ in range(20):
                    self.read(0.5)
                return False


def typing(name, smp, bare=False, load=2):
    def action(results):
        busy = [subprocess.Popen([sys.executable, "-c", LOAD]) for _ in range(load)]
        typist = Typist(name, smp, bare, smp)
        results.log("console: " + typist.m.log.name)
        try:
            if typist.session(results):
                results.expect(typist.m.ended() == 33, "the guest's status is not 'passed'")
        finally:
            typist.m.close()
            for p in busy:
                p.kill()
                p.wait()

    return action


STEPS = [Step("console/" + name, typing(name, smp), IMAGE, HEAVY)  # with a load of its own beside the machine
         for name, smp in (("typing-1", 1), ("typing-4", 4))]
