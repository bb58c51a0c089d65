/* Reading between the measured points of curves, and between the curves of measured sizes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/profile_store.h"

uint32_t gpulet_curve_batch_min(const gpulet_curve_t *curve)
{
    return curve->points[0].batch;
}

uint32_t gpulet_curve_batch_max(const gpulet_curve_t *curve)
{
    return curve->points[curve->points_count - 1].batch;
}

/* The measured points around a batch (the same one twice when it was measured) and how far it is
 * from the lower to the upper one, 0 … 1. False outside of the range. */
static bool bracket(const gpulet_curve_t *curve, uint32_t batch,
                    const gpulet_profile_point_t **lower, const gpulet_profile_point_t **upper,
                    double *part)
{
    uint32_t low = gpulet_curve_point_index(curve, batch);
    if (low == curve->points_count || batch < curve->points[0].batch)
        return false;
    *upper = &curve->points[low];
    *lower = (*upper)->batch == batch ? *upper : *upper - 1;
    uint32_t width = (*upper)->batch - (*lower)->batch;
    *part = width == 0 ? 0 : (double)(batch - (*lower)->batch) / (double)width;
    return true;
}

/* NAN as soon as one of the ends is. */
static double between(double lower, double upper, double part)
{
    return lower + (upper - lower) * part;
}

static double latency_between(const gpulet_profile_point_t *lower,
                              const gpulet_profile_point_t *upper, double part, bool p99)
{
    double tail = p99 ? between(lower->latency_ms_p99, upper->latency_ms_p99, part) : NAN;
    return !isnan(tail) ? tail : between(lower->latency_ms, upper->latency_ms, part);
}

double gpulet_curve_latency_ms(const gpulet_curve_t *curve, uint32_t batch, bool p99)
{
    const gpulet_profile_point_t *lower = NULL;
    const gpulet_profile_point_t *upper = NULL;
    double part = 0;
    return bracket(curve, batch, &lower, &upper, &part) ? latency_between(lower, upper, part, p99)
                                                        : NAN;
}

double gpulet_curve_memory_mb(const gpulet_curve_t *curve, uint32_t batch)
{
    const gpulet_profile_point_t *lower = NULL;
    const gpulet_profile_point_t *upper = NULL;
    double part = 0;
    return bracket(curve, batch, &lower, &upper, &part) ? upper->memory_mb : NAN;
}

gpulet_curve_walk_t gpulet_curve_walk(const gpulet_curve_t *curve, bool p99)
{
    return (gpulet_curve_walk_t){.curve = curve, .p99 = p99};
}

bool gpulet_curve_walk_next(gpulet_curve_walk_t *walk)
{
    const gpulet_curve_t *curve = walk->curve;
    const gpulet_profile_point_t *upper = &curve->points[walk->upper];
    if (walk->batch < upper->batch) {
        walk->batch = walk->batch == 0 ? upper->batch : walk->batch + 1;
    } else {
        if (walk->upper + 1 == curve->points_count)
            return false;
        upper = &curve->points[++walk->upper];
        walk->batch++;
    }
    const gpulet_profile_point_t *lower = walk->batch == upper->batch ? upper : upper - 1;
    uint32_t width = upper->batch - lower->batch;
    double part = width == 0 ? 0 : (double)(walk->batch - lower->batch) / (double)width;
    walk->latency_ms = latency_between(lower, upper, part, walk->p99);
    walk->memory_mb = upper->memory_mb;
    return true;
}

double gpulet_curve_l2_util(const gpulet_curve_t *curve, uint32_t batch)
{
    const gpulet_profile_point_t *lower = NULL;
    const gpulet_profile_point_t *upper = NULL;
    double part = 0;
    return bracket(curve, batch, &lower, &upper, &part)
               ? between(lower->l2_util, upper->l2_util, part)
               : NAN;
}

double gpulet_curve_dram_util(const gpulet_curve_t *curve, uint32_t batch)
{
    const gpulet_profile_point_t *lower = NULL;
    const gpulet_profile_point_t *upper = NULL;
    double part = 0;
    return bracket(curve, batch, &lower, &upper, &part)
               ? between(lower->dram_util, upper->dram_util, part)
               : NAN;
}

double gpulet_curve_input_bytes(const gpulet_curve_t *curve)
{
    double most = 0;
    for (uint32_t i = 0; i < curve->points_count; i++)
        most = fmax(most, curve->points[i].input_bytes); /* fmax passes over NAN */
    return most;
}

double gpulet_curve_cold_ms(const gpulet_curve_t *curve)
{
    double most = 0;
    for (uint32_t i = 0; i < curve->points_count; i++)
        most = fmax(most, curve->points[i].cold_ms);
    return most;
}

/* Two measured sizes of the same device, model and instances with none between them. */
typedef struct size_pair {
    const gpulet_curve_t *lower;
    const gpulet_curve_t *upper;
} size_pair_t;

/* The value of the 99th percentile alone: NAN where it is not known. */
static double tail_ms(const gpulet_curve_t *curve, uint32_t batch)
{
    const gpulet_profile_point_t *lower = NULL;
    const gpulet_profile_point_t *upper = NULL;
    double part = 0;
    return bracket(curve, batch, &lower, &upper, &part)
               ? between(lower->latency_ms_p99, upper->latency_ms_p99, part)
               : NAN;
}

static gpulet_profile_point_t point_between(const size_pair_t *pair, uint32_t batch, double part)
{
    const gpulet_curve_t *a = pair->lower;
    const gpulet_curve_t *b = pair->upper;
    double memory_a = gpulet_curve_memory_mb(a, batch);
    double memory_b = gpulet_curve_memory_mb(b, batch);
    return (gpulet_profile_point_t){
        .batch = batch,
        .latency_ms = between(gpulet_curve_latency_ms(a, batch, false),
                              gpulet_curve_latency_ms(b, batch, false), part),
        .latency_ms_p99 = between(tail_ms(a, batch), tail_ms(b, batch), part),
        .throughput_rps = NAN,
        .memory_mb = isnan(memory_a) || isnan(memory_b) ? NAN : fmax(memory_a, memory_b),
        .l2_util = between(gpulet_curve_l2_util(a, batch), gpulet_curve_l2_util(b, batch), part),
        .dram_util =
            between(gpulet_curve_dram_util(a, batch), gpulet_curve_dram_util(b, batch), part),
        .input_bytes = fmax(gpulet_curve_input_bytes(a), gpulet_curve_input_bytes(b)),
        .cold_ms = fmax(gpulet_curve_cold_ms(a), gpulet_curve_cold_ms(b)),
    };
}

/* Adds a point at each batch that `source` measured and both sizes cover; those that are there
 * already stay. */
static gpulet_status_t add_points(gpulet_profile_t *profile, const size_pair_t *pair,
                                  const gpulet_curve_t *source, uint32_t units)
{
    const gpulet_curve_t *a = pair->lower;
    const gpulet_curve_t *b = pair->upper;
    gpulet_profile_key_t key = {a->device, a->model, units, a->instances};
    double part = (double)(units - a->units) / (double)(b->units - a->units);
    for (uint32_t i = 0; i < source->points_count; i++) {
        uint32_t batch = source->points[i].batch;
        if (isnan(gpulet_curve_latency_ms(a, batch, false)) ||
            isnan(gpulet_curve_latency_ms(b, batch, false)))
            continue;
        gpulet_profile_point_t point = point_between(pair, batch, part);
        gpulet_status_t st = gpulet_profile_insert(profile, &key, &point, NULL, false);
        if (st != GPULET_OK && st != GPULET_E_EXISTS)
            return st;
    }
    return GPULET_OK;
}

/* The next larger measured size, among the curves nodes[index+1 …] of the same device and model. */
static const gpulet_curve_t *next_size(gpulet_profile_node_t *const *nodes, size_t count,
                                       size_t index)
{
    const gpulet_curve_t *curve = &nodes[index]->curve;
    for (size_t i = index + 1; i < count; i++) {
        const gpulet_curve_t *other = &nodes[i]->curve;
        if (strcmp(other->device, curve->device) != 0 || strcmp(other->model, curve->model) != 0)
            return NULL;
        if (other->instances == curve->instances && other->units > curve->units)
            return other;
    }
    return NULL;
}

static gpulet_status_t fill_between(gpulet_profile_t *profile, const size_pair_t *pair,
                                    const uint32_t *sizes, size_t sizes_count)
{
    for (size_t i = 0; i < sizes_count; i++) {
        if (sizes[i] <= pair->lower->units || sizes[i] >= pair->upper->units)
            continue;
        gpulet_status_t st = add_points(profile, pair, pair->lower, sizes[i]);
        if (st == GPULET_OK)
            st = add_points(profile, pair, pair->upper, sizes[i]);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_profile_interpolate_units(gpulet_profile_t *profile, const char *device,
                                                 const uint32_t *sizes, size_t sizes_count,
                                                 gpulet_error_t *err)
{
    /* What was measured, so that nothing is interpolated from interpolated curves. */
    size_t count = profile->count;
    gpulet_status_t st = GPULET_OK;
    if (count == 0)
        return GPULET_OK;
    gpulet_profile_node_t **nodes = reallocarray(NULL, count, sizeof(void *));
    if (nodes == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    memcpy(nodes, profile->nodes, count * sizeof(void *));
    for (size_t i = 0; i < count && st == GPULET_OK; i++) {
        size_pair_t pair = {&nodes[i]->curve, NULL};
        if (strcmp(pair.lower->device, device) != 0)
            continue;
        pair.upper = next_size(nodes, count, i);
        if (pair.upper != NULL)
            st = fill_between(profile, &pair, sizes, sizes_count);
    }
    free(nodes);
    return st == GPULET_OK ? st : gpulet_fail(err, st, "out of memory");
}
