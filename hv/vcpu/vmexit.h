/* SPDX-License-Identifier: BSD-2-Clause */
/* The neutral exit record: what arch-x86/svm (later vmx) tells hv/vcpu about one VMEXIT. Vendor
 * codes, caching and decode assists stay in the vendor folder. Tested by tools/tests/test_exits.c.
 */
#pragma once
#include "hv/base/types.h"

#define EXIT_LIST(X)                                                                               \
    X(UNKNOWN)                                                                                     \
    X(INTR) /* physical interrupt; taken by the host when run() returns */                         \
    X(NMI)                                                                                         \
    X(SMI)                                                                                         \
    X(INIT)                                                                                        \
    X(IRQ_WINDOW) /* the guest can take an interrupt now */                                        \
    X(PF)         /* gva, pfec */                                                                  \
    X(EXCEPTION)  /* vector, error: an intercepted one (#DB #AC #MC #UD #DF ...) */                \
    X(CR_READ)    /* cr; gpr or 0xff */                                                            \
    X(CR_WRITE)   /* cr; gpr or 0xff; LMSW and CLTS come as CR_WRITE 0, SMSW as CR_READ 0 */       \
    X(DR_READ)                                                                                     \
    X(DR_WRITE)                                                                                    \
    X(INVLPG) /* gva valid if have_gva */                                                          \
    X(INVPCID)                                                                                     \
    X(INVLPGA)                                                                                     \
    X(CPUID)                                                                                       \
    X(RDMSR)                                                                                       \
    X(WRMSR)                                                                                       \
    X(IO) /* io_* */                                                                               \
    X(HLT)                                                                                         \
    X(PAUSE)                                                                                       \
    X(SHUTDOWN)    /* triple fault */                                                              \
    X(TASK_SWITCH) /* task */                                                                      \
    X(FOREIGN_CR3) /* the guest ran on a CR3 of its own: a task switch that did not exit */        \
    X(WBINVD)                                                                                      \
    X(INVD)                                                                                        \
    X(MONITOR)                                                                                     \
    X(MWAIT)                                                                                       \
    X(RDPMC)                                                                                       \
    X(RDTSC)                                                                                       \
    X(RDTSCP)                                                                                      \
    X(RDPRU)                                                                                       \
    X(XSETBV)                                                                                      \
    X(RSM)                                                                                         \
    X(HV_INSN) /* VMRUN VMLOAD VMSAVE STGI CLGI SKINIT INVLPGB TLBSYNC: #UD */                     \
    X(VMMCALL)                                                                                     \
    X(DT_ACCESS) /* descriptor-table loads and stores, if intercepted */                           \
    X(ICEBP)                                                                                       \
    X(IRET)       /* while nmi_mask is on; before the IRET executes */                             \
    X(NMI_WINDOW) /* while nmi_mask is on: NMIs are not blocked any more */                        \
    X(REAL_GP)    /* a #GP in real mode, perhaps only because the processor is in another one */   \
    X(INVALID)    /* VMRUN refused the VMCB: our bug or unsupported state */

enum vmexit_kind {
#define X(name) EXIT_##name,
    EXIT_LIST(X)
#undef X
        EXIT_KIND_COUNT
};
extern const char *const vmexit_name[EXIT_KIND_COUNT];

enum task_source { TASK_CALL /* and INT n */, TASK_JMP, TASK_IRET, TASK_EVENT };
#define VMEXIT_GPR_NONE 0xff
/* The head, to next_rip, is whole for every kind, 0 where it has nothing to say. What follows is
 * written for the kinds named alone: it is on the way of every exit. */
struct vmexit {
    enum vmexit_kind kind;
    uint8_t insn_len;   /* bytes valid in insn (decode assist); 0: fetch */
    uint8_t cr;         /* control or debug register number */
    uint8_t gpr;        /* register operand, VMEXIT_GPR_NONE: decode */
    uint8_t vector;     /* EXCEPTION */
    uint8_t delivering; /* EXCEPTION: the guest's own one whose delivery raised it, + 1; 0 none */
    bool have_gva;
    bool error_valid;
    /* An event this entry injected was not delivered and must be injected again
     * (arch-x86/README "Injection": only what we injected, RIP unchanged). */
    bool redeliver;
    bool untaken;       /* the INTR this entry injected is still to be taken */
    bool window_shadow; /* STI / MOV SS shadow in force at exit */
    bool known;         /* CR_WRITE of CLTS and LMSW, INVPCID: the hardware says it all, below */
    uint64_t next_rip;  /* 0: unknown, decode */

    uint64_t code;    /* raw, for dumps */
    gva_t gva;        /* PF: linear address; INVLPG: operand, if have_gva */
    uint32_t pfec;    /* PF: error code */
    uint32_t error;   /* EXCEPTION, PF */
    uint16_t io_port; /* IO, to io_addrsize */
    uint8_t io_size;  /* 1, 2, 4 */
    bool io_in, io_string, io_rep;
    bool io_have_addrsize;
    uint8_t io_addrsize;   /* 2, 4, 8 where the hardware says */
    uint8_t insn[15];      /* insn_len bytes */
    struct {               /* TASK_SWITCH */
        uint16_t selector; /* of the incoming TSS */
        enum task_source source;
        bool external;  /* by an exception or interrupt, not an instruction */
        bool has_error; /* to push on the incoming task's stack */
        uint32_t error;
        bool rf; /* RFLAGS.RF to be saved */
    } task;
    struct {          /* CR_WRITE, if known */
        bool lmsw;    /* else CLTS */
        uint16_t msw; /* LMSW's operand, from wherever it came */
    } msw;
    struct { /* INVPCID, if known: where its descriptor is; as in struct insn */
        uint8_t segment, base, index, scale, addrsize;
        int64_t disp;
    } mem;
};
