/* Reads CSV with a header row: columns in any order, `#` comments and blank lines skipped, fields
 * quoted as in RFC 4180 (but never over several lines), CRLF and a byte order mark tolerated. Every
 * error reads "file:line: field: expected …, found …".
 *
 * The reader lives in the caller's memory, borrows the text and the file's name until it is closed,
 * and hands out fields that are valid until the next row. One owner at a time. */
#ifndef GPULET_CORE_CSV_H
#define GPULET_CORE_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "core/text.h"

enum {
    GPULET_CSV_FILE_SIZE_MAX = 64 << 20,
    GPULET_CSV_ROWS_MAX = 1000000,
    GPULET_CSV_COLUMNS_MAX = 64,
    GPULET_CSV_COLUMN_NAME_MAX = 63,
    GPULET_CSV_LINE_MAX = 1 << 16 /* bytes */
};

/* Zero-terminated; blanks around an unquoted field are not part of it. */
typedef struct gpulet_csv_field {
    const char *text;
    size_t len;
} gpulet_csv_field_t;

typedef struct gpulet_csv {
    const char *file;
    const char *next; /* first byte that is not read yet */
    const char *end;
    size_t line; /* 1-based, of the row that was read last */
    size_t rows_count;
    size_t columns_count;
    char *names[GPULET_CSV_COLUMNS_MAX]; /* owned */
    gpulet_csv_field_t fields[GPULET_CSV_COLUMNS_MAX];
    char *scratch; /* owned; the fields' bytes */
} gpulet_csv_t;

/* Reads the header. After an error there is nothing to close. */
gpulet_status_t gpulet_csv_open(gpulet_csv_t *csv, const char *text, size_t size, const char *file,
                                gpulet_error_t *err) GPULET_MUST_USE;
/* For a file without a header: `names` ends with NULL. */
gpulet_status_t gpulet_csv_open_bare(gpulet_csv_t *csv, const char *text, size_t size,
                                     const char *file, const char *const *names,
                                     gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_csv_close(gpulet_csv_t *csv);

/* Reads the next row into csv->fields; *more is false at the end. */
gpulet_status_t gpulet_csv_next(gpulet_csv_t *csv, bool *more, gpulet_error_t *err) GPULET_MUST_USE;

/* Index of the column, or -1. */
int gpulet_csv_column(const gpulet_csv_t *csv, const char *name);
/* The same for a column that has to be there; called before the first row. */
gpulet_status_t gpulet_csv_require(const gpulet_csv_t *csv, int *out, const char *name,
                                   gpulet_error_t *err) GPULET_MUST_USE;

/* Whether the column is there and the row's field is not empty. */
bool gpulet_csv_has(const gpulet_csv_t *csv, int column);
/* E_INVALID with "file:line: column: expected …, found '…'" for the row's field. */
gpulet_status_t gpulet_csv_fail(const gpulet_csv_t *csv, int column, const char *expected,
                                gpulet_error_t *err);
gpulet_status_t gpulet_csv_f64(const gpulet_csv_t *csv, int column, double *out,
                               const gpulet_text_range_t *range,
                               gpulet_error_t *err) GPULET_MUST_USE;
/* A whole number from min to max. */
gpulet_status_t gpulet_csv_u32(const gpulet_csv_t *csv, int column, uint32_t *out, uint32_t min,
                               uint32_t max, gpulet_error_t *err) GPULET_MUST_USE;
/* Checks that the field is a name (core/text.h). */
gpulet_status_t gpulet_csv_name(const gpulet_csv_t *csv, int column, size_t len_max,
                                gpulet_error_t *err) GPULET_MUST_USE;

/* Appends one field, quoted where it must be. The text has no line ends. */
void gpulet_csv_append(gpulet_buf_t *out, const char *text);
/* Appends the shortest decimal that reads back the same; nothing for NAN. */
void gpulet_csv_append_f64(gpulet_buf_t *out, double value);

#endif
