# SPDX-License-Identifier: BSD-2-Clause
"""The statistics line as tables. Tested by tools/tests/test_stats_tool.py."""
import json
import sys

from pblib.table import table

PREFIX = "patchbay-stats: "


class Malformed(Exception):
    """No statistics line, or one that cannot be read."""


def parse(text, vm=""):
    """The last statistics line of the text; vm: of that VM's alone, where there are several."""
    lines = [line for line in text.splitlines() if PREFIX in line and (not vm or '"vm":"%s"' % vm in line)]
    if not lines:
        raise Malformed("no patchbay-stats line" + (" of VM " + vm if vm else ""))
    try:
        found = json.loads(lines[-1].split(PREFIX, 1)[1])
        missing = [k for k in ("ncpus", "mode", "total", "cpus", "channels") if k not in found]
    except (ValueError, TypeError) as e:
        raise Malformed("not JSON: %s" % e) from None
    if missing:
        raise Malformed("the line has no %s" % ", ".join(missing))
    return found


def read(path, vm=""):
    if path == "-":
        return parse(sys.stdin.read(), vm)
    with open(path, encoding="utf-8", errors="replace") as f:
        return parse(f.read(), vm)


def channel_tables(found):
    """Producers by consumers, one table a counter."""
    lines = []
    n = found["ncpus"]
    for counter in ("posts", "coalesces", "overflows", "drained"):
        cell = {(c["producer"], c["consumer"]): c.get(counter, 0) for c in found["channels"]}
        if counter == "overflows" and not any(cell.values()):
            lines += ["", "Channels, overflows: none"]
            continue
        lines += ["", "Channels, %s (rows produce, columns consume)" % counter]
        lines += table(["producer"] + ["cpu%d" % c for c in range(n)] + ["sum"],
                       [["cpu%d" % p] + [cell.get((p, c), 0) or "." for c in range(n)]
                        + [sum(cell.get((p, c), 0) for c in range(n))] for p in range(n)])
    return lines


def tables(found, everything=False):
    """Lines: the modes, counters, exits, channels."""
    names = [k for k, v in found["total"].items() if not isinstance(v, dict)]
    cpus = found["cpus"]
    head = ["total"] + ["cpu%d" % c for c in range(len(cpus))]
    modes = " ".join("%s=%s" % (k, ("off", "on")[v] if isinstance(v, bool) else v) for k, v in found["mode"].items())
    whose = "VM %s: " % found["vm"] if found.get("vm") else ""
    lines = [whose + "%d CPUs, %s MiB of guest RAM; %s" % (found["ncpus"], found.get("ram_mib", "?"), modes)]
    lines += ["", "Counters"]
    lines += table(["counter"] + head, [[k, found["total"][k]] + [c.get(k, 0) for c in cpus] for k in names
                                        if everything or found["total"][k]])
    exits = sorted(found["total"].get("exits", {}).items(), key=lambda x: -x[1])
    every = sum(v for _, v in exits)
    lines += ["", "Exits"]
    lines += table(["exit", "%"] + head,
                   [[k, "%.1f" % (100 * v / every), v] + [c.get("exits", {}).get(k, 0) for c in cpus] for k, v in exits]
                   + [["all", "100.0" if every else "-", every] + [sum(c.get("exits", {}).values()) for c in cpus]])
    if found["channels"]:
        lines += channel_tables(found)
    else:
        lines += ["", "Channels: none used"]
    return lines
