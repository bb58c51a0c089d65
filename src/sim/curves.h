/* What batches take, as the profile says it, in tables by batch: one for each (device type, model,
 * units, instances) that a gpu-let has. Made when a plan first needs it, kept for the whole run.
 * One owner at a time. */
#ifndef GPULET_SIM_CURVES_H
#define GPULET_SIM_CURVES_H

#include <stdint.h>

#include "base/rng.h"
#include "base/status.h"
#include "core/device_type.h"
#include "core/interference.h"
#include "core/profile.h"
#include "core/workload.h"

typedef struct sim_curve {
    uint32_t id;    /* its place */
    uint32_t type;  /* of the device set */
    uint32_t model; /* of the workload */
    uint32_t units;
    uint32_t instances;
    const gpulet_curve_t *profile; /* borrowed */
    uint64_t cold_ns;              /* longer, of a cold run */
    uint32_t batch_max;            /* of the tables; entries are by batch - 1 */
    uint64_t *exec_ns;             /* median; owned */
    double *sigma;                 /* of the logarithm of the time; 0: exact; owned */
    double *memory_mb;             /* 0 where the profile does not say; owned */
} sim_curve_t;

typedef struct sim_curves {
    const gpulet_profile_t *profile; /* borrowed, as the next two */
    const gpulet_device_set_t *devices;
    const gpulet_workload_t *workload;
    double spread; /* relative, where the profile has no 99th percentile */
    size_t count;
    size_t capacity;
    sim_curve_t **items; /* owned */
} sim_curves_t;

void sim_curves_deinit(sim_curves_t *curves);
/* The curve, or that of the nearest measured size, the smaller first, as the server reads profiles.
 * E_NOT_FOUND names model and device where nothing was measured. Batches below the measured ones
 * take as long as the smallest, batches above as much longer as they are larger. */
gpulet_status_t sim_curves_get(const sim_curve_t **out, sim_curves_t *curves, uint32_t type,
                               uint32_t model, uint32_t units, uint32_t instances,
                               gpulet_error_t *err) GPULET_MUST_USE;
/* The largest batch measured of the model, at least 1. */
uint32_t sim_curves_batch_max(const sim_curves_t *curves, uint32_t model);
/* A time of a batch, at least 1 ns: lognormal with the measured median and 99th percentile. */
uint64_t sim_curve_draw_ns(const sim_curve_t *curve, uint32_t batch, double factor,
                           gpulet_rng_t *rng);

#endif
