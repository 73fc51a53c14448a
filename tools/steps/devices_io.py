# SPDX-License-Identifier: BSD-2-Clause
"""The benchmark of devices (make bench-io), whose counts hold on a busy machine too. Run by tools/check.py."""
import json
import os
import sys

from pblib import ioops
from pblib.linux import OUT
from pblib.steps import IMAGE, Step, emulator
from steps.build import MAKE


def bench(results):
    """From end to end, with a tenth of the operations: every figure is there, and no access to a device's registers exits."""
    results.command(MAKE + ["O=" + OUT, OUT + "/initrd-io.gz", OUT + "/patchbay.elf32"], 900)
    results.command([sys.executable, "tools/benchio.py", "--rounds=1", "--scale=0.1", "--count", "--name=check-bench-io"], 1500)
    with open(os.path.join(OUT, "check-bench-io.json"), encoding="ascii") as f:
        found = json.load(f)["ops"]
    results.expect(len(found) == len(ioops.OPS), "operations are missing")
    for op in found:
        results.expect(op["interrupts"] > 0 and op["interrupts_bare"] > 0 and op["exits"], "%s: no interrupts or exits" % op["op"])
        results.expect(op["counters"]["mmio"] <= ioops.TRAPPED, "%s: its registers are trapped" % op["op"])


STEPS = [Step("devices/bench-io", bench, IMAGE, emulator(2), ("make",), asked=True)]
