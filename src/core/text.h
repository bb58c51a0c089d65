/* Small text functions that the readers and writers of core/ share: names, quoted excerpts for
 * errors, numbers. Thread-safe: no state. */
#ifndef GPULET_CORE_TEXT_H
#define GPULET_CORE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

/* GPULET_TEXT_EXCERPT_SIZE holds any excerpt, GPULET_TEXT_NUMBER_SIZE any number. */
enum { GPULET_TEXT_EXCERPT_SIZE = 72, GPULET_TEXT_NUMBER_SIZE = 40 };

/* Bytes of the UTF-8 character that text[0..len) starts with; 0 when it is not one. */
size_t gpulet_text_utf8(const char *text, size_t len);

/* Whether text[0..len) may name something: 1 to len_max bytes of UTF-8 without control characters.
 * E_INVALID with "expected …, found …". */
gpulet_status_t gpulet_text_check_name(const char *text, size_t len, size_t len_max,
                                       gpulet_error_t *err) GPULET_MUST_USE;

/* Copies the beginning of the text in single quotes, cut between characters; what is no printable
 * UTF-8 becomes '?'. Returns out. */
const char *gpulet_text_excerpt(char out[GPULET_TEXT_EXCERPT_SIZE], const char *text, size_t len);

/* The shortest decimal that reads back as the same double. The value is finite. Returns out. */
const char *gpulet_text_number(char out[GPULET_TEXT_NUMBER_SIZE], double value);

/* A range that a number has to be in. */
typedef struct gpulet_text_range {
    double min;
    double max;
    bool above;           /* min itself is outside */
    const char *expected; /* "a number above 0" */
} gpulet_text_range_t;

/* False for NAN. */
bool gpulet_text_in_range(const gpulet_text_range_t *range, double value);

extern const gpulet_text_range_t gpulet_text_any;      /* any finite number */
extern const gpulet_text_range_t gpulet_text_positive; /* above 0 */
extern const gpulet_text_range_t gpulet_text_natural;  /* 0 or above */
extern const gpulet_text_range_t gpulet_text_fraction; /* 0 … 1 */

#endif
