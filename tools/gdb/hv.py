# SPDX-License-Identifier: BSD-2-Clause
"""gdb commands for a running Patchbay: hv-cpus, hv-vcpu, hv-vmcb, hv-channels, hv-trace, hv-stats.
A CPU's private state can be read only while that CPU runs the hypervisor: `thread N`, then a breakpoint such as
`hbreak svm_run` or `hbreak subvmm_park`. Tested by `make gdb`."""
import gdb

PRIVATE = 0xFFFFC00000000000  # LAYOUT_PRIVATE_BASE
CONSUMERS = (1 << 31) - 1


def coherency():
    pointer = gdb.parse_and_eval("hv_coherency")
    if int(pointer) == 0:
        raise gdb.GdbError("hv_main has not run yet")
    return pointer.dereference()


def atomic(value):
    """A C11 atomic as a number: gdb shows the qualified type as itself."""
    return int(value.cast(value.type.unqualified()))


def cpus_in(bits):
    return ",".join(str(c) for c in range(31) if bits >> c & 1) or "none"


class Command(gdb.Command):
    """Registers itself under its class attribute `name`."""

    def __init__(self):
        super().__init__(self.name, gdb.COMMAND_USER)


class Cpus(Command):
    """hv-cpus: mode, pending, action and storing word of every CPU."""

    name = "hv-cpus"

    def invoke(self, arg, from_tty):
        co = coherency()
        modes = ["offline", "host", "guest", "halted"]
        for c in range(int(co["ncpus"])):
            s = co["cpu"][c]
            print("cpu %d  mode %-7s  pending from %s  action 0x%x  storing 0x%x" % (
                c, modes[atomic(s["mode"])], cpus_in(atomic(s["pending"])), atomic(s["action"]), atomic(s["storing"])))


class Channels(Command):
    """hv-channels [PRODUCER CONSUMER]: counters of every channel, or the used slots of one."""

    name = "hv-channels"

    def invoke(self, arg, from_tty):
        co = coherency()
        words = arg.split()
        if len(words) == 2:
            self.slots(co["matrix"][int(words[0])][int(words[1])])
            return
        n = int(co["ncpus"])
        for p in range(n):
            for c in range(n):
                ch = co["matrix"][p][c]
                numbers = [atomic(ch[f]) for f in ("posts", "coalesces", "overflows", "drained")]
                if any(numbers):
                    print("%d -> %d  posts %d  coalesces %d  overflows %d  drained %d%s" % (
                        (p, c) + tuple(numbers) + ("  OVERFLOW SET" if atomic(ch["overflow"]) else "",)))

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

    def invoke(self, arg, from_tty):
        co = coherency()
        gfn = int(gdb.parse_and_eval(arg))
        if gfn >= int(co["nframes"]):
            raise gdb.GdbError("frames end at 0x%x" % int(co["nframes"]))
        word, region = atomic(co["frame"][gfn]), atomic(co["region"][gfn >> 9])
        print("gfn 0x%x  %s%s consumers %s  writers %s" % (
            gfn, "traced" if word >> 63 else "not traced", " unsync" if word >> 62 & 1 else "",
            cpus_in(word & CONSUMERS), cpus_in(word >> 31 & CONSUMERS)))
        print("region    registrations %d  writers %s" % (region >> 32, cpus_in(region & CONSUMERS)))


def subvmm():
    pointer = gdb.Value(PRIVATE).cast(gdb.lookup_type("struct subvmm").pointer())
    try:
        pointer["cpu"].fetch_lazy()
    except gdb.MemoryError:
        raise gdb.GdbError("this CPU's private window is not mapped now (in the guest, or too early)") from None
    return pointer.dereference()


class Vcpu(Command):
    """hv-vcpu: registers and state of the VCPU of the selected thread's CPU."""

    name = "hv-vcpu"

    def invoke(self, arg, from_tty):
        v = subvmm()["vcpu"]
        print("cpu %d  state %s  entries %d" % (int(v["cpu"]), v["state"], int(subvmm()["entries"])))
        names = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split()
        for row in range(0, 16, 4):
            print("  ".join("%-3s %016x" % (names[i], int(v["regs"]["gpr"][i])) for i in range(row, row + 4)))
        print("rip %016x  rflags %x  cr2 %x" % tuple(int(v["regs"][f]) for f in ("rip", "rflags", "cr2")))
        print("cr0 %x  cr3 %x  cr4 %x  efer %x  cr8 %x" % tuple(int(v["ctl"][f]) for f in (
            "cr0", "cr3", "cr4", "efer", "cr8")))
        print("pending %s" % v["pending"])


class Vmcb(Command):
    """hv-vmcb: the control block of the selected thread's CPU."""

    name = "hv-vmcb"

    def invoke(self, arg, from_tty):
        arch = subvmm()["vcpu"]["arch"].cast(gdb.lookup_type("struct svm_vcpu").pointer())
        print(arch["vmcb"].dereference().format_string(format="x", max_elements=8))


class Stats(Command):
    """hv-stats: every counter that is not zero, a column a CPU."""

    name = "hv-stats"

    def invoke(self, arg, from_tty):
        n = int(coherency()["ncpus"])
        table = gdb.parse_and_eval("hv_stats")
        for field in gdb.lookup_type("enum stat").fields():
            if field.name.startswith("STAT_COUNT"):
                break
            row = [atomic(table[c]["n"][int(field.enumval)]) for c in range(n)]
            if any(row):
                print("%-22s %s" % (field.name[len("STAT_"):], " ".join("%10d" % x for x in row)))


for command in (Cpus, Channels, Trace, Vcpu, Vmcb, Stats):
    command()
