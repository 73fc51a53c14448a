# SPDX-License-Identifier: BSD-2-Clause
# Builds $(O)/guest/tests.bin, a bzImage that runs bare and hosted. Included by the Makefile; also works alone:
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
GUEST_SRC := $(sort $(wildcard guest/*.c)) guest/entry.S guest/trap.S guest/realmode.S
GUEST_OBJ := $(patsubst %,$(O)/obj/%.o,$(GUEST_SRC))

guest: $(O)/guest/tests.bin

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
	$(Q)$(CC) $(GUEST_CFLAGS) -DSYSSIZE=$$(( ($$(stat -c %s $(O)/guest/payload.bin) + 15) / 16 )) \
		-c $< -o $(O)/guest/setup.o
	$(Q)$(LD) -Ttext=0 --oformat=binary -o $@ $(O)/guest/setup.o
$(O)/guest/tests.bin: $(O)/guest/setup.bin $(O)/guest/payload.bin
	$(Q)cat $^ > $@

# Runs the tests without a hypervisor. SMP= MEM= TESTS= (a glob) SCALE=
guest-bare: $(O)/guest/tests.bin
	guest/run-bare.sh $< $(or $(SMP),4) "test=$(or $(TESTS),*) scale=$(or $(SCALE),1)"

-include $(GUEST_OBJ:.o=.d)
.PHONY: guest guest-bare
