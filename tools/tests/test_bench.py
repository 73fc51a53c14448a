#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of what make bench computes and draws: symbols of an ELF file, counters out of memory, costs, ratios, targets,
plots. Run by the unit group of tools/check.py; the guest's half is tested by its step linux/bench."""
import os
import struct
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from pblib import benchguest, benchops, benchplot, benchreport, elfsym, ioops  # pylint: disable=wrong-import-position
from pblib.benchreport import BARE, HOSTED  # pylint: disable=wrong-import-position

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
count, bad = 0, 0
PROGRAM = """
static const char one[] = "posts", two[] = "exits";
const char *const stat_name[] = {one, two};
const char *const vmexit_name[] = {two};
struct { _Alignas(64) unsigned long n[2], exits[64]; } hv_stats[128];
int main(void) { return (int)hv_stats[0].n[0]; }
"""


def ok(condition, name):
    global count, bad
    count += 1
    bad += not condition
    print("%sok %d - %s" % ("" if condition else "not ", count, name))


def near(a, b):
    return a is not None and abs(a - b) < 1e-6


def sample(cpu, wall=1.0, **counts):
    return benchguest.Sample(cpu, wall, counts)


def test_elf(folder):
    source, program = os.path.join(folder, "x.c"), os.path.join(folder, "x")
    with open(source, "w", encoding="ascii") as f:
        f.write(PROGRAM)
    subprocess.run(["gcc", "-std=gnu11", "-no-pie", "-fno-pic", "-o", program, source], check=True)
    image = elfsym.Image(program)
    ok(image.strings("stat_name") == ["posts", "exits"], "an array of strings")
    ok(image.symbols["hv_stats"][1] == 128 * 576, "the size of a symbol")
    counters = benchguest.Counters(program)
    data = b"".join(struct.pack("<72Q", 10 + cpu, 20, 30, *([0] * 69)) for cpu in range(31))
    found = counters.parse(data, 2)
    ok(found == {"posts": 21, "exits": 40, "exit:exits": 60}, "counters of two CPUs, summed")
    with open(os.path.join(os.path.dirname(TOOLS), "hv/base/types.h"), encoding="ascii") as f:
        ok("#define HV_MACHINE_CPUS %d " % benchguest.MAX_CPUS in f.read(), "as many CPUs as the hypervisor has")
    try:
        elfsym.Image(source)
        ok(False, "a file that is no ELF file")
    except ValueError:
        ok(True, "a file that is no ELF file")


def test_choose():
    every = benchops.choose([], 4)
    ok(len(every) == len(benchops.OPS) and len({op.label for op in every}) == len(every), "all, each label once")
    ok([op.label for op in benchops.choose(["fork"], 4)] == ["fork/1", "fork/4"], "by name")
    ok([op.label for op in benchops.choose(["fork/4", "fork"], 4)] == ["fork/4", "fork/1"], "each once, in this order")
    ok(all(op.workers <= 2 for op in benchops.choose([], 2)), "no more workers than CPUs")
    ok(benchops.choose(["fork/1"], 4, 0.0001)[0].count == 1, "at least one operation")
    try:
        benchops.choose(["frok"], 4)
        ok(False, "an unknown name")
    except benchops.Unknown as e:
        ok("frok" in str(e) and "fork/1" in str(e), "an unknown name: the text lists what there is")
    shoot = benchops.choose(["shoot-munmap/4"], 4)[0]
    ok(shoot.done == shoot.count, "spinners do no operations")


def filled():
    """Three rounds of fork with 1 and 4 workers; a handshake of 0.1 s."""
    results = benchreport.Results([BARE, HOSTED])
    one, four = benchops.choose(["fork"], 4)
    for name, factor in ((BARE, 1.0), (HOSTED, 2.0)):
        for i in range(3):
            results.add(name, benchops.NULL, sample(0.1, posts=5))
            results.add(name, one, sample(0.1 + factor * one.done * 1e-3 * (1 + i), posts=5 + 2 * one.done,
                                          **{"exit:PF": 3 * one.done, "fill_single": one.done, "fill_batch": one.done}))
            results.add(name, four, sample(0.1 + factor * four.done * 1e-3 * (1.5 if name == HOSTED else 1)))
    return results, one, four


def test_report():
    results, one, four = filled()
    ok([round(x) for x in results.cost(BARE, one)] == [1000, 2000, 3000], "cost, the handshake subtracted")
    ok(near(results.ratio(HOSTED, one), 2.0), "ratio: the median of the rounds' own")
    ok(near(results.count(HOSTED, one, "posts"), 2.0), "a counter an operation, the handshake subtracted")
    ok(results.exits(HOSTED, one) == {"PF": 3.0}, "exits by kind")
    ok(near(results.counters(HOSTED, one)["fills"], 2.0), "fills of both kinds")
    verdicts = benchreport.verdicts(results, [one, four])
    ok(near(verdicts["fork/1"][1], 2.3) and near(verdicts["fork/4"][0], 3.0) and near(verdicts["fork/4"][1], 2.5),
       "four workers are judged by one worker's ratio")
    text = "\n".join(benchreport.cost_table(results, [one, four], [HOSTED]))
    ok("met" in text and "MISSED" in text, "a target met and one missed")
    ok("PF" in "\n".join(benchreport.exit_table(results, [one], HOSTED)), "the table of exits")
    found = benchreport.as_json(results, [one, four])
    ok([(x["met"], len(x["contestants"])) for x in found["operations"]] == [(True, 2), (False, 2)], "JSON")
    results.names.append("unsync=off")
    results.add("unsync=off", one, sample(10))
    for i in range(3):
        results.add("batch=off", one, sample(one.done * 1e-3 * (1 + i)))
    results.names.append("batch=off")
    lines = benchreport.variant_table(results, [one, four])
    ok(any(x.split()[:2] == ["batch=off", "0.50!"] for x in lines), "a variant that is cheaper in each round is marked")
    ok("unsync=off" in "\n".join(benchreport.variant_table(results, [one, four])), "variants, one of them unfinished")


def test_bounds():
    touch = benchops.choose(["touch/1"], 4)[0]
    ok(near(benchops.bound(touch, {}, None), 2.3), "first touch by its ratio")
    ok(near(benchops.bound(touch, {}, 1.5), 3.45), "first touch by two empty exits")
    shoot = benchops.choose(["shoot-munmap/4"], 4)[0]
    ok(benchops.bound(shoot, {"shoot-munmap/2": 1.7}, None) == 1.7, "no growth from two CPUs to four")
    ok(benchops.bound(shoot, {}, None) is None, "nothing to compare with")


def io_sample(cpu, interrupts, packets=0, **counts):
    s = sample(cpu, **counts)
    s.interrupts, s.packets = interrupts, packets
    return s


def test_devices():
    read, recv = next(op for op in ioops.OPS if op.workers == 16), next(op for op in ioops.OPS if op.name == "recv")
    n = read.count
    null = ([io_sample(1.0, 0)] * 3, [io_sample(1.0, 0, **{"exit:PF": 0, "exit:INTR": 4, "mmio": 0})] * 3)
    bare = [io_sample(1.0 + n * 1e-5, n // 2)] * 2
    hosted = [io_sample(1.0 + n * 1.3e-5, n // 2, **{"exit:PF": 0, "exit:INTR": n // 2 + 4, "mmio": 0})] * 2
    good = ioops.Figures(read, bare, hosted, null)
    ok(near(good.ratio, 1.3) and near(good.interrupts, 0.5) and good.exits_an_interrupt() == (1.0, 1.0), "a read: ratio, interrupts, exits")
    worse = [io_sample(1.0 + n * 1.5e-5, n // 2, **{"exit:PF": n, "exit:INTR": n // 2 + 4, "mmio": n})] * 2
    bad_one = ioops.Figures(read, bare, worse, null)
    figures = {read: bad_one}
    idle = [io_sample(1.0 + n * 1.3e-5, n // 2, **{"exit:HLT": n // 2, "exit:WRMSR": n})] * 2
    figures[recv] = ioops.Figures(read, bare, idle, null)
    ok(figures[recv].exits_an_interrupt() == (3.0, 1.0) and ioops.too_many_exits([recv], figures) == [], "the guest's timer apart")
    ok(ioops.trapped([read], figures) == [read] and ioops.trapped([read], {read: good}) == [], "registers that are trapped")
    ok(ioops.too_many_exits([read], figures) == [read] and ioops.too_many_exits([read], {read: good}) == [], "exits beyond the interrupts")
    ok("MISSED" in "\n".join(ioops.cost_table([read], figures)) and "met" in "\n".join(ioops.cost_table([read], {read: good})), "its target")
    ok("PF" in "\n".join(ioops.exit_table([read], figures)) and ioops.as_json([read], figures)[0]["counters"]["mmio"] == 1, "its tables")
    few = ioops.Figures(recv, [io_sample(1.5, 10, 100)], [io_sample(2.0, 10, 200)], null)
    ok(near(few.bare[0], 5000) and near(few.hosted[0], 5000), "packets as the card counts them")


def test_plots(folder):
    path = os.path.join(folder, "x.svg")
    benchplot.bars(path, "a < b", [("fork/1", 3.0, 2.3), ("loop/1", 0.9, None), ("none", None, None)])
    root = ET.parse(path).getroot()
    titles = [x.text for x in root.iter() if x.tag.endswith("title")]
    ok(titles == ["fork/1: 3.00, target 2.30", "loop/1: 0.90"], "bars: one for each ratio")
    benchplot.lines(path, "cost", {"fork, bare": [(1, 10.0), (4, 20.0)], "fork, patchbay": [(1, 30.0), (4, 0.0)]})
    titles = [x.text for x in ET.parse(path).getroot().iter() if x.tag.endswith("title")]
    ok("fork, bare, 4 CPUs: 20" in titles and not any("patchbay, 4" in t for t in titles), "lines: no point for a zero")
    ok(benchplot.ticks(0.7, 30)[0] <= 0.7 and benchplot.ticks(0.7, 30)[-1] >= 30, "an axis that covers its values")


def main():
    with tempfile.TemporaryDirectory() as folder:
        test_elf(folder)
        test_plots(folder)
    test_choose()
    test_report()
    test_bounds()
    test_devices()
    print("1..%d" % count)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
