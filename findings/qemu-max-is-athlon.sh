#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# QEMU 10.0: the processor `max` of the 64-bit emulator is AMD's family 6, model 6 without an accelerator of the host: the last
# one without long mode. A 32-bit Linux 6.1 then warns on each CPU but the first, with a trace, that such processors are not
# suitable for SMP; 7.2 has family 15. Needs apt; fetches Debian 13's package with the libraries it is linked with, about 40
# MB. 0: as stated, 1: it changed, 2: it could not be tried.
set -u
VERSION=1:10.0.13+ds-0+deb13u1
PACKAGES="qemu-system-x86=$VERSION qemu-system-common=$VERSION qemu-system-data=$VERSION seabios libaio1t64 libatomic1 libblkid1
libbpf1 libc6 libcap2 libcapstone5 libdaxctl1 libelf1t64 libfdt1 libffi8 libfuse3-4 libglib2.0-0t64 libgmp10 libgnutls30t64
libhogweed6t64 libibverbs1 libidn2-0 libjpeg62-turbo libkmod2 libmount1 libndctl6 libnettle8t64 libnl-3-200 libnl-route-3-200
libnuma1 libp11-kit0 libpcre2-8-0 libpixman-1-0 libpmem1 libpng16-16t64 librdmacm1t64 libsasl2-2 libseccomp2 libselinux1
libslirp0 libssl3t64 libtasn1-6 libudev1 libunistring5 liburing2 libuuid1 libvdeplug2t64 libzstd1 zlib1g"

T=$(mktemp -d) || exit 2
trap 'rm -rf "$T"' EXIT
trap 'exit 2' INT TERM
cannot() {
    echo "CANNOT TRY: $1" >&2
    exit 2
}

cd "$T" || exit 2
# An apt of its own for Debian 13. Signatures are checked; the date is not, for clocks that are ahead.
mkdir -p state/lists/partial cache/archives/partial etc/apt.conf.d etc/preferences.d debs
: >status
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" >etc/sources.list
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

# The machine does not run (-S): its first CPU is asked what it is.
ask() {
    echo '{"execute": "qom-get", "arguments": {"path": "/machine/unattached/device[0]", "property": "'"$1"'"}}'
}
{
    echo '{"execute": "qmp_capabilities"}'
    ask vendor
    ask family
    ask model
    echo '{"execute": "quit"}'
} | run root/usr/bin/qemu-system-x86_64 -nodefaults -machine pc -L root/usr/share/seabios -L root/usr/share/qemu \
    -accel tcg -cpu max -S -display none -qmp stdio >out 2>err
seen=$(sed -n 's/^{"return": "\{0,1\}\([A-Za-z0-9]*\)"\{0,1\}}.*/\1/p' out | tr '\n' ' ')
[ -n "$seen" ] || cannot "QEMU did not answer: $(tail -n 1 err)"
echo "Software:  QEMU, Debian package qemu-system-x86 $VERSION (trixie), -accel tcg -cpu max"
echo "Expected:  a family with long mode, as CPUID says it has: AMD's is 15 or above"
echo "Seen:      vendor, family, model: $seen"
if [ "$seen" = "AuthenticAMD 6 6 " ]; then
    echo "AS STATED: family 6, model 6"
    exit 0
fi
echo "CHANGED:   it was AuthenticAMD 6 6"
exit 1
