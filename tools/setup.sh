#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Installs what tools/packages.txt lists and this machine lacks; silent when nothing is missing. Packages of the group check
# that the distribution does not have are left out and listed in OUTPUT-FOLDER/missing-packages: the steps of the check
# that need them say so and are skipped. Usage: setup.sh OUTPUT-FOLDER GROUP...
# Tested by every `make run` and `make check`, and by tools/tests/test_fetch.py.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
shift
stamp=$out/.setup-$(echo "$*" | tr ' ' '-')
[ -n "$(find "$stamp" -newer "$here/packages.txt" 2>/dev/null)" ] && exit 0

have() {
    case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}
missing=
optional=
while read -r package group proof _; do
    case $package in '' | '#'*) continue ;; esac
    case " $* " in *" $group "*) ;; *) continue ;; esac
    have "$proof" && continue
    missing="$missing $package"
    [ "$group" != check ] || optional="$optional $package"
done <"$here/packages.txt"

mkdir -p "$out"
rm -f "$out/missing-packages"
if [ -z "$missing" ]; then
    touch "$stamp"
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: this machine has no apt-get. Install the equivalents of:$missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "setup: missing:$missing" >&2
        echo "setup: neither root nor sudo; ask root for: apt-get install$missing" >&2
        exit 1
    fi
    as_root=sudo
fi
echo "setup: installing$missing"
# Package lists: fetched when there are none, or when the install fails with those there are.
lists() { [ -n "$(find /var/lib/apt/lists -name '*Packages*' 2>/dev/null)" ]; }
update() {
    echo "setup: apt-get update"
    $as_root apt-get update -qq || echo "setup: apt-get update reported errors, trying anyway" >&2
}
install() {
    # shellcheck disable=SC2086 # a list of words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        $missing >"$out/setup.log" 2>&1 </dev/null
}
# Takes what apt does not know out of $missing, if the check can do without it.
leave_out() {
    : >"$out/missing-packages"
    for package in $optional; do
        [ -z "$(apt-cache show "$package" 2>/dev/null)" ] || continue
        echo "$package" >>"$out/missing-packages"
        missing=$(echo "$missing " | sed "s/ $package / /; s/ \$//")
    done
    [ -s "$out/missing-packages" ] || rm "$out/missing-packages"
    [ ! -e "$out/missing-packages" ] ||
        echo "setup: this distribution has no$(sed 's/^/ /' "$out/missing-packages" | tr -d '\n'): what needs them is skipped" >&2
}
lists || update
if ! install; then
    update
    leave_out
    if [ -n "$missing" ] && ! install; then
        tail -n 5 "$out/setup.log" >&2
        echo "setup: apt-get could not install$missing (no network?); log in $out/setup.log" >&2
        exit 1
    fi
fi
touch "$stamp"
