#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The README files name the monitor's keys and its escape as they are. Run by the unit group of tools/check.py."""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
count, bad = 0, 0


def ok(condition, name):
    global count, bad
    count += 1
    bad += not condition
    print("%sok %d - %s" % ("" if condition else "not ", count, name))


def text(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as f:
        return f.read()


source, readme = text("hv/mon/monitor.c"), text("hv/mon/README.md")
there = re.findall(r"^    \{'(.)',", source, re.M)
section = re.search(r"<!-- monitor keys: begin -->(.*)<!-- monitor keys: end -->", readme, re.S)
told = re.findall(r"^\| `(.)` \|", section.group(1), re.M) if section else []
ok(len(there) > 10, "the key table of hv/mon/monitor.c is found")
ok(told == there, "README names the keys in their order: %s against %s" % ("".join(told), "".join(there)))
first = re.search(r'#define OPT_ESCAPE_KEYS "\^(.)', text("hv/base/options.h"))
ok(first and "**Ctrl-%s Ctrl-%s**" % (first.group(1), first.group(1)) in readme, "README names the default escape")
events = re.search(r"#define RING_EVENTS (\d+)", text("hv/base/ring.h"))
ok(events and "last %s events" % events.group(1) in text("tools/README.md"), "README names the length of the rings")
queue = re.search(r"#define INPUT_QUEUE (\d+)", text("hv/vcpu/subvmm.h"))
ok(queue and "queue of %s" % queue.group(1) in readme, "README names the length of the key queue")
print("1..%d" % count)
sys.exit(1 if bad else 0)
