/* Interference of every kind: what is accepted is written, read again and written the same. */
#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/interference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gpulet_error_t err = {""};
    gpulet_interference_t *interference = NULL;
    gpulet_interference_t *again = NULL;
    gpulet_buf_t first = GPULET_BUF_INIT;
    gpulet_buf_t second = GPULET_BUF_INIT;
    if (gpulet_interference_parse(&interference, (const char *)data, size, "i", &err) !=
        GPULET_OK) {
        assert(interference == NULL && err.text[0] != '\0');
        return 0;
    }
    for (size_t i = 0; i < interference->count; i++) {
        const gpulet_interference_row_t *row = &interference->rows[i];
        gpulet_interference_side_t self = {"m", 1, 2, 0.5, 0.25, 0.5};
        gpulet_interference_side_t other = {"n", 1, 8, 0.5, 0.75, 1};
        double factor = gpulet_interference_between(row, &self, &other);
        gpulet_interference_response_t r = gpulet_interference_response(row, &self);
        double apart = gpulet_interference_factor_at(&r, gpulet_interference_pressure(row, &other));
        assert(isnan(factor) || factor >= 1);
        assert(isnan(apart) || apart >= 1);
        assert(isnan(factor) || isinf(factor) || row->kind != GPULET_INTERFERENCE_SENSITIVITY ||
               fabs(apart - factor) <= 1e-9 * factor);
        assert(gpulet_interference_find(interference, row->device) == row);
    }
    assert(gpulet_interference_format_csv(&first, interference) == GPULET_OK);
    assert(gpulet_interference_parse(&again, first.data, first.size, "i", NULL) == GPULET_OK);
    assert(gpulet_interference_format_csv(&second, again) == GPULET_OK);
    assert(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
    gpulet_buf_deinit(&first);
    gpulet_buf_deinit(&second);
    gpulet_interference_destroy(interference);
    gpulet_interference_destroy(again);
    return 0;
}
