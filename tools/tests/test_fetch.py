#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of tools/fetch.sh and tools/setup.sh with an apt of our own: distributions whose packages are named and divided in
ways that real ones use. Run by the unit group of tools/check.py."""
import json
import os
import subprocess
import sys
import tempfile

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
count, bad = 0, 0


def ok(condition, name):
    global count, bad
    count += 1
    bad += not condition
    print("%sok %d - %s" % ("" if condition else "not ", count, " | ".join(name.split("\n"))), flush=True)


# Packages: name -> (dependencies, {path: contents, or the file that holds them}). Without an architecture: amd64.
APT = r'''#!/usr/bin/env python3
import json, os, re, subprocess, sys
here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
program, words, sources, arches = os.path.basename(sys.argv[0]), sys.argv[1:], "", False
while "-o" in words:
    at = words.index("-o")
    key, _, value = words[at + 1].partition("=")
    sources = open(value).read() if key == "Dir::Etc::sourcelist" else sources
    arches |= key == "APT::Architectures"
    del words[at:at + 2]
words = [w for w in words if not w.startswith("-")]
with open(here + "/repository.json") as f:
    lists = json.load(f)
packages = lists["debian-12" if "bookworm" in sources else "here"]
if not arches:
    packages = {k: v for k, v in packages.items() if ":" not in k}
with open(here + "/log", "a") as f:
    f.write("%s %s\n" % (program, " ".join(words)))
def known(name):
    return name if name in packages else None
what, names = words[0], words[1:]
if program == "apt-cache" and what == "show":
    print("\n".join("Package: " + n for n in names if known(n)))
elif program == "apt-cache" and what == "depends":
    for n in names:
        print(n + "\n" + "".join("%sDepends: %s\n" % ("  " if i else " |", d) for i, d in enumerate(packages[n][0])), end="")
elif program == "apt-cache" and what == "pkgnames":
    print("\n".join(sorted({n.split(":")[0] for n in packages if n.startswith(names[0] if names else "")})))
elif program == "apt-get" and what == "install":
    lost = [n for n in names if not known(n)]
    if lost:
        print("E: Unable to locate package " + lost[0])
        sys.exit(100)
    with open(here + "/installed", "a") as f:
        f.write("\n".join(names) + "\n")
elif program == "apt-get" and what == "download":
    for n in names:
        if not known(n):
            sys.exit(100)
        depends, files = packages[n]
        root = here + "/deb"
        subprocess.run(["rm", "-rf", root])
        os.makedirs(root + "/DEBIAN")
        with open(root + "/DEBIAN/control", "w") as f:
            f.write("Package: %s\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: x\n" % n.split(":")[0]
                    + ("Depends: %s\n" % ", ".join(d.split(":")[0] + " (>= 1)" for d in depends) if depends else ""))
        for path, contents in files.items():
            os.makedirs(os.path.dirname(root + path), exist_ok=True)
            if os.path.exists(contents):
                subprocess.run(["cp", contents, root + path], check=True)
            else:
                open(root + path, "w").write(contents)
        subprocess.run(["dpkg-deb", "-b", root, "%s_1_all.deb" % n.replace(":", "_")], check=True, stdout=subprocess.DEVNULL)
'''


class Distribution:
    def __init__(self, folder, packages, debian_12=None):
        self.folder, self.cache = folder, folder + "/cache"
        os.makedirs(folder + "/bin", exist_ok=True)
        for name in ("apt-get", "apt-cache"):
            with open("%s/bin/%s" % (folder, name), "w", encoding="ascii") as f:
                f.write(APT)
            os.chmod("%s/bin/%s" % (folder, name), 0o755)
        with open(folder + "/repository.json", "w", encoding="ascii") as f:
            json.dump({"here": packages, "debian-12": debian_12 or {}}, f)
        self.env = dict(os.environ, PATH=folder + "/bin:" + os.environ["PATH"])

    def fetch(self, what):
        done = subprocess.run([TOOLS + "/fetch.sh", what, self.cache], env=self.env, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        return done.returncode, done.stdout

    def has(self, name):
        """A file of the cache."""
        try:
            with open(os.path.join(self.cache, name), encoding="latin-1") as f:
                return f.read()
        except OSError:
            return None


def place(test):
    def run():
        with tempfile.TemporaryDirectory() as folder:
            test(folder)
    return run


@place
def test_kernels(folder):
    whole = {"linux-image-amd64": (["linux-image-6.1-amd64"], {}),
             "linux-image-6.1-amd64": ([], {"/boot/vmlinuz-6.1": "whole"})}
    d = Distribution(folder, whole)
    code, said = d.fetch("kernel")
    ok(code == 0 and d.has("vmlinuz") == "whole", "a kernel in its image package: %s" % said[-200:])
    divided = {"linux-image-amd64": (["linux-base-amd64", "linux-image-7.2-amd64"], {}),
               "linux-image-7.2-amd64": (["linux-base-7.2-amd64", "linux-binary-7.2-amd64", "linux-modules-7.2-amd64"],
                                         {"/usr/share/doc/x": "nothing"}),
               "linux-binary-7.2-amd64": ([], {"/usr/lib/modules/7.2-amd64/vmlinuz": "divided"}),
               "linux-modules-7.2-amd64": ([], {"/usr/lib/modules/7.2-amd64/kernel/arch/x86/kvm/kvm.ko.xz": folder + "/kvm.ko.xz"})}
    with open(folder + "/kvm.ko", "wb") as f:
        f.write(b"module")
    subprocess.run([sys.executable, "-c", "import lzma; open(%r, 'wb').write(lzma.compress(b'module'))" % (folder + "/kvm.ko.xz")],
                   check=True)
    d = Distribution(folder, divided)
    code, said = d.fetch("kernel")
    ok(code == 0 and d.has("vmlinuz") == "divided", "a kernel apart from its image package: %s" % said[-200:])
    code, said = d.fetch("kvm")
    ok(code == 0 and d.has("kvm-vmlinuz") == "divided" and d.has("kvm/kvm.ko") == "module", "its modules, compressed: %s" % said[-200:])
    d = Distribution(folder, {"linux-image-generic": (["linux-image-6.8-generic"], {}),
                              "linux-image-6.8-generic": (["linux-modules-6.8-generic"], {"/boot/vmlinuz-6.8": "generic"})})
    code, said = d.fetch("kernel")
    ok(code == 0 and d.has("vmlinuz") == "generic", "another distribution's name for it: %s" % said[-200:])


@place
def test_old(folder):
    """Without 32-bit kernels: Debian 12 has them."""
    old = {"linux-image-686:i386": (["linux-image-6.1-686:i386"], {}),
           "linux-image-6.1-686:i386": ([], {"/boot/vmlinuz-6.1-686": "old"}),
           "gnumach-image-1.8-486:i386": ([], {})}
    d = Distribution(folder, {"linux-image-amd64": ([], {})}, old)
    code, said = d.fetch("kernel-686")
    ok(code == 0 and d.has("vmlinuz-686") == "old" and "Debian 12" in said, "from Debian 12, which is said: %s" % said[-200:])
    with open(d.cache + "/apt-12/sources.list", encoding="ascii") as f:
        text = f.read()
    ok("signed-by=" in text and " bookworm main" in text, "its lists are checked: %s" % text)
    code, said = d.fetch("kernel-686-pae")
    ok(code == 3 and "this distribution has no package" in said, "what nobody has: status 3, and said: %s" % said[-200:])
    code, said = d.fetch("xen")
    ok(code == 3 and "Debian 12" not in said, "what is to be this distribution's own is not looked for there")


def gzipped(path):
    subprocess.run([sys.executable, "-c", "import gzip; open(%r, 'wb').write(gzip.compress(b'mach'))" % path], check=True)
    return path


@place
def test_mach(folder):
    image = gzipped(folder + "/gnumach.gz")
    names = ["gnumach-image-1.8-amd64-smp", "gnumach-image-1.8-amd64-up", "gnumach-image-1-amd64", "gnumach-image-1.8-486:i386",
             "gnumach-image-1.8-486-dbg:i386", "gnumach-image-1.8-xen-486:i386"]
    d = Distribution(folder, {n: ([], {"/boot/gnumach-1.8.gz": image if "486:" in n and "xen" not in n else "wrong"}) for n in names})
    code, said = d.fetch("mach")
    ok(code == 0 and d.has("mach") == "mach", "the 32-bit Mach beside 64-bit ones: %s" % said[-300:])
    d = Distribution(folder, {n: ([], {}) for n in names if ":" not in n}, {names[3]: ([], {"/boot/gnumach-1.8.gz": image})})
    os.remove(d.cache + "/mach")
    code, said = d.fetch("mach")
    ok(code == 0 and d.has("mach") == "mach" and "Debian 12" in said, "only 64-bit ones: from Debian 12: %s" % said[-300:])


def library(folder, name, soname, needs=()):
    path = "%s/%s" % (folder, name)
    subprocess.run(["gcc", "-shared", "-nostdlib", "-o", path, "-Wl,-soname," + soname, "-x", "c", "/dev/null", "-x", "none",
                    "-Wl,--no-as-needed"] + list(needs), check=True)
    return path


@place
def test_libraries(folder):
    """Whose package is not named like them, which is virtual, or which need others."""
    deep = library(folder, "libdeep.so", "libpbdeep.so.3")
    odd = library(folder, "libodd.so", "libpbGLESv2.so.2", [deep])
    plain = library(folder, "libplain.so", "libpbplain.so.1")
    with open(folder + "/main.c", "w", encoding="ascii") as f:
        f.write("int main(void) { return 0; }\n")
    for name, needs in (("stress-ng", [odd, plain]), ("memtester", [])):
        subprocess.run(["gcc", "-o", "%s/%s" % (folder, name), folder + "/main.c", "-Wl,--no-as-needed"] + needs
                       + ["-Wl,-rpath-link," + folder], check=True, stderr=subprocess.DEVNULL)
    lib = "/usr/lib/x86_64-linux-gnu/"
    d = Distribution(folder, {
        "stress-ng": (["libc-virtual", "libpbgles2", "pbplain-runtime"], {"/usr/bin/stress-ng": folder + "/stress-ng"}),
        "memtester": ([], {"/usr/sbin/memtester": folder + "/memtester"}),
        "libpbgles2": (["pbdeep"], {lib + "libpbGLESv2.so.2": odd}),
        "pbplain-runtime": ([], {lib + "libpbplain.so.1": plain}),
        "pbdeep": ([], {lib + "libpbdeep.so.3": deep}),
        "libpbplain1": ([], {lib + "nothing": "not a dependency"})})
    code, said = d.fetch("tools")
    ok(code == 0 and sorted(os.listdir(d.cache + "/tools/bin")) == ["memtester", "stress-ng"], "programs: %s" % said[-300:])
    libs = os.listdir(d.cache + "/tools/lib") if code == 0 else []
    ok({"libpbGLESv2.so.2", "libpbplain.so.1", "libpbdeep.so.3"} <= set(libs), "and all of their libraries: %s" % libs)


@place
def test_setup(folder):
    os.makedirs(folder + "/tools")
    for name in ("setup.sh", "packages.txt"):
        with open(TOOLS + "/" + name, encoding="ascii") as f:
            text = f.read()
        if name == "packages.txt":
            text = "one run /nowhere/1 x\ntwo check /nowhere/2 x\ntwo-more check /nowhere/3 x\nthere check sh x\n"
        with open("%s/tools/%s" % (folder, name), "w", encoding="ascii") as f:
            f.write(text)
    out = folder + "/out"

    def setup(packages):
        d = Distribution(folder, {p: ([], {}) for p in packages})
        if os.path.exists(folder + "/installed"):
            os.remove(folder + "/installed")
        subprocess.run(["rm", "-rf", out], check=True)
        done = subprocess.run(["sh", folder + "/tools/setup.sh", out, "run", "check"], env=d.env, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        found, lost = "", ""
        for name in ("installed", "out/missing-packages"):
            if os.path.exists(folder + "/" + name):
                with open(folder + "/" + name, encoding="ascii") as f:
                    found, lost = (f.read(), lost) if name == "installed" else (found, f.read())
        return done.returncode, done.stdout, found.split(), lost.split()

    code, said, found, lost = setup(["one", "two", "two-more"])
    ok(code == 0 and found == ["one", "two", "two-more"] and not lost, "everything is installed: %s" % said)
    code, said, found, lost = setup(["one", "two-more"])
    ok(code == 0 and found == ["one", "two-more"] and lost == ["two"] and "has no two:" in said, "what the check can do without: %s" % said)
    code, said, found, lost = setup(["two", "two-more"])
    ok(code != 0 and not found and "could not install" in said, "what nothing can do without: %s" % said)


def main():
    for test in (test_kernels, test_old, test_mach, test_libraries, test_setup):
        test()
    print("1..%d" % count)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
