/* From a pack to a plan: spare capacity, routing, and the figures of docs/formats.md. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan/pack.h"

enum { SPREAD_STEPS = 8 };

/* ---- spare capacity ---- */

void gpulet_pack_spread(gpulet_pack_t *pack)
{
    for (size_t d = 0; d < pack->count; d++) {
        for (uint32_t g = 0; g < pack->devices[d].count; g++) {
            double used = pack->devices[d].gpulets[g].used;
            if (!(used > 0.0 && used < 1.0) || gpulet_pack_try_scale(pack, d, g, 1.0 / used))
                continue;
            double most = log(1.0 / used);
            double done = 0.0; /* log of the factor applied so far */
            for (int step = 0; step < SPREAD_STEPS && most - done > 0.01; step++) {
                double next = 0.5 * (done + most);
                if (gpulet_pack_try_scale(pack, d, g, exp(next - done)))
                    done = next;
                else
                    most = next;
            }
        }
    }
}

/* ---- the plan ---- */

static const gpulet_choice_t *choice_of(const gpulet_pack_t *pack, const gpulet_pack_device_t *d,
                                        const gpulet_pack_gpulet_t *g, uint32_t member)
{
    const gpulet_pack_member_t *m = &g->members[member];
    return &gpulet_workspace_choices(pack->ws, m->model, d->type, g->size)->items[m->choice];
}

/* Rates are routed in proportion to what each share holds, so that none is loaded more than
 * another; where the network of a device is limited, in proportion to the rates that it was checked
 * with. */
static bool routed_as_placed(const gpulet_pack_t *pack)
{
    bool limited = false;
    for (size_t t = 0; t < pack->ws->types_count; t++)
        limited = limited || pack->ws->types[t].type->network_gbps > 0.0;
    return limited;
}

static double weight_of(const gpulet_pack_t *pack, const gpulet_pack_device_t *d,
                        const gpulet_pack_gpulet_t *g, uint32_t member)
{
    if (routed_as_placed(pack))
        return g->members[member].rate_rps;
    return choice_of(pack, d, g, member)->load * 1000.0 / g->duty_ms;
}

/* What each model's shares hold together, in requests a second. */
static void sum_held(double *held_rps, const gpulet_pack_t *pack)
{
    for (size_t i = 0; i < pack->count; i++) {
        const gpulet_pack_device_t *d = &pack->devices[i];
        for (uint32_t k = 0; k < d->count; k++) {
            const gpulet_pack_gpulet_t *g = &d->gpulets[k];
            for (uint32_t j = 0; j < g->count; j++)
                held_rps[g->members[j].model] += weight_of(pack, d, g, j);
        }
    }
}

static double pressure_beside(const gpulet_pack_device_t *d, uint32_t self)
{
    double highest = -INFINITY;
    for (uint32_t i = 0; i < d->count; i++) {
        if (i != self)
            highest = fmax(highest, d->gpulets[i].pressure);
    }
    return highest;
}

typedef struct writer {
    const gpulet_pack_t *pack;
    const double *held_rps;
    double *capacity_rps; /* by model */
} writer_t;

static gpulet_status_t write_gpulet(gpulet_plan_gpulet_t *out, const writer_t *w,
                                    const gpulet_pack_device_t *d, uint32_t index)
{
    const gpulet_workspace_t *ws = w->pack->ws;
    const gpulet_pack_gpulet_t *g = &d->gpulets[index];
    /* Solved for a pressure that may since have fallen: the true one is used for the figures, which
     * only makes them better. */
    double beside = ws->types[d->type].row != NULL ? pressure_beside(d, index) : -INFINITY;
    out->units = ws->types[d->type].type->sizes[g->size];
    out->duty_ms = g->duty_ms;
    for (uint32_t j = 0; j < g->count; j++) {
        const gpulet_choice_t *o = choice_of(w->pack, d, g, j);
        uint32_t m = g->members[j].model;
        gpulet_plan_share_t *share = gpulet_plan_add_share(out);
        if (share == NULL)
            return GPULET_E_NOMEM;
        snprintf(share->model, sizeof(share->model), "%s", ws->models[m].demand->model);
        share->batch = o->batch;
        share->instances = o->instances;
        share->interference = gpulet_choice_factor(o, beside);
        share->latency_ms = gpulet_choice_latency_ms(o, beside);
        share->worst_ms = out->duty_ms + share->latency_ms;
        share->capacity_rps = (double)o->instances * (double)o->batch * 1000.0 / out->duty_ms;
        double holds_rps = weight_of(w->pack, d, g, j);
        share->rate_rps = holds_rps * fmin(1.0, ws->models[m].rate_rps / w->held_rps[m]);
        w->capacity_rps[m] += share->capacity_rps;
    }
    return GPULET_OK;
}

static gpulet_status_t write_device(gpulet_plan_t *plan, const writer_t *w,
                                    const gpulet_pack_device_t *d, uint32_t index)
{
    const gpulet_device_type_t *type = w->pack->ws->types[d->type].type;
    gpulet_plan_device_t *out = gpulet_plan_add_device(plan);
    uint32_t *sizes = calloc(d->count + 1, sizeof(*sizes));
    int32_t *slots = calloc(d->count + 1, sizeof(*slots));
    gpulet_status_t st = out != NULL && sizes != NULL && slots != NULL ? GPULET_OK : GPULET_E_NOMEM;
    if (st != GPULET_OK)
        goto done;
    snprintf(out->type, sizeof(out->type), "%s", type->name);
    out->index = index;
    uint32_t count = 0;
    for (uint32_t i = 0; i < d->count; i++) {
        if (d->gpulets[i].count > 0)
            sizes[count++] = d->gpulets[i].size;
    }
    if (!gpulet_placement_find(type, sizes, count, slots)) {
        st = GPULET_E_INTERNAL;
        goto done;
    }
    count = 0;
    for (uint32_t i = 0; i < d->count && st == GPULET_OK; i++) {
        if (d->gpulets[i].count == 0)
            continue;
        gpulet_plan_gpulet_t *g = gpulet_plan_add_gpulet(out);
        if (g == NULL) {
            st = GPULET_E_NOMEM;
            break;
        }
        g->slot = slots[count++];
        st = write_gpulet(g, w, d, i);
    }
done:
    free(sizes);
    free(slots);
    return st;
}

static bool holds_any(const gpulet_pack_device_t *d)
{
    for (uint32_t i = 0; i < d->count; i++) {
        if (d->gpulets[i].count > 0)
            return true;
    }
    return false;
}

static gpulet_status_t write_devices(gpulet_plan_t *plan, const writer_t *w)
{
    const gpulet_pack_t *pack = w->pack;
    for (size_t t = 0; t < pack->ws->types_count; t++) {
        uint32_t index = 0;
        for (size_t i = 0; i < pack->count; i++) {
            if (pack->devices[i].type != t || !holds_any(&pack->devices[i]))
                continue;
            gpulet_status_t st = write_device(plan, w, &pack->devices[i], index++);
            if (st != GPULET_OK)
                return st;
        }
    }
    return GPULET_OK;
}

static gpulet_status_t write_models(gpulet_plan_t *plan, const writer_t *w)
{
    const gpulet_workspace_t *ws = w->pack->ws;
    plan->feasible = true;
    for (size_t m = 0; m < ws->models_count; m++) {
        const gpulet_demand_t *demand = ws->models[m].demand;
        gpulet_plan_model_t *out = gpulet_plan_add_model(plan);
        if (out == NULL)
            return GPULET_E_NOMEM;
        snprintf(out->model, sizeof(out->model), "%s", demand->model);
        out->rate_rps = demand->rate_rps;
        out->slo_ms = demand->slo_ms;
        out->capacity_rps = w->capacity_rps[m];
        if (w->held_rps[m] < demand->rate_rps * (1.0 - 1e-7))
            plan->feasible = false;
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_pack_emit(gpulet_plan_t **out, const gpulet_pack_t *pack)
{
    size_t count = pack->ws->models_count;
    double *figures = calloc(2 * count + 1, sizeof(*figures));
    gpulet_plan_t *plan = NULL;
    gpulet_status_t st =
        pack->failed || figures == NULL ? GPULET_E_NOMEM : gpulet_plan_create(&plan);
    if (st != GPULET_OK)
        goto fail;
    writer_t writer = {pack, figures, figures + count};
    sum_held(figures, pack);
    if ((st = write_devices(plan, &writer)) != GPULET_OK ||
        (st = write_models(plan, &writer)) != GPULET_OK)
        goto fail;
    free(figures);
    *out = plan;
    return GPULET_OK;
fail:
    free(figures);
    gpulet_plan_destroy(plan);
    return st;
}
