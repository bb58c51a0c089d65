/* What batching costs on the host: milliseconds that gathering a batch takes before its device
 * work, by model and batch (CSV `model,batch,ms`; between rows linear). It is added to a profile
 * once, so that planners, verifier and simulator all see it; a latency margin and interference
 * multiply it too, which errs to the safe side. Plain values, immutable once parsed. */
#ifndef GPULET_CORE_HOST_COST_H
#define GPULET_CORE_HOST_COST_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/profile.h"

typedef struct gpulet_host_cost gpulet_host_cost_t;

gpulet_status_t gpulet_host_cost_parse(gpulet_host_cost_t **out, const char *text, size_t size,
                                       const char *file, gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_host_cost_load(gpulet_host_cost_t **out, const char *path,
                                      gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_host_cost_destroy(gpulet_host_cost_t *cost);
/* NAN outside of the model's rows: nothing is extrapolated. */
double gpulet_host_cost_ms(const gpulet_host_cost_t *cost, const char *model, uint32_t batch);

/* A new profile with the cost in every latency, mean and 99th percentile; the points of both are
 * kept, so that the sum is exact between them. Columns that the profile does not know are dropped.
 * E_NOT_FOUND names a model or a batch of the profile that has no cost. Caller destroys *out. */
gpulet_status_t gpulet_host_cost_apply(gpulet_profile_t **out, const gpulet_profile_t *profile,
                                       const gpulet_host_cost_t *cost,
                                       gpulet_error_t *err) GPULET_MUST_USE;

#endif
