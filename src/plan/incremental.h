/* Planner `incremental`: from a running plan to one for new rates with little movement
 * (core/plan_movement.h), and what every planner does with `from` so that a device that goes on is
 * called what it was (docs/planning.md "From a running plan"). */
#ifndef GPULET_PLAN_INCREMENTAL_H
#define GPULET_PLAN_INCREMENTAL_H

#include "plan/planner.h"

/* A plan of `incremental` costs at most this many times the lower bound plus one device, unless
 * that of `elastic` costs more than that too: then at most what that one costs. */
#define GPULET_INCREMENTAL_FACTOR 1.25

/* E_INVALID without input->from. Otherwise as the planners in elastic.h. */
gpulet_status_t gpulet_plan_incremental(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                        gpulet_error_t *err) GPULET_MUST_USE;

/* Numbers the devices of the plan, and orders gpu-lets of one size among their slots, so that as
 * much as possible goes on from `from`. */
gpulet_status_t gpulet_plan_align(gpulet_plan_t *plan, const gpulet_plan_t *from,
                                  const gpulet_plan_input_t *input) GPULET_MUST_USE;

#endif
