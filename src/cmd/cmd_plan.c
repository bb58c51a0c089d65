#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "cmd/cmd.h"
#include "cmd/cmd_planning.h"
#include "cmd/cmd_terminal.h"
#include "core/glet.h"
#include "core/plan.h"
#include "plan/elastic.h"
#include "plan/planner.h"
#include "proto/oip.h"
#include "view/plan_text.h"

typedef struct plan_settings {
    cmd_planning_t planning;
    char *workload;
    char *scenario;
    char *planner;
    char *from;
    char *verify;
    bool json;
    char *out;
    char *model_list;
    bool help;
} plan_settings_t;

#define AT(field) offsetof(plan_settings_t, field)
#define ANY       1, 0

enum { MODEL_LIST_SIZE_MAX = 64 << 20 };

const gpulet_option_t cmd_plan_options[] = {
    CMD_PLANNING_INPUTS(plan_settings_t),
    {"workload", GPULET_OPTION_STRING, AT(workload), NULL, ANY, "FILE", "rates and SLOs (CSV)",
     NULL},
    {"scenario", GPULET_OPTION_STRING, AT(scenario), NULL, ANY, "NAME", "scenario of the workload",
     NULL},
    {"planner", GPULET_OPTION_STRING, AT(planner), "elastic", ANY, "NAME",
     "which planner (see docs/planning.md)", "Planning"},
    CMD_PLANNING_RULES(plan_settings_t),
    {"from", GPULET_OPTION_STRING, AT(from), NULL, ANY, "FILE", "the plan that runs now (JSON)",
     NULL},
    {"verify", GPULET_OPTION_STRING, AT(verify), NULL, ANY, "FILE",
     "check this plan (JSON; ModelList.txt with --format glet) instead of making one", NULL},
    {"json", GPULET_OPTION_BOOL, AT(json), NULL, ANY, NULL, "one JSON document on stdout",
     "Output"},
    {"out", GPULET_OPTION_STRING, AT(out), NULL, ANY, "FILE",
     "write the JSON document there as well", NULL},
    {"model-list", GPULET_OPTION_STRING, AT(model_list), NULL, ANY, "FILE",
     "write the plan as the prototype's ModelList.txt as well", NULL},
    {"help", GPULET_OPTION_BOOL, AT(help), NULL, ANY, NULL, "print this", NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, ANY, NULL, NULL, NULL},
};

/* ModelList.txt has gpu-lets, models, batches and duty cycles; what follows from them is computed.
 */
static gpulet_status_t load_model_list(gpulet_plan_t **out, const char *path,
                                       const gpulet_plan_input_t *input, gpulet_error_t *err)
{
    char *text = NULL;
    size_t size = 0;
    gpulet_plan_t *listed = NULL;
    gpulet_status_t st = gpulet_file_read(&text, &size, path, MODEL_LIST_SIZE_MAX, err);
    if (st == GPULET_OK)
        st = gpulet_glet_plan_parse(&listed, input->devices, text, size, path, err);
    free(text);
    if (st != GPULET_OK)
        return st;
    st = gpulet_plan_refresh(out, listed, input);
    gpulet_plan_destroy(listed);
    if (st == GPULET_OK && *out == NULL)
        st = GPULET_E_NOT_FOUND;
    return st == GPULET_OK
               ? st
               : gpulet_fail(err, st, "%s: the inputs do not know some size, model or batch of it",
                             path);
}

static int verify(const plan_settings_t *s, const gpulet_plan_input_t *input)
{
    gpulet_plan_t *plan = NULL;
    gpulet_error_t err = {""};
    gpulet_status_t st = cmd_planning_glet(&s->planning)
                             ? load_model_list(&plan, s->verify, input, &err)
                             : gpulet_plan_load(&plan, s->verify, &err);
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

/* All outputs are made before the first is written. */
static gpulet_status_t put_out(const plan_settings_t *s, const gpulet_plan_t *plan,
                               const gpulet_device_set_t *devices, gpulet_error_t *err)
{
    gpulet_buf_t json = GPULET_BUF_INIT;
    gpulet_buf_t text = GPULET_BUF_INIT;
    gpulet_view_style_t style = cmd_terminal_style();
    gpulet_status_t st = GPULET_OK;
    if (s->json || s->out != NULL)
        st = gpulet_plan_format_json(&json, plan);
    if (st == GPULET_OK && !s->json)
        st = gpulet_view_plan_text(&text, plan, devices, &style);
    if (st != GPULET_OK)
        (void)gpulet_fail(err, st, "%s", gpulet_status_text(st));
    gpulet_buf_t list = GPULET_BUF_INIT;
    if (st == GPULET_OK && s->model_list != NULL &&
        (st = gpulet_glet_plan_format(&list, plan, devices, err)) == GPULET_OK)
        st = gpulet_file_write(s->model_list, list.data != NULL ? list.data : "", list.size, err);
    gpulet_buf_deinit(&list);
    if (st == GPULET_OK && s->out != NULL)
        st = gpulet_file_write(s->out, json.data, json.size, err);
    if (st == GPULET_OK)
        st = gpulet_file_write("-", s->json ? json.data : text.data,
                               s->json ? json.size : text.size, err);
    gpulet_buf_deinit(&json);
    gpulet_buf_deinit(&text);
    return st;
}

static int make(const plan_settings_t *s, const gpulet_plan_input_t *input)
{
    gpulet_plan_t *plan = NULL;
    gpulet_error_t err = {""};
    uint64_t begin_ns = gpulet_clock_ns();
    gpulet_status_t st = gpulet_planner_run(&plan, gpulet_planner_find(s->planner), input, &err);
    if (st != GPULET_OK)
        return cmd_complain("plan", CMD_FAILED, err.text);
    plan->elapsed_ms = (double)(gpulet_clock_ns() - begin_ns) / 1e6;
    int exit_code = plan->feasible ? CMD_DONE : CMD_NO;
    if (put_out(s, plan, input->devices, &err) != GPULET_OK)
        exit_code = cmd_complain("plan", CMD_FAILED, err.text);
    gpulet_plan_destroy(plan);
    return exit_code;
}

static int check_usage(const plan_settings_t *s)
{
    gpulet_error_t err = {""};
    if (s->planning.profiles == NULL || s->workload == NULL)
        return cmd_complain("plan", CMD_USAGE,
                            s->planning.profiles == NULL ? "expected --profiles FILE"
                                                         : "expected --workload FILE");
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
    cmd_planning_files_t files = {0};
    gpulet_workload_t *workload = NULL;
    gpulet_plan_t *from = NULL;
    gpulet_error_t err = {""};
    int exit_code = cmd_planning_open(&files, &s->planning, &err);
    if (exit_code == CMD_DONE &&
        (cmd_planning_workload(&workload, &files, &s->planning, s->workload, s->scenario, &err) !=
             GPULET_OK ||
         (s->from != NULL && gpulet_plan_load(&from, s->from, &err) != GPULET_OK)))
        exit_code = CMD_FAILED;
    if (exit_code == CMD_DONE) {
        gpulet_plan_input_t input = cmd_planning_input(&files, &s->planning);
        input.workload = workload;
        input.from = from;
        exit_code = s->verify != NULL ? verify(s, &input) : make(s, &input);
    } else {
        (void)cmd_complain("plan", exit_code, err.text);
    }
    gpulet_plan_destroy(from);
    gpulet_workload_destroy(workload);
    cmd_planning_close(&files);
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
