#include "plan/job.h"

#include <math.h>

static void job_deinit(gpulet_job_t *job)
{
    gpulet_pack_deinit(&job->best);
    gpulet_pack_deinit(&job->scratch);
    gpulet_fill_destroy(job->fill);
    gpulet_workspace_destroy(job->ws);
}

gpulet_status_t gpulet_job_init(gpulet_job_t *job, const gpulet_plan_input_t *input,
                                gpulet_error_t *err)
{
    *job = (gpulet_job_t){0};
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

gpulet_status_t gpulet_job_finish(gpulet_plan_t **out, gpulet_job_t *job, gpulet_error_t *err)
{
    if (!job->as_placed)
        gpulet_pack_spread(&job->best);
    gpulet_status_t st = job->scratch.failed ? GPULET_E_NOMEM : gpulet_pack_emit(out, &job->best);
    if (st != GPULET_OK)
        (void)gpulet_fail(err, st, "%s",
                          st == GPULET_E_NOMEM ? "out of memory"
                                               : "a device could not be laid out again");
    job_deinit(job);
    return st;
}

bool gpulet_job_complete(const gpulet_pack_t *pack)
{
    return gpulet_pack_missing(pack) <= 0.0;
}

double gpulet_job_cost_bound(const gpulet_plan_input_t *input)
{
    double bound = gpulet_plan_bound_resource(input, NULL, NULL);
    return isnan(bound) ? 0.0 : bound * (1.0 + 1e-12);
}
