# SPDX-License-Identifier: BSD-2-Clause
"""The modules of several VMs from one line: "a:cpus=0-1 b:cpus=2-3,kernel=686-pae". Words of a VM are separated by commas,
a list of CPUs has + instead. kernel=debian is the Debian of make root with its disk, its name and an address. Tested by tools/tests/test_pblib.py and the vms group of tools/check.py."""
import os
import re

# Words that are the module string's own.
PASSED = ("cpus", "mem", "onend", "console")
# Those with a list, whose commas are + here.
LISTS = ("virtio", "pci")
SHORT = {"686-pae": ("vmlinuz-686-pae", "initrd-i386.gz"), "686": ("vmlinuz-686", "initrd-i386.gz"), "rt": ("vmlinuz-rt", "initrd.gz")}

# What make has a rule for, below its output folder.
MADE = re.compile(r"cache/(vmlinuz(-686-pae|-686|-rt)?|virtio-vmlinuz|memtest|xen|mach)|initrd(-[a-z0-9]+)?\.gz|"
                  r"root-(bookworm|trixie)\.(vmlinuz|initrd|ext4)|virtio-disk\.img")

# The addresses of Debian VMs with a network port, by their places in the line.
ADDRESS = "10.0.0.%d"


def debian(out):
    """The stem of the files of make root."""
    return os.path.join(out, "root-" + (os.environ.get("SUITE") or "bookworm"))


def debian_line(name, place, has_net):
    """The kernel's command line for the Debian of make root, which has its name and address from there."""
    line = "root=/dev/vda rw console=ttyS0 systemd.hostname=" + name
    return line + (" ip=%s:::255.255.255.0:%s::off" % (ADDRESS % place, name) if has_net else "")


class Wrong(ValueError):
    """The line cannot be read; the text says what is allowed."""


def _one(text, out, append, place):
    name, _, words = text.partition(":")
    kernel, initrd, disks, mine = "", None, [], ["vm=" + name]
    for word in filter(None, words.split(",")):
        key, _, value = word.partition("=")
        if key in PASSED and value:
            mine.append(word)
        elif key in LISTS and value:
            mine.append(word.replace("+", ","))
        elif key == "kernel":
            kernel = value
        elif key == "initrd":
            initrd = value
        elif key == "disk" and value:
            disks.append(value.replace("+", " "))
        elif key == "append":
            append = value.replace("+", " ")
        elif key == "role":
            mine.append(word)
        else:
            raise Wrong("VMS: %s: words are cpus= mem= onend= console= virtio= pci= kernel= initrd= disk= append= role=" % word)
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,15}", name):
        raise Wrong("VMS: %r begins with no name: up to 15 letters, digits, - and _, and a colon before its words" % text)
    if kernel == "debian":
        own, kernel = debian(out) + ".initrd", debian(out) + ".vmlinuz"
        disks.insert(0, debian(out) + ".ext4 cow=256M")
        if not any(w.startswith("append=") for w in words.split(",")):
            append = debian_line(name, place, any(w.startswith("virtio=") and "net" in w for w in mine))
    elif kernel in SHORT:
        own = os.path.join(out, SHORT[kernel][1])
        kernel = os.path.join(out, "cache", SHORT[kernel][0])
    else:
        own = "" if kernel else os.path.join(out, "initrd.gz")
        kernel = kernel or os.path.join(out, "cache/vmlinuz")
    initrd = own if initrd is None else initrd
    role = [] if any(w.startswith("role=") for w in mine) else ["role=linux"]
    found = [(kernel, " ".join(mine + role) + " -- " + append)]
    found += [(initrd, "vm=%s role=initrd" % name)] if initrd else []
    for disk in disks:
        path, _, how = disk.partition(" ")
        found.append((path, ("vm=%s role=disk %s" % (name, how)).strip()))
    return found


def modules_of(line, out, append):
    """[(file, string)] of all VMs in their order. Raises Wrong."""
    found, names = [], [text.partition(":")[0] for text in line.split()]
    for place, text in enumerate(line.split(), 1):
        if names.index(names[place - 1]) != place - 1:
            raise Wrong("VMS: %s is there twice: each VM has its own name" % names[place - 1])
        found += _one(text, out, append, place)
    return found


def files_of(line, out):
    """The files that are needed, each once."""
    return sorted({path for path, _ in modules_of(line, out, "")})


def made_of(line, out):
    """Those that make makes first. The others are there, or missing() says that they are not; of a wrong line run.py speaks."""
    try:
        return [path for path in files_of(line, out) if MADE.fullmatch(os.path.relpath(path, out))]
    except Wrong:
        return []


def missing(line, out):
    """What to say of the first file that is not there; an empty text: all are."""
    for path in files_of(line, out):
        if not os.path.exists(path):
            return "VMS: there is no file %s; kernel= is a file or one of debian, %s; initrd= and disk= are files" % (path, ", ".join(SHORT))
    return ""
