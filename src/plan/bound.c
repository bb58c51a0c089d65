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

/* What sizes are weighed by. */
typedef enum weigh { BY_UNITS, BY_SLOTS, WEIGHS_COUNT } weigh_t;

typedef struct bounder {
    const gpulet_plan_input_t *input;
    double *loads; /* owned; by batch·instances, NAN until asked for; NULL without a percentile */
    bool single;   /* one type whose gpu-lets hold one model each */
    double *cover; /* owned; scratch of least_cover; NULL: not used */
    int weighs;    /* slots differ from units where a type has a placement rule only */
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
static uint32_t weight_of(weigh_t weigh, const gpulet_device_type_t *type, uint32_t size)
{
    return weigh == BY_SLOTS && type->slots > 0 ? type->placements[size].length : type->sizes[size];
}

static double weight_whole(weigh_t weigh, const gpulet_device_type_t *type)
{
    return (double)(weigh == BY_SLOTS && type->slots > 0 ? type->slots : type->units);
}

/* What one model, or all of them, need: by each weighing. */
typedef struct need {
    double devices[WEIGHS_COUNT];
    double cost[WEIGHS_COUNT];
} need_t;

/* The most requests a second that one gpu-let of that size can serve of the model, by its curves
 * there; 0 when the SLO cannot be met. */
static double rate_alone(const bounder_t *b, const gpulet_device_type_t *type, uint32_t size,
                         const gpulet_curves_t *curves, const gpulet_demand_t *demand)
{
    const gpulet_plan_input_t *input = b->input;
    double margin = input->latency_margin > 0.0 ? input->latency_margin : 1.0;
    double slo_ms = demand->slo_ms * (input->slo_fraction > 0.0 ? input->slo_fraction : 1.0);
    double memory_mb = gpulet_device_type_models_mb(type, size);
    double best = 0.0;
    for (size_t i = 0; i < curves->count; i++) {
        const gpulet_curve_t *curve = gpulet_curves_at(curves, i);
        gpulet_curve_walk_t walk = gpulet_curve_walk(curve, input->p99);
        while (gpulet_curve_walk_next(&walk)) {
            double latency_ms = margin * walk.latency_ms;
            if (!(2.0 * latency_ms <= slo_ms) || walk.memory_mb > memory_mb || memory_mb < 0.0)
                continue;
            double rate = 1000.0 * load_of(b, (uint64_t)walk.batch * curve->instances) / latency_ms;
            best = rate > best ? rate : best;
        }
    }
    return best;
}

/* The least sum of weights of gpu-lets that serve rate_rps, or 0 when it is beyond the table. */
static double least_cover(const bounder_t *b, weigh_t weigh, const gpulet_device_type_t *type,
                          const double *rates, double rate_rps)
{
    b->cover[0] = 0.0;
    for (uint32_t w = 1; w <= COVER_WEIGHT_MAX; w++) {
        double most = b->cover[w - 1];
        for (uint32_t s = 0; s < type->sizes_count; s++) {
            uint32_t weight = weight_of(weigh, type, s);
            if (weight <= w && b->cover[w - weight] + rates[s] > most)
                most = b->cover[w - weight] + rates[s];
        }
        b->cover[w] = most;
        if (most >= rate_rps * (1.0 - 1e-6))
            return (double)w;
    }
    return 0.0;
}

/* Devices of one type that a model needs at least, INFINITY when no size can meet its SLO. */
static double need_of_type(const bounder_t *b, weigh_t weigh, const gpulet_device_type_t *type,
                           const double *rates, double rate_rps)
{
    double share = INFINITY; /* of a device, for a request a second */
    double whole = weight_whole(weigh, type);
    for (uint32_t s = 0; s < type->sizes_count; s++) {
        if (rates[s] > 0.0)
            share = fmin(share, (double)weight_of(weigh, type, s) / whole / rates[s]);
    }
    double need = share * rate_rps;
    if (b->single && b->cover != NULL && isfinite(share))
        need = fmax(need, least_cover(b, weigh, type, rates, rate_rps) / whole);
    return need;
}

/* Adds what one model needs; false when no size can meet its SLO. */
static bool add_model(need_t *sum, const bounder_t *b, const gpulet_demand_t *demand)
{
    const gpulet_device_set_t *set = b->input->devices;
    need_t least = {{INFINITY, INFINITY}, {INFINITY, INFINITY}};
    for (uint32_t t = 0; t < set->types_count; t++) {
        const gpulet_device_type_t *type = &set->types[t];
        double rates[GPULET_DEVICE_SIZES_MAX];
        assert(type->sizes_count <= GPULET_DEVICE_SIZES_MAX);
        gpulet_curves_t rest = gpulet_curves_find(b->input->profile, type->name, demand->model);
        for (uint32_t s = 0; s < type->sizes_count; s++) {
            gpulet_curves_t curves = gpulet_curves_take(&rest, type->sizes[s]);
            rates[s] = rate_alone(b, type, s, &curves, demand);
        }
        for (int w = 0; w < b->weighs; w++) {
            double need = need_of_type(b, (weigh_t)w, type, rates, demand->rate_rps);
            least.devices[w] = fmin(least.devices[w], need);
            least.cost[w] = fmin(least.cost[w], need * type->cost);
        }
    }
    for (int w = 0; w < b->weighs; w++) {
        sum->devices[w] += least.devices[w];
        sum->cost[w] += least.cost[w];
    }
    return isfinite(least.devices[BY_UNITS]);
}

/* False (and *reason_model) when some SLO cannot be met. */
static bool sum_models(need_t *sum, const bounder_t *b, size_t *reason_model)
{
    const gpulet_workload_t *workload = b->input->workload;
    for (size_t i = 0; i < workload->count; i++) {
        if (workload->demands[i].rate_rps <= 0.0)
            continue;
        if (!add_model(sum, b, &workload->demands[i])) {
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
                   .single = set->types_count == 1 && set->types[0].models_max == 1,
                   .weighs = BY_UNITS + 1};
    for (uint32_t t = 0; t < set->types_count; t++)
        b.weighs = set->types[t].slots > 0 ? WEIGHS_COUNT : b.weighs;
    if (input->rate_percentile > 0.0)
        b.loads = new_loads();
    if (b.single)
        b.cover = malloc((COVER_WEIGHT_MAX + 1) * sizeof(*b.cover));
    need_t sum = {{0.0}, {0.0}};
    bool possible = sum_models(&sum, &b, reason_model);
    free(b.loads);
    free(b.cover);
    double most = fmax(sum.devices[BY_UNITS], sum.devices[BY_SLOTS]);
    double whole = possible ? round_up(fmax(most, devices_for_models(input))) : NAN;
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
    double fluid = fmax(sum.cost[BY_UNITS], sum.cost[BY_SLOTS]) * (1.0 - 2e-6);
    return fmax(whole * least, same ? whole * least : fluid);
}
