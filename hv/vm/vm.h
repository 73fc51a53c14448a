/* SPDX-License-Identifier: BSD-2-Clause */
/* One virtual machine: a partition of CPUs and memory, its life. Tested by
 * tools/tests/test_loader.c. */
#pragma once
#include "hv/coherency/coherency.h"
#include "hv/mem/p2m.h"
#include "hv/pass/pass.h"
#include "hv/vdev/pc/vpc.h"

struct vm_module { /* a boot module in host memory */
    hpa_t base;
    uint64_t len;
    const char *string; /* "role=linux ... -- guest command line" */
};
#define VM_MAX_MODULES 8
#define VM_MAX 8 /* virtual machines */
#define VM_NAME_LEN 15
#define VM_CONSOLE_LEN 23
/* What follows the end of its guest. AUTO: alone, power-off and reset are the machine's; with other
 * VMs, power-off stops it and a reset starts it again. */
enum vm_onend { ONEND_AUTO, ONEND_STOP, ONEND_RESTART, ONEND_MACHINE };

/* Where kvm-clock begins (kvmclock.c): the TSC at which its time is 0, and the time of day then. */
struct vm_clock {
    uint64_t base_tsc, base_s;
    uint32_t base_ns;
};
/* A guest that stands (guestwatch.c): VCPUs in HLT with interrupts off, and where; wakes counts
 * those that left. A CPU changes its own bit only. */
struct vm_watch {
    _Atomic cpuset_t dead;
    _Atomic uint32_t wakes;
    _Atomic uint64_t dead_rip[HV_MAX_CPUS];
    _Atomic bool dead_said;
};
/* Why a VM ended: what its guest did, or the monitor's order. */
enum vm_how { VM_POWEROFF = 1, VM_RESET, VM_PARKED, VM_ORDER_STOP, VM_ORDER_RESET };
enum vm_state { VM_ON, VM_OFF, VM_MAKING };
struct virtio_host;
struct vconsole;
/* The boot framebuffer, if it is the guest's: true colour, linear. base 0: it is not. */
struct vm_screen {
    uint64_t base;
    uint32_t pitch, width, height;
    uint8_t bpp;
    uint8_t colour[6]; /* red's lowest bit and number of bits, green's, blue's */
};

struct vm {
    uint32_t id; /* 0..vm_count-1: index of vm_table */
    char name[VM_NAME_LEN + 1];
    uint32_t ncpus; /* VCPUs 0..ncpus-1; on which CPU of the machine: co->pcpu */
    struct p2m p2m;
    enum vm_onend onend;
    const struct vm_module *mod; /* its modules, which nothing changes */
    unsigned nmods;
    uint64_t ram_bytes;    /* total guest RAM */
    uint64_t ram_low_end;  /* end of RAM below the PCI hole (at most 0xC0000000) */
    uint64_t ram_high_end; /* end of RAM above 4 GiB, 0 none */
    struct coherency *co;
    struct channel (*matrix)[HV_MAX_CPUS]; /* its square: ncpus rows, its own memory */
    void *words;                           /* coherency_bytes of its frames */
    void *holders; /* direct_bytes of them, where directpf=on is possible; else NULL */
    struct vpc *pc;
    struct pass *pass; /* the machine's functions it owns, NULL: none */
    bool own_only;     /* DMA is not translated: RAM lies at its own address or is not shown */
    struct virtio_host *virtio; /* NULL: no such devices */
    struct vconsole *console;   /* NULL: none */
    void *devices;              /* their memory, devices_bytes, used up to devices_used */
    uint64_t devices_bytes, devices_used;
    struct vm_screen screen; /* display=guest */
    const struct hv_options *opt;
    /* BSP start state, set by the loader */
    uint64_t entry_rip, entry_rsi, entry_rsp, entry_cr3;
    uint64_t entry_rax, entry_rbx; /* multiboot: magic and information structure */
    bool entry_long;        /* 64-bit entry with paging on; else 32-bit flat protected mode */
    bool entry_real;        /* real mode: entry_rip is CS * 16 + IP */
    _Atomic uint32_t ended; /* 0 running, else enum vm_how */
    /* life.c: VCPUs that run or are halted; that will not enter the guest again; VCPU + 1 of the
     * one that finishes, 0 none yet, written once before ACTION_STOP is posted */
    _Atomic cpuset_t active, stopped;
    _Atomic cpuset_t up; /* VCPUs whose CPU has come up */
    _Atomic uint32_t finisher;
    /* life.c: enum vm_state; lives begun, by which a CPU in subvmm_off sees the next; who is in its
     * devices from outside; the monitor wants it to start */
    _Atomic uint32_t state, epoch, users;
    _Atomic bool start;
    _Atomic uint32_t order; /* an enum vm_how that came while the VM was ending or starting */
    /* clear.c: granules that nobody has taken yet; that are not zeroed yet */
    _Atomic int64_t clear_left;
    _Atomic uint64_t clear_open;
    bool counted; /* among the VMs that are not off; of whoever changes its state */
    struct vm_clock clock;
    struct vm_watch watch;
    _Atomic bool warm_said; /* park.c: a triple fault that was INIT for all */
    /* MSRs of hvsig=hyperv that all CPUs share */
    _Atomic uint64_t hv_os_id, hv_hypercall, hv_reference;
};
/* All there are, [0] the first. Filled by hv/main.c at boot. */
extern struct vm vm_table[VM_MAX];
extern uint32_t vm_count;
/* The VM that a CPU of the machine was given to, NULL: none. Any CPU. */
struct vm *vm_of(uint32_t pcpu, uint32_t *vcpu);
/* The CPU of the machine that hosts a VCPU. */
static inline uint32_t vm_pcpu(const struct vm *vm, uint32_t vcpu)
{
    return vm->co ? vm->co->pcpu[vcpu] : vcpu;
}
/* Carves guest RAM: opt->mem_mib or all that is free less `keep_bytes`; gpa = hpa per 2 MiB granule
 * where the host granule is free, else any other free one. Fills p2m, ram_*. HV_NOMEM: less than 64
 * MiB. */
enum hv_err vm_memory_init(struct vm *vm, const struct hv_options *opt,
                           uint64_t keep_bytes) HV_MUST_CHECK;
/* Is [base, end) RAM that the guest is told of (own_only: with its own address)? */
bool vm_ram_shown(const struct vm *vm, uint64_t base, uint64_t end);
/* Copy into guest RAM at load time (before any VCPU runs). HV_RANGE: not all RAM. */
enum hv_err vm_copy_in(struct vm *vm, gpa_t at, const void *src, size_t n) HV_MUST_CHECK;
/* test=1: takes what host memory is left over and fills it with a pattern; the last allocation
 * before phys_seal. */
void vm_poison_place(void);
/* test=1: one granule of it, the lowest that is free, between this VM's memory and the next one's.
 */
void vm_poison_guard(void);
/* When the VM has ended: host-physical address of the first word that changed, 0 none. */
uint64_t vm_poison_damage(void);

/* --- clear.c --- */
/* Zeroes its RAM with the help of its CPUs in subvmm_off; returns when all of it is zero. On the
 * one of its CPUs that makes it anew. */
void vm_clear(struct vm *vm);
/* Zeroes one granule of it; false: there is none left to take. Any CPU in subvmm_off. */
bool vm_clear_help(struct vm *vm);
bool vm_clear_waits(const struct vm *vm);

/* --- life.c; any CPU --- */
/* Has this CPU a guest to run, be it halted: not before SIPI, not parked? Each says it of itself.
 */
void vm_set_active(struct vm *vm, uint32_t cpu, bool active);
bool vm_any_active(const struct vm *vm);
cpuset_t vm_active_set(const struct vm *vm);
/* Ends the VM, how as in enum vm_how. Marks it and tells the other CPUs; the loop of this CPU, the
 * finisher, does the rest. The first call counts. */
void vm_end(struct vm *vm, uint32_t cpu, uint32_t how);
/* The same from a CPU of another VM or its own: VCPU 0 becomes the finisher. While the VM is ending
 * or starting, the order is kept and carried out then; one that is off stays so. */
void vm_end_from(struct coh_cpu *self, struct vm *vm, uint32_t how);
/* The order that was kept, 0: none; whoever takes it carries it out. On the finisher. */
uint32_t vm_order_take(struct vm *vm);
/* After vm_go_on: one that came while the VM was made. */
void vm_order_late(struct vm *vm);
/* The VM stays off, or goes on from the beginning: its CPUs leave subvmm_off. On the finisher or
 * whoever made it anew. vm_go_off returns how many VMs are not off. */
uint32_t vm_go_off(struct vm *vm);
void vm_go_on(struct vm *vm);
enum vm_state vm_state(const struct vm *vm);
/* Nobody is in its devices from outside any more, nor comes: before they are made anew. */
void vm_making(struct vm *vm);
/* From a CPU that is not its own, for the console and the monitor: its devices stay what they are
 * until vm_use_end. false: it is off or being made. Bounded work in between, no wait. */
bool vm_use_begin(struct vm *vm) HV_MUST_CHECK;
void vm_use_end(struct vm *vm);
/* The monitor starts a VM that is off. */
void vm_start(struct vm *vm);
bool vm_start_asked(struct vm *vm);
/* CPUs that left the guest for good, as each says of itself. */
cpuset_t vm_stopped_set(const struct vm *vm);
void vm_mark_stopped(struct vm *vm, uint32_t cpu);
/* Is it this CPU that called vm_end first? */
bool vm_is_finisher(const struct vm *vm, uint32_t cpu);
