/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest entries of every paging format, seen from a shadow page: which guest entry stands behind a
 * spte, its value in one common 64-bit form, its A and D bits. Tested by tools/tests/test_mmu.c. */
#include "hv/mmu/internal.h"

#define PDE32_ADDR 0xffc00000ull /* 4 MiB frame, address bits 31..22 */
#define PSE36_HIGH MASK(20, 13)  /* address bits 39..32 of a 4 MiB page (SDM vol. 3 4.3) */
#define NORM_RESERVED BIT(51)    /* stands for a reserved bit of a format that has other ones */

/* Non-PAE: a table of 1024 4-byte entries is shadowed by 2 (level 1) or 4 (level 2) pages, told
 * apart by the quadrant in their role. A level-2 guest entry covers 4 MiB, that is two sptes. */
static unsigned entry4_index(const struct sp *s, unsigned idx)
{
    unsigned q = ROLE_QUAD_OF(s->role);
    return s->level == 2 ? q * 256 + idx / 2 : q * 512 + idx;
}

gpa_t sp_entry_gpa(const struct sp *s, unsigned idx)
{
    if (s->role & ROLE_4B)
        return gpa((s->gfn.v << PAGE_SHIFT) + entry4_index(s, idx) * 4ull);
    return gpa((s->gfn.v << PAGE_SHIFT) + idx * 8ull);
}

unsigned sp_entry_range(const struct sp *s, gpa_t entry, unsigned *first)
{
    unsigned off = (unsigned)(entry.v & PAGE_MASK);
    if (!(s->role & ROLE_4B)) {
        *first = off / 8;
        return 1;
    }
    unsigned per_page = s->level == 2 ? 256 : 512;
    if (off / 4 / per_page != ROLE_QUAD_OF(s->role))
        return 0; /* another page shadows this half or quarter */
    *first = s->level == 2 ? off / 4 % 256 * 2 : off / 4 % 512;
    return s->level == 2 ? 2 : 1;
}

uint64_t gpte_raw_any(struct mmu *m, const struct sp *s, unsigned idx)
{
    const void *p = p2m_ptr(m->cfg.p2m, sp_entry_gpa(s, idx));
    /* Hostile and concurrent: one atomic load, the copy is checked. Partner: any guest store. */
    if (s->role & ROLE_4B)
        return p ? __atomic_load_n((const uint32_t *)p, __ATOMIC_SEQ_CST) : UINT32_MAX;
    return p ? __atomic_load_n((const uint64_t *)p, __ATOMIC_SEQ_CST) : ~0ull;
}

uint64_t gpte_norm_4b(const struct sp *s, unsigned idx, uint64_t raw)
{
    if (s->level == 1)
        return raw;
    if (!(s->role & ROLE_PSE))
        raw &= ~PTE_PS;
    if (!(raw & PTE_PS))
        return raw;
    uint64_t norm = raw & (PDE32_ADDR | (PTE_PS | PAGE_MASK));
    norm |= (raw & PSE36_HIGH) >> 13 << 32;
    norm |= (uint64_t)(idx & 1) << REGION_SHIFT;
    return raw & BIT(21) ? norm | NORM_RESERVED : norm;
}

bool gpte_mark(struct mmu *m, const struct sp *s, unsigned idx, uint64_t raw, uint64_t bits)
{
    if ((raw | bits) == raw)
        return true;
    void *p = p2m_ptr(m->cfg.p2m, sp_entry_gpa(s, idx));
    if (!p)
        return false;
    /* Against the walked value, in the entry's own width. Only adds rights, so it never posts
     * (README "Accessed and dirty bits"). Partner: producer_exchange, guest stores. */
    if (s->role & ROLE_4B) {
        uint32_t old = (uint32_t)raw;
        return __atomic_compare_exchange_n((uint32_t *)p, &old, (uint32_t)(raw | bits), false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    return __atomic_compare_exchange_n((uint64_t *)p, &raw, raw | bits, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

uint64_t gpte_reserved_4k(const struct mmu *m, uint32_t role)
{
    if (role & ROLE_4B)
        return 0;
    uint64_t rsvd = MASK(51, m->cfg.phys_bits);
    if (!(role & ROLE_NXE))
        rsvd |= PTE_NX;
    return role & ROLE_PAE ? rsvd | MASK(62, 52) : rsvd;
}

/* SDM vol. 3 4.4.2 and 4.5.4: reserved bits of each format. */
bool gpte_reserved(const struct mmu *m, uint32_t role, uint64_t gpte, unsigned level)
{
    if (role & ROLE_4B) /* PSE-36 beyond MAXPHYADDR; bit 21, whatever MAXPHYADDR is */
        return (gpte & PTE_PS) && level == 2 &&
               (gpte & (MASK(51, m->cfg.phys_bits) | NORM_RESERVED));
    uint64_t rsvd = gpte_reserved_4k(m, role);
    if (level == 4)
        rsvd |= PTE_PS;
    else if (level == 3 && (gpte & PTE_PS))
        rsvd |= MASK(29, 13);
    else if (level == 2 && (gpte & PTE_PS))
        rsvd |= MASK(20, 13);
    return (gpte & rsvd) != 0;
}

uint32_t role_child(uint32_t role, uint64_t gpte, unsigned idx)
{
    if (role & ROLE_4B)
        role = (role & ~(uint32_t)ROLE_QUAD_MASK) | ROLE_QUAD(idx & 1);
    if (!(role & ROLE_WP0))
        return role;
    if (!(gpte & PTE_W))
        role &= ~(uint32_t)ROLE_ACC_W;
    if (!(gpte & PTE_U))
        role &= ~(uint32_t)ROLE_ACC_U;
    return role;
}

/* Non-leaf sptes mirror the guest's rights level by level, so that the hardware combines them; with
 * CR0.WP = 0 the rights are combined in the role instead and the leaf decides alone. */
uint64_t gpte_link_rights(uint32_t role, uint64_t gpte)
{
    uint64_t r = PTE_P | PTE_A;
    if (role & ROLE_WP0)
        r |= PTE_W | PTE_U;
    else
        r |= gpte & (PTE_W | PTE_U);
    if (role & ROLE_NXE) /* of the page: a drain repairs those of other modes too */
        r |= gpte & PTE_NX;
    return r;
}
