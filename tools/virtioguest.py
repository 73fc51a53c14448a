#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the tests of virtio devices boot with: the kernel's own drivers in the order in which they load, and an ext4 image
for a disk. Usage: virtioguest.py modules|devices OUT-FOLDER MODULES-FOLDER, or virtioguest.py disk IMAGE BUSYBOX.
Tested by the groups virtio and devices of tools/check.py."""
import hashlib
import os
import random
import shutil
import subprocess
import sys

from kvmguest import load_order

# What is missing is built into the kernel, or named otherwise in other versions.
WANTED = ("virtio_pci", "virtio-rng", "virtio_console", "virtio_blk", "virtio_net", "crc32c_generic", "ext4")
DISK_BYTES = 24 << 20


# Of the machine's own devices.
DEVICES = ("crc64_rocksoft_generic", "crct10dif_generic", "crc32c_generic", "ahci", "nvme", "xhci-pci", "usb-storage",
           "usbhid", "hid-generic", "virtio_pci", "virtio_blk", "sd_mod", "e1000e")


def modules(out, folder, wanted=WANTED):
    """OUT/modules with the files, and OUT/modules/order."""
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out + "/modules")
    order = []
    for name in wanted:
        if os.path.exists(os.path.join(folder, name + ".ko")):
            load_order(folder, name, order)
    for name in order:
        shutil.copyfile(os.path.join(folder, name + ".ko"), "%s/modules/%s.ko" % (out, name))
    with open(out + "/modules/order", "w", encoding="ascii") as f:
        f.write("".join(name + "\n" for name in order))


def disk(image, busybox):
    """A file system with a shell and files whose checksums it holds; the same bytes each time."""
    root = image + ".root"
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("bin", "data", "proc", "dev"):
        os.makedirs(os.path.join(root, folder))
    shutil.copy2(busybox, root + "/bin/busybox")
    os.symlink("busybox", root + "/bin/sh")
    chance = random.Random(1)
    with open(root + "/sums", "w", encoding="ascii") as sums:
        for i in range(16):
            data = chance.randbytes(chance.randrange(1, 1 << 19))
            with open("%s/data/%d" % (root, i), "wb") as f:
                f.write(data)
            sums.write("%s  data/%d\n" % (hashlib.sha256(data).hexdigest(), i))
    for where, folders, files in os.walk(root):
        for name in folders + files:
            os.utime(os.path.join(where, name), (1700000000, 1700000000), follow_symlinks=False)
    with open(image + ".tmp", "wb") as f:
        f.truncate(DISK_BYTES)
    uuid = "00000000-0000-4000-8000-000000000001"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-U", uuid, "-E", "hash_seed=%s,lazy_itable_init=0,root_owner=0:0" % uuid,
                    "-d", root, image + ".tmp"], check=True, env=dict(os.environ, E2FSPROGS_FAKE_TIME="1700000000", PATH=os.environ[
                        "PATH"] + ":/sbin:/usr/sbin"))
    os.rename(image + ".tmp", image)
    shutil.rmtree(root)


def main(argv):
    if argv[:1] == ["modules"] and len(argv) == 3:
        modules(*argv[1:])
    elif argv[:1] == ["devices"] and len(argv) == 3:
        modules(argv[1], argv[2], DEVICES)
    elif argv[:1] == ["disk"] and len(argv) == 3:
        disk(*argv[1:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
