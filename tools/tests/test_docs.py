#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of tools/pblib/docs.py: what it must find in a text that is wrong. Run by the unit group of tools/check.py."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from pblib import docs, lint  # pylint: disable=wrong-import-position

os.chdir(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
count, bad = 0, 0
TEXT = """# A title
Say `make run` or `make fly`; `tools/trace.py build/run.log --pdf x`; not `tools/trace.py` alone, nor `make = x`.

```
make run SMP=2 WINGS=3 HV="audit=2 coherency=magic wings=4"   # with a comment
menuentry 'x' {
```

    make guest

[good](tools/README.md#adding) [gone](tools/GONE.md) [no heading](tools/README.md#gone) [far](https://example.org/x)
`hv/gone.c` and `hv/main.c`
"""
OPTIONS = "audit=0..3\n    checks\ncoherency=matrix|locked|shootdown\n    how\n"


def ok(condition, name):
    global count, bad
    count += 1
    bad += not condition
    print("%sok %d - %s" % ("" if condition else "not ", count, name))


def among(problems, text):
    return any(text in p for p in problems)


def main():
    found = docs.commands_of(TEXT)
    ok(found == ['make run SMP=2 WINGS=3 HV="audit=2 coherency=magic wings=4"', "make guest", "make run", "make fly",
                 "tools/trace.py build/run.log --pdf x", "make = x"], "commands of blocks and spans: %s" % found)
    problems = docs.commands_known("README.md", TEXT, {"guest/bare-4"})
    ok(among(problems, "no step is known to run 'make fly'"), "a command that nothing runs")
    ok(among(problems, "no target fly"), "a target that is not there")
    ok(among(problems, "nothing reads WINGS="), "a variable that nothing reads")
    ok(among(problems, "has no --pdf"), "a switch that the tool does not have")
    ok(among(problems, "there is no step boot/terminal-exit"), "a step that is not there")
    ok(not among(problems, "make guest"), "what is known is no problem")
    problems = docs.links("README.md", TEXT)
    ok(among(problems, "tools/GONE.md leads nowhere") and among(problems, "no heading for #gone"), "links and anchors")
    ok(among(problems, "hv/gone.c") and len(problems) == 3, "a path, and nothing else")
    problems = docs.hv_words("README.md", TEXT, OPTIONS)
    ok(among(problems, "wings=4, which is no option"), "an option that there is not")
    ok(among(problems, "coherency=magic, which is none of") and len(problems) == 2, "a value that there is not")
    ok(docs.tables("## Variables of make\n`SMP=`\n") != [], "a README without tables")
    there = lint.read(docs.TABLES_README)
    ok(docs.tables(there) == [], "the tables are where they are looked for")
    for cut, what in (("| 14 |", "an exit code"), ("| `hv-walk", "a gdb command"), ("`SILENCE=`", "a variable")):
        ok(cut in there and docs.tables(there.replace(cut, "| x")) != [], what + " that is not told")
    path = lint.read("README.md")
    ok(docs.reading_path(path) == [] and docs.reading_path("") != [], "the path for readers")
    ok(among(docs.reading_path(path.replace("`walk_guest`", "`walk_visitor`")), "walk_visitor"), "a function that is gone")
    made = docs.word_for_word("build")
    log = [c for c in made if "build/run.log" in c]
    ok("make help" in made and any(c.startswith("GDB_COMMANDS=") for c in made), "commands of every README are run: %s" % made)
    ok(len(log) > 2 and ["LOG=" in c for c in log] == [True] + [False] * (len(log) - 1), "what makes the log comes first")
    print("1..%d" % count)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
