#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of what tools/matrix.sh prints: the table from its lines. Run by the unit group of tools/check.py."""
import os
import subprocess
import sys
import tempfile

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LINES = """bookworm|run|ok|93|/x/bookworm-run.log
bookworm|guest|FAILED (2)|400|880 passed, 1 failed
bookworm|=|Debian GNU/Linux 12 (bookworm); gcc 12.2.0; qemu 7.2.22
noble|(all)|not tried|0|no http://x/dists/noble
"""
WANTED = ["Debian GNU/Linux 12 (bookworm); gcc 12.2.0; qemu 7.2.22", " 93 s ", "880 passed, 1 failed", "not tried",
          "2 of 3 steps not passed"]


def main():
    with tempfile.NamedTemporaryFile("w", suffix=".table") as f:
        f.write(LINES)
        f.flush()
        done = subprocess.run([TOOLS + "/matrix.sh"], env=dict(os.environ, MATRIX_TABLE=f.name), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
    bad = 0
    for number, text in enumerate(WANTED, 1):
        bad += text not in done.stdout
        print("%sok %d - the table has '%s'" % ("not " if text not in done.stdout else "", number, text))
    print("1..%d" % len(WANTED))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
