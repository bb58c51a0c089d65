/* Measured pairs: what is accepted is written, read again and written the same. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "core/pairs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gpulet_error_t err = {""};
    gpulet_pairs_t *pairs = NULL;
    gpulet_pairs_t *again = NULL;
    gpulet_buf_t first = GPULET_BUF_INIT;
    gpulet_buf_t second = GPULET_BUF_INIT;
    if (gpulet_pairs_parse(&pairs, (const char *)data, size, "p", &err) != GPULET_OK) {
        assert(pairs == NULL && err.text[0] != '\0');
        return 0;
    }
    for (size_t i = 0; i < pairs->count; i++)
        assert(pairs->items[i].slowdown > 0 && pairs->items[i].self.batch > 0 &&
               pairs->items[i].other.units > 0);
    assert(gpulet_pairs_format_csv(&first, pairs) == GPULET_OK);
    assert(gpulet_pairs_parse(&again, first.data, first.size, "p", NULL) == GPULET_OK);
    assert(again->count == pairs->count);
    assert(gpulet_pairs_format_csv(&second, again) == GPULET_OK);
    assert(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
    gpulet_buf_deinit(&first);
    gpulet_buf_deinit(&second);
    gpulet_pairs_destroy(pairs);
    gpulet_pairs_destroy(again);
    return 0;
}
