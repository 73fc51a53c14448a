# SPDX-License-Identifier: BSD-2-Clause
"""The machinery of tools/check.py: steps with results, run a few at a time, logs kept.
Tested by tools/tests/test_pblib.py."""
import dataclasses
import os
import shutil
import subprocess
import threading
import time
import traceback

from pblib import lifeline


class Skip(Exception):
    """Raised by a step that cannot be done here; the text says why."""


class Results:
    """What one step found: named sub-tests, each counted."""

    def __init__(self, log_path):
        self.log_path = log_path
        self.passed, self.failed, self.skipped = 0, [], 0
        self.reasons = []  # of skips, for the console
        os.makedirs(os.path.dirname(log_path), exist_ok=True)
        self._log = open(log_path, "w", encoding="utf-8", errors="replace")

    def log(self, text):
        self._log.write(text if text.endswith("\n") else text + "\n")
        self._log.flush()

    def expect(self, condition, text):
        """One counted check."""
        if condition:
            self.passed += 1
        else:
            self.fail(text)
        return condition

    def fail(self, text):
        self.failed.append(text)
        self.log("FAILED: " + text)

    def skip(self, text):
        """Something that cannot be checked here, and why: counted, and said on the console."""
        self.skipped += 1
        self.reasons.append(text)
        self.log("SKIPPED: " + text)

    def report(self, name, ktap):
        """Each test of a KTAP report is one check."""
        self.passed += len(ktap.passed)
        self.skipped += len(ktap.skipped)
        for test in ktap.failed:
            self.fail("%s: %s" % (name, test))
        if ktap.problem:
            self.fail("%s: %s" % (name, ktap.problem))

    def command(self, args, timeout, env=None, text=None):
        """Runs a command with its output in the log; one check. Returns its output."""
        self.log("$ " + " ".join(args))
        code, output = run_command(args, timeout, env)
        self.log(output)
        self.expect(code == 0, text or "%s: status %s" % (" ".join(args), code))
        return output

    def close(self):
        self._log.close()


def run_command(args, timeout, env=None):
    """(status or "timeout", output). A step that exceeds its bound fails, it does not hang the rest."""
    full = dict(os.environ, **(env or {}))
    try:
        done = subprocess.run(lifeline.tied(args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=timeout, env=full, check=False)
        return done.returncode, done.stdout.decode("utf-8", "replace")
    except subprocess.TimeoutExpired as e:
        return "timeout after %d s" % timeout, (e.stdout or b"").decode("utf-8", "replace")
    except OSError as e:
        return "not started: %s" % e, ""


def missing_packages(out):
    """What tools/setup.sh could not install, as the distribution has no such package."""
    try:
        with open(os.path.join(out, "missing-packages"), encoding="ascii") as f:
            return set(f.read().split())
    except OSError:
        return set()


def needs_package(out, *packages):
    """Raises Skip where the distribution lacks one of them. Not for one that is merely not installed: that is a failure."""
    lost = sorted(missing_packages(out) & set(packages))
    if lost:
        raise Skip("this distribution has no package %s" % " ".join(lost))


def second_folder(out):
    """An empty output folder for building everything again; what was fetched is there. Not as a copy: unpacked packages
    have links that lead nowhere, and hundreds of megabytes."""
    again = os.path.join(out, "again")
    shutil.rmtree(again, ignore_errors=True)
    os.makedirs(again)
    os.symlink(os.path.abspath(os.path.join(out, "cache")), os.path.join(again, "cache"))
    return again


def choose(steps, words):
    """The steps meant by the words: a group, a step, or, if there is no step of that name, the beginning of several steps'
    names, which goes beyond the group's. None: all."""
    def meant(step, word):
        if "/" not in word or any(s.name == word for s in steps):
            return word in (step.group, step.name)
        return step.name.startswith(word)

    return [s for s in steps if not words or any(meant(s, w) for w in words)]


@dataclasses.dataclass
class Step:
    name: str
    group: str
    action: object  # called with Results
    needs: tuple = ()  # names of steps that must have passed
    alone: bool = False  # uses all CPUs: nothing beside it
    packages: tuple = ()  # what it needs of the distribution, and may do without by skipping


class Runner:
    def __init__(self, steps, logs, parallel=2, emit=print):
        self.steps, self.logs, self.parallel, self.emit = list(steps), logs, parallel, emit
        self.passed, self.failed, self.skipped = 0, 0, 0
        self._ok = {}
        self._lock = threading.Condition()
        self._running = []

    def _startable(self, step):
        names = {s.name for s in self.steps}
        if any(n in names and n not in self._ok for n in step.needs):
            return False
        if step.alone:
            return not self._running
        return len(self._running) < self.parallel and not any(s.alone for s in self._running)

    def _run(self, step):
        started = time.monotonic()
        results = Results(os.path.join(self.logs, step.name.replace("/", "-") + ".log"))
        broken = [n for n in step.needs if self._ok.get(n) is False]
        try:
            if broken:
                results.fail("not run: %s failed" % ", ".join(broken))
            else:
                needs_package(os.path.dirname(self.logs), *step.packages)
                step.action(results)
        except Skip as e:
            results.skip(str(e))
        except Exception as e:  # a step's own defect is its failure, not the end of the check
            results.log(traceback.format_exc())
            results.fail("%s: %s" % (type(e).__name__, e))
        if not results.failed and not results.passed and not results.skipped:
            results.fail("checked nothing")
        results.close()
        with self._lock:
            self._finish(step, results, time.monotonic() - started)

    def _finish(self, step, results, seconds):
        good = not results.failed
        self._ok[step.name] = good
        self.passed += results.passed
        self.failed += len(results.failed)
        self.skipped += results.skipped
        skipped = ", %d skipped" % results.skipped if results.skipped else ""
        word = "FAILED" if not good else "ok" if results.passed else "skip"
        self.emit("%-6s %-34s %4d passed%s  %.1f s" % (word, step.name, results.passed, skipped, seconds))
        for text in results.reasons:
            self.emit("         skipped: %s" % text)
        for text in results.failed[:8]:
            self.emit("         %s" % text.strip().splitlines()[0][:200])
        if not good:
            self.emit("         log: %s" % results.log_path)
        self._running.remove(step)
        self._lock.notify_all()

    def run(self):
        """Runs everything; True if nothing failed."""
        waiting = list(self.steps)
        threads = []
        with self._lock:
            while waiting:
                step = next((s for s in waiting if self._startable(s)), None)
                # A step that needs the machine for itself is not overtaken for ever.
                if waiting[0].alone and step is not waiting[0] and all(n in self._ok for n in waiting[0].needs):
                    step = None
                if step is None:
                    self._lock.wait()
                    continue
                waiting.remove(step)
                self._running.append(step)
                thread = threading.Thread(target=self._run, args=(step,))
                threads.append(thread)
                thread.start()
        for thread in threads:
            thread.join()
        return self.failed == 0
