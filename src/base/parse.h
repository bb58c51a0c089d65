/* Strict number parsing from length-bounded bytes: the whole text must be the number. Thread-safe:
 * no state. */
#ifndef GPULET_BASE_PARSE_H
#define GPULET_BASE_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Decimal digits only; no sign, no blanks. E_INVALID when it is no number, E_TOO_LARGE when it does
 * not fit. */
gpulet_status_t gpulet_parse_u64(uint64_t *out, const char *text, size_t len) GPULET_MUST_USE;
/* The same with an optional leading '-'. */
gpulet_status_t gpulet_parse_i64(int64_t *out, const char *text, size_t len) GPULET_MUST_USE;
/* A finite decimal number, exponent allowed; no hexadecimal, no "inf" or "nan", no blanks. */
gpulet_status_t gpulet_parse_f64(double *out, const char *text, size_t len) GPULET_MUST_USE;
/* "true", "false", "1", "0", "yes", "no", "on", "off". */
gpulet_status_t gpulet_parse_bool(bool *out, const char *text, size_t len) GPULET_MUST_USE;

#endif
