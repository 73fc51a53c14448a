# SPDX-License-Identifier: BSD-2-Clause
"""The tables of tools/model/README.md against the code and the models: a function that is named must be defined, a
known-bad variant must be a run, and every wrong run must be in the table. Tested by tools/tests/test_pblib.py."""
import os
import re
import subprocess
import sys

FOLDER = "tools/model"
CODE = re.compile(r"`([\w/-]+\.[ch])`:((?: `\w+`)+)")


def definition(text, name):
    """Line of a C function's definition, 0: none. clang-format puts its head at the left margin."""
    for m in re.finditer(r"^[a-z][^;{}#]*?\b%s\([^;{}]*\)\s*(?:/\*.*?\*/\s*)?\{" % re.escape(name), text, re.M):
        return text.count("\n", 0, text.index(name + "(", m.start())) + 1
    return 0


def code_map(readme, read):
    """(path, function, line) of each function the first table names."""
    for path, names in CODE.findall(readme):
        try:
            text = read(path)
        except OSError:
            text = ""
        for name in re.findall(r"\w+", names):
            yield path, name, definition(text, name)


def table_rows(readme):
    """(model, switches) of the table of wrong variants."""
    part = readme.split("## Known-bad variants", 1)[-1].split("\n## ", 1)[0]
    for model, switches in re.findall(r"^\|[^|]*\| (\w+) \| `([\w ]+)` \|$", part, re.M):
        yield model, frozenset(switches.split())


def bad_runs(jobs, read):
    """(model, switches) of all wrong runs; bounds like -DOPS0=3 are no switches."""
    for line in jobs.splitlines():
        words = line.split()
        if words[:2] == ["one", "refuted"]:
            yield words[2], frozenset(w[2:] for w in words[3:] if "=" not in w)
        elif words[:1] == ["explorer"]:
            for name in re.findall(r'^ +\{"(\w+)", [A-Z]', read("%s/%s.c" % (FOLDER, words[1])), re.M):
                yield words[1], frozenset([name])


def compare(rows, runs):
    """A row may leave out switches that several rows of its model need (PLAIN_STORES)."""
    rows, runs = set(rows), set(runs)
    exact = rows & runs
    for model, switches in sorted(rows - exact, key=str):
        if not any(m == model and switches < s for m, s in runs - exact):
            yield "no run of %s is wrong by %s" % (model, " ".join(sorted(switches)))
    for model, switches in sorted(runs - exact, key=str):
        if not any(m == model and s < switches for m, s in rows - exact):
            yield "the run %s %s is in no row" % (model, " ".join(sorted(switches)))


def read_file(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def problems(_out=None, read=read_file, jobs=None):
    readme = read(FOLDER + "/README.md")
    if jobs is None:
        jobs = subprocess.run([FOLDER + "/run.sh", "-", "list"], stdout=subprocess.PIPE, check=True).stdout.decode()
    found = ["%s/README.md: %s has no function %s" % (FOLDER, path, name)
             for path, name, line in code_map(readme, read) if not line]
    found += ["%s/README.md: %s" % (FOLDER, text) for text in compare(table_rows(readme), bad_runs(jobs, read))]
    if not any(True for _ in code_map(readme, read)) or not any(True for _ in table_rows(readme)):
        found.append("%s/README.md: a table is missing" % FOLDER)
    return found


if __name__ == "__main__":  # the map with today's lines
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
    for where, function, at in code_map(read_file(FOLDER + "/README.md"), read_file):
        print("%s:%d: %s" % (where, at, function))
    sys.exit(1 if problems() else 0)
