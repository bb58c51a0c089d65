#include "plan/reach.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/plan_movement.h"

static bool holds(const gpulet_plan_gpulet_t *g, const char *model)
{
    for (size_t i = 0; i < g->shares_count; i++) {
        if (strcmp(g->shares[i].model, model) == 0)
            return true;
    }
    return false;
}

static double share_mb(const gpulet_plan_input_t *input, const char *device, uint32_t units,
                       const gpulet_plan_share_t *share)
{
    const gpulet_curve_t *curve =
        gpulet_profile_curve(input->profile, device, share->model, units, share->instances);
    double mb = curve != NULL ? gpulet_curve_memory_mb(curve, share->batch) : NAN;
    return isnan(mb) ? 0 : mb;
}

static double gpulet_mb(const gpulet_plan_input_t *input, const gpulet_device_type_t *type,
                        const gpulet_plan_gpulet_t *g)
{
    double mb = type->memory_mb_process;
    for (size_t i = 0; i < g->shares_count; i++)
        mb += share_mb(input, type->name, g->units, &g->shares[i]);
    return mb;
}

/* One device of both plans; either may be NULL. */
typedef struct pair {
    const gpulet_plan_device_t *from;
    const gpulet_plan_device_t *to;
    size_t *from_of; /* which of from's each of to's goes on from */
    bool crowded;    /* no room for both */
} pair_t;

static bool goes_on(const pair_t *p, size_t from)
{
    for (size_t i = 0; p->to != NULL && i < p->to->gpulets_count; i++) {
        if (p->from_of[i] == from)
            return true;
    }
    return false;
}

static bool is_crowded(const pair_t *p, const gpulet_plan_input_t *input)
{
    const char *name = p->to != NULL ? p->to->type : p->from->type;
    int t = gpulet_device_set_find(input->devices, name);
    if (t < 0 || p->to == NULL || p->from == NULL)
        return false;
    const gpulet_device_type_t *type = &input->devices->types[t];
    double mb = 0;
    uint64_t units = 0;
    for (size_t i = 0; i < p->from->gpulets_count; i++) {
        mb += gpulet_mb(input, type, &p->from->gpulets[i]);
        units += p->from->gpulets[i].units;
    }
    for (size_t i = 0; i < p->to->gpulets_count; i++) {
        const gpulet_plan_gpulet_t *g = &p->to->gpulets[i];
        if (p->from_of[i] == SIZE_MAX) {
            mb += gpulet_mb(input, type, g);
            units += g->units;
            continue;
        }
        for (size_t k = 0; k < g->shares_count; k++) {
            if (!holds(&p->from->gpulets[p->from_of[i]], g->shares[k].model))
                mb += share_mb(input, type->name, g->units, &g->shares[k]);
        }
    }
    if ((type->isolated || type->slots > 0) && units > type->units)
        return true;
    return type->memory_mb_by_size == NULL && mb > type->memory_mb;
}

/* Some gpu-let serves the model all the while: one that goes on with it, or one that can be started
 * before anything has to go. */
static bool is_covered(const pair_t *pairs, size_t count, const char *model)
{
    for (size_t p = 0; p < count; p++) {
        for (size_t i = 0; pairs[p].from != NULL && i < pairs[p].from->gpulets_count; i++) {
            if (holds(&pairs[p].from->gpulets[i], model) &&
                (!pairs[p].crowded || goes_on(&pairs[p], i)))
                return true;
        }
        for (size_t i = 0; pairs[p].to != NULL && i < pairs[p].to->gpulets_count; i++) {
            if (holds(&pairs[p].to->gpulets[i], model) &&
                (!pairs[p].crowded || (pairs[p].from_of[i] != SIZE_MAX &&
                                       holds(&pairs[p].from->gpulets[pairs[p].from_of[i]], model))))
                return true;
        }
    }
    return false;
}

static const gpulet_plan_device_t *find_device(const gpulet_plan_t *plan,
                                               const gpulet_plan_device_t *like)
{
    for (size_t i = 0; i < plan->devices_count; i++) {
        if (plan->devices[i].index == like->index && strcmp(plan->devices[i].type, like->type) == 0)
            return &plan->devices[i];
    }
    return NULL;
}

static gpulet_status_t make_pairs(pair_t *pairs, size_t *count, const gpulet_plan_t *from,
                                  const gpulet_plan_t *to, const gpulet_plan_input_t *input)
{
    static const gpulet_plan_device_t nothing;
    for (size_t i = 0; i < to->devices_count; i++) {
        pair_t *p = &pairs[*count];
        *p = (pair_t){.from = find_device(from, &to->devices[i]), .to = &to->devices[i]};
        p->from_of = calloc(p->to->gpulets_count + 1, sizeof(*p->from_of));
        if (p->from_of == NULL)
            return GPULET_E_NOMEM;
        (*count)++;
        gpulet_plan_device_match(p->from_of, p->from != NULL ? p->from : &nothing, p->to);
        p->crowded = is_crowded(p, input);
    }
    for (size_t i = 0; i < from->devices_count; i++) {
        if (find_device(to, &from->devices[i]) == NULL)
            pairs[(*count)++] = (pair_t){.from = &from->devices[i]};
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_plan_reach_gap(double *out_rps, const gpulet_plan_t *from,
                                      const gpulet_plan_t *to, const gpulet_plan_input_t *input)
{
    size_t count = 0;
    double gap = 0;
    pair_t *pairs = calloc(from->devices_count + to->devices_count + 1, sizeof(*pairs));
    gpulet_status_t st =
        pairs != NULL ? make_pairs(pairs, &count, from, to, input) : GPULET_E_NOMEM;
    for (size_t i = 0; i < input->workload->count && st == GPULET_OK; i++) {
        const gpulet_demand_t *demand = &input->workload->demands[i];
        bool served = false;
        for (size_t p = 0; p < count && !served; p++) {
            for (size_t k = 0; pairs[p].from != NULL && k < pairs[p].from->gpulets_count; k++)
                served = served || holds(&pairs[p].from->gpulets[k], demand->model);
        }
        if (served && !is_covered(pairs, count, demand->model))
            gap += demand->rate_rps;
    }
    for (size_t p = 0; p < count; p++)
        free(pairs[p].from_of);
    free(pairs);
    if (st == GPULET_OK)
        *out_rps = gap;
    return st;
}
