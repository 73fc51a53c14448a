# SPDX-License-Identifier: BSD-2-Clause
"""The guest's own screen and keyboard: the boot framebuffer in Linux's hands and in a screendump, keys of a USB keyboard. Run by
tools/check.py."""
import collections
import os
import re

from pblib.consoles import Machine, glyphs, read_picture
from pblib.linux import OUT
from pblib.steps import IMAGE, Step, emulator
from steps.build import MAKE


def pixels(m):
    """{colour: number} of a screendump."""
    picture = m.run.file("ppm")
    m.monitor("screendump " + picture)
    with open(picture, "rb") as f:
        magic, size, _, data = f.read().split(b"\n", 3)
    counts = collections.Counter(data[i:i + 3] for i in range(0, len(data), 3)) if magic == b"P6" else {}
    return dict(counts), size.decode(), picture


def entry_of(m, va):
    """The entry of a 4 KiB page in the tables that the emulator's first CPU runs on."""
    table = int(re.search(r"CR3=([0-9a-f]+)", m.monitor("info registers")).group(1), 16)
    for shift in (39, 30, 21, 12):
        at = (table & ~0xfff) + (va >> shift & 511) * 8
        entry = int(re.search(r": 0x([0-9a-f]+)", m.monitor("xp /1gx 0x%x" % at).split("\n", 1)[-1]).group(1), 16)
        table = entry & 0x000ffffffffff000
    return entry


def write_combining(results, m):
    """Our own console's view of the screen, by the tables of a CPU that has stopped in the hypervisor: entry 5 of PAT (PAT, no PCD,
    PWT), which arch-x86/cpu/paging.c makes write-combining. QEMU's list of mappings does not show PAT."""
    base = re.search(r"VGA controller(?s:.*?)BAR0: 32 bit prefetchable memory at 0x([0-9a-f]+)", m.monitor("info pci"))
    if results.expect(base, "no screen among QEMU's devices"):
        places = re.findall(r"([0-9a-f]{16}): 0*%s " % base.group(1), m.monitor("info tlb"))
        entries = [entry_of(m, int(va, 16)) for va in places]
        results.log("mappings of the screen: %s %s" % (places, ["%x" % e for e in entries]))
        results.expect(entries and all(e & 0x98 == 0x88 for e in entries), "the screen is not mapped write-combining")


def display(results, fw, gfx, size):
    """display=guest: Linux has the boot framebuffer and the whole of it; a panic of ours takes it back."""
    m = Machine("display-" + fw, direct=False, fw=fw, gfx=gfx, smp=2, mem=512, kernel=OUT + "/cache/vmlinuz", test=False,
                initrd=OUT + "/initrd.gz", words="role=linux display=guest", append="console=ttyS0", hv="console=auto panic=0")
    m.end += 900
    paths = [m.run.file(s) for s in ("ppm", "iso", "iso.log", "ovmf-vars")]
    try:
        results.expect(m.expect("the screen is the guest's from here on, " + size) and m.expect(r"patchbay:\S*[#$] "), "no shell")
        m.send("yes | head -c 8000000 > /dev/fb0; echo drawn=$(cat /sys/class/graphics/fb0/virtual_size)\r")
        results.expect(m.expect(r"\ndrawn=" + size.replace("x", ",")), "no framebuffer in Linux: " + m.text[-200:])
        m.send("\x14\x14c")
        results.expect(m.expect(r"patchbay> (?s:.*)cpu1 "), "no monitor")
        counts, shown, picture = pixels(m)
        width, height = (int(x) for x in size.split("x"))
        # "y" and line feed, as blue, green, red and what nobody sees; all but a few lines' worth: a console may draw its cursor
        results.expect(shown.split() == size.split("x"), "the screen has %s" % shown)
        results.expect(counts.get(b"y\ny", 0) > width * height - 16 * width, "of %d pixels Linux has drawn %d"
                       % (width * height, counts.get(b"y\ny", 0)))
        m.monitor("mce 0 1 0xb200000000000000 5 0 0")
        font = glyphs()
        results.expect(m.expect("patchbay: halted .panic=0", lambda: (pixels(m), read_picture(picture, font, 1))[1]),
                       "the end of the panic is not on the screen")
        write_combining(results, m)
    finally:
        m.close()
        for path in paths:
            if os.path.exists(path):
                os.remove(path)


TYPED = "usb keys"


def keyboard(results):
    """What a USB keyboard behind xHCI types comes to the guest's own console, on the guest's own screen."""
    results.command(MAKE + ["O=" + OUT, OUT + "/initrd-devices.gz"], 900)
    m = Machine("keyboard", direct=False, gfx="800x600x32", smp=2, mem=512, kernel=OUT + "/cache/virtio-vmlinuz", machine="q35",
                initrd=OUT + "/initrd-devices.gz", words="role=linux pci=all display=guest", append="console=tty0 console=ttyS0",
                hv="console=com1", extra=("-device", "qemu-xhci,id=xhci", "-device", "usb-kbd,bus=xhci.0"))
    m.end += 900
    try:
        if not results.expect(m.expect(r"patchbay:\S*[#$] "), "no shell"):
            return
        m.send("for n in $(cat /modules/order); do insmod /modules/$n.ko; done; "
               "until grep -l . /sys/bus/hid/devices/*/uevent; do sleep 1; done 2>/dev/null; echo there=$?\r")  # USB takes its time
        results.expect(m.expect(r"\nthere=0"), "no keyboard in Linux: " + m.text[-300:])
        m.send("echo asked=$((1+1)); read -r line </dev/tty0; echo got=$line; grep -c 'PCI-MSI.*xhci' /proc/interrupts\r")
        results.expect(m.expect(r"\nasked=2"), "no shell any more")
        before = pixels(m)[0]
        m.keys(TYPED)
        results.expect(m.until(lambda: pixels(m)[0] != before), "what is typed is not on the screen")
        m.keys("\n")
        results.expect(m.expect(r"\ngot=%s\n[1-9]" % TYPED), "the keys do not arrive: " + m.text[-300:])
        m.send("poweroff -f\r")
        results.expect(m.ended() == 0, "no power-off")
    finally:
        m.close()
        for suffix in ("ppm", "iso", "iso.log"):
            if os.path.exists(m.run.file(suffix)):
                os.remove(m.run.file(suffix))


STEPS = [
    Step("devices/display-bios", lambda results: display(results, "bios", "800x600x32", "800x600"), IMAGE, emulator(2)),
    Step("devices/display-uefi", lambda results: display(results, "uefi", "", "1280x800"), IMAGE, emulator(2), asked=True),
    Step("devices/keyboard", keyboard, IMAGE, emulator(2), ("make",)),
]
