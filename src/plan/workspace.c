#include "plan/workspace.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "plan/curves.h"
#include "plan/poisson.h"

/* With interference a choice is dropped only when one of the last few kept is better in everything,
 * so that a long curve stays cheap to read. */
enum { DOMINANCE_WINDOW = 64 };

static bool input_valid(const gpulet_plan_input_t *input, gpulet_error_t *err)
{
    const char *bad = NULL;
    if (input->latency_margin != 0.0 &&
        !(input->latency_margin >= 1.0 && isfinite(input->latency_margin)))
        bad = "latency-margin: expected a number ≥ 1";
    else if (input->slo_fraction != 0.0 &&
             !(input->slo_fraction > 0.0 && input->slo_fraction <= 1.0))
        bad = "slo-fraction: expected a number in 0 … 1";
    else if (input->rate_percentile != 0.0 &&
             !(input->rate_percentile > 0.0 && input->rate_percentile < 1.0))
        bad = "rate-percentile: expected a number between 0 and 1";
    if (bad != NULL)
        (void)gpulet_fail(err, GPULET_E_INVALID, "%s", bad);
    return bad == NULL;
}

static double load_of(gpulet_workspace_t *ws, uint64_t items)
{
    if (ws->percentile <= 0.0)
        return (double)items;
    if (items >= ws->loads_count)
        return gpulet_poisson_load_max(ws->percentile, items);
    if (isnan(ws->loads[items]))
        ws->loads[items] = gpulet_poisson_load_max(ws->percentile, items);
    return ws->loads[items];
}

static int compare_choices(const void *a, const void *b)
{
    const gpulet_choice_t *x = a;
    const gpulet_choice_t *y = b;
    if (x->load != y->load)
        return x->load > y->load ? -1 : 1; /* descending: pruning walks from the largest */
    if (x->latency_ms != y->latency_ms)
        return x->latency_ms < y->latency_ms ? -1 : 1;
    if (x->instances != y->instances)
        return x->instances < y->instances ? -1 : 1;
    return 0;
}

/* No pressure slows the one down by more than the other. Where slopes differ no pressure is below 0
 * (core/interference.h). */
static bool milder(const gpulet_interference_response_t *a, const gpulet_interference_response_t *b)
{
    return a->own <= b->own && a->slope <= b->slope && a->cap <= b->cap && a->scale <= b->scale;
}

static bool dominates(const gpulet_choice_t *a, const gpulet_choice_t *b)
{
    return a->latency_ms <= b->latency_ms && milder(&a->response, &b->response) &&
           a->pressure <= b->pressure && a->memory_mb <= b->memory_mb &&
           a->instances <= b->instances;
}

static void reverse(gpulet_choice_t *items, size_t count)
{
    for (size_t i = 0; i < count / 2; i++) {
        gpulet_choice_t swap = items[i];
        items[i] = items[count - 1 - i];
        items[count - 1 - i] = swap;
    }
}

/* Sorts ascending by load, without the choices that another one beats in everything. ascending:
 * they are sorted already, as those of a single curve are. */
static size_t prune(gpulet_choice_t *items, size_t count, bool ascending)
{
    if (ascending)
        reverse(items, count);
    else
        qsort(items, count, sizeof(*items), compare_choices);
    size_t kept = 0;
    double least_ms = INFINITY; /* of those kept: what is quicker is beaten by none of them */
    for (size_t i = 0; i < count; i++) {
        bool drop = false;
        size_t from = kept > DOMINANCE_WINDOW ? kept - DOMINANCE_WINDOW : 0;
        for (size_t k = from; k < kept && !drop && least_ms <= items[i].latency_ms; k++)
            drop = dominates(&items[k], &items[i]);
        if (drop)
            continue;
        // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): read_curve wrote `count` of them
        least_ms = fmin(least_ms, items[i].latency_ms);
        items[kept++] = items[i];
    }
    reverse(items, kept);
    return kept;
}

/* A line below all choices, through the first: what bounds a duty cycle from below. */
static void draw_line(gpulet_choices_t *c)
{
    double slope = INFINITY;
    c->line_ms = c->latency_ms_min;
    c->line_slope_ms = 0.0;
    for (size_t i = 1; i < c->count; i++) {
        double wide = c->items[i].load - c->items[0].load;
        double high = c->items[i].latency_ms - c->items[0].latency_ms;
        slope = fmin(slope, wide > 0.0 ? high / wide : 0.0);
    }
    if (c->count < 2 || !(slope > 0.0))
        return;
    c->line_slope_ms = slope;
    c->line_ms = c->items[0].latency_ms - slope * c->items[0].load;
}

static void summarise(gpulet_choices_t *c)
{
    c->latency_ms_min = INFINITY;
    c->work_ms = INFINITY;
    c->instances_min = UINT32_MAX;
    double after = INFINITY;
    for (size_t i = c->count; i > 0; i--) {
        gpulet_choice_t *o = &c->items[i - 1];
        after = o->latency_ms < after ? o->latency_ms : after;
        o->latency_ms_after = after;
        double work = o->latency_ms / o->load;
        if (work < c->work_ms) {
            c->work_ms = work;
            c->best = i - 1;
        }
        if (o->instances < c->instances_min)
            c->instances_min = o->instances;
    }
    c->latency_ms_min = after;
    c->rate_rps = c->count > 0 ? 1000.0 / c->work_ms : 0.0;
    draw_line(c);
}

/* What is known of one (model, type, size) while its choices are read. */
typedef struct reader {
    gpulet_workspace_t *ws;
    gpulet_ws_model_t *model;
    const gpulet_ws_type_t *type;
    uint32_t size;
    double memory_mb_max;
    gpulet_choices_t *out;
    double load_last;
    bool ascending; /* each load is above the one before */
} reader_t;

static gpulet_status_t set_interference(gpulet_choice_t *choice, const reader_t *r,
                                        const gpulet_curve_t *curve, gpulet_error_t *err)
{
    const gpulet_interference_row_t *row = r->type->row;
    choice->response = (gpulet_interference_response_t){1.0, 0.0, INFINITY, 1.0};
    choice->pressure = 0.0;
    if (row == NULL)
        return GPULET_OK;
    gpulet_interference_side_t side =
        gpulet_interference_side(curve, choice->batch, r->type->type->units);
    choice->response = gpulet_interference_response(row, &side);
    choice->pressure = gpulet_interference_pressure(row, &side);
    if (isnan(choice->response.own) || isnan(choice->pressure))
        return gpulet_fail(err, GPULET_E_INVALID,
                           "interference: the profile of %s on %s (units %u, batch %u) has no %s, "
                           "which the coefficients need",
                           curve->model, curve->device, curve->units, choice->batch,
                           isnan(side.l2_util) ? "l2_util" : "dram_util");
    return GPULET_OK;
}

static gpulet_status_t read_curve(reader_t *r, const gpulet_curve_t *curve, gpulet_error_t *err)
{
    gpulet_curve_walk_t walk = gpulet_curve_walk(curve, r->ws->input->p99);
    while (gpulet_curve_walk_next(&walk)) {
        gpulet_choice_t choice = {.batch = walk.batch, .instances = curve->instances};
        choice.latency_ms = r->ws->margin * walk.latency_ms;
        choice.memory_mb = isnan(walk.memory_mb) ? 0.0 : walk.memory_mb;
        if (choice.latency_ms < r->model->latency_ms_least)
            r->model->latency_ms_least = choice.latency_ms;
        gpulet_status_t st = set_interference(&choice, r, curve, err);
        if (st != GPULET_OK)
            return st;
        /* Duty ≥ latency, so a batch that takes over half of the SLO can be in no plan. */
        if (!(2.0 * choice.latency_ms <= r->model->slo_ms) || choice.memory_mb > r->memory_mb_max)
            continue;
        choice.load = load_of(r->ws, (uint64_t)walk.batch * curve->instances);
        if (!(choice.load > 0.0))
            continue;
        r->ascending = r->ascending && choice.load > r->load_last;
        r->load_last = choice.load;
        r->out->items[r->out->count++] = choice;
    }
    return GPULET_OK;
}

static gpulet_status_t read_size(reader_t *r, const gpulet_curves_t *curves, gpulet_error_t *err)
{
    size_t room = 0;
    for (size_t i = 0; i < curves->count; i++) {
        const gpulet_curve_t *curve = gpulet_curves_at(curves, i);
        r->out->input_bytes = fmax(r->out->input_bytes, gpulet_curve_input_bytes(curve));
        room += gpulet_curve_batch_max(curve) - gpulet_curve_batch_min(curve) + 1;
    }
    r->out->items = malloc(room * sizeof(*r->out->items));
    if (r->out->items == NULL)
        return GPULET_E_NOMEM;
    for (size_t i = 0; i < curves->count; i++) {
        gpulet_status_t st = read_curve(r, gpulet_curves_at(curves, i), err);
        if (st != GPULET_OK)
            return st;
    }
    r->out->count = prune(r->out->items, r->out->count, r->ascending);
    if (r->out->count == 0) {
        free(r->out->items);
        r->out->items = NULL;
    } else {
        gpulet_choice_t *less = realloc(r->out->items, r->out->count * sizeof(*less));
        r->out->items = less != NULL ? less : r->out->items;
    }
    return GPULET_OK;
}

static gpulet_status_t read_model(gpulet_workspace_t *ws, size_t m, gpulet_error_t *err)
{
    gpulet_ws_model_t *model = &ws->models[m];
    bool found = false;
    for (size_t t = 0; t < ws->types_count; t++) {
        const gpulet_device_type_t *type = ws->types[t].type;
        gpulet_curves_t rest =
            gpulet_curves_find(ws->input->profile, type->name, model->demand->model);
        for (uint32_t s = 0; s < type->sizes_count; s++) {
            gpulet_curves_t curves = gpulet_curves_take(&rest, type->sizes[s]);
            gpulet_choices_t *out = &ws->choices[m * ws->sizes_total + ws->types[t].offset + s];
            reader_t reader = {.ws = ws,
                               .model = model,
                               .type = &ws->types[t],
                               .size = s,
                               .memory_mb_max = gpulet_device_type_models_mb(type, s),
                               .out = out,
                               .ascending = true};
            gpulet_status_t st = curves.count > 0 ? read_size(&reader, &curves, err) : GPULET_OK;
            if (st != GPULET_OK)
                return st;
            found = found || curves.count > 0;
            summarise(out);
        }
    }
    if (!found)
        return gpulet_fail(err, GPULET_E_NOT_FOUND,
                           "the profile has no row of %s at a size of any device type",
                           model->demand->model);
    return GPULET_OK;
}

static gpulet_status_t set_types(gpulet_workspace_t *ws)
{
    const gpulet_device_set_t *set = ws->input->devices;
    ws->types = calloc(set->types_count > 0 ? set->types_count : 1, sizeof(*ws->types));
    if (ws->types == NULL)
        return GPULET_E_NOMEM;
    ws->types_count = set->types_count;
    for (size_t t = 0; t < ws->types_count; t++) {
        gpulet_ws_type_t *type = &ws->types[t];
        type->type = &set->types[t];
        type->devices_max = set->counts[t];
        type->offset = ws->sizes_total;
        type->size_whole = type->type->sizes_count - 1;
        ws->sizes_total += type->type->sizes_count;
        bool alone = type->type->isolated || type->type->gpulets_max <= 1;
        if (ws->input->interference != NULL && !alone)
            type->row = gpulet_interference_find(ws->input->interference, type->type->name);
    }
    return GPULET_OK;
}

static gpulet_status_t set_models(gpulet_workspace_t *ws, gpulet_error_t *err)
{
    const gpulet_workload_t *workload = ws->input->workload;
    double fraction = ws->input->slo_fraction > 0.0 ? ws->input->slo_fraction : 1.0;
    ws->models = calloc(workload->count > 0 ? workload->count : 1, sizeof(*ws->models));
    if (ws->models == NULL)
        return GPULET_E_NOMEM;
    for (size_t i = 0; i < workload->count; i++) {
        const gpulet_demand_t *demand = &workload->demands[i];
        if (!(demand->rate_rps >= 0.0 && isfinite(demand->rate_rps)) || !(demand->slo_ms > 0.0))
            return gpulet_fail(err, GPULET_E_INVALID,
                               "workload: %s: expected a rate ≥ 0 and an SLO > 0", demand->model);
        if (demand->rate_rps > 0.0)
            ws->models[ws->models_count++] = (gpulet_ws_model_t){
                demand, i, demand->rate_rps, demand->slo_ms * fraction, INFINITY};
    }
    return GPULET_OK;
}

static gpulet_status_t set_loads(gpulet_workspace_t *ws)
{
    ws->loads_count = GPULET_PROFILE_BATCH_MAX + 1;
    ws->loads = malloc(ws->loads_count * sizeof(*ws->loads));
    if (ws->loads == NULL)
        return GPULET_E_NOMEM;
    for (size_t i = 0; i < ws->loads_count; i++)
        ws->loads[i] = NAN;
    return GPULET_OK;
}

gpulet_status_t gpulet_workspace_create(gpulet_workspace_t **out, const gpulet_plan_input_t *input,
                                        gpulet_error_t *err)
{
    assert(input->profile != NULL && input->devices != NULL && input->workload != NULL);
    if (!input_valid(input, err))
        return GPULET_E_INVALID;
    gpulet_workspace_t *ws = calloc(1, sizeof(*ws));
    if (ws == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    ws->input = input;
    ws->margin = input->latency_margin > 0.0 ? input->latency_margin : 1.0;
    ws->percentile = input->rate_percentile;
    ws->slo_beside = 1.0;
    gpulet_status_t st;
    if ((st = set_types(ws)) != GPULET_OK || (st = set_models(ws, err)) != GPULET_OK ||
        (st = set_loads(ws)) != GPULET_OK)
        goto fail;
    size_t cells = ws->models_count * ws->sizes_total;
    ws->choices = calloc(cells > 0 ? cells : 1, sizeof(*ws->choices));
    if (ws->choices == NULL) {
        st = GPULET_E_NOMEM;
        goto fail;
    }
    for (size_t m = 0; m < ws->models_count; m++) {
        if ((st = read_model(ws, m, err)) != GPULET_OK)
            goto fail;
    }
    *out = ws;
    return GPULET_OK;
fail:
    if (st == GPULET_E_NOMEM)
        (void)gpulet_fail(err, st, "out of memory");
    gpulet_workspace_destroy(ws);
    return st;
}

void gpulet_workspace_destroy(gpulet_workspace_t *ws)
{
    if (ws == NULL)
        return;
    for (size_t i = 0; ws->choices != NULL && i < ws->models_count * ws->sizes_total; i++)
        free(ws->choices[i].items);
    free(ws->choices);
    free(ws->models);
    free(ws->types);
    free(ws->loads);
    free(ws);
}

const gpulet_choices_t *gpulet_workspace_choices(const gpulet_workspace_t *ws, size_t model,
                                                 size_t type, uint32_t size)
{
    assert(model < ws->models_count && type < ws->types_count);
    return &ws->choices[model * ws->sizes_total + ws->types[type].offset + size];
}

double gpulet_choice_factor(const gpulet_choice_t *choice, double pressure)
{
    return pressure == -INFINITY ? 1.0 : gpulet_interference_factor_at(&choice->response, pressure);
}

double gpulet_choice_latency_ms(const gpulet_choice_t *choice, double pressure)
{
    return choice->latency_ms * gpulet_choice_factor(choice, pressure);
}

size_t gpulet_choices_pick(const gpulet_choices_t *choices, double load, double pressure, bool lean,
                           double *latency_ms)
{
    double need = load * (1.0 - GPULET_WORKSPACE_SLACK);
    size_t low = 0;
    size_t high = choices->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (choices->items[mid].load < need)
            low = mid + 1;
        else
            high = mid;
    }
    size_t best = choices->count;
    double best_ms = INFINITY;
    for (size_t i = low; i < choices->count; i++) {
        const gpulet_choice_t *o = &choices->items[i];
        if (o->latency_ms_after >= best_ms)
            break;
        if (lean && o->instances > choices->instances_min)
            continue;
        double ms = gpulet_choice_latency_ms(o, pressure);
        if (ms < best_ms) {
            best_ms = ms;
            best = i;
        }
    }
    if (best < choices->count)
        *latency_ms = best_ms;
    return best;
}

size_t gpulet_workspace_rate_curve(const gpulet_workspace_t *ws, size_t model, size_t type,
                                   gpulet_rate_point_t *points, uint32_t *sizes)
{
    const gpulet_device_type_t *dt = ws->types[type].type;
    size_t count = 0;
    for (uint32_t s = 0; s < dt->sizes_count; s++) {
        const gpulet_choices_t *c = gpulet_workspace_choices(ws, model, type, s);
        if (c->count == 0)
            continue;
        const gpulet_choice_t *best = &c->items[c->best];
        points[count] = (gpulet_rate_point_t){dt->sizes[s], best->batch, best->instances,
                                              best->latency_ms, c->rate_rps};
        sizes[count++] = s;
    }
    return count;
}
