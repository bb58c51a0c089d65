/* What the files that make plans for serving share: serving.c, and shortage.c for when the devices
 * cannot do all that is asked. */
#ifndef GPULET_PLAN_SERVING_INTERNAL_H
#define GPULET_PLAN_SERVING_INTERNAL_H

#include "plan/serving.h"

/* One making of a plan to serve. */
typedef struct serving {
    const gpulet_serving_options_t *options;
    gpulet_plan_input_t input;
    gpulet_workload_t workload; /* the caller's, or a multiple of it */
    gpulet_device_set_t devices;
    gpulet_serving_note_t note;
} plan_serving_t;

/* Puts a plan in which every model gets the part of its rate that the devices can hold, light ones
 * all of it, in the place of *plan, which is not feasible and whose reason it takes. *plan is left
 * alone when there is none. */
gpulet_status_t plan_serving_partly(gpulet_plan_t **plan, plan_serving_t *serving,
                                    const gpulet_workload_t *workload) GPULET_MUST_USE;

#endif
