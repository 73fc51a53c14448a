#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of tools/pblib/cite.py: a planted dead citation of each kind is found, what is right is not. Run by the unit group
of tools/check.py."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from pblib import cite  # pylint: disable=wrong-import-position

count, bad = 0, 0
CITE = "READ" + "ME"  # so that the lint does not take this file's examples for citations
GOOD = {
    "README.md": "# Top\n\n## Options\n",
    "hv/README.md": "# hv\n\n## Waiting and waking\n\n```\n## Not a heading\n```\n",
    "hv/mmu/README.md": "# mmu\n\n## Rights\n\n### Deep\n",
    "guest/README.md": "# guest\n\n## Known traps\n\n| # | Trap | Tests |\n|---|---|---|\n| 1 | a | `group.one` |\n"
                       "| 2 | b | `tools/tests/test_x.c`, step linux/x |\n| 3 | c | none: not here |\n\n## Next\n\n| 9 | x | y |\n",
    "guest/tests_group.c": '/* Tr' + 'aps 1 and 2, tr' + 'ap 3. */\n    {"group.one", test_one, 1},\n',
    "tools/tests/test_x.c": "",
    "hv/mmu/a.c": '/* By its folder (' + CITE + ' "Rights"), "Deep" (hv/mmu/' + CITE + ' "Deep"), and broken over lines: hv/'
                  + CITE + ' "Waiting\n * and waking". */\n',
    "hv/vcpu/b.h": '    /* The nearest above: ' + CITE + ' "Waiting and waking". See README.md, hv/mmu/README.md. */\n',
    "Makefile": '# ' + CITE + ' "Options"\n',
}


def ok(condition, name):
    global count, bad
    count += 1
    bad += not condition
    print("%sok %d - %s" % ("" if condition else "not ", count, name))


def with_file(name, text):
    files = dict(GOOD, **{name: text})
    return cite.problems(names=files, read=files.__getitem__, steps={"linux/x"})


def one(name, text, expected, what):
    """The file alone brings one problem, which says `expected`."""
    found = with_file(name, text)
    ok(len(found) == 1 and expected in found[0], "%s: %s" % (what, found))


def main():
    found = cite.problems(names=GOOD, read=GOOD.__getitem__, steps={"linux/x"})
    ok(not found, "what is right is no problem: %s" % found)
    one("hv/mmu/c.c", 'int a;\n/* ' + CITE + ' "Wrongs" */\n', 'hv/mmu/c.c:2: hv/mmu/README.md has no heading "Wrongs"', "a heading")
    one("hv/x.c", '/* ' + CITE + ' "Not a\n * heading" */\n', "hv/x.c:1: hv/README.md has no heading", "one inside a block")
    one("hv/mmu/c.c", '/* ' + CITE + ' "Rights", "Wrongs" */\n', 'no heading "Wrongs"', "the second of two headings")
    one("tools/m.pml", '// hv/gone/' + CITE + ' "Rights"\n', "tools/m.pml:1: there is no hv/gone/README.md", "a folder")
    for kind in ("a.c", "b.pml", "c.py", "d.txt", "hv/README.md", "e.S"):
        text = GOOD.get(kind, "")
        one(kind, text + "\n\n/* (desi" + "gn 4.2) */\n", "is not in the repository", "a number of a paper, in " + kind)
    one("a.h", "/* see the Desi" + "gn\n * section on roots */\n", "a.h:1: ", "a section of it, over two lines")
    one("a.h", "/* rules of platform\n * no" + "tes */\n", "is not in the repository", "notes")
    one("a.h", "/* see tra" + "ps.md */\n", "there is no tra" + "ps.md", "a document")
    one("a.h", "/* Tr" + "aps 1, 2 and 4 */\n", "has no trap 4", "a trap that is not listed")
    ok(not with_file("a.h", "/* the design of it; 3 designs; a trap: 4 */\n"), "other words are no citations")
    table = GOOD["guest/README.md"]
    one("guest/README.md", table.replace("group.one", "group.two"), "there is no test group.two", "a guest test")
    one("guest/README.md", table.replace("test_x.c", "test_y.c"), "there is no test tools/tests/test_y.c", "a host test")
    one("guest/README.md", table.replace("linux/x", "linux/y"), "there is no step linux/y", "a step")
    one("guest/README.md", table.replace("none: not here", "some day"), "trap 3 names no test", "a trap without a test")
    ok(any("not numbered" in p for p in with_file("guest/README.md", table.replace("| 2 |", "| 5 |"))), "a gap in the numbers")
    print("1..%d" % count)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
