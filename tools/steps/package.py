# SPDX-License-Identifier: BSD-2-Clause
"""The Debian package: that it builds the same twice, what lintian says, the boot entries its script makes, and that its removal
leaves nothing, in a Debian in a folder. Run by tools/check.py."""
import os
import re
import shutil
import subprocess

from pblib import tree
from pblib.linux import OUT
from pblib.steps import ALONE, Skip, Step
from steps.build import MAKE

DEB = OUT + "/patchbay.deb"
SUITE = "bookworm"


def package(results):
    """It builds, twice to the same bytes, wherever it is put and whatever the user's mask."""
    if os.path.exists(DEB):
        os.remove(DEB)
    results.command(MAKE + ["O=" + OUT, DEB], 900)
    listed = results.command(["dpkg-deb", "-c", DEB], 60)
    for name in ("boot/patchbay.elf", "etc/grub.d/22_patchbay", "etc/default/patchbay", "usr/share/man/man8/patchbay.8.gz",
                 "usr/share/doc/patchbay/copyright", "usr/share/doc/patchbay/changelog.gz"):
        results.expect(re.search(r"^-\S+ root/root .* \./%s$" % re.escape(name), listed, re.M), "it lacks %s" % name)
    again = os.path.join(OUT, "deb-again")
    shutil.rmtree(again, ignore_errors=True)
    os.makedirs(again)
    command = ["tools/mkdeb.py", OUT + "/patchbay.elf", OUT + "/options.txt", os.environ.get("VERSION", "0"), again + "/other.deb"]
    results.command(["sh", "-c", 'umask 077; sleep 1; exec "$@"', "sh"] + command, 120)
    with open(DEB, "rb") as one, open(again + "/other.deb", "rb") as other:
        results.expect(one.read() == other.read(), "two builds differ")
    shutil.rmtree(again)


def lintian(results):
    """Not a word from it, down to the pedantic ones."""
    text = results.command(["lintian", "--allow-root", "-EvIL", "+pedantic",
                            "--fail-on", "error,warning,info,pedantic,experimental", DEB], 300)
    results.expect(not re.search(r"^[EWIPX]: ", text, re.M), "lintian has something to say")


class Debian(tree.Tree):
    """The tree of these steps: two kernels, of which one has no initrd, and a GRUB menu."""

    def __init__(self, results, name):
        if os.geteuid() != 0:
            raise Skip("it needs root, for chroot")
        out = os.path.abspath(OUT)
        super().__init__(SUITE, os.path.join(out, "cache"), os.path.join(out, "package-" + name),
                         open(results.log_path, "a", encoding="utf-8"), 1700000000)
        self.unpack(["./usr/lib/modules/*", "./usr/lib/grub/*-*", "./boot/initrd.img-*", "./boot/System*"])
        version = next(n for n in os.listdir(self.path("boot")) if n.startswith("vmlinuz-"))
        self.version = version[len("vmlinuz-"):]
        self.put("boot/initrd.img-" + self.version, "initrd\n")
        shutil.copyfile(self.path("boot/" + version), self.path("boot/vmlinuz-5.10.0-9-amd64"))
        self.put("etc/default/grub", "GRUB_DISTRIBUTOR=Debian\nGRUB_CMDLINE_LINUX_DEFAULT=quiet\nGRUB_DISABLE_OS_PROBER=true\n")

    def out_of(self, *args, env=None):
        """(status, output) of a command in the tree."""
        done = subprocess.run(["chroot", self.root] + list(args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=self.log, env=dict(self.env, **(env or {})), timeout=120, check=False)
        return done.returncode, done.stdout.decode()

    def files(self):
        """{path: content} of everything but what dpkg and its programs remember."""
        found = {}
        for folder, folders, names in os.walk(self.root):
            inside = os.path.relpath(folder, self.root)
            if inside.startswith(("var/lib/dpkg", "var/log", "var/cache")):
                continue
            for name in names + folders:
                full = os.path.join(folder, name)
                found[os.path.join(inside, name)] = ""
                if os.path.isfile(full) and not os.path.islink(full) and os.path.getsize(full) < 1 << 16:
                    with open(full, "rb") as f:
                        found[os.path.join(inside, name)] = f.read()
        return found


def entries_of(text):
    """{title: its lines} of a menu."""
    found, title = {}, None
    for line in text.splitlines():
        match = re.match(r"\s*(menuentry|submenu) '([^']*)'", line)
        if match and match.group(1) == "menuentry":
            title = match.group(2)
            found[title] = []
        elif title:
            found[title].append(line.strip())
    return found


UUID = "root=UUID=" + tree.ROOT_UUID
SERIAL = {"GRUB_TERMINAL": "console serial", "GRUB_SERIAL_COMMAND": "serial --unit=1 --speed=57600"}
CASES = [  # what, settings of GRUB, settings of the package, words of the hypervisor, the kernel's module words, its command line
    ("as installed", {}, "", "", "pci=all display=guest", UUID + " ro quiet"),
    ("serial menu", SERIAL, "", " console=com2,57600 console=auto", "pci=all display=guest", UUID + " ro quiet"),
    ("serial at a port", dict(SERIAL, GRUB_SERIAL_COMMAND="serial --port=0x2e8"), "", " console=pio:0x2e8,9600 console=auto",
     "pci=all display=guest", UUID + " ro quiet"),
    ("no serial", SERIAL, "PATCHBAY_SERIAL=none", "", "pci=all display=guest", UUID + " ro quiet"),
    ("options", {}, "PATCHBAY_OPTIONS='smp=2  loglvl=debug'\nPATCHBAY_MODULE=pci=none\nPATCHBAY_CMDLINE='a b=c'", " smp=2 loglvl=debug",
     "pci=none", UUID + " ro quiet a b=c"),
    ("no UUID", {"GRUB_DISABLE_LINUX_UUID": "true"}, "", "", "pci=all display=guest", "root=/dev/sda3 ro quiet"),
    ("btrfs", {"GRUB_FS": "btrfs", "GRUB_CMDLINE_LINUX": "x=$y"}, "", "", "pci=all display=guest", UUID + " ro x=$y quiet"),
]


def entry_right(results, what, text, title, version, case):
    """One entry of the newest kernel."""
    _, _, _, options, words, cmdline = case
    lines = entries_of(text).get(title)
    if not results.expect(lines, "%s: no entry '%s'" % (what, title)):
        return
    for line in ("multiboot2 /boot/patchbay.elf" + options,
                 "module2 /boot/vmlinuz-%s role=linux %s -- %s" % (version, words, cmdline),
                 "module2 /boot/initrd.img-%s role=initrd" % version, "search --no-floppy --fs-uuid --set=root"):
        results.expect(line in lines or any(got.startswith(line) for got in lines if line.startswith("search")),
                       "%s: '%s' has not: %s" % (what, title, line))


def entries(results):
    """What the script in /etc/grub.d prints, by settings; each is read by grub-script-check."""
    d = Debian(results, "entries")
    try:
        d.copy("../packaging/grub.d", "etc/grub.d/22_patchbay")
        d.pretend_disk()
        env = {"GRUB_DEVICE": "/dev/sda3", "GRUB_DEVICE_UUID": tree.ROOT_UUID, "GRUB_DEVICE_BOOT": "/dev/sda3", "GRUB_FS": "ext2",
               "GRUB_DISTRIBUTOR": "Debian", "GRUB_CMDLINE_LINUX_DEFAULT": "quiet", "pkgdatadir": "/usr/share/grub",
               "grub_probe": "/usr/sbin/grub-probe"}
        code, text = d.out_of("/etc/grub.d/22_patchbay", env=env)
        results.expect(code == 0 and text == "", "without the image there is an entry")
        d.put("boot/patchbay.elf", "image")
        for case in CASES:
            d.put("etc/default/patchbay", case[2] + "\n")
            code, text = d.out_of("/etc/grub.d/22_patchbay", env=dict(env, **case[1]))
            d.log.write(text)
            results.expect(code == 0, "%s: status %d" % (case[0], code))
            entry_right(results, case[0], text, "Debian on Patchbay", d.version, case)
            entry_right(results, case[0], text, "Debian on Patchbay, with Linux " + d.version, d.version, case)
            old = entries_of(text).get("Debian on Patchbay, with Linux 5.10.0-9-amd64", [])
            results.expect(any("/boot/vmlinuz-5.10.0-9-amd64 role=linux" in x and "root=/dev/sda3 ro" in x for x in old) and
                           not any("role=initrd" in x for x in old), "%s: the kernel without an initrd" % case[0])
            d.put("menu.cfg", text)
            results.command(["grub-script-check", d.path("menu.cfg")], 60, text="%s: grub-script-check" % case[0])
        for setting, titles in (("newest", ["Debian on Patchbay"]), ("none", [])):
            d.put("etc/default/patchbay", "PATCHBAY_ENTRIES=%s\n" % setting)
            text = d.out_of("/etc/grub.d/22_patchbay", env=env)[1]
            results.expect(list(entries_of(text)) == titles, "PATCHBAY_ENTRIES=%s: %s" % (setting, list(entries_of(text))))
    finally:
        shutil.rmtree(d.root)
        d.log.close()


def without_marks(menu):
    """A menu without the lines that name the scripts which made it: a removed package's is there until it is purged."""
    return re.sub(r"(?m)^### .*\n+", "", menu)


def dpkg(d, results, *args):
    code, text = d.out_of("dpkg", *args)
    d.log.write(text)
    results.expect(code == 0, "dpkg %s: status %d" % (" ".join(args), code))


def life(results):
    """Install, upgrade, remove, install, purge."""
    d = Debian(results, "life")
    try:
        d.pretend_disk()
        shutil.copyfile(DEB, d.path("patchbay.deb"))
        dpkg(d, results, "-i", "/patchbay.deb")
        results.expect(not os.path.exists(d.path("boot/grub/grub.cfg")), "a system without a menu has got one")
        dpkg(d, results, "--purge", "patchbay")
        d.chroot("update-grub")
        menu, before = d.read("boot/grub/grub.cfg"), d.files()
        results.expect("Patchbay" not in menu, "an entry before there is a package")
        dpkg(d, results, "-i", "/patchbay.deb")
        results.expect("menuentry 'Debian on Patchbay'" in d.read("boot/grub/grub.cfg"), "installed, and no entry")
        results.command(["grub-script-check", d.path("boot/grub/grub.cfg")], 60)
        d.put("etc/default/patchbay", "PATCHBAY_OPTIONS=smp=3\n")
        dpkg(d, results, "--force-confold", "-i", "/patchbay.deb")
        results.expect("patchbay.elf smp=3" in d.read("boot/grub/grub.cfg"), "an upgrade loses the settings")
        dpkg(d, results, "-r", "patchbay")
        results.expect(without_marks(d.read("boot/grub/grub.cfg")) == without_marks(menu), "removed, and the menu is not as it was")
        results.expect(os.path.exists(d.path("etc/default/patchbay")), "the settings are gone before a purge")
        dpkg(d, results, "-i", "/patchbay.deb")
        dpkg(d, results, "--purge", "patchbay")
        after = d.files()
        left = sorted(n for n in set(after) | set(before) if after.get(n) != before.get(n))
        results.expect(not left, "purged, and changed: " + " ".join(left[:8]))
        results.expect("patchbay" not in d.read("var/lib/dpkg/status"), "dpkg still knows it")
    finally:
        shutil.rmtree(d.root)
        d.log.close()


BOUND = 2400  # the first one makes the base system
STEPS = [
    Step("package/build", package, ("build/gcc",), ALONE, ("make",)),
    Step("package/lintian", lintian, ("package/build",), packages=("lintian",)),
    Step("package/entries", entries, shares=("debian",), bound=BOUND, packages=("debootstrap",)),
    Step("package/life", life, ("package/build",), shares=("debian",), bound=BOUND, packages=("debootstrap",)),
]
