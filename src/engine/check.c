#include "engine/check.h"

#include <inttypes.h>
#include <string.h>

enum { SHAPE_TEXT_MAX = 192 };

bool gpulet_engine_dense_size(size_t *out, gpulet_datatype_t type, const gpulet_shape_t *shape)
{
    uint64_t elements;
    size_t size = gpulet_datatype_size(type);
    if (size == 0 || shape->rank > GPULET_RANK_MAX)
        return false;
    if (gpulet_shape_elements(&elements, shape) != GPULET_OK)
        return false;
    return !__builtin_mul_overflow(elements, size, out);
}

bool gpulet_engine_bytes_next(const uint8_t **data_out, uint32_t *len_out, const uint8_t **cursor,
                              const uint8_t *end)
{
    uint32_t len;
    size_t left = (size_t)(end - *cursor);
    if (left < sizeof(len))
        return false;
    memcpy(&len, *cursor, sizeof(len));
    if (left - sizeof(len) < len)
        return false;
    *data_out = *cursor + sizeof(len);
    *len_out = len;
    *cursor += sizeof(len) + len;
    return true;
}

static gpulet_status_t check_bytes(const char *name, const gpulet_tensor_view_t *input,
                                   uint64_t elements, gpulet_error_t *err)
{
    const uint8_t *cursor = input->data;
    const uint8_t *data;
    uint32_t len;
    if (cursor == NULL)
        return GPULET_OK; /* it has no bytes and no elements: the caller made sure */
    const uint8_t *end = cursor + input->size;
    for (uint64_t i = 0; i < elements; i++) {
        if (!gpulet_engine_bytes_next(&data, &len, &cursor, end))
            return gpulet_fail(err, GPULET_E_INVALID,
                               "input \"%s\": element %" PRIu64 " of %" PRIu64
                               " runs past the end of its %zu bytes",
                               name, i, elements, input->size);
    }
    if (cursor != end)
        return gpulet_fail(err, GPULET_E_INVALID, "input \"%s\": %zu bytes follow its last element",
                           name, (size_t)(end - cursor));
    return GPULET_OK;
}

static gpulet_status_t check_size(const char *name, const gpulet_tensor_view_t *input,
                                  gpulet_error_t *err)
{
    uint64_t elements;
    size_t size = 0;
    if (gpulet_shape_elements(&elements, &input->shape) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_INVALID, "input \"%s\": its shape is absurd", name);
    bool is_bytes = input->type == GPULET_DATATYPE_BYTES;
    if (!is_bytes && !gpulet_engine_dense_size(&size, input->type, &input->shape))
        return gpulet_fail(err, GPULET_E_INVALID, "input \"%s\": its shape is absurd", name);
    if (!is_bytes && input->size != size)
        return gpulet_fail(err, GPULET_E_INVALID, "input \"%s\": has %zu bytes, not %zu", name,
                           input->size, size);
    if (input->data == NULL && (input->size > 0 || elements > 0))
        return gpulet_fail(err, GPULET_E_INVALID, "input \"%s\": has no data", name);
    return is_bytes ? check_bytes(name, input, elements, err) : GPULET_OK;
}

static gpulet_status_t check_input(const gpulet_tensor_spec_t *spec,
                                   const gpulet_tensor_view_t *input, gpulet_error_t *err)
{
    char have[SHAPE_TEXT_MAX];
    char want[SHAPE_TEXT_MAX];
    if (input->type != spec->type)
        return gpulet_fail(err, GPULET_E_INVALID, "input \"%s\": datatype is %s, not %s",
                           spec->name, gpulet_datatype_name(input->type),
                           gpulet_datatype_name(spec->type));
    if (input->shape.rank != spec->shape.rank)
        return gpulet_fail(err, GPULET_E_INVALID, "input \"%s\": rank is %" PRIu32 ", not %" PRIu32,
                           spec->name, input->shape.rank, spec->shape.rank);
    if (!gpulet_shape_matches(&spec->shape, &input->shape))
        return gpulet_fail(err, GPULET_E_INVALID, "input \"%s\": shape is %s, not %s", spec->name,
                           gpulet_shape_format(have, sizeof(have), &input->shape),
                           gpulet_shape_format(want, sizeof(want), &spec->shape));
    return check_size(spec->name, input, err);
}

gpulet_status_t gpulet_engine_check_inputs(const gpulet_model_io_t *io,
                                           const gpulet_tensor_view_t *inputs, gpulet_error_t *err)
{
    for (uint32_t i = 0; i < io->inputs_count; i++) {
        gpulet_status_t st = check_input(&io->inputs[i], &inputs[i], err);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}
