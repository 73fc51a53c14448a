/* SPDX-License-Identifier: BSD-2-Clause */
/* Virtual devices at work, between exits: with this CPU's way into guest memory, where each store
 * is a producer's. Tested by tools/tests/test_virtio_mem.c. */
#include "hv/mmu/gmem.h"
#include "hv/port/cpu.h"
#include "hv/port/iommu.h"
#include "hv/subvmm/life.h"
#include "hv/vdev/virtio/virtio.h"
#include "hv/vm/vm.h"

static enum hv_err mem_read(void *ctx, gpa_t at, void *buf, size_t n)
{
    return gmem_read_gpa(ctx, at, buf, n);
}

static enum hv_err mem_write(void *ctx, gpa_t at, const void *buf, size_t n)
{
    return gmem_write_gpa(ctx, at, buf, n);
}

static enum hv_err mem_store(void *ctx, gpa_t at, unsigned width, uint64_t value)
{
    return gmem_store_gpa(ctx, at, width, value);
}

void devices_arrived(struct subvmm *s)
{
    if (s->vm->pass)
        pass_arrivals(s->vm->pass, s->cpu);
    if (port_cpu() == 0)
        port_iommu_faults();
}

void devices_run(struct subvmm *s)
{
    struct virtio_host *h = s->vm->virtio;
    if (!h || (!s->devices_called && !virtio_todo(h, s->cpu)))
        return;
    const struct vmem m = {
        .ctx = &s->mmu, .read = mem_read, .write = mem_write, .store = mem_store};
    s->devices_called = false;
    s->devices_more = virtio_run(h, s->cpu, &m);
}
