# SPDX-License-Identifier: BSD-2-Clause
"""Patchbay on Intel's processors, as Bochs has them: the tests of guest/ in three paging modes and Debian's Linux. The image
is the one that runs on AMD's. vmx-long has more models and CPUs; it runs where it is asked for (make check-vmx). Run by
tools/check.py."""
from pblib.linux import guest_tests, linux
from pblib.steps import IMAGE, Step

PACKAGES = ("bochs", "bochsbios", "vgabios")
SKYLAKE = "corei7_skylake_x"  # VPID, preemption timer, INVPCID, x2APIC
LYNNFIELD = "corei5_lynnfield_750"  # VPID, no unrestricted guest, no INVPCID
PENRYN = "core2_penryn_t9600"  # the minimum: no VPID, no preemption timer, no RDTSCP
WIDE, PAE, TWO = "tests.bin", "tests-pae.bin", "tests-32.bin"


def guest(name, cpu, smp, image=WIDE, hv="", append="watchdog=4", long=False):
    """A boot of the guest tests, in which every test but those that need more of the machine runs."""
    group = "vmx-long" if long else "vmx"
    return Step("%s/%s" % (group, name), guest_tests("%s-%s" % (group, name), smp, False, hv, append, bochs=True, image=image, cpu=cpu,
                                                     timeout=1800 if long else 900), IMAGE, packages=PACKAGES, asked=long)


def boot_linux(name, cpu, smp, long=False, hv="audit=2"):
    """Debian's kernel to its shell and the smoke load."""
    group = "vmx-long" if long else "vmx"
    return Step("%s/%s" % (group, name), linux("%s-%s" % (group, name), "smoke", hv, ops=5, smp=smp, mem=512, emu="bochs", cpu=cpu,
                                               timeout=1800), IMAGE, packages=PACKAGES, asked=long)


STEPS = [
    guest("64-2", SKYLAKE, 2),
    guest("pae-1", LYNNFIELD, 1, PAE, append="watchdog=4 tasks=1"),
    guest("32-2", PENRYN, 2, TWO, append="watchdog=4 tasks=1"),
    guest("direct-2", SKYLAKE, 2, hv="directpf=on audit=2"),
    boot_linux("linux-1", SKYLAKE, 1),
    guest("64-1", SKYLAKE, 1, long=True),
    guest("64-penryn-1", PENRYN, 1, long=True),
    guest("64-lynnfield-2", LYNNFIELD, 2, long=True),
    guest("32-skylake-2", SKYLAKE, 2, TWO, append="watchdog=4 tasks=1", long=True),
    # An audit after every entry: the groups that change tables, modes, and what hostile guests do.
    guest("audit-64", SKYLAKE, 2, hv="audit=3", append="watchdog=40 test=hostile.*", long=True),
    guest("audit-pae", SKYLAKE, 2, PAE, hv="audit=3", append="watchdog=40 test=modes.*", long=True),
    guest("audit-32", SKYLAKE, 2, TWO, hv="audit=3", append="watchdog=40 test=modes.*", long=True),
    boot_linux("linux-2", SKYLAKE, 2, long=True),
    boot_linux("linux-direct-2", SKYLAKE, 2, long=True, hv="audit=2 directpf=on"),
    boot_linux("linux-penryn-1", PENRYN, 1, long=True),
]
