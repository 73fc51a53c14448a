# SPDX-License-Identifier: BSD-2-Clause
"""The disk of make disk: that it boots without Patchbay, by BIOS and UEFI; and by its own menu on Patchbay, behind each kind of
controller, without and with each IOMMU, where it is written and read, its interrupts move, drivers go and come back, and a file
comes by network. SUITE=trixie: Debian 13's. Run by tools/check.py."""
import os

from pblib import diskwork
from pblib.diskguest import DISK, SUITE, DiskMachine, needs_root
from pblib.linux import OUT
from pblib.steps import ALONE, Step, emulator
from steps.build import MAKE
from steps.devices import SAYS

BOUND = 5400  # against hanging only


def make_disk(results):
    """make disk, of the package as it is now."""
    needs_root()
    results.command(MAKE + ["O=" + OUT, "SUITE=" + SUITE, DISK], 3000)
    results.expect(os.path.exists(DISK), "there is no disk")


def bare(results, fw):
    """Its first entry, without Patchbay."""
    m = DiskMachine("bare-" + fw, bare=True, fw=fw, nic="e1000e")
    try:
        if results.expect(m.log_in(), "no login prompt: " + m.text[-300:]):
            results.expect("boot: Patchbay" not in m.text, "Patchbay was booted")
            diskwork.looks(results, m)
            diskwork.off(results, m)
    finally:
        m.remove()


def isolation(results, m):
    """What the log says of it is what the machine has."""
    results.expect(m.said(SAYS[m.run.iommu]), "it does not say %s" % SAYS[m.run.iommu])
    results.expect(m.run.iommu == "none" or "NOT ISOLATED" not in m.text, "it says that the guest is not isolated")
    results.expect("iommu: blocked" not in m.text, "the IOMMU blocked something")


def work(results, m):
    """All that a logged-in person can ask of the devices."""
    diskwork.looks(results, m)
    diskwork.write(results, m)
    diskwork.disk_interrupts(results, m)
    if m.run.nic != "none":
        diskwork.network(results, m)
    if m.run.dev != "ahci":
        diskwork.spare_driver(results, m)
    diskwork.complaints(results, m)


def hosted(name, **fields):
    """A step: the disk's own menu, its default entry, the login prompt on Patchbay, and what can be done there."""

    def action(results):
        m = DiskMachine(name, smp=4, **fields)
        results.log("console: " + m.log.name)
        try:
            if not results.expect(m.log_in(), "no login prompt: " + m.text[-300:]):
                return
            results.expect("boot: Patchbay" in m.text and "is the guest's" in m.text, "not on Patchbay with its devices")
            work(results, m)
            diskwork.again(results, m)
            diskwork.off(results, m)
            isolation(results, m)
        finally:
            m.remove()

    return Step("devices/" + name, action, ("devices/disk",), emulator(4), bound=BOUND, asked=True)


STEPS = [
    Step("devices/disk", make_disk, ("package/build",), ALONE, ("make", "debian"), ("debootstrap",), bound=BOUND, asked=True),
    Step("devices/disk-bare-bios", lambda results: bare(results, "bios"), ("devices/disk",), emulator(2), bound=BOUND, asked=True),
    Step("devices/disk-bare-uefi", lambda results: bare(results, "uefi"), ("devices/disk",), emulator(2), bound=BOUND, asked=True),
    hosted("login-uefi", fw="uefi", dev="ahci", nic="e1000e"),
]
# A card with each.
STEPS += [hosted("login-%s%s" % (dev, "" if iommu == "none" else "-" + iommu), dev=dev, nic=nic, iommu=iommu)
          for iommu in ("none", "intel", "amd")
          for dev, nic in (("ahci", "e1000e"), ("nvme", "e1000e"), ("virtio", "virtio"), ("usb", "virtio"))]
