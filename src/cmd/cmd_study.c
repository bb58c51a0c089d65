/* gpulet study: how many of many workloads each planner can schedule. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cmd/cmd.h"
#include "cmd/cmd_planning.h"
#include "study/study.h"
#include "view/study_svg.h"

typedef struct study_settings {
    cmd_planning_t planning;
    char *models;
    char *slo_ms;
    char *rates;
    char *planners;
    uint64_t threads;
    bool json;
    char *csv;
    char *svg;
    bool help;
} study_settings_t;

#define AT(field) offsetof(study_settings_t, field)
#define ANY       1, 0

const gpulet_option_t cmd_study_options[] = {
    CMD_PLANNING_INPUTS(study_settings_t),
    {"models", GPULET_OPTION_STRING, AT(models), NULL, ANY, "A,B,...", "models of the workloads",
     "Workloads"},
    {"slo-ms", GPULET_OPTION_STRING, AT(slo_ms), NULL, ANY, "A=MS,...", "the SLO of each model",
     NULL},
    {"rates", GPULET_OPTION_STRING, AT(rates), NULL, ANY, "R,R,...",
     "requests a second that each model may have: every combination but all-zero", NULL},
    {"planners", GPULET_OPTION_STRING, AT(planners), NULL, ANY, "NAME,...",
     "planners to compare [all]", "Planning"},
    CMD_PLANNING_RULES(study_settings_t),
    {"threads", GPULET_OPTION_U64, AT(threads), "0", 0, GPULET_STUDY_THREADS_MAX, "N",
     "0: one a core", NULL},
    {"json", GPULET_OPTION_BOOL, AT(json), NULL, ANY, NULL, "one JSON document on stdout",
     "Output"},
    {"csv", GPULET_OPTION_STRING, AT(csv), NULL, ANY, "FILE",
     "a line a case: the rates, each planner's verdict", NULL},
    {"svg", GPULET_OPTION_STRING, AT(svg), NULL, ANY, "FILE", "draw the verdicts as a picture",
     NULL},
    {"help", GPULET_OPTION_BOOL, AT(help), NULL, ANY, NULL, "print this", NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, ANY, NULL, NULL, NULL},
};

static size_t cores(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
        return (size_t)CPU_COUNT(&set);
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (size_t)count : 1;
}

static void show_progress(void *arg, size_t done, size_t count)
{
    (void)arg;
    (void)fprintf(stderr, "\r%zu of %zu cases (%.0f %%)\033[K", done, count,
                  100.0 * (double)done / (double)count);
    if (done == count)
        (void)fprintf(stderr, "\r\033[K");
}

static gpulet_status_t check_models(const gpulet_study_spec_t *spec,
                                    const gpulet_profile_t *profile, const char *profiles,
                                    gpulet_error_t *err)
{
    for (size_t i = 0; i < spec->models_count; i++) {
        if (!gpulet_profile_has_model(profile, NULL, spec->models[i].name))
            return gpulet_fail(err, GPULET_E_NOT_FOUND, "%s: no row has the model %s", profiles,
                               spec->models[i].name);
    }
    return GPULET_OK;
}

/* All outputs are made before the first is written. */
static gpulet_status_t put_out(const study_settings_t *s, const gpulet_study_spec_t *spec,
                               const gpulet_study_result_t *result, gpulet_error_t *err)
{
    gpulet_buf_t text = GPULET_BUF_INIT;
    gpulet_buf_t csv = GPULET_BUF_INIT;
    gpulet_buf_t svg = GPULET_BUF_INIT;
    gpulet_status_t st = s->json ? gpulet_study_format_json(&text, spec, result)
                                 : gpulet_study_format_text(&text, spec, result);
    if (st == GPULET_OK && s->csv != NULL)
        st = gpulet_study_format_csv(&csv, spec, result);
    if (st == GPULET_OK && s->svg != NULL)
        st = gpulet_view_study_svg(&svg, spec, result);
    if (st != GPULET_OK)
        (void)gpulet_fail(err, st, "%s", gpulet_status_text(st));
    if (st == GPULET_OK && s->csv != NULL)
        st = gpulet_file_write(s->csv, csv.data, csv.size, err);
    if (st == GPULET_OK && s->svg != NULL)
        st = gpulet_file_write(s->svg, svg.data, svg.size, err);
    if (st == GPULET_OK)
        st = gpulet_file_write("-", text.data, text.size, err);
    gpulet_buf_deinit(&csv);
    gpulet_buf_deinit(&svg);
    gpulet_buf_deinit(&text);
    return st;
}

static int study(const study_settings_t *s, const gpulet_study_spec_t *spec, gpulet_error_t *err)
{
    cmd_planning_files_t files = {0};
    gpulet_study_options_t options = {
        .threads = s->threads > 0 ? (size_t)s->threads : cores(),
        .progress = isatty(STDERR_FILENO) ? show_progress : NULL,
    };
    int exit_code = cmd_planning_open(&files, &s->planning, err);
    if (exit_code == CMD_DONE &&
        check_models(spec, files.profile, s->planning.profiles, err) != GPULET_OK)
        exit_code = CMD_FAILED;
    if (exit_code == CMD_DONE) {
        gpulet_study_result_t result = {0};
        gpulet_plan_input_t input = cmd_planning_input(&files, &s->planning);
        input.brief = true;
        input.any = true;
        gpulet_status_t st = gpulet_study_run(&result, spec, &input, &options, err);
        if (st == GPULET_OK)
            st = put_out(s, spec, &result, err);
        exit_code = st == GPULET_OK ? CMD_DONE : CMD_FAILED;
        gpulet_study_result_deinit(&result);
    }
    cmd_planning_close(&files);
    return exit_code;
}

static gpulet_status_t parse_spec(gpulet_study_spec_t *spec, const study_settings_t *s,
                                  gpulet_error_t *err)
{
    const struct {
        const char *value;
        const char *expected;
    } required[] = {{s->planning.profiles, "--profiles FILE"},
                    {s->models, "--models A,B,..."},
                    {s->slo_ms, "--slo-ms A=MS,..."},
                    {s->rates, "--rates R,R,..."}};
    for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++) {
        if (required[i].value == NULL)
            return gpulet_fail(err, GPULET_E_INVALID, "expected %s", required[i].expected);
    }
    if (cmd_check_stdout(s->json, "csv", s->csv, err) != GPULET_OK ||
        cmd_check_stdout(s->json, "svg", s->svg, err) != GPULET_OK)
        return GPULET_E_INVALID;
    gpulet_status_t st =
        gpulet_study_spec_parse(spec, s->models, s->slo_ms, s->rates, s->planners, err);
    for (size_t i = 0; st == GPULET_OK && s->csv != NULL && i < spec->models_count; i++) {
        for (size_t k = 0; k < spec->planners_count; k++) {
            if (strcmp(spec->models[i].name, spec->planners[k]->name) == 0)
                return gpulet_fail(err, GPULET_E_INVALID,
                                   "--csv: expected no model that is called as a planner (both "
                                   "name columns), found %s",
                                   spec->models[i].name);
        }
    }
    return st;
}

int cmd_study(int argc, char **argv)
{
    study_settings_t s = {0};
    int words = 0;
    int exit_code = CMD_DONE;
    gpulet_error_t err = {""};
    if (!cmd_parse(cmd_find("study"), &s, argc, argv, &words, &exit_code))
        return exit_code;
    gpulet_study_spec_t *spec = calloc(1, sizeof(*spec));
    if (spec == NULL) {
        exit_code = CMD_FAILED;
        (void)gpulet_fail(&err, GPULET_E_NOMEM, "out of memory");
    } else {
        exit_code = parse_spec(spec, &s, &err) == GPULET_OK ? study(&s, spec, &err) : CMD_USAGE;
    }
    if (exit_code != CMD_DONE)
        (void)cmd_complain("study", exit_code, err.text);
    free(spec);
    gpulet_options_deinit(cmd_study_options, &s);
    return exit_code;
}
