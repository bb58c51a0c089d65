#include "cmd/cmd_sim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/parse.h"
#include "cmd/cmd.h"
#include "cmd/cmd_attainment.h"
#include "core/csv.h"
#include "sim/random.h"

#define AT(field) offsetof(sim_settings_t, field)
#define ANY       1, 0

static const double seconds_default = 60;

const gpulet_option_t cmd_sim_options[] = {
    CMD_PLANNING_INPUTS(sim_settings_t),
    {"workload", GPULET_OPTION_STRING, AT(workload), NULL, ANY, "FILE", "rates and SLOs (CSV)",
     NULL},
    {"scenario", GPULET_OPTION_STRING, AT(scenario), NULL, ANY, "NAME", "scenario of the workload",
     NULL},
    {"apps", GPULET_OPTION_STRING, AT(apps), NULL, ANY, "FILE",
     "applications: graphs of models with one SLO (YAML or CSV), beside the workload or alone; a "
     "row "
     "of the workload with the name of one is its rate and SLO",
     NULL},
    {"planner", GPULET_OPTION_STRING, AT(planner), "elastic", ANY, "NAME",
     "which planner (see docs/planning.md)", "Planning"},
    {"plan", GPULET_OPTION_STRING, AT(plan), NULL, ANY, "FILE",
     "begin with this plan (JSON of gpulet plan) instead of making one", NULL},
    {"use-spare", GPULET_OPTION_BOOL, AT(use_spare), "true", ANY, NULL,
     "plan for more than the rates, as far as the devices that they need can hold it", NULL},
    {"all-devices", GPULET_OPTION_BOOL, AT(all_devices), NULL, ANY, NULL,
     "with --use-spare: plan for all devices, not only for those that the rates need", NULL},
    CMD_PLANNING_RULES_OF(sim_settings_t, "0.99", "true"),
    {"arrivals", GPULET_OPTION_STRING, AT(arrivals), "poisson", ANY, "KIND",
     "poisson, uniform, or a file of arrivals (CSV time_s,model[,items])", "Load"},
    {"rates", GPULET_OPTION_STRING, AT(rates), NULL, ANY, "FILE",
     "rates that change (CSV time_s,model,rate_rps); others keep the workload's", NULL},
    {"multiple", GPULET_OPTION_F64, AT(multiple), "1", 0.0001, 1e6, "X", "multiplies every rate",
     NULL},
    {"duration-s", GPULET_OPTION_F64, AT(duration_s), "0", 0, 31536000, "S",
     "how long requests are counted [60, or until the last arrival of a file]", NULL},
    {"warmup-s", GPULET_OPTION_F64, AT(warmup_s), "2", 0, 1e6, "S",
     "how long before that they are served uncounted", NULL},
    {"seed", GPULET_OPTION_U64, AT(seed), "1", 0, 9007199254740992, "N", "of all that is drawn",
     NULL},
    {"truth", GPULET_OPTION_STRING, AT(truth), NULL, ANY, "FILE",
     "how neighbours really slow one another down: measured pairs (CSV) [as --interference says]",
     "World"},
    {"truth-interference", GPULET_OPTION_STRING, AT(truth_interference), NULL, ANY, "FILE",
     "... or a file as that of --interference; 'none': not at all", NULL},
    {"spread", GPULET_OPTION_F64, AT(spread), "0", 0, 2, "X",
     "relative spread of times where the profile has no latency_ms_p99", NULL},
    {"overhead-us", GPULET_OPTION_F64, AT(overhead_us), "200", 0, 1e6, "US",
     "added to every predicted latency, as gpuletd does", NULL},
    {"commit-ahead-us", GPULET_OPTION_F64, AT(commit_ahead_us), "500", 0, 1e6, "US",
     "a second batch is sent so long before the running one should end, as gpuletd does", NULL},
    {"host-us", GPULET_OPTION_F64, AT(host_us), "-1", -1, 1e6, "US",
     "what really passes around a batch that is not execution; -1: as --overhead-us", NULL},
    {"run-limit-s", GPULET_OPTION_F64, AT(run_limit_s), "60", 0.1, 86400, "S",
     "a batch that is not heard of for so long: its worker is replaced", NULL},
    {"requests-max", GPULET_OPTION_U64, AT(requests_max), "16384", 16, 1000000, "N",
     "requests waiting and running", NULL},
    {"late-serve", GPULET_OPTION_BOOL, AT(late_serve), NULL, ANY, NULL,
     "nothing is refused or dropped for being late", NULL},
    {"follow", GPULET_OPTION_STRING, AT(follow), "auto", ANY, "WHEN",
     "plan again as the load changes: on, off, or auto (with --rates or a file of arrivals)",
     "Following the load"},
    {"replan-period-s", GPULET_OPTION_F64, AT(replan_period_s), "20", 0.1, 86400, "S",
     "how often it is checked whether another plan would be better", NULL},
    {"replan-hold-s", GPULET_OPTION_F64, AT(replan_hold_s), "2", 0.01, 86400, "S",
     "least time between two plans, even when the running one does not cover the load", NULL},
    {"rate-window-s", GPULET_OPTION_F64, AT(rate_window_s), "20", 4, 128, "S",
     "rates are averaged over this time, and looked at over up to three times as long", NULL},
    {"replan-better", GPULET_OPTION_F64, AT(replan_better), "1.25", 1, 100, "X",
     "a plan that is not needed replaces the running one if it covers this many times as much",
     NULL},
    {"start-s", GPULET_OPTION_STRING, AT(start_s), "10-15", ANY, "S",
     "seconds that a gpu-let takes to start; A-B: drawn from that range", NULL},
    {"load-s", GPULET_OPTION_F64, AT(load_s), "0.5", 0, 1e5, "S",
     "seconds that a model takes to load", NULL},
    {"plan-s", GPULET_OPTION_F64, AT(plan_s), "0.1", 0, 1e5, "S", "planning takes so long", NULL},
    {"transition-limit-s", GPULET_OPTION_F64, AT(transition_limit_s), "60", 0.01, 86400, "S",
     "a plan that is not reached by then is given up", NULL},
    {"faults", GPULET_OPTION_STRING, AT(faults), NULL, ANY, "SPEC",
     "what goes wrong, such as worker-death=0.001,slow=0.01x10 (see docs/simulation.md)",
     "Faults and checks"},
    {"phases", GPULET_OPTION_BOOL, AT(phases), NULL, ANY, NULL,
     "a quarter of the duration without faults afterwards", NULL},
    {"check", GPULET_OPTION_BOOL, AT(check), NULL, ANY, NULL,
     "check every promise after every event; a broken one ends the program", NULL},
    {"world", GPULET_OPTION_STRING, AT(world), NULL, ANY, "NAME",
     "random: all inputs, faults included, from --seed, with checks, as prop.sim.seeds runs them",
     NULL},
    {"peak", GPULET_OPTION_BOOL, AT(peak), NULL, ANY, NULL,
     "the highest multiple of the workload that keeps misses below --miss-max", "Questions"},
    {"miss-max", GPULET_OPTION_F64, AT(miss_max), "0.01", 1e-6, 1, "PART",
     "part of the requests that may miss", NULL},
    CMD_MIN_ATTAINMENT(sim_settings_t),
    {"series", GPULET_OPTION_STRING, AT(series), NULL, ANY, "FILE",
     "write what happened in each window (CSV)", "Output"},
    {"series-s", GPULET_OPTION_F64, AT(series_s), "20", 0.01, 1e6, "S", "windows of the series",
     NULL},
    {"json", GPULET_OPTION_BOOL, AT(json), NULL, ANY, NULL, "one JSON document on stdout", NULL},
    {"help", GPULET_OPTION_BOOL, AT(help), NULL, ANY, NULL, "print this", NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, ANY, NULL, NULL, NULL},
};

/* All that was read, and what the run borrows from it. */
typedef struct inputs {
    cmd_planning_files_t files;
    gpulet_workload_t *workload; /* what is asked of models directly */
    gpulet_workload_t *subjects; /* whom files of rates and arrivals may name */
    gpulet_apps_t *apps;
    gpulet_plan_t *plan;
    gpulet_sim_rates_t *rates;
    gpulet_sim_trace_t *trace;
    gpulet_pairs_t *pairs;
    gpulet_interference_t *truth;
    gpulet_sim_options_t options;
} inputs_t;

static void close_inputs(inputs_t *in)
{
    gpulet_interference_destroy(in->truth);
    gpulet_pairs_destroy(in->pairs);
    gpulet_sim_trace_destroy(in->trace);
    gpulet_sim_rates_destroy(in->rates);
    gpulet_plan_destroy(in->plan);
    gpulet_workload_destroy(in->subjects);
    gpulet_workload_destroy(in->workload);
    gpulet_apps_destroy(in->apps);
    cmd_planning_close(&in->files);
}

/* ---- options ---- */

/* "10" or "10-15". */
static gpulet_status_t parse_range(gpulet_sim_range_t *out, const char *text, gpulet_error_t *err)
{
    const double most = 1e5;
    const char *dash = strchr(text, '-');
    size_t first = dash != NULL ? (size_t)(dash - text) : strlen(text);
    gpulet_status_t st = gpulet_parse_f64(&out->min, text, first);
    out->max = out->min;
    if (st == GPULET_OK && dash != NULL)
        st = gpulet_parse_f64(&out->max, dash + 1, strlen(dash + 1));
    if (st == GPULET_OK && out->min >= 0 && out->max >= out->min && out->max <= most)
        return GPULET_OK;
    return gpulet_fail(err, GPULET_E_INVALID,
                       "--start-s: expected seconds from 0 to 100000, or a range such as 10-15, "
                       "found '%s'",
                       text);
}

static gpulet_status_t choose_planner(gpulet_sim_options_t *o, const sim_settings_t *s,
                                      gpulet_error_t *err)
{
    o->planner = gpulet_planner_find(s->planner);
    if (o->planner == NULL) {
        gpulet_buf_t names = GPULET_BUF_INIT;
        for (const gpulet_planner_t *p = gpulet_planners(); p->name != NULL; p++)
            gpulet_buf_printf(&names, "%s%s", p == gpulet_planners() ? "" : ", ", p->name);
        (void)gpulet_fail(err, GPULET_E_INVALID, "--planner: expected one of %s, found '%s'",
                          names.data, s->planner);
        gpulet_buf_deinit(&names);
        return GPULET_E_INVALID;
    }
    if (o->planner->from_plan && s->plan == NULL)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "--planner %s: expected --plan FILE, the plan to begin with",
                           s->planner);
    if (!cmd_planning_elastic_best(&s->planning) && strcmp(s->planner, "elastic") != 0)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "--elastic: expected --planner elastic with it, found '%s'", s->planner);
    return GPULET_OK;
}

static bool is_trace(const sim_settings_t *s)
{
    return strcmp(s->arrivals, "poisson") != 0 && strcmp(s->arrivals, "uniform") != 0;
}

static gpulet_status_t choose_following(gpulet_sim_options_t *o, const sim_settings_t *s,
                                        gpulet_error_t *err)
{
    if (strcmp(s->follow, "on") == 0)
        o->follow = true;
    else if (strcmp(s->follow, "auto") == 0)
        o->follow = s->rates != NULL || is_trace(s);
    else if (strcmp(s->follow, "off") != 0)
        return gpulet_fail(err, GPULET_E_INVALID, "--follow: expected on, off or auto, found '%s'",
                           s->follow);
    /* Samples of half a second, as the server's. */
    o->following = (gpulet_follow_options_t){
        .window = (uint32_t)(s->rate_window_s * 2),
        .period_ns = (uint64_t)(s->replan_period_s * 1e9),
        .hold_ns = (uint64_t)(s->replan_hold_s * 1e9),
        .better = s->replan_better,
    };
    return GPULET_OK;
}

static gpulet_status_t check_usage(const sim_settings_t *s, gpulet_error_t *err)
{
    if (s->planning.profiles == NULL || (s->workload == NULL && s->apps == NULL))
        return gpulet_fail(err, GPULET_E_INVALID, "%s",
                           s->planning.profiles == NULL
                               ? "expected --profiles FILE"
                               : "expected --workload FILE, --apps FILE, or both");
    if (s->truth != NULL && s->truth_interference != NULL)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "--truth: expected no --truth-interference beside it");
    if (is_trace(s) && s->rates != NULL)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "--rates: expected --arrivals poisson or uniform with it, found '%s'",
                           s->arrivals);
    if (is_trace(s) && (s->peak || s->multiple != 1))
        return gpulet_fail(err, GPULET_E_INVALID,
                           "--%s: expected --arrivals poisson or uniform with it, found '%s'",
                           s->peak ? "peak" : "multiple", s->arrivals);
    if (s->peak && (s->plan != NULL || s->series != NULL))
        return gpulet_fail(err, GPULET_E_INVALID, "--peak: expected no --%s beside it",
                           s->plan != NULL ? "plan" : "series");
    return cmd_check_stdout(s->json, "series", s->series, err);
}

/* What needs no file. */
static gpulet_status_t set_options(gpulet_sim_options_t *o, const sim_settings_t *s,
                                   gpulet_error_t *err)
{
    double host_us = s->host_us < 0 ? s->overhead_us : s->host_us;
    *o = (gpulet_sim_options_t){
        .seed = s->seed,
        .use_spare = s->use_spare,
        .all_devices = s->all_devices,
        .multiple = s->multiple,
        .uniform = strcmp(s->arrivals, "uniform") == 0,
        .warmup_s = s->warmup_s,
        .spread = s->spread,
        .overhead_ns = (uint64_t)(s->overhead_us * 1e3),
        .commit_ahead_ns = (uint64_t)(s->commit_ahead_us * 1e3),
        .host_ns = (uint64_t)(host_us * 1e3),
        .run_limit_ns = (uint64_t)(s->run_limit_s * 1e9),
        .requests_max = (uint32_t)s->requests_max,
        .late_serve = s->late_serve,
        .load_s = s->load_s,
        .plan_s = s->plan_s,
        .transition_limit_s = s->transition_limit_s,
        .phases = s->phases,
        .check = s->check,
        .series_s = s->series != NULL ? s->series_s : 0,
    };
    gpulet_status_t st = check_usage(s, err);
    if (st == GPULET_OK)
        st = choose_planner(o, s, err);
    if (st == GPULET_OK)
        st = choose_following(o, s, err);
    if (st == GPULET_OK)
        st = parse_range(&o->start_s, s->start_s, err);
    if (st == GPULET_OK && (st = gpulet_faults_parse(&o->faults, s->faults != NULL ? s->faults : "",
                                                     err)) != GPULET_OK)
        gpulet_error_prefix(err, "--faults");
    return st;
}

/* ---- files ---- */

static gpulet_status_t read_load(inputs_t *in, const sim_settings_t *s, gpulet_error_t *err)
{
    const char *path = is_trace(s) ? s->arrivals : s->rates;
    char *text = NULL;
    size_t size = 0;
    if (path == NULL)
        return GPULET_OK;
    gpulet_status_t st = gpulet_file_read(&text, &size, path, GPULET_CSV_FILE_SIZE_MAX, err);
    if (st != GPULET_OK)
        return st;
    st = is_trace(s) ? gpulet_sim_trace_parse(&in->trace, text, size, path, in->subjects, err)
                     : gpulet_sim_rates_parse(&in->rates, text, size, path, in->subjects, err);
    free(text);
    return st;
}

static gpulet_status_t read_subjects(inputs_t *in, const sim_settings_t *s, gpulet_error_t *err)
{
    gpulet_workload_t *rows = NULL;
    gpulet_status_t st = GPULET_OK;
    if (s->workload != NULL)
        st = cmd_planning_workload(&rows, &in->files, &s->planning, s->workload, s->scenario, err);
    if (st == GPULET_OK && s->apps != NULL)
        st = gpulet_apps_load(&in->apps, s->apps, err);
    else if (st == GPULET_OK && (st = gpulet_apps_create(&in->apps)) != GPULET_OK)
        (void)gpulet_fail(err, st, "out of memory");
    if (st == GPULET_OK)
        st = gpulet_sim_subjects(&in->workload, &in->subjects, in->apps, rows, err);
    gpulet_workload_destroy(rows);
    return st;
}

static gpulet_status_t read_truth(inputs_t *in, const sim_settings_t *s, gpulet_error_t *err)
{
    if (s->truth != NULL)
        return gpulet_pairs_load(&in->pairs, s->truth, err);
    if (s->truth_interference == NULL || strcmp(s->truth_interference, "none") == 0)
        return GPULET_OK;
    gpulet_status_t st = gpulet_interference_load(&in->truth, s->truth_interference, err);
    return st == GPULET_OK
               ? gpulet_interference_adjust(in->truth, 0, false, s->truth_interference, err)
               : st;
}

static double duration_s(const inputs_t *in, const sim_settings_t *s)
{
    if (s->duration_s > 0)
        return s->duration_s;
    if (in->trace == NULL || in->trace->count == 0)
        return seconds_default;
    /* The last arrival is counted as well. */
    return in->trace->arrivals[in->trace->count - 1].time_s + 1e-3;
}

static int open_inputs(inputs_t *in, const sim_settings_t *s, gpulet_error_t *err)
{
    gpulet_sim_options_t *o = &in->options;
    int exit_code = cmd_planning_open(&in->files, &s->planning, err);
    if (exit_code != CMD_DONE)
        return exit_code;
    gpulet_status_t st = read_subjects(in, s, err);
    if (st == GPULET_OK && s->plan != NULL)
        st = gpulet_plan_load(&in->plan, s->plan, err);
    if (st == GPULET_OK)
        st = read_load(in, s, err);
    if (st == GPULET_OK)
        st = read_truth(in, s, err);
    if (st != GPULET_OK)
        return CMD_FAILED;
    o->planning = cmd_planning_input(&in->files, &s->planning);
    o->planning.workload = in->workload;
    o->apps = in->apps->count > 0 ? in->apps : NULL;
    o->plan = in->plan;
    o->rates = in->rates;
    o->trace = in->trace;
    o->truth_pairs = in->pairs;
    o->truth_interference = in->truth;
    if (s->truth == NULL && s->truth_interference == NULL)
        o->truth_interference = in->files.interference;
    o->duration_s = duration_s(in, s);
    return CMD_DONE;
}

/* ---- answers ---- */

static gpulet_status_t put_out(const sim_settings_t *s, const gpulet_sim_result_t *result,
                               const gpulet_sim_peak_t *peak, double wall_s, gpulet_error_t *err)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    gpulet_buf_t series = GPULET_BUF_INIT;
    gpulet_status_t st = s->json ? cmd_sim_put_json(&out, s, result, peak, wall_s)
                                 : cmd_sim_put_table(&out, result, peak, wall_s);
    if (st == GPULET_OK && s->series != NULL)
        st = cmd_sim_put_series(&series, result, s->series_s);
    if (st != GPULET_OK)
        (void)gpulet_fail(err, st, "out of memory");
    else if (s->series != NULL)
        st = gpulet_file_write(s->series, series.data, series.size, err);
    if (st == GPULET_OK)
        (void)fputs(out.data, stdout);
    gpulet_buf_deinit(&series);
    gpulet_buf_deinit(&out);
    return st;
}

/* Of a model what clients asked of it: what applications asked of it is theirs. */
static int judge(const sim_settings_t *s, const gpulet_sim_result_t *result, gpulet_error_t *err)
{
    cmd_attainment_t attainment;
    cmd_attainment_begin(&attainment, s->min_attainment);
    for (size_t i = 0; i < result->models_count; i++) {
        const gpulet_sim_model_t *m = &result->models[i];
        cmd_attainment_add(&attainment, m->name, m->in_time - m->staged.in_time,
                           m->offered - m->staged.offered - (m->cancelled - m->staged.cancelled));
    }
    for (size_t i = 0; i < result->apps_count; i++)
        cmd_attainment_add(&attainment, result->apps[i].name, result->apps[i].in_time,
                           result->apps[i].offered - result->apps[i].cancelled);
    return cmd_attainment_end(&attainment, "sim", err);
}

static int simulate(const sim_settings_t *s, const inputs_t *in, gpulet_error_t *err)
{
    gpulet_sim_result_t result = {0};
    gpulet_sim_peak_t peak = {0};
    gpulet_sim_options_t options = in->options;
    gpulet_status_t st = GPULET_OK;
    if (s->peak) {
        st = gpulet_sim_find_peak(&peak, &options, s->miss_max, err);
        options.multiple = peak.multiple > 0 ? peak.multiple : options.multiple;
    }
    uint64_t begin_ns = gpulet_clock_ns();
    if (st == GPULET_OK)
        st = gpulet_sim_run(&result, &options, err);
    double wall_s = (double)(gpulet_clock_ns() - begin_ns) / 1e9;
    if (st == GPULET_OK)
        st = put_out(s, &result, s->peak ? &peak : NULL, wall_s, err);
    int exit_code = st == GPULET_OK ? judge(s, &result, err) : CMD_FAILED;
    gpulet_sim_result_deinit(&result);
    return exit_code == CMD_DONE && s->peak && peak.multiple <= 0 ? CMD_NO : exit_code;
}

/* A world of the checks once more. */
static int simulate_world(const sim_settings_t *s, gpulet_error_t *err)
{
    gpulet_sim_world_t world = {0};
    gpulet_sim_result_t result = {0};
    uint64_t begin_ns = gpulet_clock_ns();
    if (strcmp(s->world, "random") != 0) {
        (void)gpulet_fail(err, GPULET_E_INVALID, "--world: expected random, found '%s'", s->world);
        return CMD_USAGE;
    }
    gpulet_status_t st = gpulet_sim_world_make(&world, s->seed, err);
    if (st == GPULET_OK && s->series != NULL)
        world.options.series_s = s->series_s;
    if (st == GPULET_OK)
        st = gpulet_sim_run(&result, &world.options, err);
    if (st == GPULET_OK)
        st = put_out(s, &result, NULL, (double)(gpulet_clock_ns() - begin_ns) / 1e9, err);
    int exit_code = st == GPULET_OK ? judge(s, &result, err) : CMD_FAILED;
    gpulet_sim_result_deinit(&result);
    gpulet_sim_world_deinit(&world);
    return exit_code;
}

static int answer(const sim_settings_t *s, gpulet_error_t *err)
{
    inputs_t in = {0};
    if (s->world != NULL)
        return simulate_world(s, err);
    if (set_options(&in.options, s, err) != GPULET_OK)
        return CMD_USAGE;
    int exit_code = open_inputs(&in, s, err);
    if (exit_code == CMD_DONE)
        exit_code = simulate(s, &in, err);
    close_inputs(&in);
    return exit_code;
}

int cmd_sim(int argc, char **argv)
{
    sim_settings_t s = {0};
    gpulet_error_t err = {""};
    int words = 0;
    int exit_code = CMD_DONE;
    if (!cmd_parse(cmd_find("sim"), &s, argc, argv, &words, &exit_code))
        return exit_code;
    exit_code = answer(&s, &err);
    if (err.text[0] != '\0' && exit_code != CMD_DONE)
        (void)cmd_complain("sim", exit_code, err.text);
    gpulet_options_deinit(cmd_sim_options, &s);
    return exit_code;
}
