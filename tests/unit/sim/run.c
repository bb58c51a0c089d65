#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

#define ONE_DEVICE                                                                                 \
    "  g:\n    units: 100\n    sizes: [50, 100]\n    gpulets_max: 2\ndevices:\n  g: 1\n"
#define WHOLE_DEVICE "  g:\n    units: 100\n    sizes: [100]\ndevices:\n  g: 1\n"
#define FOUR_DEVICES                                                                               \
    "  g:\n    units: 100\n    sizes: [50, 100]\n    gpulets_max: 2\ndevices:\n  g: 4\n"
#define SLICES                                                                                     \
    "  g:\n    units: 2\n    sizes: [1, 2]\n    isolated: true\n    placement:\n      slots: 2\n"  \
    "      1: {length: 1, starts: [0, 1]}\n      2: {length: 2, starts: [0]}\n"                    \
    "devices:\n  g: 1\n"
/* Ten milliseconds a batch of one on the whole device, twice that on a half. */
#define ONLY_ONE(model) "g," model ",100,1,10,,\ng," model ",50,1,20,,\n"
#define BATCHES(model)                                                                             \
    "g," model ",100,1,4,,\ng," model ",100,8,12,,\ng," model ",50,1,8,,\ng," model ",50,8,24,,\n"

static double mean_ms(const gpulet_sim_result_t *r, size_t model)
{
    const gpulet_hist_t *h = &r->models[model].latency_ns;
    return (double)h->sum / (double)h->count / 1e6;
}

static double quantile_ms(const gpulet_sim_result_t *r, size_t model, double q)
{
    return (double)gpulet_hist_quantile(&r->models[model].latency_ns, q) / 1e6;
}

static void the_same_seed_gives_the_same_run_and_another_another(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t results[3];
    world_init(&w, BATCHES("a") BATCHES("b"), ONE_DEVICE, "a,60,80\nb,20,120\n");
    w.options.spread = 0.1;
    assert_int_equal(
        gpulet_faults_parse(&w.options.faults, "worker-death=0.001,client-gone=0.01", NULL),
        GPULET_OK);
    for (int i = 0; i < 3; i++) {
        w.options.seed = i < 2 ? 5 : 6;
        world_run(&results[i], &w);
    }
    assert_true(results[0].trace_hash == results[1].trace_hash);
    assert_true(results[0].trace_hash != results[2].trace_hash);
    assert_int_equal(results[0].models[1].in_time, results[1].models[1].in_time);
    assert_int_equal(results[0].events, results[1].events);
    for (int i = 0; i < 3; i++)
        gpulet_sim_result_deinit(&results[i]);
    world_deinit(&w);
}

/* Checks look, and touch nothing. */
static void checks_change_nothing(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t results[2];
    world_init(&w, BATCHES("a"), ONE_DEVICE, "a,100,80\n");
    for (int i = 0; i < 2; i++) {
        w.options.check = i == 1;
        world_run(&results[i], &w);
    }
    assert_true(results[0].trace_hash == results[1].trace_hash);
    for (int i = 0; i < 2; i++)
        gpulet_sim_result_deinit(&results[i]);
    world_deinit(&w);
}

/* M/D/1: the mean time in the system is D + ρD / 2(1 - ρ) (Pollaczek and Khinchine). */
static void one_at_a_time_the_wait_is_that_of_queueing_theory(void **state)
{
    (void)state;
    static const double loads[] = {0.3, 0.7};
    for (int i = 0; i < 2; i++) {
        world_t w;
        gpulet_sim_result_t r;
        world_init(&w, ONLY_ONE("a"), WHOLE_DEVICE, "a,100,5000\n");
        w.options.multiple = loads[i];
        w.options.late_serve = true;
        w.options.duration_s = 4000;
        world_run(&r, &w);
        double expected = 10 + loads[i] * 10 / (2 * (1 - loads[i]));
        if (fabs(mean_ms(&r, 0) / expected - 1) > 0.03)
            fail_msg("load %g: expected %g ms, found %g", loads[i], expected, mean_ms(&r, 0));
        assert_true(fabs((double)r.models[0].offered / (loads[i] * 400000) - 1) < 0.02);
        assert_int_equal(r.models[0].in_time + r.models[0].late, r.models[0].offered);
        gpulet_sim_result_deinit(&r);
        world_deinit(&w);
    }
}

static void times_have_the_median_and_the_percentile_of_the_profile(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t r;
    world_init(&w, "g,a,100,1,10,25,\n", ONE_DEVICE, "a,1,1000\n");
    w.options.duration_s = 20000;
    w.options.host_ns = 2000000;
    world_run(&r, &w);
    assert_true(fabs(quantile_ms(&r, 0, 0.5) - 12) < 0.4);
    assert_true(fabs(quantile_ms(&r, 0, 0.99) - 27) < 1.5);
    gpulet_sim_result_deinit(&r);
    world_deinit(&w);
}

/* Mean time in the system where a run takes 10 ms, and 3 more when it is a cold one. */
static double mean_with_cold_ms(const char *models, const char *workload, double cold_ms)
{
    world_t w;
    gpulet_sim_result_t r;
    double sum_ms = 0;
    uint64_t count = 0;
    world_init(&w, strlen(models) == 1 ? ONLY_ONE("a") : ONLY_ONE("a") ONLY_ONE("b"), WHOLE_DEVICE,
               workload);
    for (size_t i = 0; i < strlen(models); i++) {
        const char name[] = {models[i], '\0'};
        gpulet_profile_point_t point = {1, 10, NAN, NAN, NAN, NAN, NAN, NAN, cold_ms};
        assert_int_equal(gpulet_profile_add(w.profile, "g", name, 100, 1, &point, true, NULL),
                         GPULET_OK);
    }
    w.options.late_serve = true;
    w.options.duration_s = 1000;
    world_run(&r, &w);
    for (size_t i = 0; i < strlen(models); i++) {
        sum_ms += (double)r.models[i].latency_ns.sum / 1e6;
        count += r.models[i].latency_ns.count;
    }
    gpulet_sim_result_deinit(&r);
    world_deinit(&w);
    return sum_ms / (double)count;
}

static void a_run_after_a_pause_or_another_model_is_a_cold_one(void **state)
{
    (void)state;
    /* Hardly ever one after the other: all are cold. */
    assert_true(fabs(mean_with_cold_ms("a", "a,1,5000\n", 3) - 13) < 0.2);
    /* In a queue those that follow one another are not. */
    double warm_ms = mean_with_cold_ms("a", "a,60,5000\n", 0);
    double mixed_ms = mean_with_cold_ms("a", "a,60,5000\n", 3);
    double turns_ms = mean_with_cold_ms("ab", "a,30,5000\nb,30,5000\n", 3);
    assert_true(warm_ms + 1 < mixed_ms);
    assert_true(mixed_ms + 1 < turns_ms);
    /* M/D/1 with 13 ms a run and the same load. */
    assert_true(turns_ms < 13 + 0.78 * 13 / (2 * (1 - 0.78)));
}

/* Two models on halves of the device, as this plan says. */
static gpulet_plan_t *halves(void)
{
    gpulet_plan_t *plan = NULL;
    assert_int_equal(gpulet_plan_create(&plan), GPULET_OK);
    gpulet_plan_device_t *device = gpulet_plan_add_device(plan);
    (void)snprintf(device->type, sizeof(device->type), "g");
    for (int i = 0; i < 2; i++) {
        gpulet_plan_gpulet_t *g = gpulet_plan_add_gpulet(device);
        g->units = 50;
        g->slot = -1;
        gpulet_plan_share_t *s = gpulet_plan_add_share(g);
        (void)snprintf(s->model, sizeof(s->model), "%s", i == 0 ? "a" : "b");
        s->batch = s->instances = 1;
        s->rate_rps = 1;
    }
    return plan;
}

/* a takes 400 ms of the half device alone, and three times as long beside b; b takes 20 ms, at
 * equal distances. */
static double mean_beside_ms(const char *workload)
{
    world_t w;
    gpulet_sim_result_t r;
    gpulet_plan_t *plan = halves();
    world_init(&w, "g,a,100,1,400,,\ng,a,50,1,400,,\n" ONLY_ONE("b"), ONE_DEVICE, workload);
    world_truth(&w, "g,a,50,1,b,50,1,3\ng,a,50,1,a,50,1,1\ng,b,50,1,a,50,1,1\n");
    w.options.plan = plan;
    w.options.late_serve = true;
    w.options.uniform = true;
    w.options.duration_s = 500;
    world_run(&r, &w);
    double found = mean_ms(&r, 0);
    assert_true(quantile_ms(&r, 1, 0) > 19.5 && quantile_ms(&r, 1, 0) < 20.5);
    gpulet_sim_result_deinit(&r);
    gpulet_plan_destroy(plan);
    world_deinit(&w);
    return found;
}

static void neighbours_slow_one_another_as_the_truth_says(void **state)
{
    (void)state;
    double never = mean_beside_ms("a,0.5,5000\nb,0.001,5000\n");
    double always = mean_beside_ms("a,0.5,5000\nb,49.99,5000\n");
    assert_true(fabs(never / 400 - 1) < 0.01);
    assert_true(fabs(always / 1200 - 1) < 0.01);
}

static void a_neighbour_slows_a_batch_only_while_it_runs(void **state)
{
    (void)state;
    /* In 40 ms b runs 20, in which a does 6.7 ms of its own work, and is silent 20. */
    double half = mean_beside_ms("a,0.5,5000\nb,25,5000\n");
    double expected = 400 / ((20.0 / 3 + 20) / 40);
    if (fabs(half / expected - 1) > 0.02)
        fail_msg("expected %g ms, found %g", expected, half);
}

static void a_pair_that_the_truth_lacks_ends_the_run(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t r = {0};
    gpulet_error_t err = {""};
    gpulet_plan_t *plan = halves();
    world_init(&w, ONLY_ONE("a") ONLY_ONE("b"), ONE_DEVICE, "a,1,5000\nb,1,5000\n");
    world_truth(&w, "g,a,50,1,b,50,1,3\n");
    w.options.plan = plan;
    assert_int_equal(gpulet_sim_run(&r, &w.options, &err), GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "model b beside a on g"));
    gpulet_sim_result_deinit(&r);
    gpulet_plan_destroy(plan);
    world_deinit(&w);
}

static void devices_follow_the_load_up_and_down(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t r;
    world_init(&w, BATCHES("a"), FOUR_DEVICES, "a,100,100\n");
    world_rates(&w, "0,a,100\n60,a,1500\n180,a,100\n");
    w.options.planning.rate_percentile = 0.99;
    w.options.follow = true;
    w.options.duration_s = 300;
    w.options.series_s = 20;
    world_run(&r, &w);
    assert_int_equal(r.windows_count, 15);
    assert_true(r.windows[2].devices_used <= 1 && r.windows[8].devices_used >= 3);
    assert_true(r.windows[14].devices_used <= 2);
    assert_true(r.replans >= 2 && r.devices_time_avg < 3.5);
    for (int i = 0; i < 15; i++) { /* all is well but for what the jump takes */
        double missed = (double)r.windows[i].missed / (double)r.windows[i].offered;
        assert_true(i == 3 ? missed < 0.6 : missed < 0.02);
    }
    gpulet_sim_result_deinit(&r);
    world_deinit(&w);
}

static void windows_add_up(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t r;
    uint64_t sums[3] = {0};
    world_init(&w, BATCHES("a"), ONE_DEVICE, "a,900,60\n");
    w.options.series_s = 7;
    world_run(&r, &w);
    assert_int_equal(r.windows_count, 9);
    for (size_t i = 0; i < r.windows_count; i++) {
        sums[0] += r.windows[i].offered;
        sums[1] += r.windows[i].in_time;
        sums[2] += r.windows[i].missed;
        assert_int_equal(r.windows[i].devices_used, 1);
        assert_true(r.windows[i].planned_rps > 0);
    }
    assert_int_equal(sums[0], r.models[0].offered);
    assert_int_equal(sums[1], r.models[0].in_time);
    assert_int_equal(sums[2], r.models[0].late + r.models[0].rejected + r.models[0].failed);
    assert_true(sums[2] > 0);
    gpulet_sim_result_deinit(&r);
    world_deinit(&w);
}

/* Slices of hardware cannot overlap: the new one has to wait for the old one's end. */
static void slices_are_broken_before_they_are_made(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t r;
    world_init(&w,
               "g,a,2,1,4,,\ng,a,2,8,12,,\ng,a,1,1,8,,\ng,a,1,8,24,,\n"
               "g,b,2,1,4,,\ng,b,2,8,12,,\ng,b,1,1,8,,\ng,b,1,8,24,,\n",
               SLICES, "a,20,100\nb,20,100\n");
    world_rates(&w, "0,a,20\n30,a,450\n90,a,20\n0,b,20\n90,b,450\n150,b,20\n");
    w.options.follow = true;
    w.options.duration_s = 200;
    world_run(&r, &w);
    assert_true(r.replans >= 1);
    assert_true(gpulet_sim_attainment(&r) > 0.5);
    gpulet_sim_result_deinit(&r);
    world_deinit(&w);
}

static void a_plan_that_is_not_reached_changes_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *faults;
        double limit_s;
    } cases[] = {{"start-fails=1", 60}, {"", 0.5}};
    for (int i = 0; i < 2; i++) {
        world_t w;
        gpulet_sim_result_t r;
        world_init(&w, BATCHES("a"), FOUR_DEVICES, "a,100,100\n");
        world_rates(&w, "0,a,100\n30,a,1500\n");
        w.options.follow = true;
        w.options.transition_limit_s = cases[i].limit_s;
        assert_int_equal(gpulet_faults_parse(&w.options.faults, cases[i].faults, NULL), GPULET_OK);
        w.options.duration_s = 90;
        world_run(&r, &w);
        assert_true(r.rollbacks > 1); /* it is tried again */
        assert_int_equal(r.replans, 0);
        assert_true(r.models[0].in_time > 90 * 100); /* what runs goes on */
        gpulet_sim_result_deinit(&r);
        world_deinit(&w);
    }
}

static void what_a_lost_device_served_is_served_elsewhere(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t results[2];
    world_init(&w, BATCHES("a"), FOUR_DEVICES, "a,300,100\n");
    assert_int_equal(gpulet_faults_parse(&w.options.faults, "device-gone=0.01x1000", NULL),
                     GPULET_OK);
    w.options.duration_s = 300;
    for (int i = 0; i < 2; i++) {
        w.options.follow = i == 1;
        world_run(&results[i], &w);
        assert_true(results[i].faults[GPULET_FAULT_DEVICE_GONE] > 0);
    }
    assert_true(gpulet_sim_attainment(&results[0]) < 0.9);
    assert_true(gpulet_sim_attainment(&results[1]) > 0.95);
    assert_true(results[1].replans > 0);
    for (int i = 0; i < 2; i++)
        gpulet_sim_result_deinit(&results[i]);
    world_deinit(&w);
}

static void each_fault_of_workers_costs_misses_and_loses_nothing(void **state)
{
    (void)state;
    static const char *const specs[] = {"worker-death=0.01", "slow=0.02x20",    "lost-done=0.01",
                                        "ring-full=0.01",    "client-gone=0.3", "burst=0.5x500"};
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
        world_t w;
        gpulet_sim_result_t r;
        uint64_t happened = 0;
        world_init(&w, BATCHES("a"), ONE_DEVICE, "a,100,60\n");
        w.options.run_limit_ns = 1000000000;
        w.options.phases = true;
        assert_int_equal(gpulet_faults_parse(&w.options.faults, specs[i], NULL), GPULET_OK);
        world_run(&r, &w);
        const gpulet_sim_model_t *m = &r.models[0];
        for (int k = 0; k < GPULET_FAULT_COUNT; k++)
            happened += r.faults[k];
        assert_true(happened > 0);
        assert_int_equal(m->offered, m->in_time + m->late + m->rejected + m->failed + m->cancelled);
        assert_true(strncmp(specs[i], "client", 6) == 0 ? m->cancelled > 0
                                                        : m->late + m->rejected > 0);
        gpulet_sim_result_deinit(&r);
        world_deinit(&w);
    }
}

static void the_peak_is_what_one_device_can_do(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_peak_t peak;
    gpulet_error_t err = {""};
    world_init(&w, ONLY_ONE("a"), ONE_DEVICE, "a,10,45\n");
    w.options.uniform = true;
    assert_int_equal(gpulet_sim_find_peak(&peak, &w.options, 0.01, &err), GPULET_OK);
    if (fabs(peak.multiple / 10 - 1) > 0.02)
        fail_msg("expected 10, found %g", peak.multiple);
    assert_true(fabs(peak.rate_rps / peak.multiple - 10) < 1e-9);
    /* An SLO that nothing can meet has no peak. */
    w.workload->demands[0].slo_ms = 5;
    assert_int_equal(gpulet_sim_find_peak(&peak, &w.options, 0.01, &err), GPULET_OK);
    assert_true(peak.multiple == 0);
    world_deinit(&w);
}

static void the_same_requests_come_under_every_planner(void **state)
{
    (void)state;
    static const char *const planners[] = {"elastic", "temporal"};
    uint64_t offered[2][2];
    for (int i = 0; i < 2; i++) {
        world_t w;
        gpulet_sim_result_t r;
        world_init(&w, BATCHES("a") BATCHES("b"), FOUR_DEVICES, "a,150,100\nb,50,100\n");
        w.options.planner = gpulet_planner_find(planners[i]);
        w.options.spread = i == 0 ? 0 : 0.3;
        world_run(&r, &w);
        offered[i][0] = r.models[0].offered;
        offered[i][1] = r.models[1].offered;
        gpulet_sim_result_deinit(&r);
        world_deinit(&w);
    }
    assert_int_equal(offered[0][0], offered[1][0]);
    assert_int_equal(offered[0][1], offered[1][1]);
}

static void a_plan_from_elsewhere_is_held_against_the_devices(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t r = {0};
    gpulet_error_t err = {""};
    gpulet_plan_t *plan = halves();
    world_init(&w, ONLY_ONE("a"), ONE_DEVICE, "a,1,5000\n");
    w.options.plan = plan;
    assert_int_equal(gpulet_sim_run(&r, &w.options, &err), GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "model b is not in the workload"));
    gpulet_sim_result_deinit(&r);
    world_deinit(&w);
    world_init(&w, ONLY_ONE("a") ONLY_ONE("b"), ONE_DEVICE, "a,1,5000\nb,1,5000\n");
    w.options.plan = plan;
    plan->devices[0].gpulets[0].units = 51;
    assert_int_equal(gpulet_sim_run(&r, &w.options, &err), GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "at most 100 units"));
    gpulet_sim_result_deinit(&r);
    plan->devices[0].gpulets[0].units = 50;
    plan->devices[0].index = 1;
    assert_int_equal(gpulet_sim_run(&r, &w.options, &err), GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "device g 1"));
    gpulet_sim_result_deinit(&r);
    gpulet_plan_destroy(plan);
    world_deinit(&w);
}

/* Every request finds the device idle and takes 10 ms: within 10.1 it is in time, unless the brain
 * adds more than is left. */
static void no_overhead_is_none(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t r;
    world_init(&w, ONLY_ONE("a"), WHOLE_DEVICE, "a,20,10.1\n");
    w.options.uniform = true;
    gpulet_plan_t *plan = halves();
    plan->devices[0].gpulets_count = 1;
    plan->devices[0].gpulets[0].units = 100;
    w.options.plan = plan;
    world_run(&r, &w);
    assert_int_equal(r.models[0].rejected, 0);
    assert_int_equal(r.models[0].in_time, r.models[0].offered);
    gpulet_sim_result_deinit(&r);
    plan->devices[0].gpulets_count = 2;
    gpulet_plan_destroy(plan);
    world_deinit(&w);
}

/* The second batch is sent when the first has ended, not while it runs. */
static void nothing_is_committed_ahead_that_should_not_be(void **state)
{
    (void)state;
    static const uint64_t ahead_ns[] = {0, 500000};
    uint64_t hashes[2];
    for (int i = 0; i < 2; i++) {
        world_t w;
        gpulet_sim_result_t r;
        world_init(&w, ONLY_ONE("a"), WHOLE_DEVICE, "a,80,5000\n");
        w.options.commit_ahead_ns = ahead_ns[i];
        world_run(&r, &w);
        hashes[i] = r.trace_hash;
        gpulet_sim_result_deinit(&r);
        world_deinit(&w);
    }
    assert_true(hashes[0] != hashes[1]);
}

static void a_model_that_only_the_rates_ask_for_is_in_the_first_plan(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t r;
    world_init(&w, ONLY_ONE("a") ONLY_ONE("b"), FOUR_DEVICES, "a,10,500\nb,0,500\n");
    world_rates(&w, "0,b,0\n20,b,5\n");
    world_run(&r, &w);
    assert_true(r.models[1].offered > 100);
    assert_int_equal(r.models[1].rejected, 0);
    gpulet_sim_result_deinit(&r);
    world_deinit(&w);
    /* Where its rate is known from the beginning, for that. */
    world_init(&w, ONLY_ONE("a") ONLY_ONE("b"), FOUR_DEVICES, "a,10,500\nb,0,500\n");
    world_rates(&w, "0,b,150\n");
    world_run(&r, &w);
    assert_true(r.devices_max >= 2);
    assert_true(r.models[1].rejected * 50 < r.models[1].offered);
    gpulet_sim_result_deinit(&r);
    world_deinit(&w);
}

static void where_no_device_is_used_none_goes(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t r;
    world_init(&w, ONLY_ONE("a"), FOUR_DEVICES, "a,0,500\n");
    assert_int_equal(gpulet_faults_parse(&w.options.faults, "device-gone=1", NULL), GPULET_OK);
    world_run(&r, &w);
    assert_int_equal(r.devices_max, 0);
    assert_int_equal(r.faults[GPULET_FAULT_DEVICE_GONE], 0);
    gpulet_sim_result_deinit(&r);
    world_deinit(&w);
}

/* Longer than 64 bits of nanoseconds is an objective all the same: its model is not served behind
 * all that have one. */
static void an_objective_without_end_is_one(void **state)
{
    (void)state;
    world_t w;
    gpulet_sim_result_t r;
    world_init(&w, ONLY_ONE("a") ONLY_ONE("b"), WHOLE_DEVICE, "a,50,1e300\nb,70,1e9\n");
    w.workload->demands[1].priority = 5;
    world_run(&r, &w);
    assert_int_equal(r.models[0].in_time, r.models[0].offered);
    assert_true(mean_ms(&r, 0) < 100);
    gpulet_sim_result_deinit(&r);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_run_and_another_another),
        cmocka_unit_test(checks_change_nothing),
        cmocka_unit_test(one_at_a_time_the_wait_is_that_of_queueing_theory),
        cmocka_unit_test(times_have_the_median_and_the_percentile_of_the_profile),
        cmocka_unit_test(a_run_after_a_pause_or_another_model_is_a_cold_one),
        cmocka_unit_test(neighbours_slow_one_another_as_the_truth_says),
        cmocka_unit_test(a_neighbour_slows_a_batch_only_while_it_runs),
        cmocka_unit_test(a_pair_that_the_truth_lacks_ends_the_run),
        cmocka_unit_test(devices_follow_the_load_up_and_down),
        cmocka_unit_test(windows_add_up),
        cmocka_unit_test(slices_are_broken_before_they_are_made),
        cmocka_unit_test(a_plan_that_is_not_reached_changes_nothing),
        cmocka_unit_test(what_a_lost_device_served_is_served_elsewhere),
        cmocka_unit_test(each_fault_of_workers_costs_misses_and_loses_nothing),
        cmocka_unit_test(the_peak_is_what_one_device_can_do),
        cmocka_unit_test(the_same_requests_come_under_every_planner),
        cmocka_unit_test(a_plan_from_elsewhere_is_held_against_the_devices),
        cmocka_unit_test(no_overhead_is_none),
        cmocka_unit_test(nothing_is_committed_ahead_that_should_not_be),
        cmocka_unit_test(a_model_that_only_the_rates_ask_for_is_in_the_first_plan),
        cmocka_unit_test(an_objective_without_end_is_one),
        cmocka_unit_test(where_no_device_is_used_none_goes),
    };
    return cmocka_run_group_tests_name("sim.run", tests, NULL, NULL);
}
