#include "base/parse.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_TEXT_MAX = 64 };

gpulet_status_t gpulet_parse_u64(uint64_t *out, const char *text, size_t len)
{
    uint64_t value = 0;
    if (len == 0)
        return GPULET_E_INVALID;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return GPULET_E_INVALID;
    }
    for (size_t i = 0; i < len; i++) {
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
            return GPULET_E_TOO_LARGE;
    }
    *out = value;
    return GPULET_OK;
}

gpulet_status_t gpulet_parse_i64(int64_t *out, const char *text, size_t len)
{
    bool negative = len > 0 && text[0] == '-';
    uint64_t magnitude = 0;
    gpulet_status_t st = gpulet_parse_u64(&magnitude, text + negative, len - negative);
    if (st != GPULET_OK)
        return st;
    if (magnitude > (uint64_t)INT64_MAX + (negative ? 1U : 0U))
        return GPULET_E_TOO_LARGE;
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return GPULET_OK;
}

gpulet_status_t gpulet_parse_f64(double *out, const char *text, size_t len)
{
    char copy[NUMBER_TEXT_MAX];
    char *end = NULL;
    if (len == 0 || len >= sizeof(copy))
        return GPULET_E_INVALID;
    for (size_t i = 0; i < len; i++) {
        if (strchr("0123456789+-.eE", text[i]) == NULL || text[i] == '\0')
            return GPULET_E_INVALID;
    }
    memcpy(copy, text, len);
    copy[len] = '\0';
    double value = strtod(copy, &end);
    if (end != copy + len)
        return GPULET_E_INVALID;
    if (!isfinite(value))
        return GPULET_E_TOO_LARGE;
    *out = value;
    return GPULET_OK;
}

static bool equals(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(text, word, len) == 0;
}

gpulet_status_t gpulet_parse_bool(bool *out, const char *text, size_t len)
{
    static const char *const yes[] = {"true", "1", "yes", "on"};
    static const char *const no[] = {"false", "0", "no", "off"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        if (equals(text, len, yes[i]) || equals(text, len, no[i])) {
            *out = equals(text, len, yes[i]);
            return GPULET_OK;
        }
    }
    return GPULET_E_INVALID;
}
