/* SPDX-License-Identifier: BSD-2-Clause */
/* RAM of a VM that begins anew, zeroed by several threads: each granule once, all of it when
 * vm_clear returns, none outside. */
#include "tools/tests/fake/fake.h"
#include "tools/tests/tap.h"
#include "hv/vm/vm.h"
#include <pthread.h>

#define ARENA 0x10000000ull
#define GRANULES 5
#define ROUNDS 30
#define HELPERS 3

static struct vm vm;
static struct coherency co;
static uint32_t granule[GRANULES];
static _Atomic bool over;

static uint64_t *word(uint64_t g, uint64_t i)
{
    return (uint64_t *)port_ptr(hpa(ARENA + g * REGION_SIZE)) + i;
}

static void *help(void *arg)
{
    uint64_t *taken = arg;
    fake_set_cpu(1);
    while (!atomic_load(&over))
        *taken += vm_clear_help(&vm);
    return NULL;
}

int main(void)
{
    pthread_t thread[HELPERS];
    uint64_t taken[HELPERS] = {0}, wrong = 0, outside = 0, sum = 0;
    uint64_t last = REGION_SIZE / 8 - 1;

    fake_reset();
    fake_set_ncpus(2);
    fake_set_cpu(0);
    fake_arena(ARENA, (GRANULES + 1) * REGION_SIZE);
    for (unsigned g = 0; g < GRANULES; g++)
        granule[g] = (uint32_t)(ARENA >> REGION_SHIFT) + g;
    granule[2] = P2M_NONE;
    vm.p2m = (struct p2m){.granule = granule, .ngranules = GRANULES};
    vm.ncpus = 2;
    vm.co = &co;
    co.pcpu[1] = 1;
    tap_ok(!vm_clear_waits(&vm) && !vm_clear_help(&vm), "nothing to help with before");
    for (unsigned i = 0; i < HELPERS; i++)
        pthread_create(&thread[i], NULL, help, &taken[i]);
    for (unsigned r = 0; r < ROUNDS; r++) {
        for (unsigned g = 0; g <= GRANULES; g++)
            *word(g, 0) = *word(g, last) = r + 1;
        vm_clear(&vm);
        for (unsigned g = 0; g < GRANULES; g++)
            if (g != 2)
                wrong += *word(g, 0) != 0 || *word(g, last) != 0;
        outside += *word(2, 0) != r + 1 || *word(GRANULES, 0) != r + 1;
    }
    atomic_store(&over, true);
    for (unsigned i = 0; i < HELPERS; i++) {
        pthread_join(thread[i], NULL);
        sum += taken[i];
    }
    tap_eq(wrong, 0, "all of it is zero");
    tap_eq(outside, 0, "nothing else");
    tap_ok(sum <= ROUNDS * GRANULES, "helpers took %llu granules", (unsigned long long)sum);
    tap_ok(!vm_clear_waits(&vm) && !vm_clear_help(&vm), "nothing to help with afterwards");
    return tap_done();
}
