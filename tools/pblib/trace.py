# SPDX-License-Identifier: BSD-2-Clause
"""Event rings: reads a dump, pairs posts with the patches applied from them, summarises, and makes Chrome trace JSON.
Tested by tools/tests/test_trace.py."""
import collections
import json
import re
import statistics
import sys

from pblib.table import table

ANYONE = 0xFF  # producer of a patch from the shared channel
SLOT_WHOLE = 1 << 52
MASK56 = (1 << 56) - 1
LINE = re.compile(r"^pbt ([0-9a-f]+) ([0-9a-f]+) (\S+) ([0-9a-f]+) ([0-9a-f]+)$")
BEGIN = re.compile(r"^patchbay-trace: begin version (\d+) ncpus ([0-9a-f]+) tsc_hz ([0-9a-f]+) now ([0-9a-f]+)$")

Event = collections.namedtuple("Event", "cpu tsc kind a b")
Arrow = collections.namedtuple("Arrow", "post patch")  # the first post of a slot's life, and its patch


class Malformed(Exception):
    """The log holds no (whole) dump."""


class Dump:
    """ncpus, tsc_hz, exits (number -> name), added (cpu -> events ever), events in the order of time; vm: whose CPUs they are, where
    there are several."""

    def __init__(self, ncpus, tsc_hz):
        self.ncpus, self.tsc_hz = ncpus, tsc_hz
        self.exits, self.added, self.events, self.vm = {}, {}, [], ""

    def us(self, ticks):
        return ticks * 1e6 / self.tsc_hz

    def exit_name(self, event):
        return self.exits.get(event.a & 0xFF, "exit %d" % (event.a & 0xFF))

    def entered(self, event):
        """TSC of the entry that this exit ended; its own if the guest had not been entered."""
        ticks = (event.tsc - (event.a >> 8)) & MASK56
        return event.tsc - ticks if event.a >> 8 and ticks <= event.tsc else event.tsc


# --- reading --------------------------------------------------------------------------------------
def parse(text):
    """Every whole block of the text. Lines of others may stand between a block's."""
    dumps, dump = [], None
    for line in text.splitlines():
        line = line.rstrip("\r")
        at = line.find("patchbay-trace: ")
        begin = BEGIN.match(line[at:]) if at >= 0 else None
        if begin:
            if begin.group(1) != "1":
                raise Malformed("version %s of the dump is not known" % begin.group(1))
            dump = Dump(int(begin.group(2), 16), int(begin.group(3), 16))
            if not dump.tsc_hz or not dump.ncpus:
                raise Malformed("no CPUs or no clock")
        elif dump is None:
            continue
        elif at >= 0:
            words = line[at:].split()[1:]
            if words[:1] == ["exit"] and len(words) == 3:
                dump.exits[int(words[1], 16)] = words[2]
            elif words[:1] == ["vm"] and len(words) == 2:
                dump.vm = words[1]
            elif words[:1] == ["cpu"] and len(words) == 4:
                dump.added[int(words[1], 16)] = int(words[3], 16)
            elif words[:2] == ["end", "events"] and len(words) == 3:
                finish(dump, int(words[2], 16))
                dumps.append(dump)
                dump = None
        else:
            match = LINE.match(line)
            if match:
                cpu, tsc, kind, a, b = match.groups()
                dump.events.append(Event(int(cpu, 16), int(tsc, 16), kind, int(a, 16), int(b, 16)))
    if dump is not None:
        raise Malformed("the dump does not end")
    return dumps


def finish(dump, count):
    if len(dump.events) != count:
        raise Malformed("%d events of %d: lines were lost" % (len(dump.events), count))
    if any(e.cpu >= dump.ncpus for e in dump.events):
        raise Malformed("an event of a CPU that there is not")
    dump.events.sort(key=lambda e: e.tsc)


def read(path, block=-1, vm=""):
    """One block of a log; vm: of that VM's alone."""
    if path == "-":
        text = sys.stdin.read()
    else:
        with open(path, encoding="utf-8", errors="replace") as f:
            text = f.read()
    dumps = [d for d in parse(text) if vm in ("", d.vm)]
    try:
        return dumps[block]
    except IndexError:
        of = " of VM " + vm if vm else ""
        raise Malformed("no patchbay-trace block%s in %s (HV=\"trace=1\", or the monitor's key E)" % (of, path)) from None


# --- posts and patches ----------------------------------------------------------------------------
def arrows(dump):
    """(arrows, coalesced posts, posts without a patch in the window, patches without a post in it)."""
    waiting = {}  # (producer, consumer, key) -> first post
    made, coalesced, orphans = [], 0, 0
    for e in dump.events:
        if e.kind == "post":
            for c in range(dump.ncpus):
                if not e.b >> c & 1:
                    continue
                if (e.cpu, c, e.a) in waiting:
                    coalesced += 1
                waiting.setdefault((e.cpu, c, e.a), e)
        elif e.kind == "patch":
            producers = range(dump.ncpus) if e.b == ANYONE else [e.b]
            posts = [p for p in (waiting.pop((p, e.cpu, e.a), None) for p in producers) if p]
            made += [Arrow(p, e) for p in posts]
            orphans += not posts
    return made, coalesced, len(waiting), orphans


# --- the summary ----------------------------------------------------------------------------------
def quantiles(ticks, dump):
    """median, 90 %, largest, in microseconds."""
    if not ticks:
        return ["-"] * 3
    ticks = sorted(ticks)
    values = [statistics.median(ticks), ticks[int(len(ticks) * 0.9)], ticks[-1]]
    return ["%.1f" % dump.us(v) for v in values]


def slices(dump):
    """Per CPU, in order: (begin, end, exit event or None for the guest). Host from exit to the next entry."""
    result = {c: [] for c in range(dump.ncpus)}
    for c in result:
        exits = [e for e in dump.events if e.cpu == c and e.kind == "exit"]
        for e, after in zip(exits, exits[1:] + [None]):
            entered = dump.entered(e)
            if entered < e.tsc:
                result[c].append((entered, e.tsc, None))
            end = max(dump.entered(after), e.tsc) if after else e.tsc
            if end > e.tsc:
                result[c].append((e.tsc, end, e))
    return result


def summary(dump):
    lines, parts = ["VM " + dump.vm] if dump.vm else [], slices(dump)
    rows = []
    for c in range(dump.ncpus):
        mine = [e for e in dump.events if e.cpu == c]
        span = dump.us(mine[-1].tsc - mine[0].tsc) / 1000 if mine else 0
        guest = sum(end - begin for begin, end, e in parts[c] if e is None)
        kinds = collections.Counter(e.kind for e in mine)
        rows.append(["cpu%d" % c, len(mine), dump.added.get(c, len(mine)), "%.1f" % span,
                     "%.0f" % (dump.us(guest) / 10 / span) if span else "-"]
                    + [kinds[k] for k in ("exit", "fill", "post", "drain", "patch", "trace", "ipi", "irq")])
    lines += table(["CPU", "events", "ever", "ms", "guest %", "exits", "fills", "posts", "drains", "patches",
                    "traces", "ipis", "irqs"], rows)
    by_kind = collections.defaultdict(list)
    for c in parts:
        for begin, end, e in parts[c]:
            if e is not None:
                by_kind[dump.exit_name(e)].append(end - begin)
    lines += ["", "Exits: microseconds from the exit to the next entry (HLT: with the time halted)"]
    lines += table(["exit", "count", "median", "90 %", "largest"],
                   [[name, len(t)] + quantiles(t, dump) for name, t in sorted(by_kind.items(), key=lambda x: -len(x[1]))])
    made, coalesced, unpatched, orphans = arrows(dump)
    lines += ["", "Patches: microseconds from the post to the consumer's application"]
    pairs = collections.defaultdict(list)
    for a in made:
        pairs[(a.post.cpu, a.patch.cpu)].append(a.patch.tsc - a.post.tsc)
    lines += table(["channel", "patches", "median", "90 %", "largest"],
                   [["cpu%d -> cpu%d" % pair, len(t)] + quantiles(t, dump) for pair, t in sorted(pairs.items())])
    lines.append("%d patches with their post, %d posts coalesced, %d posts not applied yet, %d patches from before the rings"
                 % (len(made), coalesced, unpatched, orphans))
    return lines


# --- Chrome trace JSON ----------------------------------------------------------------------------
# "Trace Event Format": X is a slice, i an instant, s and f the ends of a flow arrow, M names a track.
def describe(dump, e):
    """Name and arguments of an event that is not an exit."""
    whole = " whole" if e.a & SLOT_WHOLE else ""
    gpa = "0x%x" % (e.a & (SLOT_WHOLE - 1))
    cpus = ",".join(str(c) for c in range(dump.ncpus) if e.b >> c & 1)
    if e.kind == "post":
        return "post" + whole, {"gpa": gpa, "to": cpus}
    if e.kind == "patch":
        return "patch" + whole, {"gpa": gpa, "from": "any" if e.b == ANYONE else e.b}
    if e.kind == "drain":
        return "drain", {"producers": ",".join(str(c) for c in range(dump.ncpus) if e.a >> c & 1), "patches": e.b}
    if e.kind == "pf":
        return "page fault", {"gva": "0x%x" % e.a, "error": "0x%x" % e.b}
    if e.kind == "fill":
        return "fill", {"gva": "0x%x" % e.a, "spte": "0x%x" % e.b}
    if e.kind == "trace":
        return "trace install", {"gfn": "0x%x" % e.a, "word before": "0x%x" % e.b}
    if e.kind == "unsync":
        return "unsync in" if e.b else "unsync out", {"gfn": "0x%x" % e.a}
    if e.kind == "ipi":
        return "ipi to cpu%d" % e.a, {"action": "0x%x" % e.b}
    if e.kind == "irq":
        return "irq 0x%x" % e.a, {}
    return e.kind, {"a": "0x%x" % e.a, "b": "0x%x" % e.b}


def records(dump):
    """The traceEvents. Times are microseconds since the first event."""
    firsts = [dump.events[0].tsc] if dump.events else [0]
    parts = slices(dump)
    start = min(firsts + [p[0][0] for p in parts.values() if p])

    def ts(tsc):
        return round(dump.us(tsc - start), 3)

    yield {"ph": "M", "name": "process_name", "pid": 0, "args": {"name": "Patchbay" + (" VM " + dump.vm if dump.vm else "")}}
    for c in range(dump.ncpus):
        yield {"ph": "M", "name": "thread_name", "pid": 0, "tid": c, "args": {"name": "cpu%d" % c}}
        yield {"ph": "M", "name": "thread_sort_index", "pid": 0, "tid": c, "args": {"sort_index": c}}
        for begin, end, e in parts[c]:
            name, args = ("guest", {}) if e is None else (dump.exit_name(e), {"rip": "0x%x" % e.b})
            yield {"ph": "X", "name": name, "cat": "guest" if e is None else "host", "pid": 0, "tid": c,
                   "ts": ts(begin), "dur": round(dump.us(end - begin), 3), "args": args}
    for e in dump.events:
        if e.kind != "exit":
            name, args = describe(dump, e)
            yield {"ph": "i", "s": "t", "name": name, "cat": e.kind, "pid": 0, "tid": e.cpu, "ts": ts(e.tsc), "args": args}
    for number, a in enumerate(arrows(dump)[0]):
        both = {"name": "patch", "cat": "patch", "id": number, "pid": 0}
        yield dict(both, ph="s", tid=a.post.cpu, ts=ts(a.post.tsc))
        yield dict(both, ph="f", bp="e", tid=a.patch.cpu, ts=ts(a.patch.tsc))


def write_json(dump, path):
    events = list(records(dump))
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"displayTimeUnit": "ns", "traceEvents": events}, f)
        f.write("\n")
    return len(events)
