#include "plan/knee.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

size_t gpulet_rate_curve(gpulet_rate_point_t *points, const gpulet_profile_t *profile,
                         const gpulet_device_type_t *type, const char *model,
                         const gpulet_rate_curve_options_t *options)
{
    double margin = options->latency_margin > 0.0 ? options->latency_margin : 1.0;
    uint32_t instances = options->instances > 0 ? options->instances : 1;
    size_t count = 0;
    for (uint32_t s = 0; s < type->sizes_count; s++) {
        const gpulet_curve_t *curve =
            gpulet_profile_curve(profile, type->name, model, type->sizes[s], instances);
        if (curve == NULL)
            continue;
        for (uint32_t b = gpulet_curve_batch_max(curve);
             b >= gpulet_curve_batch_min(curve) && b > 0; b--) {
            double latency_ms = margin * gpulet_curve_latency_ms(curve, b, options->p99);
            if (!(2.0 * latency_ms <= options->slo_ms))
                continue;
            points[count++] =
                (gpulet_rate_point_t){type->sizes[s], b, instances, latency_ms,
                                      1000.0 * (double)instances * (double)b / latency_ms};
            break;
        }
    }
    return count;
}

/* How sharply the curve bends down at points[i]; 0 or less where it bends up. */
static double curvature_at(const gpulet_rate_point_t *points, size_t i, double units_scale,
                           double rate_scale)
{
    double x0 = (double)points[i - 1].units / units_scale;
    double x1 = (double)points[i].units / units_scale;
    double x2 = (double)points[i + 1].units / units_scale;
    double y0 = points[i - 1].rate_rps / rate_scale;
    double y1 = points[i].rate_rps / rate_scale;
    double y2 = points[i + 1].rate_rps / rate_scale;
    double dx = 0.5 * (x2 - x0);
    double dy = 0.5 * (y2 - y0);
    double ddx = x2 - 2.0 * x1 + x0;
    double ddy = y2 - 2.0 * y1 + y0;
    return (ddx * dy - dx * ddy) / pow(dx * dx + dy * dy, 1.5);
}

static size_t knee_by_curvature(const gpulet_rate_point_t *points, size_t count)
{
    double rate_scale = 0.0;
    for (size_t i = 0; i < count; i++)
        rate_scale = fmax(rate_scale, points[i].rate_rps);
    double units_scale = (double)points[count - 1].units;
    size_t best = 0;
    double best_curvature = 0.0;
    for (size_t i = 1; i + 1 < count; i++) {
        double curvature = curvature_at(points, i, units_scale, rate_scale);
        if (curvature > best_curvature) {
            best = i;
            best_curvature = curvature;
        }
    }
    return best;
}

static size_t knee_by_gain(const gpulet_rate_point_t *points, size_t count)
{
    size_t last = count > 2 ? count - 1 : count; /* the first index that is not tried */
    size_t best = 0;
    double best_slope = 0.0;
    for (size_t i = 1; i < last; i++) {
        double low = points[i - 1].rate_rps;
        double high = points[i].rate_rps;
        double slope = (high - low) / (double)(points[i].units - points[i - 1].units);
        if (high < GPULET_KNEE_GAIN_MIN * low || slope <= best_slope)
            continue;
        best = i;
        best_slope = slope;
    }
    return best;
}

size_t gpulet_knee_find(const gpulet_rate_point_t *points, size_t count, gpulet_knee_kind_t kind)
{
    assert(count >= 1);
    if (count == 1)
        return 0;
    if (kind == GPULET_KNEE_CURVATURE && count > 2)
        return knee_by_curvature(points, count);
    return knee_by_gain(points, count);
}

size_t gpulet_knee_required(const gpulet_rate_point_t *points, size_t count, double rate_rps)
{
    for (size_t i = 0; i < count; i++) {
        if (points[i].rate_rps >= rate_rps * (1.0 - 1e-9))
            return i;
    }
    return count;
}

size_t gpulet_knee_ideal(const gpulet_rate_point_t *points, size_t count, size_t knee,
                         double rate_rps)
{
    size_t required = gpulet_knee_required(points, count, rate_rps);
    return required < knee ? required : knee;
}
