/* What the files that make plans for serving share: serving.c; serving_devices.c, how they keep to
 * the devices that are needed; and shortage.c for when the devices cannot do all that is asked. */
#ifndef GPULET_PLAN_SERVING_INTERNAL_H
#define GPULET_PLAN_SERVING_INTERNAL_H

#include "plan/serving.h"

/* The devices of one type that are kept to. */
typedef struct plan_serving_kept {
    uint32_t *numbers; /* owned; ascending */
    uint32_t count;    /* 0: of this type none, or all that there are */
} plan_serving_kept_t;

/* One making of a plan to serve. */
typedef struct serving {
    const gpulet_serving_options_t *options;
    gpulet_plan_input_t input;
    gpulet_workload_t workload; /* the caller's, or a multiple of it */
    gpulet_device_set_t devices;
    plan_serving_kept_t *kept; /* owned; by type; NULL: all devices are as they are numbered */
    gpulet_plan_t *from; /* owned; the running plan with other numbers, NULL: none or its own */
    gpulet_serving_note_t note;
} plan_serving_t;

/* From here on no other devices than the plan uses, or no more than there are where all are to be
 * used. They, and those of the running plan, are numbered anew: the kept ones first. */
gpulet_status_t plan_serving_keep_devices(plan_serving_t *serving,
                                          gpulet_plan_t *plan) GPULET_MUST_USE;
/* Gives the devices of a plan made since then their own numbers again. */
void plan_serving_own_devices(gpulet_plan_t *plan, const plan_serving_t *serving);
void plan_serving_forget_devices(plan_serving_t *serving);

/* Puts a plan in which every model gets the part of its rate that the devices can hold, light ones
 * all of it, in the place of *plan, which is not feasible and whose reason it takes. *plan is left
 * alone when there is none. */
gpulet_status_t plan_serving_partly(gpulet_plan_t **plan, plan_serving_t *serving,
                                    const gpulet_workload_t *workload) GPULET_MUST_USE;

#endif
