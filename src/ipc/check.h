/* Checks of what the other side wrote into shared memory: done records and tables of tensors.
 * Everything is copied to private memory first and judged there. Thread-safe: no state. */
#ifndef GPULET_IPC_CHECK_H
#define GPULET_IPC_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/tensor.h"
#include "ipc/wire.h"

/* A record as it came out of the ring. E_INVALID: no done record, a status outside the table, an
 * output with an error or none without. */
gpulet_status_t gpulet_done_read(gpulet_record_done_t *out, const void *record, size_t size,
                                 gpulet_error_t *err) GPULET_MUST_USE;
/* E_INVALID unless the span lies within a segment of segment_size bytes and is aligned to
 * GPULET_WIRE_ALIGN. */
gpulet_status_t gpulet_span_check(const gpulet_wire_span_t *span, uint64_t segment_size,
                                  gpulet_error_t *err) GPULET_MUST_USE;
/* What the tensors of a span must be. */
typedef struct gpulet_tensors_expected {
    const gpulet_tensor_spec_t *specs;
    uint32_t count;
    bool absent_allowed; /* type INVALID makes a view without data */
} gpulet_tensors_expected_t;

/* Makes views of the tensors of a span (at base, size bytes, already checked against its segment).
 * There must be exactly as many as expected; types are those of the specifications, ranks at most
 * GPULET_RANK_MAX, dimensions not negative, sizes exact (BYTES: at least 4 bytes an element; their
 * lengths are not walked), everything within the span. */
gpulet_status_t gpulet_tensors_read(gpulet_tensor_view_t *out,
                                    const gpulet_tensors_expected_t *expected, void *base,
                                    uint64_t size, gpulet_error_t *err) GPULET_MUST_USE;

/* Layout of a span being made: where tensor i begins, from the sizes of all; returns the whole
 * size. offsets may be NULL. */
uint64_t gpulet_tensors_layout(uint64_t *offsets, const uint64_t *sizes, uint32_t count);

#endif
