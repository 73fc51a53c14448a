# SPDX-License-Identifier: BSD-2-Clause
"""One run of the emulator as a record, filled from the Makefile's variables or by a check.
Tested by every check that boots anything."""
import dataclasses
import os

from pblib import kernels, vms


@dataclasses.dataclass
class Run:
    out: str = "build"  # O=: where the built files are
    name: str = "run"  # files of this run are out/name.*
    kernel: str = ""
    words: str = "role=linux"  # the kernel module's, before " -- " and its command line
    initrd: str = ""
    append: str = "console=ttyS0"
    modules: str = ""
    vms: str = ""  # several VMs (pblib/vms.py) instead of kernel, initrd and modules
    hv: str = ""
    smp: int = 4
    mem: int = 1024  # MiB
    timeout: float = 0  # seconds, 0: none
    silence: float = 60  # seconds without a word from the console that are worth one
    log: str = ""  # a copy of the console goes here
    fw: str = "bios"
    emu: str = "qemu"
    cpu: str = "max"
    machine: str = "pc"
    test: bool = False  # a guest reset is a failure
    image: str = ""  # an image that there is, instead of one made for this run
    usb: bool = False  # the image as a USB disk
    bare: bool = False  # the kernel without Patchbay
    direct: bool = False  # multiboot1 by qemu -kernel instead of the image
    gdb: bool = False  # stopped, gdb server on the socket out/name.socket
    gfx: str = ""  # graphics mode for GRUB to set, such as 1920x1080x32
    until: str = ""  # a console line that ends the run well
    serial: tuple = ("chardev:ser0",)  # what COM1.. are connected to; ser0 is the console that is read
    extra: tuple = ()  # more words of the emulator's command line
    count: bool = False  # the emulator's time is the number of instructions executed
    count_idle: bool = False  # ... and idle time passes, for who waits for devices: else it is skipped
    disk: str = ""  # an image (raw or qcow2) that is the machine's disk
    dev: str = "ahci"  # what it hangs on
    nic: str = "none"  # and a network card, connected to the host's loopback
    iommu: str = "none"
    own_initrd: bool = False  # the project's initramfs, whose shell announces itself

    @property
    def own_menu(self):
        """The machine boots from its disk, by the GRUB that is there."""
        return bool(self.disk and not self.kernel and not self.image)

    @property
    def elf(self):
        return os.path.join(self.out, "patchbay.elf")

    def file(self, suffix):
        return os.path.join(self.out, self.name + "." + suffix)


def _flag(name):
    return os.environ.get(name, "").lower() in ("1", "y", "yes", "on")


def _number(name, default):
    text = os.environ.get(name, "") or str(default)
    try:
        return int(float(text))
    except ValueError:
        raise SystemExit("run: %s=%s is not a number" % (name, text)) from None


def _mebibytes(text):
    text = text or "1024"
    try:
        if text[-1] in "gG":
            return int(float(text[:-1]) * 1024)
        return int(text.rstrip("mM"))
    except ValueError:
        raise SystemExit("run: MEM=%s: MiB, or a number with M or G" % text) from None


def kernel_words(text):
    """KERNEL= is a file, or a file and the words of its module: "file.bin role=raw addr=0x8000"."""
    path, _, words = text.partition(" ")
    if not words or os.path.exists(text):
        return text, "role=linux"
    return path, words.strip()


DEVS, NICS, IOMMUS = ("ahci", "nvme", "virtio", "usb"), ("none", "e1000e", "virtio"), ("none", "intel", "amd")


def with_disk(run):
    """DISK= and its relatives. Its own GRUB boots it, unless a kernel is given; DIRECT=1 takes the kernel and the initrd that
    make disk has put beside it."""
    e = os.environ.get
    run.disk = e("DISK", "")
    run.dev, run.iommu = e("DEV") or "ahci", e("IOMMU") or "none"
    run.nic = e("NIC") or ("e1000e" if _flag("NET") else "none")
    for name, value, known in (("DEV", run.dev, DEVS), ("NIC", run.nic, NICS), ("IOMMU", run.iommu, IOMMUS)):
        if value not in known:
            raise SystemExit("run: %s=%s: one of %s" % (name, value, " ".join(known)))
    if not run.disk:
        return
    if not os.path.exists(run.disk):
        raise SystemExit("run: %s does not exist: make disk makes build/disk-bookworm.img" % run.disk)
    run.machine = e("MACHINE") if e("MACHINE") not in (None, "", "pc") else "q35"
    if e("KERNEL") or run.direct:
        if not e("KERNEL"):
            stem = os.path.splitext(run.disk)[0]
            run.kernel, run.initrd = stem + ".vmlinuz", stem + ".initrd"
            if not e("APPEND") or e("APPEND") == "console=ttyS0":
                run.append = "root=LABEL=patchbay ro console=tty0 console=ttyS0"
        run.words += " pci=all"
    else:
        run.kernel = run.initrd = ""
        if run.hv:
            raise SystemExit("run: HV= is for DIRECT=1 or KERNEL=: this disk boots by its own menu, from /etc/default/patchbay")
    run.own_initrd = False


def from_environment():
    """The Makefile's variables; empty ones mean the default."""
    e = os.environ.get
    out = e("O") or "build"
    (kernel, words), initrd = kernel_words(e("KERNEL", "")), e("INITRD", "")
    run = Run(
        out=out,
        name=e("NAME") or "run",
        words=words,
        kernel=kernel or os.path.join(out, "cache/vmlinuz"),
        initrd=initrd or ("" if kernel else os.path.join(out, "initrd.gz")),
        append=e("APPEND", "console=ttyS0"),
        modules=e("MODULES", ""),
        vms=e("VMS", ""),
        hv=e("HV", ""),
        smp=_number("SMP", 4),
        mem=_mebibytes(e("MEM", "")),
        timeout=_number("TIMEOUT", 0),
        silence=_number("SILENCE", 60),
        log=e("LOG", ""),
        fw=e("FW") or "bios",
        emu=e("EMU") or "qemu",
        cpu=e("CPU") or "max",
        machine=e("MACHINE") or "pc",
        test=_flag("TEST"),
        usb=_flag("USB"),
        bare=_flag("BARE"),
        direct=_flag("DIRECT"),
        own_initrd=initrd in [os.path.join(out, n) for n in ("initrd.gz", "initrd-i386.gz", "initrd-virtio.gz")] or
        (os.path.join(out, "initrd.gz") in e("MODULES", "") if kernel else not initrd),
    )
    with_disk(run)
    if run.vms:
        try:
            problem = vms.missing(run.vms, out)
        except vms.Wrong as wrong:
            problem = str(wrong)
        if problem:
            raise SystemExit("run: %s" % problem)
    for path in [] if run.vms else [run.kernel, run.initrd]:
        if path and not os.path.exists(path):
            raise SystemExit("run: %s does not exist" % path)
    if run.fw not in ("bios", "uefi") or run.emu not in ("qemu", "bochs"):
        raise SystemExit("run: FW is bios or uefi, EMU is qemu or bochs")
    if run.emu == "bochs" and (run.fw == "uefi" or run.direct or run.disk):
        raise SystemExit("run: EMU=bochs boots the image with its own BIOS only")
    if run.vms:
        return run
    if run.kernel:
        run.kernel = kernels.decompressed(run.kernel, run.file("kernel"))
    return run
