/* SPDX-License-Identifier: BSD-2-Clause */
/* Poison around the guest's memory (test=1): every host page that is left over is filled with a
 * pattern before the guest starts and compared when it ends. A foreign page reached through a
 * shadow entry, and written, would show. Tested by tools/tests/test_poison.c and by every guest
 * test run. */
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/mem/phys.h"
#include "hv/vm/vm.h"

#define POISON_PIECES 256
#define POISON_MOST (64ull << 20) /* bytes; more takes long under an emulator */

static struct {
    hpa_t at;
    uint64_t len;
} piece[POISON_PIECES];
static unsigned npieces;

static uint64_t pattern(uint64_t at)
{
    return at * 0x9e3779b97f4a7c15ull ^ 0x504f49534f4e0000ull;
}

static void fill(hpa_t at, uint64_t len)
{
    uint64_t *p = port_ptr(at);

    for (uint64_t i = 0; i < len / 8; i++)
        p[i] = pattern(at.v + i * 8);
    piece[npieces].at = at;
    piece[npieces++].len = len;
}

void vm_poison_guard(void)
{
    for (uint64_t at = 0; at < phys_top() && npieces < POISON_PIECES; at += REGION_SIZE)
        if (phys_granule_free(hpa(at)) && phys_reserve(hpa(at), REGION_SIZE) == HV_OK) {
            fill(hpa(at), REGION_SIZE);
            return;
        }
}

void vm_poison_place(void)
{
    uint64_t total = 0;

    for (uint64_t len = REGION_SIZE; len >= PAGE_SIZE; len /= 8) {
        hpa_t at;
        while (npieces < POISON_PIECES && total + len <= POISON_MOST &&
               phys_alloc(len, PAGE_SIZE, 0, &at) == HV_OK) {
            fill(at, len);
            total += len;
        }
    }
    log_info("vm", "poison: %u pieces, %llu KiB", npieces, (unsigned long long)(total >> 10));
}

uint64_t vm_poison_damage(void)
{
    for (unsigned n = 0; n < npieces; n++) {
        const uint64_t *p = port_ptr(piece[n].at);
        for (uint64_t i = 0; i < piece[n].len / 8; i++)
            if (p[i] != pattern(piece[n].at.v + i * 8))
                return piece[n].at.v + i * 8;
    }
    return 0;
}
