#include "sched/app.h"

#include <assert.h>
#include <stdlib.h>

enum { SLOT_BITS = 21, SLOT_NONE = 0 /* slots are counted from 1 */ };

typedef struct run {
    const gpulet_app_t *app; /* NULL: the slot is free */
    uint64_t generation;
    gpulet_app_set_t submitted;
    gpulet_app_set_t done;
    uint32_t next; /* in the list of free slots */
} run_t;

struct gpulet_app_runs {
    uint32_t runs_max;
    uint32_t count;
    uint32_t free;
    run_t *runs; /* slot i is runs[i - 1] */
};

gpulet_status_t gpulet_app_runs_create(gpulet_app_runs_t **out, uint32_t runs_max)
{
    if (runs_max < 1 || runs_max > GPULET_APP_RUNS_MAX)
        return GPULET_E_INVALID;
    gpulet_app_runs_t *runs = calloc(1, sizeof(*runs));
    if (runs == NULL)
        return GPULET_E_NOMEM;
    runs->runs = calloc(runs_max, sizeof(*runs->runs));
    if (runs->runs == NULL) {
        free(runs);
        return GPULET_E_NOMEM;
    }
    runs->runs_max = runs_max;
    for (uint32_t i = 1; i <= runs_max; i++)
        runs->runs[i - 1].next = i < runs_max ? i + 1 : SLOT_NONE;
    runs->free = 1;
    *out = runs;
    return GPULET_OK;
}

void gpulet_app_runs_destroy(gpulet_app_runs_t *runs)
{
    if (runs == NULL)
        return;
    free(runs->runs);
    free(runs);
}

uint32_t gpulet_app_runs_count(const gpulet_app_runs_t *runs)
{
    return runs->count;
}

/* NULL when the run has ended. */
static run_t *find(const gpulet_app_runs_t *runs, gpulet_app_run_t run)
{
    uint64_t slot = run & ((UINT64_C(1) << SLOT_BITS) - 1);
    if (slot == SLOT_NONE || slot > runs->runs_max)
        return NULL;
    run_t *r = &runs->runs[slot - 1];
    return r->app != NULL && r->generation == run >> SLOT_BITS ? r : NULL;
}

/* Stages that nothing stands in the way of any more and that were not submitted yet. */
static gpulet_app_set_t submit_ready(run_t *r, gpulet_app_set_t among)
{
    gpulet_app_set_t ready = 0;
    for (gpulet_app_set_t left = among & ~r->submitted; left != 0; left &= left - 1) {
        uint32_t stage = (uint32_t)__builtin_ctzll(left);
        if ((r->app->stages[stage].before & ~r->done) == 0)
            ready |= UINT64_C(1) << stage;
    }
    r->submitted |= ready;
    return ready;
}

static gpulet_app_step_t end(gpulet_app_runs_t *runs, run_t *r, gpulet_app_end_t how)
{
    gpulet_app_step_t step = {.end = how, .cancel = r->submitted & ~r->done};
    r->app = NULL;
    r->next = runs->free;
    runs->free = (uint32_t)(r - runs->runs) + 1;
    runs->count--;
    return step;
}

gpulet_status_t gpulet_app_runs_start(gpulet_app_runs_t *runs, gpulet_app_run_t *run,
                                      gpulet_app_step_t *step, const gpulet_app_t *app)
{
    assert(app->stages_count >= 1);
    uint32_t slot = runs->free;
    if (slot == SLOT_NONE)
        return GPULET_E_FULL;
    run_t *r = &runs->runs[slot - 1];
    runs->free = r->next;
    runs->count++;
    *r = (run_t){.app = app, .generation = r->generation + 1};
    *run = r->generation << SLOT_BITS | slot;
    *step = (gpulet_app_step_t){.submit = submit_ready(r, app->first)};
    return GPULET_OK;
}

/* The run if the stage is under way in it; else NULL. */
static run_t *find_stage(const gpulet_app_runs_t *runs, gpulet_app_run_t run, uint32_t stage)
{
    run_t *r = find(runs, run);
    if (r == NULL || stage >= GPULET_APP_STAGES_MAX)
        return NULL;
    return ((r->submitted & ~r->done) >> stage & 1) != 0 ? r : NULL;
}

gpulet_app_step_t gpulet_app_runs_stage_done(gpulet_app_runs_t *runs, gpulet_app_run_t run,
                                             uint32_t stage)
{
    run_t *r = find_stage(runs, run, stage);
    if (r == NULL)
        return (gpulet_app_step_t){.end = GPULET_APP_GOES_ON};
    r->done |= UINT64_C(1) << stage;
    if (r->done == r->app->all)
        return end(runs, r, GPULET_APP_DONE);
    return (gpulet_app_step_t){.submit = submit_ready(r, r->app->stages[stage].after)};
}

gpulet_app_step_t gpulet_app_runs_stage_failed(gpulet_app_runs_t *runs, gpulet_app_run_t run,
                                               uint32_t stage)
{
    run_t *r = find_stage(runs, run, stage);
    if (r == NULL)
        return (gpulet_app_step_t){.end = GPULET_APP_GOES_ON};
    r->submitted &= ~(UINT64_C(1) << stage); /* it has its answer: nothing to cancel */
    return end(runs, r, GPULET_APP_FAILED);
}

gpulet_app_step_t gpulet_app_runs_cancel(gpulet_app_runs_t *runs, gpulet_app_run_t run)
{
    run_t *r = find(runs, run);
    return r != NULL ? end(runs, r, GPULET_APP_GONE)
                     : (gpulet_app_step_t){.end = GPULET_APP_GOES_ON};
}

gpulet_app_set_t gpulet_app_runs_outstanding(const gpulet_app_runs_t *runs, gpulet_app_run_t run)
{
    const run_t *r = find(runs, run);
    return r != NULL ? r->submitted & ~r->done : 0;
}

gpulet_app_entry_t gpulet_app_admit(gpulet_app_gate_t *gate, const gpulet_app_t *app,
                                    uint64_t now_ns, uint64_t deadline_ns,
                                    const uint64_t *needed_ns, bool idle, uint64_t *retry_after_ns)
{
    const uint64_t least_ns = 100000000, most_ns = 1000000000; /* between probes */
    *retry_after_ns = 0;
    if (deadline_ns == UINT64_MAX)
        return GPULET_APP_ADMITTED;
    const uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    const uint64_t total_ns = gpulet_app_rest_ns(NULL, app, needed_ns);
    if (total_ns <= left_ns)
        return GPULET_APP_ADMITTED;
    if (idle && left_ns > 0 && now_ns >= gate->probe_ns) {
        uint64_t pause_ns = left_ns < most_ns ? 4 * left_ns : most_ns;
        pause_ns = pause_ns < least_ns ? least_ns : pause_ns > most_ns ? most_ns : pause_ns;
        gate->probe_ns = now_ns + pause_ns;
        return GPULET_APP_PROBE;
    }
    *retry_after_ns = total_ns - left_ns;
    return GPULET_APP_REFUSED;
}

void gpulet_app_deadlines(uint64_t *stage_deadline_ns, const gpulet_app_t *app,
                          uint64_t deadline_ns, const uint64_t *least_ns)
{
    (void)gpulet_app_rest_ns(stage_deadline_ns, app, least_ns);
    for (size_t i = 0; i < app->stages_count; i++) {
        uint64_t rest = stage_deadline_ns[i];
        if (deadline_ns == UINT64_MAX)
            stage_deadline_ns[i] = UINT64_MAX;
        else
            stage_deadline_ns[i] = deadline_ns > rest ? deadline_ns - rest : 0;
    }
}
