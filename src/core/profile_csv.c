/* The profile's files: the CSV of docs/formats.md, and the prototype's four columns without a
 * header. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "core/csv.h"
#include "core/profile_store.h"

enum { COLUMNS_KNOWN = 13 };

/* Where the known columns stand in the file; -1: not there. */
typedef struct columns {
    int device;
    int model;
    int units;
    int instances;
    int batch;
    int latency_ms;
    int latency_ms_p99;
    int throughput_rps;
    int memory_mb;
    int l2_util;
    int dram_util;
    int input_bytes;
    int cold_ms;
    size_t extras_count;
    int extras[GPULET_CSV_COLUMNS_MAX];
} columns_t;

typedef struct row {
    size_t device; /* offset of the name */
    size_t model;
    uint32_t units;
    uint32_t instances;
    gpulet_profile_point_t point;
    gpulet_profile_extras_t extras; /* owned until the profile takes it over */
    size_t line;
} row_t;

typedef struct rows {
    size_t count;
    size_t capacity;
    row_t *rows;
    gpulet_buf_t names; /* zero-terminated, one after the other */
} rows_t;

static bool is_known(const char *name)
{
    static const char *const known[COLUMNS_KNOWN] = {
        "device",     "model",          "units",          "instances", "batch",
        "latency_ms", "latency_ms_p99", "throughput_rps", "memory_mb", "l2_util",
        "dram_util",  "input_bytes",    "cold_ms"};
    for (size_t i = 0; i < COLUMNS_KNOWN; i++) {
        if (strcmp(name, known[i]) == 0)
            return true;
    }
    return false;
}

static gpulet_status_t find_columns(const gpulet_csv_t *csv, columns_t *columns,
                                    gpulet_error_t *err)
{
    gpulet_status_t st = gpulet_csv_require(csv, &columns->device, "device", err);
    if (st == GPULET_OK)
        st = gpulet_csv_require(csv, &columns->model, "model", err);
    if (st == GPULET_OK)
        st = gpulet_csv_require(csv, &columns->units, "units", err);
    if (st == GPULET_OK)
        st = gpulet_csv_require(csv, &columns->batch, "batch", err);
    if (st == GPULET_OK)
        st = gpulet_csv_require(csv, &columns->latency_ms, "latency_ms", err);
    columns->instances = gpulet_csv_column(csv, "instances");
    columns->latency_ms_p99 = gpulet_csv_column(csv, "latency_ms_p99");
    columns->throughput_rps = gpulet_csv_column(csv, "throughput_rps");
    columns->memory_mb = gpulet_csv_column(csv, "memory_mb");
    columns->l2_util = gpulet_csv_column(csv, "l2_util");
    columns->dram_util = gpulet_csv_column(csv, "dram_util");
    columns->input_bytes = gpulet_csv_column(csv, "input_bytes");
    columns->cold_ms = gpulet_csv_column(csv, "cold_ms");
    columns->extras_count = 0;
    for (size_t i = 0; i < csv->columns_count; i++) {
        if (!is_known(csv->names[i]))
            columns->extras[columns->extras_count++] = (int)i;
    }
    return st;
}

/* The name's offset; that of the row before when it is the same, as it mostly is. */
static size_t keep_name(rows_t *rows, const gpulet_csv_field_t *field, size_t before)
{
    if (rows->count > 0 && strcmp(rows->names.data + before, field->text) == 0)
        return before;
    size_t offset = rows->names.size;
    gpulet_buf_append(&rows->names, field->text, field->len + 1);
    return offset;
}

static gpulet_status_t optional_f64(const gpulet_csv_t *csv, int column, double *out,
                                    const gpulet_text_range_t *range, gpulet_error_t *err)
{
    *out = NAN;
    return gpulet_csv_has(csv, column) ? gpulet_csv_f64(csv, column, out, range, err) : GPULET_OK;
}

static gpulet_status_t read_point(const gpulet_csv_t *csv, const columns_t *columns,
                                  gpulet_profile_point_t *point, gpulet_error_t *err)
{
    gpulet_status_t st =
        gpulet_csv_u32(csv, columns->batch, &point->batch, 1, GPULET_PROFILE_BATCH_MAX, err);
    if (st == GPULET_OK)
        st = gpulet_csv_f64(csv, columns->latency_ms, &point->latency_ms, &gpulet_text_positive,
                            err);
    if (st == GPULET_OK)
        st = optional_f64(csv, columns->latency_ms_p99, &point->latency_ms_p99,
                          &gpulet_text_positive, err);
    if (st == GPULET_OK)
        st = optional_f64(csv, columns->throughput_rps, &point->throughput_rps,
                          &gpulet_text_natural, err);
    if (st == GPULET_OK)
        st = optional_f64(csv, columns->memory_mb, &point->memory_mb, &gpulet_text_natural, err);
    if (st == GPULET_OK)
        st = optional_f64(csv, columns->l2_util, &point->l2_util, &gpulet_text_fraction, err);
    if (st == GPULET_OK)
        st = optional_f64(csv, columns->dram_util, &point->dram_util, &gpulet_text_fraction, err);
    if (st == GPULET_OK)
        st =
            optional_f64(csv, columns->input_bytes, &point->input_bytes, &gpulet_text_natural, err);
    if (st == GPULET_OK)
        st = optional_f64(csv, columns->cold_ms, &point->cold_ms, &gpulet_text_natural, err);
    return st;
}

/* One allocation: the pointers, then the bytes. */
static gpulet_status_t read_extras(const gpulet_csv_t *csv, const columns_t *columns,
                                   gpulet_profile_extras_t *out)
{
    size_t size = columns->extras_count * sizeof(char *);
    if (columns->extras_count == 0)
        return GPULET_OK;
    for (size_t i = 0; i < columns->extras_count; i++)
        size += csv->fields[columns->extras[i]].len + 1;
    gpulet_profile_extras_t extras = malloc(size);
    if (extras == NULL)
        return GPULET_E_NOMEM;
    char *at = (char *)(extras + columns->extras_count);
    for (size_t i = 0; i < columns->extras_count; i++) {
        const gpulet_csv_field_t *field = &csv->fields[columns->extras[i]];
        memcpy(at, field->text, field->len + 1);
        extras[i] = at;
        at += field->len + 1;
    }
    *out = extras;
    return GPULET_OK;
}

static gpulet_status_t reserve_row(rows_t *rows)
{
    if (rows->count < rows->capacity)
        return GPULET_OK;
    size_t wanted = rows->capacity == 0 ? 256 : rows->capacity * 2;
    row_t *grown = reallocarray(rows->rows, wanted, sizeof(row_t));
    if (grown == NULL)
        return GPULET_E_NOMEM;
    rows->rows = grown;
    rows->capacity = wanted;
    return GPULET_OK;
}

/* The row that csv stands on. glet_device is the device's name where the file has no such column,
 * else NULL. */
static gpulet_status_t read_row(const gpulet_csv_t *csv, const columns_t *columns, rows_t *rows,
                                const char *glet_device, gpulet_error_t *err)
{
    row_t row = {.instances = 1, .line = csv->line};
    gpulet_csv_field_t device = {glet_device, glet_device == NULL ? 0 : strlen(glet_device)};
    gpulet_status_t st = GPULET_OK;
    if (glet_device == NULL) {
        st = gpulet_csv_name(csv, columns->device, GPULET_PROFILE_NAME_MAX, err);
        device = csv->fields[columns->device];
    }
    if (st == GPULET_OK)
        st = gpulet_csv_name(csv, columns->model, GPULET_PROFILE_NAME_MAX, err);
    if (st == GPULET_OK)
        st = gpulet_csv_u32(csv, columns->units, &row.units, 1, GPULET_PROFILE_UNITS_MAX, err);
    if (st == GPULET_OK && gpulet_csv_has(csv, columns->instances))
        st = gpulet_csv_u32(csv, columns->instances, &row.instances, 1,
                            GPULET_PROFILE_INSTANCES_MAX, err);
    if (st == GPULET_OK)
        st = read_point(csv, columns, &row.point, err);
    if (st != GPULET_OK)
        return st;
    if (reserve_row(rows) != GPULET_OK || read_extras(csv, columns, &row.extras) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", csv->file);
    const row_t *before = rows->count > 0 ? &rows->rows[rows->count - 1] : &row;
    row.device = keep_name(rows, &device, before->device);
    row.model = keep_name(rows, &csv->fields[columns->model], before->model);
    rows->rows[rows->count++] = row;
    if (gpulet_buf_status(&rows->names) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", csv->file);
    return GPULET_OK;
}

static gpulet_profile_key_t key_of(const row_t *row, const char *names)
{
    return (gpulet_profile_key_t){names + row->device, names + row->model, row->units,
                                  row->instances};
}

static int compare_keys(const row_t *a, const row_t *b, const char *names)
{
    gpulet_profile_key_t key_a = key_of(a, names);
    gpulet_profile_key_t key_b = key_of(b, names);
    int order = gpulet_profile_key_compare(&key_a, &key_b);
    if (order == 0 && a->point.batch != b->point.batch)
        order = a->point.batch < b->point.batch ? -1 : 1;
    return order;
}

static int compare_rows(const void *left, const void *right, void *names)
{
    const row_t *a = left;
    const row_t *b = right;
    int order = compare_keys(a, b, names);
    return order != 0 ? order : (a->line < b->line ? -1 : a->line > b->line);
}

/* The rows are sorted: two with the same key stand side by side. Reports the first repetition in
 * the file. */
static gpulet_status_t check_twice(const rows_t *rows, const char *file, gpulet_error_t *err)
{
    const row_t *again = NULL;
    for (size_t i = 1; i < rows->count; i++) {
        const row_t *row = &rows->rows[i];
        if (compare_keys(row - 1, row, rows->names.data) == 0 &&
            (again == NULL || row->line < again->line))
            again = row;
    }
    if (again == NULL)
        return GPULET_OK;
    gpulet_profile_key_t key = key_of(again, rows->names.data);
    return gpulet_fail(err, GPULET_E_INVALID,
                       "%s:%zu: row: expected each key once, found %s on %s, units %u, instances "
                       "%u, batch %u again (first in line %zu)",
                       file, again->line, key.model, key.device, key.units, key.instances,
                       again->point.batch, (again - 1)->line);
}

static gpulet_status_t build(gpulet_profile_t *profile, rows_t *rows, const char *file,
                             gpulet_error_t *err)
{
    if (rows->count > 1)
        qsort_r(rows->rows, rows->count, sizeof(row_t), compare_rows, rows->names.data);
    gpulet_status_t st = check_twice(rows, file, err);
    for (size_t i = 0; i < rows->count && st == GPULET_OK; i++) {
        row_t *row = &rows->rows[i];
        gpulet_profile_key_t key = key_of(row, rows->names.data);
        st = gpulet_profile_insert(profile, &key, &row->point, row->extras, false);
        if (st != GPULET_OK)
            return gpulet_fail(err, st, "%s: out of memory", file);
        row->extras = NULL;
    }
    return st;
}

static gpulet_status_t name_extras(gpulet_profile_t *profile, const gpulet_csv_t *csv,
                                   const columns_t *columns)
{
    if (columns->extras_count == 0)
        return GPULET_OK;
    profile->extras_names = calloc(columns->extras_count, sizeof(char *));
    if (profile->extras_names == NULL)
        return GPULET_E_NOMEM;
    for (size_t i = 0; i < columns->extras_count; i++) {
        char *name = strdup(csv->names[columns->extras[i]]);
        if (name == NULL)
            return GPULET_E_NOMEM;
        profile->extras_names[profile->extras_count++] = name;
    }
    return GPULET_OK;
}

static void deinit_rows(rows_t *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        free(rows->rows[i].extras);
    free(rows->rows);
    gpulet_buf_deinit(&rows->names);
}

static gpulet_status_t read_all(gpulet_profile_t *profile, gpulet_csv_t *csv,
                                const columns_t *columns, const char *glet_device,
                                gpulet_error_t *err)
{
    rows_t rows = {0};
    bool more = false;
    gpulet_status_t st = name_extras(profile, csv, columns);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "%s: out of memory", csv->file);
    while ((st = gpulet_csv_next(csv, &more, err)) == GPULET_OK && more) {
        if ((st = read_row(csv, columns, &rows, glet_device, err)) != GPULET_OK)
            break;
    }
    if (st == GPULET_OK)
        st = build(profile, &rows, csv->file, err);
    deinit_rows(&rows);
    return st;
}

static gpulet_status_t open_format(gpulet_csv_t *csv, columns_t *columns, const char *text,
                                   size_t size, const char *file, gpulet_error_t *err)
{
    gpulet_status_t st = gpulet_csv_open(csv, text, size, file, err);
    if (st != GPULET_OK)
        return st;
    if ((st = find_columns(csv, columns, err)) != GPULET_OK)
        gpulet_csv_close(csv);
    return st;
}

static gpulet_status_t check_glet_device(const char *device, const char *file, gpulet_error_t *err)
{
    gpulet_error_t why;
    gpulet_status_t st =
        gpulet_text_check_name(device, strlen(device), GPULET_PROFILE_NAME_MAX, &why);
    return st == GPULET_OK ? st : gpulet_fail(err, st, "%s: device: %s", file, why.text);
}

gpulet_status_t gpulet_profile_parse(gpulet_profile_t **out, const char *text, size_t size,
                                     const char *file, gpulet_profile_format_t format,
                                     const char *glet_device, gpulet_error_t *err)
{
    static const char *const glet_names[] = {"model", "partition", "batch", "latency_ms", NULL};
    columns_t columns = {-1, 0, 1, -1, 2, 3, -1, -1, -1, -1, -1, -1, -1, 0, {0}};
    bool glet = format == GPULET_PROFILE_FORMAT_GLET;
    const char *device = glet && glet_device == NULL ? "gpu" : glet_device;
    gpulet_csv_t csv;
    gpulet_profile_t *profile = NULL;
    gpulet_status_t st = glet ? check_glet_device(device, file, err) : GPULET_OK;
    if (st == GPULET_OK)
        st = glet ? gpulet_csv_open_bare(&csv, text, size, file, glet_names, err)
                  : open_format(&csv, &columns, text, size, file, err);
    if (st != GPULET_OK)
        return st;
    if ((st = gpulet_profile_create(&profile)) == GPULET_OK)
        st = read_all(profile, &csv, &columns, glet ? device : NULL, err);
    else
        st = gpulet_fail(err, st, "%s: out of memory", file);
    gpulet_csv_close(&csv);
    if (st == GPULET_OK)
        *out = profile;
    else
        gpulet_profile_destroy(profile);
    return st;
}

gpulet_status_t gpulet_profile_load(gpulet_profile_t **out, const char *path,
                                    gpulet_profile_format_t format, const char *glet_device,
                                    gpulet_error_t *err)
{
    char *text = NULL;
    size_t size = 0;
    gpulet_status_t st = gpulet_file_read(&text, &size, path, GPULET_CSV_FILE_SIZE_MAX, err);
    if (st != GPULET_OK)
        return st;
    st = gpulet_profile_parse(out, text, size, path, format, glet_device, err);
    free(text);
    return st;
}

/* The optional values of a point, in the order of their columns. */
enum { OPTIONAL_COUNT = 7 };
static const char *const optional_names[OPTIONAL_COUNT] = {
    "latency_ms_p99", "throughput_rps", "memory_mb", "l2_util",
    "dram_util",      "input_bytes",    "cold_ms"};

static void optional_values(const gpulet_profile_point_t *point, double values[OPTIONAL_COUNT])
{
    values[0] = point->latency_ms_p99;
    values[1] = point->throughput_rps;
    values[2] = point->memory_mb;
    values[3] = point->l2_util;
    values[4] = point->dram_util;
    values[5] = point->input_bytes > 0 ? point->input_bytes : NAN;
    values[6] = point->cold_ms > 0 ? point->cold_ms : NAN;
}

typedef struct used {
    bool instances;
    bool optional[OPTIONAL_COUNT];
} used_t;

static used_t used_columns(const gpulet_profile_t *profile)
{
    used_t used = {0};
    for (size_t i = 0; i < profile->count; i++) {
        const gpulet_curve_t *curve = &profile->nodes[i]->curve;
        used.instances = used.instances || curve->instances != 1;
        for (uint32_t j = 0; j < curve->points_count; j++) {
            double values[OPTIONAL_COUNT];
            optional_values(&curve->points[j], values);
            for (size_t k = 0; k < OPTIONAL_COUNT; k++)
                used.optional[k] = used.optional[k] || !isnan(values[k]);
        }
    }
    return used;
}

static void format_header(gpulet_buf_t *out, const gpulet_profile_t *profile, const used_t *used)
{
    gpulet_buf_append_str(out, "device,model,units,");
    gpulet_buf_append_str(out, used->instances ? "instances,batch,latency_ms" : "batch,latency_ms");
    for (size_t i = 0; i < OPTIONAL_COUNT; i++) {
        if (used->optional[i])
            gpulet_buf_printf(out, ",%s", optional_names[i]);
    }
    for (size_t i = 0; i < profile->extras_count; i++) {
        gpulet_buf_append_char(out, ',');
        gpulet_csv_append(out, profile->extras_names[i]);
    }
    gpulet_buf_append_char(out, '\n');
}

static void format_row(gpulet_buf_t *out, const gpulet_profile_t *profile, const used_t *used,
                       const gpulet_profile_node_t *node, uint32_t index)
{
    double values[OPTIONAL_COUNT];
    const gpulet_profile_point_t *point = &node->points[index];
    gpulet_csv_append(out, node->curve.device);
    gpulet_buf_append_char(out, ',');
    gpulet_csv_append(out, node->curve.model);
    gpulet_buf_printf(out, ",%u,", node->curve.units);
    if (used->instances)
        gpulet_buf_printf(out, "%u,", node->curve.instances);
    gpulet_buf_printf(out, "%u,", point->batch);
    gpulet_csv_append_f64(out, point->latency_ms);
    optional_values(point, values);
    for (size_t i = 0; i < OPTIONAL_COUNT; i++) {
        if (!used->optional[i])
            continue;
        gpulet_buf_append_char(out, ',');
        gpulet_csv_append_f64(out, values[i]);
    }
    for (size_t i = 0; i < profile->extras_count; i++) {
        gpulet_buf_append_char(out, ',');
        gpulet_csv_append(out, node->extras[index] == NULL ? "" : node->extras[index][i]);
    }
    gpulet_buf_append_char(out, '\n');
}

gpulet_status_t gpulet_profile_format_csv(gpulet_buf_t *out, const gpulet_profile_t *profile)
{
    used_t used = used_columns(profile);
    format_header(out, profile, &used);
    for (size_t i = 0; i < profile->count; i++) {
        for (uint32_t j = 0; j < profile->nodes[i]->curve.points_count; j++)
            format_row(out, profile, &used, profile->nodes[i], j);
    }
    return gpulet_buf_status(out);
}
