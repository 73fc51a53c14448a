# SPDX-License-Identifier: BSD-2-Clause
"""The disk of make disk: that it boots without Patchbay, too, by BIOS and UEFI. Run by tools/check.py."""
import os

from pblib import tree
from pblib.diskguest import DISK, SUITE, DiskMachine, needs_root
from pblib.linux import OUT
from pblib.steps import ALONE, Step, emulator
from steps.build import MAKE

BOUND = 3600  # against hanging only


def make_disk(results):
    """make disk, of the package as it is now."""
    needs_root()
    results.command(MAKE + ["O=" + OUT, "SUITE=" + SUITE, DISK], 3000)
    results.expect(os.path.exists(DISK), "there is no disk")


def off(results, m):
    """Powers the system off; what has been written to the file system is consistent."""
    m.send("poweroff\r")
    results.expect(m.ended() == 0, "no power-off")
    results.command(["e2fsck", "-fn", m.copy + "?offset=%d" % (42 << 20)], 300, text="the file system is damaged")


def looks(results, m):
    """What a person looks at first."""
    for command, words in (("lspci", ("SATA", "Ethernet")), ("lsblk -no FSTYPE,MOUNTPOINTS,LABEL", ("patchbay", "ext4")),
                           ("for i in $(seq 60); do ip -br addr | grep -q 10.0.2 && break; sleep 1; done; ip -br addr", ("10.0.2.15",)), ("findmnt -no SOURCE,UUID /", (tree.ROOT_UUID,))):
        status, text = m.command(command)
        results.expect(status == 0 and all(w in text for w in words), "%s says: %s" % (command, text.strip()[-200:]))


def bare(results, fw):
    """Its first entry, without Patchbay."""
    m = DiskMachine("bare-" + fw, bare=True, fw=fw, nic="e1000e")
    try:
        if results.expect(m.log_in(), "no login prompt: " + m.text[-300:]):
            results.expect("boot: Patchbay" not in m.text, "Patchbay was booted")
            looks(results, m)
            off(results, m)
    finally:
        m.remove()


STEPS = [
    Step("devices/disk", make_disk, ("package/build",), ALONE, ("make", "debian"), ("debootstrap",), bound=BOUND),
    Step("devices/disk-bare-bios", lambda results: bare(results, "bios"), ("devices/disk",), emulator(2), bound=BOUND),
    Step("devices/disk-bare-uefi", lambda results: bare(results, "uefi"), ("devices/disk",), emulator(2), bound=BOUND),
]
