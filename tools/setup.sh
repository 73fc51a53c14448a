#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Installs what tools/packages.txt lists and this machine lacks; silent when nothing is missing.
# Usage: setup.sh OUTPUT-FOLDER GROUP...     Tested by every `make run` and `make check`.
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
while read -r package group proof _; do
    case $package in '' | '#'*) continue ;; esac
    case " $* " in *" $group "*) ;; *) continue ;; esac
    have "$proof" || missing="$missing $package"
done <"$here/packages.txt"

mkdir -p "$out"
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
lists() { ls /var/lib/apt/lists/*Packages* /var/lib/apt/lists/*/*Packages* >/dev/null 2>&1; }
update() {
    echo "setup: apt-get update"
    $as_root apt-get update -qq || echo "setup: apt-get update reported errors, trying anyway" >&2
}
install() {
    # shellcheck disable=SC2086 # a list of words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        $missing >"$out/setup.log" 2>&1 </dev/null
}
lists || update
if ! install; then
    update
    if ! install; then
        tail -n 5 "$out/setup.log" >&2
        echo "setup: apt-get could not install$missing (no network?); log in $out/setup.log" >&2
        exit 1
    fi
fi
touch "$stamp"
