# SPDX-License-Identifier: BSD-2-Clause
"""One emulator with the benchmark's guest in it: started, stopped while others run, asked for operations over its
console, its CPU time and Patchbay's counters read from outside. Tested by the step linux/bench of tools/check.py."""
import json
import os
import select
import signal
import socket
import struct
import subprocess
import time

from pblib import elfsym, emu, lifeline

BAD = ("patchbay: panic", "patchbay: stopped", "patchbay: parked", "Kernel panic", "PBB error")
MAX_CPUS = 128  # HV_MACHINE_CPUS of hv/base/types.h
SETTLE_SECONDS = 0.1  # after a start and before a measurement: what is left over is not measured


class Failed(Exception):
    """The guest or the emulator did not do as asked; the text says what was seen."""


class Counters:
    """Patchbay's statistics (hv/base/stats.h), read from the machine's memory without the guest taking part."""

    def __init__(self, elf):
        image = elfsym.Image(elf)
        self.names = image.strings("stat_name")
        self.exits = image.strings("vmexit_name")
        self.address, self.size = image.symbols["hv_stats"]
        if self.size % MAX_CPUS or self.size // MAX_CPUS < (len(self.names) + len(self.exits)) * 8:
            raise Failed("hv_stats is not what hv/base/stats.h has: counters, then exits, for %d CPUs" % MAX_CPUS)

    def parse(self, data, cpus):
        """Sums of all CPUs: name -> value, exits as exit:NAME."""
        stride = self.size // MAX_CPUS
        total = {}
        for cpu in range(cpus):
            values = struct.unpack_from("<%dQ" % (stride // 8), data, cpu * stride)
            for name, value in zip(self.names, values):
                total[name] = total.get(name, 0) + value
            for name, value in zip(self.exits, values[len(self.names):]):
                total["exit:" + name] = total.get("exit:" + name, 0) + value
        return total


class Sample:
    """One measurement: seconds of host CPU, seconds and TSC units in the guest, counters; of a device's operation its
    interrupts and packets as the guest's kernel counts them."""

    def __init__(self, cpu, wall, counts, tsc=0):
        self.cpu, self.wall, self.counts, self.tsc = cpu, wall, counts, tsc
        self.interrupts = self.packets = 0


class Machine:
    """name: how the report calls it. run: a config.Run whose guest runs the script bench."""

    def __init__(self, name, run, limit=150):
        self.name, self.run, self.limit = name, run, limit
        self.counters = None if run.bare else Counters(run.elf)
        self._text = ""
        self._stopped = False

    # --- start and end ---------------------------------------------------------------------------
    def boot(self):
        """Seconds of host CPU and of wall time until the guest is ready."""
        qmp = self.run.file("qmp")
        if os.path.exists(qmp):
            os.remove(qmp)
        args = emu.qemu_args(self.run) + ["-qmp", "unix:%s,server=on,wait=off" % qmp]
        self._log = open(self.run.log, "wb")
        self._errors = open(self.run.file("stderr"), "w+b")
        self._start = time.monotonic()
        self._child = subprocess.Popen(lifeline.tied(args), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=self._errors, bufsize=0, start_new_session=True)
        words = self._wait("PBB ready").split()
        self.cpus = int(words[2])
        boot = Sample(self._cpu_seconds(), time.monotonic() - self._start, {})
        self._qmp = socket.socket(socket.AF_UNIX)
        self._qmp.settimeout(60)
        self._qmp.connect(qmp)
        self._replies = self._qmp.makefile("r")
        self._replies.readline()
        self._command("qmp_capabilities")
        self.stop()
        return boot

    def close(self):
        """Powers the guest off if it can, else ends the emulator."""
        if not hasattr(self, "_child"):
            return
        try:
            self.resume()
            self._send("quit")
            self._child.wait(timeout=60)
        except (OSError, Failed, AttributeError, subprocess.TimeoutExpired):
            pass
        if self._child.poll() is None:
            os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
        self._log.close()

    def _command(self, name, **arguments):
        self._qmp.sendall((json.dumps({"execute": name, "arguments": arguments}) + "\n").encode())
        while True:
            line = self._replies.readline()
            if not line:
                raise Failed("%s: the emulator is gone" % self.name)
            answer = json.loads(line)
            if "error" in answer:
                raise Failed("%s: %s: %s" % (self.name, name, answer["error"].get("desc")))
            if "return" in answer:
                return

    def stop(self):
        """The whole emulator stands still until resume(). By a signal and not by QMP: that would kick the emulated
        CPUs, and QEMU 7.2 then delivers an interrupt that a hypervisor has just injected a second time, IF or not."""
        if not self._stopped:
            os.killpg(self._child.pid, signal.SIGSTOP)
        self._stopped = True

    def resume(self):
        if self._stopped:
            os.killpg(self._child.pid, signal.SIGCONT)
        self._stopped = False

    # --- the console -----------------------------------------------------------------------------
    def _send(self, line):
        os.write(self._child.stdin.fileno(), (line + "\n").encode())

    def _wait(self, word):
        """The rest of the first line from `word` on."""
        end = time.monotonic() + self.limit
        while True:
            while "\n" in self._text:
                line, _, self._text = self._text.partition("\n")
                if word in line:
                    return line[line.index(word):].strip()
                if any(bad in line for bad in BAD):
                    raise Failed("%s: %s" % (self.name, line.strip()))
            left = end - time.monotonic()
            if left <= 0:
                self._ask_monitor()
                raise Failed("%s: no '%s' within %d s; console: %s" % (self.name, word, self.limit, self.run.log))
            self._read(min(left, 1))

    def _read(self, seconds):
        """Takes what the console says within this time; false if nothing."""
        if not select.select([self._child.stdout], [], [], seconds)[0]:
            return False
        data = os.read(self._child.stdout.fileno(), 65536)
        if not data:
            raise Failed("%s: the emulator ended; console: %s" % (self.name, self.run.log))
        self._log.write(data)
        self._log.flush()
        self._text += data.decode("utf-8", "replace")
        return True

    def _ask_monitor(self):
        """A guest that does not answer: CPUs, devices, registers and events go to its console's log."""
        if not self.counters:
            return
        for keys in ["\x14\x14", "c", "d", "s"] + ["r%d\r" % cpu for cpu in range(self.run.smp)] + ["e\r"]:
            os.write(self._child.stdin.fileno(), keys.encode())
            while self._read(2):
                pass

    # --- measurements ----------------------------------------------------------------------------
    def _cpu_seconds(self):
        # The CPU-time clock of another process: clock_getcpuclockid(3), of all its threads.
        return time.clock_gettime((~self._child.pid << 3) | 2)

    def _counts(self):
        if not self.counters:
            return {}
        return self.counters.parse(self.memory(self.counters.address, self.counters.size), self.cpus)

    def memory(self, address, size):
        """What physical memory holds there."""
        stopped = self._stopped
        self.resume()
        path = self.run.file("counters")
        self._command("pmemsave", val=address, size=size, filename=path)
        if stopped:
            self.stop()
        with open(path, "rb") as f:
            return f.read()

    def measure(self, op):
        """One measurement of an operation, the handshake included."""
        self.resume()
        time.sleep(SETTLE_SECONDS)
        self._send("run %s %d %d" % (op.name, op.workers, op.count))
        self._wait("PBB begin")
        time.sleep(SETTLE_SECONDS)
        counts, cpu = self._counts(), self._cpu_seconds()
        self._send("go")
        words = self._wait("PBB end").split()
        cpu = self._cpu_seconds() - cpu
        after = self._counts()
        self._send("done")
        sample = Sample(cpu, int(words[2]) / 1e9, {k: after[k] - counts[k] for k in after}, int(words[3]))
        if op.group == "device":
            sample.interrupts, sample.packets = (int(word) for word in self._wait("PBB device").split()[2:])
        time.sleep(SETTLE_SECONDS)
        self.stop()
        return sample
