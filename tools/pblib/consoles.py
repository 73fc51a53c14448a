# SPDX-License-Identifier: BSD-2-Clause
"""Boots that talk: every kind of console with output and input, the screen and keyboard of a machine without a serial
port, a port nobody reads, a panic and the ways to reset. The guest sends back what it gets.
Tested by being the console group of `make check`."""
import mmap
import os
import re
import select
import socket
import struct
import subprocess
import time

from pblib import config, emu, lifeline, tinyguest
from pblib.linux import LOGS, OUT
from pblib.steps import ALONE, IMAGE, Step, emulator

READY = "tiny guest: ready"
KEYS = {"!": "shift-1", "\n": "ret", " ": "spc"}
LIMIT = 240  # seconds: against hanging only


class Machine:
    """QEMU with its console on pipes and its monitor on a socket."""

    def __init__(self, name, **fields):
        run = config.Run(**{"test": True, "append": "", "smp": 1, "mem": 256, "direct": True, **fields})
        run.out, run.name = OUT, "console-" + name
        os.makedirs(LOGS, exist_ok=True)
        run.kernel = run.kernel or run.file("kernel")
        if run.kernel == run.file("kernel"):
            with open(run.kernel, "wb") as f:
                f.write(tinyguest.bzimage())
        elif run.kernel == "none":
            run.kernel = ""
        self.run, self.text = run, ""
        self.ours, theirs = socket.socketpair()
        args = emu.qemu_args(run)
        at = args.index("-monitor")
        args[at:at + 2] = ["-chardev", "socket,id=mon,fd=%d" % theirs.fileno(), "-mon", "chardev=mon,mode=readline"]
        self.child = subprocess.Popen(lifeline.tied(args), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, bufsize=0, pass_fds=[theirs.fileno()], start_new_session=True)
        theirs.close()
        self.end = time.monotonic() + LIMIT
        self.log = open(os.path.join(LOGS, run.name + ".console"), "wb", buffering=0)

    def pump(self, seconds=0.2):
        """Takes what the serial console says; False when the emulator has ended."""
        if not select.select([self.child.stdout], [], [], seconds)[0]:
            return self.child.poll() is None
        data = os.read(self.child.stdout.fileno(), 65536)
        self.log.write(data)
        self.text += data.decode("utf-8", "replace").replace("\r", "")
        return bool(data)

    def expect(self, pattern, source=None):
        """Waits until it matches what source() gives, by default the serial console's text."""
        while time.monotonic() < self.end:
            if re.search(pattern, source() if source else self.text):
                return True
            if not self.pump(0.5 if source else 0.2):
                return bool(re.search(pattern, self.text)) if not source else False
        return False

    def until(self, condition):
        """Waits until condition() holds."""
        while time.monotonic() < self.end:
            if condition():
                return True
            if not self.pump(0.5):
                return False
        return False

    def said(self, pattern):
        return re.search(pattern, self.text)

    def send(self, text):
        self.child.stdin.write(text.encode())

    def monitor(self, command):
        """The monitor's answer to one command."""
        self.ours.sendall(command.encode() + b"\n")
        answer, end = "", time.monotonic() + 20
        while time.monotonic() < end:
            if select.select([self.ours], [], [], 0.3)[0]:
                data = self.ours.recv(65536)
                if not data:
                    break
                answer += data.decode("utf-8", "replace")
            elif answer.endswith("(qemu) "):
                break
        return answer

    def screen(self):
        """The text of the VGA screen, a line a row."""
        words = re.findall(r"0x([0-9a-f]{4})\b(?!:)", self.monitor("xp /2000hx 0xb8000").split("/2000hx 0xb8000")[-1])
        cells = "".join(chr(int(w, 16) & 0xFF) for w in words[-2000:])
        text = "\n".join(cells[i:i + 80].rstrip() for i in range(0, len(cells), 80))
        self.log.write(("--- screen\n" + text + "\n").encode("utf-8", "replace"))
        return text

    def keys(self, text):
        for c in text:
            self.monitor("sendkey " + KEYS.get(c, c))

    def debugcon(self):
        if not os.path.exists(self.run.file("debugcon")):
            return ""
        with open(self.run.file("debugcon"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def ended(self):
        """Waits for the emulator to end by itself."""
        while time.monotonic() < self.end and self.child.poll() is None:
            self.pump(0.2)
        return self.child.poll()

    def close(self):
        if self.child.poll() is None:
            os.killpg(self.child.pid, 9)
        self.child.wait()
        self.ours.close()
        self.log.close()
        if os.path.exists(self.run.file("kernel")):
            os.remove(self.run.file("kernel"))


def case(name, **fields):
    """A decorator: the function gets the results and the machine."""

    def wrap(function):
        def action(results):
            m = Machine(name, **fields)
            results.log("console: " + m.log.name)
            try:
                function(results, m)
                results.log(m.text)
            finally:
                m.close()

        STEPS.append(Step("console/" + name, action, IMAGE, emulator(fields.get("smp", 1)), quick=name in QUICK))
        return function

    return wrap


STEPS = []
QUICK = ("com1", "screen", "two", "panic-lines", "reset-auto")


def talk(banner, inputs):
    """Output arrives, the banner names the console, and what is typed comes back."""

    def function(results, m):
        results.expect(m.expect(READY), "the guest's output does not arrive: " + m.text[-200:])
        results.expect(re.search(r"consoles: %s\)" % banner, m.text), "the banner does not name %s" % banner)
        results.expect(re.search(r"check: consoles +%s; input: %s$" % (banner, inputs), m.text, re.M),
                       "the boot check does not name input %s" % inputs)
        m.send("hello guest")
        results.expect(m.expect("hello guest"), "what is typed does not come back")

    return function


NULLS = ("null", "null", "null")
for n in (1, 2, 3, 4):
    case("com%d" % n, hv="console=com%d" % n, serial=NULLS[:n - 1] + ("chardev:ser0",))(talk("com%d" % n, "com%d" % n))
case("pio", hv="console=pio:0x2f8,115200,clk=1843200", serial=("null", "chardev:ser0"))(talk("pio", "pio"))
case("pci", hv="console=pci:00:05.0,115200n8", serial=("none",),
     extra=("-device", "pci-serial,chardev=ser0,addr=5"))(talk("pci", "pci"))
case("auto-pci", serial=("none",), extra=("-device", "pci-serial,chardev=ser0"))(talk("pci vga", "pci kbd"))
case("twice", hv="console=com1,115200 console=auto")(talk("com1 vga", "com1 kbd"))
case("two", hv="console=com1 console=debugcon console=vga")(talk("com1 debugcon vga", "com1 kbd"))


def spcr_table():
    """Microsoft's table, revision 2, as -acpitable wants it: the body behind the 36 bytes of header."""
    body = bytearray(44)
    struct.pack_into("<BBBBQ", body, 4, 1, 8, 0, 1, 0x2F8)  # I/O space, 8 bits
    struct.pack_into("<BBI", body, 16, 1, 3, 3)  # 8259, IRQ 3
    body[22] = 7  # 115200
    path = os.path.join(OUT, "spcr.bin")
    os.makedirs(OUT, exist_ok=True)
    with open(path, "wb") as f:
        f.write(body)
    return ("-acpitable", "sig=SPCR,rev=2,data=" + path)


def spcr(results):
    """The firmware names COM2: it comes before COM1, which is there, too."""
    m = Machine("spcr", serial=("null", "chardev:ser0"), extra=spcr_table())
    try:
        talk("spcr vga", "spcr kbd")(results, m)
    finally:
        m.close()
        os.remove(os.path.join(OUT, "spcr.bin"))


STEPS.append(Step("console/spcr", spcr, IMAGE))


@case("screen", serial=("none",))
def screen(results, m):
    """No serial port at all: the guest's output is on the screen and the keyboard is its COM1."""
    results.expect(m.expect(READY, m.screen), "the guest's output is not on the screen")
    m.keys("hello kbd")
    results.expect(m.expect("hello kbd", m.screen), "what is typed on the keyboard does not come back")
    results.expect(re.search(r"check: consoles +vga; input: kbd", m.screen()), "the boot check does not name the keyboard")
    m.keys("!")
    results.expect(m.ended() == 0, "the guest did not get the key that makes it reset the machine")


@case("debugcon", hv="console=debugcon", serial=("none",))
def debugcon(results, m):
    results.expect(m.expect(READY, m.debugcon), "nothing on port 0xe9")


@case("mute", hv="console=com3")
def mute(results, m):
    """Nothing of what was named is there: what is found is used."""
    results.expect(m.expect(READY), "the machine is mute")
    results.expect(re.search(r"console=com3: no 16550.*\n(.*\n)*.*consoles: com1 vga\)", m.text), "nothing says so")


@case("absent", hv="console=com3 console=pio:0x2e8 console=pci:00:1e.0 console=spcr console=mmio32:0xfec10000 console=fb "
      "console=com1")
def absent(results, m):
    """Consoles that are not there are named and left out; the one that is there tells."""
    results.expect(m.expect(READY), "the console that is there does not work")
    for text in (r"console=com3: no 16550 answers the loopback test at port 0x3e8", r"console=pio:0x2e8: no 16550",
                 r"console=pci:00:1e.0: no function", r"console=spcr: the firmware's tables name no 16550",
                 r"console=mmio32:0xfec10000: no 16550 .* address 0xfec10000", r"console=fb: the loader set no graphics",
                 r"consoles: com1\)"):
        results.expect(re.search(text, m.text), "nothing says '%s'" % text)


def hung_guest(results):
    """A guest that hangs with interrupts off and takes no key: the monitor opens, shows where, and resets the machine."""
    kernel = os.path.join(OUT, "console-hung-guest.bin")
    os.makedirs(OUT, exist_ok=True)
    with open(kernel, "wb") as f:
        f.write(tinyguest.bzimage(tinyguest.HANG))
    m = Machine("hung-guest", kernel=kernel, hv="console=com1", smp=2)
    try:
        results.expect(m.expect(READY), "no guest")
        m.send("typed ahead, to nobody" * 40)
        m.send("\x14\x14c")
        results.expect(m.expect(r"cpu0  running +64-bit cpl 0 4-level, rip 000000000010021[0-9a-f] .* rflags [0-9a-f]+"), "where?")
        m.send("w100200\r")
        results.expect(m.expect(r"walk of 0x0000000000100200(?s:.*)difference: none \(guest wu?-?x"), "the walk of its code")
        m.send("p0\rc")
        results.expect(m.expect(r"cpu0  paused(?s:.*)cpu0  running +\(PAUSED\)"), "it cannot be paused")
        m.send("Ryes\r")
        results.expect(m.ended() == 0, "the monitor does not reset the machine")
    finally:
        m.close()
        os.remove(kernel)


STEPS.append(Step("console/hung-guest", hung_guest, IMAGE))


def line_break(results):
    """A BREAK on the serial line reaches the guest's, in its place among the characters; so do NUL and LF, as they are."""
    kernel = os.path.join(OUT, "console-break.bin")
    os.makedirs(OUT, exist_ok=True)
    with open(kernel, "wb") as f:
        f.write(tinyguest.bzimage(tinyguest.BREAKS))
    m = Machine("break", kernel=kernel, hv="console=com1")
    try:
        results.expect(m.expect(READY), "no guest")
        for before, after in (("one", "two"), ("three", "four")):
            m.send(before)
            results.expect(m.expect(before), "what is typed does not come back")
            m.monitor("chardev-send-break ser0")
            results.expect(m.expect(before + "B"), "the guest sees no BREAK")
            m.send(after)
            results.expect(m.expect(before + "B" + after), "what follows a BREAK does not come back")
        m.send("<\0\n>")
        results.expect(m.expect("<\0\n>"), "NUL or LF does not come back")
        m.log.flush()
        with open(m.log.name, "rb") as f:
            results.expect(b"<\0\n>" in f.read(), "LF became CR LF")
    finally:
        m.close()
        os.remove(kernel)


STEPS.append(Step("console/break", line_break, IMAGE))


def stands(name, code, pattern, smp):
    """A guest that gets nowhere: the console says so, where it is, and how to look closer."""

    def action(results):
        kernel = os.path.join(OUT, "console-%s.bin" % name)
        os.makedirs(OUT, exist_ok=True)
        with open(kernel, "wb") as f:
            f.write(tinyguest.bzimage(code))
        m = Machine(name, kernel=kernel, hv="console=com1", smp=smp)
        try:
            results.expect(m.expect(pattern + "; Ctrl-T Ctrl-T opens the monitor"), "nothing says so: " + m.text[-200:])
            m.send("\x14\x14c")
            results.expect(m.expect("patchbay monitor(?s:.*)cpu0  "), "the monitor does not open")
        finally:
            m.close()
            os.remove(kernel)

    STEPS.append(Step("console/" + name, action, IMAGE, emulator(smp)))


stands("dead", tinyguest.DEAD, r"every VCPU is in HLT with interrupts off; RIP cpu0 0x10021[0-9a-f]; cpu0 64-bit", 2)
stands("silent", tinyguest.SILENT, r"for 30 s cpu0 has been at the same few instructions: RIP 0x10020[0-9a-f], 64-bit, "
       "running, interrupts off", 1)


FIFO = os.path.join(OUT, "console-unread")


def unread(results):
    """A serial line that takes nothing any more (its reader sleeps): the machine goes on."""
    for suffix in (".in", ".out"):
        if os.path.exists(FIFO + suffix):
            os.remove(FIFO + suffix)
        os.mkfifo(FIFO + suffix)
    keep = [os.open(FIFO + s, os.O_RDWR) for s in (".in", ".out")]
    os.set_blocking(keep[1], False)
    filler = bytes(4096)
    try:
        while True:  # the pipe is full before the machine starts
            os.write(keep[1], filler)
    except BlockingIOError:
        pass
    m = Machine("unread", hv="console=com1 console=debugcon loglvl=debug", serial=("chardev:full",),
                extra=("-chardev", "pipe,id=full,path=" + FIFO))
    try:
        results.expect(m.expect(READY, m.debugcon), "a serial line that nobody reads stops the machine")
        os.write(keep[0], b"!")
        results.expect(m.ended() == 0, "its input is not read any more")
    finally:
        m.close()
        for fd in keep:
            os.close(fd)
        for suffix in (".in", ".out"):
            os.remove(FIFO + suffix)


STEPS.append(Step("console/unread", unread, IMAGE))


# A "chip" in RAM that the firmware keeps for itself, which this test turns the registers of.
MMIO32 = 0x9FF80
RAM = os.path.join(OUT, "console-mmio32.ram")


def mmio32_run():
    """(text of port 0xe9, last byte sent)."""
    m = Machine("mmio32", hv="console=mmio32:0x%x,115200,clk=48000000 console=debugcon" % MMIO32, serial=("none",),
                machine="pc,memory-backend=ram0",
                extra=("-object", "memory-backend-file,id=ram0,size=256M,share=on,mem-path=" + RAM))
    try:
        while not os.path.exists(RAM) or os.path.getsize(RAM) < 256 << 20:
            time.sleep(0.1)
        with open(RAM, "r+b") as f, mmap.mmap(f.fileno(), 1 << 20) as ram:
            cell = struct.Struct("<I")
            while time.monotonic() < m.end and READY not in m.debugcon():
                for _ in range(2000):  # loopback: what was sent has come; else nothing comes, and there is room
                    loop = cell.unpack_from(ram, MMIO32 + 16)[0] != 0x0B
                    cell.pack_into(ram, MMIO32 + 20, 0x61 if loop else 0x60)
            m.pump(0.5)
            return m.debugcon(), cell.unpack_from(ram, MMIO32)[0]
    finally:
        m.close()
        os.remove(RAM)


def mmio32(results):
    """32-bit registers in memory, before and after Patchbay makes its own page tables."""
    for _ in range(3):  # this process may be too slow to be a chip
        text, last = mmio32_run()
        if "consoles: mmio32 debugcon)" in text:
            break
    results.expect("consoles: mmio32 debugcon)" in text, "the banner does not name mmio32")
    results.expect(last == ord("\n"), "the last byte sent is 0x%x" % last)


STEPS.append(Step("console/mmio32", mmio32, IMAGE, ALONE))  # this process is part of the machine


# --- a panic, and the ways to reset -----------------------------------------------------------------
def machine_check(m):
    """An uncorrected error of CPU 0 by the emulator's monitor: the hypervisor's #MC."""
    m.monitor("mce 0 1 0xb200000000000000 5 0 0")


@case("panic-reset", kernel="none", hv="panic=1")
def panic_reset(results, m):
    results.expect(m.expect("patchbay: stopped"), "no stop without a guest")
    machine_check(m)
    results.expect(m.expect(r"patchbay: panic: #MC machine check.*CPU 0"), "no panic")
    results.expect(m.expect("bank 1 status 0xb200000000000000 .*context lost"), "no bank")
    results.expect(m.expect("patchbay: reset in 1 s"), "no word about the reset")
    results.expect(re.search(r"addr2line -e \S+ -fip 0x", m.text), "no addr2line line")
    results.expect(m.ended() == 0, "the machine was not reset")


@case("panic-record", hv="panic=1", test=False)
def panic_record(results, m):
    """The next start tells of the panic, and the one after it does not."""
    results.expect(m.expect(READY), "no guest")
    results.expect("crash:" not in m.text, "a record of a machine that was just switched on")
    m.send("\x14\x14Pyes\r")
    results.expect(m.expect(r"crash: the last run ended in a panic:\n"
                            r".*crash: \| patchbay: panic: asked for in the monitor \(Patchbay (?s:.*)"
                            r"crash: \|   #1 0x[0-9a-f]+ mon_key(?s:.*)crash: \| addr2line -e (?s:.*)" + READY),
                   "the next start does not tell of the panic")
    told = m.text.count("the last run ended")
    m.text = ""
    m.send("!")
    results.expect(m.expect("patchbay: guest reset(?s:.*)" + READY), "no third start")
    results.expect(told == 1 and "the last run" not in m.text, "the start after that tells of it again")


@case("panic-lines", hv="noreboot", smp=2)
def panic_lines(results, m):
    """The panic test of the monitor: the line that a panic gives for addr2line leads to the very lines of the source."""
    results.expect(m.expect(READY), "no guest")
    m.send("\x14\x14Pyes\r")
    results.expect(m.expect(r"CPU 1, stopped by NMI(?s:.*)patchbay: halted"), "no whole panic")
    reason = re.search(r"patchbay: panic: asked for in the monitor \(Patchbay \S+, CPU 0, (\S+):(\d+)\)", m.text)
    line = re.search(r"^addr2line -e build/patchbay.elf (-fip( 0x[0-9a-f]+)+)$", m.text, re.M)
    if not results.expect(reason and line, "no reason, or no addr2line line"):
        return
    text = results.command(["addr2line", "-e", os.path.join(OUT, "patchbay.elf")] + line.group(1).split(), 60)
    text = text[text.find("\n") + 1:]  # of the first address, the panic's own, binutils 2.44 does not know the line
    found = re.findall(r"^(?: \(inlined by\) )?(\w+) at (?:\./)?(\S+):(\d+)", text, re.M)
    results.expect(found and found[0][1:] == reason.groups(), "the first line is %s, not %s" % (found[:1], reason.groups()))
    with open(reason.group(1), encoding="ascii") as f:
        results.expect("PANIC(" in f.read().splitlines()[int(reason.group(2)) - 1], "no PANIC in that line")
    names = [f[0] for f in found]
    path = [n for n in ("mon_key", "keys_read", "input_pump", "whole_round", "subvmm_run") if n in names]
    results.expect(len(path) == 5 and "??" not in text, "the callers are missing: %s" % names)
    for (name, where, number), after in zip(found[1:], names):
        with open(where, encoding="ascii") as f:  # each caller's line begins the call of what stands above it
            line = f.read().splitlines()[int(number) - 1]
        # gcc splits a function: its beginning, inlined, calls the rest of it from one of its own lines.
        called = after == name or after in line or re.search(r"(->|hook|\*)\w*\)?\(", line)
        results.expect(called or where.endswith(".S"), "%s:%s does not call %s" % (where, number, after))


@case("panic-noreboot", kernel="none", hv="noreboot")
def panic_noreboot(results, m):
    results.expect(m.expect("patchbay: stopped"), "no stop without a guest")
    machine_check(m)
    results.expect(m.expect(r"patchbay: panic: #MC") and m.expect(r"patchbay: halted \(noreboot\)"), "no word of the halt")
    results.expect("HLT=1" in m.monitor("info registers"), "the processor is not halted")


def reset(results, m):
    results.expect(m.expect(READY), "no guest")
    m.send("!")
    results.expect(m.expect("patchbay: guest reset"), "the guest's reset is not seen")
    results.expect(m.ended() == 0, "the machine was not reset")
    results.expect("did not work" not in m.text, "this way of resetting does nothing")


for way in ("auto", "cf9", "kbd", "triple"):
    case("reset-" + way, hv="reset=" + way)(reset)
case("reset-acpi", hv="reset=acpi", machine="q35")(reset)  # the other machine's FADT has no reset register


# --- the framebuffer, read back by its font ---------------------------------------------------------
def glyphs():
    """{rows: letter} of the font that this build has made."""
    with open(os.path.join(OUT, "obj/font.c"), encoding="ascii") as f:
        rows = re.findall(r"\{((?:0x[0-9a-f]{2}, ){15}0x[0-9a-f]{2})\}", f.read())
    return {tuple(int(x, 16) for x in row.split(", ")): chr(0x20 + i) for i, row in reversed(list(enumerate(rows)))}


def read_picture(path, font, scale):
    """The text of a screendump (PPM): cells of 8 x 16 dots, each of scale x scale pixels."""
    with open(path, "rb") as f:
        magic, size, _, pixels = f.read().split(b"\n", 3)
    width, height = (int(x) for x in size.split())
    if magic != b"P6":
        return ""
    lines = []
    for top in range(0, height - 16 * scale + 1, 16 * scale):
        line = ""
        for left in range(0, width - 8 * scale + 1, 8 * scale):
            dots = tuple(sum((pixels[3 * ((top + y * scale) * width + left + x * scale)] > 100) << (7 - x)
                             for x in range(8)) for y in range(16))
            line += font.get(dots, "?")
        lines.append(line.rstrip())
    return "\n".join(lines)


def framebuffer(scale):
    """A machine without a serial port in a graphics mode: output on the framebuffer, input from the keyboard."""

    def action(results, m):
        font, picture = glyphs(), m.run.file("ppm")
        results.expect(len(font) >= 94, "the font has %d letters" % len(font))

        def screen_text():
            m.monitor("screendump " + picture)
            text = read_picture(picture, font, scale) if os.path.exists(picture) else ""
            m.log.write(("--- screen\n" + text + "\n").encode("utf-8", "replace"))
            return text

        results.expect(m.expect(READY, screen_text), "the guest's output is not on the framebuffer")
        results.expect(re.search(r"check: consoles +fb; input: kbd", screen_text()), "the boot check does not name them")
        m.keys("hello fb")
        results.expect(m.expect("hello fb", screen_text), "what is typed on the keyboard does not come back")
        for name in (picture, m.run.file("iso"), m.run.file("iso.log"), m.run.file("ovmf-vars")):
            if os.path.exists(name) and not os.environ.get("KEEP"):
                os.remove(name)

    return action


case("framebuffer", fw="uefi", direct=False, serial=("none",))(framebuffer(1))
case("framebuffer-large", direct=False, serial=("none",), gfx="1920x1080x32",
     extra=("-vga", "none", "-device", "VGA,vgamem_mb=32"))(framebuffer(2))
