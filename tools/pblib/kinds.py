# SPDX-License-Identifier: BSD-2-Clause
"""Boots of every kind of kernel that the hypervisor's loader knows: small guests, and Debian's Linux by its PVH entry.
Tested by being part of the boot group of `make check`."""
import os
import re

from pblib import config, kernels, tinyguest
from pblib.linux import OUT, boot, judge_linux
from pblib.steps import IMAGE, Step

READY = "tiny guest: ready"


def write(name, data):
    path = os.path.join(OUT, "kind-" + name)
    with open(path, "wb") as f:
        f.write(data)
    return path


def tiny(name, image, says, words="role=linux", quick=False, **fields):
    """A step. image: makes the file; says: pattern of the line with which the loader takes it."""

    def action(results):
        path = write(name, image())
        run = config.Run(kernel=path, words=words, append="a=b", direct=True, test=True, timeout=240, until=READY,
                         **{"smp": 1, "mem": 256, **fields})
        s = boot(results, "boot-kind-" + name, run)
        os.remove(path)
        if s is not None:
            results.expect(READY in s.lines, "the guest did not come up: %s" % s.reason)
            results.expect(any(re.search(says, line) for line in s.lines), "nothing says '%s'" % says)

    return Step("boot/kind-" + name, action, IMAGE, quick=quick)


def pvh_linux(results):
    """vmlinux out of Debian's bzImage has no boot protocol but the PVH note."""
    with open(os.path.join(OUT, "cache/vmlinuz"), "rb") as f:
        try:
            image = kernels.vmlinux(f.read())
        except kernels.Damaged as e:
            results.fail("the payload of vmlinuz: %s" % e)
            return
    run = config.Run(kernel=write("vmlinux", image), initrd=os.path.join(OUT, "initrd.gz"), smp=2, mem=512, direct=True,
                     append="console=ttyS0 pb.script=smoke pb.ops=5", timeout=900, test=True, own_initrd=True)
    s = boot(results, "boot-kind-pvh-linux", run)
    os.remove(run.kernel)
    if s is not None:
        results.expect(any("PVH kernel" in line for line in s.lines), "not loaded as a PVH kernel")
        judge_linux(results, s, run, {})


STEPS = [
    tiny("multiboot-elf32", tinyguest.multiboot_elf, r"multiboot kernel, 1 parts, entry 0x200010"),
    tiny("multiboot-elf64", lambda: tinyguest.multiboot_elf(wide=True, virtual=0xFFFFFFFF80000000),
         r"multiboot kernel, 1 parts, entry 0x200010"),
    tiny("multiboot-low", lambda: tinyguest.multiboot_elf(at=0x8000, bss=0x80000), r"entry 0x8010"),
    tiny("multiboot-addresses", lambda: tinyguest.multiboot_addresses(bss=0x3000000), r"entry 0x100020", hv="mem=64"),
    tiny("multiboot2", tinyguest.multiboot2_elf, r"multiboot2 kernel", quick=True),
    tiny("pvh", tinyguest.pvh_elf, r"PVH kernel, 1 parts, entry 0x200000", quick=True),
    tiny("raw-real", lambda: tinyguest.ECHO16, r"entry 0x8000 in real mode", "role=raw addr=0x8000 mode=real", quick=True),
    tiny("raw-real-high", lambda: bytes(16) + tinyguest.ECHO16, r"entry 0x7fff0 in real mode",
         "role=raw addr=0x7ffe0 entry=0x7fff0 mode=real"),
    tiny("raw-bios", lambda: tinyguest.BIOS16, r"entry 0x7c00 in real mode", "role=raw addr=0x7c00 mode=real"),
    tiny("raw-flat", lambda: tinyguest.ECHO32, r"in 32-bit protected mode", "role=raw addr=0x300000"),
    tiny("raw-long", lambda: tinyguest.ECHO, r"in 64-bit mode", "role=raw addr=0x300000 mode=long"),
    Step("boot/kind-pvh-linux", pvh_linux, IMAGE),
]
