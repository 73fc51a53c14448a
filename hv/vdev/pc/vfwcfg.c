/* SPDX-License-Identifier: BSD-2-Clause */
/* The firmware configuration device of QEMU (its docs/specs/fw_cfg.rst), by which firmware and
 * kernels without ACPI learn the number of CPUs and the memory map: a selector at port 510, data
 * byte by byte at 511. No DMA; nothing can be written. Guarded by the device lock. Tested by
 * tools/tests/test_vdev_fwcfg.c. */
#include "hv/vdev/pc/vpc_state.h"
#include "hv/base/assert.h"
#include "hv/base/string.h"

#define PORT_SELECT 0x510
#define PORT_DATA 0x511
#define KEY_SIGNATURE 0x00
#define KEY_ID 0x01
#define KEY_RAM_SIZE 0x03
#define KEY_NOGRAPHIC 0x04
#define KEY_NB_CPUS 0x05
#define KEY_NUMA 0x0d
#define KEY_BOOT_MENU 0x0e
#define KEY_MAX_CPUS 0x0f
#define KEY_FILE_DIR 0x19
#define KEY_FILE_FIRST 0x20
#define KEY_IRQ0_OVERRIDE 0x8002
#define ID_TRADITIONAL 1u /* this interface; bit 1 would be DMA */
#define E820_RAM 1u
#define E820_RESERVED 2u
#define DIR_ENTRY 64u
#define NAME_BYTES 56u

struct e820 {
    uint64_t base, len;
    uint32_t type;
} __attribute__((packed));
_Static_assert(sizeof(struct e820) == 20, "entry of etc/e820");

static void e820_build(struct vpc *pc)
{
    /* reserved: the APICs, and the ROM below 4 GiB */
    struct e820 map[3] = {{0, pc->cfg.ram_top_low, E820_RAM},
                          {VPC_IOAPIC_BASE, BIT(32) - VPC_IOAPIC_BASE, E820_RESERVED},
                          {BIT(32), pc->cfg.ram_above_4g, E820_RAM}};
    memcpy(pc->fwcfg.e820, map, sizeof(map));
    vpc_fw_file(pc, "etc/e820", pc->fwcfg.e820,
                pc->cfg.ram_above_4g ? sizeof(map) : 2 * sizeof(map[0]));
}

void vpc_fw_file(struct vpc *pc, const char *name, const void *data, size_t size)
{
    struct vfwcfg *f = &pc->fwcfg;
    ASSERT(f->nfiles < VPC_FW_FILES && strlen(name) < NAME_BYTES);
    f->file[f->nfiles++] = (struct vfwcfg_file){name, data, size};
}

static void put_be(uint8_t *out, uint32_t value, unsigned n)
{
    while (n--) {
        out[n] = (uint8_t)value;
        value >>= 8;
    }
}

/* The directory: a count, then size, key and name of each file; numbers are big-endian. */
static size_t directory(const struct vfwcfg *f, uint8_t *out)
{
    put_be(out, f->nfiles, 4);
    for (unsigned i = 0; i < f->nfiles; i++) {
        uint8_t *e = out + 4 + i * DIR_ENTRY;
        put_be(e, (uint32_t)f->file[i].len, 4);
        put_be(e + 4, KEY_FILE_FIRST + i, 2);
        memcpy(e + 8, f->file[i].name, strlen(f->file[i].name));
    }
    return 4 + f->nfiles * DIR_ENTRY;
}

static size_t number(uint8_t *out, uint64_t value, size_t n)
{
    memcpy(out, &value, n);
    return n;
}

/* Whatever is not here reads as zeros, as in QEMU. */
static size_t item(const struct vpc *pc, uint32_t key, uint8_t *out)
{
    memset(out, 0, VFWCFG_ITEM);
    switch (key) {
    case KEY_SIGNATURE:
        memcpy(out, "QEMU", 4);
        return 4;
    case KEY_ID:
        return number(out, ID_TRADITIONAL, 4);
    case KEY_RAM_SIZE:
        return number(out, pc->cfg.ram_top_low + pc->cfg.ram_above_4g, 8);
    case KEY_NOGRAPHIC:
        return number(out, 1, 2);
    case KEY_NB_CPUS:
    case KEY_MAX_CPUS:
        return number(out, pc->cfg.ncpus, 2);
    case KEY_NUMA:
        return 8;
    case KEY_BOOT_MENU:
        return 2;
    case KEY_FILE_DIR:
        return directory(&pc->fwcfg, out);
    case KEY_IRQ0_OVERRIDE: /* the MADT says so too */
        return number(out, 1, 4);
    default:
        return 0;
    }
}

static void choose(struct vpc *pc, uint32_t key)
{
    struct vfwcfg *f = &pc->fwcfg;
    f->at = 0;
    if (key >= KEY_FILE_FIRST && key - KEY_FILE_FIRST < f->nfiles) {
        f->data = f->file[key - KEY_FILE_FIRST].data;
        f->len = f->file[key - KEY_FILE_FIRST].len;
        return;
    }
    f->len = item(pc, key, f->item);
    f->data = f->item;
}

/* 511 is half of the word at 510 when that is written, and a register of its own else. */
static void vfwcfg_io(void *dev, struct vio *io)
{
    struct vpc *pc = dev;
    struct vfwcfg *f = &pc->fwcfg;
    lock_take(&pc->lock);
    if (io->write) {
        if (io->addr == PORT_SELECT && io->size == 2)
            choose(pc, (uint32_t)io->value & 0xffff);
    } else if (io->addr == PORT_DATA && io->size == 1) {
        io->value = f->at < f->len ? f->data[f->at++] : 0;
    } else {
        io->value = 0;
    }
    lock_drop(&pc->lock);
}

void vfwcfg_init(struct vpc *pc)
{
    e820_build(pc);
    vbus_add_pio(&pc->bus, PORT_SELECT, 2, vfwcfg_io, pc);
}
