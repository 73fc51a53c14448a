#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Checks the protocol models: each good configuration must be explored completely without an error,
# each known-bad variant (design 4.10) must be refuted by an assertion or an invalid end state.
# Usage: tools/model/run.sh [output directory] [model]. Tested by itself: a variant that passes fails it.
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../build/model}
only=$2
good=0 bad=0 failed=0
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
for tool in spin gcc timeout; do
    command -v $tool >/dev/null || { echo "$0: $tool is missing" >&2; exit 2; }
done

# explore MODEL FLAGS...: sets $verdict to complete, refuted or broken
explore() {
    model=$1
    shift
    dir="$out/$model$(printf %s "$*" | tr -c 'A-Za-z0-9_' .)"
    rm -rf "$dir" && mkdir -p "$dir" && cp "$here/$model.pml" "$here/tso.inc" "$dir" || exit 2
    verdict=broken
    (cd "$dir" && spin -a "$@" "$model.pml" >spin.log 2>&1 &&
        gcc -O2 -w -DSAFETY -DCOLLAPSE -DMEMLIM=2000 pan.c -o pan >gcc.log 2>&1 &&
        timeout 300 ./pan -m200000 >pan.log 2>&1) || return
    if grep -qE 'pan:1: (assertion violated|invalid end state)' "$dir/pan.log"; then
        verdict=refuted
    elif grep -q 'errors: 0' "$dir/pan.log" &&
        ! grep -qE 'max search depth too small|Search not completed|memory limit' "$dir/pan.log"; then
        verdict=complete
    fi
    states=$(awk '/states, stored/ { print $1; exit }' "$dir/pan.log")
}
check() { # WANTED MODEL FLAGS...
    wanted=$1
    shift
    [ -z "$only" ] || [ "$only" = "$1" ] || return 0
    explore "$@"
    if [ "$verdict" = "$wanted" ]; then
        [ "$wanted" = complete ] && good=$((good + 1)) || bad=$((bad + 1))
        echo "ok: $* $verdict, $states states"
    else
        failed=$((failed + 1))
        echo "FAILED: $*: $verdict, not $wanted (see $out)"
    fi
}
good() { check complete "$@"; }
bad() { check refuted "$@"; }

good slot
good slot -DOPS0=3 -DOPS1=0 -DPLAIN_STORES
for v in FREE_AFTER_REREAD FREE_PLAIN PENDING_BEFORE_PUBLISH PENDING_TAKEN_AFTER NO_REARM DERIVED; do
    bad slot -D$v
done
bad slot -DOPS0=3 -DOVERFLOW_FORGETS_WHOLE
bad slot -DOPS0=3 -DOPS1=0 -DPLAIN_STORES -DCOALESCE_PLAIN
bad slot -DOPS0=3 -DOPS1=0 -DPLAIN_STORES -DOVERFLOW_TEST_SET
good register
for v in PLAIN_STORE REGISTER_LATE REGISTER_TEST_SET DROP_TWO_RMW; do
    bad register -D$v
done
good interest
for v in NO_STORING STORING_SEEN_EARLY STORING_CLEARED_EARLY OLD_SEPARATE WITHOUT_A A_PLAIN \
    KEEP_WITHOUT_A; do
    bad interest -D$v
done
good trace
for v in NO_WAIT READ_BEFORE_ACK ACK_BEFORE_DROP FILL_TEST_SET SERVE_IN_FILL REGION_TEST_SET \
    SPLIT_REGION_FIRST NO_REGION_COUNT; do
    bad trace -D$v
done
good unsync
good unsync -DOTHER -DOPS1=0 -DEVENTS=2
good unsync -DOPS0=3 -DOPS1=0 -DEVENTS=2
for v in WHOLE_ONLY_FIRST WHOLE_LATE LIST_BEFORE_PATCHES FILL_NO_POST; do
    bad unsync -D$v
done
bad unsync -DREG_IGNORES_UNSYNC -DOTHER -DOPS1=0 -DEVENTS=2
bad unsync -DWORD_AFTER_REREAD -DOPS0=3 -DOPS1=0 -DEVENTS=2
for v in LEAVE_TWO_RMW LEAVE_CLEARS_ALWAYS; do
    bad unsync -D$v -DOTHER -DOPS1=2 -DEVENTS=2
done
good doorbell
for v in POST_PLAIN MODE_READ_FIRST WORD_READ_FIRST MODE_PLAIN; do
    bad doorbell -D$v
done
good serve
for v in WAIT_NO_SERVE ACK_BEFORE_DROP ACTION_FIRST; do
    bad serve -D$v
done
echo "$good good, $bad bad variants refuted, $failed failed"
[ $failed = 0 ] && [ $((good + bad)) -gt 0 ]
