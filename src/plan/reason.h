/* Why a plan is not feasible, in words: which models miss how much, and what would be enough. */
#ifndef GPULET_PLAN_REASON_H
#define GPULET_PLAN_REASON_H

#include "plan/planner.h"

/* Writes plan->reason; the plan is an infeasible one of the planner. Unless input->brief it is
 * planned again, for as many devices as needed. E_NOMEM and what the planner says. */
gpulet_status_t gpulet_plan_set_reason(gpulet_plan_t *plan, const gpulet_plan_input_t *input,
                                       const gpulet_planner_t *planner) GPULET_MUST_USE;

#endif
