#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The framebuffer console's letters as C: font.py FONT.pf2 OUT.c. Reads GRUB's font format (PFF2: sections of a
name, a big-endian length and data; the index gives each code point's glyph; a glyph is its size, offset and advance
and then its dots, row after row without padding). The font is Debian's, GNU Unifont from the package grub-common,
whose licence lets programs carry it. Tested by tools/tests/test_font.py and the framebuffer step of `make check`."""
import struct
import sys

FIRST, LAST, WIDTH, HEIGHT = 0x20, 0x7E, 8, 16


class Malformed(Exception):
    """Not a font of that kind, or not of 8 x 16 dots."""


def sections(data):
    """{name: data}; DATA has no length of its own."""
    found, at = {}, 0
    while at + 8 <= len(data):
        name, size = struct.unpack_from(">4sI", data, at)
        if name == b"DATA":
            return found
        found[name] = data[at + 8:at + 8 + size]
        at += 8 + size
    raise Malformed("the font ends before its glyphs")


def glyph(data, offset, ascent):
    """The rows of one glyph, a byte each, leftmost dot in bit 7."""
    width, height, left, bottom, _ = struct.unpack_from(">HHhhH", data, offset)
    top = ascent - bottom - height
    if left < 0 or left + width > WIDTH or top < 0 or top + height > HEIGHT:
        raise Malformed("a glyph of %u x %u dots at %d, %d does not fit" % (width, height, left, top))
    rows = [0] * HEIGHT
    for i in range(width * height):
        if data[offset + 10 + i // 8] >> (7 - i % 8) & 1:
            rows[top + i // width] |= 0x80 >> (left + i % width)
    return rows


def read(path):
    """[rows] for FIRST .. LAST."""
    with open(path, "rb") as f:
        data = f.read()
    if data[:12] != b"FILE\0\0\0\4PFF2":
        raise Malformed("%s is no PFF2 font" % path)
    found = sections(data)
    ascent = struct.unpack(">H", found[b"ASCE"])[0]
    index = {code: offset for code, _, offset in struct.iter_unpack(">IBI", found[b"CHIX"])}
    missing = [c for c in range(FIRST, LAST + 1) if c not in index]
    if missing:
        raise Malformed("no glyph for 0x%x" % missing[0])
    return [glyph(data, index[c], ascent) for c in range(FIRST, LAST + 1)]


def source(rows):
    lines = ["/* SPDX-License-Identifier: BSD-2-Clause */", "/* Made by tools/font.py. */",
             '#include "arch-x86/dev/font.h"', "", "const uint8_t font_rows[FONT_GLYPHS][FONT_ROWS] = {"]
    lines += ["    {%s}, /* 0x%02x */" % (", ".join("0x%02x" % r for r in g), FIRST + i) for i, g in enumerate(rows)]
    return "\n".join(lines + ["};", ""])


def main(argv):
    try:
        text = source(read(argv[1]))
    except (OSError, Malformed) as e:
        print("font: %s (install the package grub-common, or give FONT=)" % e, file=sys.stderr)
        return 1
    with open(argv[2], "w", encoding="ascii") as f:
        f.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
