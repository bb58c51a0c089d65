/* The paper's schedulers on inputs whose answer can be worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"

/* Latency 10 ms on the whole device, 20 on half of it, 40 on a fifth, for a batch of 1, and 1 ms an
 * item more. */
static const char profile[] = "device,model,units,batch,latency_ms\n"
                              "g,a,20,1,41\ng,a,20,32,72\ng,a,50,1,21\ng,a,50,32,52\n"
                              "g,a,80,1,13\ng,a,80,32,44\ng,a,100,1,11\ng,a,100,32,42\n"
                              "g,b,20,1,41\ng,b,20,32,72\ng,b,50,1,21\ng,b,50,32,52\n"
                              "g,b,80,1,13\ng,b,80,32,44\ng,b,100,1,11\ng,b,100,32,42\n";
static const char devices[] = "types:\n  g:\n    units: 100\n    sizes: [20, 50, 80, 100]\n"
                              "    gpulets_max: 2\ndevices:\n  g: -1\n";

static gpulet_plan_t *plan_of(fixture_t *f, const char *planner, const char *workload)
{
    fixture_init(f, profile, devices, workload, NULL);
    return fixture_plan(f, planner);
}

static void even_uses_halves_only(void **state)
{
    (void)state;
    fixture_t f;
    /* A half: 2·(20 + b) ≤ 100, so batches of 30 in 50 ms: 600 requests a second. */
    gpulet_plan_t *plan = plan_of(&f, "even", "model,rate_rps,slo_ms\na,1000,100\nb,700,100\n");
    assert_true(plan->feasible);
    assert_int_equal(plan->devices_used, 2);
    for (size_t i = 0; i < plan->devices_count; i++) {
        assert_int_equal(plan->devices[i].gpulets_count, 2);
        assert_int_equal(plan->devices[i].gpulets[0].units, 50);
        assert_int_equal(plan->devices[i].gpulets[1].units, 50);
    }
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
    /* Only the whole device is quick enough for 24 ms. */
    plan = plan_of(&f, "even", "model,rate_rps,slo_ms\na,10,24\n");
    assert_false(plan->feasible);
    assert_non_null(strstr(plan->reason, "even finds no plan with any number of devices"));
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static void space_sharing_never_takes_turns(void **state)
{
    (void)state;
    static const char *const names[] = {"greedy", "selftune"};
    for (size_t i = 0; i < 2; i++) {
        fixture_t f;
        gpulet_plan_t *plan = plan_of(&f, names[i], "model,rate_rps,slo_ms\na,100,100\nb,20,100\n");
        assert_true(plan->feasible);
        for (size_t d = 0; d < plan->devices_count; d++) {
            for (size_t k = 0; k < plan->devices[d].gpulets_count; k++)
                assert_int_equal(plan->devices[d].gpulets[k].shares_count, 1);
        }
        gpulet_plan_destroy(plan);
        fixture_deinit(&f);
    }
}

static void greedy_takes_the_smallest_size_that_covers(void **state)
{
    (void)state;
    fixture_t f;
    /* A fifth: 2·(40 + b) ≤ 100: batch 10 in 50 ms, 200 a second. A half: 600. */
    gpulet_plan_t *plan = plan_of(&f, "greedy", "model,rate_rps,slo_ms\na,200,100\nb,201,100\n");
    assert_int_equal(fixture_gpulet_of(plan, "a", NULL)->units, 20);
    assert_int_equal(fixture_gpulet_of(plan, "b", NULL)->units, 50);
    assert_int_equal(plan->devices_used, 1);
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static void selftune_comes_down_to_what_is_needed(void **state)
{
    (void)state;
    fixture_t f;
    gpulet_plan_t *plan = plan_of(&f, "selftune", "model,rate_rps,slo_ms\na,150,100\n");
    assert_true(plan->feasible);
    assert_true(fixture_gpulet_of(plan, "a", NULL)->units < 100);
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
    /* More than a whole device gives (batch 32 in 42 ms: 761 a second): one of those and a rest. */
    plan = plan_of(&f, "selftune", "model,rate_rps,slo_ms\na,900,100\n");
    assert_true(plan->feasible);
    assert_int_equal(plan->devices_used, 2);
    assert_int_equal(fixture_gpulet_of(plan, "a", NULL)->units, 100);
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static void exhaustive_finds_the_one_cut_that_serves(void **state)
{
    (void)state;
    fixture_t f;
    /* b needs 80 for its 28 ms, a 20 for its rate: only 80 + 20 does both on one device. */
    gpulet_plan_t *plan = plan_of(&f, "exhaustive", "model,rate_rps,slo_ms\nb,70,28\na,200,100\n");
    assert_true(plan->feasible);
    assert_int_equal(plan->devices_used, 1);
    assert_int_equal(plan->devices[0].gpulets_count, 2);
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static gpulet_plan_t *plan_form(fixture_t *f, const gpulet_elastic_options_t *options)
{
    gpulet_plan_t *plan = NULL;
    gpulet_error_t err = {{0}};
    f->input.elastic = *options;
    if (gpulet_planner_run(&plan, gpulet_planner_find("elastic"), &f->input, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return plan;
}

static void forms_of_one_pass_keep_every_promise(void **state)
{
    (void)state;
    static const gpulet_elastic_form_t forms[] = {GPULET_ELASTIC_FORM_PAPER,
                                                  GPULET_ELASTIC_FORM_PROTOTYPE};
    for (size_t i = 0; i < 2; i++) {
        for (gpulet_elastic_order_t order = 0; order <= GPULET_ELASTIC_ORDER_PIECE; order++) {
            for (gpulet_elastic_knee_t knee = 0; knee <= GPULET_ELASTIC_KNEE_GAIN; knee++) {
                fixture_t f;
                gpulet_elastic_options_t options = {.form = forms[i], .order = order, .knee = knee};
                fixture_init(&f, profile, devices, "model,rate_rps,slo_ms\na,300,100\nb,90,120\n",
                             NULL);
                gpulet_plan_t *plan = plan_form(&f, &options);
                assert_true(plan->feasible && !plan->by_prototype_rule);
                assert_int_equal(gpulet_plan_verify(plan, &f.input, NULL), GPULET_OK);
                gpulet_plan_destroy(plan);
                fixture_deinit(&f);
            }
        }
    }
}

static void a_plan_with_slack_says_that_it_breaks_a_promise(void **state)
{
    (void)state;
    fixture_t f;
    gpulet_error_t err = {{0}};
    gpulet_elastic_options_t options = {.form = GPULET_ELASTIC_FORM_PROTOTYPE};
    fixture_init(&f, profile, devices, "model,rate_rps,slo_ms\na,1210,100\n", NULL);
    f.devices->counts[0] = 1; /* two halves serve 1,200 a second together */
    gpulet_plan_t *plan = plan_form(&f, &options);
    assert_false(plan->feasible);
    gpulet_plan_destroy(plan);
    options.rate_slack_rps = 15.0;
    plan = plan_form(&f, &options);
    assert_true(plan->feasible && plan->by_prototype_rule && !plan->promises_kept);
    assert_non_null(
        strstr(plan->reason, "by the prototype's rule alone; the verifier: a is asked"));
    assert_int_equal(gpulet_plan_verify(plan, &f.input, &err), GPULET_E_INFEASIBLE);
    gpulet_buf_t buf = GPULET_BUF_INIT;
    assert_int_equal(gpulet_plan_format_json(&buf, plan), GPULET_OK);
    assert_non_null(strstr(buf.data, "\"rule\": \"prototype\", \"promises_kept\": false"));
    gpulet_buf_deinit(&buf);
    gpulet_plan_destroy(plan);
    options.rate_slack_rps = 0.0;
    options.rate_enough = 0.85;
    plan = plan_form(&f, &options);
    assert_true(plan->feasible && !plan->promises_kept);
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static void network_and_process_memory_limit_a_device(void **state)
{
    (void)state;
    static const char rows[] = "device,model,units,batch,latency_ms,memory_mb,input_bytes\n"
                               "g,a,50,1,1,100,1048576\ng,a,50,8,8,100,1048576\n";
    static const char limited[] =
        "types:\n  g:\n    units: 100\n    sizes: [50]\n    memory_mb: 1000\n"
        "    memory_headroom: 0.9\n    memory_mb_process: 400\n    network_gbps: 1\n";
    fixture_t f;
    /* 2^20 bytes an item: 128 a second are 1 Gbit/s of 2^30. */
    fixture_init(&f, rows, limited, "model,rate_rps,slo_ms\na,250,100\n", NULL);
    static const char *const names[] = {"elastic", "greedy", "even", "selftune", "exhaustive"};
    for (size_t i = 0; i < 5; i++) {
        gpulet_error_t err = {{0}};
        gpulet_plan_t *plan = fixture_plan(&f, names[i]);
        assert_true(plan->feasible);
        assert_int_equal(plan->devices_used, 2);
        /* The verifier is the judge: with less of either the same plan falls. */
        f.devices->types[0].network_gbps = 0.9;
        assert_int_equal(gpulet_plan_verify(plan, &f.input, &err), GPULET_E_INFEASIBLE);
        assert_non_null(strstr(err.text, "Gbit/s"));
        f.devices->types[0].network_gbps = 1.0;
        f.devices->types[0].memory_mb_process = 850.0;
        assert_int_equal(gpulet_plan_verify(plan, &f.input, &err), GPULET_E_INFEASIBLE);
        assert_non_null(strstr(err.text, "MiB"));
        f.devices->types[0].memory_mb_process = 400.0;
        gpulet_plan_destroy(plan);
    }
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(even_uses_halves_only),
        cmocka_unit_test(space_sharing_never_takes_turns),
        cmocka_unit_test(greedy_takes_the_smallest_size_that_covers),
        cmocka_unit_test(selftune_comes_down_to_what_is_needed),
        cmocka_unit_test(exhaustive_finds_the_one_cut_that_serves),
        cmocka_unit_test(forms_of_one_pass_keep_every_promise),
        cmocka_unit_test(a_plan_with_slack_says_that_it_breaks_a_promise),
        cmocka_unit_test(network_and_process_memory_limit_a_device),
    };
    return cmocka_run_group_tests_name("plan.baselines", tests, NULL, NULL);
}
