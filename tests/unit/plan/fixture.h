/* A planning input made of texts, for tests. */
#ifndef TESTS_UNIT_PLAN_FIXTURE_H
#define TESTS_UNIT_PLAN_FIXTURE_H

#include "plan/planner.h"

typedef struct fixture {
    gpulet_profile_t *profile;
    gpulet_device_set_t *devices;
    gpulet_workload_t *workload;
    gpulet_interference_t *interference;
    gpulet_plan_input_t input;
} fixture_t;

/* Texts in the formats of the command line; interference may be NULL. Fails the test when one does
 * not parse. */
void fixture_init(fixture_t *f, const char *profile, const char *devices, const char *workload,
                  const char *interference);
void fixture_deinit(fixture_t *f);
/* Another workload on the same profile and devices. */
void fixture_set_workload(fixture_t *f, const char *workload);
/* Runs the planner; fails the test unless the status is OK and the verifier agrees. Caller
 * destroys. */
gpulet_plan_t *fixture_plan(const fixture_t *f, const char *planner);
/* The gpu-let that holds the model first, and its share; fails when there is none. */
const gpulet_plan_gpulet_t *fixture_gpulet_of(const gpulet_plan_t *plan, const char *model,
                                              const gpulet_plan_share_t **share);

#endif
