/* Comparing packs, and improving one. */
#include <math.h>

#include "plan/fill_internal.h"

enum {
    ROUNDS_MAX = 1000,
    ROUNDS_VAIN_MAX = 400,    /* in a row without a gain, when all is served already */
    ROUNDS_HOPELESS_MAX = 100 /* when the bound says that not all can be served */
};

/* Σ (use of a device)²: the larger, the more the free room is in one place. */
static double concentration(const gpulet_pack_t *pack)
{
    double sum = 0.0;
    for (size_t i = 0; i < pack->count; i++) {
        const gpulet_pack_device_t *d = &pack->devices[i];
        const gpulet_device_type_t *type = pack->ws->types[d->type].type;
        double use = 0.0;
        for (uint32_t k = 0; k < d->count; k++)
            use += gpulet_pack_share(type, d->gpulets[k].size) *
                   (0.75 + 0.25 * fmin(1.0, d->gpulets[k].used));
        sum += type->cost * use * use;
    }
    return sum;
}

int gpulet_fill_compare(const gpulet_pack_t *a, const gpulet_pack_t *b)
{
    double x = gpulet_pack_missing(a);
    double y = gpulet_pack_missing(b);
    if (fabs(x - y) > 1e-9 * (x + y))
        return x < y ? -1 : 1;
    x = gpulet_pack_cost(a);
    y = gpulet_pack_cost(b);
    if (fabs(x - y) > 1e-12 * (x + y))
        return x < y ? -1 : 1;
    if (a->count != b->count)
        return a->count < b->count ? -1 : 1;
    x = concentration(a);
    y = concentration(b);
    if (fabs(x - y) > 1e-9 * (x + y))
        return x > y ? -1 : 1;
    return 0;
}

/* Takes a device out; what it served is added to rates[]. */
static void take_out(gpulet_pack_t *pack, size_t device, double *rates)
{
    const gpulet_pack_device_t *d = &pack->devices[device];
    for (uint32_t k = 0; k < d->count; k++) {
        for (uint32_t j = 0; j < d->gpulets[k].count; j++)
            rates[d->gpulets[k].members[j].model] += d->gpulets[k].members[j].rate_rps;
    }
    gpulet_pack_close(pack, device);
}

/* Policies drawn at random find what a fixed one walks past. */
static gpulet_fill_policy_t draw_policy(gpulet_rng_t *rng, const gpulet_fill_t *fill)
{
    gpulet_fill_policy_t policy = fill->policy;
    policy.size = (gpulet_fill_size_t)gpulet_rng_below(rng, GPULET_FILL_SIZE_WHOLE);
    policy.order = (gpulet_fill_order_t)gpulet_rng_below(rng, GPULET_FILL_ORDER_COUNT);
    policy.merge = true;
    policy.merge_first = gpulet_rng_below(rng, 2) == 0;
    policy.fragment = gpulet_rng_below(rng, 2) == 0;
    return policy;
}

/* Whether the bound, of cost, is above what all devices that there are cost. */
static bool hopeless(const gpulet_pack_t *pack, double cost_bound)
{
    double cost = 0.0;
    for (size_t t = 0; t < pack->ws->types_count; t++) {
        if (pack->devices_max[t] < 0)
            return false;
        cost += (double)pack->devices_max[t] * pack->ws->types[t].type->cost;
    }
    return cost_bound > cost * (1.0 + 1e-9);
}

void gpulet_fill_improve(gpulet_fill_t *fill, gpulet_pack_t *pack, gpulet_pack_t *scratch,
                         uint64_t work_max, double cost_enough)
{
    size_t rounds_max = hopeless(pack, cost_enough) ? ROUNDS_HOPELESS_MAX : ROUNDS_MAX;
    size_t vain = 0;
    gpulet_rng_t rng;
    gpulet_rng_init(&rng, 1); /* fixed: the same input gives the same plan */
    for (size_t round = 0; round < rounds_max && !pack->failed && !scratch->failed; round++) {
        bool complete = gpulet_pack_missing(pack) <= 0.0;
        if (pack->count == 0 || (complete && gpulet_pack_cost(pack) <= cost_enough) ||
            pack->work + scratch->work > work_max || (complete && vain >= ROUNDS_VAIN_MAX))
            return;
        scratch->work += pack->gpulets_count;
        gpulet_pack_copy(scratch, pack);
        for (size_t m = 0; m < fill->ws->models_count; m++) {
            fill->rates[m] = scratch->missing_rps[m];
            scratch->missing_rps[m] = 0.0;
        }
        size_t out = 1 + (size_t)gpulet_rng_below(&rng, 4);
        for (size_t i = 0; i < out && scratch->count > 0; i++)
            take_out(scratch, (size_t)gpulet_rng_below(&rng, scratch->count), fill->rates);
        fill->policy = draw_policy(&rng, fill);
        gpulet_fill_place_rates(fill, scratch, fill->rates);
        vain++;
        if (gpulet_fill_compare(scratch, pack) < 0) {
            vain = 0;
            gpulet_pack_t swap = *pack;
            *pack = *scratch;
            *scratch = swap;
        }
    }
}
