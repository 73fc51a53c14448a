/* SPDX-License-Identifier: BSD-2-Clause */
/* The VMCS as text, for park dumps and panics; of a refused entry also what is wrong. Tested by
 * reading a parked guest's dump and by tools/tests/test_vmx.c. */
#include "arch-x86/vmx/internal.h"
#include "hv/base/log.h"
#include "hv/port/cpu.h"

struct dump_field {
    const char *name;
    uint32_t field;
};
static const struct dump_field fields[] = {
    {"reason", VMCS_EXIT_REASON},
    {"qualification", VMCS_EXIT_QUALIFICATION},
    {"insn error", VMCS_INSN_ERROR},
    {"exit event", VMCS_EXIT_INTR_INFO},
    {"its error", VMCS_EXIT_INTR_ERROR},
    {"length", VMCS_EXIT_LENGTH},
    {"idt event", VMCS_IDT_INFO},
    {"its error", VMCS_IDT_ERROR},
    {"insn info", VMCS_EXIT_INSN_INFO},
    {"inject", VMCS_ENTRY_INTR_INFO},
    {"blocking", VMCS_GUEST_INTERRUPTIBILITY},
    {"pending debug", VMCS_GUEST_PENDING_DEBUG},
    {"pin", VMCS_PIN_CTLS},
    {"proc", VMCS_PROC_CTLS},
    {"exceptions", VMCS_EXCEPTION_BITMAP},
    {"exit", VMCS_EXIT_CTLS},
    {"entry", VMCS_ENTRY_CTLS},
    {"tsc offset", VMCS_TSC_OFFSET},
    {"rip", VMCS_GUEST_RIP},
    {"rflags", VMCS_GUEST_RFLAGS},
    {"rsp", VMCS_GUEST_RSP},
    {"cr0", VMCS_GUEST_CR0},
    {"cr3", VMCS_GUEST_CR3},
    {"cr4", VMCS_GUEST_CR4},
    {"cr0 mask", VMCS_CR0_MASK},
    {"cr0 shadow", VMCS_CR0_SHADOW},
    {"cr4 shadow", VMCS_CR4_SHADOW},
    {"dr7", VMCS_GUEST_DR7},
    {"debugctl", VMCS_GUEST_DEBUGCTL},
    {"activity", VMCS_GUEST_ACTIVITY},
    {"gdtr", VMCS_GUEST_GDTR_BASE},
    {"idtr", VMCS_GUEST_IDTR_BASE},
    {"host cr4", VMCS_HOST_CR4},
};

static void dump_line(const struct dump_field f[3], void (*emit)(const char *line))
{
    char line[128];

    hv_snprintf(line, sizeof(line), "vmcs: %s %llx %s %llx %s %llx", f[0].name,
                (unsigned long long)vmcs_read(f[0].field), f[1].name,
                (unsigned long long)vmcs_read(f[1].field), f[2].name,
                (unsigned long long)vmcs_read(f[2].field));
    emit(line);
}

void vmx_dump(struct vcpu *v, void (*emit)(const char *line))
{
    static const char *const names[SEG_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};
    const struct vmx_vcpu *a = vmx_of(v);
    char line[96];

    if (v->cpu != port_cpu()) {
        emit("vmcs: on another CPU, which alone can read it");
        return;
    }
    if (a->fail) {
        hv_snprintf(line, sizeof(line), "vmcs: entry refused, VM-instruction error %u%s", a->fail,
                    a->fail == INSN_ERROR_CONTROLS ? ": the controls"
                    : a->fail == INSN_ERROR_HOST   ? ": the host's state"
                                                   : "");
        emit(line);
    }
    if (vmcs_read(VMCS_EXIT_REASON) & REASON_FAILED_ENTRY)
        vmx_check_guest(emit);
    for (size_t i = 0; i + 3 <= ARRAY_SIZE(fields); i += 3)
        dump_line(&fields[i], emit);
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        hv_snprintf(line, sizeof(line), "vmcs: %s %04llx rights %05llx limit %08llx base %016llx",
                    names[i], (unsigned long long)vmcs_read(VMCS_GUEST_ES_SEL + 2 * i),
                    (unsigned long long)vmcs_read(VMCS_GUEST_ES_AR + 2 * i),
                    (unsigned long long)vmcs_read(VMCS_GUEST_ES_LIMIT + 2 * i),
                    (unsigned long long)vmcs_read(VMCS_GUEST_ES_BASE + 2 * i));
        emit(line);
    }
}
