# SPDX-License-Identifier: BSD-2-Clause
"""Runs one emulator, reads the guest's console, and decides how the run ended. Exit codes are even so
that they cannot be taken for a guest's own (isa-debug-exit gives (v << 1) | 1). Tested by tools/check.py."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
import tty

from pblib import emu, lifeline

OK, USAGE, PANIC, PARKED, TIMEOUT, RESET, ENDED, STOPPED = 0, 2, 10, 12, 14, 16, 18, 20
ANSI = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|c)")
PROMPT = re.compile(r"patchbay:\S*[#$] $")
SHELL = "patchbay-guest: shell"
ESCAPE = 0x01  # Ctrl-A, as in QEMU
MONITOR_SECONDS = 20  # for an answer of the hypervisor's monitor


class Session:
    """After run(): status, reason, stats (the parsed stats lines), lines (the console), seconds."""

    def __init__(self, run, interactive=False, feed=None, echo=None, done=None, silent=None):
        """feed: file descriptor of what is typed into the guest's shell, or None.
        echo: called with the console's bytes as they come. done: the same, and what it returns ends the run well.
        silent: called once, with the seconds, when the console has said nothing for run.silence of them; not while the
        guest's shell waits for a line, nor after an end is in sight."""
        self.run_ = run
        self.interactive = interactive
        self.feed = feed
        self.echo = echo
        self.done = done
        self.silent = silent
        self._heard = 0.0  # when the console last said something
        self.lines, self.stats = [], []
        self.status, self.reason = None, ""
        self.marks = {}  # line prefix -> seconds since start
        self.seconds = 0.0
        self.powered_off = False
        self._partial = ""
        self._deadline = 0.0
        self._typed = b""
        self._feed_ended = feed is None
        self._ctrl_a = False

    # --- the console -----------------------------------------------------------------------------
    def _end(self, status, reason, grace):
        """The verdict; the emulator may go on for `grace` seconds to say more."""
        if self.status is None:
            self.status, self.reason = status, reason
            self._deadline = time.monotonic() + grace

    def _line(self, line):
        self.lines.append(line)
        now = time.monotonic() - self._start
        if "patchbay: panic" in line:
            self._end(PANIC, line, 5)
        elif "patchbay: stopped" in line:
            self._end(STOPPED, line, 0)
        elif "patchbay: parked" in line:
            self._end(PARKED, line, 8)
        elif "patchbay: guest reset" in line and self.run_.test:
            self._end(RESET, "the guest reset the machine", 5)
        elif "patchbay: guest powered off" in line or "patchbay: no VM runs any more" in line or (self.run_.bare and "reboot: Power down" in line):
            self.powered_off = True
            self._end(OK, "", 20)
        elif self.run_.until and line == self.run_.until:
            self._end(OK, "", 0)
        elif line.startswith("patchbay-guest: "):
            self.marks.setdefault(line, now)
        at = line.find("patchbay-stats: ")
        if at >= 0:
            try:
                self.stats.append(json.loads(line[at + len("patchbay-stats: "):]))
            except ValueError as e:
                self.stats.append({"error": "not JSON: %s" % e})

    def _output(self, data):
        self._heard = time.monotonic()
        if self.echo:
            self.echo(data)
        if self._log:
            self._log.write(data)
            self._log.flush()
        text = self._partial + ANSI.sub("", data.decode("utf-8", "replace"))
        *whole, self._partial = text.split("\n")
        for line in whole:
            self._line(line.rstrip("\r"))
        if self.done and self.done(data):
            self._end(OK, "", 0)

    def _asked(self):
        """Somebody waits for the user: the guest's shell or Patchbay's monitor."""
        return self.at_prompt() or self._partial.startswith("patchbay> ")

    def at_prompt(self):
        return PROMPT.search(ANSI.sub("", self._partial).lstrip("\r")) is not None

    # --- input -----------------------------------------------------------------------------------
    def _user(self):
        """What the user typed. A terminal that is closed ends the run as Ctrl-A x does."""
        try:
            data = os.read(0, 1024)
        except OSError:
            data = b""
        if not data:
            self._end(OK, "", 0)
        return data

    def _keys(self, data):
        """The user's keys: Ctrl-A x quits, everything else goes to the machine."""
        out = bytearray()
        for byte in data:
            if self._ctrl_a:
                self._ctrl_a = False
                if byte in b"xX":
                    self._end(OK, "", 0)
                    return b""
                out.append(ESCAPE)
            if byte == ESCAPE:
                self._ctrl_a = True
            else:
                out.append(byte)
        return bytes(out)

    def _log_in(self):
        """The disk of make disk asks for a name and a password."""
        for asked, answer in (("patchbay login: ", b"root\n"), ("Password: ", b"patchbay\n")):
            if self._partial.endswith(asked):
                os.write(self._in, answer)
                self._partial = ""

    def _type(self):
        """Types the next line of the feed, when the shell waits; at its end Ctrl-D, which powers our own initramfs off, or
        what powers a disk's system off."""
        if self.feed is None:
            return
        if self.run_.disk:
            self._log_in()
        if not self.at_prompt():
            return
        while b"\n" not in self._typed and not self._feed_ended:
            if not select.select([self.feed], [], [], 0)[0]:
                return
            data = os.read(self.feed, 4096)
            self._feed_ended = not data
            self._typed += data
        line, newline, self._typed = self._typed.partition(b"\n")
        if line or newline:
            os.write(self._in, line + b"\n")
        else:
            os.write(self._in, b"poweroff\n" if self.run_.disk else b"\x04")
            self.feed = None
        self._partial = ""

    # --- the run ---------------------------------------------------------------------------------
    def _spawn(self):
        if self.run_.emu == "bochs":
            self._in, slave = pty.openpty()
            tty.setraw(slave)
            args = emu.bochs_args(self.run_, os.ttyname(slave))
            with open(self.run_.file("bochs-out"), "wb") as out:
                self._child = subprocess.Popen(lifeline.tied(args), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                               start_new_session=True)
            self._out = self._in
            return
        args = emu.qemu_args(self.run_)
        self._errors = open(self.run_.file("stderr"), "w+b")
        self._child = subprocess.Popen(lifeline.tied(args), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=self._errors, bufsize=0, start_new_session=True)
        self._in, self._out = self._child.stdin.fileno(), self._child.stdout.fileno()

    def _step(self):
        """One turn of the loop; False when the emulator's console has ended."""
        watch = [self._out] + ([0] if self.interactive else [])
        ready = select.select(watch, [], [], 0.25)[0]
        if self._out in ready:
            try:
                data = os.read(self._out, 65536)
            except OSError:
                data = b""
            if not data:
                return False
            self._output(data)
        if 0 in ready and self.interactive:
            self._send(self._keys(self._user()))
        elif self._ctrl_a and not ready:
            self._ctrl_a = False
            self._send(bytes([ESCAPE]))
        self._type()
        return True

    def _send(self, data):
        try:
            os.write(self._in, data)
        except BrokenPipeError:
            pass

    def _loop(self):
        limit = self._start + self.run_.timeout if self.run_.timeout else None
        self._heard = self._start
        while self._child.poll() is None:
            if not self._step():
                break
            now = time.monotonic()
            if self.silent and self.status is None and now > self._heard + self.run_.silence and not self._asked():
                self.silent(self.run_.silence)
                self.silent = None
            if self.status is not None and now > self._deadline:
                break
            if self.status is None and limit and now > limit:
                self._end(TIMEOUT, "no end after %d s; last line: %s%s"
                          % (self.run_.timeout, self._last(), self._monitor_text()), 0)

    def _monitor_text(self):
        """What the hypervisor's monitor says of a machine that hangs: all of it in the console log, each CPU's line and
        recent events here."""
        if self.run_.bare or self.run_.emu != "qemu":
            return ""
        said = []
        for key in self._monitor_keys():
            start = len(self.lines)
            self._send(key)
            end = time.monotonic() + MONITOR_SECONDS
            # The guest goes on meanwhile: what it prints may stand before the prompt, or before a line of the answer.
            while time.monotonic() < end and "patchbay> " not in self._partial and self._step():
                pass
            if "patchbay> " not in self._partial:
                break
            self._partial = self._partial.replace("patchbay> ", "", 1)
            told = [line[match.start():] for line in self.lines[start:] for match in [re.search(r"cpu\d+ ", line)] if match]
            if key == b"c":
                said += told
            elif key[:1] == b"e":
                said += told[-4:]
        return "".join("\n  " + line for line in said) or "\n  its monitor does not answer"

    def _monitor_keys(self):
        """What to type: into the monitor, and of each VM its matrix, statistics, CPUs and their events."""
        vms = [m.groups() for m in (re.search(r"main: VM \d+ (\S+): (\d+) CPUs", line) for line in self.lines) if m]
        keys = [b"\x14\x14"]
        for name, cpus in vms if len(vms) > 1 else [("", self.run_.smp)]:
            keys += [b"v%s\r" % name.encode()] if name else []
            keys += [b"m", b"s", b"c"] + [b"e%d\r" % c for c in range(int(cpus))]
        return keys

    def _last(self):
        return self._partial.strip() or next((x for x in reversed(self.lines) if x.strip()), "(none)")

    def _finish(self):
        """After the loop: the emulator is stopped and its own status looked at."""
        killed = False
        try:
            self._child.wait(timeout=1 if self.status is None or self.run_.emu == "qemu" else 0.1)
        except subprocess.TimeoutExpired:
            killed = True
            os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
        while select.select([self._out], [], [], 0)[0]:
            try:
                data = os.read(self._out, 65536)
            except OSError:
                break
            if not data:
                break
            self._output(data)
        if self._partial:
            self._line(self._partial)
        code = self._child.returncode
        if self.status is None and not killed and code and code & 1 and code > 1:
            self._end(code, "the guest ended the emulator with status %d" % code, 0)
        if self.status is None and self.run_.bare and code == 0:
            self._end(OK, "", 0)
        if self.status is None:
            self._end(ENDED, "the emulator ended with status %s before the guest powered off; last line: %s%s"
                      % (code, self._last(), self._emulator_text()), 0)

    def _emulator_text(self):
        if self.run_.emu != "qemu":
            return ""
        self._errors.seek(0)
        text = self._errors.read().decode("utf-8", "replace").strip()
        return "\n" + text if text else ""

    def run(self):
        os.makedirs(self.run_.out, exist_ok=True)
        self._log = open(self.run_.log, "wb") if self.run_.log else None
        self._start = time.monotonic()
        saved = None
        self._spawn()
        try:
            if self.interactive:
                saved = termios.tcgetattr(0)
                tty.setraw(0)
            self._loop()
        finally:
            if self._child.poll() is None and sys.exc_info()[0] is not None:
                os.killpg(self._child.pid, signal.SIGKILL)
            if saved is not None:
                try:
                    termios.tcsetattr(0, termios.TCSADRAIN, saved)
                except termios.error:
                    pass  # the terminal is gone
        self._finish()
        self.seconds = time.monotonic() - self._start
        if self._log:
            self._log.close()
        return self.status
