#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# QEMU 7.2: the 8254 counts in binary in BCD mode. Needs apt of Debian 12, gcc, binutils and the libraries that qemu-system-x86
# depends on. 0: as stated, 1: it changed, 2: it could not be tried.
set -u
VERSION=1:7.2+dfsg-7+deb12u18
PACKAGES="qemu-system-x86=$VERSION+b3 qemu-system-common=$VERSION+b3 qemu-system-data=$VERSION seabios=1.16.2-1"

T=$(mktemp -d) || exit 2
trap 'rm -rf "$T"' EXIT
trap 'exit 2' INT TERM
cannot() {
    echo "CANNOT TRY: $1" >&2
    exit 2
}

cd "$T" || exit 2
# shellcheck disable=SC2086 # several words
timeout 300 apt-get -q -o APT::Sandbox::User=root download $PACKAGES >apt.log 2>&1 || cannot "apt-get download $PACKAGES: $(tail -n 1 apt.log)"
for deb in *.deb; do
    dpkg -x "$deb" root || cannot "dpkg -x $deb"
done
missing=$(ldd root/usr/bin/qemu-system-x86_64 | grep 'not found')
[ -z "$missing" ] || cannot "libraries: $missing"

# A multiboot kernel: channel 2 counts down from 5000 in mode 0 and BCD; 64 latched counts, in hexadecimal.
cat >kernel.S <<'EOF'
.set COUNTS, 64
.balign 4
.long 0x1badb002, 0, -0x1badb002
.globl _start
_start:
    cli
    movl $stack, %esp
    inb $0x61, %al
    andb $0xfc, %al
    orb $1, %al /* gate of channel 2, no speaker */
    outb %al, $0x61
    movb $0xb1, %al /* channel 2, both bytes, mode 0, BCD */
    outb %al, $0x43
    xorb %al, %al
    outb %al, $0x42
    movb $0x50, %al
    outb %al, $0x42
    movl $COUNTS, %ebp
1:  movl $500, %ecx
2:  pause
    loop 2b
    movb $0x80, %al /* latch channel 2 */
    outb %al, $0x43
    inb $0x42, %al
    movb %al, %bl
    inb $0x42, %al
    movb %al, %bh
    call report
    decl %ebp
    jnz 1b
    movb $1, %al
    outb %al, $0xf4 /* isa-debug-exit */
3:  hlt
    jmp 3b

report: /* BX */
    movl $4, %ecx
1:  rolw $4, %bx
    movb %bl, %al
    andb $15, %al
    addb $'0', %al
    cmpb $'9', %al
    jbe 2f
    addb $'a' - '9' - 1, %al
2:  outb %al, $0xe9
    loop 1b
    movb $'\n', %al
    outb %al, $0xe9
    ret

.bss
.skip 4096
stack:
.section .note.GNU-stack, ""
EOF
gcc -m32 -c kernel.S -o kernel.o || cannot "gcc -m32 -c kernel.S"
ld -m elf_i386 -Ttext=0x100000 -e _start kernel.o -o kernel || cannot "ld kernel.o"

QEMU_MODULE_DIR=$T/root/usr/lib/x86_64-linux-gnu/qemu timeout 60 root/usr/bin/qemu-system-x86_64 -L root/usr/share/qemu \
    -L root/usr/share/seabios -accel tcg -machine pc -m 32 -nodefaults -nic none -display none -no-reboot \
    -debugcon file:counts -device isa-debug-exit,iobase=0xf4,iosize=0x04 -kernel kernel </dev/null >out 2>&1

total=$(grep -c '^[0-9a-f]*$' counts)
letters=$(grep -c '[a-f]' counts)
[ "$total" = 64 ] || cannot "QEMU did not run the test: $(tail -n 3 out)"

echo "Software:  $(timeout 10 root/usr/bin/qemu-system-x86_64 --version | head -n 1), TCG"
echo "Expected:  with bit 0 (BCD) of the control word set, each nibble of a latched count is a decimal digit: 82C54 data sheet,"
echo "           \"Control Word Format\", BCD: \"Binary Coded Decimal (BCD) Counter (4 Decades)\""
echo "Seen:      $letters of $total latched counts have a nibble above 9: $(grep '[a-f]' counts | head -n 6 | tr '\n' ' ')..."
if [ "$letters" -gt 0 ]; then
    echo "AS STATED: the count is binary in BCD mode"
    exit 0
fi
echo "CHANGED:   no latched count in BCD mode has a nibble above 9"
exit 1
