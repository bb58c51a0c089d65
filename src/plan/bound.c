/* The resource bound: what no plan under the full rules can beat. Reads the profile itself and
 * shares nothing with the planners.
 *
 * A share of a model takes latency/duty of the units of its gpu-let for a rate of at most
 * load/duty, so a request costs at least units·latency/load of a device's time, whatever it is
 * shared with; interference only adds. Where a type has a placement rule the same holds for slots,
 * and the larger bound counts. Where gpu-lets hold one model each, a model's gpu-lets are whole:
 * then its least sum of sizes that covers the rate counts, which is more; and where they hold at
 * most so many, there are devices for the models. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "plan/curves.h"
#include "plan/planner.h"
#include "plan/poisson.h"

enum { COVER_WEIGHT_MAX = 8192, LOADS_MAX = 4097 };

typedef struct bounder {
    const gpulet_plan_input_t *input;
    double *loads; /* owned; by batch·instances, NAN until asked for; NULL without a percentile */
    bool slots;    /* weigh sizes by slots in place of units */
    bool single;   /* one type whose gpu-lets hold one model each */
    double *cover; /* owned; scratch of least_cover; NULL: not used */
} bounder_t;

static double load_of(const bounder_t *b, uint64_t items)
{
    if (b->input->rate_percentile <= 0.0)
        return (double)items;
    if (items >= LOADS_MAX || b->loads == NULL)
        return gpulet_poisson_load_max(b->input->rate_percentile, items);
    if (isnan(b->loads[items]))
        b->loads[items] = gpulet_poisson_load_max(b->input->rate_percentile, items);
    return b->loads[items];
}

/* Size of a gpu-let, in the unit that is weighed. */
static uint32_t weight_of(const bounder_t *b, const gpulet_device_type_t *type, uint32_t size)
{
    return b->slots && type->slots > 0 ? type->placements[size].length : type->sizes[size];
}

static double weight_whole(const bounder_t *b, const gpulet_device_type_t *type)
{
    return (double)(b->slots && type->slots > 0 ? type->slots : type->units);
}

/* The most requests a second that one gpu-let of that size can serve of the model; 0 when the SLO
 * cannot be met. */
static double rate_alone(const bounder_t *b, const gpulet_device_type_t *type, uint32_t size,
                         const gpulet_demand_t *demand)
{
    const gpulet_plan_input_t *input = b->input;
    double margin = input->latency_margin > 0.0 ? input->latency_margin : 1.0;
    double slo_ms = demand->slo_ms * (input->slo_fraction > 0.0 ? input->slo_fraction : 1.0);
    double memory_mb = gpulet_device_type_models_mb(type, size);
    size_t count;
    size_t first =
        gpulet_curves_find(&count, input->profile, type->name, demand->model, type->sizes[size]);
    double best = 0.0;
    for (size_t i = first; i < first + count; i++) {
        const gpulet_curve_t *curve = gpulet_profile_curve_at(input->profile, i);
        for (uint32_t batch = gpulet_curve_batch_min(curve); batch <= gpulet_curve_batch_max(curve);
             batch++) {
            double latency_ms = margin * gpulet_curve_latency_ms(curve, batch, input->p99);
            if (!(2.0 * latency_ms <= slo_ms) || gpulet_curve_memory_mb(curve, batch) > memory_mb ||
                memory_mb < 0.0)
                continue;
            best = fmax(best, 1000.0 * load_of(b, (uint64_t)batch * curve->instances) / latency_ms);
        }
    }
    return best;
}

/* The least sum of weights of gpu-lets that serve rate_rps, or 0 when it is beyond the table. */
static double least_cover(const bounder_t *b, const gpulet_device_type_t *type, const double *rates,
                          double rate_rps)
{
    b->cover[0] = 0.0;
    for (uint32_t w = 1; w <= COVER_WEIGHT_MAX; w++) {
        double most = b->cover[w - 1];
        for (uint32_t s = 0; s < type->sizes_count; s++) {
            uint32_t weight = weight_of(b, type, s);
            if (weight <= w)
                most = fmax(most, b->cover[w - weight] + rates[s]);
        }
        b->cover[w] = most;
        if (most >= rate_rps * (1.0 - 1e-6))
            return (double)w;
    }
    return 0.0;
}

/* Adds what one model needs to the device and cost bounds; false when no size can meet its SLO. */
static bool add_model(const bounder_t *b, const gpulet_demand_t *demand, double *devices,
                      double *cost)
{
    const gpulet_device_set_t *set = b->input->devices;
    double least_devices = INFINITY;
    double least_cost = INFINITY;
    for (uint32_t t = 0; t < set->types_count; t++) {
        const gpulet_device_type_t *type = &set->types[t];
        double rates[GPULET_DEVICE_SIZES_MAX];
        double share = INFINITY; /* of a device, for a request a second */
        assert(type->sizes_count <= GPULET_DEVICE_SIZES_MAX);
        for (uint32_t s = 0; s < type->sizes_count; s++) {
            rates[s] = rate_alone(b, type, s, demand);
            if (rates[s] > 0.0)
                share =
                    fmin(share, (double)weight_of(b, type, s) / weight_whole(b, type) / rates[s]);
        }
        double need = share * demand->rate_rps;
        if (b->single && b->cover != NULL && isfinite(share))
            need =
                fmax(need, least_cover(b, type, rates, demand->rate_rps) / weight_whole(b, type));
        least_devices = fmin(least_devices, need);
        least_cost = fmin(least_cost, need * type->cost);
    }
    *devices += least_devices;
    *cost += least_cost;
    return isfinite(least_devices);
}

/* Both bounds under one way to weigh sizes; false (and *reason_model) when some SLO cannot be met.
 */
static bool sum_models(const bounder_t *b, double *devices, double *cost, size_t *reason_model)
{
    const gpulet_workload_t *workload = b->input->workload;
    *devices = 0.0;
    *cost = 0.0;
    for (size_t i = 0; i < workload->count; i++) {
        if (workload->demands[i].rate_rps <= 0.0)
            continue;
        if (!add_model(b, &workload->demands[i], devices, cost)) {
            if (reason_model != NULL)
                *reason_model = i;
            return false;
        }
    }
    return true;
}

/* Where gpu-lets hold so many models at most, devices hold only so many; 0 when some type has no
 * limit. */
static double devices_for_models(const gpulet_plan_input_t *input)
{
    const gpulet_device_set_t *set = input->devices;
    double most = 0.0; /* models on a device */
    for (uint32_t t = 0; t < set->types_count; t++) {
        const gpulet_device_type_t *type = &set->types[t];
        if (type->models_max == 0)
            return 0.0;
        uint32_t gpulets = type->units / type->sizes[0];
        gpulets = gpulets < type->gpulets_max ? gpulets : type->gpulets_max;
        most = fmax(most, (double)gpulets * (double)type->models_max);
    }
    double models = 0.0;
    for (size_t i = 0; i < input->workload->count; i++)
        models += input->workload->demands[i].rate_rps > 0.0 ? 1.0 : 0.0;
    return most > 0.0 ? models / most : 0.0;
}

/* Up to the next whole number, unless rounding alone put it above. The verifier grants 1e-6, and so
 * does the bound. */
static double round_up(double devices)
{
    return ceil(devices * (1.0 - 2e-6) - 1e-9) + 0.0; /* 0, not -0 */
}

static double *new_loads(void)
{
    double *loads = malloc(LOADS_MAX * sizeof(*loads));
    for (size_t i = 0; loads != NULL && i < LOADS_MAX; i++)
        loads[i] = NAN;
    return loads;
}

double gpulet_plan_bound_resource(const gpulet_plan_input_t *input, double *devices_out,
                                  size_t *reason_model)
{
    const gpulet_device_set_t *set = input->devices;
    /* Both tables only make the bound quicker or better: without memory for them it still holds. */
    bounder_t b = {.input = input,
                   .single = set->types_count == 1 && set->types[0].models_max == 1};
    if (input->rate_percentile > 0.0)
        b.loads = new_loads();
    if (b.single)
        b.cover = malloc((COVER_WEIGHT_MAX + 1) * sizeof(*b.cover));
    double devices = 0.0;
    double cost = 0.0;
    bool possible = sum_models(&b, &devices, &cost, reason_model);
    bool has_slots = false;
    for (uint32_t t = 0; t < set->types_count; t++)
        has_slots = has_slots || set->types[t].slots > 0;
    b.slots = true;
    double slot_devices = 0.0;
    double slot_cost = 0.0;
    if (possible && has_slots)
        possible = sum_models(&b, &slot_devices, &slot_cost, reason_model);
    free(b.loads);
    free(b.cover);
    double whole =
        possible ? round_up(fmax(fmax(devices, slot_devices), devices_for_models(input))) : NAN;
    if (devices_out != NULL)
        *devices_out = whole;
    if (!possible)
        return NAN;
    if (set->types_count == 1)
        return whole * set->types[0].cost;
    double least = INFINITY;
    bool same = true;
    for (uint32_t t = 0; t < set->types_count; t++) {
        least = fmin(least, set->types[t].cost);
        same = same && set->types[t].cost == set->types[0].cost;
    }
    double fluid = fmax(cost, slot_cost) * (1.0 - 2e-6);
    return fmax(whole * least, same ? whole * least : fluid);
}
