/* SPDX-License-Identifier: BSD-2-Clause */
/* The VMs of the simulated machine: each its CPUs, memory, square of the matrix and words; and the
 * reset of one of them in the midst of the other's work, as hv/subvmm and hv/make.c do it: its CPUs
 * leave the guest and stop, the last one makes everything anew, all begin again. Tested with the
 * simulator. */
#include "tools/tests/sim.h"
#include "tools/tests/fake/fake.h"
#include "hv/coherency/channel.h"
#include "hv/coherency/direct.h"

#define FRAMES (SIM_GRANULES * 512)

/* Squares of exactly a VM's rows: a row of another number is another's memory, or nobody's. */
static struct channel (*square[SIM_VMS])[HV_MAX_CPUS];
static unsigned rows[SIM_VMS];

/* Whose a CPU of the machine is; the linker puts this in the place of the table that is filled once
 * for good: here VMs come and go. */
struct coherency *__wrap_coherency_of(uint32_t pcpu, uint32_t *vcpu);
struct coherency *__wrap_coherency_of(uint32_t pcpu, uint32_t *vcpu)
{
    *vcpu = 0;
    if (pcpu >= sim.ncpus)
        return NULL;
    *vcpu = pcpu - sim_vm(pcpu)->first;
    return &sim_vm(pcpu)->co;
}

static void memory_up(struct sim_vm *vm)
{
    unsigned n = (unsigned)(vm - sim.vm);
    for (unsigned h = 0; h < SIM_HOST_GRANULES; h++)
        vm->ungranule[h] = P2M_NONE;
    for (unsigned g = 0; g < SIM_GRANULES; g++) {
        /* not the identity, and each VM's between the other's */
        unsigned h = ((g * SIM_VMS + n) * 2 + 1) % SIM_HOST_GRANULES;
        vm->granule[g] = (uint32_t)(SIM_ARENA >> 21) + h;
        vm->ungranule[h] = g;
    }
    vm->p2m = (struct p2m){.granule = vm->granule, .ngranules = SIM_GRANULES};
}

/* What the next life must not see of the last one. */
static void check_fresh(struct sim_vm *vm)
{
    const uint64_t *w = vm->words;
    for (size_t i = 0; i < coherency_bytes(FRAMES) / sizeof(*w); i++)
        if (w[i])
            sim_fail("trace word %u of VM %u is 0x%llx at its beginning", (unsigned)i,
                     (unsigned)(vm - sim.vm), (unsigned long long)w[i]);
    const uint32_t *h = vm->holders;
    for (size_t i = 0; sim.opt.directpf && i < FRAMES; i++)
        if (h[i])
            sim_fail("frame %u of VM %u has holders 0x%x at its beginning", (unsigned)i,
                     (unsigned)(vm - sim.vm), h[i]);
    for (unsigned c = 0; c < vm->ncpus; c++) {
        const struct cpu_shared *s = &vm->co.cpu[c];
        uint64_t any = s->pending | s->storing | s->action | s->flush_owed;
        for (unsigned p = 0; p < vm->ncpus; p++) {
            any |= s->mailbox[p].request | s->mailbox[p].seq | s->mailbox[p].ack;
            any |= vm->matrix[p][c].overflow;
            for (unsigned i = 0; i < CHANNEL_SLOTS; i++)
                any |= vm->matrix[p][c].slot[i];
        }
        if (any)
            sim_fail("words or channels of VCPU %u of VM %u are not fresh", c,
                     (unsigned)(vm - sim.vm));
    }
}

static void make(struct sim_vm *vm)
{
    coherency_init(&vm->co, vm->ncpus, FRAMES, vm->words, vm->matrix, &sim.opt);
    direct_init(&vm->co, sim.opt.directpf ? vm->holders : NULL);
    check_fresh(vm);
    program_memory(vm);
}

void sim_vms_up(void)
{
    static bool made;
    if (!made)
        fake_arena(SIM_ARENA, SIM_HOST_GRANULES * REGION_SIZE);
    made = true;
    for (unsigned n = 0; n < sim.nvms; n++) {
        struct sim_vm *vm = &sim.vm[n];
        uint32_t pcpu[SIM_CPUS];
        vm->ncpus = sim.ncpus / sim.nvms;
        vm->first = n * vm->ncpus;
        for (unsigned c = 0; c < vm->ncpus; c++)
            pcpu[c] = vm->first + c;
        if (rows[n] != vm->ncpus) {
            free(square[n]);
            square[n] = calloc(vm->ncpus, sizeof(*square[n]));
            rows[n] = vm->ncpus;
        }
        vm->matrix = square[n];
        vm->words = calloc(1, coherency_bytes(FRAMES));
        vm->holders = calloc(1, direct_bytes(FRAMES));
        memory_up(vm);
        coherency_place(&vm->co, pcpu, vm->ncpus);
        make(vm);
    }
}

void sim_vms_down(void)
{
    for (unsigned n = 0; n < sim.nvms; n++) {
        free(sim.vm[n].words);
        free(sim.vm[n].holders);
    }
}

void sim_vm_reset(unsigned c)
{
    sim_vm(c)->ends = true;
}

/* The last of its CPUs to stop. */
static void again(struct sim_vm *vm)
{
    vm->stopped = 0; /* nobody else makes it */
    make(vm);
    oracle_reset_vm((unsigned)(vm - sim.vm));
    vm->ends = false;
    vm->life++;
    sim.resets++;
}

void sim_vm_look(unsigned c)
{
    struct sim_vm *vm = sim_vm(c);
    struct sim_cpu *s = &sim_cpu[c];
    unsigned life = vm->life;
    if (!vm->ends)
        return;
    if (s->in_guest)
        mode_leave(&s->coh);
    action_offline(&s->coh); /* with all its registrations and writable sptes, as it stands */
    vm->stopped++;
    while (vm->life == life && vm->ends) {
        if (vm->stopped + vm->left == vm->ncpus)
            again(vm);
        else
            port_relax();
    }
    free(s->pool);
    sim_cpu_up(c);
}

void sim_vm_leave(unsigned c)
{
    sim_vm(c)->left++;
}
