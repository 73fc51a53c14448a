# SPDX-License-Identifier: BSD-2-Clause
# What the scripted sessions share; each line they print starts with "pb:" and is read by
# tools/check.py, which tests this file.
failed=0
check() { # check NAME COMMAND...
    name=$1
    shift
    if "$@"; then
        echo "pb: ok $name"
    else
        echo "pb: FAIL $name"
        failed=1
    fi
}
# Interrupts taken so far, one number a CPU, by the line named $1 of /proc/interrupts.
counts() {
    awk -v line="$1:" -v n="$(nproc)" '$1 == line { for (i = 2; i < 2 + n; i++) printf "%s ", $i }' /proc/interrupts
}
# check_grew NAME BEFORE AFTER: every CPU's number grew.
grew() {
    set -- "$1" "$2" "$(nproc)"
    echo "$1|$2" | awk -F'|' -v n="$3" '{
        a = split($1, before, " "); b = split($2, after, " ")
        if (a != n || b != n) exit 1
        for (i = 1; i <= n; i++) if (after[i] <= before[i]) exit 1 }'
}
# Runs a command on every CPU, one after the other.
each_cpu() {
    cpu=0
    while [ "$cpu" -lt "$(nproc)" ]; do
        taskset "$(printf '%x' $((1 << cpu)))" "$@" || return 1
        cpu=$((cpu + 1))
    done
}
finish() {
    dmesg -r | sed -n 's/^<[0-4]>/pb: dmesg: /p'
    [ "$failed" = 0 ] && echo "pb: session ok"
    exit "$failed"
}
