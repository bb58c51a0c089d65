#include "study/multiple.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const double MULTIPLE_MAX = 1e12, MULTIPLE_MIN = 1e-6, PRECISION = 1.001;

gpulet_status_t gpulet_study_plan(gpulet_plan_t **out, const gpulet_study_runner_t *runner,
                                  const gpulet_plan_input_t *input, gpulet_error_t *err)
{
    return runner->run != NULL ? runner->run(out, runner, input, err)
                               : gpulet_planner_run(out, runner->planner, input, err);
}

gpulet_status_t gpulet_study_try(bool *feasible, const gpulet_study_runner_t *runner,
                                 const gpulet_plan_input_t *input, size_t first, size_t count,
                                 const double factors[2], gpulet_error_t *err)
{
    gpulet_workload_t workload = {.count = input->workload->count};
    gpulet_plan_input_t changed = *input;
    gpulet_plan_t *plan = NULL;
    workload.demands = calloc(workload.count + 1, sizeof(*workload.demands));
    if (workload.demands == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    if (workload.count > 0)
        memcpy(workload.demands, input->workload->demands,
               workload.count * sizeof(*workload.demands));
    for (size_t i = first; i < first + count && i < workload.count; i++) {
        workload.demands[i].rate_rps *= factors[0];
        workload.demands[i].slo_ms *= factors[1];
    }
    changed.workload = &workload;
    changed.brief = true;
    changed.any = true;
    gpulet_status_t st = gpulet_study_plan(&plan, runner, &changed, err);
    if (st == GPULET_OK)
        *feasible = plan->feasible;
    gpulet_plan_destroy(plan);
    free(workload.demands);
    return st;
}

static gpulet_status_t try_multiple(bool *feasible, const gpulet_study_runner_t *runner,
                                    const gpulet_plan_input_t *input, double multiple,
                                    gpulet_error_t *err)
{
    const double factors[2] = {multiple, 1.0};
    return gpulet_study_try(feasible, runner, input, 0, input->workload->count, factors, err);
}

static bool has_limit(const gpulet_plan_input_t *input)
{
    bool asked = false;
    for (uint32_t t = 0; t < input->devices->types_count; t++) {
        if (input->devices->counts[t] < 0)
            return false;
    }
    for (size_t i = 0; i < input->workload->count; i++)
        asked = asked || input->workload->demands[i].rate_rps > 0.0;
    return asked;
}

gpulet_status_t gpulet_study_multiple(double *out, const gpulet_study_runner_t *runner,
                                      const gpulet_plan_input_t *input, gpulet_error_t *err)
{
    double low = 1.0;  /* has a plan */
    double high = 1.0; /* has none */
    bool feasible = false;
    if (!has_limit(input)) {
        *out = NAN;
        return GPULET_OK;
    }
    gpulet_status_t st = try_multiple(&feasible, runner, input, 1.0, err);
    bool above = feasible;
    while (st == GPULET_OK && feasible == above) {
        *(above ? &low : &high) = above ? high : low;
        *(above ? &high : &low) *= above ? 2.0 : 0.5;
        if (low < MULTIPLE_MIN || high > MULTIPLE_MAX) {
            *out = above ? NAN : 0.0;
            return GPULET_OK;
        }
        st = try_multiple(&feasible, runner, input, above ? high : low, err);
    }
    while (st == GPULET_OK && high > low * PRECISION) {
        double middle = sqrt(low * high);
        st = try_multiple(&feasible, runner, input, middle, err);
        *(feasible ? &low : &high) = middle;
    }
    if (st == GPULET_OK)
        *out = low;
    return st;
}
