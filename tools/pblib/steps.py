# SPDX-License-Identifier: BSD-2-Clause
"""The machinery of tools/check.py: steps with results, run a few at a time, logs kept.
Tested by tools/tests/test_pblib.py."""
import dataclasses
import os
import subprocess
import threading
import time
import traceback

from pblib import lifeline


class Results:
    """What one step found: named sub-tests, each counted."""

    def __init__(self, log_path):
        self.log_path = log_path
        self.passed, self.failed, self.skipped = 0, [], 0
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


@dataclasses.dataclass
class Step:
    name: str
    group: str
    action: object  # called with Results
    needs: tuple = ()  # names of steps that must have passed
    alone: bool = False  # uses all CPUs: nothing beside it


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
                step.action(results)
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
        self.emit("%-6s %-34s %4d passed%s  %.1f s" % ("ok" if good else "FAILED", step.name, results.passed,
                                                      skipped, seconds))
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
