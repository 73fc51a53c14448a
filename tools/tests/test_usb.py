#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""tools/usb.sh: writes a stick, refuses everything else. A fake /sys stands for the machine."""
import os
import subprocess
import sys
import tempfile

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
count = failed = 0


def ok(condition, text):
    global count, failed
    count += 1
    failed += not condition
    print("%sok %d - %s" % ("" if condition else "not ", count, text))


def disk(root, name, removable=1, sectors=64, partition=False):
    base = os.path.join(root, "class/block", name)
    os.makedirs(base)
    for file, value in (("removable", removable), ("size", sectors)):
        with open(os.path.join(base, file), "w") as f:
            f.write("%d\n" % value)
    if partition:
        open(os.path.join(base, "partition"), "w").close()


def usb(root, *args, answer="", mounts=""):
    with open(os.path.join(root, "mounts"), "w") as f:
        f.write(mounts)
    env = dict(os.environ, SYSFS=root, MOUNTS=os.path.join(root, "mounts"), TARGET=os.path.join(root, "target"))
    done = subprocess.run([os.path.join(TOOLS, "usb.sh"), *args], input=answer, text=True, env=env, capture_output=True)
    return done.returncode, done.stdout + done.stderr


def written(root):
    path = os.path.join(root, "target")
    return os.path.exists(path) and open(path, "rb").read()


def main():
    with tempfile.TemporaryDirectory() as root:
        image = os.path.join(root, "image")
        data = bytes(range(256)) * 16
        with open(image, "wb") as f:
            f.write(data)
        disk(root, "sdx")
        disk(root, "sdx1", partition=True)
        disk(root, "sdy", removable=0)
        disk(root, "sdz", sectors=4)
        for what, args, text, mounts in (
            ("no disk", (image,), "which disk", ""),
            ("no image", (image + "x", "/dev/sdx"), "make iso", ""),
            ("an unknown disk", (image, "/dev/sdq"), "no disk of this machine", ""),
            ("a partition", (image, "/dev/sdx1"), "whole disk", ""),
            ("a fixed disk", (image, "/dev/sdy", "yes"), "not removable", ""),
            ("a small stick", (image, "/dev/sdz", "yes"), "image needs", ""),
            ("a mounted stick", (image, "/dev/sdx", "yes"), "unmount", "/dev/sdx1 /mnt vfat rw 0 0\n"),
            ("no consent", (image, "/dev/sdx"), "nothing written", ""),
        ):
            code, output = usb(root, *args, mounts=mounts)
            ok(code == 1 and text in output and not written(root), "%s: %s" % (what, output.strip()))
        code, output = usb(root, image, "/dev/sdx", answer="yes\n", mounts="/dev/sda1 / ext4 rw 0 0\n")
        ok(code == 0 and written(root) == data, "consent: " + output.strip())
    print("1..%d" % count)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
