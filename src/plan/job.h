/* What the planners that work on packs have in common: what one planning needs, set up and freed
 * together, and two packs to compare. In the caller's memory, owned by one planner. */
#ifndef GPULET_PLAN_JOB_H
#define GPULET_PLAN_JOB_H

#include "plan/fill.h"

typedef struct gpulet_job {
    gpulet_workspace_t *ws;
    gpulet_fill_t *fill;
    gpulet_pack_t best;
    gpulet_pack_t scratch;
    bool as_placed; /* no spare capacity is handed out at the end */
} gpulet_job_t;

/* After an error there is nothing to free. */
gpulet_status_t gpulet_job_init(gpulet_job_t *job, const gpulet_plan_input_t *input,
                                gpulet_error_t *err) GPULET_MUST_USE;
/* Writes `best` as the plan and frees the job, also on error. */
gpulet_status_t gpulet_job_finish(gpulet_plan_t **out, gpulet_job_t *job,
                                  gpulet_error_t *err) GPULET_MUST_USE;
/* Whether nothing is missing in the pack. */
bool gpulet_job_complete(const gpulet_pack_t *pack);
/* What the devices cost at least; 0 when no bound is known, so that nothing stops early. */
double gpulet_job_cost_bound(const gpulet_plan_input_t *input);

#endif
