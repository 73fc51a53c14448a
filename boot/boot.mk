# SPDX-License-Identifier: BSD-2-Clause
# The image: linked twice, so that it can hold its own symbol table, and the ELF32 copy that
# `qemu -kernel` wants. Included by the Makefile. Tested by every build.

$(O)/patchbay.pass1.elf: $(OBJ) linker.ld $(HOT_LISTS)
	@mkdir -p $(@D)
	$(Q)$(LINK) -T linker.ld -o $@ $(OBJ)
$(O)/obj/symtab.S: $(O)/patchbay.pass1.elf tools/symtab.py
	@mkdir -p $(@D)
	$(Q)$(NM) -n $< | $(PYTHON) tools/symtab.py > $@
$(O)/obj/symtab.o: $(O)/obj/symtab.S
	$(Q)$(CC) $(CFLAGS) -c $< -o $@
# Addresses of text symbols must be those of the first link, or every backtrace lies.
$(O)/patchbay.elf: $(OBJ) $(O)/obj/symtab.o linker.ld $(HOT_LISTS)
	@$(call say,LD,$@)
	$(Q)$(LINK) -T linker.ld -o $@.tmp $(OBJ) $(O)/obj/symtab.o
	$(Q)$(NM) -n $@.tmp | $(PYTHON) tools/symtab.py | cmp -s - $(O)/obj/symtab.S || \
	    { echo 'patchbay.elf: the second link moved text symbols' >&2; exit 1; }
	$(Q)mv $@.tmp $@
$(O)/patchbay.elf32: $(O)/patchbay.elf
	@$(call say,OBJCOPY,$@)
	$(Q)$(OBJCOPY) --strip-debug -O elf32-i386 $< $@
all: $(O)/patchbay.elf32
