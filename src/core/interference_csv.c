/* Interference files: reading and writing (docs/formats.md "Interference"). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/parse.h"
#include "core/csv.h"
#include "core/interference.h"

enum { COEFFICIENTS_COUNT = 5 };

static const char RESIDUAL_PREFIX[] = "residual_p";

static const char *const coefficient_names[COEFFICIENTS_COUNT] = {
    "l2_self", "l2_other", "dram_self", "dram_other", "constant"};

static const gpulet_text_range_t at_least_one = {1.0, 1e9, false, "a number from 1 to 1e9"};
static const gpulet_text_range_t response = {0.0, 1e12, false, "a number from 0 to 1e12"};
static const gpulet_text_range_t error_range = {-1.0, 1e9, true, "a number from above -1 to 1e9"};

static double *coefficient(gpulet_interference_row_t *row, size_t index)
{
    double *const fields[COEFFICIENTS_COUNT] = {&row->l2_self, &row->l2_other, &row->dram_self,
                                                &row->dram_other, &row->constant};
    return fields[index];
}

typedef struct columns {
    int device;
    int coefficients[COEFFICIENTS_COUNT];
    int model;
    int units;
    int batch;
    int sensitivity;
    int pressure;
    int bound;
    size_t residuals_count;
    int residuals[GPULET_INTERFERENCE_RESIDUALS_MAX]; /* ascending by percent */
    double percents[GPULET_INTERFERENCE_RESIDUALS_MAX];
} columns_t;

/* ---- the header ---- */

static gpulet_status_t add_residual(columns_t *columns, const gpulet_csv_t *csv, int column,
                                    gpulet_error_t *err)
{
    const char *text = csv->names[column] + strlen(RESIDUAL_PREFIX);
    double percent = 0.0;
    size_t at = columns->residuals_count;
    if (gpulet_parse_f64(&percent, text, strlen(text)) != GPULET_OK ||
        !(percent > 0.0 && percent < 100.0))
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s:%zu: %s: expected a percentage between 0 and 100 after %s",
                           csv->file, csv->line, csv->names[column], RESIDUAL_PREFIX);
    if (at == GPULET_INTERFERENCE_RESIDUALS_MAX)
        return gpulet_fail(err, GPULET_E_TOO_LARGE,
                           "%s:%zu: %s: expected at most %d columns of residuals, found more",
                           csv->file, csv->line, csv->names[column],
                           GPULET_INTERFERENCE_RESIDUALS_MAX);
    while (at > 0 && columns->percents[at - 1] >= percent)
        at--;
    if (at < columns->residuals_count && columns->percents[at] == percent)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s:%zu: %s: expected each quantile once, found it twice", csv->file,
                           csv->line, csv->names[column]);
    for (size_t i = columns->residuals_count; i > at; i--) {
        columns->percents[i] = columns->percents[i - 1];
        columns->residuals[i] = columns->residuals[i - 1];
    }
    columns->percents[at] = percent;
    columns->residuals[at] = column;
    columns->residuals_count++;
    return GPULET_OK;
}

static gpulet_interference_kind_t kind_of(const gpulet_csv_t *csv)
{
    if (gpulet_csv_column(csv, "sensitivity") >= 0 || gpulet_csv_column(csv, "pressure") >= 0)
        return GPULET_INTERFERENCE_SENSITIVITY;
    for (size_t i = 0; i + 1 < COEFFICIENTS_COUNT; i++) {
        if (gpulet_csv_column(csv, coefficient_names[i]) >= 0)
            return GPULET_INTERFERENCE_LINEAR;
    }
    return GPULET_INTERFERENCE_CONSTANT;
}

static gpulet_status_t find_columns(const gpulet_csv_t *csv, columns_t *columns,
                                    gpulet_interference_kind_t kind, gpulet_error_t *err)
{
    gpulet_status_t st = gpulet_csv_require(csv, &columns->device, "device", err);
    if (kind == GPULET_INTERFERENCE_SENSITIVITY) {
        struct {
            int *out;
            const char *name;
        } wanted[] = {
            {&columns->model, "model"},       {&columns->units, "units"},
            {&columns->batch, "batch"},       {&columns->sensitivity, "sensitivity"},
            {&columns->pressure, "pressure"}, {&columns->bound, "bound"},
        };
        for (size_t i = 0; st == GPULET_OK && i < sizeof(wanted) / sizeof(wanted[0]); i++)
            st = gpulet_csv_require(csv, wanted[i].out, wanted[i].name, err);
    }
    size_t first = kind == GPULET_INTERFERENCE_LINEAR ? 0 : COEFFICIENTS_COUNT - 1;
    for (size_t i = first;
         st == GPULET_OK && kind != GPULET_INTERFERENCE_SENSITIVITY && i < COEFFICIENTS_COUNT; i++)
        st = gpulet_csv_require(csv, &columns->coefficients[i], coefficient_names[i], err);
    for (size_t i = 0; st == GPULET_OK && i < csv->columns_count; i++) {
        if (strncmp(csv->names[i], RESIDUAL_PREFIX, strlen(RESIDUAL_PREFIX)) == 0)
            st = add_residual(columns, csv, (int)i, err);
    }
    return st;
}

/* ---- rows ---- */

static gpulet_status_t read_residuals(const gpulet_csv_t *csv, const columns_t *columns,
                                      gpulet_interference_row_t *row, gpulet_error_t *err)
{
    for (size_t i = 0; i < columns->residuals_count; i++) {
        int column = columns->residuals[i];
        gpulet_interference_residual_t *r = &row->residuals[row->residuals_count];
        if (!gpulet_csv_has(csv, column))
            continue;
        r->percent = columns->percents[i];
        gpulet_status_t st = gpulet_csv_f64(csv, column, &r->error, &error_range, err);
        if (st != GPULET_OK)
            return st;
        if (row->residuals_count > 0 && r->error < r[-1].error)
            return gpulet_csv_fail(csv, column, "no less than at the quantile below", err);
        row->residuals_count++;
    }
    return GPULET_OK;
}

static gpulet_status_t add_row(gpulet_interference_row_t **row, const gpulet_csv_t *csv,
                               const columns_t *columns, gpulet_interference_t *interference,
                               gpulet_error_t *err)
{
    gpulet_status_t st =
        gpulet_interference_add(row, interference, csv->fields[columns->device].text);
    if (st == GPULET_E_EXISTS)
        return gpulet_csv_fail(csv, columns->device, "each device once", err);
    if (st == GPULET_E_TOO_LARGE)
        return gpulet_fail(err, st, "%s:%zu: row: expected at most 4096 devices, found more",
                           csv->file, csv->line);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "%s: out of memory", csv->file);
    return read_residuals(csv, columns, *row, err);
}

static gpulet_status_t read_coefficients(const gpulet_csv_t *csv, const columns_t *columns,
                                         gpulet_interference_t *interference, gpulet_error_t *err)
{
    gpulet_interference_row_t *row = NULL;
    bool linear = interference->kind == GPULET_INTERFERENCE_LINEAR;
    gpulet_status_t st = add_row(&row, csv, columns, interference, err);
    for (size_t i = linear ? 0 : COEFFICIENTS_COUNT - 1; st == GPULET_OK && i < COEFFICIENTS_COUNT;
         i++)
        st = gpulet_csv_f64(csv, columns->coefficients[i], coefficient(row, i),
                            linear ? &gpulet_text_any : &at_least_one, err);
    return st;
}

/* A row without a model says what holds for the device. */
static gpulet_status_t read_device(const gpulet_csv_t *csv, const columns_t *columns,
                                   gpulet_interference_t *interference, gpulet_error_t *err)
{
    const int empty[] = {columns->units, columns->batch, columns->sensitivity, columns->pressure};
    gpulet_interference_row_t *row = NULL;
    for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
        if (gpulet_csv_has(csv, empty[i]))
            return gpulet_csv_fail(csv, empty[i], "nothing in a row without a model", err);
    }
    gpulet_status_t st = add_row(&row, csv, columns, interference, err);
    return st == GPULET_OK ? gpulet_csv_f64(csv, columns->bound, &row->bound, &at_least_one, err)
                           : st;
}

static gpulet_status_t read_value(double *out, const gpulet_csv_t *csv, int column,
                                  gpulet_error_t *err)
{
    *out = NAN;
    return gpulet_csv_has(csv, column) ? gpulet_csv_f64(csv, column, out, &response, err)
                                       : GPULET_OK;
}

static gpulet_status_t read_point(const gpulet_csv_t *csv, const columns_t *columns,
                                  gpulet_interference_t *interference, gpulet_error_t *err)
{
    gpulet_interference_row_t *row = NULL;
    gpulet_interference_point_t point = {0, NAN, NAN};
    uint32_t units = 0;
    const char *device = csv->fields[columns->device].text;
    for (size_t i = 0; i < interference->count && row == NULL; i++)
        row = strcmp(interference->rows[i].device, device) == 0 ? &interference->rows[i] : NULL;
    if (row == NULL)
        return gpulet_csv_fail(csv, columns->device,
                               "a row of the device without a model, with its bound, before", err);
    if (gpulet_csv_has(csv, columns->bound))
        return gpulet_csv_fail(csv, columns->bound, "nothing in a row of a model", err);
    for (size_t i = 0; i < columns->residuals_count; i++) {
        if (gpulet_csv_has(csv, columns->residuals[i]))
            return gpulet_csv_fail(csv, columns->residuals[i], "nothing in a row of a model", err);
    }
    gpulet_status_t st = gpulet_csv_name(csv, columns->model, GPULET_PROFILE_NAME_MAX, err);
    if (st == GPULET_OK)
        st = gpulet_csv_u32(csv, columns->units, &units, 1, GPULET_PROFILE_UNITS_MAX, err);
    if (st == GPULET_OK)
        st = gpulet_csv_u32(csv, columns->batch, &point.batch, 1, GPULET_PROFILE_BATCH_MAX, err);
    if (st == GPULET_OK)
        st = read_value(&point.sensitivity, csv, columns->sensitivity, err);
    if (st == GPULET_OK)
        st = read_value(&point.pressure, csv, columns->pressure, err);
    if (st != GPULET_OK)
        return st;
    if (isnan(point.sensitivity) && isnan(point.pressure))
        return gpulet_csv_fail(csv, columns->sensitivity, "it, or a pressure", err);
    st = gpulet_interference_add_point(row, csv->fields[columns->model].text, units, &point);
    if (st == GPULET_E_EXISTS)
        return gpulet_csv_fail(csv, columns->batch, "each model, units and batch once", err);
    return st == GPULET_OK ? st : gpulet_fail(err, st, "%s: out of memory", csv->file);
}

static gpulet_status_t read_rows(gpulet_csv_t *csv, gpulet_interference_t *interference,
                                 gpulet_error_t *err)
{
    columns_t columns = {0};
    bool more = false;
    gpulet_status_t st = find_columns(csv, &columns, interference->kind, err);
    if (st != GPULET_OK)
        return st;
    while ((st = gpulet_csv_next(csv, &more, err)) == GPULET_OK && more) {
        if ((st = gpulet_csv_name(csv, columns.device, GPULET_DEVICE_NAME_MAX, err)) != GPULET_OK)
            return st;
        if (interference->kind != GPULET_INTERFERENCE_SENSITIVITY)
            st = read_coefficients(csv, &columns, interference, err);
        else if (gpulet_csv_has(csv, columns.model))
            st = read_point(csv, &columns, interference, err);
        else
            st = read_device(csv, &columns, interference, err);
        if (st != GPULET_OK)
            return st;
    }
    for (size_t i = 0; st == GPULET_OK && i < interference->count; i++)
        gpulet_interference_finish(&interference->rows[i]);
    return st;
}

gpulet_status_t gpulet_interference_parse(gpulet_interference_t **out, const char *text,
                                          size_t size, const char *file, gpulet_error_t *err)
{
    gpulet_csv_t csv;
    gpulet_interference_t *interference = NULL;
    gpulet_status_t st = gpulet_csv_open(&csv, text, size, file, err);
    if (st != GPULET_OK)
        return st;
    if ((st = gpulet_interference_create(&interference, kind_of(&csv))) != GPULET_OK)
        st = gpulet_fail(err, st, "%s: out of memory", file);
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

/* ---- writing ---- */

/* The quantiles that any row has, ascending; at most as many as a file may have. */
static size_t all_percents(double *out, const gpulet_interference_t *interference)
{
    size_t count = 0;
    for (size_t i = 0; i < interference->count; i++) {
        const gpulet_interference_row_t *row = &interference->rows[i];
        for (size_t k = 0; k < row->residuals_count; k++) {
            double percent = row->residuals[k].percent;
            size_t at = count;
            while (at > 0 && out[at - 1] >= percent)
                at--;
            if ((at < count && out[at] == percent) || count == GPULET_INTERFERENCE_RESIDUALS_MAX)
                continue;
            memmove(&out[at + 1], &out[at], (count - at) * sizeof(*out));
            out[at] = percent;
            count++;
        }
    }
    return count;
}

static void append_residuals(gpulet_buf_t *out, const gpulet_interference_row_t *row,
                             const double *percents, size_t count)
{
    size_t k = 0;
    for (size_t i = 0; i < count; i++) {
        gpulet_buf_append_char(out, ',');
        if (row != NULL && k < row->residuals_count && row->residuals[k].percent == percents[i])
            gpulet_csv_append_f64(out, row->residuals[k++].error);
    }
    gpulet_buf_append_char(out, '\n');
}

static void append_points(gpulet_buf_t *out, const gpulet_interference_row_t *row,
                          const double *percents, size_t count)
{
    for (size_t i = 0; i < row->curves_count; i++) {
        const gpulet_interference_curve_t *curve = &row->curves[i];
        for (size_t k = 0; k < curve->points_count; k++) {
            gpulet_csv_append(out, row->device);
            gpulet_buf_append_char(out, ',');
            gpulet_csv_append(out, curve->model);
            gpulet_buf_printf(out, ",%u,%u,", curve->units, curve->points[k].batch);
            gpulet_csv_append_f64(out, curve->points[k].sensitivity);
            gpulet_buf_append_char(out, ',');
            gpulet_csv_append_f64(out, curve->points[k].pressure);
            gpulet_buf_append_char(out, ',');
            append_residuals(out, NULL, percents, count);
        }
    }
}

gpulet_status_t gpulet_interference_format_csv(gpulet_buf_t *out,
                                               const gpulet_interference_t *interference)
{
    double percents[GPULET_INTERFERENCE_RESIDUALS_MAX + 1];
    size_t count = all_percents(percents, interference);
    bool sensitivity = interference->kind == GPULET_INTERFERENCE_SENSITIVITY;
    size_t first = interference->kind == GPULET_INTERFERENCE_LINEAR ? 0 : COEFFICIENTS_COUNT - 1;
    gpulet_buf_append_str(out, sensitivity ? "device,model,units,batch,sensitivity,pressure,bound"
                                           : "device");
    for (size_t j = first; !sensitivity && j < COEFFICIENTS_COUNT; j++)
        gpulet_buf_printf(out, ",%s", coefficient_names[j]);
    for (size_t k = 0; k < count; k++) {
        gpulet_buf_printf(out, ",%s", RESIDUAL_PREFIX);
        gpulet_csv_append_f64(out, percents[k]);
    }
    gpulet_buf_append_char(out, '\n');
    for (size_t i = 0; i < interference->count; i++) {
        gpulet_interference_row_t row = interference->rows[i];
        gpulet_csv_append(out, row.device);
        if (sensitivity) {
            gpulet_buf_append_str(out, ",,,,,,");
            gpulet_csv_append_f64(out, row.bound);
        }
        for (size_t j = first; !sensitivity && j < COEFFICIENTS_COUNT; j++) {
            gpulet_buf_append_char(out, ',');
            gpulet_csv_append_f64(out, *coefficient(&row, j));
        }
        append_residuals(out, &row, percents, count);
        if (sensitivity)
            append_points(out, &row, percents, count);
    }
    return gpulet_buf_status(out);
}
