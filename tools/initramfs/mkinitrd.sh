#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Builds the initramfs: busybox, /init, the scripted sessions, and programs; the same bytes each time.
# Usage: mkinitrd.sh OUT.gz BUSYBOX PROGRAM|FOLDER...; what is in a folder goes to /.   Tested by the Linux groups of tools/check.py.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
busybox=$2
shift 2
root=$out.root
rm -rf "$root"
mkdir -p "$root/bin" "$root/scripts" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/root"
install -m 755 "$busybox" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
install -m 755 "$here/init" "$root/init"
install -m 755 "$here"/scripts/* "$root/scripts/"
for program; do
    if [ -d "$program" ]; then
        cp -r "$program/." "$root/"
    else
        install -m 755 "$program" "$root/bin/"
    fi
done
# A fixed date: the guest needs no other, and the archive need not follow each commit.
find "$root" -exec touch -h -d "@1700000000" {} +
(cd "$root" && find . | LC_ALL=C sort |
    cpio --quiet -o -H newc -R 0:0 --reproducible) | gzip -9n >"$out.tmp"
mv "$out.tmp" "$out"
rm -rf "$root"
