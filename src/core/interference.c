#include "core/interference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "core/csv.h"

enum { COEFFICIENTS_COUNT = 5, ROWS_MAX = 4096 };

static const char *const coefficient_names[COEFFICIENTS_COUNT] = {
    "l2_self", "l2_other", "dram_self", "dram_other", "constant"};

static double *coefficient(gpulet_interference_row_t *row, size_t index)
{
    double *const fields[COEFFICIENTS_COUNT] = {&row->l2_self, &row->l2_other, &row->dram_self,
                                                &row->dram_other, &row->constant};
    return fields[index];
}

typedef struct columns {
    int device;
    int coefficients[COEFFICIENTS_COUNT];
} columns_t;

static gpulet_status_t find_columns(const gpulet_csv_t *csv, columns_t *columns,
                                    gpulet_error_t *err)
{
    gpulet_status_t st = gpulet_csv_require(csv, &columns->device, "device", err);
    for (size_t i = 0; st == GPULET_OK && i < COEFFICIENTS_COUNT; i++)
        st = gpulet_csv_require(csv, &columns->coefficients[i], coefficient_names[i], err);
    return st;
}

static gpulet_status_t read_row(const gpulet_csv_t *csv, const columns_t *columns,
                                gpulet_interference_t *interference, gpulet_error_t *err)
{
    gpulet_interference_row_t row = {0};
    gpulet_status_t st = gpulet_csv_name(csv, columns->device, GPULET_DEVICE_NAME_MAX, err);
    if (st != GPULET_OK)
        return st;
    memcpy(row.device, csv->fields[columns->device].text, csv->fields[columns->device].len + 1);
    for (size_t i = 0; st == GPULET_OK && i < COEFFICIENTS_COUNT; i++)
        st = gpulet_csv_f64(csv, columns->coefficients[i], coefficient(&row, i), &gpulet_text_any,
                            err);
    if (st != GPULET_OK)
        return st;
    if (gpulet_interference_find(interference, row.device) != NULL)
        return gpulet_csv_fail(csv, columns->device, "each device once", err);
    if (interference->count == ROWS_MAX)
        return gpulet_fail(err, GPULET_E_TOO_LARGE,
                           "%s:%zu: row: expected at most %d devices, found more", csv->file,
                           csv->line, ROWS_MAX);
    gpulet_interference_row_t *grown =
        reallocarray(interference->rows, interference->count + 1, sizeof(row));
    if (grown == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", csv->file);
    interference->rows = grown;
    interference->rows[interference->count++] = row;
    return GPULET_OK;
}

static gpulet_status_t read_rows(gpulet_csv_t *csv, gpulet_interference_t *interference,
                                 gpulet_error_t *err)
{
    columns_t columns;
    bool more = false;
    gpulet_status_t st = find_columns(csv, &columns, err);
    if (st != GPULET_OK)
        return st;
    while ((st = gpulet_csv_next(csv, &more, err)) == GPULET_OK && more) {
        if ((st = read_row(csv, &columns, interference, err)) != GPULET_OK)
            return st;
    }
    return st;
}

gpulet_status_t gpulet_interference_parse(gpulet_interference_t **out, const char *text,
                                          size_t size, const char *file, gpulet_error_t *err)
{
    gpulet_csv_t csv;
    gpulet_status_t st = gpulet_csv_open(&csv, text, size, file, err);
    if (st != GPULET_OK)
        return st;
    gpulet_interference_t *interference = calloc(1, sizeof(*interference));
    if (interference == NULL)
        st = gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", file);
    else
        st = read_rows(&csv, interference, err);
    gpulet_csv_close(&csv);
    if (st == GPULET_OK)
        *out = interference;
    else
        gpulet_interference_destroy(interference);
    return st;
}

gpulet_status_t gpulet_interference_load(gpulet_interference_t **out, const char *path,
                                         gpulet_error_t *err)
{
    char *text = NULL;
    size_t size = 0;
    gpulet_status_t st = gpulet_file_read(&text, &size, path, GPULET_CSV_FILE_SIZE_MAX, err);
    if (st != GPULET_OK)
        return st;
    st = gpulet_interference_parse(out, text, size, path, err);
    free(text);
    return st;
}

void gpulet_interference_destroy(gpulet_interference_t *interference)
{
    if (interference == NULL)
        return;
    free(interference->rows);
    free(interference);
}

const gpulet_interference_row_t *gpulet_interference_find(const gpulet_interference_t *interference,
                                                          const char *device)
{
    for (size_t i = 0; i < interference->count; i++) {
        if (strcmp(interference->rows[i].device, device) == 0)
            return &interference->rows[i];
    }
    return NULL;
}

double gpulet_interference_factor(const gpulet_interference_row_t *row, double l2_self,
                                  double dram_self, double l2_other, double dram_other)
{
    double factor = row->l2_self * l2_self + row->l2_other * l2_other + row->dram_self * dram_self +
                    row->dram_other * dram_other + row->constant;
    return isnan(factor) || factor >= 1 ? factor : 1;
}

gpulet_status_t gpulet_interference_format_csv(gpulet_buf_t *out,
                                               const gpulet_interference_t *interference)
{
    gpulet_buf_append_str(out, "device,l2_self,l2_other,dram_self,dram_other,constant\n");
    for (size_t i = 0; i < interference->count; i++) {
        gpulet_interference_row_t row = interference->rows[i];
        gpulet_csv_append(out, row.device);
        for (size_t j = 0; j < COEFFICIENTS_COUNT; j++) {
            gpulet_buf_append_char(out, ',');
            gpulet_csv_append_f64(out, *coefficient(&row, j));
        }
        gpulet_buf_append_char(out, '\n');
    }
    return gpulet_buf_status(out);
}
