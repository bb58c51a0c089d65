#include "proto/number.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128_t;

enum { DIGITS_MAX = 17, POINT_MIN = -4, POINT_MAX = 17 };

/* A number in decimal: digits · 10^exponent. */
typedef struct shortest {
    uint64_t digits;
    int exponent;
} shortest_t;

static int floor_log10_pow2(int q)
{
    return (int)((q * INT64_C(1262611)) >> 22);
}

static int floor_log10_three_quarters_pow2(int q)
{
    return (int)((q * INT64_C(1262611) - 524031) >> 22);
}

/* floor(n · 2^q / 10^k), its lowest bit set when there was a remainder, for |k| ≤ 27. k is chosen
 * so that 2^q / 10^k is in [1, 14): with n below 2^56 no product leaves 128 bits. */
static uint64_t scaled(uint64_t n, int q, int k)
{
    int shift = q - k;
    if (k > 0) {
        u128_t dividend = (u128_t)n << shift;
        uint64_t divisor = gpulet_decimal_pow5[k]; /* cppcheck-suppress arrayIndexOutOfBoundsCond */
        u128_t quotient = dividend / divisor;
        return (uint64_t)quotient | (quotient * divisor != dividend);
    }
    u128_t product = (u128_t)n * gpulet_decimal_pow5[-k];
    if (shift >= 0)
        return (uint64_t)(product << shift);
    return (uint64_t)(product >> -shift) | ((product & (((u128_t)1 << -shift) - 1)) != 0);
}

/* The shortest decimal nearest to c · 2^q among those that read back as it; `closer`: the next
 * smaller number is half as far as the next larger. False outside the range of exact products. */
static bool find_shortest(shortest_t *out, uint64_t c, int q, bool closer)
{
    int k = closer ? floor_log10_three_quarters_pow2(q) : floor_log10_pow2(q);
    if (k < -GPULET_DECIMAL_POW5_MAX || k > GPULET_DECIMAL_POW5_MAX)
        return false;
    /* All in quarters of 10^k; a tie reads back to the even significand. */
    bool odd = (c & 1U) != 0;
    uint64_t middle = scaled(4 * c, q, k);
    uint64_t lower = scaled(4 * c - (closer ? 1 : 2), q, k) + odd;
    uint64_t upper = scaled(4 * c + 2, q, k) - odd;
    uint64_t s = middle / 4;
    if (s >= 10) {
        uint64_t tens = s / 10;
        bool down = lower <= 40 * tens;
        bool up = 40 * tens + 40 <= upper;
        if (down != up) {
            *out = (shortest_t){tens + up, k + 1};
            return true;
        }
    }
    bool down = lower <= 4 * s;
    bool up = 4 * s + 4 <= upper;
    bool nearer_up = middle > 4 * s + 2 || (middle == 4 * s + 2 && (s & 1U) != 0);
    *out = (shortest_t){s + (down != up ? up : nearer_up), k};
    return true;
}

size_t gpulet_number_write_u64(char *out, uint64_t value)
{
    char reverse[20];
    size_t used = sizeof(reverse);
    do {
        reverse[--used] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    memcpy(out, reverse + used, sizeof(reverse) - used);
    return sizeof(reverse) - used;
}

size_t gpulet_number_write_i64(char *out, int64_t value)
{
    if (value >= 0)
        return gpulet_number_write_u64(out, (uint64_t)value);
    out[0] = '-';
    return 1 + gpulet_number_write_u64(out + 1, 0 - (uint64_t)value);
}

static size_t write_scientific(char *out, const char *digits, size_t count, int exponent)
{
    size_t used = 0;
    out[used++] = digits[0];
    if (count > 1) {
        out[used++] = '.';
        memcpy(out + used, digits + 1, count - 1);
        used += count - 1;
    }
    out[used++] = 'e';
    return used + gpulet_number_write_i64(out + used, exponent);
}

/* Digits as a JSON number with a point or an exponent in it, so that readers see a float. */
static size_t write_decimal(char *out, shortest_t number)
{
    char digits[20];
    size_t used = 0;
    while (number.digits >= 10 && number.digits % 10 == 0) {
        number.digits /= 10;
        number.exponent++;
    }
    size_t count = gpulet_number_write_u64(digits, number.digits);
    int point = (int)count + number.exponent;
    if (point < POINT_MIN || point > POINT_MAX)
        return write_scientific(out, digits, count, point - 1);
    if (point <= 0) {
        memcpy(out, "0.0000", (size_t)(2 - point));
        used = (size_t)(2 - point);
        memcpy(out + used, digits, count);
        return used + count;
    }
    size_t whole = (size_t)point < count ? (size_t)point : count;
    memcpy(out, digits, whole);
    used = whole;
    for (; used < (size_t)point; used++)
        out[used] = '0';
    out[used++] = '.';
    if (whole == count)
        out[used++] = '0';
    memcpy(out + used, digits + whole, count - whole);
    return used + (count - whole);
}

/* Far from 1, where exact products do not fit: the C library's digits, which are enough but perhaps
 * not the fewest. Its decimal point, which a locale may change, is stepped over. */
static shortest_t library_digits(double magnitude, int digits_count)
{
    char text[64];
    shortest_t result = {0, 0};
    int written = 0;
    (void)snprintf(text, sizeof(text), "%.*e", digits_count - 1, magnitude);
    const char *p = text;
    for (; *p != '\0' && *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9')
            result.digits = result.digits * 10 + (uint64_t)(*p - '0');
    }
    bool negative = p[0] == 'e' && p[1] == '-';
    for (; *p != '\0'; p++) {
        if (*p >= '0' && *p <= '9')
            written = written * 10 + (*p - '0');
    }
    result.exponent = (negative ? -written : written) - (digits_count - 1);
    return result;
}

static size_t write_null(char *out)
{
    static const char word[] = {'n', 'u', 'l', 'l'};
    memcpy(out, word, sizeof(word));
    return sizeof(word);
}

size_t gpulet_number_write_f64(char *out, double value)
{
    uint64_t bits;
    shortest_t number;
    size_t used = 0;
    if (!isfinite(value)) {
        return write_null(out);
    }
    memcpy(&bits, &value, sizeof(bits));
    if (bits >> 63 != 0)
        out[used++] = '-';
    uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1);
    int biased = (int)((bits >> 52) & 0x7ffU);
    uint64_t c = biased != 0 ? fraction | UINT64_C(1) << 52 : fraction;
    int q = (biased != 0 ? biased : 1) - 1075;
    if (c == 0)
        number = (shortest_t){0, 0};
    else if (q <= 0 && q > -53 && (c & ((UINT64_C(1) << -q) - 1)) == 0)
        number = (shortest_t){c >> -q, 0};
    else if (!find_shortest(&number, c, q, fraction == 0 && biased > 1))
        number = library_digits(fabs(value), DIGITS_MAX);
    return used + write_decimal(out + used, number);
}

size_t gpulet_number_write_f32(char *out, float value)
{
    uint32_t bits;
    shortest_t number;
    size_t used = 0;
    if (!isfinite(value)) {
        return write_null(out);
    }
    memcpy(&bits, &value, sizeof(bits));
    if (bits >> 31 != 0)
        out[used++] = '-';
    uint32_t fraction = bits & 0x7fffffU;
    int biased = (int)((bits >> 23) & 0xffU);
    uint32_t c = biased != 0 ? fraction | 0x800000U : fraction;
    int q = (biased != 0 ? biased : 1) - 150;
    if (c == 0)
        number = (shortest_t){0, 0};
    else if (q <= 0 && q > -24 && (c & ((1U << -q) - 1)) == 0)
        number = (shortest_t){c >> -q, 0};
    else if (!find_shortest(&number, c, q, fraction == 0 && biased > 1))
        number = library_digits(fabs((double)value), 9);
    return used + write_decimal(out + used, number);
}
