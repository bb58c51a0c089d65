#include "core/text.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXCERPT_LEN_MAX = 60 };

const gpulet_text_range_t gpulet_text_any = {-DBL_MAX, DBL_MAX, false, "a number"};
const gpulet_text_range_t gpulet_text_positive = {0, DBL_MAX, true, "a number above 0"};
const gpulet_text_range_t gpulet_text_natural = {0, DBL_MAX, false, "a number of at least 0"};
const gpulet_text_range_t gpulet_text_fraction = {0, 1, false, "a number from 0 to 1"};

/* Length that the first byte announces, and the least code point of that length (RFC 3629). */
static size_t announced(unsigned char first, uint32_t *code, uint32_t *least)
{
    if (first < 0x80) {
        *code = first;
        *least = 0;
        return 1;
    }
    if (first >= 0xc2 && first <= 0xdf) {
        *code = first & 0x1fU;
        *least = 0x80;
        return 2;
    }
    if ((first & 0xf0U) == 0xe0U) {
        *code = first & 0x0fU;
        *least = 0x800;
        return 3;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        *code = first & 0x07U;
        *least = 0x10000;
        return 4;
    }
    return 0;
}

static size_t decode(const char *text, size_t len, uint32_t *code)
{
    uint32_t least = 0;
    if (len == 0)
        return 0;
    size_t count = announced((unsigned char)text[0], code, &least);
    if (count == 0 || count > len)
        return 0;
    for (size_t i = 1; i < count; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c & 0xc0U) != 0x80U)
            return 0;
        *code = (*code << 6) | (c & 0x3fU);
    }
    bool surrogate = *code >= 0xd800 && *code <= 0xdfff;
    return *code < least || *code > 0x10ffff || surrogate ? 0 : count;
}

static bool is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code <= 0x9f);
}

size_t gpulet_text_utf8(const char *text, size_t len)
{
    uint32_t code = 0;
    return decode(text, len, &code);
}

gpulet_status_t gpulet_text_check_name(const char *text, size_t len, size_t len_max,
                                       gpulet_error_t *err)
{
    char found[GPULET_TEXT_EXCERPT_SIZE];
    const char *expected = NULL;
    size_t step = 0;
    if (len == 0)
        return gpulet_fail(err, GPULET_E_INVALID, "expected a name, found nothing");
    if (len > len_max)
        return gpulet_fail(err, GPULET_E_INVALID, "expected at most %zu bytes, found %zu", len_max,
                           len);
    for (size_t i = 0; i < len && expected == NULL; i += step) {
        uint32_t code = 0;
        step = decode(text + i, len - i, &code);
        if (step == 0)
            expected = "a name in UTF-8";
        else if (is_control(code))
            expected = "a name without control characters";
    }
    if (expected == NULL)
        return GPULET_OK;
    return gpulet_fail(err, GPULET_E_INVALID, "expected %s, found %s", expected,
                       gpulet_text_excerpt(found, text, len));
}

const char *gpulet_text_excerpt(char out[GPULET_TEXT_EXCERPT_SIZE], const char *text, size_t len)
{
    size_t used = 0;
    out[used++] = '\'';
    for (size_t i = 0; i < len;) {
        uint32_t code = 0;
        size_t step = decode(text + i, len - i, &code);
        if (used + (step == 0 ? 1 : step) > EXCERPT_LEN_MAX) {
            memcpy(out + used, "…", strlen("…"));
            used += strlen("…");
            break;
        }
        if (step == 0 || is_control(code)) {
            out[used++] = '?';
        } else {
            memcpy(out + used, text + i, step);
            used += step;
        }
        i += step == 0 ? 1 : step;
    }
    out[used++] = '\'';
    out[used] = '\0';
    return out;
}

const char *gpulet_text_number(char out[GPULET_TEXT_NUMBER_SIZE], double value)
{
    assert(isfinite(value));
    for (int digits = 15; digits <= DBL_DECIMAL_DIG; digits++) {
        (void)snprintf(out, GPULET_TEXT_NUMBER_SIZE, "%.*g", digits, value);
        if (strtod(out, NULL) == value)
            break;
    }
    return out;
}

bool gpulet_text_in_range(const gpulet_text_range_t *range, double value)
{
    return (range->above ? value > range->min : value >= range->min) && value <= range->max;
}
