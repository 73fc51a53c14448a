# SPDX-License-Identifier: BSD-2-Clause
"""The disk of make disk: that it boots without Patchbay, by BIOS and UEFI; and by its own menu on Patchbay, behind each kind of
controller, where it is written and read, and a file comes by network. DEEP=1: more data, a reboot behind each, UEFI, and the
IOMMUs. Run by tools/check.py."""
import collections
import hashlib
import http.server
import os
import re
import threading

from pblib import tree
from pblib.consoles import Machine, glyphs, read_picture
from pblib.diskguest import DISK, SUITE, DiskMachine, needs_root
from pblib.linux import OUT
from pblib.steps import ALONE, IMAGE, Step, emulator
from steps.build import MAKE

BOUND = 3600  # against hanging only
DEEP = os.environ.get("DEEP", "") not in ("", "0")


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


ADDRESS = "for i in $(seq 60); do ip -br addr | grep -q 10.0.2 && break; sleep 1; done; ip -br addr"


def looks(results, m, disk):
    """What a person looks at first."""
    for command, words in (("lspci", ("Ethernet",) if m.run.nic != "none" else ("bridge",)),
                           ("lsblk -no NAME,FSTYPE,MOUNTPOINTS,LABEL", (disk, "patchbay", "ext4")),
                           (ADDRESS, ("10.0.2.15",) if m.run.nic != "none" else ("127.0.0.1",)),
                           ("findmnt -no SOURCE,UUID /", ("/dev/" + disk, tree.ROOT_UUID)),
                           ("systemctl is-system-running; systemctl --failed --no-pager --no-legend", ("running",))):
        status, text = m.command(command)
        results.log("%s\n%s" % (command, text))
        results.expect(status == 0 and all(w in text for w in words), "%s says: %s" % (command, text.strip()[-200:]))


def bare(results, fw):
    """Its first entry, without Patchbay."""
    m = DiskMachine("bare-" + fw, bare=True, fw=fw, nic="e1000e")
    try:
        if results.expect(m.log_in(), "no login prompt: " + m.text[-300:]):
            results.expect("boot: Patchbay" not in m.text, "Patchbay was booted")
            looks(results, m, "sda3")
            off(results, m)
    finally:
        m.remove()


class Served:
    """A file on the host's loopback, which the machine's network card leads to as 10.0.2.2."""

    def __init__(self, mebibytes):
        data = os.urandom(1 << 20) * mebibytes
        self.sum = hashlib.sha256(data).hexdigest()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = "http://10.0.2.2:%d/file" % self.server.server_address[1]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def fetch(results, m):
    served = Served(64 if DEEP else 8)
    try:
        status, text = m.command("wget -qO- %s | sha256sum" % served.url)
        results.expect(status == 0 and served.sum in text, "the file that came by network: " + text.strip()[-200:])
    finally:
        served.close()


def write(results, m):
    """A file that is read back from the disk itself."""
    status, text = m.command("dd if=/dev/urandom of=/root/data bs=1M count=%d 2>&1 && cd /root && sha256sum data > sum && sync && "
                             "echo 3 > /proc/sys/vm/drop_caches && sha256sum -c sum" % (256 if DEEP else 16))
    results.expect(status == 0 and "data: OK" in text, "what was written does not come back: " + text.strip()[-200:])


def complaints(results, m):
    """What the kernel says of its devices."""
    status, text = m.command("dmesg -l emerg,alert,crit,err --notime")
    results.log(text)
    found = [line for line in text.splitlines() if DEVICE_TROUBLE.search(line)]
    results.expect(status == 0 and not found, "the kernel complains: " + " | ".join(found[:3]))


DEVICE_TROUBLE = re.compile(r"(?i)ata\d|nvme|virtio|usb|xhci|e1000|ext4|I/O error|irq|DMAR|AMD-Vi|BUG|lockup|rcu")


def again(results, m, disk):
    """A reboot, after which the file is there."""
    start = len(m.text)
    m.send("reboot\r")
    if not results.expect(m.log_in(start), "no login prompt after the reboot: " + m.text[-300:]):
        return
    results.expect("boot: Patchbay" in m.text[start:], "the reboot did not lead to Patchbay")
    status, text = m.command("cd /root && sha256sum -c sum")
    results.expect(status == 0 and "data: OK" in text, "after the reboot: " + text.strip()[-200:])
    looks(results, m, disk)


def hosted(name, disk, reboot, **fields):
    """An action: the disk's own menu, its default entry, the login prompt on Patchbay, and what can be done there."""

    def action(results):
        m = DiskMachine("login-" + name, **fields)
        results.log("console: " + m.log.name)
        try:
            if not results.expect(m.log_in(), "no login prompt: " + m.text[-300:]):
                return
            results.expect("boot: Patchbay" in m.text and "is the guest's" in m.text, "not on Patchbay with its devices")
            looks(results, m, disk)
            write(results, m)
            if m.run.nic != "none":
                fetch(results, m)
            complaints(results, m)
            if reboot or DEEP:
                again(results, m, disk)
            off(results, m)
        finally:
            m.remove()

    return Step("devices/login-" + name, action, ("devices/disk",), emulator(fields.get("smp", 2)), bound=BOUND, asked=True)


# --- the screen ------------------------------------------------------------------------------------
def pixels(m):
    """{colour: number} of a screendump."""
    picture = m.run.file("ppm")
    m.monitor("screendump " + picture)
    with open(picture, "rb") as f:
        magic, size, _, data = f.read().split(b"\n", 3)
    counts = collections.Counter(data[i:i + 3] for i in range(0, len(data), 3)) if magic == b"P6" else {}
    return dict(counts), size.decode(), picture


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
    finally:
        m.close()
        for path in paths:
            if os.path.exists(path):
                os.remove(path)


STEPS = [
    Step("devices/display-bios", lambda results: display(results, "bios", "800x600x32", "800x600"), IMAGE, emulator(2)),
    Step("devices/display-uefi", lambda results: display(results, "uefi", "", "1280x800"), IMAGE, emulator(2), asked=True),
    Step("devices/disk", make_disk, ("package/build",), ALONE, ("make", "debian"), ("debootstrap",), bound=BOUND, asked=True),
    Step("devices/disk-bare-bios", lambda results: bare(results, "bios"), ("devices/disk",), emulator(2), bound=BOUND, asked=True),
    Step("devices/disk-bare-uefi", lambda results: bare(results, "uefi"), ("devices/disk",), emulator(2), bound=BOUND, asked=True),
    hosted("ahci", "sda3", True, dev="ahci", nic="e1000e"),
    hosted("nvme", "nvme0n1p3", False, dev="nvme"),
    hosted("virtio", "vda3", False, dev="virtio", nic="virtio"),
    hosted("usb", "sda3", False, dev="usb"),
]
if DEEP:
    STEPS += [hosted("uefi", "sda3", False, fw="uefi", nic="e1000e"), hosted("cpus-4", "nvme0n1p3", False, dev="nvme", smp=4)]
    STEPS += [hosted("%s-%s" % (iommu, dev), disk, False, dev=dev, iommu=iommu, nic=nic) for iommu in ("intel", "amd")
              for dev, disk, nic in (("ahci", "sda3", "e1000e"), ("nvme", "nvme0n1p3", "none"), ("virtio", "vda3", "virtio"),
                                     ("usb", "sda3", "none"))]
