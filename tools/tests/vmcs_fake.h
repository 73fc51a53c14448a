/* SPDX-License-Identifier: BSD-2-Clause */
/* A VMCS that is an array, and the instructions that work on it. Tested by tools/tests/test_vmx.c.
 */
#pragma once
#include "arch-x86/vmx/vmcs.h"

#define FAKE_FIELDS 0x7000
static uint64_t fake_vmcs[FAKE_FIELDS];
static unsigned fake_writes[FAKE_FIELDS]; /* how often each was written */
static unsigned fake_flushes_single[0x200], fake_flushes_all, fake_nmis, fake_stis;

uint64_t vmcs_read(uint32_t field)
{
    return fake_vmcs[field];
}
void vmcs_write(uint32_t field, uint64_t value)
{
    fake_vmcs[field] = value;
    fake_writes[field]++;
}
void vmx_invvpid(uint64_t type, uint16_t vpid)
{
    if (type == INVVPID_ALL)
        fake_flushes_all++;
    else
        fake_flushes_single[vpid]++;
}
void vmx_take_nmi(void)
{
    fake_nmis++;
}
void vmx_take_interrupts(void)
{
    fake_stis++;
}
