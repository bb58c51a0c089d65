/* Every planner, the verifier and the bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"
#include "plan/apps.h"
#include "solve/solve.h"
#include "torture.h"

static const char profile_text[] =
    "device,model,units,batch,latency_ms,memory_mb,l2_util,dram_util\n"
    "cpu,a,1,1,1,10,0.1,0.1\ncpu,a,1,32,20,10,0.1,0.1\n"
    "cpu,a,2,1,0.8,10,0.1,0.1\ncpu,a,2,32,13,10,0.1,0.1\n"
    "cpu,b,1,1,40,10,0.2,0.1\ncpu,b,1,8,300,10,0.2,0.1\n"
    "cpu,b,2,1,24,10,0.2,0.1\ncpu,b,2,8,170,10,0.2,0.1\n";
static const char devices_text[] =
    "types:\n  cpu:\n    units: 2\n    sizes: [1, 2]\n    placement:\n      slots: 2\n"
    "      1: {length: 1, starts: [0, 1]}\n      2: {length: 2, starts: [0]}\n"
    "devices:\n  cpu: 3\n";
static const char workload_text[] = "model,rate_rps,slo_ms\na,200,30\nb,12,500\n";
static const char gap_text[] = "model,rate_rps,slo_ms\na,2100,30\nb,12,500\n";
static const char interference_text[] = "device,l2_self,l2_other,dram_self,dram_other,constant\n"
                                        "cpu,0.1,0.1,0.1,0.1,1\n";

typedef struct run {
    const gpulet_planner_t *planner;
    const gpulet_plan_input_t *input;
} run_t;

static gpulet_status_t plan_and_verify(void *context)
{
    const run_t *run = context;
    gpulet_plan_t *plan = NULL;
    gpulet_error_t err;
    gpulet_status_t st = gpulet_planner_run(&plan, run->planner, run->input, &err);
    if (st != GPULET_OK) {
        assert_null(plan);
        return st;
    }
    st = gpulet_plan_verify(plan, run->input, &err);
    if (st == GPULET_E_INFEASIBLE) /* the planner that has not this plan's rules */
        st = plan->feasible ? st : GPULET_OK;
    gpulet_plan_destroy(plan);
    return st;
}

static void every_planner(void **state)
{
    fixture_t f;
    (void)state;
    fixture_init(&f, profile_text, devices_text, workload_text, interference_text);
    gpulet_plan_t *running = fixture_plan(&f, "elastic");
    gpulet_plan_input_t input = f.input;
    input.solver = gpulet_solve_coin();
    for (const gpulet_planner_t *p = gpulet_planners(); p->name != NULL; p++) {
        run_t run = {p, &input};
        input.from = p->from_plan ? running : NULL;
        torture_run(p->name, plan_and_verify, &run, TORTURE_MEMORY, 5);
    }
    gpulet_plan_destroy(running);
    fixture_deinit(&f);
}

/* The shares, or with a plan given (input->from) those of that plan. */
static gpulet_status_t split(void *context)
{
    const run_t *run = context;
    const gpulet_plan_t *from = run->input->from;
    gpulet_apps_plan_t *out = NULL;
    gpulet_apps_t *apps = NULL;
    gpulet_app_t *app = NULL;
    const gpulet_apps_options_t options = {.plans_max = 5};
    uint32_t index = 0;
    gpulet_status_t st = gpulet_app_create(&app, "a", NULL);
    for (size_t i = 0; i < run->input->workload->count && st == GPULET_OK; i++) {
        st = gpulet_app_add_stage(app, &index, NULL, run->input->workload->demands[i].model, NULL);
        if (st == GPULET_OK && i > 0)
            gpulet_app_add_after(app, index, index - 1);
    }
    if (st == GPULET_OK)
        st = gpulet_app_finish(app, NULL);
    if (st == GPULET_OK) {
        app->slo_ms = 1000;
        app->rate_rps = 5;
        st = gpulet_apps_create(&apps);
    }
    if (st == GPULET_OK) {
        st = gpulet_apps_add(apps, app, NULL);
        app = NULL;
    }
    if (st == GPULET_OK && from == NULL)
        st = gpulet_apps_plan_split(&out, run->input, apps, &options, NULL);
    else if (st == GPULET_OK)
        st = gpulet_apps_plan_adopt(&out, from, run->input, apps, &options, NULL);
    if (st != GPULET_OK)
        assert_null(out);
    gpulet_apps_plan_destroy(out);
    gpulet_apps_destroy(apps);
    gpulet_app_destroy(app);
    return st;
}

static void shares_of_applications(void **state)
{
    fixture_t f;
    (void)state;
    fixture_init(&f, profile_text, devices_text, workload_text, interference_text);
    run_t run = {NULL, &f.input};
    torture_run("shares of applications", split, &run, TORTURE_MEMORY, 20);
    gpulet_plan_t *plan = NULL;
    assert_int_equal(gpulet_planner_run(&plan, gpulet_planner_find("elastic"), &f.input, NULL),
                     GPULET_OK);
    f.input.from = plan;
    torture_run("shares of a plan", split, &run, TORTURE_MEMORY, 10);
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

/* One gpu-let more than the bound, so that it takes a linear program to say so. */
static void optimal_with_a_gap(void **state)
{
    fixture_t f;
    (void)state;
    fixture_init(&f, profile_text, devices_text, gap_text, interference_text);
    f.input.solver = gpulet_solve_coin();
    run_t run = {gpulet_planner_find("optimal"), &f.input};
    torture_run("optimal with a gap", plan_and_verify, &run, TORTURE_MEMORY, 5);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_planner),
                                       cmocka_unit_test(shares_of_applications),
                                       cmocka_unit_test(optimal_with_a_gap)};
    return cmocka_run_group_tests_name("torture.plan", tests, NULL, NULL);
}
