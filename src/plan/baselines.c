/* The schedulers that the paper compares itself with, each one greedy pass: squishy bin packing
 * (Nexus, SOSP'19, section 6; the paper's time-share), the same on devices cut in two halves, and
 * space-share (the ATC'22 version's greedy: no temporal sharing). */
#include "plan/elastic.h"
#include "plan/job.h"

static gpulet_status_t one_pass(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                const gpulet_fill_policy_t *policy, gpulet_error_t *err)
{
    gpulet_job_t job;
    gpulet_status_t st = gpulet_job_init(&job, input, err);
    if (st != GPULET_OK)
        return st;
    gpulet_fill_all(job.fill, &job.best, policy);
    return gpulet_job_finish(out, &job, err);
}

/* Saturated gpu-lets are whole devices; what remains of each model is merged, most occupancy first,
 * into the fullest device that takes it. */
gpulet_status_t gpulet_plan_temporal(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                     gpulet_error_t *err)
{
    static const gpulet_fill_policy_t squishy = {.size = GPULET_FILL_SIZE_WHOLE,
                                                 .order = GPULET_FILL_ORDER_PIECE,
                                                 .merge = true,
                                                 .merge_first = true};
    return one_pass(out, input, &squishy, err);
}

gpulet_status_t gpulet_plan_even(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                 gpulet_error_t *err)
{
    static const gpulet_fill_policy_t halves = {.size = GPULET_FILL_SIZE_HALF,
                                                .order = GPULET_FILL_ORDER_PIECE,
                                                .merge = true,
                                                .merge_first = true};
    return one_pass(out, input, &halves, err);
}

/* The smallest size whose affordable rate covers what is left, else the largest, until nothing is
 * left; models by rate·SLO, ascending; best fit, then whatever piece still fits. */
gpulet_status_t gpulet_plan_greedy(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                   gpulet_error_t *err)
{
    static const gpulet_fill_policy_t space = {.size = GPULET_FILL_SIZE_REQUIRED,
                                               .order = GPULET_FILL_ORDER_RATE_SLO};
    return one_pass(out, input, &space, err);
}
