#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "fixture.h"
#include "plan/optimal.h"
#include "solve/solve.h"

static const char gpu_devices[] = "types:\n  gpu:\n    units: 10\n    sizes: [2, 4, 5, 6, 8, 10]\n"
                                  "    gpulets_max: 3\n    models_max: 3\n";

/* Seeded models on the devices above. */
static void init_seeded(fixture_t *f, uint64_t seed, int models)
{
    static const uint32_t sizes[] = {2, 4, 5, 6, 8, 10};
    gpulet_rng_t rng;
    gpulet_rng_init(&rng, seed);
    fixture_init(f, "device,model,units,batch,latency_ms\ngpu,x,10,1,1\n", gpu_devices,
                 "model,rate_rps,slo_ms\nx,0,1\n", NULL);
    f->input.solver = gpulet_solve_coin();
    for (int i = 0; i < models; i++) {
        gpulet_demand_t d = {.weight = 1.0};
        (void)snprintf(d.model, sizeof(d.model), "m%d", i);
        double weight = 1.0 + 6.0 * gpulet_rng_f64(&rng);
        double gain = 0.3 + 0.6 * gpulet_rng_f64(&rng);
        for (size_t s = 0; s < 6; s++) {
            for (uint32_t b = 1; b <= 16; b *= 2) {
                gpulet_profile_point_t p = {.batch = b,
                                            .latency_ms = weight * (1.0 + 0.3 * b) /
                                                          pow((double)sizes[s] / 10.0, gain),
                                            .latency_ms_p99 = NAN,
                                            .throughput_rps = NAN,
                                            .memory_mb = NAN,
                                            .l2_util = NAN,
                                            .dram_util = NAN};
                assert_int_equal(
                    gpulet_profile_add(f->profile, "gpu", d.model, sizes[s], 1, &p, false, NULL),
                    GPULET_OK);
            }
        }
        d.rate_rps = 20.0 + gpulet_rng_exponential(&rng, 200.0);
        d.slo_ms = weight * (8.0 + 40.0 * gpulet_rng_f64(&rng));
        assert_int_equal(gpulet_workload_add(f->workload, &d, NULL), GPULET_OK);
    }
}

static gpulet_plan_t *finish(gpulet_optimal_t *search, const fixture_t *f)
{
    gpulet_plan_t *plan = NULL;
    gpulet_plan_t *done = NULL;
    assert_int_equal(gpulet_optimal_best(&plan, search, NULL), GPULET_OK);
    assert_int_equal(
        gpulet_planner_finish(&done, plan, gpulet_planner_find("optimal"), &f->input, NULL),
        GPULET_OK);
    return done;
}

static void may_be_stopped_at_any_step(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        fixture_t f;
        init_seeded(&f, seed, 9);
        gpulet_optimal_t *search = NULL;
        assert_int_equal(gpulet_optimal_create(&search, &f.input, NULL), GPULET_OK);
        double bound = gpulet_optimal_bound(search);
        double devices = INFINITY;
        bool more = true;
        for (int step = 0; more && step < 60; step++) {
            gpulet_plan_t *plan = finish(search, &f); /* verified in there */
            assert_true(plan->feasible);
            assert_true((double)plan->devices_used <= devices);
            assert_true(gpulet_optimal_bound(search) >= bound);
            assert_true(gpulet_optimal_bound(search) <= (double)plan->devices_used);
            devices = (double)plan->devices_used;
            bound = gpulet_optimal_bound(search);
            gpulet_plan_destroy(plan);
            assert_int_equal(gpulet_optimal_step(search, &more, NULL), GPULET_OK);
        }
        gpulet_optimal_destroy(search);
        fixture_deinit(&f);
    }
}

static void without_a_solver_it_answers_as_elastic(void **state)
{
    (void)state;
    fixture_t f;
    init_seeded(&f, 3, 9);
    f.input.solver = NULL;
    gpulet_plan_t *elastic = fixture_plan(&f, "elastic");
    gpulet_plan_t *optimal = fixture_plan(&f, "optimal");
    assert_int_equal(elastic->devices_used, optimal->devices_used);
    assert_true(elastic->lower_bound == optimal->lower_bound);
    gpulet_plan_destroy(elastic);
    gpulet_plan_destroy(optimal);
    fixture_deinit(&f);
}

/* Sizes gain nothing here and a batch of either fits in the other's slack: turns on the whole
 * device serve what no cut does. */
static void takes_turns_on_the_whole_device_where_that_wins(void **state)
{
    (void)state;
    fixture_t f;
    fixture_init(&f,
                 "device,model,units,batch,latency_ms\n"
                 "g,a,1,1,100\ng,a,1,8,190\ng,a,2,1,10\ng,a,2,8,20\n"
                 "g,b,1,1,100\ng,b,1,8,190\ng,b,2,1,10\ng,b,2,8,20\n",
                 "types:\n  g:\n    units: 2\n    sizes: [1, 2]\n",
                 "model,rate_rps,slo_ms\na,100,100\nb,100,100\n", NULL);
    f.input.solver = gpulet_solve_coin();
    gpulet_plan_t *plan = fixture_plan(&f, "optimal");
    assert_true(plan->feasible && plan->proved_optimal);
    assert_int_equal(plan->devices_used, 1);
    assert_int_equal(plan->devices[0].gpulets_count, 1);
    assert_int_equal(plan->devices[0].gpulets[0].shares_count, 2);
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

/* Two models whose objectives do not bear one another, each far below a device's capacity: the
 * resource bound says one device, and no plan has fewer than two. */
static void proves_more_than_resources_do(void **state)
{
    (void)state;
    fixture_t f;
    fixture_init(&f,
                 "device,model,units,batch,latency_ms\n"
                 "g,a,1,1,10\ng,b,1,1,10\n",
                 "types:\n  g:\n    units: 1\n    sizes: [1]\ndevices:\n  g: 1\n",
                 "model,rate_rps,slo_ms\na,1,25\nb,1,25\n", NULL);
    f.input.solver = gpulet_solve_coin();
    assert_true(gpulet_plan_bound_resource(&f.input, NULL, NULL) == 1.0);
    gpulet_plan_t *plan = fixture_plan(&f, "optimal");
    assert_false(plan->feasible);
    assert_true(plan->proved_infeasible);
    assert_true(plan->lower_bound == 2.0);
    gpulet_plan_destroy(plan);
    f.devices->counts[0] = -1;
    plan = fixture_plan(&f, "optimal");
    assert_true(plan->feasible && plan->proved_optimal);
    assert_int_equal(plan->devices_used, 2);
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static void incremental_needs_a_running_plan(void **state)
{
    (void)state;
    fixture_t f;
    init_seeded(&f, 5, 4);
    gpulet_plan_t *plan = NULL;
    gpulet_error_t err = {{0}};
    assert_int_equal(gpulet_planner_run(&plan, gpulet_planner_find("incremental"), &f.input, &err),
                     GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "--from"));
    assert_null(plan);
    fixture_deinit(&f);
}

/* One rate a little higher: what runs goes on, or at most a gpu-let is started. */
static void incremental_moves_little(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        fixture_t f;
        init_seeded(&f, seed, 30);
        gpulet_plan_t *before = fixture_plan(&f, "optimal");
        f.workload->demands[7].rate_rps *= 1.2;
        f.input.from = before;
        gpulet_plan_t *after = fixture_plan(&f, "incremental");
        assert_true(after->feasible && after->moves);
        assert_true(after->movement.gpulets_started <= 2);
        assert_true(after->movement.models_loaded <= 3);
        gpulet_plan_destroy(after);
        gpulet_plan_destroy(before);
        fixture_deinit(&f);
    }
}

/* Devices are called what they were, even when the running plan leaves numbers out. */
static void devices_keep_their_numbers(void **state)
{
    (void)state;
    fixture_t f;
    init_seeded(&f, 2, 20);
    gpulet_plan_t *before = fixture_plan(&f, "elastic");
    assert_true(before->devices_count >= 3);
    for (size_t i = 0; i < before->devices_count; i++)
        before->devices[i].index = (uint32_t)(2 * i + 5);
    f.input.from = before;
    static const char *const names[] = {"elastic", "optimal", "incremental"};
    for (size_t i = 0; i < 3; i++) {
        gpulet_plan_t *after = fixture_plan(&f, names[i]);
        if (i != 1 || after->devices_used == before->devices_used) {
            assert_int_equal(after->movement.devices_added, 0);
        }
        if (i == 2)
            assert_int_equal(after->movement.gpulets_started, 0);
        gpulet_plan_destroy(after);
    }
    gpulet_plan_destroy(before);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(may_be_stopped_at_any_step),
        cmocka_unit_test(without_a_solver_it_answers_as_elastic),
        cmocka_unit_test(takes_turns_on_the_whole_device_where_that_wins),
        cmocka_unit_test(proves_more_than_resources_do),
        cmocka_unit_test(incremental_needs_a_running_plan),
        cmocka_unit_test(incremental_moves_little),
        cmocka_unit_test(devices_keep_their_numbers),
    };
    return cmocka_run_group_tests_name("plan.optimal", tests, NULL, NULL);
}
