# SPDX-License-Identifier: BSD-2-Clause
"""The protocol models. Run by tools/check.py."""
import os

from pblib import models
from pblib.steps import HEAVY, Step
from steps.lint import lint_step


def explore_models(results):
    """Each run is one check. In the console: what was explored, and within which bounds (DEEP=1: larger ones)."""
    output = results.command(["tools/model/run.sh"], 36000 if os.environ.get("DEEP") else 3600)
    lines = output.splitlines()
    results.passed += sum(line.startswith("ok: ") for line in lines)
    for line in lines:
        if line.startswith("FAILED"):
            results.fail(line)
    results.expect(lines and "bad variants refuted" in lines[-1], "the models gave no summary")
    results.notes += lines


STEPS = [
    Step("model/map", lint_step(models.problems)),
    Step("model/explored", explore_models, weight=HEAVY, packages=("spin",), bound=40000 if os.environ.get("DEEP") else 5400),
]
