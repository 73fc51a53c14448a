# SPDX-License-Identifier: BSD-2-Clause
"""The modules of several VMs from one line: "a:cpus=0-1 b:cpus=2-3,kernel=686-pae". Words of a VM are separated by commas,
a list of CPUs has + instead. Tested by tools/tests/test_pblib.py and the vms group of tools/check.py."""
import os

# Words that are the module string's own.
PASSED = ("cpus", "mem", "onend", "console")
# Those with a list, whose commas are + here.
LISTS = ("virtio", "pci")
SHORT = {"686-pae": ("vmlinuz-686-pae", "initrd-i386.gz"), "686": ("vmlinuz-686", "initrd-i386.gz"), "rt": ("vmlinuz-rt", "initrd.gz")}


class Wrong(ValueError):
    """The line cannot be read; the text says what is allowed."""


def _one(text, out, append):
    name, _, words = text.partition(":")
    kernel, initrd, mine = "", None, ["vm=" + name]
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
        elif key == "append":
            append = value.replace("+", " ")
        elif key == "role":
            mine.append(word)
        else:
            raise Wrong("VMS: %s: words are cpus= mem= onend= console= virtio= pci= kernel= initrd= append= role=" % word)
    if not name:
        raise Wrong("VMS: %r has no name before its colon" % text)
    if kernel in SHORT:
        own = os.path.join(out, SHORT[kernel][1])
        kernel = os.path.join(out, "cache", SHORT[kernel][0])
    else:
        own = "" if kernel else os.path.join(out, "initrd.gz")
        kernel = kernel or os.path.join(out, "cache/vmlinuz")
    initrd = own if initrd is None else initrd
    role = [] if any(w.startswith("role=") for w in mine) else ["role=linux"]
    found = [(kernel, " ".join(mine + role) + " -- " + append)]
    return found + ([(initrd, "vm=%s role=initrd" % name)] if initrd else [])


def modules_of(line, out, append):
    """[(file, string)] of all VMs in their order. Raises Wrong."""
    found = []
    for text in line.split():
        found += _one(text, out, append)
    return found


def files_of(line, out):
    """The files that are needed, each once: what make has to make first."""
    return sorted({path for path, _ in modules_of(line, out, "")})
