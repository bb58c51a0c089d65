/* Small random worlds for the checks: models, devices, plans and faults from one number, so that
 * whatever went wrong is seen again by it. */
#ifndef GPULET_SIM_RANDOM_H
#define GPULET_SIM_RANDOM_H

#include "sim/sim.h"

typedef struct gpulet_sim_world {
    gpulet_profile_t *profile;
    gpulet_device_set_t *devices;
    gpulet_workload_t *workload;
    gpulet_workload_t *subjects;     /* its rows, and one an application */
    gpulet_apps_t *apps;             /* NULL: none */
    gpulet_interference_t *believed; /* NULL: none */
    gpulet_pairs_t *truth;           /* NULL: none */
    gpulet_sim_rates_t *rates;       /* NULL: constant */
    gpulet_sim_options_t options;    /* borrows from the above; checks are on */
} gpulet_sim_world_t;

/* Zeroed before, deinit in any case. */
gpulet_status_t gpulet_sim_world_make(gpulet_sim_world_t *out, uint64_t seed,
                                      gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_sim_world_deinit(gpulet_sim_world_t *world);

#endif
