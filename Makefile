# SPDX-License-Identifier: BSD-2-Clause
# Patchbay: `make help` lists the targets. Output goes to build/ only.
O ?= build
CROSS ?= $(if $(filter x86_64,$(shell uname -m)),,x86_64-linux-gnu-)
TOOLCHAIN ?= gcc
V ?= 0
Q := $(if $(filter 1,$(V)),,@)

CC := $(if $(filter clang,$(TOOLCHAIN)),clang --target=x86_64-linux-gnu,$(CROSS)gcc)
LD := $(CROSS)ld
OBJCOPY := $(CROSS)objcopy
NM := $(CROSS)nm

WARN := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla \
	-Wcast-align -Wcast-qual -Wformat=2 -Wimplicit-fallthrough -Wframe-larger-than=2048 \
	-Wno-sign-conversion -Werror
CFLAGS := -std=gnu11 -O2 -g -ffreestanding -mgeneral-regs-only -mno-red-zone -fno-pic -fno-pie \
	-fno-stack-protector -fno-omit-frame-pointer -fno-strict-aliasing -fcf-protection=none \
	-ffile-prefix-map=$(CURDIR)=. -I. $(WARN)

HV_SRC := $(sort $(wildcard hv/*.c hv/*/*.c))
ARCH_SRC := $(sort $(wildcard arch-x86/*/*.c boot/*.c))
ASM_SRC := $(sort $(wildcard arch-x86/*/*.S boot/*.S))
OBJ := $(patsubst %,$(O)/obj/%.o,$(HV_SRC) $(ARCH_SRC) $(ASM_SRC))

all: $(O)/patchbay.elf

$(O)/obj/%.c.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c $< -o $@
$(O)/obj/%.S.o: %.S
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c $< -o $@
$(O)/patchbay.elf: $(OBJ) linker.ld
	$(Q)$(LD) -nostdlib -z max-page-size=4096 -z noexecstack -T linker.ld -o $@ $(OBJ)

# Host build of hv/ under sanitizers, for tools/tests/test_*.c
HOSTCC ?= gcc
SAN ?= -fsanitize=address,undefined -fno-sanitize-recover=undefined
HOSTCFLAGS := -std=gnu11 -O1 -g -fno-omit-frame-pointer -I. -DHV_HOST=1 -Wall -Wextra -Wno-sign-conversion
HOST_OBJ := $(patsubst %,$(O)/host/%.o,$(HV_SRC) $(wildcard tools/tests/fake/*.c))
$(O)/host/%.c.o: %.c
	@mkdir -p $(@D)
	$(Q)$(HOSTCC) $(HOSTCFLAGS) $(SAN) -MMD -MP -c $< -o $@
$(O)/host/libhv.a: $(HOST_OBJ)
	$(Q)rm -f $@ && ar rcs $@ $^
$(O)/host/test_%: tools/tests/test_%.c $(O)/host/libhv.a
	$(Q)$(HOSTCC) $(HOSTCFLAGS) $(SAN) -MMD -MP $< $(O)/host/libhv.a -o $@ $(LDLIBS_$*) -lpthread

clean:
	rm -rf $(O)
-include $(OBJ:.o=.d) $(HOST_OBJ:.o=.d)
.PHONY: all clean
