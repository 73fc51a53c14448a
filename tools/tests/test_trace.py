#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of tools/trace.py on a recorded dump (cut to a few milliseconds) and on hand-made ones. Run by the unit group
of tools/check.py."""
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from pblib import trace, tracepic  # pylint: disable=wrong-import-position

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RECORDED = os.path.join(TOOLS, "tests/data/trace.txt")
count, bad = 0, 0


def ok(condition, name):
    global count, bad
    count += 1
    bad += not condition
    print("%sok %d - %s" % ("" if condition else "not ", count, name))


def dump_of(lines, ncpus=3, events=None):
    body = ["patchbay-trace: begin version 1 ncpus %x tsc_hz f4240 now 99" % ncpus, "patchbay-trace: exit 6 PF"]
    events = len([x for x in lines if x.startswith("pbt")]) if events is None else events
    return "\n".join(body + lines + ["patchbay-trace: end events %x" % events]) + "\n"


def refused(text, what):
    try:
        trace.parse(text)
        ok(False, what)
    except trace.Malformed:
        ok(True, what)


def test_parse():
    d = trace.parse("noise\r\n" + dump_of(["pbt 1 20 pf 1000 2", "[ 1.0] guest says", "pbt 0 10 exit 806 1234"]))[0]
    ok([e.tsc for e in d.events] == [0x10, 0x20], "events in the order of time, others' lines left out")
    e = d.events[0]
    ok(d.exit_name(e) == "PF" and d.entered(e) == 8 and d.us(16) == 16, "an exit: name, entry, unit")
    ok(d.entered(trace.Event(0, 5, "exit", 6, 0)) == 5, "an exit without an entry")
    old = trace.Event(0, (1 << 56) + 10, "exit", ((1 << 56) - 6) << 8 | 6, 0)
    ok(d.entered(old) == (1 << 56) - 6, "an entry before the clock's low 56 bits wrapped")
    ok(trace.parse("nothing") == [], "no dump")
    ok(len(trace.parse(dump_of([]) * 2)) == 2, "two dumps")
    two = [dump_of(["patchbay-trace: vm " + name, "pbt 0 1 pf 1 2"]) for name in ("a", "b")]
    with tempfile.NamedTemporaryFile("w", suffix=".log") as f:
        f.write("".join(two))
        f.flush()
        a, last = trace.read(f.name, vm="a"), trace.read(f.name)
        ok(a.vm == "a" and last.vm == "b" and trace.summary(a)[0] == "VM a" and
           next(trace.records(a))["args"]["name"].endswith("VM a"), "of several VMs: named, and one of them chosen")
        try:
            trace.read(f.name, vm="c")
            ok(False, "a VM that is not there")
        except trace.Malformed as e:
            ok("of VM c" in str(e), "a VM that is not there")
    refused(dump_of(["pbt 0 1 pf 1 2"], events=2), "a lost line")
    refused(dump_of(["pbt 7 1 pf 1 2"]), "an event of no CPU")
    refused(dump_of([]).replace("version 1", "version 2"), "another version")
    refused(dump_of([]).rsplit("\n", 2)[0], "no end")
    refused(dump_of([]).replace("tsc_hz f4240", "tsc_hz 0"), "no clock")


def test_arrows():
    lines = ["pbt 0 10 post 5008 6",   # to CPUs 1 and 2
             "pbt 0 12 post 5008 6",   # coalesced in both
             "pbt 1 20 patch 5008 0",
             "pbt 2 25 patch 5008 0",
             "pbt 0 30 post 5008 2",   # a new slot
             "pbt 2 31 patch 6000 1",  # posted before the rings begin
             "pbt 1 35 patch 5008 ff",  # from the shared channel
             "pbt 1 40 post 7000 1"]   # never applied
    made, coalesced, waiting, orphans = trace.arrows(trace.parse(dump_of(lines))[0])
    ok([(a.post.tsc, a.patch.cpu, a.patch.tsc) for a in made] == [(0x10, 1, 0x20), (0x10, 2, 0x25), (0x30, 1, 0x35)],
       "each patch with the first post of its slot")
    ok((coalesced, waiting, orphans) == (2, 1, 1), "coalesced, waiting, without a post")


def test_recorded():
    d = trace.read(RECORDED)
    made, _, _, orphans = trace.arrows(d)
    ok(d.ncpus == 4 and {e.cpu for e in d.events} == {0, 1, 2, 3}, "the recorded dump: four CPUs")
    ok(made and not [a for a in made if a.patch.tsc < a.post.tsc], "%d patches, none before its post" % len(made))
    ok(orphans <= len(made), "most patches have their post in the window")
    text = "\n".join(trace.summary(d))
    ok("cpu2 -> cpu1" in text and "PF  " in text, "the summary names channels")
    parts = trace.slices(d)
    good = all(b0 < e0 for c in parts for b0, e0, _ in parts[c])
    good = good and all(x[1] <= y[0] for c in parts for x, y in zip(parts[c], parts[c][1:]))
    ok(good, "guest and host slices of a CPU do not overlap")


def test_json():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "t.json")
        done = subprocess.run([sys.executable, TOOLS + "/trace.py", RECORDED, "--json", path], stdout=subprocess.PIPE, check=False)
        ok(done.returncode == 0 and b"Patches:" in done.stdout, "trace.py runs")
        with open(path, encoding="utf-8") as f:
            events = json.load(f)["traceEvents"]
    starts = {e["id"]: e for e in events if e["ph"] == "s"}
    ends = {e["id"]: e for e in events if e["ph"] == "f"}
    ok(starts and starts.keys() == ends.keys(), "every arrow has two ends")
    ok(all(starts[i]["ts"] <= ends[i]["ts"] for i in starts), "arrows go forward")
    slices = [e for e in events if e["ph"] == "X"]
    inside = [s for s in starts.values()
              if any(x["tid"] == s["tid"] and x["cat"] == "host" and x["ts"] <= s["ts"] <= x["ts"] + x["dur"] for x in slices)]
    ok(len(inside) * 10 >= len(starts) * 8, "arrows begin in the handling of an exit: %d of %d" % (len(inside), len(starts)))
    ok(all(e["ts"] >= 0 for e in events if "ts" in e) and all(e["dur"] > 0 for e in slices), "times are positive")
    names = {e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    ok(names == {"cpu0", "cpu1", "cpu2", "cpu3"}, "one track a CPU")
    done = subprocess.run([sys.executable, TOOLS + "/trace.py", os.devnull], stderr=subprocess.PIPE, check=False)
    ok(done.returncode == 1 and b"no patchbay-trace block" in done.stderr, "a log without a dump")


def test_picture():
    d = trace.read(RECORDED)
    us = 2000
    start, end = tracepic.busiest(d, us)
    inside = [a for a in tracepic.crossing(d) if a.post.tsc >= start and a.patch.tsc <= end]
    ok(abs(d.us(end - start) - us) < 1 and inside, "the busiest stretch has %d arrows between CPUs" % len(inside))
    late = [a for a in tracepic.crossing(d) if a.post.tsc >= end - (end - start) // 2]
    ok(len(inside) >= len([a for a in late if a.patch.tsc <= end + (end - start) // 2]), "more than half a stretch later")
    space = "{http://www.w3.org/2000/svg}"
    root = xml.etree.ElementTree.fromstring(tracepic.draw(d, us))
    ok(len([x for x in root.iter(space + "path") if x.get("marker-end")]) == len(inside), "each is drawn")
    bars = [x for x in root.iter(space + "rect") if x.find(space + "title") is not None]
    ok(len(bars) > 20, "%d bars and marks" % len(bars))
    ok(all(float(x.get("width")) > 0 and 0 <= float(x.get("x")) <= tracepic.WIDTH for x in bars), "all inside the picture")
    ok({"cpu0", "cpu1", "cpu2", "cpu3"} <= {x.text for x in root.iter(space + "text")}, "a track a CPU")
    empty = trace.parse(dump_of([]))[0]
    ok(xml.etree.ElementTree.fromstring(tracepic.draw(empty, us)) is not None, "a dump without events")


for test in (test_parse, test_arrows, test_recorded, test_json, test_picture):
    test()
print("1..%d" % count)
sys.exit(1 if bad else 0)
