#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Makes a small Debian for a VM, as root: mkroot.py SUITE CACHE OUT.ext4. Beside the root file system, which becomes a boot module
with role=disk, it writes OUT.vmlinuz and OUT.initrd, the kernel and what finds the disk. Which VM it is, the kernel's command
line says: systemd.hostname= and ip=. The base system is made by debootstrap once and kept in the cache. DEBIAN_MIRROR=
names another mirror. Tested by the step vms/debian of tools/check.py."""
import os
import shutil
import subprocess
import sys

from pblib import lifeline, tree

EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH") or 1700000000)
FREE = 48  # MiB of the file system, for what is written
PACKAGES = "systemd-sysv,udev,dbus,kmod,iproute2,iputils-ping,netcat-openbsd,initramfs-tools,linux-image-amd64,zstd,login,less"
# A boot module costs memory: without the drivers of what no VM has but by pci=, and what is for readers.
UNUSED = ("usr/share/i18n", "usr/share/zoneinfo", "usr/lib/firmware", "boot/*", "usr/lib/python3*", "usr/lib/udev/hwdb.bin", "usr/lib/udev/hwdb.d",
          "usr/lib/x86_64-linux-gnu/gconv", "var/log")
DRIVERS = ("drivers/gpu", "drivers/media", "drivers/infiniband", "drivers/staging", "drivers/iio", "drivers/scsi", "drivers/net/wireless",
           "drivers/net/ethernet", "drivers/hwmon", "drivers/isdn", "drivers/mtd", "drivers/comedi", "drivers/md", "drivers/usb",
           "drivers/input", "drivers/platform", "drivers/edac", "drivers/mfd", "drivers/target", "drivers/hid", "drivers/crypto",
           "drivers/nvme", "drivers/ata", "drivers/leds", "drivers/firewire", "drivers/net/usb", "drivers/net/dsa", "drivers/net/can",
           "drivers/net/wwan", "drivers/net/phy", "sound", "fs/ocfs2", "fs/xfs", "fs/btrfs", "fs/smb",
           "fs/cifs", "fs/ceph", "fs/nfs", "fs/nfsd", "fs/gfs2", "fs/f2fs", "fs/jfs", "fs/reiserfs", "fs/dlm", "net/ceph", "net/bluetooth",
           "net/mac80211", "net/wireless", "net/sctp", "net/sunrpc", "arch/x86/kvm")
FINDS = "virtio_pci\nvirtio_blk\nvirtio_net\nvirtio_console\nvirtio-rng\next4\n"
# systemd gives up after 90 s on a device that a machine under load needs longer for: the serial console's login, for one.
PATIENCE = "[Manager]\nDefaultTimeoutStartSec=30min\nDefaultDeviceTimeoutSec=30min\n"


class Builder(tree.Tree):
    """The tree that becomes the file system `out`."""

    def __init__(self, suite, cache, out):
        super().__init__(suite, cache, out + ".root", open(out + ".log", "w", encoding="utf-8"), EPOCH, "vm", PACKAGES)
        self.out, self.stem = out, os.path.splitext(out)[0]

    def settings(self):
        self.put("etc/fstab", "/dev/vda / ext4 errors=remount-ro 0 0\n")
        self.put("etc/hostname", "debian\n")
        self.put("etc/hosts", "127.0.0.1 localhost\n")
        self.put("etc/machine-id", "")
        self.put("etc/systemd/system.conf.d/patchbay.conf", PATIENCE)
        self.chroot("sh", "-c", "echo root:patchbay | chpasswd")
        # The generator turns the command line's ip= into what networkd reads.
        self.chroot("systemctl", "enable", "systemd-networkd", "systemd-network-generator")
        self.chroot("systemctl", "mask", "systemd-networkd-wait-online", "systemd-firstboot", "apt-daily.timer",
                    "apt-daily-upgrade.timer", "e2scrub_reap.service", "e2scrub_all.timer", "fstrim.timer", "man-db.timer")

    def kernel(self):
        """The kernel, an initrd that loads what it is told, and no more modules than a VM can use."""
        version, = os.listdir(self.path("usr/lib/modules"))
        for folder in DRIVERS:
            shutil.rmtree(self.path("usr/lib/modules/%s/kernel/%s" % (version, folder)), ignore_errors=True)
        self.chroot("depmod", version)
        self.put("etc/initramfs-tools/modules", FINDS)
        self.put("etc/initramfs-tools/conf.d/patchbay", "MODULES=list\n")
        self.chroot("mkinitramfs", "-o", "/initrd", version)
        os.rename(self.path("initrd"), self.stem + ".initrd")

    def disk(self):
        used = int(subprocess.run(["du", "-sm", self.root], stdout=subprocess.PIPE, check=True).stdout.split()[0])
        image = self.out + ".tmp"
        if os.path.exists(image):
            os.remove(image)
        self.run(["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-L", "debian", "-U", tree.ROOT_UUID, "-O", "^metadata_csum_seed",
                  "-J", "size=4", "-E", "hash_seed=%s,lazy_itable_init=0,lazy_journal_init=0,no_copy_xattrs" % tree.ROOT_UUID,
                  "-d", self.root, image, "%dM" % (used + used // 16 + FREE)])
        os.rename(image, self.out)

    def shrink(self):
        boot = self.path("boot")
        for name in os.listdir(boot):
            if name.startswith("vmlinuz"):
                shutil.copyfile(os.path.join(boot, name), self.stem + ".vmlinuz")
        self.run(["sh", "-c", "cd '%s' && rm -rf %s && mkdir -p var/log" % (self.root, " ".join(UNUSED))])

    def clean(self):
        shutil.rmtree(self.root, ignore_errors=True)
        if os.path.exists(self.out + ".tmp"):
            os.remove(self.out + ".tmp")


def give_back(out, cache):
    """Under sudo, in a folder that was not there before: the user goes on in it."""
    uid, gid = (int(os.environ.get(name) or 0) for name in ("SUDO_UID", "SUDO_GID"))
    folder, stem = os.path.dirname(out) or ".", os.path.splitext(out)[0]
    for path in [folder, cache] + [stem + end for end in (".ext4", ".ext4.log", ".vmlinuz", ".initrd")]:
        if uid and os.stat(path).st_uid == 0:
            os.chown(path, uid, gid)


def main():
    lifeline.end_with_callers()
    suite, cache, out = sys.argv[1:]
    if suite not in tree.SUITES:
        raise SystemExit("root: SUITE=%s: one of %s" % (suite, " ".join(tree.SUITES)))
    if os.geteuid() != 0:
        raise SystemExit("root: debootstrap and the files' owners need root: sudo make root")
    os.umask(0o022)
    builder = Builder(suite, os.path.abspath(cache), os.path.abspath(out))
    try:
        for stage in (builder.unpack, builder.settings, builder.kernel, builder.shrink, builder.disk):
            stage()
    except (tree.Failed, OSError, ValueError) as e:
        raise SystemExit("root: %s" % e) from None
    finally:
        builder.clean()
    give_back(out, cache)
    print("%s: root's password is patchbay" % out)


if __name__ == "__main__":
    main()
