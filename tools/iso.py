#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Makes the distributed image with its menu: iso.py OUT.iso; KERNEL, INITRD, APPEND, MODULES, HV, O
from the environment. Tested by the boot group of tools/check.py."""
import os
import sys

from pblib import config, iso


def main():
    c = config.from_environment()
    modules = iso.modules_of(c.kernel, c.initrd, c.append, c.modules, c.words)
    memtest = os.path.join(os.environ.get("O") or "build", "cache/memtest")
    if os.path.exists(memtest):
        modules.append((memtest, ""))
    iso.make(sys.argv[1], c.elf, modules, lambda names: iso.grub_cfg_menu(c.hv, names, c.append))


if __name__ == "__main__":
    main()
