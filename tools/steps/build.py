# SPDX-License-Identifier: BSD-2-Clause
"""The images, by each compiler, and whether they come out the same twice. Run by tools/check.py."""
import os
import re
import shutil

from pblib import steps
from pblib.linux import OUT
from pblib.steps import ALONE, IMAGE, Step

MAKE = ["make", "--no-print-directory", "-j%d" % (os.cpu_count() or 2)]


def quiet(results, output):
    results.expect(" warning: " not in output, "the build prints warnings")


def kept(results, elf):
    """What compilers call without being told to: dropped by link-time optimisation, the next version's link fails. And what
    debuggers stop at by name."""
    names = set(re.findall(r" [Tt] (\w+)$", results.command(["nm", elf], 60), re.M))
    for name in ("memcpy", "memmove", "memset", "memcmp", "strlen", "exit_dispatch", "subvmm_run", "vm_end"):
        results.expect(name in names, "%s has no %s" % (elf, name))


def build(toolchain, out, targets):
    def action(results):
        quiet(results, results.command(MAKE + ["O=" + out, "TOOLCHAIN=" + toolchain] + targets(out), 1200))
        kept(results, out + "/patchbay.elf")

    return action


def hypervisor(out):
    return ["all", out + "/patchbay.elf32"]


def everything(out):
    return hypervisor(out) + ["guest", out + "/cache/vmlinuz", out + "/initrd.gz"]


def iso(results):
    """The distributed image."""
    if os.path.exists(OUT + "/patchbay.iso"):
        os.remove(OUT + "/patchbay.iso")
    quiet(results, results.command(MAKE + ["O=" + OUT, OUT + "/patchbay.iso"], 600))


def reproducible(results):
    """The image, its ELF file and the initramfs come out the same in another folder."""
    again = steps.second_folder(OUT)
    results.command(MAKE + ["O=" + again, again + "/patchbay.iso"], 600)
    for name in ("patchbay.elf", "initrd.gz", "patchbay.iso"):
        pair = []
        for out in (OUT, again):
            with open(os.path.join(out, name), "rb") as f:
                pair.append(f.read())
        results.expect(pair[0] == pair[1], "%s differs between two builds" % name)
    shutil.rmtree(again)


STEPS = [
    Step("build/gcc", build("gcc", OUT, everything), weight=ALONE, quick=True),
    Step("build/clang", build("clang", OUT + "/clang", hypervisor), weight=ALONE, packages=("clang",)),
    Step("build/image", iso, IMAGE, ALONE),
    Step("build/reproducible", reproducible, ("build/image",), ALONE),
]
