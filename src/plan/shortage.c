/* More is asked than the devices can do. Every model gets the part of its rate that they can hold,
 * so that none is left out for the sake of another; the light ones get all of it, since that costs
 * the heavy ones next to nothing. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "plan/serving_internal.h"

typedef struct load {
    size_t model;
    double units_ms; /* what a second of its requests takes */
} load_t;

typedef struct shortage {
    plan_serving_t *serving;
    const gpulet_workload_t *workload;
    gpulet_plan_t *best;
    load_t *loads; /* the lightest first; without those that are hopeless */
    size_t count;
    double part; /* of their rates that the heavy ones get */
} shortage_t;

/* Nothing of a model whose objective no size can meet is planned. */
static void leave_out_hopeless(shortage_t *s)
{
    plan_serving_t *serving = s->serving;
    size_t model = SIZE_MAX;
    for (size_t i = 0; i <= s->workload->count; i++) {
        if (!isnan(gpulet_plan_bound_resource(&serving->input, NULL, &model)))
            return;
        serving->workload.demands[model].rate_rps = 0;
    }
}

static double load_of(const plan_serving_t *serving, const gpulet_demand_t *demand)
{
    double least = INFINITY;
    for (size_t i = 0; i < gpulet_profile_curves_count(serving->input.profile); i++) {
        const gpulet_curve_t *curve = gpulet_profile_curve_at(serving->input.profile, i);
        uint32_t batch = gpulet_curve_batch_max(curve);
        if (strcmp(curve->model, demand->model) == 0)
            least =
                fmin(least, curve->units * gpulet_curve_latency_ms(curve, batch, false) / batch);
    }
    return demand->rate_rps * least;
}

static int compare_loads(const void *a, const void *b)
{
    const load_t *x = a;
    const load_t *y = b;
    if (x->units_ms < y->units_ms || x->units_ms > y->units_ms)
        return x->units_ms < y->units_ms ? -1 : 1;
    return x->model < y->model ? -1 : 1;
}

static void sort_loads(shortage_t *s)
{
    for (size_t i = 0; i < s->workload->count; i++) {
        const gpulet_demand_t *demand = &s->serving->workload.demands[i];
        if (demand->rate_rps > 0)
            s->loads[s->count++] = (load_t){i, load_of(s->serving, demand)};
    }
    qsort(s->loads, s->count, sizeof(*s->loads), compare_loads);
}

/* All of the rates of the lightest `whole`, a part of those of the others. */
static gpulet_status_t try_parts(shortage_t *s, size_t whole, double part, bool *fits)
{
    plan_serving_t *serving = s->serving;
    gpulet_plan_t *plan = NULL;
    gpulet_error_t err;
    for (size_t i = 0; i < s->count; i++) {
        size_t model = s->loads[i].model;
        serving->workload.demands[model].rate_rps =
            s->workload->demands[model].rate_rps * (i < whole ? 1 : part);
    }
    serving->input.brief = true;
    gpulet_status_t st = gpulet_planner_run(&plan, gpulet_planner_quick(serving->options->planner),
                                            &serving->input, &err);
    if (st != GPULET_OK)
        return st;
    *fits = plan->feasible;
    if (*fits) {
        gpulet_plan_destroy(s->best);
        s->best = plan;
        s->part = part;
        return GPULET_OK;
    }
    gpulet_plan_destroy(plan);
    return GPULET_OK;
}

/* The largest part for the others, beside the lightest `whole`; not below what they have. */
static gpulet_status_t share_out(shortage_t *s, size_t whole)
{
    enum { STEPS = 7 };
    double low = s->part;
    double high = 1;
    gpulet_status_t st = GPULET_OK;
    for (int step = 0; step < STEPS && st == GPULET_OK; step++) {
        double middle = (low + high) / 2;
        bool fits = false;
        st = try_parts(s, whole, middle, &fits);
        low = fits ? middle : low;
        high = fits ? high : middle;
    }
    return st;
}

/* How many of the lightest fit whole beside the part that all get. */
static gpulet_status_t hold_light_ones(shortage_t *s, size_t *whole)
{
    size_t low = 0;
    size_t high = s->count; /* all of all was tried before */
    gpulet_status_t st = GPULET_OK;
    while (high - low > 1 && st == GPULET_OK) {
        size_t middle = (low + high) / 2;
        bool fits = false;
        st = try_parts(s, middle, s->part, &fits);
        low = fits ? middle : low;
        high = fits ? high : middle;
    }
    *whole = low;
    return st;
}

gpulet_status_t plan_serving_partly(gpulet_plan_t **plan, plan_serving_t *serving,
                                    const gpulet_workload_t *workload)
{
    shortage_t s = {.serving = serving, .workload = workload};
    size_t whole = 0;
    if (workload->count > GPULET_SERVING_SPARE_MODELS_MAX)
        return GPULET_OK;
    s.loads = calloc(workload->count + 1, sizeof(*s.loads));
    if (s.loads == NULL)
        return GPULET_E_NOMEM;
    serving->input.rate_percentile = 0;
    leave_out_hopeless(&s);
    sort_loads(&s);
    gpulet_status_t st = s.count > 0 ? share_out(&s, 0) : GPULET_OK;
    if (st == GPULET_OK && s.best != NULL)
        st = hold_light_ones(&s, &whole);
    if (st == GPULET_OK && s.best != NULL && whole > 0)
        st = share_out(&s, whole);
    free(s.loads);
    if (st != GPULET_OK || s.best == NULL) {
        gpulet_plan_destroy(s.best);
        return st;
    }
    serving->note.percentile = 0;
    serving->note.multiple = s.part;
    s.best->feasible = false;
    s.best->proved_optimal = false;
    memcpy(s.best->reason, (*plan)->reason, sizeof(s.best->reason));
    gpulet_plan_destroy(*plan);
    *plan = s.best;
    return GPULET_OK;
}
