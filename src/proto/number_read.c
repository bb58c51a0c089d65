#include "proto/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128_t;

enum {
    DIGITS_EXACT = 19,       /* decimal digits that always fit in 64 bits */
    DIGITS_KEPT = 800,       /* more than the 767 that can decide the rounding of a double */
    EXPONENT_CLAMP = 100000, /* beyond any format */
    EXPONENT_READ_MAX =
        100000000 /* digits of an exponent are read up to here: more than the digits of a text */
};

const uint64_t gpulet_decimal_pow5[GPULET_DECIMAL_POW5_MAX + 1] = {
    UINT64_C(1),
    UINT64_C(5),
    UINT64_C(25),
    UINT64_C(125),
    UINT64_C(625),
    UINT64_C(3125),
    UINT64_C(15625),
    UINT64_C(78125),
    UINT64_C(390625),
    UINT64_C(1953125),
    UINT64_C(9765625),
    UINT64_C(48828125),
    UINT64_C(244140625),
    UINT64_C(1220703125),
    UINT64_C(6103515625),
    UINT64_C(30517578125),
    UINT64_C(152587890625),
    UINT64_C(762939453125),
    UINT64_C(3814697265625),
    UINT64_C(19073486328125),
    UINT64_C(95367431640625),
    UINT64_C(476837158203125),
    UINT64_C(2384185791015625),
    UINT64_C(11920928955078125),
    UINT64_C(59604644775390625),
    UINT64_C(298023223876953125),
    UINT64_C(1490116119384765625),
    UINT64_C(7450580596923828125),
};

static const double pow10_exact[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                     1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                     1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* A binary format: bits of the significand with its leading one, and of the exponent. */
typedef struct format {
    int significand_bits;
    int exponent_bits;
} format_t;

static const format_t format_f64 = {53, 11};
static const format_t format_f32 = {24, 8};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_mark(char c)
{
    return c == 'e' || c == 'E';
}

/* Reads digits into *value, which may wrap; returns where they end. */
static const char *read_digits(uint64_t *value, const char *p, const char *end)
{
    uint64_t v = *value;
    for (; p < end && is_digit(*p); p++)
        v = v * 10 + (uint64_t)(*p - '0');
    *value = v;
    return p;
}

static int32_t clamp_exponent(int64_t exponent)
{
    if (exponent > EXPONENT_CLAMP)
        return EXPONENT_CLAMP;
    return exponent < -EXPONENT_CLAMP ? -EXPONENT_CLAMP : (int32_t)exponent;
}

/* Again, for more than 19 digits: leading zeros do not count, and digits that do not fit are noted.
 */
static void scan_long(gpulet_decimal_t *out, int32_t written_exponent)
{
    int64_t exponent = written_exponent;
    bool fraction = false;
    bool full = false;
    out->mantissa = 0;
    for (size_t i = out->negative; i < out->size && !is_mark(out->text[i]); i++) {
        char c = out->text[i];
        if (c == '.') {
            fraction = true;
            continue;
        }
        uint64_t next = 0;
        full = full || __builtin_mul_overflow(out->mantissa, (uint64_t)10, &next) ||
               __builtin_add_overflow(next, (uint64_t)(c - '0'), &next);
        if (!full) {
            out->mantissa = next;
            exponent -= fraction;
        } else {
            out->whole = out->whole && c == '0';
            exponent += !fraction;
        }
    }
    out->exponent = clamp_exponent(exponent);
}

/* After 'e': the exponent's value, clamped; NULL when there are no digits. */
static const char *read_exponent(int32_t *out, const char *p, const char *end)
{
    bool negative = p < end && *p == '-';
    int32_t value = 0;
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    if (p == end || !is_digit(*p))
        return NULL;
    for (; p < end && is_digit(*p); p++)
        value = value >= EXPONENT_READ_MAX ? value : value * 10 + (*p - '0');
    *out = negative ? -value : value;
    return p;
}

size_t gpulet_decimal_scan(gpulet_decimal_t *out, const char *text, size_t size)
{
    const char *p = text;
    const char *end = text + size;
    uint64_t mantissa = 0;
    int32_t exponent = 0;
    bool negative = p < end && *p == '-';
    p += negative;
    const char *first = p;
    if (p == end || !is_digit(*p))
        return 0;
    p = *p == '0' ? p + 1 : read_digits(&mantissa, p, end);
    ptrdiff_t digits = p - first;
    ptrdiff_t fraction = 0;
    if (p < end && *p == '.') {
        const char *point = p++;
        p = read_digits(&mantissa, p, end);
        fraction = p - point - 1;
        if (fraction == 0)
            return 0;
    }
    if (p < end && is_mark(*p) && (p = read_exponent(&exponent, p + 1, end)) == NULL)
        return 0;
    out->text = text;
    out->size = (size_t)(p - text);
    out->negative = negative;
    out->whole = true;
    out->mantissa = mantissa;
    out->exponent = exponent - (int32_t)fraction;
    if (digits + fraction > DIGITS_EXACT)
        scan_long(out, exponent);
    return out->size;
}

static int bit_width(u128_t value)
{
    uint64_t high = (uint64_t)(value >> 64);
    return high != 0 ? 128 - __builtin_clzll(high) : 64 - __builtin_clzll((uint64_t)value);
}

/* The bits of mantissa · 10^exponent, exactly rounded, for |exponent| ≤ 27 and a mantissa above
 * zero. In that range a value is far from being subnormal in either format; false on overflow. */
static bool assemble(uint64_t *bits, uint64_t mantissa, int exponent, const format_t *format)
{
    u128_t value;
    bool sticky = false;
    int scale = exponent; /* the value is `value · 2^scale` and a bit more when sticky */
    if (exponent >= 0) {
        value = (u128_t)mantissa * gpulet_decimal_pow5[exponent];
    } else {
        uint64_t divisor = gpulet_decimal_pow5[-exponent];
        int shift = 64 + __builtin_clzll(mantissa);
        u128_t dividend = (u128_t)mantissa << shift;
        value = dividend / divisor;
        sticky = value * divisor != dividend;
        scale -= shift;
    }
    int drop = bit_width(value) - format->significand_bits;
    uint64_t significand;
    if (drop <= 0) {
        significand = (uint64_t)value << -drop;
    } else {
        u128_t rest = value & (((u128_t)1 << drop) - 1);
        u128_t half = (u128_t)1 << (drop - 1);
        significand = (uint64_t)(value >> drop);
        if (rest > half || (rest == half && (sticky || (significand & 1U) != 0)))
            significand++;
    }
    int power = scale + drop;
    if (significand >> format->significand_bits != 0) {
        significand >>= 1;
        power++;
    }
    int bias = (1 << (format->exponent_bits - 1)) - 1;
    int biased = power + format->significand_bits - 1 + bias;
    if (biased >= (1 << format->exponent_bits) - 1)
        return false;
    uint64_t fraction_mask = (UINT64_C(1) << (format->significand_bits - 1)) - 1;
    *bits = ((uint64_t)biased << (format->significand_bits - 1)) | (significand & fraction_mask);
    return true;
}

/* The number as "digits e exponent", without a point, which a locale might spell otherwise. */
static void rewrite(char out[DIGITS_KEPT + GPULET_NUMBER_TEXT_MAX], const gpulet_decimal_t *decimal)
{
    size_t used = 0;
    size_t i = decimal->negative;
    int32_t written = 0;
    int64_t exponent = 0;
    bool fraction = false;
    bool dropped = false;
    for (; i < decimal->size && !is_mark(decimal->text[i]); i++) {
        char c = decimal->text[i];
        if (c == '.') {
            fraction = true;
        } else if (used < DIGITS_KEPT && (used > 0 || c != '0')) {
            out[used++] = c;
            exponent -= fraction;
        } else if (used == 0) {
            exponent -= fraction;
        } else {
            dropped = dropped || c != '0';
            exponent += !fraction;
        }
    }
    if (i < decimal->size)
        (void)read_exponent(&written, decimal->text + i + 1, decimal->text + decimal->size);
    exponent += written;
    if (used == 0)
        out[used++] = '0';
    if (dropped) { /* anything above a tie is above it */
        out[used++] = '1';
        exponent--;
    }
    out[used++] = 'e';
    used += gpulet_number_write_i64(out + used, clamp_exponent(exponent));
    out[used] = '\0';
}

bool gpulet_decimal_f64(double *out, const gpulet_decimal_t *decimal)
{
    double value;
    int exponent = decimal->exponent;
    if (decimal->whole && decimal->mantissa == 0) {
        value = 0;
    } else if (decimal->whole && decimal->mantissa <= UINT64_C(1) << 53 && exponent >= -22 &&
               exponent <= 22) {
        value = exponent < 0 ? (double)decimal->mantissa / pow10_exact[-exponent]
                             : (double)decimal->mantissa * pow10_exact[exponent];
    } else if (decimal->whole && exponent >= -GPULET_DECIMAL_POW5_MAX &&
               exponent <= GPULET_DECIMAL_POW5_MAX) {
        uint64_t bits = 0;
        if (!assemble(&bits, decimal->mantissa, exponent, &format_f64))
            return false;
        memcpy(&value, &bits, sizeof(value));
    } else {
        char text[DIGITS_KEPT + GPULET_NUMBER_TEXT_MAX];
        rewrite(text, decimal);
        value = strtod(text, NULL);
        if (!isfinite(value))
            return false;
    }
    *out = decimal->negative ? -value : value;
    return true;
}

/* Whether a double stands exactly between two floats, where rounding it may differ from rounding
 * the decimal. */
static bool between_floats(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return (bits & ((UINT64_C(1) << 29) - 1)) == UINT64_C(1) << 28;
}

bool gpulet_decimal_f32(float *out, const gpulet_decimal_t *decimal)
{
    float value = 0;
    int exponent = decimal->exponent;
    if (decimal->whole && decimal->mantissa == 0) {
        *out = decimal->negative ? -0.0F : 0.0F;
        return true;
    }
    if (decimal->whole && decimal->mantissa <= UINT64_C(1) << 53 && exponent >= -22 &&
        exponent <= 22) {
        double wide = exponent < 0 ? (double)decimal->mantissa / pow10_exact[-exponent]
                                   : (double)decimal->mantissa * pow10_exact[exponent];
        if (!between_floats(wide)) {
            value = (float)wide; /* at most 9.1e37: it fits */
            *out = decimal->negative ? -value : value;
            return true;
        }
    }
    if (decimal->whole && exponent >= -GPULET_DECIMAL_POW5_MAX &&
        exponent <= GPULET_DECIMAL_POW5_MAX) {
        uint64_t bits = 0;
        if (!assemble(&bits, decimal->mantissa, exponent, &format_f32))
            return false;
        uint32_t narrow = (uint32_t)bits;
        memcpy(&value, &narrow, sizeof(value));
    } else {
        char text[DIGITS_KEPT + GPULET_NUMBER_TEXT_MAX];
        rewrite(text, decimal);
        value = strtof(text, NULL);
        if (!isfinite(value))
            return false;
    }
    *out = decimal->negative ? -value : value;
    return true;
}

/* The magnitude as an integer. */
static bool magnitude(uint64_t *out, const gpulet_decimal_t *decimal)
{
    uint64_t value = decimal->mantissa;
    int exponent = decimal->exponent;
    if (!decimal->whole)
        return false;
    for (; value != 0 && exponent < 0; exponent++) {
        if (value % 10 != 0)
            return false;
        value /= 10;
    }
    for (; value != 0 && exponent > 0; exponent--) {
        if (__builtin_mul_overflow(value, (uint64_t)10, &value))
            return false;
    }
    *out = value;
    return true;
}

bool gpulet_decimal_i64(int64_t *out, const gpulet_decimal_t *decimal)
{
    uint64_t value = 0;
    if (!magnitude(&value, decimal) || value > (uint64_t)INT64_MAX + (decimal->negative ? 1U : 0U))
        return false;
    *out = decimal->negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

bool gpulet_decimal_u64(uint64_t *out, const gpulet_decimal_t *decimal)
{
    uint64_t value = 0;
    if (!magnitude(&value, decimal) || (decimal->negative && value != 0))
        return false;
    *out = value;
    return true;
}
