#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of tools/check.py, tools/pblib/steps.py and the lists of steps: which are chosen, which run at once, in what order
their results come, what becomes of one that fails or hangs. Run by the unit group of tools/check.py."""
import glob
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TOOLS)
import check  # pylint: disable=wrong-import-position
import steps as registered  # pylint: disable=wrong-import-position
from pblib import lifeline, steps  # pylint: disable=wrong-import-position
from pblib.steps import ALONE, HEAVY, LIGHT, Step  # pylint: disable=wrong-import-position

LIMIT = 60  # seconds, against hanging only
count, bad = 0, 0


def ok(condition, name):
    global count, bad
    count += 1
    bad += not condition
    print("%sok %d - %s" % ("" if condition else "not ", count, name.replace("\n", " ")), flush=True)


class Stage:
    """Steps that say when they begin and end only when they are told to: which run at once does not depend on time."""

    def __init__(self, places, *rows):
        self.changed, self.running, self.told, self.began = threading.Condition(), set(), set(), []
        self.lines, folder = [], tempfile.TemporaryDirectory()
        self.folder = folder
        made = [Step("t/" + name, self.action(name), tuple("t/" + n for n in fields.pop("needs", ())), **fields)
                for name, fields in rows]
        self.runner = steps.Runner(made, folder.name + "/logs", places, self.lines.append)
        self.thread = threading.Thread(target=self.runner.run, daemon=True)
        self.thread.start()

    def action(self, name):
        def run(results):
            with self.changed:
                self.running.add(name)
                self.began.append(name)
                self.changed.notify_all()
                while name not in self.told and name + "!" not in self.told:
                    self.changed.wait()
                self.running.remove(name)
                self.changed.notify_all()
                results.expect(name in self.told, name + " went wrong")

        return run

    def are(self, *names):
        """These run, no others, and it stays so: the runner waits for a change."""
        with self.changed:
            reached = self.changed.wait_for(lambda: self.running == set(names), LIMIT)
        time.sleep(0.05)
        return reached and self.running == set(names)

    def end(self, *names):
        """They end; with ! as failures."""
        with self.changed:
            self.told.update(names)
            self.changed.notify_all()

    def over(self):
        self.thread.join(LIMIT)
        self.folder.cleanup()
        return not self.thread.is_alive()

    def printed(self):
        return [re.match(r"(\w+) +t/(\w+)", text).groups() for text in self.lines]


def test_pairs():
    s = Stage(2, ("a", {}), ("b", {}), ("c", {}))
    ok(s.are("a", "b"), "two light steps run at once, the third does not")
    s.end("b")
    ok(s.are("a", "c"), "it takes the place of the second")
    ok(s.lines == [], "the result of the second waits for the first's")
    s.end("a", "c")
    ok(s.over() and s.printed() == [("ok", "a"), ("ok", "b"), ("ok", "c")], "results come in the list's order")
    heavy = {"weight": HEAVY}
    s = Stage(2, ("h", heavy), ("i", heavy), ("l", {}), ("m", {}))
    ok(s.are("h", "l"), "never two heavy ones: a light one goes first")
    s.end("l")
    ok(s.are("h", "m"), "and the next")
    s.end("h")
    ok(s.are("i", "m"), "a heavy one follows a heavy one")
    s.end("i", "m")
    ok(s.over() and [n for _, n in s.printed()] == ["h", "i", "l", "m"], "and still in the list's order")
    s = Stage(4, *((n, heavy) for n in "hij"), ("l", {}), ("m", {}), ("n", {}))
    ok(s.are("h", "i", "l", "m"), "four CPUs: two of each")
    s.end(*"hijlmn")
    ok(s.over(), "all end")


def test_alone():
    s = Stage(2, ("a", {}), ("x", {"weight": ALONE}), ("b", {}), ("h", {"weight": HEAVY}))
    ok(s.are("a"), "a step that runs alone is not overtaken")
    s.end("a")
    ok(s.are("x"), "nothing beside it")
    s.end("x")
    ok(s.are("b", "h"), "then the rest")
    s.end("b", "h")
    ok(s.over(), "all end")
    s = Stage(1, ("h", {"weight": HEAVY}), ("b", {}), ("x", {"weight": ALONE}), ("c", {}))
    for name in "hbxc":
        ok(s.are(name), "one place: %s runs by itself" % name)
        s.end(name)
    ok(s.over() and s.began == list("hbxc"), "in the list's order")


def test_shares():
    s = Stage(3, ("a", {"shares": ("make",)}), ("b", {"shares": ("make", "memory")}), ("c", {"shares": ("memory",)}), ("d", {}))
    ok(s.are("a", "c", "d"), "two that use one folder do not run at once")
    s.end("a")
    ok(s.are("c", "d"), "nor those that share the other")
    s.end("c")
    ok(s.are("b", "d"), "but one after the other")
    s.end("b", "d")
    ok(s.over(), "all end")


def test_needs():
    s = Stage(2, ("late", {"needs": ("first",)}), ("first", {"weight": ALONE}), ("bad", {}), ("after", {"needs": ("bad",)}),
              ("beyond", {"needs": ("after",)}), ("other", {}))
    ok(s.are("first"), "what a step needs goes before it")
    s.end("first", "late", "bad!", "other")
    ok(s.over() and s.printed() == [("ok", "first"), ("ok", "late"), ("FAILED", "bad"), ("FAILED", "after"), ("FAILED", "beyond"),
                                    ("ok", "other")], "a failure goes on to what needs it, and no further: %s" % s.printed())
    ok(not {"after", "beyond"} & set(s.began), "that is not run")
    ok("not run: t/bad failed" in s.lines[3] and "not run: t/after failed" in s.lines[4], "and says why")
    ok((s.runner.passed, s.runner.failed) == (3, 3), "and is counted")


def test_output():
    def loud(text, good):
        def action(results):
            results.notes += [text + " note"] * 3
            for _ in range(50):
                results.expect(good, text + " is bad")
        return action

    with tempfile.TemporaryDirectory() as out:
        said = []
        runner = steps.Runner([Step("a/%d" % i, loud("step %d" % i, i % 2)) for i in range(8)], out + "/logs", 4, said.append)
        runner.run()
    ok(len(said) == 8 and all(len(set(re.findall(r"\bstep (\d)", text))) == 1 for text in said),
       "a step's lines are printed in one piece")
    ok(said[0].count("\n") == 12 and "log: " in said[0] and said[0].count("is bad") == 8, "a failing one's first failures, and its log")


def test_hang():
    ended = []

    def command(results):
        results.command(["sleep", "1000"], 1)

    def program(results):
        child = subprocess.Popen(lifeline.tied(["sleep", "1000"]))
        ended.append(child.wait())
        results.expect(True, "")

    def stuck(_results):
        while not ended[-1:] == ["over"]:
            time.sleep(0.05)

    rows = [Step("t/command", command), Step("t/program", program, bound=1), Step("t/stuck", stuck, bound=1),
            Step("t/after", program, ("t/stuck",)), Step("t/next", lambda r: r.expect(True, ""))]
    for places in (1, 2):
        with tempfile.TemporaryDirectory() as out:
            said, ended[:] = [], []
            runner = steps.Runner(rows, out + "/logs", places, said.append)
            runner.GRACE = 1
            thread = threading.Thread(target=runner.run, daemon=True)
            thread.start()
            thread.join(LIMIT)
            text = "\n".join(said)
            ok(not thread.is_alive(), "steps that hang do not stop the check")
            ok("timeout after 1 s" in said[0], "a command is ended by its own bound")
            ok(ended == [-signal.SIGKILL] and re.search(r"FAILED t/program.*\n +no end after 1 s", text),
               "a step by its bound, and what it has started with it")
            ok(re.search(r"FAILED t/stuck.*\n +no end after 1 s", text), "one that cannot be ended is left behind")
            ok("not run: t/stuck failed" in text and "ok     t/next" in text, "the rest goes on")
            ended.append("over")
            time.sleep(0.2)  # the log of the one left behind is closed before its folder goes


def refused(*args, **fields):
    try:
        steps.choose(*args, **fields)
    except steps.Unknown as e:
        return str(e)
    return ""


def test_choice():
    every = [Step(name, None, quick=name.endswith("-1")) for name in (
        "guest/bare-1", "guest/bare-16", "guests/rt", "linux/full-4", "linux/reload=off fresh=off", "linux/full-1", "lint/docs")]

    def names(words="", step="", quick=False):
        return " ".join(s.name.replace(" ", "_") for s in steps.choose(every, words.split(), step, quick))

    ok(names("guest*") == "guest/bare-1 guest/bare-16 guests/rt", "a pattern of groups")
    ok(names("linux/*-?") == "linux/full-4 linux/full-1", "a pattern of steps")
    ok(names("guest", "bare-1") == "guest/bare-1" and names("", "rt") == "guests/rt", "STEP= is what stands after the slash, whole")
    ok(names("linux", "full-*") == "linux/full-4 linux/full-1" and names("", "docs rt") == "guests/rt lint/docs", "patterns, several")
    ok(names("linux", "reload=off fresh=off") == "linux/reload=off_fresh=off", "a name of two words")
    ok(names("", "", True) == "guest/bare-1 linux/full-1" and names("guest", "", True) == "guest/bare-1", "QUICK=1")
    ok("group or step is called gest" in refused(every, ["gest"]) and "guest, guests, linux, lint" in refused(every, ["lint", "gest"]),
       "an unknown group, among known ones, too: %s" % refused(every, ["gest"]))
    ok("guest/bare-1, guest/bare-16" in refused(every, ["guest/x"]) and "guests/rt" not in refused(every, ["guest/x"]),
       "an unknown step of a group: the group's")
    ok("no step is called full-2" in refused(every, ["linux"], "full-4 full-2") and "linux/full-1" in refused(every, ["linux"], "full-2"),
       "an unknown name: those of the chosen groups")
    ok("QUICK=1 leaves out" in refused(every, ["lint"], quick=True), "nothing quick among them")
    ok(not refused(every), "all is no mistake")


def test_environment():
    every = [Step("build/gcc", None, quick=True), Step("build/image", None, ("build/gcc",)), Step("boot/menu", None, ("build/image",)),
             Step("lint/a", None, quick=True), Step("lint/b", None)]

    def chosen(words, **environ):
        order, said = check.chosen_steps(every, words, environ)
        return " ".join(s.name for s in order), "\n".join(said)

    ok(chosen([], GROUP="boot")[0] == "build/gcc build/image boot/menu", "what is needed by what is needed runs, too")
    ok(chosen(["boot", "lint"])[0] == "build/gcc build/image boot/menu lint/a lint/b"
       and chosen([], STEP="a menu")[0] == "build/gcc build/image boot/menu lint/a", "in the list's order")
    late = [Step("lint/a", None), Step("build/gcc", None), Step("lint/b", None, ("build/gcc",)), Step("unit/c", None, ("docs/d",)),
            Step("docs/d", None)]
    ok([s.short for s in steps.with_needs(late, [late[2], late[3]])] == ["gcc", "b", "d", "c"], "but after what it needs")
    ok(chosen(["lint"], GROUP="boot")[0] == "lint/a lint/b", "words of the command line come first")
    ok(chosen(["lint"], STEP="b")[0] == "lint/b" and chosen([], STEP="b")[0] == "lint/b", "STEP=")
    order, said = chosen([], QUICK="1")
    ok(order == "build/gcc lint/a" and "2 of 5" in said, "QUICK=1 says how much it is")
    ok(re.search(r"boot.*build \(1 of 2 run\).*lint \(1 of 2 run\)", said), "and what it leaves out: " + said)
    ok(len(chosen([], QUICK="0")[0].split()) == 5 and chosen([])[1] == "", "QUICK=0: everything, and no word about it")
    ok(check.places("1") == 1 and check.places("") == (os.cpu_count() or 2), "JOBS=")
    for wrong in ("0", "x", "-1"):
        try:
            ok(check.places(wrong) is None, "JOBS=" + wrong)
        except steps.Unknown as e:
            ok("JOBS=" + wrong in str(e), "JOBS=%s is refused" % wrong)


def test_tool():
    def tool(*args, **env):
        clean = {k: v for k, v in os.environ.items() if k not in ("GROUP", "STEP", "QUICK", "JOBS")}
        done = subprocess.run([sys.executable, TOOLS + "/check.py"] + list(args), env=dict(clean, **env), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False, timeout=LIMIT)
        return done.returncode, done.stdout.decode()

    with tempfile.TemporaryDirectory() as out:
        code, text = tool(O=out, GROUP="lint", STEP="spdx text")
        lines = text.splitlines()
        ok(re.match(r"(ok|FAILED) +lint/spdx +\d+ passed +[\d.]+ s$", lines[0]), "a line for a step: " + lines[0])
        ok(re.fullmatch(r"\d+ passed, \d+ failed", lines[-1]), "the last line: " + lines[-1])
        ok(code == (0 if lines[-1].endswith(" 0 failed") else 1), "the exit status is that of the steps")
        ok(sorted(os.listdir(out + "/logs")) == ["lint-spdx.log", "lint-text.log"], "logs")
        code, text = tool("lnt", O=out)
        ok(code == 2 and "lnt" in text and "guests" in text, "an unknown word ends it with the known ones")
        code, text = tool("linux", O=out, STEP="no*")
        ok(code == 2 and "linux/full-4" in text and "passed" not in text, "an unknown step, too")
        code, text = tool("--list", O=out, QUICK="1")
        ok(code == 0 and "lint/spdx" in text and "quick" in text and "bochs/" not in text, "--list runs nothing")
        code, text = tool("--help", O=out)
        ok(code == 0 and "QUICK=1" in text and "leaves out" in text, "--help")


INTERRUPTED = """
import sys, time
sys.path.insert(0, %r)
import check
from pblib import steps
def wait(results):
    print("waits", flush=True)
    results.command(["sleep", "1000"], 1000)
check.LOGS = %r
sys.exit(check.run([steps.Step("t/slow", wait), steps.Step("t/fast", lambda r: r.expect(False, "a failure"))], 2))
"""


def test_interrupt():
    # A caller in the background, or nohup, ignores some; the child would inherit it.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, usual)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with tempfile.TemporaryDirectory() as out:
            child = subprocess.Popen(lifeline.tied([sys.executable, "-c", INTERRUPTED % (TOOLS, out + "/logs")]), stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, start_new_session=True)
            child.stdout.readline()
            end = time.monotonic() + LIMIT
            log = out + "/logs/t-fast.log"
            while time.monotonic() < end and not (os.path.exists(log) and os.path.getsize(log)):
                time.sleep(0.05)
            time.sleep(0.3)
            child.send_signal(number)
            text, _ = child.communicate(timeout=LIMIT)
            text = text.decode()
            ok(child.returncode == 2 and "Traceback" not in text, "%s ends the check at once" % number.name)
            ok("FAILED t/fast" in text and "a failure" in text and "interrupted: t/slow" in text,
               "and it tells of what had ended and what ran: " + text)


def test_lists():
    """What is registered: every list is read, and every step can run where it stands."""
    every = registered.all_steps()
    names = [s.name for s in every]
    ok(len(names) > 150 and len(set(names)) == len(names), "each name is there once")
    ok(all(n in names for s in every for n in s.needs), "what they need is there")
    ok(all(s.weight in (LIGHT, HEAVY, ALONE) and s.group and s.short for s in every), "weights and groups")
    logs = [n.replace("/", "-") for n in names]
    ok(len(set(logs)) == len(logs), "no two write one log")
    with_lists = set()
    for path in glob.glob(TOOLS + "/steps/*.py") + glob.glob(TOOLS + "/pblib/*.py"):
        with open(path, encoding="utf-8") as f:
            if re.search(r"(?m)^STEPS = ", f.read()):
                with_lists.add("%s.%s" % (os.path.basename(os.path.dirname(path)), os.path.basename(path)[:-3]))
    ok(with_lists == set(registered.FILES), "each list is read: %s" % sorted(with_lists ^ set(registered.FILES)))
    quick = steps.with_needs(every, [s for s in every if s.quick])
    ok(20 < len(quick) < 60 and all(s.quick for s in quick), "the quick choice needs nothing else")
    waiting = steps.with_needs(every, every)
    first = max(i for i, s in enumerate(waiting) if s.group in ("build", "unit") and s.weight == ALONE)
    ok(all(s.group in ("build", "unit") for s in waiting[:first]), "what uses the whole machine comes first, not between the others")
    ok(steps.emulator("3,maxcpus=4") == HEAVY and steps.emulator(2) == LIGHT, "an emulator weighs by its CPUs")


def main():
    for test in (test_pairs, test_alone, test_shares, test_needs, test_output, test_hang, test_choice, test_environment, test_tool,
                 test_interrupt, test_lists):
        test()
    print("1..%d" % count)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
