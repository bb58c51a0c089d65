#include <assert.h>
#include <math.h>
#include <string.h>

#include "proto/json_reader.h"
#include "proto/oip.h"

enum { VALUE_SHOWN_MAX = 40, LENGTH_SIZE = 4 };

typedef struct decoder {
    gpulet_json_reader_t reader;
    const char *what; /* in errors: the input's name */
    const char *model;
    gpulet_error_t *err;
    /* Nested arrays must be regular: all elements at one depth, all innermost arrays of one length.
     */
    uint32_t leaf_depth; /* 0: not known yet */
    uint64_t leaf_count;
    uint64_t leaf_size; /* UINT64_MAX: not known yet */
} decoder_t;

static void decoder_init(decoder_t *d, const char *json, size_t size)
{
    gpulet_json_init(&d->reader, json, size, GPULET_JSON_DEPTH_LIMIT);
    d->leaf_depth = 0;
    d->leaf_count = 0;
    d->leaf_size = UINT64_MAX;
}

static gpulet_status_t fail_data(const decoder_t *d, const char *why)
{
    if (d->model == NULL)
        return gpulet_fail(d->err, GPULET_E_INVALID, "unable to parse 'data': %s", why);
    return gpulet_fail(d->err, GPULET_E_INVALID,
                       "unable to parse 'data' of input '%s' for model '%s': %s", d->what, d->model,
                       why);
}

static gpulet_status_t fail_syntax(const decoder_t *d)
{
    return gpulet_json_fail(&d->reader, "failed to parse the request JSON buffer", d->err);
}

static const char ragged[] = "its nested arrays are not of one shape";

/* Reads on to the next element, or to the end of it all; brackets are seen to here. */
static gpulet_status_t next_element(decoder_t *d, gpulet_json_token_t *out)
{
    gpulet_json_reader_t *r = &d->reader;
    for (;;) {
        bool just_opened = r->token == GPULET_JSON_ARRAY_BEGIN;
        gpulet_json_token_t token = gpulet_json_next(r);
        switch (token) {
        case GPULET_JSON_ERROR:
            return fail_syntax(d);
        case GPULET_JSON_ARRAY_BEGIN:
            if (d->leaf_depth != 0 && r->depth > d->leaf_depth)
                return fail_data(d, ragged);
            d->leaf_count = 0;
            break;
        case GPULET_JSON_ARRAY_END:
            if (just_opened && d->leaf_depth == 0)
                d->leaf_depth = r->depth + 1;
            if (r->depth + 1 != d->leaf_depth) {
                if (just_opened)
                    return fail_data(d, ragged);
                break;
            }
            if (d->leaf_size != UINT64_MAX && d->leaf_size != d->leaf_count)
                return fail_data(d, ragged);
            d->leaf_size = d->leaf_count;
            break;
        case GPULET_JSON_END:
            *out = token;
            return GPULET_OK;
        default:
            if (d->leaf_depth == 0)
                d->leaf_depth = r->depth;
            if (r->depth != d->leaf_depth || token == GPULET_JSON_OBJECT_BEGIN)
                return fail_data(d, token == GPULET_JSON_OBJECT_BEGIN ? "an object is no element"
                                                                      : ragged);
            d->leaf_count++;
            *out = token;
            return GPULET_OK;
        }
    }
}

/* The document must begin with an array. */
static gpulet_status_t open_data(decoder_t *d)
{
    gpulet_json_token_t token = gpulet_json_next(&d->reader);
    if (token == GPULET_JSON_ERROR)
        return fail_syntax(d);
    return token == GPULET_JSON_ARRAY_BEGIN ? GPULET_OK : fail_data(d, "it must be an array");
}

static gpulet_status_t fail_value(const decoder_t *d, gpulet_datatype_t type)
{
    const gpulet_json_reader_t *r = &d->reader;
    int shown = r->size < VALUE_SHOWN_MAX ? (int)r->size : VALUE_SHOWN_MAX;
    const char *quote = r->token == GPULET_JSON_STRING ? "\"" : "";
    return gpulet_fail(d->err, GPULET_E_INVALID,
                       "unable to parse 'data' of input '%s' for model '%s': %s%.*s%s%s is no %s",
                       d->what, d->model, quote, shown, r->text, quote,
                       r->size > VALUE_SHOWN_MAX ? "..." : "", gpulet_datatype_name(type));
}

static gpulet_status_t fail_count(const decoder_t *d, uint64_t expected, bool more)
{
    return gpulet_fail(d->err, GPULET_E_INVALID,
                       "unable to parse 'data' of input '%s' for model '%s': the shape has %llu "
                       "elements, the data %s",
                       d->what, d->model, (unsigned long long)expected, more ? "more" : "fewer");
}

static bool store_bool(uint8_t *dst, const gpulet_json_reader_t *r)
{
    uint64_t value = 0;
    if (r->token == GPULET_JSON_TRUE || r->token == GPULET_JSON_FALSE) {
        *dst = r->token == GPULET_JSON_TRUE;
        return true;
    }
    if (r->token != GPULET_JSON_NUMBER || !gpulet_decimal_u64(&value, &r->number) || value > 1)
        return false;
    *dst = (uint8_t)value;
    return true;
}

static bool store_signed(uint8_t *dst, const gpulet_json_reader_t *r, size_t size)
{
    int64_t value = 0;
    if (r->token != GPULET_JSON_NUMBER || !gpulet_decimal_i64(&value, &r->number))
        return false;
    const int64_t max = size == 8 ? INT64_MAX : (INT64_C(1) << (8 * size - 1)) - 1;
    if (value > max || value < -max - 1)
        return false;
    memcpy(dst, &value, size); /* little-endian, as the tensor is */
    return true;
}

static bool store_unsigned(uint8_t *dst, const gpulet_json_reader_t *r, size_t size)
{
    uint64_t value = 0;
    if (r->token != GPULET_JSON_NUMBER || !gpulet_decimal_u64(&value, &r->number))
        return false;
    if (size < 8 && value >> (8 * size) != 0)
        return false;
    memcpy(dst, &value, size);
    return true;
}

/* False when the last token is no value of the type. */
static bool store(uint8_t *dst, const gpulet_json_reader_t *r, gpulet_datatype_t type, size_t size)
{
    float narrow = 0;
    double wide = 0;
    switch (type) {
    case GPULET_DATATYPE_FP32:
        if (r->token != GPULET_JSON_NUMBER || !gpulet_decimal_f32(&narrow, &r->number))
            return false;
        memcpy(dst, &narrow, sizeof(narrow));
        return true;
    case GPULET_DATATYPE_FP64:
        if (r->token != GPULET_JSON_NUMBER || !gpulet_decimal_f64(&wide, &r->number))
            return false;
        memcpy(dst, &wide, sizeof(wide));
        return true;
    case GPULET_DATATYPE_BOOL:
        return store_bool(dst, r);
    case GPULET_DATATYPE_INT8:
    case GPULET_DATATYPE_INT16:
    case GPULET_DATATYPE_INT32:
    case GPULET_DATATYPE_INT64:
        return store_signed(dst, r, size);
    default:
        return store_unsigned(dst, r, size);
    }
}

static gpulet_status_t decode_numbers(decoder_t *d, uint8_t *dst, gpulet_datatype_t type,
                                      uint64_t elements)
{
    const size_t size = gpulet_datatype_size(type);
    gpulet_json_token_t token = GPULET_JSON_END;
    for (uint64_t i = 0;; i++) {
        gpulet_status_t st = next_element(d, &token);
        if (st != GPULET_OK)
            return st;
        if (token == GPULET_JSON_END)
            return i == elements ? GPULET_OK : fail_count(d, elements, false);
        if (i == elements)
            return fail_count(d, elements, true);
        if (!store(dst + i * size, &d->reader, type, size))
            return fail_value(d, type);
    }
}

static gpulet_status_t decode_strings(decoder_t *d, uint8_t *dst, size_t dst_size,
                                      uint64_t elements)
{
    gpulet_json_token_t token = GPULET_JSON_END;
    const gpulet_json_reader_t *r = &d->reader;
    size_t used = 0;
    for (uint64_t i = 0;; i++) {
        gpulet_status_t st = next_element(d, &token);
        if (st != GPULET_OK)
            return st;
        if (token == GPULET_JSON_END) {
            if (i != elements)
                return fail_count(d, elements, false);
            return used == dst_size ? GPULET_OK : fail_data(d, "its strings have another size");
        }
        if (i == elements)
            return fail_count(d, elements, true);
        if (token != GPULET_JSON_STRING)
            return fail_value(d, GPULET_DATATYPE_BYTES);
        if (r->unescaped_size > UINT32_MAX || dst_size - used < LENGTH_SIZE ||
            dst_size - used - LENGTH_SIZE < r->unescaped_size)
            return fail_data(d, "its strings have another size");
        uint32_t length = (uint32_t)r->unescaped_size;
        memcpy(dst + used, &length, sizeof(length));
        gpulet_json_unescape((char *)dst + used + LENGTH_SIZE, r);
        used += LENGTH_SIZE + length;
    }
}

gpulet_status_t gpulet_oip_data_bytes_size(uint64_t *out, const char *json_data,
                                           size_t json_data_size, gpulet_error_t *err)
{
    decoder_t decoder = {.err = err};
    gpulet_json_token_t token = GPULET_JSON_END;
    uint64_t total = 0;
    decoder_init(&decoder, json_data, json_data_size);
    gpulet_status_t st = open_data(&decoder);
    while (st == GPULET_OK && (st = next_element(&decoder, &token)) == GPULET_OK) {
        if (token == GPULET_JSON_END) {
            *out = total;
            return GPULET_OK;
        }
        if (token != GPULET_JSON_STRING || decoder.reader.unescaped_size > UINT32_MAX)
            return fail_data(&decoder, "an element of a BYTES tensor must be a string");
        /* A string takes two bytes of quotes in the text, so this cannot overflow. */
        total += LENGTH_SIZE + decoder.reader.unescaped_size;
    }
    return st;
}

gpulet_status_t gpulet_oip_data_decode(void *dst, size_t dst_size, const gpulet_oip_input_t *input,
                                       uint64_t elements, const char *model, gpulet_error_t *err)
{
    decoder_t decoder = {.what = input->name, .model = model, .err = err};
    size_t element_size = gpulet_datatype_size(input->type);
    uint64_t needed = 0;
    assert(input->json_data != NULL && model != NULL && (dst != NULL || dst_size == 0));
    if (input->type == GPULET_DATATYPE_FP16 || input->type == GPULET_DATATYPE_BF16 ||
        input->type == GPULET_DATATYPE_INVALID)
        return gpulet_fail(
            err, GPULET_E_INVALID,
            "receiving %s data via JSON is not supported. Please use the binary data "
            "format for input %s",
            gpulet_datatype_name(input->type), input->name);
    if (input->type != GPULET_DATATYPE_BYTES &&
        (__builtin_mul_overflow(elements, element_size, &needed) || needed != dst_size))
        return gpulet_fail(
            err, GPULET_E_INVALID,
            "input byte size mismatch for input '%s' for model '%s'. Expected %llu, got %zu",
            input->name, model, (unsigned long long)needed, dst_size);
    decoder_init(&decoder, input->json_data, input->json_data_size);
    gpulet_status_t st = open_data(&decoder);
    if (st != GPULET_OK)
        return st;
    return input->type == GPULET_DATATYPE_BYTES
               ? decode_strings(&decoder, dst, dst_size, elements)
               : decode_numbers(&decoder, dst, input->type, elements);
}

gpulet_status_t gpulet_oip_bytes_check(const void *data, size_t size, uint64_t elements,
                                       const char *input_name, const char *model,
                                       gpulet_error_t *err)
{
    const uint8_t *bytes = data;
    size_t at = 0;
    uint64_t count = 0;
    for (; count < elements && size - at >= LENGTH_SIZE; count++) {
        uint32_t length;
        memcpy(&length, bytes + at, sizeof(length));
        if (length > size - at - LENGTH_SIZE)
            return gpulet_fail(err, GPULET_E_INVALID,
                               "incomplete string data for inference input '%s' for model '%s': "
                               "expecting string of length %u but only %zu bytes available",
                               input_name, model, length, size - at - LENGTH_SIZE);
        at += LENGTH_SIZE + (size_t)length;
    }
    if (count < elements)
        return gpulet_fail(
            err, GPULET_E_INVALID,
            "expected %llu strings for inference input '%s' for model '%s', got %llu",
            (unsigned long long)elements, input_name, model, (unsigned long long)count);
    if (at != size)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "unexpected additional data after %llu strings for inference input '%s' "
                           "for model '%s'",
                           (unsigned long long)elements, input_name, model);
    return GPULET_OK;
}
