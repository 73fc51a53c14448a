# SPDX-License-Identifier: BSD-2-Clause
# Compiles hv/vm/tables/dsdt.asl into the C arrays that hv/vm/tables/acpi.c and acpi_pci.c include. Included by the Makefile.
IASL ?= iasl
ACPI_DSDT := $(O)/gen/hv/vm/tables/dsdt.inc

ACPI_DSDT_PCI := $(O)/gen/hv/vm/tables/dsdt_pci.inc

$(ACPI_DSDT): ACPI_NAME := dsdt_aml
$(ACPI_DSDT_PCI): ACPI_NAME := dsdt_pci_aml
$(ACPI_DSDT_PCI): ACPI_FLAGS := -D FUNCTIONS
$(ACPI_DSDT) $(ACPI_DSDT_PCI): hv/vm/tables/dsdt.asl hv/vm/tables/acpi.mk
	@mkdir -p $(@D)
	$(Q)$(IASL) $(ACPI_FLAGS) -tc -p $(basename $@) $< > $(basename $@).log 2>&1 || { cat $(basename $@).log; exit 1; }
	$(Q)grep -q ' 0 Errors, 0 Warnings' $(basename $@).log || { cat $(basename $@).log; exit 1; }
	$(Q)sed 's/^unsigned char [a-z_]*/static const unsigned char $(ACPI_NAME)/' $(basename $@).hex > $@

ACPI_HOST_OBJ := $(foreach f,host tsan fuzz cov plain,$(O)/$(f)/hv/vm/tables/acpi.c.o $(O)/$(f)/hv/vm/tables/acpi_pci.c.o)
$(O)/obj/hv/vm/tables/acpi.c.o $(O)/obj/hv/vm/tables/acpi_pci.c.o $(ACPI_HOST_OBJ): $(ACPI_DSDT) $(ACPI_DSDT_PCI)
CFLAGS += -I$(O)/gen
$(ACPI_HOST_OBJ): HOSTCFLAGS += -I$(O)/gen
# Every source that is made, for tools that compile on their own (tools/mutants.py).
.PHONY: generated
generated: $(ACPI_DSDT) $(ACPI_DSDT_PCI)
