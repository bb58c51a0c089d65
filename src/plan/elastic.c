#include "plan/elastic.h"

#include <math.h>
#include <stdlib.h>

#include "plan/fill.h"

/* Work is counted, never timed: a step is of the order of 50 ns. A large input gets fewer passes.
 */
static const uint64_t WORK_PASSES = 6000000;
static const uint64_t WORK_ALL = 10000000;

/* Tried first and always: large workloads get only these. */
static const gpulet_fill_policy_t first_policies[] = {
    {GPULET_FILL_SIZE_EFFICIENT, GPULET_FILL_ORDER_PIECE, true, true, false},
    {GPULET_FILL_SIZE_COVER, GPULET_FILL_ORDER_PIECE, true, true, true},
    {GPULET_FILL_SIZE_KNEE, GPULET_FILL_ORDER_RATE, true, false, false}, /* as the paper has it */
    {GPULET_FILL_SIZE_GAIN, GPULET_FILL_ORDER_LOAD, true, true, false},
    {GPULET_FILL_SIZE_WHOLE, GPULET_FILL_ORDER_PIECE, true, true, false},
    {GPULET_FILL_SIZE_EFFICIENT, GPULET_FILL_ORDER_SLO, true, true, true},
};
enum { FIRST_COUNT = sizeof(first_policies) / sizeof(first_policies[0]) };
enum { POLICIES_COUNT = FIRST_COUNT + 4 * GPULET_FILL_SIZE_COUNT * GPULET_FILL_ORDER_COUNT };

static gpulet_fill_policy_t policy_at(size_t index)
{
    if (index < FIRST_COUNT)
        return first_policies[index];
    size_t i = index - FIRST_COUNT;
    gpulet_fill_policy_t policy = {.merge = true};
    policy.merge_first = i % 2 == 0;
    policy.fragment = i / 2 % 2 == 0;
    policy.size = (gpulet_fill_size_t)(i / 4 % GPULET_FILL_SIZE_COUNT);
    policy.order = (gpulet_fill_order_t)(i / 4 / GPULET_FILL_SIZE_COUNT % GPULET_FILL_ORDER_COUNT);
    return policy;
}

static bool good_enough(const gpulet_pack_t *pack, double cost_enough)
{
    return gpulet_pack_missing(pack) <= 0.0 && gpulet_pack_cost(pack) <= cost_enough;
}

/* What one planning needs, freed together. */
typedef struct job {
    gpulet_workspace_t *ws;
    gpulet_fill_t *fill;
    gpulet_pack_t best;
    gpulet_pack_t scratch;
} job_t;

static void job_deinit(job_t *job)
{
    gpulet_pack_deinit(&job->best);
    gpulet_pack_deinit(&job->scratch);
    gpulet_fill_destroy(job->fill);
    gpulet_workspace_destroy(job->ws);
}

static gpulet_status_t job_init(job_t *job, const gpulet_plan_input_t *input, gpulet_error_t *err)
{
    *job = (job_t){0};
    gpulet_status_t st = gpulet_workspace_create(&job->ws, input, err);
    if (st != GPULET_OK)
        return st;
    if ((st = gpulet_fill_create(&job->fill, job->ws)) != GPULET_OK ||
        (st = gpulet_pack_init(&job->best, job->ws, false)) != GPULET_OK ||
        (st = gpulet_pack_init(&job->scratch, job->ws, false)) != GPULET_OK) {
        job_deinit(job);
        return gpulet_fail(err, st, "out of memory");
    }
    return GPULET_OK;
}

static gpulet_status_t job_finish(gpulet_plan_t **out, job_t *job, gpulet_error_t *err)
{
    gpulet_pack_spread(&job->best);
    gpulet_status_t st = job->scratch.failed ? GPULET_E_NOMEM : gpulet_pack_emit(out, &job->best);
    if (st != GPULET_OK)
        (void)gpulet_fail(err, st, "%s",
                          st == GPULET_E_NOMEM ? "out of memory"
                                               : "a device could not be laid out again");
    job_deinit(job);
    return st;
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

gpulet_status_t gpulet_plan_elastic(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                    gpulet_error_t *err)
{
    job_t job;
    gpulet_status_t st = job_init(&job, input, err);
    if (st != GPULET_OK)
        return st;
    gpulet_elastic_fill(job.fill, &job.best, &job.scratch,
                        gpulet_plan_bound_resource(input, NULL, NULL));
    return job_finish(out, &job, err);
}

gpulet_status_t gpulet_plan_temporal(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                     gpulet_error_t *err)
{
    static const gpulet_fill_policy_t squishy = {GPULET_FILL_SIZE_WHOLE, GPULET_FILL_ORDER_PIECE,
                                                 true, true, false};
    job_t job;
    gpulet_status_t st = job_init(&job, input, err);
    if (st != GPULET_OK)
        return st;
    gpulet_fill_all(job.fill, &job.best, &squishy);
    return job_finish(out, &job, err);
}
