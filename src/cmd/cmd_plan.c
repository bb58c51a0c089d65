#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cmd/cmd.h"
#include "core/plan.h"
#include "device/backend.h"
#include "plan/planner.h"
#include "proto/oip.h"

enum { DEVICES_MAX = 64 };

typedef struct plan_settings {
    char *profiles;
    char *format;
    char *devices;
    char *workload;
    char *scenario;
    char *planner;
    char *device;
    uint64_t mps_step;
    char *interference;
    double latency_margin;
    double slo_fraction;
    double rate_percentile;
    bool p99;
    bool prototype_duty;
    bool interpolate_units;
    char *from;
    char *count;
    char *verify;
    bool json;
    bool help;
} plan_settings_t;

#define AT(field) offsetof(plan_settings_t, field)
#define ANY       1, 0

const gpulet_option_t cmd_plan_options[] = {
    {"profiles", GPULET_OPTION_STRING, AT(profiles), NULL, ANY, "FILE", "measured latencies (CSV)",
     "Inputs"},
    {"format", GPULET_OPTION_STRING, AT(format), "csv", ANY, "NAME",
     "of the profiles: csv, or glet (model,partition,batch,ms)", NULL},
    {"devices", GPULET_OPTION_STRING, AT(devices), NULL, ANY, "FILE",
     "device types and counts (YAML) [this machine's, as --device says]", NULL},
    {"device", GPULET_OPTION_STRING, AT(device), "cpu", ANY, "NAME",
     "without --devices: this machine's devices of that backend, cpu or mps", NULL},
    {"mps-step", GPULET_OPTION_U64, AT(mps_step), "10", 1, 100, "N",
     "of the mps backend: gpu-let sizes are multiples of so many percent", NULL},
    {"workload", GPULET_OPTION_STRING, AT(workload), NULL, ANY, "FILE", "rates and SLOs (CSV)",
     NULL},
    {"scenario", GPULET_OPTION_STRING, AT(scenario), NULL, ANY, "NAME", "scenario of the workload",
     NULL},
    {"interference", GPULET_OPTION_STRING, AT(interference), NULL, ANY, "FILE",
     "interference coefficients (CSV)", NULL},
    {"planner", GPULET_OPTION_STRING, AT(planner), "elastic", ANY, "NAME",
     "which planner (see docs/planning.md)", "Planning"},
    {"count", GPULET_OPTION_STRING, AT(count), NULL, ANY, "N",
     "devices, over the file's: N, or type=N,...; -1: as many as needed", NULL},
    {"latency-margin", GPULET_OPTION_F64, AT(latency_margin), "1.0", 1, 100, "X",
     "multiplies every latency", NULL},
    {"slo-fraction", GPULET_OPTION_F64, AT(slo_fraction), "1.0", 0.001, 1, "X",
     "multiplies every SLO", NULL},
    {"rate-percentile", GPULET_OPTION_F64, AT(rate_percentile), "0", 0, 0.99999, "P",
     "hold this percentile of Poisson arrivals over a duty cycle; 0: the bare rate", NULL},
    {"p99", GPULET_OPTION_BOOL, AT(p99), NULL, ANY, NULL,
     "plan with latency_ms_p99 where the profile has it", NULL},
    {"prototype-duty", GPULET_OPTION_BOOL, AT(prototype_duty), NULL, ANY, NULL,
     "the stricter rule duty + sum of latencies <= SLO", NULL},
    {"interpolate-units", GPULET_OPTION_BOOL, AT(interpolate_units), NULL, ANY, NULL,
     "fill in sizes between measured sizes", NULL},
    {"from", GPULET_OPTION_STRING, AT(from), NULL, ANY, "FILE", "the plan that runs now (JSON)",
     NULL},
    {"verify", GPULET_OPTION_STRING, AT(verify), NULL, ANY, "FILE",
     "check this plan (JSON) instead of making one", NULL},
    {"json", GPULET_OPTION_BOOL, AT(json), NULL, ANY, NULL, "one JSON document on stdout",
     "Output"},
    {"help", GPULET_OPTION_BOOL, AT(help), NULL, ANY, NULL, "print this", NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, ANY, NULL, NULL, NULL},
};

/* All that was read from files; the planner's input borrows from it. */
typedef struct plan_files {
    gpulet_profile_t *profile;
    gpulet_device_set_t *devices;
    gpulet_workload_t *workload;
    gpulet_interference_t *interference;
    gpulet_plan_t *from;
} plan_files_t;

static void close_files(plan_files_t *files)
{
    gpulet_profile_destroy(files->profile);
    gpulet_device_set_destroy(files->devices);
    gpulet_workload_destroy(files->workload);
    gpulet_interference_destroy(files->interference);
    gpulet_plan_destroy(files->from);
}

/* The devices of this machine, which must be of one type: others need a file. */
static gpulet_status_t own_devices(gpulet_device_set_t **out, const plan_settings_t *s,
                                   gpulet_error_t *err)
{
    gpulet_device_desc_t descs[DEVICES_MAX];
    uint32_t count = 0;
    gpulet_device_options_t options = {.mps_step = (uint32_t)s->mps_step};
    const gpulet_device_backend_t *backend = gpulet_device_backend_find(s->device);
    if (backend == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "--device: no backend is called '%s'", s->device);
    gpulet_status_t st = backend->probe(descs, DEVICES_MAX, &count, &options, err);
    if (st != GPULET_OK)
        return st;
    for (uint32_t i = 1; i < count && i < DEVICES_MAX; i++) {
        if (strcmp(descs[i].type, descs[0].type) != 0)
            return gpulet_fail(err, GPULET_E_INVALID, "devices of several types need --devices");
    }
    return gpulet_device_set_create_stepped(out, descs[0].type, descs[0].units, descs[0].step,
                                            descs[0].gpulets_max, descs[0].memory_mb,
                                            (int32_t)count);
}

static gpulet_status_t interpolate(plan_files_t *files, gpulet_error_t *err)
{
    for (uint32_t i = 0; i < files->devices->types_count; i++) {
        const gpulet_device_type_t *type = &files->devices->types[i];
        gpulet_status_t st = gpulet_profile_interpolate_units(files->profile, type->name,
                                                              type->sizes, type->sizes_count, err);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

static gpulet_status_t open_files(plan_files_t *files, const plan_settings_t *s,
                                  gpulet_error_t *err)
{
    bool glet = strcmp(s->format, "glet") == 0;
    gpulet_status_t st = s->devices != NULL
                             ? gpulet_device_set_load(&files->devices, s->devices, err)
                             : own_devices(&files->devices, s, err);
    if (st == GPULET_OK)
        st = gpulet_profile_load(&files->profile, s->profiles,
                                 glet ? GPULET_PROFILE_FORMAT_GLET : GPULET_PROFILE_FORMAT_CSV,
                                 glet ? files->devices->types[0].name : NULL, err);
    if (st == GPULET_OK)
        st = gpulet_workload_load(&files->workload, s->workload, s->scenario, err);
    if (st == GPULET_OK && s->interference != NULL)
        st = gpulet_interference_load(&files->interference, s->interference, err);
    if (st == GPULET_OK && s->from != NULL)
        st = gpulet_plan_load(&files->from, s->from, err);
    if (st == GPULET_OK && s->interpolate_units)
        st = interpolate(files, err);
    return st;
}

/* ---- for people ---- */

static void print_bar(const gpulet_plan_device_t *device, uint32_t units)
{
    enum { WIDTH = 60 };
    uint32_t used = 0;
    uint32_t drawn = 0;
    (void)printf("%-12s %2u |", device->type, device->index);
    for (size_t i = 0; i < device->gpulets_count; i++) {
        const gpulet_plan_gpulet_t *g = &device->gpulets[i];
        char text[512] = "";
        size_t length = 0;
        used += g->units;
        int width = (int)(used * WIDTH / units) - (int)drawn - 1;
        for (size_t k = 0; k < g->shares_count && length < sizeof(text) - 1; k++)
            length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%s x%u",
                                       k > 0 ? ", " : "", g->shares[k].model, g->shares[k].batch);
        (void)printf("%-*.*s|", width > 0 ? width : 0, width > 0 ? width : 0, text);
        drawn = used * WIDTH / units;
    }
    int rest = WIDTH - (int)drawn;
    if (rest > 0)
        (void)printf("%*s", rest, "");
    (void)printf("\n");
}

static void print_gpulets(const gpulet_plan_t *plan)
{
    (void)printf("\n%-16s %5s %9s  %-20s %5s %9s %10s %9s %9s\n", "device", "units", "duty ms",
                 "model", "batch", "rate/s", "capacity/s", "exec ms", "worst ms");
    for (size_t d = 0; d < plan->devices_count; d++) {
        for (size_t i = 0; i < plan->devices[d].gpulets_count; i++) {
            const gpulet_plan_gpulet_t *g = &plan->devices[d].gpulets[i];
            for (size_t k = 0; k < g->shares_count; k++) {
                const gpulet_plan_share_t *s = &g->shares[k];
                (void)printf("%-12s %3u %5u %9.2f  %-20s %5u %9.1f %10.1f %9.2f %9.2f\n",
                             plan->devices[d].type, plan->devices[d].index, g->units, g->duty_ms,
                             s->model, s->batch, s->rate_rps, s->capacity_rps, s->latency_ms,
                             s->worst_ms);
            }
        }
    }
}

static void print_models(const gpulet_plan_t *plan)
{
    (void)printf("\n%-20s %10s %10s %9s\n", "model", "rate/s", "capacity/s", "SLO ms");
    for (size_t i = 0; i < plan->models_count; i++)
        (void)printf(
            "%-20s %10.1f %10.1f %9.1f%s\n", plan->models[i].model, plan->models[i].rate_rps,
            plan->models[i].capacity_rps, plan->models[i].slo_ms,
            plan->models[i].capacity_rps < plan->models[i].rate_rps * (1 - 1e-6) ? "  misses" : "");
}

static void print_plan(const gpulet_plan_t *plan, const gpulet_device_set_t *devices)
{
    for (size_t d = 0; d < plan->devices_count; d++) {
        int type = gpulet_device_set_find(devices, plan->devices[d].type);
        print_bar(&plan->devices[d], type >= 0 ? devices->types[type].units : 1);
    }
    print_gpulets(plan);
    print_models(plan);
    if (!plan->feasible)
        (void)printf("\nNo plan meets every objective: %s\n", plan->reason);
    else if (isnan(plan->lower_bound))
        (void)printf("\n%u device(s) are enough.\n", plan->devices_used);
    else
        (void)printf("\n%u device(s) are enough; no plan can do with less than %.4g%s.\n",
                     plan->devices_used, plan->lower_bound,
                     plan->proved_optimal ? ", so this is the best possible" : "");
}

/* ---- the command ---- */

static int verify(const plan_settings_t *s, const gpulet_plan_input_t *input)
{
    gpulet_plan_t *plan = NULL;
    gpulet_error_t err = {""};
    gpulet_status_t st = gpulet_plan_load(&plan, s->verify, &err);
    if (st != GPULET_OK)
        return cmd_complain("plan", CMD_FAILED, err.text);
    st = gpulet_plan_verify(plan, input, &err);
    gpulet_plan_destroy(plan);
    if (s->json) {
        gpulet_buf_t reason = GPULET_BUF_INIT;
        gpulet_json_string(&reason, err.text, st == GPULET_OK ? 0 : strlen(err.text));
        (void)printf("{\"verified\": %s, \"reason\": %s}\n", st == GPULET_OK ? "true" : "false",
                     reason.data);
        gpulet_buf_deinit(&reason);
    } else {
        (void)printf("%s: %s\n", s->verify,
                     st == GPULET_OK ? "the plan keeps every promise" : err.text);
    }
    return st == GPULET_OK ? CMD_DONE : st == GPULET_E_INFEASIBLE ? CMD_NO : CMD_FAILED;
}

static int make(const plan_settings_t *s, const gpulet_plan_input_t *input)
{
    gpulet_plan_t *plan = NULL;
    gpulet_buf_t out = GPULET_BUF_INIT;
    gpulet_error_t err = {""};
    uint64_t begin_ns = gpulet_clock_ns();
    gpulet_status_t st = gpulet_planner_run(&plan, gpulet_planner_find(s->planner), input, &err);
    if (st != GPULET_OK)
        return cmd_complain("plan", CMD_FAILED, err.text);
    plan->elapsed_ms = (double)(gpulet_clock_ns() - begin_ns) / 1e6;
    int exit_code = plan->feasible ? CMD_DONE : CMD_NO;
    if (!s->json)
        print_plan(plan, input->devices);
    else if (gpulet_plan_format_json(&out, plan) == GPULET_OK)
        (void)fputs(out.data, stdout);
    else
        exit_code = cmd_complain("plan", CMD_FAILED, "out of memory");
    gpulet_buf_deinit(&out);
    gpulet_plan_destroy(plan);
    return exit_code;
}

static int check_usage(const plan_settings_t *s)
{
    gpulet_error_t err = {""};
    if (s->profiles == NULL || s->workload == NULL)
        return cmd_complain("plan", CMD_USAGE,
                            s->profiles == NULL ? "expected --profiles FILE"
                                                : "expected --workload FILE");
    if (strcmp(s->format, "csv") != 0 && strcmp(s->format, "glet") != 0) {
        (void)gpulet_fail(&err, GPULET_E_INVALID, "--format: expected csv or glet, found '%s'",
                          s->format);
        return cmd_complain("plan", CMD_USAGE, err.text);
    }
    if (gpulet_planner_find(s->planner) == NULL) {
        gpulet_buf_t names = GPULET_BUF_INIT;
        for (const gpulet_planner_t *p = gpulet_planners(); p->name != NULL; p++)
            gpulet_buf_printf(&names, "%s%s", p == gpulet_planners() ? "" : ", ", p->name);
        (void)gpulet_fail(&err, GPULET_E_INVALID, "--planner: expected one of %s, found '%s'",
                          names.data, s->planner);
        gpulet_buf_deinit(&names);
        return cmd_complain("plan", CMD_USAGE, err.text);
    }
    return CMD_DONE;
}

static int run(const plan_settings_t *s)
{
    plan_files_t files = {0};
    gpulet_error_t err = {""};
    int exit_code = CMD_DONE;
    if (open_files(&files, s, &err) != GPULET_OK) {
        exit_code = cmd_complain("plan", CMD_FAILED, err.text);
    } else if (s->count != NULL &&
               gpulet_device_set_override_counts(files.devices, s->count, &err) != GPULET_OK) {
        exit_code = cmd_complain("plan", CMD_USAGE, err.text);
    } else {
        gpulet_plan_input_t input = {
            .profile = files.profile,
            .devices = files.devices,
            .workload = files.workload,
            .interference = files.interference,
            .latency_margin = s->latency_margin,
            .slo_fraction = s->slo_fraction,
            .rate_percentile = s->rate_percentile,
            .p99 = s->p99,
            .prototype_duty = s->prototype_duty,
            .from = files.from,
        };
        exit_code = s->verify != NULL ? verify(s, &input) : make(s, &input);
    }
    close_files(&files);
    return exit_code;
}

int cmd_plan(int argc, char **argv)
{
    plan_settings_t s = {0};
    int words = 0;
    int exit_code = CMD_DONE;
    if (!cmd_parse(cmd_find("plan"), &s, argc, argv, &words, &exit_code))
        return exit_code;
    exit_code = check_usage(&s);
    if (exit_code == CMD_DONE)
        exit_code = run(&s);
    gpulet_options_deinit(cmd_plan_options, &s);
    return exit_code;
}
