/* The independent verifier. It reads the plan, the profile and the device types, and nothing of the
 * planners. */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan/elastic.h"
#include "plan/planner.h"
#include "plan/poisson.h"

static const double TOLERANCE = 1e-6; /* relative */
/* Figures that a plan states beside its promises may be rounded for printing. */
static const double STATED_RELATIVE = 1e-3;
static const double STATED_ABSOLUTE = 1e-3;

typedef struct checker {
    const gpulet_plan_t *plan;
    const gpulet_plan_input_t *input;
    double margin;
    double slo_fraction;
    gpulet_error_t *err;
    double *routed_rps;   /* by demand */
    double *capacity_rps; /* by demand */
    const gpulet_workload_index_t *index;
} checker_t;

/* One gpu-let being checked, for the texts. */
typedef struct place {
    const gpulet_plan_device_t *device;
    const gpulet_device_type_t *type;
    size_t gpulet;
} place_t;

static bool over(double value, double limit)
{
    return !(value <= limit * (1.0 + TOLERANCE));
}

static bool differs(double stated, double found)
{
    return !(fabs(stated - found) <= STATED_RELATIVE * fabs(found) + STATED_ABSOLUTE);
}

#define BROKEN(c, p, ...) broken((c)->err, (p), __VA_ARGS__)

static gpulet_status_t broken(gpulet_error_t *err, const place_t *p, const char *fmt, ...)
    GPULET_PRINTF(3, 4);

static gpulet_status_t broken(gpulet_error_t *err, const place_t *p, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return gpulet_fail(err, GPULET_E_INFEASIBLE, "device %s %" PRIu32 ", gpu-let %zu: %s",
                       p->device->type, p->device->index, p->gpulet, text);
}

/* ---- devices: sizes and slots ---- */

static gpulet_status_t check_slots(const checker_t *c, const place_t *p, unsigned char *taken,
                                   int size_index)
{
    const gpulet_placement_t *rule = &p->type->placements[size_index];
    int32_t slot = p->device->gpulets[p->gpulet].slot;
    bool allowed = false;
    for (uint32_t i = 0; i < rule->starts_count; i++)
        allowed = allowed || (slot >= 0 && rule->starts[i] == (uint32_t)slot);
    if (!allowed || (uint32_t)slot + rule->length > p->type->slots)
        return BROKEN(c, p, "a size of %u may not start at slot %d", p->type->sizes[size_index],
                      slot);
    for (uint32_t i = 0; i < rule->length; i++) {
        if (taken[(uint32_t)slot + i])
            return BROKEN(c, p, "slot %u is taken by another gpu-let", (uint32_t)slot + i);
        taken[(uint32_t)slot + i] = 1;
    }
    return GPULET_OK;
}

static gpulet_status_t check_sizes(const checker_t *c, place_t *p)
{
    const gpulet_plan_device_t *device = p->device;
    unsigned char *taken = p->type->slots > 0 ? calloc(p->type->slots, 1) : NULL;
    if (p->type->slots > 0 && taken == NULL)
        return GPULET_E_NOMEM;
    uint64_t units = 0;
    gpulet_status_t st = GPULET_OK;
    for (p->gpulet = 0; p->gpulet < device->gpulets_count && st == GPULET_OK; p->gpulet++) {
        const gpulet_plan_gpulet_t *g = &device->gpulets[p->gpulet];
        int size_index = gpulet_device_type_size_index(p->type, g->units);
        units += g->units;
        if (size_index < 0)
            st = BROKEN(c, p, "%u units is not a size of the type", g->units);
        else if (taken != NULL)
            st = check_slots(c, p, taken, size_index);
    }
    free(taken);
    if (st != GPULET_OK)
        return st;
    p->gpulet = 0;
    if (units > p->type->units)
        return BROKEN(c, p, "all sizes sum to %" PRIu64 " of %u units", units, p->type->units);
    if (device->gpulets_count > p->type->gpulets_max)
        return BROKEN(c, p, "%zu gpu-lets where the type allows %u", device->gpulets_count,
                      p->type->gpulets_max);
    return GPULET_OK;
}

static gpulet_status_t check_devices_distinct(const checker_t *c)
{
    const gpulet_plan_t *plan = c->plan;
    for (size_t i = 0; i < plan->devices_count; i++) {
        place_t p = {.device = &plan->devices[i]};
        int type = gpulet_device_set_find(c->input->devices, p.device->type);
        if (type < 0)
            return BROKEN(c, &p, "there is no such device type");
        int32_t count = c->input->devices->counts[type];
        if (count >= 0 && p.device->index >= (uint32_t)count)
            return BROKEN(c, &p, "there are only %d devices of the type", count);
        for (size_t k = 0; k < i; k++) {
            if (plan->devices[k].index == p.device->index &&
                strcmp(plan->devices[k].type, p.device->type) == 0)
                return BROKEN(c, &p, "the device stands in the plan twice");
        }
    }
    return GPULET_OK;
}

/* ---- shares ---- */

static const gpulet_curve_t *curve_of(const checker_t *c, const place_t *p, size_t gpulet,
                                      const gpulet_plan_share_t *s)
{
    return gpulet_profile_curve(c->input->profile, p->type->name, s->model,
                                p->device->gpulets[gpulet].units, s->instances);
}

/* The largest factor that any model of any other gpu-let of the device causes; NAN where a
 * utilisation is blank. */
static double interference_of(const checker_t *c, const place_t *p, const gpulet_plan_share_t *self)
{
    const gpulet_interference_row_t *row = NULL;
    if (c->input->interference != NULL && !p->type->isolated && p->type->gpulets_max > 1)
        row = gpulet_interference_find(c->input->interference, p->type->name);
    if (row == NULL)
        return 1.0;
    gpulet_interference_side_t me =
        gpulet_interference_side(curve_of(c, p, p->gpulet, self), self->batch, p->type->units);
    double factor = 1.0;
    for (size_t g = 0; g < p->device->gpulets_count; g++) {
        for (size_t i = 0; g != p->gpulet && i < p->device->gpulets[g].shares_count; i++) {
            const gpulet_plan_share_t *other = &p->device->gpulets[g].shares[i];
            const gpulet_curve_t *curve = curve_of(c, p, g, other);
            if (curve == NULL)
                return NAN;
            gpulet_interference_side_t beside =
                gpulet_interference_side(curve, other->batch, p->type->units);
            double f = gpulet_interference_between(row, &me, &beside);
            if (isnan(f))
                return NAN;
            factor = fmax(factor, f);
        }
    }
    return factor;
}

static size_t demand_index(const checker_t *c, const char *model)
{
    return gpulet_workload_index_find(c->index, model);
}

static gpulet_status_t latency_of(double *latency_ms, const checker_t *c, const place_t *p,
                                  const gpulet_plan_share_t *s)
{
    const gpulet_curve_t *curve = curve_of(c, p, p->gpulet, s);
    if (curve == NULL)
        return BROKEN(c, p, "the profile has no %s with %u instances at this size", s->model,
                      s->instances);
    double alone_ms = gpulet_curve_latency_ms(curve, s->batch, c->input->p99);
    if (isnan(alone_ms))
        return BROKEN(c, p, "batch %u of %s is outside of the profile", s->batch, s->model);
    double factor = interference_of(c, p, s);
    if (isnan(factor))
        return BROKEN(c, p, "the interference on %s is not known: a utilisation is blank",
                      s->model);
    if (differs(s->interference, factor))
        return BROKEN(c, p, "%s states interference %g, the coefficients give %g", s->model,
                      s->interference, factor);
    *latency_ms = alone_ms * c->margin * factor;
    if (differs(s->latency_ms, *latency_ms))
        return BROKEN(c, p, "%s states a latency of %g ms, the profile gives %g", s->model,
                      s->latency_ms, *latency_ms);
    return GPULET_OK;
}

static gpulet_status_t check_rate(const checker_t *c, const place_t *p,
                                  const gpulet_plan_share_t *s)
{
    double duty_ms = p->device->gpulets[p->gpulet].duty_ms;
    double items = (double)s->instances * (double)s->batch;
    double capacity_rps = items * 1000.0 / duty_ms;
    size_t demand = demand_index(c, s->model);
    if (!(s->rate_rps >= 0.0) || over(s->rate_rps, capacity_rps))
        return BROKEN(c, p, "%s is routed %g requests/s, the capacity is %g", s->model, s->rate_rps,
                      capacity_rps);
    if (differs(s->capacity_rps, capacity_rps))
        return BROKEN(c, p, "%s states a capacity of %g requests/s, the batch gives %g", s->model,
                      s->capacity_rps, capacity_rps);
    double percentile = c->input->rate_percentile;
    double mean = s->rate_rps * duty_ms / 1000.0 * (1.0 - TOLERANCE);
    if (percentile > 0.0 &&
        gpulet_poisson_cdf((uint64_t)items, mean) < percentile * (1.0 - TOLERANCE))
        return BROKEN(c, p, "%s holds %g arrivals a cycle, percentile %g of a mean of %g is more",
                      s->model, items, percentile, mean);
    c->routed_rps[demand] += s->rate_rps;
    c->capacity_rps[demand] += capacity_rps;
    return GPULET_OK;
}

static gpulet_status_t check_worst(const checker_t *c, const place_t *p,
                                   const gpulet_plan_share_t *s, double latency_ms, double sum_ms)
{
    double duty_ms = p->device->gpulets[p->gpulet].duty_ms;
    double slo_ms = c->input->workload->demands[demand_index(c, s->model)].slo_ms * c->slo_fraction;
    double worst_ms = duty_ms + (c->input->prototype_duty ? sum_ms : latency_ms);
    if (over(worst_ms, slo_ms))
        return BROKEN(c, p, "%s may take %g ms, its SLO is %g ms", s->model, worst_ms, slo_ms);
    if (differs(s->worst_ms, duty_ms + latency_ms))
        return BROKEN(c, p, "%s states a worst case of %g ms, it is %g", s->model, s->worst_ms,
                      duty_ms + latency_ms);
    return GPULET_OK;
}

static gpulet_status_t check_shape(const checker_t *c, const place_t *p)
{
    const gpulet_plan_gpulet_t *g = &p->device->gpulets[p->gpulet];
    if (g->shares_count == 0 || !(g->duty_ms > 0.0))
        return BROKEN(c, p, "expected a model and a duty cycle above 0");
    if (p->type->models_max > 0 && g->shares_count > p->type->models_max)
        return BROKEN(c, p, "%zu models where the type allows %u", g->shares_count,
                      p->type->models_max);
    for (size_t i = 0; i < g->shares_count; i++) {
        const char *model = g->shares[i].model;
        if (demand_index(c, model) == SIZE_MAX)
            return BROKEN(c, p, "%s is not in the workload", model);
        for (size_t k = 0; k < i; k++) {
            if (strcmp(g->shares[k].model, model) == 0)
                return BROKEN(c, p, "%s stands in the gpu-let twice", model);
        }
    }
    return GPULET_OK;
}

/* What the gpu-let takes of its device beside units: memory, its process included, and network. */
typedef struct takes {
    double memory_mb;
    double network_gbps;
} takes_t;

static gpulet_status_t check_gpulet(const checker_t *c, const place_t *p, takes_t *takes)
{
    const gpulet_plan_gpulet_t *g = &p->device->gpulets[p->gpulet];
    gpulet_status_t st = check_shape(c, p);
    double sum_ms = 0.0;
    *takes = (takes_t){.memory_mb = p->type->memory_mb_process};
    for (size_t i = 0; st == GPULET_OK && i < g->shares_count; i++) {
        double latency_ms = 0.0;
        if ((st = latency_of(&latency_ms, c, p, &g->shares[i])) != GPULET_OK)
            return st;
        sum_ms += latency_ms;
        const gpulet_curve_t *curve = curve_of(c, p, p->gpulet, &g->shares[i]);
        double mb = gpulet_curve_memory_mb(curve, g->shares[i].batch);
        takes->memory_mb += isnan(mb) ? 0.0 : mb;
        takes->network_gbps +=
            g->shares[i].rate_rps * gpulet_curve_input_bytes(curve) * 8.0 / 1073741824.0;
    }
    for (size_t i = 0; st == GPULET_OK && i < g->shares_count; i++) {
        double latency_ms = 0.0;
        if ((st = latency_of(&latency_ms, c, p, &g->shares[i])) != GPULET_OK ||
            (st = check_worst(c, p, &g->shares[i], latency_ms, sum_ms)) != GPULET_OK)
            return st;
        st = check_rate(c, p, &g->shares[i]);
    }
    if (st == GPULET_OK && over(sum_ms, g->duty_ms))
        st = BROKEN(c, p, "a cycle of %g ms has to hold %g ms of batches", g->duty_ms, sum_ms);
    return st;
}

static gpulet_status_t check_device(const checker_t *c, const gpulet_plan_device_t *device)
{
    const gpulet_device_set_t *set = c->input->devices;
    place_t p = {.device = device, .type = &set->types[gpulet_device_set_find(set, device->type)]};
    if (device->gpulets_count == 0)
        return BROKEN(c, &p, "the device holds no gpu-let");
    gpulet_status_t st = check_sizes(c, &p);
    double sum_mb = 0.0;
    double sum_gbps = 0.0;
    for (p.gpulet = 0; st == GPULET_OK && p.gpulet < device->gpulets_count; p.gpulet++) {
        takes_t takes;
        if ((st = check_gpulet(c, &p, &takes)) != GPULET_OK)
            return st;
        sum_gbps += takes.network_gbps;
        double most_mb = INFINITY;
        if (p.type->memory_mb_by_size != NULL)
            most_mb = p.type->memory_mb_by_size[gpulet_device_type_size_index(
                p.type, device->gpulets[p.gpulet].units)];
        else
            sum_mb += takes.memory_mb;
        if (over(takes.memory_mb, most_mb))
            return BROKEN(c, &p, "its models need %g MiB of %g MiB", takes.memory_mb, most_mb);
    }
    p.gpulet = 0;
    if (st == GPULET_OK && over(sum_mb, p.type->memory_mb))
        return BROKEN(c, &p, "all models need %g MiB of the device's %g MiB", sum_mb,
                      p.type->memory_mb);
    if (st == GPULET_OK && p.type->network_gbps > 0.0 && over(sum_gbps, p.type->network_gbps))
        st = BROKEN(c, &p, "all requests bring %g of the device's %g Gbit/s", sum_gbps,
                    p.type->network_gbps);
    return st;
}

/* ---- the whole plan ---- */

static gpulet_status_t check_demands(const checker_t *c)
{
    const gpulet_workload_t *workload = c->input->workload;
    for (size_t i = 0; i < workload->count; i++) {
        const gpulet_demand_t *d = &workload->demands[i];
        double least = fmin(c->routed_rps[i], c->capacity_rps[i]);
        if (over(d->rate_rps, least))
            return gpulet_fail(c->err, GPULET_E_INFEASIBLE,
                               "%s is asked for %g requests/s, the plan serves %g", d->model,
                               d->rate_rps, least);
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_plan_verify_partial(const gpulet_plan_t *plan,
                                           const gpulet_plan_input_t *input, bool partial,
                                           gpulet_error_t *err)
{
    assert(plan != NULL && input->profile != NULL && input->devices != NULL &&
           input->workload != NULL);
    size_t count = input->workload->count;
    double *figures = calloc(2 * count + 1, sizeof(*figures));
    gpulet_workload_index_t *index = NULL;
    if (figures == NULL || gpulet_workload_index_create(&index, input->workload) != GPULET_OK) {
        free(figures);
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    }
    checker_t c = {plan, input, 1.0, 1.0, err, figures, figures + count, index};
    if (input->latency_margin > 0.0)
        c.margin = input->latency_margin;
    if (input->slo_fraction > 0.0)
        c.slo_fraction = input->slo_fraction;
    gpulet_status_t st = check_devices_distinct(&c);
    for (size_t i = 0; st == GPULET_OK && i < plan->devices_count; i++)
        st = check_device(&c, &plan->devices[i]);
    if (st == GPULET_OK && !partial)
        st = check_demands(&c);
    gpulet_workload_index_destroy(index);
    free(figures);
    return st;
}

gpulet_status_t gpulet_plan_verify(const gpulet_plan_t *plan, const gpulet_plan_input_t *input,
                                   gpulet_error_t *err)
{
    return gpulet_plan_verify_partial(plan, input, false, err);
}
