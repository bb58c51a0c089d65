/* Random planning inputs: the same seed gives the same input. */
#ifndef TESTS_PROP_PLAN_INSTANCE_H
#define TESTS_PROP_PLAN_INSTANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "plan/planner.h"

typedef struct instance {
    gpulet_profile_t *profile;
    gpulet_device_set_t *devices;
    gpulet_workload_t *workload;
    gpulet_interference_t *interference;
    gpulet_plan_input_t input;
} instance_t;

/* Aborts when it cannot be built: then the generator is wrong. */
void instance_init(instance_t *in, uint64_t seed);
/* Another interference of that kind, with quantiles of its error; some models are not in it. Linear
 * needs utilisations in the profile: false without them, and nothing is changed. */
bool instance_set_interference(instance_t *in, gpulet_interference_kind_t kind, uint64_t seed);
void instance_deinit(instance_t *in);

#endif
