#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Runs a test image directly on QEMU and prints its KTAP: run-bare.sh IMAGE [CPUS] [COMMAND LINE].
# Exit status 0 if every test passed.
image=$1
tied=$(dirname "$0")/../tools/tied.py # neither outlives this script
cpus=${2:-4}
line=${3:-}
out=$(mktemp) || exit 1
"$tied" timeout "${TIMEOUT:-300}" "$tied" qemu-system-x86_64 -accel tcg,thread=multi -cpu "${CPU:-max}" -smp "$cpus" -m 256 \
    -kernel "$image" -append "$line" -display none -serial null -monitor none -no-reboot \
    -debugcon "file:$out" -device isa-debug-exit,iobase=0xf4
status=$?
cat "$out"
rm -f "$out"
# isa-debug-exit: status = value * 2 + 1; the image writes 0x10 when all is well
[ "$status" -eq 33 ]
