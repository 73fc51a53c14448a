#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Writes compile_commands.json: compdb.py OUT "COMPILER AND FLAGS" FILE... Tested by the clang-tidy lint."""
import json
import os
import sys


def main():
    out, line, files = sys.argv[1], sys.argv[2], sys.argv[3:]
    here = os.getcwd()
    entries = [{"directory": here, "file": f, "command": "%s -c %s -o %s.o" % (line, f, f)} for f in files]
    with open(out, "w") as f:
        json.dump(entries, f, indent=1)


if __name__ == "__main__":
    main()
