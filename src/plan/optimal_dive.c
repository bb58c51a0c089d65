/* Integer plans from the columns: the integer program, and dives, which fix some devices, look at
 * what is left to serve as a smaller problem of the same kind, and go on. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/optimal_internal.h"

enum {
    COLUMNS_INTEGER_MAX = 3000,
    NODES_MAX = 400,
    DIVE_ITERATIONS_MAX = 24,
    DIVE_STEPS_MAX = 400,
    PLACE_TRIES = 6
};

static const double CRUMB = 1e-9; /* of a demand: rounding */
static const double NEARLY_WHOLE = 0.85;

static bool is_crumb(const gpulet_pack_t *pack, uint32_t model, double rate_rps)
{
    return rate_rps <= CRUMB * pack->ws->models[model].rate_rps;
}

/* Puts one part on a device; neighbours, memory and network may make it take less. */
static double place_part(gpulet_pack_t *pack, size_t device, uint32_t gpulet, bool first,
                         const gpulet_column_part_t *p, double want)
{
    double rate = fmin(want, p->rate_rps);
    rate = fmin(rate, gpulet_pack_network_rps(pack, device, p->size, p->model));
    if (!(rate > 0.0))
        return 0.0;
    bool pin = pack->ws->types[pack->devices[device].type].row != NULL;
    for (int i = 0; pin && i < 2; i++) {
        bool placed =
            first ? gpulet_pack_try_new_pinned(pack, device, p->size, p->model, p->choice, rate)
                  : gpulet_pack_try_add_pinned(pack, device, gpulet, p->model, p->choice, rate);
        if (placed)
            return rate;
        rate *= 1.0 - 1e-7;
    }
    for (int i = 0; i < PLACE_TRIES; i++) {
        bool placed = first ? gpulet_pack_try_new(pack, device, p->size, p->model, rate)
                            : gpulet_pack_try_add(pack, device, gpulet, p->size, p->model, rate);
        if (placed)
            return rate;
        rate *= i == 0 ? 1.0 - 1e-7 : 0.9;
    }
    return 0.0;
}

bool gpulet_optimal_place(gpulet_pack_t *pack, const gpulet_column_t *column, double *rates_rps)
{
    size_t device = gpulet_pack_open(pack, column->type);
    if (device == SIZE_MAX)
        return false;
    uint32_t gpulet = UINT32_MAX; /* of the column */
    bool first = true;
    for (uint32_t i = 0; i < column->count; i++) {
        const gpulet_column_part_t *p = &column->parts[i];
        if (p->gpulet != gpulet) {
            gpulet = p->gpulet;
            first = true;
        }
        if (is_crumb(pack, p->model, rates_rps[p->model]))
            continue;
        uint32_t at = first ? 0 : pack->devices[device].count - 1;
        double got = place_part(pack, device, at, first, p, rates_rps[p->model]);
        rates_rps[p->model] -= got;
        first = first && got <= 0.0;
    }
    if (pack->devices[device].count == 0) {
        gpulet_pack_close(pack, device);
        return false;
    }
    return true;
}

/* Rounding aside, what is left of every demand. */
static double clean(gpulet_optimal_t *o, double *rates_rps)
{
    double left = 0.0;
    for (size_t m = 0; m < o->ws->models_count; m++) {
        if (is_crumb(&o->trial, (uint32_t)m, rates_rps[m]))
            rates_rps[m] = 0.0;
        left += rates_rps[m];
    }
    return left;
}

void gpulet_optimal_fill_up(gpulet_optimal_t *o, const double *rates_rps)
{
    static const gpulet_fill_policy_t policies[] = {
        {.size = GPULET_FILL_SIZE_EFFICIENT,
         .order = GPULET_FILL_ORDER_PIECE,
         .merge = true,
         .merge_first = true,
         .fragment = true},
        {.size = GPULET_FILL_SIZE_COVER,
         .order = GPULET_FILL_ORDER_LOAD,
         .merge = true,
         .fragment = true},
    };
    for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
        gpulet_pack_copy(&o->scratch, &o->trial);
        gpulet_fill_rest(o->fill, &o->scratch, &policies[i], rates_rps);
        if (gpulet_fill_compare(&o->scratch, &o->best) < 0)
            gpulet_pack_copy(&o->best, &o->scratch);
    }
}

/* ---- the integer program ---- */

static gpulet_status_t limit_counts(gpulet_optimal_t *o, gpulet_program_t **out)
{
    const gpulet_workspace_t *ws = o->ws;
    size_t rows = ws->models_count + ws->types_count;
    double *bounds = malloc((2 * rows + 1) * sizeof(*bounds));
    if (bounds == NULL)
        return GPULET_E_NOMEM;
    for (size_t i = 0; i < rows; i++) {
        bool model = i < ws->models_count;
        int32_t most = model ? -1 : ws->types[i - ws->models_count].devices_max;
        bounds[i] = model ? 1.0 : 0.0;
        bounds[rows + i] = most >= 0 ? (double)most : INFINITY;
    }
    gpulet_status_t st = o->input->solver->create(out, rows, bounds, bounds + rows);
    free(bounds);
    return st;
}

static gpulet_status_t load(gpulet_optimal_t *o, gpulet_program_t *program)
{
    const gpulet_workspace_t *ws = o->ws;
    size_t room = ws->models_count + ws->types_count + 1;
    int *rows = malloc(room * sizeof(*rows));
    double *values = malloc(room * sizeof(*values));
    double *sums = calloc(room, sizeof(*sums));
    gpulet_status_t st =
        rows != NULL && values != NULL && sums != NULL ? GPULET_OK : GPULET_E_NOMEM;
    for (size_t j = 0; j < o->columns.count && st == GPULET_OK; j++) {
        const gpulet_column_t *c = &o->columns.items[j];
        for (uint32_t i = 0; i < c->count; i++)
            sums[c->parts[i].model] +=
                c->parts[i].rate_rps / ws->models[c->parts[i].model].rate_rps;
        size_t n = 0;
        for (uint32_t i = 0; i < c->count; i++) {
            uint32_t m = c->parts[i].model;
            if (sums[m] > 0.0) {
                rows[n] = (int)m;
                values[n++] = fmin(1.0, sums[m] * (1.0 + 1e-9));
            }
            sums[m] = 0.0;
        }
        rows[n] = (int)(ws->models_count + c->type);
        values[n++] = 1.0;
        gpulet_solver_column_t column = {
            ws->types[c->type].type->cost, 0.0, INFINITY, n, rows, values};
        st = o->input->solver->add_column(program, &column);
    }
    free(rows);
    free(values);
    free(sums);
    return st;
}

static void place_counts(gpulet_optimal_t *o, const double *x, double *rates_rps)
{
    gpulet_pack_clear(&o->trial);
    for (size_t m = 0; m < o->ws->models_count; m++)
        rates_rps[m] = o->ws->models[m].rate_rps;
    for (size_t j = 0; j < o->columns.count; j++) {
        for (long n = lround(x[j]); n > 0; n--)
            (void)gpulet_optimal_place(&o->trial, &o->columns.items[j], rates_rps);
    }
    (void)clean(o, rates_rps);
}

gpulet_status_t gpulet_optimal_integer(gpulet_optimal_t *o)
{
    if (o->columns.count > COLUMNS_INTEGER_MAX || o->columns.count == 0)
        return GPULET_OK;
    gpulet_program_t *program = NULL;
    double *x = calloc(o->columns.count, sizeof(*x));
    gpulet_status_t st = x != NULL ? limit_counts(o, &program) : GPULET_E_NOMEM;
    if (st == GPULET_OK)
        st = load(o, program);
    if (st == GPULET_OK) {
        gpulet_solver_answer_t answer =
            o->input->solver->integer(x, program, NODES_MAX, INFINITY, -INFINITY);
        if (answer == GPULET_SOLVER_OPTIMAL || answer == GPULET_SOLVER_FEASIBLE) {
            place_counts(o, x, o->rates);
            gpulet_optimal_fill_up(o, o->rates);
        }
    }
    if (program != NULL)
        o->input->solver->destroy(program);
    free(x);
    return st;
}

/* ---- dives ---- */

/* The column with the rank-th most devices in the relaxation; SIZE_MAX when there is none. */
static size_t ranked_column(const gpulet_optimal_t *o, const gpulet_master_t *m, uint32_t rank)
{
    size_t chosen = SIZE_MAX;
    double below = INFINITY;
    size_t below_at = 0;
    for (uint32_t r = 0; r <= rank; r++) {
        size_t best = SIZE_MAX;
        double most = 1e-6;
        for (size_t j = 0; j < o->columns.count; j++) {
            double x = gpulet_master_count(m, j);
            bool later = x < below || (x == below && j > below_at);
            if (later && x > most) {
                most = x;
                best = j;
            }
        }
        if (best == SIZE_MAX)
            break;
        chosen = best;
        below = most;
        below_at = best;
    }
    return chosen;
}

/* Fixes the devices that the relaxation has whole, else one; how many. */
static size_t fix_devices(gpulet_optimal_t *o, const gpulet_master_t *m, double *rates_rps,
                          uint32_t rank)
{
    size_t fixed = 0;
    for (size_t j = 0; j < o->columns.count; j++) {
        long whole = (long)floor(gpulet_master_count(m, j) + 1.0 - NEARLY_WHOLE);
        for (; whole > 0; whole--) {
            if (!gpulet_optimal_place(&o->trial, &o->columns.items[j], rates_rps))
                break;
            fixed++;
        }
    }
    size_t j = fixed == 0 ? ranked_column(o, m, rank) : SIZE_MAX;
    if (j != SIZE_MAX && gpulet_optimal_place(&o->trial, &o->columns.items[j], rates_rps))
        fixed++;
    return fixed;
}

static gpulet_status_t solve_rest(gpulet_optimal_t *o, gpulet_master_t *m, const double *rates_rps)
{
    gpulet_status_t st = gpulet_master_init(m, &o->columns, o->pricer, o->input->solver, rates_rps);
    m->work_most = m->work_max;
    for (int i = 0; st == GPULET_OK && i < DIVE_ITERATIONS_MAX && !m->done; i++)
        st = gpulet_master_iterate(m);
    return st;
}

gpulet_status_t gpulet_optimal_dive(gpulet_optimal_t *o, uint32_t variant)
{
    gpulet_status_t st = GPULET_OK;
    double *rates = o->rates;
    gpulet_pack_clear(&o->trial);
    for (size_t m = 0; m < o->ws->models_count; m++)
        rates[m] = o->ws->models[m].rate_rps;
    uint32_t rank = variant;
    for (int step = 0; step < DIVE_STEPS_MAX && st == GPULET_OK; step++) {
        gpulet_master_t rest = {0};
        st = solve_rest(o, &rest, rates);
        double least = gpulet_pack_cost(&o->trial) + rest.value;
        bool complete = gpulet_pack_missing(&o->best) <= 0.0;
        size_t fixed = 0;
        /* What cannot become cheaper than the best plan is left. */
        if (st == GPULET_OK &&
            (!complete || gpulet_certifier_round(o->input->devices, least * (1.0 - 1e-6)) <
                              gpulet_pack_cost(&o->best) * (1.0 - 1e-9)))
            fixed = fix_devices(o, &rest, rates, rank % 4);
        rank /= 4;
        gpulet_master_deinit(&rest);
        if (fixed == 0 || st != GPULET_OK)
            break;
        double left = clean(o, rates);
        gpulet_optimal_fill_up(o, rates);
        if (left <= 0.0 || o->trial.failed || gpulet_optimal_settled(o))
            break;
    }
    return st;
}
