# SPDX-License-Identifier: BSD-2-Clause
"""Virtio devices with the drivers of the distribution's own kernel: all of them in one VM, by message and by interrupt line,
and the network between two VMs. Run by tools/check.py."""
import hashlib
import os
import re

from pblib import config, session
from pblib.linux import OUT, boot
from pblib.steps import IMAGE, Step, run_command

KERNEL, INITRD, DISK = ("%s/%s" % (OUT, name) for name in ("cache/virtio-vmlinuz", "initrd-virtio.gz", "virtio-disk.img"))


def prepare(results):
    """The kernel with its drivers, the initramfs and the disk; False if they cannot be had."""
    code, text = run_command(["make", "--no-print-directory", "O=" + OUT, os.path.join(OUT, "cache/virtio"), INITRD, DISK], 1200)
    return results.expect(code == 0, "no kernel with drivers: " + text.strip()[-300:])


def verdicts(results, lines, names, prefix=""):
    """The session in the guest whose lines begin so: all these checks passed, and it came to its end."""
    said = [line[len(prefix):] for line in lines if line.startswith(prefix)]
    for line in said:
        if line.startswith("pb: FAIL"):
            results.fail("in the guest: " + prefix + line)
    for name in names:
        results.expect("pb: ok " + name in said, "%s'%s' did not come to pass" % (prefix, name))
    results.expect("pb: session ok" in said, prefix + "the session did not finish")
    return said


DEVICES = ["rng", "console", "disk", "files", "written", "rebound", "refused", "full", "net", "tcp"]


def devices(name, append, interrupts):
    """Every device there is, used by Debian's drivers; interrupts: what /proc/interrupts must show."""

    def action(results):
        if not prepare(results):
            return
        with open(DISK, "rb") as f:
            digest = hashlib.sha256(f.read()).hexdigest()
        disks = ",".join("%s role=disk %s" % (DISK, words) for words in ("cow=16M", "ro", "cow=64K"))
        run = config.Run(kernel=KERNEL, initrd=INITRD, modules=disks, hv="audit=1 virtio=rng,console,net2", smp=2, timeout=3000,
                         test=True, own_initrd=True,
                         append="console=ttyS0 pb.script=virtio pb.blocks=64 pb.disk=%s %s" % (digest, append))
        s = boot(results, "virtio-" + name, run)
        if s is None:
            return
        results.expect(s.status == session.OK, "status %s: %s" % (s.status, s.reason))
        said = verdicts(results, s.lines, DEVICES)
        results.expect("pb: hvc says hello" in said, "the virtio console's text did not come out")
        found = [line for line in said if line.startswith("pb: irq ") and re.search(interrupts, line)]
        results.expect(len(found) >= 4, "%d interrupts by %s, not 4 or more" % (len(found), interrupts))
        results.expect(any("give more by cow=" in line for line in s.lines),
                       "a full overlay was not said")

    return action


def between(name, size, timeout):
    """Ping and TCP with checksums both ways between two VMs, one of which is reset in the middle of a transfer. size: of what is
    sent each way, before the reset and after it."""
    return lambda results: _between(results, name, size, timeout)


def _between(results, name, size, timeout):
    if not prepare(results):
        return
    common = "console=ttyS0 quiet pb.script=vmnet %s " % size
    other = "%s vm=b role=linux cpus=1 -- %s pb.ip=10.0.0.2,%s vm=b role=initrd" % (KERNEL, common, INITRD)
    run = config.Run(kernel=KERNEL, words="role=linux vm=a cpus=0", initrd=INITRD, modules=other, hv="audit=1 virtio=net",
                     smp=2, timeout=timeout, until="patchbay: no VM runs any more", append=common + "pb.ip=10.0.0.1 pb.peer=10.0.0.2")
    s = boot(results, "virtio-" + name, run)
    if s is None:
        return
    results.expect(s.status == session.OK, "status %s: %s" % (s.status, s.reason))
    verdicts(results, s.lines, ["reach", "pings", "there first", "back first", "reset", "there second", "back second"], "a| ")
    results.expect("b| pb: ok served until reset" in s.lines and "b| pb: ok served until bye" in s.lines,
                   "VM b was not reset, or did not come back")
    results.notes += ["         " + line[len("a| pb: "):] for line in s.lines if re.match(r"a\| pb: \d+ MiB", line)]


STEPS = [
    Step("virtio/devices", devices("devices", "", r"PCI-MSI.*virtio"), IMAGE, shares=("make",)),
    Step("virtio/intx", devices("intx", "pci=nomsi", r"IO-APIC.*fasteoi.*virtio"), IMAGE, shares=("make",), asked=True),
    Step("virtio/between", between("between", "pb.blocks=32", 1500), IMAGE, shares=("make",)),
    # 1 GiB each way, half of it before the reset
    Step("virtio/gigabyte", between("gigabyte", "pb.blocks=256 pb.times=32", 7000), IMAGE, shares=("make",), asked=True, bound=7200),
]
