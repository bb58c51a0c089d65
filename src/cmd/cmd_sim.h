/* `gpulet sim`: what its files share. */
#ifndef GPULET_CMD_CMD_SIM_H
#define GPULET_CMD_CMD_SIM_H

#include "cmd/cmd_planning.h"
#include "sim/sim.h"

typedef struct sim_settings {
    cmd_planning_t planning;
    char *workload;
    char *scenario;
    char *apps;
    char *planner;
    char *plan;
    bool use_spare;
    bool all_devices;
    char *arrivals;
    char *rates;
    double multiple;
    double duration_s;
    double warmup_s;
    uint64_t seed;
    char *truth;
    char *truth_interference;
    double spread;
    double overhead_us;
    double commit_ahead_us;
    double host_us;
    double run_limit_s;
    uint64_t requests_max;
    bool late_serve;
    char *follow;
    double replan_period_s;
    double replan_hold_s;
    double rate_window_s;
    double replan_better;
    char *start_s;
    double load_s;
    double plan_s;
    double transition_limit_s;
    char *faults;
    bool phases;
    bool check;
    char *world;
    bool peak;
    double miss_max;
    double min_attainment;
    char *series;
    double series_s;
    bool json;
    bool help;
} sim_settings_t;

/* What is printed. wall_s: what the run took; peak NULL: it was not asked for. */
gpulet_status_t cmd_sim_put_json(gpulet_buf_t *out, const sim_settings_t *s,
                                 const gpulet_sim_result_t *result, const gpulet_sim_peak_t *peak,
                                 double wall_s) GPULET_MUST_USE;
gpulet_status_t cmd_sim_put_table(gpulet_buf_t *out, const gpulet_sim_result_t *result,
                                  const gpulet_sim_peak_t *peak, double wall_s) GPULET_MUST_USE;
/* CSV: a row a window and model. */
gpulet_status_t cmd_sim_put_series(gpulet_buf_t *out, const gpulet_sim_result_t *result,
                                   double window_s) GPULET_MUST_USE;

#endif
