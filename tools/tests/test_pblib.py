#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of tools/pblib: KTAP, console complaints, statistics, GRUB quoting, the step runner, lint rules, end of runs.
Run by the unit group of tools/check.py."""
import bz2
import gzip
import lzma
import os
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from pblib import config, emu, iso, kernels, ktap, lint, linuxlog, models, registers, session, steps, vms  # pylint: disable=wrong-import-position

count, bad = 0, 0


def ok(condition, name):
    global count, bad
    count += 1
    bad += not condition
    print("%sok %d - %s" % ("" if condition else "not ", count, name))


def skip(name, why):
    global count
    count += 1
    print("ok %d - %s # SKIP %s" % (count, name, why))


def test_kernels():
    ok(config.kernel_words("a/b.bin role=raw addr=0x8000") == ("a/b.bin", "role=raw addr=0x8000"), "KERNEL= with words")
    ok(config.kernel_words("vmlinuz") == ("vmlinuz", "role=linux"), "KERNEL= without")
    with tempfile.TemporaryDirectory() as folder:
        plain, packed, out = (os.path.join(folder, n) for n in ("plain", "packed", "out"))
        for pack in (gzip.compress, lzma.compress):
            with open(packed, "wb") as f:
                f.write(pack(b"kernel"))
            ok(kernels.decompressed(packed, out) == out and open(out, "rb").read() == b"kernel", "a compressed kernel")
        with open(plain, "wb") as f:
            f.write(b"MZ")
        ok(kernels.decompressed(plain, out) == plain, "one that is not stays as it is")
        with open(packed, "wb") as f:
            f.write(gzip.compress(b"kernel")[:-9])
        try:
            ok(kernels.decompressed(packed, out) is None, "a damaged one is refused")
        except SystemExit as e:
            ok("damaged" in str(e), "a damaged one is refused")


def bzimage(payload):
    """A bzImage of one set-up sector and a payload."""
    image = bytearray(1024)
    image[0x1F1] = 1
    struct.pack_into("<II", image, 0x248, 16, len(payload))
    return bytes(image) + bytes(16) + payload


def test_vmlinux():
    kernel = b"\x7fELF" + bytes(range(256)) * 300
    size = struct.pack("<I", len(kernel))
    packers = [("gzip", gzip.compress, b""), ("xz", lzma.compress, size), ("bzip2", bz2.compress, size),
               ("lzma", lambda data: lzma.compress(data, lzma.FORMAT_ALONE), size)]
    for args in (["zstd", "-q"], ["lz4", "-l"], ["lz4"], ["lzop", "-9"]):
        def packer(data, args=args):
            return subprocess.run(args + ["-c"], input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
        if shutil.which(args[0]):
            packers.append((" ".join(args), packer, size))
        else:
            packers.append((" ".join(args), None, size))
    for name, pack, end in packers:
        if pack is None:
            skip("a kernel packed by " + name, "not installed")
            continue
        try:
            ok(kernels.vmlinux(bzimage(pack(kernel) + end)) == kernel, "a kernel packed by %s comes out of its bzImage" % name)
        except kernels.Damaged as e:
            ok(False, "a kernel packed by %s comes out of its bzImage: %s" % (name, e))
    for text, payload in (("unknown", b"other!" + size), ("as many", lzma.compress(kernel) + b"1234"), ("", lzma.compress(kernel)[:-9] + size),
                          ("", b"\x28\xb5\x2f\xfd" + size)):
        try:
            ok(kernels.vmlinux(bzimage(payload)) is None, "damage is said")
        except kernels.Damaged as e:
            ok(text in str(e), "damage is said: %s" % e)
    saved, shutil.which = shutil.which, lambda name: None
    try:
        kernels.unpacker_of(b"\x28\xb5\x2f\xfd")(b"")
        ok(False, "what is not installed is named")
    except kernels.Damaged as e:
        ok("install the package zstd" in str(e), "what is not installed is named")
    finally:
        shutil.which = saved


def test_ktap():
    good = ktap.parse("KTAP version 1\n1..3\nok 1 - a\n# note\nok 2 - b # SKIP one CPU\nok 3 c\n")
    ok(good.ok and good.passed == ["a", "c"] and good.skipped == ["b"], "passes and skips are told apart")
    ok(ktap.parse("1..2\nok 1 a\nnot ok 2 - b\n").failed == ["b"], "a failure is named")
    ok(not ktap.parse("1..2\nok 1 a\n").ok, "a missing test is a failure")
    ok(not ktap.parse("ok 1 a\n").ok, "no plan is a failure")
    ok(not ktap.parse("1..0\n").ok, "an empty plan is a failure")
    ok(not ktap.parse("1..1\nok 1 a\nBail out! lost\n").ok, "a bail out is a failure")
    ok(ktap.parse("ok 1 a\nok 2 b\n1..2\n").ok, "the plan may come last")


def test_linux():
    bad_lines = [
        "[    0.1] tsc: Marking TSC unstable due to check_tsc_sync_source failed",
        "[    0.1] smpboot: do_boot_cpu failed(-1) to wakeup CPU#1",
        "[    0.1] ..MP-BIOS bug: 8254 timer not connected to IO-APIC",
        "[    0.1] APIC calibration not consistent with PM-Timer: 1ms instead of 100ms; calibration fails",
        "[    1.0] watchdog: BUG: soft lockup - CPU#2 stuck for 22s!",
        "[    1.0] irq 4: nobody cared (try booting with the \"irqpoll\" option)",
        "[    1.0] clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable",
        "[    1.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "[    1.0] mtrr: your CPUs had inconsistent MTRRdefType settings",
        "[    1.0] a.out[77]: segfault at 0 ip 0 sp 0 error 4",
        "[    3.8] PM-Timer running at invalid rate: 231% of normal - aborting.",
        "[    3.8] PM-Timer running at invalid rate: 50% of normal - aborting.",
        "[    1.7] PM-Timer had inconsistent results: 0x5fcfa3, 0x1367 - aborting.",
        "[    1.7] PM-Timer had inconsistent results: 0xffcfa3, 0xff1367 - aborting.",
        "[    1.7] PM-Timer had no reasonable value.",
    ]
    for line in bad_lines:
        ok(linuxlog.complaints([line]) == [line], "a complaint: " + line[13:60])
    fine = ["[    0.0] ACPI: Early table checksum verification disabled",
            "[    0.2] tsc: Fast TSC calibration using PIT", "[    0.3] smp: Brought up 1 node, 4 CPUs",
            "[    0.1] tsc: Refined TSC clocksource calibration: 2449.999 MHz", "[    0.1] smpboot: Max logical packages: 1",
            "[    0.1] ACPI: PM-Timer IO Port: 0x608", "[    0.1] APIC: Switch to symmetric I/O mode setup",
            "[    3.8] PM-Timer running at invalid rate: 131% of normal - aborting.",
            "[    1.7] PM-Timer had inconsistent results: 0xffcfa3, 0x1367 - aborting.",  # a wrap
            "pb: irq: SPU: 0 0 Spurious interrupts"]
    for line in fine:
        ok(not linuxlog.complaints([line]), "no complaint: " + line[13:60])
    athlon = ["[    0.2] smpboot: CPU0: AMD QEMU TCG CPU version 2.5+ (family: 0x6, model: 0x6, stepping: 0x3)",
              "[    0.8] WARNING: This combination of AMD processors is not suitable for SMP.",
              "[    0.8] WARNING: CPU: 1 PID: 0 at arch/x86/kernel/cpu/amd.c:355 init_amd+0x9aa/0xa20", "[    0.8] Call Trace:",
              "[    0.8] ---[ end trace 0000000000000000 ]---"]
    again = [line for line in athlon[1:] if "WARNING: CPU" in line or "Call" in line]
    ok(not linuxlog.complaints(athlon), "no complaint: QEMU 10's processor is an Athlon to a 32-bit kernel")
    ok(linuxlog.complaints(athlon + again) == again, "a complaint: the same without that reason")
    ok(linuxlog.complaints(athlon[1:]) == again, "a complaint: the same of another processor")


def stats_of(**changes):
    total = dict(audit_findings=0, parked=0, fill_single=9, audits=3, traced_writes=5, trace_installs=4, posts=7, drains=6,
                 patches_applied=5, doorbells=2, skips=1, unsync_in=1, unsync_reread=1, derived_used=0, fill_large=3, fill_batch=2,
                 patches_postponed=1)
    total.update(changes)
    return {"total": total, "cpus": []}


def test_stats():
    def problems(options, ncpus, **changes):
        return linuxlog.check_stats(stats_of(**changes), options, ncpus)

    ok(not problems({"audit": "2"}, 4), "healthy statistics")
    ok(problems({}, 4, audit_findings=1), "an audit finding is a problem")
    ok(problems({}, 4, parked=1), "a parked VCPU is a problem")
    ok(problems({}, 4, posts=0) and not problems({}, 1, posts=0), "no posts: a problem with several CPUs only")
    ok(problems({"audit": "1"}, 4, audits=0), "an audit that never ran is a problem")
    ok(problems({"unsync": "off"}, 4) and not problems({"unsync": "off"}, 4, unsync_in=0),
       "unsync=off means that no leaf table goes unsync")
    ok(problems({"mmu": "ref"}, 4) and not problems({"mmu": "ref"}, 4, trace_installs=0, posts=0, audits=0),
       "mmu=ref means no traces and no patches")
    ok(problems({"interest": "off"}, 4) and not problems({"interest": "off"}, 4, skips=0), "interest=off means no skips")
    ok(problems({"fresh": "off"}, 4, fresh=1) and not problems({"fresh": "off"}, 4), "fresh=off means no fresh tables")
    some = stats_of(reloads=1, dying=2)
    ok(linuxlog.unforeseen(some, {}) == ["fresh"] and not linuxlog.unforeseen(some, {"unsync": "off"}) and
       not linuxlog.unforeseen(stats_of(), {"mmu": "ref"}), "what should happen and never does is named")
    ok(linuxlog.check_stats(None, {}, 1) and linuxlog.check_stats({"error": "x"}, {}, 1), "no statistics is a problem")
    ok(linuxlog.total({"cpus": [{"posts": 2}, {"posts": 3}]}, "posts") == 5, "counters are summed over CPUs")


def test_grub():
    ok(iso.quote("a=b it's $x") == "'a=b' 'it'\\''s' '$x'", "words are quoted for GRUB")
    modules = iso.modules_of("k", "i", "console=ttyS0", "x role=y z=1, w")
    ok(modules == [("k", "role=linux -- console=ttyS0"), ("i", "role=initrd"), ("x", "role=y z=1"), ("w", "")],
       "MODULES= is files with strings")
    entry = iso.grub_entry("T", "audit=2", [("k", "role=linux -- a"), ("i", "role=initrd")], "b c")
    ok("module2 /boot/k 'role=linux' '--' 'b' 'c'" in entry and "'role=initrd'" in entry, "an entry replaces the command line")


def test_vms():
    modules = vms.modules_of("a:cpus=0+2,virtio=rng+net2,pci=03:00.0+00:1f.2,append=x+y b:kernel=k", "o", "z")
    ok(modules[0] == ("o/cache/vmlinuz", "vm=a cpus=0+2 virtio=rng,net2 pci=03:00.0,00:1f.2 role=linux -- x y") and
       modules[1:] == [("o/initrd.gz", "vm=a role=initrd"), ("k", "vm=b role=linux -- z")], "VMS= is modules with their VMs")
    modules = vms.modules_of("a:kernel=k,disk=d+ro b:kernel=debian,virtio=net", "o", "z")
    ok(modules[1] == ("d", "vm=a role=disk ro") and modules[2][1].endswith("ip=10.0.0.2:::255.255.255.0:b::off") and
       "systemd.hostname=b" in modules[2][1] and [os.path.splitext(m[0])[1] for m in modules[2:]] == [".vmlinuz", ".initrd", ".ext4"],
       "disks follow, Debian's with its kernel, its name and an address")
    try:
        vms.modules_of("a:cpu=1", "o", "")
        ok(False, "an unknown word of VMS= is refused")
    except vms.Wrong as problem:
        ok("virtio=" in str(problem), "an unknown word of VMS= is refused, with those that there are")
    for line, word in ((":cpus=1", "name"), ("a/b:cpus=1", "name"), ("abcdefghijklmnop:", "up to 15"), ("a:mem=1G a:mem=2G", "twice")):
        try:
            vms.modules_of(line, "o", "")
            ok(False, line + " is refused")
        except vms.Wrong as problem:
            ok(word in str(problem), line + " is refused: " + str(problem))
    ok(vms.made_of("a: b:kernel=686-pae c:kernel=debian d:kernel=o/cache/no,initrd=k", "o") ==
       ["o/cache/vmlinuz", "o/cache/vmlinuz-686-pae", "o/initrd-i386.gz", "o/initrd.gz"] +
       [vms.debian("o") + "." + e for e in ("ext4", "initrd", "vmlinuz")] and vms.made_of("a:cpu=1", "o") == [],
       "make is asked for what it has a rule for")
    ok("686-pea" in vms.missing("a:kernel=686-pea", "/") and "686-pae" in vms.missing("a:kernel=686-pea", "/") and
       vms.missing("a:kernel=%s,initrd=%s" % (__file__, __file__), "/") == "", "a file that is not there is named, with the short names")


def test_runner():
    with tempfile.TemporaryDirectory() as logs:
        order, lines = [], []

        def action(name, good):
            def run(results):
                order.append(name)
                results.expect(good, name + " went wrong")
            return run

        def crash(_results):
            raise ValueError("boom")

        def nothing(_results):
            pass

        runner = steps.Runner([steps.Step("b/two", action("two", True), ("a/one",)),
                               steps.Step("a/one", action("one", True), weight=steps.ALONE),
                               steps.Step("c/bad", action("bad", False)),
                               steps.Step("c/after", action("after", True), ("c/bad",)),
                               steps.Step("d/crash", crash), steps.Step("d/none", nothing)], logs, 2, lines.append)
        good = runner.run()
        ok(order.index("one") < order.index("two"), "a step waits for what it needs")
        ok("after" not in order, "a step whose need failed is not run")
        ok(not good and runner.passed == 2 and runner.failed == 4, "failures, crashes and empty steps all count")
        ok(any(line.startswith("FAILED c/bad") for line in lines), "a failed step says so")


def test_session():
    def judge(lines, **fields):
        s = session.Session(config.Run(**fields))
        s._start = 0  # pylint: disable=protected-access
        for line in lines:
            s._line(line)  # pylint: disable=protected-access
        return s

    ok(judge(["x", "patchbay: guest powered off"]).status == session.OK, "power-off is success")
    ok(judge(["patchbay: panic: why", "patchbay: guest powered off"]).status == session.PANIC, "a panic is not undone")
    ok(judge(["[2] vcpu: patchbay: parked: CPU 2: why"]).status == session.PARKED, "a parked VCPU")
    ok(judge(["patchbay: guest reset"], test=True).status == session.RESET, "a reset with TEST=1")
    ok(judge(["patchbay: guest reset"]).status is None, "a reset without it")
    s = judge(['patchbay-stats: {"total":{"posts":3}}', "patchbay-stats: {broken"])
    ok(s.stats[0]["total"]["posts"] == 3 and "error" in s.stats[1], "statistics lines are parsed")
    s._partial = "\r\x1b[6npatchbay:/# \x1b[6n"  # pylint: disable=protected-access
    ok(s.at_prompt(), "the shell's prompt is recognised")
    s.interactive = True
    keys = s._keys  # pylint: disable=protected-access
    ok(keys(b"ab\x01") == b"ab" and keys(b"\x01") == b"\x01" and keys(b"h") == b"\x01h", "Ctrl-A goes through")
    ok(keys(b"\x01x") == b"" and s.status == session.OK, "Ctrl-A x quits")


def test_hung_session():
    """What the monitor says of a machine that hangs is read though the guest prints into it."""
    s = session.Session(config.Run(smp=1))
    answers = {b"c": ["acpu0  running  64-bit"], b"e0\r": ["   cpu0  105257 us ago  exit  IO", "[    1.0] cpu0  9 us ago  exit  HLT"]}

    def send(key):
        s.lines += answers.get(key, ["patchbay> "])  # pylint: disable=protected-access
        s._partial = "[  patchbay> " if key == b"m" else "patchbay> [ 1.0"  # pylint: disable=protected-access

    s._send, s._step = send, lambda: False  # pylint: disable=protected-access
    text = s._monitor_text()  # pylint: disable=protected-access
    ok(text.splitlines()[1:] == ["  cpu0  running  64-bit", "  cpu0  105257 us ago  exit  IO", "  cpu0  9 us ago  exit  HLT"],
       "a hung machine's CPUs: %s" % text.replace("\n", "|"))
    s.lines += ["[0] main: VM 0 work: 2 CPUs, 400 MiB of RAM", "[0] main: VM 1 b: 1 CPUs, 400 MiB of RAM"]
    keys = b"".join(s._monitor_keys())  # pylint: disable=protected-access
    ok(keys == b"\x14\x14vwork\rmsce0\re1\rvb\rmsce0\r", "of two VMs each is asked: %s" % keys)


def test_choice():
    all_of = [steps.Step(name, None) for name in
              ("guest/bare-1", "guest/bare-16", "guests/rt", "guests/xen", "linux/full-4", "linux/full-8", "lint/docs")]

    def names(*words):
        return [s.name for s in steps.choose(all_of, words)]

    ok(names("guest") == ["guest/bare-1", "guest/bare-16"], "a group is not another one that begins like it")
    ok(names("guests") == ["guests/rt", "guests/xen"], "the other one")
    ok(names("guest/bare-1") == ["guest/bare-1"], "a step is not another one that begins like it")
    ok(names("guest/bare", "linux/fu") == ["guest/bare-1", "guest/bare-16", "linux/full-4", "linux/full-8"], "beginnings of names")
    ok(names("guest/") == ["guest/bare-1", "guest/bare-16"] and len(names()) == 7, "a whole group, and all")


def test_skips():
    """What cannot be checked here is counted and said; what a distribution has and is not installed is no skip."""
    with tempfile.TemporaryDirectory() as out:
        with open(os.path.join(out, "missing-packages"), "w", encoding="ascii") as f:
            f.write("spin\nbochs\n")
        said, done = [], []
        runner = steps.Runner([steps.Step("a/no", done.append, packages=("spin", "gdb")),
                               steps.Step("a/yes", lambda r: r.expect(True, ""), packages=("gdb",)),
                               steps.Step("a/late", lambda r: steps.needs_package(out, "bochs"))],
                              os.path.join(out, "logs"), emit=said.append)
        good, text = runner.run(), "\n".join(said)
        ok(good and not done and (runner.passed, runner.failed, runner.skipped) == (1, 0, 2), "skips are counted")
        ok("skipped: this distribution has no package spin" in text and "no package bochs" in text and "skip   a/no" in text,
           "skips are said")
    with tempfile.TemporaryDirectory() as out:
        os.makedirs(out + "/cache/unpacked")
        os.symlink("nowhere", out + "/cache/unpacked/dangling")
        for _ in range(2):  # a second time finds what the first one left
            again = steps.second_folder(out)
            ok(os.path.islink(again + "/cache/unpacked/dangling") and len(os.listdir(again)) == 1, "what was fetched is shared")
        shutil.rmtree(again)
        ok(os.path.islink(out + "/cache/unpacked/dangling"), "and outlives the second folder")


def test_session_ends():
    """Real children in the emulator's place."""
    with tempfile.TemporaryDirectory() as out:
        def end_of(script, **fields):
            saved = emu.qemu_args
            emu.qemu_args = lambda run: ["sh", "-c", script]
            try:
                s = session.Session(config.Run(out=out, **fields))
                return s.run(), s
            finally:
                emu.qemu_args = saved

        ok(end_of("echo 'patchbay: guest powered off'")[0] == session.OK, "a run that powers off ends with 0")
        ok(end_of("echo hello")[0] == session.ENDED, "an emulator that just ends is a failure")
        ok(end_of("exit 33")[0] == 33, "a guest's own status is passed through")
        ok(end_of("exit 1")[0] == session.ENDED, "the emulator's own status 1 is not a guest's")
        said = []
        for script, expected in (("echo start; sleep 2; echo 'patchbay: guest powered off'", [0.5]),
                                 ("printf 'patchbay:~# '; sleep 2; echo; echo 'patchbay: guest powered off'", []),
                                 ("printf 'patchbay> '; sleep 2; echo; echo 'patchbay: guest powered off'", [])):
            emu_args, emu.qemu_args = emu.qemu_args, lambda run, script=script: ["sh", "-c", script]
            session.Session(config.Run(out=out, silence=0.5), silent=said.append).run()
            emu.qemu_args = emu_args
            ok(said == expected, "silence is said once, and not while a prompt waits: %s" % script.split(";")[0])
            said.clear()
        session.MONITOR_SECONDS = 1
        silent = end_of("echo start; sleep 60", timeout=1)
        ok(silent[0] == session.TIMEOUT and "monitor does not answer" in silent[1].reason, "a run that does not end")
        status, s = end_of("echo error >&2; exit 3", bare=True)
        ok(status == 3 or "error" in s.reason, "what the emulator says is kept")


def test_lint():
    ok(lint.layer_of("hv/base/log.h") < lint.layer_of("hv/mmu/mmu.h") < lint.layer_of("hv/main.h"), "order of rooms")
    ok(lint.layer_of("hv/vdev/vbus.c") < lint.layer_of("hv/vdev/pc/vpc.h") < lint.layer_of("hv/vm/vm.h"),
       "a room inside a folder has a place of its own")
    saved = lint.tracked, lint.read
    files = {"hv/mmu/a.c": '#include "hv/mon/mon.h"\n', "hv/mem/b.c": '#include "arch-x86/cpu/asm.h"\n',
             "hv/vm/c.c": '#include "arch-x86/defs/x86.h"\nvoid f(void){ __asm__ volatile("nop"); }\n',
             "hv/vcpu/d.c": '#include "hv/mmu/mmu.h"\n', "arch-x86/cpu/e.c": '#include "boot/x.h"\n',
             "hv/vcpu/f.c": '#include "hv/emulate/emulate.h"\n', "hv/vm/tables/g.c": '#include "hv/vm/load/load.h"\n',
             "hv/vm/load/h.c": '#include "hv/vm/tables/tables.h"\n', "hv/vdev/i.c": '#include "hv/vdev/pc/vpc.h"\n',
             "hv/attic/j.c": "\n"}
    try:
        lint.tracked = lambda *suffixes: sorted(files)
        lint.read = files.get
        found = " ".join(lint.layers(""))
        ok("hv/mmu/a.c" in found and "hv/mem/b.c" in found, "an include to the right is found")
        ok("hv/vm/c.c: assembly" in found and "hv/vm/c.c includes" not in found, "assembly in hv is found, defs are allowed")
        ok("hv/vcpu/d.c" not in found and "arch-x86/cpu/e.c" in found, "an include to the left is fine")
        ok("hv/vcpu/f.c" in found and "hv/vm/tables/g.c" in found and "hv/vdev/i.c" in found and
           "hv/vm/load/h.c" not in found, "an include of a later room is found, inside a folder too")
        ok("hv/attic has no place" in found, "a room without a place in the order is found")
        ok(len(lint.spdx("")) == len(files), "a missing SPDX line is found")
    finally:
        lint.tracked, lint.read = saved


def test_calls():
    symbols = {"hv/vcpu/cr.c": ({"cr_write"}, {"mmu_cr3", "emulate_insn", "memcpy"}), "hv/mmu/event.c": ({"mmu_cr3"}, {"cr_write"}),
               "hv/emulate/emulate.c": ({"emulate_insn"}, {"cr_write"}), "hv/main.c": ({"main_vm"}, {"emulate_insn"})}
    found = lint.call_problems(symbols)
    ok(len(found) == 2 and "hv/mmu/event.c uses cr_write of hv/vcpu/cr.c" in found[0] and
       "hv/vcpu/cr.c uses emulate_insn of hv/emulate/emulate.c" in found[1], "a call to a later room is found, others are fine")
    saved = dict(lint.CALLS)
    lint.CALLS[("hv/mmu/event.c", "cr_write")] = "a test"
    ok(len(lint.call_problems(symbols)) == 1, "... but where a reason is given")
    lint.CALLS.clear()
    lint.CALLS.update(saved)
    ring = {"hv/mmu/a.c": ({"a"}, {"b"}), "hv/mmu/b.c": ({"b"}, {"c"}), "hv/mmu/c.c": ({"c"}, {"a", "c"}), "hv/mmu/d.c": ({"d"}, {"a"})}
    found = lint.circle_problems(ring)
    ok(len(found) == 1 and "a.c" in found[0] and "c.c" in found[0] and "d.c" not in found[0], "a circle of files is found, once")
    ring["hv/mmu/c.c"] = ({"c"}, {"c"})
    ok(not lint.circle_problems(ring), "... and none where there is none")
    with tempfile.TemporaryDirectory() as folder:  # what nm says of a real object
        with open(os.path.join(folder, "a.c"), "w") as f:
            f.write("extern int later(void); static int own(void) { return later(); } int mine(void) { return own(); } int word;\n")
        subprocess.run(["gcc", "-c", "-o", os.path.join(folder, "a.o"), os.path.join(folder, "a.c")], check=True)
        defined, undefined = lint.symbols_of(lint.output_of(["nm", "-g", os.path.join(folder, "a.o")])[1])
    ok(defined == {"mine", "word"} and undefined == {"later"}, "nm's output is understood")


def test_registers():
    """A device with registers by their names, and with one planted bare number at a time."""
    good = """#define REG_LVT 0x320 /* in a comment: case 0x99: */
        #define RANGE(x) ((x) >= 0x300 && \\
                          index == 0x310)
        enum { REG_ID = 0x20, REG_LAST = 0x3f0 };
        static const uint8_t mode3[] = {0x5f, 0x4f};
        static uint32_t read(struct vpc *pc, uint32_t reg, struct vio *io)
        {
            switch (reg) {
            case REG_ID:
                return 0x00081b36;
            case REG_LVT ... REG_LAST:
                return pc->lvt[(reg - REG_LVT) >> 4] & 0xff;
            default:
                switch (pc->mode) { case 3: case X2(REG_ID): break; }
            }
            if (io->size == 4 && !(io->addr & 1) && io->value == 0x80 && (pc->uart.msr & 0xf0) != 0x30)
                pc->uart.msr |= 0x40;
            pc->index = (uint32_t)io->value & 0x7f;
            log("case 0x20: reg == 0x30");
            vbus_add_pio(&pc->bus, REG_ID, 0x10, f(pc, 0x20), pc);
            return pc->reg[3] == 0x77 ? mode3[2] : offsets(pc) + 0x10;
        }
        """
    planted = {"case 0x20:": "case REG_ID:", "case 32:": "case REG_ID:", "case REG_LVT ... 0x3f0:": "case REG_LVT ... REG_LAST:",
               "(reg - 0x320)": "(reg - REG_LVT)", "io->addr & 0x80)": "io->addr & 1)", "io->addr == 3 && io->size": "io->size",
               "0x3f8 <= io->addr && io->size": "io->size", "(io->addr & 7) == 6 && io->size": "io->size",
               "pc->index = 0x20;": "pc->index = (uint32_t)io->value & 0x7f;", "&pc->bus, 0x3f8,": "&pc->bus, REG_ID,",
               "&pc->bus, 1016,": "&pc->bus, REG_ID,", "mode3[0x2]": "mode3[2]",
               "case 0x3: case X2": "case 3: case X2"}
    name = "hv/vdev/pc/new/vlapic.c"
    ok(registers.problems("", [name], {name: good}.get) == [], "names, data and comments are no bare register numbers")
    for bad_text, text in planted.items():
        source = good.replace(text, bad_text)
        found = registers.problems("", [name], {name: source}.get)
        line = source[:source.index(bad_text)].count("\n") + 1
        ok(good.count(text) == 1 and len(found) >= 1 and all(f.startswith("%s:%d: " % (name, line)) for f in found),
           "a bare register number is found: " + bad_text)
    ok(registers.problems("", ["hv/mmu/a.c"], {"hv/mmu/a.c": "case 0x20:"}.get) == [], "elsewhere numbers are opcodes or data")
    ok(registers.problems() == [] and any(n.startswith(registers.FOLDER) for n in lint.tracked(".c")), "the devices have none")


def test_models():
    files = {
        "tools/model/README.md": "| a | m | `hv/a.c`: `known` `gone` |\n\n## Known-bad variants\n\n"
                                 "| x | m | `BAD` |\n| y | m | `NEVER` |\n| z | e | `bad_one` |\n\n## End\n",
        "hv/a.c": "static int known(int a,\n                 int b) /* 7 */\n{\n    return gone(a);\n}\n",
        "tools/model/e.c": '    {"", GOOD, {1}},\n    {"bad_one", ONE, {1}},\n    {"unlisted", TWO, {1}},\n',
    }
    jobs = "one complete m\none refuted m -DOPS=3 -DBAD -DNEEDED\nexplorer e\n"
    ok(models.definition(files["hv/a.c"], "known") == 1, "a definition over two lines is found")
    found = models.problems(read=files.__getitem__, jobs=jobs)
    ok(len(found) == 3 and "gone" in found[0] and "NEVER" in found[1] and "unlisted" in found[2],
       "functions, rows and runs that have lost each other are found")


def main():
    for test in (test_kernels, test_vmlinux, test_ktap, test_choice, test_linux, test_stats, test_grub, test_vms, test_runner, test_session, test_hung_session, test_session_ends, test_skips, test_lint, test_calls,
                 test_registers, test_models):
        test()
    print("1..%d" % count)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
