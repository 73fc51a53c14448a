/* SPDX-License-Identifier: BSD-2-Clause */
/* A simulated CPU: the loop around the pager (serve, enter, guest instructions until something
 * exits), and each instruction of a guest program, natively where the TLB or the shadow lets it,
 * else as the pager's verdict says. Tested with the simulator. */
#include "tools/tests/sim.h"
#include "tools/tests/fake/fake.h"

#define POOL_HPA 0x40000000ull
#define TRIES 300
struct sim sim;
struct sim_cpu sim_cpu[SIM_CPUS];
static size_t pool_bytes;

static uint64_t dice(unsigned c, uint64_t n)
{
    return sim_random(&sim_cpu[c].dice, n);
}

/* Called after every atomic write of the code under test. */
void sim_wrote(const volatile void *p)
{
    uint64_t h = (uint64_t)((uintptr_t)p - port_direct_base);
    unsigned c = port_cpu();
    if (h - SIM_ARENA >= SIM_HOST_GRANULES * REGION_SIZE)
        return;
    uint64_t at = (sim_gfn_of(c, h >> 12) << 12) | (h & 4095);
    uint64_t name = sim_cpu[c].coh.own->storing;
    oracle_wrote(c, at);
    if (!sim_cpu[c].storing || !sim_cpu[c].store_va || !(name & STORING_BUSY))
        return;
    if (!oracle_allows(c, sim_cpu[c].store_va, sim_cpu[c].store_access, at >> 12))
        sim_fail("cpu %u va 0x%llx: emulated store to frame 0x%llx, which is not allowed", c,
                 (unsigned long long)sim_cpu[c].store_va, (unsigned long long)(at >> 12));
}

/* --- entry and exit --- */

static void vmexit(unsigned c)
{
    struct sim_cpu *s = &sim_cpu[c];
    if (!s->in_guest)
        return;
    s->in_guest = false;
    mode_leave(&s->coh);
}

static void vmentry(unsigned c)
{
    struct sim_cpu *s = &sim_cpu[c];
    struct mmu_root r;
    do {
        s->ipi = false;
        (void)mmu_serve(&s->mmu);
        uint64_t most = STRETCH + (sim.opt.directpf ? 2u * MMU_DIRECT_WORK : 0u);
        most += sim.cfg->audit_every || sim.opt.mmu == MMU_REF ? STRETCH_PAGE : 0u;
        if (hv_stats[c].n[STAT_unserved_high] > most)
            sim_fail("cpu %u: %llu steps of work without a look at requests", c,
                     (unsigned long long)hv_stats[c].n[STAT_unserved_high]);
        if (sim.cfg->drain_at_exit)
            mmu_drain(&s->mmu);
        mmu_enter(&s->mmu, &r);
    } while (!mode_enter(&s->coh, MODE_GUEST));
    for (uint32_t a = 1; a <= s->mmu.nroots; a++)
        if (r.flush_all || (r.flush && a == r.asid))
            sim_hw_flush(c, a);
    mmu_entered(&s->mmu, &r);
    s->in_guest = true;
    s->asid = r.asid;
    s->root = s->mmu.roots[s->mmu.root].sp;
    for (unsigned i = 0; i < 4; i++)
        s->hw_pdpte[i] = s->mmu.low[s->mmu.root][i]; /* for a root in that format */
}

/* --- accesses --- */

enum outcome { HIT, FAULT, EMULATE };

static enum outcome fault(unsigned c, uint64_t va, uint32_t access, bool *again)
{
    struct sim_cpu *s = &sim_cpu[c];
    struct mmu_fault_out out = {0};
    uint32_t since;
    vmexit(c);
    since = oracle_now();
    *again = false;
    switch (mmu_fault(&s->mmu, gva(va), access, false, &out)) {
    case MMU_RESUME:
        *again = true;
        return HIT;
    case MMU_FORWARD:
        if (out.fault.cr2.v != va || !oracle_faults(c, va, access, since, out.fault.pfec)) {
            oracle_print(va, c);
            sim_fail("cpu %u va 0x%llx access 0x%x: fault 0x%x, which the tables do not ask for", c,
                     (unsigned long long)va, access, out.fault.pfec);
        }
        oracle_page_fault(c, va, since);
        return FAULT;
    case MMU_EMULATE:
    case MMU_MMIO:
        if (!oracle_reaches(c, va, access, since, out.gpa.v >> 12)) {
            oracle_print(va, c);
            sim_fail("cpu %u va 0x%llx access 0x%x: frame 0x%llx to emulate is not there", c,
                     (unsigned long long)va, access, (unsigned long long)out.gpa.v >> 12);
        }
        if (!p2m_ptr(&sim_vm(c)->p2m, out.gpa))
            return FAULT; /* no device there: nothing happens */
        s->emulate_at = out.gpa;
        if (dice(c, 8) || sim.opt.mmu == MMU_REF)
            return EMULATE;
        mmu_write_fallback(&s->mmu, gva(va), out.gpa); /* an instruction the emulator declines */
        *again = true;
        return HIT;
    }
    sim_fail("cpu %u va 0x%llx: unexpected verdict", c, (unsigned long long)va);
}

static enum outcome reach(unsigned c, uint64_t va, uint32_t access, uint64_t *f)
{
    struct sim_cpu *s = &sim_cpu[c];
    for (unsigned tries = 0; tries < TRIES; tries++) {
        bool again = true;
        if (s->ipi && dice(c, 3) == 0)
            vmexit(c);
        if (!s->in_guest)
            vmentry(c);
        sim_point();
        uint32_t since = oracle_now();
        bool direct;
        if (sim_hw_access(c, va, access, f, &direct)) {
            if (!oracle_allows(c, va, access, *f)) {
                oracle_print(va, c);
                sim_fail("cpu %u va 0x%llx access 0x%x reaches frame 0x%llx, which is not allowed",
                         c, (unsigned long long)va, access, (unsigned long long)*f);
            }
            return HIT;
        }
        if (direct) {
            sim_hw_fault(c, va, access, since);
            return FAULT;
        }
        enum outcome o = fault(c, va, access, &again);
        if (!again)
            return o;
    }
    oracle_print(va, c);
    sim_fail("cpu %u va 0x%llx access 0x%x: no progress", c, (unsigned long long)va, access);
}

static uint64_t insert(uint64_t old, uint64_t va, unsigned width, uint64_t value)
{
    unsigned shift = (unsigned)(va & 7) * 8;
    uint64_t mask = width == 8 ? ~0ull : (1ull << (width * 8)) - 1;
    return (old & ~(mask << shift)) | (value & mask) << shift;
}

/* The instruction as the emulator does it; false: to be executed again. */
static bool emulate(unsigned c, uint64_t va, unsigned width, uint32_t access, uint64_t value,
                    const uint64_t *expected)
{
    struct sim_cpu *s = &sim_cpu[c];
    struct guest_fault gf;
    gpa_t at;
    uint64_t old;
    bool stored;
    enum hv_err err;
    uint32_t since = oracle_now();
    s->storing = true;
    s->store_va = va;
    s->store_access = access;
    if (width == 8 && !(va & 7) && !expected && dice(c, 2)) /* where the fault said it goes */
        err = gmem_store_entry(&s->mmu, s->emulate_at, value) ? HV_OK : HV_RANGE;
    else if (expected)
        err = gmem_cmpxchg(&s->mmu, gva(va), width, *expected, value, access & PFEC_U, &old,
                           &stored, &gf, &at);
    else if (dice(c, 2))
        err = gmem_write(&s->mmu, gva(va), &value, width, access & PFEC_U, &gf, &at);
    else
        err = gmem_xchg(&s->mmu, gva(va), width, value, access & PFEC_U, &old, &gf, &at);
    s->storing = false;
    if (err == HV_FAULT) {
        if (!oracle_faults(c, va, access, since, gf.pfec))
            sim_fail("cpu %u va 0x%llx: emulation faults 0x%x without reason", c,
                     (unsigned long long)va, gf.pfec);
        oracle_page_fault(c, va, since);
        return true;
    }
    if (err != HV_OK && err != HV_AGAIN && err != HV_MMIO)
        sim_fail("cpu %u va 0x%llx: emulation error %d", c, (unsigned long long)va, (int)err);
    return err != HV_AGAIN;
}

/* A store of 1, 4 or 8 bytes; expected: compare-exchange. */
static void store(unsigned c, uint64_t va, unsigned width, bool user, uint64_t value,
                  const uint64_t *expected)
{
    uint32_t access = PFEC_W | (user ? PFEC_U : 0);
    uint64_t f;
    for (unsigned tries = 0; tries < TRIES; tries++) {
        enum outcome o = reach(c, va, access, &f);
        if (o == FAULT)
            return;
        if (o == EMULATE) {
            if (emulate(c, va, width, access, value, expected))
                return;
            continue;
        }
        uint64_t at = (f << 12) | (va & 4088);
        uint64_t *p = p2m_ptr(&sim_vm(c)->p2m, gpa(at));
        if (!expected || *p == *expected)
            *p = insert(*p, va, width, value);
        oracle_wrote(c, at);
        return;
    }
}

static bool load(unsigned c, uint64_t va, uint32_t access, uint64_t *value)
{
    uint64_t f;
    if (reach(c, va, access, &f) != HIT)
        return false;
    *value = *(uint64_t *)p2m_ptr(&sim_vm(c)->p2m, gpa((f << 12) | (va & 4088)));
    return true;
}

/* The emulator's own read, through the software cache of translations. */
static void peek(unsigned c, const struct sim_step *t)
{
    struct sim_cpu *s = &sim_cpu[c];
    struct guest_fault gf;
    uint32_t since = oracle_now(), access = t->user ? PFEC_U : 0;
    gpa_t at;
    vmexit(c);
    switch (mmu_translate(&s->mmu, gva(t->va), access, &at, &gf)) {
    case HV_OK:
        if (!oracle_allows(c, t->va, access, at.v >> 12))
            sim_fail("cpu %u va 0x%llx: the emulator reads frame 0x%llx, which is not allowed", c,
                     (unsigned long long)t->va, (unsigned long long)at.v >> 12);
        break;
    case HV_FAULT:
        if (!oracle_faults(c, t->va, access, since, gf.pfec))
            sim_fail("cpu %u va 0x%llx: the emulator faults 0x%x without reason", c,
                     (unsigned long long)t->va, gf.pfec);
        oracle_page_fault(c, t->va, since);
        break;
    default: /* HV_AGAIN: too much concurrent change */
        break;
    }
}

/* --- events --- */

static void set_mode(unsigned c, struct mmu_regs r, bool loads_pdptes)
{
    struct sim_cpu *s = &sim_cpu[c];
    vmexit(c);
    oracle_flush(c);
    s->regs = r;
    if (loads_pdptes)
        sim_latch(c);
    mmu_event_mode(&s->mmu, &s->regs);
}

static void set_cr3(unsigned c, uint64_t value, bool keep)
{
    struct sim_cpu *s = &sim_cpu[c];
    bool pcide = s->regs.cr4 & CR4_PCIDE;
    vmexit(c);
    s->regs.cr3 = sim_cr3(c, value);
    keep = keep && pcide;
    if (!pcide)
        oracle_flush(c);
    else if (!keep)
        oracle_flush_pcid(c, sim_pcid(&s->regs));
    sim_latch(c);
    mmu_event_cr3(&s->mmu, s->regs.cr3, keep);
}

static void paging_off(unsigned c)
{
    struct mmu_regs r = sim_cpu[c].regs;
    r.cr0 &= ~CR0_PG;
    r.cr4 &= ~CR4_PCIDE;
    r.efer &= ~EFER_LMA;
    set_mode(c, r, false);
}

/* Paging off, one store by physical address, paging on again. */
static void unpaged(unsigned c, const struct sim_step *t)
{
    struct mmu_regs r = sim_cpu[c].regs;
    uint64_t f = SIM_TABLE_GFN + t->value % SIM_TABLES;
    paging_off(c);
    store(c, (f << 12) | (t->va & 4095), 8, false, t->value, NULL);
    set_mode(c, r, true);
}

static void other_mode(unsigned c, const struct sim_step *t)
{
    struct mmu_regs old = sim_cpu[c].regs, r;
    if (sim.cfg->mode != MODE_MIXED)
        return;
    sim_regs(&r, t->dice % 4 == 3 ? MODE_TWO : (enum sim_mode)(t->dice % 4));
    if (t->dice % 4 == 3)
        r.cr4 &= ~CR4_PSE;
    r.cr3 += (uint64_t)(t->dice / 4 & 1) << 12;
    r.cr0 &= old.cr0 | ~CR0_WP;
    r.efer &= old.efer | ~EFER_NXE;
    r.cr4 |= old.cr4 & CR4_SMEP;
    paging_off(c);
    set_mode(c, r, true);
}

static void invpcid(unsigned c, const struct sim_step *t)
{
    struct sim_cpu *s = &sim_cpu[c];
    unsigned type = t->dice & 3, pcid = s->regs.cr4 & CR4_PCIDE ? (t->dice >> 2) % SIM_PCIDS : 0;
    vmexit(c);
    if (type == 0)
        oracle_invpcid_address(c, pcid, t->va);
    else if (type == 1)
        oracle_flush_pcid(c, pcid);
    else
        oracle_flush(c);
    mmu_event_invpcid(&s->mmu, type, pcid, gva(t->va));
}

static void bulk(unsigned c, const struct sim_step *t)
{
    uint64_t copy[SIM_GROUP], f = t->value >> 12 & 0xffff;
    struct sim_cpu *s = &sim_cpu[c];
    vmexit(c);
    for (unsigned i = 0; i < SIM_GROUP; i++)
        copy[i] = sim_random(&s->dice, 2) ? 0 : t->value ^ (uint64_t)i << 13;
    s->storing = true;
    s->store_va = 0;
    if (gmem_write_gpa(&s->mmu, gpa(f << 12), copy, sizeof(copy)) != HV_OK && f < 1536)
        sim_fail("bulk store to frame 0x%llx", (unsigned long long)f);
    s->storing = false;
}

static void halt(unsigned c)
{
    struct sim_cpu *s = &sim_cpu[c];
    vmexit(c);
    mmu_idle(&s->mmu, false);
    if (!mode_enter(&s->coh, MODE_HALTED))
        return;
    for (unsigned i = 0; i < 64 && !s->ipi; i++)
        sim_point();
    mode_leave(&s->coh);
}

static void access_step(unsigned c, const struct sim_step *t)
{
    bool two = sim_mode(&sim_cpu[c].regs) == MODE_TWO;
    uint64_t v;
    switch (t->op) {
    case OP_LOAD:
        (void)load(c, t->va, t->user ? PFEC_U : 0, &v);
        break;
    case OP_FETCH:
        (void)load(c, t->va, PFEC_I | (t->user ? PFEC_U : 0), &v);
        break;
    case OP_STORE: {
        unsigned width = two && t->width == 8 && t->dice / 16 % 4 ? 4 : t->width;
        store(c, t->va + (width == 8 ? 0 : t->dice % (8 / width) * width), width, t->user, t->value,
              NULL);
        break;
    }
    case OP_HALVES:
        store(c, t->va + 4 * (t->dice & 1), 4, t->user, t->value >> (t->dice & 1 ? 32 : 0), NULL);
        store(c, t->va + 4 * !(t->dice & 1), 4, t->user, t->value >> (t->dice & 1 ? 0 : 32), NULL);
        break;
    case OP_CMPXCHG:
        if (load(c, t->va, 0, &v))
            store(c, t->va, 8, false, t->value, &v);
        break;
    case OP_CLEAR_AD:
        for (unsigned i = 0; i < 4 && load(c, t->va, 0, &v); i++)
            store(c, t->va, 8, false,
                  v & ~((t->dice & 1 ? PTE_A : PTE_A | PTE_D) << (two && (t->dice & 2) ? 32 : 0)),
                  &v);
        break;
    case OP_ZERO:
        for (uint64_t i = 0; i < SIM_GROUP; i++)
            store(c, (t->va & ~63ull) + i * 8, 8, t->user, 0, NULL);
        break;
    default:
        sim_fail("no such operation %u", t->op);
    }
}

static void toggle_step(unsigned c, unsigned op)
{
    struct mmu_regs r = sim_cpu[c].regs;
    r.cr0 ^= op == OP_WP ? CR0_WP : 0;
    r.cr4 ^= op == OP_SMEP ? CR4_SMEP : op == OP_PGE ? CR4_PGE : 0;
    r.efer ^= op == OP_NXE ? EFER_NXE : 0;
    set_mode(c, r, op == OP_SMEP || op == OP_PGE);
}

static void event_step(unsigned c, const struct sim_step *program)
{
    struct sim_cpu *s = &sim_cpu[c];
    struct sim_step adapted = *program;
    const struct sim_step *t = &adapted;
    adapted.va = sim_va(c, program->va);
    switch (t->op) {
    case OP_PEEK:
        peek(c, t);
        break;
    case OP_BULK:
        bulk(c, t);
        break;
    case OP_INVLPG:
        vmexit(c);
        oracle_invlpg(c, t->va);
        mmu_event_invlpg(&s->mmu, gva(t->va));
        break;
    case OP_CR3:
    case OP_CR3_KEEP:
        set_cr3(c, t->value, t->op == OP_CR3_KEEP);
        break;
    case OP_FLUSH:
        vmexit(c);
        oracle_flush(c);
        mmu_event_flush(&s->mmu);
        break;
    case OP_INVPCID:
        invpcid(c, t);
        break;
    case OP_WP:
    case OP_SMEP:
    case OP_NXE:
    case OP_PGE:
        toggle_step(c, t->op);
        break;
    case OP_MODE:
        other_mode(c, t);
        break;
    case OP_PAGING:
        unpaged(c, t);
        break;
    case OP_IDLE:
        halt(c);
        break;
    case OP_PARK:
        vmexit(c);
        mmu_idle(&s->mmu, true);
        break;
    case OP_RESET:
        vmexit(c);
        if (sim.nvms > 1 && (t->dice & 4)) {
            sim_vm_reset(c);
            break;
        }
        oracle_flush(c);
        mmu_reset(&s->mmu, &s->regs);
        break;
    case OP_EXIT:
        vmexit(c);
        break;
    case OP_AGE:
        vmexit(c);
        s->mmu.aged_at = port_tsc() - port_tsc_hz(); /* however long it takes */
        mmu_age(&s->mmu);
        break;
    default:
        access_step(c, t);
    }
}

static void audit(unsigned c)
{
    if (!mmu_audit(&sim_cpu[c].mmu, 3))
        return;
    const char *text = fake_console();
    const char *line = strstr(text, "patchbay-audit");
    sim_fail("cpu %u: %.300s", c, line ? line : "audit finding");
}

static void cpu_body(unsigned c)
{
    struct sim_cpu *s = &sim_cpu[c];
    for (; s->next < sim.nsteps; s->next++) {
        const struct sim_step *t = &sim.steps[s->next];
        if (t->cpu % sim.ncpus != c)
            continue;
        sim_vm_look(c);
        sim_step_end(); /* the earliest step of all CPUs first, unless the dice say otherwise */
        s->step = t;
        s->dice = t->dice;
        sim.executed++;
        ring_add(c, RING_NOTE, s->next, 0x100 + c);
        event_step(c, t);
        if (sim.cfg->audit_every && t->dice / 7 % sim.cfg->audit_every == 0) {
            vmexit(c);
            audit(c);
        }
        if (t->dice / 3 % 12 == 0) {
            if (!s->in_guest)
                vmentry(c);
            sim_hw_sweep(c);
        }
    }
    /* After a full flush nothing old may be left; then the CPU leaves for good. */
    vmexit(c);
    oracle_flush(c);
    mmu_event_flush(&s->mmu);
    vmentry(c);
    sim_hw_sweep(c);
    vmexit(c);
    mmu_idle(&s->mmu, true);
    action_offline(&s->coh);
    oracle_done(c);
    sim_vm_leave(c);
    s->done = true;
}

/* --- up and down --- */

void sim_cpu_up(unsigned c)
{
    struct sim_cpu *s = &sim_cpu[c];
    struct mmu_config cfg = {.coh = &s->coh,
                             .p2m = &sim_vm(c)->p2m,
                             .opt = &sim.opt,
                             .cpu = c - sim_vm(c)->first,
                             .pool_hpa = hpa(POOL_HPA + c * 0x1000000ull),
                             .nasids = 5,
                             .phys_bits = 40,
                             .absent = sim.opt.directpf ? MMU_ABSENT : 0};
    cfg.pool_bytes = pool_bytes = (uint64_t)(sim.cfg->pool_pages + 8) * 6800;
    fake_set_cpu(c);
    s->in_guest = s->ipi = s->done = s->storing = false;
    s->dice = c;
    for (unsigned a = 0; a <= MMU_ROOTS; a++)
        s->gen[a]++;
    coh_cpu_init(&s->coh, &sim_vm(c)->co, c - sim_vm(c)->first, NULL, NULL);
    cfg.pool = s->pool = aligned_alloc(4096, (pool_bytes + 4095) & ~4095ull);
    if (mmu_init(&s->mmu, &cfg) != HV_OK)
        sim_fail("mmu_init");
    action_online(&s->coh);
    sim_regs(&s->regs, sim.cfg->mode == MODE_MIXED ? (enum sim_mode)(c % 3) : sim.cfg->mode);
    sim_latch(c);
    mmu_reset(&s->mmu, &s->regs);
}

bool sim_execute(const struct sim_config *cfg, const struct sim_step *steps, unsigned n,
                 uint64_t sched_seed)
{
    const struct sim old = sim;
    sim = (struct sim){.cfg = cfg, .steps = steps, .nsteps = n, .ncpus = cfg->ncpus};
    sim.switches = old.switches;
    sim.points = old.points;
    sim.checks = old.checks;
    sim.faults = old.faults;
    sim.direct = old.direct;
    sim.executed = old.executed;
    sim.resets = old.resets;
    sim.sched_rng = sched_seed;
    options_parse(&sim.opt, cfg->options, NULL);
    sim.opt.pool_pages = cfg->pool_pages;
    fake_set_ncpus(cfg->ncpus);
    fake_console_clear();
    sim.nvms = cfg->nvms;
    sim_vms_up();
    oracle_reset();
    for (unsigned c = 0; c < cfg->ncpus; c++) {
        sim_cpu[c].next = 0;
        sim_cpu_up(c);
    }
    sim_run_fibers(cpu_body);
    for (unsigned c = 0; c < cfg->ncpus; c++)
        free(sim_cpu[c].pool);
    sim_vms_down();
    return !sim.bad;
}
