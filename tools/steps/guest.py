# SPDX-License-Identifier: BSD-2-Clause
"""The tests of guest/ on QEMU, bare and on Patchbay. A line of STEPS is a boot. Run by tools/check.py."""
from pblib.linux import guest_tests, tasks_stopped
from pblib.steps import IMAGE, Step, emulator

BIG = 4096  # MiB from which on one machine at a time is enough
QUICK = ("bare-2", "hosted-1", "hosted-2", "hosted-4", "pae-hosted-1", "32-hosted-1")


def step(name, smp, bare=False, hv="", mem=512, **fields):
    return Step("guest/" + name, guest_tests("guest-" + name, smp, bare, hv, mem=256 if bare else mem, **fields), IMAGE,
                emulator(smp), ("memory",) if mem > BIG else (), quick=name in QUICK)


STEPS = [step("bare-%d" % smp, smp, True) for smp in (1, 2, 4)]
STEPS += [step("hosted-%d" % smp, smp) for smp in (1, 2, 4)]
STEPS += [step("hosted-" + hv.replace("=", "-").replace(" ", "-"), 4, hv=hv) for hv in (
    "audit=3", "coherency=locked", "coherency=shootdown", "unsync=off", "interest=off derived=on")]
STEPS += [
    # Stores that cannot go unsync stay emulated: what shows a compare-exchange that is not one.
    step("race-emulated", 4, hv="unsync=off", append="test=race.* scale=4"),
    step("resurrect", 4, append="test=trans.resurrect scale=10"),
]
# The same tests as 32-bit guests with PAE and two-level tables, and modes mixed; by multiboot; above 4 GiB.
for kind in ("pae", "32"):
    image = "tests-%s.bin" % kind
    STEPS += [
        step(kind + "-bare-2", 2, True, image=image),
        step(kind + "-hosted-1", 1, image=image),
        step(kind + "-hosted-4", 4, image=image),
        step(kind + "-audit", 4, hv="audit=3", append="test=modes.*", image=image),
    ]
STEPS.append(step("pae-multiboot", 2, append="test=smp.*", image="tests-pae.elf"))
STEPS += [step("above-4g-" + kind, 2, append="test=memory.*", mem=6144, image=image, machine=machine) for kind, image, machine in (
    ("64", "tests.bin", "q35"), ("pae", "tests-pae.bin", "pc"), ("32", "tests-32.bin", "pc"))]
# Hardware task switches exit under Bochs only.
STEPS.append(Step("guest/tasks-stopped", tasks_stopped, IMAGE))
