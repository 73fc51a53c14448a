# SPDX-License-Identifier: BSD-2-Clause
# The framebuffer console's font: Debian's, turned into C at build time. Included by the Makefile.
# Tested by every build.
FONT ?= /usr/share/grub/unicode.pf2

$(O)/obj/font.c: tools/font.py arch-x86/dev/dev.mk
	@mkdir -p $(@D)
	@$(call say,FONT,$@)
	$(Q)$(PYTHON) tools/font.py $(FONT) $@
$(O)/obj/font.o: $(O)/obj/font.c arch-x86/dev/font.h $(O)/obj/.flags
	@$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS) -c $< -o $@
OBJ += $(O)/obj/font.o
