#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Host test of tools/pblib/mutants.py: reading the list, applying a mutant, judging a run; and that every mutant of
tools/mutants.txt still applies to the tree. Run by tools/check.py."""
import os
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools"))
from pblib import mutants  # noqa: E402

count, failed = 0, 0
TEXT = "mutant one: why\nfirst a b\nmodel m -DX\nfile f.c\n<<<<\nint  x;\n====\nint y;\n>>>>\n"


def ok(condition, text):
    global count, failed
    count += 1
    failed += not condition
    print("%sok %d - %s" % ("" if condition else "not ", count, text))


def raises(kind, function, *arguments):
    try:
        function(*arguments)
    except kind:
        return True
    return False


def test_parse():
    m = mutants.parse(TEXT)[0]
    ok((m.name, m.why, m.first, m.model, m.files) == ("one", "why", ["a", "b"], ["m", "-DX"], ["f.c"]), "one mutant")
    ok(m.rank("b") == 1 and m.rank("z") == 2, "named programs come first")
    ok(raises(ValueError, mutants.parse, TEXT + TEXT), "a name twice")
    ok(raises(ValueError, mutants.parse, "mutant a: b\n"), "nothing to change")
    ok(raises(ValueError, mutants.parse, TEXT[:-5]), "an unfinished one")
    ok(raises(ValueError, mutants.parse, "nonsense\n"), "a line that means nothing")


def test_apply():
    ok(mutants.replace_once("a int\n\tx; b", "int x;", "Z", "f") == "a Z b", "white space does not matter")
    ok(raises(mutants.Mismatch, mutants.replace_once, "int y;", "int x;", "Z", "f"), "not there")
    ok(raises(mutants.Mismatch, mutants.replace_once, "int x; int x;", "int x;", "Z", "f"), "there twice")
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "f.c"), "w") as f:
            f.write("int x;\n")
        mutants.parse(TEXT)[0].write(os.path.join(folder, "out"), folder)
        with open(os.path.join(folder, "out", "f.c")) as f:
            ok(f.read() == "int y;\n", "the copy is changed")
        with open(os.path.join(folder, "f.c")) as f:
            ok(f.read() == "int x;\n", "the original is not")


def test_run():
    ok(mutants.run(["sh", "-c", "echo ok 1"], 20) == "", "a run that passes")
    ok(mutants.run(["sh", "-c", "echo not ok 7; sleep 60"], 20) == "not ok 7", "one that fails is not waited for")
    ok(mutants.run(["sh", "-c", "exit 3"], 20) == "status 3", "one that dies")
    ok(mutants.run(["sh", "-c", "exec sleep 60"], 0.2) == "does not end", "one that hangs")
    ok(mutants.run_model(["slot", "-DNOT_THERE"], "x", os.path.join(ROOT, "tools/model"))[0] is None,
       "a model variant that nobody checks kills nothing")


def test_list():
    chosen = mutants.load(os.path.join(ROOT, "tools/mutants.txt"))
    ok(len(chosen) >= 30, "%d mutants" % len(chosen))
    with tempfile.TemporaryDirectory() as folder:
        for m in chosen:
            try:
                m.write(os.path.join(folder, m.name), ROOT)
            except mutants.Mismatch as e:
                ok(False, "%s: %s" % (m.name, e))
    ok(all(m.why for m in chosen), "each says what it breaks")


test_parse()
test_apply()
test_run()
test_list()
print("1..%d" % count)
sys.exit(1 if failed else 0)
