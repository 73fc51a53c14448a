# SPDX-License-Identifier: BSD-2-Clause
"""What is done on the Debian of make disk once somebody is logged in: looking, writing, fetching, moving interrupts, taking drivers
off, rebooting, powering off. Each takes the results and the machine (pblib/diskguest.py). Tested by being what the steps of
tools/steps/devices_disk.py do."""
import hashlib
import http.server
import os
import re
import threading

from pblib import tree

WRITTEN, FETCHED = 256, 64  # MiB
MOVES = 8  # of an interrupt, at least, while its device works
ROOTS = {"ahci": "sda3", "nvme": "nvme0n1p3", "virtio": "vda3", "usb": "sda3"}
ADDRESS = "for i in $(seq 60); do ip -br addr | grep -q 10.0.2 && break; sleep 1; done; ip -br addr"
DEVICE_TROUBLE = re.compile(r"(?i)ata\d|nvme|virtio|usb|xhci|e1000|ext4|I/O error|irq|DMAR|AMD-Vi|BUG|lockup|rcu")

# Linux from 6.9 on asks a drive that it lets go of; QEMU's CD drive has no such command (hw/ide/core.c: HD_CFA_OK).
EMULATORS = re.compile(r"ata\d\.00: Check power mode failed .err_mask=0x1.")


def looks(results, m):
    """What a person looks at first."""
    disk = ROOTS[m.run.dev]
    for command, words in (("lspci", ("Ethernet",) if m.run.nic != "none" else ("bridge",)),
                           ("lsblk -no NAME,FSTYPE,MOUNTPOINTS,LABEL", (disk, "patchbay", "ext4")),
                           (ADDRESS, ("10.0.2.15",) if m.run.nic != "none" else ("127.0.0.1",)),
                           ("findmnt -no SOURCE,UUID /", ("/dev/" + disk, tree.ROOT_UUID)),
                           ("systemctl is-system-running; systemctl --failed --no-pager --no-legend", ("running",))):
        status, text = m.command(command)
        results.log("%s\n%s" % (command, text))
        results.expect(status == 0 and all(w in text for w in words), "%s says: %s" % (command, text.strip()[-200:]))


def write(results, m):
    """A file that is read back from the disk itself."""
    status, text = m.command("dd if=/dev/urandom of=/root/data bs=1M count=%d 2>&1 && cd /root && sha256sum data > sum && sync && "
                             "echo 3 > /proc/sys/vm/drop_caches && sha256sum -c sum" % WRITTEN)
    results.expect(status == 0 and "data: OK" in text, "what was written does not come back: " + text.strip()[-200:])


class Served:
    """A file on the host's loopback, which the machine's network card leads to as 10.0.2.2."""

    def __init__(self):
        data = os.urandom(1 << 20) * FETCHED
        self.sum = hashlib.sha256(data).hexdigest()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # pylint: disable=invalid-name
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                try:
                    self.wfile.write(data)
                except OSError:
                    pass  # whoever fetched has had enough of it

            def log_message(self, *_):  # pylint: disable=arguments-differ
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = "http://10.0.2.2:%d/file" % self.server.server_address[1]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


# --- interrupts ------------------------------------------------------------------------------------
def counts(m, word):
    """{number: [taken, a CPU each]} of the message interrupts whose names have this in them."""
    text = m.command("grep -E 'PCI-MSI.*(%s)' /proc/interrupts" % word)[1]
    found = {}
    for line in text.splitlines():
        number, colon, rest = line.strip().partition(":")
        if colon and number.isdigit():
            found[number] = [int(n) for n in rest.split()[:m.run.smp]]
    return found


def on_each_cpu(results, m, word, work):
    """Queues of their own: every CPU's work interrupts that CPU."""
    before = counts(m, word)
    for cpu in range(m.run.smp):
        m.command("taskset -c %d %s" % (cpu, work))
    after = counts(m, word)
    results.log("%s: %s -> %s" % (word, before, after))
    grown = [cpu for cpu in range(m.run.smp) if any(after[i][cpu] > before.get(i, [0] * m.run.smp)[cpu] for i in after)]
    results.expect(grown == list(range(m.run.smp)), "%s interrupts CPUs %s only" % (word, grown))


def to_each_cpu(results, m, word, work):
    """The device's interrupts are sent to each CPU in turn: there they arrive."""
    for cpu in range(m.run.smp):
        numbers = sorted(counts(m, word))
        if not results.expect(numbers, "%s has no message interrupt" % word):
            return
        m.command("for i in %s; do echo %d > /proc/irq/$i/smp_affinity_list; done" % (" ".join(numbers), cpu))
        before = counts(m, word)
        m.command(work)
        after = counts(m, word)
        results.log("%s at CPU %d: %s -> %s" % (word, cpu, before, after))
        results.expect(any(after[i][cpu] > before[i][cpu] for i in numbers), "%s does not interrupt CPU %d" % (word, cpu))


def moving(m, word, work):
    """(status, output, moves) of work during which the device's interrupts go from CPU to CPU."""
    numbers = " ".join(sorted(counts(m, word)))
    status, text = m.command("(%s) > /tmp/out 2>&1 & n=0; while kill -0 $! 2>/dev/null; do c=$((n %% %d)); n=$((n+1)); "
                             "for i in %s; do echo $c > /proc/irq/$i/smp_affinity_list; done; sleep 0.05; done; wait $!; s=$?; "
                             "cat /tmp/out; echo moved=$n; (exit $s)" % (work, m.run.smp, numbers))
    found = re.search(r"moved=(\d+)", text)
    return status, text, int(found.group(1)) if found and numbers else 0


READ = "dd if=/dev/%s of=/dev/null bs=4k count=64 iflag=direct"
QUEUES = {"nvme": "nvme0q[1-9]", "virtio": "virtio[0-9]+-req"}  # a queue for each CPU; the others have one interrupt
SINGLE = {"ahci": "ahci", "usb": "xhci_hcd"}


def disk_interrupts(results, m):
    """An interrupt at every CPU; and one that moves while what was written is read again."""
    read = READ % ROOTS[m.run.dev].rstrip("3").removesuffix("p")
    if m.run.dev in QUEUES:
        on_each_cpu(results, m, QUEUES[m.run.dev], read)
        return
    to_each_cpu(results, m, SINGLE[m.run.dev], read)
    status, text, moves = moving(m, SINGLE[m.run.dev], "cd /root; echo 3 > /proc/sys/vm/drop_caches; sha256sum -c sum")
    results.expect(status == 0 and "data: OK" in text and moves >= MOVES, "read while its interrupt moves: " + text.strip()[-200:])


def card(m):
    return m.command("ls /sys/class/net | grep -v lo")[1].strip()


def network(results, m):
    """A file by HTTP, while the card's interrupts move; each CPU gets them; the driver goes and comes back; the file again."""
    served = Served()
    name = card(m)
    word = "virtio[0-9]+-(in|out)put" if m.run.nic == "virtio" else name
    module = "virtio_net" if m.run.nic == "virtio" else "e1000e"
    try:
        fetch = "wget -qO- %s | sha256sum" % served.url
        to_each_cpu(results, m, word, "wget -qO- %s | head -c 1000000 > /dev/null" % served.url)
        status, text, moves = moving(m, word, fetch)
        results.expect(status == 0 and served.sum in text and moves >= MOVES, "the file that came by network: " + text.strip()[-200:])
        status, text = m.command("modprobe -r %s && ! ls /sys/class/net/%s 2>/dev/null && modprobe %s" % (module, name, module))
        results.expect(status == 0, "%s is not taken off and put on: %s" % (module, text.strip()[-200:]))
        status, text = m.command("sleep 2; " + ADDRESS)
        results.expect("10.0.2.15" in text, "no address behind the driver's return: " + text.strip()[-200:])
        status, text = m.command(fetch)
        results.expect(status == 0 and served.sum in text, "the file again: " + text.strip()[-200:])
    finally:
        served.close()


def spare_driver(results, m):
    """The disk controller that the system does not live on: its driver goes and comes back."""
    bound = "ls -d /sys/bus/pci/drivers/ahci/0000:*"
    before = m.command(bound)[1]
    status, text = m.command("modprobe -r ahci && ! %s 2>/dev/null && modprobe ahci && %s" % (bound, bound))
    results.expect(status == 0 and before and before in text, "ahci is not taken off and put on: " + text.strip()[-200:])


# --- the end ---------------------------------------------------------------------------------------
def complaints(results, m):
    """What the kernel says of its devices."""
    status, text = m.command("dmesg -l emerg,alert,crit,err --notime")
    results.log(text)
    found = [line for line in text.splitlines() if DEVICE_TROUBLE.search(line) and not EMULATORS.search(line)]
    results.expect(status == 0 and not found, "the kernel complains: " + " | ".join(found[:3]))


def again(results, m):
    """A reboot, after which the file is there."""
    start = len(m.text)
    m.send("reboot\r")
    if not results.expect(m.log_in(start), "no login prompt after the reboot: " + m.text[-300:]):
        return
    results.expect("boot: Patchbay" in m.text[start:], "the reboot did not lead to Patchbay")
    status, text = m.command("cd /root && sha256sum -c sum")
    results.expect(status == 0 and "data: OK" in text, "after the reboot: " + text.strip()[-200:])
    looks(results, m)


def off(results, m):
    """Powers the system off; what has been written to the file system is consistent."""
    m.send("poweroff\r")
    results.expect(m.ended() == 0, "no power-off")
    results.command(["e2fsck", "-fn", m.copy + "?offset=%d" % (42 << 20)], 300, text="the file system is damaged")
