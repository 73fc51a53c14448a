#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What a new user sees on each distribution: a fresh system in a chroot, a fresh clone of HEAD, and steps of README's quick
# start in it; prints a table of versions, results and times. As root, with debootstrap and the network.
# Usage: matrix.sh [-d FOLDER] [-k] [-t SECONDS] [SUITE... [-- STEP...]]
#   SUITE   bookworm trixie sid noble (default: all): Debian 12, 13, unstable, Ubuntu 24.04
#   STEP    run (make run </dev/null), check (make check), or groups and steps of it; default: run unit guest linux
#   -d      where systems are made, 3 GiB each (default /var/tmp/patchbay-matrix); fresh ones are kept there as FRESH-SUITE
#   -k      keep the systems with what was built, for a look at their logs; -t: limit of one step (default 5400)
# With the default steps a suite takes half an hour to an hour on two CPUs, two minutes of it for the fresh system. Not part
# of `make check`. Exit status 0 if every step of every suite passed. Tested by running it; its table is tested by
# tools/tests/test_matrix.py.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
top=/var/tmp/patchbay-matrix
keep=
limit=5400
while getopts d:kt: option; do
    case $option in
    d) top=$OPTARG ;;
    k) keep=1 ;;
    t) limit=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
suites=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    suites="$suites $1"
    shift
done
[ $# -eq 0 ] || shift
suites=${suites:-bookworm trixie sid noble}
steps=${*:-run unit guest linux}

die() {
    echo "matrix: $*" >&2
    exit 2
}
# The table from lines of suite|step|result|seconds|text, and of suite|=|versions.
show() {
    [ -s "$table" ] || return 0
    echo
    awk -F'|' '
        $2 == "=" { printf "%s\n", $3; next }
        { printf "  %-10s %-22s %-18s %6s s  %s\n", $1, $2, $3, $4, $5; if ($3 != "ok") bad++ }
        END { printf "%d of %d steps not passed\n", bad, NR - versions }
    ' versions="$(grep -c '|=|' "$table")" "$table"
}
# For its test: a table that is there.
if [ -n "${MATRIX_TABLE:-}" ]; then
    table=$MATRIX_TABLE
    show
    exit 0
fi

[ "$(id -u)" = 0 ] || die "chroots and mounts need root"
command -v debootstrap >/dev/null || die "no debootstrap: apt-get install debootstrap"
mkdir -p "$top"
top=$(cd "$top" && pwd)
table=$top/table
: >"$table"

# --- one system at a time, taken down in any case -------------------------------------------------
root=
child=
unmount_all() {
    for m in dev/shm dev/pts dev sys proc; do
        ! mountpoint -q "$root/$m" || umount -l "$root/$m"
    done
    # What is still mounted below would be deleted with the system.
    ! grep -qF " $root/" /proc/mounts || die "still mounted below $root: not removed"
}
take_down() {
    [ -n "$root" ] || return 0
    unmount_all
    [ -n "$keep" ] || rm -rf --one-file-system "$root"
    root=
}
ended() {
    status=$?
    trap - EXIT HUP INT TERM
    [ -z "$child" ] || kill "$child" 2>/dev/null || :
    [ -z "$root" ] || unmount_all
    [ -z "$root" ] || [ -n "$keep" ] || rm -rf --one-file-system "$root"
    show
    exit "$status"
}
inside() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 chroot "$root" "$@"; }

# fresh SUITE: $top/fresh-SUITE; false, with the reason in $why, if it cannot be made.
fresh() {
    case $1 in
    bookworm | trixie | sid | bullseye | forky)
        mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
        components=main
        ring=/usr/share/keyrings/debian-archive-keyring.gpg
        ;;
    *)
        mirror=${UBUNTU_MIRROR:-http://archive.ubuntu.com/ubuntu}
        components=main,universe
        ring=/usr/share/keyrings/ubuntu-archive-keyring.gpg
        ;;
    esac
    [ ! -e "$top/fresh-$1" ] || return 0
    why="no $mirror/dists/$1"
    # Whatever can fetch: what debootstrap needs anyway.
    wget -q -T 20 -t 2 -O "$top/Release" "$mirror/dists/$1/Release" || return 1
    # Without the distribution's keys here, which are a package of them, the first packages come unchecked; this is said.
    checked="--keyring=$ring"
    [ -e "$ring" ] || {
        checked=--no-check-gpg
        echo "matrix: $1: no $ring: the signatures of its first packages are not checked" >&2
    }
    rm -rf --one-file-system "$top/making-$1"
    why="debootstrap failed: $top/debootstrap-$1.log"
    debootstrap --variant=minbase "$checked" --include=git,make,ca-certificates --components="$components" \
        "$1" "$top/making-$1" "$mirror" >"$top/debootstrap-$1.log" 2>&1 || return 1
    # Unstable's lists are valid for a week, and mirrors may be later than that.
    [ "$1" != sid ] || echo 'Acquire::Check-Valid-Until "false";' >"$top/making-$1/etc/apt/apt.conf.d/99matrix"
    mv "$top/making-$1" "$top/fresh-$1"
}

set_up() { # set_up SUITE
    root=$top/work-$1
    unmount_all
    rm -rf --one-file-system "$root"
    cp -a --reflink=auto "$top/fresh-$1" "$root"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t tmpfs -o mode=755 dev "$root/dev"
    mkdir -p "$root/dev/pts" "$root/dev/shm"
    for node in null zero full random urandom tty; do
        cp -a "/dev/$node" "$root/dev/"
    done
    ln -s /proc/self/fd "$root/dev/fd"
    mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
    git clone -q --no-local "$here" "$root/root/patchbay"
    chown -R 0:0 "$root/root/patchbay"
}

versions() { # what README's table of tried machines wants
    inside sh -c 'export LC_ALL=C
        . /etc/os-release && printf "%s" "$PRETTY_NAME"
        printf "; gcc %s" "$(gcc -dumpfullversion 2>/dev/null || echo none)"
        printf "; clang %s" "$(clang -dumpversion 2>/dev/null || echo none)"
        printf "; qemu %s" "$(qemu-system-x86_64 --version 2>/dev/null | sed -n "s/.*version \([0-9.]*\).*/\1/p")"
        printf "; grub %s" "$(grub-mkimage --version 2>/dev/null | sed -n "s/.* \([0-9.]*[0-9]\).*/\1/p")"
        printf "; kernel %s\n" "$(sed "s/_amd64.deb//" /root/patchbay/build/cache/kernel.package 2>/dev/null || echo none)"'
}

step() { # step SUITE STEP: a line of the table
    case $2 in
    run) set -- "$1" "$2" make run ;;
    check) set -- "$1" "$2" make check ;;
    *) set -- "$1" "$2" make check "GROUP=$2" ;;
    esac
    suite=$1
    name=$2
    shift 2
    log=$top/$suite-$(echo "$name" | tr / -).log
    began=$(date +%s)
    # In the background, so that a signal is taken at once; the limit ends the whole tree, emulators with their tools.
    timeout --kill-after=30 "$limit" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        chroot "$root" sh -c 'cd /root/patchbay && exec "$@"' sh "$@" </dev/null >"$log" 2>&1 &
    child=$!
    code=0
    wait "$child" || code=$?
    child=
    seconds=$(($(date +%s) - began))
    case $code in
    0) result=ok ;;
    124 | 137) result="no end in $limit s" ;;
    *) result="FAILED ($code)" ;;
    esac
    said=$(sed -n 's/^\([0-9]* passed, [0-9]* failed.*\)$/\1/p' "$log" | tail -n 1)
    printf '%s|%s|%s|%s|%s\n' "$suite" "$name" "$result" "$seconds" "${said:-$log}" >>"$table"
    echo "matrix: $suite $name: $result, $seconds s${said:+, $said}"
}

trap ended EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
[ -z "$(git -C "$here" status --porcelain)" ] || echo "matrix: what is not committed is not tried" >&2
for suite in $suites; do
    if ! fresh "$suite"; then
        echo "matrix: $suite left out: $why" >&2
        printf '%s|(all)|not tried|0|%s\n' "$suite" "$why" >>"$table"
        continue
    fi
    set_up "$suite"
    for one in $steps; do
        step "$suite" "$one"
    done
    printf '%s|=|%s\n' "$suite" "$(versions)" >>"$table"
    take_down
done
! grep -v '|=|' "$table" | grep -qvE '^[^|]*\|[^|]*\|ok\|'
