#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of tools/pblib/docs.py: what it must find in a text that is wrong. Run by the unit group of tools/check.py."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from pblib import docs  # pylint: disable=wrong-import-position

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
    print("1..%d" % count)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
