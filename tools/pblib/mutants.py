# SPDX-License-Identifier: BSD-2-Clause
"""The list of deliberate bugs (tools/mutants.txt): reading it, applying one. A place is found by its text, white
space aside, and must be found exactly once, so that a mutant never silently changes nothing. Tested by
tools/tests/test_mutants.py."""
import os
import re
import resource
import shutil
import signal
import subprocess
import threading


class Mismatch(Exception):
    """The text to be replaced is not in its file exactly once."""


class Mutant:
    def __init__(self, name):
        self.name, self.why, self.first, self.model, self.edits = name, "", [], [], []

    @property
    def files(self):
        return sorted({path for path, _, _ in self.edits})

    def rank(self, program):
        """Programs named by `first` run before the others; the rest keep their order."""
        return self.first.index(program) if program in self.first else len(self.first)

    def write(self, folder, root="."):
        """Puts the mutated copies of the files concerned below `folder`."""
        for path in self.files:
            with open(os.path.join(root, path)) as f:
                text = f.read()
            for where, old, new in self.edits:
                if where == path:
                    text = replace_once(text, old, new, path)
            target = os.path.join(folder, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "w") as f:
                f.write(text)


def replace_once(text, old, new, path):
    pattern = r"\s+".join(re.escape(word) for word in old.split())
    found = list(re.finditer(pattern, text))
    if len(found) != 1:
        raise Mismatch("%s: found %d times: %s" % (path, len(found), " ".join(old.split())))
    return text[:found[0].start()] + new + text[found[0].end():]


def load(path):
    with open(path) as f:
        return parse(f.read())


def parse(text):
    """`mutant NAME: why`, optionally `first PROGRAM...` and `model NAME FLAG...`, then one or more of `file PATH` and old text between
    <<<< and ====, new text up to >>>>."""
    out, where, old, new, mode = [], None, [], [], None
    for number, line in enumerate(text.splitlines(), 1):
        if mode == "old" and line == "====":
            mode = "new"
        elif mode == "new" and line == ">>>>":
            out[-1].edits.append((where, "\n".join(old), "\n".join(new)))
            mode = None
        elif mode == "old":
            old.append(line)
        elif mode == "new":
            new.append(line)
        elif line == "<<<<" and where:
            mode, old, new = "old", [], []
        elif line.startswith("mutant "):
            name, _, why = line[7:].partition(":")
            out.append(Mutant(name.strip()))
            out[-1].why, where = why.strip(), None
        elif line.startswith("first ") and out:
            out[-1].first = line.split()[1:]
        elif line.startswith("model ") and out:
            out[-1].model = line.split()[1:]
        elif line.startswith("file ") and out:
            where = line.split()[1]
        elif line.strip() and not line.startswith("#"):
            raise ValueError("mutants.txt:%d: %s" % (number, line))
    if mode or any(not m.edits for m in out) or len({m.name for m in out}) != len(out):
        raise ValueError("mutants.txt: an unfinished, empty or repeated mutant")
    return out


def run(arguments, timeout, cpu_seconds=60):
    """"" if the program passes, else the line that says why it does not. It is not kept running after that line. A
    program that does not end is known by its processor time, since a busy machine makes any program late."""
    def limit():
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))

    p = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=limit)
    late = threading.Event()

    def end():
        late.set()
        p.kill()

    timer = threading.Timer(timeout, end)
    timer.start()
    why = ""
    try:
        for raw in p.stdout:
            line = raw.decode(errors="replace").rstrip()
            if line.startswith(("not ok", "# FAILED")) or "panic:" in line:
                why = line
                p.kill()
                break
        code = p.wait()
    finally:
        timer.cancel()
        p.stdout.close()
    if why:
        return why
    if late.is_set() or code in (-signal.SIGXCPU, -signal.SIGKILL):
        return "does not end"
    return "status %d" % code if code else ""


def known_bad(script, name, flags):
    """Does run.sh demand that the model be refuted with these flags? Its loops name variants without -D."""
    script = script.replace("\\\n", " ")
    if "bad %s\n" % " ".join([name] + flags) in script:
        return True
    if not flags:
        return False
    loop = r"for v in ([^;]*); do\s+bad %s -D\$v%s\n" % (name, re.escape("".join(" " + x for x in flags[1:])))
    return any(flags[0][2:] in variants.split() for variants in re.findall(loop, script))


def run_model(words, folder, models):
    """For a mutant that no order of x86 tells from the original: the model in which it is wrong must be one of the
    known-bad variants of run.sh, and be refuted."""
    name, flags = words[0], words[1:]
    with open(os.path.join(models, "run.sh")) as f:
        if not known_bad(f.read(), name, flags):
            return None, None, "survived, and no model has the variant " + " ".join(words)
    os.makedirs(folder)
    for part in (name + ".pml", "tso.inc"):
        shutil.copy(os.path.join(models, part), folder)
    for step in (["spin", "-a"] + flags + [name + ".pml"],
                 ["gcc", "-O1", "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=2000", "pan.c", "-o", "pan"],
                 ["./pan", "-m200000"]):
        p = subprocess.run(step, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    for line in p.stdout.decode(errors="replace").splitlines():
        if re.match(r"pan:1: (assertion violated|invalid end state)", line):
            return "model", name, line
    return None, None, "survived, and the model too"
