#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Makes the Debian package from the built image and tools/packaging/: mkdeb.py ELF OPTIONS-TABLE VERSION OUT.deb. The same
SOURCE_DATE_EPOCH gives the same bytes. Tested by the package group of tools/check.py and tools/tests/test_deb.py."""
import email.utils
import gzip
import os
import re
import shutil
import subprocess
import sys
import time

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "packaging")
MAINTAINER = "Patchbay maintainers <maintainers@patchbay.invalid>"
STRIP = os.environ.get("CROSS", "") + "strip"


def version_of(text, epoch):
    """A Debian version from git's description: later commits have later ones, whatever their names."""
    when = time.strftime("%Y%m%d.%H%M%S", time.gmtime(epoch))
    return "0.1+%s.%s" % (when, re.sub(r"[^A-Za-z0-9.]+", ".", text).strip("."))


def roff(text):
    """Text as a line of a man page."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in ".'" else text


def options_as_roff(table):
    """The hypervisor's option table, a paragraph an option. Its lines: "name=values", and indented what it does."""
    out = []
    for line in table.splitlines():
        if line.startswith(" "):
            out.append(roff(line.strip()))
        elif line.strip():
            name, _, values = line.partition("=")
            out += [".TP", "\\fB%s=\\fP%s" % (roff(name), roff(values).replace("|", "|\\:"))]
    return "\n".join(out)


def filled(name, words):
    with open(os.path.join(HERE, name), encoding="ascii") as f:
        text = f.read()
    head, _, rest = text.partition(".TH") if ".TH" in text else ("", "", text)
    for word, value in words.items():
        rest = rest.replace("@%s@" % word, value)
    return head.replace("@OPTIONS@", "below") + (".TH" if head else "") + rest


def changelog(version, epoch):
    return ("patchbay (%s) unstable; urgency=medium\n\n  * Built from the project's sources; what changed is told in its "
            "CHANGELOG.md.\n\n -- %s  %s\n" % (version, MAINTAINER, email.utils.formatdate(epoch)))


class Tree:
    """The files of the package below a folder."""

    def __init__(self, root):
        self.root = root
        shutil.rmtree(root, ignore_errors=True)
        os.makedirs(root, mode=0o755)

    def put(self, path, data, mode=0o644):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode("utf-8"))
        os.chmod(full, mode)

    def copy(self, path, name, mode=0o644):
        with open(os.path.join(HERE, name), "rb") as f:
            self.put(path, f.read(), mode)

    def put_gz(self, path, text):
        self.put(path + ".gz", gzip.compress(text.encode("utf-8"), 9, mtime=0))

    def sums(self):
        """DEBIAN/md5sums."""
        names = sorted(os.path.relpath(os.path.join(folder, n), self.root) for folder, _, files in os.walk(self.root) for n in files)
        names = [n for n in names if not n.startswith(("DEBIAN/", "etc/"))]
        done = subprocess.run(["md5sum"] + names, cwd=self.root, check=True, stdout=subprocess.PIPE)
        self.put("DEBIAN/md5sums", done.stdout)

    def kibibytes(self):
        return sum(-(-os.path.getsize(os.path.join(folder, n)) // 1024) for folder, _, files in os.walk(self.root) for n in files)

    def settle(self, epoch):
        """Modes and times that are the same everywhere."""
        for folder, _, files in os.walk(self.root):
            os.chmod(folder, 0o755)
            for name in files + ["."]:
                os.utime(os.path.join(folder, name), (epoch, epoch))


def build(elf, table, version, out, epoch):
    tree = Tree(out + ".tree")
    os.makedirs(os.path.join(tree.root, "boot"))
    # Its backtraces do not need the symbols: the image has a table of its own.
    subprocess.run([STRIP, "--strip-all", "-o", os.path.join(tree.root, "boot/patchbay.elf"), elf], check=True)
    os.chmod(os.path.join(tree.root, "boot/patchbay.elf"), 0o644)
    tree.copy("etc/grub.d/22_patchbay", "grub.d", 0o755)
    tree.copy("etc/default/patchbay", "default")
    tree.copy("usr/share/doc/patchbay/copyright", "copyright")
    tree.copy("usr/share/lintian/overrides/patchbay", "lintian-overrides")
    words = {"VERSION": version, "DATE": time.strftime("%Y-%m-%d", time.gmtime(epoch)), "OPTIONS": options_as_roff(table)}
    tree.put_gz("usr/share/man/man8/patchbay.8", filled("patchbay.8.in", words))
    tree.put_gz("usr/share/doc/patchbay/changelog", changelog(version, epoch))
    words = {"VERSION": version, "MAINTAINER": MAINTAINER, "SIZE": str(tree.kibibytes())}
    tree.sums()
    tree.put("DEBIAN/control", filled("control.in", words))
    tree.put("DEBIAN/conffiles", "/etc/default/patchbay\n/etc/grub.d/22_patchbay\n")
    tree.copy("DEBIAN/postinst", "postinst", 0o755)
    tree.copy("DEBIAN/postrm", "postrm", 0o755)
    tree.settle(epoch)
    done = subprocess.run(["dpkg-deb", "--root-owner-group", "--uniform-compression", "-Zxz", "--build", tree.root, out + ".tmp"],
                          check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SystemExit("mkdeb: dpkg-deb: " + done.stdout.decode("utf-8", "replace"))
    os.rename(out + ".tmp", out)
    shutil.rmtree(tree.root)


def main():
    elf, table, version, out = sys.argv[1:]
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or 1700000000)
    with open(table, encoding="ascii") as f:
        text = f.read()
    build(elf, text, version_of(version, epoch), out, epoch)


if __name__ == "__main__":
    main()
