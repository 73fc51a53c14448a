#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Makes a small Debian on a disk image, with the package patchbay installed: mkdisk.py SUITE DEB CACHE OUT.img, as root. It
boots by its own GRUB, BIOS and UEFI. The base system is made by debootstrap once and kept in the cache; no loop device is
needed: the file system is made from a folder, and GRUB's images are put where its installer would put them.
DEBIAN_MIRROR= names another mirror. Tested by the devices group of tools/check.py."""
import os
import shutil
import subprocess
import sys

from pblib import gpt, lifeline, tree

EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH") or 1700000000)
MIB = 1 << 20
SIZE = 2048 * MIB

GRUB_DEFAULTS = """# The disk of make disk: menu on the screen and on COM1, the guest's console on both.
GRUB_DEFAULT="Debian on Patchbay"
GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX_DEFAULT=quiet
GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200"
GRUB_TERMINAL="console serial"
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
GRUB_DISABLE_OS_PROBER=true
"""
MODULES = """# Not needed here, and slow to start in an emulator. The screen stays with the boot framebuffer's driver.
blacklist bochs
blacklist kvm_amd
blacklist kvm_intel
blacklist cfg80211
blacklist ppdev
blacklist iTCO_wdt
"""
# systemd gives up after 90 s on a device that a machine under load needs longer for: the serial console's login, for one.
PATIENCE = "[Manager]\nDefaultTimeoutStartSec=30min\nDefaultDeviceTimeoutSec=30min\n"
NETWORK = "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n"
COMMON = "part_gpt ext2 search search_fs_uuid normal configfile"
LOAD = "search.fs_uuid %s root\nset prefix=($root)/boot/grub\n" % tree.ROOT_UUID


class Builder(tree.Tree):
    """The tree that becomes the disk `out`."""

    def __init__(self, suite, deb, cache, out):
        super().__init__(suite, cache, out + ".root", open(out + ".log", "w", encoding="utf-8"), EPOCH)
        self.deb, self.out = deb, out

    def settings(self):
        self.put("etc/fstab", "UUID=%s / ext4 errors=remount-ro 0 1\n" % tree.ROOT_UUID)
        self.put("etc/hostname", "patchbay\n")
        self.put("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 patchbay\n")
        self.put("etc/machine-id", "")
        self.put("etc/systemd/network/80-all.network", NETWORK)
        self.put("etc/default/grub", GRUB_DEFAULTS)
        self.put("etc/modprobe.d/patchbay.conf", MODULES)
        self.put("etc/systemd/system.conf.d/patchbay.conf", PATIENCE)
        hashed = subprocess.run(["openssl", "passwd", "-6", "-salt", "patchbay", "patchbay"], stdout=subprocess.PIPE, check=True)
        self.chroot("usermod", "-p", hashed.stdout.decode().strip(), "root")
        self.chroot("systemctl", "enable", "systemd-networkd", "systemd-resolved")
        self.chroot("systemctl", "mask", "systemd-networkd-wait-online", "systemd-firstboot", "apt-daily.timer",
                    "apt-daily-upgrade.timer", "e2scrub_reap.service", "e2scrub_all.timer", "fstrim.timer", "man-db.timer")

    def grub(self):
        """GRUB's menu by its own update-grub, which the package's maintainer scripts call again; then GRUB's images."""
        self.pretend_disk()
        try:
            self.copy("choice", "etc/grub.d/41_choice")
            for platform in ("i386-pc", "x86_64-efi"):
                shutil.copytree(self.path("usr/lib/grub/" + platform), self.path("boot/grub/" + platform))
            self.chroot("grub-editenv", "/boot/grub/grubenv", "create")
            self.chroot("update-grub")
            shutil.copyfile(self.deb, self.path("patchbay.deb"))
            self.chroot("dpkg", "-i", "/patchbay.deb")
        finally:
            self.end_pretence()
        os.remove(self.path("patchbay.deb"))
        if "'Debian on Patchbay'" not in self.read("boot/grub/grub.cfg"):
            raise tree.Failed("the package's scripts made no boot entry; log in " + self.log.name)
        self.put("load.cfg", LOAD)
        for target, name, more in (("i386-pc", "core.img", "biosdisk"), ("x86_64-efi", "bootx64.efi", "fat")):
            self.chroot("grub-mkimage", "-O", target, "-c", "/load.cfg", "-p", "/boot/grub", "-o", "/" + name, more, *COMMON.split())
            os.rename(self.path(name), self.out + "." + name)
        os.remove(self.path("load.cfg"))

    def tidy(self):
        """What differs from build to build and is made anew by the running system."""
        for path in ("var/log", "var/cache/ldconfig", "tmp", "var/tmp"):
            full = self.path(path)
            for name in os.listdir(full) if os.path.isdir(full) else []:
                entry = os.path.join(full, name)
                if os.path.isfile(entry):
                    os.remove(entry)
        for name in ("var/lib/systemd/random-seed", "etc/passwd-", "etc/shadow-", "etc/group-", "etc/gshadow-", "var/lib/dpkg/status-old"):
            if os.path.exists(self.path(name)):
                os.remove(self.path(name))
        self.run(["find", self.root, "-newermt", "@%d" % EPOCH, "-exec", "touch", "-h", "-d", "@%d" % EPOCH, "{}", "+"])

    # --- the disk ----------------------------------------------------------------------------------
    def esp(self, path, size):
        """The EFI system partition with GRUB at the path that firmware tries by itself."""
        os.utime(self.out + ".bootx64.efi", (EPOCH, EPOCH))
        with open(path, "wb") as f:
            f.truncate(size)
        self.run(["mformat", "-i", path, "-F", "-N", "50423032", "-v", "PATCHBAY", "::"])
        self.run(["mmd", "-i", path, "::/EFI", "::/EFI/BOOT"])
        self.run(["mcopy", "-m", "-i", path, self.out + ".bootx64.efi", "::/EFI/BOOT/BOOTX64.EFI"])

    def disk(self):
        image = self.out + ".tmp"
        parts = [gpt.Partition("bios-boot", gpt.BIOS_BOOT, 1 * MIB, 1 * MIB, tree.ROOT_PARTUUID[:-1] + "1"),
                 gpt.Partition("esp", gpt.ESP, 2 * MIB, 40 * MIB, tree.ROOT_PARTUUID[:-1] + "2"),
                 gpt.Partition("root", gpt.LINUX, 42 * MIB, SIZE - 43 * MIB, tree.ROOT_PARTUUID)]
        if os.path.exists(image):
            os.remove(image)
        gpt.write(image, SIZE, parts, "50617463-6862-4179-8000-000000000000")
        with open(self.path("usr/lib/grub/i386-pc/boot.img"), "rb") as f:
            boot = f.read()
        with open(self.out + ".core.img", "rb") as f:
            gpt.grub_bios(image, boot, f.read(), parts[0])
        self.esp(self.out + ".esp", parts[1].size)
        gpt.copy_in(image, self.out + ".esp", parts[1])
        self.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "patchbay", "-U", tree.ROOT_UUID, "-O", "^metadata_csum_seed",
                  "-E", "offset=%d,hash_seed=%s,lazy_itable_init=0,lazy_journal_init=0,no_copy_xattrs" % (parts[2].start, tree.ROOT_UUID),
                  "-d", self.root, image, "%dk" % (parts[2].size // 1024)])
        for name, suffix in (("vmlinuz", ".vmlinuz"), ("initrd.img", ".initrd")):  # links in the root folder
            link = os.readlink(self.path(name))
            shutil.copyfile(self.path(link), os.path.splitext(self.out)[0] + suffix)
        os.rename(image, self.out)

    def clean(self):
        shutil.rmtree(self.root, ignore_errors=True)
        for suffix in (".esp", ".core.img", ".bootx64.efi", ".tmp"):
            if os.path.exists(self.out + suffix):
                os.remove(self.out + suffix)


def main():
    lifeline.end_with_callers()
    suite, deb, cache, out = sys.argv[1:]
    if suite not in tree.SUITES:
        raise SystemExit("disk: SUITE=%s: one of %s" % (suite, " ".join(tree.SUITES)))
    if os.geteuid() != 0:
        raise SystemExit("disk: debootstrap and the files' owners need root: sudo make disk")
    os.umask(0o022)
    builder = Builder(suite, deb, os.path.abspath(cache), os.path.abspath(out))
    try:
        for stage in (builder.unpack, builder.settings, builder.grub, builder.tidy, builder.disk):
            stage()
    except (tree.Failed, OSError) as e:
        raise SystemExit("disk: %s" % e) from None
    finally:
        builder.clean()
    print("%s: root's password is patchbay; make run DISK=%s NET=1" % (sys.argv[4], sys.argv[4]))


if __name__ == "__main__":
    main()
