/* From what is known of models, rates and devices to a plan. A job holds copies of all that
 * planning reads, so that another thread can do it (planning_thread.c); everything else is the
 * loop's. */
#ifndef GPULET_SERVER_PLANNING_H
#define GPULET_SERVER_PLANNING_H

#include "plan/serving.h"
#include "sched/follow.h"
#include "server/internal.h"

/* Zero-initialise; deinit in any case. */
typedef struct server_plan_job {
    /* Why, and what was known then: an answer for models, devices or a plan that are no more is of
     * no use. */
    gpulet_follow_reason_t reason;
    uint64_t wanted_ns;
    uint64_t models_seen;
    uint64_t devices_seen;
    uint64_t plans_seen;
    uint64_t asks_seen;
    bool forced;

    gpulet_profile_t *profile;
    gpulet_workload_t *workload;
    gpulet_device_set_t *devices; /* those that are left, counted from 0 */
    gpulet_plan_t *from;          /* what runs, with devices counted likewise */
    gpulet_plan_input_t input; /* all the above, and the server's interference, which is constant */
    gpulet_serving_options_t options;
    server_shares_t shares; /* the ensembles; planning shares their objectives out */

    gpulet_status_t status;
    gpulet_error_t err;
    gpulet_plan_t *plan;
    gpulet_serving_note_t note;
    bool provisional; /* not every model has a profile */
    uint64_t plan_ns;
} server_plan_job_t;

/* Frees what it holds; why it was begun stays. */
void server_planning_job_deinit(server_plan_job_t *job);
/* Where no planner is needed, or none can be asked, the answer at once: the given plan, or a
 * provisional one. */
bool server_planning_without_planner(server_plan_job_t *job, gpulet_server_t *server);
gpulet_status_t server_planning_prepare(server_plan_job_t *job, gpulet_server_t *server,
                                        gpulet_error_t *err) GPULET_MUST_USE;
/* From any thread. */
void server_planning_run(server_plan_job_t *job);
/* Devices as the machine counts them; says what is to be said of the plan. */
void server_planning_finish(server_plan_job_t *job, const gpulet_server_t *server);
/* All of it, here and now. */
void server_planning_make(server_plan_job_t *job, gpulet_server_t *server);
/* What the models are to be asked and how soon, ensembles included, with the shares that job->plan,
 * which is from elsewhere, leaves their objectives: job->workload and job->shares. */
gpulet_status_t server_planning_ask_as(server_plan_job_t *job, gpulet_server_t *server,
                                       gpulet_error_t *err) GPULET_MUST_USE;
/* Likewise; models that the plan leaves out are added to it. source: for the log. */
gpulet_status_t server_planning_complete(server_plan_job_t *job, gpulet_server_t *server,
                                         const char *source, gpulet_error_t *err) GPULET_MUST_USE;

void server_planning_input(gpulet_plan_input_t *out, const gpulet_server_t *server,
                           const gpulet_profile_t *profile, const gpulet_device_set_t *devices,
                           const gpulet_workload_t *workload);
bool server_planning_all_profiled(const gpulet_server_t *server);

/* plan_check.c */
/* The plan is for devices, sizes and models that are there; the error names the field that is not.
 */
gpulet_status_t server_plan_check(gpulet_server_t *server, const gpulet_plan_t *plan,
                                  gpulet_error_t *err) GPULET_MUST_USE;
/* The plan that was served last, from the store, if it may be served again. */
bool server_planning_stored(server_plan_job_t *job, gpulet_server_t *server);

/* planning_thread.c: one job at a time. */
gpulet_status_t server_planner_open(gpulet_server_t *server, gpulet_error_t *err) GPULET_MUST_USE;
/* Waits for the job under way, whose answer nobody wants. */
void server_planner_close(gpulet_server_t *server);
bool server_planner_busy(const gpulet_server_t *server);
/* Takes the prepared job over; server_follow_planned has the answer. */
void server_planner_begin(gpulet_server_t *server, const server_plan_job_t *job);

#endif
