#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Downloads the distribution's own kernel, static busybox or memory test into the cache; installs nothing.
# Usage: fetch.sh kernel|busybox|memtest CACHE       Tested by `make run` on a fresh machine.
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

# The concrete package behind the first meta package this distribution has.
concrete() {
    for meta in linux-image-amd64 linux-image-generic linux-image-virtual; do
        apt-cache show "$meta" >/dev/null 2>&1 || continue
        apt-cache depends "$meta" | sed -n 's/^ *|\{0,1\}Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1
        return
    done
}
# download PACKAGE: unpacks it below $work/root.
work=$cache/work-$what.$$
trap 'rm -rf "$work"' EXIT
download() {
    mkdir -p "$work/root"
    chmod 777 "$work"
    (cd "$work" && apt-get download -qq "$1") >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        die "could not download $1 (no network? run apt-get update?); or give KERNEL= and INITRD="
    }
    for deb in "$work"/*.deb; do
        dpkg-deb -x "$deb" "$work/root"
        basename "$deb" >"$cache/$what.package"
    done
}
case $what in
kernel)
    package=$(concrete)
    [ -n "$package" ] || die "no linux-image package known to apt"
    echo "fetch: $package"
    download "$package"
    set -- "$work"/root/boot/vmlinuz-*
    [ -f "$1" ] || die "$package holds no vmlinuz"
    install -m 644 "$1" "$cache/vmlinuz"
    ;;
busybox)
    echo "fetch: busybox-static"
    download busybox-static
    for f in "$work/root/bin/busybox" "$work/root/usr/bin/busybox"; do
        [ -f "$f" ] && install -m 755 "$f" "$cache/busybox"
    done
    [ -x "$cache/busybox" ] || die "busybox-static holds no busybox"
    ;;
memtest)
    echo "fetch: memtest86+"
    download memtest86+
    for f in "$work"/root/boot/memtest86+x64.bin "$work"/root/boot/mt86+x64; do
        [ -f "$f" ] && install -m 644 "$f" "$cache/memtest"
    done
    [ -f "$cache/memtest" ] || die "memtest86+ holds no x86-64 image"
    ;;
*) die "what is $what?" ;;
esac
