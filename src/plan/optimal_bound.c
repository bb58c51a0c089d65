/* Bounds that hold for every plan that verifies. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/optimal_internal.h"

/* The verifier grants a millionth (verify.c) at four places: D + L ≤ SLO, Σ L ≤ D, the rate a share
 * carries and the rate that is asked for. A cycle short by a millionth is one of full length whose
 * models have SLOs longer by as much, so objectives longer by two millionths and rates higher by
 * three cover all of it; memory and the percentile have a millionth of their own. */
static const double SLO_LONGER = 1.0 + 3e-6;
static const double MEMORY_MORE = 1.0 + 2e-6;
static const double PERCENTILE_LESS = 1.0 - 2e-6;
static const double RATES_LESS = 1.0 - 6e-6;

static gpulet_status_t copy_workload(gpulet_certifier_t *c, const gpulet_workload_t *from)
{
    c->workload = *from;
    c->workload.demands = malloc((from->count + 1) * sizeof(*from->demands));
    if (c->workload.demands == NULL)
        return GPULET_E_NOMEM;
    if (from->count > 0)
        memcpy(c->workload.demands, from->demands, from->count * sizeof(*from->demands));
    for (size_t i = 0; i < from->count; i++)
        c->workload.demands[i].slo_ms *= SLO_LONGER;
    return GPULET_OK;
}

static gpulet_status_t copy_devices(gpulet_certifier_t *c, const gpulet_device_set_t *from)
{
    c->devices = *from;
    c->devices.types = calloc(from->types_count + 1, sizeof(*from->types));
    if (c->devices.types == NULL)
        return GPULET_E_NOMEM;
    for (uint32_t t = 0; t < from->types_count; t++) {
        gpulet_device_type_t *type = &c->devices.types[t];
        *type = from->types[t];
        type->memory_mb *= MEMORY_MORE;
        type->memory_mb_by_size = NULL;
        if (from->types[t].memory_mb_by_size == NULL)
            continue;
        type->memory_mb_by_size = malloc((type->sizes_count + 1) * sizeof(double));
        if (type->memory_mb_by_size == NULL)
            return GPULET_E_NOMEM;
        for (uint32_t s = 0; s < type->sizes_count; s++)
            type->memory_mb_by_size[s] = from->types[t].memory_mb_by_size[s] * MEMORY_MORE;
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_certifier_init(gpulet_certifier_t *c, const gpulet_plan_input_t *input)
{
    *c = (gpulet_certifier_t){.input = *input};
    gpulet_status_t st = copy_workload(c, input->workload);
    if (st == GPULET_OK)
        st = copy_devices(c, input->devices);
    c->input.workload = &c->workload;
    c->input.devices = &c->devices;
    c->input.from = NULL;
    c->input.rate_percentile *= PERCENTILE_LESS;
    if (st == GPULET_OK)
        st = gpulet_workspace_create(&c->ws, &c->input, NULL);
    if (st == GPULET_OK)
        st = gpulet_pricer_create(&c->pricer, c->ws, false);
    if (st != GPULET_OK)
        gpulet_certifier_deinit(c);
    return st;
}

void gpulet_certifier_deinit(gpulet_certifier_t *c)
{
    gpulet_pricer_destroy(c->pricer);
    gpulet_workspace_destroy(c->ws);
    gpulet_price_device_deinit(&c->device);
    free(c->workload.demands);
    for (uint32_t t = 0; c->devices.types != NULL && t < c->devices.types_count; t++)
        free(c->devices.types[t].memory_mb_by_size);
    free(c->devices.types);
    *c = (gpulet_certifier_t){0};
}

/* Farley's bound. Let no device of type t be worth more than bound_t at these prices, and let f be
 * the least cost_t/bound_t. Then at prices times f no device is worth more than it costs, so what
 * all demands are worth together, f · Σ price, is at most the cost of any set of devices that
 * serves them. The worths are integers rounded up, and the quotient is rounded down. */
gpulet_status_t gpulet_certifier_prove(double *bound, gpulet_certifier_t *c, const uint64_t *prices,
                                       uint64_t work_max, uint64_t *work)
{
    const gpulet_workspace_t *ws = c->ws;
    double *rates = malloc((ws->models_count + 1) * sizeof(*rates));
    if (rates == NULL)
        return GPULET_E_NOMEM;
    uint64_t sum = 0;
    bool fits = true;
    for (size_t m = 0; m < ws->models_count; m++) {
        rates[m] = ws->models[m].rate_rps;
        fits = fits && prices[m] < UINT64_MAX / 4 - sum;
        sum += fits ? prices[m] : 0;
    }
    double least = INFINITY; /* cost a worth */
    gpulet_status_t st = GPULET_OK;
    for (size_t t = 0; fits && st == GPULET_OK && t < ws->types_count; t++) {
        st = gpulet_pricer_run(&c->device, c->pricer, t, prices, rates, work_max, true);
        *work += c->device.work;
        if (st == GPULET_OK && c->device.bound > 0)
            least = fmin(least, ws->types[t].type->cost / (double)c->device.bound);
    }
    free(rates);
    *bound = 0.0;
    if (st == GPULET_E_INVALID || !fits)
        return GPULET_OK;
    if (st == GPULET_OK && isfinite(least))
        *bound = (double)sum * least * (1.0 - 1e-14) * RATES_LESS;
    return st;
}

double gpulet_certifier_step(const gpulet_device_set_t *devices)
{
    if (devices->types_count == 1)
        return devices->types[0].cost;
    double step = 0.0;
    for (uint32_t t = 0; t < devices->types_count; t++) {
        double cost = devices->types[t].cost;
        if (cost != floor(cost) || cost > 1e9)
            return 0.0;
        while (cost > 0.0) {
            double rest = fmod(step, cost);
            step = cost;
            cost = rest;
        }
    }
    return step;
}

double gpulet_certifier_round(const gpulet_device_set_t *devices, double bound)
{
    double step = gpulet_certifier_step(devices);
    return step > 0.0 ? ceil(bound / step) * step : bound;
}
