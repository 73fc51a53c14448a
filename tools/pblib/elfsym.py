# SPDX-License-Identifier: BSD-2-Clause
"""Symbols of Patchbay's ELF file and what the file holds at an address. Tested by tools/tests/test_bench.py."""
import struct

SHT_SYMTAB, SHT_NOBITS = 2, 8


class Image:
    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = f.read()
        if self.data[:5] != b"\x7fELF\x02":
            raise ValueError("%s is no 64-bit ELF file" % path)
        at, size, count = struct.unpack_from("<Q", self.data, 40)[0], *struct.unpack_from("<HH", self.data, 58)
        # (type, address, file offset, size, link)
        self.sections = []
        for i in range(count):
            _, kind, _, address, offset, length, link = struct.unpack_from("<IIQQQQI", self.data, at + i * size)
            self.sections.append((kind, address, offset, length, link))
        self.symbols = {}  # name -> (address, size)
        for kind, _, offset, length, link in self.sections:
            if kind == SHT_SYMTAB:
                self._read_symbols(offset, length, self.sections[link][2])

    def _read_symbols(self, offset, length, strings):
        for at in range(offset, offset + length, 24):
            name, _, _, _, value, size = struct.unpack_from("<IBBHQQ", self.data, at)
            self.symbols[self._text(strings + name)] = (value, size)

    def _text(self, at):
        return self.data[at:self.data.index(b"\0", at)].decode("ascii", "replace")

    def _offset(self, address):
        for kind, start, offset, length, _ in self.sections:
            if start and kind != SHT_NOBITS and start <= address < start + length:
                return offset + address - start
        raise ValueError("0x%x is not in the file" % address)

    def strings(self, symbol):
        """An array of pointers to text."""
        address, size = self.symbols[symbol]
        at = self._offset(address)
        pointers = struct.unpack_from("<%dQ" % (size // 8), self.data, at)
        return [self._text(self._offset(p)) for p in pointers]
