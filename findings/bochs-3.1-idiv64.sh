#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Bochs 3.1: IDIV with a 64-bit divisor gives a wrong quotient, not the same in each program. Needs apt, gcc and binutils;
# fetches sid's package with the libraries it is linked with, about 30 MB. 0: as stated, 1: it changed, 2: it could not be tried.
set -u
VERSION=3.1+dfsg-1
PACKAGES="bochs=$VERSION bochsbios=$VERSION vgabios libatk-bridge2.0-0t64 libatk1.0-0t64 libatomic1 libatspi2.0-0t64 libblkid1
libbrotli1 libbz2-1.0 libc6 libcairo-gobject2 libcairo2 libcloudproviders0 libdatrie1 libdbus-1-3 libepoxy0 libexpat1 libffi8
libfontconfig1 libfreetype6 libfribidi0 libgcc-s1 libgdk-pixbuf-2.0-0 libglib2.0-0t64 libglycin-2-0 libgraphite2-3 libgtk-3-0t64
libharfbuzz0b libltdl7 libmount1 libpango-1.0-0 libpangocairo-1.0-0 libpangoft2-1.0-0 libpcre2-8-0 libpixman-1-0 libpng16-16t64
libreadline8t64 libseccomp2 libselinux1 libstdc++6 libsystemd0 libthai0 libtinfo6 libwayland-client0 libwayland-cursor0
libwayland-egl1 libx11-6 libxau6 libxcb-render0 libxcb-shm0 libxcb1 libxcomposite1 libxcursor1 libxdamage1 libxdmcp6 libxext6
libxfixes3 libxi6 libxinerama1 libxkbcommon0 libxrandr2 libxrender1 libxres1 zlib1g"

T=$(mktemp -d) || exit 2
trap 'rm -rf "$T"' EXIT
trap 'exit 2' INT TERM
cannot() {
    echo "CANNOT TRY: $1" >&2
    exit 2
}

cd "$T" || exit 2
# An apt of its own for sid. Signatures are checked; the date is not, for clocks that are ahead.
mkdir -p state/lists/partial cache/archives/partial etc/apt.conf.d etc/preferences.d debs
: >status
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main" >etc/sources.list
cat >apt.conf <<EOF
Dir::State "$T/state";
Dir::State::status "$T/status";
Dir::Cache "$T/cache";
Dir::Etc "$T/etc";
APT::Sandbox::User "root";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
EOF
export APT_CONFIG="$T/apt.conf"
timeout 300 apt-get -q update >apt.log 2>&1 || cannot "apt-get update: $(tail -n 1 apt.log)"
# shellcheck disable=SC2086 # several words
(cd debs && timeout 600 apt-get -q download $PACKAGES) >apt.log 2>&1 || cannot "apt-get download: $(tail -n 1 apt.log)"
for deb in debs/*.deb; do
    dpkg -x "$deb" root || cannot "dpkg -x $deb"
done
LIBRARIES=$T/root/usr/lib/x86_64-linux-gnu
[ -x root/usr/lib64/ld-linux-x86-64.so.2 ] || cannot "libc6 has no ld-linux-x86-64.so.2 in /usr/lib64"
run() {
    timeout 120 root/usr/lib64/ld-linux-x86-64.so.2 --library-path "$LIBRARIES" "$@"
}
missing=$(run --list root/usr/bin/bochs-bin 2>&1 | grep -i 'not found\|cannot open')
[ -z "$missing" ] || cannot "libraries: $missing"

# A boot sector: long mode, 100 / 7 by DIV and IDIV of 32 and of 64 bits, each quotient in hexadecimal.
cat >boot.S <<'EOF'
.code16
.globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    cld
    movw $0x1000, %di /* page tables at 0x1000, 0x2000, 0x3000: the first 2 MiB */
    movw $0x3000 / 2, %cx
    rep stosw
    movw $0x2003, 0x1000
    movw $0x3003, 0x2000
    movw $0x83, 0x3000
    lgdt gdtr
    movl $0x20, %eax /* PAE */
    movl %eax, %cr4
    movl $0x1000, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orw $0x100, %ax /* LME */
    wrmsr
    movl %cr0, %eax
    orl $0x80000001, %eax
    movl %eax, %cr0
    ljmp $8, $long
.code64
long:
    movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $0x7000, %esp
    movl $7, %ecx

    movl $100, %eax
    xorl %edx, %edx
    divl %ecx
    movl $name_div32, %esi
    call report
    movl $100, %eax
    xorl %edx, %edx
    divq %rcx
    movl $name_div64, %esi
    call report
    movl $100, %eax
    xorl %edx, %edx
    idivl %ecx
    movl $name_idiv32, %esi
    call report
    movl $100, %eax
    xorl %edx, %edx
    idivq %rcx
    movl $name_idiv64, %esi
    call report

    movl $name_shutdown, %esi
    movw $0x8900, %dx
1:  lodsb
    outb %al, %dx
    testb %al, %al
    jnz 1b
    hlt

report: /* the name at RSI and RAX */
    movq %rax, %rbx
1:  lodsb
    testb %al, %al
    jz 2f
    outb %al, $0xe9
    jmp 1b
2:  movl $16, %edi
3:  rolq $4, %rbx
    movb %bl, %al
    andb $15, %al
    addb $'0', %al
    cmpb $'9', %al
    jbe 4f
    addb $'a' - '9' - 1, %al
4:  outb %al, $0xe9
    decl %edi
    jnz 3b
    movb $'\n', %al
    outb %al, $0xe9
    ret

name_div32: .asciz "\n@DIV32 "
name_div64: .asciz "@DIV64 "
name_idiv32: .asciz "@IDIV32 "
name_idiv64: .asciz "@IDIV64 "
name_shutdown: .asciz "Shutdown"
.balign 8
gdt: .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
gdtr: .word . - gdt - 1
    .long gdt
.org 510
.word 0xaa55
EOF
gcc -c boot.S -o boot.o || cannot "gcc -c boot.S"
ld -Ttext=0x7c00 -e _start --oformat=binary boot.o -o floppy.img || cannot "ld boot.o"
truncate -s 1474560 floppy.img || cannot "no image"

cat >bochsrc <<EOF
plugin_ctrl: unmapped=1, biosdev=1, extfpuirq=1
cpu: model=ryzen, count=1, ips=100000000, reset_on_triple_fault=0
megs: 32
romimage: file=$T/root/usr/share/bochs/BIOS-bochs-latest, options=fastboot
vgaromimage: file=$T/root/usr/share/vgabios/vgabios.bin
floppya: 1_44=$T/floppy.img, status=inserted
boot: floppy
display_library: rfb, options="timeout=0"
port_e9_hack: enabled=1
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
clock: sync=none, time0=1700000000
panic: action=fatal
error: action=ignore
log: $T/bochs.log
EOF
printf 'c\nc\nc\n' >rc # Debian's build starts in its debugger
LTDL_LIBRARY_PATH=$LIBRARIES/bochs/plugins run root/usr/bin/bochs-bin -q -f bochsrc -rc rc </dev/null >out 2>&1

value() {
    sed -n "s/^@$1 //p" out
}
[ -n "$(value IDIV64)" ] || cannot "Bochs did not run the test: $(tail -n 3 out)"

others="$((0x$(value DIV32))) $((0x$(value IDIV32))) $((0x$(value DIV64)))"
idiv64=$((0x$(value IDIV64)))
echo "Software:  Bochs, Debian package bochs $VERSION (sid), CPU model ryzen"
echo "Expected:  100 / 7 is 14 by each form of DIV and IDIV: APM volume 3, chapter 3, \"IDIV\"; SDM volume 2, chapter 3, \"IDIV\""
echo "Seen:      DIV and IDIV of 32 bits and DIV of 64 bits give $others, IDIV of 64 bits gives $idiv64"
if [ "$others" = "14 14 14" ] && [ "$idiv64" != 14 ]; then
    echo "AS STATED: IDIV of 64 bits is wrong"
    exit 0
fi
echo "CHANGED:   only IDIV of 64 bits was wrong"
exit 1
