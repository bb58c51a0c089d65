#include "core/batch_key.h"

#include <stdlib.h>
#include <string.h>

static int compare_keys(const void *left, const void *right)
{
    const gpulet_batch_key_t *a = left;
    const gpulet_batch_key_t *b = right;
    int order = strcmp(a->model, b->model);
    if (order == 0 && a->batch != b->batch)
        order = a->batch < b->batch ? -1 : 1;
    return order != 0 ? order : (a->line < b->line ? -1 : a->line > b->line);
}

gpulet_status_t gpulet_batch_key_read(gpulet_batch_key_t *out, const gpulet_csv_t *csv, int model,
                                      int batch, gpulet_error_t *err)
{
    gpulet_status_t st = gpulet_csv_name(csv, model, GPULET_PROFILE_NAME_MAX, err);
    if (st != GPULET_OK)
        return st;
    memcpy(out->model, csv->fields[model].text, csv->fields[model].len + 1);
    out->line = csv->line;
    return gpulet_csv_u32(csv, batch, &out->batch, 1, GPULET_PROFILE_BATCH_MAX, err);
}

gpulet_status_t gpulet_batch_keys_sort(void *rows, size_t count, size_t row_size, const char *file,
                                       gpulet_error_t *err)
{
    if (count > 1)
        qsort(rows, count, row_size, compare_keys);
    for (size_t i = 1; i < count; i++) {
        const void *second = (const char *)rows + i * row_size;
        const gpulet_batch_key_t *a = (const void *)((const char *)second - row_size);
        const gpulet_batch_key_t *b = second;
        if (strcmp(a->model, b->model) == 0 && a->batch == b->batch)
            return gpulet_fail(err, GPULET_E_INVALID,
                               "%s:%zu: batch: expected each batch of %s once, found %u again "
                               "(first in line %zu)",
                               file, b->line, b->model, b->batch, a->line);
    }
    return GPULET_OK;
}
