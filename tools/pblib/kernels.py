# SPDX-License-Identifier: BSD-2-Clause
"""Kernel files: decompressing those that come compressed as a whole, and taking a vmlinux out of a bzImage.
`kernels.py FILE OUT`: the file, decompressed if it was not plain. Tested by the boot group of check.py and
tools/tests/test_pblib.py."""
import bz2
import gzip
import lzma
import os
import shutil
import struct
import subprocess
import sys
import zlib


class Damaged(Exception):
    """Compressed data that does not unpack, or nothing here that unpacks it; the text says which."""


def _program(name, package):
    """A decompressor that Python has no module for."""

    def unpack(data):
        if not shutil.which(name):
            raise Damaged("compressed by %s: install the package %s" % (name, package))
        done = subprocess.run([name, "-dc"], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            raise Damaged("%s: %s" % (name, done.stderr.decode("utf-8", "replace").strip()))
        return done.stdout

    return unpack


# All that Linux packs its images with, and what is around a whole file.
MAGICS = (
    (b"\x1f\x8b", gzip.decompress), (b"\xfd7zXZ", lzma.decompress), (b"BZh", bz2.decompress),
    (b"\x5d\0\0", lambda data: lzma.decompress(data, lzma.FORMAT_ALONE)),
    (b"\x28\xb5\x2f\xfd", _program("zstd", "zstd")), (b"\x02\x21\x4c\x18", _program("lz4", "lz4")),
    (b"\x04\x22\x4d\x18", _program("lz4", "lz4")), (b"\x89LZO", _program("lzop", "lzop")),
)


def unpacker_of(data):
    """What undoes the compression that the first bytes tell of: bytes -> bytes, raises Damaged; or None."""
    for magic, unpack in MAGICS:
        if data.startswith(magic):

            def checked(whole, unpack=unpack):
                try:
                    return unpack(whole)
                except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as e:
                    raise Damaged(str(e)) from None

            return checked
    return None


def decompressed(path, where):
    """The file to load: `path` itself, or, if that is a compressed file, `where` with its contents."""
    if not path:
        return path
    with open(path, "rb") as f:
        data = f.read(6)
        unpack = unpacker_of(data)
        if unpack is None:
            return path
        data += f.read()
    try:
        data = unpack(data)
    except Damaged as e:
        raise SystemExit("run: %s, a compressed file, is damaged or cannot be unpacked here: %s" % (path, e)) from None
    os.makedirs(os.path.dirname(where) or ".", exist_ok=True)
    with open(where, "wb") as f:
        f.write(data)
    return where


def vmlinux(bzimage):
    """The ELF kernel within a bzImage's bytes. Raises Damaged. Boot protocol 2.08: the payload, whatever packed it, ends with
    its length unpacked; only gzip has that length of its own."""
    setup = ((bzimage[0x1F1] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    payload = bzimage[setup + offset:setup + offset + length]
    unpack = unpacker_of(payload)
    if unpack is None and payload.startswith(b"\x7fELF"):
        return payload
    if unpack is None:
        raise Damaged("compressed in an unknown way: " + payload[:6].hex())
    if len(payload) < 8:
        raise Damaged("no payload")
    image = unpack(payload if payload.startswith(b"\x1f\x8b") else payload[:-4])
    if len(image) & 0xFFFFFFFF != struct.unpack("<I", payload[-4:])[0]:
        raise Damaged("%d bytes, not as many as its end says" % len(image))
    return image


if __name__ == "__main__":
    shutil.copyfile(decompressed(sys.argv[1], sys.argv[2] + ".plain"), sys.argv[2])
    if os.path.exists(sys.argv[2] + ".plain"):
        os.remove(sys.argv[2] + ".plain")
