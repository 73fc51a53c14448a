# SPDX-License-Identifier: BSD-2-Clause
"""Kernel files: decompressing those that come compressed as a whole, taking a vmlinux out of a bzImage, and boots of
every kind that the hypervisor's loader knows. Tested by the boot group of check.py and tools/tests/test_pblib.py."""
import gzip
import lzma
import os
import struct
import zlib

MAGICS = ((b"\x1f\x8b", gzip.decompress), (b"\xfd7zXZ", lzma.decompress))


def decompressed(path, where):
    """The file to load: `path` itself, or, if that is a gzip or xz file, `where` with its contents."""
    if not path:
        return path
    with open(path, "rb") as f:
        data = f.read(6)
        for magic, unpack in MAGICS:
            if data.startswith(magic):
                data += f.read()
                break
        else:
            return path
    try:
        data = unpack(data)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as e:
        raise SystemExit("run: %s is a damaged compressed file: %s" % (path, e)) from None
    os.makedirs(os.path.dirname(where) or ".", exist_ok=True)
    with open(where, "wb") as f:
        f.write(data)
    return where


def vmlinux(bzimage):
    """The ELF kernel within a bzImage's bytes, or None if its compression is not known here."""
    setup = ((bzimage[0x1F1] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    payload = bzimage[setup + offset:setup + offset + length]
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(payload)
    if payload.startswith(b"\xfd7zXZ"):
        return lzma.LZMADecompressor().decompress(payload)
    return None
