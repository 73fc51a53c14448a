# SPDX-License-Identifier: BSD-2-Clause
# Compiles hv/vm/tables/dsdt.asl into the C array that hv/vm/tables/acpi.c includes. Included by the Makefile.
IASL ?= iasl
ACPI_DSDT := $(O)/gen/hv/vm/tables/dsdt.inc

$(ACPI_DSDT): hv/vm/tables/dsdt.asl
	@mkdir -p $(@D)
	$(Q)$(IASL) -tc -p $(@D)/dsdt $< > $(@D)/dsdt.log 2>&1 || { cat $(@D)/dsdt.log; exit 1; }
	$(Q)grep -q ' 0 Errors, 0 Warnings' $(@D)/dsdt.log || { cat $(@D)/dsdt.log; exit 1; }
	$(Q)sed 's/^unsigned char dsdt_aml_code/static const unsigned char dsdt_aml/' $(@D)/dsdt.hex > $@

ACPI_HOST_OBJ := $(foreach f,host tsan fuzz cov plain,$(O)/$(f)/hv/vm/tables/acpi.c.o)
$(O)/obj/hv/vm/tables/acpi.c.o $(ACPI_HOST_OBJ): $(ACPI_DSDT)
CFLAGS += -I$(O)/gen
$(ACPI_HOST_OBJ): HOSTCFLAGS += -I$(O)/gen
