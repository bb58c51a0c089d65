#include "core/pairs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "core/csv.h"

static const gpulet_text_range_t slowdown_range = {0.0, 1e6, true, "a number above 0, at most 1e6"};

gpulet_status_t gpulet_pairs_create(gpulet_pairs_t **out)
{
    gpulet_pairs_t *pairs = calloc(1, sizeof(*pairs));
    if (pairs == NULL)
        return GPULET_E_NOMEM;
    *out = pairs;
    return GPULET_OK;
}

void gpulet_pairs_destroy(gpulet_pairs_t *pairs)
{
    if (pairs == NULL)
        return;
    free(pairs->items);
    free(pairs);
}

gpulet_status_t gpulet_pairs_add(gpulet_pairs_t *pairs, const gpulet_pair_t *pair)
{
    if (pairs->count == pairs->capacity) {
        size_t more = pairs->capacity == 0 ? 64 : pairs->capacity * 2;
        gpulet_pair_t *grown = reallocarray(pairs->items, more, sizeof(*grown));
        if (grown == NULL)
            return GPULET_E_NOMEM;
        pairs->items = grown;
        pairs->capacity = more;
    }
    pairs->items[pairs->count++] = *pair;
    return GPULET_OK;
}

static int compare_sides(const gpulet_pair_side_t *x, const gpulet_pair_side_t *y)
{
    int order = strcmp(x->model, y->model);
    if (order == 0)
        order = (x->units > y->units) - (x->units < y->units);
    return order != 0 ? order : (x->batch > y->batch) - (x->batch < y->batch);
}

int gpulet_pair_compare(const void *a, const void *b)
{
    const gpulet_pair_t *x = a;
    const gpulet_pair_t *y = b;
    int order = strcmp(x->device, y->device);
    if (order == 0)
        order = compare_sides(&x->self, &y->self);
    return order != 0 ? order : compare_sides(&x->other, &y->other);
}

/* ---- reading ---- */

typedef struct side_columns {
    int model;
    int units;
    int batch;
} side_columns_t;

typedef struct columns {
    int device;
    side_columns_t self;
    side_columns_t other;
    int slowdown;
    int slowdown_p10;
    int slowdown_p90;
    int traffic_mb_s;
} columns_t;

static gpulet_status_t find_columns(const gpulet_csv_t *csv, columns_t *c, gpulet_error_t *err)
{
    const struct {
        int *out;
        const char *name;
    } wanted[] = {
        {&c->device, "device"},           {&c->self.model, "model"},
        {&c->self.units, "units"},        {&c->self.batch, "batch"},
        {&c->other.model, "other_model"}, {&c->other.units, "other_units"},
        {&c->other.batch, "other_batch"}, {&c->slowdown, "slowdown"},
    };
    gpulet_status_t st = GPULET_OK;
    for (size_t i = 0; st == GPULET_OK && i < sizeof(wanted) / sizeof(wanted[0]); i++)
        st = gpulet_csv_require(csv, wanted[i].out, wanted[i].name, err);
    c->slowdown_p10 = gpulet_csv_column(csv, "slowdown_p10");
    c->slowdown_p90 = gpulet_csv_column(csv, "slowdown_p90");
    c->traffic_mb_s = gpulet_csv_column(csv, "traffic_mb_s");
    return st;
}

static gpulet_status_t read_side(gpulet_pair_side_t *side, const gpulet_csv_t *csv,
                                 const side_columns_t *c, gpulet_error_t *err)
{
    gpulet_status_t st = gpulet_csv_name(csv, c->model, GPULET_PROFILE_NAME_MAX, err);
    if (st == GPULET_OK)
        st = gpulet_csv_u32(csv, c->units, &side->units, 1, GPULET_PROFILE_UNITS_MAX, err);
    if (st == GPULET_OK)
        st = gpulet_csv_u32(csv, c->batch, &side->batch, 1, GPULET_PROFILE_BATCH_MAX, err);
    if (st == GPULET_OK)
        memcpy(side->model, csv->fields[c->model].text, csv->fields[c->model].len + 1);
    return st;
}

static gpulet_status_t read_optional(double *out, const gpulet_csv_t *csv, int column,
                                     const gpulet_text_range_t *range, gpulet_error_t *err)
{
    *out = NAN;
    return gpulet_csv_has(csv, column) ? gpulet_csv_f64(csv, column, out, range, err) : GPULET_OK;
}

static gpulet_status_t read_row(const gpulet_csv_t *csv, const columns_t *c, gpulet_pairs_t *pairs,
                                gpulet_error_t *err)
{
    gpulet_pair_t pair = {.slowdown = NAN};
    gpulet_status_t st = gpulet_csv_name(csv, c->device, GPULET_DEVICE_NAME_MAX, err);
    if (st != GPULET_OK)
        return st;
    memcpy(pair.device, csv->fields[c->device].text, csv->fields[c->device].len + 1);
    if ((st = read_side(&pair.self, csv, &c->self, err)) == GPULET_OK)
        st = read_side(&pair.other, csv, &c->other, err);
    if (st == GPULET_OK)
        st = gpulet_csv_f64(csv, c->slowdown, &pair.slowdown, &slowdown_range, err);
    if (st == GPULET_OK)
        st = read_optional(&pair.slowdown_p10, csv, c->slowdown_p10, &slowdown_range, err);
    if (st == GPULET_OK)
        st = read_optional(&pair.slowdown_p90, csv, c->slowdown_p90, &slowdown_range, err);
    if (st == GPULET_OK)
        st = read_optional(&pair.traffic_mb_s, csv, c->traffic_mb_s, &gpulet_text_natural, err);
    if (st == GPULET_OK && gpulet_pairs_add(pairs, &pair) != GPULET_OK)
        st = gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", csv->file);
    return st;
}

gpulet_status_t gpulet_pairs_parse(gpulet_pairs_t **out, const char *text, size_t size,
                                   const char *file, gpulet_error_t *err)
{
    gpulet_csv_t csv;
    gpulet_pairs_t *pairs = NULL;
    columns_t columns = {0};
    bool more = true;
    gpulet_status_t st = gpulet_csv_open(&csv, text, size, file, err);
    if (st != GPULET_OK)
        return st;
    if ((st = gpulet_pairs_create(&pairs)) != GPULET_OK)
        st = gpulet_fail(err, st, "%s: out of memory", file);
    else
        st = find_columns(&csv, &columns, err);
    while (st == GPULET_OK && (st = gpulet_csv_next(&csv, &more, err)) == GPULET_OK && more)
        st = read_row(&csv, &columns, pairs, err);
    gpulet_csv_close(&csv);
    if (st == GPULET_OK)
        *out = pairs;
    else
        gpulet_pairs_destroy(pairs);
    return st;
}

gpulet_status_t gpulet_pairs_load(gpulet_pairs_t **out, const char *path, gpulet_error_t *err)
{
    char *text = NULL;
    size_t size = 0;
    gpulet_status_t st = gpulet_file_read(&text, &size, path, GPULET_CSV_FILE_SIZE_MAX, err);
    if (st != GPULET_OK)
        return st;
    st = gpulet_pairs_parse(out, text, size, path, err);
    free(text);
    return st;
}

/* ---- writing ---- */

static void append_side(gpulet_buf_t *out, const gpulet_pair_side_t *side)
{
    gpulet_csv_append(out, side->model);
    gpulet_buf_printf(out, ",%u,%u,", side->units, side->batch);
}

gpulet_status_t gpulet_pairs_format_csv(gpulet_buf_t *out, const gpulet_pairs_t *pairs)
{
    gpulet_buf_append_str(out, "device,model,units,batch,other_model,other_units,other_batch,"
                               "slowdown,slowdown_p10,slowdown_p90,traffic_mb_s\n");
    for (size_t i = 0; i < pairs->count; i++) {
        const gpulet_pair_t *pair = &pairs->items[i];
        gpulet_csv_append(out, pair->device);
        gpulet_buf_append_char(out, ',');
        append_side(out, &pair->self);
        append_side(out, &pair->other);
        gpulet_csv_append_f64(out, pair->slowdown);
        gpulet_buf_append_char(out, ',');
        gpulet_csv_append_f64(out, pair->slowdown_p10);
        gpulet_buf_append_char(out, ',');
        gpulet_csv_append_f64(out, pair->slowdown_p90);
        gpulet_buf_append_char(out, ',');
        gpulet_csv_append_f64(out, pair->traffic_mb_s);
        gpulet_buf_append_char(out, '\n');
    }
    return gpulet_buf_status(out);
}
