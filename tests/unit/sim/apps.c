/* Applications in the simulator: stages one after the other and beside one another, one end a
 * request, what is counted, and plans that follow what they ask. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

#define WHOLE_DEVICES(count)                                                                       \
    "  g:\n    units: 100\n    sizes: [100]\n    models_max: 1\ndevices:\n  g: " count "\n"
#define HALVES(count)                                                                              \
    "  g:\n    units: 100\n    sizes: [50, 100]\n    gpulets_max: 2\ndevices:\n  g: " count "\n"
/* Milliseconds of a batch of one, whole device. */
#define TAKES(model, ms) "g," model ",100,1," ms ",,\n"
#define BATCHES(model)                                                                             \
    "g," model ",100,1,4,,\ng," model ",100,8,12,,\ng," model ",50,1,8,,\ng," model ",50,8,24,,\n"
/* a, then b and c beside one another, then d. */
#define DIAMOND                                                                                    \
    "stages: {a: {model: a}, b: {model: b, after: [a]}, c: {model: c, after: [a]}, d: {model: d, " \
    "after: [b, c]}}}\n"
#define CHAIN   "stages: {a: {model: a}, b: {model: b, after: [a]}}}\n"
#define NOTHING ""

static double mean_ms(const gpulet_sim_model_t *m)
{
    return (double)m->latency_ns.sum / (double)m->latency_ns.count / 1e6;
}

static uint64_t ended(const gpulet_sim_model_t *m)
{
    return m->in_time + m->late + m->rejected + m->failed + m->cancelled;
}

/* Alone in the world a request takes as long as its longest way. */
static void stages_run_one_after_the_other_and_beside_one_another(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t r;
    world_init(&w, TAKES("a", "3") TAKES("b", "20") TAKES("c", "7") TAKES("d", "5"),
               WHOLE_DEVICES("4"), NOTHING);
    world_apps(&w, "  x: {slo_ms: 200, rate_rps: 2, " DIAMOND);
    w.options.uniform = true;
    world_run(&r, &w);
    assert_int_equal(r.apps_count, 1);
    assert_string_equal(r.apps[0].name, "x");
    assert_true(r.apps[0].offered >= 119 && r.apps[0].offered <= 121);
    assert_int_equal(r.apps[0].in_time, r.apps[0].offered);
    assert_true(fabs(mean_ms(&r.apps[0]) - (3 + 20 + 5)) < 1e-6);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(r.models[i].offered, r.apps[0].offered);
        assert_int_equal(r.models[i].staged.offered, r.models[i].offered);
        assert_true(r.models[i].slo_ms == 0); /* of nobody's own */
    }
    gpulet_sim_result_deinit(&r);
    world_deinit(&w);
}

static void a_request_counts_once_however_many_stages_it_has(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t r;
    world_init(&w, BATCHES("a") BATCHES("b") BATCHES("c"), HALVES("1"), "a,20,80\nc,10,80\n");
    world_apps(&w, "  x: {slo_ms: 60, rate_rps: 60, " CHAIN);
    w.options.multiple = 6; /* more than can be done */
    world_run(&r, &w);
    const gpulet_sim_model_t *x = &r.apps[0];
    uint64_t offered = x->offered;
    uint64_t in_time = x->in_time;
    for (size_t i = 0; i < r.models_count; i++) {
        const gpulet_sim_model_t *m = &r.models[i];
        assert_int_equal(ended(m), m->offered);
        offered += m->offered - m->staged.offered;
        in_time += m->in_time - m->staged.in_time;
    }
    assert_int_equal(ended(x), x->offered);
    assert_true(x->rejected > 0 && x->in_time > 0);
    assert_true(r.models[0].staged.offered > 0);
    assert_true(r.models[0].staged.offered < r.models[0].offered);
    assert_string_equal(r.models[1].name, "c");
    assert_int_equal(r.models[1].staged.offered, 0);
    /* Whoever was let in ran the first stage; not all of them come to the second. */
    assert_true(r.models[2].offered <= r.models[0].staged.offered);
    /* What a late stage would refuse costs the first one nothing. */
    assert_true(r.models[0].staged.offered < x->offered - x->rejected / 2);
    assert_true(fabs(gpulet_sim_attainment(&r) - (double)in_time / (double)offered) < 1e-12);
    assert_true(fabs(gpulet_sim_goodput_rps(&r) - (double)in_time / 60) < 1e-9);
    gpulet_sim_result_deinit(&r);
    world_deinit(&w);
}

static void a_stage_may_ask_for_several_items(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t r;
    world_init(&w, BATCHES("a") BATCHES("b"), HALVES("2"), NOTHING);
    world_apps(&w, "  x: {slo_ms: 200, rate_rps: 5, stages: {a: {model: a}, b: {model: b, "
                   "requests: 8, after: [a]}}}\n");
    w.options.uniform = true;
    world_run(&r, &w);
    assert_int_equal(r.models[0].offered, r.apps[0].offered);
    assert_int_equal(r.models[1].offered, 8 * r.apps[0].offered);
    assert_int_equal(r.apps[0].in_time, r.apps[0].offered);
    gpulet_sim_result_deinit(&r);
    world_deinit(&w);
}

/* Its clients keep the model's own objective, however small the share of a stage. */
static void direct_requests_are_not_held_to_a_share(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t alone;
    gpulet_sim_result_t r;
    static const char profile[] = "g,a,100,1,10,,\ng,b,100,1,10,,\n";
    world_init(&w, profile, WHOLE_DEVICES("2"), "a,40,1000\n");
    world_run(&alone, &w);
    world_deinit(&w);
    world_init(&w, profile, WHOLE_DEVICES("2"), "a,40,1000\n");
    world_apps(&w, "  x: {slo_ms: 100, rate_rps: 1, " CHAIN);
    world_run(&r, &w);
    assert_int_equal(r.models[0].offered - r.models[0].staged.offered, alone.models[0].offered);
    assert_int_equal(r.models[0].rejected, 0);
    assert_true(r.models[0].slo_ms == 1000);
    gpulet_sim_result_deinit(&alone);
    gpulet_sim_result_deinit(&r);
    world_deinit(&w);
}

/* The brain leaves a model that stages need soon its turns between those of another, though its own
 * clients would wait for long. */
static void what_shares_a_gpu_let_makes_way_for_stages(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t r;
    world_init(&w, "g,a,100,1,2,,\ng,b,100,1,20,,\ng,b,100,8,90,,\n",
               "  g:\n    units: 100\n    sizes: [100]\ndevices:\n  g: 1\n",
               "a,1,1000\nb,80,1000\n");
    world_apps(&w, "  x: {slo_ms: 60, rate_rps: 10, stages: {a: {model: a}}}\n");
    world_run(&r, &w);
    if (r.apps[0].in_time * 100 < r.apps[0].offered * 97)
        fail_msg("%llu of %llu in time", (unsigned long long)r.apps[0].in_time,
                 (unsigned long long)r.apps[0].offered);
    gpulet_sim_result_deinit(&r);
    world_deinit(&w);
}

static void the_same_seed_gives_the_same_run_with_faults_and_checks(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t results[3];
    world_init(&w, BATCHES("a") BATCHES("b") BATCHES("c") BATCHES("d"), HALVES("3"), "a,20,80\n");
    world_apps(&w, "  x: {slo_ms: 150, rate_rps: 50, " DIAMOND
                   "  y: {slo_ms: 90, rate_rps: 10, " CHAIN);
    world_rates(&w, "0,x,50\n20,x,120\n40,x,10\n");
    w.options.follow = true;
    assert_int_equal(
        gpulet_faults_parse(&w.options.faults,
                            "worker-death=0.005,client-gone=0.05,device-gone=0.05x5,burst=0.1x40",
                            NULL),
        GPULET_OK);
    for (int i = 0; i < 3; i++) {
        w.options.check = i != 1;
        w.options.seed = i < 2 ? 5 : 6;
        world_run(&results[i], &w);
    }
    assert_true(results[0].trace_hash == results[1].trace_hash);
    assert_true(results[0].trace_hash != results[2].trace_hash);
    for (int i = 0; i < 3; i++) {
        assert_true(results[i].replans > 0);
        for (size_t a = 0; a < 2; a++) {
            assert_true(results[i].apps[a].cancelled > 0);
            assert_int_equal(ended(&results[i].apps[a]), results[i].apps[a].offered);
        }
        gpulet_sim_result_deinit(&results[i]);
    }
    world_deinit(&w);
}

/* An application that asks four times as much needs more devices, for all of its models. */
static void plans_follow_what_applications_ask(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t still;
    gpulet_sim_result_t r;
    world_init(&w, BATCHES("a") BATCHES("b"), HALVES("8"), NOTHING);
    world_apps(&w, "  x: {slo_ms: 100, rate_rps: 100, " CHAIN);
    world_rates(&w, "0,x,100\n20,x,1200\n");
    w.options.duration_s = 120;
    w.options.series_s = 10;
    world_run(&still, &w);
    w.options.follow = true;
    world_run(&r, &w);
    assert_true(r.replans > 0 && r.devices_max > still.devices_max);
    assert_true(gpulet_sim_attainment(&r) > gpulet_sim_attainment(&still) + 0.2);
    const gpulet_sim_window_t *first = &r.windows[0];
    const gpulet_sim_window_t *last = &r.windows[(r.windows_count - 1) * 3];
    assert_true(still.windows[0].planned_rps == 100 && still.windows[1].planned_rps == 100);
    assert_true(last[0].planned_rps > 1200 && last[1].planned_rps > 1200);
    assert_true(first[0].planned_rps < 1200 && isnan(first[2].planned_rps));
    if (last[2].offered < 8 * first[2].offered || last[2].missed * 1000 > last[2].offered)
        fail_msg("%llu then %llu, %llu of them missed", (unsigned long long)first[2].offered,
                 (unsigned long long)last[2].offered, (unsigned long long)last[2].missed);
    gpulet_sim_result_deinit(&still);
    gpulet_sim_result_deinit(&r);
    world_deinit(&w);
}

static void the_peak_is_that_of_applications_too(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_peak_t peak;
    gpulet_sim_peak_t larger;
    gpulet_error_t err = {""};
    world_init(&w, BATCHES("a") BATCHES("b"), HALVES("1"), "a,10,100\n");
    world_apps(&w, "  x: {slo_ms: 100, rate_rps: 10, " CHAIN);
    w.options.duration_s = 10;
    assert_int_equal(gpulet_sim_find_peak(&peak, &w.options, 0.01, &err), GPULET_OK);
    assert_true(peak.multiple > 1 && fabs(peak.rate_rps - 20 * peak.multiple) < 1e-9);
    /* A model that is used twice as often by what counts as much carries half of it. */
    w.apps->items[0]->rate_rps = 20;
    assert_int_equal(gpulet_sim_find_peak(&larger, &w.options, 0.01, &err), GPULET_OK);
    assert_true(larger.multiple < 0.8 * peak.multiple);
    world_deinit(&w);
}

/* A plan that is given is served with shares that fit it. */
static void a_plan_that_is_given_is_served(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t r;
    gpulet_plan_t *plan = NULL;
    gpulet_error_t err = {""};
    static const char json[] =
        "{\"planner\": \"by-hand\", \"feasible\": true, \"devices_used\": 1, \"lower_bound\": "
        "null, "
        "\"proved_optimal\": false, \"elapsed_ms\": 0, \"models\": [], \"devices\": [{\"type\": "
        "\"g\", "
        "\"index\": 0, \"gpulets\": [{\"units\": 50, \"slot\": null, \"duty_ms\": 30, \"models\": "
        "[{\"model\": \"a\", \"batch\": 8, \"instances\": 1, \"rate_rps\": 20, \"capacity_rps\": "
        "266, "
        "\"latency_ms\": 24, \"interference\": 1, \"worst_ms\": 54}]}]}], \"reason\": null}";
    world_init(&w, BATCHES("a") BATCHES("b"), HALVES("1"), NOTHING);
    world_apps(&w, "  x: {slo_ms: 200, rate_rps: 20, " CHAIN);
    if (gpulet_plan_parse_json(&plan, json, strlen(json), "p", &err) != GPULET_OK)
        fail_msg("%s", err.text);
    w.options.plan = plan;
    world_run(&r, &w);
    assert_true(gpulet_sim_attainment(&r) > 0.99); /* b is added where there is room */
    gpulet_sim_result_deinit(&r);
    gpulet_plan_destroy(plan);
    world_deinit(&w);
}

static void expect_refused(const char *apps, const char *workload, gpulet_status_t st,
                           const char *mentions)
{
    world_t w;
    gpulet_sim_result_t r = {0};
    gpulet_error_t err = {""};
    world_init(&w, BATCHES("a") BATCHES("b"), HALVES("1"), workload);
    world_apps(&w, apps);
    assert_int_equal(gpulet_sim_run(&r, &w.options, &err), st);
    if (strstr(err.text, mentions) == NULL)
        fail_msg("expected '%s', found '%s'", mentions, err.text);
    gpulet_sim_result_deinit(&r);
    world_deinit(&w);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    expect_refused("  x: {slo_ms: 90, " CHAIN, NOTHING, GPULET_E_INVALID,
                   "application x: rate_rps: expected one");
    expect_refused("  x: {slo_ms: 90, rate_rps: 1, stages: {s: {model: a, requests: 9}}}\n",
                   NOTHING, GPULET_E_INVALID,
                   "application x, stage s: requests: expected at most 8");
    expect_refused("  x: {slo_ms: 90, rate_rps: 1, stages: {s: {model: zebra}}}\n", NOTHING,
                   GPULET_E_NOT_FOUND, "zebra");
}

static void rows_of_the_workload_may_name_applications(void **state)
{
    (void)state;
    world_t w;
    gpulet_workload_t *models = NULL;
    gpulet_workload_t *subjects = NULL;
    gpulet_error_t err = {""};
    world_init(&w, BATCHES("a") BATCHES("b"), HALVES("1"), "x,7,70\nb,2,30\n");
    world_apps(&w,
               "  x: {slo_ms: 90, rate_rps: 1, " CHAIN "  y: {slo_ms: 500, rate_rps: 3, " CHAIN);
    assert_true(w.apps->items[0]->rate_rps == 7 && w.apps->items[0]->slo_ms == 70);
    assert_int_equal(w.workload->count, 2);
    assert_string_equal(w.workload->demands[0].model, "b");
    assert_true(w.workload->demands[0].rate_rps == 2 && w.workload->demands[0].slo_ms == 30);
    assert_string_equal(w.workload->demands[1].model, "a");
    assert_true(w.workload->demands[1].rate_rps == 0 && w.workload->demands[1].slo_ms == 500);
    assert_int_equal(w.subjects->count, 4);
    assert_string_equal(w.subjects->demands[2].model, "x");
    assert_string_equal(w.subjects->demands[3].model, "y");
    world_rates(&w, "0,y,3\n5,b,1\n");
    assert_int_equal(w.rates->models[3].count, 1);
    world_deinit(&w);
    static const char clash[] = "apps: {a: {slo_ms: 9, rate_rps: 1, stages: {s: {model: a}}}}\n";
    gpulet_apps_t *apps = NULL;
    assert_int_equal(gpulet_apps_parse(&apps, clash, strlen(clash), "c", &err), GPULET_OK);
    assert_int_equal(gpulet_sim_subjects(&models, &subjects, apps, NULL, &err), GPULET_E_INVALID);
    assert_string_equal(err.text, "application a: expected a name that no model has");
    assert_null(models);
    gpulet_apps_destroy(apps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_run_one_after_the_other_and_beside_one_another),
        cmocka_unit_test(a_request_counts_once_however_many_stages_it_has),
        cmocka_unit_test(a_stage_may_ask_for_several_items),
        cmocka_unit_test(direct_requests_are_not_held_to_a_share),
        cmocka_unit_test(what_shares_a_gpu_let_makes_way_for_stages),
        cmocka_unit_test(the_same_seed_gives_the_same_run_with_faults_and_checks),
        cmocka_unit_test(plans_follow_what_applications_ask),
        cmocka_unit_test(the_peak_is_that_of_applications_too),
        cmocka_unit_test(a_plan_that_is_given_is_served),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(rows_of_the_workload_may_name_applications),
    };
    return cmocka_run_group_tests_name("sim.apps", tests, NULL, NULL);
}
