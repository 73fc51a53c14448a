# SPDX-License-Identifier: BSD-2-Clause
"""Reads KTAP / TAP output. Tested by tools/tests/test_pblib.py."""
import dataclasses
import re

RESULT = re.compile(r"^(ok|not ok)\b(?: (\d+))?(?: *-? *(.*?))?(?: *# *(SKIP|TODO)\b.*)?$", re.I)
PLAN = re.compile(r"^1\.\.(\d+)")


@dataclasses.dataclass
class Report:
    passed: list
    failed: list
    skipped: list
    problem: str = ""  # the protocol itself is broken: no plan, too few tests, bail out

    @property
    def ok(self):
        return not self.failed and not self.problem


def parse(text):
    """A Report of the test lines in text; lines that are none are ignored."""
    report = Report([], [], [])
    plan, seen = None, 0
    for line in text.splitlines():
        line = line.strip()
        if line.lower().startswith("bail out!"):
            report.problem = line
        match = PLAN.match(line)
        if match:
            plan = int(match.group(1))
            continue
        match = RESULT.match(line)
        if not match:
            continue
        seen += 1
        word, number, name, directive = match.groups()
        name = name or "test %s" % number
        if word.lower() != "ok":
            report.failed.append(name)
        elif directive and directive.upper() == "SKIP":
            report.skipped.append(name)
        else:
            report.passed.append(name)
    if not report.problem and plan is None:
        report.problem = "no plan line (1..N)"
    elif not report.problem and plan != seen:
        report.problem = "plan says %d tests, %d seen" % (plan, seen)
    elif not report.problem and plan == 0:
        report.problem = "no test at all"
    return report
