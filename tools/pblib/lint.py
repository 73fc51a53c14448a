# SPDX-License-Identifier: BSD-2-Clause
"""The lints: each is a function of the output folder that returns a list of problems.
Tested by tools/tests/test_pblib.py."""
import json
import os
import re
import shutil
import subprocess

from pblib import steps

# Each version formats and warns differently: this one is in Debian 12, 13 and sid and in Ubuntu, as packages of these
# names (tools/packages.txt).
FORMATTER, TIDIER = "clang-format-19", "clang-tidy-19"
# The rooms of hv/ in their order: each may include and call those before it. hv/main.c sits on top.
LAYERS = ["base", "port", "mem", "coherency", "mmu", "insn", "vdev", "vdev/pci", "vdev/pc",
          "vdev/virtio", "pass", "vm", "vm/tables", "vm/load", "vcpu",
          "emulate", "exit", "subvmm", "mon"]
MAX_LINES = 600
OPTIONS_README = "boot/README.md"  # has the option table, between these
MARK_BEGIN, MARK_END = "<!-- options: begin -->", "<!-- options: end -->"


def tracked(*suffixes):
    """Files of the project that exist, by suffix."""
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], stdout=subprocess.PIPE, check=True)
    names = names.stdout.decode().splitlines()
    return sorted(n for n in names if n.endswith(suffixes or ("",)) and os.path.isfile(n))


def read(name):
    with open(name, encoding="utf-8", errors="surrogateescape") as f:
        return f.read()


def output_of(args):
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout.decode("utf-8", "replace")


SOURCES = (".c", ".h", ".S", ".py", ".sh", ".mk", ".ld", ".asl", ".dsl")


def spdx(_out):
    problems = []
    for name in tracked():
        text = read(name)
        kind = name.endswith(SOURCES) or os.path.basename(name) == "Makefile" or text.startswith("#!")
        if not kind:
            continue
        if not any("SPDX-License-Identifier: BSD-2-Clause" in line for line in text.splitlines()[:2]):
            problems.append(name + ": no SPDX line at its head")
    return problems


def ascii_and_size(_out):
    problems = []
    for name in tracked():
        if name.startswith(("LICENSE", "tools/tests/corpus/")):  # the corpora are bytes
            continue
        text = read(name)
        for number, line in enumerate(text.splitlines(), 1):
            if any(ord(c) > 126 or (ord(c) < 32 and c != "\t") for c in line):
                problems.append("%s:%d: not ASCII" % (name, number))
            if line != line.rstrip():
                problems.append("%s:%d: blank at the end of the line" % (name, number))
            if re.search(r"\b(TODO|FIXME|XXX)\b", line) and name.endswith((".c", ".h", ".S")):
                problems.append("%s:%d: unfinished business" % (name, number))
        if name.endswith(SOURCES) and text.count("\n") > MAX_LINES:
            problems.append("%s: %d lines, at most %d" % (name, text.count("\n"), MAX_LINES))
    return problems


def layer_of(path):
    """Position of a file of hv/ in the order of rooms; hv/*.c and hv/*.h sit on top, as does a room without a place."""
    room = os.path.dirname(path)[len("hv/"):]
    return LAYERS.index(room) if room in LAYERS else len(LAYERS)


# Headers that a room may include although they lie after it: room -> headers.
SHAPES = {
    # What the machine provides to everything: no code of hv/ is behind it.
    "base": {"hv/port/cpu.h", "hv/port/machine.h"},
}


def layers(_out):
    """boot -> arch-x86 -> hv; within hv only to rooms before; no assembly in hv."""
    folders = {os.path.dirname(n)[len("hv/"):] for n in tracked(".c", ".h") if n.startswith("hv/")}
    problems = ["hv/%s has no place in the order of rooms (LAYERS)" % f for f in sorted(folders - set(LAYERS) - {""})]
    for name in tracked(".c", ".h"):
        top = name.split("/")[0]
        if top not in ("hv", "arch-x86", "boot"):
            continue
        text = read(name)
        for included in re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.M):
            folder = included.split("/")[0]
            bad = False
            if top == "hv":
                if folder == "hv":
                    mine, theirs = layer_of(name), layer_of(included)
                    bad = theirs > mine and included not in SHAPES.get(os.path.dirname(name)[len("hv/"):], set())
                else:
                    bad = not included.startswith("arch-x86/defs/")
            elif top == "arch-x86":
                bad = folder not in ("arch-x86", "hv") or (name.startswith("arch-x86/defs/") and folder != "arch-x86")
            if bad:
                problems.append("%s includes %s" % (name, included))
            if "/" not in included:
                problems.append("%s: include %s by its path from the root" % (name, included))
        if top == "hv" and re.search(r"\b(__asm__|asm)\b\s*(volatile|\()", text):
            problems.append(name + ": assembly in hv/")
    return problems


# Calls to a room that lies after the caller's: (caller, function): why. None so far.
CALLS = {}


def call_problems(symbols):
    """Uses of what a room after the user's own defines. symbols: {source: (defined, undefined names)}."""
    home = {s: source for source, (defined, _) in symbols.items() for s in defined}
    problems = []
    for source, (_, undefined) in sorted(symbols.items()):
        for s in sorted(undefined):
            if s in home and layer_of(home[s]) > layer_of(source) and (source, s) not in CALLS:
                problems.append("%s uses %s of %s, a room after its own" % (source, s, home[s]))
    return problems


# Rooms whose files call each other in circles so far: room -> why.
CIRCLES = {
    "vdev/pc": "the bus of the PC and its devices know each other: a line of one is an input of another",
    "vcpu": "vcpu.c has both power-on, which calls every rule, and injection, which every rule calls",
    "emulate": "the emulator's frame and the groups of instructions are one program in nine files",
}


def circle_problems(symbols):
    """Files of one room that reach each other by calls."""
    home = {s: source for source, (defined, _) in symbols.items() for s in defined}
    nearby = {source: {home[s] for s in undefined if s in home and os.path.dirname(home[s]) == os.path.dirname(source)}
              for source, (_, undefined) in symbols.items()}
    problems, told = [], set()
    for source in sorted(nearby):
        reached, todo = {}, [(source, n) for n in nearby[source] - {source}]
        while todo:
            before, at = todo.pop()
            if at not in reached:
                reached[at] = before
                todo += [(at, n) for n in nearby[at]]
        if source in reached and source not in told and os.path.dirname(source)[len("hv/"):] not in CIRCLES:
            way, at = [source], reached[source]
            while at != source:
                way.append(at)
                at = reached[at]
            told.update(way)
            problems.append("a circle of calls: " + " <- ".join(way + [source]))
    return problems


def symbols_of(text):
    """(defined, undefined) external names in the output of nm -g."""
    words = [line.split() for line in text.splitlines()]
    return ({w[2] for w in words if len(w) == 3}, {w[1] for w in words if len(w) == 2 and w[0] == "U"})


def calls(out):
    """No function of hv/ uses one of a room after its own, and no room has a circle of files: what the host objects define and leave undefined."""
    code, text = output_of(["make", "--no-print-directory", "O=" + out, os.path.join(out, "host/libhv.a")])
    if code:
        raise RuntimeError("libhv.a does not build: " + text.strip()[-300:])
    symbols = {}
    for name in tracked(".c"):
        if name.startswith("hv/"):
            code, text = output_of(["nm", "-g", os.path.join(out, "host", name + ".o")])
            if code:
                raise RuntimeError(text.strip()[-300:])
            symbols[name] = symbols_of(text)
    return call_problems(symbols) + circle_problems(symbols)


def headers(out):
    """Each header compiles alone, in the way the image is compiled."""
    flags = json.loads(read(os.path.join(out, "compile_commands.json")))[0]["command"].split(" -c ")[0].split()
    problems = []
    for name in tracked(".h"):
        if name.split("/")[0] not in ("hv", "arch-x86", "boot"):
            continue
        if "#pragma once" not in read(name):
            problems.append(name + ": no #pragma once")
        code, text = output_of(flags + ["-fsyntax-only", "-Wno-unused-function", "-Wno-unused-const-variable",
                                        "-x", "c", "-include", name, "/dev/null"])
        if code:
            problems.append("%s is not self-contained: %s" % (name, text.strip().splitlines()[0]))
    return problems


def clang_format(out):
    steps.needs_package(out, FORMATTER)
    problems = []
    for name in tracked(".c", ".h"):
        code, text = output_of([FORMATTER, "--dry-run", "-Werror", name])
        if code:
            problems.append("%s: clang-format would change it (make format)" % name)
    return problems


TIDY = ("-*,bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier,"
        "-bugprone-narrowing-conversions,-bugprone-implicit-widening-of-multiplication-result,"
        "-bugprone-branch-clone,-bugprone-macro-parentheses,-bugprone-assignment-in-if-condition,"
        "-bugprone-casting-through-void,"  # how -Wcast-align is told that the alignment was seen to
        "cert-err34-c,cert-fio38-c,cert-flp30-c,misc-redundant-expression,misc-static-assert,"
        "misc-unused-parameters,readability-function-size,clang-analyzer-core.*,clang-analyzer-deadcode.*")
TIDY_CONFIG = ("{CheckOptions: [{key: readability-function-size.LineThreshold, value: 60},"
               "{key: readability-function-size.StatementThreshold, value: 400},"
               "{key: readability-function-size.BranchThreshold, value: 100}]}")


def clang_tidy(out):
    steps.needs_package(out, TIDIER)
    files = [n for n in tracked(".c") if n.split("/")[0] in ("hv", "arch-x86", "boot")]
    jobs = str(os.cpu_count() or 2)
    done = subprocess.run(["xargs", "-P", jobs, "-n", "4", TIDIER, "--quiet", "-p", out, "-checks=" + TIDY,
                           "-config=" + TIDY_CONFIG], input="\n".join(files).encode(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    text = done.stdout.decode("utf-8", "replace")
    found = re.findall(r"^.*: (?:warning|error): .*$", text, re.M)
    here = os.getcwd() + "/"
    if done.returncode and not found:
        return ["%s: status %d: %s" % (TIDIER, done.returncode, done.stderr.decode("utf-8", "replace").strip()[-300:])]
    return sorted({line.replace(here, "") for line in found})


def cppcheck(out):
    steps.needs_package(out, "cppcheck")
    # comparePointers, subtractPointers: symbols of the linker script bound one object. zerodivcond: false for a do-while.
    suppressed = ["comparePointers", "subtractPointers", "zerodivcond", "missingInclude", "missingIncludeSystem", "unmatchedSuppression", "unusedFunction",
                  "normalCheckLevelMaxBranches", "invalidPrintfArgType_uint", "invalidPrintfArgType_sint",
                  "checkersReport", "preprocessorErrorDirective", "syntaxError:arch-x86/cpu/asm.h"]
    folders = [f for f in ("hv", "arch-x86", "boot") if os.path.isdir(f)]
    code, text = output_of(["cppcheck", "-q", "-j", str(os.cpu_count() or 2), "--std=c11", "--platform=unix64",
                            "--enable=warning,portability", "--inline-suppr", "-I.", "--error-exitcode=1",
                            "--template={file}:{line}: {severity}: {message} [{id}]"]
                           + ["--suppress=" + s for s in suppressed] + folders)
    return [line for line in text.splitlines() if re.match(r"\S+:\d+: ", line)] if code else []


def shell(_out):
    """Every shell script parses; shellcheck where it is installed."""
    problems = []
    for name in tracked():
        first = read(name).split("\n", 1)[0]
        if not re.match(r"#!.*\b(sh|bash)\b", first):
            continue
        code, text = output_of(["bash" if "bash" in first else "sh", "-n", name])
        if code:
            problems.append("%s: %s" % (name, text.strip()))
        elif shutil.which("shellcheck"):
            code, text = output_of(["shellcheck", "-x", "-S", "warning", "-e", "SC1091", name])
            problems += ["%s: shellcheck: %s" % (name, text.strip().splitlines()[0])] if code else []
    return problems


def options_text(out):
    """The option table as the hypervisor prints it."""
    program = os.path.join(out, "host/options-table")
    code, text = output_of(["make", "--no-print-directory", "O=" + out, program])
    if code:
        raise RuntimeError("options-table does not build: " + text.strip()[-300:])
    code, text = output_of([program])
    return "\n".join(line.rstrip() for line in text.splitlines())


def readme_with(options):
    head, _, rest = read(OPTIONS_README).partition(MARK_BEGIN)
    _, _, tail = rest.partition(MARK_END)
    return head + MARK_BEGIN + "\n```\n" + options + "\n```\n" + MARK_END + tail


def readme(out):
    """The option table is the program's own."""
    text = read(OPTIONS_README)
    if MARK_BEGIN not in text or readme_with(options_text(out)) != text:
        return [OPTIONS_README + ": the option table is not current (tools/lint.py --write)"]
    return []


def tests_named(_out):
    """A file that says "Tested by PATH" names something that exists."""
    problems = []
    for name in tracked(".c", ".h", ".S", ".py", ".sh"):
        head = "\n".join(read(name).splitlines()[:12])
        for path in re.findall(r"[Tt]ested by [^*]*?((?:tools|guest)/[\w/.-]+\.(?:c|py|sh))", head):
            if not os.path.exists(path):
                problems.append("%s says it is tested by %s, which does not exist" % (name, path))
    return problems


# name, function, needs the built image
CHECKS = [
    ("spdx", spdx, False), ("text", ascii_and_size, False), ("layers", layers, False), ("calls", calls, True), ("shell", shell, False),
    ("format", clang_format, False), ("tests-named", tests_named, False), ("headers", headers, True),
    ("clang-tidy", clang_tidy, True), ("cppcheck", cppcheck, False), ("readme", readme, True),
]
