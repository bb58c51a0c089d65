#include "core/host_cost.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "core/batch_key.h"
#include "core/csv.h"

enum { ROWS_MAX = 100000 };

typedef struct row {
    gpulet_batch_key_t key;
    double ms;
} row_t;

struct gpulet_host_cost {
    char *file; /* owned; for errors */
    size_t count;
    size_t capacity;
    row_t *rows; /* owned; by model, then batch */
};

void gpulet_host_cost_destroy(gpulet_host_cost_t *cost)
{
    if (cost == NULL)
        return;
    free(cost->file);
    free(cost->rows);
    free(cost);
}

static gpulet_status_t add_row(gpulet_host_cost_t *cost, const row_t *row, gpulet_error_t *err)
{
    if (cost->count == ROWS_MAX)
        return gpulet_fail(err, GPULET_E_TOO_LARGE,
                           "%s:%zu: row: expected at most %d rows, found more", cost->file,
                           row->key.line, ROWS_MAX);
    if (cost->count == cost->capacity) {
        size_t wanted = cost->capacity == 0 ? 32 : cost->capacity * 2;
        row_t *grown = reallocarray(cost->rows, wanted, sizeof(*grown));
        if (grown == NULL)
            return gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", cost->file);
        cost->rows = grown;
        cost->capacity = wanted;
    }
    cost->rows[cost->count++] = *row;
    return GPULET_OK;
}

static gpulet_status_t read_rows(gpulet_host_cost_t *cost, gpulet_csv_t *csv, gpulet_error_t *err)
{
    int model = 0;
    int batch = 0;
    int ms = 0;
    bool more = false;
    gpulet_status_t st = gpulet_csv_require(csv, &model, "model", err);
    if (st == GPULET_OK)
        st = gpulet_csv_require(csv, &batch, "batch", err);
    if (st == GPULET_OK)
        st = gpulet_csv_require(csv, &ms, "ms", err);
    while (st == GPULET_OK && (st = gpulet_csv_next(csv, &more, err)) == GPULET_OK && more) {
        row_t row = {0};
        st = gpulet_batch_key_read(&row.key, csv, model, batch, err);
        if (st == GPULET_OK)
            st = gpulet_csv_f64(csv, ms, &row.ms, &gpulet_text_natural, err);
        if (st == GPULET_OK)
            st = add_row(cost, &row, err);
    }
    return st;
}

gpulet_status_t gpulet_host_cost_parse(gpulet_host_cost_t **out, const char *text, size_t size,
                                       const char *file, gpulet_error_t *err)
{
    gpulet_csv_t csv;
    gpulet_status_t st = gpulet_csv_open(&csv, text, size, file, err);
    if (st != GPULET_OK)
        return st;
    gpulet_host_cost_t *cost = calloc(1, sizeof(*cost));
    if (cost == NULL || (cost->file = strdup(file)) == NULL)
        st = gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", file);
    if (st == GPULET_OK)
        st = read_rows(cost, &csv, err);
    gpulet_csv_close(&csv);
    if (st == GPULET_OK)
        st = gpulet_batch_keys_sort(cost->rows, cost->count, sizeof(cost->rows[0]), file, err);
    if (st == GPULET_OK)
        *out = cost;
    else
        gpulet_host_cost_destroy(cost);
    return st;
}

gpulet_status_t gpulet_host_cost_load(gpulet_host_cost_t **out, const char *path,
                                      gpulet_error_t *err)
{
    char *text = NULL;
    size_t size = 0;
    gpulet_status_t st = gpulet_file_read(&text, &size, path, GPULET_CSV_FILE_SIZE_MAX, err);
    if (st != GPULET_OK)
        return st;
    st = gpulet_host_cost_parse(out, text, size, path, err);
    free(text);
    return st;
}

/* The rows of a model: the first, and how many. */
static const row_t *rows_of(const gpulet_host_cost_t *cost, const char *model, size_t *count)
{
    size_t first = 0;
    while (first < cost->count && strcmp(cost->rows[first].key.model, model) != 0)
        first++;
    size_t end = first;
    while (end < cost->count && strcmp(cost->rows[end].key.model, model) == 0)
        end++;
    *count = end - first;
    return *count > 0 ? &cost->rows[first] : NULL;
}

static double cost_at(const row_t *rows, size_t count, uint32_t batch)
{
    size_t i = 0;
    while (i < count && rows[i].key.batch < batch)
        i++;
    if (i == count || (rows[i].key.batch != batch && i == 0))
        return NAN;
    if (rows[i].key.batch == batch)
        return rows[i].ms;
    double part = (double)(batch - rows[i - 1].key.batch) /
                  (double)(rows[i].key.batch - rows[i - 1].key.batch);
    return rows[i - 1].ms + (rows[i].ms - rows[i - 1].ms) * part;
}

double gpulet_host_cost_ms(const gpulet_host_cost_t *cost, const char *model, uint32_t batch)
{
    size_t count;
    const row_t *rows = rows_of(cost, model, &count);
    return rows != NULL ? cost_at(rows, count, batch) : NAN;
}

static gpulet_status_t add_point(gpulet_profile_t *into, const gpulet_curve_t *curve,
                                 const gpulet_profile_point_t *point, double ms,
                                 gpulet_error_t *err)
{
    gpulet_profile_point_t sum = *point;
    sum.latency_ms += ms;
    sum.latency_ms_p99 += ms; /* NAN stays NAN */
    sum.throughput_rps = NAN; /* was that of the device alone */
    return gpulet_profile_add(into, curve->device, curve->model, curve->units, curve->instances,
                              &sum, true, err);
}

/* What the curve says at a batch between its points. */
static gpulet_profile_point_t point_at(const gpulet_curve_t *curve, uint32_t batch)
{
    return (gpulet_profile_point_t){
        .batch = batch,
        .latency_ms = gpulet_curve_latency_ms(curve, batch, false),
        .latency_ms_p99 = gpulet_curve_latency_ms(curve, batch, true),
        .throughput_rps = NAN,
        .memory_mb = gpulet_curve_memory_mb(curve, batch),
        .l2_util = gpulet_curve_l2_util(curve, batch),
        .dram_util = gpulet_curve_dram_util(curve, batch),
        .input_bytes = gpulet_curve_input_bytes(curve),
        .cold_ms = gpulet_curve_cold_ms(curve),
    };
}

static gpulet_status_t apply_curve(gpulet_profile_t *into, const gpulet_curve_t *curve,
                                   const gpulet_host_cost_t *cost, gpulet_error_t *err)
{
    size_t count;
    const row_t *rows = rows_of(cost, curve->model, &count);
    uint32_t min = gpulet_curve_batch_min(curve);
    uint32_t max = gpulet_curve_batch_max(curve);
    if (rows == NULL)
        return gpulet_fail(err, GPULET_E_NOT_FOUND,
                           "%s: model: expected rows of %s, which the profile has, found none",
                           cost->file, curve->model);
    if (rows[0].key.batch > min || rows[count - 1].key.batch < max)
        return gpulet_fail(err, GPULET_E_NOT_FOUND,
                           "%s: batch: expected %s from batch %u to %u, as in the profile, found "
                           "%u to %u",
                           cost->file, curve->model, min, max, rows[0].key.batch,
                           rows[count - 1].key.batch);
    gpulet_status_t st = GPULET_OK;
    for (size_t i = 0; i < count && st == GPULET_OK; i++) {
        if (rows[i].key.batch <= min || rows[i].key.batch >= max)
            continue;
        gpulet_profile_point_t point = point_at(curve, rows[i].key.batch);
        st = add_point(into, curve, &point, rows[i].ms, err);
    }
    for (uint32_t i = 0; i < curve->points_count && st == GPULET_OK; i++)
        st = add_point(into, curve, &curve->points[i], cost_at(rows, count, curve->points[i].batch),
                       err);
    return st;
}

gpulet_status_t gpulet_host_cost_apply(gpulet_profile_t **out, const gpulet_profile_t *profile,
                                       const gpulet_host_cost_t *cost, gpulet_error_t *err)
{
    gpulet_profile_t *sum = NULL;
    gpulet_status_t st = gpulet_profile_create(&sum);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "out of memory");
    for (size_t i = 0; i < gpulet_profile_curves_count(profile) && st == GPULET_OK; i++)
        st = apply_curve(sum, gpulet_profile_curve_at(profile, i), cost, err);
    if (st == GPULET_OK)
        *out = sum;
    else
        gpulet_profile_destroy(sum);
    return st;
}
