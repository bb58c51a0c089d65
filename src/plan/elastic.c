#include "plan/elastic.h"

#include <math.h>

#include "plan/job.h"

/* Work is counted, never timed: a step is of the order of 50 ns. A large input gets fewer passes.
 */
static const uint64_t WORK_PASSES = 6000000;
static const uint64_t WORK_ALL = 10000000;

/* Tried first and always: large workloads get only these. */
static const gpulet_fill_policy_t first_policies[] = {
    {.size = GPULET_FILL_SIZE_EFFICIENT,
     .order = GPULET_FILL_ORDER_PIECE,
     .merge = true,
     .merge_first = true},
    {.size = GPULET_FILL_SIZE_COVER,
     .order = GPULET_FILL_ORDER_PIECE,
     .merge = true,
     .merge_first = true,
     .fragment = true},
    {.size = GPULET_FILL_SIZE_KNEE,
     .order = GPULET_FILL_ORDER_RATE,
     .merge = true}, /* as the paper has it */
    {.size = GPULET_FILL_SIZE_GAIN,
     .order = GPULET_FILL_ORDER_LOAD,
     .merge = true,
     .merge_first = true},
    {.size = GPULET_FILL_SIZE_WHOLE,
     .order = GPULET_FILL_ORDER_PIECE,
     .merge = true,
     .merge_first = true},
    {.size = GPULET_FILL_SIZE_EFFICIENT,
     .order = GPULET_FILL_ORDER_SLO,
     .merge = true,
     .merge_first = true,
     .fragment = true},
};
enum { FIRST_COUNT = sizeof(first_policies) / sizeof(first_policies[0]) };
enum { POLICIES_COUNT = FIRST_COUNT + 4 * GPULET_FILL_SIZE_SEARCHED * GPULET_FILL_ORDER_COUNT };

static gpulet_fill_policy_t policy_at(size_t index)
{
    if (index < FIRST_COUNT)
        return first_policies[index];
    size_t i = index - FIRST_COUNT;
    gpulet_fill_policy_t policy = {.merge = true};
    policy.merge_first = i % 2 == 0;
    policy.fragment = i / 2 % 2 == 0;
    policy.size = (gpulet_fill_size_t)(i / 4 % GPULET_FILL_SIZE_SEARCHED);
    policy.order =
        (gpulet_fill_order_t)(i / 4 / GPULET_FILL_SIZE_SEARCHED % GPULET_FILL_ORDER_COUNT);
    return policy;
}

static bool good_enough(const gpulet_pack_t *pack, double cost_enough)
{
    return gpulet_job_complete(pack) && gpulet_pack_cost(pack) <= cost_enough;
}

void gpulet_elastic_fill(gpulet_fill_t *fill, gpulet_pack_t *best, gpulet_pack_t *scratch,
                         double cost_enough)
{
    double enough = isnan(cost_enough) ? 0.0 : cost_enough * (1.0 + 1e-12);
    for (size_t i = 0; i < POLICIES_COUNT; i++) {
        if (i >= FIRST_COUNT && best->work + scratch->work > WORK_PASSES)
            break;
        gpulet_fill_policy_t policy = policy_at(i);
        gpulet_fill_all(fill, scratch, &policy);
        if (i == 0 || gpulet_fill_compare(scratch, best) < 0) {
            gpulet_pack_t swap = *best;
            *best = *scratch;
            *scratch = swap;
        }
        if (best->failed || scratch->failed || good_enough(best, enough))
            break;
    }
    gpulet_fill_improve(fill, best, scratch, WORK_ALL, enough);
}

static gpulet_status_t plan_best(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                 gpulet_error_t *err)
{
    gpulet_job_t job;
    gpulet_status_t st = gpulet_job_init(&job, input, err);
    if (st != GPULET_OK)
        return st;
    gpulet_elastic_fill(job.fill, &job.best, &job.scratch,
                        gpulet_plan_bound_resource(input, NULL, NULL));
    return gpulet_job_finish(out, &job, err);
}

gpulet_status_t gpulet_plan_elastic(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                    gpulet_error_t *err)
{
    if (input->elastic.form == GPULET_ELASTIC_FORM_BEST && !gpulet_elastic_lenient(&input->elastic))
        return plan_best(out, input, err);
    return gpulet_plan_elastic_once(out, input, err);
}
