/* Measures how much models slow down beside neighbours on this machine: two gpu-lets at once, in
 * one a model, in the other another model or calibrated memory traffic (server/traffic.h).
 *
 * Each pair is measured in rounds: alone, beside, alone, beside, … alone. A round's slowdown is the
 * median latency beside the neighbour over the mean of the medians alone just before and just after
 * it, so that a slow drift of the machine cancels; the pair's is the median over the rounds. A
 * round counts only when the neighbour ran from its beginning to its end.
 *
 * Blocks until all is measured, turning the given event loop meanwhile. */
#ifndef GPULET_SERVER_NEIGHBOURS_H
#define GPULET_SERVER_NEIGHBOURS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/pairs.h"
#include "server/measurer.h"
#include "server/repository.h"

/* Names of the traffic in pairs, with the percentage of full speed for a batch. No model that is
 * measured may have such a name. */
#define GPULET_TRAFFIC_CACHE  "@traffic-cache"
#define GPULET_TRAFFIC_MEMORY "@traffic-memory"

typedef struct gpulet_neighbours_row {
    const gpulet_pair_t *pair;
    const gpulet_repository_model_t *self;
    const gpulet_repository_model_t *other; /* NULL: traffic */
    size_t index;                           /* 1 … total */
    size_t total;                           /* pairs to measure, those known already included */
} gpulet_neighbours_row_t;

typedef struct gpulet_neighbours_options {
    gpulet_measurer_options_t workers;
    const char *device_type;
    uint32_t units_total;
    const uint32_t *sizes; /* gpu-let sizes, ascending; those of the whole device are left out */
    size_t sizes_count;
    const gpulet_repository_model_t *const *models;
    size_t models_count;
    const uint32_t *batches; /* ascending; empty: 1 and 8, or the model's largest if less */
    size_t batches_count;
    uint32_t rounds;
    double slice_ms; /* a model is measured for at least so long in one go */
    bool traffic;    /* beside the traffic generator too */

    void *context;
    void (*on_pair)(void *context, const gpulet_neighbours_row_t *row);
    /* NULL, or: the traffic generator was calibrated in a gpu-let of that size. */
    void (*on_traffic)(void *context, const char *name, uint32_t units, uint64_t footprint,
                       double mb_s);
    /* What could not be measured; the rest goes on. */
    void (*on_problem)(void *context, const char *model, uint32_t units, const char *text);
    bool (*is_known)(void *context, const gpulet_pair_t *pair);
} gpulet_neighbours_options_t;

/* E_UNAVAILABLE when no two of the sizes stand on the device together (one core, for instance);
 * other errors: nothing could be measured at all. */
gpulet_status_t gpulet_neighbours_run(const gpulet_neighbours_options_t *options,
                                      gpulet_error_t *err) GPULET_MUST_USE;

/* E_UNAVAILABLE, with the reason, when that would be so. */
gpulet_status_t gpulet_neighbours_check(const uint32_t *sizes, size_t sizes_count,
                                        uint32_t units_total, const char *device_type,
                                        gpulet_error_t *err) GPULET_MUST_USE;

typedef struct gpulet_neighbours_split {
    uint32_t self;
    uint32_t other;
} gpulet_neighbours_split_t;

/* The pairs of sizes that are measured: each with the largest that fits beside it, both ways round.
 * Room for 2·sizes_count; returns how many. */
size_t gpulet_neighbours_splits(gpulet_neighbours_split_t *out, const uint32_t *sizes,
                                size_t sizes_count, uint32_t units_total);

#endif
