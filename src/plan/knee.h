/* The affordable-rate curve of a model over the gpu-let sizes of a device type, and its knee: the
 * size of most gain.
 *
 * The curve has a point for each size at which the model meets its SLO at all: b* is the largest
 * batch whose saturated worst case, two executions, is within the SLO, and the rate is
 * instances·b*·1000 / L(b*). Pure functions on plain values. */
#ifndef GPULET_PLAN_KNEE_H
#define GPULET_PLAN_KNEE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/device_type.h"
#include "core/profile.h"

#define GPULET_KNEE_GAIN_MIN 1.05 /* a larger size must serve at least so many times more */

typedef enum gpulet_knee_kind {
    GPULET_KNEE_CURVATURE, /* the point of largest curvature, as the paper says */
    GPULET_KNEE_GAIN       /* the steepest step that gains enough, as the authors' prototype does */
} gpulet_knee_kind_t;

typedef struct gpulet_rate_point {
    uint32_t units;
    uint32_t batch; /* b* */
    uint32_t instances;
    double latency_ms; /* of b* */
    double rate_rps;   /* affordable */
} gpulet_rate_point_t;

typedef struct gpulet_rate_curve_options {
    double slo_ms;
    double latency_margin; /* 0 means 1 */
    uint32_t instances;    /* 0 means 1 */
    bool p99;
} gpulet_rate_curve_options_t;

/* Fills points[0 … return value) in ascending size; room for type->sizes_count. Sizes without a
 * profile row, or at which no batch meets the SLO, have no point. */
size_t gpulet_rate_curve(gpulet_rate_point_t *points, const gpulet_profile_t *profile,
                         const gpulet_device_type_t *type, const char *model,
                         const gpulet_rate_curve_options_t *options);

/* Index of the knee; count ≥ 1, points ascend by units. Curvature is that of the parametric
 * quadratic through three neighbours, on axes scaled to the largest size and rate; it needs an
 * inner point, so with two the gain decides. The gain rule never takes the last of three or more
 * sizes: there the whole device would be one model's for little. */
size_t gpulet_knee_find(const gpulet_rate_point_t *points, size_t count, gpulet_knee_kind_t kind);
/* p_req: index of the smallest size whose rate is at least rate_rps, or count when none is. */
size_t gpulet_knee_required(const gpulet_rate_point_t *points, size_t count, double rate_rps);
/* p_ideal = min(p_eff, p_req): the size of the next gpu-let for what is left to serve. */
size_t gpulet_knee_ideal(const gpulet_rate_point_t *points, size_t count, size_t knee,
                         double rate_rps);

#endif
