# SPDX-License-Identifier: BSD-2-Clause
"""What the README files show, as it is there. Run by tools/check.py."""
import steps
from pblib import docs
from pblib.linux import OUT
from pblib.steps import IMAGE, Step

STEPS = [Step("docs/commands", docs.commands(OUT, lambda: {step.name for step in steps.all_steps()}), IMAGE, shares=("make",))]
