# SPDX-License-Identifier: BSD-2-Clause
"""The distributed image: every entry of its menu, chosen over the serial line, and between them the four ways to boot it.
Tested by being steps of the boot group of `make check`."""
import os
import re

from pblib import linuxlog
from pblib.consoles import Machine
from pblib.linux import OUT
from pblib.steps import Step, emulator

NEXT = "\x0e"  # Ctrl-N, GRUB's "next line"
SHELL, PROMPT = r"patchbay-guest: shell", r"patchbay:\S*[#$] "
WAYS = {
    "cd-bios": {}, "usb-bios": {"usb": True}, "cd-uefi": {"fw": "uefi"}, "usb-uefi": {"fw": "uefi", "usb": True},
}


def shell(results, m):
    """A shell that counts its CPUs; exit powers off."""
    results.expect(m.expect(SHELL) and m.expect(PROMPT), "no shell")
    m.send("echo cpus=$(nproc)\r")
    results.expect(m.expect(r"\ncpus=%d\n" % (1 if "smp=1" in m.text else m.run.smp)), "nproc")
    m.send("exit\r")
    results.expect(m.expect("patchbay: guest powered off"), "no power-off")
    found = linuxlog.complaints(m.text.splitlines())
    results.expect(not found, "the kernel complains: " + " | ".join(found[:3]))


def self_test(results, m):
    """It runs by itself to its verdict, and switches the machine off."""
    results.expect(m.expect("patchbay: guest powered off"), "no power-off")
    results.expect("pb: session ok" in m.text and "pb: FAIL" not in m.text, "the session failed")
    results.expect(re.search(r'"audits":[1-9]', m.text) and '"audit_findings":0' in m.text, "no audit, or findings")


def two_vms(results, m):
    """A shell in each VM: the first has the keys; the monitor gives them to the second."""
    for vm in ("first ", "second"):
        results.expect(m.expect(r"\n%s\| patchbay-guest: shell" % vm), "no shell in VM " + vm)
    m.send("echo cpus=$(nproc)\r")
    results.expect(m.expect(r"\ncpus=%d\n" % (m.run.smp // 2)), "nproc of the first VM")
    m.send("exit\r")
    results.expect(m.expect("patchbay: VM first: off"), "the first VM does not power off")
    m.send("\x14\x14")
    results.expect(m.expect("patchbay> "), "no monitor")
    m.send("vsecond\rq")
    results.expect(m.expect("VM second is in front") and m.expect("monitor left"), "the second VM does not come to front")
    m.send("exit\r")
    results.expect(m.expect("patchbay: no VM runs any more"), "the second VM does not power off")


def memory_test(results, m):
    """memtest86+ as the guest: it has begun to test."""
    results.expect(m.expect(r"Memtest86\+ v"), "it does not start")
    results.expect(m.expect(r"Time:  0:00:\d\d  Status: Testing(?s:.*)Time:  0:00:[1-9]\d  Status: Testing"), "it does not go on")
    results.expect("Errors: 0 " in m.text and not re.search(r"Errors: [1-9]", m.text), "it finds errors")


ENTRIES = [  # name, how to boot, what the hypervisor's command line must hold, what then happens, machine
    ("linux", "cd-bios", r"command line: *$", shell, {"smp": 4}),
    ("verbose", "usb-bios", r"command line: loglvl=debug$", shell, {}),
    ("com1-only", "cd-uefi", r"command line: console=com1,115200$", shell, {}),
    ("self-test", "usb-uefi", r"command line: audit=2$", self_test, {}),
    ("safe-reference", "cd-bios", r"command line: smp=1 mmu=ref$", shell, {}),
    ("safe-audit", "cd-bios", r"command line: smp=1 audit=2 large=off batch=off unsync=off$", shell, {}),
    ("two-vms", "cd-bios", r"command line: *$", two_vms, {"smp": 2, "mem": 768}),
    ("memory-test", "cd-bios", r"command line: *$", memory_test, {}),
]


def entry(index, name, way, line, then, fields):
    def action(results):
        m = Machine("menu-" + name, direct=False, image=os.path.join(OUT, "patchbay.iso"), kernel="none",
                    **dict(WAYS[way], **{"smp": 2, "mem": 512, **fields}))
        m.end += 900  # still only against hanging
        try:
            results.expect(m.expect(r"Patchbay, memory test as the guest"), "no menu on the serial line")
            m.send(NEXT * index + "\r")
            results.expect(m.expect(r"boot: command line:.*\n"), "Patchbay does not start")
            results.expect(re.search(line, m.text, re.M), "another entry was started")
            results.expect(re.search("loader: GRUB.*, %s," % ("UEFI" if "uefi" in way else "BIOS"), m.text), "other firmware")
            then(results, m)
        finally:
            m.close()
            for suffix in ("ovmf-vars", "debugcon"):
                if os.path.exists(m.run.file(suffix)):
                    os.remove(m.run.file(suffix))

    return Step("boot/menu-%s-%s" % (name, way), action, ("build/image",), emulator(fields.get("smp", 2)))


STEPS = [entry(i, *e) for i, e in enumerate(ENTRIES)]
