/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest memory as the emulator sees it: by gva with permissions, page crossings and page-fault
 * results, all stores through the producer. Tested by tools/tests/test_mmu.c. */
#pragma once
#include "hv/mmu/mmu.h"

/* Reads n bytes (1..64) at va. access: PFEC_U/PFEC_I/ACCESS_AC. HV_FAULT: *fault; HV_MMIO: a byte
 * is not RAM (*at: its gpa), nothing read. RAM is read once, aligned 1/2/4/8-byte pieces
 * atomically. */
enum hv_err gmem_read(struct mmu *m, gva_t va, void *buf, size_t n, uint32_t access,
                      struct guest_fault *fault, gpa_t *at) HV_MUST_CHECK;
/* Writes n bytes (1..64). Both pages of a crossing are checked before either is written. */
enum hv_err gmem_write(struct mmu *m, gva_t va, const void *buf, size_t n, uint32_t access,
                       struct guest_fault *fault, gpa_t *at) HV_MUST_CHECK;
/* Atomic compare-exchange of `width` (1, 2, 4, 8) bytes inside one 8-byte granule. *old: value
 * found, *stored: whether it was replaced. HV_UNSUPPORTED if it crosses 8 bytes. */
enum hv_err gmem_cmpxchg(struct mmu *m, gva_t va, unsigned width, uint64_t expected, uint64_t value,
                         uint32_t access, uint64_t *old, bool *stored, struct guest_fault *fault,
                         gpa_t *at) HV_MUST_CHECK;
/* Atomic exchange of `width` bytes, otherwise like gmem_cmpxchg; plain MOV stores use this too. */
enum hv_err gmem_xchg(struct mmu *m, gva_t va, unsigned width, uint64_t value, uint32_t access,
                      uint64_t *old, struct guest_fault *fault, gpa_t *at) HV_MUST_CHECK;
/* A plain store of 8 bytes to RAM at `at`, where mmu_fault has just said that the guest's goes, and
 * the last of its instruction: this CPU's own shadow follows at once, other CPUs are posted to as
 * ever. false: not RAM, or not aligned; nothing is stored. */
bool gmem_store_entry(struct mmu *m, gpa_t at, uint64_t value) HV_MUST_CHECK;
/* By gpa, no translation: bulk copy to or from RAM (string I/O buffers, kvm-clock page, loaders at
 * run time). HV_RANGE if any byte is not RAM, nothing copied. */
enum hv_err gmem_read_gpa(struct mmu *m, gpa_t at, void *buf, size_t n) HV_MUST_CHECK;
enum hv_err gmem_write_gpa(struct mmu *m, gpa_t at, const void *buf, size_t n) HV_MUST_CHECK;
/* One aligned value of `width` (1, 2, 4, 8) bytes, in one piece; a full fence lies behind the store
 * (it is a locked exchange). HV_RANGE also if it is not aligned. */
enum hv_err gmem_store_gpa(struct mmu *m, gpa_t at, unsigned width, uint64_t value) HV_MUST_CHECK;
/* Atomic exchange of a byte. HV_RANGE: not RAM. */
enum hv_err gmem_xchg_gpa(struct mmu *m, gpa_t at, uint8_t value, uint8_t *old) HV_MUST_CHECK;
