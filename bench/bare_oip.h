/* The JSON head of an inference request, as far as the bare server needs it: names, datatypes,
 * shapes and sizes of binary inputs.
 *
 * A scanner without allocation over the caller's bytes. Thread-safe: no state. */
#ifndef GPULET_BENCH_BARE_OIP_H
#define GPULET_BENCH_BARE_OIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/tensor.h"

enum { GPULET_BARE_INPUTS_MAX = 8 };

typedef struct gpulet_bare_input {
    const char *name; /* borrowed from the request's bytes, not terminated */
    size_t name_size;
    gpulet_tensor_view_t tensor; /* size is binary_data_size; data is the caller's to fill */
} gpulet_bare_input_t;

typedef struct gpulet_bare_head {
    uint32_t inputs_count;
    gpulet_bare_input_t inputs[GPULET_BARE_INPUTS_MAX];
} gpulet_bare_head_t;

/* False when it is not JSON of that form or has more than GPULET_BARE_INPUTS_MAX inputs. */
bool gpulet_bare_head_parse(gpulet_bare_head_t *out, const char *text, size_t size);

#endif
