# SPDX-License-Identifier: BSD-2-Clause
"""The lints of pblib as steps; of what is written there, each name is here once. Run by tools/check.py."""
from pblib import cite, docs, lint, models, registers
from pblib.linux import OUT
from pblib.steps import HEAVY, IMAGE, Step


def lint_step(function):
    def action(results):
        problems = function(OUT)
        for text in problems:
            results.fail(text)
        if not problems:
            results.passed += 1

    return action


def step(name, function, built):
    """Two of them start processes on all CPUs and take minutes; two make the program that prints the options."""
    slow = name in ("clang-tidy", "cppcheck")
    return Step("lint/" + name, lint_step(function), IMAGE if built else (), **({"weight": HEAVY} if slow else {"quick": True}),
                shares=("make",) if name in ("readme", "docs") else ())


STEPS = [step(*check) for check in lint.CHECKS + [
    ("cite", cite.problems, False), ("registers", registers.problems, False), ("docs", docs.problems_of, True), ("model-map", models.problems, False)]]
