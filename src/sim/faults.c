#include "sim/faults.h"

#include <stddef.h>
#include <string.h>

#include "base/buf.h"
#include "base/parse.h"
#include "core/text.h"

static const double rate_most = 1000; /* a second */
static const double size_most = 100000;

typedef struct row {
    const char *name;
    gpulet_fault_unit_t unit;
    double size;
} row_t;

static const row_t rows[] = {
#define FAULT_ROW(name, text, unit, size, help) {text, GPULET_FAULT_##unit, size},
    GPULET_FAULT_MAP(FAULT_ROW)
#undef FAULT_ROW
};

const char *gpulet_fault_name(gpulet_fault_t fault)
{
    return rows[fault].name;
}

bool gpulet_faults_any(const gpulet_faults_t *faults)
{
    for (int i = 0; i < GPULET_FAULT_COUNT; i++) {
        if (faults->chance[i] > 0)
            return true;
    }
    return false;
}

static gpulet_status_t refuse(const char *expected, const char *text, size_t len,
                              gpulet_error_t *err)
{
    char excerpt[GPULET_TEXT_EXCERPT_SIZE];
    return gpulet_fail(err, GPULET_E_INVALID, "expected %s, found %s", expected,
                       gpulet_text_excerpt(excerpt, text, len));
}

static gpulet_status_t refuse_name(const char *text, size_t len, gpulet_error_t *err)
{
    gpulet_buf_t names = GPULET_BUF_INIT;
    for (int i = 0; i < GPULET_FAULT_COUNT; i++)
        gpulet_buf_printf(&names, "%s%s", i == 0 ? "one of " : ", ", rows[i].name);
    gpulet_status_t st =
        refuse(names.data != NULL ? names.data : "the name of a fault", text, len, err);
    gpulet_buf_deinit(&names);
    return st;
}

static gpulet_status_t parse_size(double *out, const row_t *row, const char *text, size_t len,
                                  gpulet_error_t *err)
{
    if (row->size <= 0)
        return gpulet_fail(err, GPULET_E_INVALID, "%s: expected no size after the chance",
                           row->name);
    if (gpulet_parse_f64(out, text, len) != GPULET_OK || !(*out >= 1 && *out <= size_most)) {
        (void)refuse("a size from 1 to 100000", text, len, err);
        gpulet_error_prefix(err, "%s", row->name);
        return GPULET_E_INVALID;
    }
    return GPULET_OK;
}

/* "0.01" or "0.01x10". */
static gpulet_status_t parse_value(gpulet_faults_t *faults, int fault, const char *text, size_t len,
                                   gpulet_error_t *err)
{
    const row_t *row = &rows[fault];
    const char *by = memchr(text, 'x', len);
    size_t chance_len = by != NULL ? (size_t)(by - text) : len;
    bool rate = row->unit == GPULET_FAULT_PER_SECOND;
    double chance = 0;
    if (gpulet_parse_f64(&chance, text, chance_len) != GPULET_OK ||
        !(chance >= 0 && chance <= (rate ? rate_most : 1))) {
        (void)refuse(rate ? "times a second, from 0 to 1000" : "a chance from 0 to 1", text,
                     chance_len, err);
        gpulet_error_prefix(err, "%s", row->name);
        return GPULET_E_INVALID;
    }
    faults->chance[fault] = chance;
    return by == NULL ? GPULET_OK
                      : parse_size(&faults->size[fault], row, by + 1, len - chance_len - 1, err);
}

static gpulet_status_t parse_one(gpulet_faults_t *faults, bool *seen, const char *text, size_t len,
                                 gpulet_error_t *err)
{
    const char *equals = memchr(text, '=', len);
    if (equals == NULL)
        return refuse("name=chance", text, len, err);
    size_t name_len = (size_t)(equals - text);
    for (int i = 0; i < GPULET_FAULT_COUNT; i++) {
        if (strlen(rows[i].name) != name_len || memcmp(rows[i].name, text, name_len) != 0)
            continue;
        if (seen[i])
            return gpulet_fail(err, GPULET_E_INVALID, "%s: expected once, found twice",
                               rows[i].name);
        seen[i] = true;
        return parse_value(faults, i, equals + 1, len - name_len - 1, err);
    }
    return refuse_name(text, name_len, err);
}

gpulet_status_t gpulet_faults_parse(gpulet_faults_t *out, const char *text, gpulet_error_t *err)
{
    gpulet_faults_t faults = {0};
    bool seen[GPULET_FAULT_COUNT] = {false};
    for (int i = 0; i < GPULET_FAULT_COUNT; i++)
        faults.size[i] = rows[i].size;
    while (*text != '\0') {
        size_t len = strcspn(text, ",");
        gpulet_status_t st = parse_one(&faults, seen, text, len, err);
        if (st != GPULET_OK)
            return st;
        text += len;
        if (*text == ',' && *++text == '\0')
            return gpulet_fail(err, GPULET_E_INVALID, "expected name=chance after the last comma");
    }
    *out = faults;
    return GPULET_OK;
}
