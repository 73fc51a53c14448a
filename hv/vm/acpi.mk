# SPDX-License-Identifier: BSD-2-Clause
# Compiles hv/vm/dsdt.asl into the C array that hv/vm/acpi.c includes. Included by the Makefile.
IASL ?= iasl
ACPI_DSDT := $(O)/gen/hv/vm/dsdt.inc

$(ACPI_DSDT): hv/vm/dsdt.asl
	@mkdir -p $(@D)
	$(Q)$(IASL) -tc -p $(@D)/dsdt $< > $(@D)/dsdt.log 2>&1 || { cat $(@D)/dsdt.log; exit 1; }
	$(Q)grep -q ' 0 Errors, 0 Warnings' $(@D)/dsdt.log || { cat $(@D)/dsdt.log; exit 1; }
	$(Q)sed 's/^unsigned char dsdt_aml_code/static const unsigned char dsdt_aml/' $(@D)/dsdt.hex > $@

$(O)/obj/hv/vm/acpi.c.o $(O)/host/hv/vm/acpi.c.o $(O)/tsan/hv/vm/acpi.c.o: $(ACPI_DSDT)
$(O)/obj/hv/vm/acpi.c.o: CFLAGS += -I$(O)/gen
$(O)/host/hv/vm/acpi.c.o: HOSTCFLAGS += -I$(O)/gen
