#include "plan/planner.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/plan_movement.h"
#include "plan/elastic.h"
#include "plan/incremental.h"
#include "plan/optimal.h"

/* Beyond so many devices the answer to "how many would do" is the bound, not a plan. */
static const double REASON_DEVICES_MAX = 5000.0;

static const gpulet_planner_t planners[] = {
    {"temporal", "squishy bin packing: models take turns on whole devices", gpulet_plan_temporal},
    {"elastic", "elastic partitioning: gpu-lets of the size of most gain, small loads in turns",
     gpulet_plan_elastic},
    {"optimal",
     "devices as columns of a linear program; as few as can be, with a proof where there is one",
     gpulet_plan_optimal},
    {"incremental", "from a running plan (--from) to one for new rates, with little movement",
     gpulet_plan_incremental},
    {NULL, NULL, NULL},
};

const gpulet_planner_t *gpulet_planners(void)
{
    return planners;
}

const gpulet_planner_t *gpulet_planner_find(const char *name)
{
    for (const gpulet_planner_t *p = planners; p->name != NULL; p++) {
        if (strcmp(p->name, name) == 0)
            return p;
    }
    return NULL;
}

/* ---- figures of the whole plan ---- */

static bool costs_given(const gpulet_device_set_t *set)
{
    for (uint32_t t = 0; t < set->types_count; t++) {
        if (set->types[t].cost_given)
            return true;
    }
    return false;
}

static double cost_of(const gpulet_plan_t *plan, const gpulet_device_set_t *set)
{
    double cost = 0.0;
    for (size_t i = 0; i < plan->devices_count; i++) {
        int type = gpulet_device_set_find(set, plan->devices[i].type);
        cost += type >= 0 ? set->types[type].cost : 0.0;
    }
    return cost;
}

/* All devices there are, or what they cost together. */
static double most_of(const gpulet_device_set_t *set, bool costs)
{
    double most = 0.0;
    for (uint32_t t = 0; t < set->types_count; t++) {
        if (set->counts[t] < 0)
            return INFINITY;
        most += (double)set->counts[t] * (costs ? set->types[t].cost : 1.0);
    }
    return most * (1.0 + 1e-9);
}

static void set_figures(gpulet_plan_t *plan, const gpulet_plan_input_t *input,
                        const gpulet_planner_t *planner)
{
    bool costs = costs_given(input->devices);
    double devices = 0.0;
    double bound = gpulet_plan_bound_resource(input, &devices, NULL);
    double cost = cost_of(plan, input->devices);
    snprintf(plan->planner, sizeof(plan->planner), "%s", planner->name);
    plan->devices_used = (uint32_t)plan->devices_count;
    plan->cost = costs ? cost : NAN;
    /* A planner may know a better one. */
    double known = costs ? bound : devices;
    plan->lower_bound = isnan(known) ? NAN : fmax(known, plan->lower_bound);
    plan->lower_bound_devices = costs ? devices : NAN;
    double used = costs ? cost : (double)plan->devices_count;
    plan->proved_infeasible =
        !plan->feasible &&
        (isnan(plan->lower_bound) || plan->lower_bound > most_of(input->devices, costs));
    plan->moves = input->from != NULL;
    if (plan->moves)
        plan->movement = gpulet_plan_movement(input->from, plan);
    plan->proved_optimal = plan->feasible && used <= plan->lower_bound * (1.0 + 1e-9);
}

/* ---- why not ---- */

typedef struct shortfall {
    const gpulet_demand_t *demand; /* NULL: nothing is missing */
    double missing_rps;
    size_t others; /* models that miss something too */
} shortfall_t;

static double routed(const gpulet_plan_t *plan, const char *model)
{
    double sum = 0.0;
    for (size_t i = 0; i < plan->devices_count; i++) {
        for (size_t k = 0; k < plan->devices[i].gpulets_count; k++) {
            const gpulet_plan_gpulet_t *g = &plan->devices[i].gpulets[k];
            for (size_t j = 0; j < g->shares_count; j++) {
                if (strcmp(g->shares[j].model, model) == 0)
                    sum += g->shares[j].rate_rps;
            }
        }
    }
    return sum;
}

/* The model that misses most. */
static shortfall_t find_shortfall(const gpulet_plan_t *plan, const gpulet_workload_t *workload)
{
    shortfall_t worst = {0};
    size_t short_count = 0;
    for (size_t i = 0; i < workload->count; i++) {
        const gpulet_demand_t *demand = &workload->demands[i];
        double missing_rps = demand->rate_rps - routed(plan, demand->model);
        if (demand->rate_rps <= 0.0 || missing_rps <= 1e-7 * demand->rate_rps)
            continue;
        short_count++;
        if (missing_rps > worst.missing_rps) {
            worst.demand = demand;
            worst.missing_rps = missing_rps;
        }
    }
    worst.others = short_count > 0 ? short_count - 1 : 0;
    return worst;
}

/* The least SLO that some size could meet, NAN when memory rules every size out. */
static double slo_enough(const gpulet_plan_input_t *input, const char *model)
{
    double least_ms = INFINITY;
    double margin = input->latency_margin > 0.0 ? input->latency_margin : 1.0;
    for (size_t i = 0; i < gpulet_profile_curves_count(input->profile); i++) {
        const gpulet_curve_t *curve = gpulet_profile_curve_at(input->profile, i);
        int t = gpulet_device_set_find(input->devices, curve->device);
        if (strcmp(curve->model, model) != 0 || t < 0)
            continue;
        const gpulet_device_type_t *type = &input->devices->types[t];
        int size = gpulet_device_type_size_index(type, curve->units);
        if (size < 0)
            continue;
        double most_mb =
            type->memory_mb_by_size != NULL ? type->memory_mb_by_size[size] : type->memory_mb;
        for (uint32_t b = gpulet_curve_batch_min(curve); b <= gpulet_curve_batch_max(curve); b++) {
            if (!(gpulet_curve_memory_mb(curve, b) > most_mb))
                least_ms = fmin(least_ms, margin * gpulet_curve_latency_ms(curve, b, input->p99));
        }
    }
    double fraction = input->slo_fraction > 0.0 ? input->slo_fraction : 1.0;
    return isfinite(least_ms) ? 2.0 * least_ms / fraction : NAN;
}

/* How many devices are enough for a plan without limits, 0 when that is not known. */
static gpulet_status_t devices_enough(size_t *out, const gpulet_plan_input_t *input,
                                      const gpulet_planner_t *planner)
{
    gpulet_device_set_t set = *input->devices;
    gpulet_plan_input_t wide = *input;
    gpulet_plan_t *plan = NULL;
    *out = 0;
    set.counts = calloc(set.types_count + 1, sizeof(*set.counts));
    if (set.counts == NULL)
        return GPULET_E_NOMEM;
    for (uint32_t t = 0; t < set.types_count; t++)
        set.counts[t] = -1;
    wide.devices = &set;
    /* What `optimal` would take long for `elastic` says as truly, if not always as low. */
    gpulet_planner_fn run =
        planner->run == gpulet_plan_temporal ? planner->run : gpulet_plan_elastic;
    gpulet_status_t st = run(&plan, &wide, NULL);
    if (st == GPULET_OK && plan->feasible)
        *out = plan->devices_count;
    gpulet_plan_destroy(plan);
    free(set.counts);
    return st;
}

static void reason_slo(gpulet_plan_t *plan, const gpulet_plan_input_t *input, size_t model)
{
    const gpulet_demand_t *d = &input->workload->demands[model];
    double slo_ms = slo_enough(input, d->model);
    if (isnan(slo_ms))
        snprintf(plan->reason, sizeof(plan->reason),
                 "%s misses %.1f requests/s; it fits in the memory of no size", d->model,
                 d->rate_rps);
    else
        snprintf(plan->reason, sizeof(plan->reason),
                 "%s misses %.1f requests/s; no size can meet its SLO of %g ms, an SLO of %.3f ms "
                 "would be enough",
                 d->model, d->rate_rps, d->slo_ms, ceil(slo_ms * 1000.0) / 1000.0);
}

static gpulet_status_t set_reason(gpulet_plan_t *plan, const gpulet_plan_input_t *input,
                                  const gpulet_planner_t *planner)
{
    size_t blocked = 0;
    double devices = 0.0;
    if (isnan(gpulet_plan_bound_resource(input, &devices, &blocked))) {
        reason_slo(plan, input, blocked);
        return GPULET_OK;
    }
    shortfall_t s = find_shortfall(plan, input->workload);
    assert(s.demand != NULL);
    char others[64] = "";
    if (s.others > 0)
        snprintf(others, sizeof(others), " (and %zu more %s)", s.others,
                 s.others == 1 ? "model" : "models");
    size_t enough = 0;
    gpulet_status_t st =
        devices <= REASON_DEVICES_MAX ? devices_enough(&enough, input, planner) : GPULET_OK;
    if (st != GPULET_OK)
        return st;
    /* Precise enough to act on: the rate that is left is rounded down. */
    double left_rps = floor(fmax(0.0, s.demand->rate_rps - s.missing_rps) * 10.0) / 10.0;
    char rate[64] = "";
    if (left_rps > 0.0)
        snprintf(rate, sizeof(rate), ", or a rate of %.1f", left_rps);
    if (enough > 0)
        snprintf(plan->reason, sizeof(plan->reason),
                 "%s misses %.1f requests/s%s; %zu %s would be enough%s", s.demand->model,
                 s.missing_rps, others, enough, enough == 1 ? "device" : "devices", rate);
    else
        snprintf(plan->reason, sizeof(plan->reason),
                 "%s misses %.1f requests/s%s; at least %.0f devices are needed%s", s.demand->model,
                 s.missing_rps, others, devices, rate);
    return GPULET_OK;
}

/* ---- from a running plan ---- */

/* Puts the rebased old plan in the place of *plan when it holds and is better. */
static gpulet_status_t prefer_from(gpulet_plan_t **plan, const gpulet_plan_input_t *input)
{
    gpulet_plan_t *old = NULL;
    gpulet_status_t st = gpulet_plan_rebase(&old, input->from, input);
    if (st != GPULET_OK || old == NULL)
        return st;
    bool holds = old->feasible && gpulet_plan_verify(old, input, NULL) == GPULET_OK;
    double saved = cost_of(*plan, input->devices) - cost_of(old, input->devices);
    if (holds && (!(*plan)->feasible || saved > 1e-9)) {
        gpulet_plan_destroy(*plan);
        *plan = old;
        return GPULET_OK;
    }
    gpulet_plan_destroy(old);
    return GPULET_OK;
}

gpulet_status_t gpulet_planner_finish(gpulet_plan_t **out, gpulet_plan_t *plan,
                                      const gpulet_planner_t *planner,
                                      const gpulet_plan_input_t *input, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    double known = plan->lower_bound;
    if (input->from != NULL && ((st = gpulet_plan_align(plan, input->from, input)) != GPULET_OK ||
                                (st = prefer_from(&plan, input)) != GPULET_OK))
        goto fail;
    plan->lower_bound = known;
    set_figures(plan, input, planner);
    if (!plan->feasible && (st = set_reason(plan, input, planner)) != GPULET_OK)
        goto fail;
    gpulet_error_t why = {{0}};
    if ((st = gpulet_plan_verify_partial(plan, input, !plan->feasible, &why)) != GPULET_OK) {
        if (st == GPULET_E_INFEASIBLE)
            st = gpulet_fail(err, GPULET_E_INTERNAL, "the plan of %s does not hold: %s",
                             planner->name, why.text);
        gpulet_plan_destroy(plan);
        return st;
    }
    *out = plan;
    return GPULET_OK;
fail:
    gpulet_plan_destroy(plan);
    return gpulet_fail(err, st, "%s", gpulet_status_text(st));
}

gpulet_status_t gpulet_planner_run(gpulet_plan_t **out, const gpulet_planner_t *planner,
                                   const gpulet_plan_input_t *input, gpulet_error_t *err)
{
    assert(planner != NULL && planner->run != NULL);
    gpulet_plan_t *plan = NULL;
    gpulet_status_t st = planner->run(&plan, input, err);
    return st == GPULET_OK ? gpulet_planner_finish(out, plan, planner, input, err) : st;
}
