# SPDX-License-Identifier: BSD-2-Clause
"""Command lines of the emulators for one Run. Tested by every check that boots anything."""
import os
import re
import shutil
import subprocess

from pblib import iso, lifeline, vms


class Problem(Exception):
    """Something the user can mend; the text says how."""


def find_ovmf(run):
    """(code, private copy of the variable store)."""
    for size in ("", "_4M"):
        code = "/usr/share/OVMF/OVMF_CODE%s.fd" % size
        variables = "/usr/share/OVMF/OVMF_VARS%s.fd" % size
        if os.path.exists(code) and os.path.exists(variables):
            own = run.file("ovmf-vars")
            shutil.copyfile(variables, own)
            return code, own
    raise Problem("no OVMF firmware in /usr/share/OVMF: install the package ovmf")


def modules(run):
    if run.vms:
        return vms.modules_of(run.vms, run.out, run.append)
    return iso.modules_of(run.kernel, run.initrd, run.append, run.modules, run.words)


def make_image(run, multiboot=2):
    image = run.file("iso")
    iso.make(image, run.elf, modules(run), lambda names: iso.grub_cfg_run(run.hv, names, multiboot, run.gfx))
    return image


def make_bare_image(run):
    """An image without Patchbay, for an emulator that cannot load a kernel by itself."""
    image = run.file("iso")
    files = [(run.kernel, "")] + ([(run.initrd, "")] if run.initrd else [])
    iso.make(image, run.elf, files,
             lambda names: iso.grub_cfg_bare(names[0][0], names[1][0] if run.initrd else "", run.append))
    return image


def disk_format(path):
    with open(path, "rb") as f:
        return "qcow2" if f.read(4) == b"QFI\xfb" else "raw"


def machine_of(run):
    """An AMD IOMMU and DMA remapping need q35; the network card's option ROM would only delay the boot."""
    args = ["-machine", run.machine]
    if run.iommu == "intel":
        args += ["-device", "intel-iommu,intremap=on"]
    elif run.iommu == "amd":
        args += ["-device", "amd-iommu,intremap=on"]
    return args


def device_args(run):
    """The disk and the network card."""
    behind = ",iommu_platform=on,disable-legacy=on" if run.iommu != "none" else ""
    args, first = [], ",bootindex=1" if run.own_menu else ""
    if run.disk:
        args += ["-drive", "if=none,id=disk,format=%s,file=%s" % (disk_format(run.disk), run.disk.replace(",", ",,"))]
        args += {
            "ahci": ["-device", "ide-hd,drive=disk" + first],
            "nvme": ["-device", "nvme,serial=patchbay,drive=disk" + first],
            "virtio": ["-device", "virtio-blk-pci,drive=disk" + behind + first],
            "usb": ["-device", "qemu-xhci,id=xhci", "-device", "usb-storage,bus=xhci.0,drive=disk" + first],
        }[run.dev]
    if run.nic != "none":
        card = "virtio-net-pci" + behind if run.nic == "virtio" else "e1000e"
        args += ["-netdev", "user,id=net", "-device", card + ",netdev=net,romfile="]
    return args


def boot_args(run):
    """Where the machine boots from."""
    if run.own_menu:
        return ["-smbios", "type=1,sku=patchbay-bare"] if run.bare else []
    if run.bare:
        args = ["-kernel", run.kernel, "-append", run.append]
        return args + (["-initrd", run.initrd] if run.initrd else [])
    if run.direct:
        strings = ["%s %s" % (path, words) for path, words in modules(run)]
        # QEMU separates modules by commas; a doubled one is a comma.
        packed = ",".join(s.replace(",", ",,") for s in strings)
        return ["-kernel", run.elf + "32", "-append", run.hv] + (["-initrd", packed] if packed else [])
    image = run.image or make_image(run)
    if run.usb:
        return ["-device", "qemu-xhci", "-drive", "if=none,id=stick,format=raw,readonly=on,file=" + image,
                "-device", "usb-storage,drive=stick,bootindex=0"]
    return ["-cdrom", image, "-boot", "d"]


def qemu_args(run):
    icount = "shift=0,sleep=%s" % ("on" if run.count_idle else "off")
    accel = ["tcg,thread=single", "-icount", icount, "-rtc", "clock=vm"] if run.count else ["tcg,thread=multi"]
    args = ["qemu-system-x86_64", "-accel"] + accel + machine_of(run) + ["-cpu", run.cpu,
            "-smp", str(run.smp), "-m", str(run.mem), "-nic", "none", "-display", "none", "-monitor", "none",
            "-chardev", "stdio,id=ser0,signal=off",
            "-debugcon", "file:" + run.file("debugcon")]
    for where in run.serial:
        args += ["-serial", where]
    if run.test:
        args.append("-no-reboot")
    if run.gdb:
        args += ["-S", "-gdb", "unix:%s,server=on,wait=off" % run.file("socket")]
    if "test=1" in run.hv.split() or (run.bare and run.test):
        args += ["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]
    if run.fw == "uefi":
        code, variables = find_ovmf(run)
        args += ["-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + code,
                 "-drive", "if=pflash,unit=1,format=raw,file=" + variables]
    return args + device_args(run) + list(run.extra) + boot_args(run)


BOCHSRC = """plugin_ctrl: unmapped=1, biosdev=1, extfpuirq=1, serial=1
cpu: model={model}, count={smp}, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=0
megs: {mem}
romimage: file=/usr/share/bochs/BIOS-bochs-latest, options=fastboot
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path={image}, status=inserted
boot: cdrom
display_library: rfb, options="timeout=0"
com1: enabled=1, mode=term, dev={tty}
port_e9_hack: enabled=1
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
clock: sync=none, time0=1700000000
panic: action=report
error: action=ignore
log: {log}
"""


BOCHS_MODEL = "ryzen"  # CPU=max: the newest of AMD's


def bochs_program():
    """The Bochs to run: BOCHS= in the environment, a program or script, or the distribution's."""
    own = os.environ.get("BOCHS")
    if own and not shutil.which(own):
        raise Problem("BOCHS=%s is no program" % own)
    return own or ("bochs-bin" if shutil.which("bochs-bin") else "bochs")


def bochs_model(run):
    """The model for CPU=, one of those that this Bochs has."""
    if run.cpu in ("max", BOCHS_MODEL):
        return BOCHS_MODEL
    done = subprocess.run(lifeline.tied([bochs_program(), "--help", "cpu"]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    known = re.findall(r"(?m)^(\w+)$", done.stdout.decode("utf-8", "replace"))
    if known and run.cpu not in known:
        raise Problem("CPU=%s is none of Bochs's models: %s" % (run.cpu, " ".join(known)))
    return run.cpu


def bochs_args(run, tty):
    """tty: the terminal that is the guest's serial port."""
    with open(run.file("bxrc"), "w") as f:
        f.write(BOCHSRC.format(smp=run.smp, model=bochs_model(run), mem=min(run.mem, 2048), tty=tty,
                               log=run.file("bochs-log"),
                               image=make_bare_image(run) if run.bare else make_image(run, 1)))
    # The Debian build starts in its debugger; "c" goes on, also after a breakpoint of its own.
    with open(run.file("bochs-rc"), "w") as f:
        f.write("c\n" * 8)
    return [bochs_program(), "-q", "-f", run.file("bxrc"), "-rc", run.file("bochs-rc")]
