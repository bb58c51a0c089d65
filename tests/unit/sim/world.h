/* Inputs of a run, written as people write them; a text that cannot be read fails the test. */
#ifndef GPULET_TESTS_SIM_WORLD_H
#define GPULET_TESTS_SIM_WORLD_H

#include "sim/sim.h"

typedef struct world {
    gpulet_profile_t *profile;
    gpulet_device_set_t *devices;
    gpulet_workload_t *workload;
    gpulet_workload_t *subjects; /* NULL: there are no applications */
    gpulet_apps_t *apps;
    gpulet_pairs_t *pairs;
    gpulet_sim_rates_t *rates;
    gpulet_sim_options_t options; /* elastic, Poisson, no overhead, checks on, 60 s */
} world_t;

/* Rows without their headers: profile device,model,units,batch,latency_ms,latency_ms_p99,memory_mb;
 * workload model,rate_rps,slo_ms. */
void world_init(world_t *w, const char *profile_rows, const char *devices,
                const char *workload_rows);
/* What follows "apps:"; before world_rates, where those name one. */
void world_apps(world_t *w, const char *yaml);
/* time_s,model,rate_rps */
void world_rates(world_t *w, const char *rows);
/* device,model,units,batch,other_model,other_units,other_batch,slowdown */
void world_truth(world_t *w, const char *rows);
void world_deinit(world_t *w);
/* Runs it; result is the caller's. */
void world_run(gpulet_sim_result_t *result, const world_t *w);

#endif
