#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Builds the initramfs of a machine that runs the benchmark's guest under KVM: the distribution's own QEMU with its
libraries and firmware, KVM's modules, and the guest's kernel and initramfs inside.
Usage: kvmguest.py OUT BUSYBOX MODULES VMLINUZ INITRD. Tested by `make bench-kvm`."""
import os
import re
import shutil
import subprocess
import sys

INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
export PATH=/bin
for word in $(cat /proc/cmdline); do
    case $word in
    pb.npt=*) npt=${word#*=} ;;
    pb.smp=*) smp=${word#*=} ;;
    pb.mem=*) mem=${word#*=} ;;
    esac
done
for module in MODULES; do
    case $module in
    kvm-amd) insmod /modules/$module.ko npt=$npt || echo "PBB error no $module" ;;
    *) insmod /modules/$module.ko || echo "PBB error no $module" ;;
    esac
done
echo "kvm-amd: npt $(cat /sys/module/kvm_amd/parameters/npt)"
stty raw -echo </dev/console
qemu-system-x86_64 -accel kvm -machine pc -cpu host -smp $smp -m $mem -nodefaults -no-user-config -display none \\
    -nic none -no-reboot -L /share -chardev stdio,id=s,signal=off -serial chardev:s -kernel /guest/vmlinuz \\
    -initrd /guest/initrd.gz -append "console=ttyS0 quiet no_timer_check pb.script=bench" || echo "PBB error the inner emulator"
poweroff -f
"""
FIRMWARE = ["bios-256k.bin", "linuxboot_dma.bin", "kvmvapic.bin"]
FIRMWARE_FOLDERS = ["/usr/share/seabios", "/usr/share/qemu"]


def load_order(folder, wanted, loaded):
    """The names of modules in the order in which insmod takes them."""
    path = os.path.join(folder, wanted + ".ko")
    with open(path, "rb") as f:
        depends = re.search(rb"\0depends=([^\0]*)", f.read()).group(1).decode()
    for name in depends.split(","):
        # Names have underscores, files have either.
        for file in (name, name.replace("_", "-")):
            if name and file not in loaded and os.path.exists(os.path.join(folder, file + ".ko")):
                load_order(folder, file, loaded)
    if wanted not in loaded:
        loaded.append(wanted)
    return loaded


def program(root, path):
    """A program and the shared libraries it asks for."""
    shutil.copy2(path, root + "/bin/")
    text = subprocess.run(["ldd", path], check=True, capture_output=True, text=True).stdout
    for line in text.splitlines():
        found = re.search(r"(/\S+) \(0x", line)
        if found:
            os.makedirs(root + "/lib64", exist_ok=True)
            shutil.copy2(os.path.realpath(found.group(1)), root + "/lib64/" + os.path.basename(found.group(1)))


def main(argv):
    out, busybox, modules, vmlinuz, initrd = argv
    root = out + ".root"
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("bin", "modules", "guest", "share", "proc", "sys", "dev", "tmp"):
        os.makedirs(os.path.join(root, folder))
    shutil.copy2(busybox, root + "/bin/busybox")
    os.symlink("lib64", root + "/lib")
    order = load_order(modules, "kvm-amd", [])
    for name in order:
        shutil.copy2(os.path.join(modules, name + ".ko"), root + "/modules/")
    program(root, shutil.which("qemu-system-x86_64"))
    for name in FIRMWARE:
        found = [os.path.join(d, name) for d in FIRMWARE_FOLDERS if os.path.exists(os.path.join(d, name))]
        if not found:
            print("kvmguest: no %s in %s" % (name, " ".join(FIRMWARE_FOLDERS)), file=sys.stderr)
            return 1
        shutil.copy2(found[0], root + "/share/")
    shutil.copy2(vmlinuz, root + "/guest/vmlinuz")
    shutil.copy2(initrd, root + "/guest/initrd.gz")
    with open(root + "/init", "w", encoding="ascii") as f:
        f.write(INIT.replace("MODULES", " ".join(order)))
    os.chmod(root + "/init", 0o755)
    # Not compressed: unpacking under emulation takes longer than loading.
    with open(out + ".tmp", "wb") as f:
        names = subprocess.run(["find", "."], cwd=root, check=True, capture_output=True).stdout
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=root, check=True, input=names, stdout=f)
    os.rename(out + ".tmp", out)
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
