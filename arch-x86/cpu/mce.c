/* SPDX-License-Identifier: BSD-2-Clause */
/* No instructions here. Tested by tools/tests/test_mce.c. */
#include "arch-x86/cpu/mce.h"
#include "arch-x86/defs/x86.h"
#include "hv/base/log.h"

/* APM volume 2, 9.3 "Machine Check Global Resources", 9.4 "Machine Check Register Banks" */
#define MCG_CAP_COUNT 0xffu
#define MCG_CAP_CTL_P BIT(8)
#define MSR_MCG_CTL 0x17b
#define MSR_MC_CTL(bank) (0x400u + 4 * (bank))
#define MSR_MC_STATUS(bank) (0x401u + 4 * (bank))
#define MC_STATUS_VAL BIT(63)
#define MC_STATUS_OVER BIT(62)
#define MC_STATUS_UC BIT(61)
#define MC_STATUS_MISCV BIT(59)
#define MC_STATUS_ADDRV BIT(58)
#define MC_STATUS_PCC BIT(57)
#define MSR_MC_ADDR(bank) (0x402u + 4 * (bank))
#define MSR_MC_MISC(bank) (0x403u + 4 * (bank))
#define BANKS_MAX 64 /* more is no processor */

static unsigned banks(const struct cpu_probe *p)
{
    uint64_t cap = 0;

    if (!p->rdmsr(MSR_MCG_CAP, &cap))
        return 0;
    return (cap & MCG_CAP_COUNT) < BANKS_MAX ? (unsigned)(cap & MCG_CAP_COUNT) : BANKS_MAX;
}

/* One uncorrected error that left the context whole concerns what ran; of two only one is known. */
static enum port_mc severity(uint64_t status)
{
    if (status & MC_STATUS_PCC)
        return PORT_MC_FATAL;
    if (!(status & MC_STATUS_UC))
        return PORT_MC_CORRECTED;
    return status & MC_STATUS_OVER ? PORT_MC_FATAL : PORT_MC_RECOVERABLE;
}

static void describe(const struct cpu_probe *p, unsigned bank, uint64_t status,
                     void (*line)(const char *text))
{
    static const char *const word[] = {[PORT_MC_CORRECTED] = "corrected",
                                       [PORT_MC_RECOVERABLE] = "uncorrected, context whole",
                                       [PORT_MC_FATAL] = "uncorrected, context lost"};
    uint64_t addr = 0, misc = 0;
    char text[160];

    if (status & MC_STATUS_ADDRV)
        (void)p->rdmsr(MSR_MC_ADDR(bank), &addr);
    if (status & MC_STATUS_MISCV)
        (void)p->rdmsr(MSR_MC_MISC(bank), &misc);
    hv_snprintf(text, sizeof(text),
                "machine check: bank %u status 0x%016llx address 0x%llx misc 0x%llx: %s", bank,
                (unsigned long long)status, (unsigned long long)addr, (unsigned long long)misc,
                word[severity(status)]);
    line(text);
}

/* The worst of all banks, which are then empty; *found: there was an error. */
static enum port_mc collect(const struct cpu_probe *p, void (*line)(const char *text), bool *found)
{
    enum port_mc worst = PORT_MC_CORRECTED;
    uint64_t status;

    *found = false;
    for (unsigned bank = 0, n = banks(p); bank < n; bank++) {
        if (!p->rdmsr(MSR_MC_STATUS(bank), &status) || !(status & MC_STATUS_VAL))
            continue;
        *found = true;
        describe(p, bank, status, line);
        if (severity(status) > worst)
            worst = severity(status);
        (void)p->wrmsr(MSR_MC_STATUS(bank), 0);
    }
    return worst;
}

enum port_mc mce_collect(const struct cpu_probe *p, void (*line)(const char *text))
{
    uint64_t global = 0;
    char text[96];
    bool found;

    if (!p->rdmsr(MSR_MCG_STATUS, &global))
        global = 0;
    hv_snprintf(text, sizeof(text), "machine check: MCG_STATUS 0x%llx, %u banks",
                (unsigned long long)global, banks(p));
    line(text);
    enum port_mc worst = collect(p, line, &found);
    if (!(global & MCG_STATUS_RIPV)) /* what was interrupted cannot be gone on with */
        worst = PORT_MC_FATAL;
    if (!found)
        line("machine check: no bank says why");
    (void)p->wrmsr(MSR_MCG_STATUS, 0);
    return worst;
}

void mce_init(const struct cpu_probe *p, void (*line)(const char *text))
{
    uint64_t cap = 0;
    bool found;

    if (!p->rdmsr(MSR_MCG_CAP, &cap))
        return;
    (void)collect(p, line, &found);
    if (found)
        line("machine check: that was left from before this start");
    if (cap & MCG_CAP_CTL_P)
        (void)p->wrmsr(MSR_MCG_CTL, ~0ull);
    for (unsigned bank = 0, n = banks(p); bank < n; bank++)
        (void)p->wrmsr(MSR_MC_CTL(bank), ~0ull);
}
