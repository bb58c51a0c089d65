/* Planners: from a workload to a plan (docs/planning.md). Pure: no clock, I/O, threads, globals;
 * the same inputs give the same plan, and planning ends on a count of steps, never on a time.
 * elapsed_ms of the plan is left 0 for the caller to fill. Memory that the profile does not give
 * counts as none. */
#ifndef GPULET_PLAN_PLANNER_H
#define GPULET_PLAN_PLANNER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "core/device_type.h"
#include "core/interference.h"
#include "core/plan.h"
#include "core/profile.h"
#include "core/solver.h"
#include "core/workload.h"

/* How `elastic` works. Zero is the default: many greedy passes, the best of them improved. The
 * other forms are one pass each, for comparison: the paper's algorithm 1, and what the authors'
 * prototype does beyond it. */
typedef enum gpulet_elastic_form {
    GPULET_ELASTIC_FORM_BEST,
    GPULET_ELASTIC_FORM_PAPER,     /* models by rate, knee by curvature, turns before a cut */
    GPULET_ELASTIC_FORM_PROTOTYPE, /* models by rate·SLO ascending, knee by gain, whole devices
                                      first, turns last; on 1, 2, … devices until it succeeds */
} gpulet_elastic_form_t;

typedef enum gpulet_elastic_order {
    GPULET_ELASTIC_ORDER_DEFAULT, /* the form's */
    GPULET_ELASTIC_ORDER_RATE,
    GPULET_ELASTIC_ORDER_RATE_SLO,
    GPULET_ELASTIC_ORDER_LOAD,
    GPULET_ELASTIC_ORDER_SLO,
    GPULET_ELASTIC_ORDER_PIECE,
} gpulet_elastic_order_t;

typedef enum gpulet_elastic_knee {
    GPULET_ELASTIC_KNEE_DEFAULT, /* the form's */
    GPULET_ELASTIC_KNEE_CURVATURE,
    GPULET_ELASTIC_KNEE_GAIN,
} gpulet_elastic_knee_t;

/* Order and knee belong to the forms of one pass. The last three are the prototype's tolerances:
 * each lets a plan break a promise, so with any of them `feasible` is the prototype's own verdict,
 * and the plan says so (by_prototype_rule, promises_kept, reason). */
typedef struct gpulet_elastic_options {
    gpulet_elastic_form_t form;
    gpulet_elastic_order_t order;
    gpulet_elastic_knee_t knee;
    double rate_slack_rps; /* so much of a model's rate may be left over; the prototype: 15 */
    double rate_enough;    /* 0: all of it; else a model that gets this part of its rate is served,
                              and one that does not is placed once more, before the others; the
                              prototype, with interference: 0.85 */
    double residual_slack; /* 0 means 1; multiplies the SLO of gpu-lets beside a neighbour that
                              disturbs them; the prototype: 1.05 */
} gpulet_elastic_options_t;

/* Whether plans may break promises under these options. */
bool gpulet_elastic_lenient(const gpulet_elastic_options_t *options);

/* What every planner, the verifier and the bound read; all borrowed. Zero-initialise and set what
 * is known; 0 means the default. */
typedef struct gpulet_plan_input {
    const gpulet_profile_t *profile;
    const gpulet_device_set_t *devices;
    const gpulet_workload_t *workload;
    const gpulet_interference_t *interference; /* NULL: none */
    double latency_margin;                     /* multiplies every latency; ≥ 1, 0 means 1 */
    double slo_fraction;                       /* multiplies every SLO; 0 < f ≤ 1, 0 means 1 */
    double rate_percentile; /* 0: the bare rate; else e.g. 0.99: capacity must hold that percentile
                               of Poisson arrivals over one duty cycle */
    bool p99;               /* plan with latency_ms_p99 where the profile has it */
    bool prototype_duty;    /* D + ΣL ≤ SLO in place of D + L ≤ SLO */
    gpulet_elastic_options_t elastic;
    const gpulet_plan_t *from;     /* NULL, or the plan to start from */
    const gpulet_solver_t *solver; /* NULL: `optimal` answers as `elastic` does */
    bool brief; /* the reason of an infeasible plan leaves out what would be enough, which takes
                   planning again */
    bool any;   /* any plan that serves all will do: a search for fewer devices ends at the first */
} gpulet_plan_input_t;

typedef gpulet_status_t (*gpulet_planner_fn)(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                             gpulet_error_t *err);

typedef struct gpulet_planner {
    const char *name;
    const char *help;
    gpulet_planner_fn run;
    bool slow;      /* takes too long to be asked over and over: gpulet_planner_quick */
    bool proves;    /* looks for a plan or a proof; where it found neither the question is open */
    bool from_plan; /* needs input->from */
    bool
        free_form; /* cuts and takes turns as it likes, so that `incremental` may stand in for it */
} gpulet_planner_t;

/* NULL-name-terminated table. */
const gpulet_planner_t *gpulet_planners(void);
const gpulet_planner_t *gpulet_planner_find(const char *name);
/* The planner itself, or `elastic` in the place of a slow one: what that finds feasible is feasible
 * for the slow ones as well. */
const gpulet_planner_t *gpulet_planner_quick(const gpulet_planner_t *planner);

/* Whether the bound of a plan is above all devices there are: no plan exists. */
bool gpulet_plan_excluded(const gpulet_plan_t *plan, const gpulet_device_set_t *devices);

/* Runs the planner, fills models[], capacity, lower_bound, devices_used, cost, proved_optimal, and
 * checks the result with the verifier. Feasible or not, *out is a plan (the best partial one when
 * not, with `reason`): then the status is OK as well. Errors are about the input: E_NOT_FOUND (a
 * model without a profile row on any device type), E_INVALID. Caller destroys *out. */
gpulet_status_t gpulet_planner_run(gpulet_plan_t **out, const gpulet_planner_t *planner,
                                   const gpulet_plan_input_t *input,
                                   gpulet_error_t *err) GPULET_MUST_USE;

/* What gpulet_planner_run does with a planner's plan (devices, models, feasible, and lower_bound
 * where the planner has a better one than the resource bound), for those that ran the planner step
 * by step. Takes *plan over; on an error it is destroyed. */
gpulet_status_t gpulet_planner_finish(gpulet_plan_t **out, gpulet_plan_t *plan,
                                      const gpulet_planner_t *planner,
                                      const gpulet_plan_input_t *input,
                                      gpulet_error_t *err) GPULET_MUST_USE;

/* The independent verifier: recomputes everything from the profile and says OK, or E_INFEASIBLE
 * with the first broken promise in err: a size that is not allowed, Σ sizes > device, illegal
 * placement, too many gpu-lets or models, memory, a batch outside of the profile, duty_ms < Σ
 * latency, worst_ms > SLO, capacity < rate, a device used twice or beyond the count, a model twice
 * in a gpu-let. */
gpulet_status_t gpulet_plan_verify(const gpulet_plan_t *plan, const gpulet_plan_input_t *input,
                                   gpulet_error_t *err) GPULET_MUST_USE;

/* The resource bound of docs/planning.md: Σ over models of rate × least units·time an item, over
 * the units of a device, rounded up; in cost where types have costs. Placement slots and models_max
 * make it larger where they can. NAN when some model's SLO can be met by no size (then
 * *reason_model is its index in the workload). devices_out (the bound in devices) and reason_model
 * may be NULL. */
double gpulet_plan_bound_resource(const gpulet_plan_input_t *input, double *devices_out,
                                  size_t *reason_model);

#endif
