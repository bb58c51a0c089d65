#include "plan/reason.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Beyond so many devices the answer to "how many would do" is the bound, not a plan. */
static const double REASON_DEVICES_MAX = 5000.0;

enum { REASON_MODELS_MAX = 3 };

/* The models that miss most, the worst first. */
typedef struct shortfall {
    size_t count; /* of those that are named */
    const gpulet_demand_t *demands[REASON_MODELS_MAX];
    double missing_rps[REASON_MODELS_MAX];
    size_t others; /* models that miss something too */
} shortfall_t;

static shortfall_t find_shortfall(const gpulet_plan_t *plan, const gpulet_workload_t *workload)
{
    shortfall_t s = {0};
    for (size_t i = 0; i < workload->count; i++) {
        const gpulet_demand_t *demand = &workload->demands[i];
        double missing_rps = demand->rate_rps - gpulet_plan_routed_rps(plan, demand->model);
        if (demand->rate_rps <= 0.0 || missing_rps <= 1e-7 * demand->rate_rps)
            continue;
        size_t at = s.count;
        while (at > 0 && s.missing_rps[at - 1] < missing_rps)
            at--;
        s.others += s.count == REASON_MODELS_MAX ? 1 : 0;
        s.count += s.count < REASON_MODELS_MAX ? 1 : 0;
        if (at == REASON_MODELS_MAX)
            continue;
        for (size_t k = s.count - 1; k > at; k--) {
            s.demands[k] = s.demands[k - 1];
            s.missing_rps[k] = s.missing_rps[k - 1];
        }
        s.demands[at] = demand;
        s.missing_rps[at] = missing_rps;
    }
    return s;
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
        double most_mb = gpulet_device_type_models_mb(type, (uint32_t)size);
        for (uint32_t b = gpulet_curve_batch_min(curve); b <= gpulet_curve_batch_max(curve); b++) {
            if (!(gpulet_curve_memory_mb(curve, b) > most_mb) && most_mb >= 0.0)
                least_ms = fmin(least_ms, margin * gpulet_curve_latency_ms(curve, b, input->p99));
        }
    }
    double fraction = input->slo_fraction > 0.0 ? input->slo_fraction : 1.0;
    return isfinite(least_ms) ? 2.0 * least_ms / fraction : NAN;
}

static void append(gpulet_plan_t *plan, const char *fmt, ...) GPULET_PRINTF(2, 3);

/* To the reason, as far as there is room. */
static void append(gpulet_plan_t *plan, const char *fmt, ...)
{
    size_t length = strlen(plan->reason);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(plan->reason + length, sizeof(plan->reason) - length, fmt, args);
    va_end(args);
}

/* "5 devices would be enough", of each type where there are several; false when a plan without
 * limits is not feasible either. */
static gpulet_status_t append_devices(bool *out, gpulet_plan_t *plan,
                                      const gpulet_plan_input_t *input,
                                      const gpulet_planner_t *planner)
{
    gpulet_device_set_t set = *input->devices;
    gpulet_plan_input_t wide = *input;
    gpulet_plan_t *enough = NULL;
    *out = false;
    set.counts = calloc(set.types_count + 1, sizeof(*set.counts));
    if (set.counts == NULL)
        return GPULET_E_NOMEM;
    for (uint32_t t = 0; t < set.types_count; t++)
        set.counts[t] = -1;
    wide.devices = &set;
    gpulet_status_t st = gpulet_planner_quick(planner)->run(&enough, &wide, NULL);
    *out = st == GPULET_OK && enough->feasible;
    const char *joint = "; ";
    for (uint32_t t = 0; *out && set.types_count > 1 && t < set.types_count; t++) {
        size_t count = 0;
        for (size_t d = 0; d < enough->devices_count; d++)
            count += strcmp(enough->devices[d].type, set.types[t].name) == 0 ? 1 : 0;
        if (count > 0)
            append(plan, "%s%zu %s", joint, count, set.types[t].name);
        joint = count > 0 ? " and " : joint;
    }
    if (*out && set.types_count == 1)
        append(plan, "; %zu %s", enough->devices_count,
               enough->devices_count == 1 ? "device" : "devices");
    if (*out)
        append(plan, " would be enough");
    gpulet_plan_destroy(enough);
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

gpulet_status_t gpulet_plan_set_reason(gpulet_plan_t *plan, const gpulet_plan_input_t *input,
                                       const gpulet_planner_t *planner)
{
    size_t blocked = 0;
    double devices = 0.0;
    if (isnan(gpulet_plan_bound_resource(input, &devices, &blocked))) {
        reason_slo(plan, input, blocked);
        return GPULET_OK;
    }
    shortfall_t s = find_shortfall(plan, input->workload);
    assert(s.count > 0);
    append(plan, "%s misses %.1f requests/s", s.demands[0]->model, s.missing_rps[0]);
    for (size_t i = 1; i < s.count; i++)
        append(plan, ", %s %.1f", s.demands[i]->model, s.missing_rps[i]);
    if (s.others > 0)
        append(plan, " (and %zu more %s)", s.others, s.others == 1 ? "model" : "models");
    bool enough = false;
    gpulet_status_t st = GPULET_OK;
    if (!input->brief && devices <= REASON_DEVICES_MAX)
        st = append_devices(&enough, plan, input, planner);
    /* A planner may know only sizes at which a model misses its SLO. */
    if (st == GPULET_OK && !enough && !input->brief && devices <= REASON_DEVICES_MAX)
        append(plan, "; the planner %s finds no plan with any number of devices",
               gpulet_planner_quick(planner)->name);
    else if (st == GPULET_OK && !enough)
        append(plan, "; at least %.0f devices are needed", devices);
    /* Precise enough to act on: the rate that is left is rounded down. It is enough when all the
     * others are served. */
    double left_rps = floor(fmax(0.0, s.demands[0]->rate_rps - s.missing_rps[0]) * 10.0) / 10.0;
    if (st == GPULET_OK && s.count == 1 && left_rps > 0.0)
        append(plan, ", or a rate of %.1f", left_rps);
    return st;
}
