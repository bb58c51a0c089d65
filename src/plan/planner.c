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
#include "plan/reason.h"

static const gpulet_planner_t planners[] = {
    {.name = "temporal",
     .help = "squishy bin packing: models take turns on whole devices",
     .run = gpulet_plan_temporal},
    {.name = "even",
     .help = "squishy bin packing on devices cut in two halves",
     .run = gpulet_plan_even},
    {.name = "selftune",
     .help = "guided self-tuning: shares follow what is missing, no turns",
     .run = gpulet_plan_selftune},
    {.name = "greedy",
     .help = "space-share: the smallest size that covers the rate, no turns",
     .run = gpulet_plan_greedy},
    {.name = "elastic",
     .help = "elastic partitioning: gpu-lets of the size of most gain, small loads in turns",
     .run = gpulet_plan_elastic,
     .free_form = true},
    {.name = "exhaustive",
     .help = "every cut of the devices, each filled greedily, the first that serves all",
     .run = gpulet_plan_exhaustive,
     .slow = true},
    {.name = "optimal",
     .help = "devices as columns of a linear program; as few as can be, with a proof where there "
             "is one",
     .run = gpulet_plan_optimal,
     .slow = true,
     .proves = true,
     .free_form = true},
    {.name = "incremental",
     .help = "from a running plan (--from) to one for new rates, with little movement",
     .run = gpulet_plan_incremental,
     .from_plan = true,
     .free_form = true},
    {.name = NULL},
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

const gpulet_planner_t *gpulet_planner_quick(const gpulet_planner_t *planner)
{
    return planner->slow ? gpulet_planner_find("elastic") : planner;
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

bool gpulet_plan_excluded(const gpulet_plan_t *plan, const gpulet_device_set_t *set)
{
    const double above = 1.0 + 1e-9; /* not for rounding alone */
    double devices = 0.0;
    double cost = 0.0;
    for (uint32_t t = 0; t < set->types_count; t++) {
        double count = set->counts[t] < 0 ? INFINITY : (double)set->counts[t];
        devices += count;
        cost += count > 0.0 ? count * set->types[t].cost : 0.0;
    }
    if (isnan(plan->lower_bound))
        return true;
    if (isnan(plan->cost))
        return plan->lower_bound > devices * above;
    return plan->lower_bound > cost * above || plan->lower_bound_devices > devices * above;
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
    plan->proved_infeasible = !plan->feasible && gpulet_plan_excluded(plan, input->devices);
    plan->moves = input->from != NULL;
    if (plan->moves)
        plan->movement = gpulet_plan_movement(input->from, plan);
    plan->proved_optimal =
        plan->feasible && !plan->by_prototype_rule && used <= plan->lower_bound * (1.0 + 1e-9);
}

/* ---- from a running plan ---- */

static const double COST_SAVED_MIN = 1e-9; /* less is rounding */

static bool serves_any(const gpulet_plan_device_t *device, const gpulet_workload_t *workload,
                       const gpulet_workload_index_t *index)
{
    for (size_t k = 0; k < device->gpulets_count; k++) {
        for (size_t j = 0; j < device->gpulets[k].shares_count; j++) {
            size_t demand = gpulet_workload_index_find(index, device->gpulets[k].shares[j].model);
            if (demand != SIZE_MAX && workload->demands[demand].rate_rps > 0.0)
                return true;
        }
    }
    return false;
}

/* Whether those devices of the old plan that still serve something cost less than the new plan, or
 * the new one does not hold: all that the old plan could be better in. */
static gpulet_status_t may_prefer_from(bool *may, const gpulet_plan_t *plan,
                                       const gpulet_plan_input_t *input)
{
    gpulet_workload_index_t *index = NULL;
    gpulet_status_t st = gpulet_workload_index_create(&index, input->workload);
    if (st != GPULET_OK)
        return st;
    double cost = 0.0;
    for (size_t i = 0; i < input->from->devices_count; i++) {
        const gpulet_plan_device_t *device = &input->from->devices[i];
        int type = gpulet_device_set_find(input->devices, device->type);
        if (type >= 0 && serves_any(device, input->workload, index))
            cost += input->devices->types[type].cost;
    }
    *may = !plan->feasible || cost_of(plan, input->devices) - cost > COST_SAVED_MIN;
    gpulet_workload_index_destroy(index);
    return GPULET_OK;
}

/* Puts the rebased old plan in the place of *plan when it holds and is better. */
static gpulet_status_t prefer_from(gpulet_plan_t **plan, const gpulet_plan_input_t *input)
{
    gpulet_plan_t *old = NULL;
    bool may = false;
    gpulet_status_t st = may_prefer_from(&may, *plan, input);
    if (st != GPULET_OK || !may)
        return st;
    st = gpulet_plan_rebase(&old, input->from, input);
    if (st != GPULET_OK || old == NULL)
        return st;
    bool holds = old->feasible && gpulet_plan_verify(old, input, NULL) == GPULET_OK;
    double saved = cost_of(*plan, input->devices) - cost_of(old, input->devices);
    if (holds && (!(*plan)->feasible || saved > COST_SAVED_MIN)) {
        gpulet_plan_destroy(*plan);
        *plan = old;
        return GPULET_OK;
    }
    gpulet_plan_destroy(old);
    return GPULET_OK;
}

/* What the verifier says of a plan that was made with tolerances stands beside it; sizes, memory
 * and the like hold even so. */
static gpulet_status_t check_tolerant(gpulet_plan_t *plan, const gpulet_plan_input_t *input,
                                      gpulet_error_t *why)
{
    gpulet_plan_input_t tolerant = *input;
    double fraction = input->slo_fraction > 0.0 ? input->slo_fraction : 1.0;
    gpulet_status_t st = gpulet_plan_verify(plan, input, why);
    if (st != GPULET_OK && st != GPULET_E_INFEASIBLE)
        return st;
    plan->promises_kept = st == GPULET_OK;
    if (plan->feasible && !plan->promises_kept)
        snprintf(plan->reason, sizeof(plan->reason),
                 "by the prototype's rule alone; the verifier: %s", why->text);
    tolerant.slo_fraction = fraction * fmax(1.0, input->elastic.residual_slack);
    return gpulet_plan_verify_partial(plan, &tolerant, true, why);
}

static gpulet_status_t check_plan(gpulet_plan_t *plan, const gpulet_plan_input_t *input,
                                  const gpulet_planner_t *planner, gpulet_error_t *err)
{
    gpulet_error_t why = {{0}};
    gpulet_status_t st = plan->by_prototype_rule
                             ? check_tolerant(plan, input, &why)
                             : gpulet_plan_verify_partial(plan, input, !plan->feasible, &why);
    if (st == GPULET_E_INFEASIBLE)
        st = gpulet_fail(err, GPULET_E_INTERNAL, "the plan of %s does not hold: %s", planner->name,
                         why.text);
    return st;
}

gpulet_status_t gpulet_planner_finish(gpulet_plan_t **out, gpulet_plan_t *plan,
                                      const gpulet_planner_t *planner,
                                      const gpulet_plan_input_t *input, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    double known = plan->lower_bound;
    if (input->from != NULL)
        st = gpulet_plan_align(plan, input->from, input);
    if (input->from != NULL && st == GPULET_OK)
        st = prefer_from(&plan, input);
    if (st != GPULET_OK)
        goto fail;
    plan->lower_bound = known;
    set_figures(plan, input, planner);
    if (!plan->feasible && (st = gpulet_plan_set_reason(plan, input, planner)) != GPULET_OK)
        goto fail;
    if ((st = check_plan(plan, input, planner, err)) != GPULET_OK) {
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
