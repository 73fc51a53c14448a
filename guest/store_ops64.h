/* SPDX-License-Identifier: BSD-2-Clause */
/* The store instructions of group store in 64-bit mode. Tested by store.opcodes. */
#pragma once
#include "guest/guest.h"

/* The table: name, defined flags, text. RDI = the entry, RSI = source in memory; RAX and RDX hold
 * the old entry and its neighbour, RBX and RCX new values for them. */
#define OPS(X)                                                                                     \
    X(mov8, F_ALL, "movb %%bl, (%%rdi)")                                                           \
    X(mov8_high, F_ALL, "movb %%bh, 1(%%rdi)")                                                     \
    X(mov16, F_ALL, "movw %%bx, (%%rdi)")                                                          \
    X(mov32, F_ALL, "movl %%ebx, (%%rdi)")                                                         \
    X(mov32_high, F_ALL, "movl $0x100000, 4(%%rdi)")                                               \
    X(mov64, F_ALL, "movq %%rbx, (%%rdi)")                                                         \
    X(mov64_next, F_ALL, "movq %%rcx, 8(%%rdi)")                                                   \
    X(mov64_imm, F_ALL, "movq $0, (%%rdi)")                                                        \
    X(mov8_imm, F_ALL, "movb $0x61, (%%rdi)")                                                      \
    X(mov64_sib, F_ALL, "movq $1, %%r8; movq %%rbx, (%%rdi,%%r8,8)")                               \
    X(mov_r9, F_ALL, "movq %%rdi, %%r9; movq %%rbx, %%r8; movq %%r8, (%%r9)")                      \
    X(xchg8, F_ALL, "xchgb %%bl, (%%rdi)")                                                         \
    X(xchg32, F_ALL, "xchgl %%ebx, (%%rdi)")                                                       \
    X(xchg64, F_ALL, "xchgq %%rbx, (%%rdi)")                                                       \
    X(cmpxchg64, F_ALL, "lock cmpxchgq %%rbx, (%%rdi)")                                            \
    X(cmpxchg64_fails, F_ALL, "notq %%rax; lock cmpxchgq %%rbx, (%%rdi)")                          \
    X(cmpxchg64_unlocked, F_ALL, "cmpxchgq %%rbx, (%%rdi)")                                        \
    X(cmpxchg32, F_ALL, "lock cmpxchgl %%ebx, (%%rdi)")                                            \
    X(cmpxchg8b, F_ALL, "xorl %%edx, %%edx; xorl %%ecx, %%ecx; lock cmpxchg8b (%%rdi)")            \
    X(cmpxchg8b_fails, F_ALL, "movl $5, %%edx; lock cmpxchg8b (%%rdi)")                            \
    X(cmpxchg16b, F_ALL, "lock cmpxchg16b (%%rdi)")                                                \
    X(cmpxchg16b_fails, F_ALL, "incq %%rdx; lock cmpxchg16b (%%rdi)")                              \
    X(xadd64, F_ALL, "movl $0x1000, %%ebx; lock xaddq %%rbx, (%%rdi)")                             \
    X(xadd32, F_ALL, "movl $0x2000, %%ebx; xaddl %%ebx, (%%rdi)")                                  \
    X(bts_imm, F_CF, "lock btsq $9, (%%rdi)")                                                      \
    X(btr_imm, F_CF, "lock btrl $1, (%%rdi)")                                                      \
    X(btc_imm, F_CF, "lock btcq $52, (%%rdi)")                                                     \
    X(bts_reg, F_CF, "movl $53, %%ecx; lock btsq %%rcx, (%%rdi)")                                  \
    X(btr_next, F_CF, "movl $64, %%ecx; btrq %%rcx, (%%rdi)")                                      \
    X(btc_back, F_CF, "movq $-52, %%rcx; btcq %%rcx, 8(%%rdi)")                                    \
    X(bt_reads, F_CF, "btq $1, (%%rdi)")                                                           \
    X(and64, F_ALL, "movq $~2, %%rbx; lock andq %%rbx, (%%rdi)")                                   \
    X(and8_imm, F_ALL, "andb $0xfd, (%%rdi)")                                                      \
    X(or32_imm, F_ALL, "lock orl $0x200, (%%rdi)")                                                 \
    X(or64, F_ALL, "movq $0x400, %%rbx; orq %%rbx, (%%rdi)")                                       \
    X(xor64, F_ALL, "movq $0x1000, %%rbx; xorq %%rbx, (%%rdi)")                                    \
    X(add64_imm, F_ALL, "addq $0x1000, (%%rdi)")                                                   \
    X(add_next, F_ALL, "lock addq $0x2000, 8(%%rdi)")                                              \
    X(sub64, F_ALL, "movq $0x1000, %%rbx; subq %%rbx, 8(%%rdi)")                                   \
    X(adc8, F_ALL, "stc; adcb $0, 7(%%rdi)")                                                       \
    X(sbb8, F_ALL, "stc; movb $0, %%bl; sbbb %%bl, 1(%%rdi)")                                      \
    X(inc8, F_ALL, "stc; lock incb 7(%%rdi)")                                                      \
    X(dec16, F_ALL, "decw (%%rdi)")                                                                \
    X(not8, F_ALL, "notb 7(%%rdi)")                                                                \
    X(neg32, F_ALL, "negl 4(%%rdi)")                                                               \
    X(shl8, RFLAGS_CF, "movb $2, 7(%%rdi); shlb $1, 7(%%rdi)")                                     \
    X(ror16_cl, RFLAGS_CF, "movb $4, %%cl; rorw %%cl, 6(%%rdi)")                                   \
    X(cmp_reads, F_ALL, "cmpq %%rbx, (%%rdi)")                                                     \
    X(test_reads, F_ALL, "testl $2, (%%rdi)")                                                      \
    X(setcc, F_ALL, "cmpl $0, (%%rdi); setne 7(%%rdi)")                                            \
    X(movnti, F_ALL, "movntiq %%rbx, (%%rdi)")                                                     \
    X(movq_xmm, F_ALL, "movq %%rbx, %%xmm1; movq %%xmm1, (%%rdi)")                                 \
    X(movd_xmm, F_ALL, "movd %%ebx, %%xmm1; movd %%xmm1, (%%rdi)")                                 \
    X(movlps, F_ALL, "movups (%%rsi), %%xmm1; movlps %%xmm1, (%%rdi)")                             \
    X(movups, F_ALL, "movups (%%rsi), %%xmm1; movups %%xmm1, (%%rdi)")                             \
    X(movaps, F_ALL, "movups (%%rsi), %%xmm1; movaps %%xmm1, (%%rdi)")                             \
    X(movdqu, F_ALL, "movdqu (%%rsi), %%xmm1; movdqu %%xmm1, (%%rdi)")                             \
    X(movntdq, F_ALL, "movdqu (%%rsi), %%xmm1; movntdq %%xmm1, (%%rdi)")                           \
    X(fistp, F_ALL, "fninit; fildll (%%rsi); fistpll (%%rdi)")                                     \
    X(stosq, F_ALL, "movq %%rbx, %%rax; stosq")                                                    \
    X(stosb, F_ALL, "movb $0x61, %%al; stosb")                                                     \
    X(rep_stosq, F_ALL, "movq %%rbx, %%rax; movl $2, %%ecx; rep stosq")                            \
    X(movsq, F_ALL, "movsq")                                                                       \
    X(rep_movsl, F_ALL, "movl $4, %%ecx; rep movsl")                                               \
    X(rep_movsb, F_ALL, "movl $11, %%ecx; rep movsb")                                              \
    X(push, F_ALL, "movq %%rsp, %%r8; leaq 8(%%rdi), %%rsp; pushq %%rbx; movq %%r8, %%rsp")        \
    X(push_imm, F_ALL, "movq %%rsp, %%r8; leaq 8(%%rdi), %%rsp; pushq $0x1000; movq %%r8, %%rsp")  \
    X(pop, F_ALL, "pushq %%rbx; popq (%%rdi)")                                                     \
    X(mov_seg, F_ALL, "movw %%ds, 6(%%rdi); movw $0, 6(%%rdi)")

#define DEFINE(name, flags_, text)                                                                 \
    static void op_##name(struct regs *r, uint64_t p, const void *src)                             \
    {                                                                                              \
        uint64_t flags;                                                                            \
        asm volatile("xorl %%r8d, %%r8d; " text "; pushfq; popq %4"                                \
                     : "+a"(r->rax), "+b"(r->rbx), "+c"(r->rcx), "+d"(r->rdx), "=&r"(flags),       \
                       "+D"(p), "+S"(src)                                                          \
                     :                                                                             \
                     : "r8", "r9", "memory", "cc");                                                \
        r->flags = flags;                                                                          \
    }
