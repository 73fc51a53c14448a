# SPDX-License-Identifier: BSD-2-Clause
"""Steps that boot something: Linux sessions and the guest tests. Tested by being what `make check` runs."""
import itertools
import json
import os
import pty
import random
import re
import select
import socket
import subprocess
import threading
import time

from pblib import config, emu, ktap, lifeline, linuxlog, session

OUT = os.environ.get("O") or "build"
LOGS = os.path.join(OUT, "logs")


def boot(results, name, run, done=None):
    """One emulator run with its console in the log folder; the finished Session, or None."""
    run.out, run.name, run.log = OUT, "check-" + name, os.path.join(LOGS, name + ".console")
    results.log("console: " + run.log)
    s = session.Session(run, done=done)
    try:
        s.run()
    except emu.Problem as e:
        results.fail(str(e))
        return None
    finally:
        for suffix in ("iso", "iso.log", "ovmf-vars"):
            if os.path.exists(run.file(suffix)):
                os.remove(run.file(suffix))
    results.log("status %s after %.1f s: %s" % (s.status, s.seconds, s.reason or "powered off"))
    return s


def judge_linux(results, s, run, options):
    """The scripted session's own verdict, the kernel's complaints, the statistics."""
    results.expect(s.status == session.OK, "status %s: %s" % (s.status, s.reason))
    for line in s.lines:
        if line.startswith("pb: FAIL") or line.startswith("pbload: FAIL"):
            results.fail("in the guest: " + line)
        elif line.startswith("pb: ok"):
            results.passed += 1
    results.expect("pb: session ok" in s.lines, "the session did not finish")
    results.expect("pb: nproc %d" % run.smp in s.lines, "nproc is not %d" % run.smp)
    if run.cpu == "max" and run.emu == "qemu" and any(line.startswith("pbload: ok") for line in s.lines):
        results.expect("pbload: level x86-64-v3" in s.lines, "the processors are not of level x86-64-v3")
    if run.bare:
        return
    found = linuxlog.complaints(s.lines)
    results.expect(not found, "the guest kernel complains: " + " | ".join(found[:4]))
    problems = linuxlog.check_stats(s.stats[-1] if s.stats else None, options, run.smp)
    for text in problems:
        results.fail("statistics: " + text)
    if not problems:
        results.passed += 1


def linux(name, script, hv="", ops=20, append="", timeout=900, **fields):
    """An action that boots Linux with a scripted session and judges it."""

    def action(results):
        run = config.Run(kernel=os.path.join(OUT, "cache/vmlinuz"), initrd=os.path.join(OUT, "initrd.gz"),
                         append="console=ttyS0 pb.script=%s pb.ops=%d %s" % (script, ops, append), hv=hv,
                         timeout=timeout, test=True, own_initrd=True, **fields)
        s = boot(results, name, run)
        if s is None:
            return
        options = dict(word.partition("=")[::2] for word in hv.split())
        judge_linux(results, s, run, options)
        if s.stats and not run.bare:
            never = linuxlog.unforeseen(s.stats[-1], options)
            results.expect(not never, "statistics: never happened: " + ", ".join(never))

    return action


def guest_tests(name, smp, bare, hv="", append="", timeout=900, mem=256, bochs=False, image="tests.bin",
                machine="pc", cpu="max", words="role=linux", extra=(), iommu="none", findings=False, most=()):
    """An action that runs a guest test image and counts each of its KTAP tests. findings: the audit may find what no CPU
    wrote. most: (statistic, its largest total)."""
    output, passed = ("bochs-out", session.OK) if bochs else ("debugcon", 33)

    def action(results):
        run = config.Run(kernel=os.path.join(OUT, "guest", image), append=append, smp=smp, mem=mem,
                         hv="" if bare else (hv + " test=1").strip(), bare=bare, test=True, timeout=timeout,
                         emu="bochs" if bochs else "qemu", machine=machine, cpu=cpu, words=words, extra=extra, iommu=iommu)
        s = boot(results, name, run)
        if s is None:
            return
        with open(run.file(output), encoding="utf-8", errors="replace") as f:
            text = f.read()
        results.log(text)
        start = text.find("KTAP version")
        report = ktap.parse(text[max(start, 0):])
        if start < 0:
            report.problem = "no KTAP output"
        results.report(name, report)
        # isa-debug-exit: (0x10 << 1) | 1 is the image's "passed"; Bochs has no such port and just ends.
        if not (bochs and bare and s.status == session.ENDED):
            results.expect(s.status == passed, "status %s, not %d: %s" % (s.status, passed, s.reason))
        if not bare:
            results.expect(s.stats, "no statistics at the end")
            bad = [x for x in s.stats if linuxlog.total(x, "audit_findings")]
            for key, limit in most:
                results.expect(s.stats and linuxlog.total(s.stats[-1], key) <= limit, "%s is more than %d" % (key, limit))
            results.expect(findings or not bad, "audit findings in the statistics")

    return action


class Pauses(threading.Thread):
    """Stops the emulated machine and lets it go on, again and again, by QMP: each time every CPU is kicked out of
    whatever it does."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.done, self.count = path, threading.Event(), 0

    def run(self):
        with socket.socket(socket.AF_UNIX) as s:
            while s.connect_ex(self.path):  # the emulator does not listen yet
                if self.done.wait(0.1):
                    return
            replies = s.makefile("r")
            chance = random.Random(1)
            try:
                for command in itertools.chain(["qmp_capabilities"], itertools.cycle(["stop", "cont"])):
                    s.sendall((json.dumps({"execute": command}) + "\n").encode())
                    while '"return"' not in (replies.readline() or '"return"'):
                        pass
                    self.count += command == "cont"
                    if command == "cont" and self.done.wait(0.05 * chance.random()):
                        return
            except OSError:
                pass  # the machine has ended


def paused(results):
    """An emulator that is stopped and goes on hundreds of times, as a user's monitor or debugger does it: QEMU 7.2
    delivers an interrupt twice that VMRUN injected just before."""
    run = config.Run(kernel=os.path.join(OUT, "cache/vmlinuz"), initrd=os.path.join(OUT, "initrd.gz"),
                     append="console=ttyS0 pb.script=smoke pb.ops=20", hv="audit=2", timeout=900, test=True, own_initrd=True)
    run.out, run.name = OUT, "check-linux-paused"
    path = run.file("qmp")
    if os.path.exists(path):
        os.remove(path)
    run.extra = ["-qmp", "unix:%s,server=on,wait=off" % path]
    pauses = Pauses(path)
    pauses.start()
    s = boot(results, "linux-paused", run)
    pauses.done.set()
    if s is None:
        return
    judge_linux(results, s, run, {"audit": "2"})
    results.expect(pauses.count > 100, "stopped %d times only" % pauses.count)
    results.log("stopped %d times" % pauses.count)


def tasks_stopped(results):
    """Hardware task switches on QEMU, which does not let them be intercepted: the VM ends with a message that says so."""
    run = config.Run(kernel=os.path.join(OUT, "guest/tests-32.bin"), append="test=task.switch tasks=1", smp=2, mem=512,
                     hv="test=1", test=True, timeout=300)
    s = boot(results, "guest-tasks-stopped", run)
    if s is None:
        return
    results.expect(s.status == session.PARKED, "status %s: %s" % (s.status, s.reason))
    said = [line for line in s.lines if "a hardware task switch, which this machine" in line]
    results.expect(said, "nothing says that a task switch was the cause")


class Terminal:
    """`make run` on a pseudo-terminal, as a person has it."""

    def __init__(self, args, log):
        self.master, slave = pty.openpty()
        self.child = subprocess.Popen(lifeline.tied(args), stdin=slave, stdout=slave, stderr=slave, close_fds=True,
                                      start_new_session=True)
        os.close(slave)
        self.text, self.log = "", open(log, "wb")

    def find(self, pattern, timeout):
        """The pattern's first group once the console shows it, or None."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            match = re.search(pattern, self.text)
            if match:
                self.text = self.text[match.end():]
                return match.group(1) if match.re.groups else match.group(0)
            if not self.read():
                break
        return None

    def read(self):
        """Takes what the console has; False at its end."""
        if select.select([self.master], [], [], 0.5)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                data = b""
            if not data:
                return False
            self.log.write(data)
            self.text += session.ANSI.sub("", data.decode("utf-8", "replace"))
        return True

    def wait_for(self, pattern, timeout):
        return self.find(pattern, timeout) is not None

    def send(self, text):
        os.write(self.master, text.encode())

    def close(self):
        try:
            return self.child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self.child.pid, 9)
            return None
        finally:
            self.log.close()
            os.close(self.master)


def terminal(quit_by_escape, env):
    """An action that uses the interactive shell: CPU count, job control, and the two ways out."""

    def action(results):
        log = os.path.join(LOGS, "terminal-%s.console" % ("escape" if quit_by_escape else "exit"))
        words = ["%s=%s" % item for item in env.items()]
        t = Terminal(["make", "--no-print-directory", "O=" + OUT, "run"] + words, log)
        prompt = r"patchbay:\S*[#$] "
        if results.expect(t.wait_for(r"patchbay-guest: shell", 600) and t.wait_for(prompt, 60), "no shell"):
            t.send("echo cpus=$(nproc)\r")
            results.expect(t.wait_for(r"\ncpus=%s\r" % env.get("SMP", "4"), 60), "nproc")
            t.wait_for(prompt, 30)
            t.send("sleep 1000\r")
            t.wait_for("sleep 1000", 30)
            time.sleep(2)
            t.send("\x03")
            results.expect(t.wait_for(prompt, 60), "Ctrl-C does not reach the guest")
            t.send("\x01x" if quit_by_escape else "exit\r")
        status = t.close()
        results.expect(status == 0, "make run ended with status %s" % status)

    return action
