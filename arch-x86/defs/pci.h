/* SPDX-License-Identifier: BSD-2-Clause */
/* Configuration space of PCI functions: registers, capabilities, bits. PCI Local Bus Specification
 * 3.0, chapter 6 "Configuration Space"; PCI Express Base Specification 4.0, 7.5 "PCI and PCIe
 * Capabilities Required by the Base Spec"; PCI Bus Power Management 1.2, 3.2.
 * Tested by tools/tests/test_pass_config.c. */
#pragma once
#include "arch-x86/defs/pc.h"

#define PCI_SPACE 256u    /* bytes of conventional configuration space */
#define PCI_SPACE_X 4096u /* extended */
#define PCI_ID_NOBODY 0xffffu

#define PCI_REVISION 0x08
#define PCI_SUBCLASS 0x0a /* subclass, then the class code's first byte at 0B */
#define PCI_BUS_SECONDARY 0x19
#define PCI_BUS_SUBORDINATE 0x1a
#define PCI_ROM 0x30

#define PCI_HEADER_LAYOUT 0x7fu
#define PCI_LAYOUT_DEVICE 0u
#define PCI_LAYOUT_BRIDGE 1u

#define PCI_BAR_IO 1u
#define PCI_BAR_64 4u
#define PCI_BAR_TYPE 6u
#define PCI_BAR_PREFETCH 8u

/* Classes, 23:8 of the register at 08. */
#define PCI_CLASS_NVME 0x0108u
#define PCI_CLASS_UART 0x0700u
#define PCI_CLASS_IOMMU 0x0806u
#define PCI_CLASS_USB 0x0c03u
#define PCI_BASE_BRIDGE 0x06u
#define PCI_USB_EHCI 0x20u
#define PCI_USB_XHCI 0x30u

/* Capability identifiers. */
#define PCI_CAP_PM 0x01u
#define PCI_CAP_MSI 0x05u
#define PCI_CAP_EXPRESS 0x10u
#define PCI_CAP_SATA 0x12u
#define PCI_CAP_AF 0x13u
#define PCI_XCAP_SERIAL 0x0003u
#define PCI_XCAP_VENDOR 0x000bu
#define PCI_XCAP_ACS 0x000du
#define PCI_XCAP_DVSEC 0x0023u

#define PCI_PM_CSR 4u
#define PCI_PM_STATE 3u

#define PCI_MSI_CONTROL 2u
#define PCI_MSI_ENABLE 0x0001u
#define PCI_MSI_64 0x0080u
#define PCI_MSI_MASKING 0x0100u
#define PCI_MSI_ADDRESS 4u

#define PCI_MSIX_COUNT 0x07ffu /* less one */
#define PCI_MSIX_BIR 7u
#define PCI_MSIX_ENTRY 16u /* bytes: address, upper address, data, vector control */

#define PCI_EXP_DEVCAP 4u
#define PCI_EXP_FLR_CAP 0x10000000u
#define PCI_EXP_DEVCTL 8u
#define PCI_EXP_FLR 0x8000u
#define PCI_EXP_DEVSTA 0x0au
#define PCI_EXP_PENDING 0x20u
#define PCI_AF_CAPS 3u
#define PCI_AF_FLR_CAP 0x02u
#define PCI_AF_CONTROL 4u
#define PCI_AF_FLR 0x01u
#define PCI_AF_STATUS 5u
#define PCI_AF_PENDING 0x01u
#define PCI_BAR_COUNT 6u
