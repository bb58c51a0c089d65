/* What the commands that plan have in common: the options of inputs and of the rules of planning,
 * and the files that they name. */
#ifndef GPULET_CMD_CMD_PLANNING_H
#define GPULET_CMD_CMD_PLANNING_H

#include <stdbool.h>
#include <stddef.h>

#include "base/options.h"
#include "base/status.h"
#include "plan/planner.h"

/* A member called `planning` of a command's settings. */
typedef struct cmd_planning {
    char *profiles;
    char *format;
    char *devices;
    char *interference;
    char *count;
    double latency_margin;
    double slo_fraction;
    double rate_percentile;
    bool p99;
    bool prototype_duty;
    bool interpolate_units;
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
#define CMD_PLANNING_BOOL(T, name, field, help)                                                    \
    {                                                                                              \
        (name), GPULET_OPTION_BOOL, offsetof(T, planning.field), NULL, 1, 0, NULL, (help), NULL    \
    }

/* Rows for the table of a command whose settings are of type T. */
// clang-format off
#define CMD_PLANNING_INPUTS(T)                                                                     \
    CMD_PLANNING_STRING(T, "profiles", profiles, NULL, "FILE", "measured latencies (CSV)",         \
                        "Inputs"),                                                                 \
    CMD_PLANNING_STRING(T, "format", format, "csv", "NAME",                                        \
                        "of the profiles: csv, or glet (model,partition,batch,ms)", NULL),         \
    CMD_PLANNING_STRING(T, "devices", devices, NULL, "FILE",                                       \
                        "device types and counts (YAML) [this machine's CPU]", NULL),              \
    CMD_PLANNING_STRING(T, "interference", interference, NULL, "FILE",                             \
                        "interference coefficients (CSV)", NULL)

#define CMD_PLANNING_RULES(T)                                                                      \
    CMD_PLANNING_STRING(T, "count", count, NULL, "N",                                              \
                        "devices, over the file's: N, or type=N,...; -1: as many as needed",       \
                        NULL),                                                                     \
    CMD_PLANNING_F64(T, "latency-margin", latency_margin, "1.0", 1, 100, "X",                      \
                     "multiplies every latency"),                                                  \
    CMD_PLANNING_F64(T, "slo-fraction", slo_fraction, "1.0", 0.001, 1, "X",                        \
                     "multiplies every SLO"),                                                      \
    CMD_PLANNING_F64(T, "rate-percentile", rate_percentile, "0", 0, 0.99999, "P",                  \
                     "hold this percentile of Poisson arrivals over a duty cycle; 0: the bare "    \
                     "rate"),                                                                      \
    CMD_PLANNING_BOOL(T, "p99", p99, "plan with latency_ms_p99 where the profile has it"),         \
    CMD_PLANNING_BOOL(T, "prototype-duty", prototype_duty,                                         \
                      "the stricter rule duty + sum of latencies <= SLO"),                         \
    CMD_PLANNING_BOOL(T, "interpolate-units", interpolate_units,                                   \
                      "fill in sizes between measured sizes")
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
/* The input without a workload. */
gpulet_plan_input_t cmd_planning_input(const cmd_planning_files_t *files, const cmd_planning_t *s);

#endif
