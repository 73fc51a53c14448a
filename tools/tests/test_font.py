#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of tools/font.py on a font made here. Run by the unit group of tools/check.py."""
import os
import struct
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import font  # pylint: disable=wrong-import-position

count, bad = 0, 0


def ok(condition, name):
    global count, bad
    count += 1
    bad += not condition
    print("%sok %d - %s" % ("" if condition else "not ", count, name))


def made(shape, codes=range(0x20, 0x7F), magic=b"PFF2"):
    """A font whose letters all look like shape: (width, height, left, bottom, rows as strings)."""
    width, height, left, bottom, rows = shape
    bits = "".join(rows).replace(".", "0").replace("#", "1")
    dots = bytes(int(bits[i:i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8))
    glyph = struct.pack(">HHhhH", width, height, left, bottom, 8) + dots
    head = b"FILE\0\0\0\4" + magic + b"ASCE\0\0\0\2" + struct.pack(">H", 14)
    at = len(head) + 8 + 9 * len(codes) + 8
    index = b"".join(struct.pack(">IBI", c, 0, at) for c in codes)
    return head + b"CHIX" + struct.pack(">I", len(index)) + index + b"DATA\xff\xff\xff\xff" + glyph


def rows_of(data):
    with tempfile.NamedTemporaryFile() as f:
        f.write(data)
        f.flush()
        return font.read(f.name)


def refused(data, what):
    try:
        rows_of(data)
    except font.Malformed as e:
        return what in str(e)
    return False


def main():
    # 3 x 3 dots without padding between the rows; it stands on the base line, which is 14 below the top.
    rows = rows_of(made((3, 3, 2, 0, ["#..", ".#.", "###"])))
    ok(len(rows) == 95 and rows[0] == rows[94], "a glyph for each letter")
    ok(rows[33][11:14] == [0x20, 0x10, 0x38] and not any(rows[33][:11] + rows[33][14:]), "its dots are where they belong")
    ok(rows_of(made((1, 1, 0, -2, ["#"])))[0][15] == 0x80, "below the base line")
    ok(refused(made((9, 1, 0, 0, ["#" * 9])), "does not fit"), "too wide")
    ok(refused(made((8, 1, 1, 0, ["#" * 8])), "does not fit"), "too far right")
    ok(refused(made((1, 3, 0, 13, ["#"] * 3)), "does not fit"), "too high")
    ok(refused(made((1, 1, 0, 0, ["#"]), range(0x20, 0x7E)), "no glyph for 0x7e"), "a letter is missing")
    ok(refused(made((1, 1, 0, 0, ["#"]), magic=b"PFF1"), "no PFF2 font"), "another format")
    ok(refused(made((1, 1, 0, 0, ["#"]))[:14], "ends before"), "cut off")
    print("1..%d" % count)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
