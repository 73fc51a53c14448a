/* SPDX-License-Identifier: BSD-2-Clause */
/* The instructions of VMX. Tested by every boot on an Intel processor. */
#include "arch-x86/vmx/vmcs.h"
#include "hv/base/assert.h"

uint64_t vmcs_read(uint32_t field)
{
    uint64_t value;
    bool failed;

    __asm__ volatile("vmread %[field], %[value]"
                     : "=@ccbe"(failed), [value] "=r"(value)
                     : [field] "r"((uint64_t)field)
                     : "cc");
    if (failed)
        PANIC("VMREAD of field 0x%x failed", field);
    return value;
}

void vmcs_write(uint32_t field, uint64_t value)
{
    bool failed;

    __asm__ volatile("vmwrite %[value], %[field]"
                     : "=@ccbe"(failed)
                     : [value] "r"(value), [field] "r"((uint64_t)field)
                     : "cc");
    if (failed)
        PANIC("VMWRITE of 0x%llx to field 0x%x failed", (unsigned long long)value, field);
}

#define VMX_ADDRESS(name, insn)                                                                    \
    bool name(const uint64_t *hpa)                                                                 \
    {                                                                                              \
        bool failed;                                                                               \
        __asm__ volatile(insn " %[hpa]" : "=@ccbe"(failed) : [hpa] "m"(*hpa) : "cc", "memory");    \
        return !failed;                                                                            \
    }
VMX_ADDRESS(vmx_on, "vmxon")
VMX_ADDRESS(vmcs_clear, "vmclear")
VMX_ADDRESS(vmcs_load, "vmptrld")

void vmx_invvpid(uint64_t type, uint16_t vpid)
{
    const struct {
        uint64_t vpid, address;
    } what = {vpid, 0};
    bool failed;

    __asm__ volatile("invvpid %[what], %[type]"
                     : "=@ccbe"(failed)
                     : [what] "m"(what), [type] "r"(type)
                     : "cc", "memory");
    if (failed)
        PANIC("INVVPID %llu of VPID %u failed", (unsigned long long)type, vpid);
}

void vmx_take_nmi(void)
{
    __asm__ volatile("int $2" : : : "memory");
}

void vmx_take_interrupts(void)
{
    __asm__ volatile("sti; nop" : : : "memory"); /* the shadow of STI ends before the return */
}
