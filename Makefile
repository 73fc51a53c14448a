# SPDX-License-Identifier: BSD-2-Clause
# Builds Patchbay and calls the tools that run and check it. `make help` lists the targets and the
# variables. All output goes to $(O), by default build/. Tested by .ci/run.
MAKEFLAGS += --no-builtin-rules
export PYTHONDONTWRITEBYTECODE := 1
ifeq ($(filter-out 0,$(MAKELEVEL))$(findstring -j,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:

O ?= build
V ?= 0
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),:,printf '  %-7s %s\n' '$(1)' '$(2)')

# The prefixed tools where they exist; the plain ones are the same on an x86-64 host without them.
CROSS ?= x86_64-linux-gnu-
ifeq ($(shell command -v $(CROSS)ld 2>/dev/null)$(filter-out x86_64,$(shell uname -m)),)
override CROSS :=
endif
TOOLCHAIN ?= gcc
ifeq ($(TOOLCHAIN),clang)
CC := clang --target=x86_64-linux-gnu
else
CC := $(CROSS)gcc
endif
LD := $(CROSS)ld
OBJCOPY := $(CROSS)objcopy
NM := $(CROSS)nm
READELF := $(CROSS)readelf
HOSTCC ?= gcc
IASL ?= iasl
PYTHON ?= python3

ifndef VERSION
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo 0.1)
endif
ifndef SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH := $(shell git log -1 --format=%ct 2>/dev/null || echo 1700000000)
endif
export SOURCE_DATE_EPOCH

WARN := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla \
	-Wcast-align -Wcast-qual -Wformat=2 -Wimplicit-fallthrough -Wframe-larger-than=2048 \
	-Wno-sign-conversion -Werror
CFLAGS := -std=gnu11 -O2 -g -ffreestanding -mgeneral-regs-only -mno-red-zone -fno-pic -fno-pie \
	-fno-stack-protector -fno-omit-frame-pointer -fno-strict-aliasing -fcf-protection=none -ffunction-sections -fdata-sections \
	-ffile-prefix-map=$(CURDIR)=. -ffile-prefix-map=$(O)/=out/ -I. $(WARN)
# PROFILE=1: counts at the borders of an exit (hv/base/profile.h), for bench-count.
ifeq ($(PROFILE),1)
CFLAGS += -DHV_PROFILE=1
endif
LDFLAGS := -nostdlib -z max-page-size=4096 -z noexecstack --build-id=none
comma := ,
# gcc sees the whole hypervisor at once: the exit path becomes few functions, and so few returns, each of which is a
# look-up in an emulator. clang, with which LTO needs another linker, builds file by file.
ifneq ($(TOOLCHAIN),clang)
LTO := -flto=auto
LINK := $(CC) $(CFLAGS) $(LTO) -static -no-pie -nostdlib $(patsubst %,-Wl$(comma)%,$(subst -z ,-z$(comma),$(filter-out -nostdlib,$(LDFLAGS))))
else
LINK := $(LD) $(LDFLAGS)
endif

HOT_LISTS := boot/hot.ld boot/hot_rodata.ld boot/hot_bss.ld
HV_SRC := $(sort $(wildcard hv/*.c hv/*/*.c hv/*/*/*.c))
ARCH_SRC := $(sort $(wildcard arch-x86/*/*.c boot/*.c))
ASM_SRC := $(sort $(wildcard arch-x86/*/*.S boot/*.S))
OBJ := $(patsubst %,$(O)/obj/%.o,$(HV_SRC) $(ARCH_SRC) $(ASM_SRC))

all: $(O)/patchbay.elf $(O)/compile_commands.json ## build the hypervisor (build/patchbay.elf)

# Folders with generated files or images of their own bring a fragment.
-include $(wildcard arch-x86/*/*.mk)
-include boot/boot.mk
-include $(wildcard hv/*/*.mk hv/*/*/*.mk)
-include guest/guest.mk

# --- objects ---------------------------------------------------------------------------------
# Objects depend on the flags they were built with, so that TOOLCHAIN= or an edit here rebuilds.
FLAGS_LINE := $(CC) $(CFLAGS) $(LTO)
$(O)/obj/.flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(FLAGS_LINE)' | cmp -s - $@ || printf '%s\n' '$(FLAGS_LINE)' > $@
VERSION_FLAG := '-DPATCHBAY_VERSION="$(VERSION)"'
VERSION_SRC := $(shell grep -ls PATCHBAY_VERSION $(ARCH_SRC) $(HV_SRC) /dev/null)
$(O)/obj/.version: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(VERSION)' | cmp -s - $@ || printf '%s\n' '$(VERSION)' > $@
$(patsubst %,$(O)/obj/%.o,$(VERSION_SRC)): $(O)/obj/.version
$(patsubst %,$(O)/obj/%.o,$(VERSION_SRC)): EXTRA = $(VERSION_FLAG)

$(O)/obj/%.c.o: %.c $(O)/obj/.flags
	@mkdir -p $(@D)
	@$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS) $(LTO) $(EXTRA) -MMD -MP -c $< -o $@
$(O)/obj/%.S.o: %.S $(O)/obj/.flags
	@mkdir -p $(@D)
	@$(call say,AS,$<)
	$(Q)$(CC) $(CFLAGS) $(EXTRA) -MMD -MP -c $< -o $@

# A link rule of boot/boot.mk (symbol table) takes precedence over the plain one.
ifeq ($(shell grep -sc '^$$(O)/patchbay.elf:' boot/boot.mk),1)
else
$(O)/patchbay.elf: $(OBJ) linker.ld $(HOT_LISTS)
	@$(call say,LD,$@)
	$(Q)$(LINK) -T linker.ld -o $@ $(OBJ)
endif
# No segment may be writable and executable at once, and none may be missing its permissions.
$(O)/.wx-checked: $(O)/patchbay.elf
	$(Q)if $(READELF) -lW $< | grep -E '^ +(LOAD|GNU_STACK) .* RWE? *E '; then \
	    echo 'patchbay.elf: a segment is writable and executable' >&2; exit 1; fi
	$(Q)$(READELF) -lW $< | grep -qE '^ +LOAD .* R E ' && touch $@
all: $(O)/.wx-checked

# --- host build of hv/ under sanitizers, for tools/tests/test_*.c -----------------------------
HOSTWARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla -Wformat=2 -Wno-sign-conversion -Werror
HOSTCFLAGS := -std=gnu11 -O1 -g -fno-omit-frame-pointer -I. -DHV_HOST=1 $(HOSTWARN)
SAN_host := -fsanitize=address,undefined -fno-sanitize-recover=undefined
SAN_tsan := -fsanitize=thread
SAN_fuzz := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
HOSTCC_host := $(HOSTCC)
HOSTCC_tsan := $(HOSTCC)
HOSTCC_fuzz := clang
HOST_SRC := $(HV_SRC) $(sort $(wildcard tools/tests/fake/*.c))
HOST_TESTS := $(sort $(basename $(notdir $(wildcard tools/tests/test_*.c))))
TSAN_TESTS := $(filter %_tsan,$(HOST_TESTS))
ASAN_TESTS := $(filter-out %_tsan,$(HOST_TESTS))
LDLIBS_test_decode := -lZydis -lZycore
LDLIBS_test_extent := -lZydis -lZycore
define host_flavour
$(O)/$(1)/%.c.o: %.c Makefile
	@mkdir -p $$(@D)
	@$$(call say,HOSTCC,$$< ($(1)))
	$$(Q)$$(HOSTCC_$(1)) $$(HOSTCFLAGS) $$(SAN_$(1)) -MMD -MP -c $$< -o $$@
$(O)/$(1)/libhv.a: $$(patsubst %,$(O)/$(1)/%.o,$$(HOST_SRC))
	@$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && ar rcsD $$@ $$^
$(O)/$(1)/test_%: $(O)/$(1)/tools/tests/test_%.c.o $(O)/$(1)/libhv.a
	@$$(call say,LINK,$$@)
	$$(Q)$$(HOSTCC_$(1)) $$(SAN_$(1)) $$^ -o $$@ $$(LDLIBS_test_$$*) -lpthread
-include $$(patsubst %,$(O)/$(1)/%.d,$$(HOST_SRC) $$(wildcard tools/tests/*_*.c))
endef
$(eval $(call host_flavour,host))
$(eval $(call host_flavour,tsan))
$(eval $(call host_flavour,fuzz))
.PRECIOUS: $(O)/host/%.c.o $(O)/tsan/%.c.o $(O)/fuzz/%.c.o
$(O)/fuzz/fuzz_%: $(O)/fuzz/tools/tests/fuzz_%.c.o $(O)/fuzz/libhv.a
	@$(call say,LINK,$@)
	$(Q)clang -fsanitize=fuzzer,address,undefined $^ $(O)/fuzz/libhv.a -o $@
# Parsers outside of hv/, by the objects they need.
$(O)/fuzz/fuzz_multiboot: $(patsubst %,$(O)/fuzz/%.c.o,boot/multiboot1 boot/multiboot2 arch-x86/plat/memmap)
$(O)/fuzz/fuzz_acpi: $(O)/fuzz/arch-x86/plat/acpi.c.o
$(O)/fuzz/fuzz_iommu: $(patsubst %,$(O)/fuzz/%.c.o,arch-x86/iommu/dmar arch-x86/iommu/ivrs arch-x86/plat/mcfg)
include tools/tests/sim.mk
include tools/bench.mk
host-tests: $(ASAN_TESTS:%=$(O)/host/%) $(TSAN_TESTS:%=$(O)/tsan/%)

# The option table of boot/README.md comes from options_describe itself.
$(O)/host/options-table: $(patsubst %,$(O)/host/%.o,tools/options-table.c $(wildcard hv/base/*.c tools/tests/fake/*.c))
	$(Q)$(HOSTCC) $(SAN_host) $^ -o $@ -lpthread

# --- guest kernel and initramfs ----------------------------------------------------------------
# The distribution's files by the names that tools/fetch.sh knows them by.
FETCH_vmlinuz := kernel
FETCH_vmlinuz-686-pae := kernel-686-pae
FETCH_vmlinuz-686 := kernel-686
FETCH_vmlinuz-rt := kernel-rt
FETCHED := virtio busybox busybox-i386 memtest xen mach vmlinuz vmlinuz-686-pae vmlinuz-686 vmlinuz-rt tools libc-i386
$(FETCHED:%=$(O)/cache/%): $(O)/cache/%: tools/fetch.sh
	@$(call say,FETCH,$@)
	$(Q)tools/fetch.sh $(or $(FETCH_$*),$*) $(O)/cache
	@touch $@
# It comes with the modules.
$(O)/cache/virtio-vmlinuz: $(O)/cache/virtio ;
PBLOAD_FLAGS := -std=gnu11 -O2 -g0 -static -pthread -Wall -Wextra -Werror
$(O)/pbload: tools/initramfs/pbload.c
	@mkdir -p $(@D)
	@$(call say,HOSTCC,$@)
	$(Q)$(CROSS)gcc $(PBLOAD_FLAGS) $< -o $@
$(O)/pbbench: tools/initramfs/pbbench.c tools/initramfs/pbb.h
	@mkdir -p $(@D)
	@$(call say,HOSTCC,$@)
	$(Q)$(CROSS)gcc $(PBLOAD_FLAGS) -I. $< -o $@
# The same for 32-bit kernels: their C library is not installed, only unpacked.
LIBC32 := $(O)/cache/libc-i386/usr
LIBC32_FLAGS = -m32 $(foreach d,$(LIBC32)/lib32 $(wildcard $(LIBC32)/lib/gcc/x86_64-linux-gnu/*/32),-B$d -L$d) \
	$(patsubst %,-idirafter %/include/x86_64-linux-gnu,$(LIBC32) /usr) -idirafter $(LIBC32)/include
$(O)/i386/pbload: tools/initramfs/pbload.c $(O)/cache/libc-i386
	@mkdir -p $(@D)
	@$(call say,HOSTCC,$@)
	$(Q)$(CROSS)gcc $(PBLOAD_FLAGS) $(LIBC32_FLAGS) $< -o $@
$(O)/pbio: tools/initramfs/pbio.c tools/initramfs/pbb.h
	@mkdir -p $(@D)
	@$(call say,HOSTCC,$@)
	$(Q)$(CROSS)gcc $(PBLOAD_FLAGS) -I. $< -o $@
INITRD_PARTS := $(sort $(wildcard tools/initramfs/init tools/initramfs/scripts/*))
$(O)/initrd.gz: tools/initramfs/mkinitrd.sh $(INITRD_PARTS) $(O)/cache/busybox $(O)/pbload $(O)/pbbench
	@$(call say,CPIO,$@)
	$(Q)tools/initramfs/mkinitrd.sh $@ $(O)/cache/busybox $(O)/pbload $(O)/pbbench
# With stress-ng, memtester and their libraries: the script "stress".
$(O)/initrd-tools.gz: tools/initramfs/mkinitrd.sh $(INITRD_PARTS) $(O)/cache/busybox $(O)/pbload $(O)/cache/tools
	@$(call say,CPIO,$@)
	$(Q)tools/initramfs/mkinitrd.sh $@ $(O)/cache/busybox $(O)/pbload $(O)/cache/tools
# With the kernel itself and what jumps into it: the script "kexec".
$(O)/pbkexec: tools/initramfs/pbkexec.c
	@mkdir -p $(@D)
	@$(call say,HOSTCC,$@)
	$(Q)$(CROSS)gcc $(PBLOAD_FLAGS) $< -o $@
$(O)/initrd-kexec.gz: tools/initramfs/mkinitrd.sh $(INITRD_PARTS) $(O)/cache/busybox $(O)/pbload $(O)/pbkexec $(O)/cache/vmlinuz
	@$(call say,CPIO,$@)
	$(Q)rm -rf $(O)/kexec-root && mkdir -p $(O)/kexec-root/boot && cp $(O)/cache/vmlinuz $(O)/kexec-root/boot/
	$(Q)tools/initramfs/mkinitrd.sh $@ $(O)/cache/busybox $(O)/pbload $(O)/pbkexec $(O)/kexec-root
# With the kernel's own virtio drivers and a disk of its own: the script "virtio".
$(O)/initrd-virtio.gz: tools/initramfs/mkinitrd.sh tools/virtioguest.py $(INITRD_PARTS) $(O)/cache/busybox $(O)/pbload $(O)/cache/virtio
	@$(call say,CPIO,$@)
	$(Q)$(PYTHON) tools/virtioguest.py modules $(O)/virtio-root $(O)/cache/virtio
	$(Q)tools/initramfs/mkinitrd.sh $@ $(O)/cache/busybox $(O)/pbload $(O)/virtio-root
# With its drivers for the machine's own devices: the script "devices".
$(O)/initrd-devices.gz: tools/initramfs/mkinitrd.sh tools/virtioguest.py $(INITRD_PARTS) $(O)/cache/busybox $(O)/pbload $(O)/cache/virtio
	@$(call say,CPIO,$@)
	$(Q)$(PYTHON) tools/virtioguest.py devices $(O)/devices-root $(O)/cache/virtio
	$(Q)tools/initramfs/mkinitrd.sh $@ $(O)/cache/busybox $(O)/pbload $(O)/devices-root
# With the benchmark of devices: the script "io".
$(O)/initrd-io.gz: $(O)/initrd-devices.gz $(O)/pbio
	@$(call say,CPIO,$@)
	$(Q)tools/initramfs/mkinitrd.sh $@ $(O)/cache/busybox $(O)/pbio $(O)/devices-root
$(O)/virtio-disk.img: tools/virtioguest.py $(O)/cache/busybox
	@$(call say,DISK,$@)
	$(Q)$(PYTHON) tools/virtioguest.py disk $@ $(O)/cache/busybox
$(O)/initrd-i386.gz: tools/initramfs/mkinitrd.sh $(INITRD_PARTS) $(O)/cache/busybox-i386 $(O)/i386/pbload
	@$(call say,CPIO,$@)
	$(Q)tools/initramfs/mkinitrd.sh $@ $(O)/cache/busybox-i386 $(O)/i386/pbload

# --- what people run ---------------------------------------------------------------------------
SMP ?= 4
MEM ?= 1024
FW ?= bios
EMU ?= qemu
CPU ?= max
MACHINE ?= pc
SUITE ?= bookworm
# Short names of guests that can be fetched.
ifneq ($(filter 686 686-pae,$(KERNEL)),)
override KERNEL := $(O)/cache/vmlinuz-$(KERNEL)
INITRD ?= $(O)/initrd-i386.gz
else ifeq ($(KERNEL),rt)
override KERNEL := $(O)/cache/vmlinuz-rt
INITRD ?= $(O)/initrd.gz
else ifeq ($(KERNEL),memtest)
override KERNEL := $(O)/cache/memtest
APPEND ?= console=ttyS0,115200 nobench nosm keyboard=legacy
else ifeq ($(KERNEL),mach)
override KERNEL := $(O)/cache/mach
APPEND ?= console=com0
else ifeq ($(KERNEL),xen)
override KERNEL := $(O)/cache/xen
APPEND ?= smap=0 cpuidle=0 com1=115200 console=com1
MODULES ?= $(O)/cache/vmlinuz role=initrd -- placeholder console=hvc0, $(O)/initrd.gz role=initrd
RUN_NEEDS := $(O)/cache/vmlinuz $(O)/initrd.gz
endif
APPEND ?= console=ttyS0
RUN_VARS := KERNEL INITRD APPEND MODULES VMS HV SMP MEM TIMEOUT SILENCE LOG FW EMU TEST CPU MACHINE
export $(RUN_VARS) USB BARE DIRECT NAME O DISK DEV NET NIC IOMMU BOCHS SUITE
# A disk boots by its own GRUB, unless it is told otherwise.
OWN_MENU := $(if $(DISK),$(if $(KERNEL)$(filter 1,$(DIRECT)),,1))
BOOTED := $(if $(filter 1,$(BARE) $(OWN_MENU)),,$(O)/patchbay.elf $(O)/.wx-checked $(if $(filter 1,$(DIRECT)),$(O)/patchbay.elf32))
# Several VMs: the files that their line names.
RUN_NEEDS += $(if $(VMS),$(shell cd tools && $(PYTHON) -c 'import sys; from pblib import vms; print(*vms.made_of(*sys.argv[1:]))' '$(VMS)' $(O)))
RUN_NEEDS += $(if $(KERNEL)$(DISK),,$(O)/cache/vmlinuz) $(if $(INITRD)$(KERNEL)$(DISK),,$(O)/initrd.gz) \
	$(filter $(O)/cache/% $(O)/initrd%,$(KERNEL) $(INITRD))

setup: ## install what is missing to build, run and check
	@tools/setup.sh $(O) run check
run: ## boot KERNEL on Patchbay in the emulator and give its shell (Ctrl-A x quits)
	@tools/setup.sh $(O) run
	@$(MAKE) --no-print-directory _run
_run: $(BOOTED) $(RUN_NEEDS)
	@$(PYTHON) tools/run.py
iso: ## make the bootable image build/patchbay.iso (CD and USB, BIOS and UEFI)
	@tools/setup.sh $(O) run
	@$(MAKE) --no-print-directory $(O)/patchbay.iso
$(O)/patchbay.iso: $(O)/patchbay.elf $(O)/.wx-checked $(RUN_NEEDS) $(O)/cache/memtest tools/mkiso.sh tools/iso.py \
		tools/pblib/iso.py $(wildcard boot/grub.cfg)
	@$(call say,ISO,$@)
	$(Q)$(PYTHON) tools/iso.py $@
deb: ## make the Debian package build/patchbay.deb: a boot entry for each kernel, "Debian on Patchbay"
	@tools/setup.sh $(O) run
	@$(MAKE) --no-print-directory $(O)/patchbay.deb
$(O)/patchbay.deb: $(O)/patchbay.elf $(O)/.wx-checked $(O)/host/options-table tools/mkdeb.py $(wildcard tools/packaging/*) \
		$(O)/obj/.version
	@$(call say,DEB,$@)
	$(Q)$(O)/host/options-table > $(O)/options.txt
	$(Q)CROSS=$(CROSS) $(PYTHON) tools/mkdeb.py $(O)/patchbay.elf $(O)/options.txt '$(VERSION)' $@
disk: ## make a Debian disk, build/disk-SUITE.img (SUITE=bookworm|trixie), with that package; as root: make run DISK=
	@tools/setup.sh $(O) run disk
	@$(MAKE) --no-print-directory $(O)/disk-$(SUITE).img
$(O)/disk-$(SUITE).img: $(O)/patchbay.deb tools/mkdisk.py $(wildcard tools/disk/*)
	@$(call say,DISK,$@)
	$(Q)$(PYTHON) tools/mkdisk.py $(SUITE) $< $(O)/cache $@
root: ## make a Debian for VMs, build/root-SUITE.ext4, with kernel and initrd; as root: make run VMS="a:kernel=debian"
	@tools/setup.sh $(O) run disk
	@$(MAKE) --no-print-directory $(O)/root-$(SUITE).ext4
$(O)/root-$(SUITE).ext4: tools/mkroot.py tools/pblib/tree.py
	@$(call say,ROOT,$@)
	@mkdir -p $(O)/cache
	$(Q)$(PYTHON) tools/mkroot.py $(SUITE) $(O)/cache $@
# They come with it.
$(O)/root-$(SUITE).vmlinuz $(O)/root-$(SUITE).initrd: $(O)/root-$(SUITE).ext4 ;
usb: iso ## write the image to a stick: make usb DEV=/dev/sdX (refuses system disks, asks first)
	@tools/usb.sh $(O)/patchbay.iso "$(DEV)"
trace: ## a load on four CPUs, then its event trace: summary, build/trace.json (Perfetto), build/trace.svg
	@tools/setup.sh $(O) run
	@$(MAKE) --no-print-directory $(BOOTED) $(RUN_NEEDS)
	@echo 'pbload 300 & sleep 5; poweroff -f' | HV="$(HV) trace=1" NAME=trace LOG=$(O)/trace.log $(PYTHON) tools/run.py >/dev/null
	@$(PYTHON) tools/trace.py $(O)/trace.log --json $(O)/trace.json --svg $(O)/trace.svg
gdb: ## as run, stopped at the first instruction, with gdb attached (see tools/gdb/hv.py)
	@tools/setup.sh $(O) run check
	@$(MAKE) --no-print-directory _gdb
_gdb: $(BOOTED) $(RUN_NEEDS)
	@$(PYTHON) tools/gdb/launch.py

# Its variables are GROUP, STEP, QUICK and JOBS, read from the environment: a pattern among them is none of the shell's.
check: ## everything: builds, lint, host tests, guest tests, Linux; GROUP= STEP= select, QUICK=1: five minutes
	@tools/setup.sh $(O) run disk check
	@$(PYTHON) tools/check.py
check-unit: ## host tests of hv/ under ASan, UBSan and TSan
	@tools/setup.sh $(O) run check
	@$(PYTHON) tools/check.py unit
check-guest: ## guest tests, on the bare emulator and on Patchbay
	@tools/setup.sh $(O) run check
	@$(PYTHON) tools/check.py guest
check-linux: ## Linux sessions: CPU counts, coherency modes, loads with verification
	@tools/setup.sh $(O) run check
	@$(PYTHON) tools/check.py linux
check-boot: ## boot paths: UEFI, USB, 8 CPUs, multiboot1
	@tools/setup.sh $(O) run check
	@$(PYTHON) tools/check.py boot
check-vmx: ## on Intel's processors under Bochs: the vmx group and more models, CPUs, audits
	@tools/setup.sh $(O) run check
	@$(PYTHON) tools/check.py vmx vmx-long
check-mutants: ## deliberate protocol bugs (tools/mutants.txt), each of which some host test must notice
	@tools/setup.sh $(O) run check
	@O=$(O) HOSTCC=$(HOSTCC) $(PYTHON) tools/mutants.py
check-model: ## the protocol models, every known-bad variant refuted
	@tools/setup.sh $(O) run check
	@$(PYTHON) tools/check.py model
bench-boot: ## boot time, CPU cost and exits by kind, Patchbay against the bare emulator
	@$(MAKE) --no-print-directory $(O)/patchbay.elf $(RUN_NEEDS)
	@$(PYTHON) tools/benchboot.py
lint: ## format, layers, headers, SPDX, sizes, clang-tidy, cppcheck, README's tables
	@tools/setup.sh $(O) run check
	@$(PYTHON) tools/lint.py
format: ## clang-format every C file in place
	$(Q)git ls-files '*.c' '*.h' | xargs clang-format-19 -i
$(O)/compile_commands.json: $(O)/obj/.flags Makefile tools/compdb.py | $(ACPI_DSDT)
	$(Q)$(PYTHON) tools/compdb.py $@ '$(FLAGS_LINE)' $(HV_SRC) $(ARCH_SRC)
clean: ## remove the output folder, the fetched packages in it included
	rm -rf $(O)
help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile tools/tests/sim.mk tools/bench.mk | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'
	@echo
	@echo 'Variables: KERNEL= INITRD= APPEND= MODULES= HV= SMP= MEM= TIMEOUT= SILENCE= LOG= FW=bios|uefi'
	@echo '  EMU=qemu|bochs BOCHS= TEST=1 CPU= MACHINE=pc|q35 USB=1 DIRECT=1 BARE=1; DISK=file DEV=ahci|nvme|virtio|usb'
	@echo '  NET=1 NIC=none|e1000e|virtio IOMMU=none|intel|amd; SUITE=bookworm|trixie for make disk; TOOLCHAIN=gcc|clang O= V=1'
	@echo 'make check: GROUP="guest linux" STEP="hosted-*" (a step by its name after the slash; tools/check.py --list)'
	@echo '  JOBS=1 (one step after the other); QUICK=1: without Bochs, models, clang, fuzzers, coverage, other guests,'
	@echo '  most options, boot ways and consoles, monitor, gdb (tools/check.py --help)'
	@echo
	@echo 'Typical:  make run'
	@echo '          make run SMP=2 HV="audit=2 coherency=locked" APPEND="console=ttyS0 pb.script=smoke"'
	@echo '          make check GROUP=unit'
	@echo '          make check QUICK=1'

FORCE:
-include $(OBJ:.o=.d)
.PHONY: all setup run _run iso deb disk root usb trace gdb _gdb check check-unit check-guest check-linux check-boot check-vmx check-model check-mutants \
	bench-boot lint format clean help host-tests FORCE
