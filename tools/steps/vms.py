# SPDX-License-Identifier: BSD-2-Clause
"""Several VMs on one machine: Linux beside Linux, resets, a hostile neighbour, the monitor, wrong descriptions, large
machines. Run by tools/check.py."""
import os
import re
import socket
import sys
import time

from pblib import config, consoles, ktap, linuxlog, tinyguest
from pblib.guests import obtain
from pblib.linux import OUT, boot
from pblib.steps import HEAVY, IMAGE, Step, emulator, run_command
from steps.bochs import PACKAGES

OPEN = "\x14\x14"
READY = r"patchbay> $"
NO_MORE = "patchbay: no VM runs any more"
RESETS = 200
# 64-bit code: prints "tiny guest: ready", counts for a while, and resets its machine by port CF9.
RESET = bytes.fromhex(
    "488d351e000000"  # lea text(%rip), %rsi
    "66baf803"  # mov $0x3f8, %dx
    "ac84c07403eeebf8"  # 1: lodsb; test %al, %al; jz 2f; out %al, (%dx); jmp 1b
    "b900004000"  # 2: mov $0x400000, %ecx
    "ffc975fc"  # 3: dec %ecx; jnz 3b
    "66baf90cb006ee"  # mov $0xcf9, %dx; mov $6, %al; out %al, (%dx)
    "ebfe"  # 4: jmp 4b
) + b"tiny guest: ready\n\0"

# 64-bit code: as tinyguest.ECHO; '!' resets its machine, '3' is a triple fault, '0' powers off.
LIVES = bytes.fromhex(
    "488d354b000000"  # lea text(%rip), %rsi
    "66baf803"  # mov $0x3f8, %dx
    "ac84c07403eeebf8"  # 1: lodsb; test %al, %al; jz 2f; out %al, (%dx); jmp 1b
    "66bafd03eca80174f7"  # 2: mov $0x3fd, %dx; in (%dx), %al; test $1, %al; jz 2b
    "66baf803ecee"  # mov $0x3f8, %dx; in (%dx), %al; out %al, (%dx)
    "3c217414"  # cmp $'!', %al; je 4f
    "3c337419"  # cmp $'3', %al; je 5f
    "3c3075e5"  # cmp $'0', %al; jne 2b
    "66ba040666b8003466ef"  # mov $0x604, %dx; mov $0x3400, %ax; out %ax, (%dx)
    "ebd9"  # jmp 2b
    "66baf90cb006ee"  # 4: mov $0xcf9, %dx; mov $6, %al; out %al, (%dx)
    "ebd0"  # jmp 2b
    "bc00800000"  # 5: mov $0x8000, %esp
    "6a006a000f011c240f0b"  # push $0; push $0; lidt (%rsp); ud2
) + b"tiny guest: ready\n\0"


def smoke(ops):
    return "append=console=ttyS0+pb.script=smoke+pb.ops=%d" % ops


def lines_of(lines, name):
    """What a VM said while all were shown."""
    return [m.group(1) for m in (re.match(r"%s *\| (.*)" % name, line) for line in lines) if m]


def judge(results, s, names, cpus):
    """Each VM's own verdict, its kernel's complaints, its statistics."""
    results.expect(s.status == 0, "status %s: %s" % (s.status, s.reason))
    for name in names:
        said = lines_of(s.lines, name)
        results.expect("pb: session ok" in said, "VM %s did not finish" % name)
        results.expect("pb: nproc %d" % cpus in said, "VM %s has not %d CPUs" % (name, cpus))
        bad = [line for line in said if line.startswith(("pb: FAIL", "pbload: FAIL"))] + linuxlog.complaints(said)
        results.expect(not bad, "VM %s: %s" % (name, " | ".join(bad[:4])))
        found = [x for x in s.stats if x.get("vm") == name]
        if results.expect(found, "no statistics of VM " + name):
            results.expect(found[-1]["ncpus"] == cpus, "statistics of %d CPUs" % found[-1]["ncpus"])
            results.expect(not linuxlog.total(found[-1], "audit_findings"), "VM %s: audit findings" % name)
            posted = [c for c in found[-1]["channels"] if c["producer"] >= cpus or c["consumer"] >= cpus]
            results.expect(not posted, "VM %s: channels of CPUs that it has not: %s" % (name, posted))


def session_of(results, name, line, **fields):
    return boot(results, "vms-" + name, config.Run(vms=line, test=True, until=NO_MORE, timeout=900, **fields))


def two(results):
    """Debian's amd64 and 686-pae beside each other, two CPUs each, a verified load in both."""
    if not obtain(results, "cache/vmlinuz-686-pae", "initrd-i386.gz"):
        return
    s = session_of(results, "two", "amd:cpus=0-1,mem=384M,%s pae:cpus=2-3,kernel=686-pae,%s" % (smoke(5), smoke(3)), hv="audit=2")
    if s is not None:
        judge(results, s, ("amd", "pae"), 2)


def three(results):
    """Three VMs with a CPU each, one of which nobody described but for its name."""
    s = session_of(results, "three", "one:%s two:cpus=0,%s three:mem=256M,%s" % ((smoke(2),) * 3), smp=3)
    if s is not None:
        judge(results, s, ("one", "two", "three"), 1)


def tiny(name, code):
    path = os.path.join(OUT, "vms-%s.kernel" % name)
    with open(path, "wb") as f:
        f.write(tinyguest.bzimage(code))
    return path


class Talk(consoles.Machine):
    """A machine with several VMs, by whose monitor they are managed."""

    def __init__(self, name, line, **fields):
        super().__init__("vms-" + name, kernel="none", vms=line, **fields)

    def fresh(self, pattern):
        """Waits for it in what comes from now on, and drops what is before."""
        found = self.expect(pattern)
        match = re.search(pattern, self.text)
        if match:
            self.text = self.text[match.end():]
        return found

    def front(self, results, name):
        """That VM has the keys."""
        self.send(OPEN)
        results.expect(self.fresh(r"patchbay> "), "no monitor: " + self.text[-300:])
        self.send("v%s\rq" % name)
        results.expect(self.fresh(r"VM %s is in front" % name) and self.fresh("monitor left"), "%s is not in front: %s" % (name, self.text[-300:]))

    def says(self, results, *patterns):
        """All of these, one after the other."""
        for pattern in patterns:
            if not results.expect(self.fresh(pattern), "no %r in: %s" % (pattern, self.text[-300:])):
                return

    def ask(self, results, keys, pattern):
        self.send(keys)
        results.expect(self.fresh(pattern), "%r: no %r in: %s" % (keys, pattern, self.text[-300:]))
        results.expect(self.fresh(r"patchbay> "), "%r: no prompt" % keys)


def resets(results):
    """One VM resets itself again and again while Linux in the other runs its verified load: nothing leaks, nothing stands."""
    m = Talk("resets", "work:cpus=0-1,%s again:cpus=2,mem=64M,kernel=%s" % (smoke(30), tiny("reset", RESET)), smp=3, mem=768)
    work, found, pages, off = [], 0, set(), False
    try:
        m.end += 6600  # against hanging only: the neighbour may be slow
        while (found < RESETS or not off) and m.pump() and time.monotonic() < m.end:
            whole, newline, m.text = m.text.rpartition("\n")  # what was looked at is dropped: there is much
            found += whole.count("VM again: starts again")
            pages |= set(re.findall(r'"vm":"again".*?("shadow_pages":\d+,"shadow_pages_high":\d+,"rmap_high":\d+)', whole))
            work += lines_of(whole.splitlines(), "work")
            off = off or "VM work: off" in whole
        results.log("\n".join(work))
        results.expect(off and "pb: session ok" in work, "the neighbour does not finish its load")
        results.expect(found >= RESETS, "%d resets only" % found)
        results.expect(len(pages) == 1, "shadow pages in use at the end of a life: %s" % sorted(pages))
        m.send(OPEN)
        results.expect(m.fresh(r"patchbay> "), "no monitor")
        m.send("ostop again\r")
        results.expect(m.expect(NO_MORE), "the last one does not stop")
        results.expect(m.ended() == 0, "the machine does not end")
        results.log("%d resets" % found)
    finally:
        m.close()


def beside_load(name, tests, hv, ops):
    """These tests of guest/ in one VM, while Linux in the other runs its verified load under the same audit."""

    def action(results):
        image = os.path.join(OUT, "guest/tests.bin")
        s = session_of(results, name, "work:cpus=0-1,%s tests:cpus=2-3,mem=256M,kernel=%s,append=%s" % (smoke(ops), image, tests),
                       hv=hv + " test=1")
        if s is None:
            return
        s.status = 0 if s.status in (0, 33) else s.status  # the image's own: passed
        judge(results, s, ("work",), 2)
        found = [x for x in s.stats if x.get("vm") == "tests"]
        results.expect(found and not linuxlog.total(found[-1], "audit_findings"), "VM tests: audit findings, or no statistics")
        with open(s.run_.file("debugcon"), encoding="utf-8", errors="replace") as f:
            text = f.read()
        results.log(text)
        results.report(name, ktap.parse(text[max(text.find("KTAP version"), 0):]))

    return action


def monitor(results):
    """Two VMs on one serial line: names until the first key, then one in front; list, matrix, orders."""
    echo = tiny("echo", tinyguest.ECHO)
    m = Talk("monitor", "first:mem=64M,kernel=%s second:mem=64M,kernel=%s" % (echo, echo), smp=4, mem=512)
    try:
        results.expect(m.expect(r"\nfirst \| tiny guest: ready\n") and m.expect(r"\nsecond\| tiny guest: ready\n"), "no names")
        m.send("for the first")
        results.expect(m.fresh("for the first"), "the first VM gets no keys")
        m.send(OPEN)
        m.fresh(r"patchbay> ")
        m.ask(results, "v\r", r"\* 0 first +on +64 MiB, CPUs 0,1, started 1 time\n +1 second +on +64 MiB, CPUs 2,3")
        m.ask(results, "vsecond\r", r"VM second is in front\n")
        m.ask(results, "c", r"VM second:\n(?s:.*)cpu0 +running(?s:.*)cpu1 +waits for SIPI")
        m.ask(results, "s", r"VM second:\n(?s:.*)exit IO")
        m.ask(results, "d", r"VM second:\n")
        m.ask(results, "m", r"VM first:\n(?s:.*)VM second:\n(?s:.*)consumer 1")
        m.ask(results, "opause second\r", r"cpu0  paused(?s:.*)cpu1  paused")
        m.ask(results, "oresume second\r", r"cpu0  resumed")
        m.send("oreset second\r")
        results.expect(m.fresh(r"VM second: reset by the monitor") and m.fresh(r"VM second: starts again") and
                       m.fresh(r"tiny guest: ready"), "no reset: " + m.text[-200:])
        m.send("q")
        m.fresh("monitor left")
        m.send("for the second")
        results.expect(m.fresh("for the second"), "the second VM gets no keys")
        m.send("!")  # its guest resets itself
        results.expect(m.fresh(r"VM second: guest reset") and m.fresh(r"tiny guest: ready"), "no reset by the guest")
        m.send(OPEN)
        m.fresh(r"patchbay> ")
        m.send("ostop second\r")
        results.expect(m.fresh(r"VM second: off; the others go on"), "no stop")
        m.send("ostart second\r")
        results.expect(m.fresh(r"VM second: starts again") and m.fresh(r"tiny guest: ready"), "no start")
        m.send("ostop second\r")
        results.expect(m.fresh(r"VM second: off"), "no second stop")
        m.send("ostop first\r")
        results.expect(m.expect(NO_MORE), "the last one does not end it: " + m.text[-300:])
        results.expect(m.ended() == 0, "the machine does not end")
    finally:
        m.close()


def lives(results):
    """How a VM ends by what its guest does, each end under each onend=, and the monitor's reload; the last one's is the machine's."""
    if not obtain(results, "cache/vmlinuz"):
        return
    own = tiny("lives", LIVES)
    words = {"auto": "", "stays": "onend=stop,", "again": "onend=restart,", "all": "onend=machine,"}
    line = ["%s:cpus=%d,mem=64M,%skernel=%s" % (name, i, more, own) for i, (name, more) in enumerate(words.items())]
    line.append("pan:cpus=4,mem=160M,initrd=,append=console=ttyS0+quiet+panic=1")
    m = Talk("lives", " ".join(line), smp=5, mem=1024)
    try:
        m.end += 1200
        for name in words:
            results.expect(m.expect(r"\n%s *\| tiny guest: ready" % name), "%s does not start" % name)
        m.says(results, r"pan *\| .*Kernel panic", r"VM pan: guest reset", r"VM pan: starts again")
        m.front(results, "auto")
        m.send("3")
        m.says(results, r"triple fault", r"VM auto: guest reset", r"VM auto: starts again", r"tiny guest: ready")
        m.send("!")
        m.says(results, r"VM auto: guest reset", r"VM auto: starts again", r"tiny guest: ready")
        m.send(OPEN)
        m.says(results, r"patchbay> ")
        m.send("oreload auto\r")
        m.says(results, r"VM auto: reset by the monitor", r"VM auto: starts again", r"tiny guest: ready")
        m.send("ostop pan\r")
        m.says(results, r"VM pan: off; the others go on")
        m.send("q")
        m.says(results, r"monitor left")
        m.send("0")
        m.says(results, r"VM auto: guest powered off", r"VM auto: off; the others go on")
        m.front(results, "stays")
        m.send("3")
        m.says(results, r"VM stays: guest reset", r"VM stays: off; the others go on")
        m.front(results, "again")
        m.send("0")
        m.says(results, r"VM again: guest powered off", r"VM again: starts again", r"tiny guest: ready")
        m.front(results, "all")
        m.send("as it was")
        m.says(results, r"as it was")
        m.send("0")
        m.says(results, r"VM all: guest powered off")
        results.expect(m.ended() == 0, "the machine does not end with it")
        results.log(m.text)
    finally:
        m.close()


def own_port(results):
    """A VM with a serial port of its own; the other's output is not there, nor its own on the console."""
    echo, path = tiny("echo-own", tinyguest.ECHO), os.path.join(OUT, "vms-com2.socket")
    m = Talk("com2", "first:mem=64M,kernel=%s second:mem=64M,console=com2,kernel=%s" % (echo, echo), smp=2, mem=512,
             serial=("chardev:ser0", "unix:%s,server=on,wait=off" % path))
    port, said = socket.socket(socket.AF_UNIX), bytearray()
    try:
        while m.child.poll() is None and port.connect_ex(path) != 0:
            time.sleep(0.05)
        port.setblocking(False)
        results.expect(m.expect(r"VM second: its console is com2"), "it does not say so")
        results.expect(m.expect(r"\nfirst \| tiny guest: ready\n"), "the shared console")

        def own():
            try:
                said.extend(port.recv(4096))
            except BlockingIOError:
                pass
            return said.decode("utf-8", "replace")

        results.expect(m.expect("^tiny guest: ready", own), "nothing at its own port: " + own())
        port.send(b"for the second")
        results.expect(m.expect("for the second", own), "no keys from its own port: " + own())
        m.send("for the first")
        results.expect(m.expect("for the first"), "no keys from the console for the other one")
        results.expect("second|" not in m.text and "for the second" not in m.text, "its output is on the console too")
        results.expect("first" not in own(), "the other one's is at its port")
    finally:
        port.close()
        m.close()


BAD = [  # description, what is said; the first VM starts all the same
    ("good:cpus=0,mem=64M,kernel={k} bad:cpus=0-1,mem=64M,kernel={k}", r"VM bad is left out: CPU 0 is VM good's already"),
    ("good:cpus=0,mem=64M,kernel={k} bad:cpus=7,mem=64M,kernel={k}", r"VM bad is left out: cpus= names CPU 7, this machine has 0 to 1"),
    ("good:cpus=0+1,mem=64M,kernel={k} bad:mem=64M,kernel={k}", r"VM bad is left out: no CPU is left over for it"),
    ("good:cpus=0,mem=64M,kernel={k} bad:cpus=1,mem=64M,kernel={e}", r"(?s)kernel module \(\d+ bytes\): .*VM bad is left out"),
    ("good:cpus=0,mem=64M,kernel={k} bad:cpus=1,mem=9G,kernel={k}", r"VM bad: mem=9216M .*ask for less"),
    ("good:cpus=0,mem=64M,kernel={k} bad:cpus=1,mem=64M,role=linus,kernel={k}", r"(?s)role=linus is not known: use .*VM bad is left out"),
    ("good:cpus=0,mem=64M,kernel={k} bad:cpus=1,mem=64M,role=initrd,kernel={k}", r"(?s)no module is a kernel: .*VM bad is left out"),
    ("good:cpus=0,mem=64M,kernel={k} bad:cpus=1-,mem=64M,kernel={k}", r"VM bad, module 0: 'cpus=1-' is not understood and ignored: cpus= is a list"),
    ("good:cpus=0,mem=64M,kernel={k} bad:cpus=1,mem=12,kernel={k}", r"VM bad, module 0: 'mem=12' .*from 64M on"),
    ("good:cpus=0,mem=64M,kernel={k} bad:cpus=1,mem=64M,onend=never,kernel={k}", r"VM bad, module 0: 'onend=never' .*stop, restart or machine"),
    ("good:cpus=0,mem=64M,kernel={k} bad:cpus=1,mem=64M,console=tty1,kernel={k}", r"VM bad, module 0: 'console=tty1' .*com1 to com4"),
    ("good:cpus=0,mem=64M,kernel={k} bad:cpus=1,mem=64M,console=com9,kernel={k}", r"VM bad: console=com9 is no free serial port"),
    ("good:cpus=0,mem=64M,kernel={k} bad:cpus=1,mem=64M,virtio=disk,kernel={k}", r"VM bad, module 0: 'virtio=disk' .*rng, console"),
]
WRONG_LINES = [  # make run's own answers
    ("a:kernel=686-pea", "there is no file 686-pea; kernel= is a file or one of debian, 686-pae"),
    ("a:kernel=build/cache/nothing", "there is no file build/cache/nothing"),
    ("a:cpu=1", "VMS: cpu=1: words are cpus="),
    (":cpus=1", "begins with no name"),
    ("a:cpus=0 a:cpus=1", "a is there twice"),
]


def wrong(results):
    for line, said in WRONG_LINES:
        code, text = run_command(["make", "--no-print-directory", "O=" + OUT, "_run", "VMS=" + line], 600)
        results.expect(code not in (0, "timeout") and said in text and "No rule" not in text, "VMS=%r: %s" % (line, text.strip()[-200:]))
    stray = tiny("wrong", tinyguest.ECHO)
    m = consoles.Machine("vms-wrong-name", kernel=stray, words="vm=good cpus=0 mem=64M role=linux", modules=stray + " vm=a/b role=linux", smp=2, mem=512)
    try:
        results.expect(m.expect(r"tiny guest: ready"), "the good VM does not start: " + m.text[-300:])
        results.expect("'vm=a/b': the module is ignored: a VM's name has" in m.text, "a wrong name is not said")
    finally:
        m.close()
    kernel, empty = tiny("wrong", tinyguest.ECHO), os.path.join(OUT, "vms-wrong.txt")
    with open(empty, "w", encoding="ascii") as f:
        f.write("this is no kernel\n" * 9)
    for i, (line, said) in enumerate(BAD):
        m = Talk("wrong-%d" % i, line.format(k=kernel, e=empty), smp=2, mem=512)
        try:
            results.expect(m.expect(r"tiny guest: ready"), "the good VM does not start: " + m.text[-300:])
            results.expect(re.search(said, m.text), "not said: " + said)
        finally:
            m.close()


def large(cpus, line, mem, said):
    """Many CPUs and much memory: QEMU gives pages only when they are used, and the host is asked to keep none for it."""
    ram = ("-object", "memory-backend-ram,id=ram0,size=%dM,reserve=off" % mem)

    def action(results):
        echo = tiny("large", tinyguest.ECHO)
        m = Talk("large-%d-%d" % (cpus, mem), line.format(k=echo), smp=cpus, mem=mem, machine="pc,memory-backend=ram0",
                 extra=ram)
        try:
            m.end += 400
            results.expect(m.expect(r"tiny guest: ready"), "no guest: " + m.text[-600:])
            for text in said:
                results.expect(re.search(text, m.text), "not said: " + text)
            results.log(m.text)
        finally:
            m.close()

    return action


def bochs(results):
    s = session_of(results, "bochs", "one:%s two:%s" % (smoke(1), smoke(1)), smp=2, mem=768, emu="bochs")
    if s is not None:
        judge(results, s, ("one", "two"), 1)


def bench(results):
    """The benchmark's short form: forks of one VM beside 0, 1 and 2 under load."""
    output = results.command([sys.executable, "tools/benchvms.py", "--loaded", "--ops", "fork"], 3000)
    rows = re.findall(r"(?m)^fork +([012]) +([\d.]+) +(.*)", output)
    results.expect([r[0] for r in rows] == ["0", "1", "2"], "not three rows")
    alone = float(rows[0][1]) if rows else 0
    for neighbours, exits, _ in rows[1:]:  # what the VM's own CPU did does not depend on them
        results.expect(abs(float(exits) - alone) <= alone * 0.15, "%s exits a fork beside %s, %s alone" % (exits, neighbours, alone))
    results.notes += ["         " + line for line in output.splitlines() if line.startswith("fork ")]


# What shows that a CPU's shadow tables follow those of all CPUs of its own VM.
COHERENCY = "test=race.*|smp.*|trans.*|store.*|flush.*"

STEPS = [
    Step("vms/two", two, IMAGE, HEAVY),
    Step("vms/three", three, IMAGE, emulator(3), asked=True),
    Step("vms/resets", resets, IMAGE, emulator(3), asked=True, bound=7200),
    Step("vms/hostile", beside_load("hostile", "test=hostile.*+scale=3", "audit=2", 10), IMAGE, HEAVY),
    Step("vms/coherency", beside_load("coherency", COHERENCY, "audit=3", 3), IMAGE, HEAVY),
    Step("vms/monitor", monitor, IMAGE, HEAVY),
    Step("vms/lives", lives, IMAGE, HEAVY),
    Step("vms/com2", own_port, IMAGE),
    Step("vms/wrong", wrong, IMAGE, quick=True, shares=("make",)),
    Step("vms/large-16", large(16, "one:cpus=0-15,kernel={k}", 65536, [r"CPUs +16 of 16 run", r"for each of 16 CPUs"]), IMAGE, HEAVY),
    Step("vms/large-64", large(64, "one:cpus=0-30,mem=1G,kernel={k} two:cpus=31-61,mem=512M,kernel={k} three:mem=256M,kernel={k}",
                               65536, [r"CPUs +64 of 64 run", r"VM three: CPUs 62-63"]), IMAGE, HEAVY, asked=True),
    Step("vms/large-256", large(64, "one:cpus=0-30,mem=1G,kernel={k} two:cpus=31-61,mem=512M,kernel={k} three:mem=256M,kernel={k}",
                                262144, [r"CPUs +64 of 64 run", r"VM three: CPUs 62-63"]), IMAGE, HEAVY, asked=True),
    Step("vms/bench", bench, IMAGE, HEAVY, asked=True),
    Step("vms/bochs", bochs, IMAGE, packages=PACKAGES, asked=True),
]
