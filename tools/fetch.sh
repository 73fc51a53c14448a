#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Downloads the distribution's own packages and unpacks files of them into the cache; installs nothing and leaves
# apt's own state alone: what apt does not know (another architecture, lists that are too old) goes through lists of
# our own below CACHE/apt.
# Usage: fetch.sh WHAT CACHE: kernel, kvm, kernel-686-pae, kernel-686, kernel-rt, busybox, busybox-i386, memtest, xen, mach, tools,
# libc-i386. Exit status 3: this distribution has no such package. Tested by `make run` on a fresh machine and by the
# guests group of tools/check.py.
set -eu
what=$1
cache=$2
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
own=
apt() { # apt get|cache ARGUMENT...
    program=apt-$1
    shift
    if [ -z "$own" ]; then
        "$program" "$@"
    else
        "$program" -o Dir::State="$cache/apt/state" -o Dir::State::status=/var/lib/dpkg/status \
            -o Dir::Cache="$cache/apt/cache" -o APT::Architectures=amd64,i386 "$@"
    fi
}
# A mirror in the middle of its update breaks one list or another; what counts is whether the package is there.
own_lists() {
    own=1
    mkdir -p "$cache/apt/state/lists/partial" "$cache/apt/cache/archives/partial"
    if [ -z "$(find "$cache/apt/updated" -mmin -"$1" 2>/dev/null)" ]; then
        echo "fetch: apt-get update, in $cache/apt" >&2
        apt get update -qq >&2 || echo "fetch: apt-get update reported errors, trying anyway" >&2
        touch "$cache/apt/updated"
    fi
}
known() { apt cache show "$1" >/dev/null 2>&1; }
# need PACKAGE: apt knows it from here on, or this is the end.
need() {
    known "$1" || own_lists 1440
    known "$1" || {
        echo "fetch: this distribution has no package $1" >&2
        exit 3
    }
}
# The concrete package behind a meta package.
behind() {
    apt cache depends "$1" | sed -n 's/^ *|\{0,1\}Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1
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
# A package's name begins with its library's: libxxhash.so.0 is in libxxhash0, libsctp.so.1 in libsctp1.
package_of() { # package_of SONAME: among what the packages so far depend on
    stem=$(echo "${1%%.so*}" | tr 'A-Z_' 'a-z-')
    for deb in "$work"/unpacked/*.deb; do
        dpkg-deb -f "$deb" Depends
    done | tr ',|' '\n\n' | sed 's/^ *//; s/[ :(].*//' | grep "^$stem" | sort -u | head -n 1
}
collect_libraries() { # collect_libraries FILE...
    for turn in 1 2 3 4 5 6 7 8; do
        lost=$(missing_libraries "$@")
        [ -n "$lost" ] || return 0
        packages=
        for soname in $lost; do
            p=$(package_of "$soname")
            [ -n "$p" ] || die "no dependency of $* looks like $soname"
            packages="$packages $p"
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

kernel() { # kernel NAME META...
    name=$1
    shift
    for meta; do
        known "$meta" && break
    done
    need "$meta"
    package=$(behind "$meta")
    [ -n "$package" ] || die "no linux-image package known to apt"
    download "$package"
    keep 644 "$name" "$work"/root/boot/vmlinuz-*
}
case $what in
kernel) kernel vmlinuz linux-image-amd64 linux-image-generic linux-image-virtual ;;
kernel-686-pae) kernel vmlinuz-686-pae linux-image-686-pae:i386 ;;
kernel-rt) kernel vmlinuz-rt linux-image-rt-amd64 ;;
kernel-686) kernel vmlinuz-686 linux-image-686:i386 ;;
busybox)
    need busybox-static
    download busybox-static
    keep 755 busybox "$work/root/bin/busybox" "$work/root/usr/bin/busybox"
    ;;
busybox-i386)
    need busybox-static:i386
    download busybox-static:i386
    keep 755 busybox-i386 "$work/root/bin/busybox" "$work/root/usr/bin/busybox"
    ;;
kvm)
    # The kernel with its own modules, all of them: tools/kvmguest.py takes what KVM needs.
    need linux-image-amd64
    package=$(behind linux-image-amd64)
    [ -n "$package" ] || die "no linux-image package known to apt"
    download "$package"
    keep 644 kvm-vmlinuz "$work"/root/boot/vmlinuz-*
    rm -rf "$cache/kvm"
    mkdir -p "$cache/kvm"
    find "$work/root" -name '*.ko' \( -path '*/arch/x86/kvm/*' -o -path '*/virt/lib/*' -o -path '*/crypto/ccp/*' \
        -o -path '*/char/hw_random/*' \) -exec mv {} "$cache/kvm/" ';'
    ;;
memtest)
    need memtest86+
    download memtest86+
    keep 644 memtest "$work"/root/boot/memtest86+x64.bin "$work"/root/boot/mt86+x64
    ;;
xen)
    # The hypervisor image itself; the package's name carries its version.
    need xen-hypervisor-common
    xen=$(apt cache pkgnames xen-hypervisor-4 | grep -- '-amd64$' | sort -V | tail -n 1)
    [ -n "$xen" ] || die "no xen-hypervisor package known to apt"
    download "$xen"
    gzip -dc "$work"/root/boot/xen-*.gz >"$work/xen"
    keep 644 xen "$work/xen"
    ;;
mach)
    mach=$(apt cache pkgnames gnumach-image-1 | grep -v -e '-xen' -e dbg | sort -V | tail -n 1)
    need "${mach:-gnumach-image-1.8-486}:i386"
    download "${mach:-gnumach-image-1.8-486}:i386"
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
