# SPDX-License-Identifier: BSD-2-Clause
# Builds $(O)/guest/tests*.bin, bzImages that run bare and hosted. Included by the Makefile; also works alone:
# `make -f guest/guest.mk O=build guest`.
O ?= build
Q ?= @
CC ?= gcc
LD ?= ld
OBJCOPY ?= objcopy
GUEST_CFLAGS := -std=gnu11 -O2 -g -ffreestanding -mgeneral-regs-only -mno-red-zone -fno-pic -fno-pie \
	-mcmodel=small -fno-stack-protector -fno-omit-frame-pointer -fno-strict-aliasing -fcf-protection=none \
	-ffile-prefix-map=$(CURDIR)=. -I. -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wundef -Wvla -Wcast-qual -Wformat=2 -Wframe-larger-than=2048 -Wno-sign-conversion -Werror
GUEST_ALL := $(sort $(wildcard guest/*.c))
GUEST_SRC := $(filter-out guest/%32.c guest/tests_modes.c guest/tests_task.c,$(GUEST_ALL)) guest/entry.S guest/trap.S guest/realmode.S
GUEST_OBJ := $(patsubst %,$(O)/obj/%.o,$(GUEST_SRC))

guest: $(O)/guest/tests.bin $(O)/guest/tests-pae.bin $(O)/guest/tests-32.bin

$(O)/obj/guest/%.c.o: guest/%.c guest/guest.mk
	@mkdir -p $(@D)
	$(Q)$(CC) $(GUEST_CFLAGS) -MMD -MP -c $< -o $@
$(O)/obj/guest/%.S.o: guest/%.S guest/guest.mk
	@mkdir -p $(@D)
	$(Q)$(CC) $(GUEST_CFLAGS) -MMD -MP -c $< -o $@
$(O)/guest/tests.elf: $(GUEST_OBJ) guest/guest.ld
	@mkdir -p $(@D)
	$(Q)$(LD) -nostdlib -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments -T guest/guest.ld -o $@ $(GUEST_OBJ)
$(O)/guest/payload.bin: $(O)/guest/tests.elf
	$(Q)$(OBJCOPY) -O binary $< $@
$(O)/guest/setup.bin: guest/setup.S $(O)/guest/payload.bin
	$(Q)$(CC) $(GUEST_CFLAGS) -DXLOADFLAGS=1 -DSYSSIZE=$$(( ($$(stat -c %s $(O)/guest/payload.bin) + 15) / 16 )) \
		-c $< -o $(O)/guest/setup.o
	$(Q)$(LD) -Ttext=0 --oformat=binary -o $@ $(O)/guest/setup.o
$(O)/guest/tests.bin: $(O)/guest/setup.bin $(O)/guest/payload.bin
	$(Q)cat $^ > $@

# The 32-bit images: PAE and two-level tables, from the tests that fit them. A multiboot kernel too: tests-*.elf.
GUEST32_SRC := $(patsubst %,guest/%.c,acpi console cpu cpu32 main options page page32 smp tests_flush tests_hostile32 tests_memory \
	tests_modes tests_native tests_task tests_prot tests_race tests_smp tests_store tests_trans tests_xsave) guest/entry32.S guest/trap32.S guest/realmode.S
GUEST32_CFLAGS := $(filter-out -mcmodel=small -mno-red-zone,$(GUEST_CFLAGS)) -m32 -march=i686 -Wno-format -Wno-int-to-pointer-cast -Wno-pointer-to-int-cast
GUEST32_FLAGS_pae := -DGUEST_PAE=1
define guest32
$(O)/obj/guest-$(1)/%.o: guest/% guest/guest.mk
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(GUEST32_CFLAGS) $$(GUEST32_FLAGS_$(1)) -MMD -MP -c $$< -o $$@
$(O)/guest/tests-$(1).elf: $(patsubst guest/%,$(O)/obj/guest-$(1)/%.o,$(GUEST32_SRC)) guest/guest32.ld
	@mkdir -p $$(@D)
	$$(Q)$$(LD) -m elf_i386 -nostdlib -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments -T guest/guest32.ld \
		-o $$@ $$(filter %.o,$$^)
$(O)/guest/payload-$(1).bin: $(O)/guest/tests-$(1).elf
	$$(Q)$$(OBJCOPY) -O binary $$< $$@
$(O)/guest/setup-$(1).bin: guest/setup.S $(O)/guest/payload-$(1).bin
	$$(Q)$$(CC) $$(GUEST_CFLAGS) -DXLOADFLAGS=0 -DSYSSIZE=$$$$(( ($$$$(stat -c %s $(O)/guest/payload-$(1).bin) + 15) / 16 )) \
		-c $$< -o $(O)/guest/setup-$(1).o
	$$(Q)$$(LD) -Ttext=0 --oformat=binary -o $$@ $(O)/guest/setup-$(1).o
$(O)/guest/tests-$(1).bin: $(O)/guest/setup-$(1).bin $(O)/guest/payload-$(1).bin
	$$(Q)cat $$^ > $$@
-include $(patsubst guest/%,$(O)/obj/guest-$(1)/%.d,$(GUEST32_SRC))
endef
$(eval $(call guest32,pae))
$(eval $(call guest32,32))

# Runs the tests without a hypervisor. SMP= MEM= TESTS= (a glob) SCALE=
guest-bare: $(O)/guest/tests.bin
	guest/run-bare.sh $< $(or $(SMP),4) "test=$(or $(TESTS),*) scale=$(or $(SCALE),1)"

-include $(GUEST_OBJ:.o=.d)
.PHONY: guest guest-bare
