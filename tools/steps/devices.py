# SPDX-License-Identifier: BSD-2-Clause
"""The machine's own devices in the hands of a Linux: disks on AHCI, NVMe, virtio and USB, and a network card, without and
with each IOMMU, by the project's initramfs and scratch disks. Run by tools/check.py."""
import hashlib
import http.server
import os
import random
import re
import threading

from pblib import config, ktap
from pblib.linux import OUT, boot, guest_tests, judge_linux
from pblib.steps import IMAGE, Skip, Step, emulator
from steps.build import MAKE

DISK_BYTES = 32 << 20
DISKS = ("ahci", "nvme", "virtio", "usb")
PAYLOAD = random.Random(5).randbytes(16 << 20)


class Server:
    """The payload on a port of the host's loopback, which is 10.0.2.2 for the guest."""

    def __enter__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # pylint: disable=invalid-name
                self.send_response(200)
                self.send_header("Content-Length", str(len(PAYLOAD)))
                self.end_headers()
                self.wfile.write(PAYLOAD)

            def log_message(self, *args):  # pylint: disable=arguments-differ
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self.http.server_address[1]

    def __exit__(self, *args):
        self.http.shutdown()
        self.http.server_close()


def scratch(name):
    path = os.path.join(OUT, "check-devices-%s.img" % name)
    with open(path, "wb") as f:
        f.truncate(DISK_BYTES)
    return path


def machine(paths, behind):
    """Words of QEMU for a disk of each kind and a card."""
    virtio = ",iommu_platform=on" if behind else ""
    front = {"ahci": "ide-hd,bus=ide.1,drive=", "nvme": "nvme,serial=pb,drive=",
             "virtio": "virtio-blk-pci,disable-legacy=on%s,drive=" % virtio, "usb": "usb-storage,bus=xhci.0,drive="}
    words = ["-device", "qemu-xhci,id=xhci"]
    for kind in DISKS:
        words += ["-drive", "if=none,id=%s,format=raw,file=%s" % (kind, paths[kind]), "-device", front[kind] + kind]
    return words + ["-netdev", "user,id=net", "-device", "e1000e,netdev=net,romfile="]


SAYS = {  # what the hypervisor says of isolation
    "none": r"NOT ISOLATED",
    "intel": r"iommu: VT-d: 1 units, .* interrupts remapped",
    "amd": r"iommu: AMD-Vi: 1 units, .* interrupts remapped",
}


# What leaves no room below 4 GiB: firmware places every BAR of 64 bits above. It has no message, and stays with Patchbay.
BIG_BAR = ("-object", "memory-backend-ram,id=big,size=4G,reserve=off", "-device", "ivshmem-plain,memdev=big")
PLACED_HIGH = r"root bus resource \[mem 0x0*[1-9a-f][0-9a-f]{8,}-"  # what the guest's kernel says of the window


def linux(iommu, smp, hv="audit=1", name="", extra=(), high=False, mode="", remapped=True):
    """All devices given by pci=all; every one is driven by the kernel's own driver."""
    name = name or iommu

    def action(results):
        results.command(MAKE + ["O=" + OUT, OUT + "/initrd-devices.gz"], 900)
        paths = {kind: scratch("%s-%s" % (name, kind)) for kind in DISKS}
        with Server() as port:
            append = "console=ttyS0 pb.script=devices pb.disks=%s pb.port=%d pb.sum=%s" % (
                ",".join(DISKS), port, hashlib.sha256(PAYLOAD).hexdigest())
            run = config.Run(kernel=os.path.join(OUT, "cache/virtio-vmlinuz"), initrd=os.path.join(OUT, "initrd-devices.gz"),
                             append=append, hv=hv, words="role=linux pci=all", smp=smp, timeout=1500, test=True, own_initrd=True,
                             machine="q35", iommu=iommu, extra=tuple(machine(paths, iommu != "none")) + extra)
            s = boot(results, "devices-" + name, run)
        for kind in DISKS:
            with open(paths[kind], "rb") as f:
                results.expect(any(f.read()), "nothing was written to the disk on " + kind)
            os.remove(paths[kind])
        if s is None:
            return
        judge_linux(results, s, run, dict(word.partition("=")[::2] for word in hv.split()))
        text = "\n".join(s.lines)
        says = SAYS[iommu] if remapped else SAYS[iommu].replace("remapped", "not remapped")
        results.expect(re.search(says, text), "it does not say %s" % says)
        results.expect(remapped or "interrupts are not remapped: who owns a device" in text, "it does not say what that means")
        results.expect(iommu == "none" or "NOT ISOLATED" not in text, "it says that the guest is not isolated")
        results.expect(not mode or re.search(r"apic: %s( |$)" % mode, text, re.M), "the APICs are not in %s mode" % mode)
        results.expect(not high or re.search(PLACED_HIGH, text), "no BAR lies above 4 GiB")
        # Linux 6.8 and later call it ECAM.
        results.expect(re.search(r"PCI: (MMCONFIG at|ECAM) \[mem .* reserved", text), "the guest does not use memory-mapped configuration")
        results.expect("iommu: blocked" not in text, "the IOMMU blocked something")

    return action


def extended(results):
    """VT-d with extended interrupt mode, which the emulator has with processors in x2APIC mode only, since QEMU 9.0."""
    version = re.search(r"version (\d+)", results.command(["qemu-system-x86_64", "--version"], 60))
    if not version or int(version.group(1)) < 9:
        raise Skip("this QEMU's processors have no x2APIC")
    linux("intel", 2, name="extended", extra=("-global", "intel-iommu.eim=on"), mode="x2APIC")(results)


def hostile(iommu):
    """A device whose owner aims its DMA at memory all over the machine that is not the guest's, and at interrupt addresses: what lies there
    is filled with a pattern that is compared at the end, and the log says what was blocked."""

    def action(results):
        run = config.Run(kernel=os.path.join(OUT, "cache/vmlinuz"), initrd=os.path.join(OUT, "initrd.gz"),
                         append="console=ttyS0 iomem=relaxed pb.script=dma memmap=1M$0x8000000 pb.spare=0x8000000 pb.from=0xc000000 pb.to=0x20000000",
                         hv="test=1 mem=192M", words="role=linux pci=all", smp=2, mem=512, timeout=1500, test=True, own_initrd=True,
                         machine="q35", iommu=iommu, extra=("-device", "edu,dma_mask=0xffffffff"), direct=True)
        s = boot(results, "devices-hostile-" + iommu, run)
        if s is None:
            return
        judge_linux(results, s, run, {"test": "1", "mem": "192M"})
        lines = [line for line in s.lines if "iommu: blocked:" in line]
        # QEMU's AMD-Vi blocks what has no entry without an event.
        results.expect(iommu == "amd" or any("writes" in line for line in lines), "nothing was blocked")

    return action


STEPS = [Step("devices/hostile-" + iommu, hostile(iommu), IMAGE, emulator(2), ("make",)) for iommu in ("intel", "amd")]
STEPS += [Step("devices/" + iommu, linux(iommu, smp), IMAGE, emulator(smp), ("make",), quick=iommu == "none", asked=iommu == "amd")
         for iommu, smp in (("none", 4), ("intel", 2), ("amd", 2))]
STEPS.append(Step("devices/high", linux("none", 2, name="high", extra=BIG_BAR, high=True), IMAGE, emulator(2), ("make",), asked=True))
STEPS.append(Step("devices/extended", extended, IMAGE, emulator(2), ("make",), asked=True))
# Where the chipset fails at remapping interrupts.
STEPS += [Step("devices/%s-intremap-off" % iommu, linux(iommu, 2, hv="audit=1 intremap=off", name=iommu + "-unmapped", remapped=False), IMAGE,
               emulator(2), ("make",), asked=True) for iommu in ("intel", "amd")]
# The guest's tests with devices: a device that means no good, and DMA into page tables, which an audit sees and nothing breaks by.
TEST_DEVICES = ("-device", "edu", "-device", "e1000e,romfile=")
STEPS += [Step("devices/guest-" + name, guest_tests("devices-guest-" + name, smp, bare, hv, "test=pci.*", mem=256 if bare else 512, machine="q35",
                                                    iommu=iommu, words="role=linux pci=all", extra=TEST_DEVICES, findings=True),
               IMAGE, emulator(smp))
          # without an IOMMU no 32 MiB in a row lie at their own addresses, which the tests' kernel needs
          for name, smp, bare, hv, iommu in (("bare", 2, True, "", "none"), ("intel", 4, False, "audit=2", "intel"),
                                             ("amd", 2, False, "audit=1", "amd"))]
# 20,000 accesses of ports of its own, and only the test's other ones exit.
STEPS.append(Step("devices/guest-ports", guest_tests("devices-guest-ports", 1, False, "", "test=pci.ports scale=10", mem=512, machine="q35",
                                                     iommu="intel", words="role=linux pci=all", extra=TEST_DEVICES, most=(("pio", 5000),)),
                  IMAGE, emulator(1)))


def neighbours(iommu):
    """Two VMs with a device each, one of which aims it at all memory that is not its own: the other's, Patchbay's, the poison."""

    def action(results):
        image = os.path.join(OUT, "guest/tests.bin")
        vm = "%s:cpus=%d,mem=%dM,kernel=%s,pci=00:%02x.0,append=console=com1+test=%s"
        bad, good = (vm % ("bad", 0, 96, image, 4, "pci.dma_aimed+aim=96+watchdog=900"),
                     vm % ("good", 1, 128, image, 5, "pci.dma_kept+watchdog=900"))
        run = config.Run(vms=bad + " " + good, hv="test=1 audit=1", smp=2, mem=512, timeout=900, test=True, machine="q35", iommu=iommu,
                         extra=("-device", "edu,addr=4,dma_mask=0xffffffff", "-device", "edu,addr=5,dma_mask=0xffffffff"))
        s = boot(results, "devices-neighbours-" + iommu, run)
        if s is None:
            return
        results.expect(s.status in (0, 33), "status %s: %s" % (s.status, s.reason))
        for name in ("bad", "good"):
            said = [m.group(1) for m in (re.match(r"%s *\| (.*)" % name, line) for line in s.lines) if m]
            text = "\n".join(said)
            results.report(name, ktap.parse(text[max(text.find("KTAP version"), 0):]))
        lines = [line for line in s.lines if "iommu: blocked:" in line]
        results.expect(iommu == "amd" or lines, "nothing was blocked")
        results.expect(not [line for line in lines if "00:04.0" not in line], "the other VM's function was blocked")

    return action


STEPS += [Step("devices/neighbours-" + iommu, neighbours(iommu), IMAGE, emulator(2)) for iommu in ("intel", "amd")]
