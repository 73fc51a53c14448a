#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Line coverage of hv/ by the host tests and the simulator: cov.py [-v] builds them with --coverage, runs them,
and prints the share of lines executed per file and folder; -v also the lines that were not. Fails if a file of
hv/coherency or hv/mmu is below 90 % without saying why in a line "Coverage: ..." of its own. Tested by running it."""
import collections
import glob
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile

OUT = os.path.abspath(os.environ.get("O") or "build")
FLAVOURS = ("cov", "simcov")
LIMIT = 90.0
STRICT = ("hv/coherency/", "hv/mmu/")


def build():
    done = subprocess.run(["make", "--no-print-directory", "-k", "-j%d" % (os.cpu_count() or 2), "O=" + OUT,
                           "cov-tests"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        print(done.stdout.decode(errors="replace")[-4000:])


def counters(suffix):
    found = []
    for flavour in FLAVOURS:
        for folder, _, names in os.walk(os.path.join(OUT, flavour)):
            found += [os.path.join(folder, n) for n in names if n.endswith(suffix)]
    return sorted(found)


def run_tests():
    for path in counters(".gcda"):
        os.remove(path)
    names = sorted(os.path.basename(p)[:-2] for p in glob.glob("tools/tests/test_*.c"))
    commands = [[os.path.join(OUT, "cov", n)] for n in names] + [[os.path.join(OUT, "simcov", "sim"), "steps=60000"]]
    missing = []
    for command in commands:
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, timeout=900, check=False)
            if done.returncode:
                missing.append("%s: status %d" % (command[0], done.returncode))
        except (OSError, subprocess.TimeoutExpired) as e:
            missing.append("%s: %s" % (command[0], e))
    return missing


def collect():
    """{file: {line: executed}} over all builds: a line counts if any of them executed it."""
    lines = collections.defaultdict(dict)
    paths = counters(".gcda")
    with tempfile.TemporaryDirectory() as folder:
        for at in range(0, len(paths), 100):
            subprocess.run(["gcov", "--json-format", "--preserve-paths"] + paths[at:at + 100], cwd=folder,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            for name in glob.glob(os.path.join(folder, "*.json.gz")):
                with gzip.open(name, "rt") as f:
                    merge(lines, json.load(f))
                os.remove(name)
    return lines


def merge(lines, report):
    for entry in report["files"]:
        name = os.path.relpath(os.path.join(report["current_working_directory"], entry["file"]))
        if not re.match(r"hv/.*\.c$", name):
            continue
        seen = lines[name]
        for line in entry["lines"]:
            seen[line["line_number"]] = seen.get(line["line_number"], False) or line["count"] > 0


def share(seen):
    return 100.0 * sum(seen.values()) / len(seen) if seen else 100.0


def ranges(numbers):
    text, start, last = [], None, None
    for n in sorted(numbers) + [None]:
        if start is not None and n != last + 1:
            text.append(str(start) if start == last else "%d-%d" % (start, last))
            start = None
        if start is None:
            start = n
        last = n
    return " ".join(text)


def reason(name):
    with open(name, encoding="utf-8") as f:
        return "Coverage: " in f.read()


def report(lines, verbose):
    folders, low = collections.defaultdict(dict), []
    for name in sorted(lines):
        seen = lines[name]
        print("%6.1f %%  %4d of %4d  %s" % (share(seen), sum(seen.values()), len(seen), name))
        if verbose and not all(seen.values()):
            print("            not executed: " + ranges([n for n, hit in seen.items() if not hit]))
        for line, hit in seen.items():
            folders[os.path.dirname(name)][(name, line)] = hit
            folders["hv, all of it"][(name, line)] = hit
        if name.startswith(STRICT) and share(seen) < LIMIT and not reason(name):
            low.append(name)
    print()
    for folder, seen in sorted(folders.items()):
        print("%6.1f %%  %4d of %4d  %s" % (share(seen), sum(seen.values()), len(seen), folder))
    return low


def main():
    os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    build()
    missing = run_tests()
    low = report(collect(), "-v" in sys.argv[1:])
    for text in missing:
        print("cov: did not run well: " + text)
    for name in low:
        print("cov: %s is below %d %% and does not say why" % (name, LIMIT))
    return 1 if low or missing else 0


if __name__ == "__main__":
    sys.exit(main())
