/* The simulator: the brain (sched/sched.h) and the planners (plan/planner.h), unchanged, over
 * virtual devices in virtual time (docs/simulation.md). It knows no file and no clock: the same
 * options give the same run, bit for bit, which the trace hash says.
 *
 * Time 0 of rates and traces is the beginning of what is counted, after the warm-up. Memory does
 * not grow with simulated time, except by a few words a window of the series. */
#ifndef GPULET_SIM_SIM_H
#define GPULET_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hist.h"
#include "base/status.h"
#include "core/app.h"
#include "core/pairs.h"
#include "plan/planner.h"
#include "sched/follow.h"
#include "sim/faults.h"
#include "sim/load.h"

typedef struct gpulet_sim_range {
    double min;
    double max;
} gpulet_sim_range_t;

/* All borrowed. Seconds and nanoseconds are taken as they are: 0 means 0. */
typedef struct gpulet_sim_options {
    uint64_t seed;
    gpulet_plan_input_t planning; /* profile, devices, workload and the rules of planning; `from` is
                                     set here */
    const gpulet_apps_t *apps;    /* NULL, or applications of models that are all in the
                                     workload (load.h: gpulet_sim_subjects), which says what is
                                     asked of the models directly */
    const gpulet_planner_t *planner;
    const gpulet_plan_t *plan; /* NULL, or the plan to begin with */
    bool use_spare;            /* plan for more than the rates, as gpuletd does */
    bool all_devices;          /* … on all devices there are, not only those that are needed */
    double multiple;           /* of the rates of workload, applications and `rates`; > 0 */

    const gpulet_sim_rates_t *rates; /* NULL: the workload's and the applications' */
    const gpulet_sim_trace_t *trace; /* NULL: arrivals are drawn */
    bool uniform;                    /* drawn at equal distances, else Poisson */
    double warmup_s;
    double duration_s;

    const gpulet_pairs_t *truth_pairs;               /* NULL, or how neighbours disturb … */
    const gpulet_interference_t *truth_interference; /* … else as a fitted interference says */
    double spread; /* relative, of times where the profile has no 99th percentile */

    uint64_t overhead_ns;     /* the brain's, as gpuletd's; 0: none */
    uint64_t commit_ahead_ns; /* likewise */
    uint64_t host_ns;         /* what really passes: half before a run, half after it */
    uint64_t run_limit_ns;    /* a batch that is not heard of for so long: its worker is lost */
    uint32_t requests_max;
    bool late_serve; /* nothing is refused or dropped for being late */

    bool follow;                       /* plan again as the load changes */
    gpulet_follow_options_t following; /* 0: the default of each */
    gpulet_sim_range_t start_s;        /* a gpu-let's process comes up in so long, uniformly */
    double load_s;                     /* of a model, one after the other */
    double plan_s;                     /* from wanting a plan to having it */
    double transition_limit_s;         /* a plan that is not reached by then is given up */

    gpulet_faults_t faults; /* until the duration is over */
    bool phases;            /* afterwards a quarter of it without faults, uncounted */
    bool check;             /* every promise, after every event; a broken one ends the program */
    double series_s;        /* windows of the series; 0: none */
} gpulet_sim_options_t;

/* A part of what is counted of a model. */
typedef struct gpulet_sim_part {
    uint64_t offered;
    uint64_t in_time;
    uint64_t cancelled;
} gpulet_sim_part_t;

/* A model, or an application, whose requests are counted as wholes. Counted in items. What the
 * client gave up on is in `offered`, and no miss. */
typedef struct gpulet_sim_model {
    char name[GPULET_WORKLOAD_NAME_MAX + 1];
    double slo_ms; /* of a model that only applications ask for: 0 */
    uint64_t offered;
    uint64_t in_time;
    uint64_t late;
    uint64_t rejected; /* refused or dropped, or lost with a worker */
    uint64_t failed;
    uint64_t cancelled;
    gpulet_sim_part_t staged; /* of a model: as much of that was asked by applications */
    gpulet_hist_t latency_ns; /* of answered requests */
} gpulet_sim_model_t;

/* One window of one model. Requests belong to the window in which they arrive. */
typedef struct gpulet_sim_window {
    uint64_t offered;
    uint64_t in_time;
    uint64_t missed;
    double planned_rps;    /* of the plan that runs at the window's end */
    uint32_t devices_used; /* likewise */
} gpulet_sim_window_t;

typedef struct gpulet_sim_result {
    size_t models_count;
    gpulet_sim_model_t *models; /* owned; in the order of the workload */
    size_t apps_count;
    gpulet_sim_model_t *apps; /* owned; in their order */
    uint64_t trace_hash;
    uint64_t events;   /* handled */
    uint64_t requests; /* of models, simulated, those of the warm-up included */
    double seconds;    /* counted */
    double devices_time_avg;
    uint32_t devices_max;
    uint64_t replans;   /* plans reached after the first */
    uint64_t breaks;    /* of them, those for which something had to stop before it could start */
    uint64_t rollbacks; /* plans given up */
    uint64_t faults[GPULET_FAULT_COUNT]; /* how often each happened */
    bool feasible;                       /* the plan that it began with */
    size_t windows_count;
    gpulet_sim_window_t *windows; /* owned; models_count + apps_count a window */
} gpulet_sim_result_t;

/* E_INVALID or E_NOT_FOUND is about the input (a plan that does not fit the devices, a pair that
 * was not measured). Zeroed before, deinit in any case. */
gpulet_status_t gpulet_sim_run(gpulet_sim_result_t *out, const gpulet_sim_options_t *options,
                               gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_sim_result_deinit(gpulet_sim_result_t *result);

/* Of all clients together, 0 … 1; 1 when nothing was asked. A request of an application counts
 * once, its stages do not. */
double gpulet_sim_attainment(const gpulet_sim_result_t *result);
double gpulet_sim_goodput_rps(const gpulet_sim_result_t *result);

typedef struct gpulet_sim_peak {
    double multiple; /* 0: not even the least that is tried */
    double rate_rps; /* of all models and applications together */
    uint32_t runs;
} gpulet_sim_peak_t;

/* The highest multiple of the workload, on a grid of half a percent, that keeps the part of misses
 * below miss_max; planned anew for each. Each is simulated with the same random numbers. */
gpulet_status_t gpulet_sim_find_peak(gpulet_sim_peak_t *out, const gpulet_sim_options_t *options,
                                     double miss_max, gpulet_error_t *err) GPULET_MUST_USE;

#endif
