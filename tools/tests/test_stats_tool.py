#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of tools/stats.py on a recorded line. Run by the unit group of tools/check.py."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from pblib import stats, table  # pylint: disable=wrong-import-position

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RECORDED = os.path.join(TOOLS, "tests/data/stats.txt")
count, bad = 0, 0


def ok(condition, name):
    global count, bad
    count += 1
    bad += not condition
    print("%sok %d - %s" % ("" if condition else "not ", count, name))


def row(lines, name):
    """The numbers of the first row that begins with this word."""
    return next((line.split()[1:] for line in lines if line.split()[:1] == [name]), None)


def test_table():
    ok(table.table(["a", "n"], [["bb", 5], ["c", 123]]) == ["a     n", "-------", "bb    5", "c   123"], "a table")


def test_recorded():
    found = stats.read(RECORDED)
    lines = stats.tables(found)
    for name in ("posts", "walks", "drains"):
        ok(row(lines, name) == [str(found["total"][name])] + [str(c[name]) for c in found["cpus"]], "counter " + name)
    every = sum(found["total"]["exits"].values())
    ok(row(lines, "all")[:2] == ["100.0", str(every)], "the sum of the exits")
    top = max(found["total"]["exits"].items(), key=lambda x: x[1])
    ok(row(lines, top[0])[1] == str(top[1]), "exits: " + top[0])
    at = next(i for i, line in enumerate(lines) if line.startswith("Channels, posts"))
    want = {(c["producer"], c["consumer"]): c["posts"] for c in found["channels"]}
    grid = [line.split()[1:] for line in lines[at + 3:at + 3 + found["ncpus"]]]
    good = all(int(grid[p][c].replace(".", "0")) == want.get((p, c), 0)
               for p in range(found["ncpus"]) for c in range(found["ncpus"]))
    ok(good and want, "the matrix of posts: rows produce, columns consume")
    ok(row(lines, "parked") is None and row(stats.tables(found, True), "parked") is not None, "zeros with --all only")
    ok("coherency=matrix" in lines[0] and "unsync=on" in lines[0], "the modes")


def test_errors():
    for text, what in (("nothing", "no line"), ("patchbay-stats: {", "half a line"), ("patchbay-stats: {}", "an empty object"),
                       ("patchbay-stats: 5", "a number")):
        try:
            stats.parse(text)
            ok(False, what)
        except stats.Malformed:
            ok(True, what)
    both = "patchbay-stats: {}\n" + open(RECORDED, encoding="utf-8").read()
    ok(stats.parse(both)["ncpus"], "the last line counts")
    one = both.splitlines()[-1].split("patchbay-stats: {", 1)[1]
    two = "".join('patchbay-stats: {"vm":"%s",%s\n' % (name, one) for name in ("a", "b"))
    ok(stats.parse(two)["vm"] == "b" and stats.tables(stats.parse(two, "a"))[0].startswith("VM a: "), "of several VMs: named, and one of them chosen")
    try:
        stats.parse(two, "c")
        ok(False, "a VM that is not there")
    except stats.Malformed as e:
        ok("of VM c" in str(e), "a VM that is not there")
    done = subprocess.run([sys.executable, TOOLS + "/stats.py", RECORDED], stdout=subprocess.PIPE, check=False)
    ok(done.returncode == 0 and b"Exits" in done.stdout, "stats.py runs")
    done = subprocess.run([sys.executable, TOOLS + "/stats.py", os.devnull], stderr=subprocess.PIPE, check=False)
    ok(done.returncode == 1 and b"no patchbay-stats line" in done.stderr, "a log without the line")


for test in (test_table, test_recorded, test_errors):
    test()
print("1..%d" % count)
sys.exit(1 if bad else 0)
