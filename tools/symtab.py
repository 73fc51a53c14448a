#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Turns `nm -n` of the first link (stdin) into the assembly of the symbol table (stdout) that panics
use: {u32 address; u32 offset of the name} sorted, then the names. Text symbols only, so that the
table's size moves none of them. Tested by the panic test of `make check`."""
import sys


def main():
    symbols = {}
    for line in sys.stdin:
        fields = line.split()
        if len(fields) == 3 and fields[1] in "tT" and not fields[2].startswith("."):
            symbols.setdefault(int(fields[0], 16), fields[2].split(".")[0])  # not gcc's .part.0
    print("/* SPDX-License-Identifier: BSD-2-Clause */")
    print("/* Made by tools/symtab.py: text symbols of the image. */")
    print('.section .symtab_hv, "a", @progbits')
    print(".balign 8")
    offset = 0
    for at in sorted(symbols):
        print(f".long {at:#x}, {offset}")
        offset += len(symbols[at]) + 1
    print('.section .symstr_hv, "a", @progbits')
    for at in sorted(symbols):
        print(f'.asciz "{symbols[at]}"')
    print('.section .note.GNU-stack, "", @progbits')


if __name__ == "__main__":
    main()
