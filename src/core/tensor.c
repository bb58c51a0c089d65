#include "core/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct datatype_row {
    const char *name;
    size_t size;
    int onnx;
} datatype_row_t;

static const datatype_row_t datatypes[] = {{"INVALID", 0, 0},
#define DATATYPE_ROW(name, size, onnx) {#name, size, onnx},
                                           GPULET_DATATYPE_MAP(DATATYPE_ROW)
#undef DATATYPE_ROW
};

static const datatype_row_t *row_of(gpulet_datatype_t type)
{
    size_t index = (size_t)type;
    return &datatypes[index < GPULET_DATATYPE_COUNT ? index : 0];
}

const char *gpulet_datatype_name(gpulet_datatype_t type)
{
    return row_of(type)->name;
}

gpulet_datatype_t gpulet_datatype_parse(const char *name, size_t name_len)
{
    for (size_t i = 1; i < GPULET_DATATYPE_COUNT; i++) {
        if (strlen(datatypes[i].name) == name_len && memcmp(datatypes[i].name, name, name_len) == 0)
            return (gpulet_datatype_t)i;
    }
    return GPULET_DATATYPE_INVALID;
}

size_t gpulet_datatype_size(gpulet_datatype_t type)
{
    return row_of(type)->size;
}

gpulet_datatype_t gpulet_datatype_from_onnx(int onnx_type)
{
    for (size_t i = 1; i < GPULET_DATATYPE_COUNT; i++) {
        if (datatypes[i].onnx == onnx_type)
            return (gpulet_datatype_t)i;
    }
    return GPULET_DATATYPE_INVALID;
}

int gpulet_datatype_to_onnx(gpulet_datatype_t type)
{
    return row_of(type)->onnx;
}

bool gpulet_shape_equal(const gpulet_shape_t *a, const gpulet_shape_t *b)
{
    return a->rank == b->rank && memcmp(a->dims, b->dims, a->rank * sizeof(a->dims[0])) == 0;
}

bool gpulet_shape_matches(const gpulet_shape_t *spec, const gpulet_shape_t *shape)
{
    if (spec->rank != shape->rank)
        return false;
    for (uint32_t i = 0; i < spec->rank; i++) {
        if (spec->dims[i] != -1 && spec->dims[i] != shape->dims[i])
            return false;
    }
    return true;
}

gpulet_status_t gpulet_shape_elements(uint64_t *out, const gpulet_shape_t *shape)
{
    int64_t product = 1;
    for (uint32_t i = 0; i < shape->rank; i++) {
        if (shape->dims[i] < 0)
            return GPULET_E_INVALID;
        if (__builtin_mul_overflow(product, shape->dims[i], &product))
            return GPULET_E_TOO_LARGE;
    }
    *out = (uint64_t)product;
    return GPULET_OK;
}

const char *gpulet_shape_format(char *text, size_t text_size, const gpulet_shape_t *shape)
{
    size_t used = 0;
    int written = snprintf(text, text_size, "[");
    for (uint32_t i = 0; i < shape->rank && written >= 0; i++) {
        used += (size_t)written;
        if (used >= text_size)
            return text;
        written = snprintf(text + used, text_size - used, i == 0 ? "%lld" : ",%lld",
                           (long long)shape->dims[i]);
    }
    used += written > 0 ? (size_t)written : 0;
    if (used < text_size)
        (void)snprintf(text + used, text_size - used, "]");
    return text;
}

static gpulet_status_t copy_specs(gpulet_tensor_spec_t **out, const gpulet_tensor_spec_t *specs,
                                  uint32_t count)
{
    *out = calloc(count == 0 ? 1 : count, sizeof(**out));
    if (*out == NULL)
        return GPULET_E_NOMEM;
    if (count > 0)
        memcpy(*out, specs, count * sizeof(*specs));
    return GPULET_OK;
}

gpulet_status_t gpulet_model_io_copy(gpulet_model_io_t *out, const gpulet_model_io_t *io)
{
    gpulet_model_io_t copy = {.inputs_count = io->inputs_count, .outputs_count = io->outputs_count};
    gpulet_status_t st = copy_specs(&copy.inputs, io->inputs, io->inputs_count);
    if (st == GPULET_OK)
        st = copy_specs(&copy.outputs, io->outputs, io->outputs_count);
    if (st != GPULET_OK)
        gpulet_model_io_deinit(&copy);
    *out = copy;
    return st;
}

void gpulet_model_io_deinit(gpulet_model_io_t *io)
{
    free(io->inputs);
    free(io->outputs);
    memset(io, 0, sizeof(*io));
}
