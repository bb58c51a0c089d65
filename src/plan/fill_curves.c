/* What is known of a model before any pass, and the size of its next gpu-let. */
#include <math.h>

#include "plan/fill_internal.h"

enum { COVER_SIZES_MAX = 32, COVER_UNITS_MAX = 1024 };

static size_t most_efficient(const gpulet_device_type_t *type, const gpulet_fill_curve_t *curve)
{
    size_t best = 0;
    double best_rate = 0.0;
    for (size_t i = 0; i < curve->count; i++) {
        double rate = curve->points[i].rate_rps / gpulet_pack_share(type, curve->sizes[i]);
        if (rate > best_rate * (1.0 + 1e-9)) {
            best = i;
            best_rate = rate;
        }
    }
    return best;
}

/* The point of the half of a device; count where the model's SLO cannot be met there. */
static size_t half_point(const gpulet_device_type_t *type, const gpulet_fill_curve_t *curve)
{
    uint32_t half = type->sizes_count;
    for (uint32_t s = 0; s < type->sizes_count; s++) {
        uint32_t both[2] = {s, s};
        if (gpulet_placement_find(type, both, 2, NULL))
            half = s;
    }
    uint32_t wanted = half < type->sizes_count ? half : type->sizes_count - 1;
    for (size_t i = 0; i < curve->count; i++) {
        if (curve->sizes[i] == wanted)
            return i;
    }
    return curve->count;
}

static void set_curve(gpulet_fill_t *fill, size_t model, size_t type)
{
    const gpulet_workspace_t *ws = fill->ws;
    size_t at = model * ws->sizes_total + ws->types[type].offset;
    gpulet_fill_curve_t *curve = &fill->curves[model * ws->types_count + type];
    curve->points = fill->points + at;
    curve->sizes = fill->sizes + at;
    curve->count = gpulet_workspace_rate_curve(ws, model, type, curve->points, curve->sizes);
    if (curve->count == 0)
        return;
    size_t efficient = most_efficient(ws->types[type].type, curve);
    curve->knee[GPULET_FILL_SIZE_KNEE] =
        gpulet_knee_find(curve->points, curve->count, GPULET_KNEE_CURVATURE);
    curve->knee[GPULET_FILL_SIZE_GAIN] =
        gpulet_knee_find(curve->points, curve->count, GPULET_KNEE_GAIN);
    curve->knee[GPULET_FILL_SIZE_EFFICIENT] = efficient;
    curve->knee[GPULET_FILL_SIZE_COVER] = efficient;
    curve->knee[GPULET_FILL_SIZE_WHOLE] = curve->count - 1;
    curve->knee[GPULET_FILL_SIZE_HALF] = half_point(ws->types[type].type, curve);
    curve->knee[GPULET_FILL_SIZE_REQUIRED] = curve->count - 1;
}

/* Cost of a request a second on a type, when its devices are filled perfectly. */
static double fluid_cost(const gpulet_fill_t *fill, size_t model, size_t type)
{
    const gpulet_fill_curve_t *curve = gpulet_fill_curve(fill, model, type);
    if (curve->count == 0)
        return INFINITY;
    const gpulet_device_type_t *dt = fill->ws->types[type].type;
    size_t best = curve->knee[GPULET_FILL_SIZE_EFFICIENT];
    return dt->cost * gpulet_pack_share(dt, curve->sizes[best]) / curve->points[best].rate_rps;
}

void gpulet_fill_set_model(gpulet_fill_t *fill, size_t model)
{
    const gpulet_workspace_t *ws = fill->ws;
    uint32_t *order = fill->type_order + model * ws->types_count;
    for (size_t t = 0; t < ws->types_count; t++) {
        set_curve(fill, model, t);
        double cost = fluid_cost(fill, model, t);
        size_t k = t;
        for (; k > 0 && fluid_cost(fill, model, order[k - 1]) > cost; k--)
            order[k] = order[k - 1];
        order[k] = (uint32_t)t;
    }
    double cost = ws->types_count > 0 ? fluid_cost(fill, model, order[0]) : INFINITY;
    fill->load[model] = isfinite(cost) ? ws->models[model].rate_rps * cost : 0.0;
}

/* ---- the size of the next gpu-let ---- */

/* The least units that cover rate_rps, and of the sizes used the largest; count when the table is
 * too small. */
static size_t cover_size(const gpulet_fill_curve_t *curve, double rate_rps)
{
    double best[COVER_UNITS_MAX + 1];
    uint16_t last[COVER_UNITS_MAX + 1];
    best[0] = 0.0;
    for (uint32_t u = 1; u <= COVER_UNITS_MAX; u++) {
        best[u] = 0.0;
        last[u] = UINT16_MAX;
        for (size_t i = 0; i < curve->count && curve->points[i].units <= u; i++) {
            double rate = best[u - curve->points[i].units] + curve->points[i].rate_rps;
            if (rate >= best[u] * (1.0 + 1e-12)) { /* larger sizes win ties: fewer gpu-lets */
                best[u] = rate;
                last[u] = (uint16_t)i;
            }
        }
        if (best[u] < rate_rps * (1.0 - GPULET_FILL_CRUMB))
            continue;
        size_t largest = 0;
        for (uint32_t left = u; left > 0 && last[left] != UINT16_MAX;
             left -= curve->points[last[left]].units)
            largest = last[left] > largest ? last[left] : largest;
        return largest;
    }
    return curve->count;
}

bool gpulet_fill_fixed_size(const gpulet_fill_policy_t *policy)
{
    return policy->size == GPULET_FILL_SIZE_WHOLE || policy->size == GPULET_FILL_SIZE_HALF;
}

size_t gpulet_fill_ideal_point(const gpulet_fill_t *fill, const gpulet_fill_curve_t *curve,
                               double rate_rps)
{
    size_t knee = curve->knee[fill->policy.size];
    if (gpulet_fill_fixed_size(&fill->policy))
        return knee;
    if (fill->policy.size == GPULET_FILL_SIZE_COVER && curve->count <= COVER_SIZES_MAX &&
        rate_rps < 4.0 * curve->points[knee].rate_rps) {
        size_t point = cover_size(curve, rate_rps);
        if (point < curve->count)
            return point;
    }
    return gpulet_knee_ideal(curve->points, curve->count, knee, rate_rps);
}
