#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs the checks: check.py [--list] [WORD...]. A WORD is a group, a step's name (linux/full-4), its beginning from the group on
(linux/co), or a pattern (guest/*-4); none: all. From the environment, where make puts them:
  GROUP=  words, if the command line has none
  STEP=   of these, the steps with these names after the slash, or patterns: GROUP=linux STEP=full-4, STEP='hosted-*'
  QUICK=1 of these, the quick choice, five minutes on two CPUs once everything was built: gcc's build, the lints but clang-tidy
          and cppcheck, host tests and a short simulation, one boot of each kind on QEMU. It leaves out Bochs, the models, clang,
          fuzzers, coverage, the guests that users bring, most options, boot ways and consoles, monitor, gdb, the README's commands
  JOBS=   steps at once, by default a CPU each; heavy ones (an emulator of 4 CPUs) at most half of that; 1: one after the other
Prints each step in the order of --list, whichever is done first, keeps logs in build/logs, and ends with "N passed, N failed";
the exit status is 0 only if nothing failed. What a step needs is run before it. Time limits are bounds against hanging, never
assertions. Tested by .ci/run and tools/tests/test_check.py."""
import os
import sys

from pblib import lifeline
from pblib import steps as machinery
from pblib.linux import LOGS, OUT
from steps import all_steps


def places(text):
    """How many steps run at once."""
    if not text:
        return os.cpu_count() or 2
    if not text.isdigit() or int(text) < 1:
        raise machinery.Unknown("JOBS=%s is no number of steps from 1 on" % text)
    return int(text)


def chosen_steps(every, words, environ):
    """(what is to run, in order; lines for the console before it)."""
    quick = environ.get("QUICK", "") not in ("", "0")
    chosen = machinery.choose(every, words or environ.get("GROUP", "").split(), environ.get("STEP", "").strip(), quick)
    order = machinery.with_needs(every, chosen)
    said = []
    if quick:
        said = ["quick: %d of %d steps; not run, or not all of it:" % (len(order), len(every)), machinery.left_out(every, order)]
    return order, said


def prepare():
    """The steps set the Makefile's variables themselves; and one version and date for every build, whatever is committed
    meanwhile."""
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "KERNEL", "INITRD", "APPEND", "MODULES", "HV", "SMP", "MEM",
                 "TIMEOUT", "SILENCE", "LOG", "FW", "EMU", "TEST", "CPU", "MACHINE", "USB", "BARE", "DIRECT", "NAME",
                 "GROUP", "STEP", "QUICK"):
        os.environ.pop(name, None)
    os.environ["O"] = OUT
    for name, args in (("VERSION", ["describe", "--always", "--dirty"]), ("SOURCE_DATE_EPOCH", ["log", "-1", "--format=%ct"])):
        code, text = machinery.run_command(["git"] + args, 60)
        if code == 0:
            os.environ.setdefault(name, text.strip())


def run(order, jobs):
    """Runs the steps; the exit status."""
    os.makedirs(LOGS, exist_ok=True)
    runner = machinery.Runner(order, LOGS, jobs, emit=lambda text: print(text, flush=True))

    def end():
        """Not by an exception, which would unwind through what the main thread is doing."""
        try:
            runner.say_rest()
        except (OSError, RuntimeError):  # the terminal is gone; the signal came while a line was printed
            pass
        finally:
            os._exit(2)

    lifeline.end_with_callers(end)
    try:
        good = runner.run()
    except KeyboardInterrupt:
        end()
    print("%d passed, %d failed%s" % (runner.passed, runner.failed, ", %d skipped" % runner.skipped if runner.skipped else ""))
    return 0 if good else 1


def main():
    os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    words = sys.argv[1:]
    if "-h" in words or "--help" in words:
        print(__doc__)
        return 0
    every = all_steps()
    listed = "--list" in words
    try:
        order, said = chosen_steps(every, [w for w in words if w != "--list"], os.environ)
        jobs = places(os.environ.get("JOBS", ""))
    except machinery.Unknown as e:
        print("check: %s" % e)
        return 2
    if listed:
        for step in order:
            print("%-46s %-6s%s" % (step.name, step.weight, " quick" if step.quick else ""))
        return 0
    for line in said:
        print(line, flush=True)
    prepare()
    return run(order, jobs)


if __name__ == "__main__":
    sys.exit(main())
