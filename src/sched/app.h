/* Runs of applications: which stage is to be submitted when, and how a request of an application
 * ends (docs/applications.md). The stages themselves are requests of their models, which the caller
 * gives to sched/sched.h; this only says which, and until when.
 *
 * Pure: no clock, I/O, threads, globals. One owner; all memory is allocated at creation.
 *
 * Promises, each a property test:
 *  - a run that was started ends exactly once: the event that ends it says so, and from then on
 *    every event of the run is ignored;
 *  - each stage is submitted at most once, when all stages before it are done, and never after the
 *    end; a run ends DONE when all its stages are done, and only then;
 *  - a stage that fails ends the whole at once, and what is under way elsewhere is named to be
 *    cancelled. */
#ifndef GPULET_SCHED_APP_H
#define GPULET_SCHED_APP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "core/app.h"

typedef struct gpulet_app_runs gpulet_app_runs_t;

/* A run: 0 is none; never used twice. */
typedef uint64_t gpulet_app_run_t;

enum { GPULET_APP_RUNS_MAX = 1 << 20 };

typedef enum gpulet_app_end {
    GPULET_APP_GOES_ON,
    GPULET_APP_DONE,   /* every stage is: answer with their outputs */
    GPULET_APP_FAILED, /* a stage was refused, dropped or failed: answer as it was */
    GPULET_APP_GONE    /* nobody waits for the answer any more */
} gpulet_app_end_t;

/* What to do after an event, in this order: cancel, submit, answer. */
typedef struct gpulet_app_step {
    gpulet_app_end_t end;
    gpulet_app_set_t cancel; /* named in an earlier `submit`, not answered yet, and not wanted any
                                more: what they answer is ignored */
    gpulet_app_set_t submit; /* nothing once the run has ended */
} gpulet_app_step_t;

/* Up to runs_max (1 … GPULET_APP_RUNS_MAX) runs at a time. */
gpulet_status_t gpulet_app_runs_create(gpulet_app_runs_t **out, uint32_t runs_max) GPULET_MUST_USE;
void gpulet_app_runs_destroy(gpulet_app_runs_t *runs); /* NULL is fine */
uint32_t gpulet_app_runs_count(const gpulet_app_runs_t *runs);

/* A request of the application arrives; app is borrowed until the run has ended. E_FULL: as many
 * run as may. */
gpulet_status_t gpulet_app_runs_start(gpulet_app_runs_t *runs, gpulet_app_run_t *run,
                                      gpulet_app_step_t *step,
                                      const gpulet_app_t *app) GPULET_MUST_USE;
/* The stage has its result. Ignored: a run that has ended, a stage that is not under way. */
gpulet_app_step_t gpulet_app_runs_stage_done(gpulet_app_runs_t *runs, gpulet_app_run_t run,
                                             uint32_t stage);
/* The stage was refused, dropped, failed, or could not be submitted at all. */
gpulet_app_step_t gpulet_app_runs_stage_failed(gpulet_app_runs_t *runs, gpulet_app_run_t run,
                                               uint32_t stage);
/* The client is gone, or the server ends. */
gpulet_app_step_t gpulet_app_runs_cancel(gpulet_app_runs_t *runs, gpulet_app_run_t run);
/* Stages under way; 0 for a run that has ended. */
gpulet_app_set_t gpulet_app_runs_outstanding(const gpulet_app_runs_t *runs, gpulet_app_run_t run);

/* Whether requests of an application are let in at all; one an application, zero-initialised. */
typedef struct gpulet_app_gate {
    uint64_t probe_ns; /* of the next one that is let in against the prediction */
} gpulet_app_gate_t;

typedef enum gpulet_app_entry {
    GPULET_APP_REFUSED,
    GPULET_APP_ADMITTED,
    GPULET_APP_PROBE /* let in against the prediction: its stages are not to be held to what the
                        stages behind them are believed to take (deadlines are that of the whole) */
} gpulet_app_entry_t;

/* At arrival, before any stage is submitted: a request that would be refused by a later stage must
 * not cost an earlier one its time. needed_ns[i]: how long a request of stage i's model would take
 * if it arrived now, waiting included (gpulet_sched_predict_ns); what is refused is what could not
 * be in time even so. Now and then one is let in all the same while the application has nothing
 * else under way (idle), or a wrong prediction could shut it out for ever. *retry_after_ns: as much
 * later it could be let in. */
gpulet_app_entry_t gpulet_app_admit(gpulet_app_gate_t *gate, const gpulet_app_t *app,
                                    uint64_t now_ns, uint64_t deadline_ns,
                                    const uint64_t *needed_ns, bool idle, uint64_t *retry_after_ns);

/* By when each stage must be done so that the stages after it can still be in time:
 * stage_deadline_ns[i] = deadline_ns less the longest way through what comes after i, by the time
 * that each stage takes at least. A request of the first stage that cannot make its deadline is so
 * refused on arrival, and no stage is run for nothing. deadline_ns UINT64_MAX: none, for all. What
 * would lie before 0 is 0. Arrays have an element a stage. */
void gpulet_app_deadlines(uint64_t *stage_deadline_ns, const gpulet_app_t *app,
                          uint64_t deadline_ns, const uint64_t *least_ns);

#endif
