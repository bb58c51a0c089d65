/* New gpu-lets, gpu-lets that are cut already, and the order in which all ways of placing a rate
 * are tried. */
#include <math.h>

#include "plan/fill_internal.h"

enum { PLACE_STEPS_MAX = 200000 };

/* A gpu-let of that size on the device for at most rate_rps; neighbours that would suffer make it
 * take less. The rate placed. */
static double new_on(gpulet_pack_t *pack, size_t device, uint32_t size, uint32_t model,
                     double rate_rps)
{
    const gpulet_workspace_t *ws = pack->ws;
    size_t type = pack->devices[device].type;
    double most = fmin(gpulet_workspace_choices(ws, model, type, size)->rate_rps,
                       gpulet_pack_network_rps(pack, device, size, model));
    double rate = fmin(rate_rps, most);
    if (rate <= GPULET_FILL_CRUMB * rate_rps)
        return 0.0;
    if (gpulet_pack_try_new(pack, device, size, model, rate))
        return rate;
    if (ws->types[type].row == NULL || pack->devices[device].count == 0)
        return 0.0;
    for (int i = 9; i >= 3; i -= 2) {
        double less = fmin(rate_rps, most * (double)i / 10.0);
        if (less < rate && gpulet_pack_try_new(pack, device, size, model, less))
            return less;
    }
    return 0.0;
}

/* The size that a new gpu-let gets: larger where it is the last that the device may have. */
static uint32_t size_on(const gpulet_fill_t *fill, const gpulet_pack_device_t *d, uint32_t size)
{
    const gpulet_device_type_t *dt = fill->ws->types[d->type].type;
    if (!fill->policy.grow_last || d->count + 1 < dt->gpulets_max)
        return size;
    while (size + 1 < dt->sizes_count && d->units_used + dt->sizes[size + 1] <= dt->units)
        size++;
    return size;
}

/* Best fit: the open device of the type that is left with least. */
static double new_on_open(gpulet_fill_t *fill, gpulet_pack_t *pack, size_t type, uint32_t size,
                          uint32_t model, double rate_rps)
{
    const gpulet_device_type_t *dt = fill->ws->types[type].type;
    size_t count = 0;
    pack->work += pack->count / 8;
    for (size_t i = 0; i < pack->count; i++) {
        const gpulet_pack_device_t *d = &pack->devices[i];
        if (d->type != type || d->units_used + dt->sizes[size] > dt->units ||
            d->count >= dt->gpulets_max)
            continue;
        double left = (double)(dt->units - d->units_used - dt->sizes[size]);
        if (!gpulet_fill_rank(fill, pack, count, (gpulet_fill_ranked_t){left, (uint32_t)i, 0}))
            return 0.0;
        count++;
    }
    gpulet_fill_sort(fill->ranked, count);
    for (size_t i = 0; i < count && i < GPULET_FILL_HOSTS_MAX; i++) {
        size_t device = fill->ranked[i].a;
        uint32_t grown = size_on(fill, &pack->devices[device], size);
        double got = new_on(pack, device, grown, model, rate_rps);
        if (got <= 0.0 && grown != size)
            got = new_on(pack, device, size, model, rate_rps);
        if (got > 0.0)
            return got;
    }
    return 0.0;
}

static double split_open(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model, double rate_rps)
{
    const uint32_t *order = fill->type_order + model * fill->ws->types_count;
    for (size_t i = 0; i < fill->ws->types_count; i++) {
        const gpulet_fill_curve_t *curve = gpulet_fill_curve(fill, model, order[i]);
        size_t point = curve->count > 0 ? gpulet_fill_ideal_point(fill, curve, rate_rps) : 0;
        if (point >= curve->count)
            continue;
        double got = new_on_open(fill, pack, order[i], curve->sizes[point], model, rate_rps);
        if (got > 0.0)
            return got;
    }
    return 0.0;
}

static double split_new(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model, double rate_rps)
{
    const uint32_t *order = fill->type_order + model * fill->ws->types_count;
    for (size_t i = 0; i < fill->ws->types_count; i++) {
        const gpulet_fill_curve_t *curve = gpulet_fill_curve(fill, model, order[i]);
        size_t point = curve->count > 0 ? gpulet_fill_ideal_point(fill, curve, rate_rps) : 0;
        size_t device = point < curve->count ? gpulet_pack_open(pack, order[i]) : SIZE_MAX;
        if (device == SIZE_MAX)
            continue;
        double got = new_on(pack, device, curve->sizes[point], model, rate_rps);
        if (got > 0.0)
            return got;
        gpulet_pack_close(pack, device);
    }
    return 0.0;
}

/* Any size that still fits somewhere, most rate first. */
static double split_any(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model, double rate_rps)
{
    const uint32_t *order = fill->type_order + model * fill->ws->types_count;
    for (size_t i = 0; i < fill->ws->types_count; i++) {
        const gpulet_fill_curve_t *curve = gpulet_fill_curve(fill, model, order[i]);
        size_t first = gpulet_knee_required(curve->points, curve->count, rate_rps);
        for (size_t p = first; p < curve->count; p++) {
            double got = new_on_open(fill, pack, order[i], curve->sizes[p], model, rate_rps);
            if (got > 0.0)
                return got;
        }
        for (size_t p = first; p > 0; p--) {
            double got = new_on_open(fill, pack, order[i], curve->sizes[p - 1], model, rate_rps);
            if (got > 0.0)
                return got;
        }
    }
    return 0.0;
}

double gpulet_fill_new(gpulet_fill_t *fill, gpulet_pack_t *pack, size_t type, uint32_t size,
                       uint32_t model, double rate_rps)
{
    double got = new_on_open(fill, pack, type, size, model, rate_rps);
    size_t device = got > 0.0 ? SIZE_MAX : gpulet_pack_open(pack, type);
    if (device == SIZE_MAX)
        return got;
    got = new_on(pack, device, size, model, rate_rps);
    if (got <= 0.0)
        gpulet_pack_close(pack, device);
    return got;
}

/* ---- gpu-lets that are cut already and empty ---- */

/* Fills an empty gpu-let with at most rate_rps; neighbours that would suffer make it take less. */
static double fill_empty(gpulet_pack_t *pack, const gpulet_fill_ranked_t *at, uint32_t model,
                         double rate_rps)
{
    const gpulet_pack_device_t *d = &pack->devices[at->a];
    uint32_t size = d->gpulets[at->b].size;
    double most = fmin(gpulet_workspace_choices(pack->ws, model, d->type, size)->rate_rps,
                       gpulet_pack_network_rps(pack, at->a, size, model));
    double rate = fmin(rate_rps, most);
    if (rate <= GPULET_FILL_CRUMB * rate_rps)
        return 0.0;
    if (gpulet_pack_try_add(pack, at->a, at->b, size, model, rate))
        return rate;
    for (int i = 9; i >= 3 && pack->ws->types[d->type].row != NULL; i -= 2) {
        double less = fmin(rate_rps, most * (double)i / 10.0);
        if (less < rate && gpulet_pack_try_add(pack, at->a, at->b, size, model, less))
            return less;
    }
    return 0.0;
}

/* Best fit: the smallest empty gpu-let of at least the ideal size (large), or the largest one below
 * it; the cheapest type first. */
static double place_empty(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model, double rate_rps,
                          bool large)
{
    const gpulet_workspace_t *ws = fill->ws;
    size_t count = 0;
    for (size_t i = 0; i < pack->count; i++) {
        const gpulet_pack_device_t *d = &pack->devices[i];
        const gpulet_device_type_t *type = ws->types[d->type].type;
        const gpulet_fill_curve_t *curve = gpulet_fill_curve(fill, model, d->type);
        size_t point = curve->count > 0 ? gpulet_fill_ideal_point(fill, curve, rate_rps) : 0;
        pack->work += 1 + d->count / 4;
        for (uint32_t k = 0; point < curve->count && k < d->count; k++) {
            const gpulet_pack_gpulet_t *g = &d->gpulets[k];
            if (g->count > 0 || (g->size >= curve->sizes[point]) != large ||
                gpulet_workspace_choices(ws, model, d->type, g->size)->count == 0)
                continue;
            double share = gpulet_pack_share(type, g->size);
            if (!gpulet_fill_rank(fill, pack, count,
                                  (gpulet_fill_ranked_t){large ? share : -share, (uint32_t)i, k}))
                return 0.0;
            count++;
        }
    }
    gpulet_fill_sort(fill->ranked, count);
    for (size_t i = 0; i < count && i < GPULET_FILL_HOSTS_MAX; i++) {
        double got = fill_empty(pack, &fill->ranked[i], model, rate_rps);
        if (got > 0.0)
            return got;
    }
    return 0.0;
}

static double place_step_precut(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model,
                                double rate_rps)
{
    const gpulet_fill_policy_t *policy = &fill->policy;
    double got = 0.0;
    pack->work += 8;
    if (policy->merge_first && gpulet_fill_merge_whole(fill, pack, model, rate_rps))
        return rate_rps;
    if ((got = place_empty(fill, pack, model, rate_rps, true)) > 0.0)
        return got;
    if (!policy->merge_first && gpulet_fill_merge_whole(fill, pack, model, rate_rps))
        return rate_rps;
    if ((got = place_empty(fill, pack, model, rate_rps, false)) > 0.0)
        return got;
    return gpulet_fill_merge_part(fill, pack, model, rate_rps);
}

/* ---- one model's rate ---- */

/* One step: the rate placed, 0 when nothing more fits. */
static double place_step(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model, double rate_rps)
{
    const gpulet_fill_policy_t *policy = &fill->policy;
    bool whole = policy->size == GPULET_FILL_SIZE_WHOLE;
    bool fixed = gpulet_fill_fixed_size(policy) || policy->strict;
    double got = 0.0;
    pack->work += 8;
    if (policy->merge && policy->merge_first &&
        gpulet_fill_merge_whole(fill, pack, model, rate_rps))
        return rate_rps;
    if (policy->spread && (got = split_new(fill, pack, model, rate_rps)) > 0.0)
        return got;
    if (!whole && (got = split_open(fill, pack, model, rate_rps)) > 0.0)
        return got;
    if (policy->merge && !policy->merge_first &&
        gpulet_fill_merge_whole(fill, pack, model, rate_rps))
        return rate_rps;
    if (!fixed && policy->merge && gpulet_fill_grow_whole(fill, pack, model, rate_rps))
        return rate_rps;
    if (!fixed && policy->fragment && (got = split_any(fill, pack, model, rate_rps)) > 0.0)
        return got;
    if ((got = split_new(fill, pack, model, rate_rps)) > 0.0)
        return got;
    if (!fixed && !policy->fragment && (got = split_any(fill, pack, model, rate_rps)) > 0.0)
        return got;
    return policy->merge ? gpulet_fill_merge_part(fill, pack, model, rate_rps) : 0.0;
}

void gpulet_fill_place_rate(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model,
                            double rate_rps)
{
    double crumb = GPULET_FILL_CRUMB * fill->ws->models[model].rate_rps;
    double left = rate_rps;
    /* Devices only fill up: where nothing of a model fitted before, nothing will. */
    if (pack->missing_rps[model] > 0.0) {
        pack->missing_rps[model] += rate_rps;
        return;
    }
    crumb = fmax(crumb, fill->slack_rps);
    for (int step = 0; step < PLACE_STEPS_MAX && left > crumb && !pack->failed; step++) {
        double got = fill->policy.precut ? place_step_precut(fill, pack, model, left)
                                         : place_step(fill, pack, model, left);
        if (got <= 0.0)
            break;
        left -= got;
    }
    if (left > crumb)
        pack->missing_rps[model] += left;
}
