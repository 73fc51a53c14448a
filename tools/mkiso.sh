#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Makes a reproducible hybrid image from a staged tree: CD and USB disk, BIOS and UEFI.
# Usage: mkiso.sh OUT.iso TREE        TREE holds boot/grub/grub.cfg and what it names.
# grub-mkrescue is not used because its output differs from run to run. Tested by the boot group of
# tools/check.py (each of the four boot paths; two builds compared).
set -eu
out=$1
tree=$2
epoch=${SOURCE_DATE_EPOCH:-1700000000}
grub=${GRUB_LIB:-/usr/lib/grub}
work=$out.work
rm -rf "$work"
mkdir -p "$work" "$tree/boot/grub" "$tree/EFI/BOOT"
log=$out.log

# The core images carry their modules and find the tree by one of its files.
cat >"$work/load.cfg" <<'CFG'
search --no-floppy --file --set=root /boot/grub/grub.cfg
set prefix=($root)/boot/grub
configfile /boot/grub/grub.cfg
CFG
common='part_msdos part_gpt iso9660 fat search search_fs_file configfile normal multiboot multiboot2
    serial terminal echo test sleep reboot halt minicmd'
# Those of MODULE... that this GRUB has: the older of the two interfaces to an EFI screen is gone from 2.14.
those_of() { # those_of FOLDER MODULE...
    folder=$1
    shift
    for module; do
        [ ! -e "$folder/$module.mod" ] || echo "$module"
    done
}
# shellcheck disable=SC2086 # a list of words
grub-mkimage -O i386-pc-eltorito -d "$grub/i386-pc" -c "$work/load.cfg" -p /boot/grub \
    -o "$tree/boot/grub/eltorito.img" biosdisk linux16 $common
# For who wants graphics on a BIOS machine: `insmod vbe` in the menu.
mkdir -p "$tree/boot/grub/i386-pc"
cp "$grub/i386-pc/vbe.mod" "$grub/i386-pc/video.mod" "$grub/i386-pc/video_fb.mod" "$tree/boot/grub/i386-pc"
# shellcheck disable=SC2046,SC2086
grub-mkimage -O x86_64-efi -d "$grub/x86_64-efi" -c "$work/load.cfg" -p /boot/grub \
    -o "$tree/EFI/BOOT/BOOTX64.EFI" $(those_of "$grub/x86_64-efi" efi_gop efi_uga) $common

find "$tree" -exec touch -h -d "@$epoch" {} +
# The EFI system partition, with a fixed serial number; mtools takes dates from SOURCE_DATE_EPOCH.
export SOURCE_DATE_EPOCH=$epoch
truncate -s 2880K "$work/efi.img"
export MTOOLS_SKIP_CHECK=1
mformat -i "$work/efi.img" -f 2880 -N 50423031 ::
mmd -i "$work/efi.img" ::/EFI ::/EFI/BOOT
mcopy -m -i "$work/efi.img" "$tree/EFI/BOOT/BOOTX64.EFI" ::/EFI/BOOT/BOOTX64.EFI
touch -d "@$epoch" "$work/efi.img"

stamp=$(date -u -d "@$epoch" +%Y%m%d%H%M%S00)
xorriso -as mkisofs -R -J -V PATCHBAY --modification-date="$stamp" --set_all_file_dates "$stamp" \
    -b boot/grub/eltorito.img -no-emul-boot -boot-load-size 4 -boot-info-table --grub2-boot-info \
    --grub2-mbr "$grub/i386-pc/boot_hybrid.img" --gpt_disk_guid 5061746368626179000000000000000a \
    -append_partition 2 0xef "$work/efi.img" \
    -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot \
    -o "$out.tmp" "$tree" >"$log" 2>&1 || {
    cat "$log" >&2
    exit 1
}
mv "$out.tmp" "$out"
rm -rf "$work"
