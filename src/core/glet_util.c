/* The prototype's utilisations: what a model uses of L2 and memory bandwidth on the whole device.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/batch_key.h"
#include "core/csv.h"
#include "core/glet.h"
#include "core/glet_text.h"

typedef struct row {
    gpulet_batch_key_t key;
    double l2; /* 0 … 1 */
    double dram;
} row_t;

typedef struct table {
    size_t count;
    size_t capacity;
    row_t *rows; /* owned; by model, then batch */
} table_t;

static const gpulet_text_range_t percent = {0, 100, false, "a percentage from 0 to 100"};

static gpulet_status_t read_row(table_t *table, const gpulet_csv_t *csv, const int columns[4],
                                gpulet_error_t *err)
{
    row_t row = {0};
    gpulet_status_t st = gpulet_batch_key_read(&row.key, csv, columns[0], columns[1], err);
    if (st == GPULET_OK)
        st = gpulet_csv_f64(csv, columns[2], &row.l2, &percent, err);
    if (st == GPULET_OK)
        st = gpulet_csv_f64(csv, columns[3], &row.dram, &percent, err);
    if (st != GPULET_OK)
        return st;
    row.l2 /= 100.0;
    row.dram /= 100.0;
    if (table->count == table->capacity) {
        size_t wanted = table->capacity * 2 + 64;
        row_t *grown = reallocarray(table->rows, wanted, sizeof(*grown));
        if (grown == NULL)
            return gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", csv->file);
        table->rows = grown;
        table->capacity = wanted;
    }
    table->rows[table->count++] = row;
    return GPULET_OK;
}

/* The prototype writes "l2_util(%)"; "l2" is its scripts' name. */
static gpulet_status_t find_column(const gpulet_csv_t *csv, int *out, const char *name,
                                   const char *other, gpulet_error_t *err)
{
    *out = gpulet_csv_column(csv, name);
    return *out >= 0 ? GPULET_OK : gpulet_csv_require(csv, out, other, err);
}

static gpulet_status_t read_table(table_t *table, gpulet_csv_t *csv, gpulet_error_t *err)
{
    int columns[4];
    bool more = false;
    gpulet_status_t st = gpulet_csv_require(csv, &columns[0], "bench", err);
    if (st == GPULET_OK)
        st = gpulet_csv_require(csv, &columns[1], "batch", err);
    if (st == GPULET_OK)
        st = find_column(csv, &columns[2], "l2_util(%)", "l2", err);
    if (st == GPULET_OK)
        st = find_column(csv, &columns[3], "mem_util(%)", "mem", err);
    while (st == GPULET_OK && (st = gpulet_csv_next(csv, &more, err)) == GPULET_OK && more)
        st = read_row(table, csv, columns, err);
    if (st == GPULET_OK)
        st =
            gpulet_batch_keys_sort(table->rows, table->count, sizeof(*table->rows), csv->file, err);
    return st;
}

/* Between the rows of the model linear, beyond them as the nearest; false: the model has no row. */
static bool look_up(const table_t *table, const char *model, uint32_t batch, double *l2,
                    double *dram)
{
    const row_t *below = NULL;
    const row_t *above = NULL;
    for (size_t i = 0; i < table->count; i++) {
        const row_t *row = &table->rows[i];
        if (strcmp(row->key.model, model) != 0)
            continue;
        if (row->key.batch <= batch)
            below = row;
        if (row->key.batch >= batch && above == NULL)
            above = row;
    }
    if (below == NULL && above == NULL)
        return false;
    below = below != NULL ? below : above;
    above = above != NULL ? above : below;
    double part =
        above->key.batch == below->key.batch
            ? 0.0
            : (double)(batch - below->key.batch) / (double)(above->key.batch - below->key.batch);
    *l2 = below->l2 + (above->l2 - below->l2) * part;
    *dram = below->dram + (above->dram - below->dram) * part;
    return true;
}

static gpulet_status_t apply_curve(gpulet_profile_t *into, const gpulet_curve_t *curve,
                                   const table_t *table, double part, gpulet_error_t *err)
{
    /* Models that share a table (core/glet.h "alias") share its rows as well. */
    char stem[GPULET_PROFILE_NAME_MAX + 1];
    size_t len = strlen(curve->model);
    memcpy(stem, curve->model, len + 1);
    while (len > 0 && stem[len - 1] >= '0' && stem[len - 1] <= '9')
        stem[--len] = '\0';
    gpulet_status_t st = GPULET_OK;
    for (uint32_t i = 0; i < curve->points_count && st == GPULET_OK; i++) {
        gpulet_profile_point_t point = curve->points[i];
        double l2;
        double dram;
        if (look_up(table, curve->model, point.batch, &l2, &dram) ||
            look_up(table, stem, point.batch, &l2, &dram)) {
            point.l2_util = fmin(1.0, l2 * part);
            point.dram_util = fmin(1.0, dram * part);
        }
        st = gpulet_profile_add(into, curve->device, curve->model, curve->units, curve->instances,
                                &point, true, err);
    }
    return st;
}

gpulet_status_t gpulet_glet_utilisation_apply(gpulet_profile_t **out,
                                              const gpulet_profile_t *profile,
                                              const gpulet_device_set_t *devices, const char *text,
                                              size_t size, const char *file, gpulet_error_t *err)
{
    gpulet_buf_t trimmed = GPULET_BUF_INIT;
    table_t table = {0};
    gpulet_csv_t csv;
    gpulet_profile_t *into = NULL;
    gpulet_status_t st = gpulet_glet_text_trim(&trimmed, text, size, file, err);
    if (st == GPULET_OK &&
        (st = gpulet_csv_open(&csv, trimmed.data, trimmed.size, file, err)) == GPULET_OK) {
        st = read_table(&table, &csv, err);
        gpulet_csv_close(&csv);
    }
    if (st == GPULET_OK && (st = gpulet_profile_create(&into)) != GPULET_OK)
        st = gpulet_fail(err, st, "out of memory");
    for (size_t i = 0; st == GPULET_OK && i < gpulet_profile_curves_count(profile); i++) {
        const gpulet_curve_t *curve = gpulet_profile_curve_at(profile, i);
        int type = gpulet_device_set_find(devices, curve->device);
        double units = type >= 0 ? (double)devices->types[type].units : (double)curve->units;
        st = apply_curve(into, curve, &table, (double)curve->units / units, err);
    }
    free(table.rows);
    gpulet_buf_deinit(&trimmed);
    if (st == GPULET_OK)
        *out = into;
    else
        gpulet_profile_destroy(into);
    return st;
}
