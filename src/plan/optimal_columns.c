/* Columns and the linear program over them. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/optimal_internal.h"

enum { ITERATIONS_MAX = 100000, COMPANIONS_MAX = 6, WORK_FIRST = 5000, WORK_MOST = 200000 };

static const double COEFFICIENT_MIN = 1e-9;

/* ---- columns ---- */

void gpulet_columns_deinit(gpulet_columns_t *columns)
{
    for (size_t i = 0; i < columns->count; i++)
        free(columns->items[i].parts);
    free(columns->items);
    *columns = (gpulet_columns_t){0};
}

static bool same(const gpulet_column_t *a, const gpulet_column_t *b)
{
    if (a->hash != b->hash || a->type != b->type || a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        const gpulet_column_part_t *x = &a->parts[i];
        const gpulet_column_part_t *y = &b->parts[i];
        if (x->gpulet != y->gpulet || x->size != y->size || x->model != y->model ||
            x->choice != y->choice || x->rate_rps != y->rate_rps)
            return false;
    }
    return true;
}

static uint64_t hash_of(const gpulet_column_t *c)
{
    uint64_t hash = c->type + 1;
    for (uint32_t i = 0; i < c->count; i++) {
        const gpulet_column_part_t *p = &c->parts[i];
        hash = hash * 0x9E3779B97F4A7C15u + p->gpulet;
        hash = hash * 0x9E3779B97F4A7C15u + p->size;
        hash = hash * 0x9E3779B97F4A7C15u + p->model;
        hash = hash * 0x9E3779B97F4A7C15u + p->choice;
    }
    return hash;
}

static void write_gpulet(gpulet_column_t *c, const gpulet_workspace_t *ws, uint32_t gpulet,
                         const gpulet_price_gpulet_t *g)
{
    double duty_ms = 0.0;
    for (uint32_t k = 0; k < g->count; k++) {
        const gpulet_choices_t *all = gpulet_workspace_choices(ws, g->models[k], c->type, g->size);
        duty_ms += gpulet_choice_latency_ms(&all->items[g->choices[k]], g->beside);
    }
    for (uint32_t k = 0; k < g->count; k++) {
        const gpulet_choices_t *all = gpulet_workspace_choices(ws, g->models[k], c->type, g->size);
        double rate = all->items[g->choices[k]].load * 1000.0 / duty_ms;
        c->parts[c->count++] =
            (gpulet_column_part_t){gpulet, g->size, g->models[k], g->choices[k], rate};
    }
}

static int compare_gpulets(const void *a, const void *b)
{
    const gpulet_price_gpulet_t *x = a;
    const gpulet_price_gpulet_t *y = b;
    if (x->size != y->size)
        return x->size > y->size ? -1 : 1;
    return x->models[0] < y->models[0] ? -1 : x->models[0] > y->models[0];
}

gpulet_status_t gpulet_columns_add(gpulet_columns_t *columns, size_t type,
                                   const gpulet_price_device_t *device, size_t *index, bool *added)
{
    size_t parts = 0;
    for (uint32_t i = 0; i < device->count; i++)
        parts += device->gpulets[i].count;
    if (device->count > 1)
        qsort(device->gpulets, device->count, sizeof(*device->gpulets), compare_gpulets);
    gpulet_column_t c = {.type = (uint32_t)type, .parts = malloc((parts + 1) * sizeof(*c.parts))};
    if (c.parts == NULL)
        return GPULET_E_NOMEM;
    for (uint32_t i = 0; i < device->count; i++)
        write_gpulet(&c, columns->ws, i, &device->gpulets[i]);
    c.hash = hash_of(&c);
    *added = false;
    for (size_t i = 0; i < columns->count; i++) {
        if (same(&columns->items[i], &c)) {
            *index = i;
            free(c.parts);
            return GPULET_OK;
        }
    }
    if (columns->count == columns->capacity) {
        size_t wanted = columns->capacity * 2 + 64;
        gpulet_column_t *more = realloc(columns->items, wanted * sizeof(*more));
        if (more == NULL) {
            free(c.parts);
            return GPULET_E_NOMEM;
        }
        columns->items = more;
        columns->capacity = wanted;
    }
    *index = columns->count;
    *added = true;
    columns->items[columns->count++] = c;
    return GPULET_OK;
}

/* ---- the program ---- */

static gpulet_status_t load_column(gpulet_master_t *m, const gpulet_column_t *column)
{
    int *rows = malloc((column->count + 1) * sizeof(*rows));
    double *values = malloc((column->count + 1) * sizeof(*values));
    gpulet_status_t st = rows != NULL && values != NULL ? GPULET_OK : GPULET_E_NOMEM;
    size_t count = 0;
    for (uint32_t i = 0; st == GPULET_OK && i < column->count; i++) {
        const gpulet_column_part_t *p = &column->parts[i];
        double rate = m->rates_rps[p->model];
        double value = rate > 0.0 ? fmin(1.0, p->rate_rps / rate) : 0.0;
        if (value < COEFFICIENT_MIN)
            continue;
        size_t at = 0;
        while (at < count && rows[at] != (int)p->model)
            at++;
        if (at == count) {
            rows[count] = (int)p->model;
            values[count++] = 0.0;
        }
        values[at] += value;
    }
    gpulet_solver_column_t c = {
        m->columns->ws->types[column->type].type->cost, 0.0, INFINITY, count, rows, values};
    if (st == GPULET_OK)
        st = m->solver->add_column(m->program, &c);
    free(rows);
    free(values);
    m->loaded++;
    return st;
}

static gpulet_status_t load_columns(gpulet_master_t *m)
{
    gpulet_status_t st = GPULET_OK;
    while (st == GPULET_OK && m->loaded < m->columns->count)
        st = load_column(m, &m->columns->items[m->loaded]);
    return st;
}

static gpulet_status_t create_program(gpulet_master_t *m)
{
    size_t models = m->columns->ws->models_count;
    double *lower = calloc(models + 1, sizeof(*lower));
    double *upper = calloc(models + 1, sizeof(*upper));
    gpulet_status_t st = lower != NULL && upper != NULL ? GPULET_OK : GPULET_E_NOMEM;
    for (size_t i = 0; st == GPULET_OK && i < models; i++) {
        lower[i] = m->rates_rps[i] > 0.0 ? 1.0 : 0.0;
        upper[i] = INFINITY;
    }
    if (st == GPULET_OK)
        st = m->solver->create(&m->program, models, lower, upper);
    for (size_t i = 0; st == GPULET_OK && i < models; i++) {
        int row = (int)i;
        double one = 1.0;
        gpulet_solver_column_t c = {m->artificial, 0.0, INFINITY, 1, &row, &one};
        st = m->solver->add_column(m->program, &c);
    }
    free(lower);
    free(upper);
    return st;
}

gpulet_status_t gpulet_master_init(gpulet_master_t *m, gpulet_columns_t *columns,
                                   gpulet_pricer_t *pricer, const gpulet_solver_t *solver,
                                   const double *rates_rps)
{
    size_t models = columns->ws->models_count;
    *m = (gpulet_master_t){.columns = columns, .pricer = pricer, .solver = solver};
    m->scale = GPULET_OPTIMAL_SCALE;
    m->work_max = WORK_FIRST;
    m->work_most = WORK_MOST;
    m->artificial = 1e6;
    m->companions = COMPANIONS_MAX;
    m->rates_rps = malloc((models + 1) * sizeof(*m->rates_rps));
    m->prices = calloc(models + 1, sizeof(*m->prices));
    if (m->rates_rps == NULL || m->prices == NULL)
        return GPULET_E_NOMEM;
    memcpy(m->rates_rps, rates_rps, models * sizeof(*m->rates_rps));
    gpulet_status_t st = create_program(m);
    return st == GPULET_OK ? load_columns(m) : st;
}

void gpulet_master_deinit(gpulet_master_t *m)
{
    if (m->program != NULL)
        m->solver->destroy(m->program);
    free(m->rates_rps);
    free(m->prices);
    gpulet_price_device_deinit(&m->device);
    *m = (gpulet_master_t){0};
}

double gpulet_master_count(const gpulet_master_t *m, size_t column)
{
    if (column >= m->loaded)
        return 0.0;
    return m->solver->primal(m->program)[m->columns->ws->models_count + column];
}

/* Prices by the pricer's arithmetic; a unit that is too small for it is made larger. */
static gpulet_status_t run(gpulet_master_t *m, size_t type, const uint64_t *prices)
{
    gpulet_status_t st =
        gpulet_pricer_run(&m->device, m->pricer, type, prices, m->rates_rps, m->work_max, false);
    m->work += m->device.work;
    return st;
}

gpulet_status_t gpulet_master_seed(gpulet_master_t *m)
{
    const gpulet_workspace_t *ws = m->columns->ws;
    uint64_t *prices = calloc(ws->models_count + 1, sizeof(*prices));
    gpulet_status_t st = prices != NULL ? GPULET_OK : GPULET_E_NOMEM;
    for (size_t i = 0; i < ws->models_count && st == GPULET_OK; i++) {
        prices[i] = 1u << 24;
        for (size_t t = 0; t < ws->types_count && st == GPULET_OK; t++) {
            size_t index = 0;
            bool added = false;
            if ((st = run(m, t, prices)) == GPULET_OK && m->device.value > 0)
                st = gpulet_columns_add(m->columns, t, &m->device, &index, &added);
            if (st == GPULET_E_INVALID) /* another scale may do; the artificial column stands in */
                st = GPULET_OK;
        }
        prices[i] = 0;
    }
    free(prices);
    return st == GPULET_OK ? load_columns(m) : st;
}

static void set_prices(gpulet_master_t *m)
{
    const double *dual = m->solver->dual(m->program);
    for (size_t i = 0; i < m->columns->ws->models_count; i++) {
        double price = m->rates_rps[i] > 0.0 ? dual[i] * m->scale : 0.0;
        m->prices[i] = price >= 1.0 ? (uint64_t)price : 0;
    }
}

static double sum_prices(const gpulet_master_t *m)
{
    double sum = 0.0;
    for (size_t i = 0; i < m->columns->ws->models_count; i++)
        sum += (double)m->prices[i];
    return sum;
}

/* More devices of the type, of what the first one left: fewer iterations then. */
static gpulet_status_t add_companions(gpulet_master_t *m, size_t type, double limit,
                                      uint64_t *prices)
{
    gpulet_status_t st = GPULET_OK;
    memcpy(prices, m->prices, m->columns->ws->models_count * sizeof(*prices));
    for (int i = 0; i < m->companions && st == GPULET_OK; i++) {
        for (uint32_t g = 0; g < m->device.count; g++) {
            for (uint32_t k = 0; k < m->device.gpulets[g].count; k++)
                prices[m->device.gpulets[g].models[k]] = 0;
        }
        size_t index = 0;
        bool added = false;
        if ((st = run(m, type, prices)) != GPULET_OK || (double)m->device.value <= limit)
            break;
        st = gpulet_columns_add(m->columns, type, &m->device, &index, &added);
    }
    return st;
}

static gpulet_status_t price_type(gpulet_master_t *m, size_t type, double *least, bool *any,
                                  uint64_t *prices)
{
    double limit = m->columns->ws->types[type].type->cost * m->scale;
    gpulet_status_t st = run(m, type, m->prices);
    if (st != GPULET_OK)
        return st;
    if (m->device.bound > 0)
        *least =
            fmin(*least,
                 m->device.bound == GPULET_PRICE_UNKNOWN ? 0.0 : limit / (double)m->device.bound);
    if ((double)m->device.value <= limit * (1.0 + 1e-7) + 16.0)
        return GPULET_OK;
    size_t index = 0;
    bool added = false;
    st = gpulet_columns_add(m->columns, type, &m->device, &index, &added);
    *any = *any || added;
    if (st == GPULET_OK && added)
        st = add_companions(m, type, limit * (1.0 + 1e-7) + 16.0, prices);
    return st;
}

gpulet_status_t gpulet_master_iterate(gpulet_master_t *m)
{
    const gpulet_workspace_t *ws = m->columns->ws;
    gpulet_status_t st = load_columns(m);
    if (st != GPULET_OK)
        return st;
    m->improved_bound = false;
    if (m->solver->relax(m->program, ITERATIONS_MAX) != GPULET_SOLVER_OPTIMAL)
        return GPULET_E_INTERNAL;
    m->value = m->solver->objective(m->program);
    uint64_t *prices = malloc((ws->models_count + 1) * sizeof(*prices));
    if (prices == NULL)
        return GPULET_E_NOMEM;
    bool any = false;
    bool cut_off = false;
    double least = INFINITY;
    do {
        set_prices(m);
        any = false;
        least = INFINITY;
        st = GPULET_OK;
        for (size_t t = 0; st == GPULET_OK && t < ws->types_count; t++)
            st = price_type(m, t, &least, &any, prices);
        cut_off = least <= 0.0;
        if (st == GPULET_E_INVALID)
            m->scale *= 1.0 / 16.0;
    } while (st == GPULET_E_INVALID && m->scale >= 256.0);
    free(prices);
    if (st != GPULET_OK) {
        m->done = true;
        return st == GPULET_E_INVALID ? GPULET_OK : st;
    }
    double bound = isfinite(least) ? least * sum_prices(m) / m->scale : 0.0;
    m->improved_bound = bound > m->bound;
    m->bound = fmax(m->bound, bound);
    /* A search that was cut off may have missed a column: then it is given longer. */
    m->done = !any && (!cut_off || m->work_max >= m->work_most);
    if (!any && !m->done)
        m->work_max *= 8;
    return load_columns(m);
}
