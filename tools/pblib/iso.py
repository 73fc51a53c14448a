# SPDX-License-Identifier: BSD-2-Clause
"""Stages a tree with grub.cfg and the boot modules and has tools/mkiso.sh make the image.
Tested by the boot group of tools/check.py."""
import os
import shutil
import subprocess

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def quote(text):
    """The words of a command line, each quoted for GRUB's shell."""
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in text.split())


def modules_of(kernel, initrd, append, more, words="role=linux"):
    """[(file, string)] in load order. words: the kernel's, before its command line. more: "file words, file words" as MODULES= gives it."""
    modules = []
    if kernel:
        modules.append((kernel, words + " -- " + append))
    if initrd:
        modules.append((initrd, "role=initrd"))
    for item in (more or "").split(","):
        path, _, words = item.strip().partition(" ")
        if path:
            modules.append((path, words.strip()))
    return modules


def grub_entry(title, hv, names, append=None):
    """One menu entry. names: [(name in the image, string)]."""
    lines = ["menuentry %s {" % ("'" + title + "'"), "    multiboot2 /boot/patchbay.elf " + quote(hv)]
    for name, string in names:
        if append is not None and " -- " in string:
            string = string.split(" -- ")[0] + " -- " + append
        lines.append("    module2 /boot/%s %s" % (name, quote(string)))
    return "\n".join(lines + ["}"]) + "\n"


HEAD = """# Made by tools/pblib/iso.py.
serial --unit=0 --speed=115200
if [ "$grub_platform" = "efi" ]; then
    terminal_input console serial
    terminal_output console
else
    terminal_input console serial
    terminal_output console serial
fi
set default=0
set timeout=%d
"""


ADD_YOUR_OWN = """
# Your own kernel: copy it beside these files as /boot/mykernel and add
# menuentry 'my kernel' {
#     multiboot2 /boot/patchbay.elf
#     module2 /boot/mykernel role=kernel -- its command line
#     module2 /boot/myinitrd role=initrd
# }
"""


def grub_cfg_run(hv, names, multiboot=2, gfx=""):
    """multiboot=1: GRUB 2.06 damages its own heap making multiboot 2 tags on Bochs's BIOS. gfx: a graphics mode."""
    text = HEAD % 0 + grub_entry("Patchbay", hv, names)
    if gfx:  # multiboot2 sets the mode that the header asks for, any: so a certain one behind it
        text = "insmod vbe\n" + text.rstrip("}\n") + "\n    set gfxpayload=%s\n}\n" % gfx
    return text if multiboot == 2 else text.replace("    multiboot2 ", "    multiboot ").replace("    module2 ", "    module ")


def grub_cfg_bare(kernel, initrd, append):
    """The kernel alone, by its own boot protocol."""
    lines = ["menuentry bare {", "    linux16 /boot/%s %s" % (kernel, quote(append))]
    if initrd:
        lines.append("    initrd16 /boot/" + initrd)
    return HEAD % 0 + "\n".join(lines + ["}"]) + "\n"


def grub_cfg_menu(hv, names, append):
    """The menu of the distributed image."""
    entries = [
        ("Patchbay", hv, append),
        ("Patchbay, verbose", hv + " loglvl=debug", append + " ignore_loglevel"),
        ("Patchbay, console on COM1 only", hv + " console=com1,115200", append),
        ("Patchbay, self-test: verified load under audit", hv + " audit=2", append + " pb.script=full pb.ops=40"),
        ("Patchbay, safe: one CPU, reference pager", hv + " smp=1 mmu=ref", append),
        ("Patchbay, one CPU, shadow pager under audit, no optimisation",
         hv + " smp=1 audit=2 large=off batch=off unsync=off", append),
    ]
    guest = [n for n in names if n[0] != "memtest"]
    text = HEAD % 5 + "".join(grub_entry(t, h, guest, a) for t, h, a in entries)
    both = [(name, "vm=%s %s" % (vm, string)) for vm in ("first", "second") for name, string in guest]
    text += grub_entry("Patchbay, two VMs that share the CPUs and the memory", hv, both, append)
    if len(guest) != len(names):
        memtest = "console=ttyS0,115200 nobench nosm keyboard=legacy"
        text += grub_entry("Patchbay, memory test as the guest", hv, [("memtest", "role=linux -- " + memtest)])
    return text + ADD_YOUR_OWN


def make(out, elf, modules, cfg_of):
    """cfg_of(names) gives grub.cfg for [(name in the image, string)]. Returns nothing; raises on failure."""
    tree = out + ".tree"
    shutil.rmtree(tree, ignore_errors=True)
    os.makedirs(os.path.join(tree, "boot/grub"))
    shutil.copyfile(elf, os.path.join(tree, "boot/patchbay.elf"))
    names, staged = [], {}
    for path, string in modules:
        name = staged.get(path) or os.path.basename(path)
        while path not in staged and name in list(staged.values()) + ["patchbay.elf", "grub"]:
            name = "x" + name
        if path not in staged:
            shutil.copyfile(path, os.path.join(tree, "boot", name))
            staged[path] = name
        names.append((name, string))
    with open(os.path.join(tree, "boot/grub/grub.cfg"), "w") as f:
        f.write(cfg_of(names))
    subprocess.run([os.path.join(TOOLS, "mkiso.sh"), out, tree], check=True)
    shutil.rmtree(tree)
