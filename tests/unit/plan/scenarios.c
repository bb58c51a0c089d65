/* The published scenarios S1 … S6 on A100s under MIG, and a workload of a thousand models. The
 * measured profiles are not part of the project: without them the first part is skipped. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/rng.h"
#include "fixture.h"
#include "solve/solve.h"

/* Where the data lie: beside the checkout, or where the environment says. */
static const char *data_path(const char *name)
{
    static char path[4096];
    const char *folder = getenv("GPULET_SHARED_DATA");
    (void)snprintf(path, sizeof(path), "%s/%s",
                   folder != NULL ? folder : GPULET_SOURCE_DIR "/../shared/data", name);
    return path;
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void plan_scenario(fixture_t *f, const char *scenario, uint32_t devices_max,
                          uint32_t devices_least)
{
    gpulet_error_t err = {{0}};
    gpulet_workload_destroy(f->workload);
    f->workload = NULL;
    if (gpulet_workload_load(&f->workload, data_path("workload_parvagpu.csv"), scenario, &err) !=
        GPULET_OK)
        fail_msg("%s", err.text);
    f->input.workload = f->workload;
    double start = now_ms();
    gpulet_plan_t *plan = fixture_plan(f, "elastic");
    double elapsed = now_ms() - start;
    print_message("%s: elastic %u devices, bound %.0f, %.0f ms (theirs %u)\n", scenario,
                  plan->devices_used, plan->lower_bound, elapsed, devices_max);
    assert_true(plan->feasible);
    assert_true(plan->devices_used <= devices_max);
    assert_true(plan->lower_bound <= plan->devices_used);
    gpulet_plan_destroy(plan);
    plan = fixture_plan(f, "optimal");
    print_message("%s: optimal %u devices, bound %.0f\n", scenario, plan->devices_used,
                  plan->lower_bound);
    assert_true(plan->feasible && plan->proved_optimal);
    assert_int_equal(plan->devices_used, devices_least);
    gpulet_plan_destroy(plan);
}

static void published_scenarios_need_no_more_devices_than_published(void **state)
{
    (void)state;
    static const char *const names[] = {"S1", "S2", "S3", "S4", "S5", "S6"};
    static const uint32_t theirs[] = {2, 3, 5, 7, 13, 16};
    static const uint32_t least[] = {2, 3, 5, 6, 12, 15};
    fixture_t f = {0};
    gpulet_error_t err = {{0}};
    if (gpulet_profile_load(&f.profile, data_path("profile_a100_mig.csv"),
                            GPULET_PROFILE_FORMAT_CSV, NULL, &err) != GPULET_OK) {
        print_message("skipped: %s\n", err.text);
        skip();
    }
    if (gpulet_device_set_load(&f.devices, data_path("devices_a100_mig.yaml"), &err) != GPULET_OK)
        fail_msg("%s", err.text);
    f.input.profile = f.profile;
    f.input.devices = f.devices;
    f.input.slo_fraction = 0.9;
    f.input.solver = gpulet_solve_coin();
    for (size_t i = 0; i < 6; i++)
        plan_scenario(&f, names[i], theirs[i], least[i]);
    fixture_deinit(&f);
}

/* Latency of a model of that weight: affine in the batch, gaining less and less from size. */
static void add_rows(gpulet_profile_t *profile, const char *model, double weight)
{
    static const uint32_t sizes[] = {20, 40, 50, 60, 80, 100};
    for (size_t s = 0; s < 6; s++) {
        for (uint32_t b = 1; b <= 32; b *= 2) {
            double speed = pow((double)sizes[s] / 100.0, 0.5);
            gpulet_profile_point_t p = {
                b, weight * (1.0 + 0.3 * b) / speed, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
            assert_int_equal(
                gpulet_profile_add(profile, "gpu", model, sizes[s], 1, &p, false, NULL), GPULET_OK);
        }
    }
}

static void a_thousand_models_are_planned_in_good_time(void **state)
{
    (void)state;
    static const char devices[] =
        "types:\n  gpu:\n    units: 100\n    sizes: [20, 40, 50, 60, 80, 100]\n"
        "    gpulets_max: 2\n    models_max: 3\n    memory_mb: 11000\n";
    fixture_t f;
    fixture_init(&f, "device,model,units,batch,latency_ms\ngpu,x,100,1,1\n", devices,
                 "model,rate_rps,slo_ms\nx,0,1\n", NULL);
    gpulet_rng_t rng;
    gpulet_rng_init(&rng, 7);
    for (int i = 0; i < 1000; i++) {
        gpulet_demand_t demand = {.weight = 1.0};
        snprintf(demand.model, sizeof(demand.model), "m%d", i);
        double weight = 1.0 + 4.0 * gpulet_rng_f64(&rng);
        add_rows(f.profile, demand.model, weight);
        demand.rate_rps = 5.0 + gpulet_rng_exponential(&rng, 60.0);
        demand.slo_ms = weight * (10.0 + 40.0 * gpulet_rng_f64(&rng));
        assert_int_equal(gpulet_workload_add(f.workload, &demand, NULL), GPULET_OK);
    }
    static const char *const names[] = {"temporal", "elastic"};
    for (size_t i = 0; i < 2; i++) {
        double start = now_ms();
        gpulet_plan_t *plan = fixture_plan(&f, names[i]);
        print_message("1000 models: %s %u devices, bound %.0f, %.0f ms\n", names[i],
                      plan->devices_used, plan->lower_bound, now_ms() - start);
        assert_true(plan->feasible);
        gpulet_plan_destroy(plan);
    }
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_scenarios_need_no_more_devices_than_published),
        cmocka_unit_test(a_thousand_models_are_planned_in_good_time),
    };
    return cmocka_run_group_tests_name("plan.scenarios", tests, NULL, NULL);
}
