# SPDX-License-Identifier: BSD-2-Clause
"""Command lines of the emulators for one Run. Tested by every check that boots anything."""
import os
import shutil

from pblib import iso, vms


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


def boot_args(run):
    """Where the machine boots from."""
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
    accel = ["tcg,thread=single", "-icount", "shift=0,sleep=off", "-rtc", "clock=vm"] if run.count else ["tcg,thread=multi"]
    args = ["qemu-system-x86_64", "-accel"] + accel + ["-machine", run.machine, "-cpu", run.cpu,
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
    return args + list(run.extra) + boot_args(run)


BOCHSRC = """plugin_ctrl: unmapped=1, biosdev=1, extfpuirq=1, serial=1
cpu: model=ryzen, count={smp}, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=0
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


def bochs_args(run, tty):
    """tty: the terminal that is the guest's serial port."""
    if run.cpu not in ("max", "ryzen"):
        raise Problem("EMU=bochs has CPU=ryzen only")
    with open(run.file("bxrc"), "w") as f:
        f.write(BOCHSRC.format(smp=run.smp, mem=min(run.mem, 2048), tty=tty, log=run.file("bochs-log"),
                               image=make_bare_image(run) if run.bare else make_image(run, 1)))
    # The Debian build starts in its debugger; "c" goes on, also after a breakpoint of its own.
    with open(run.file("bochs-rc"), "w") as f:
        f.write("c\n" * 8)
    return ["bochs-bin" if shutil.which("bochs-bin") else "bochs", "-q", "-f", run.file("bxrc"),
            "-rc", run.file("bochs-rc")]
