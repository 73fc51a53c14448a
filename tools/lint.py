#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs every lint: lint.py [NAME...]; lint.py --write brings the option table of boot/README.md up to date.
Tested by the lint group of tools/check.py."""
import os
import subprocess
import sys

from pblib import cite, docs, lint, registers, steps


def main():
    os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    out = os.environ.get("O") or "build"
    subprocess.run(["make", "--no-print-directory", "O=" + out, out + "/compile_commands.json"], check=True,
                   stdout=subprocess.DEVNULL)
    if sys.argv[1:] == ["--write"]:
        text = lint.readme_with(lint.options_text(out))
        with open(lint.OPTIONS_README, "w") as f:
            f.write(text)
        return 0
    failed = 0
    for name, function, _ in lint.CHECKS + [("cite", cite.problems, False), ("registers", registers.problems, False),
                                            ("docs", docs.problems_of, True)]:
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        try:
            problems = function(out)
        except steps.Skip as e:
            print("skip   %s: %s" % (name, e))
            continue
        print("%-6s %s" % ("FAILED" if problems else "ok", name))
        for text in problems:
            print("       " + text)
        failed += bool(problems)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
