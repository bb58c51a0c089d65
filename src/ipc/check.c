#include "ipc/check.h"

#include <assert.h>
#include <string.h>

_Static_assert(sizeof(gpulet_wire_span_t) == 24, "layout of a span");
_Static_assert(sizeof(gpulet_record_run_t) == 32, "layout of a run");
_Static_assert(sizeof(gpulet_record_release_t) == 16, "layout of a release");
_Static_assert(sizeof(gpulet_record_done_t) == 64 + GPULET_WIRE_ERROR_MAX + 1, "layout of a done");
_Static_assert(sizeof(gpulet_wire_tensor_t) == 88, "layout of a tensor");

static bool status_known(int32_t status)
{
    return strcmp(gpulet_status_name((gpulet_status_t)status), "E_UNKNOWN") != 0;
}

gpulet_status_t gpulet_done_read(gpulet_record_done_t *out, const void *record, size_t size,
                                 gpulet_error_t *err)
{
    gpulet_record_done_t done = {0};
    const size_t least = offsetof(gpulet_record_done_t, error);
    if (size < least || size > sizeof(done))
        return gpulet_fail(err, GPULET_E_INVALID, "a record of %zu bytes", size);
    memcpy(&done, record, size);
    done.error[GPULET_WIRE_ERROR_MAX] = '\0';
    if (done.kind != GPULET_RECORD_DONE)
        return gpulet_fail(err, GPULET_E_INVALID, "a record of kind %u", done.kind);
    if (!status_known(done.status))
        return gpulet_fail(err, GPULET_E_INVALID, "status %d", (int)done.status);
    if ((done.status == GPULET_OK) != (done.output.size > 0))
        return gpulet_fail(err, GPULET_E_INVALID, "status %d with %llu bytes of output",
                           (int)done.status, (unsigned long long)done.output.size);
    *out = done;
    return GPULET_OK;
}

gpulet_status_t gpulet_span_check(const gpulet_wire_span_t *span, uint64_t segment_size,
                                  gpulet_error_t *err)
{
    if (span->offset > segment_size || span->size > segment_size - span->offset ||
        span->offset % GPULET_WIRE_ALIGN != 0 || span->size < sizeof(gpulet_wire_tensors_t))
        return gpulet_fail(err, GPULET_E_INVALID,
                           "a span of %llu bytes at %llu in a segment of %llu bytes",
                           (unsigned long long)span->size, (unsigned long long)span->offset,
                           (unsigned long long)segment_size);
    return GPULET_OK;
}

static gpulet_status_t tensor_check(const gpulet_wire_tensor_t *t, const gpulet_tensor_spec_t *spec,
                                    uint64_t table, uint64_t size, gpulet_error_t *err)
{
    gpulet_shape_t shape = {.rank = t->rank};
    uint64_t elements = 0;
    if (t->type != (uint32_t)spec->type)
        return gpulet_fail(err, GPULET_E_INVALID, "tensor '%s' has type %u and not %s", spec->name,
                           t->type, gpulet_datatype_name(spec->type));
    if (t->rank > GPULET_RANK_MAX)
        return gpulet_fail(err, GPULET_E_INVALID, "tensor '%s' has rank %u", spec->name, t->rank);
    memcpy(shape.dims, t->dims, sizeof(shape.dims));
    if (gpulet_shape_elements(&elements, &shape) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_INVALID, "tensor '%s' has an impossible shape",
                           spec->name);
    if (t->offset < table || t->offset > size || t->size > size - t->offset ||
        t->offset % GPULET_WIRE_ALIGN != 0)
        return gpulet_fail(err, GPULET_E_INVALID, "tensor '%s' lies outside its span", spec->name);
    size_t element = gpulet_datatype_size(spec->type);
    /* No overflow: both are bounded by the size of a mapping once divided. */
    bool fits = element == 0 ? elements <= t->size / 4
                             : t->size % element == 0 && elements == t->size / element;
    if (!fits)
        return gpulet_fail(err, GPULET_E_INVALID, "tensor '%s' has %llu bytes for %llu elements",
                           spec->name, (unsigned long long)t->size, (unsigned long long)elements);
    return GPULET_OK;
}

gpulet_status_t gpulet_tensors_read(gpulet_tensor_view_t *out,
                                    const gpulet_tensors_expected_t *expected, void *base,
                                    uint64_t size, gpulet_error_t *err)
{
    gpulet_wire_tensors_t head;
    gpulet_wire_tensor_t tensors[GPULET_MODEL_IO_MAX];
    const uint32_t count = expected->count;
    assert(count <= GPULET_MODEL_IO_MAX);
    uint64_t table = sizeof(head) + (uint64_t)count * sizeof(tensors[0]);
    if (size < table)
        return gpulet_fail(err, GPULET_E_INVALID, "a span of %llu bytes for %u tensors",
                           (unsigned long long)size, count);
    memcpy(&head, base, sizeof(head));
    memcpy(tensors, (const uint8_t *)base + sizeof(head), count * sizeof(tensors[0]));
    __asm__ volatile("" ::: "memory"); /* The copy is judged, never the shared bytes. */
    if (head.count != count)
        return gpulet_fail(err, GPULET_E_INVALID, "%u tensors instead of %u", head.count, count);
    for (uint32_t i = 0; i < count; i++) {
        const gpulet_wire_tensor_t *w = &tensors[i];
        memset(&out[i], 0, sizeof(out[i]));
        if (expected->absent_allowed && w->type == GPULET_DATATYPE_INVALID)
            continue;
        gpulet_status_t st = tensor_check(w, &expected->specs[i], table, size, err);
        if (st != GPULET_OK)
            return st;
        out[i].type = expected->specs[i].type;
        out[i].shape.rank = w->rank;
        memcpy(out[i].shape.dims, w->dims, w->rank * sizeof(w->dims[0]));
        out[i].data = (uint8_t *)base + w->offset;
        out[i].size = (size_t)w->size;
    }
    return GPULET_OK;
}

static uint64_t aligned(uint64_t size)
{
    return (size + GPULET_WIRE_ALIGN - 1) & ~(uint64_t)(GPULET_WIRE_ALIGN - 1);
}

uint64_t gpulet_tensors_layout(uint64_t *offsets, const uint64_t *sizes, uint32_t count)
{
    uint64_t at =
        aligned(sizeof(gpulet_wire_tensors_t) + (uint64_t)count * sizeof(gpulet_wire_tensor_t));
    for (uint32_t i = 0; i < count; i++) {
        if (offsets != NULL)
            offsets[i] = at;
        at = aligned(at + sizes[i]);
    }
    return at;
}
