/* SPDX-License-Identifier: BSD-2-Clause */
/* What follows from an intercept that does not fire: another one that makes it, a quirk, or no
 * guest at all. No instructions here. Tested by tools/tests/test_probe.c. */
#include "arch-x86/svm/probe.h"
#include "hv/base/log.h"

#define UD 0x46u                   /* #UD, as an exit */
#define CR_READS (BIT(3) | BIT(8)) /* intercepted always; CR0 and CR4 while they differ */

static const struct {
    const char *name;
    uint16_t code, also;
    enum probe_class class;
} probe_table[PROBE_COUNT] = {
#define X(id, name, code, also, class) [PROBE_##id] = {name, code, also, class},
    PROBE_LIST(X)
#undef X
};

/* Bits of the vector that must be set for a read to exit at all. */
static uint16_t cr_own(enum probe_id id)
{
    switch (id) {
    case PROBE_cr0_read:
    case PROBE_smsw:
        return BIT(0) | CR_READS;
    case PROBE_cr4_read:
        return BIT(4) | CR_READS;
    default:
        return CR_READS;
    }
}

/* Instructions that a processor has, and may still refuse to a guest which is not given them, with
 * #UD: two that the control block enables (offset 90h, bit 7, which is left clear), and those whose
 * second code is taken. */
static bool refusable(enum probe_id id)
{
    return id == PROBE_invlpgb || id == PROBE_tlbsync || id == PROBE_mwait;
}

static bool fires(const struct probe_env *e, enum probe_id id, uint16_t extra)
{
    uint32_t code = e->run(id, cr_own(id) | extra);

    if (probe_table[id].class == PROBE_CR_READ) /* the number comes from the instruction as well */
        return code < 0x10;
    if (refusable(id) && code == UD)
        return true;
    return code == probe_table[id].code || code == probe_table[id].also;
}

/* How many CR reads do not exit with these bits besides. */
static unsigned cr_silent(const struct probe_env *e, uint16_t extra)
{
    unsigned n = 0;

    for (enum probe_id id = 0; id < PROBE_COUNT; id++)
        n += probe_table[id].class == PROBE_CR_READ && !fires(e, id, extra);
    return n;
}

/* The smallest set that makes all of them fire. A read of CR2 that exits costs an exit for each of
 * the guest's page faults: bit 2 comes last, and a set that CR2 exits with anyway is noted. */
static void cr_choose(const struct probe_env *e, struct probe_result *r)
{
    static const uint16_t sets[] = {0,       BIT(0),  BIT(4),  BIT(1),  BIT(5),  BIT(6),
                                    BIT(7),  BIT(9),  BIT(10), BIT(11), BIT(12), BIT(13),
                                    BIT(14), BIT(15), BIT(2),  0xffff};
    unsigned least = PROBE_COUNT;

    for (size_t i = 0; i < ARRAY_SIZE(sets) && least; i++) {
        unsigned n = cr_silent(e, sets[i]);
        if (n < least) {
            least = n;
            r->cr_reads = sets[i];
        }
    }
}

static void cr_details(const struct probe_env *e, struct probe_result *r)
{
    for (enum probe_id id = 0; id < PROBE_COUNT; id++)
        if (probe_table[id].class == PROBE_CR_READ) {
            uint32_t code = e->run(id, cr_own(id) | r->cr_reads);
            r->cr_number_lost |= code < 0x10 && code != probe_table[id].code;
        }
    r->cr2_exits = e->run(PROBE_cr2_read, CR_READS | r->cr_reads) < 0x10;
}

/* Says what an intercept that does not fire means. true: the guest can run all the same. */
static bool name_silent(enum probe_id id)
{
    const char *name = probe_table[id].name;

    switch (id) {
    case PROBE_icebp:
        log_info("check", "intercept  %s does not fire: the guest sees what the processor does",
                 name);
        return true;
    case PROBE_xsetbv:
        log_info("check", "intercept  %s does not fire: XCR0 is looked at after each exit", name);
        return true;
    case PROBE_window_if1:
    case PROBE_intr_if0:
    case PROBE_db_cause:
    case PROBE_db_exit:
        log_info("check", "intercept  %s: not as the manual says, worked around", name);
        return true;
    case PROBE_task_switch:
        log_info("check", "intercept  %s: does not fire; a 32-bit guest that uses them is ended",
                 name);
        return true;
    default:
        log_err("check", "intercept  %s DOES NOT FIRE: a guest could not be kept in its VM", name);
        return false;
    }
}

static void report(const struct probe_result *r)
{
    if (r->cr_reads)
        log_info("check", "intercept  MOV from CR3 fires only with bits 0x%x: they are set, too%s",
                 r->cr_reads, r->cr2_exits ? " (reads of CR2 exit with it)" : "");
    log_info("check", "intercepts %u of %u tried fire", r->fire, r->tried);
}

bool probe_judge(const struct probe_env *e, struct probe_result *r)
{
    bool fit = true;

    *r = (struct probe_result){0};
    cr_choose(e, r);
    cr_details(e, r);
    for (enum probe_id id = 0; id < PROBE_COUNT; id++) {
        if (probe_table[id].class == PROBE_SPARED || !e->applies(id))
            continue;
        r->tried++;
        if (fires(e, id, r->cr_reads)) {
            r->fire++;
            continue;
        }
        r->silent[id / 64] |= BIT(id % 64);
        fit = name_silent(id) && fit;
    }
    report(r);
    return fit;
}
