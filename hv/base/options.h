/* SPDX-License-Identifier: BSD-2-Clause */
/* The hypervisor's command line: one table, from which the documentation and `help` are made.
 * Tested by tools/tests/test_options.c and the fuzzer. */
#pragma once
#include "hv/base/types.h"

enum coherency_mode { COHERENCY_MATRIX, COHERENCY_LOCKED, COHERENCY_SHOOTDOWN };
enum overflow_mode { OVERFLOW_LAZY, OVERFLOW_SHOOTDOWN };
enum hvsig_mode { HVSIG_KVM, HVSIG_OWN, HVSIG_HYPERV };
enum reset_method { RESET_AUTO, RESET_ACPI, RESET_CF9, RESET_KBD, RESET_TRIPLE };
enum iommu_mode { IOMMU_AUTO, IOMMU_OFF, IOMMU_FORCE };
enum mmu_mode { MMU_SHADOW, MMU_REF };

/* escape=: the list, and the byte of each of its words; 0: none */
#define OPT_ESCAPE_KEYS "^T|^E|^G|^O|^P|^V|^X|^Y|^]|^_|off"
#define OPT_ESCAPE_BYTES 0x14, 0x05, 0x07, 0x0f, 0x10, 0x16, 0x18, 0x19, 0x1d, 0x1f, 0
/* virtio=: the list, and the bit of each of its words in a set of them */
#define OPT_VIRTIO_WORDS "none|rng|console|net|net2"
#define OPT_VIRTIO_RNG BIT(1)
#define OPT_VIRTIO_CONSOLE BIT(2)
#define OPT_VIRTIO_NET BIT(3)
#define OPT_VIRTIO_NET2 BIT(4) /* a second port, for tests of one VM */
#define OPT_MAX_CONSOLES 8
#define OPT_CONSOLE_LEN 48
#define OPT_MEM_MIN_MIB 64 /* less guest RAM holds no Linux */
#define OPT_POOL_MIN 64    /* shadow pages; hv/main.c compares with the pager's own floor */

struct hv_options {
    enum coherency_mode coherency;
    enum overflow_mode overflow;
    bool consumers_traced;   /* consumers=traced|all */
    bool interest;           /* interest=on|off */
    bool derived;            /* derived=on|off, default off */
    bool unsync;             /* unsync=on|off */
    bool postpone;           /* postpone=on|off: steps 868, 870 */
    bool batch;              /* batch=on|off: fill neighbours */
    bool large;              /* large=on|off: 2 MiB sptes */
    bool reload;             /* reload=on|off: CR3 read and written back in one exit */
    bool iopair;             /* iopair=on|off: port accesses that follow in one exit */
    bool fresh;              /* fresh=on|off: a CPU's own new leaf tables are unsync at once */
    bool upper;              /* upper=on|off: tables of tables may be unsync */
    bool directpf;           /* directpf=on|off: not-present faults without an exit, on Intel */
    bool dying;              /* dying=on|off: tables of a dying address space are given up */
    bool shortcuts;          /* shortcuts=on|off: what is kept from one exit to the next */
    enum mmu_mode mmu;       /* mmu=shadow|ref */
    uint32_t audit;          /* audit=0..3 */
    uint32_t loglvl;         /* enum log_level */
    uint32_t smp;            /* smp=N: CPUs given to VM 0; 0: all */
    uint64_t mem_mib;        /* mem=N[M|G]: guest RAM in MiB; 0: what is there */
    uint32_t pool_pages;     /* pool=N: shadow pages a CPU; 0: computed */
    bool test;               /* test=1: guest's debug-exit port ends the emulator */
    uint32_t panic_s;        /* panic=N: seconds before the reset, 0: none */
    enum reset_method reset; /* reset=auto|acpi|cf9|kbd|triple */
    uint32_t escape;         /* escape=: position in OPT_ESCAPE_KEYS */
    uint32_t virtio;         /* virtio=LIST: set of OPT_VIRTIO_* */
    bool trace;              /* trace=1: the event rings are printed at the end of the VM */
    bool noreboot;           /* noreboot=1: a panic or guest reset halts the machine */
    enum iommu_mode iommu;   /* iommu=auto|off|force */
    bool acs_ignore;         /* acs=ignore|refuse */
    bool rmrr_ignore;        /* rmrr=ignore|refuse */
    bool intremap;           /* intremap=on|off */
    bool pcid;               /* pcid=on|off: shown whether or not the host has it */
    bool invpcid;            /* invpcid=on|off */
    bool pveoi;              /* pveoi=on|off: interrupts without an EOI exit, under hvsig=kvm */
    bool pvipi;              /* pvipi=on|off: hypercalls for IPIs */
    bool pvflush;            /* pvflush=on|off: ... for remote TLB flushes */
    enum hvsig_mode hvsig;   /* hvsig=kvm|own|hyperv */
    bool verw;               /* verw=on|off: VERW before each entry, on Intel */
    bool x2apic_host;        /* x2apic=on|off: use it on the host where the CPU has it */
    bool help;               /* help: print the table at boot */
    unsigned nconsoles;
    char console[OPT_MAX_CONSOLES][OPT_CONSOLE_LEN];
};
extern struct hv_options hv_opt;

/* Fills *out from defaults and `cmdline` (NUL-terminated, hostile, at most 4096 bytes read). Words
 * starting with '/' are ignored; an unknown option or malformed value is reported through `warn`
 * (one line each) and the default kept. Never fails. */
void options_parse(struct hv_options *out, const char *cmdline, void (*warn)(const char *line));
/* A list of words of "a|b|c" with commas between, n bytes, as the set of their positions. false:
 * one of them is not there. */
bool options_set_parse(const char *values, const char *list, size_t n, uint32_t *out);
/* Calls emit once per line with the option table as text. */
void options_describe(void (*emit)(const char *line));
