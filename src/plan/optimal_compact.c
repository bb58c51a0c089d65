/* Another integer program, over gpu-lets in place of devices: how many gpu-lets of each size that
 * every model has to itself, and how many devices of each cut. It is small and knows all cuts, so
 * it finds plans that the columns of the linear program do not add up to; models in turns are left
 * to what fills the plan up afterwards. Only for types whose gpu-lets do not disturb one another.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/optimal_internal.h"

enum { CUTS_MAX = 400, CUT_GPULETS_MAX = 16, MODELS_MAX = 200, NODES_MAX = 20000 };

typedef struct cut {
    uint32_t type;
    uint32_t count;
    uint32_t sizes[CUT_GPULETS_MAX];
} cut_t;

typedef struct single {
    uint32_t model;
    uint32_t type;
    uint32_t size;
} single_t;

typedef struct compact {
    gpulet_optimal_t *o;
    size_t cuts_count;
    cut_t *cuts; /* owned, CUTS_MAX */
    size_t singles_count;
    single_t *singles; /* owned */
    bool failed;
} compact_t;

/* ---- cuts ---- */

static bool is_full(const gpulet_device_type_t *type, cut_t *cut)
{
    for (uint32_t s = 0; s < type->sizes_count; s++) {
        cut->sizes[cut->count] = s;
        if (gpulet_placement_find(type, cut->sizes, cut->count + 1, NULL))
            return false;
    }
    return true;
}

/* All cuts to which nothing can be added; sizes descend. Depth is at most CUT_GPULETS_MAX. */
static void list_cuts(compact_t *c, cut_t *cut)
{
    const gpulet_device_type_t *type = c->o->ws->types[cut->type].type;
    if (c->failed || cut->count + 1 >= CUT_GPULETS_MAX) {
        c->failed = true;
        return;
    }
    if (cut->count > 0 && is_full(type, cut)) {
        c->failed = c->cuts_count == CUTS_MAX;
        if (!c->failed)
            c->cuts[c->cuts_count++] = *cut;
        return;
    }
    uint32_t most = cut->count > 0 ? cut->sizes[cut->count - 1] + 1 : type->sizes_count;
    for (uint32_t s = 0; s < most; s++) {
        uint32_t before = cut->sizes[cut->count];
        cut->sizes[cut->count] = s;
        cut->count++;
        if (gpulet_placement_find(type, cut->sizes, cut->count, NULL))
            list_cuts(c, cut);
        cut->count--;
        cut->sizes[cut->count] = before;
    }
}

static void list_singles(compact_t *c)
{
    const gpulet_workspace_t *ws = c->o->ws;
    for (uint32_t m = 0; m < ws->models_count; m++) {
        for (uint32_t t = 0; t < ws->types_count; t++) {
            for (uint32_t s = 0; s < ws->types[t].type->sizes_count; s++) {
                if (gpulet_workspace_choices(ws, m, t, s)->count > 0)
                    c->singles[c->singles_count++] = (single_t){m, t, s};
            }
        }
    }
}

/* ---- the program: rows are models, then sizes of all types, then types ---- */

static gpulet_status_t create(const compact_t *c, gpulet_program_t **out)
{
    const gpulet_workspace_t *ws = c->o->ws;
    size_t rows = ws->models_count + ws->sizes_total + ws->types_count;
    double *bounds = calloc(2 * rows + 1, sizeof(*bounds));
    if (bounds == NULL)
        return GPULET_E_NOMEM;
    for (size_t i = 0; i < rows; i++) {
        bounds[i] = i < ws->models_count ? 1.0 : 0.0;
        bounds[rows + i] = INFINITY;
    }
    for (size_t t = 0; t < ws->types_count; t++) {
        if (ws->types[t].devices_max >= 0)
            bounds[2 * rows - ws->types_count + t] = (double)ws->types[t].devices_max;
    }
    gpulet_status_t st = c->o->input->solver->create(out, rows, bounds, bounds + rows);
    free(bounds);
    return st;
}

static int size_row(const gpulet_workspace_t *ws, uint32_t type, uint32_t size)
{
    return (int)(ws->models_count + ws->types[type].offset + size);
}

static gpulet_status_t load(const compact_t *c, gpulet_program_t *program)
{
    const gpulet_workspace_t *ws = c->o->ws;
    const gpulet_solver_t *solver = c->o->input->solver;
    gpulet_status_t st = GPULET_OK;
    int rows[CUT_GPULETS_MAX + 1];
    double values[CUT_GPULETS_MAX + 1];
    for (size_t i = 0; st == GPULET_OK && i < c->singles_count; i++) {
        const single_t *s = &c->singles[i];
        double rate = gpulet_workspace_choices(ws, s->model, s->type, s->size)->rate_rps;
        rows[0] = (int)s->model;
        values[0] = fmin(1.0, rate / ws->models[s->model].rate_rps * (1.0 + 1e-9));
        rows[1] = size_row(ws, s->type, s->size);
        values[1] = -1.0;
        gpulet_solver_column_t column = {0.0, 0.0, INFINITY, 2, rows, values};
        st = solver->add_column(program, &column);
    }
    for (size_t i = 0; st == GPULET_OK && i < c->cuts_count; i++) {
        const cut_t *cut = &c->cuts[i];
        size_t n = 0;
        for (uint32_t k = 0; k < cut->count; k++) {
            int row = size_row(ws, cut->type, cut->sizes[k]);
            if (n > 0 && rows[n - 1] == row) {
                values[n - 1] += 1.0;
            } else {
                rows[n] = row;
                values[n++] = 1.0;
            }
        }
        rows[n] = (int)(ws->models_count + ws->sizes_total + cut->type);
        values[n++] = 1.0;
        gpulet_solver_column_t column = {
            ws->types[cut->type].type->cost, 0.0, INFINITY, n, rows, values};
        st = solver->add_column(program, &column);
    }
    return st;
}

/* ---- the plan ---- */

/* The model of the next gpu-let of that size; SIZE_MAX when all have been used. */
static size_t next_single(const compact_t *c, double *x, uint32_t type, uint32_t size)
{
    for (size_t i = 0; i < c->singles_count; i++) {
        const single_t *s = &c->singles[i];
        if (s->type == type && s->size == size && x[i] >= 0.5) {
            x[i] -= 1.0;
            return i;
        }
    }
    return SIZE_MAX;
}

static void place_cut(const compact_t *c, double *x, const cut_t *cut, double *rates_rps)
{
    gpulet_pack_t *pack = &c->o->trial;
    size_t device = gpulet_pack_open(pack, cut->type);
    if (device == SIZE_MAX)
        return;
    for (uint32_t k = 0; k < cut->count; k++) {
        size_t i = next_single(c, x, cut->type, cut->sizes[k]);
        if (i == SIZE_MAX)
            continue;
        uint32_t m = c->singles[i].model;
        double most = gpulet_workspace_choices(c->o->ws, m, cut->type, cut->sizes[k])->rate_rps;
        double rate = fmin(most, rates_rps[m]);
        rate = fmin(rate, gpulet_pack_network_rps(pack, device, cut->sizes[k], m));
        if (rate > 1e-9 * c->o->ws->models[m].rate_rps &&
            gpulet_pack_try_new(pack, device, cut->sizes[k], m, rate))
            rates_rps[m] -= rate;
    }
    if (pack->devices[device].count == 0)
        gpulet_pack_close(pack, device);
}

static void place_all(const compact_t *c, double *x)
{
    gpulet_optimal_t *o = c->o;
    gpulet_pack_clear(&o->trial);
    for (size_t m = 0; m < o->ws->models_count; m++)
        o->rates[m] = o->ws->models[m].rate_rps;
    for (size_t i = 0; i < c->cuts_count; i++) {
        for (long n = lround(x[c->singles_count + i]); n > 0; n--)
            place_cut(c, x, &c->cuts[i], o->rates);
    }
    gpulet_optimal_fill_up(o, o->rates);
}

static gpulet_status_t solve(compact_t *c)
{
    gpulet_optimal_t *o = c->o;
    gpulet_program_t *program = NULL;
    double *x = calloc(c->singles_count + c->cuts_count + 1, sizeof(*x));
    gpulet_status_t st = x != NULL ? create(c, &program) : GPULET_E_NOMEM;
    if (st == GPULET_OK)
        st = load(c, program);
    if (st == GPULET_OK) {
        double step = gpulet_certifier_step(o->input->devices);
        double cost_max = gpulet_pack_missing(&o->best) <= 0.0
                              ? gpulet_pack_cost(&o->best) - step + 1e-6
                              : INFINITY;
        gpulet_solver_answer_t answer =
            o->input->solver->integer(x, program, NODES_MAX, cost_max, cost_max);
        if (answer == GPULET_SOLVER_OPTIMAL || answer == GPULET_SOLVER_FEASIBLE)
            place_all(c, x);
    }
    if (program != NULL)
        o->input->solver->destroy(program);
    free(x);
    return st;
}

gpulet_status_t gpulet_optimal_compact(gpulet_optimal_t *o)
{
    const gpulet_workspace_t *ws = o->ws;
    compact_t c = {.o = o};
    if (ws->models_count > MODELS_MAX)
        return GPULET_OK;
    c.cuts = malloc(CUTS_MAX * sizeof(*c.cuts));
    c.singles = malloc((ws->models_count * ws->sizes_total + 1) * sizeof(*c.singles));
    gpulet_status_t st = c.cuts != NULL && c.singles != NULL ? GPULET_OK : GPULET_E_NOMEM;
    for (uint32_t t = 0; st == GPULET_OK && t < ws->types_count; t++) {
        cut_t cut = {.type = t};
        c.failed = c.failed || ws->types[t].row != NULL;
        if (!c.failed)
            list_cuts(&c, &cut);
    }
    if (st == GPULET_OK && !c.failed) {
        list_singles(&c);
        st = solve(&c);
    }
    free(c.cuts);
    free(c.singles);
    return st;
}
