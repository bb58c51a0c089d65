/* Models that a plan leaves out are served all the same, as well as it goes: each in the gpu-let
 * where the fewest requests are late for it, by a rough reckoning of queues. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plan/serving.h"

typedef struct place {
    gpulet_plan_device_t *device;
    gpulet_plan_gpulet_t *gpulet;
    double late_rps; /* weighted; INFINITY: none was found */
    double busy;
} place_t;

static bool plan_holds(const gpulet_plan_t *plan, const char *model)
{
    for (size_t d = 0; d < plan->devices_count; d++) {
        for (size_t g = 0; g < plan->devices[d].gpulets_count; g++) {
            for (size_t s = 0; s < plan->devices[d].gpulets[g].shares_count; s++) {
                if (strcmp(plan->devices[d].gpulets[g].shares[s].model, model) == 0)
                    return true;
            }
        }
    }
    return false;
}

/* One item, or the smallest batch that was measured; NAN when nothing is known of the size. */
static double alone_ms(const gpulet_plan_input_t *input, const char *device, const char *model,
                       uint32_t units)
{
    const gpulet_curve_t *curve = gpulet_profile_curve(input->profile, device, model, units, 1);
    double margin = input->latency_margin > 0 ? input->latency_margin : 1;
    return curve != NULL
               ? margin * gpulet_curve_latency_ms(curve, gpulet_curve_batch_min(curve), false)
               : NAN;
}

static double memory_mb(const gpulet_plan_input_t *input, const char *device, const char *model,
                        uint32_t units, uint32_t batch)
{
    const gpulet_curve_t *curve = gpulet_profile_curve(input->profile, device, model, units, 1);
    double mb = curve != NULL ? gpulet_curve_memory_mb(curve, batch) : NAN;
    return isnan(mb) ? 0 : mb;
}

static double gpulet_memory_mb(const gpulet_plan_input_t *input, const gpulet_plan_device_t *device,
                               const gpulet_plan_gpulet_t *g)
{
    double total = 0;
    for (size_t i = 0; i < g->shares_count; i++)
        total += g->shares[i].instances *
                 memory_mb(input, device->type, g->shares[i].model, g->units, g->shares[i].batch);
    return total;
}

static bool memory_allows(const gpulet_plan_input_t *input, const gpulet_plan_device_t *device,
                          const gpulet_plan_gpulet_t *g, const char *model)
{
    int t = gpulet_device_set_find(input->devices, device->type);
    if (t < 0)
        return true;
    const gpulet_device_type_t *type = &input->devices->types[t];
    int size = gpulet_device_type_size_index(type, g->units);
    double more = memory_mb(input, device->type, model, g->units, 1);
    double used = gpulet_memory_mb(input, device, g);
    if (size >= 0 && used + more > gpulet_device_type_models_mb(type, (uint32_t)size))
        return false;
    if (type->memory_mb_by_size != NULL)
        return true;
    double all = more;
    for (size_t i = 0; i < device->gpulets_count; i++)
        all += type->memory_mb_process + gpulet_memory_mb(input, device, &device->gpulets[i]);
    return all <= type->memory_mb;
}

static double weight_of(const gpulet_demand_t *demand)
{
    return demand != NULL && demand->weight > 0 ? demand->weight : 1;
}

/* The part of the time that the gpu-let runs what it was planned for. */
static double busy_part(const gpulet_plan_gpulet_t *g)
{
    double busy = 0;
    for (size_t i = 0; i < g->shares_count; i++) {
        const gpulet_plan_share_t *s = &g->shares[i];
        busy += s->rate_rps / 1000 * s->latency_ms / fmax(1, s->batch * s->instances);
    }
    return fmin(busy, 1);
}

/* A request of a resident that arrives in a run of the orphan waits for its end: it is late when
 * more is left of the run than its objective has to spare. What is beyond the time there is, is
 * late in any case, of each in proportion. */
static double late_rps(const gpulet_plan_input_t *input, const gpulet_plan_device_t *device,
                       const gpulet_plan_gpulet_t *g, const gpulet_demand_t *orphan)
{
    double own_ms = alone_ms(input, device->type, orphan->model, g->units);
    double fraction = input->slo_fraction > 0 ? input->slo_fraction : 1;
    double run_ms = isnan(own_ms) ? fraction * orphan->slo_ms : own_ms;
    double taken = fmin(orphan->rate_rps * run_ms / 1000, 1);
    double busy = busy_part(g);
    double beyond = busy + taken > 1 ? (busy + taken - 1) / (busy + taken) : 0;
    double late = 0;
    double longest_ms = 0;
    for (size_t i = 0; i < g->shares_count; i++) {
        const gpulet_plan_share_t *s = &g->shares[i];
        const gpulet_demand_t *demand = gpulet_workload_find(input->workload, s->model);
        double slo_ms = demand != NULL ? fraction * demand->slo_ms : INFINITY;
        double spare_ms = fmax(slo_ms - s->latency_ms, 0);
        double part = run_ms > spare_ms ? taken * (run_ms - spare_ms) / run_ms : 0;
        late += weight_of(demand) * s->rate_rps * fmin(1, part + beyond);
        longest_ms = fmax(longest_ms, s->latency_ms);
    }
    double wait_ms = fraction * orphan->slo_ms - run_ms;
    double part = wait_ms < 0            ? 1
                  : longest_ms > wait_ms ? busy * (longest_ms - wait_ms) / longest_ms
                                         : 0;
    return late + weight_of(orphan) * orphan->rate_rps * fmin(1, part + beyond);
}

static place_t best_place(gpulet_plan_t *plan, const gpulet_plan_input_t *input,
                          const gpulet_demand_t *orphan)
{
    place_t best = {.late_rps = INFINITY};
    for (size_t d = 0; d < plan->devices_count; d++) {
        gpulet_plan_device_t *device = &plan->devices[d];
        for (size_t i = 0; i < device->gpulets_count; i++) {
            gpulet_plan_gpulet_t *g = &device->gpulets[i];
            if (!memory_allows(input, device, g, orphan->model))
                continue;
            place_t here = {device, g, late_rps(input, device, g, orphan), busy_part(g)};
            if (here.late_rps < best.late_rps ||
                (here.late_rps <= best.late_rps && here.busy < best.busy))
                best = here;
        }
    }
    return best;
}

/* A gpu-let over the whole of a device of the first type. */
static gpulet_status_t add_whole_device(place_t *out, gpulet_plan_t *plan,
                                        const gpulet_plan_input_t *input)
{
    const gpulet_device_type_t *type = &input->devices->types[0];
    gpulet_plan_device_t *device = gpulet_plan_add_device(plan);
    gpulet_plan_gpulet_t *g = device != NULL ? gpulet_plan_add_gpulet(device) : NULL;
    if (g == NULL)
        return GPULET_E_NOMEM;
    (void)snprintf(device->type, sizeof(device->type), "%s", type->name);
    g->units = type->units;
    g->slot = type->slots > 0 ? 0 : -1;
    plan->devices_used = 1;
    *out = (place_t){.device = device, .gpulet = g};
    return GPULET_OK;
}

static gpulet_status_t adopt(gpulet_plan_t *plan, const gpulet_plan_input_t *input,
                             const gpulet_demand_t *orphan, bool *adopted)
{
    place_t place = best_place(plan, input, orphan);
    *adopted = false;
    if (plan->devices_count == 0) {
        gpulet_status_t st = add_whole_device(&place, plan, input);
        if (st != GPULET_OK)
            return st;
    }
    if (place.gpulet == NULL)
        return GPULET_OK;
    gpulet_plan_share_t *share = gpulet_plan_add_share(place.gpulet);
    if (share == NULL)
        return GPULET_E_NOMEM;
    double ms = alone_ms(input, place.device->type, orphan->model, place.gpulet->units);
    (void)snprintf(share->model, sizeof(share->model), "%s", orphan->model);
    share->batch = 1;
    share->instances = 1;
    share->interference = 1;
    share->rate_rps = orphan->rate_rps;
    share->latency_ms = isnan(ms) ? 0 : ms;
    share->worst_ms = place.gpulet->duty_ms + share->latency_ms;
    *adopted = true;
    return GPULET_OK;
}

gpulet_status_t gpulet_plan_adopt_orphans(gpulet_plan_t *plan, uint32_t *orphans,
                                          const gpulet_plan_input_t *input, gpulet_error_t *err)
{
    uint32_t count = 0;
    for (size_t i = 0; i < input->workload->count; i++) {
        const gpulet_demand_t *demand = &input->workload->demands[i];
        bool adopted = false;
        if (plan_holds(plan, demand->model))
            continue;
        gpulet_status_t st = adopt(plan, input, demand, &adopted);
        if (st != GPULET_OK)
            return gpulet_fail(err, st, "%s", gpulet_status_text(st));
        count += adopted;
    }
    if (orphans != NULL)
        *orphans = count;
    return GPULET_OK;
}

double gpulet_plan_covers_rps(const gpulet_plan_t *plan, const char *model)
{
    double held = 0;
    for (size_t d = 0; d < plan->devices_count; d++) {
        for (size_t g = 0; g < plan->devices[d].gpulets_count; g++) {
            const gpulet_plan_gpulet_t *gpulet = &plan->devices[d].gpulets[g];
            for (size_t s = 0; s < gpulet->shares_count; s++) {
                if (strcmp(gpulet->shares[s].model, model) == 0)
                    held += fmin(gpulet->shares[s].rate_rps, gpulet->shares[s].capacity_rps);
            }
        }
    }
    for (size_t i = 0; i < plan->models_count; i++) {
        if (strcmp(plan->models[i].model, model) == 0)
            return fmin(held, plan->models[i].rate_rps);
    }
    return held;
}
