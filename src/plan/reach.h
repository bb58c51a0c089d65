/* Whether a plan can be reached from the running one make before break. Pure as planner.h. */
#ifndef GPULET_PLAN_REACH_H
#define GPULET_PLAN_REACH_H

#include "plan/planner.h"

/* Requests a second that nobody serves while the plan is being reached: of models whose gpu-lets
 * must all go before any that replaces them can start, because a device has not the memory for both
 * (or, where gpu-lets are cut in hardware, not the units). 0: it is reached without a gap. */
gpulet_status_t gpulet_plan_reach_gap(double *out_rps, const gpulet_plan_t *from,
                                      const gpulet_plan_t *to,
                                      const gpulet_plan_input_t *input) GPULET_MUST_USE;

#endif
