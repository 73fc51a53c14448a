# SPDX-License-Identifier: BSD-2-Clause
"""Kernels of a few instructions, for checks that need a guest but not an operating system, and damaged ones: a bzImage
and every other kind that the loader knows. Tested by the badinput, console and boot groups of check.py."""
import struct

SETUP_BYTES = 1024  # boot sector and one sector of setup
ENTRY64 = 0x200

# 64-bit code. Prints "tiny guest: ready", then sends back what COM1 receives; '!' resets the machine by port CF9.
ECHO = bytes.fromhex(
    "488d3528000000"  # lea text(%rip), %rsi
    "66baf803"  # mov $0x3f8, %dx
    "ac"  # 1: lodsb
    "84c0"  # test %al, %al
    "7403"  # jz 2f
    "ee"  # out %al, (%dx)
    "ebf8"  # jmp 1b
    "66bafd03"  # 2: mov $0x3fd, %dx
    "ec"  # in (%dx), %al
    "a801"  # test $1, %al
    "74f7"  # jz 2b
    "66baf803"  # mov $0x3f8, %dx
    "ec"  # in (%dx), %al
    "ee"  # out %al, (%dx)
    "3c21"  # cmp $'!', %al
    "75ed"  # jne 2b
    "66baf90c"  # mov $0xcf9, %dx
    "b006"  # mov $6, %al
    "ee"  # out %al, (%dx)
    "ebe4"  # jmp 2b
) + b"tiny guest: ready\n\0"

# Says the same, then hangs with interrupts off.
HANG = bytes.fromhex(
    "488d350f000000"  # lea text(%rip), %rsi
    "66baf803"  # mov $0x3f8, %dx
    "ac84c07403eeebf8"  # 1: lodsb; test %al, %al; jz 2f; out %al, (%dx); jmp 1b
    "faebfe"  # 2: cli; 3: jmp 3b
) + b"tiny guest: ready\n\0"

# Says the same, then halts with interrupts off; and one that loops without a word.
DEAD = bytes.fromhex(
    "488d3510000000"  # lea text(%rip), %rsi
    "66baf803"  # mov $0x3f8, %dx
    "ac84c07403eeebf8"  # 1: lodsb; test %al, %al; jz 2f; out %al, (%dx); jmp 1b
    "faf4ebfd"  # 2: cli; 3: hlt; jmp 3b
) + b"tiny guest: ready\n\0"
SILENT = bytes.fromhex("faebfe")  # cli; 1: jmp 1b

# Says the same, then sends back what comes, and B for a BREAK.
BREAKS = bytes.fromhex(
    "488d3526000000"  # lea text(%rip), %rsi
    "66baf803"  # mov $0x3f8, %dx
    "ac84c07403eeebf8"  # 1: lodsb; test %al, %al; jz 2f; out %al, (%dx); jmp 1b
    "66bafd03eca80174f7"  # 2: mov $0x3fd, %dx; in (%dx), %al; test $1, %al; jz 2b
    "88c4"  # mov %al, %ah
    "66baf803ec"  # mov $0x3f8, %dx; in (%dx), %al
    "f6c4107402"  # test $0x10, %ah; jz 3f
    "b042"  # mov $'B', %al
    "eeebe6"  # 3: out %al, (%dx); jmp 2b
) + b"tiny guest: ready\n\0"


def bzimage(code=ECHO, init_size=0x10000, syssize=None):
    """The file's bytes. init_size: memory it claims to need; syssize: length it claims, in 16-byte units."""
    image = bytearray(SETUP_BYTES)
    body = bytes(ENTRY64) + code
    body += bytes(-len(body) % 16)

    def put(at, fmt, value):
        struct.pack_into("<" + fmt, image, at, value)

    put(0x1F1, "B", 1)  # setup_sects
    put(0x1F4, "I", len(body) // 16 if syssize is None else syssize)
    put(0x1FE, "H", 0xAA55)
    put(0x200, "H", 0x6AEB)  # jump over the header: its end is 0x202 + 0x6a
    put(0x202, "I", 0x53726448)  # HdrS
    put(0x206, "H", 0x20C)  # boot protocol
    put(0x211, "B", 1)  # loaded high
    put(0x22C, "I", 0x7FFFFFFF)  # initrd_addr_max
    put(0x230, "I", 0x1000)  # kernel_alignment
    put(0x234, "B", 1)  # relocatable
    put(0x236, "H", 1)  # xloadflags: 64-bit entry
    put(0x238, "I", 255)  # cmdline_size
    put(0x258, "Q", 0x100000)  # pref_address
    put(0x260, "I", init_size)
    return bytes(image) + body


# 32-bit code, position-independent: as ECHO, without the reset.
ECHO32 = bytes.fromhex(
    "bc00700000"  # mov $0x7000, %esp
    "e800000000"  # call 1f
    "5e"  # 1: pop %esi
    "81c627000000"  # add $(text - 1b), %esi
    "baf8030000"  # mov $0x3f8, %edx
    "ac"  # 1: lodsb
    "84c0"  # test %al, %al
    "7403"  # jz 2f
    "ee"  # out %al, (%dx)
    "ebf8"  # jmp 1b
    "bafd030000"  # 2: mov $0x3fd, %edx
    "ec"  # in (%dx), %al
    "a801"  # test $1, %al
    "74f6"  # jz 2b
    "baf8030000"  # mov $0x3f8, %edx
    "ec"  # in (%dx), %al
    "ee"  # out %al, (%dx)
    "ebed"  # jmp 2b
) + b"tiny guest: ready\n\0"

# The same for real mode; any CS.
ECHO16 = bytes.fromhex(
    "e80000"  # call 1f
    "5e"  # 1: pop %si
    "0e1f"  # push %cs; pop %ds
    "81c62100"  # add $(text - 1b), %si
    "baf803"  # mov $0x3f8, %dx
    "ac84c07403eeebf8"  # 1: lodsb; test %al, %al; jz 2f; out %al, (%dx); jmp 1b
    "bafd03eca80174f8"  # 2: mov $0x3fd, %dx; in (%dx), %al; test $1, %al; jz 2b
    "baf803eceeebf1"  # mov $0x3f8, %dx; in (%dx), %al; out %al, (%dx); jmp 2b
) + b"tiny guest: ready\n\0"

# 16-bit code that asks the BIOS for what boot sectors ask, and reports through its teletype function.
BIOS16 = bytes.fromhex(
    "31c08ed88ec0"  # xor %ax, %ax; mov %ax, %ds; mov %ax, %es
    "6631db31ed"  # xor %ebx, %ebx; xor %bp, %bp
    "66b820e80000"  # 1: mov $0xe820, %eax: the memory map
    "66ba50414d53"  # mov $0x534d4150, %edx
    "66b914000000"  # mov $20, %ecx
    "bf0080cd157223"  # mov $0x8000, %di; int $0x15; jc bad
    "456685db75e1"  # inc %bp; test %ebx, %ebx; jnz 1b
    "83fd047218"  # cmp $4, %bp; jb bad
    "cd123d7f027511"  # int $0x12: base memory; cmp $639, %ax; jne bad
    "b408cd13730b"  # mov $8, %ah; int $0x13: a disk, which there is not; jnc bad
    "b401cd167505"  # mov $1, %ah; int $0x16: a key, which there is not; jnz bad
    "be6200eb03"  # mov $good, %si; jmp 1f
    "be7600"  # bad: mov $wrong, %si
    "e800005b81eb4d0001de"  # 1: call 2f; 2: pop %bx; sub $2b, %bx; add %bx, %si
    "ac84c07406"  # 3: lodsb; test %al, %al; jz 4f
    "b40ecd10ebf5"  # mov $0x0e, %ah; int $0x10; jmp 3b
    "f4ebfd"  # 4: hlt; jmp 4b
) + b"tiny guest: ready\r\n\0tiny guest: wrong\r\n\0"


def elf(code=ECHO32, wide=False, at=0x200000, virtual=0, head=b"", note=b"", machine=None, kind=2, bss=0, entry=None):
    """An ELF file with one segment: `head` (a multiboot header), then the code; `note`: a PT_NOTE segment."""
    text = head + bytes(-len(head) % 16) + code
    start = at + virtual + len(text) - len(code) if entry is None else entry
    size, phsize, offset = (64, 56, 4096) if wide else (52, 32, 4096)
    machine = machine or (62 if wide else 3)
    count = 2 if note else 1
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    if wide:
        out = ident + struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, start, size, 0, 0, size, phsize, count, 0, 0, 0)
        out += struct.pack("<IIQQQQQQ", 1, 7, offset, at + virtual, at, len(text), len(text) + bss, 4096)
        if note:
            out += struct.pack("<IIQQQQQQ", 4, 4, 2048, 0, 0, len(note), len(note), 4)
    else:
        out = ident + struct.pack("<HHIIIIIHHHHHH", kind, machine, 1, start, size, 0, 0, size, phsize, count, 0, 0, 0)
        out += struct.pack("<IIIIIIII", 1, offset, at + virtual, at, len(text), len(text) + bss, 7, 4096)
        if note:
            out += struct.pack("<IIIIIIII", 4, 2048, 0, 0, len(note), len(note), 4, 4)
    out += bytes(2048 - len(out)) + note
    return out + bytes(offset - len(out)) + text


def multiboot_header(flags=3, fields=b""):
    return struct.pack("<III", 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF) + fields


def multiboot_elf(**fields):
    return elf(head=multiboot_header(), **fields)


def multiboot_addresses(at=0x100000, bss=0x100000):
    """No ELF: the header's own fields say where the file goes. bss: bytes of zeros wanted behind it."""
    size = 32 + len(ECHO32)
    return multiboot_header(0x10003, struct.pack("<IIIII", at, at, at + size, at + size + bss, at + 32)) + ECHO32


def multiboot2_elf(**fields):
    tags = struct.pack("<HHI", 6, 0, 8) + struct.pack("<HHI", 0, 0, 8)
    size = 16 + len(tags)
    magic = 0xE85250D6
    return elf(head=struct.pack("<IIII", magic, 0, size, -(magic + size) & 0xFFFFFFFF) + tags, **fields)


def pvh_elf(at=0x200000):
    return elf(wide=True, at=at, virtual=0xFFFFFFFF80000000, note=struct.pack("<III4sI", 4, 4, 18, b"Xen\0", at))
