#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of what needs neither root nor an emulator of make deb, make disk and make run DISK=: versions and the man page
(tools/mkdeb.py), partition tables (tools/pblib/gpt.py), command lines (tools/pblib/emu.py). Run by the unit group of tools/check.py."""
import os
import struct
import sys
import tempfile
import zlib

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import mkdeb  # pylint: disable=wrong-import-position
from pblib import config, emu, gpt  # pylint: disable=wrong-import-position

count, bad = 0, 0
MIB = 1 << 20


def ok(condition, name):
    global count, bad
    count += 1
    bad += not condition
    print("%sok %d - %s" % ("" if condition else "not ", count, name))


def test_deb():
    version = mkdeb.version_of("v1-3-gabc-dirty", 1700000000)
    ok(version == "0.1+20231114.221320.v1.3.gabc.dirty", "a version that dpkg takes")
    ok(mkdeb.version_of("zzz", 1700000000) < mkdeb.version_of("aaa", 1700086400), "later commits have later versions")
    text = mkdeb.options_as_roff("a=x|y-z\n    what it does\nb=N\n    .dots and \\ are text\n")
    ok(text == ".TP\n\\fBa=\\fPx|\\:y\\-z\nwhat it does\n.TP\n\\fBb=\\fPN\n\\&.dots and \\e are text", "options as a man page")


def header(data, at):
    """(good, here, other, first, last, table) of a GPT header."""
    fields = struct.unpack_from("<8sIIIIQQQQ16sQIII", data, at)
    plain = data[at:at + 16] + b"\0\0\0\0" + data[at + 20:at + 92]
    table = data[fields[10] * gpt.SECTOR:][:fields[11] * fields[12]]
    return fields[0] == b"EFI PART" and fields[3] == zlib.crc32(plain) and fields[13] == zlib.crc32(table), fields


def test_gpt(folder):
    path, size = os.path.join(folder, "disk"), 8 * MIB
    parts = [gpt.Partition("one", gpt.BIOS_BOOT, MIB, MIB, gpt.LINUX), gpt.Partition("two", gpt.ESP, 2 * MIB, 5 * MIB, gpt.ESP)]
    gpt.write(path, size, parts, gpt.LINUX)
    core = bytes(range(256)) * 5
    gpt.grub_bios(path, b"\xeb" * 512, core, parts[0])
    with open(path, "rb") as f:
        data = f.read()
    ok(len(data) == size and data[510:512] == b"\x55\xaa" and data[450] == 0xee, "a protective MBR")
    good, h = header(data, gpt.SECTOR)
    ok(good and h[5:7] == (1, size // 512 - 1) and h[7:9] == (34, size // 512 - 34), "a header that names the other one")
    good, h = header(data, size - gpt.SECTOR)
    ok(good and h[5:7] == (size // 512 - 1, 1) and h[10] == size // 512 - 33, "and the other one")
    first, last = struct.unpack_from("<QQ", data, 2 * gpt.SECTOR + gpt.ENTRY_BYTES + 32)
    ok((first, last) == (4096, 14335), "a partition's sectors, the last one included")
    ok(struct.unpack_from("<Q", data, 0x5c)[0] == 2048 and data[0] == 0xeb and data[446] == 0, "GRUB's first sector knows the second")
    ok(struct.unpack_from("<QH", data, MIB + 0x1f4) == (2049, 2), "which knows the rest, and how much it is")
    try:
        gpt.grub_bios(path, b"", bytes(2 * MIB), parts[0])
        ok(False, "a core image that does not fit")
    except ValueError:
        ok(True, "a core image that does not fit")


def args_of(folder, **fields):
    run = config.Run(out=folder, machine="q35", **fields)
    return " ".join(emu.qemu_args(run))


def test_args(folder):
    raw, cow = os.path.join(folder, "raw.img"), os.path.join(folder, "cow,1.img")
    for path, text in ((raw, b"\xeb"), (cow, b"QFI\xfb")):
        with open(path, "wb") as f:
            f.write(text)
    text = args_of(folder, disk=raw, nic="e1000e")
    ok("-device ide-hd,drive=disk,bootindex=1" in text and "format=raw,file=" + raw in text and "-cdrom" not in text, "a disk that boots")
    ok("-netdev user,id=net -device e1000e,netdev=net" in text and "iommu" not in text, "and a network card")
    text = args_of(folder, disk=cow, dev="virtio", nic="virtio", iommu="intel")
    ok("format=qcow2,file=%s" % cow.replace(",", ",,") in text, "qcow2, and a comma in its name")
    ok("virtio-blk-pci,drive=disk,iommu_platform=on" in text and "virtio-net-pci,iommu_platform=on" in text, "virtio behind an IOMMU")
    ok(text.index("intel-iommu") < text.index("virtio"), "the IOMMU comes first")
    ok("sku=patchbay-bare" in args_of(folder, disk=raw, bare=True), "the entry without Patchbay")
    ok("usb-storage,bus=xhci.0,drive=disk " in args_of(folder, disk=raw, dev="usb", kernel="k", direct=True) + " ", "a disk beside a kernel")


def environment(**words):
    for name in ("DISK", "DEV", "NIC", "NET", "IOMMU", "KERNEL", "INITRD", "APPEND", "HV", "DIRECT", "MACHINE"):
        os.environ.pop(name, None)
    os.environ.update(words)
    try:
        return config.from_environment()
    except SystemExit as e:
        return str(e)


def test_environment(folder):
    disk = os.path.join(folder, "d.img")
    for name in ("d.img", "d.vmlinuz", "d.initrd"):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(b"MZ" * 600)
    run = environment(DISK=disk, NET="1")
    ok(run.own_menu and run.machine == "q35" and run.nic == "e1000e" and run.dev == "ahci", "DISK= boots by its own menu")
    run = environment(DISK=disk, DIRECT="1", HV="smp=1", APPEND="console=ttyS0")
    ok(run.kernel.endswith("d.vmlinuz") and run.initrd.endswith("d.initrd") and "pci=all" in run.words and "root=LABEL" in run.append,
       "DIRECT=1 takes the kernel beside it")
    ok("HV= is for" in environment(DISK=disk, HV="smp=1"), "options that nobody would read")
    ok("make disk makes" in environment(DISK=disk + "x"), "no such disk")
    ok("DEV=floppy: one of ahci" in environment(DISK=disk, DEV="floppy"), "no such device")


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.environ["O"] = folder
        test_deb()
        test_gpt(folder)
        test_args(folder)
        test_environment(folder)
    print("1..%d" % count)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
