#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cmd/cmd.h"
#include "cmd/cmd_plan.h"
#include "cmd/cmd_planning.h"
#include "core/plan.h"
#include "plan/optimal.h"
#include "plan/planner.h"
#include "proto/oip.h"
#include "study/multiple.h"

#define AT(field) offsetof(plan_settings_t, field)
#define ANY       1, 0

const gpulet_option_t cmd_plan_options[] = {
    CMD_PLANNING_INPUTS(plan_settings_t),
    {"workload", GPULET_OPTION_STRING, AT(workload), NULL, ANY, "FILE", "rates and SLOs (CSV)",
     NULL},
    {"scenario", GPULET_OPTION_STRING, AT(scenario), NULL, ANY, "NAME", "scenario of the workload",
     NULL},
    {"apps", GPULET_OPTION_STRING, AT(apps), NULL, ANY, "FILE",
     "applications: graphs of models with one SLO (YAML or CSV); their SLOs are shared out among "
     "their models, whose rates come on top of the workload's",
     NULL},
    {"planner", GPULET_OPTION_STRING, AT(planner), NULL, ANY, "NAME",
     "which planner (see docs/planning.md) [optimal; elastic with --elastic]", "Planning"},
    {"time-limit-s", GPULET_OPTION_F64, AT(time_limit_s), "0", 0, 1e6, "S",
     "optimal: stop the search of each plan then, with what it has found and proved; 0: its own "
     "limit of steps",
     NULL},
    CMD_PLANNING_RULES(plan_settings_t),
    {"from", GPULET_OPTION_STRING, AT(from), NULL, ANY, "FILE", "the plan that runs now (JSON)",
     NULL},
    {"verify", GPULET_OPTION_STRING, AT(verify), NULL, ANY, "FILE",
     "check this plan (JSON; ModelList.txt with --format glet) instead of making one", NULL},
    {"what-if", GPULET_OPTION_STRINGS, AT(what_if), NULL, ANY, "CHANGE",
     "plan with a change as well: a.rate*2, a.slo=80, all.rate*1.5, devices=3, devices.TYPE+1; may "
     "be given several times",
     "More questions"},
    {"max-multiple", GPULET_OPTION_BOOL, AT(max_multiple), NULL, ANY, NULL,
     "the largest multiple of the workload that fits, to 0.1 %", NULL},
    {"advice", GPULET_OPTION_BOOL, AT(advice), "true", ANY, NULL,
     "when it does not fit, search what would be enough (--no-advice: do not)", NULL},
    {"json", GPULET_OPTION_BOOL, AT(json), NULL, ANY, NULL, "one JSON document on stdout",
     "Output"},
    {"out", GPULET_OPTION_STRING, AT(out), NULL, ANY, "FILE",
     "write the JSON document there as well", NULL},
    {"model-list", GPULET_OPTION_STRING, AT(model_list), NULL, ANY, "FILE",
     "write the plan as the prototype's ModelList.txt as well", NULL},
    {"svg", GPULET_OPTION_STRING, AT(svg), NULL, ANY, "FILE", "draw the plan as a picture", NULL},
    {"help", GPULET_OPTION_BOOL, AT(help), NULL, ANY, NULL, "print this", NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, ANY, NULL, NULL, NULL},
};

static int verify(const plan_settings_t *s, const gpulet_plan_input_t *input)
{
    gpulet_plan_t *plan = NULL;
    gpulet_error_t err = {""};
    gpulet_status_t st = cmd_planning_glet(&s->planning)
                             ? cmd_plan_load_model_list(&plan, s->verify, input, &err)
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

/* The options of elastic's published forms are about that planner alone. */
static const char *planner_name(const plan_settings_t *s)
{
    if (s->planner != NULL)
        return s->planner;
    return cmd_planning_elastic_best(&s->planning) ? "optimal" : "elastic";
}

/* Steps of the search until the time is up. */
static gpulet_status_t run_optimal(gpulet_plan_t **out, const gpulet_study_runner_t *runner,
                                   const gpulet_plan_input_t *input, gpulet_error_t *err)
{
    gpulet_optimal_t *search = NULL;
    gpulet_plan_t *plan = NULL;
    uint64_t end_ns = gpulet_clock_ns() + (uint64_t)(runner->time_limit_s * 1e9);
    gpulet_status_t st = gpulet_optimal_create(&search, input, err);
    bool more = st == GPULET_OK;
    while (st == GPULET_OK && more && gpulet_clock_ns() < end_ns)
        st = gpulet_optimal_step(search, &more, err);
    if (st == GPULET_OK)
        st = gpulet_optimal_best(&plan, search, err);
    gpulet_optimal_destroy(search);
    if (st == GPULET_OK)
        st = gpulet_planner_finish(out, plan, runner->planner, input, err);
    return st;
}

static gpulet_status_t answer(plan_answers_t *answers, const plan_settings_t *s,
                              const gpulet_plan_input_t *input, gpulet_error_t *err)
{
    gpulet_study_runner_t runner = {.planner = gpulet_planner_find(planner_name(s)),
                                    .run = s->time_limit_s > 0.0 ? run_optimal : NULL,
                                    .time_limit_s = s->time_limit_s};
    gpulet_study_runner_t quick = {.planner = gpulet_planner_quick(runner.planner)};
    uint64_t begin_ns = gpulet_clock_ns();
    gpulet_status_t st = gpulet_study_plan(&answers->plan, &runner, input, err);
    if (st != GPULET_OK)
        return st;
    answers->plan->elapsed_ms = (double)(gpulet_clock_ns() - begin_ns) / 1e6;
    if (answers->split != NULL)
        gpulet_apps_plan_worst(answers->split, answers->plan);
    answers->advice_given = s->advice && !answers->plan->feasible;
    answers->multiple_given = s->max_multiple;
    if (answers->advice_given)
        st = gpulet_advise(&answers->advice, answers->plan, &runner, &quick, input, err);
    if (st == GPULET_OK && s->max_multiple)
        st = gpulet_study_multiple(&answers->multiple, &runner, input, err);
    return st == GPULET_OK ? cmd_plan_what_if(answers, &runner, input, err) : st;
}

static int make(const plan_settings_t *s, plan_answers_t *answers, const gpulet_plan_input_t *input)
{
    gpulet_error_t err = {""};
    if (cmd_plan_check_what_if(answers, input, &err) != GPULET_OK)
        return cmd_complain("plan", CMD_USAGE, err.text);
    gpulet_status_t st = answer(answers, s, input, &err);
    if (st == GPULET_OK)
        st = cmd_plan_put_out(s, answers, input->devices, &err);
    if (st != GPULET_OK)
        return cmd_complain("plan", CMD_FAILED, err.text);
    return answers->plan->feasible ? CMD_DONE : CMD_NO;
}

/* Whether there is such a planner and all that it needs. */
static gpulet_status_t check_planner(const plan_settings_t *s, gpulet_error_t *err)
{
    const char *name = planner_name(s);
    const gpulet_planner_t *planner = gpulet_planner_find(name);
    if (planner == NULL) {
        gpulet_buf_t names = GPULET_BUF_INIT;
        for (const gpulet_planner_t *p = gpulet_planners(); p->name != NULL; p++)
            gpulet_buf_printf(&names, "%s%s", p == gpulet_planners() ? "" : ", ", p->name);
        (void)gpulet_fail(err, GPULET_E_INVALID, "--planner: expected one of %s, found '%s'",
                          names.data, name);
        gpulet_buf_deinit(&names);
        return GPULET_E_INVALID;
    }
    if (s->verify != NULL)
        return GPULET_OK;
    if (planner->from_plan && s->from == NULL)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "--planner %s: expected --from FILE, the plan that runs now", name);
    if (s->time_limit_s > 0.0 && strcmp(name, "optimal") != 0)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "--time-limit-s: expected --planner optimal with it, found '%s'", name);
    if (!cmd_planning_elastic_best(&s->planning) && strcmp(name, "elastic") != 0)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "--elastic: expected --planner elastic with it, found '%s'", name);
    return GPULET_OK;
}

static int check_usage(const plan_settings_t *s, plan_answers_t *answers)
{
    gpulet_error_t err = {""};
    if (cmd_plan_read_what_if(answers, s->what_if, &err) != GPULET_OK)
        return cmd_complain("plan", CMD_USAGE, err.text);
    if (s->planning.profiles == NULL || (s->workload == NULL && s->apps == NULL))
        return cmd_complain("plan", CMD_USAGE,
                            s->planning.profiles == NULL
                                ? "expected --profiles FILE"
                                : "expected --workload FILE, --apps FILE, or both");
    if (s->verify != NULL &&
        (s->what_if != NULL || s->max_multiple || s->out != NULL || s->svg != NULL))
        return cmd_complain("plan", CMD_USAGE,
                            "--verify: expected no --what-if, --max-multiple, --out or --svg "
                            "beside it");
    if (check_planner(s, &err) != GPULET_OK ||
        cmd_check_stdout(s->json, "out", s->out, &err) != GPULET_OK ||
        cmd_check_stdout(s->json, "model-list", s->model_list, &err) != GPULET_OK ||
        cmd_check_stdout(s->json, "svg", s->svg, &err) != GPULET_OK)
        return cmd_complain("plan", CMD_USAGE, err.text);
    return CMD_DONE;
}

/* What is read beside the files of every planning command. */
typedef struct sources {
    gpulet_workload_t *workload; /* NULL: none was named */
    gpulet_plan_t *from;
    gpulet_apps_t *apps;
} sources_t;

static gpulet_status_t open_sources(sources_t *out, cmd_planning_files_t *files,
                                    const plan_settings_t *s, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    if (s->workload != NULL)
        st = cmd_planning_workload(&out->workload, files, &s->planning, s->workload, s->scenario,
                                   err);
    if (st == GPULET_OK && s->from != NULL)
        st = gpulet_plan_load(&out->from, s->from, err);
    if (st == GPULET_OK && s->apps != NULL)
        st = gpulet_apps_load(&out->apps, s->apps, err);
    return st;
}

static void close_sources(sources_t *sources)
{
    gpulet_plan_destroy(sources->from);
    gpulet_workload_destroy(sources->workload);
    gpulet_apps_destroy(sources->apps);
}

/* The workload that is planned: with applications, one of all their models. */
static gpulet_status_t set_workload(gpulet_plan_input_t *input, plan_answers_t *answers,
                                    const plan_settings_t *s, const sources_t *sources,
                                    gpulet_error_t *err)
{
    const gpulet_apps_options_t options = {.planner = gpulet_planner_find(planner_name(s))};
    input->workload = sources->workload;
    input->from = sources->from;
    if (sources->apps == NULL)
        return GPULET_OK;
    gpulet_status_t st =
        gpulet_apps_plan_split(&answers->split, input, sources->apps, &options, err);
    if (st == GPULET_OK)
        input->workload = answers->split->workload;
    return st;
}

static int run(const plan_settings_t *s, plan_answers_t *answers)
{
    cmd_planning_files_t files = {0};
    sources_t sources = {0};
    gpulet_error_t err = {""};
    int exit_code = cmd_planning_open(&files, &s->planning, &err);
    if (exit_code == CMD_DONE && open_sources(&sources, &files, s, &err) != GPULET_OK)
        exit_code = CMD_FAILED;
    /* The workload may have changed the profile. */
    gpulet_plan_input_t input = cmd_planning_input(&files, &s->planning);
    if (exit_code == CMD_DONE && set_workload(&input, answers, s, &sources, &err) != GPULET_OK)
        exit_code = CMD_FAILED;
    if (exit_code == CMD_DONE)
        exit_code = s->verify != NULL ? verify(s, &input) : make(s, answers, &input);
    else
        (void)cmd_complain("plan", exit_code, err.text);
    close_sources(&sources);
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
    plan_answers_t *answers = calloc(1, sizeof(*answers));
    if (answers == NULL) {
        exit_code = cmd_complain("plan", CMD_FAILED, "out of memory");
    } else {
        exit_code = check_usage(&s, answers);
        if (exit_code == CMD_DONE)
            exit_code = run(&s, answers);
        cmd_plan_answers_deinit(answers);
        free(answers);
    }
    gpulet_options_deinit(cmd_plan_options, &s);
    return exit_code;
}
