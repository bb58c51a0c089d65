#include "sim/curves.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/duration.h"

/* The standard normal distribution's 99th percentile. */
static const double z99 = 2.3263478740408408;
static const double two_pi = 6.283185307179586;

static void free_curve(sim_curve_t *curve)
{
    if (curve == NULL)
        return;
    free(curve->exec_ns);
    free(curve->sigma);
    free(curve->memory_mb);
    free(curve);
}

void sim_curves_deinit(sim_curves_t *curves)
{
    for (size_t i = 0; i < curves->count; i++)
        free_curve(curves->items[i]);
    free(curves->items);
    curves->items = NULL;
    curves->count = curves->capacity = 0;
}

uint32_t sim_curves_batch_max(const sim_curves_t *curves, uint32_t model)
{
    const char *name = curves->workload->demands[model].model;
    uint32_t most = 1;
    for (size_t i = 0; i < gpulet_profile_curves_count(curves->profile); i++) {
        const gpulet_curve_t *curve = gpulet_profile_curve_at(curves->profile, i);
        if (strcmp(curve->model, name) == 0 && gpulet_curve_batch_max(curve) > most)
            most = gpulet_curve_batch_max(curve);
    }
    return most;
}

/* Of the instances asked for, else of one. */
static const gpulet_curve_t *measured(const sim_curves_t *curves, const char *device,
                                      const char *model, uint32_t units, uint32_t instances)
{
    const gpulet_curve_t *curve =
        gpulet_profile_curve(curves->profile, device, model, units, instances);
    return curve != NULL || instances == 1
               ? curve
               : gpulet_profile_curve(curves->profile, device, model, units, 1);
}

static const gpulet_curve_t *nearest(const sim_curves_t *curves, const gpulet_device_type_t *type,
                                     const char *model, uint32_t units, uint32_t instances)
{
    const gpulet_curve_t *curve = NULL;
    for (uint32_t u = units; u >= 1 && curve == NULL; u--)
        curve = measured(curves, type->name, model, u, instances);
    for (uint32_t u = units + 1; u <= type->units && curve == NULL; u++)
        curve = measured(curves, type->name, model, u, instances);
    return curve;
}

/* A batch that was not measured: how it is read from one that was. */
static uint32_t within(const gpulet_curve_t *curve, uint32_t batch, double *factor)
{
    uint32_t min = gpulet_curve_batch_min(curve);
    uint32_t max = gpulet_curve_batch_max(curve);
    *factor = batch > max ? (double)batch / max : 1;
    return batch < min ? min : batch > max ? max : batch;
}

static void fill(sim_curve_t *curve, double spread)
{
    curve->cold_ns = gpulet_duration_ns(gpulet_curve_cold_ms(curve->profile));
    for (uint32_t b = 1; b <= curve->batch_max; b++) {
        double factor = 1;
        uint32_t read = within(curve->profile, b, &factor);
        double ms = gpulet_curve_latency_ms(curve->profile, read, false);
        double p99 = gpulet_curve_latency_ms(curve->profile, read, true);
        double memory = gpulet_curve_memory_mb(curve->profile, read);
        /* Where there is no percentile the curve gives the latency itself. */
        curve->sigma[b - 1] = p99 > ms ? log(p99 / ms) / z99 : spread;
        curve->exec_ns[b - 1] = gpulet_duration_ns(ms * factor);
        curve->memory_mb[b - 1] = isnan(memory) ? 0 : memory;
    }
}

static gpulet_status_t make(sim_curve_t **out, sim_curves_t *curves, const sim_curve_t *key)
{
    sim_curve_t *curve = calloc(1, sizeof(*curve));
    if (curve == NULL)
        return GPULET_E_NOMEM;
    *curve = *key;
    curve->batch_max = sim_curves_batch_max(curves, key->model);
    curve->exec_ns = calloc(curve->batch_max, sizeof(*curve->exec_ns));
    curve->sigma = calloc(curve->batch_max, sizeof(*curve->sigma));
    curve->memory_mb = calloc(curve->batch_max, sizeof(*curve->memory_mb));
    if (curve->exec_ns == NULL || curve->sigma == NULL || curve->memory_mb == NULL) {
        free_curve(curve);
        return GPULET_E_NOMEM;
    }
    fill(curve, curves->spread);
    *out = curve;
    return GPULET_OK;
}

static gpulet_status_t keep(sim_curves_t *curves, sim_curve_t *curve)
{
    if (curves->count == curves->capacity) {
        size_t capacity = curves->capacity == 0 ? 32 : curves->capacity * 2;
        sim_curve_t **grown = reallocarray(curves->items, capacity, sizeof(*grown));
        if (grown == NULL)
            return GPULET_E_NOMEM;
        curves->items = grown;
        curves->capacity = capacity;
    }
    curve->id = (uint32_t)curves->count;
    curves->items[curves->count++] = curve;
    return GPULET_OK;
}

gpulet_status_t sim_curves_get(const sim_curve_t **out, sim_curves_t *curves, uint32_t type,
                               uint32_t model, uint32_t units, uint32_t instances,
                               gpulet_error_t *err)
{
    for (size_t i = 0; i < curves->count; i++) {
        const sim_curve_t *c = curves->items[i];
        if (c->type == type && c->model == model && c->units == units &&
            c->instances == instances) {
            *out = c;
            return GPULET_OK;
        }
    }
    const gpulet_device_type_t *device = &curves->devices->types[type];
    const char *name = curves->workload->demands[model].model;
    sim_curve_t key = {.type = type, .model = model, .units = units, .instances = instances};
    sim_curve_t *curve = NULL;
    key.profile = nearest(curves, device, name, units, instances);
    if (key.profile == NULL)
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "the profile has no row of model %s on %s",
                           name, device->name);
    gpulet_status_t st = make(&curve, curves, &key);
    if (st == GPULET_OK && (st = keep(curves, curve)) != GPULET_OK)
        free_curve(curve);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "out of memory");
    *out = curve;
    return GPULET_OK;
}

uint64_t sim_curve_draw_ns(const sim_curve_t *curve, uint32_t batch, double factor,
                           gpulet_rng_t *rng)
{
    assert(batch >= 1);
    if (batch > curve->batch_max) {
        factor *= (double)batch / curve->batch_max;
        batch = curve->batch_max;
    }
    double sigma = curve->sigma[batch - 1];
    if (sigma > 0) {
        /* Box and Muller; the second number is thrown away, so that a draw is two numbers. */
        double radius = sqrt(2 * gpulet_rng_exponential(rng, 1));
        factor *= exp(sigma * radius * cos(two_pi * gpulet_rng_f64(rng)));
    }
    double ns = (double)curve->exec_ns[batch - 1] * factor;
    return ns < 1 ? 1 : ns > 1e17 ? (uint64_t)1e17 : (uint64_t)ns;
}
