/* SPDX-License-Identifier: BSD-2-Clause */
/* MSI and MSI-X of a function that a guest owns: by hand, and as a random machine in which devices
 * raise, CPUs take arrivals late, and the guest masks, moves and switches; what was raised arrives,
 * what is masked does not, nothing arrives that was not raised. */
#include "tools/tests/pass_rig.h"

#define A 2u
#define B 3u
#define VECTOR(n) (0x40u + (n))
#define MSIX 0xa0u
#define MSI 0x80u

static uint64_t entry_at(unsigned n)
{
    return BAR_A + TABLE + n * 16;
}

static void entry_set(unsigned n, uint32_t cpu)
{
    mem_w(entry_at(n), 4, 0xfee00000 | cpu << 12);
    mem_w(entry_at(n) + 4, 4, 0);
    mem_w(entry_at(n) + 8, 4, VECTOR(n));
}

static void mask(unsigned n, bool on)
{
    mem_w(entry_at(n) + 12, 4, on);
}

static void take(uint32_t cpu)
{
    fake_set_cpu(cpu);
    pass_arrivals(pass, cpu);
    fake_set_cpu(0);
}

static void take_all(void)
{
    for (uint32_t c = 0; c < RIG_CPUS; c++)
        take(c);
}

/* Vector at the local APIC of that CPU: taken away. */
static bool got(uint32_t cpu, unsigned vector)
{
    uint64_t bit = BIT(vector & 63);

    return atomic_fetch_and(&pc.lapic[cpu].irr[vector >> 6], ~bit) & bit;
}

static int got_where(unsigned vector)
{
    for (uint32_t c = 0; c < RIG_CPUS; c++)
        if (got(c, vector))
            return (int)c;
    return -1;
}

static void on(void)
{
    cfg_w(A, PCI_COMMAND, 2, 6);
    cfg_w(A, MSIX + 2, 2, PCI_MSIX_ENABLE);
}

static void test_msix(void)
{
    pass_rig("all");
    on();
    entry_set(3, 1);
    mask(3, false);
    tap_ok(fake_pci_raise(dev_a, 3), "sent");
    tap_eq(fake_msi_waiting(1), 1, "to the CPU the guest named");
    take(1);
    tap_eq(got_where(VECTOR(3)), 1, "it is the guest's vector there");
    tap_ok(mem_r(entry_at(3), 4) == 0xfee01000 && mem_r(entry_at(3) + 8, 8) == VECTOR(3),
           "the table reads as written");
    tap_ok(fake_pci_raise(dev_a, 3), "sent again");
    entry_set(3, 2);
    take(1);
    tap_eq(got_where(VECTOR(3)), 2, "what was on its way to the old CPU reaches the new one");
    tap_ok(fake_pci_raise(dev_a, 3), "and now");
    tap_eq(fake_msi_waiting(2), 1, "it goes there by itself");
    mask(3, true);
    take(2);
    tap_eq(got_where(VECTOR(3)), -1, "masked before it arrived: it waits");
    tap_eq(mem_r(BAR_A + PBA, 8), BIT(3), "and is pending");
    mask(3, false);
    tap_eq(got_where(VECTOR(3)), 2, "until it is unmasked");
    tap_eq(mem_r(BAR_A + PBA, 8), 0, "and no longer pending");
    mask(3, true);
    tap_ok(!fake_pci_raise(dev_a, 3), "masked in the hardware, too");
    tap_eq(mem_r(BAR_A + PBA, 8), BIT(3), "whose pending bit shows");
    cfg_w(A, MSIX + 2, 2, PCI_MSIX_ENABLE | PCI_MSIX_MASK_ALL);
    mask(3, false);
    take_all();
    tap_eq(got_where(VECTOR(3)), -1, "all are masked");
    cfg_w(A, MSIX + 2, 2, PCI_MSIX_ENABLE);
    take_all();
    tap_eq(got_where(VECTOR(3)), 2, "and then not");
    mem_w(entry_at(3) + 2, 2, 0xffff);
    mem_w(entry_at(3), 8, (uint64_t)0 << 32 | 0xfee03000);
    tap_eq(mem_r(entry_at(3), 4), 0xfee03000, "no words, but quadwords");
    mem_w(BAR_A + 0x1f00, 4, 0x1234);
    tap_eq(mem_r(BAR_A + 0x1f00, 4), 0x1234, "registers in the same page are the hardware's");
    mem_w(entry_at(3), 4, 0x1000);
    (void)fake_pci_raise(dev_a, 3);
    take_all();
    tap_eq(got_where(VECTOR(3)), -1, "an address that is none reaches nobody");
}

static unsigned rung, locked;

static void look_at_locks(uint32_t cpu)
{
    (void)cpu;
    rung++;
    for (unsigned i = 0; i < pass->nfns; i++) {
        const struct lock *l = &pass->fn[i]->lock;
        locked += atomic_load(&l->next) != atomic_load(&l->owner);
    }
}

/* Between the look at the guest's message and its delivery the guest does not change it. */
static void test_moved(void)
{
    pass_rig("all");
    on();
    entry_set(3, 1);
    mask(3, false);
    tap_ok(fake_pci_raise(dev_a, 3), "sent");
    entry_set(3, 2);
    coherency_give(&co);
    atomic_store(&co.cpu[2].mode, MODE_GUEST);
    rung = locked = 0;
    fake_on_doorbell = look_at_locks;
    take(1);
    fake_on_doorbell = NULL;
    tap_eq(got_where(VECTOR(3)), 2, "delivered to the new CPU by the old one");
    tap_ok(rung == 1 && locked == 1, "with the function's lock, which the next move needs");
}

static void test_msi(void)
{
    pass_rig("all");
    cfg_w(B, PCI_COMMAND, 2, 6);
    cfg_w(B, MSI + 4, 4, 0xfee01000);
    cfg_w(B, MSI + 8, 4, 0);
    cfg_w(B, MSI + 12, 2, 0x51);
    tap_ok(!fake_pci_raise(dev_b, 0), "off");
    cfg_w(B, MSI + 2, 2, PCI_MSI_ENABLE | 0x70);
    tap_eq(cfg_r(B, MSI + 2, 2) & 0x71, 1, "on, one message whatever was asked for");
    tap_ok(fake_pci_raise(dev_b, 0), "sent");
    take(1);
    tap_eq(got_where(0x51), 1, "arrived");
    cfg_w(B, MSI + 4, 4, 0xfee02000);
    tap_ok(fake_pci_raise(dev_b, 0) && fake_msi_waiting(2) == 1, "moved");
    cfg_w(B, MSI + 16, 4, 1);
    take(2);
    tap_eq(got_where(0x51), -1, "masked: it waits");
    cfg_w(B, MSI + 16, 4, 0);
    tap_eq(got_where(0x51), 2, "until it is unmasked");
    cfg_w(B, MSI + 2, 2, 0);
    tap_ok(!fake_pci_raise(dev_b, 0), "off again");
}

static void test_storm(void)
{
    unsigned sent = 0;

    pass_rig("all");
    on();
    entry_set(0, 0);
    mask(0, false);
    for (unsigned i = 0; i < 10000; i++) {
        sent += fake_pci_raise(dev_a, 0);
        take(0);
    }
    tap_ok(sent < 3000, "a storm is stopped after %u", sent);
    tap_eq(pass->fn[0]->storms, 1, "and counted");
    tap_eq(pass_timers(pass, 0, now), pass->fn[0]->storm_until, "for so long");
    (void)got_where(VECTOR(0));
    at(now + RIG_HZ / 50);
    tap_eq(pass_timers(pass, 0, now), UINT64_MAX, "then it is over");
    tap_eq(got_where(VECTOR(0)), 0, "with one more interrupt for what came meanwhile");
    take(0); /* what its pending bit kept */
    tap_ok(fake_pci_raise(dev_a, 0), "and it may send");
}

/* --- a random machine --- */
static uint64_t seed;
static uint32_t rnd(uint32_t n)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(seed >> 33) % n;
}

static struct {
    bool raised, masked; /* since the last one arrived */
    unsigned sent;       /* raised, less what arrived */
} model[ENTRIES];
static bool model_on, model_all;

/* What arrived was raised, and may arrive now. false: not so. */
static bool collect(void)
{
    bool good = true;

    for (unsigned n = 0; n < ENTRIES; n++)
        while (got_where(VECTOR(n)) >= 0) {
            good &= model[n].sent && model_on && !model_all && !model[n].masked;
            model[n].sent -= model[n].sent > 0;
            model[n].raised = false;
        }
    return good;
}

static void step(void)
{
    unsigned n = rnd(ENTRIES);

    switch (rnd(8)) {
    case 0:
    case 1:
        if (!model_on)
            break;
        model[n].raised = true;
        model[n].sent++;
        (void)fake_pci_raise(dev_a, n);
        break;
    case 2:
    case 3:
        take(rnd(RIG_CPUS));
        break;
    case 4:
        model[n].masked = !model[n].masked;
        mask(n, model[n].masked);
        break;
    case 5:
        entry_set(n, rnd(RIG_CPUS));
        break;
    case 6:
        model_all = rnd(4) == 0;
        cfg_w(A, MSIX + 2, 2,
              (model_on ? PCI_MSIX_ENABLE : 0) | (model_all ? PCI_MSIX_MASK_ALL : 0));
        break;
    default:
        cfg_w(A, PCI_COMMAND, 2, 6);
        at(now + RIG_HZ / 1000);
        (void)pass_timers(pass, 0, now);
        break;
    }
}

static void test_random(void)
{
    unsigned wrong = 0, lost = 0;

    for (unsigned run = 0; run < 200; run++) {
        seed = run;
        pass_rig("03:02.0");
        on();
        model_on = true;
        model_all = false;
        memset(model, 0, sizeof(model));
        for (unsigned n = 0; n < ENTRIES; n++) {
            entry_set(n, n % RIG_CPUS);
            model[n].masked = true;
        }
        for (unsigned i = 0; i < 2000; i++) {
            step();
            wrong += !collect();
        }
        model_all = false;
        cfg_w(A, MSIX + 2, 2, PCI_MSIX_ENABLE);
        for (unsigned n = 0; n < ENTRIES; n++) {
            model[n].masked = false;
            mask(n, false);
        }
        take_all();
        at(now + RIG_HZ);
        (void)pass_timers(pass, 0, now);
        take_all();
        wrong += !collect();
        for (unsigned n = 0; n < ENTRIES; n++)
            lost += model[n].raised;
        wrong += dev_a->torn;
    }
    tap_eq(wrong, 0, "200 random runs: nothing arrives that was not raised, or is masked");
    tap_eq(lost, 0, "and nothing is lost");
}

int main(void)
{
    test_msix();
    test_moved();
    test_msi();
    test_storm();
    test_random();
    return tap_done();
}
