#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Applies each deliberate bug of mutants.txt to a copy of the file concerned and runs the host tests that reach
that file, cheapest first, until one fails. Prints which layer killed each; the exit status is 0 only if all were
killed and the tests pass without a mutation. mutants.py [NAME...] runs those. Tested by tools/tests/test_mutants.py."""
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import time

from pblib import mutants

O = os.environ.get("O") or "build"
OUT = os.path.join(O, "mutants")
BASE = os.path.join(OUT, "base")
CC = os.environ.get("HOSTCC") or "gcc"
FLAGS = ["-std=gnu11", "-O1", "-g0", "-w", "-DHV_HOST=1"]
TINY = ["-DCHANNEL_SETS=1", "-DCHANNEL_WAYS=2", "-DMMU_POOL_FLOOR=14", "-DMMU_ALIASES=2", "-DMMU_PARENTS=68",
        "-DMMU_BATCH=8"]  # as in tools/tests/sim.mk
JOBS = os.cpu_count() or 2
LATE = 900  # seconds after which a program that waits without computing is ended
# Layers and their programs with arguments that keep a run short, cheapest first. Without sanitizers: what a bug
# does to the guest is to be seen, not what it does to C.
LAYERS = [
    ("unit", ["test_trace", "test_channel", "test_actions"]),
    ("order", ["test_channel_tso", "test_trace_tso", "test_actions_tso"]),
    ("pager", ["test_mmu_rules", "test_mmu_saving", "test_mmu_foresight", "test_mmu 1500", "test_mmu_modes",
               "test_mmu_pool", "test_mmu_stretch", "test_mmu_apart", "test_mmu_smap", "test_mmu_age", "test_mmu_direct",
               "test_mmu_seen", "test_mmu_vanish", "test_mmu_path", "test_mmu_plain", "test_mmu_upper"]),
    ("loop", ["test_quick", "test_loop", "test_exits", "test_events", "test_pveoi", "test_pcid", "test_svm", "test_svm_clean",
              "test_vmx", "test_real",
              "test_intercepts", "test_ferr", "test_cr", "test_nmi", "test_enter", "test_emulate", "test_emulate_store", "test_emulate_wide",
              "test_iopair", "test_ahead", "test_flush", "test_hypercall", "test_hyperv"]),
    ("machine", ["test_vms", "test_pci_quiesce", "test_plan", "test_iommu_maps", "test_iommu", "test_vtd", "test_amdvi",
                 "test_acs", "test_acpi", "test_pass_config", "test_pass_irq", "test_emulate_device", "test_mmu_device"]),
    ("devices", ["test_virtq", "test_virtio", "test_virtio_dev", "test_switch", "test_pci_bus", "test_virtio_mem", "test_virtio_hostile"]),
    ("sim", ["sim steps=100000"]),
]


def command(arguments):
    p = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    text = p.stdout.decode(errors="replace")
    if p.returncode:
        raise RuntimeError("%s\n%s" % (" ".join(arguments), text))
    return text


def compile_file(source, target, flags, overlay=None):
    include = (["-I", overlay] if overlay else []) + ["-I", ".", "-I", O + "/gen"]
    command([CC] + FLAGS + flags + include + ["-MMD", "-c", source, "-o", target])


def object_name(source):
    return source.replace("/", "_") + ".o"


class Library:
    """An archive of unmutated files, and the flags with which a mutated one takes its member's place."""

    def __init__(self, name, sources, flags):
        self.sources, self.flags, self.folder = sources, flags, os.path.join(BASE, name)
        self.path = self.folder + ".a"
        self.users = {}  # header -> sources

    def build(self, pool):
        os.makedirs(self.folder)
        targets = [os.path.join(self.folder, object_name(s)) for s in self.sources]
        list(pool.map(lambda x: compile_file(x[0], x[1], self.flags), zip(self.sources, targets)))
        command(["ar", "rcsD", self.path] + targets)

    def including(self, header):
        """Its sources that include the header."""
        if header not in self.users:
            self.users[header] = []
            for source in self.sources:
                with open(os.path.join(self.folder, object_name(source))[:-2] + ".d") as f:
                    if header in f.read().split():
                        self.users[header].append(source)
        return self.users[header]


class Program:
    """A host test or the simulator: its own objects, its libraries, and the library members that its link takes."""

    def __init__(self, layer, words, libraries):
        self.layer, self.libraries = layer, libraries
        self.name, *self.args = words.split()
        simulator = layer == "sim"
        self.sources = sorted(glob.glob("tools/tests/sim_*.c")) if simulator else ["tools/tests/%s.c" % self.name]
        self.flags = TINY if simulator else []
        self.link_flags = ["-Wl,--wrap=hv_panic,--wrap=coherency_of"] if simulator else []
        self.deps, self.members = {}, set()

    def exists(self):
        return bool(self.sources) and all(os.path.exists(s) for s in self.sources)

    def own(self, source, folder):
        return os.path.join(folder, self.name + "." + object_name(source))

    def link(self, objects, target, flags=()):
        return command([CC] + objects + [lib.path for lib in self.libraries] + self.link_flags + list(flags) +
                       ["-o", target, "-lpthread"])

    def prepare(self):
        """Builds and runs it without a mutation: it must pass. "" or why not."""
        for source in self.sources:
            target = self.own(source, BASE)
            compile_file(source, target, self.flags)
            with open(target[:-2] + ".d") as f:
                self.deps[source] = set(f.read().replace("\\\n", " ").split(":", 1)[1].split())
        target = os.path.join(BASE, self.name)
        text = self.link([self.own(s, BASE) for s in self.sources], target, ["-Wl,-t,-t"])
        self.members = set(re.findall(r"(\w+\.c\.o)\b", text))
        why = mutants.run([target] + self.args, LATE)
        return "%s fails without a mutation: %s" % (self.name, why) if why else ""

    def build(self, mutant, folder):
        """The program with the mutated files in place of the tree's; None if it does not reach all of them."""
        objects, reached = [], set()
        for source in self.sources:
            inside = [f for f in mutant.files if f in self.deps[source] and f.endswith((".c", ".h"))]
            reached.update(inside)
            objects.append(self.own(source, folder if inside else BASE))
            if inside:
                compile_file(source, objects[-1], self.flags, folder)
        for f in mutant.files:
            if f in reached or object_name(f) not in self.members:
                continue
            library = next(lib for lib in self.libraries if f in lib.sources)
            objects.append(os.path.join(folder, os.path.basename(library.path) + "." + object_name(f)))
            if not os.path.exists(objects[-1]):
                compile_file(os.path.join(folder, f), objects[-1], library.flags, folder)
            reached.add(f)
        if self.layer == "sim" and any(f.endswith(".h") for f in mutant.files):
            return None
        for f in mutant.files:  # what includes a mutated header is compiled anew as well
            for library in self.libraries if f.endswith(".h") else []:
                for source in library.including(f):
                    target = os.path.join(folder, os.path.basename(library.path) + "." + object_name(source))
                    if object_name(source) not in self.members or source in mutant.files:
                        continue
                    if not os.path.exists(target):
                        compile_file(source, target, library.flags, folder)
                    objects.append(target)
                    reached.add(f)
        if not reached:
            return None
        target = os.path.join(folder, self.name)
        self.link(objects, target)
        return target


def attack(mutant, programs):
    """(layer, program that killed it or None, what was seen)."""
    folder = os.path.join(OUT, mutant.name)
    try:
        mutant.write(folder)
        ran = []
        for p in sorted(programs, key=lambda p: mutant.rank(p.name)):
            target = p.build(mutant, folder)
            if not target:
                continue
            ran.append(p.name)
            why = mutants.run([target] + p.args, LATE)
            if why:
                return p.layer, p.name, why
        if mutant.model:
            return mutants.run_model(mutant.model, os.path.join(folder, "model"), "tools/model")
        return None, None, "survived " + " ".join(ran)
    except (mutants.Mismatch, RuntimeError) as e:
        return None, None, str(e)


def prepare(pool):
    """(programs that pass without a mutation, complaints about the others)."""
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(BASE)
    command(["make", "--no-print-directory", "O=" + O, "generated"])
    sources = sorted(glob.glob("hv/*.c") + glob.glob("hv/*/*.c") + glob.glob("hv/*/*/*.c") + glob.glob("tools/tests/fake/*.c"))
    shared = [s for s in sources if s.startswith(("hv/coherency/", "hv/mmu/"))]
    plain = Library("libhv", sources, [])
    switching = Library("libsim", shared, TINY + ["-include", "tools/tests/sim_atomic.h"])
    programs = [Program(layer, words, [switching, plain] if layer == "sim" else [plain])
                for layer, names in LAYERS for words in names]
    missing = ["%s does not exist" % p.name for p in programs if not p.exists()]
    programs = [p for p in programs if p.exists()]
    plain.build(pool)
    if any(p.layer == "sim" for p in programs):
        switching.build(pool)
    broken = list(pool.map(lambda p: p.prepare(), programs))
    return [p for p, why in zip(programs, broken) if not why], missing + [why for why in broken if why]


def main():
    os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    wanted = sys.argv[1:]
    chosen = [m for m in mutants.load("tools/mutants.txt") if not wanted or m.name in wanted]
    if not chosen:
        print("mutants: none is called %s" % " ".join(wanted))
        return 2
    killed, start = {}, time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        programs, complaints = prepare(pool)
        print("\n".join(complaints + ["%-30s %-8s %-18s %s" % ("mutant", "layer", "test", "seen")]), flush=True)
        for mutant, (layer, name, text) in zip(chosen, pool.map(lambda m: attack(m, programs), chosen)):
            print("%-30s %-8s %-18s %s" % (mutant.name, layer or "NONE", name or "-", text[:100]), flush=True)
            if layer:
                killed[layer] = killed.get(layer, 0) + 1
                shutil.rmtree(os.path.join(OUT, mutant.name), ignore_errors=True)
    n = sum(killed.values())
    print("mutants: %d of %d killed (%s) in %d s" % (
        n, len(chosen), ", ".join("%s %d" % x for x in killed.items()), time.monotonic() - start))
    return 0 if n == len(chosen) and not complaints else 1


if __name__ == "__main__":
    sys.exit(main())
