#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"

static const char cpu_profile[] =
    "device,model,units,batch,latency_ms\n"
    "cpu,lenet,1,1,0.1\ncpu,lenet,1,32,2.0\ncpu,lenet,2,1,0.08\ncpu,lenet,2,32,1.3\n"
    "cpu,resnet50,1,1,40\ncpu,resnet50,1,8,300\ncpu,resnet50,2,1,24\ncpu,resnet50,2,8,170\n"
    "cpu,vgg16,1,1,150\ncpu,vgg16,1,8,1150\ncpu,vgg16,2,1,80\ncpu,vgg16,2,8,600\n";
static const char cpu_devices[] =
    "types:\n  cpu:\n    units: 2\n    sizes: [1, 2]\ndevices:\n  cpu: 1\n";

static void a_tight_model_gets_a_gpulet_beside_the_heavy_ones(void **state)
{
    (void)state;
    fixture_t f;
    fixture_init(&f, cpu_profile, cpu_devices,
                 "model,rate_rps,slo_ms\nlenet,100,10\nresnet50,3,300\nvgg16,1,1000\n", NULL);
    gpulet_plan_t *plan = fixture_plan(&f, "elastic");
    assert_true(plan->feasible);
    assert_int_equal(plan->devices_used, 1);
    const gpulet_plan_gpulet_t *tight = fixture_gpulet_of(plan, "lenet", NULL);
    assert_int_equal(tight->shares_count, 1);
    assert_ptr_not_equal(tight, fixture_gpulet_of(plan, "resnet50", NULL));
    assert_ptr_equal(fixture_gpulet_of(plan, "resnet50", NULL),
                     fixture_gpulet_of(plan, "vgg16", NULL));
    gpulet_plan_destroy(plan);
    /* Whole devices cannot do it: a batch of the heavy ones alone is longer than the tight SLO. */
    plan = fixture_plan(&f, "temporal");
    assert_false(plan->feasible);
    assert_non_null(strstr(plan->reason, "2 devices would be enough"));
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static void a_single_saturated_model_has_a_cycle_of_its_latency(void **state)
{
    (void)state;
    fixture_t f;
    fixture_init(&f, cpu_profile, cpu_devices, "model,rate_rps,slo_ms\nresnet50,20,400\n", NULL);
    static const char *const names[] = {"temporal", "elastic"};
    for (size_t i = 0; i < 2; i++) {
        gpulet_plan_t *plan = fixture_plan(&f, names[i]);
        assert_true(plan->feasible);
        assert_true(plan->proved_optimal);
        assert_true(plan->lower_bound == 1.0);
        assert_true(isnan(plan->cost));
        const gpulet_plan_share_t *share = NULL;
        const gpulet_plan_gpulet_t *g = fixture_gpulet_of(plan, "resnet50", &share);
        assert_true(fabs(g->duty_ms - share->latency_ms) < 1e-9);
        assert_true(fabs(share->worst_ms - 2.0 * share->latency_ms) < 1e-9);
        gpulet_plan_destroy(plan);
    }
    fixture_deinit(&f);
}

static void small_loads_share_a_whole_device_in_turns(void **state)
{
    (void)state;
    fixture_t f;
    fixture_init(&f, cpu_profile, cpu_devices,
                 "model,rate_rps,slo_ms\nlenet,5,500\nresnet50,5,500\nvgg16,2,500\n", NULL);
    gpulet_plan_t *plan = fixture_plan(&f, "temporal");
    assert_true(plan->feasible);
    assert_int_equal(plan->devices_used, 1);
    assert_int_equal(plan->devices[0].gpulets_count, 1);
    assert_int_equal(plan->devices[0].gpulets[0].shares_count, 3);
    assert_int_equal(plan->devices[0].gpulets[0].units, 2);
    gpulet_plan_destroy(plan);
    f.devices->types[0].models_max = 2;
    plan = fixture_plan(&f, "temporal");
    assert_false(plan->feasible);
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static void an_empty_workload_is_feasible_on_no_device(void **state)
{
    (void)state;
    fixture_t f;
    fixture_init(&f, cpu_profile, cpu_devices, "model,rate_rps,slo_ms\nlenet,0,10\n", NULL);
    static const char *const names[] = {"temporal", "elastic"};
    for (size_t i = 0; i < 2; i++) {
        gpulet_plan_t *plan = fixture_plan(&f, names[i]);
        assert_true(plan->feasible);
        assert_int_equal(plan->devices_used, 0);
        assert_true(plan->lower_bound == 0.0);
        assert_true(plan->proved_optimal);
        assert_string_equal(plan->reason, "");
        gpulet_plan_destroy(plan);
    }
    fixture_deinit(&f);
}

static void a_reason_names_the_model_and_the_devices_that_would_do(void **state)
{
    (void)state;
    fixture_t f;
    fixture_init(&f, cpu_profile, cpu_devices, "model,rate_rps,slo_ms\nresnet50,100,400\n", NULL);
    gpulet_plan_t *plan = fixture_plan(&f, "elastic");
    assert_false(plan->feasible);
    assert_int_equal(plan->devices_used, 1);
    assert_non_null(strstr(plan->reason, "resnet50 misses "));
    assert_non_null(strstr(plan->reason, "2 devices would be enough"));
    assert_true(plan->lower_bound == 2.0);
    double missing = 0.0;
    assert_int_equal(sscanf(plan->reason, "resnet50 misses %lf", &missing), 1);
    const gpulet_plan_share_t *share = NULL;
    (void)fixture_gpulet_of(plan, "resnet50", &share);
    assert_true(missing > 0.0 && missing < 100.0 - 0.9 * share->rate_rps);
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static void a_reason_names_the_slo_that_no_size_can_meet(void **state)
{
    (void)state;
    fixture_t f;
    fixture_init(&f, cpu_profile, cpu_devices, "model,rate_rps,slo_ms\nlenet,1,10\nvgg16,1,120\n",
                 NULL);
    gpulet_plan_t *plan = fixture_plan(&f, "elastic");
    assert_false(plan->feasible);
    assert_true(isnan(plan->lower_bound));
    assert_non_null(strstr(plan->reason, "vgg16"));
    assert_non_null(strstr(plan->reason, "160.000 ms would be enough"));
    (void)fixture_gpulet_of(plan, "lenet", NULL); /* the partial plan serves the other */
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static void a_model_without_a_profile_is_an_error(void **state)
{
    (void)state;
    fixture_t f;
    fixture_init(&f, cpu_profile, cpu_devices, "model,rate_rps,slo_ms\nbert,1,10\n", NULL);
    gpulet_plan_t *plan = NULL;
    gpulet_error_t err = {{0}};
    assert_int_equal(gpulet_planner_run(&plan, gpulet_planner_find("elastic"), &f.input, &err),
                     GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "bert"));
    f.input.latency_margin = 0.5;
    assert_int_equal(gpulet_planner_run(&plan, gpulet_planner_find("elastic"), &f.input, &err),
                     GPULET_E_INVALID);
    assert_null(plan);
    assert_null(gpulet_planner_find("best"));
    fixture_deinit(&f);
}

static void a_blank_utilisation_is_an_error_where_coefficients_are_given(void **state)
{
    (void)state;
    fixture_t f;
    fixture_init(&f, cpu_profile, cpu_devices, "model,rate_rps,slo_ms\nlenet,1,10\n",
                 "device,l2_self,l2_other,dram_self,dram_other,constant\ncpu,0,1,0,1,1\n");
    gpulet_plan_t *plan = NULL;
    gpulet_error_t err = {{0}};
    assert_int_equal(gpulet_planner_run(&plan, gpulet_planner_find("elastic"), &f.input, &err),
                     GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "l2_util"));
    fixture_deinit(&f);
}

static void a_percentile_leaves_room_for_bursts(void **state)
{
    (void)state;
    fixture_t f;
    fixture_init(&f, cpu_profile, cpu_devices, "model,rate_rps,slo_ms\nresnet50,40,400\n", NULL);
    gpulet_plan_t *plan = fixture_plan(&f, "elastic");
    assert_true(plan->feasible);
    gpulet_plan_destroy(plan);
    f.input.rate_percentile = 0.99;
    plan = fixture_plan(&f, "elastic");
    assert_false(plan->feasible); /* the bare rate fits just so */
    gpulet_plan_destroy(plan);
    f.devices->counts[0] = -1;
    plan = fixture_plan(&f, "elastic");
    assert_true(plan->feasible);
    assert_true(plan->models[0].capacity_rps > 50.0);
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static const char int_profile[] =
    "device,model,units,batch,latency_ms,l2_util,dram_util\n"
    "gpu,a,50,1,5,0.5,0.5\ngpu,a,50,16,40,0.9,0.9\ngpu,a,100,1,4,0.5,0.5\ngpu,a,100,16,30,0.9,0.9\n"
    "gpu,b,50,1,5,0.5,0.5\ngpu,b,50,16,40,0.9,0.9\ngpu,b,100,1,4,0.5,0.5\ngpu,b,100,16,30,0.9,0."
    "9\n";
static const char int_devices[] = "types:\n  gpu:\n    units: 100\n    sizes: [50, 100]\n    "
                                  "gpulets_max: 2\n    models_max: 1\n    memory_mb: 1000\n";

static void interference_costs_devices_or_capacity(void **state)
{
    (void)state;
    fixture_t f;
    fixture_init(
        &f, int_profile, int_devices, "model,rate_rps,slo_ms\na,390,80\nb,390,80\n",
        "device,l2_self,l2_other,dram_self,dram_other,constant\ngpu,0.1,0.5,0.1,0.2,0.9\n");
    f.input.interference = NULL;
    gpulet_plan_t *plan = fixture_plan(&f, "elastic");
    assert_int_equal(plan->devices_used, 1);
    gpulet_plan_destroy(plan);
    f.input.interference = f.interference;
    plan = fixture_plan(&f, "elastic");
    assert_true(plan->feasible);
    assert_int_equal(plan->devices_used, 2);
    gpulet_plan_destroy(plan);
    /* Light enough, they stand side by side, and the plan says how much they disturb one another.
     */
    fixture_set_workload(&f, "model,rate_rps,slo_ms\na,100,80\nb,100,80\n");
    plan = fixture_plan(&f, "elastic");
    assert_int_equal(plan->devices_used, 1);
    const gpulet_plan_share_t *share = NULL;
    (void)fixture_gpulet_of(plan, "a", &share);
    assert_true(share->interference > 1.1);
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

/* The same two models side by side under each kind, against factors worked out by hand. */
static void any_kind_of_interference_is_planned_with(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double of_a;
        double of_b;
    } cases[] = {
        {"device,constant\ngpu,1.25\n", 1.25, 1.25},
        {"device,model,units,batch,sensitivity,pressure,bound\ngpu,,,,,,1.5\n"
         "gpu,a,50,1,0.2,0.5,\ngpu,b,50,1,0.8,1,\n",
         1.2, 1.4},
        {"device,model,units,batch,sensitivity,pressure,bound\ngpu,,,,,,1.5\n"
         "gpu,b,50,1,0.8,0.25,\n",
         1.5, 1.5}, /* a is not known */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fixture_t f;
        const gpulet_plan_share_t *a = NULL;
        const gpulet_plan_share_t *b = NULL;
        fixture_init(&f, int_profile, int_devices, "model,rate_rps,slo_ms\na,100,80\nb,100,80\n",
                     cases[i].text);
        gpulet_plan_t *plan = fixture_plan(&f, "elastic");
        assert_int_equal(plan->devices_used, 1);
        (void)fixture_gpulet_of(plan, "a", &a);
        (void)fixture_gpulet_of(plan, "b", &b);
        assert_true(fabs(a->interference - cases[i].of_a) < 1e-9);
        assert_true(fabs(b->interference - cases[i].of_b) < 1e-9);
        plan->devices[0].gpulets[0].shares[0].interference = 1.0;
        assert_int_equal(gpulet_plan_verify(plan, &f.input, NULL), GPULET_E_INFEASIBLE);
        gpulet_plan_destroy(plan);
        fixture_deinit(&f);
    }
}

static void the_cheaper_type_is_taken(void **state)
{
    (void)state;
    static const char profile[] = "device,model,units,batch,latency_ms\n"
                                  "big,a,1,1,1\nbig,a,1,16,8\nsmall,a,1,1,2\nsmall,a,1,16,16\n";
    static const char types[] = "types:\n  big:\n    units: 1\n    sizes: [1]\n    cost: 3\n"
                                "  small:\n    units: 1\n    sizes: [1]\n    cost: 1\n"
                                "devices:\n  big: 4\n  small: 2\n";
    fixture_t f;
    fixture_init(&f, profile, types, "model,rate_rps,slo_ms\na,1900,100\n", NULL);
    gpulet_plan_t *plan = fixture_plan(&f, "elastic");
    assert_true(plan->feasible);
    assert_int_equal(plan->devices_used, 2);
    assert_true(plan->cost == 2.0);
    assert_true(plan->lower_bound <= 2.0 && plan->lower_bound_devices == 1.0);
    gpulet_plan_destroy(plan);
    fixture_set_workload(&f, "model,rate_rps,slo_ms\na,5500,100\n");
    plan = fixture_plan(&f, "elastic");
    assert_true(plan->feasible);
    assert_true(plan->cost == 8.0); /* two small and two big */
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static void a_running_plan_that_still_holds_is_never_made_worse(void **state)
{
    (void)state;
    fixture_t f;
    fixture_init(&f, cpu_profile, cpu_devices,
                 "model,rate_rps,slo_ms\nlenet,100,10\nresnet50,3,300\nvgg16,1,1000\n", NULL);
    gpulet_plan_t *old = fixture_plan(&f, "elastic");
    f.input.from = old;
    fixture_set_workload(&f, "model,rate_rps,slo_ms\nlenet,50,10\nresnet50,2,300\n");
    gpulet_plan_t *plan = fixture_plan(&f, "temporal"); /* by itself it finds none */
    assert_true(plan->feasible);
    assert_int_equal(plan->devices_used, 1);
    assert_string_equal(plan->planner, "temporal");
    assert_int_equal(plan->models_count, 2);
    gpulet_plan_destroy(plan);
    gpulet_plan_destroy(old);
    fixture_deinit(&f);
}

static void the_prototypes_duty_rule_is_stricter(void **state)
{
    (void)state;
    fixture_t f;
    fixture_init(&f, cpu_profile, cpu_devices,
                 "model,rate_rps,slo_ms\nresnet50,1,200\nvgg16,1,1000\nlenet,1,10\n", NULL);
    gpulet_plan_t *plan = fixture_plan(&f, "elastic");
    assert_false(plan->feasible); /* 190 + 40 > 200 */
    gpulet_plan_destroy(plan);
    fixture_set_workload(&f, "model,rate_rps,slo_ms\nresnet50,1,240\nvgg16,1,1000\nlenet,1,10\n");
    plan = fixture_plan(&f, "elastic");
    assert_true(plan->feasible); /* 190 + 40 ≤ 240 */
    gpulet_plan_destroy(plan);
    f.input.prototype_duty = true;
    plan = fixture_plan(&f, "elastic");
    assert_false(plan->feasible); /* 2·190 > 240 */
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tight_model_gets_a_gpulet_beside_the_heavy_ones),
        cmocka_unit_test(a_single_saturated_model_has_a_cycle_of_its_latency),
        cmocka_unit_test(small_loads_share_a_whole_device_in_turns),
        cmocka_unit_test(an_empty_workload_is_feasible_on_no_device),
        cmocka_unit_test(a_reason_names_the_model_and_the_devices_that_would_do),
        cmocka_unit_test(a_reason_names_the_slo_that_no_size_can_meet),
        cmocka_unit_test(a_model_without_a_profile_is_an_error),
        cmocka_unit_test(a_blank_utilisation_is_an_error_where_coefficients_are_given),
        cmocka_unit_test(a_percentile_leaves_room_for_bursts),
        cmocka_unit_test(interference_costs_devices_or_capacity),
        cmocka_unit_test(any_kind_of_interference_is_planned_with),
        cmocka_unit_test(the_cheaper_type_is_taken),
        cmocka_unit_test(a_running_plan_that_still_holds_is_never_made_worse),
        cmocka_unit_test(the_prototypes_duty_rule_is_stricter),
    };
    return cmocka_run_group_tests_name("plan.planner", tests, NULL, NULL);
}
