#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Downloads the distribution's own packages and unpacks files of them into the cache; installs nothing and leaves
# apt's own state alone: what apt does not know (another architecture, lists that are too old) goes through lists of
# our own below CACHE/apt; 32-bit systems that newer distributions no longer have come from Debian 12 (DEBIAN_MIRROR=).
# Usage: fetch.sh WHAT CACHE: kernel, kvm, kernel-686-pae, kernel-686, kernel-rt, busybox, busybox-i386, memtest, xen, mach, tools, virtio,
# libc-i386. Exit status 3: there is no such package. Tested by `make run` on a fresh machine, by the guests group of
# tools/check.py and by tools/tests/test_fetch.py.
set -eu
what=$1
cache=$2
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

die() {
    echo "fetch: $*" >&2
    exit 1
}
command -v apt-get >/dev/null 2>&1 || die "no apt-get here: give KERNEL= and INITRD= instead"
ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1 || {
    if [ "$(id -u)" = 0 ]; then apt-get update -qq || :; else sudo apt-get update -qq || :; fi
}
work=$cache/work-$what.$$
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root"
chmod 777 "$work"

# --- apt, with the machine's lists or with ours -------------------------------------------------
own= # the folder of the lists in use, if they are ours
old= # Debian 12 may stand in for this distribution
apt() { # apt get|cache ARGUMENT...
    program=apt-$1
    shift
    if [ -z "$own" ]; then
        "$program" "$@"
        return
    fi
    if [ -e "$own/sources.list" ]; then
        set -- -o Dir::Etc::sourcelist="$own/sources.list" -o Dir::Etc::sourceparts=/dev/null "$@"
    fi
    "$program" -o Dir::State="$own/state" -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$own/cache" \
        -o APT::Architectures=amd64,i386 "$@"
}
# use_lists FOLDER MINUTES: from here on these, if they are not older, else after an update.
# A mirror in the middle of its update breaks one list or another; what counts is whether the package is there.
use_lists() {
    own=$1
    mkdir -p "$own/state/lists/partial" "$own/cache/archives/partial"
    if [ -z "$(find "$own/updated" -mmin -"$2" 2>/dev/null)" ]; then
        echo "fetch: apt-get update, in $own" >&2
        apt get update -qq >&2 || echo "fetch: apt-get update reported errors, trying anyway" >&2
        touch "$own/updated"
    fi
}
own_lists() { use_lists "${own:-$cache/apt}" "$1"; }
debian_12_lists() {
    ring=/usr/share/keyrings/debian-archive-keyring.gpg
    mkdir -p "$cache/apt-12"
    # Ubuntu has Debian's keys as a package.
    if ! [ -e "$ring" ]; then
        download debian-archive-keyring
        cp "$work/root$ring" "$cache/apt-12/ring.gpg"
        ring=$cache/apt-12/ring.gpg
    fi
    echo "deb [signed-by=$ring] ${DEBIAN_MIRROR:-http://deb.debian.org/debian} bookworm main" >"$cache/apt-12/sources.list"
    use_lists "$cache/apt-12" 1440
}
known() { [ -n "$(apt cache show "$1" 2>/dev/null)" ]; }
# find_package COMMAND...: its output, a package, from the first lists with which it has any: the machine's, ours, Debian 12's.
# In $found; ends if there is none.
find_package() {
    by=$1
    shift
    found=$("$by" "$@")
    [ -n "$found" ] || { own_lists 1440 && found=$("$by" "$@"); }
    [ -n "$found" ] || [ -z "$old" ] || {
        echo "fetch: not in this distribution, looking in Debian 12" >&2
        debian_12_lists && found=$("$by" "$@")
    }
    [ -n "$found" ] || {
        echo "fetch: this distribution has no package $*" >&2
        exit 3
    }
}
first_known() { # first_known PACKAGE...
    for p; do
        known "$p" && echo "$p" && return 0
    done
    return 0
}
# need PACKAGE...: apt knows the first one that there is, which is $found, or this is the end.
need() { find_package first_known "$@"; }
# The newest package whose name begins so and matches, as ARCHITECTURE has it.
newest() { # newest ARCHITECTURE PREFIX PATTERN
    apt cache pkgnames "$2" | grep -E "^$2$3\$" | sort -V | while read -r p; do
        ! known "$p:$1" || echo "$p:$1"
    done | tail -n 1
}
# depends PACKAGE PREFIX: the first package with a name like that which it depends on.
depends() {
    apt cache depends "$1" | sed -n "s/^ *|\{0,1\}Depends: \($2[0-9].*\)\$/\1/p" | head -n 1
}
# fetch PACKAGE...: their files, into $work.
fetch() {
    (cd "$work" && apt get download -qq "$@") >"$work/log" 2>&1
}
# download PACKAGE...: unpacks them below $work/root.
download() {
    echo "fetch: $*"
    fetch "$@" || {
        own_lists 10
        fetch "$@" || {
            cat "$work/log" >&2
            die "could not download $* (no network? run apt-get update?); or give KERNEL= and INITRD="
        }
    }
    for deb in "$work"/*.deb; do
        dpkg-deb -x "$deb" "$work/root"
        basename "$deb" >"$cache/$what.package"
        mkdir -p "$work/unpacked"
        mv "$deb" "$work/unpacked/"
    done
}
# keep MODE NAME FILE...: the last of these files that exists becomes the cache's NAME.
keep() {
    mode=$1
    name=$2
    shift 2
    found=
    for f; do
        [ -f "$f" ] && found=$f
    done
    [ -n "$found" ] || die "the package holds no $name"
    install -m "$mode" "$found" "$cache/$name"
}

# --- programs with their shared libraries -------------------------------------------------------
# The sonames that FILE... ask for and neither $work/root nor this machine has, one a line.
missing_libraries() {
    libs=$(find "$work/root" -name '*.so*' -printf '%h\n' | sort -u | tr '\n' ':')
    for f; do
        LD_LIBRARY_PATH=$libs ldd "$f" 2>/dev/null || :
    done | sed -n 's/^\t*\([^ ]*\) => not found$/\1/p' | sort -u
}
# What the packages so far depend on, those first whose name looks like a library's: libxxhash.so.0 is in libxxhash0.
dependencies() { # dependencies SONAME
    stem=$(echo "${1%%.so*}" | tr 'A-Z_' 'a-z-')
    for deb in "$work"/unpacked/*.deb; do
        dpkg-deb -f "$deb" Depends
        dpkg-deb -f "$deb" Pre-Depends
    done | tr ',|' '\n\n' | sed 's/^ *//; s/[ :(].*//' | grep . | sort -u >"$work/depends"
    grep "^$stem" "$work/depends" || :
    grep "^lib" "$work/depends" | grep -v "^$stem" || :
    grep -v "^lib" "$work/depends" || :
}
# package_of SONAME: the dependency that holds a file of that name. The policy is that a package depends on those of the
# libraries its programs are linked with; the names only say where to look first.
package_of() {
    mkdir -p "$work/probed"
    for p in $(dependencies "$1"); do
        if ! [ -e "$work/probed/$p.list" ]; then
            mkdir "$work/probe"
            (cd "$work/probe" && chmod 777 . && apt get download -qq "$p") >"$work/log" 2>&1 || : # a virtual package
            for deb in "$work"/probe/*.deb; do
                [ ! -e "$deb" ] || dpkg-deb -c "$deb" | sed 's/ -> .*//; s/.*\///'
            done >"$work/probed/$p.list"
            rm -r "$work/probe"
        fi
        if grep -qxF "$1" "$work/probed/$p.list"; then
            echo "$p"
            return
        fi
    done
}
collect_libraries() { # collect_libraries FILE...
    for turn in 1 2 3 4 5 6 7 8; do
        lost=$(missing_libraries "$@")
        [ -n "$lost" ] || return 0
        packages=
        for soname in $lost; do
            p=$(package_of "$soname")
            [ -n "$p" ] || die "no dependency of $* holds $soname"
            case " $packages " in *" $p "*) ;; *) packages="$packages $p" ;; esac
        done
        # shellcheck disable=SC2086 # a list of words
        download $packages
    done
    die "still missing after $turn turns: $lost"
}
# install_tree DIRECTORY FILE...: the files and their closure, libraries in one folder.
install_tree() {
    tree=$1
    shift
    rm -rf "$tree"
    mkdir -p "$tree/bin" "$tree/lib"
    ln -s lib "$tree/lib64"
    libs=$(find "$work/root" -name '*.so*' -printf '%h\n' | sort -u | tr '\n' ':')
    for f; do
        install -m 755 "$f" "$tree/bin/"
        LD_LIBRARY_PATH=$libs ldd "$f" | sed -n 's/^.* => \(\/[^ ]*\) .*/\1/p; s/^\t*\(\/[^ ]*ld-linux[^ ]*\) .*/\1/p'
    done | sort -u | while read -r lib; do
        install -m 755 "$lib" "$tree/lib/"
    done
}

# kernel_of NAME META...: the kernel behind the first meta package there is becomes the cache's NAME. Its package may
# be divided, into linux-binary with the kernel and linux-modules.
kernel_of() {
    name=$1
    shift
    need "$@"
    package=$(depends "$found" linux-image-)
    [ -n "$package" ] || die "no linux-image package known to apt"
    download "$package"
    for part in linux-binary- $modules; do
        p=$(depends "$package" "$part")
        [ -z "$p" ] || download "$p"
    done
    keep 644 "$name" "$work"/root/boot/vmlinuz-* "$work"/root/usr/lib/modules/*/vmlinuz
}
modules= # or the prefix of their package
case $what in
kernel) kernel_of vmlinuz linux-image-amd64 linux-image-generic linux-image-virtual ;;
kernel-rt) kernel_of vmlinuz-rt linux-image-rt-amd64 ;;
kernel-686 | kernel-686-pae)
    old=1
    kernel_of "vmlinuz-${what#kernel-}" "linux-image-${what#kernel-}:i386"
    ;;
busybox)
    need busybox-static
    download busybox-static
    keep 755 busybox "$work/root/bin/busybox" "$work/root/usr/bin/busybox"
    ;;
busybox-i386)
    old=1
    need busybox-static:i386
    download "$found"
    keep 755 busybox-i386 "$work/root/bin/busybox" "$work/root/usr/bin/busybox"
    ;;
kvm)
    # The kernel with its own modules, all of them: tools/kvmguest.py takes what KVM needs.
    modules=linux-modules-
    kernel_of kvm-vmlinuz linux-image-amd64 linux-image-generic
    rm -rf "$cache/kvm"
    mkdir -p "$cache/kvm"
    find "$work/root" -name '*.ko*' \( -path '*/arch/x86/kvm/*' -o -path '*/virt/lib/*' -o -path '*/crypto/ccp/*' \
        -o -path '*/char/hw_random/*' \) | while read -r module; do
        name=$(basename "$module")
        python3 "$here/pblib/kernels.py" "$module" "$cache/kvm/${name%.ko*}.ko"
    done
    ;;
virtio)
    # The kernel with its own drivers for virtio and the machine's devices, and what the tests mount: tools/virtioguest.py takes
    # what it needs.
    modules=linux-modules-
    kernel_of virtio-vmlinuz linux-image-amd64 linux-image-generic
    rm -rf "$cache/virtio"
    mkdir -p "$cache/virtio"
    find "$work/root" -name '*.ko*' \( -path '*/drivers/virtio/*' -o -name 'virtio*' -o -name '*failover*' -o -path '*/fs/ext4/*' \
        -o -path '*/drivers/ata/*ahci*' -o -name 'libata*' -o -path '*/drivers/nvme/*' -o -name 'scsi_*' -o -name 'sd_mod*' \
        -o -path '*/ethernet/intel/e1000e/*' -o -path '*/drivers/usb/common/*' -o -path '*/drivers/usb/core/*' \
        -o -path '*/drivers/usb/host/*' -o -path '*/drivers/usb/storage/*' -o -path '*/drivers/hid/usbhid/*' -o -name 'hid.ko*' \
        -o -name 'hid-generic.ko*' -o -name 't10-pi*' -o -name 'crc*' -o -name 'ptp*' -o -name 'pps_core*' \
        -o -path '*/fs/jbd2/*' -o -name 'mbcache*' -o -name 'crc16*' -o -name 'crc32c_generic*' \) | while read -r module; do
        name=$(basename "$module")
        python3 "$here/pblib/kernels.py" "$module" "$cache/virtio/${name%.ko*}.ko"
    done
    ;;
memtest)
    need memtest86+
    download memtest86+
    keep 644 memtest "$work"/root/boot/memtest86+x64.bin "$work"/root/boot/mt86+x64
    ;;
xen)
    # The hypervisor image itself; the package's name carries its version.
    need xen-hypervisor-common
    find_package newest amd64 xen-hypervisor-4 '.*-amd64'
    download "$found"
    gzip -dc "$work"/root/boot/xen-*.gz >"$work/xen"
    keep 644 xen "$work/xen"
    ;;
mach)
    # The 32-bit one, for one processor.
    old=1
    find_package newest i386 gnumach-image-1. '[0-9.]*-[46]86(-up)?'
    download "$found"
    gzip -dc "$work"/root/boot/gnumach-*.gz >"$work/mach"
    keep 644 mach "$work/mach"
    ;;
tools)
    # Programs that the distribution has and the project uses inside Linux.
    need stress-ng
    download stress-ng memtester
    set -- "$work/root/usr/bin/stress-ng" "$work/root/usr/sbin/memtester"
    collect_libraries "$@"
    install_tree "$cache/tools.new" "$@"
    rm -rf "$cache/tools"
    mv "$cache/tools.new" "$cache/tools"
    ;;
libc-i386)
    # What links a static 32-bit program with this machine's compiler.
    need libc6-dev-i386
    version=$(gcc -dumpversion)
    download libc6-dev-i386 "lib32gcc-${version%%.*}-dev"
    rm -rf "$cache/libc-i386"
    mv "$work/root" "$cache/libc-i386"
    ;;
*) die "what is $what?" ;;
esac
