/* What the files of server/ share. Everything here belongs to the loop's thread.
 *
 *   server.c      life of the whole: start, loop, drain, stop
 *   catalog.c     models: configuration, input segments, statistics
 *   gpulets*.c    gpu-lets: partitions, workers, lanes; from a plan to what runs (gpulets.h)
 *   brain.c       carries out what sched/ decides
 *   infer*.c      one inference request from the socket to the answer (infer.h)
 *   ensemble*.c   ensembles: what they are made of, and their requests (ensembles.h)
 *   api.c         all other HTTP routes; api_repository.c: models at run time
 *   request_log.c the log line of a request that was not answered in time
 *   metrics*.c    the text for Prometheus
 *   planning*.c   from profiles and rates to a plan, on a thread of its own (planning.h)
 *   follow.c      when a plan is wanted, and whether it is gone over to (follow.h)
 *   transition.c  from the running plan to another; events.c: what became of it
 *   devices.c     devices that are gone, and back
 *   api_admin.c   the plan, the rates and the events from outside
 *   reload.c      models read anew from the repository at run time
 *   known.c       how well the latencies of models are known
 *   recall.c      what the store knows of models' files, and of copies of them
 *   calibrate.c   measures what is not known, while nothing else is to do or between requests
 *   prepared.c    prepares models for a quick load, likewise
 *   lend.c        idle gpu-lets lend their units to busy neighbours
 */
#ifndef GPULET_SERVER_INTERNAL_H
#define GPULET_SERVER_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/duration.h"
#include "base/hist.h"
#include "base/log_limit.h"
#include "core/device_type.h"
#include "core/interference.h"
#include "core/plan.h"
#include "core/profile.h"
#include "core/workload.h"
#include "device/backend.h"
#include "engine/engine.h"
#include "ipc/slab.h"
#include "net/http.h"
#include "plan/apps.h"
#include "plan/serving.h"
#include "proto/oip.h"
#include "sched/follow.h"
#include "sched/sched.h"
#include "server/events.h"
#include "server/executions.h"
#include "server/machine.h"
#include "server/measured_by.h"
#include "server/repository.h"
#include "server/settings.h"
#include "server/worker.h"

struct event;
struct event_base;
typedef struct gpulet_server gpulet_server_t;
typedef struct server_gpulet server_gpulet_t;
typedef struct server_infer server_infer_t;
typedef struct server_ensemble server_ensemble_t;
typedef struct server_run server_run_t;

#define SERVER_LANE_NONE UINT32_MAX
enum { SERVER_DEVICES_MAX = 128, SERVER_MODELS_MAX = 10000 /* as many as the brain knows */ };

/* Durations and their number, as Triton's statistics have them. */
typedef struct server_duration {
    uint64_t count;
    uint64_t ns;
} server_duration_t;

typedef struct server_batch_stats {
    uint64_t count;
    uint64_t input_ns;
    uint64_t exec_ns;
    uint64_t output_ns;
} server_batch_stats_t;

typedef enum server_model_state {
    SERVER_MODEL_LOADING,
    SERVER_MODEL_READY,
    SERVER_MODEL_UNAVAILABLE
} server_model_state_t;

/* A name and version may be held twice for a while: by what is served, and by what was read anew
 * from the repository and is being loaded to take its place (reload.c). */
typedef enum server_model_role {
    SERVER_MODEL_FREE,    /* the slot holds no model */
    SERVER_MODEL_COMING,  /* being loaded; CURRENT when the plan with it is served */
    SERVER_MODEL_CURRENT, /* what clients reach by its name */
    SERVER_MODEL_GOING    /* freed when its last request is answered and its last worker gone */
} server_model_role_t;

/* An input segment, shared by a model and what takes its place, so that what waits can move. */
typedef struct server_inputs {
    gpulet_slab_t *slab;
    uint32_t refs;
} server_inputs_t;

/* Names of an output's classes, a line each in the file that the configuration names. */
typedef struct server_labels {
    char *text;         /* owned; the lines, each ended by a zero byte */
    const char **names; /* owned; into text */
    size_t count;
} server_labels_t;

/* What the profile under a model's name is (known.h). */
typedef enum server_known {
    SERVER_KNOWN_NOT = 0, /* there is none */
    SERVER_KNOWN_OTHERS,  /* of the file that it had before */
    SERVER_KNOWN_PART,    /* of its file, but more is to be measured */
    SERVER_KNOWN_WHOLE,
    SERVER_KNOWN_GIVEN /* its user's own */
} server_known_t;

typedef struct server_model {
    uint32_t id;
    server_model_role_t role;
    struct server_model *successor; /* what is being loaded in its place; NULL */
    bool dropped; /* CURRENT, and of a version not served any more once the new plan is */
    uint32_t infers_open;
    gpulet_repository_model_t own;
    const gpulet_repository_model_t *entry; /* own */
    char version_text[24];
    server_model_state_t state;
    char reason[512];
    server_ensemble_t *ensemble; /* owned; NULL: it is one model, run by workers */
    bool batched;                /* the first dimension is the batch */
    bool dynamic;                /* dimensions other than the batch vary */
    uint32_t batch_max;          /* ≥ 1 */
    uint32_t batch_fixed;
    uint8_t input_at[GPULET_MODEL_IO_MAX];  /* where the model file has the configuration's input */
    uint8_t output_at[GPULET_MODEL_IO_MAX]; /* likewise */
    double slo_ms;       /* 0: best effort; the workload's over the repository's */
    double stage_slo_ms; /* the smallest share that an ensemble leaves it; 0: no ensemble with an
                            objective uses it */
    double rate_rps;     /* 0: not given */
    double staged_rps;   /* what ensembles are expected to ask of it, of as many as are planned */
    double staged_seen_rps; /* as much of that the followed rate has begun with (follow.c) */
    uint32_t priority;
    double weight;
    bool outputs_whole; /* its outputs have no batch dimension: one item a run, answered as they are
                         */
    server_labels_t *labels; /* one an output; NULL: none has any */
    server_inputs_t *inputs; /* made when it is first loaded */
    uint64_t load_ns;
    uint64_t memory_bytes;
    server_known_t known;
    gpulet_profile_t *measured; /* of its file, not interpolated; owned; NULL: nothing */
    bool rough;             /* some of that between requests: good enough for now, and not kept */
    bool failed_to_measure; /* some of it could not be */
    bool prepare_tried;     /* prepared.c */
    bool prepared;          /* as it was when last asked or made */

    uint64_t trimmed_at; /* requests answered when the input segment was last given back */

    /* statistics */
    uint64_t last_inference_ms;
    uint64_t inference_count;
    uint64_t execution_count;
    server_duration_t success;
    server_duration_t fail;
    server_duration_t queue;
    server_duration_t compute_input;
    server_duration_t compute_infer;
    server_duration_t compute_output;
    server_batch_stats_t *batches;    /* batch_max + 1 entries */
    gpulet_hist_t *latency_ns;        /* answered requests, arrival to answer; made on first use */
    gpulet_hist_t *queue_ns;          /* likewise, arrival to commitment */
    gpulet_log_limit_t log_limits[2]; /* lines about its requests: failed ones have the second */
} server_model_t;

/* ---- gpu-lets ---- */

typedef enum server_gpulet_state {
    SERVER_GPULET_HELD,     /* not started yet: there is no memory for it until others are gone */
    SERVER_GPULET_STARTING, /* process started, enters its partition */
    SERVER_GPULET_LOADING,
    SERVER_GPULET_WAITING, /* loaded, waits for its plan to be switched to */
    SERVER_GPULET_SERVING,
    SERVER_GPULET_DRAINING,
    SERVER_GPULET_STOPPING,
    SERVER_GPULET_BACKOFF /* its worker died; a new one is started at restart_at_ns */
} server_gpulet_state_t;

typedef struct server_service {
    uint32_t model;
    uint32_t batch;
    uint32_t batch_next; /* of the plan that is being reached, if the gpu-let goes on, as is … */
    double rate_rps;
    double rate_next;      /* … this */
    uint32_t batch_loaded; /* the largest that its worker was told of */
    bool asked;            /* its worker was told to load it */
    bool loaded;
    bool failed;  /* its worker refused the model: served by other gpu-lets, if any */
    bool coming;  /* only the plan that is being reached has it here: served from the switch on */
    bool going;   /* that plan has it here no more: served until then */
    bool held;    /* coming, and there is no memory for it until others are gone */
    bool widened; /* there is a copy for lent units */
    bool widen_asked;
    uint64_t run_ns;    /* of one item when it was loaded; 0: not timed, as its profile is known */
    uint64_t narrow_ns; /* what one item took without lent units, when they were lent */
} server_service_t;

struct server_gpulet {
    gpulet_server_t *server;
    server_gpulet_t *next;
    char name[48];
    uint32_t device; /* index into server->devices */
    uint32_t units;
    double duty_ms;
    double duty_next; /* as rate_next of its services */
    uint32_t services_count;
    server_service_t *services; /* owned */
    gpulet_partition_t *partition;
    gpulet_worker_t *worker;
    struct event *event;
    struct event *batches_event;
    server_gpulet_state_t state;
    bool running; /* in the plan that is served */
    bool changed; /* in the middle of a switch: its models are other ones from now on */
    bool retired; /* not in the newest plan, which may be one that is being reached */
    uint32_t lane;
    uint32_t loads_pending;
    uint32_t failures; /* in a row */
    uint64_t restart_at_ns;
    uint64_t serving_since_ns;
    uint64_t started_ns; /* its worker */
    uint64_t startup_ns; /* from its start to serving, the last time; 0: never yet */
    uint64_t busy_ns;    /* execution, summed */
    server_executions_t executions;
    uint64_t lost_count;
    uint32_t refused_count; /* models that its worker refused */
    bool lost; /* set inside a worker callback; handled at the end of the turn, as are the next two
                */
    bool stopped;
    bool drained;
    bool overlaps; /* its units are shared with a gpu-let that is about to go */
    /* lend.c */
    double load;           /* share of the last moments that it ran */
    uint64_t load_busy_ns; /* busy_ns when load was last brought up to date */
    uint64_t load_at_ns;
    server_gpulet_t *borrower; /* has the use of our units; NULL: nobody */
    uint32_t borrowed_units;   /* of others that we have the use of */
    uint32_t wide_units;       /* own and lent units that the worker's copies were loaded for */
    uint32_t widen_pending;    /* copies that are being loaded */
    uint64_t lend_after_ns;    /* lent units were of no use or could not be had: not before then */
    uint32_t lend_failures;    /* in a row */
    uint64_t borrowed_since_ns;
    uint64_t trial_since_ns; /* a loan is on trial all the time: since then … */
    uint32_t trial_runs;     /* … so many runs of models with a copy … */
    double trial_ns;         /* … took this long … */
    double trial_narrow_ns;  /* … and would have taken this long without it */
    bool restarted; /* replaces a worker that died: wanted at once, so not in the background */
};

typedef struct server_device {
    gpulet_device_desc_t desc;
    gpulet_device_t *device;
    bool gone;                /* the backend says so */
    bool failing;             /* no worker lives on it: not planned for until back_at_ns */
    uint64_t back_at_ns;      /* when it is tried again */
    uint32_t failures;        /* in a row */
    uint64_t telemetry_at_ns; /* when it was asked for last (metrics_machine.c) */
    bool telemetry_known;     /* the device answered */
    gpulet_device_telemetry_t telemetry; /* then */
} server_device_t;

/* An answer that waits to be carried out (brain.c). */
typedef struct server_answer {
    gpulet_action_t action;
} server_answer_t;

/* A batch's outputs, shared by the requests of the batch until the last answer is sent. */
typedef struct server_output {
    void *handle;
    uint32_t refs;
} server_output_t;

typedef struct server_calibration server_calibration_t;
typedef struct server_prepared server_prepared_t;
typedef struct server_recall server_recall_t;
typedef struct server_waiter server_waiter_t;
typedef struct server_asker server_asker_t;
typedef struct server_follow server_follow_t;
typedef struct server_planner server_planner_t;
struct server_plan_job;

/* How the objectives of ensembles are shared out among their models (ensemble_plan.c). */
typedef struct server_shares {
    gpulet_apps_t *apps;       /* owned; NULL: as much for every step */
    gpulet_apps_plan_t *split; /* owned, borrows apps; NULL likewise */
} server_shares_t;

/* On the way from what runs to another plan: the one under way, or the last. */
typedef struct server_transition {
    gpulet_follow_reason_t reason;
    uint64_t wanted_ns; /* when the plan was */
    uint64_t begun_ns;  /* when the plan was there */
    uint64_t plan_ns;
    gpulet_serving_note_t note;
    uint64_t models_seen; /* models_seq, as the plan knows it, and so on */
    uint64_t devices_seen;
    uint64_t asks_seen;
    uint32_t devices_before;
    uint32_t started; /* gpu-lets */
    uint32_t stopped;
    uint32_t kept;   /* those that change their models included */
    uint32_t loaded; /* models, in all gpu-lets together */
    uint32_t unloaded;
    uint32_t broken; /* gpu-lets that had to give up models before others had them, for memory */
    bool restores;   /* it leads back to the running plan, of which such are missing */
} server_transition_t;

struct gpulet_server {
    gpulet_settings_t settings;
    struct event_base *base;
    struct event *sched_timer; /* readable when timer_fd fires */
    int timer_fd;
    struct event *tick;
    uint64_t ticks;
    struct event *stop_signals[3];
    gpulet_http_server_t *http;
    gpulet_http_server_t *metrics_http;
    gpulet_sched_t *sched;
    uint64_t started_ns;
    uint64_t shape_seed;      /* of the keys by which requests of one shape are told; secret */
    server_machine_t machine; /* as metrics were asked for last */

    server_model_t *models; /* SERVER_MODELS_MAX slots, so that they never move; untouched ones
                               take no memory */
    uint32_t models_count;  /* slots used so far, by id; some may be FREE */
    server_model_t **named; /* the CURRENT ones by name, newest version first */
    uint32_t named_count;

    const gpulet_device_backend_t *backend;
    gpulet_device_options_t device_options;
    char cpus[GPULET_CPUS_TEXT_MAX + 1]; /* device_options.cpus once the server stands aside */
    server_device_t devices[SERVER_DEVICES_MAX];
    uint32_t devices_count;
    gpulet_device_set_t *device_set;

    gpulet_profile_t *profile;
    gpulet_profile_t *profile_given; /* what of it is the user's own; NULL: nothing */
    gpulet_workload_t *workload;     /* the file's, or NULL */
    gpulet_interference_t *interference;
    gpulet_plan_t *plan;        /* what is served; NULL before the first */
    gpulet_plan_t *plan_next;   /* while switching: what is being reached */
    gpulet_serving_note_t note; /* of the plan that is served */
    server_shares_t shares;     /* likewise */
    server_shares_t shares_next;
    uint64_t replans;
    server_transition_t transition;
    server_events_t *events;
    server_follow_t *follow;
    server_planner_t *planner; /* planning_thread.c */
    /* Each change counts one on; a plan is for what was counted when it was asked for. */
    uint64_t models_seq;  /* models that come, change or go */
    uint64_t devices_seq; /* devices that are lost or back */
    uint64_t plans_seq;   /* plans that came from outside */
    uint64_t asks_seq;    /* plans that a person asked for */
    bool ask_forced;
    bool devices_blamed;          /* devices.c: a change that no plan was asked for yet */
    struct gpulet_store *store;   /* NULL: nothing is kept */
    struct server_keeper *keeper; /* writes into it */
    server_recall_t *recall;      /* asks it; NULL likewise */
    char measured_by[GPULET_MEASURED_BY_MAX + 1];
    bool calibration_wanted;
    server_calibration_t *calibration;
    server_prepared_t *prepared; /* NULL: no model is prepared */

    server_gpulet_t *gpulets;
    server_gpulet_t **lanes; /* lane id → gpu-let, GPULET lanes_max entries */
    uint32_t lanes_max;
    char *worker_program;

    uint32_t gpulets_named;
    bool gpulets_dirty; /* server_gpulets_step has something to do */
    bool switching;     /* gpu-lets of a new plan are starting */
    bool ready;
    bool draining;
    uint64_t drain_until_ns;
    bool stop;
    gpulet_status_t exit_status;
    gpulet_error_t exit_error;

    /* brain.c */
    server_answer_t *answers;
    size_t answers_count;
    size_t answers_capacity;
    size_t answers_next;
    bool answering;
    const gpulet_worker_result_t *result; /* of the batch that is being answered */
    server_output_t *result_output;
    const server_gpulet_t *result_gpulet; /* that ran it */
    uint64_t timer_wanted_ns;             /* what the brain said last */
    uint64_t timer_armed_ns;              /* what sched_timer is set to; UINT64_MAX: it is not */

    server_waiter_t *waiters; /* api_repository.c */
    server_asker_t *askers;   /* api_admin.c */

    /* ensemble.c */
    struct gpulet_app_runs *app_runs; /* NULL: there is no ensemble */
    server_run_t *runs;               /* all that there are, also those that only end */
    uint64_t held_bytes;              /* of tensors that wait for a stage */

    /* infer.c */
    server_infer_t *infer_free;
    uint64_t infers_open;
    uint64_t infers_total;
    struct server_large *large_free;
    uint32_t large_next;
    uint64_t large_bytes;
};

/* reload.c */
/* Reads a model's folder anew: what changed is made COMING, what is gone `dropped`. config: text of
 * a config.pbtxt in place of the file's, or NULL. *anything: there is something to load, so a plan
 * is to be made, and settle follows when it is served or given up. E_NOT_FOUND: there is no such
 * folder. On failure nothing has changed. */
gpulet_status_t server_reload_begin(gpulet_server_t *server, const char *name, const char *config,
                                    bool *anything, gpulet_error_t *err) GPULET_MUST_USE;
/* A plan is served, or the old one is kept: what was loaded takes its place, what was not goes.
 * failed is called for each that could not be loaded. */
void server_reload_settle(gpulet_server_t *server,
                          void (*failed)(gpulet_server_t *server, const server_model_t *model));
/* What is served already takes its place; the rest is left for a later plan. */
void server_reload_promote(gpulet_server_t *server);
/* What is coming under the name is not wanted any more. */
void server_reload_abandon(gpulet_server_t *server, const char *name);
/* Frees what nobody refers to any more. */
void server_reload_reap(gpulet_server_t *server);
/* What a request of the model that cannot be served any more may be given to: the model that took
 * its place, if it is served and takes the same tensors; else NULL. */
server_model_t *server_reload_heir(const server_model_t *model);

/* server.c */
void server_announce_ready(gpulet_server_t *server);

/* catalog.c */
/* The brain's figures of a model, or the same of an ensemble. */
void server_model_stats(const gpulet_server_t *server, const server_model_t *model,
                        gpulet_sched_model_stats_t *out);
gpulet_status_t server_catalog_open(gpulet_server_t *server, gpulet_error_t *err);
void server_catalog_close(gpulet_server_t *server);
/* Gives back the pages of input segments that hold nothing. */
void server_catalog_trim(gpulet_server_t *server);
/* Moves an entry of the repository into a slot: COMING. Frees what it took when it fails. */
gpulet_status_t server_catalog_add(server_model_t **out, gpulet_server_t *server,
                                   gpulet_repository_t *repository, size_t index,
                                   gpulet_error_t *err) GPULET_MUST_USE;
void server_catalog_share_inputs(server_model_t *model, server_model_t *from);
/* Empties the slot; the brain has forgotten the model. */
void server_catalog_free(server_model_t *model);
/* Roles have changed: the list of names is made anew. */
void server_catalog_index(gpulet_server_t *server);
/* Plans to come hold the model. */
bool server_model_wanted(const server_model_t *model);
server_model_t *server_model_find(gpulet_server_t *server, const char *name, size_t name_len,
                                  const char *version);
server_model_t *server_model_by_key(gpulet_server_t *server, const char *key);
/* Tells the brain about the model's objectives: the smallest of its own and what ensembles leave
 * it.
 */
gpulet_status_t server_model_publish(gpulet_server_t *server, server_model_t *model);

/* The input segment, made when the model is first loaded. */
gpulet_status_t server_model_inputs(gpulet_server_t *server, server_model_t *model,
                                    gpulet_error_t *err);

/* planning.c */
gpulet_status_t server_planning_open(gpulet_server_t *server, gpulet_error_t *err);
void server_planning_close(gpulet_server_t *server);
/* exec_ns table of a model at a size, from the profile; count 0 when nothing is known. Caller
 * frees. */
uint64_t *server_planning_exec_table(gpulet_server_t *server, const server_model_t *model,
                                     const char *device, uint32_t units, uint32_t *count);

/* gpulets.c */
gpulet_status_t server_gpulets_open(gpulet_server_t *server, gpulet_error_t *err);
void server_gpulets_close(gpulet_server_t *server);
/* Starts what the plan needs and does not run yet; when all of it is loaded, routing is switched in
 * one step and the rest retires. Takes over plan. On failure the plan that runs goes on. */
gpulet_status_t server_gpulets_apply(gpulet_server_t *server, gpulet_plan_t *plan,
                                     gpulet_error_t *err);
/* Called every tick and after worker callbacks: restarts, switches, stops. */
void server_gpulets_step(gpulet_server_t *server);
/* Asks every worker to end. */
void server_gpulets_stop(gpulet_server_t *server);
bool server_gpulets_all_stopped(const gpulet_server_t *server);
void server_gpulets_lane_idle(gpulet_server_t *server, uint32_t lane);
const char *server_gpulet_state_text(server_gpulet_state_t state);

/* brain.c */
/* Carries out actions: runs at once, answers after what is being answered. */
void server_brain_apply(gpulet_server_t *server, gpulet_actions_t actions);
/* Sets the timer if the brain wants to be called earlier than it is set to. */
void server_brain_arm(gpulet_server_t *server);
/* A batch of the gpu-let is done: result is valid for the call. */
void server_brain_done(const server_gpulet_t *g, const gpulet_worker_result_t *result);
void server_output_unref(void *output);

/* infer.c */
void server_infer_begin(gpulet_server_t *server, gpulet_http_request_t *http,
                        server_model_t *model);
void server_infer_filled(server_infer_t *infer);
void server_infer_body(server_infer_t *infer, char *data, size_t size);
/* Hands a waiting request to the model that took the place of its own. */
void server_infer_move(server_infer_t *infer, server_model_t *model);
void server_infer_gone(server_infer_t *infer);
void server_infer_finished(server_infer_t *infer);
void server_infer_span(const server_infer_t *infer, gpulet_wire_span_t *span,
                       gpulet_worker_large_t *large, uint32_t *large_count);
void server_infer_answer(server_infer_t *infer, const gpulet_action_t *action,
                         const gpulet_worker_result_t *result, server_output_t *output);
void server_infer_reject(server_infer_t *infer, gpulet_reject_t reason, uint64_t retry_after_ns);
void server_infer_cancelled(server_infer_t *infer);
void server_infer_close_all(gpulet_server_t *server);

/* api.c */
gpulet_status_t server_api_open(gpulet_server_t *server, gpulet_error_t *err);
void server_api_close(gpulet_server_t *server);
void server_respond_error(gpulet_http_request_t *http, int status, const char *text);
/* 200 with the text as JSON; frees it. */
void server_respond_buf(gpulet_http_request_t *http, gpulet_buf_t *body);
void server_respond_status(gpulet_http_request_t *http, gpulet_status_t status, const char *text);

/* api_repository.c: models listed, loaded and unloaded at run time */
void server_repository_index(gpulet_server_t *server, gpulet_http_request_t *http, const char *body,
                             size_t size);
void server_repository_load(gpulet_server_t *server, gpulet_http_request_t *http, const char *name,
                            const char *body, size_t size);
void server_repository_unload(gpulet_server_t *server, gpulet_http_request_t *http,
                              const char *name, const char *body, size_t size);
/* The plan that loads and unloads wait for is served. */
void server_repository_switched(gpulet_server_t *server);
/* A plan is served that knows of the changes up to `seen`; another is being made for later ones. */
void server_repository_advanced(gpulet_server_t *server, uint64_t seen);
/* It could not be made. */
void server_repository_failed(gpulet_server_t *server, const char *why);
void server_repository_finished(gpulet_server_t *server, gpulet_http_request_t *http);

/* api_admin.c: the plan, the rates and the events */
void server_admin_plan(gpulet_server_t *server, gpulet_http_request_t *http);
void server_admin_put_plan(gpulet_server_t *server, gpulet_http_request_t *http, const char *body,
                           size_t size);
void server_admin_replan(gpulet_server_t *server, gpulet_http_request_t *http, const char *body,
                         size_t size);
void server_admin_rates(gpulet_server_t *server, gpulet_http_request_t *http);
void server_admin_pin(gpulet_server_t *server, gpulet_http_request_t *http, const char *body,
                      size_t size);
void server_admin_events(gpulet_server_t *server, gpulet_http_request_t *http);
/* What was asked for up to asks_seen is done, one way or the other. */
void server_admin_settled(gpulet_server_t *server, uint64_t asks_seen, server_outcome_t outcome,
                          double duration_ms, const char *why);
/* What was asked for after asks_seen will not be done. */
void server_admin_refused(gpulet_server_t *server, uint64_t asks_seen, const char *why);
void server_admin_finished(gpulet_server_t *server, gpulet_http_request_t *http);

/* transition.c */
/* Goes over to the job's plan, which it takes. On failure what runs goes on, and job->err says why.
 */
gpulet_status_t server_transition_begin(gpulet_server_t *server, struct server_plan_job *job);
/* What runs is as good as the plan. */
void server_transition_kept(gpulet_server_t *server, const struct server_plan_job *job);
/* The plan could not be made, or not be begun with. */
void server_transition_failed(gpulet_server_t *server, const struct server_plan_job *job);
/* Devices that hold a gpu-let of the running plan. */
uint32_t server_devices_used(const gpulet_server_t *server);

/* metrics.c */
void server_metrics_write(gpulet_buf_t *out, gpulet_server_t *server);

/* page.html, as it is served at /gpulet/; the build writes the file. */
extern const unsigned char server_page[];
extern const size_t server_page_size;

/* status.c */
gpulet_status_t server_status_write(gpulet_buf_t *out, gpulet_server_t *server);

/* devices.c: about every second */
void server_devices_check(gpulet_server_t *server);
/* A plan is about to be given up: devices on which none of its workers live are not planned for
 * next time. */
void server_devices_blame(gpulet_server_t *server, uint64_t now_ns);

/* calibrate.c */
/* Measures what is to be measured of all models; E_NOT_FOUND when there is nothing. */
gpulet_status_t server_calibrate_begin(gpulet_server_t *server);
bool server_calibrate_measures(const gpulet_server_t *server, const server_model_t *model);
/* It has nothing in hand: it waits for a moment without requests. */
bool server_calibrate_waits(const gpulet_server_t *server);
/* Has it begin, where measuring is not turned off, as soon as it can. */
void server_calibrate_want(gpulet_server_t *server);
void server_calibrate_step(gpulet_server_t *server);
void server_calibrate_end(gpulet_server_t *server);

/* prepared.c: the cache of models as the engine rewrites them */
gpulet_status_t server_prepared_open(gpulet_server_t *server, gpulet_error_t *err);
void server_prepared_close(gpulet_server_t *server);
/* The file to load in place of the model's, written to out; NULL when there is none. */
const char *server_prepared_find(char *out, size_t out_size, gpulet_server_t *server,
                                 server_model_t *model);
/* lend.c: called every tick. */
void server_lend_step(gpulet_server_t *server, uint64_t now_ns);
/* Before the gpu-let stops serving, or its worker goes. */
void server_lend_end(server_gpulet_t *g, uint64_t now_ns);
/* The gpu-let has run a batch. */
void server_lend_ran(server_gpulet_t *g, const gpulet_worker_result_t *result);
void server_lend_widened(server_gpulet_t *g, uint32_t model, gpulet_status_t status,
                         const char *text);

/* Models that are to be prepared yet, the one under way included. */
uint32_t server_prepared_pending(const gpulet_server_t *server);
bool server_prepared_running(const gpulet_server_t *server);
/* Begins, watches and ends the preparation of one model at a time, while nothing else is to do. */
void server_prepared_step(gpulet_server_t *server);

#endif
