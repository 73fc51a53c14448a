# SPDX-License-Identifier: BSD-2-Clause
"""Linux kernels that are none: a bzImage with a few instructions behind the 64-bit entry, for checks that need a
guest but not an operating system, and damaged ones. Tested by the badinput and console groups of check.py."""
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
