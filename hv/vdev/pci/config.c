/* SPDX-License-Identifier: BSD-2-Clause */
/* The bytes of a PCI function's configuration space. Tested by tools/tests/test_pci_bus.c. */
#include "hv/base/assert.h"
#include "hv/base/string.h"
#include "hv/vdev/pci/pci.h"

uint32_t pci_config_get(const struct pci_function *f, unsigned reg, unsigned size)
{
    uint32_t v = 0;
    ASSERT(size <= 4 && reg + size <= PCI_CONFIG_BYTES);
    memcpy(&v, f->config + reg, size);
    return v;
}

void pci_config_put(struct pci_function *f, unsigned reg, unsigned size, uint32_t value)
{
    ASSERT(size <= 4 && reg + size <= PCI_CONFIG_BYTES);
    memcpy(f->config + reg, &value, size);
}
