#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of tools/pblib/lifeline.py and of every tool that starts an emulator: whatever ends the tool, its make or its
terminal, the emulator is gone. A program that only sleeps is the emulator. Run by the unit group of tools/check.py."""
import glob
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TOOLS)
from pblib import lifeline  # pylint: disable=wrong-import-position

LIMIT = 60  # seconds, against hanging only
count, bad = 0, 0


def ok(condition, name):
    global count, bad
    count += 1
    bad += not condition
    print("%sok %d - %s" % ("" if condition else "not ", count, name), flush=True)


def until(condition):
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def runs(pid):
    """Not if it is only waited for."""
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8") as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Place:
    """A folder with a sleeping program under the emulators' names, which leaves its process id in "pid"."""

    def __init__(self, folder):
        self.folder, self.pid_file = folder, folder + "/pid"
        for name in ("qemu-system-x86_64", "bochs-bin", "gdb"):
            path = "%s/bin/%s" % (folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="ascii") as f:
                f.write("#!/bin/sh\n%sexec sleep 1000\n" % ("" if name == "gdb" else "echo $$ >%s.new; mv %s.new %s\n" % ((self.pid_file,) * 3)))
            os.chmod(path, 0o755)
        with open(folder + "/kernel", "wb") as f:
            f.write(b"a kernel")
        with open(folder + "/Makefile", "w", encoding="ascii") as f:
            f.write("outer:\n\t@$(MAKE) --no-print-directory inner\ninner:\n\t@$(TOOL)\n"
                    "shell:\n\t@echo | $(TOOL) >/dev/null; echo ended\n")
        drop = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "HV", "MODULES", "INITRD", "IMAGE", "EMU", "FW", "DIRECT", "USB", "TEST")
        self.env = {k: v for k, v in os.environ.items() if k not in drop}
        self.env.update(PATH=folder + "/bin:" + os.environ["PATH"], PYTHONPATH=TOOLS, O=folder, NAME="life", BARE="1",
                        KERNEL=folder + "/kernel", APPEND="", TIMEOUT="900")

    def start(self, args, **fields):
        """(the process, its emulator's id)."""
        if os.path.exists(self.pid_file):
            os.remove(self.pid_file)
        fields = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **fields}
        # As from a terminal, also where this test itself runs under nohup.
        child = subprocess.Popen(lifeline.tied(args), cwd=self.folder, env=self.env, start_new_session=True,
                                 preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL), **fields)
        if not until(lambda: os.path.exists(self.pid_file) or child.poll() is not None) or child.poll() is not None:
            return child, None
        with open(self.pid_file, encoding="ascii") as f:
            return child, int(f.read())

    def judge(self, name, child, emulator, end):
        """end() ends something; then the emulator must be gone."""
        ok(emulator is not None and runs(emulator), name + ": the emulator runs")
        if emulator is None:
            child.kill()
            child.wait()
            return
        end()
        ok(until(lambda: not runs(emulator)), name + ": the emulator is gone")
        if runs(emulator):
            os.kill(emulator, signal.SIGKILL)
        try:
            child.wait(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            ok(False, name + ": the tool does not end")
            child.kill()
            child.wait()


RUN = [sys.executable, TOOLS + "/run.py"]
LAUNCH = [sys.executable, TOOLS + "/gdb/launch.py"]
PROLOGUE = "from pblib import config, emu; "
TOOL_CODE = {  # what else starts emulators, each as its users call it
    "consoles.Machine": "from pblib import consoles; m = consoles.Machine('life', kernel='none', bare=False)\nwhile m.pump(): pass",
    "benchguest.Machine": PROLOGUE + "from pblib import benchguest; "
                          "benchguest.Machine('life', config.Run(out='.', name='b', log='log', bare=True, kernel='kernel')).boot()",
    "session, bochs": PROLOGUE + "from pblib import session; emu.make_bare_image = lambda run: 'none'; "
                      "session.Session(config.Run(out='.', emu='bochs', bare=True, kernel='kernel')).run()",
    "a step's command": "import sys; from pblib import steps; steps.run_command([sys.executable, '%s/run.py'], 900)" % TOOLS,
    "a step's thread": "import sys, threading; from pblib import steps; threading.Thread(target=steps.run_command, "
                       "args=([sys.executable, '%s/run.py'], 900)).start()" % TOOLS,
}


def test_tools(place):
    for name, args in [("run.py", RUN), ("gdb/launch.py", LAUNCH)]:
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP):
            child, emulator = place.start(args)
            place.judge("%s, %s" % (name, number.name), child, emulator, lambda c=child, n=number: c.send_signal(n))
    for name, code in TOOL_CODE.items():
        child, emulator = place.start([sys.executable, "-c", code])
        place.judge(name + ", SIGKILL", child, emulator, child.kill)
    child, emulator = place.start([os.path.dirname(TOOLS) + "/guest/run-bare.sh", "kernel"])
    place.judge("run-bare.sh, SIGKILL", child, emulator, child.kill)


def child_of(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid), encoding="ascii") as f:
        return int(f.read().split()[0])


def test_make(place):
    for tool, args in (("run.py", RUN), ("gdb/launch.py", LAUNCH)):
        for target in ("outer", "shell"):
            for number in (signal.SIGKILL, signal.SIGTERM):
                child, emulator = place.start(["make", target, "TOOL=" + " ".join(args)])
                place.judge("make %s of %s, %s" % (target, tool, number.name), child, emulator,
                            lambda c=child, n=number: c.send_signal(n))
    child, emulator = place.start(["make", "outer", "TOOL=" + " ".join(RUN)])
    place.judge("the inner make, SIGKILL", child, emulator, lambda: os.kill(child_of(child.pid), signal.SIGKILL))


def test_terminal(place):
    """The terminal's other end is closed: a window is, or a connection breaks. Whether or not the signal arrives, a tool
    that reads keys sees that nobody is left to type them."""
    for name, prefix in (("the terminal", []), ("the terminal, SIGHUP ignored", ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"])):
        master, slave = pty.openpty()
        code = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
        child, emulator = place.start([sys.executable, "-c", code] + prefix + ["make", "outer", "TOOL=" + " ".join(RUN)],
                                      stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        place.judge(name, child, emulator, lambda m=master: os.close(m))


def test_everyone(_place):
    """No tool starts a process that lives on: Popen of an emulator goes through lifeline."""
    for path in sorted(glob.glob(TOOLS + "/**/*.py", recursive=True)):
        with open(path, encoding="utf-8") as f:
            text = f.read()
        if os.path.basename(path) == "lifeline.py" or "/tests/" in path:
            continue
        if "qemu_args(" in text or "bochs_args(" in text:
            loose = [m for m in re.findall(r"subprocess\.(?:Popen|run)\((.*)", text) if not m.startswith("lifeline.tied(")]
            ok(not loose, "%s ties what it starts: %s" % (os.path.relpath(path, TOOLS), loose))


def test_tied(_place):
    done = subprocess.run(lifeline.tied(["sh", "-c", "echo $PPID; exit 7"]), stdout=subprocess.PIPE, check=False)
    ok(done.returncode == 7 and int(done.stdout) == os.getpid(), "a tied program is the child itself, with its status")
    done = subprocess.run([sys.executable, lifeline.TIED, "--parent", "1", "echo", "late"], stdout=subprocess.PIPE, check=False)
    ok(done.returncode == 1 and not done.stdout, "what starts after its parent's end does not start")
    done = subprocess.run(lifeline.tied(["no-such-program"]), stderr=subprocess.PIPE, check=False)
    ok(done.returncode == 127 and b"no-such-program" in done.stderr, "a program that is not there is named")


def main():
    with tempfile.TemporaryDirectory() as folder:
        place = Place(folder)
        for test in (test_tied, test_everyone, test_tools, test_make, test_terminal):
            test(place)
    print("1..%d" % count)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
