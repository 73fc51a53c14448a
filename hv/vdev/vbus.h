/* SPDX-License-Identifier: BSD-2-Clause */
/* The device bus of a VM: port and memory ranges with handlers, filled at boot, then read-only but
 * for the page that each CPU sees its own device at. Tested by
 * tools/tests/test_vdev_*.c. */
#pragma once
#include "hv/base/types.h"

struct vio {       /* one access */
    uint32_t cpu;  /* which VCPU */
    uint64_t addr; /* port, or gpa */
    uint8_t size;  /* 1, 2, 4 (memory also 8) */
    bool write;
    uint64_t value; /* in: write data; out: read data */
};
typedef void (*vio_handler)(void *dev, struct vio *io);
#define VBUS_MAX 256
#define VBUS_NO_PAGE (~0ull << 12)
struct vbus_range {
    uint64_t base, len;
    vio_handler handler;
    void *dev;
    bool bytes; /* wider accesses reach the handler as consecutive single bytes */
};
struct vbus {
    struct vbus_range pio[VBUS_MAX], mmio[VBUS_MAX];
    unsigned npio, nmmio;
    /* The local APIC's page, looked at first: [cpu] is touched by that CPU alone. */
    uint64_t cpu_page[HV_MAX_CPUS];
    struct vbus_range cpu_device;
};
void vbus_add_pio(struct vbus *b, uint16_t base, uint16_t len, vio_handler h, void *dev);
/* The same for devices with an 8-bit data path: the handler sees size 1 only. */
void vbus_add_pio_bytes(struct vbus *b, uint16_t base, uint16_t len, vio_handler h, void *dev);
void vbus_add_mmio(struct vbus *b, uint64_t base, uint64_t len, vio_handler h, void *dev);
/* The same, found before everything added so far: inside a range that somebody else has. */
void vbus_add_pio_over(struct vbus *b, uint16_t base, uint16_t len, vio_handler h, void *dev);
void vbus_add_mmio_over(struct vbus *b, uint64_t base, uint64_t len, vio_handler h, void *dev);
/* The device that every CPU has one of, and where a CPU sees its own; VBUS_NO_PAGE: nowhere. */
void vbus_cpu_device(struct vbus *b, vio_handler h, void *dev);
void vbus_cpu_page(struct vbus *b, uint32_t cpu, uint64_t base);
/* Unclaimed: reads give all ones of the size, writes are ignored; false then. Context: any VCPU's
 * CPU. */
bool vbus_pio(struct vbus *b, struct vio *io);
bool vbus_mmio(struct vbus *b, struct vio *io);
