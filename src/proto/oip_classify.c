#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/number.h"
#include "proto/oip.h"

enum { LENGTH_SIZE = 4, INDEX_TEXT_MAX = 24 };

/* An element and where it ranks: a larger key is a larger value, and NaN is below all. */
typedef struct candidate {
    uint64_t key;
    uint64_t index;
} candidate_t;

static double half_to_double(uint16_t half)
{
    int exponent = half >> 10 & 0x1f;
    double fraction = (double)(half & 0x3ff);
    double value;
    if (exponent == 0x1f)
        value = fraction != 0 ? (double)NAN : (double)INFINITY;
    else if (exponent == 0)
        value = ldexp(fraction, -24);
    else
        value = ldexp(fraction + 1024, exponent - 25);
    return half >> 15 != 0 ? -value : value;
}

static double bf16_to_double(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return (double)value;
}

static bool is_float(gpulet_datatype_t type)
{
    return type == GPULET_DATATYPE_FP16 || type == GPULET_DATATYPE_BF16 ||
           type == GPULET_DATATYPE_FP32 || type == GPULET_DATATYPE_FP64;
}

static bool is_signed(gpulet_datatype_t type)
{
    return type == GPULET_DATATYPE_INT8 || type == GPULET_DATATYPE_INT16 ||
           type == GPULET_DATATYPE_INT32 || type == GPULET_DATATYPE_INT64;
}

static double load_float(const uint8_t *p, gpulet_datatype_t type)
{
    uint16_t half;
    float narrow;
    double wide;
    switch (type) {
    case GPULET_DATATYPE_FP64:
        memcpy(&wide, p, sizeof(wide));
        return wide;
    case GPULET_DATATYPE_FP32:
        memcpy(&narrow, p, sizeof(narrow));
        return (double)narrow;
    default:
        memcpy(&half, p, sizeof(half));
        return type == GPULET_DATATYPE_FP16 ? half_to_double(half) : bf16_to_double(half);
    }
}

/* The integer, sign-extended for signed types. */
static uint64_t load_integer(const uint8_t *p, gpulet_datatype_t type, size_t size)
{
    uint64_t raw = 0;
    memcpy(&raw, p, size);
    if (!is_signed(type))
        return raw;
    unsigned unused = 64U - 8U * (unsigned)size;
    return (uint64_t)((int64_t)(raw << unused) >> unused);
}

static uint64_t key_of(const uint8_t *p, gpulet_datatype_t type, size_t size)
{
    const uint64_t sign = UINT64_C(1) << 63;
    if (!is_float(type))
        return load_integer(p, type, size) ^ (is_signed(type) ? sign : 0);
    double value = load_float(p, type);
    uint64_t bits;
    if (isnan(value))
        return 0;
    value += 0.0; /* -0 ranks as 0 */
    memcpy(&bits, &value, sizeof(bits));
    return (bits & sign) != 0 ? ~bits : bits | sign;
}

/* Whether a goes before b: larger first, then in order of appearance. */
static bool before(candidate_t a, candidate_t b)
{
    return a.key != b.key ? a.key > b.key : a.index < b.index;
}

/* A heap whose root is the candidate that is last in order. */
static void sift_down(candidate_t *heap, size_t count, size_t at)
{
    for (;;) {
        size_t worst = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++) {
            if (before(heap[worst], heap[child]))
                worst = child;
        }
        if (worst == at)
            return;
        candidate_t moved = heap[at];
        heap[at] = heap[worst];
        heap[worst] = moved;
        at = worst;
    }
}

/* The first k of a row in order of rank. */
static void select_top(candidate_t *top, size_t k, const uint8_t *row, uint64_t row_elements,
                       gpulet_datatype_t type)
{
    const size_t size = gpulet_datatype_size(type);
    for (uint64_t i = 0; i < k; i++)
        top[i] = (candidate_t){key_of(row + i * size, type, size), i};
    for (size_t i = k / 2; i-- > 0;)
        sift_down(top, k, i);
    for (uint64_t i = k; i < row_elements; i++) {
        candidate_t c = {key_of(row + i * size, type, size), i};
        if (before(c, top[0])) {
            top[0] = c;
            sift_down(top, k, 0);
        }
    }
    for (size_t left = k; left > 1; left--) {
        candidate_t last = top[0];
        top[0] = top[left - 1];
        top[left - 1] = last;
        sift_down(top, left - 1, 0);
    }
}

static size_t write_value(char *out, const uint8_t *p, gpulet_datatype_t type, size_t size)
{
    if (!is_float(type)) {
        uint64_t value = load_integer(p, type, size);
        return is_signed(type) ? gpulet_number_write_i64(out, (int64_t)value)
                               : gpulet_number_write_u64(out, value);
    }
    double value = load_float(p, type);
    if (!isfinite(value)) {
        const char *word = isnan(value) ? "nan" : value < 0 ? "-inf" : "inf";
        size_t used = 0;
        for (; word[used] != '\0'; used++)
            out[used] = word[used];
        return used;
    }
    return type == GPULET_DATATYPE_FP64 ? gpulet_number_write_f64(out, value)
                                        : gpulet_number_write_f32(out, (float)value);
}

static void append_class(gpulet_buf_t *out, const uint8_t *p, const gpulet_tensor_view_t *tensor,
                         uint64_t index, const char *label)
{
    char text[GPULET_NUMBER_TEXT_MAX + 1 + INDEX_TEXT_MAX];
    size_t used = write_value(text, p, tensor->type, gpulet_datatype_size(tensor->type));
    text[used++] = ':';
    used += gpulet_number_write_u64(text + used, index);
    size_t label_size = label != NULL && label[0] != '\0' ? strlen(label) : 0;
    uint32_t length = (uint32_t)(used + (label_size > 0 ? 1 + label_size : 0));
    gpulet_buf_append(out, &length, sizeof(length));
    gpulet_buf_append(out, text, used);
    if (label_size > 0) {
        gpulet_buf_append_char(out, ':');
        gpulet_buf_append(out, label, label_size);
    }
}

gpulet_status_t gpulet_oip_classify(gpulet_buf_t *out, gpulet_shape_t *shape,
                                    const gpulet_tensor_view_t *tensor, bool rows_dim, uint32_t k,
                                    const char *const *labels, size_t labels_count,
                                    gpulet_error_t *err)
{
    const size_t size = gpulet_datatype_size(tensor->type);
    uint64_t elements = 0;
    assert(k > 0);
    if (size == 0)
        return gpulet_fail(err, GPULET_E_INVALID, "an output of datatype %s cannot be classified",
                           gpulet_datatype_name(tensor->type));
    if (gpulet_shape_elements(&elements, &tensor->shape) != GPULET_OK ||
        elements > SIZE_MAX / size || elements * size != tensor->size ||
        (rows_dim && tensor->shape.rank == 0))
        return gpulet_fail(err, GPULET_E_INTERNAL,
                           "an output to be classified has another size than its shape");
    uint64_t rows = rows_dim ? (uint64_t)tensor->shape.dims[0] : 1;
    uint64_t row_elements = rows > 0 ? elements / rows : 0;
    size_t count = k < row_elements ? k : (size_t)row_elements;
    candidate_t *top = calloc(count > 0 ? count : 1, sizeof(*top));
    if (top == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    for (uint64_t row = 0; row < rows && count > 0; row++) {
        const uint8_t *p = (const uint8_t *)tensor->data + row * row_elements * size;
        select_top(top, count, p, row_elements, tensor->type);
        for (size_t i = 0; i < count; i++)
            append_class(out, p + top[i].index * size, tensor, top[i].index,
                         labels != NULL && top[i].index < labels_count ? labels[top[i].index]
                                                                       : NULL);
    }
    free(top);
    if (gpulet_buf_status(out) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    *shape = rows_dim ? (gpulet_shape_t){2, {(int64_t)rows, (int64_t)count}}
                      : (gpulet_shape_t){1, {(int64_t)count}};
    return GPULET_OK;
}
