#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/check.h"
#include "engine/ort/internal.h"

/* Copies the serialised elements into the string objects of value. */
static gpulet_status_t fill(ort_value_t *value, const ort_engine_t *engine,
                            const gpulet_tensor_view_t *input, uint64_t elements,
                            gpulet_error_t *err)
{
    const gpulet_ort_api_t *api = &engine->api;
    const uint8_t *cursor = input->data;
    const uint8_t *end = cursor != NULL ? cursor + input->size : NULL;
    for (uint64_t i = 0; i < elements; i++) {
        const uint8_t *data;
        uint32_t len;
        char *buffer = NULL;
        /* Checked before, but the bytes may lie in memory that somebody else writes. */
        if (!gpulet_engine_bytes_next(&data, &len, &cursor, end))
            return gpulet_fail(err, GPULET_E_INVALID, "an input changed while it was read");
        gpulet_status_t st = gpulet_ort_status(
            api, api->string_resize(value, (size_t)i, len, &buffer), GPULET_E_INTERNAL, err);
        if (st != GPULET_OK)
            return st;
        if (len > 0)
            memcpy(buffer, data, len);
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_ort_strings_in(ort_value_t **out, const ort_engine_t *engine,
                                      const gpulet_tensor_view_t *input, gpulet_error_t *err)
{
    const gpulet_ort_api_t *api = &engine->api;
    ort_value_t *value = NULL;
    uint64_t elements;
    gpulet_status_t st = gpulet_shape_elements(&elements, &input->shape);
    assert(st == GPULET_OK); /* checked */
    st = gpulet_ort_status(
        api,
        api->create_tensor(engine->allocator, input->shape.dims, input->shape.rank,
                           gpulet_datatype_to_onnx(GPULET_DATATYPE_BYTES), &value),
        GPULET_E_INTERNAL, err);
    if (st != GPULET_OK)
        return st;
    st = fill(value, engine, input, elements, err);
    if (st != GPULET_OK) {
        api->release_value(value);
        return st;
    }
    *out = value;
    return GPULET_OK;
}

/* Writes each string with its length before it; content holds them all, one after the other. */
static gpulet_status_t serialise(uint8_t *out, const char *content, size_t content_size,
                                 const size_t *offsets, uint64_t elements)
{
    for (uint64_t i = 0; i < elements; i++) {
        size_t end = i + 1 < elements ? offsets[i + 1] : content_size;
        size_t size = end - offsets[i];
        if (size > UINT32_MAX)
            return GPULET_E_TOO_LARGE;
        uint32_t len = (uint32_t)size;
        memcpy(out, &len, sizeof(len));
        out += sizeof(len);
        if (len > 0)
            memcpy(out, content + offsets[i], len);
        out += len;
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_ort_strings_out(void **data_out, size_t *size_out,
                                       const ort_engine_t *engine, const ort_value_t *value,
                                       uint64_t elements, gpulet_error_t *err)
{
    const gpulet_ort_api_t *api = &engine->api;
    size_t content_size = 0;
    gpulet_status_t st =
        gpulet_ort_status(api, api->strings_size(value, &content_size), GPULET_E_INTERNAL, err);
    if (st != GPULET_OK)
        return st;
    size_t size = content_size + (size_t)elements * sizeof(uint32_t);
    char *content = malloc(content_size + 1);
    size_t *offsets = calloc((size_t)elements + 1, sizeof(*offsets));
    uint8_t *data = malloc(size + 1);
    if (content == NULL || offsets == NULL || data == NULL) {
        st = gpulet_fail(err, GPULET_E_NOMEM, "out of memory for %zu bytes of strings", size);
        goto done;
    }
    if (elements > 0)
        st = gpulet_ort_status(
            api, api->strings_content(value, content, content_size, offsets, (size_t)elements),
            GPULET_E_INTERNAL, err);
    if (st != GPULET_OK)
        goto done;
    st = serialise(data, content, content_size, offsets, elements);
    if (st != GPULET_OK) {
        (void)gpulet_fail(err, st, "an output string is longer than 4 GiB");
        goto done;
    }
    *data_out = data;
    *size_out = size;
    data = NULL;
done:
    free(content);
    free(offsets);
    free(data);
    return st;
}
