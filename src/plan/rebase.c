/* An old plan under a new input. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/elastic.h"
#include "plan/poisson.h"

static const gpulet_curve_t *curve_of(const gpulet_plan_input_t *input,
                                      const gpulet_plan_device_t *d, size_t gpulet,
                                      const gpulet_plan_share_t *s)
{
    return gpulet_profile_curve(input->profile, d->type, s->model, d->gpulets[gpulet].units,
                                s->instances);
}

/* The input, and its workload by name. */
typedef struct request {
    const gpulet_plan_input_t *input;
    gpulet_workload_index_t *index; /* owned */
} request_t;

static bool wanted(const request_t *r, const char *model)
{
    size_t i = gpulet_workload_index_find(r->index, model);
    return i != SIZE_MAX && r->input->workload->demands[i].rate_rps > 0.0;
}

static void drop_shares(gpulet_plan_gpulet_t *g, const request_t *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < g->shares_count; i++) {
        if (wanted(r, g->shares[i].model))
            g->shares[kept++] = g->shares[i];
    }
    g->shares_count = kept;
}

/* Leaves out what serves nothing any more. */
static void drop_unwanted(gpulet_plan_t *plan, const request_t *r)
{
    size_t devices = 0;
    for (size_t i = 0; i < plan->devices_count; i++) {
        gpulet_plan_device_t *d = &plan->devices[i];
        size_t gpulets = 0;
        for (size_t k = 0; k < d->gpulets_count; k++) {
            drop_shares(&d->gpulets[k], r);
            if (d->gpulets[k].shares_count == 0) {
                free(d->gpulets[k].shares);
                continue;
            }
            d->gpulets[gpulets++] = d->gpulets[k];
        }
        d->gpulets_count = gpulets;
        if (gpulets == 0) {
            free(d->gpulets);
            continue;
        }
        plan->devices[devices++] = *d;
    }
    plan->devices_count = devices;
}

static double factor_of(const gpulet_plan_input_t *input, const gpulet_plan_device_t *d,
                        size_t gpulet, const gpulet_plan_share_t *self)
{
    int t = gpulet_device_set_find(input->devices, d->type);
    const gpulet_device_type_t *type = t >= 0 ? &input->devices->types[t] : NULL;
    const gpulet_interference_row_t *row = NULL;
    if (type != NULL && input->interference != NULL && !type->isolated && type->gpulets_max > 1)
        row = gpulet_interference_find(input->interference, d->type);
    double factor = 1.0;
    for (size_t g = 0; row != NULL && g < d->gpulets_count; g++) {
        for (size_t i = 0; g != gpulet && i < d->gpulets[g].shares_count; i++) {
            const gpulet_plan_share_t *other = &d->gpulets[g].shares[i];
            const gpulet_curve_t *own = curve_of(input, d, gpulet, self);
            const gpulet_curve_t *curve = curve_of(input, d, g, other);
            if (own == NULL || curve == NULL)
                return NAN;
            gpulet_interference_side_t me = gpulet_interference_side(own, self->batch, type->units);
            gpulet_interference_side_t beside =
                gpulet_interference_side(curve, other->batch, type->units);
            double f = gpulet_interference_between(row, &me, &beside);
            if (isnan(f))
                return NAN;
            factor = fmax(factor, f);
        }
    }
    return factor;
}

/* Where the network is limited a share is not given more than it had. */
static bool network_limited(const gpulet_plan_input_t *input, const char *type)
{
    int index = gpulet_device_set_find(input->devices, type);
    return index >= 0 && input->devices->types[index].network_gbps > 0.0;
}

/* A document rounds: a cycle that its batches filled exactly is not cut short by that. One that is
 * shorter by more is as its author wants it. */
static double rounded_up(double duty_ms, double sum_ms)
{
    const double relative = 1e-6;
    const double printed = 1e-6; /* ModelList.txt has six decimals */
    bool short_by_rounding = duty_ms < sum_ms && sum_ms <= duty_ms * (1.0 + relative) + printed;
    return short_by_rounding ? sum_ms : duty_ms;
}

/* Latency and what follows from it; rate_rps is set to the most that the share holds. False when
 * the input does not know it; with `as_given` it is left NAN then. */
static bool refresh_gpulet(gpulet_plan_device_t *d, size_t gpulet, const gpulet_plan_input_t *input,
                           bool as_given)
{
    gpulet_plan_gpulet_t *g = &d->gpulets[gpulet];
    double margin = input->latency_margin > 0.0 ? input->latency_margin : 1.0;
    double sum_ms = 0.0;
    for (size_t i = 0; i < g->shares_count; i++) {
        gpulet_plan_share_t *s = &g->shares[i];
        const gpulet_curve_t *curve = curve_of(input, d, gpulet, s);
        s->interference = factor_of(input, d, gpulet, s);
        s->latency_ms = curve != NULL ? gpulet_curve_latency_ms(curve, s->batch, input->p99) *
                                            margin * s->interference
                                      : NAN;
        sum_ms += s->latency_ms;
    }
    if (!(sum_ms > 0.0) && !as_given)
        return false;
    if (as_given)
        g->duty_ms = rounded_up(g->duty_ms, sum_ms);
    else if (g->shares_count == 1 || g->duty_ms < sum_ms)
        g->duty_ms = sum_ms;
    bool network = network_limited(input, d->type);
    for (size_t i = 0; i < g->shares_count; i++) {
        gpulet_plan_share_t *s = &g->shares[i];
        uint64_t items = (uint64_t)s->batch * s->instances;
        double load = (double)items;
        if (input->rate_percentile > 0.0)
            load = gpulet_poisson_load_max(input->rate_percentile, items);
        s->worst_ms = g->duty_ms + s->latency_ms;
        s->capacity_rps = (double)items * 1000.0 / g->duty_ms;
        double held_rps = load * 1000.0 / g->duty_ms;
        s->rate_rps = network ? fmin(held_rps, s->rate_rps * (1.0 + 1e-7)) : held_rps;
    }
    return true;
}

typedef void (*share_fn)(gpulet_plan_share_t *share, double *sums, const request_t *r);

static void for_each_share(gpulet_plan_t *plan, share_fn fn, double *sums, const request_t *r)
{
    for (size_t i = 0; i < plan->devices_count; i++) {
        for (size_t k = 0; k < plan->devices[i].gpulets_count; k++) {
            gpulet_plan_gpulet_t *g = &plan->devices[i].gpulets[k];
            for (size_t j = 0; j < g->shares_count; j++)
                fn(&g->shares[j], sums, r);
        }
    }
}

/* sums[2i] is what demand i's shares hold, sums[2i + 1] their capacity. */
static void add_share(gpulet_plan_share_t *share, double *sums, const request_t *r)
{
    size_t i = gpulet_workload_index_find(r->index, share->model);
    if (i == SIZE_MAX)
        return;
    sums[2 * i] += share->rate_rps;
    sums[2 * i + 1] += share->capacity_rps;
}

// NOLINTNEXTLINE(readability-non-const-parameter): it is called as add_share is
static void route_share(gpulet_plan_share_t *share, double *sums, const request_t *r)
{
    size_t i = gpulet_workload_index_find(r->index, share->model);
    if (i == SIZE_MAX)
        return;
    share->rate_rps *= fmin(1.0, r->input->workload->demands[i].rate_rps / sums[2 * i]);
}

static gpulet_status_t set_models(gpulet_plan_t *plan, const request_t *r)
{
    const gpulet_workload_t *workload = r->input->workload;
    double *sums = calloc(2 * workload->count + 1, sizeof(*sums));
    if (sums == NULL)
        return GPULET_E_NOMEM;
    for_each_share(plan, add_share, sums, r);
    for_each_share(plan, route_share, sums, r);
    plan->models_count = 0;
    plan->feasible = true;
    gpulet_status_t st = GPULET_OK;
    for (size_t i = 0; i < workload->count && st == GPULET_OK; i++) {
        const gpulet_demand_t *demand = &workload->demands[i];
        if (demand->rate_rps <= 0.0)
            continue;
        gpulet_plan_model_t *m = gpulet_plan_add_model(plan);
        if (m == NULL) {
            st = GPULET_E_NOMEM;
            break;
        }
        memcpy(m->model, demand->model, sizeof(m->model));
        m->rate_rps = demand->rate_rps;
        m->slo_ms = demand->slo_ms;
        m->capacity_rps = sums[2 * i + 1];
        plan->feasible = plan->feasible && sums[2 * i] >= demand->rate_rps * (1.0 - 1e-7);
    }
    free(sums);
    return st;
}

/* Every figure of the plan anew; false when the input does not know some type, size or batch. */
static bool refresh_plan(gpulet_plan_t *plan, const gpulet_plan_input_t *input, bool as_given)
{
    for (size_t i = 0; i < plan->devices_count; i++) {
        for (size_t k = 0; k < plan->devices[i].gpulets_count; k++) {
            if (!refresh_gpulet(&plan->devices[i], k, input, as_given))
                return false;
        }
    }
    return true;
}

static gpulet_status_t renew(gpulet_plan_t **out, const gpulet_plan_t *from,
                             const gpulet_plan_input_t *input, bool as_given)
{
    gpulet_plan_t *plan = NULL;
    request_t request = {.input = input};
    *out = NULL;
    gpulet_status_t st = gpulet_workload_index_create(&request.index, input->workload);
    if (st == GPULET_OK)
        st = gpulet_plan_clone(&plan, from);
    if (st != GPULET_OK)
        goto done;
    if (!as_given)
        drop_unwanted(plan, &request);
    if (!refresh_plan(plan, input, as_given) || (st = set_models(plan, &request)) != GPULET_OK)
        goto done;
    plan->reason[0] = '\0';
    plan->proved_optimal = false;
    *out = plan;
    plan = NULL;
done:
    gpulet_plan_destroy(plan);
    gpulet_workload_index_destroy(request.index);
    return st;
}

gpulet_status_t gpulet_plan_rebase(gpulet_plan_t **out, const gpulet_plan_t *from,
                                   const gpulet_plan_input_t *input)
{
    return renew(out, from, input, false);
}

gpulet_status_t gpulet_plan_refresh(gpulet_plan_t **out, const gpulet_plan_t *from,
                                    const gpulet_plan_input_t *input)
{
    return renew(out, from, input, true);
}
