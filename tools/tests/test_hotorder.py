#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of tools/hotorder.py on a made-up image and trace. Run by the unit group of tools/check.py."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import hotorder  # pylint: disable=wrong-import-position

NM = """0000000000101000 T svm_enter
0000000000101050 T svm_after_vmrun
0000000000101100 T run
0000000000101200 T exit_dispatch
0000000000101300 T exit_pf
0000000000101400 T exit_io
0000000000101500 t walk.part.0
0000000000101600 T never
0000000000110000 R image_text_end
0000000000102000 T image_text_end
"""
AT = {line.split()[2]: int(line.split()[0], 16) for line in NM.splitlines()}
count, bad = 0, 0


def ok(condition, name):
    global count, bad
    count += 1
    bad += not condition
    print("%sok %d - %s" % ("" if condition else "not ", count, name))


def trace(cpu, names):
    return ["Trace %d: 0x7f0 [0000000000000000/%016x/00d0c2b0/ff080200] %s\n" % (cpu, AT[n] + 4, n) for n in names]


def main():
    image = hotorder.Image(NM)
    pf = ["svm_after_vmrun", "run", "exit_dispatch", "exit_pf", "walk.part.0", "run"]
    io = ["svm_after_vmrun", "run", "exit_dispatch", "exit_io", "run"]
    lines = trace(0, pf + pf + io + ["svm_after_vmrun"]) + trace(1, io + io + ["svm_after_vmrun"])
    lines.insert(3, "Trace 0: 0x7f0 [0000000000000000/ffffffff81000000/00d0c2b0/ff080200] guest\n")
    lines.insert(3, "something else\n")
    paths = hotorder.exits(image, lines)
    ok(len(paths) == 5, "an exit ends where the next begins, each CPU by itself")
    ok(paths[0] == ["svm_after_vmrun", "run", "exit_dispatch", "exit_pf", "walk.part.0"], "functions once, in order; no guest code")
    ok([hotorder.kind(p) for p in paths].count("exit_pf") == 2, "kinds")
    names = hotorder.order(paths)
    ok(names[:2] == ["run", "exit_dispatch"], "what every exit runs comes first, in its order")
    ok(set(names[2:]) == {"exit_pf", "exit_io", "walk"} and names[-1] == "exit_io", "then the rest; page faults count most")
    ok("never" not in names and "svm_after_vmrun" not in names, "neither what never ran nor assembler code")
    ok(hotorder.exits(image, ["no trace\n"]) == [], "no trace, no exits")
    print("1..%d" % count)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
