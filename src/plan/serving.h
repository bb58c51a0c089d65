/* The plan that a server runs: from the rates to plan for to a plan of which no part is wasted and
 * in which no model is forgotten (docs/planning.md "Plans for serving"). The server and the
 * simulator ask this, `gpulet plan` asks the planner itself. Pure as planner.h. */
#ifndef GPULET_PLAN_SERVING_H
#define GPULET_PLAN_SERVING_H

#include "plan/planner.h"

enum { GPULET_SERVING_SPARE_MODELS_MAX = 200 };

/* What was done beyond asking the planner once. */
typedef struct gpulet_serving_note {
    double percentile; /* of arrivals that the plan holds (input's rate_percentile or less) */
    double multiple;   /* of the rates that it was made for: ≥ 1; below 1 of the models that the
                          devices cannot hold all of */
    double could_hold; /* the highest multiple that was seen to fit, ≥ 1 */
    uint32_t orphans;  /* models that no gpu-let could be found for, put where they hurt least */
} gpulet_serving_note_t;

typedef struct gpulet_serving_options {
    const gpulet_planner_t *planner;
    bool use_spare;     /* make the plan for more than the rates, as far as the devices that the
                           rates need can hold it; not beyond GPULET_SERVING_SPARE_MODELS_MAX models,
                           since it takes planning many times (nor is a shortage shared out then) */
    bool all_devices;   /* … or all devices there are */
    double spare_part;  /* 0 … 1: how far to go towards what could be held; 0: 0.75 */
    double overhead_ms; /* of a request that is not execution: taken off every objective, at most
                           half of it */
} gpulet_serving_options_t;

/* As gpulet_planner_run; models[].rate_rps of the plan is what it was made for, the multiple
 * included. Where no plan meets every objective: the largest percentile of arrivals that can be
 * held down to the bare rates; where not even those, the largest common part of the rates, the
 * lightest models held whole, `feasible` false and `reason` saying what is missed; a model whose
 * objective no size can meet is added to the gpu-let where the fewest requests are late for it.
 * note may be NULL. With input->from (and a planner of free form) the plan is the one that is
 * easiest to reach among some that cost no more: that leaves the fewest requests unserved on the
 * way (reach.h), if need be with less to spare, then that moves least (core/plan_movement.h). */
gpulet_status_t gpulet_plan_serving(gpulet_plan_t **out, gpulet_serving_note_t *note,
                                    const gpulet_plan_input_t *input,
                                    const gpulet_serving_options_t *options,
                                    gpulet_error_t *err) GPULET_MUST_USE;

/* Adds every model of the workload that no gpu-let holds where the fewest requests are late for it,
 * to one over the whole first device when the plan has none; not where there is no memory for it.
 * Such a share has a capacity of 0. For plans from elsewhere too. *orphans (may be NULL): how many
 * were added. */
gpulet_status_t gpulet_plan_adopt_orphans(gpulet_plan_t *plan, uint32_t *orphans,
                                          const gpulet_plan_input_t *input,
                                          gpulet_error_t *err) GPULET_MUST_USE;

/* What the plan can be asked of the model: the rate that it was made for, or what its gpu-lets hold
 * of it where that is less. */
double gpulet_plan_covers_rps(const gpulet_plan_t *plan, const char *model);

#endif
