/* What a row of a table by model and batch is found by: the first member of such a row, so that
 * rows of different kinds are sorted and checked alike. Pure; any thread. */
#ifndef GPULET_CORE_BATCH_KEY_H
#define GPULET_CORE_BATCH_KEY_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/csv.h"
#include "core/profile.h"

typedef struct gpulet_batch_key {
    char model[GPULET_PROFILE_NAME_MAX + 1];
    uint32_t batch;
    size_t line; /* of the file, for errors */
} gpulet_batch_key_t;

/* From two columns of the row that was read last. */
gpulet_status_t gpulet_batch_key_read(gpulet_batch_key_t *out, const gpulet_csv_t *csv, int model,
                                      int batch, gpulet_error_t *err) GPULET_MUST_USE;

/* Sorts rows of `row_size` bytes, each of which begins with its key, by model, then batch.
 * E_INVALID names the second line of a batch that a model has twice. */
gpulet_status_t gpulet_batch_keys_sort(void *rows, size_t count, size_t row_size, const char *file,
                                       gpulet_error_t *err) GPULET_MUST_USE;

#endif
