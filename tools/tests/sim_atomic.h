/* SPDX-License-Identifier: BSD-2-Clause */
/* Forced into hv/coherency and hv/mmu when they are compiled for the simulator: every atomic
 * operation is a point at which the scheduler may switch to another CPU, and every one that writes
 * is reported, so that the oracle knows each page-table entry's history exactly.
 * Tested by the simulator, which fails if it never switched. */
#pragma once
#include <stdatomic.h>
/* Counters and the event ring keep plain atomics: nothing depends on them. */
#include "hv/base/lock.h"
#include "hv/base/ring.h"
#include "hv/base/stats.h"

void sim_point(void);
void sim_wrote(const volatile void *p);

/* A macro's own name inside its replacement is not expanded again: these call the builtins. */
#define __atomic_load_n(p, mo) (sim_point(), __atomic_load_n(p, mo))
#define __atomic_store_n(p, v, mo) (sim_point(), __atomic_store_n(p, v, mo), sim_wrote(p))
#define __atomic_exchange_n(p, v, mo)                                                              \
    ({                                                                                             \
        sim_point();                                                                               \
        __auto_type sim_r_ = __atomic_exchange_n(p, v, mo);                                        \
        sim_wrote(p);                                                                              \
        sim_r_;                                                                                    \
    })
#define __atomic_compare_exchange_n(p, e, d, weak, mo, fail)                                       \
    ({                                                                                             \
        sim_point();                                                                               \
        bool sim_r_ = __atomic_compare_exchange_n(p, e, d, false, mo, fail);                       \
        sim_wrote(p);                                                                              \
        sim_r_;                                                                                    \
    })

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#define atomic_load_explicit(p, mo) __atomic_load_n(p, mo)
#define atomic_store_explicit(p, v, mo) __atomic_store_n(p, v, mo)
#define atomic_exchange_explicit(p, v, mo) __atomic_exchange_n(p, v, mo)
#define atomic_compare_exchange_strong_explicit(p, e, d, mo, fail)                                 \
    __atomic_compare_exchange_n(p, e, d, false, mo, fail)
#define atomic_compare_exchange_weak_explicit(p, e, d, mo, fail)                                   \
    __atomic_compare_exchange_n(p, e, d, true, mo, fail)
#define atomic_fetch_or_explicit(p, v, mo) (sim_point(), __atomic_fetch_or(p, v, mo))
#define atomic_fetch_and_explicit(p, v, mo) (sim_point(), __atomic_fetch_and(p, v, mo))
#define atomic_fetch_add_explicit(p, v, mo) (sim_point(), __atomic_fetch_add(p, v, mo))
#define atomic_fetch_sub_explicit(p, v, mo) (sim_point(), __atomic_fetch_sub(p, v, mo))
