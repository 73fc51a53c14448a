/* SPDX-License-Identifier: BSD-2-Clause */
/* What is concluded from intercepts that do not fire, on machines made up for it. */
#include "tools/tests/tap.h"
/* Pure and without instructions: compiled here, since the vendor folder is not in the host library.
 */
#include "arch-x86/svm/probe.c"

static enum probe_id dead = PROBE_COUNT, missing = PROBE_COUNT; /* silent; not there */
static uint16_t gate;    /* CR reads exit only if all of these bits are set, */
static bool gate_number; /* ... and then with the code of CR0 */
static bool cr2_hidden;  /* reads of CR2 do not exit by the gate */
static unsigned runs;
static bool armed;                          /* MWAIT exits as such, with its second intercept */
static enum probe_id refused = PROBE_COUNT; /* gives #UD */

static bool applies(enum probe_id id)
{
    return id != missing;
}

static uint32_t run(enum probe_id id, uint16_t cr_reads)
{
    unsigned cr = probe_table[id].code;

    runs++;
    if (id == dead)
        return PROBE_MISSED;
    if (id == refused)
        return 0x46;
    if (id == PROBE_mwait && armed)
        return 0x8c;
    if (probe_table[id].class != PROBE_CR_READ && id != PROBE_cr2_read)
        return probe_table[id].code;
    if (gate_number) /* the first register's bit decides for all */
        return cr_reads & 1 && !(cr == 2 && cr2_hidden) ? 0 : 0x81;
    return cr_reads >> cr & 1 && (cr_reads & gate) == gate ? cr : 0x81;
}

static const struct probe_env env = {.applies = applies, .run = run};

static bool judge(struct probe_result *r)
{
    bool fit = probe_judge(&env, r);

    dead = missing = PROBE_COUNT;
    gate = 0;
    gate_number = cr2_hidden = false;
    return fit;
}

static void test_cr_reads(void)
{
    struct probe_result r;

    runs = 0;
    tap_ok(judge(&r) && r.cr_reads == 0 && !r.cr_number_lost && !r.cr2_exits,
           "all fire: nothing besides");
    tap_ok(r.fire == r.tried && r.tried > 50, "... each was tried");
    tap_ok(runs < 2 * PROBE_COUNT, "... and no sets were");
    gate = BIT(0);
    tap_ok(judge(&r) && r.cr_reads == BIT(0) && !r.cr2_exits && !r.cr_number_lost,
           "CR0's bit is needed, too: it alone is added");
    gate = BIT(12);
    tap_ok(judge(&r) && r.cr_reads == BIT(12), "another bit");
    gate = BIT(5) | BIT(6);
    tap_ok(judge(&r) && r.cr_reads == 0xffff && r.cr2_exits, "two bits: all are set");
    gate_number = true;
    tap_ok(judge(&r) && r.cr_reads == BIT(0) && r.cr_number_lost && r.cr2_exits,
           "all by CR0's bit and with its code: the instruction decides, CR2 exits as well");
    gate_number = cr2_hidden = true;
    tap_ok(judge(&r) && !r.cr2_exits, "... unless it does not");
    dead = PROBE_cr3_read;
    tap_ok(!judge(&r) && probe_silent(&r, PROBE_cr3_read) && !probe_silent(&r, PROBE_cr8_read),
           "CR3 reads that nothing makes exit: refused");
}

static void test_classes(void)
{
    struct probe_result r;
    unsigned wrong = 0, noted = 0;

    for (enum probe_id id = 0; id < PROBE_COUNT; id++) {
        if (probe_table[id].class == PROBE_SPARED)
            continue;
        bool may = probe_table[id].class == PROBE_NOTED;
        dead = id;
        wrong += judge(&r) != may || !probe_silent(&r, id) || r.fire + 1 != r.tried;
        noted += may;
        dead = missing = id; /* not there at all, or not to be tried */
        wrong += id != PROBE_vmmcall && probe_table[id].class != PROBE_CR_READ && !judge(&r);
        dead = missing = PROBE_COUNT;
    }
    tap_eq(wrong, 0, "each silent intercept is refused, or noted where it can be lived with");
    tap_eq(noted, 7, "seven can: INT1, XSETBV, two of interrupts, two of traps, task switches");
}

static void test_second_code(void)
{
    unsigned wrong = 0;

    for (enum probe_id id = 0; id < PROBE_COUNT; id++)
        wrong += probe_table[id].code == 0x81 && id != PROBE_vmmcall;
    tap_eq(wrong, 0, "what runs on to the VMMCALL is never taken for an exit");
}

/* What the processor does not let a guest do at all needs no intercept; #UD says that only of what
 * a processor may lack, or give to no guest. */
static void test_refused(void)
{
    static const enum probe_id may[] = {PROBE_invlpgb, PROBE_tlbsync, PROBE_monitor, PROBE_mwait,
                                        PROBE_rsm,     PROBE_rdpru,   PROBE_mcommit, PROBE_skinit},
                               must[] = {PROBE_cpuid, PROBE_hlt, PROBE_vmrun, PROBE_in8,
                                         PROBE_invd};
    struct probe_result r;
    unsigned good = 0;

    for (size_t i = 0; i < ARRAY_SIZE(may); i++) {
        refused = may[i];
        good += judge(&r) && !probe_silent(&r, may[i]);
    }
    tap_eq(good, ARRAY_SIZE(may), "refused to every guest: as good as intercepted");
    for (size_t i = 0; i < ARRAY_SIZE(must); i++) {
        refused = must[i];
        good -= judge(&r);
    }
    tap_eq(good, ARRAY_SIZE(may), "... but not what every processor has");
    refused = PROBE_COUNT;
    armed = true;
    tap_ok(judge(&r) && !probe_silent(&r, PROBE_mwait),
           "MWAIT with an armed monitor has two codes");
    armed = false;
}

int main(void)
{
    test_refused();
    test_cr_reads();
    test_classes();
    test_second_code();
    return tap_done();
}
