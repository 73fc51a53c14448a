#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Writes an image to a USB stick and refuses what is not one.
# Usage: usb.sh IMAGE /dev/sdX [yes]    SYSFS= and MOUNTS= replace /sys and /proc/self/mounts for the test.
# Tested by tools/tests/test_usb.py.
set -eu
image=$1
dev=${2:-}
answer=${3:-}
sysfs=${SYSFS:-/sys}
mounts=${MOUNTS:-/proc/self/mounts}

die() {
    echo "usb: $*" >&2
    exit 1
}
[ -n "$dev" ] || die "say which disk: make usb DEV=/dev/sdX (lsblk lists them)"
[ -f "$image" ] || die "$image does not exist: make iso first"
name=$(basename "$dev")
[ -e "$sysfs/class/block/$name" ] || die "$dev is no disk of this machine (lsblk lists them)"
[ ! -e "$sysfs/class/block/$name/partition" ] || die "$dev is a partition: give the whole disk"
[ "$(cat "$sysfs/class/block/$name/removable" 2>/dev/null)" = 1 ] ||
    die "$dev is not removable, it may be a system disk; to write it all the same use dd by hand"
used=$(awk -v d="$dev" 'index($1, d) == 1 {print $1 " on " $2}' "$mounts")
[ -z "$used" ] || die "$dev is in use: $used; unmount it first"
need=$(wc -c <"$image")
room=$(($(cat "$sysfs/class/block/$name/size") * 512))
[ "$room" -ge "$need" ] || die "$dev holds $room bytes, the image needs $need"
if [ "$answer" != yes ]; then
    printf 'usb: everything on %s (%s MiB) will be lost. Type yes to go on: ' "$dev" "$((room >> 20))"
    read -r answer || :
    [ "$answer" = yes ] || die "nothing written"
fi
dd if="$image" of="${TARGET:-$dev}" bs=4M conv=fsync,notrunc status=none || die "writing $dev failed"
echo "usb: $image is on $dev"
