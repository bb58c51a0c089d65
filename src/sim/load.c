#include "sim/load.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/csv.h"

/* A year: beyond that, times in nanoseconds lose what matters in a double. */
static const gpulet_text_range_t time_range = {0.0, 31536000.0, false,
                                               "seconds from 0 to 31536000"};
static const gpulet_text_range_t rate_range = {0.0, 1e9, false, "a number from 0 to 1e9"};

typedef struct columns {
    int time_s;
    int model;
    int value; /* rate or items; -1: there is none */
} columns_t;

/* The row of the workload that the field names. */
static gpulet_status_t read_model(uint32_t *out, const gpulet_csv_t *csv, int column,
                                  const gpulet_workload_t *workload, gpulet_error_t *err)
{
    gpulet_status_t st = gpulet_csv_name(csv, column, GPULET_WORKLOAD_NAME_MAX, err);
    if (st != GPULET_OK)
        return st;
    const gpulet_demand_t *demand = gpulet_workload_find(workload, csv->fields[column].text);
    if (demand == NULL)
        return gpulet_csv_fail(csv, column, "a model of the workload", err);
    *out = (uint32_t)(demand - workload->demands);
    return GPULET_OK;
}

static gpulet_status_t find_columns(columns_t *out, const gpulet_csv_t *csv, gpulet_error_t *err)
{
    gpulet_status_t st = gpulet_csv_require(csv, &out->time_s, "time_s", err);
    return st == GPULET_OK ? gpulet_csv_require(csv, &out->model, "model", err) : st;
}

/* ---- rates ---- */

void gpulet_sim_rates_destroy(gpulet_sim_rates_t *rates)
{
    if (rates == NULL)
        return;
    for (size_t i = 0; rates->models != NULL && i < rates->models_count; i++)
        free(rates->models[i].steps);
    free(rates->models);
    free(rates);
}

static gpulet_status_t add_step(gpulet_sim_model_rates_t *model, const gpulet_rate_step_t *step,
                                const gpulet_csv_t *csv, int column, gpulet_error_t *err)
{
    if (model->count > 0 && step->begin_s <= model->steps[model->count - 1].begin_s)
        return gpulet_csv_fail(csv, column, "a time after the one before of the same model", err);
    /* Room doubles whenever the count is a power of two. */
    if ((model->count & (model->count - 1)) == 0) {
        size_t capacity = model->count == 0 ? 1 : model->count * 2;
        gpulet_rate_step_t *grown = reallocarray(model->steps, capacity, sizeof(*grown));
        if (grown == NULL)
            return gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", csv->file);
        model->steps = grown;
    }
    model->steps[model->count++] = *step;
    return GPULET_OK;
}

static gpulet_status_t read_rates(gpulet_sim_rates_t *rates, gpulet_csv_t *csv,
                                  const gpulet_workload_t *workload, gpulet_error_t *err)
{
    columns_t c;
    bool more = false;
    gpulet_status_t st = find_columns(&c, csv, err);
    if (st == GPULET_OK)
        st = gpulet_csv_require(csv, &c.value, "rate_rps", err);
    while (st == GPULET_OK && (st = gpulet_csv_next(csv, &more, err)) == GPULET_OK && more) {
        gpulet_rate_step_t step;
        uint32_t model = 0;
        st = gpulet_csv_f64(csv, c.time_s, &step.begin_s, &time_range, err);
        if (st == GPULET_OK)
            st = read_model(&model, csv, c.model, workload, err);
        if (st == GPULET_OK)
            st = gpulet_csv_f64(csv, c.value, &step.rate_rps, &rate_range, err);
        if (st == GPULET_OK)
            st = add_step(&rates->models[model], &step, csv, c.time_s, err);
        if (st == GPULET_OK && step.begin_s > rates->end_s)
            rates->end_s = step.begin_s;
    }
    return st;
}

gpulet_status_t gpulet_sim_rates_parse(gpulet_sim_rates_t **out, const char *text, size_t size,
                                       const char *file, const gpulet_workload_t *workload,
                                       gpulet_error_t *err)
{
    gpulet_csv_t csv;
    gpulet_status_t st = gpulet_csv_open(&csv, text, size, file, err);
    if (st != GPULET_OK)
        return st;
    gpulet_sim_rates_t *rates = calloc(1, sizeof(*rates));
    if (rates != NULL) {
        rates->models_count = workload->count;
        rates->models = calloc(workload->count + 1, sizeof(*rates->models));
    }
    if (rates == NULL || rates->models == NULL)
        st = gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", file);
    else
        st = read_rates(rates, &csv, workload, err);
    gpulet_csv_close(&csv);
    if (st == GPULET_OK)
        *out = rates;
    else
        gpulet_sim_rates_destroy(rates);
    return st;
}

/* ---- arrivals ---- */

void gpulet_sim_trace_destroy(gpulet_sim_trace_t *trace)
{
    if (trace == NULL)
        return;
    free(trace->arrivals);
    free(trace);
}

static gpulet_status_t add_arrival(gpulet_sim_trace_t *trace, const gpulet_sim_arrival_t *arrival,
                                   const char *file, gpulet_error_t *err)
{
    if (trace->count == trace->capacity) {
        size_t capacity = trace->capacity == 0 ? 64 : trace->capacity * 2;
        gpulet_sim_arrival_t *grown = reallocarray(trace->arrivals, capacity, sizeof(*grown));
        if (grown == NULL)
            return gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", file);
        trace->arrivals = grown;
        trace->capacity = capacity;
    }
    trace->arrivals[trace->count++] = *arrival;
    return GPULET_OK;
}

static gpulet_status_t read_trace(gpulet_sim_trace_t *trace, gpulet_csv_t *csv,
                                  const gpulet_workload_t *workload, gpulet_error_t *err)
{
    columns_t c;
    bool more = false;
    gpulet_status_t st = find_columns(&c, csv, err);
    c.value = gpulet_csv_column(csv, "items");
    while (st == GPULET_OK && (st = gpulet_csv_next(csv, &more, err)) == GPULET_OK && more) {
        gpulet_sim_arrival_t arrival = {.items = 1};
        st = gpulet_csv_f64(csv, c.time_s, &arrival.time_s, &time_range, err);
        if (st == GPULET_OK)
            st = read_model(&arrival.model, csv, c.model, workload, err);
        if (st == GPULET_OK && gpulet_csv_has(csv, c.value))
            st = gpulet_csv_u32(csv, c.value, &arrival.items, 1, GPULET_SIM_ITEMS_MAX, err);
        if (st == GPULET_OK)
            st = add_arrival(trace, &arrival, csv->file, err);
    }
    return st;
}

/* Merges two halves that are in order; the first wins among equal times. */
static void merge(gpulet_sim_arrival_t *to, const gpulet_sim_arrival_t *from, size_t middle,
                  size_t count)
{
    size_t a = 0;
    size_t b = middle;
    for (size_t i = 0; i < count; i++) {
        bool first = a < middle && (b >= count || from[a].time_s <= from[b].time_s);
        to[i] = first ? from[a++] : from[b++];
    }
}

/* A merge sort: qsort would leave the order of equal times to the C library. */
static gpulet_status_t sort_arrivals(gpulet_sim_trace_t *trace)
{
    size_t count = trace->count;
    gpulet_sim_arrival_t *other = reallocarray(NULL, count + 1, sizeof(*other));
    if (other == NULL)
        return GPULET_E_NOMEM;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t at = 0; at < count; at += 2 * width) {
            size_t left = count - at;
            merge(other + at, trace->arrivals + at, width < left ? width : left,
                  2 * width < left ? 2 * width : left);
        }
        /* What was sorted from is room for the next pass. */
        gpulet_sim_arrival_t *sorted = other;
        other = trace->arrivals;
        trace->arrivals = sorted;
    }
    trace->capacity = count;
    free(other);
    return GPULET_OK;
}

gpulet_status_t gpulet_sim_trace_parse(gpulet_sim_trace_t **out, const char *text, size_t size,
                                       const char *file, const gpulet_workload_t *workload,
                                       gpulet_error_t *err)
{
    gpulet_csv_t csv;
    gpulet_status_t st = gpulet_csv_open(&csv, text, size, file, err);
    if (st != GPULET_OK)
        return st;
    gpulet_sim_trace_t *trace = calloc(1, sizeof(*trace));
    st = trace == NULL ? gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", file)
                       : read_trace(trace, &csv, workload, err);
    gpulet_csv_close(&csv);
    if (st == GPULET_OK && sort_arrivals(trace) != GPULET_OK)
        st = gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", file);
    if (st == GPULET_OK)
        *out = trace;
    else
        gpulet_sim_trace_destroy(trace);
    return st;
}
