# SPDX-License-Identifier: BSD-2-Clause
"""Boots with something wrong: each must say what is wrong and what to do about it, and either stop or go on.
Tested by being the badinput group of `make check`."""
import gzip
import os
import re

from pblib import config, session, tinyguest
from pblib.linux import OUT, boot
from pblib.steps import IMAGE, Step

READY = "tiny guest: ready"


def small_file(name, data):
    path = os.path.join(OUT, "badinput-" + name)
    os.makedirs(OUT, exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    return path


def bad(name, stop, *expected, kernel=tinyguest.bzimage, initrd=None, quick=False, **fields):
    """A step. expected: patterns of console lines, in any order. stop: Patchbay must stop by itself; else the
    guest must come up in spite of it (and then ends the run)."""

    def action(results):
        image = small_file(name + ".kernel", kernel()) if kernel else ""
        ramdisk = small_file(name + ".initrd", initrd()) if initrd else ""
        run = config.Run(kernel=image, initrd=ramdisk, append="", direct=True, test=True, timeout=240,
                         **{"smp": 1, "mem": 256, **fields})
        run.until = "" if stop else READY
        s = boot(results, "badinput-" + name, run)
        for path in filter(None, (image, ramdisk)):
            os.remove(path)
        if s is None:
            return
        for pattern in expected:
            results.expect(any(re.search(pattern, line) for line in s.lines), "nothing says '%s'" % pattern)
        results.expect(not any("patchbay: panic" in line for line in s.lines), "a panic instead of a message")
        if stop:
            results.expect(s.status == session.STOPPED, "status %s: %s" % (s.status, s.reason))
        else:
            results.expect(READY in s.lines, "the guest did not come up: %s" % s.reason)

    return Step("badinput/" + name, action, IMAGE, quick=quick)


def damaged_magic():
    image = bytearray(tinyguest.bzimage())
    image[0x202] ^= 0xFF
    return bytes(image)


def truncated():
    return tinyguest.bzimage(syssize=0x10000)


def huge():
    return tinyguest.bzimage(init_size=0x40000000)


def ramdisk(mebibytes):
    return lambda: bytes(mebibytes << 20)


STEPS = [
    # --- options: a warning that names the values, and the guest runs ---
    bad("options", False,
        r"options: unknown option 'coherensy'; did you mean 'coherency'\?",
        r"options: option audit=7 is not 0\.\.3; ignored",
        r"options: option mem=40 is not N\[M\|G\], at least 64M; ignored",
        r"options: option pool=5 is not 0\|64\.\.16777216; ignored",
        r"options: option console=com9 is not auto\|com1\.\.4.*pci:BB:DD\.F.*ignored",
        r"options: option smp=99 is not 0\.\.31; ignored",
        r"options: option unsync=perhaps is not on\|off; ignored",
        hv="coherensy=matrix audit=7 mem=40 pool=5 console=com9 smp=99 unsync=perhaps", quick=True),
    bad("help", False, r"help: console=auto\|com1", r"help: +guest RAM", hv="help"),
    bad("smp-larger", False, r"smp=8: this machine has 2 CPUs, the guest gets those", r"VM 0: 2 CPUs", hv="smp=8", smp=2),
    bad("mem-larger", False, r"mem=8192M asked for, only \d+ MiB are free: the guest gets those", hv="mem=8G"),
    # --- the guest's files: Patchbay stops ---
    bad("no-module", True, r"no boot module: add 'module2 VMLINUZ role=linux", r"stopped: no guest to run", kernel=None, quick=True),
    bad("not-a-kernel", True, r"it is no Linux bzImage .*no multiboot header .*give a bzImage", r"stopped: no guest", kernel=damaged_magic, quick=True),
    bad("arm-elf", True, r"no little-endian x86 executable: give one for i386", r"stopped: no guest",
        kernel=lambda: tinyguest.multiboot_elf(machine=40)),
    bad("object-file", True, r"an object file that was not linked", r"stopped: no guest",
        kernel=lambda: tinyguest.multiboot_elf(kind=1)),
    bad("elf-without-header", True, r"nothing says how to start it: give a bzImage", r"stopped: no guest", kernel=tinyguest.elf),
    bad("elf-too-high", True, r"it wants 0x\w+ bytes at 0x40000000, where the guest has no free RAM", r"stopped: no guest",
        kernel=lambda: tinyguest.multiboot_elf(at=0x40000000)),
    bad("entry-outside", True, r"its entry point lies in none of its segments", r"stopped: no guest",
        kernel=lambda: tinyguest.multiboot_elf(entry=0x5000000)),
    bad("multiboot-flags", True, r"requires a feature that does not exist in version 1", r"stopped: no guest",
        kernel=lambda: tinyguest.elf(head=tinyguest.multiboot_header(0x83))),
    bad("compressed", True, r"it is compressed by gzip: decompress it first", r"stopped: no guest",
        kernel=lambda: gzip.compress(tinyguest.bzimage())),
    bad("raw-without-address", True, r"give it role=raw addr=ADDRESS", r"stopped: no guest", words="role=raw"),
    bad("truncated", True, r"it is truncated: copy the file again", r"stopped: no guest", kernel=truncated),
    bad("kernel-too-large", True, r"the kernel needs 1024 MiB .*give mem= more", r"stopped: no guest", kernel=huge),
    bad("initrd-too-large", True, r"the initrd has 81920 KiB, .*give mem= more or a smaller initrd",
        r"stopped: no guest", initrd=ramdisk(80), hv="mem=64"),
    # --- the machine: Patchbay stops ---
    bad("no-svm", True, r"SVM +MISSING: .*under QEMU use -cpu max",
        r"stopped: a needed processor feature is missing", cpu="qemu64,-svm", quick=True),
    bad("no-nx", True, r"NX +MISSING: enable 'No-Execute'", r"stopped: a needed processor", cpu="qemu64,-nx"),
    bad("no-long-mode", True, r"this processor has no 64-bit mode", cpu="qemu32"),
    bad("little-memory", True, r"MiB left for the guest, 16 MiB are the least", r"stopped: no guest to run",
        mem=24),
    bad("pool-too-large", True, r"stopped: no \d+ KiB of private memory for CPU 0: .*smaller pool=",
        hv="pool=1000000"),
    # --- a processor that is not like the others is named and left out ---
    bad("unlike-cpu", False, r"CPU with APIC id 1 is left out: .*SVM", r"VM 0: 1 CPUs", smp="1,maxcpus=2",
        extra=("-device", "max-x86_64-cpu,socket-id=0,core-id=1,thread-id=0,svm=off")),
]
