/* What the commands that plan have in common: the options of inputs and of the rules of planning,
 * and the files that they name. */
#ifndef GPULET_CMD_CMD_PLANNING_H
#define GPULET_CMD_CMD_PLANNING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/options.h"
#include "base/status.h"
#include "plan/planner.h"

/* A member called `planning` of a command's settings. */
typedef struct cmd_planning {
    char *profiles;
    char *format;
    char *devices;
    char *device;
    uint64_t mps_step;
    char *interference;
    double interference_quantile;
    bool utilisation_scaled;
    char *utilisation;
    char *host_cost;
    char *count;
    double latency_margin;
    double slo_fraction;
    double rate_percentile;
    bool p99;
    bool prototype_duty;
    bool interpolate_units;
    char *elastic;
    char *order;
    char *knee;
    double rate_slack;
    double rate_enough;
    double residual_slack;
} cmd_planning_t;

#define CMD_PLANNING_STRING(T, name, field, value, value_name, help, group)                        \
    {                                                                                              \
        (name), GPULET_OPTION_STRING, offsetof(T, planning.field), (value), 1, 0, (value_name),    \
            (help), (group)                                                                        \
    }
#define CMD_PLANNING_F64(T, name, field, value, min, max, value_name, help)                        \
    {                                                                                              \
        (name), GPULET_OPTION_F64, offsetof(T, planning.field), (value), (min), (max),             \
            (value_name), (help), NULL                                                             \
    }
#define CMD_PLANNING_U64(T, name, field, value, min, max, value_name, help)                        \
    {                                                                                              \
        (name), GPULET_OPTION_U64, offsetof(T, planning.field), (value), (min), (max),             \
            (value_name), (help), NULL                                                             \
    }
#define CMD_PLANNING_BOOL(T, name, field, help) CMD_PLANNING_BOOL_OF(T, name, field, NULL, help)
#define CMD_PLANNING_BOOL_OF(T, name, field, value, help)                                          \
    {                                                                                              \
        (name), GPULET_OPTION_BOOL, offsetof(T, planning.field), (value), 1, 0, NULL, (help), NULL \
    }

/* Rows for the table of a command whose settings are of type T. */
// clang-format off
#define CMD_PLANNING_INPUTS(T)                                                                     \
    CMD_PLANNING_STRING(T, "profiles", profiles, NULL, "FILE", "measured latencies (CSV)",         \
                        "Inputs"),                                                                 \
    CMD_PLANNING_STRING(T, "format", format, "csv", "NAME",                                        \
                        "of the inputs: csv, or glet (the prototype's files)", NULL),              \
    CMD_PLANNING_STRING(T, "devices", devices, NULL, "FILE",                                       \
                        "device types and counts (YAML) [this machine's, as --device says]", NULL),              \
    CMD_PLANNING_STRING(T, "device", device, "cpu", "NAME",                                        \
                        "without --devices: this machine's devices of that backend, cpu or mps",   \
                        NULL),                                                                     \
    CMD_PLANNING_U64(T, "mps-step", mps_step, "10", 1, 100, "N",                                   \
                     "of the mps backend: gpu-let sizes are multiples of N percent"),        \
    CMD_PLANNING_STRING(T, "interference", interference, NULL, "FILE",                             \
                        "how gpu-lets slow one another down (CSV of gpulet fit)", NULL),           \
    CMD_PLANNING_F64(T, "interference-quantile", interference_quantile, "0", 0, 0.99999, "Q",      \
                     "plan for this quantile of the interference's fitted error (0.95); 0: for "   \
                     "what was fitted"),                                                           \
    CMD_PLANNING_BOOL(T, "utilisation-scaled", utilisation_scaled,                                 \
                      "linear interference: scale utilisations by a gpu-let's part of the "        \
                      "device, as the prototype"),                                                 \
    CMD_PLANNING_STRING(T, "utilisation", utilisation, NULL, "FILE",                               \
                        "the prototype's UTIL.CSV, with --format glet", NULL),                     \
    CMD_PLANNING_STRING(T, "host-cost", host_cost, NULL, "FILE",                                   \
                        "cost of batching on the host (CSV model,batch,ms), added to latencies",   \
                        NULL)

#define CMD_PLANNING_RULES(T) CMD_PLANNING_RULES_OF(T, "0", NULL)
/* The same with other defaults of --rate-percentile and --p99: a server's. */
#define CMD_PLANNING_RULES_OF(T, percentile, with_p99)                                             \
    CMD_PLANNING_STRING(T, "count", count, NULL, "N",                                              \
                        "devices, over the file's: N, or type=N,...; -1: as many as needed",       \
                        NULL),                                                                     \
    CMD_PLANNING_F64(T, "latency-margin", latency_margin, "1.0", 1, 100, "X",                      \
                     "multiplies every latency"),                                                  \
    CMD_PLANNING_F64(T, "slo-fraction", slo_fraction, "1.0", 0.001, 1, "X",                        \
                     "multiplies every SLO"),                                                      \
    CMD_PLANNING_F64(T, "rate-percentile", rate_percentile, percentile, 0, 0.99999, "P",           \
                     "hold this percentile of Poisson arrivals over a duty cycle; 0: the bare "    \
                     "rate"),                                                                      \
    CMD_PLANNING_BOOL_OF(T, "p99", p99, with_p99,                                                  \
                         "plan with latency_ms_p99 where the profile has it"),                     \
    CMD_PLANNING_BOOL(T, "prototype-duty", prototype_duty,                                         \
                      "the stricter rule duty + sum of latencies <= SLO"),                         \
    CMD_PLANNING_BOOL(T, "interpolate-units", interpolate_units,                                   \
                      "fill in sizes between measured sizes"),                                     \
    CMD_PLANNING_STRING(T, "elastic", elastic, "best", "FORM",                                     \
                        "of elastic: best (many passes), or one pass as in the paper or "          \
                        "prototype",                                                               \
                        "Published forms of elastic"),                                             \
    CMD_PLANNING_STRING(T, "order", order, "default", "NAME",                                      \
                        "of models in one pass: rate, rate-slo, load, slo, piece", NULL),          \
    CMD_PLANNING_STRING(T, "knee", knee, "default", "NAME",                                        \
                        "in one pass, by curvature or gain", NULL),                                \
    CMD_PLANNING_F64(T, "rate-slack", rate_slack, "0", 0, 1e9, "RPS",                              \
                     "so much of each rate may be left over (the prototype: 15)"),                 \
    CMD_PLANNING_F64(T, "rate-enough", rate_enough, "0", 0, 1, "PART",                             \
                     "a model that gets this part of its rate is served; place others once more "  \
                     "(the prototype: 0.85)"),                                                     \
    CMD_PLANNING_F64(T, "residual-slack", residual_slack, "1", 1, 2, "X",                          \
                     "multiplies SLOs beside a neighbour that disturbs (the prototype: 1.05)")
// clang-format on

/* All that was read from files; the planner's input borrows from it. */
typedef struct cmd_planning_files {
    gpulet_profile_t *profile;
    gpulet_device_set_t *devices;
    gpulet_interference_t *interference;
} cmd_planning_files_t;

/* Reads them (files is zeroed before). Returns an exit code; err says why when it is not CMD_DONE.
 * Close in either case. */
int cmd_planning_open(cmd_planning_files_t *files, const cmd_planning_t *s, gpulet_error_t *err);
void cmd_planning_close(cmd_planning_files_t *files);
/* The workload, in the format of the other inputs. With glet the profile may be given aliases. */
gpulet_status_t cmd_planning_workload(gpulet_workload_t **out, cmd_planning_files_t *files,
                                      const cmd_planning_t *s, const char *path,
                                      const char *scenario, gpulet_error_t *err) GPULET_MUST_USE;
bool cmd_planning_glet(const cmd_planning_t *s);
/* Not one of elastic's published forms. */
bool cmd_planning_elastic_best(const cmd_planning_t *s);
/* The input without a workload. */
gpulet_plan_input_t cmd_planning_input(const cmd_planning_files_t *files, const cmd_planning_t *s);

#endif
