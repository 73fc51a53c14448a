# SPDX-License-Identifier: BSD-2-Clause
"""Steps that use the monitor as a person does, on a Linux that runs. Tested by being what `make check` runs."""
import json
import os
import re

from pblib import config, session, stats, trace
from pblib.linux import LOGS, OUT, Terminal, boot
from pblib.steps import HEAVY, IMAGE, Step

OPEN = "\x14\x14"
GUEST_PROMPT = r"patchbay:\S*[#$] "
READY = r"patchbay> "

KEYS = [  # what is typed, what must appear before the monitor's next prompt
    ("h", r"page walk: the guest's tables beside the shadow tables"),
    ("c", r"cpu0  [^\n]*64-bit cpl [03] 4-level, rip [0-9a-f]{16} cr3 [1-9a-f][^\n]*\n(?s:.*)cpu3  (running|halted)"),
    ("r1\r", r"rax [0-9a-f]{16}(?s:.*)guest cr0 8[0-9a-f]{7}(?s:.*)vmcb: cs 00(?s:.*)root \d: [^\n]*current"),
    ("m", r"used slots \(of 128\)(?s:.*)cpu0 +\d+/[1-9]\d*"),
    ("t1000\r", r"gfn 0x1000 \(gpa 0x1000000, hpa 0x[0-9a-f]+\): word 0x[0-9a-f]{16}"),
    ("s", r"exit HLT +[1-9]\d* +[1-9]"),
    ("e0\r", r"cpu0 +\d+ us ago  exit +[A-Z]"),
    ("a", r"cpu0  audit: 0 findings(?s:.*)cpu3  audit: 0 findings"),
    ("p2\r", r"cpu2  paused"),
    ("c", r"cpu2  [^\n]*\(PAUSED\)"),
    ("p2\r", r"cpu2  resumed"),
    ("d", r"lapic 3: "),
    ("w9\r", r"walk of 0x0000000000000009(?s:.*)difference: "),
]


def kernel_address(t):
    """The RIP of CPU 0 as the c key gives it: an address that its guest tables map."""
    t.send("c")
    return t.find(r"cpu0  [^\n]*rip ([0-9a-f]{16})", 60)


def keys(results):
    """Opens the monitor over a shell, tries its keys, leaves, and has the shell again; then reads the trace."""
    log = os.path.join(LOGS, "monitor.console")
    t = Terminal(["make", "--no-print-directory", "O=" + OUT, "run", "SMP=4", "DIRECT=1", "NAME=monitor", "HV=trace=1"], log)
    if results.expect(t.wait_for(r"patchbay-guest: shell", 900) and t.wait_for(GUEST_PROMPT, 60), "no shell"):
        t.send(OPEN)
        results.expect(t.wait_for(r"patchbay monitor: h for help", 60) and t.wait_for(READY, 60), "the monitor does not open")
        for typed, pattern in KEYS:
            t.send(typed)
            results.expect(t.wait_for(pattern, 120), "key %s: no %s" % (typed.strip(), pattern))
            results.expect(t.wait_for(READY, 60), "no prompt after key %s" % typed.strip())
        rip = kernel_address(t)
        results.expect(rip and t.wait_for(READY, 60), "no RIP")
        t.send("w%s 0\r" % rip)
        results.expect(t.wait_for(r"level 4 index 511  guest 0x[0-9a-f]+[13579bdf]  shadow 0x[0-9a-f]+(?s:.*)difference: ", 60),
                       "the walk of a mapped address")
        t.wait_for(READY, 60)
        t.send("q")
        results.expect(t.wait_for("patchbay monitor left", 60), "the monitor stays")
        t.send("echo cpus=$(nproc)\r")
        results.expect(t.wait_for(r"\ncpus=4\r", 60) and t.wait_for(GUEST_PROMPT, 60), "the shell does not come back")
        t.send("echo one\x14two\x7f\x7f\x7f\r")  # a lone escape is the guest's
        t.wait_for(GUEST_PROMPT, 60)
        t.send("for i in 1 2 3 4; do (ls /; ls -R /proc/self) >/dev/null & done; wait; exit\r")
        results.expect(t.wait_for("patchbay: guest powered off", 300), "no power-off")
    results.expect(t.close() == 0, "make run does not end well")
    recorded(results, log)


def recorded(results, log):
    """The dump of the rings at power-off tells a consistent story."""
    try:
        dump = trace.read(log)
        found = stats.read(log)
    except (trace.Malformed, stats.Malformed) as e:
        results.fail(str(e))
        return
    made = trace.arrows(dump)[0]
    results.expect(made and all(a.patch.tsc >= a.post.tsc for a in made), "a patch is applied before it was posted")
    results.expect({e.cpu for e in dump.events} == {0, 1, 2, 3}, "a CPU without events")
    results.expect({e.kind for e in dump.events} >= {"exit", "pf", "fill", "post", "patch", "drain", "ipi", "irq"},
                   "a kind of event is missing")
    results.log("\n".join(trace.summary(dump)))
    results.expect(not found["total"]["audit_findings"], "audit findings")


def pictures(results):
    """`make trace`: a load, its event rings as summary, JSON and picture."""
    out = os.path.join(OUT, "trace")
    for suffix in (".json", ".svg", ".log"):
        if os.path.exists(out + suffix):
            os.remove(out + suffix)
    text = results.command(["make", "--no-print-directory", "O=" + OUT, "trace", "DIRECT=1", "TIMEOUT=600"], 700)
    results.expect("Patches: microseconds" in text, "no summary")
    with open(out + ".json", encoding="utf-8") as f:
        events = json.load(f)["traceEvents"]
    starts = {e["id"]: e for e in events if e["ph"] == "s"}
    ends = {e["id"]: e for e in events if e["ph"] == "f"}
    results.expect(any(starts[i]["tid"] != ends[i]["tid"] for i in starts), "no arrow from a CPU to another in the JSON")
    with open(out + ".svg", encoding="ascii") as f:
        results.expect('marker-end="url(#tip)"' in f.read(), "no arrow in the picture")


def hang(results):
    """A session that does not end in its time is ended with a look at every CPU; here the shell waits for ever."""
    run = config.Run(kernel=os.path.join(OUT, "cache/vmlinuz"), initrd=os.path.join(OUT, "initrd.gz"),
                     append="console=ttyS0", smp=2, timeout=60,  # long enough for the shell on a slow machine
                     test=True, own_initrd=True, direct=True)
    s = boot(results, "monitor-hang", run)
    if s is None:
        return
    results.expect(s.status == session.TIMEOUT, "status %s: %s" % (s.status, s.reason))
    for cpu in range(2):
        results.expect(re.search(r"cpu%d +(running|halted|wait)" % cpu, s.reason), "no state of CPU %d" % cpu)
    results.expect(re.search(r"cpu0 +\d+ us ago  exit ", s.reason), "no event of CPU 0")


STEPS = [
    Step("monitor/keys", keys, IMAGE, HEAVY, ("make",)),
    Step("monitor/trace", pictures, IMAGE, HEAVY, ("make",)),
    Step("monitor/hang", hang, IMAGE),
]
