# SPDX-License-Identifier: BSD-2-Clause
"""A Debian in a folder: the base system that debootstrap makes once and the cache keeps, unpacked for a disk or for a test,
and commands run in it. Tested by the package group of tools/check.py and every make disk."""
import os
import shutil
import subprocess
import sys

from pblib import lifeline

HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "disk")
SUITES = ("bookworm", "trixie")
PACKAGES = ("systemd-sysv,systemd-resolved,udev,dbus,kmod,iproute2,pciutils,wget,initramfs-tools,linux-image-amd64,grub-pc,"
            "grub-efi-amd64-bin,zstd,e2fsprogs,login,less")
UNUSED = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/locale", "usr/share/doc", "usr/share/man")
ROOT_UUID, ROOT_PARTUUID = "50617463-6862-4179-8000-000000000001", "50617463-6862-4179-8000-000000000003"


class Failed(Exception):
    """The text says what, and the log where."""


class Tree:
    """A Debian below the folder `root`: `packages`, which the cache keeps as NAME-SUITE.tar."""

    def __init__(self, suite, cache, root, log, epoch, name="debian", packages=PACKAGES):
        self.suite, self.cache, self.root, self.log = suite, cache, root, log
        self.name, self.packages = name, packages
        self.env = dict(os.environ, SOURCE_DATE_EPOCH=str(epoch), LC_ALL="C.UTF-8", DEBIAN_FRONTEND="noninteractive",
                        ROOT_UUID=ROOT_UUID, ROOT_PARTUUID=ROOT_PARTUUID, PATH="/usr/sbin:/usr/bin:/sbin:/bin")

    def run(self, args, env=None):
        """A command with its output in the log."""
        self.log.write("$ %s\n" % " ".join(args))
        self.log.flush()
        done = subprocess.run(lifeline.tied(args), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                              env=dict(self.env, **(env or {})), check=False)
        if done.returncode:
            raise Failed("%s: status %d; log in %s" % (" ".join(args)[:100], done.returncode, self.log.name))

    def chroot(self, *args, env=None):
        self.run(["chroot", self.root] + list(args), env)

    def path(self, name):
        return os.path.join(self.root, name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as f:
            return f.read()

    def put(self, name, text, mode=0o644):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", encoding="ascii") as f:
            f.write(text)
        os.chmod(self.path(name), mode)

    def copy(self, source, name, mode=0o755):
        """A file of tools/disk."""
        with open(os.path.join(HERE, source), encoding="ascii") as f:
            self.put(name, f.read(), mode)

    def _bootstrap(self, tar):
        print("disk: debootstrap %s, once: some minutes" % self.suite, file=sys.stderr)
        tree = tar + ".tree"
        shutil.rmtree(tree, ignore_errors=True)
        self.run(["debootstrap", "--variant=minbase", "--include=" + self.packages, self.suite, tree,
                  os.environ.get("DEBIAN_MIRROR") or "http://deb.debian.org/debian"])
        for path in UNUSED:
            shutil.rmtree(os.path.join(tree, path), ignore_errors=True)
        self.run(["tar", "-C", tree, "--numeric-owner", "--one-file-system", "-cf", tar + ".tmp", "."])
        os.rename(tar + ".tmp", tar)
        shutil.rmtree(tree)

    def unpack(self, without=()):
        """The base system, but for the paths that these patterns fit."""
        tar = os.path.join(self.cache, "%s-%s.tar" % (self.name, self.suite))
        if not os.path.exists(tar):
            self._bootstrap(tar)
        shutil.rmtree(self.root, ignore_errors=True)
        os.makedirs(self.root)
        self.run(["tar", "-C", self.root, "--numeric-owner"] + ["--exclude=" + p for p in without] + ["-xpf", tar])
        for path in ("var/cache/apt/archives/partial", "var/lib/apt/lists/partial"):
            os.makedirs(self.path(path), exist_ok=True)

    # grub-probe finds no device behind a folder: while a program that asks it runs, it is told what there will be.
    def pretend_disk(self):
        os.rename(self.path("usr/sbin/grub-probe"), self.path("usr/sbin/grub-probe.real"))
        self.copy("grub-probe", "usr/sbin/grub-probe")
        self.put("dev/disk/by-uuid/" + ROOT_UUID, "")

    def end_pretence(self):
        os.rename(self.path("usr/sbin/grub-probe.real"), self.path("usr/sbin/grub-probe"))
        shutil.rmtree(self.path("dev/disk"))
