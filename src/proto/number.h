/* Decimal numbers, read and written without the locale and exactly rounded. Private to proto/.
 * Thread-safe: no state.
 *
 * Reading: short decimals take one floating-point operation on exact operands (W. Clinger, 1990);
 * up to 19 digits with an exponent of at most ±27 one 128-bit integer operation; the rare rest goes
 * to strtod as digits without a point, so that no locale matters. Writing: the shortest decimal
 * that reads back to the same bits (R. Giulietti's Schubfach, with exact 128-bit products in place
 * of a table), or 9 or 17 digits outside the range where those are exact. */
#ifndef GPULET_PROTO_NUMBER_H
#define GPULET_PROTO_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GPULET_DECIMAL_POW5_MAX = 27, GPULET_NUMBER_TEXT_MAX = 32 };

/* 5^0 … 5^27, the last that 63 bits hold. */
extern const uint64_t gpulet_decimal_pow5[GPULET_DECIMAL_POW5_MAX + 1];

/* A scanned number: ±mantissa · 10^exponent when `whole`; otherwise it has more digits than fit and
 * only its text tells all. */
typedef struct gpulet_decimal {
    const char *text; /* borrowed */
    size_t size;
    uint64_t mantissa;
    int32_t exponent;
    bool negative;
    bool whole;
} gpulet_decimal_t;

/* Reads the longest JSON number (RFC 8259 §6) that text[0..size) begins with; returns its bytes, 0
 * when there is none. */
size_t gpulet_decimal_scan(gpulet_decimal_t *out, const char *text, size_t size);
/* False when the value overflows the type; too small a value becomes a subnormal or zero. */
bool gpulet_decimal_f64(double *out, const gpulet_decimal_t *decimal);
bool gpulet_decimal_f32(float *out, const gpulet_decimal_t *decimal);
/* False when the value is no integer (1.0 and 1e2 are) or does not fit. */
bool gpulet_decimal_i64(int64_t *out, const gpulet_decimal_t *decimal);
bool gpulet_decimal_u64(uint64_t *out, const gpulet_decimal_t *decimal);

/* Write to out[0..GPULET_NUMBER_TEXT_MAX) and return the bytes; not zero-terminated. NaN and
 * infinities are "null". */
size_t gpulet_number_write_f32(char *out, float value);
size_t gpulet_number_write_f64(char *out, double value);
size_t gpulet_number_write_u64(char *out, uint64_t value);
size_t gpulet_number_write_i64(char *out, int64_t value);

#endif
