/* Measures models on this machine: for each gpu-let size a worker is started in a partition of that
 * size, and each model is loaded in it and run at growing batches. Used by `gpulet profile`, and by
 * gpuletd for models that are not known, while nothing else is to do or between requests.
 *
 * Lives on a libevent loop, on its thread; every step is short. */
#ifndef GPULET_SERVER_PROFILER_H
#define GPULET_SERVER_PROFILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "device/backend.h"
#include "device/cpu/others.h"
#include "server/repository.h"

struct event_base;
typedef struct gpulet_profiler gpulet_profiler_t;

typedef struct gpulet_profiler_row {
    const gpulet_repository_model_t *model;
    uint32_t units;
    uint32_t batch;
    uint32_t runs;
    double least_ms; /* the shortest run */
    double latency_ms;
    double latency_ms_p99;
    double cold_ms; /* 0: not measured at this batch, or not seen */
    double memory_mb;
} gpulet_profiler_row_t;

typedef struct gpulet_profiler_options {
    struct event_base *base;
    const gpulet_device_backend_t *backend;
    gpulet_device_t
        *device;           /* opened by the caller, who closes it after the profiler is destroyed */
    const uint32_t *sizes; /* gpu-let sizes to measure; copied */
    size_t sizes_count;
    const gpulet_repository_model_t *const
        *models; /* borrowed until destroyed; the array is copied */
    size_t models_count;
    const uint32_t *batches; /* ascending; empty: powers of two up to each model's largest batch,
                                and that; copied */
    size_t batches_count;
    double seconds_per_model; /* over all sizes and batches */
    uint32_t runs_min;        /* a point: at least */
    uint32_t runs_max;
    bool background; /* low priority, on units that may overlap */
    const char *device_backend_name;
    const char *worker_program;
    const char *engine;
    const char *ort_library;
    const char *fake_profile;
    const char *device_type;
    const char *log_level;
    double load_limit_s;

    void *context;
    void (*on_row)(void *context, const gpulet_profiler_row_t *row);
    /* A model that could not be loaded or run at a size; it is skipped there. */
    void (*on_problem)(void *context, const gpulet_repository_model_t *model, uint32_t units,
                       const char *text);
    /* NULL, or: the latency of a point that is known already (resuming); NAN: it is not. */
    double (*known_ms)(void *context, const gpulet_repository_model_t *model, uint32_t units,
                       uint32_t batch);
    /* NULL, or: whether a point may be measured now; asked again every 100 ms. */
    bool (*may_run)(void *context);
    /* NULL, or: whether what was just measured was disturbed and should be measured again (asked at
     * most three times a point). */
    bool (*was_disturbed)(void *context);
    /* All done, or E_… when nothing could be measured at all. The profiler may be destroyed from
     * the loop's next turn on. */
    void (*on_end)(void *context, gpulet_status_t status, const char *text);
} gpulet_profiler_options_t;

gpulet_status_t gpulet_profiler_start(gpulet_profiler_t **out,
                                      const gpulet_profiler_options_t *options,
                                      gpulet_error_t *err) GPULET_MUST_USE;
/* What other processes had of the CPUs while points were measured; valid until it is destroyed. */
const gpulet_cpu_meter_t *gpulet_profiler_meter(const gpulet_profiler_t *profiler);
/* Kills what runs. NULL is fine. */
void gpulet_profiler_destroy(gpulet_profiler_t *profiler);

/* The largest batch of the model that is measured where none were named. */
uint32_t gpulet_profiler_batch_max(const gpulet_repository_model_t *model);
/* Sizes worth measuring of a device of `units`, counted in steps: all up to 8, then powers
 * of two, and the whole. Caller frees. */
uint32_t *gpulet_profiler_default_sizes(size_t *count, uint32_t units, uint32_t step);

#endif
