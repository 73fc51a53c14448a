# SPDX-License-Identifier: BSD-2-Clause
"""The machinery of tools/check.py: steps with results, chosen by name, run a few at a time, logs kept.
Tested by tools/tests/test_check.py and tools/tests/test_pblib.py."""
import collections
import dataclasses
import fnmatch
import itertools
import os
import shutil
import subprocess
import textwrap
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
        self.notes = []  # lines for the console
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


IMAGE = ("build/gcc",)  # what most steps need


class Unknown(Exception):
    """Words that mean no step; the text says which there are."""


def _listed(words):
    return textwrap.fill(", ".join(words), 120, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def _meant(steps, word):
    """The steps of a group, one step, those whose names a pattern fits (* ? [..]), or, if there is no step of that name, those
    whose names begin like the word beyond the group's."""
    exact = [s for s in steps if word in (s.group, s.name)]
    if exact or "/" not in word:
        return exact or [s for s in steps if fnmatch.fnmatchcase(s.group, word)]
    return [s for s in steps if fnmatch.fnmatchcase(s.name, word)] or [s for s in steps if s.name.startswith(word)]


def _named(steps, text):
    """The steps whose names after the slash are this one name, or one of these names and patterns."""
    words = [text] if any(s.short == text for s in steps) else text.split()
    found = set()
    for word in words:
        fitting = [s.name for s in steps if s.short == word or fnmatch.fnmatchcase(s.short, word)]
        if not fitting:
            raise Unknown("no step is called %s; known here:\n%s" % (word, _listed(s.name for s in steps)))
        found.update(fitting)
    return [s for s in steps if s.name in found]


def choose(steps, words=(), names="", quick=False):
    """The steps meant by words (groups, or steps by their whole names), of which those meant by names (without the group's), of
    which the quick ones. Nothing given: all but those that must be asked for. Raises Unknown for a word that means nothing."""
    found = set()
    for word in words:
        meant = _meant(steps, word)
        if not meant:
            near = [s.name for s in steps if s.group == word.split("/")[0]]
            known = near if "/" in word and near else dict.fromkeys(s.group for s in steps)
            raise Unknown("no %s is called %s; known:\n%s" % ("step" if known is near else "group or step", word, _listed(known)))
        found.update(s.name for s in meant)
    chosen = [s for s in steps if s.name in found or not (words or s.asked)]
    if names:
        chosen = _named(chosen, names)
    if quick and not any(s.quick for s in chosen):
        raise Unknown("QUICK=1 leaves out all of that; it has:\n" + _listed(s.name for s in steps if s.quick))
    return [s for s in chosen if s.quick or not quick]


def with_needs(steps, chosen):
    """The chosen steps and all that they need, in the order of steps but each after what it needs."""
    by_name, wanted, order = {s.name: s for s in steps}, set(), {}

    def want(step):
        if step.name not in wanted:
            wanted.add(step.name)
            for need in step.needs:
                if need in by_name:
                    want(by_name[need])

    def add(step):
        if step.name in wanted and step.name not in order:
            for need in step.needs:
                if need in by_name:
                    add(by_name[need])
            order[step.name] = step

    for step in chosen:
        want(step)
    for step in steps:
        add(step)
    return list(order.values())


def left_out(steps, chosen):
    """Lines that say which groups a choice lacks, and of which it has a part only."""
    have, all_of = collections.Counter(s.group for s in chosen), collections.Counter(s.group for s in steps)
    none = [g for g in all_of if not have[g]]
    some = ["%s (%d of %d run)" % (g, have[g], n) for g, n in all_of.items() if 0 < have[g] < n]
    return _listed(none + some or ["nothing"])


# How much of the machine a step takes.
LIGHT = "light"  # about one CPU: a tool, an emulator of one or two CPUs
HEAVY = "heavy"  # several: an emulator of more CPUs, a tool that starts several processes; light ones may run beside it
ALONE = "alone"  # all of it, or what others use (the output folder): nothing runs beside it
BOUND = 3600  # seconds


def emulator(smp):
    """The weight of an emulator with that many CPUs, as QEMU's -smp has it."""
    return LIGHT if int(str(smp).split(",", maxsplit=1)[0]) <= 2 else HEAVY


@dataclasses.dataclass(eq=False)
class Step:
    name: str  # group/name
    action: object  # called with Results
    needs: tuple = ()  # names of steps that must have passed
    weight: str = LIGHT
    shares: tuple = ()  # names of what no two steps may use at once: a folder, a file's name
    packages: tuple = ()  # what it needs of the distribution, and may do without by skipping
    quick: bool = False  # part of QUICK=1
    asked: bool = False  # runs only where its group or name is given
    bound: int = BOUND  # seconds after which it is ended, against hanging only: the neighbour may be slow, too

    @property
    def group(self):
        return self.name.split("/")[0]

    @property
    def short(self):
        return self.name.partition("/")[2]


class _Job:
    """A step that runs."""

    def __init__(self, step, results, action):
        self.step, self.results, self.started, self.ended = step, results, time.monotonic(), False
        self.end = self.started + step.bound
        self.thread = threading.Thread(target=action, args=(self,), daemon=True)


class Runner:
    """Runs steps, each after what it needs, as many at once as there are places, at most half of them heavy. An alone one is
    not overtaken. The results are printed in the order of the list, whichever step is done first; one place: one after the
    other in that order."""

    GRACE = 30  # seconds from ending what a step started to going on without it

    def __init__(self, steps, logs, places=2, emit=print):
        self.steps, self.logs, self.places, self.emit = with_needs(steps, steps), logs, places, emit
        self.passed, self.failed, self.skipped = 0, 0, 0
        self._ok = {}  # of those that ended
        self._said = {}  # their lines, until their turn
        self._unsaid = [s.name for s in self.steps]
        self._lock = threading.Condition()
        self._running = []

    def _next(self, waiting):
        """The step to start now, or None. The heavy ones first: with what is light beside them, their sum is the time it takes."""
        running = [job.step for job in self._running]
        if not waiting or len(running) >= self.places or any(s.weight == ALONE for s in running):
            return None
        if waiting[0].weight == ALONE or self.places == 1:
            return None if running else waiting[0]
        heavy = sum(s.weight == HEAVY for s in running) < max(1, self.places // 2)
        used = {name for s in running for name in s.shares}
        known = {s.name for s in self.steps}
        before = itertools.takewhile(lambda s: s.weight != ALONE, waiting)
        fit = [s for s in before if not used & set(s.shares) and all(n in self._ok or n not in known for n in s.needs)]
        light = [s for s in fit if s.weight == LIGHT]
        return next(iter([s for s in fit if heavy and s.weight == HEAVY] + light), None)

    def _run(self, job):
        step, results = job.step, job.results
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
        with self._lock:
            self._finish(job)
        results.close()

    def _finish(self, job):
        if job not in self._running:
            return  # it ended after all, too late
        step, results = job.step, job.results
        good = not results.failed
        self._ok[step.name] = good
        self.passed += results.passed
        self.failed += len(results.failed)
        self.skipped += results.skipped
        skipped = ", %d skipped" % results.skipped if results.skipped else ""
        word = "FAILED" if not good else "ok" if results.passed else "skip"
        said = ["%-6s %-34s %4d passed%s  %.1f s" % (word, step.name, results.passed, skipped, time.monotonic() - job.started)]
        said += results.notes
        said += ["         skipped: %s" % text for text in results.reasons]
        said += ["         %s" % text.strip().splitlines()[0][:200] for text in results.failed[:8]]
        if not good:
            said.append("         log: %s" % results.log_path)
        self._said[step.name] = said
        while self._unsaid and self._unsaid[0] in self._said:
            self._say(self._unsaid.pop(0))
        self._running.remove(job)
        self._lock.notify_all()

    def _say(self, name):
        self.emit("\n".join(self._said.pop(name)))

    def say_rest(self):
        """When the check is interrupted: the results that still wait for an earlier one's, and what was running."""
        if not self._lock.acquire(timeout=2):
            return
        for name in [n for n in self._unsaid if n in self._said]:
            self._say(name)
        self.emit("interrupted: %s" % (" ".join(job.step.name for job in self._running) or "between two steps"))
        self._lock.release()

    def _bounds(self):
        """Ends what is over its bound, and says in how many seconds to look again."""
        now = time.monotonic()
        for job in [j for j in self._running if j.end <= now]:
            if job.ended:  # its own Python code hangs: nothing ends a thread
                self._finish(job)
                continue
            job.ended, job.end = True, now + self.GRACE
            job.results.fail("no end after %d s" % job.step.bound)
            lifeline.end_children(job.thread.native_id)
        return max(0.01, min((job.end for job in self._running), default=now + 1) - now)

    def run(self):
        """Runs everything; True if nothing failed."""
        waiting = list(self.steps)
        with self._lock:
            while waiting or self._running:
                step = self._next(waiting)
                if step is None:
                    self._lock.wait(self._bounds())
                    continue
                waiting.remove(step)
                job = _Job(step, Results(os.path.join(self.logs, step.name.replace("/", "-") + ".log")), self._run)
                self._running.append(job)
                job.thread.start()
        return self.failed == 0
