/* SPDX-License-Identifier: BSD-2-Clause */
/* A piece of code that runs one instruction on the CPU of the test with given registers and keeps
 * what it left in them; random numbers. Included once by a test program that has opened the rig of
 * emulate_rig.h. Tested by tools/tests/test_emulate_native.c and test_native.c. */
#pragma once
#include <string.h>
#include "tools/tests/emulate_rig.h"

static uint64_t rng = 0x1234567887654321ull;
static uint64_t rnd(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng * 0x2545f4914f6cdd1dull;
}

struct stub_state {
    uint64_t gpr[16], flags, out[16], out_flags, host_rsp;
};
#define STUB ((struct stub_state *)STATE_VA)
static uint8_t *stub;

static void put8(uint8_t b)
{
    *stub++ = b;
}
static void put_abs(const void *p)
{
    uint32_t a = (uint32_t)(uintptr_t)p;
    memcpy(stub, &a, 4);
    stub += 4;
}
/* MOV between register r and an absolute address; flags stay. */
static void put_mov(bool load, unsigned r, const void *p)
{
    put8(r & 8 ? 0x4c : 0x48);
    put8(load ? 0x8b : 0x89);
    put8((uint8_t)(4 | (r & 7) << 3));
    put8(0x25);
    put_abs(p);
}
/* Stub: save, load registers and flags, the instruction, store, restore. Returns where the
 * instruction is. */
static uint64_t build_stub(const uint8_t *insn, size_t n)
{
    static const uint8_t push[] = {0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57};
    static const uint8_t pop[] = {0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3};

    stub = (uint8_t *)CODE_VA;
    for (size_t i = 0; i < sizeof(push); i++)
        put8(push[i]);
    put_mov(false, RSP, &STUB->host_rsp);
    put8(0xff), put8(0x34), put8(0x25), put_abs(&STUB->flags), put8(0x9d);
    for (unsigned r = 0; r < 16; r++)
        if (r != RSP)
            put_mov(true, r, &STUB->gpr[r]);
    put_mov(true, RSP, &STUB->gpr[RSP]);
    uint64_t at = (uint64_t)(uintptr_t)stub;
    memcpy(stub, insn, n);
    stub += n;
    for (unsigned r = 0; r < 16; r++)
        put_mov(false, r, &STUB->out[r]);
    put_mov(true, RSP, &STUB->host_rsp);
    put8(0x9c), put8(0x8f), put8(0x04), put8(0x25), put_abs(&STUB->out_flags), put8(0xfc);
    for (size_t i = 0; i < sizeof(pop); i++)
        put8(pop[i]);
    return at;
}
