#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "worker/work.h"

enum { WAIT_MS = 100 };

/* Large outputs in flight may take this much before the worker waits for releases; a single one may
 * be larger. */
#define LARGE_BUSY_MAX (UINT64_C(1) << 30)

static uint64_t power_of_two(uint64_t size)
{
    uint64_t p = 1;
    while (p < size)
        p <<= 1;
    return p;
}

static gpulet_work_output_t *large_find_idle(gpulet_work_t *work, uint64_t size)
{
    for (uint32_t i = 0; i < work->outputs_count; i++) {
        if (!work->outputs[i].busy && work->outputs[i].size == size)
            return &work->outputs[i];
    }
    return NULL;
}

/* A new segment, told to the server before anything can refer to it. */
static gpulet_status_t large_add(gpulet_work_output_t **out, gpulet_work_t *work, uint64_t size,
                                 gpulet_error_t *err)
{
    void *base = NULL;
    if (work->outputs_count == work->outputs_cap) {
        uint32_t cap = work->outputs_cap == 0 ? 8 : work->outputs_cap * 2;
        gpulet_work_output_t *grown = realloc(work->outputs, cap * sizeof(*grown));
        if (grown == NULL)
            return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
        work->outputs = grown;
        work->outputs_cap = cap;
    }
    gpulet_work_output_t *o = &work->outputs[work->outputs_count];
    gpulet_status_t st = gpulet_large_create(&o->fd, &base, "gpulet-output-large", size, err);
    if (st != GPULET_OK)
        return st;
    o->segment = ++work->segment_last;
    o->base = base;
    o->size = size;
    o->busy = false;
    work->outputs_count++;
    const gpulet_control_t message = {
        .kind = GPULET_CONTROL_LARGE, .segment = o->segment, .size = size};
    gpulet_work_send(work, &message, o->fd);
    *out = o;
    return GPULET_OK;
}

/* Forgets segment i and tells the server. */
static void large_remove(gpulet_work_t *work, uint32_t i)
{
    gpulet_work_output_t *o = &work->outputs[i];
    const gpulet_control_t message = {.kind = GPULET_CONTROL_GONE, .segment = o->segment};
    gpulet_work_send(work, &message, -1);
    (void)munmap(o->base, (size_t)o->size);
    (void)close(o->fd);
    *o = work->outputs[--work->outputs_count];
}

/* E_FULL: too much is in flight. */
static gpulet_status_t large_alloc(gpulet_wire_span_t *span_out, uint8_t **base_out,
                                   gpulet_work_t *work, uint64_t size, gpulet_error_t *err)
{
    uint64_t rounded = power_of_two(size);
    if (work->large_busy_bytes > 0 && work->large_busy_bytes + rounded > LARGE_BUSY_MAX)
        return GPULET_E_FULL;
    gpulet_work_output_t *o = large_find_idle(work, rounded);
    if (o == NULL) {
        gpulet_status_t st = large_add(&o, work, rounded, err);
        if (st != GPULET_OK)
            return st;
    }
    assert(o != NULL);
    o->busy = true;
    work->large_busy_bytes += o->size;
    *span_out = (gpulet_wire_span_t){.segment = o->segment, .size = size};
    *base_out = o->base;
    return GPULET_OK;
}

static gpulet_status_t output_try(gpulet_wire_span_t *span_out, uint8_t **base_out,
                                  gpulet_work_t *work, uint64_t size, gpulet_error_t *err)
{
    uint64_t offset = 0;
    if (size > GPULET_SLAB_SLOT_MAX)
        return large_alloc(span_out, base_out, work, size, err);
    gpulet_status_t st = gpulet_slab_alloc(&offset, work->slab, (size_t)size);
    if (st != GPULET_OK)
        return st == GPULET_E_FULL ? st : gpulet_fail(err, st, "out of memory");
    *span_out = (gpulet_wire_span_t){.offset = offset, .size = size};
    *base_out = (uint8_t *)gpulet_slab_base(work->slab) + offset;
    return GPULET_OK;
}

gpulet_status_t gpulet_work_output_alloc(gpulet_wire_span_t *span_out, uint8_t **base_out,
                                         gpulet_work_t *work, uint64_t size, gpulet_error_t *err)
{
    for (;;) {
        gpulet_status_t st = output_try(span_out, base_out, work, size, err);
        if (st != GPULET_E_FULL)
            return st;
        if (work->closed)
            return gpulet_fail(err, GPULET_E_CLOSED, "the server is gone");
        /* The server releases what it has sent, sooner or later; each release is in the ring. */
        gpulet_work_wait(work, WAIT_MS);
        gpulet_work_pump(work);
    }
}

void gpulet_work_output_free(gpulet_work_t *work, uint32_t segment, uint64_t offset)
{
    if (segment == 0) {
        gpulet_slab_free(work->slab, offset);
        return;
    }
    for (uint32_t i = 0; i < work->outputs_count; i++) {
        if (work->outputs[i].segment != segment)
            continue;
        assert(work->outputs[i].busy);
        work->outputs[i].busy = false;
        work->large_busy_bytes -= work->outputs[i].size;
        return;
    }
    assert(false && "the server released a segment that it was never given");
}

void gpulet_work_outputs_trim(gpulet_work_t *work)
{
    for (uint32_t i = work->outputs_count; i-- > 0;) {
        if (!work->outputs[i].busy)
            large_remove(work, i);
    }
    gpulet_slab_trim(work->slab);
}

void gpulet_work_outputs_deinit(gpulet_work_t *work)
{
    for (uint32_t i = 0; i < work->outputs_count; i++) {
        (void)munmap(work->outputs[i].base, (size_t)work->outputs[i].size);
        (void)close(work->outputs[i].fd);
    }
    free(work->outputs);
    gpulet_slab_destroy(work->slab);
}
