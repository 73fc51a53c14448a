/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading the setup header of a Linux bzImage ("The Linux/x86 Boot Protocol",
 * Documentation/arch/x86/ boot.rst). The file is hostile: every number is checked before it is
 * used. Tested by tools/tests/test_loader.c and tools/tests/fuzz_bzimage.c. */
#include "hv/base/string.h"
#include "hv/vm/tables/bootparams.h"
#include "hv/vm/load/loader.h"

#define KERNEL_MAX (1ull << 31) /* a kernel or its run-time size beyond this is damage */
#define OLD_KERNEL_ROOM (8ull << 20)

static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    memcpy(&v, p, bytes); /* little-endian, as every x86 */
    return v;
}

static enum hv_err fail(const char **why, enum hv_err err, const char *text)
{
    *why = text;
    return err;
}

bool bzimage_is(const void *image, uint64_t len)
{
    const uint8_t *p = image;
    return len >= HDR_MAGIC + 4 && get(p + HDR_MAGIC, 4) == HDR_MAGIC_VALUE;
}

/* The fields that say how much memory the kernel wants and where. Each came with some version of
 * the protocol; kernels before it had the values given here ("The Linux/x86 Boot Protocol",
 * "Details of Header Fields"). */
static enum hv_err placement_parse(const uint8_t *p, struct bzimage *b, const char **why)
{
    bool moves = b->version >= 0x205, sized = b->version >= 0x20a;

    b->relocatable = moves && p[HDR_RELOCATABLE] != 0;
    b->align = moves ? get(p + HDR_KERNEL_ALIGNMENT, 4) : PAGE_SIZE;
    b->pref_address = sized ? get(p + HDR_PREF_ADDRESS, 8) : 0x100000;
    /* what it unpacks to is not said: no kernel of that time grew to more */
    b->init_size = sized ? get(p + HDR_INIT_SIZE, 4) : 5 * b->kernel_bytes + OLD_KERNEL_ROOM;
    b->initrd_max = b->version >= 0x203 ? get(p + HDR_INITRD_ADDR_MAX, 4) : 0x37ffffff;
    b->cmdline_max = b->version >= 0x206 ? (uint32_t)get(p + HDR_CMDLINE_SIZE, 4) : 255;
    if (b->align < PAGE_SIZE)
        b->align = PAGE_SIZE;
    if ((b->align & (b->align - 1)) || b->align > KERNEL_MAX)
        return fail(why, HV_INVALID,
                    "its alignment is not a power of two: the file is damaged, copy it again");
    if (b->init_size < b->kernel_bytes)
        b->init_size = b->kernel_bytes;
    if (b->init_size > KERNEL_MAX || b->pref_address > KERNEL_MAX)
        return fail(why, HV_INVALID,
                    "it asks for more than 2 GiB: the file is damaged, copy it again");
    return HV_OK;
}

/* Is the setup header as long as its version says? */
static bool header_whole(const struct bzimage *b)
{
    uint32_t need = b->version >= 0x20a   ? HDR_INIT_SIZE + 4
                    : b->version >= 0x206 ? HDR_CMDLINE_SIZE + 4
                    : b->version >= 0x205 ? HDR_RELOCATABLE + 1
                    : b->version >= 0x203 ? HDR_INITRD_ADDR_MAX + 4
                                          : HDR_CMD_LINE_PTR + 4;
    return b->header_end >= need;
}

enum hv_err bzimage_parse(const void *image, uint64_t len, struct bzimage *b, const char **why)
{
    const uint8_t *p = image;
    memset(b, 0, sizeof(*b));
    *why = "";
    if (len < HDR_BYTES_MIN)
        return fail(why, HV_INVALID, "it is shorter than a boot sector: give a bzImage");
    if (get(p + HDR_BOOT_FLAG, 2) != 0xaa55 || !bzimage_is(p, len))
        return fail(why, HV_INVALID,
                    "it is no Linux bzImage (no HdrS): give a bzImage such as Debian's "
                    "/boot/vmlinuz");
    b->version = (uint16_t)get(p + HDR_VERSION, 2);
    if (b->version < 0x202)
        return fail(why, HV_UNSUPPORTED,
                    "its boot protocol is older than 2.02: give Linux 2.4 or newer");
    if (b->version >= 0x300)
        return fail(why, HV_UNSUPPORTED,
                    "its boot protocol is 3.00 or newer, which is not known here: the file is "
                    "damaged, or Patchbay too old");
    if (!(p[HDR_LOADFLAGS] & HDR_LOADED_HIGH))
        return fail(why, HV_UNSUPPORTED, "it is a zImage for low memory: give a bzImage");
    b->setup_bytes = ((p[HDR_SETUP_SECTS] ? p[HDR_SETUP_SECTS] : 4u) + 1u) * 512u;
    if (b->setup_bytes >= len)
        return fail(why, HV_INVALID, "it is truncated: copy the file again");
    b->kernel_bytes = len - b->setup_bytes;
    /* syssize is in 16-byte units, the last of which may be short in the file; before 2.04 it has
     * 16 bits only */
    if (b->version >= 0x204 && get(p + HDR_SYSSIZE, 4) * 16 > b->kernel_bytes + 15)
        return fail(why, HV_INVALID, "it is truncated: copy the file again");
    if (b->kernel_bytes > KERNEL_MAX / 8)
        return fail(why, HV_INVALID, "it is larger than 256 MiB: give a bzImage");
    b->header_end = HDR_MAGIC + p[HDR_JUMP + 1];
    if (!header_whole(b) || b->header_end > HDR_END_MAX || b->header_end > len)
        return fail(why, HV_INVALID,
                    "its setup header has a wrong length: the file is damaged, copy it again");
    b->entry_long = b->version >= 0x20c && (get(p + HDR_XLOADFLAGS, 2) & HDR_XLF_KERNEL_64) != 0;
    if (b->entry_long && b->kernel_bytes <= ENTRY64_OFFSET)
        return fail(why, HV_INVALID, "it is truncated: copy the file again");
    return placement_parse(p, b, why);
}
