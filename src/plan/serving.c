#include "plan/serving.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/plan_movement.h"
#include "plan/reach.h"
#include "plan/serving_internal.h"

/* A copy of what is changed for the planner; names and types stay the caller's. */
static gpulet_status_t begin(plan_serving_t *s, const gpulet_plan_input_t *input,
                             const gpulet_serving_options_t *options)
{
    size_t count = input->workload->count;
    *s = (plan_serving_t){.options = options,
                          .input = *input,
                          .workload = {.count = count},
                          .devices = *input->devices,
                          .note = {input->rate_percentile, 1, 1, 0}};
    s->workload.demands = calloc(count + 1, sizeof(*s->workload.demands));
    s->devices.counts = calloc(s->devices.types_count + 1U, sizeof(*s->devices.counts));
    if (s->workload.demands == NULL || s->devices.counts == NULL) {
        free(s->workload.demands);
        free(s->devices.counts);
        return GPULET_E_NOMEM;
    }
    if (count > 0)
        memcpy(s->workload.demands, input->workload->demands, count * sizeof(*s->workload.demands));
    for (size_t i = 0; i < count; i++) {
        double slo_ms = s->workload.demands[i].slo_ms;
        s->workload.demands[i].slo_ms = slo_ms - fmin(options->overhead_ms, slo_ms / 2);
    }
    memcpy(s->devices.counts, input->devices->counts,
           s->devices.types_count * sizeof(*s->devices.counts));
    s->input.workload = &s->workload;
    s->input.devices = &s->devices;
    return GPULET_OK;
}

static void end(plan_serving_t *s)
{
    plan_serving_forget_devices(s);
    free(s->workload.demands);
    free(s->devices.counts);
}

/* Holding the 99th percentile of arrivals in every single duty cycle may be more than the devices
 * can do, where holding less of a margin is not: a plan with a smaller margin is better than one
 * that leaves a model out. */
static gpulet_status_t plan_safely(gpulet_plan_t **out, plan_serving_t *s, gpulet_error_t *err)
{
    static const double percentiles[] = {1, 0.95, 0.9, 0.75, 0.5, 0};
    const double wanted = s->input.rate_percentile;
    gpulet_plan_t *first = NULL;
    for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++) {
        gpulet_plan_t *plan = NULL;
        if (i > 0 && percentiles[i] >= wanted)
            continue;
        s->input.rate_percentile = i == 0 ? wanted : percentiles[i];
        s->input.brief = i > 0; /* the first says what is missing, should none do */
        gpulet_status_t st = gpulet_planner_run(&plan, s->options->planner, &s->input, err);
        if (st != GPULET_OK) {
            gpulet_plan_destroy(first);
            return st;
        }
        if (plan->feasible) {
            s->note.percentile = s->input.rate_percentile;
            gpulet_plan_destroy(first);
            *out = plan;
            return GPULET_OK;
        }
        if (first == NULL)
            first = plan;
        else
            gpulet_plan_destroy(plan);
    }
    s->input.rate_percentile = wanted;
    *out = first;
    return GPULET_OK;
}

static gpulet_status_t plan_multiple(gpulet_plan_t **out, plan_serving_t *s,
                                     const gpulet_planner_t *planner,
                                     const gpulet_workload_t *workload, double factor)
{
    gpulet_error_t err;
    for (size_t i = 0; i < workload->count; i++)
        s->workload.demands[i].rate_rps = workload->demands[i].rate_rps * factor;
    s->input.brief = true;
    return gpulet_planner_run(out, planner, &s->input, &err);
}

/* The highest multiple that was seen to fit. */
static gpulet_status_t find_multiple(double *out, plan_serving_t *s,
                                     const gpulet_workload_t *workload)
{
    enum { TRIES_MAX = 16 };
    const double close_enough = 1.1;
    const gpulet_planner_t *planner = gpulet_planner_quick(s->options->planner);
    double holds = 1;
    double breaks = 0; /* the lowest known not to; 0: none yet */
    for (int tries = 0; tries < TRIES_MAX && (breaks <= 0 || breaks / holds > close_enough);
         tries++) {
        double factor = breaks <= 0 ? holds * 2 : (holds + breaks) / 2;
        gpulet_plan_t *plan = NULL;
        gpulet_status_t st = plan_multiple(&plan, s, planner, workload, factor);
        if (st != GPULET_OK)
            return st;
        if (plan->feasible)
            holds = factor;
        else
            breaks = factor;
        gpulet_plan_destroy(plan);
    }
    *out = holds;
    return GPULET_OK;
}

/* The devices are there: the plan is made for more than the rates, so that no units stay idle. At
 * the very limit models would share gpu-lets, and batches grow, for the sake of rates that nobody
 * asks for; so only a part of the way. *plan is replaced by a better one, or left alone. */
static gpulet_status_t use_spare(gpulet_plan_t **plan, plan_serving_t *s,
                                 const gpulet_workload_t *workload)
{
    const double part = s->options->spare_part > 0 ? s->options->spare_part : 0.75;
    double holds = 1;
    gpulet_status_t st = find_multiple(&holds, s, workload);
    s->note.could_hold = holds;
    /* Planners are no monotone functions: what fits at the limit may not fit below it. */
    double factor = 1 + part * (holds - 1);
    while (st == GPULET_OK && holds > 1 && factor <= holds && s->note.multiple <= 1) {
        gpulet_plan_t *next = NULL;
        st = plan_multiple(&next, s, s->options->planner, workload, factor);
        if (st == GPULET_OK && next->feasible) {
            gpulet_plan_t *before = *plan;
            *plan = next;
            next = before;
            s->note.multiple = factor;
        }
        gpulet_plan_destroy(next);
        factor += (holds - factor) / 2 + (holds - 1) / 16;
    }
    return st;
}

/* How hard a plan is to reach from the running one. */
typedef struct way {
    double gap_rps; /* that nobody serves meanwhile */
    double weight;  /* of what is moved */
} way_t;

static gpulet_status_t way_to(way_t *out, const gpulet_plan_t *plan, const plan_serving_t *s)
{
    gpulet_status_t st = gpulet_plan_reach_gap(&out->gap_rps, s->input.from, plan, &s->input);
    out->weight = gpulet_plan_movement_weight(&plan->movement);
    return st;
}

static bool costs_more(const gpulet_plan_t *plan, const gpulet_plan_t *than)
{
    return isnan(plan->cost) ? plan->devices_used > than->devices_used
                             : plan->cost > than->cost * (1 + 1e-9);
}

/* Plans of the multiple from the running plan: the planner's, or one of little movement. */
static gpulet_status_t try_way(gpulet_plan_t **plan, way_t *best, plan_serving_t *s,
                               const gpulet_planner_t *planner, const gpulet_workload_t *workload,
                               double multiple)
{
    gpulet_plan_t *next = NULL;
    way_t way;
    gpulet_status_t st = plan_multiple(&next, s, planner, workload, multiple);
    if (st == GPULET_OK && next->feasible && !costs_more(next, *plan)) {
        st = way_to(&way, next, s);
        bool easier = way.gap_rps < best->gap_rps ||
                      (way.gap_rps <= best->gap_rps && way.weight < best->weight);
        if (st == GPULET_OK && easier) {
            gpulet_plan_t *before = *plan;
            *plan = next;
            next = before;
            *best = way;
            s->note.multiple = multiple;
        }
    }
    gpulet_plan_destroy(next);
    return st;
}

/* The same from the running plan by an easier way, where there is one: with less movement; and
 * where a model would not be served meanwhile, rather with less to spare than that. */
static gpulet_status_t ease_way(gpulet_plan_t **plan, plan_serving_t *s,
                                const gpulet_workload_t *workload)
{
    static const double parts[] = {1, 0.5, 0.25, 0};
    const gpulet_planner_t *incremental = gpulet_planner_find("incremental");
    const double wanted = s->note.multiple;
    way_t best;
    if (s->input.from == NULL || !s->options->planner->free_form)
        return GPULET_OK;
    gpulet_status_t st = way_to(&best, *plan, s);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && st == GPULET_OK; i++) {
        double multiple = 1 + parts[i] * (wanted - 1);
        if (i > 0 && (best.gap_rps <= 0 || wanted <= 1))
            break;
        st = try_way(plan, &best, s, incremental, workload, multiple);
        if (st == GPULET_OK && i > 0 && best.gap_rps > 0)
            st = try_way(plan, &best, s, s->options->planner, workload, multiple);
    }
    (*plan)->movement.gap_rps = best.gap_rps;
    return st;
}

/* People see the objectives that they set. */
static void show_objectives(gpulet_plan_t *plan, const gpulet_workload_t *workload)
{
    for (size_t i = 0; i < plan->models_count; i++) {
        const gpulet_demand_t *demand = gpulet_workload_find(workload, plan->models[i].model);
        if (demand != NULL)
            plan->models[i].slo_ms = demand->slo_ms;
    }
}

gpulet_status_t gpulet_plan_serving(gpulet_plan_t **out, gpulet_serving_note_t *note,
                                    const gpulet_plan_input_t *input,
                                    const gpulet_serving_options_t *options, gpulet_error_t *err)
{
    plan_serving_t s;
    gpulet_plan_t *plan = NULL;
    gpulet_status_t st = begin(&s, input, options);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "%s", gpulet_status_text(st));
    st = plan_safely(&plan, &s, err);
    if (st == GPULET_OK && plan->feasible) {
        st = plan_serving_keep_devices(&s, plan);
        if (st == GPULET_OK && options->use_spare &&
            input->workload->count <= GPULET_SERVING_SPARE_MODELS_MAX)
            st = use_spare(&plan, &s, input->workload);
        if (st == GPULET_OK)
            st = ease_way(&plan, &s, input->workload);
        if (st == GPULET_OK)
            plan_serving_own_devices(plan, &s);
        if (st != GPULET_OK)
            (void)gpulet_fail(err, st, "%s", gpulet_status_text(st));
    } else if (st == GPULET_OK) {
        st = plan_serving_partly(&plan, &s, input->workload);
        if (st == GPULET_OK)
            st = gpulet_plan_adopt_orphans(plan, &s.note.orphans, input, err);
        else
            (void)gpulet_fail(err, st, "%s", gpulet_status_text(st));
    }
    if (st == GPULET_OK) {
        show_objectives(plan, input->workload);
        *out = plan;
        if (note != NULL)
            *note = s.note;
    } else {
        gpulet_plan_destroy(plan);
    }
    end(&s);
    return st;
}
