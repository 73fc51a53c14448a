# SPDX-License-Identifier: BSD-2-Clause
"""The tests of guest/ under Bochs, whose CPUs take turns on one of the host's. Run by tools/check.py."""
from pblib.linux import guest_tests, linux
from pblib.steps import IMAGE, Step

PACKAGES = ("bochs", "bochsbios", "vgabios")


def step(name, smp, bare, append, image="tests.bin"):
    return Step("bochs/" + name, guest_tests("bochs-" + name, smp, bare, append=append, bochs=True, image=image), IMAGE,
                packages=PACKAGES)


def pair(name, smp, **fields):
    """TSC 100 MHz: the watchdog's second is 25 there."""
    return [step(name % "bare", smp, True, "watchdog=4 bochs=1", **fields), step(name % "hosted", smp, False, "watchdog=4", **fields)]


STEPS = [step("tasks-" + kind, 2, False, "watchdog=4 test=task.* tasks=1", "tests-%s.bin" % kind) for kind in ("pae", "32")]
STEPS += pair("%s-1", 1) + pair("%s-2", 2)
STEPS += pair("pae-%s-1", 1, image="tests-pae.bin") + pair("32-%s-1", 1, image="tests-32.bin")
STEPS.append(Step("bochs/linux-1", linux("bochs-linux-1", "smoke", ops=5, smp=1, mem=512, emu="bochs"), IMAGE, packages=PACKAGES))
