/* The settings of gpuletd: one table from which the command line, gpulet.yaml, --help and the
 * reference documentation come. */
#ifndef GPULET_SERVER_SETTINGS_H
#define GPULET_SERVER_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/options.h"
#include "base/status.h"

typedef struct gpulet_settings {
    char *model_repository;
    char *config;
    bool skip_bad_models;
    char *address;
    uint64_t http_port;
    uint64_t grpc_port;
    uint64_t metrics_port;
    uint64_t http_connections_max;
    uint64_t http_head_bytes_max;
    uint64_t http_headers_max;
    uint64_t http_body_mb_max;
    uint64_t http_json_depth_max;
    uint64_t http_tensors_max;
    uint64_t http_head_timeout_ms;
    uint64_t http_body_timeout_ms;
    uint64_t http_idle_timeout_ms;
    uint64_t http_send_timeout_ms;
    char *device;
    char *fake_devices;
    char *fake_gone;
    char *reserve_cores;
    uint64_t mps_step;
    char *engine;
    char *ort_library;
    char *worker_program;
    char *profiles;
    char *workload;
    char *scenario;
    char *interference;
    char *devices;
    char *planner;
    char *plan;
    bool fresh_plan;
    double interference_quantile;
    bool utilisation_scaled;
    double latency_margin;
    double slo_fraction;
    double rate_percentile;
    bool use_spare;
    bool all_devices;
    bool follow;
    bool follow_given; /* not a setting: whether the one above was */
    double replan_period_s;
    double replan_hold_s;
    double rate_window_s;
    double replan_better;
    double transition_limit_s;
    uint64_t batch_max;
    char *store;
    char *model_cache;
    uint64_t model_cache_mb;
    bool calibrate;
    double calibrate_seconds;
    double patience_s;
    uint64_t requests_max;
    uint64_t input_mb;
    uint64_t output_mb;
    double commit_ahead_us;
    double overhead_us;
    double run_limit_s;
    double load_limit_s;
    double drain_limit_s;
    bool spin;
    bool lend;
    char *log_level;
    bool help;
    bool version;
} gpulet_settings_t;

extern const gpulet_option_t gpulet_settings_table[];

/* Defaults, then the configuration file that --config names, then the command line, which wins.
 * Errors name the file and line or the option. Caller deinits, also after a failure. */
gpulet_status_t gpulet_settings_read(gpulet_settings_t *out, int argc, char **argv,
                                     gpulet_error_t *err) GPULET_MUST_USE;
/* A flat map of the table's names, as YAML; `file` names the source in errors. Options that `seen`
 * marks are left alone. */
gpulet_status_t gpulet_settings_parse_yaml(gpulet_settings_t *settings, const char *text,
                                           size_t size, const char *file, const bool *seen,
                                           gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_settings_deinit(gpulet_settings_t *settings);

#endif
