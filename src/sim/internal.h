/* The inside of a run, shared by the files of this folder:
 *
 *   setup.c       from options to a run
 *   run.c         the loop over events, and what the brain's actions do
 *   lane.c        batches on lanes: how long they take
 *   gpulet.c      gpu-lets: start, load, serve, drain, die
 *   device.c      what stands on a device, and what room there is
 *   transition.c  from one plan to the next
 *   planning.c    plans for what is wanted, on the devices that are there
 *   following.c   when a plan is wanted
 *   app.c         requests of applications, and their stages
 *   fault.c       what goes wrong
 *   stats.c       what is counted
 *   check.c       the promises
 *
 * The brain's answer to an event is carried out before the brain is asked again: what an action
 * brings about elsewhere (a worker lost, a gpu-let gone) is only noted, and done by sim_settle. */
#ifndef GPULET_SIM_INTERNAL_H
#define GPULET_SIM_INTERNAL_H

#include "core/arrivals.h"
#include "core/plan.h"
#include "sched/app.h"
#include "sched/follow.h"
#include "sched/sched.h"
#include "sim/curves.h"
#include "sim/events.h"
#include "sim/sim.h"
#include "sim/truth.h"

#define SIM_NONE  UINT32_MAX
#define SIM_NEVER UINT64_MAX

enum { SIM_LANES_MAX = 4096, SIM_BEGIN_NS = 1000000000, SIM_START_TRIES = 3 };

typedef enum sim_event_kind {
    SIM_EVENT_ARRIVAL, /* index: who is asked */
    SIM_EVENT_TRACE,
    SIM_EVENT_DONE,     /* index: lane, arg: batch */
    SIM_EVENT_DEATH,    /* likewise: the worker is lost, or taken for lost */
    SIM_EVENT_GPULET,   /* index: gpu-let, arg: its epoch */
    SIM_EVENT_CANCEL,   /* index: request, arg: its ticket */
    SIM_EVENT_APP_GONE, /* index: run, arg: its id */
    SIM_EVENT_TICK,
    SIM_EVENT_PLANNED, /* arg: when it was wanted */
    SIM_EVENT_LIMIT,   /* arg: the transition's number */
    SIM_EVENT_BURST,
    SIM_EVENT_DEVICE_GONE,
    SIM_EVENT_DEVICE_BACK, /* index: device */
    SIM_EVENT_WINDOW,
    SIM_EVENT_CALM /* the duration is over: faults end */
} sim_event_kind_t;

/* ---- requests and batches ---- */

typedef enum sim_request_state {
    SIM_REQUEST_FREE,
    SIM_REQUEST_WAITING,
    SIM_REQUEST_RUNNING
} sim_request_state_t;

/* What was asked of a model or an application, as it is counted. */
typedef struct sim_asked {
    uint64_t arrival_ns;
    uint32_t subject; /* a model, or behind them an application */
    uint32_t items;
    uint32_t window;
    bool counted;
    bool staged; /* by an application */
} sim_asked_t;

/* Of a model. The brain knows it by its place and generation, so that an answer to an old one is
 * seen. */
typedef struct sim_request {
    sim_asked_t asked;
    uint64_t deadline_ns;
    gpulet_ticket_t ticket;
    uint64_t batch; /* checked only */
    uint32_t generation;
    uint32_t next;  /* free one */
    uint32_t run;   /* that it is a stage of; SIM_NONE: a client's own */
    uint32_t stage; /* of that */
    uint8_t state;
    bool cancelled; /* asked for */
    bool returned;  /* its batch was lost */
} sim_request_t;

typedef struct sim_batch {
    uint64_t id; /* 0: there is none */
    uint64_t commit_ns;
    /* Once it has started: */
    uint64_t begin_ns;   /* perhaps a little before or after it was seen to */
    uint64_t reached_ns; /* up to here it is known how far it came */
    double left_ns;      /* what it has to do from there on, alone */
    double slowdown;     /* by its neighbours, from there on */
    uint64_t end_ns;     /* as things stand; SIM_NEVER: it dies or falls silent */
    uint64_t heard_ns;   /* when the brain hears of that */
    uint32_t model;
    uint32_t items;
    uint32_t count;
    bool started;
    const sim_curve_t *curve;
    uint32_t *requests; /* GPULET_SCHED_BATCH_REQUESTS_MAX; only with checks; owned */
} sim_batch_t;

/* ---- devices, gpu-lets, lanes ---- */

typedef struct sim_service {
    uint32_t model;
    const sim_curve_t *curve;
    gpulet_plan_share_t share;
} sim_service_t;

typedef struct sim_lane {
    uint32_t gpulet;  /* SIM_NONE: the lane is free */
    uint32_t ordinal; /* among its gpu-let's */
    uint32_t served_count;
    uint32_t served_capacity;
    struct {
        uint32_t model;
        const sim_curve_t *curve;
    } * served; /* owned */
    bool draining;
    uint32_t ran_model;    /* of the batch before … */
    uint64_t ran_until_ns; /* … which ended then; 0: there was none */
    sim_batch_t running;
    sim_batch_t waiting;
} sim_lane_t;

typedef enum sim_gpulet_state {
    SIM_GPULET_BLOCKED, /* waits for room that others still take */
    SIM_GPULET_STARTING,
    SIM_GPULET_LOADING,
    SIM_GPULET_READY, /* loaded; served from with its plan */
    SIM_GPULET_SERVING,
    SIM_GPULET_DRAINING,
    SIM_GPULET_DEAD /* its worker or device is gone, nothing is under way */
} sim_gpulet_state_t;

typedef struct sim_gpulet {
    sim_gpulet_state_t state;
    uint32_t id; /* its place */
    uint32_t device;
    uint32_t units;
    int32_t slot;
    double duty_ms;
    double duty_next_ms;
    size_t services_count;
    sim_service_t *services; /* owned */
    size_t wanted_count;
    sim_service_t *wanted; /* of the plan under way, of one that goes on; owned, or NULL */
    bool heir;             /* the plan under way has it */
    bool retired;          /* it has not */
    bool loading;          /* serves, and loads what the plan under way adds */
    bool fresh;            /* begun for the plan under way, and has not served yet */
    bool early;            /* serves for the plan under way before all of it is there */
    bool lost;             /* its worker died in this event */
    uint32_t speed;        /* what the brain calls its size: differs with type and instances */
    uint32_t loads_left;
    uint32_t failures;
    uint64_t epoch; /* of the event that is due for it */
    size_t lanes_count;
    uint32_t *lanes;   /* owned; one an instance */
    size_t planned_at; /* in the plan derived last */
} sim_gpulet_t;

typedef struct sim_device {
    uint32_t type;
    uint32_t index;
    bool gone;
    double planned_mb; /* the most that the plans allowed it in the transition under way */
    size_t gpulets_count;
    size_t gpulets_capacity;
    uint32_t *gpulets; /* owned */
} sim_device_t;

/* ---- models ---- */

typedef struct sim_model {
    gpulet_arrivals_t stream;
    gpulet_rng_t service;
    gpulet_sched_model_t value; /* as the brain knows it; its objective is the smallest share */
    double slo_ms;              /* of those who ask for it directly; where nobody does, as late as
                                   the latest application */
    bool staged;                /* an application uses it */
    double planned_rps;         /* of the plan that runs */
    uint64_t offered;           /* requests, for the checks */
    uint64_t ended;
} sim_model_t;

/* ---- applications (app.c) ---- */

typedef struct sim_app {
    const gpulet_app_t *app;
    uint32_t *models; /* of its stages; owned */
    gpulet_arrivals_t stream;
    gpulet_app_gate_t gate;
    uint64_t offered; /* requests, for the checks */
    uint64_t ended;
    uint32_t running;
} sim_app_t;

/* A request of an application. It stays until none of its stages is under way any more. */
typedef struct sim_run {
    gpulet_app_run_t id;
    sim_asked_t asked;
    uint64_t deadline_ns;
    gpulet_app_set_t submitted; /* stages, for the checks, as the next */
    gpulet_app_set_t done;
    uint32_t app;
    uint32_t under_way; /* stages */
    uint32_t next;      /* free one */
    bool taken;
    bool over; /* it has its answer */
    bool probe;
} sim_run_t;

typedef enum sim_stage_how {
    SIM_STAGE_ANSWERED,
    SIM_STAGE_FAILED,
    SIM_STAGE_REJECTED,
    SIM_STAGE_CANCELLED
} sim_stage_how_t;

/* A stage has ended; what follows from it is done when the event is. */
typedef struct sim_stage_end {
    uint32_t run;
    uint32_t stage;
    sim_stage_how_t how;
} sim_stage_end_t;

typedef struct sim_apps {
    uint32_t count;
    sim_app_t *items;           /* owned */
    gpulet_app_runs_t *running; /* NULL: there are no applications */
    uint32_t runs_count;
    sim_run_t *runs; /* owned */
    uint32_t run_free;
    uint32_t stages_most; /* of an application */
    uint32_t *places; /* requests of stages, stages_most a run; SIM_NONE: not under way; owned */
    size_t ends_first;
    size_t ends_count;
    size_t ends_capacity;
    sim_stage_end_t *ends; /* owned */
} sim_apps_t;

typedef struct sim_transition {
    bool active;
    bool broke; /* gpu-lets were stopped to make room: there is no way back */
    uint64_t number;
    uint64_t wanted_ns;
    gpulet_plan_t *plan; /* owned */
} sim_transition_t;

typedef struct sim sim_t;

struct sim {
    const gpulet_sim_options_t *o;
    gpulet_sim_result_t *result;
    gpulet_error_t *err;
    gpulet_status_t status; /* the first failure; ends the run */
    uint64_t now_ns;
    uint64_t timer_ns; /* the brain's */
    uint64_t hash;
    uint64_t count_from_ns;
    uint64_t count_until_ns;
    uint64_t arrivals_until_ns;
    sim_events_t events;
    gpulet_sched_t *sched;
    sim_curves_t curves;
    sim_truth_t *truth;
    size_t models_count;
    sim_model_t *models;
    sim_apps_t apps;
    size_t trace_next;
    uint32_t
        requests_count; /* as many as the brain holds, and those that it is about to be given */
    sim_request_t *requests;
    uint32_t request_free;
    sim_lane_t *lanes; /* SIM_LANES_MAX */
    uint32_t *lanes_free;
    uint32_t lanes_free_count;
    size_t devices_count;
    size_t devices_capacity;
    sim_device_t *devices;
    size_t gpulets_count; /* places */
    size_t gpulets_capacity;
    sim_gpulet_t **gpulets; /* NULL: a free place */
    uint64_t epoch_next;
    bool restless; /* something was noted for the end of the event */
    bool hopeless; /* … namely that the plan under way cannot be reached */
    bool faulty;   /* faults happen */
    bool answered; /* all that was asked is; what checks wait for beyond that is not in the trace */
    gpulet_rng_t start_rng;
    gpulet_rng_t fault_rngs[GPULET_FAULT_COUNT];
    sim_transition_t transition;
    gpulet_follow_t *follow;  /* NULL: one plan for all of it */
    double *covers;           /* scratch of following.c, an entry a model */
    gpulet_plan_t *plan;      /* that runs */
    gpulet_plan_t *plan_next; /* made, not yet due */
    uint64_t plan_wanted_ns;
    uint32_t devices_used;
    uint64_t devices_since_ns;
    double devices_area; /* device · ns, counted */
    size_t windows_capacity;
    const sim_batch_t *answering; /* checks: the batch whose end the brain is told */
    uint64_t checks;
};

/* run.c */
void sim_fail(sim_t *sim, gpulet_status_t status);
void sim_add_event(sim_t *sim, sim_event_kind_t kind, uint64_t at_ns, uint32_t index, uint64_t arg);
void sim_apply(sim_t *sim, gpulet_actions_t actions);
/* Models and applications. */
uint32_t sim_subjects_count(const sim_t *sim);
/* A request of the model or application now. */
void sim_arrive(sim_t *sim, uint32_t subject, uint32_t items);
/* A place for a request that the brain is about to be given. asked.window and what follows is set
 * here, and *out but for deadlines. */
uint32_t sim_request_make(sim_t *sim, gpulet_sched_request_t *out, const sim_request_t *value);
/* Calls it off. */
void sim_request_cancel(sim_t *sim, uint32_t place, uint64_t ticket);
void sim_mix(sim_t *sim, uint64_t value);
void sim_schedule_arrival(sim_t *sim, uint32_t subject);
void sim_schedule_trace(sim_t *sim);
/* Until all is answered. */
void sim_run_all(sim_t *sim);
uint64_t sim_after_s(const sim_t *sim, double seconds);

/* lane.c */
void sim_lane_run(sim_t *sim, const gpulet_action_t *action);
void sim_lane_done(sim_t *sim, uint32_t index, uint64_t batch);
void sim_lane_free(sim_t *sim, uint32_t index);
/* Something began or ended to run on the device: what else runs there goes on at its new speed. */
void sim_lanes_change_speeds(sim_t *sim, uint32_t device);
/* SIM_NONE: the run has failed. */
uint32_t sim_lane_take(sim_t *sim, uint32_t gpulet, uint32_t ordinal);

/* gpulet.c */
gpulet_status_t sim_gpulet_create(sim_gpulet_t **out, sim_t *sim, uint32_t device,
                                  const gpulet_plan_gpulet_t *planned) GPULET_MUST_USE;
/* Services as the plan has them, of a gpu-let of the device. */
gpulet_status_t sim_gpulet_services(sim_service_t **out, sim_t *sim, uint32_t device,
                                    const gpulet_plan_gpulet_t *planned) GPULET_MUST_USE;
void sim_gpulet_destroy(sim_t *sim, sim_gpulet_t *g);
bool sim_gpulet_holds(const sim_gpulet_t *g, uint32_t model);
/* MiB of its process and models, those of the plan under way included. */
double sim_gpulet_memory_mb(const sim_t *sim, const sim_gpulet_t *g);
void sim_gpulet_start(sim_t *sim, sim_gpulet_t *g);
/* What it lacks of `wanted` is loaded while it serves. */
void sim_gpulet_load_wanted(sim_t *sim, sim_gpulet_t *g);
void sim_gpulet_step(sim_t *sim, uint32_t gpulet, uint64_t epoch);
void sim_gpulet_add_lanes(sim_t *sim, sim_gpulet_t *g);
/* Its lanes serve `services`, and what `before` has beside them. */
void sim_gpulet_serve(sim_t *sim, sim_gpulet_t *g, const sim_service_t *before,
                      size_t before_count);
void sim_gpulet_drain(sim_t *sim, sim_gpulet_t *g);
/* The worker is lost: its lanes are, and it is started again unless nobody wants it. */
void sim_gpulet_lose(sim_t *sim, sim_gpulet_t *g);
void sim_gpulet_lane_idle(sim_t *sim, uint32_t index);

/* device.c */
uint32_t sim_device_get(sim_t *sim, uint32_t type, uint32_t index); /* SIM_NONE: no memory */
const gpulet_device_type_t *sim_device_type(const sim_t *sim, uint32_t device);
/* Whether the gpu-let is there at all. */
bool sim_gpulet_takes_room(const sim_gpulet_t *g);
bool sim_device_slots_overlap(const gpulet_device_type_t *type, const sim_gpulet_t *a,
                              const sim_gpulet_t *b);
/* Whether the gpu-let could start on its device beside all but those in `without` (by place; may
 * be NULL). */
bool sim_device_fits(const sim_t *sim, const sim_gpulet_t *wanted, const bool *without);
/* Of all gpu-lets but those that drain. */
uint64_t sim_device_units(const sim_t *sim, uint32_t device);
/* The true interference must know every two that may run beside one another, whether or not they
 * happen to; else the run has failed. */
void sim_device_check_truth(sim_t *sim);

/* app.c */
gpulet_status_t sim_apps_init(sim_t *sim) GPULET_MUST_USE;
void sim_apps_deinit(sim_apps_t *apps);
void sim_app_arrive(sim_t *sim, uint32_t app, uint32_t items);
/* The client hangs up. */
void sim_app_gone(sim_t *sim, uint32_t run, gpulet_app_run_t id);
/* The request, a stage, has ended. */
void sim_stage_ended(sim_t *sim, const sim_request_t *r, sim_stage_how_t how);
/* Does what follows from stages that have ended. */
void sim_apps_progress(sim_t *sim);
/* What applications ask of the model, by the rates that they are expected at. */
double sim_apps_rate_rps(const sim_t *sim, uint32_t model);
/* The plan is what runs: its models' objectives are the shares. */
void sim_apps_share(sim_t *sim, const gpulet_plan_t *plan);

/* transition.c */
/* The first plan: all of it serves at once. */
void sim_transition_first(sim_t *sim, gpulet_plan_t *plan);
/* Takes the plan over. */
void sim_transition_begin(sim_t *sim, gpulet_plan_t *plan, uint64_t wanted_ns);
/* Goes on when the next step can be taken. */
void sim_transition_progress(sim_t *sim);
/* Back to what runs, as far as it still does. */
void sim_transition_give_up(sim_t *sim);

/* planning.c */
/* What runs, as a plan, for planners; gpu-lets know their place in it. NULL: no memory. */
gpulet_plan_t *sim_planning_running(sim_t *sim);
/* A plan for the rates, by model, all that is asked of it, on the devices that are there. NULL: the
 * run has failed, or there is no device. */
gpulet_plan_t *sim_planning_make(sim_t *sim, const double *rates_rps, bool from_running);
/* The rates that are expected of the models before anything is seen. NULL: no memory, the run has
 * failed. Caller frees. */
double *sim_planning_rates(sim_t *sim);
/* A plan that was given, with models that it leaves out added. NULL: the run has failed. */
gpulet_plan_t *sim_planning_given(sim_t *sim);
/* Checks a plan from elsewhere against devices, models and profile. */
gpulet_status_t sim_planning_check(const sim_t *sim, const gpulet_plan_t *plan) GPULET_MUST_USE;

/* following.c */
void sim_follow_begin(sim_t *sim);
void sim_follow_tick(sim_t *sim);
void sim_follow_planned(sim_t *sim, uint64_t wanted_ns);
/* The plan of the transition runs, or what ran before still does. */
void sim_follow_reached(sim_t *sim, bool there);

/* fault.c */
/* Whether the fault strikes this time. */
bool sim_fault_strikes(sim_t *sim, gpulet_fault_t fault);
void sim_faults_begin(sim_t *sim);
void sim_fault_burst(sim_t *sim);
void sim_fault_device_gone(sim_t *sim);
void sim_fault_device_back(sim_t *sim, uint32_t index);
/* Faults end; devices that are gone come back. */
void sim_faults_end(sim_t *sim);

/* stats.c */
void sim_stats_arrived(sim_t *sim, sim_asked_t *asked);
void sim_stats_replied(sim_t *sim, const sim_asked_t *asked, bool in_time, gpulet_status_t status);
void sim_stats_rejected(sim_t *sim, const sim_asked_t *asked);
void sim_stats_cancelled(sim_t *sim, const sim_asked_t *asked);
/* Gpu-lets came or went. */
void sim_stats_devices(sim_t *sim);
void sim_stats_schedule_window(sim_t *sim, uint64_t begin_ns);
void sim_stats_window(sim_t *sim);
void sim_stats_finish(sim_t *sim);

/* check.c: each ends the program with seed and time when the promise is broken. */
void sim_check_run(const sim_t *sim, const gpulet_action_t *action);
void sim_check_reply(const sim_t *sim, const gpulet_action_t *action);
void sim_check_reject(const sim_t *sim, const gpulet_action_t *action);
void sim_check_cancelled(const sim_t *sim, uint64_t id);
/* The stage is about to be asked for. */
void sim_check_stage(const sim_t *sim, const sim_run_t *run, uint32_t stage, uint64_t deadline_ns);
/* All of its stages are done. */
void sim_check_done(const sim_t *sim, const sim_run_t *run);
void sim_check_event(sim_t *sim);
void sim_check_end(const sim_t *sim);

#endif
