# SPDX-License-Identifier: BSD-2-Clause
"""gdb commands for a running Patchbay; `hv-help` lists them. They read through physical addresses, so that they work
wherever the CPUs are, in the guest too: what a CPU holds in registers then is shown as its last exit left it.
Tested by the gdb group of `make check`."""
import contextlib

import gdb

PRIVATE, WINDOW = 0xFFFFC00000000000, 1 << 44  # LAYOUT_PRIVATE_BASE
DIRECT = 0xFFFF800000000000  # LAYOUT_DIRECT_BASE
CONSUMERS = (1 << 31) - 1
NONE32 = 0xFFFFFFFF  # SP_NONE, P2M_NONE
P, W, U, PS, NX = 1, 2, 4, 0x80, 1 << 63
FRAME = ((1 << 52) - 1) & ~0xFFF
ROLE_4B = 1 << 9


@contextlib.contextmanager
def physical():
    """QEMU's stub reads physical memory meanwhile; the image is linked where it is loaded."""
    answer = gdb.execute("maintenance packet Qqemu.PhyMemMode:1", to_string=True)
    if "OK" not in answer:
        raise gdb.GdbError("this target cannot read physical memory; QEMU can")
    try:
        yield
    finally:
        gdb.execute("maintenance packet Qqemu.PhyMemMode:0", to_string=True)


def coherency():
    pointer = gdb.parse_and_eval("vm_table")[0]["co"]
    if int(pointer) == 0:
        raise gdb.GdbError("hv_main has not run yet")
    return at(pointer)


def at(pointer, cpu=None):
    """What a pointer of the hypervisor's points to, by its physical address."""
    where = int(pointer)
    if cpu is not None and PRIVATE <= where < PRIVATE + WINDOW:
        where += int(gdb.parse_and_eval("percpus")[cpu]["priv"]["v"]) - PRIVATE
    elif DIRECT <= where < PRIVATE:
        where -= DIRECT
    return gdb.Value(where).cast(pointer.type.unqualified().strip_typedefs()).dereference()


def number(address, size=8):
    """Guest or host memory at a physical address."""
    return int.from_bytes(gdb.selected_inferior().read_memory(address, size).tobytes(), "little")


def atomic(value):
    """A C11 atomic as a number: gdb shows the qualified type as itself."""
    return int(value.cast(value.type.unqualified()))


def cpus_in(bits):
    return ",".join(str(c) for c in range(31) if bits >> c & 1) or "none"


class Command(gdb.Command):
    """Registers itself under its class attribute `name`; run() reads physical memory."""

    def __init__(self):
        super().__init__(self.name, gdb.COMMAND_USER)

    def invoke(self, arg, from_tty):
        words = [int(gdb.parse_and_eval(w)) for w in arg.split()]
        with physical():
            self.run(words)


class Cpus(Command):
    """hv-cpus: mode, pending, action and storing word of every CPU."""

    name = "hv-cpus"

    def run(self, words):
        co = coherency()
        modes = ["offline", "host", "guest", "halted"]
        for c in range(int(co["ncpus"])):
            s = co["cpu"][c]
            print("cpu %d  mode %-7s  pending from %s  action 0x%x  storing 0x%x" % (
                c, modes[atomic(s["mode"])], cpus_in(atomic(s["pending"])), atomic(s["action"]), atomic(s["storing"])))


class Channels(Command):
    """hv-channels [PRODUCER CONSUMER]: counters of every channel, or the used slots of one."""

    name = "hv-channels"

    def run(self, words):
        co = coherency()
        if len(words) == 2:
            self.slots(self.channel(co, words[0], words[1]))
            return
        n = int(co["ncpus"])
        for p in range(n):
            for c in range(n):
                ch = self.channel(co, p, c)
                numbers = [atomic(ch[f]) for f in ("posts", "coalesces", "overflows", "drained")]
                if any(numbers):
                    print("%d -> %d  posts %d  coalesces %d  overflows %d  drained %d%s" % (
                        (p, c) + tuple(numbers) + ("  OVERFLOW SET" if atomic(ch["overflow"]) else "",)))

    @staticmethod
    def channel(co, producer, consumer):
        """A VM's square begins where its memory was taken, anywhere in the direct mapping."""
        return at(co["matrix"] + producer)[consumer]

    @staticmethod
    def slots(channel):
        first, last = channel["slot"].type.range()
        for i in range(first, last + 1):
            word = atomic(channel["slot"][i])
            if word:
                flags = [name for bit, name in ((52, "WHOLE"), (53, "DV"), (54, "USED")) if word >> bit & 1]
                print("slot %3d  gpa 0x%x  %s" % (i, word & ((1 << 52) - 1), " ".join(flags)))


class Trace(Command):
    """hv-trace GFN: the trace word of a guest frame and the word of its 2 MiB region."""

    name = "hv-trace"

    def run(self, words):
        co = coherency()
        gfn = words[0]
        if gfn >= int(co["nframes"]):
            raise gdb.GdbError("frames end at 0x%x" % int(co["nframes"]))
        word, region = atomic(at(co["frame"] + gfn)), atomic(at(co["region"] + (gfn >> 9)))
        print("gfn 0x%x  %s%s consumers %s  writers %s" % (
            gfn, "traced" if word >> 63 else "not traced", " unsync" if word >> 62 & 1 else "",
            cpus_in(word & CONSUMERS), cpus_in(word >> 31 & CONSUMERS)))
        print("region    registrations %d  writers %s" % (region >> 32, cpus_in(region & CONSUMERS)))


def subvmm(cpu):
    """The private state of a CPU."""
    if cpu >= int(gdb.parse_and_eval("cpu_count")):
        raise gdb.GdbError("CPUs are 0 to %d" % (int(gdb.parse_and_eval("cpu_count")) - 1))
    window = gdb.Value(PRIVATE).cast(gdb.lookup_type("struct subvmm").pointer())
    s = at(window, cpu)
    if int(s["vm"]) == 0:
        raise gdb.GdbError("CPU %d has not begun its loop yet" % cpu)
    return s


def state_of(s):
    return str(s["vcpu"]["state"]).replace("VCPU_", "").lower().replace("_", " ") + (" (paused)" if s["paused"] else "")


class Subvmms(Command):
    """hv-subvmms: every CPU's sub-VMM: state of the VCPU, where its guest is, entries, shadow pages."""

    name = "hv-subvmms"

    def run(self, words):
        for c in range(int(gdb.parse_and_eval("cpu_count"))):
            s = subvmm(c)
            v, m = s["vcpu"], s["mmu"]
            print("cpu %d  %-9s  rip %016x  cr3 %x  entries %d  shadow pages %d of %d" % (
                c, state_of(s), int(v["regs"]["rip"]), int(v["ctl"]["cr3"]), int(s["entries"]),
                int(m["npages"]) - int(m["nfree"]), int(m["npages"])))


class Vcpu(Command):
    """hv-vcpu [CPU]: registers and state of a VCPU, as its last exit left them; sets $guest_rip."""

    name = "hv-vcpu"

    def run(self, words):
        s = subvmm(words[0] if words else 0)
        v = s["vcpu"]
        gdb.set_convenience_variable("guest_rip", int(v["regs"]["rip"]))
        print("cpu %d  state %s  entries %d" % (int(v["cpu"]), state_of(s), int(s["entries"])))
        names = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split()
        for row in range(0, 16, 4):
            print("  ".join("%-3s %016x" % (names[i], int(v["regs"]["gpr"][i])) for i in range(row, row + 4)))
        print("rip %016x  rflags %x  cr2 %x" % tuple(int(v["regs"][f]) for f in ("rip", "rflags", "cr2")))
        print("cr0 %x  cr3 %x  cr4 %x  efer %x  cr8 %x" % tuple(int(v["ctl"][f]) for f in (
            "cr0", "cr3", "cr4", "efer", "cr8")))
        print("pending %s" % v["pending"])


class Vmcb(Command):
    """hv-vmcb [CPU]: the control block of a CPU."""

    name = "hv-vmcb"

    def run(self, words):
        cpu = words[0] if words else 0
        arch = at(subvmm(cpu)["vcpu"]["arch"].cast(gdb.lookup_type("struct svm_vcpu").pointer()), cpu)
        block = gdb.Value(int(arch["vmcb"])).cast(gdb.lookup_type("struct vmcb").pointer()).dereference()
        print(block.format_string(format="x", max_elements=8, pretty_structs=True))


class Shadow(Command):
    """hv-shadow [CPU]: retained roots, and shadow pages by level, of a CPU."""

    name = "hv-shadow"

    def run(self, words):
        cpu = words[0] if words else 0
        m = subvmm(cpu)["mmu"]
        levels, listed, sptes = {}, 0, 0
        for i in range(int(m["npages"])):
            page = at(m["sps"] + i, cpu)
            if page["used"]:
                level = int(page["level"])
                levels[level] = levels.get(level, 0) + 1
                listed += bool(page["listed"])
                sptes += int(page["npresent"])
        print("cpu %d  shadow pages %s  present sptes %d  writable %d  unsync listed %d" % (
            cpu, "  ".join("level %d: %d" % x for x in sorted(levels.items(), reverse=True)), sptes,
            int(m["rmap_used"]), listed))
        for i in range(int(m["nroots"])):
            slot = m["roots"][i]
            if int(slot["sp"]) != NONE32:
                page = at(m["sps"] + int(slot["sp"]), cpu)
                print("root %2d  asid %2d  of guest table 0x%x  role 0x%x  flushed at %d of %d downgrades%s" % (
                    i, i + 1, int(page["gfn"]["v"]) << 12, int(page["role"]), int(slot["clean_at"]),
                    int(m["downgrades"]), "  in use" if i == int(m["root"]) else ""))


class Walk(Command):
    """hv-walk ADDRESS [CPU]: the guest's tables beside the shadow tables, and where both lead."""

    name = "hv-walk"

    def run(self, words):
        va, cpu = words[0] & (1 << 64) - 1, words[1] if len(words) > 1 else 0
        m = subvmm(cpu)["mmu"]
        guest, shadow = self.guest(m, va), self.shadow(m, va, cpu)
        print("walk of %016x on cpu %d" % (va, cpu))
        for level in range(4, 0, -1):
            if level in guest or level in shadow:
                print("level %d  guest %s  shadow %s" % (level, "0x%016x" % guest[level] if level in guest else " " * 18,
                                                         "0x%016x" % shadow[level] if level in shadow else ""))
        print("guest:  " + self.result(guest, va, lambda gpa: "gpa 0x%x, hpa 0x%x" % (gpa, self.host(cpu, gpa))))
        print("shadow: " + self.result(shadow, va, "hpa 0x{:x}".format))

    @staticmethod
    def host(cpu, gpa):
        map_ = at(subvmm(cpu)["vm"])["p2m"]
        if gpa >> 21 >= int(map_["ngranules"]):
            return 0
        granule = int(at(map_["granule"] + (gpa >> 21)))
        return 0 if granule == NONE32 else granule << 21 | gpa & 0x1FFFFF

    def guest(self, m, va):
        """{level: entry}; a two-level guest's as 32 bits."""
        if not m["paged"]:
            return {}
        cpu, cr3 = int(m["cpu"]), int(m["regs"]["cr3"])
        if int(m["role"]) & ROLE_4B:
            top, bits, size, table = 2, 10, 4, cr3 & ~0xFFF
        else:
            top, bits, size, table = int(m["top"]), 9, 8, cr3 & FRAME
        entries = {}
        for level in range(top, 0, -1):
            index = va >> (12 + bits * (level - 1)) & ((1 << bits) - 1)
            if size == 8 and top == 3 and level == 3:
                e = int(m["pdpte"][index & 3])
            else:
                e = number(self.host(cpu, table) + index * size, size)
            entries[level] = e
            if not e & P or (level > 1 and e & PS and level < 4):
                break
            table = e & FRAME
        return entries

    @staticmethod
    def shadow(m, va, cpu):
        """{level: spte}."""
        entries = {}
        if int(m["root"]) == NONE32:
            return entries
        page = int(m["roots"][int(m["root"])]["sp"])
        for level in range(int(m["top"]), 0, -1):
            e = int(at(m["sptes"] + (page * 512 + (va >> (3 + 9 * level) & 511)), cpu))
            entries[level] = e
            if not e & P or level == 1 or e & PS:
                break
            page = ((e & FRAME) - int(m["cfg"]["pool_hpa"]["v"])) >> 12
        return entries

    @staticmethod
    def result(entries, va, where):
        """The page and the rights that all levels together grant."""
        if not entries:
            return "no tables"
        level = min(entries)
        if not entries[level] & P:
            return "not mapped"
        size = 12 + 9 * (level - 1) if max(entries) > 2 else (12 if level == 1 else 22)
        every = [e for k, e in entries.items() if not (max(entries) == 3 and k == 3)]
        rights = ("w" if all(e & W for e in every) else "-") + ("u" if all(e & U for e in every) else "-")
        rights += "-" if any(e & NX for e in every) else "x"
        return where(entries[level] & FRAME & ~((1 << size) - 1) | va & ((1 << size) - 1)) + "  " + rights


class Stats(Command):
    """hv-stats: every counter that is not zero, a column a CPU."""

    name = "hv-stats"

    def run(self, words):
        n = int(coherency()["ncpus"])
        table = gdb.parse_and_eval("hv_stats")
        for field in gdb.lookup_type("enum stat").fields():
            if field.name.startswith("STAT_COUNT"):
                break
            row = [atomic(table[c]["n"][int(field.enumval)]) for c in range(n)]
            if any(row):
                print("%-22s %s" % (field.name[len("STAT_"):], " ".join("%10d" % x for x in row)))


class Help(Command):
    """hv-help: this list."""

    name = "hv-help"

    def run(self, words):
        for command in COMMANDS:
            print(command.__doc__)


COMMANDS = (Cpus, Subvmms, Channels, Trace, Vcpu, Vmcb, Shadow, Walk, Stats, Help)
for made in COMMANDS:
    made()
