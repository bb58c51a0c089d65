#include "study/advice.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Beyond so many devices no plan is made to see how many would do. */
static const double DEVICES_MAX = 5000.0;
static const double SLO_FACTOR_MAX = 1024.0, SLO_PRECISION = 1.01;
enum { RATE_STEPS = 8, MORE_DEVICES_MAX = 8 };

typedef struct search {
    const gpulet_study_runner_t *runner;
    const gpulet_plan_input_t *input;
    gpulet_error_t *err;
    size_t model; /* index in the workload */
} search_t;

/* ---- what is missing ---- */

/* Keeps the models that miss most, the worst first. */
static void find_missing(gpulet_advice_t *advice, const gpulet_plan_t *plan,
                         const gpulet_workload_t *workload)
{
    for (size_t i = 0; i < workload->count; i++) {
        const gpulet_demand_t *demand = &workload->demands[i];
        gpulet_advice_model_t model = {
            demand, demand->rate_rps - gpulet_plan_routed_rps(plan, demand->model), NAN, NAN};
        if (demand->rate_rps <= 0.0 || model.missing_rps <= 1e-7 * demand->rate_rps)
            continue;
        advice->models_missing++;
        size_t at = advice->models_count;
        while (at > 0 && advice->models[at - 1].missing_rps < model.missing_rps)
            at--;
        if (at == GPULET_ADVICE_MODELS_MAX)
            continue;
        if (advice->models_count < GPULET_ADVICE_MODELS_MAX)
            advice->models_count++;
        memmove(&advice->models[at + 1], &advice->models[at],
                (advice->models_count - at - 1) * sizeof(model));
        advice->models[at] = model;
    }
}

/* ---- devices ---- */

static gpulet_status_t plan_with(gpulet_plan_t **out, const search_t *s, gpulet_device_set_t *set)
{
    gpulet_plan_input_t changed = *s->input;
    changed.devices = set;
    changed.brief = true;
    return gpulet_study_plan(out, s->runner, &changed, s->err);
}

static int32_t devices_of(const gpulet_plan_t *plan, const char *type)
{
    int32_t count = 0;
    for (size_t d = 0; d < plan->devices_count; d++)
        count += strcmp(plan->devices[d].type, type) == 0 ? 1 : 0;
    return count;
}

/* As many as a plan without limits uses; then plans with that number, since a planner may do worse
 * when it is told the number. */
static gpulet_status_t advise_type(gpulet_advice_type_t *out, const search_t *s,
                                   gpulet_device_set_t *set, uint32_t type)
{
    gpulet_plan_t *plan = NULL;
    int32_t was = set->counts[type];
    *out = (gpulet_advice_type_t){set->types[type].name, was, -1};
    if (was < 0)
        return GPULET_OK;
    set->counts[type] = -1;
    gpulet_status_t st = plan_with(&plan, s, set);
    bool found = st == GPULET_OK && plan->feasible;
    int32_t count = found ? devices_of(plan, out->type) : 0;
    gpulet_plan_destroy(plan);
    count = count > was ? count : was + 1;
    for (int32_t more = 0; found && out->enough < 0 && more < MORE_DEVICES_MAX; more++) {
        set->counts[type] = count + more;
        if ((st = plan_with(&plan, s, set)) != GPULET_OK)
            break;
        if (plan->feasible)
            out->enough = count + more;
        gpulet_plan_destroy(plan);
    }
    set->counts[type] = was;
    return st;
}

static gpulet_status_t advise_devices(gpulet_advice_t *advice, const search_t *s)
{
    gpulet_device_set_t set = *s->input->devices;
    double devices = 0.0;
    gpulet_status_t st = GPULET_OK;
    if (isnan(gpulet_plan_bound_resource(s->input, &devices, NULL)) || devices > DEVICES_MAX)
        return GPULET_OK;
    set.counts = calloc(set.types_count, sizeof(*set.counts));
    if (set.counts == NULL)
        return gpulet_fail(s->err, GPULET_E_NOMEM, "out of memory");
    memcpy(set.counts, s->input->devices->counts, set.types_count * sizeof(*set.counts));
    for (uint32_t t = 0; st == GPULET_OK && t < set.types_count; t++)
        st = advise_type(&advice->types[advice->types_count++], s, &set, t);
    free(set.counts);
    return st;
}

/* ---- one model ---- */

static gpulet_status_t try_model(bool *feasible, const search_t *s, double rate, double slo)
{
    const double factors[2] = {rate, slo};
    return gpulet_study_try(feasible, s->runner, s->input, s->model, 1, factors, s->err);
}

/* Three digits, up or down, so that the figure can be said. */
static double rounded(double value, bool up)
{
    if (value <= 0.0)
        return 0.0;
    double unit = pow(10.0, floor(log10(value)) - 2.0);
    return (up ? ceil(value / unit - 1e-9) : floor(value / unit + 1e-9)) * unit;
}

/* Puts the rounded value in the place of the exact one when it is feasible as well. */
static gpulet_status_t settle(double *out, const search_t *s, double before, double factor,
                              bool slo)
{
    double value = rounded(before * factor, slo);
    bool feasible = false;
    gpulet_status_t st =
        try_model(&feasible, s, slo ? 1.0 : value / before, slo ? value / before : 1.0);
    *out = st == GPULET_OK && feasible ? value : before * factor;
    return st;
}

static gpulet_status_t advise_rate(gpulet_advice_model_t *model, const search_t *s)
{
    double low = 0.0;
    double high = 1.0;
    bool feasible = false;
    gpulet_status_t st = try_model(&feasible, s, 0.0, 1.0);
    if (st != GPULET_OK || !feasible)
        return st;
    for (int i = 0; st == GPULET_OK && i < RATE_STEPS; i++) {
        double middle = (low + high) / 2.0;
        st = try_model(&feasible, s, middle, 1.0);
        *(feasible ? &low : &high) = middle;
    }
    model->rate_rps = 0.0;
    if (st == GPULET_OK && low > 0.0)
        st = settle(&model->rate_rps, s, model->demand->rate_rps, low, false);
    return st;
}

static gpulet_status_t advise_slo(gpulet_advice_model_t *model, const search_t *s)
{
    double low = 1.0;
    double high = 1.0;
    bool feasible = false;
    gpulet_status_t st = GPULET_OK;
    while (st == GPULET_OK && !feasible && high < SLO_FACTOR_MAX) {
        low = high;
        high *= 2.0;
        st = try_model(&feasible, s, 1.0, high);
    }
    if (st != GPULET_OK || !feasible)
        return st;
    while (st == GPULET_OK && high > low * SLO_PRECISION) {
        double middle = sqrt(low * high);
        st = try_model(&feasible, s, 1.0, middle);
        *(feasible ? &high : &low) = middle;
    }
    return st == GPULET_OK ? settle(&model->slo_ms, s, model->demand->slo_ms, high, true) : st;
}

gpulet_status_t gpulet_advise(gpulet_advice_t *out, const gpulet_plan_t *plan,
                              const gpulet_study_runner_t *runner,
                              const gpulet_study_runner_t *search, const gpulet_plan_input_t *input,
                              gpulet_error_t *err)
{
    gpulet_advice_t *advice = calloc(1, sizeof(*advice));
    search_t s = {runner, input, err, 0};
    assert(!plan->feasible);
    if (advice == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    find_missing(advice, plan, input->workload);
    gpulet_status_t st = advise_devices(advice, &s);
    s.runner = search;
    advice->multiple = NAN;
    if (st == GPULET_OK)
        st = gpulet_study_multiple(&advice->multiple, search, input, err);
    if (advice->multiple <= 0.0)
        advice->multiple = NAN;
    for (size_t i = 0; st == GPULET_OK && i < advice->models_count; i++) {
        s.model = (size_t)(advice->models[i].demand - input->workload->demands);
        st = advise_rate(&advice->models[i], &s);
        if (st == GPULET_OK)
            st = advise_slo(&advice->models[i], &s);
    }
    if (st == GPULET_OK)
        *out = *advice;
    free(advice);
    return st;
}
