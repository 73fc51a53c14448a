# SPDX-License-Identifier: BSD-2-Clause
"""What the README files say is so: each command they show is run by a step of the check, and each option, variable, key,
exit code, path and link they name exists. Tested by tools/tests/test_docs.py and by being what `make check` runs."""
import os
import re
import shlex

from pblib import lint, session

BY_HAND = "by hand: "  # and why; allowed outside of the top README only
TABLES_README = "tools/README.md"  # has the tables that tables() compares
RUN = "docs/commands"  # run word for word by commands()
COVERED = [  # pattern of the whole command, the step that runs it
    (r"make help|make run HV=\"trace=1\" LOG=build/run.log </dev/null|echo '.*' \| make run", RUN),
    (r"tools/(stats|trace)\.py build/run\.log.*", RUN),
    (r"GDB_COMMANDS=.* make gdb", RUN),
    (r"make run( </dev/null)?", "boot/terminal-exit"),
    (r"(sudo )?make root|make run .*VMS=.*kernel=debian.*", "vms/debian"),
    (r"make run VMS=.*", "vms/two"),
    (r"make run .*pb\.script=\w+.*", "linux/full-4"),
    (r"make run BARE=1", "boot/bare"), (r"make run DIRECT=1 SMP=1", "boot/multiboot1"),
    (r"make run EMU=bochs SMP=1", "bochs/linux-1"), (r"make run EMU=bochs CPU=corei7_skylake_x SMP=1|make check-vmx", "vmx/linux-1"),
    (r"make run EMU=bochs .* HV=test=1", "bochs/hosted-2"), (r"make run EMU=bochs .* BARE=1", "bochs/bare-2"),
    (r"make check( (GROUP|STEP|QUICK|JOBS)=(\"[^\"]*\"|\S+))*|make check-(unit|guest|linux|boot)|GROUP=\S+ make check|tools/check\.py( [a-z]\S*)?", "build/gcc"),
    (r"tools/check\.py --(list|help)", "unit/tools"),
    (r"make check-model( DEEP=1)?|tools/model/run\.sh .*|build/model/.*", "model/explored"),
    (r"python3 tools/pblib/models\.py", "lint/model-map"),
    (r"make check-mutants", "unit/tools"), (r"make usb DEV=/dev/sdX", "unit/tools"),
    (r"make lint|make format lint", "lint/format"), (r"make iso", "build/image"),
    (r"make deb|sudo apt (install \./build/patchbay\.deb|purge patchbay)", "package/life"),
    (r"(sudo )?make disk( SUITE=\w+)?", "devices/disk"), (r"(sudo )?make run .*DISK=.*", "devices/session"),
    (r"make trace", "monitor/trace"), (r"make gdb", "gdb/commands"), (r"make cov", "unit/coverage"),
    (r"make bench( OPS=.*)?|make bench-(modes|growth|pool|kvm)\b.*|make bench HV=.*", "linux/bench"),
    (r"make bench-vms\b.*", "vms/bench"),
    (r"make bench-micro", "unit/micro"), (r"make bench-io\b.*", "devices/bench-io"), (r"make bench-count(-growth|-budget)?\b.*", "linux/count"),
    (r"make guest|make guest-bare .*|guest/run-bare\.sh .*", "guest/bare-4"),
    (r"make bench-(boot|stress)\b.*", BY_HAND + "its figures need an idle machine"),
    (r"make soak .*|build/sim2/sim .*", "unit/sim"),
    (r"make build/fuzz/.*", "unit/fuzz"),
    (r"tools/matrix\.sh .*", BY_HAND + "it makes whole systems"),
    (r"nice sh findings/\S+\.sh", BY_HAND + "it fetches what it tries"),
    (r"(sudo )?apt(-get)? install .*|git clone .*", BY_HAND + "before there is anything to check"),
]
COMMAND = re.compile(r"(?:[A-Z_]+=(?:\"[^\"]*\"|\S+) )*(?:sudo apt|git clone|make |tools/\S+\.(?:py|sh)\b|python3 |guest/\S+\.sh|nice sh |"
                     r"build/(?:sim|model|fuzz)|echo .*\| make)")


def readmes():
    return [n for n in lint.tracked("README.md") if not n.startswith("tools/tests/corpus")]


def without_blocks(text):
    return re.sub(r"(?ms)^```.*?^```$", "", text)


def commands_of(text):
    """Commands in fenced and indented blocks and in `spans`, without comments."""
    lines = []
    for block in re.findall(r"(?ms)^```\w*\n(.*?)^```$", text):
        lines += block.splitlines()
    rest = without_blocks(text)
    lines += re.findall(r"(?m)^ {4}(\S.*)$", rest)
    lines += re.findall(r"`([^`\n]+)`", rest)
    found = []
    for line in lines:
        command = re.sub(r"\s+#.*$", "", line.strip())
        bare_path = re.fullmatch(r"(tools|guest|build)/[\w./-]+", command)
        if COMMAND.match(command) and not bare_path and not re.search(r"\b(LOG|NAME)\b(?!=)", command):
            found.append(command)
    return found


def coverage(command):
    for pattern, how in COVERED:
        if re.fullmatch(pattern, command):
            return how
    return None


def makefile_names():
    """(targets, variables) of the Makefile and its fragments."""
    text = "\n".join(lint.read(n) for n in lint.tracked("Makefile", ".mk"))
    targets = {t for line in re.findall(r"(?m)^([a-z][\w -]*):(?!=)", text) for t in line.split()}
    return targets, set(re.findall(r"\b([A-Z][A-Z_]*)\b", text))


def commands_known(name, text, steps):
    problems = []
    targets, variables = makefile_names()
    tools = "\n".join(lint.read(n) for n in lint.tracked(".py", ".sh") if not n.startswith("tools/tests/"))
    for command in commands_of(text):
        how = coverage(command)
        if how is None:
            problems.append("%s: no step is known to run '%s' (tools/pblib/docs.py)" % (name, command))
        elif how.startswith(BY_HAND):
            if name == "README.md" and "before" not in how:
                problems.append("%s: '%s' is not run by make check" % (name, command))
        elif steps is not None and how not in steps:
            problems.append("docs.py: there is no step %s for '%s'" % (how, command))
        words = shlex.split(command.split("|")[-1].split("<")[0])
        plain = [w for w in words if "=" not in w]
        for word in words if plain[:1] == ["make"] else []:
            variable = re.match(r"([A-Z_]+)=", word)
            if variable and variable.group(1) not in variables and variable.group(1) not in tools:
                problems.append("%s: '%s': nothing reads %s=" % (name, command, variable.group(1)))
            elif re.fullmatch(r"[a-z][a-z-]*", word) and word not in targets | {"make"}:
                problems.append("%s: '%s': no target %s" % (name, command, word))
        script = words[0] if re.match(r"tools/\S+\.py", words[0]) else ""
        for word in words[1:] if script else []:
            if word.startswith("--") and word not in lint.read(script):
                problems.append("%s: %s has no %s" % (name, script, word))
    return problems


def anchor(heading):
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower().replace("`", "")).strip().replace(" ", "-")


def links(name, text):
    """Relative links lead somewhere, to a heading that is there; paths in backticks exist."""
    problems = []
    here, body = os.path.dirname(name), without_blocks(text)
    for target in re.findall(r"\]\(([^)\s]+)\)", body):
        path, _, mark = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        full = os.path.normpath(os.path.join(here, path)) if path else name
        if not os.path.exists(full):
            problems.append("%s: the link %s leads nowhere" % (name, target))
        elif mark and mark not in [anchor(h) for h in re.findall(r"(?m)^#+ (.*)$", lint.read(full))]:
            problems.append("%s: %s has no heading for #%s" % (name, full, mark))
    for path in re.findall(r"`((?:boot|arch-x86|hv|guest|tools|findings)/[\w./-]*)`", body):
        if not os.path.exists(path) and not re.search(r"NAME", path):
            problems.append("%s names %s, which does not exist" % (name, path))
    return problems


def hv_words(name, text, options):
    """key=value words in HV="..." and in `spans` that look like options of the hypervisor."""
    known = {m: v for m, v in re.findall(r"(?m)^(\w+)=(.*)$", options)}
    strings = re.findall(r'\bHV="([^"]*)"|\bHV=([a-z]\S*)', text)
    problems = []
    for word in " ".join(a or b for a, b in strings).split():
        key, _, value = word.partition("=")
        simple = known.get(key, "").split("|")
        if key not in known:
            problems.append("%s: HV= has %s, which is no option" % (name, word))
        elif all(re.fullmatch(r"[a-z]+", v) for v in simple) and value not in simple:
            problems.append("%s: HV= has %s, which is none of %s" % (name, word, known[key]))
    return problems


def section(text, title):
    found = re.search(r"(?ms)^## %s\n(.*?)(?=^## |\Z)" % re.escape(title), text)
    return found.group(1) if found else ""


def tables(text):
    """The tables of tools/README.md against the sources: exit codes, gdb commands, variables of make."""
    problems = []
    told = {int(n) for n in re.findall(r"(?m)^\| (\d+) \|", section(text, "Exit codes of `make run` (of `tools/run.py`)"))}
    there = {session.OK, session.USAGE, session.PANIC, session.PARKED, session.TIMEOUT, session.RESET, session.ENDED,
             session.STOPPED}
    if told != there:
        problems.append(TABLES_README + ": exit codes %s, session.py has %s" % (sorted(told), sorted(there)))
    table = text.partition("<!-- gdb commands: begin -->")[2].partition("<!-- gdb commands: end -->")[0]
    told = set(re.findall(r"(?m)^\| `(hv-\w+)", table))
    there = set(re.findall(r'(?m)^    name = "(hv-\w+)"', lint.read("tools/gdb/hv.py")))
    if told != there or not there:
        problems.append(TABLES_README + ": gdb commands differ: %s" % " ".join(sorted(told ^ there)))
    told = set(re.findall(r"`([A-Z]+)=", section(text, "Variables of make")))
    missing = told - makefile_names()[1]
    offered = set(re.findall(r"\b([A-Z]+)=", lint.read("Makefile").partition("@echo 'Variables:")[2].partition("Typical")[0]))
    if missing or not told or offered - told:
        problems.append(TABLES_README + ": variables of make: unknown %s, not told %s" % (sorted(missing), sorted(offered - told)))
    return problems


def reading_path(text):
    """The functions of the hour-by-hour path are defined somewhere."""
    rows = re.findall(r"(?m)^\| \d+: .*\|([^|]*)\|$", section(text, "Reading order"))
    names = {n for row in rows for n in re.findall(r"`([a-z]\w+)`", row)}
    code = "\n".join(lint.read(n) for n in lint.tracked(".c"))
    return (["README.md: %s is in the path for readers and defined nowhere" % n
             for n in sorted(names) if not re.search(r"(?m)^\w[^\n;=]*\b%s\(" % n, code)]
            or ([] if len(names) > 10 else ["README.md: the hour-by-hour path for readers is not found"]))


def problems_of(out, steps=None):
    """steps: the names of all steps, or None where they are not known."""
    options, problems = lint.options_text(out), []
    for name in readmes():
        text = lint.read(name)
        problems += commands_known(name, text, steps) + links(name, text) + hv_words(name, text, options)
    return problems + tables(lint.read(TABLES_README)) + reading_path(lint.read("README.md"))


def word_for_word(out):
    """The README files' commands that commands() runs, with the output folder of this check. One that makes build/run.log comes
    before those that read it."""
    found = [c for name in readmes() for c in commands_of(lint.read(name)) if coverage(c) == RUN]
    found.sort(key=lambda c: "build/run.log" in c and "LOG=" not in c)
    return [c.replace("build/", out + "/") for c in dict.fromkeys(found)]


def commands(out, names):
    """The action of docs/commands. names(): every step's."""

    def action(results):
        for text in problems_of(out, names()):
            results.fail(text)
        made = word_for_word(out)
        results.expect(len(made) >= 5, "only %d commands found" % len(made))
        for command in made:
            text = results.command(["sh", "-c", command], 900, {"O": out, "SMP": "2", "DIRECT": "1", "NAME": "docs", "TIMEOUT": "600"})
            results.expect(len(text) > 100, "'%s' says nothing" % command)

    return action
