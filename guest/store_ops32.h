/* SPDX-License-Identifier: BSD-2-Clause */
/* The store instructions of group store in 32-bit mode. Tested by store.opcodes. */
#pragma once
#include "guest/guest.h"

/* The table: name, defined flags, text. EDI = the entry, ESI = source in memory; EAX and EDX hold
 * its first and second word, EBX and ECX new values for them. */
#define OPS(X)                                                                                     \
    X(mov8, F_ALL, "movb %%bl, (%%edi)")                                                           \
    X(mov8_high, F_ALL, "movb %%bh, 1(%%edi)")                                                     \
    X(mov16, F_ALL, "movw %%bx, (%%edi)")                                                          \
    X(mov32, F_ALL, "movl %%ebx, (%%edi)")                                                         \
    X(mov32_next, F_ALL, "movl %%ecx, 4(%%edi)")                                                   \
    X(mov32_imm, F_ALL, "movl $0, (%%edi)")                                                        \
    X(mov32_both, F_ALL, "movl %%ecx, 4(%%edi); movl %%ebx, (%%edi)")                              \
    X(mov8_imm, F_ALL, "movb $0x61, (%%edi)")                                                      \
    X(mov32_moffs, F_ALL, "movl %%ebx, %%eax; movl %%eax, %%ds:(%%edi)")                           \
    X(xchg8, F_ALL, "xchgb %%bl, (%%edi)")                                                         \
    X(xchg16, F_ALL, "xchgw %%bx, (%%edi)")                                                        \
    X(xchg32, F_ALL, "xchgl %%ebx, (%%edi)")                                                       \
    X(cmpxchg32, F_ALL, "lock cmpxchgl %%ebx, (%%edi)")                                            \
    X(cmpxchg32_fails, F_ALL, "notl %%eax; lock cmpxchgl %%ebx, (%%edi)")                          \
    X(cmpxchg32_unlocked, F_ALL, "cmpxchgl %%ebx, (%%edi)")                                        \
    X(cmpxchg8b, F_ALL, "lock cmpxchg8b (%%edi)")                                                  \
    X(cmpxchg8b_fails, F_ALL, "xorl $5, %%edx; lock cmpxchg8b (%%edi)")                            \
    X(cmpxchg8b_unlocked, F_ALL, "cmpxchg8b (%%edi)")                                              \
    X(xadd32, F_ALL, "movl $0x1000, %%ebx; lock xaddl %%ebx, (%%edi)")                             \
    X(bts_imm, F_CF, "lock btsl $9, (%%edi)")                                                      \
    X(btr_imm, F_CF, "lock btrl $1, (%%edi)")                                                      \
    X(btc_imm, F_CF, "btcl $10, (%%edi)")                                                          \
    X(bts_reg, F_CF, "movl $11, %%ecx; lock btsl %%ecx, (%%edi)")                                  \
    X(btr_next, F_CF, "movl $32, %%ecx; btrl %%ecx, (%%edi)")                                      \
    X(btc_back, F_CF, "movl $-32, %%ecx; btcl %%ecx, 4(%%edi)")                                    \
    X(bt_reads, F_CF, "btl $1, (%%edi)")                                                           \
    X(and32, F_ALL, "movl $~2, %%ebx; lock andl %%ebx, (%%edi)")                                   \
    X(and8_imm, F_ALL, "andb $0xfd, (%%edi)")                                                      \
    X(or32_imm, F_ALL, "lock orl $0x200, (%%edi)")                                                 \
    X(or16, F_ALL, "movw $0x400, %%bx; orw %%bx, (%%edi)")                                         \
    X(xor32, F_ALL, "movl $0x1000, %%ebx; xorl %%ebx, (%%edi)")                                    \
    X(add32_imm, F_ALL, "lock addl $0x1000, (%%edi)")                                              \
    X(sub32, F_ALL, "movl $0x1000, %%ebx; subl %%ebx, (%%edi)")                                    \
    X(adc32, F_ALL, "stc; adcl $0xfff, (%%edi)")                                                   \
    X(sbb8, F_ALL, "stc; movb $0, %%bl; sbbb %%bl, 1(%%edi)")                                      \
    X(inc8, F_ALL, "stc; lock incb 1(%%edi)")                                                      \
    X(dec16, F_ALL, "decw (%%edi)")                                                                \
    X(not8, F_ALL, "notb 1(%%edi)")                                                                \
    X(shl8, RFLAGS_CF, "movb $2, 1(%%edi); shlb $1, 1(%%edi)")                                     \
    X(ror16_cl, RFLAGS_CF, "movb $4, %%cl; rorw %%cl, (%%edi)")                                    \
    X(arpl, RFLAGS_ZF, "movw $3, %%cx; arpl %%cx, (%%edi)")                                        \
    X(cmp_reads, F_ALL, "cmpl %%ebx, (%%edi)")                                                     \
    X(test_reads, F_ALL, "testl $2, (%%edi)")                                                      \
    X(setcc, F_ALL, "cmpl $0, (%%edi); setne 1(%%edi)")                                            \
    X(movnti, F_ALL, "movntil %%ebx, (%%edi)")                                                     \
    X(movd_xmm, F_ALL, "movd %%ebx, %%xmm1; movd %%xmm1, (%%edi)")                                 \
    X(movq_xmm, F_ALL, "movq (%%esi), %%xmm1; movq %%xmm1, (%%edi)")                               \
    X(movlps, F_ALL, "movups (%%esi), %%xmm1; movlps %%xmm1, (%%edi)")                             \
    X(movups, F_ALL, "movups (%%esi), %%xmm1; movups %%xmm1, (%%edi)")                             \
    X(movaps, F_ALL, "movups (%%esi), %%xmm1; movaps %%xmm1, (%%edi)")                             \
    X(movntdq, F_ALL, "movdqu (%%esi), %%xmm1; movntdq %%xmm1, (%%edi)")                           \
    X(fistp, F_ALL, "fninit; fildll (%%esi); fistpll (%%edi)")                                     \
    X(stosl, F_ALL, "movl %%ebx, %%eax; stosl")                                                    \
    X(stosb, F_ALL, "movb $0x61, %%al; stosb")                                                     \
    X(rep_stosl, F_ALL, "movl %%ebx, %%eax; movl $1, %%ecx; rep stosl")                            \
    X(movsl, F_ALL, "movsl")                                                                       \
    X(rep_movsl, F_ALL, "movl $4, %%ecx; rep movsl")                                               \
    X(rep_movsb, F_ALL, "movl $11, %%ecx; rep movsb")                                              \
    X(push, F_ALL, "movd %%esp, %%xmm2; leal 4(%%edi), %%esp; pushl %%ebx; movd %%xmm2, %%esp")    \
    X(push_imm, F_ALL,                                                                             \
      "movd %%esp, %%xmm2; leal 4(%%edi), %%esp; pushl $0x1000; movd %%xmm2, %%esp")               \
    X(pop, F_ALL, "pushl %%ebx; popl (%%edi)")

/* Flags are loaded whole before: after CMP, QEMU 7.2's CMPXCHG8B takes the operand for the flags.
 */
#define DEFINE(name, flags_, text)                                                                 \
    static void op_##name(struct regs *r, uint64_t p, const void *src)                             \
    {                                                                                              \
        uint32_t a = (uint32_t)r->rax, b = (uint32_t)r->rbx, c = (uint32_t)r->rcx;                 \
        uint32_t d = (uint32_t)r->rdx, flags, to = (uint32_t)p;                                    \
        asm volatile("pushl $0x46; popf; " text "; pushf; pop %4"                                  \
                     : "+a"(a), "+b"(b), "+c"(c), "+d"(d), "=m"(flags), "+D"(to), "+S"(src)        \
                     :                                                                             \
                     : "memory", "cc");                                                            \
        *r = (struct regs){a, b, c, d, flags};                                                     \
    }
