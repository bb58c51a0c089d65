/* `gpulet profile`, taken apart: cmd_profile.c measures models alone, cmd_profile_pairs.c beside
 * one another. */
#ifndef GPULET_CMD_CMD_PROFILE_H
#define GPULET_CMD_CMD_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/pairs.h"
#include "core/profile.h"
#include "device/backend.h"
#include "server/measured_by.h"
#include "server/measurer.h"
#include "server/profiler.h"
#include "server/repository.h"
#include "store/store.h"

enum { PROFILE_LIST_MAX = 256, PROFILE_PATH_SIZE = 4096 };

typedef struct profile_settings {
    char *model_repository;
    char *device;
    char *fake_devices;
    char *reserve_cores;
    uint64_t mps_step;
    char *engine;
    char *ort_library;
    char *fake_profile;
    char *models;
    char *batches;
    char *sizes;
    double seconds;
    uint64_t runs_max;
    uint64_t batch_max;
    bool interference;
    uint64_t rounds;
    double slice_ms;
    bool traffic;
    char *store;
    bool fresh;
    char *out;
    char *pairs_out;
    char *interference_out;
    char *log_level;
    bool json;
    bool help;
} profile_settings_t;

typedef struct profile_run {
    const profile_settings_t *settings;
    gpulet_repository_t repository;
    const gpulet_repository_model_t **models;
    size_t models_count;
    const gpulet_device_backend_t *backend;
    gpulet_device_desc_t desc;
    gpulet_device_t *device;
    char worker[PROFILE_PATH_SIZE]; /* gpulet-worker */
    char measured_by[GPULET_MEASURED_BY_MAX + 1];
    uint32_t batches[PROFILE_LIST_MAX];
    size_t batches_count; /* 0: those of each model */
    uint32_t *sizes;      /* owned; to measure at */
    size_t sizes_count;
    gpulet_store_t *store;
    gpulet_profile_t *profile;
    gpulet_pairs_t *pairs;   /* with --interference */
    struct event_base *base; /* owned */
    uint64_t measured;
    uint64_t known;
    uint64_t pairs_measured;
    uint64_t pairs_known;
    uint64_t pairs_unsteady; /* measured now, whose rounds differ much */
    uint64_t problems;
    gpulet_profiler_t *profiler; /* while it measures */
    double others;  /* part of the CPUs that other processes had meanwhile; NAN: not known */
    bool disturbed; /* … which is too much */
    bool warned;
    bool ended;
} profile_run_t;

/* How the workers that measure are started. */
gpulet_measurer_options_t cmd_profile_workers(const profile_run_t *run);
/* Before anything is measured: whether two gpu-lets fit at once, and no model is called as traffic.
 */
gpulet_status_t cmd_profile_pairs_check(const profile_run_t *run,
                                        gpulet_error_t *err) GPULET_MUST_USE;
/* Measures pairs, keeps them in the store, writes them and what is fitted from them. */
gpulet_status_t cmd_profile_pairs(profile_run_t *run, gpulet_error_t *err) GPULET_MUST_USE;

#endif
