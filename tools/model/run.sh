#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Checks the protocol models: each good configuration must be explored completely without an error,
# each known-bad variant (README.md) must be refuted by an assertion or an invalid end state.
# Usage: tools/model/run.sh [output directory] [model | list]; DEEP=1: larger bounds; JOBS: at once, 2.
# Tested by itself: a variant that passes fails it.
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../build/model}
only=$2
[ "$only" = list ] && out=$(mktemp -d) # prints the runs
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
HOSTCC=${HOSTCC:-gcc}
limit=600 mem=2000
[ -n "$DEEP" ] && limit=3600 mem=8000

# one Spin run: one WANTED MODEL FLAGS...
one() {
    wanted=$1 model=$2
    shift 2
    dir="$out/$model$(printf %s "$*" | tr -c 'A-Za-z0-9_' .)"
    rm -rf "$dir" && mkdir -p "$dir" && cp "$here/$model.pml" "$here/tso.inc" "$dir" || exit 2
    verdict=broken
    (cd "$dir" && spin -a "$@" "$model.pml" >spin.log 2>&1 &&
        "$HOSTCC" -O1 -w -DSAFETY -DCOLLAPSE -DMEMLIM=$mem pan.c -o pan >gcc.log 2>&1 &&
        timeout $limit ./pan -m400000 >pan.log 2>&1)
    if grep -qE 'pan:1: (assertion violated|invalid end state)' "$dir/pan.log" 2>/dev/null; then
        verdict=refuted
    elif grep -q 'errors: 0' "$dir/pan.log" 2>/dev/null &&
        ! grep -qE 'max search depth too small|Search not completed|memory limit' "$dir/pan.log"; then
        verdict=complete
    fi
    states=$(awk '/states, stored/ { print $1; exit }' "$dir/pan.log" 2>/dev/null)
    depth=$(sed -n 's/.*depth reached \([0-9]*\).*/\1/p' "$dir/pan.log" 2>/dev/null | head -n 1)
    if [ "$verdict" = "$wanted" ]; then
        echo "ok: $model $* $verdict, $states states, depth $depth"
        rm -f "$dir/pan" "$dir"/pan.[a-z]
    else
        echo "FAILED: $model $*: $verdict, not $wanted (see $dir)"
    fi
}
# all runs of one model of the explorer
explorer() {
    if ! "$HOSTCC" -O2 -std=c11 -Wall -Wextra -Werror "$here/$1.c" "$here/explore.c" -o "$out/$1"; then
        echo "FAILED: $1: does not compile"
    else
        timeout $limit "$out/$1" ${DEEP:+-d} || echo "FAILED: $1: status $?"
    fi
}
case $only in
one | explorer)
    shift
    "$@"
    exit
    ;;
esac

[ "$only" = list ] || for tool in spin "$HOSTCC" timeout xargs; do
    command -v "$tool" >/dev/null || { echo "$0: $tool is missing" >&2; exit 2; }
done
jobs="$out/jobs"
: >"$jobs"
job() {
    case "$only" in
    "" | list | "$2" | "$3") echo "$*" >>"$jobs" ;;
    esac
}
good() { job one complete "$@"; }
bad() { job one refuted "$@"; }
deep() { [ -z "$DEEP" ] || good "$@"; }

for m in tables audit region payload dirty shared walk entry4; do
    job explorer $m $m
done
good upper
deep upper -DOPS=4 -DSTEPS=5
for v in REG_UNLISTED INVLPG_LEAVES LINK_DENIES FAULT_KEEPS; do
    bad upper -D$v
done
good slot
good slot -DOPS0=3 -DOPS1=0 -DPLAIN_STORES
deep slot -DOPS0=2 -DOPS1=2 -DEVENTS=2
deep slot -DOPS0=4 -DOPS1=0 -DPLAIN_STORES -DEVENTS=3
for v in FREE_AFTER_REREAD FREE_PLAIN PENDING_BEFORE_PUBLISH PENDING_TAKEN_AFTER NO_REARM DERIVED; do
    bad slot -D$v
done
bad slot -DOPS0=3 -DOVERFLOW_FORGETS_WHOLE
bad slot -DOPS0=3 -DOPS1=0 -DPLAIN_STORES -DCOALESCE_PLAIN
bad slot -DOPS0=3 -DOPS1=0 -DPLAIN_STORES -DCOALESCE_PLAIN -DFREE_PLAIN
bad slot -DOPS0=3 -DOPS1=0 -DPLAIN_STORES -DOVERFLOW_TEST_SET
good register
deep register -DSTORES=4 -DROUNDS=2
for v in PLAIN_STORE REGISTER_LATE REGISTER_TEST_SET DROP_TWO_RMW; do
    bad register -D$v
done
good interest
deep interest -DSTORES=3 -DEVENTS=2
for v in NO_STORING STORING_SEEN_EARLY STORING_CLEARED_EARLY OLD_SEPARATE WITHOUT_A A_PLAIN \
    KEEP_WITHOUT_A; do
    bad interest -D$v
done
good seen
deep seen -DOPS=5 -DEVENTS=5
for v in NO_LOOK LOOK_LATE STORING_LATE CLEARED_EARLY; do
    bad seen -D$v
done
good trace
deep trace -DSTORES=6 -DROUNDS=3
for v in NO_WAIT READ_BEFORE_ACK ACK_BEFORE_DROP FILL_TEST_SET SERVE_IN_FILL REGION_TEST_SET \
    SPLIT_REGION_FIRST NO_REGION_COUNT; do
    bad trace -D$v
done
good unsync
good unsync -DOTHER -DOPS1=0 -DEVENTS=2
good unsync -DOPS0=3 -DOPS1=0 -DEVENTS=2
deep unsync -DOPS0=2 -DOPS1=2 -DEVENTS=2
for v in WHOLE_ONLY_FIRST WHOLE_LATE LIST_BEFORE_PATCHES FILL_NO_POST; do
    bad unsync -D$v
done
bad unsync -DREG_IGNORES_UNSYNC -DOTHER -DOPS1=0 -DEVENTS=2
bad unsync -DWORD_AFTER_REREAD -DOPS0=3 -DOPS1=0 -DEVENTS=2
for v in LEAVE_TWO_RMW LEAVE_CLEARS_ALWAYS; do
    bad unsync -D$v -DOTHER -DOPS1=2 -DEVENTS=2
done
good fresh
deep fresh -DOPS=4 -DSTEPS=5
for v in FRESH_PLAIN FRESH_UNLISTED; do
    bad fresh -D$v
done
good direct
deep direct -DOPS=4 -DSTEPS=7
for v in NO_REVOKE REVOKE_LATE LOOK_FIRST STORING_PLAIN READ_FIRST CLAIM_PLAIN STORING_IGNORED UNSYNC_IGNORED \
    GIVE_UP_UNASKED ANSWERED_FIRST OWN_SKIPPED ENTER_UNDRAINED UPPER_UNCLAIMED; do
    bad direct -D$v
done
good doorbell
good doorbell -DRING_ALWAYS
for v in POST_PLAIN MODE_READ_FIRST WORD_READ_FIRST MODE_PLAIN SILENT; do
    bad doorbell -D$v
done
bad doorbell -DRING_ALWAYS -DBELL_NO_FENCE
good flush
good flush -DBYTE
deep flush -DFLUSHES=5
deep flush -DBYTE -DFLUSHES=5
for v in GOES_ON ONE_LOOK OWED_PLAIN TAKEN_BY_LOAD TAKEN_BEFORE NOT_TAKEN ANSWERED_IN_ITS_MIDST; do
    bad flush -D$v
done
for v in GOES_ON CLEARED_AFTER ANSWERED_IN_ITS_MIDST TAKEN_BY_LOAD; do
    bad flush -DBYTE -D$v
done
good serve
deep serve -DREQUESTS=4
for v in WAIT_NO_SERVE ACK_BEFORE_DROP ACTION_FIRST MAILBOX_FIRST TAKES_WHAT_IT_LEAVES; do
    bad serve -D$v
done
good vms
for v in MATRIX_FOREIGN BELL_CROSSES TRACE_KEPT MAILBOX_KEPT MADE_UNDER_A_CPU; do
    bad vms -D$v
done
good order
good order -DLIVES=4
good order -DSTART
for v in NO_LATE LATE_BEFORE_ON ORDER_PLAIN ONE_TRY; do
    bad order -D$v
done
for v in KEPT_WHEN_OFF GONE_WITH_ORDER; do
    bad order -DSTART -D$v
done

if [ "$only" = list ]; then
    cat "$jobs"
    rm -rf "$out"
    exit 0
fi
export DEEP HOSTCC
# shellcheck disable=SC2016
{ xargs -P "${JOBS:-2}" -L 1 "$0" "$out" <"$jobs" || echo "FAILED: a job ended badly"; } | tee "$out/summary"
failed=$(grep -c '^FAILED' "$out/summary")
good=$(grep -c '^ok: .* complete,' "$out/summary")
bad=$(grep -c '^ok: .* refuted,' "$out/summary")
states=$(sed -n 's/.* \([0-9.e+]*\) states,.*/\1/p' "$out/summary" | awk '{ n += $1 } END { printf "%d", n }')
echo "$good good, $bad bad variants refuted, $failed failed, $states states"
[ "$failed" = 0 ] && [ $((good + bad)) -gt 0 ]
