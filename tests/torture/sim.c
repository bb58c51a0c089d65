/* A run of the simulator with plans, faults, a series and checks, and the readers of its files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sim/sim.h"
#include "torture.h"
#include "world.h"

static const char profile_rows[] = "g,a,100,1,4,5,100\ng,a,100,8,12,14,120\ng,a,50,1,8,9,100\n"
                                   "g,a,50,8,24,26,120\ng,b,100,1,4,,100\ng,b,50,1,8,,100\n";
static const char device_rows[] =
    "  g:\n    units: 100\n    sizes: [50, 100]\n    memory_mb: 4000\ndevices:\n  g: 2\n";
static const char truth_rows[] = "g,a,50,1,b,50,1,1.2\ng,b,50,1,a,50,1,1.1\ng,a,50,1,a,50,1,1.3\n"
                                 "g,b,50,1,b,50,1,1\n";

static gpulet_status_t run_all(void *context)
{
    const gpulet_sim_options_t *options = context;
    gpulet_sim_result_t result = {0};
    gpulet_error_t err = {""};
    gpulet_status_t st = gpulet_sim_run(&result, options, &err);
    if (st != GPULET_OK)
        assert_true(st == GPULET_E_NOMEM && err.text[0] != '\0');
    gpulet_sim_result_deinit(&result);
    return st;
}

static void a_run_that_follows_the_load(void **state)
{
    (void)state;
    world_t w;
    world_init(&w, profile_rows, device_rows, "a,40,60\nb,10,80\n");
    world_rates(&w, "0,a,40\n1,a,300\n2.5,a,20\n");
    world_truth(&w, truth_rows);
    w.options.follow = true;
    w.options.following = (gpulet_follow_options_t){
        .sample_ns = 50000000, .window = 8, .period_ns = 500000000, .hold_ns = 100000000};
    w.options.warmup_s = 0;
    w.options.duration_s = 4;
    w.options.start_s = (gpulet_sim_range_t){0.05, 0.05};
    w.options.load_s = 0.01;
    w.options.series_s = 1;
    assert_int_equal(
        gpulet_faults_parse(&w.options.faults, "worker-death=0.02,device-gone=0.5x1", NULL),
        GPULET_OK);
    torture_run("sim", run_all, &w.options, TORTURE_MEMORY, 100);
    world_deinit(&w);
}

static void a_run_of_applications(void **state)
{
    (void)state;
    world_t w;
    world_init(&w, profile_rows, device_rows, "a,20,60\n");
    world_apps(&w, "  x: {slo_ms: 100, rate_rps: 20, stages: {p: {model: a}, q: {model: b, after: "
                   "[p]}, r: {model: a, after: [p]}}}\n");
    world_rates(&w, "0,x,20\n0.3,x,100\n");
    w.options.follow = true;
    w.options.following = (gpulet_follow_options_t){
        .sample_ns = 50000000, .window = 8, .period_ns = 5000000000, .hold_ns = 100000000};
    w.options.warmup_s = 0;
    w.options.duration_s = 1;
    w.options.start_s = (gpulet_sim_range_t){0.05, 0.05};
    w.options.series_s = 0.5;
    torture_run("sim with applications", run_all, &w.options, TORTURE_MEMORY, 100);
    world_deinit(&w);
}

static gpulet_status_t name_subjects(void *context)
{
    const gpulet_workload_t *rows = context;
    static const char text[] =
        "apps: {x: {slo_ms: 9, rate_rps: 1, stages: {s: {model: a}, t: {model: c}}}}\n";
    gpulet_apps_t *apps = NULL;
    gpulet_workload_t *models = NULL;
    gpulet_workload_t *subjects = NULL;
    gpulet_error_t err;
    gpulet_status_t st = gpulet_apps_parse(&apps, text, strlen(text), "a", &err);
    if (st == GPULET_OK)
        st = gpulet_sim_subjects(&models, &subjects, apps, rows, &err);
    assert_true((st == GPULET_OK) == (models != NULL && subjects != NULL));
    gpulet_workload_destroy(models);
    gpulet_workload_destroy(subjects);
    gpulet_apps_destroy(apps);
    return st;
}

static const gpulet_workload_t *workload;

static gpulet_status_t read_rates(void *context)
{
    const char *text = context;
    gpulet_sim_rates_t *rates = NULL;
    gpulet_error_t err;
    gpulet_status_t st =
        gpulet_sim_rates_parse(&rates, text, strlen(text), "rates", workload, &err);
    assert_true((st == GPULET_OK) == (rates != NULL));
    gpulet_sim_rates_destroy(rates);
    return st;
}

static gpulet_status_t read_trace(void *context)
{
    const char *text = context;
    gpulet_sim_trace_t *trace = NULL;
    gpulet_error_t err;
    gpulet_status_t st =
        gpulet_sim_trace_parse(&trace, text, strlen(text), "trace", workload, &err);
    assert_true((st == GPULET_OK) == (trace != NULL));
    gpulet_sim_trace_destroy(trace);
    return st;
}

static void readers(void **state)
{
    (void)state;
    static gpulet_demand_t demands[] = {{.model = "a", .slo_ms = 1, .weight = 1},
                                        {.model = "b", .slo_ms = 1, .weight = 1}};
    static const gpulet_workload_t two = {2, demands};
    static char rates[] = "time_s,model,rate_rps\n0,a,1\n1,a,2\n2,a,3\n0,b,1\n";
    static char trace[] = "time_s,model\n2,a\n1,b\n0,a\n";
    workload = &two;
    torture_run("rates", read_rates, rates, TORTURE_MEMORY, 4);
    torture_run("subjects", name_subjects, (void *)(uintptr_t)&two, TORTURE_MEMORY, 4);
    torture_run("trace", read_trace, trace, TORTURE_MEMORY, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_that_follows_the_load),
        cmocka_unit_test(a_run_of_applications),
        cmocka_unit_test(readers),
    };
    return cmocka_run_group_tests_name("torture.sim", tests, NULL, NULL);
}
