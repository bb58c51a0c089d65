#include "core/csv.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static gpulet_status_t fail_line(const gpulet_csv_t *csv, const char *text, gpulet_error_t *err)
{
    return gpulet_fail(err, GPULET_E_INVALID, "%s:%zu: row: %s", csv->file, csv->line, text);
}

/* Cuts the next line off; false at the end of the text. */
static bool take_line(gpulet_csv_t *csv, const char **start, size_t *len)
{
    if (csv->next == csv->end)
        return false;
    size_t left = (size_t)(csv->end - csv->next);
    const char *newline = memchr(csv->next, '\n', left);
    size_t line_len = newline != NULL ? (size_t)(newline - csv->next) : left;
    *start = csv->next;
    csv->next += line_len + (newline != NULL ? 1 : 0);
    csv->line++;
    if (line_len > 0 && (*start)[line_len - 1] == '\r')
        line_len--;
    *len = line_len;
    return true;
}

static bool is_skipped(const char *line, size_t len)
{
    size_t i = 0;
    while (i < len && is_blank(line[i]))
        i++;
    return i == len || line[i] == '#';
}

static gpulet_status_t check_bytes(const gpulet_csv_t *csv, const char *line, size_t len,
                                   gpulet_error_t *err)
{
    if (len > GPULET_CSV_LINE_MAX)
        return gpulet_fail(err, GPULET_E_TOO_LARGE,
                           "%s:%zu: row: expected at most %d bytes, found %zu", csv->file,
                           csv->line, GPULET_CSV_LINE_MAX, len);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)line[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return gpulet_fail(err, GPULET_E_INVALID,
                               "%s:%zu: row: expected text, found the control byte 0x%02x",
                               csv->file, csv->line, c);
    }
    return GPULET_OK;
}

/* line[*at] is the opening quote; unescapes into out and leaves *at behind the closing one. False:
 * it is never closed. */
static bool take_quoted(const char *line, size_t len, size_t *at, char *out, size_t *out_len)
{
    size_t used = 0;
    for (size_t i = *at + 1; i < len; i++) {
        if (line[i] != '"') {
            out[used++] = line[i];
        } else if (i + 1 < len && line[i + 1] == '"') {
            out[used++] = '"';
            i++;
        } else {
            *at = i + 1;
            *out_len = used;
            return true;
        }
    }
    return false;
}

static size_t take_plain(const char *line, size_t len, size_t *at, char *out)
{
    size_t start = *at;
    size_t end = start;
    while (end < len && line[end] != ',')
        end++;
    *at = end;
    while (end > start && is_blank(line[end - 1]))
        end--;
    memcpy(out, line + start, end - start);
    return end - start;
}

/* Splits one line into csv->fields. Unescaping never lengthens, so LINE_MAX and a zero byte a field
 * are enough scratch. */
static gpulet_status_t split(gpulet_csv_t *csv, const char *line, size_t len, size_t *count,
                             gpulet_error_t *err)
{
    size_t at = 0;
    size_t used = 0;
    for (*count = 0;; at++) {
        size_t field_len = 0;
        if (*count == GPULET_CSV_COLUMNS_MAX)
            return gpulet_fail(err, GPULET_E_TOO_LARGE,
                               "%s:%zu: row: expected at most %d fields, found more", csv->file,
                               csv->line, GPULET_CSV_COLUMNS_MAX);
        while (at < len && is_blank(line[at]))
            at++;
        if (at < len && line[at] == '"') {
            if (!take_quoted(line, len, &at, csv->scratch + used, &field_len))
                return fail_line(csv, "expected a closing quote, found the end of the line", err);
            while (at < len && is_blank(line[at]))
                at++;
            if (at < len && line[at] != ',')
                return fail_line(csv, "expected a comma after the closing quote, found more text",
                                 err);
        } else {
            field_len = take_plain(line, len, &at, csv->scratch + used);
            if (memchr(csv->scratch + used, '"', field_len) != NULL)
                return fail_line(csv, "expected quotes around a whole field, found one inside",
                                 err);
        }
        csv->scratch[used + field_len] = '\0';
        csv->fields[(*count)++] = (gpulet_csv_field_t){csv->scratch + used, field_len};
        used += field_len + 1;
        if (at >= len)
            return GPULET_OK;
    }
}

/* The fields of the next line that is neither blank nor a comment; *count is 0 at the end. */
static gpulet_status_t read_fields(gpulet_csv_t *csv, size_t *count, gpulet_error_t *err)
{
    const char *line = NULL;
    size_t len = 0;
    *count = 0;
    while (take_line(csv, &line, &len)) {
        if (is_skipped(line, len))
            continue;
        gpulet_status_t st = check_bytes(csv, line, len, err);
        return st != GPULET_OK ? st : split(csv, line, len, count, err);
    }
    return GPULET_OK;
}

static gpulet_status_t setup(gpulet_csv_t *csv, const char *text, size_t size, const char *file,
                             gpulet_error_t *err)
{
    memset(csv, 0, sizeof(*csv));
    csv->file = file;
    if (size > GPULET_CSV_FILE_SIZE_MAX)
        return gpulet_fail(err, GPULET_E_TOO_LARGE, "%s: larger than %d bytes", file,
                           GPULET_CSV_FILE_SIZE_MAX);
    csv->scratch = malloc(GPULET_CSV_LINE_MAX + GPULET_CSV_COLUMNS_MAX + 1);
    if (csv->scratch == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", file);
    bool marked = size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0;
    csv->next = text + (marked ? 3 : 0);
    csv->end = text + size;
    return GPULET_OK;
}

static gpulet_status_t add_column(gpulet_csv_t *csv, const char *name, gpulet_error_t *err)
{
    size_t index = csv->columns_count;
    if (gpulet_csv_column(csv, name) >= 0)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s:%zu: %s: expected each column once, found it twice", csv->file,
                           csv->line, name);
    if ((csv->names[index] = strdup(name)) == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", csv->file);
    csv->columns_count++;
    return GPULET_OK;
}

static gpulet_status_t read_header(gpulet_csv_t *csv, gpulet_error_t *err)
{
    size_t count = 0;
    gpulet_status_t st = read_fields(csv, &count, err);
    if (st != GPULET_OK)
        return st;
    if (count == 0)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s:%zu: header: expected column names, found the end of the file",
                           csv->file, csv->line + 1);
    for (size_t i = 0; i < count; i++) {
        const gpulet_csv_field_t *field = &csv->fields[i];
        gpulet_error_t why;
        st = gpulet_text_check_name(field->text, field->len, GPULET_CSV_COLUMN_NAME_MAX, &why);
        if (st != GPULET_OK)
            return gpulet_fail(err, st, "%s:%zu: header: %s", csv->file, csv->line, why.text);
        if ((st = add_column(csv, field->text, err)) != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_csv_open(gpulet_csv_t *csv, const char *text, size_t size, const char *file,
                                gpulet_error_t *err)
{
    gpulet_status_t st = setup(csv, text, size, file, err);
    if (st == GPULET_OK)
        st = read_header(csv, err);
    if (st != GPULET_OK)
        gpulet_csv_close(csv);
    return st;
}

gpulet_status_t gpulet_csv_open_bare(gpulet_csv_t *csv, const char *text, size_t size,
                                     const char *file, const char *const *names,
                                     gpulet_error_t *err)
{
    gpulet_status_t st = setup(csv, text, size, file, err);
    for (size_t i = 0; st == GPULET_OK && names[i] != NULL; i++) {
        assert(i < GPULET_CSV_COLUMNS_MAX);
        st = add_column(csv, names[i], err);
    }
    if (st != GPULET_OK)
        gpulet_csv_close(csv);
    return st;
}

void gpulet_csv_close(gpulet_csv_t *csv)
{
    for (size_t i = 0; i < csv->columns_count; i++)
        free(csv->names[i]);
    free(csv->scratch);
    csv->columns_count = 0;
    csv->scratch = NULL;
}

gpulet_status_t gpulet_csv_next(gpulet_csv_t *csv, bool *more, gpulet_error_t *err)
{
    size_t count = 0;
    gpulet_status_t st = read_fields(csv, &count, err);
    if (st != GPULET_OK)
        return st;
    *more = count > 0;
    if (count == 0)
        return GPULET_OK;
    if (count != csv->columns_count)
        return gpulet_fail(err, GPULET_E_INVALID, "%s:%zu: row: expected %zu fields, found %zu",
                           csv->file, csv->line, csv->columns_count, count);
    if (++csv->rows_count > GPULET_CSV_ROWS_MAX)
        return gpulet_fail(err, GPULET_E_TOO_LARGE,
                           "%s:%zu: row: expected at most %d rows, found more", csv->file,
                           csv->line, GPULET_CSV_ROWS_MAX);
    return GPULET_OK;
}

int gpulet_csv_column(const gpulet_csv_t *csv, const char *name)
{
    for (size_t i = 0; i < csv->columns_count; i++) {
        if (strcmp(csv->names[i], name) == 0)
            return (int)i;
    }
    return -1;
}

gpulet_status_t gpulet_csv_require(const gpulet_csv_t *csv, int *out, const char *name,
                                   gpulet_error_t *err)
{
    int column = gpulet_csv_column(csv, name);
    if (column < 0)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s:%zu: %s: expected such a column in the header, found none",
                           csv->file, csv->line, name);
    *out = column;
    return GPULET_OK;
}

bool gpulet_csv_has(const gpulet_csv_t *csv, int column)
{
    return column >= 0 && csv->fields[column].len > 0;
}

gpulet_status_t gpulet_csv_fail(const gpulet_csv_t *csv, int column, const char *expected,
                                gpulet_error_t *err)
{
    char found[GPULET_TEXT_EXCERPT_SIZE];
    const gpulet_csv_field_t *field = &csv->fields[column];
    return gpulet_fail(err, GPULET_E_INVALID, "%s:%zu: %s: expected %s, found %s", csv->file,
                       csv->line, csv->names[column], expected,
                       field->len == 0 ? "nothing"
                                       : gpulet_text_excerpt(found, field->text, field->len));
}

gpulet_status_t gpulet_csv_f64(const gpulet_csv_t *csv, int column, double *out,
                               const gpulet_text_range_t *range, gpulet_error_t *err)
{
    double value = 0;
    const gpulet_csv_field_t *field = &csv->fields[column];
    if (gpulet_parse_f64(&value, field->text, field->len) != GPULET_OK ||
        !gpulet_text_in_range(range, value))
        return gpulet_csv_fail(csv, column, range->expected, err);
    *out = value;
    return GPULET_OK;
}

gpulet_status_t gpulet_csv_u32(const gpulet_csv_t *csv, int column, uint32_t *out, uint32_t min,
                               uint32_t max, gpulet_error_t *err)
{
    uint64_t value = 0;
    char found[GPULET_TEXT_EXCERPT_SIZE];
    const gpulet_csv_field_t *field = &csv->fields[column];
    if (gpulet_parse_u64(&value, field->text, field->len) == GPULET_OK && value >= min &&
        value <= max) {
        *out = (uint32_t)value;
        return GPULET_OK;
    }
    return gpulet_fail(
        err, GPULET_E_INVALID, "%s:%zu: %s: expected a whole number from %u to %u, found %s",
        csv->file, csv->line, csv->names[column], min, max,
        field->len == 0 ? "nothing" : gpulet_text_excerpt(found, field->text, field->len));
}

gpulet_status_t gpulet_csv_name(const gpulet_csv_t *csv, int column, size_t len_max,
                                gpulet_error_t *err)
{
    const gpulet_csv_field_t *field = &csv->fields[column];
    gpulet_error_t why;
    gpulet_status_t st = gpulet_text_check_name(field->text, field->len, len_max, &why);
    if (st != GPULET_OK)
        (void)gpulet_fail(err, st, "%s:%zu: %s: %s", csv->file, csv->line, csv->names[column],
                          why.text);
    return st;
}

void gpulet_csv_append(gpulet_buf_t *out, const char *text)
{
    size_t len = strlen(text);
    bool bare = strpbrk(text, ",\"") == NULL;
    if (len > 0)
        bare = bare && text[0] != '#' && !is_blank(text[0]) && !is_blank(text[len - 1]);
    if (bare) {
        gpulet_buf_append(out, text, len);
        return;
    }
    gpulet_buf_append_char(out, '"');
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"')
            gpulet_buf_append_char(out, '"');
        gpulet_buf_append_char(out, text[i]);
    }
    gpulet_buf_append_char(out, '"');
}

void gpulet_csv_append_f64(gpulet_buf_t *out, double value)
{
    char text[GPULET_TEXT_NUMBER_SIZE];
    if (!isnan(value))
        gpulet_buf_append_str(out, gpulet_text_number(text, value));
}
