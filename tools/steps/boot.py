# SPDX-License-Identifier: BSD-2-Clause
"""Ways to boot, machines, and the shell of `make run`; pblib/menu.py and pblib/kinds.py have more. Run by tools/check.py."""
from pblib.linux import linux, terminal
from pblib.steps import HEAVY, IMAGE, Step, emulator


def step(name, script="smoke", smp=2, ops=5, shares=(), quick=False, **fields):
    return Step("boot/" + name, linux("boot-" + name, script, ops=ops, smp=smp, **fields), IMAGE, emulator(smp), shares, quick=quick)


STEPS = [
    step("cpus-8", smp=8, ops=10, timeout=1200),
    step("uefi", fw="uefi"),
    step("usb", usb=True),
    step("multiboot1", direct=True, quick=True),
    step("q35", machine="q35"),
    step("qemu64", cpu="qemu64"),
    step("memory-6g", mem=6144, shares=("memory",)),
    step("bare", bare=True, script="full", smp=4, ops=100),
    Step("boot/terminal-exit", terminal(False, {"SMP": "4", "NAME": "terminal-1"}), IMAGE, HEAVY, ("make",), quick=True),
    Step("boot/terminal-escape", terminal(True, {"SMP": "1", "NAME": "terminal-2"}), IMAGE + ("boot/terminal-exit",), shares=("make",)),
]
