/* What every engine checks before the work starts, so that no library ever sees an input it would
 * take for granted.
 *
 * Thread-safe: no state. */
#ifndef GPULET_ENGINE_CHECK_H
#define GPULET_ENGINE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/tensor.h"

/* inputs[i] against io->inputs[i]: type, rank, dimensions, data not NULL (unless it has no bytes),
 * exact size, and for BYTES the layout. E_INVALID with a text that names the input. */
gpulet_status_t gpulet_engine_check_inputs(const gpulet_model_io_t *io,
                                           const gpulet_tensor_view_t *inputs,
                                           gpulet_error_t *err) GPULET_MUST_USE;

/* Bytes of a dense tensor; false when the shape is not fully known, the type is BYTES, or the
 * product overflows. */
bool gpulet_engine_dense_size(size_t *out, gpulet_datatype_t type, const gpulet_shape_t *shape);

/* The next element of a serialised BYTES tensor: *cursor moves behind it. false when the bytes
 * before end do not hold a whole one. */
bool gpulet_engine_bytes_next(const uint8_t **data_out, uint32_t *len_out, const uint8_t **cursor,
                              const uint8_t *end);

#endif
