# SPDX-License-Identifier: BSD-2-Clause
"""What comments and README files cite is in the repository: headings of README files, numbers of known traps and the
tests of each, other documents. The form is README "Adding", or with a folder in front hv/mmu/README "Rights", "Unsync";
without one it is the README of the citing file's folder or the nearest above. Tested by tools/tests/test_cite.py."""
import importlib
import os
import re

from pblib import lint

TRAPS = "guest/README.md"
CITATION = re.compile(r'((?:[\w.-]+/)*)README ("[A-Za-z][^"]*"(?:, "[A-Za-z][^"]*")*)')
TRAP = re.compile(r"\btraps? (\d+(?:(?:, | and | or | to )\d+)*)", re.I)
# Papers that the project began with and that are not here.
GONE = re.compile(r"\bdesign[ ](?:section\b|[0-9])|\bplatform[ ]notes?\b", re.I)
DOCUMENT = re.compile(r"(?<![\w/.%-])[\w./-]*\w\.md\b")
ROW = re.compile(r"^\| (\d+) \|.*\| ([^|]*) \|$", re.M)


def joined(text):
    """(text in one line, line number at an offset): what a comment or paragraph breaks over two lines is together."""
    starts, out, at = [], [], 0
    for line in text.split("\n"):
        piece = re.sub(r"^[ \t]*(?:\*|//|#|;)?[ \t]*", "", line.rstrip(" \t\\")) + " "
        starts.append(at)
        out.append(piece)
        at += len(piece)
    return "".join(out), lambda offset: sum(1 for s in starts if s <= offset)


def headings(text):
    return set(re.findall(r"(?m)^#+ (.+?)\s*$", re.sub(r"(?ms)^```.*?^```$", "", text)))


def readme_of(name, folder, names):
    """The README that a citation in file `name` means; "" if there is none."""
    if folder:
        return folder + "README.md" if folder + "README.md" in names else ""
    here = os.path.dirname(name)
    while True:
        found = os.path.join(here, "README.md")
        if found in names:
            return found
        if not here:
            return ""
        here = os.path.dirname(here)


def traps_of(text):
    """number -> the tests' column, of the table in guest/README.md"""
    section = text.partition("## Known traps\n")[2].partition("\n## ")[0]
    return {int(n): tests for n, tests in ROW.findall(section)}


def file_problems(name, text, names, read, traps):
    line, number = joined(text)
    for m in CITATION.finditer(line):
        readme = readme_of(name, m.group(1), names)
        if not readme:
            yield "%s:%d: there is no %sREADME.md" % (name, number(m.start()), m.group(1))
        for heading in re.findall(r'"([^"]+)"', m.group(2)) if readme else ():
            if heading not in headings(read(readme)):
                yield '%s:%d: %s has no heading "%s"' % (name, number(m.start()), readme, heading)
    for m in GONE.finditer(line):
        yield "%s:%d: '%s' is not in the repository: cite a README and its heading" % (name, number(m.start()), m.group(0))
    for m in TRAP.finditer(line):
        for n in re.findall(r"\d+", m.group(1)):
            if int(n) not in traps:
                yield "%s:%d: %s has no trap %s" % (name, number(m.start()), TRAPS, n)
    for m in DOCUMENT.finditer("" if name.endswith(".py") else line):  # there, names are made of pieces
        near = os.path.normpath(os.path.join(os.path.dirname(name), m.group(0)))
        if m.group(0) not in names and near not in names:
            yield "%s:%d: there is no %s" % (name, number(m.start()), m.group(0))


def trap_problems(traps, names, read, steps):
    """Each trap names tests and steps that exist, or says why there is none."""
    guest = "\n".join(read(n) for n in sorted(names) if re.fullmatch(r"guest/tests_\w+\.c", n))
    there = set(re.findall(r'\{"(\w+\.\w+)"', guest))
    if not traps or sorted(traps) != list(range(1, len(traps) + 1)):
        yield "%s: the known traps are not numbered 1, 2, 3 .." % TRAPS
    for n, tests in sorted(traps.items()):
        named = re.findall(r"`([^`]+)`", tests)
        for test in named:
            known = test in names if "/" in test else test in there
            if not known and not test.endswith("="):
                yield "%s: trap %d: there is no test %s" % (TRAPS, n, test)
        for step in re.findall(r"\bstep (\w+/\w+)", tests):
            if step not in steps:
                yield "%s: trap %d: there is no step %s" % (TRAPS, n, step)
        if not named and not tests.startswith("none: "):
            yield "%s: trap %d names no test" % (TRAPS, n)


def problems(_out=None, names=None, read=lint.read, steps=None):
    """steps: the names of all steps of the check; by default as they are."""
    steps = {step.name for step in importlib.import_module("steps").all_steps()} if steps is None else steps
    names = set(lint.tracked() if names is None else names)
    names = {n for n in names if not n.startswith("tools/tests/corpus/")}
    traps = traps_of(read(TRAPS)) if TRAPS in names else {}
    found = list(trap_problems(traps, names, read, steps))
    for name in sorted(names):
        if not name.endswith(".svg"):
            found += file_problems(name, read(name), names, read, traps)
    return found
