#include "core/workload.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "core/csv.h"

enum { SCENARIOS_NAMED_MAX = 10 };

typedef struct columns {
    int model;
    int rate_rps;
    int slo_ms;
    int scenario; /* -1: not there, as the two below */
    int priority;
    int weight;
} columns_t;

/* Every row of the file, whatever its scenario: an error in a scenario that nobody asked for is an
 * error too. */
typedef struct row {
    gpulet_demand_t demand;
    uint32_t scenario; /* index */
    size_t line;
} row_t;

typedef struct rows {
    size_t count;
    size_t capacity;
    row_t *rows;
    uint32_t scenarios_count;
    uint32_t scenarios_capacity;
    char **scenarios; /* in the order of the file */
} rows_t;

static gpulet_status_t find_columns(const gpulet_csv_t *csv, columns_t *columns,
                                    gpulet_error_t *err)
{
    gpulet_status_t st = gpulet_csv_require(csv, &columns->model, "model", err);
    if (st == GPULET_OK)
        st = gpulet_csv_require(csv, &columns->rate_rps, "rate_rps", err);
    if (st == GPULET_OK)
        st = gpulet_csv_require(csv, &columns->slo_ms, "slo_ms", err);
    columns->scenario = gpulet_csv_column(csv, "scenario");
    columns->priority = gpulet_csv_column(csv, "priority");
    columns->weight = gpulet_csv_column(csv, "weight");
    return st;
}

static gpulet_status_t add_scenario(rows_t *rows, const char *name)
{
    if (rows->scenarios_count == rows->scenarios_capacity) {
        uint32_t wanted = rows->scenarios_capacity == 0 ? 8 : rows->scenarios_capacity * 2;
        char **grown = reallocarray(rows->scenarios, wanted, sizeof(char *));
        if (grown == NULL)
            return GPULET_E_NOMEM;
        rows->scenarios = grown;
        rows->scenarios_capacity = wanted;
    }
    char *copy = strdup(name);
    if (copy == NULL)
        return GPULET_E_NOMEM;
    rows->scenarios[rows->scenarios_count++] = copy;
    return GPULET_OK;
}

static gpulet_status_t read_scenario(const gpulet_csv_t *csv, const columns_t *columns,
                                     rows_t *rows, row_t *row, gpulet_error_t *err)
{
    if (columns->scenario < 0)
        return GPULET_OK;
    gpulet_status_t st = gpulet_csv_name(csv, columns->scenario, GPULET_WORKLOAD_NAME_MAX, err);
    if (st != GPULET_OK)
        return st;
    const char *name = csv->fields[columns->scenario].text;
    /* From the end, since rows of one scenario mostly stand together. */
    for (uint32_t i = rows->scenarios_count; i > 0; i--) {
        if (strcmp(rows->scenarios[i - 1], name) == 0) {
            row->scenario = i - 1;
            return GPULET_OK;
        }
    }
    if (rows->scenarios_count == GPULET_WORKLOAD_SCENARIOS_MAX)
        return gpulet_fail(err, GPULET_E_TOO_LARGE,
                           "%s:%zu: scenario: expected at most %d scenarios, found more", csv->file,
                           csv->line, GPULET_WORKLOAD_SCENARIOS_MAX);
    row->scenario = rows->scenarios_count;
    st = add_scenario(rows, name);
    return st == GPULET_OK ? st : gpulet_fail(err, st, "%s: out of memory", csv->file);
}

static gpulet_status_t read_demand(const gpulet_csv_t *csv, const columns_t *columns,
                                   gpulet_demand_t *demand, gpulet_error_t *err)
{
    gpulet_status_t st = gpulet_csv_name(csv, columns->model, GPULET_WORKLOAD_NAME_MAX, err);
    if (st != GPULET_OK)
        return st;
    memcpy(demand->model, csv->fields[columns->model].text, csv->fields[columns->model].len + 1);
    demand->weight = 1;
    st = gpulet_csv_f64(csv, columns->rate_rps, &demand->rate_rps, &gpulet_text_natural, err);
    if (st == GPULET_OK)
        st = gpulet_csv_f64(csv, columns->slo_ms, &demand->slo_ms, &gpulet_text_positive, err);
    demand->priority_given = gpulet_csv_has(csv, columns->priority);
    if (st == GPULET_OK && demand->priority_given)
        st = gpulet_csv_u32(csv, columns->priority, &demand->priority, 0, UINT32_MAX, err);
    if (st == GPULET_OK && gpulet_csv_has(csv, columns->weight))
        st = gpulet_csv_f64(csv, columns->weight, &demand->weight, &gpulet_text_positive, err);
    return st;
}

static gpulet_status_t reserve_row(rows_t *rows)
{
    if (rows->count < rows->capacity)
        return GPULET_OK;
    size_t wanted = rows->capacity == 0 ? 16 : rows->capacity * 2;
    row_t *grown = reallocarray(rows->rows, wanted, sizeof(row_t));
    if (grown == NULL)
        return GPULET_E_NOMEM;
    rows->rows = grown;
    rows->capacity = wanted;
    return GPULET_OK;
}

static gpulet_status_t read_rows(gpulet_csv_t *csv, rows_t *rows, gpulet_error_t *err)
{
    columns_t columns;
    bool more = false;
    gpulet_status_t st = find_columns(csv, &columns, err);
    if (st != GPULET_OK)
        return st;
    while ((st = gpulet_csv_next(csv, &more, err)) == GPULET_OK && more) {
        row_t row = {.line = csv->line};
        if (rows->count == GPULET_WORKLOAD_ROWS_MAX)
            return gpulet_fail(err, GPULET_E_TOO_LARGE,
                               "%s:%zu: row: expected at most %d rows, found more", csv->file,
                               csv->line, GPULET_WORKLOAD_ROWS_MAX);
        if ((st = read_demand(csv, &columns, &row.demand, err)) != GPULET_OK ||
            (st = read_scenario(csv, &columns, rows, &row, err)) != GPULET_OK)
            return st;
        if (reserve_row(rows) != GPULET_OK)
            return gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", csv->file);
        rows->rows[rows->count++] = row;
    }
    return st;
}

static int compare_rows(const void *left, const void *right)
{
    const row_t *a = *(const row_t *const *)left;
    const row_t *b = *(const row_t *const *)right;
    if (a->scenario != b->scenario)
        return a->scenario < b->scenario ? -1 : 1;
    int order = strcmp(a->demand.model, b->demand.model);
    return order != 0 ? order : (a->line < b->line ? -1 : a->line > b->line);
}

/* Reports the first row in the file whose model its scenario has already. */
static gpulet_status_t check_twice(const rows_t *rows, const char *file, gpulet_error_t *err)
{
    const row_t *again = NULL;
    size_t first_line = 0;
    if (rows->count < 2)
        return GPULET_OK;
    const row_t **sorted = reallocarray(NULL, rows->count, sizeof(row_t *));
    if (sorted == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", file);
    for (size_t i = 0; i < rows->count; i++)
        sorted[i] = &rows->rows[i];
    qsort(sorted, rows->count, sizeof(row_t *), compare_rows);
    for (size_t i = 1; i < rows->count; i++) {
        bool same = sorted[i]->scenario == sorted[i - 1]->scenario &&
                    strcmp(sorted[i]->demand.model, sorted[i - 1]->demand.model) == 0;
        if (same && (again == NULL || sorted[i]->line < again->line)) {
            again = sorted[i];
            first_line = sorted[i - 1]->line;
        }
    }
    free(sorted);
    if (again == NULL)
        return GPULET_OK;
    return gpulet_fail(err, GPULET_E_INVALID,
                       "%s:%zu: model: expected each model once%s%s, found %s again (first in line "
                       "%zu)",
                       file, again->line, rows->scenarios_count > 0 ? " in scenario " : "",
                       rows->scenarios_count > 0 ? rows->scenarios[again->scenario] : "",
                       again->demand.model, first_line);
}

static void name_scenarios(char *text, size_t text_size, const rows_t *rows)
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < rows->scenarios_count && used < text_size; i++) {
        bool cut = i == SCENARIOS_NAMED_MAX;
        int written = snprintf(text + used, text_size - used, "%s%s", i == 0 ? "" : ", ",
                               cut ? "…" : rows->scenarios[i]);
        used += written > 0 ? (size_t)written : 0;
        if (cut)
            return;
    }
}

/* The index of the scenario whose rows are the workload. */
static gpulet_status_t choose(const rows_t *rows, const char *file, const char *scenario,
                              uint32_t *out, gpulet_error_t *err)
{
    char names[GPULET_ERROR_TEXT_MAX / 2];
    *out = 0;
    name_scenarios(names, sizeof(names), rows);
    if (scenario == NULL && rows->scenarios_count > 1)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s: scenario: expected the choice of one, found none; the file has %s",
                           file, names);
    if (scenario == NULL)
        return GPULET_OK;
    for (uint32_t i = 0; i < rows->scenarios_count; i++) {
        if (strcmp(rows->scenarios[i], scenario) == 0) {
            *out = i;
            return GPULET_OK;
        }
    }
    return gpulet_fail(err, GPULET_E_NOT_FOUND, "%s: scenario: expected %s, found %s", file,
                       scenario, names[0] == '\0' ? "no scenarios" : names);
}

static gpulet_status_t build(gpulet_workload_t *workload, const rows_t *rows, uint32_t scenario)
{
    if (rows->count == 0)
        return GPULET_OK;
    workload->demands = reallocarray(NULL, rows->count, sizeof(workload->demands[0]));
    if (workload->demands == NULL)
        return GPULET_E_NOMEM;
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->rows[i].scenario == scenario)
            workload->demands[workload->count++] = rows->rows[i].demand;
    }
    return GPULET_OK;
}

static void deinit_rows(rows_t *rows)
{
    for (uint32_t i = 0; i < rows->scenarios_count; i++)
        free(rows->scenarios[i]);
    free(rows->scenarios);
    free(rows->rows);
}

gpulet_status_t gpulet_workload_parse(gpulet_workload_t **out, const char *text, size_t size,
                                      const char *file, const char *scenario, gpulet_error_t *err)
{
    gpulet_csv_t csv;
    rows_t rows = {0};
    uint32_t chosen = 0;
    gpulet_workload_t *workload = NULL;
    gpulet_status_t st = gpulet_csv_open(&csv, text, size, file, err);
    if (st != GPULET_OK)
        return st;
    st = read_rows(&csv, &rows, err);
    gpulet_csv_close(&csv);
    if (st == GPULET_OK)
        st = check_twice(&rows, file, err);
    if (st == GPULET_OK)
        st = choose(&rows, file, scenario, &chosen, err);
    if (st == GPULET_OK && ((st = gpulet_workload_create(&workload)) != GPULET_OK ||
                            (st = build(workload, &rows, chosen)) != GPULET_OK))
        st = gpulet_fail(err, st, "%s: out of memory", file);
    deinit_rows(&rows);
    if (st == GPULET_OK)
        *out = workload;
    else
        gpulet_workload_destroy(workload);
    return st;
}

gpulet_status_t gpulet_workload_load(gpulet_workload_t **out, const char *path,
                                     const char *scenario, gpulet_error_t *err)
{
    char *text = NULL;
    size_t size = 0;
    gpulet_status_t st = gpulet_file_read(&text, &size, path, GPULET_CSV_FILE_SIZE_MAX, err);
    if (st != GPULET_OK)
        return st;
    st = gpulet_workload_parse(out, text, size, path, scenario, err);
    free(text);
    return st;
}

gpulet_status_t gpulet_workload_create(gpulet_workload_t **out)
{
    gpulet_workload_t *workload = calloc(1, sizeof(*workload));
    if (workload == NULL)
        return GPULET_E_NOMEM;
    *out = workload;
    return GPULET_OK;
}

static gpulet_status_t check_demand(const gpulet_demand_t *demand, gpulet_error_t *err)
{
    gpulet_error_t why;
    const gpulet_text_range_t *natural = &gpulet_text_natural;
    const gpulet_text_range_t *positive = &gpulet_text_positive;
    gpulet_status_t st =
        gpulet_text_check_name(demand->model, strnlen(demand->model, sizeof(demand->model)),
                               GPULET_WORKLOAD_NAME_MAX, &why);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "model: %s", why.text);
    if (!gpulet_text_in_range(natural, demand->rate_rps))
        return gpulet_fail(err, GPULET_E_INVALID, "rate_rps: expected %s, found %g",
                           natural->expected, demand->rate_rps);
    if (!gpulet_text_in_range(positive, demand->slo_ms))
        return gpulet_fail(err, GPULET_E_INVALID, "slo_ms: expected %s, found %g",
                           positive->expected, demand->slo_ms);
    if (!gpulet_text_in_range(positive, demand->weight))
        return gpulet_fail(err, GPULET_E_INVALID, "weight: expected %s, found %g",
                           positive->expected, demand->weight);
    return GPULET_OK;
}

gpulet_status_t gpulet_workload_add(gpulet_workload_t *workload, const gpulet_demand_t *demand,
                                    gpulet_error_t *err)
{
    gpulet_status_t st = check_demand(demand, err);
    if (st != GPULET_OK)
        return st;
    if (gpulet_workload_find(workload, demand->model) != NULL)
        return gpulet_fail(err, GPULET_E_EXISTS, "model: expected each model once, found %s again",
                           demand->model);
    gpulet_demand_t *grown =
        reallocarray(workload->demands, workload->count + 1, sizeof(workload->demands[0]));
    if (grown == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    workload->demands = grown;
    workload->demands[workload->count++] = *demand;
    return GPULET_OK;
}

void gpulet_workload_destroy(gpulet_workload_t *workload)
{
    if (workload == NULL)
        return;
    free(workload->demands);
    free(workload);
}

const gpulet_demand_t *gpulet_workload_find(const gpulet_workload_t *workload, const char *model)
{
    for (size_t i = 0; i < workload->count; i++) {
        if (strcmp(workload->demands[i].model, model) == 0)
            return &workload->demands[i];
    }
    return NULL;
}

gpulet_status_t gpulet_workload_format_csv(gpulet_buf_t *out, const gpulet_workload_t *workload)
{
    bool priority = false;
    bool weight = false;
    for (size_t i = 0; i < workload->count; i++) {
        priority = priority || workload->demands[i].priority != 0;
        weight = weight || workload->demands[i].weight != 1;
    }
    gpulet_buf_append_str(out, "model,rate_rps,slo_ms");
    gpulet_buf_append_str(out, priority ? ",priority" : "");
    gpulet_buf_append_str(out, weight ? ",weight\n" : "\n");
    for (size_t i = 0; i < workload->count; i++) {
        const gpulet_demand_t *demand = &workload->demands[i];
        gpulet_csv_append(out, demand->model);
        gpulet_buf_append_char(out, ',');
        gpulet_csv_append_f64(out, demand->rate_rps);
        gpulet_buf_append_char(out, ',');
        gpulet_csv_append_f64(out, demand->slo_ms);
        if (priority)
            gpulet_buf_printf(out, ",%u", demand->priority);
        if (weight) {
            gpulet_buf_append_char(out, ',');
            gpulet_csv_append_f64(out, demand->weight);
        }
        gpulet_buf_append_char(out, '\n');
    }
    return gpulet_buf_status(out);
}
