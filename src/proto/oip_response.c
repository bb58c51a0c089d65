#include <assert.h>
#include <string.h>

#include "proto/number.h"
#include "proto/oip.h"
#include "proto/utf8.h"

enum { NUMBERS_AT_ONCE = 128, LENGTH_SIZE = 4 };

static void append_escape(gpulet_buf_t *out, unsigned char c)
{
    static const char names[] = "btn\0fr"; /* for 0x08 … 0x0d */
    static const char hex[] = "0123456789abcdef";
    char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15U]};
    size_t size = sizeof(text);
    if (c == '"' || c == '\\') {
        text[1] = (char)c;
        size = 2;
    } else if (c >= 0x08 && c <= 0x0d && names[c - 0x08] != '\0') {
        text[1] = names[c - 0x08];
        size = 2;
    }
    gpulet_buf_append(out, text, size);
}

void gpulet_json_string(gpulet_buf_t *out, const char *text, size_t size)
{
    size_t from = 0;
    gpulet_buf_append_char(out, '"');
    for (size_t at = 0; at < size;) {
        unsigned char c = (unsigned char)text[at];
        size_t length = c < 0x80 ? 1 : gpulet_utf8_length(text + at, size - at);
        bool plain = length > 0 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f;
        if (plain) {
            at += length;
            continue;
        }
        gpulet_buf_append(out, text + from, at - from);
        if (length == 0)
            gpulet_buf_append_str(out, "\xef\xbf\xbd");
        else
            append_escape(out, c);
        from = ++at;
    }
    gpulet_buf_append(out, text + from, size - from);
    gpulet_buf_append_char(out, '"');
}

void gpulet_oip_error_write(gpulet_buf_t *out, const char *text)
{
    gpulet_buf_append_str(out, "{\"error\":");
    gpulet_json_string(out, text, strlen(text));
    gpulet_buf_append_char(out, '}');
}

static int64_t load_signed(const uint8_t *p, size_t size)
{
    uint64_t raw = 0;
    memcpy(&raw, p, size);
    unsigned unused = 64U - 8U * (unsigned)size;
    return (int64_t)(raw << unused) >> unused;
}

static size_t write_element(char *out, const uint8_t *p, gpulet_datatype_t type, size_t size)
{
    uint64_t raw = 0;
    float narrow;
    double wide;
    switch (type) {
    case GPULET_DATATYPE_FP32:
        memcpy(&narrow, p, sizeof(narrow));
        return gpulet_number_write_f32(out, narrow);
    case GPULET_DATATYPE_FP64:
        memcpy(&wide, p, sizeof(wide));
        return gpulet_number_write_f64(out, wide);
    case GPULET_DATATYPE_BOOL:
        memcpy(out, *p != 0 ? "true" : "false", 5);
        return *p != 0 ? 4 : 5;
    case GPULET_DATATYPE_INT8:
    case GPULET_DATATYPE_INT16:
    case GPULET_DATATYPE_INT32:
    case GPULET_DATATYPE_INT64:
        return gpulet_number_write_i64(out, load_signed(p, size));
    default:
        memcpy(&raw, p, size);
        return gpulet_number_write_u64(out, raw);
    }
}

static void write_numbers(gpulet_buf_t *out, const gpulet_tensor_view_t *tensor, uint64_t elements)
{
    const size_t size = gpulet_datatype_size(tensor->type);
    const uint8_t *p = tensor->data;
    for (uint64_t i = 0; i < elements;) {
        uint64_t stop = elements - i < NUMBERS_AT_ONCE ? elements : i + NUMBERS_AT_ONCE;
        if (gpulet_buf_reserve(out, (size_t)NUMBERS_AT_ONCE * (GPULET_NUMBER_TEXT_MAX + 1)) !=
            GPULET_OK)
            return;
        char *at = out->data + out->size;
        for (; i < stop; i++) {
            if (i > 0)
                *at++ = ',';
            at += write_element(at, p + i * size, tensor->type, size);
        }
        *at = '\0';
        out->size = (size_t)(at - out->data);
    }
}

/* Elements whose lengths have been checked; but a worker may write to them still. */
static bool write_strings(gpulet_buf_t *out, const gpulet_tensor_view_t *tensor, uint64_t elements)
{
    const char *p = tensor->data;
    const char *end = p + tensor->size;
    for (uint64_t i = 0; i < elements; i++) {
        uint32_t length;
        if ((size_t)(end - p) < LENGTH_SIZE)
            return false;
        memcpy(&length, p, sizeof(length));
        if (length > (size_t)(end - p) - LENGTH_SIZE)
            return false;
        if (i > 0)
            gpulet_buf_append_char(out, ',');
        gpulet_json_string(out, p + LENGTH_SIZE, length);
        p += LENGTH_SIZE + (size_t)length;
    }
    return true;
}

static gpulet_status_t fail_strings(const gpulet_oip_answer_t *answer, const char *model,
                                    gpulet_error_t *err)
{
    return gpulet_fail(err, GPULET_E_INTERNAL, "output '%s' of model '%s' has malformed strings",
                       answer->name, model);
}

/* The engine's word for its own output is checked as well: what is wrong here is our fault, or the
 * worker's. */
static gpulet_status_t check_answer(uint64_t *elements, const gpulet_oip_answer_t *answer,
                                    const char *model, gpulet_error_t *err)
{
    const gpulet_tensor_view_t *tensor = &answer->tensor;
    bool half = tensor->type == GPULET_DATATYPE_FP16 || tensor->type == GPULET_DATATYPE_BF16;
    uint64_t size = 0;
    if (half && !answer->binary)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "sending %s data via JSON is not supported. Please use the binary data "
                           "format for output %s",
                           gpulet_datatype_name(tensor->type), answer->name);
    if (tensor->type == GPULET_DATATYPE_INVALID || tensor->shape.rank > GPULET_RANK_MAX ||
        gpulet_shape_elements(elements, &tensor->shape) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_INTERNAL,
                           "output '%s' of model '%s' has no valid shape or datatype", answer->name,
                           model);
    if (tensor->type == GPULET_DATATYPE_BYTES) {
        gpulet_status_t st = gpulet_oip_bytes_check(tensor->data, tensor->size, *elements,
                                                    answer->name, model, NULL);
        return st == GPULET_OK ? GPULET_OK : fail_strings(answer, model, err);
    }
    if (__builtin_mul_overflow(*elements, (uint64_t)gpulet_datatype_size(tensor->type), &size) ||
        size != tensor->size)
        return gpulet_fail(err, GPULET_E_INTERNAL,
                           "output '%s' of model '%s' has %zu bytes, its shape %llu", answer->name,
                           model, tensor->size, (unsigned long long)size);
    return GPULET_OK;
}

static void write_shape(gpulet_buf_t *out, const gpulet_shape_t *shape)
{
    char text[GPULET_NUMBER_TEXT_MAX];
    gpulet_buf_append_char(out, '[');
    for (uint32_t i = 0; i < shape->rank; i++) {
        if (i > 0)
            gpulet_buf_append_char(out, ',');
        gpulet_buf_append(out, text, gpulet_number_write_i64(text, shape->dims[i]));
    }
    gpulet_buf_append_char(out, ']');
}

static gpulet_status_t write_answer(gpulet_buf_t *out, const gpulet_oip_answer_t *answer,
                                    const char *model, gpulet_error_t *err)
{
    const gpulet_tensor_view_t *tensor = &answer->tensor;
    uint64_t elements = 0;
    gpulet_status_t st = check_answer(&elements, answer, model, err);
    if (st != GPULET_OK)
        return st;
    gpulet_buf_append_str(out, "{\"name\":");
    gpulet_json_string(out, answer->name, strlen(answer->name));
    gpulet_buf_append_str(out, ",\"datatype\":\"");
    gpulet_buf_append_str(out, gpulet_datatype_name(tensor->type));
    gpulet_buf_append_str(out, "\",\"shape\":");
    write_shape(out, &tensor->shape);
    if (answer->binary) {
        char text[GPULET_NUMBER_TEXT_MAX];
        gpulet_buf_append_str(out, ",\"parameters\":{\"binary_data_size\":");
        gpulet_buf_append(out, text, gpulet_number_write_u64(text, tensor->size));
        gpulet_buf_append_str(out, "}}");
        return GPULET_OK;
    }
    gpulet_buf_append_str(out, ",\"data\":[");
    if (tensor->type != GPULET_DATATYPE_BYTES)
        write_numbers(out, tensor, elements);
    else if (!write_strings(out, tensor, elements))
        return fail_strings(answer, model, err);
    gpulet_buf_append_str(out, "]}");
    return GPULET_OK;
}

gpulet_status_t gpulet_oip_response_write(gpulet_buf_t *out, bool *binary_any, const char *model,
                                          const char *version, const char *id,
                                          const gpulet_oip_answer_t *answers,
                                          uint32_t answers_count, gpulet_error_t *err)
{
    bool binary = false;
    gpulet_buf_append_char(out, '{');
    if (id != NULL && id[0] != '\0') {
        gpulet_buf_append_str(out, "\"id\":");
        gpulet_json_string(out, id, strlen(id));
        gpulet_buf_append_char(out, ',');
    }
    gpulet_buf_append_str(out, "\"model_name\":");
    gpulet_json_string(out, model, strlen(model));
    gpulet_buf_append_str(out, ",\"model_version\":");
    gpulet_json_string(out, version, strlen(version));
    gpulet_buf_append_str(out, ",\"outputs\":[");
    for (uint32_t i = 0; i < answers_count; i++) {
        if (i > 0)
            gpulet_buf_append_char(out, ',');
        gpulet_status_t st = write_answer(out, &answers[i], model, err);
        if (st != GPULET_OK)
            return st;
        binary = binary || answers[i].binary;
    }
    gpulet_buf_append_str(out, "]}");
    if (gpulet_buf_status(out) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    *binary_any = binary;
    return GPULET_OK;
}
