#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# /etc/grub.d/22_patchbay: a boot entry that starts an installed kernel on Patchbay, for each of them. update-grub runs it
# with its settings in the environment and puts what it prints into grub.cfg. Settings of its own: /etc/default/patchbay.
# Tested by the package group of tools/check.py, under grub-script-check.
set -e

image=/boot/patchbay.elf
[ -e "$image" ] || exit 0 # the package is removed, not yet purged
# shellcheck source=/dev/null # GRUB's functions: make_system_path_relative_to_its_root, grub_quote and more
. "${pkgdatadir:-/usr/share/grub}/grub-mkconfig_lib"

PATCHBAY_ENTRIES=all
PATCHBAY_OPTIONS=
PATCHBAY_SERIAL=auto
PATCHBAY_MODULE="pci=all display=guest"
PATCHBAY_CMDLINE=
# shellcheck source=/dev/null
[ ! -r /etc/default/patchbay ] || . /etc/default/patchbay
[ "$PATCHBAY_ENTRIES" != none ] || exit 0

# Where Patchbay talks: on the serial port of GRUB's own menu, if it has one there (GRUB_SERIAL_COMMAND="serial --unit=0
# --speed=115200", of which the numbers are the defaults but for the speed, 9600).
serial_of() {
    unit=0
    speed=9600
    for word in ${1#serial}; do
        case $word in
        --unit=[0-3]) unit=${word#*=} ;;
        --speed=[1-9]*) speed=${word#*=} ;;
        --port=*) unit=${word#*=} ;;
        esac
    done
    case $unit in
    0x*) echo "console=pio:$unit,$speed" ;;
    *) echo "console=com$((unit + 1)),$speed" ;;
    esac
}
options=$PATCHBAY_OPTIONS
case $PATCHBAY_SERIAL in
none | '') ;;
auto)
    case "$GRUB_TERMINAL $GRUB_TERMINAL_INPUT $GRUB_TERMINAL_OUTPUT" in
    *serial*) options="$(serial_of "$GRUB_SERIAL_COMMAND") console=auto $options" ;;
    esac
    ;;
*) options="console=$PATCHBAY_SERIAL console=auto $options" ;;
esac

# The root file system, as the kernel's own entry names it: by its UUID unless that is not wanted or not to be had.
root_by_uuid() {
    [ -n "$GRUB_DEVICE_UUID" ] && [ "$GRUB_DISABLE_LINUX_UUID" != true ] &&
        [ -e "/dev/disk/by-uuid/$GRUB_DEVICE_UUID" ] && ! uses_abstraction "$GRUB_DEVICE" lvm
}
root_by_partuuid() {
    [ -n "$GRUB_DEVICE_PARTUUID" ] && [ "${GRUB_DISABLE_LINUX_PARTUUID:-true}" != true ] &&
        [ -e "/dev/disk/by-partuuid/$GRUB_DEVICE_PARTUUID" ]
}
root=$GRUB_DEVICE
if root_by_uuid; then
    root=UUID=$GRUB_DEVICE_UUID
elif root_by_partuuid; then
    root=PARTUUID=$GRUB_DEVICE_PARTUUID
fi
cmdline=$GRUB_CMDLINE_LINUX
case $GRUB_FS in
btrfs)
    subvolume=$(make_system_path_relative_to_its_root /)
    [ -z "${subvolume#/}" ] || cmdline="rootflags=subvol=${subvolume#/} $cmdline"
    ;;
zfs)
    pool=$("${grub_probe:-grub-probe}" --device "$GRUB_DEVICE" --target=fs_label 2>/dev/null || :)
    dataset=$(make_system_path_relative_to_its_root / | sed 's,@$,,')
    root=ZFS=$pool${dataset%/}
    ;;
esac
cmdline="$cmdline $GRUB_CMDLINE_LINUX_DEFAULT $PATCHBAY_CMDLINE"

# one_line WORDS: without the blanks of what is empty.
one_line() {
    printf '%s\n' "$*" | tr -s ' \t' ' ' | sed 's/^ //; s/ $//'
}

# initrd_of FOLDER VERSION: its file name, if there is one.
initrd_of() {
    for name in "initrd.img-$2" "initrd-$2.img" "initrd-$2.gz" "initrd-$2" "initramfs-$2.img" "initrd.img-${2%.old}"; do
        if [ -e "$1/$name" ]; then
            echo "$name"
            return
        fi
    done
}

# entry TITLE ID KERNEL: one menu entry.
entry() {
    folder=$(dirname "$3")
    initrd=$(initrd_of "$folder" "$(version_of "$3")")
    where=$root
    [ -n "$initrd" ] || case $where in UUID=* | ZFS=*) where=$GRUB_DEVICE ;; esac # what only an initrd understands
    device=$GRUB_DEVICE_BOOT
    [ "$folder" != / ] || device=$GRUB_DEVICE
    echo "menuentry '$(echo "$1" | grub_quote)' --class patchbay --class os \$menuentry_id_option '$2' {"
    [ "$GRUB_SAVEDEFAULT" != true ] || save_default_entry | grub_add_tab
    [ "$GRUB_GFXPAYLOAD_LINUX" = text ] || echo "	load_video"
    echo "	insmod multiboot2"
    prepare_grub_to_access_device "$GRUB_DEVICE_BOOT" | grub_add_tab
    echo "	echo 'Loading Patchbay ...'"
    echo "	$(one_line multiboot2 "$(make_system_path_relative_to_its_root "$image")" "$options")"
    [ "$device" = "$GRUB_DEVICE_BOOT" ] || prepare_grub_to_access_device "$device" | grub_add_tab
    inside=$(make_system_path_relative_to_its_root "$folder")
    inside=${inside%/}
    echo "	echo 'Loading Linux $(version_of "$3") ...'"
    echo "	$(one_line module2 "$inside/${3##*/}" role=linux "$PATCHBAY_MODULE" -- "root=$where" ro "$cmdline")"
    if [ -n "$initrd" ]; then
        echo "	echo 'Loading initial ramdisk ...'"
        echo "	module2 $inside/$initrd role=initrd"
    fi
    echo "}"
}

version_of() {
    basename "$1" | sed 's,^[^0-9]*-,,'
}

kernels=
for file in /boot/vmlinuz-* /vmlinuz-* /boot/kernel-*; do
    case $file in *.efi.signed) continue ;; esac
    ! grub_file_is_not_garbage "$file" || kernels="$kernels $file"
done
# shellcheck disable=SC2086 # a list of words
kernels=$(printf '%s\n' $kernels | sed 's,^\(.*/[^0-9]*-\)\(.*\)$,\2 \1\2,' | sort -rV | sed 's,^.* ,,')
[ -n "$kernels" ] || exit 0

os="${GRUB_DISTRIBUTOR:-Linux} on Patchbay"
id=$(grub_get_device_id "$GRUB_DEVICE")
echo "Found Patchbay: $image" >&2
set -- $kernels
entry "$os" "patchbay-simple-$id" "$1"
[ "$PATCHBAY_ENTRIES" != newest ] || exit 0
echo "submenu '$(echo "Other kernels: $os" | grub_quote)' \$menuentry_id_option 'patchbay-advanced-$id' {"
for kernel; do
    entry "$os, with Linux $(version_of "$kernel")" "patchbay-$(version_of "$kernel")-$id" "$kernel" | grub_add_tab
done
echo "}"
