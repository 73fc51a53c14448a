#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The order of boot/hot.ld from what really runs: hotorder.py ELF LOG... > boot/hot.ld. LOG: what QEMU writes with
`-d exec,nochain -D LOG` (in its monitor `logfile LOG`, `log exec,nochain`, and after a second of load `log none`) while a
guest does what is to be cheap. Functions of most exits come first, in the order they run, then the others by how often
they do. Tested by tools/tests/test_hotorder.py."""
import bisect
import collections
import os
import re
import subprocess
import sys

TRACE = re.compile(r"Trace (\d+): \S+ \[[0-9a-f]+/([0-9a-f]+)/")
AFTER = "svm_after_vmrun"  # an exit begins here
ALWAYS, OFTEN, SELDOM = 0.75, 0.25, 0.01  # shares of the exits that run a function
# Assembler files have one section each; the stubs of the vectors are large and come last.
FIRST, LAST = ["*/svm/enter.S.o(.text)"], ["*/cpu/entry.S.o(.text)"]
ASSEMBLER = {AFTER, "svm_enter", "trap_stubs", "trap_common"}
HEAD = """/* SPDX-License-Identifier: BSD-2-Clause */
/* The functions of the exit path, those of every exit first, then by how often they run: so they
 * share few pages, which is what an exit costs most in instruction-TLB misses (on an emulator in
 * look-ups of translated code as well). A name that no longer exists does no harm; tools/hotorder.py
 * makes the list anew from a trace. Included by linker.ld. Tested by every boot. */"""


class Image:
    """Function symbols of the hypervisor, from the text of `nm -n`."""

    def __init__(self, text):
        rows = [line.split() for line in text.splitlines()]
        symbols = sorted((int(r[0], 16), r[2]) for r in rows if len(r) == 3 and r[1] in "tT")
        self.at = [a for a, _ in symbols]
        self.names = [n for _, n in symbols]
        self.end = max((int(r[0], 16) for r in rows if len(r) == 3 and r[2] == "image_text_end"), default=1 << 63)

    def name(self, address):
        i = bisect.bisect_right(self.at, address) - 1
        return self.names[i] if i >= 0 and self.at[0] <= address < self.end else None


def exits(image, lines):
    """The functions each exit ran, in order, without repetitions."""
    running, done = {}, []
    for line in lines:
        m = TRACE.match(line)
        name = m and image.name(int(m[2], 16))
        if not name:
            continue
        path = running.setdefault(m[1], [])
        if name == AFTER and len(path) > 1:
            done.append(list(dict.fromkeys(path)))
            path.clear()
        path.append(name)
    return done


def kind(path):
    return next((n for n in path if n.startswith("exit_") and n not in ("exit_dispatch", "exit_cleanup")), "")


def order(paths):
    """Every kind of exit counts alike, page faults as much as all others together."""
    share, place = collections.Counter(), collections.defaultdict(list)
    kinds = collections.Counter(kind(p) for p in paths)
    weights = {k: (len(kinds) if k == "exit_pf" else 1) for k in kinds}
    total = sum(weights.values())
    for path in paths:
        for i, name in enumerate(path):
            share[name] += weights[kind(path)] / kinds[kind(path)] / total
            place[name].append(i / len(path))

    def key(name):
        group = 0 if share[name] > ALWAYS else 1 if share[name] > OFTEN else 2
        return group, sum(place[name]) / len(place[name]) if group == 0 else -share[name], name

    names = [re.sub(r"\.(part|constprop|isra|cold|lto_priv)\..*", "", n) for n in sorted(share, key=key) if share[n] >= SELDOM]
    return [n for n in dict.fromkeys(names) if n not in ASSEMBLER]


def main(argv):
    if len(argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    image = Image(subprocess.run([os.environ.get("NM", "nm"), "-n", argv[0]], check=True, capture_output=True, text=True).stdout)
    paths = []
    for log in argv[1:]:
        with open(log, encoding="ascii", errors="replace") as f:
            paths += exits(image, f)
    if not paths:
        print("hotorder: no exit in these logs; were they written with exec,nochain?", file=sys.stderr)
        return 1
    rows = ["*(.text.%s .text.%s.*)" % (n, n) for n in order(paths)]
    print("\n".join([HEAD] + FIRST + rows + LAST))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
