# SPDX-License-Identifier: BSD-2-Clause
"""Steps with a debugger: the commands of tools/gdb/hv.py on a running Linux, and machines that gdb damages before
they start: a processor in the firmware's tables that does not exist, one that hangs in the hypervisor.
Tested by being the gdb group of `make check`."""
import os
import re

from pblib.consoles import Machine
from pblib.linux import OUT
from pblib.steps import HEAVY, IMAGE, Step

COMMANDS = [  # command, what it must print
    ("hv-help", r"hv-walk ADDRESS \[CPU\]: "),
    ("hv-cpus", r"cpu 1  mode (host|guest|halted) +pending from "),
    ("hv-subvmms", r"cpu 0  running +rip [0-9a-f]{16}  cr3 [1-9a-f](?s:.*)cpu 1  \w+ .*entries [1-9]\d*  shadow pages [1-9]"),
    ("hv-vcpu 1", r"cpu 1  state \w+(?s:.*)cr0 8005003[0-9a-f]  cr3 [1-9a-f]"),
    ("hv-vcpu 0", r"rax [0-9a-f]{16}(?s:.*)rip ([0-9a-f]{16})  rflags"),
    ("hv-walk $guest_rip", r"walk of ffffffff[0-9a-f]{8} on cpu 0(?s:.*)"
                           r"guest:  gpa 0x[0-9a-f]+, hpa (0x[0-9a-f]+)  .-x\nshadow: hpa (0x[0-9a-f]+)  .-x"),
    ("hv-walk 0x9 1", r"walk of 0000000000000009 on cpu 1(?s:.*)guest:  not mapped\nshadow: not mapped"),
    ("hv-shadow 1", r"level 4: \d+  level 3: \d+ (?s:.*)root +\d+  asid .*  in use"),
    ("hv-channels", r"0 -> 1  posts [1-9](?s:.*)1 -> 0  posts [1-9]"),
    ("hv-channels 0 1", r""),
    ("hv-trace 0x1000", r"gfn 0x1000  (not )?traced.*\nregion    registrations \d+"),
    ("hv-vmcb 1", r"intercept_cr_write = 0x[1-9a-f]"),
    ("hv-stats", r"faults_hidden +[1-9]\d* +[1-9]"),
    ("hv-vcpu 7", r"CPUs are 0 to 1"),
]
FIRST = 'echo command %d\\n'


def commands(results):
    """Linux is powering off: every table is there. Each command in turn, as `make gdb` offers it."""
    script = ["hbreak vm_end", "continue"]
    for i, (command, _) in enumerate(COMMANDS):
        script += [FIRST % i, command]
    script.append(FIRST % len(COMMANDS))
    run = ["make", "--no-print-directory", "O=" + OUT, "gdb", "SMP=2", "DIRECT=1", "NAME=check-gdb",
           "APPEND=console=ttyS0 pb.script=boot"]
    text = results.command(run, 600, {"GDB_COMMANDS": ";".join(script)})
    for i, (command, pattern) in enumerate(COMMANDS):
        said = text.partition("command %d\n" % i)[2].partition("command %d\n" % (i + 1))[0]
        match = re.search(pattern, said)
        results.expect(match and "Python Exception" not in said, "%s says: %s" % (command, said.strip()[:200]))
        if match and "$guest_rip" in command:
            results.expect(match.group(1) == match.group(2), "guest and shadow lead to different pages")


def debug(name, script, **fields):
    """A stopped Machine, and gdb's commands run on it; they detach at their end."""
    m = Machine(name, extra=("-S", "-gdb", "unix:%s,server=on,wait=off" % os.path.join(OUT, name + ".socket")), **fields)
    path = os.path.join(OUT, name + ".gdb")
    while not os.path.exists(os.path.join(OUT, name + ".socket")) and m.child.poll() is None:
        m.pump()
    with open(path, "w", encoding="ascii") as f:
        f.write("set pagination off\nset architecture i386:x86-64\ntarget remote %s\n%s\n"
                % (os.path.join(OUT, name + ".socket"), script))
    return m, path


def gdb(results, path, timeout=300):
    return results.command(["gdb", "-q", "-batch", "-x", path, os.path.join(OUT, "patchbay.elf")], timeout)


def done(m, name):
    m.close()
    for suffix in (".socket", ".gdb"):
        if os.path.exists(os.path.join(OUT, name + suffix)):
            os.remove(os.path.join(OUT, name + suffix))


# The firmware's MADT has an entry for each processor that could be plugged in, not enabled. One of them becomes so.
GHOST = r"""hbreak boot_main
continue
python
import struct
memory = gdb.selected_inferior()
at = 0x1f000000
while True:
    at = memory.search_memory(at, 0x20000000 - at, b"APIC")
    size, = struct.unpack("<I", memory.read_memory(at + 4, 4).tobytes())
    table = bytearray(memory.read_memory(at, min(size, 4096)).tobytes()) if size >= 44 else b""
    if len(table) == size and sum(table) % 256 == 0:
        break
    at += 4
entry = 44
while not (table[entry] == 0 and table[entry + 4] == 0):  # a local APIC, flags 0
    entry += table[entry + 1]
table[entry + 4] = 1
table[9] = (table[9] - 1) % 256
memory.write_memory(at, bytes(table))
print("ghost: APIC id", table[entry + 3])
end
delete
detach"""


def ghost(results):
    """A processor that the firmware names does not start: it is named, and Linux runs on the others."""
    m, path = debug("ghost", GHOST, smp="3,maxcpus=4", mem=512, kernel=os.path.join(OUT, "cache/vmlinuz"),
                    initrd=os.path.join(OUT, "initrd.gz"), append="console=ttyS0 pb.script=boot")
    try:
        results.expect("ghost: APIC id 3" in gdb(results, path), "the table was not changed")
        results.expect(m.expect("patchbay: guest powered off"), "Linux does not run to its end")
        for text in (r"CPU with APIC id 3 did not start: left out; switch the machine off and on",
                     r"4 CPUs wanted, 3 run: the guest gets those", r"check: CPUs +3 of 4 run", r"VM 0: 3 CPUs",
                     r"pb: nproc 3\n", r"pb: session ok"):
            results.expect(re.search(text, m.text), "nothing says '%s'" % text)
    finally:
        done(m, "ghost")


# CPU 0, caught between an exit and its handling, stays for ever in a loop written over code that has done its work.
HANG = """hbreak exit_dispatch thread 1
continue
delete
set {unsigned short}boot_entry32 = 0xfeeb
set $rip = boot_entry32
set $eflags = 2
detach"""


def hang(results):
    """CPU 0 hangs in the hypervisor with interrupts off: CPU 1 says so, reads the keys, and its monitor answers."""
    m, path = debug("hang", HANG, smp=2, hv="console=com1")
    try:
        # Stopped before its first instruction: the breakpoint can be set at once.
        gdb(results, path)
        results.expect(m.expect(r"watch: cpu0 has been in the hypervisor for 5 s; an NMI finds it in boot_entry32"
                                r".*; cpu1 reads the consoles from now on"), "nobody says that CPU 0 hangs")
        m.send("\x14\x14c")
        results.expect(m.expect(r"patchbay monitor: h for help"), "the monitor does not open")
        results.expect(m.expect(r"cpu0  DOES NOT ANSWER \(waited 2 s\)\n *an NMI finds it in boot_entry32"), "who hangs?")
        results.expect(m.expect(r"cpu1  waits for SIPI"), "CPU 1 does not answer itself")
        m.send("Ryes\r")
        results.expect(m.ended() == 0, "the monitor does not reset the machine")
    finally:
        done(m, "hang")


STEPS = [
    Step("gdb/commands", commands, IMAGE, shares=("make",), packages=("gdb",)),
    Step("gdb/ghost-cpu", ghost, IMAGE, HEAVY, packages=("gdb",)),
    Step("gdb/hung-cpu", hang, IMAGE, packages=("gdb",)),
]
