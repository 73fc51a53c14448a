/* SPDX-License-Identifier: BSD-2-Clause */
/* The root of an entry: its tables and its VPID, one for each that the pager retains. No
 * instructions here. Tested by tools/tests/test_vmx.c. */
#include "arch-x86/defs/x86.h"
#include "arch-x86/vmx/internal.h"

/* Virtual-8086 mode has other tables above 3 GiB than unpaged protected mode on the same root. */
#define VPID_REAL 0x100

void vmx_set_root(struct vcpu *v, hpa_t root, uint32_t asid, bool flush_asid, bool flush_all)
{
    struct vmx_vcpu *a = vmx_of(v);
    uint64_t cr3 = a->real ? vmx_real_root(v->cpu, root.v) : root.v;
    uint16_t vpid = (uint16_t)(a->real ? asid | VPID_REAL : asid);

    /* Outside IA-32e mode the processor reads the four PDPTEs at CR3 with each entry (26.3.2.4
     * "Loading Page-Directory-Pointer-Table Entries"). */
    if (cr3 != a->root)
        vmcs_write(VMCS_GUEST_CR3, a->root = cr3);
    if (!vmx_caps.vpid)
        return; /* each entry and each exit flushes */
    if (vpid != a->vpid)
        vmcs_write(VMCS_VPID, a->vpid = vpid);
    if (flush_all) {
        vmx_invvpid(INVVPID_ALL, 0);
    } else if (flush_asid) {
        vmx_invvpid(INVVPID_SINGLE, (uint16_t)asid);
        if (!(v->ctl.cr0 & CR0_PG))
            vmx_invvpid(INVVPID_SINGLE, (uint16_t)(asid | VPID_REAL));
    }
}
