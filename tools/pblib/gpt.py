# SPDX-License-Identifier: BSD-2-Clause
"""A GUID partition table in an image file, and GRUB's BIOS boot images in it (UEFI specification 5.3 "GUID Partition Table
(GPT) Disk Layout"; GRUB manual 3.4 "BIOS installation"). Tested by tools/tests/test_disk.py and every disk that boots."""
import dataclasses
import struct
import uuid
import zlib

SECTOR = 512
ENTRIES, ENTRY_BYTES = 128, 128
TABLE_SECTORS = ENTRIES * ENTRY_BYTES // SECTOR
BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
# Where GRUB's first sector has the number of the sector it loads, and where that one has the list of those it loads.
BOOT_KERNEL_SECTOR, BOOT_CODE_END = 0x5c, 0x1b8
BOOT_DRIVE_CHECK, NOPS = 0x66, 0x9090  # a jump that believes the BIOS about floppies
LIST_START = 0x1f4  # 8 bytes, and 2 with their number


@dataclasses.dataclass
class Partition:
    name: str
    kind: str
    start: int  # bytes
    size: int
    guid: str


def _entry(p):
    name = p.name.encode("utf-16-le")
    first, last = p.start // SECTOR, (p.start + p.size) // SECTOR - 1
    return struct.pack("<16s16sQQQ72s", uuid.UUID(p.kind).bytes_le, uuid.UUID(p.guid).bytes_le, first, last, 0, name)


def _header(here, other, table, sectors, guid, crc):
    fields = [b"EFI PART", 0x10000, 92, 0, 0, here, other, 2 + TABLE_SECTORS, sectors - TABLE_SECTORS - 2,
              uuid.UUID(guid).bytes_le, table, ENTRIES, ENTRY_BYTES, crc]
    form = "<8sIIIIQQQQ16sQIII"
    fields[3] = zlib.crc32(struct.pack(form, *fields))
    return struct.pack(form, *fields).ljust(SECTOR, b"\0")


def write(path, size, parts, guid):
    """A new sparse image of `size` bytes with these partitions."""
    sectors = size // SECTOR
    table = b"".join(_entry(p) for p in parts).ljust(ENTRIES * ENTRY_BYTES, b"\0")
    crc = zlib.crc32(table)
    protective = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xee, b"\xff\xff\xff", 1, min(sectors - 1, 0xffffffff))
    with open(path, "wb") as f:
        f.truncate(size)
        f.seek(446)
        f.write(protective.ljust(64, b"\0") + b"\x55\xaa")
        f.write(_header(1, sectors - 1, 2, sectors, guid, crc) + table)
        f.seek((sectors - 1 - TABLE_SECTORS) * SECTOR)
        f.write(table + _header(sectors - 1, 1, sectors - 1 - TABLE_SECTORS, sectors, guid, crc))


def grub_bios(path, boot, core, part):
    """GRUB's boot.img in the first sector, core.img in the BIOS boot partition, each told where the next one is."""
    if len(core) > part.size:
        raise ValueError("GRUB's core image has %d bytes, its partition %d" % (len(core), part.size))
    first = part.start // SECTOR
    core = bytearray(core)
    rest = -(-len(core) // SECTOR) - 1
    struct.pack_into("<QH", core, LIST_START, first + 1, rest)
    boot = bytearray(boot[:BOOT_CODE_END])
    struct.pack_into("<Q", boot, BOOT_KERNEL_SECTOR, first)
    struct.pack_into("<H", boot, BOOT_DRIVE_CHECK, NOPS)
    with open(path, "r+b") as f:
        f.write(boot)
        f.seek(part.start)
        f.write(core)


def copy_in(path, source, part):
    with open(source, "rb") as f:
        data = f.read()
    if len(data) > part.size:
        raise ValueError("%s has %d bytes, its partition %d" % (source, len(data), part.size))
    with open(path, "r+b") as f:
        f.seek(part.start)
        f.write(data)
