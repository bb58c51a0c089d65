/* Comparisons, multiples and advice: what is claimed is planned again here. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../plan/fixture.h"
#include "base/rng.h"
#include "study/advice.h"
#include "study/compare.h"
#include "study/multiple.h"

static const char profile_text[] =
    "device,model,units,batch,latency_ms\n"
    "cpu,lenet,1,1,0.1\ncpu,lenet,1,32,2.0\ncpu,lenet,2,1,0.08\ncpu,lenet,2,32,1.3\n"
    "cpu,resnet50,1,1,40\ncpu,resnet50,1,8,300\ncpu,resnet50,2,1,24\ncpu,resnet50,2,8,170\n"
    "cpu,vgg16,1,1,150\ncpu,vgg16,1,8,1150\ncpu,vgg16,2,1,80\ncpu,vgg16,2,8,600\n"
    "big,lenet,4,1,0.02\nbig,lenet,4,32,0.3\nbig,resnet50,4,1,7\nbig,resnet50,4,8,50\n"
    "big,vgg16,4,1,22\nbig,vgg16,4,8,160\n";
static const char one_type[] =
    "types:\n  cpu:\n    units: 2\n    sizes: [1, 2]\ndevices:\n  cpu: 1\n";
static const char two_types[] = "types:\n  cpu:\n    units: 2\n    sizes: [1, 2]\n"
                                "  big:\n    units: 4\n    sizes: [4]\n"
                                "devices:\n  cpu: 1\n  big: 1\n";

static bool fits(const fixture_t *f, const gpulet_device_set_t *devices, size_t model,
                 double rate_rps, double slo_ms, double multiple)
{
    gpulet_plan_input_t input = f->input;
    gpulet_plan_t *plan = NULL;
    gpulet_error_t err = {""};
    gpulet_demand_t before = f->workload->demands[model];
    f->workload->demands[model].rate_rps = rate_rps;
    f->workload->demands[model].slo_ms = slo_ms;
    for (size_t i = 0; i < f->workload->count; i++)
        f->workload->demands[i].rate_rps *= multiple;
    input.devices = devices;
    assert_int_equal(gpulet_planner_run(&plan, gpulet_planner_find("elastic"), &input, &err),
                     GPULET_OK);
    bool feasible = plan->feasible;
    gpulet_plan_destroy(plan);
    for (size_t i = 0; i < f->workload->count; i++)
        f->workload->demands[i].rate_rps /= multiple;
    f->workload->demands[model] = before;
    return feasible;
}

static gpulet_status_t largest(double *multiple, const char *planner,
                               const gpulet_plan_input_t *input, gpulet_error_t *err)
{
    gpulet_study_runner_t runner = {.planner = gpulet_planner_find(planner)};
    return gpulet_study_multiple(multiple, &runner, input, err);
}

static void multiples_are_the_largest_to_a_thousandth(void **state)
{
    (void)state;
    static const char *const workloads[] = {
        "model,rate_rps,slo_ms\nresnet50,10,400\n",
        "model,rate_rps,slo_ms\nlenet,100,10\nresnet50,3,300\nvgg16,1,1000\n",
        "model,rate_rps,slo_ms\nresnet50,1000,400\nvgg16,100,1000\n",
    };
    for (size_t i = 0; i < 3; i++) {
        fixture_t f;
        gpulet_error_t err = {""};
        double multiple = 0.0;
        fixture_init(&f, profile_text, one_type, workloads[i], NULL);
        assert_int_equal(largest(&multiple, "elastic", &f.input, &err), GPULET_OK);
        const gpulet_demand_t *d = &f.workload->demands[0];
        assert_true(multiple > 0.0);
        assert_true(fits(&f, f.devices, 0, d->rate_rps, d->slo_ms, multiple));
        assert_false(fits(&f, f.devices, 0, d->rate_rps, d->slo_ms, multiple * 1.002));
        fixture_deinit(&f);
    }
}

/* One model alone on one size: 8 items of 170 ms each are 47.06 requests/s. */
static void a_multiple_is_what_can_be_computed_by_hand(void **state)
{
    (void)state;
    static const char whole[] =
        "types:\n  cpu:\n    units: 2\n    sizes: [2]\ndevices:\n  cpu: 1\n";
    fixture_t f;
    gpulet_error_t err = {""};
    double multiple = 0.0;
    fixture_init(&f, profile_text, whole, "model,rate_rps,slo_ms\nresnet50,10,400\n", NULL);
    assert_int_equal(largest(&multiple, "temporal", &f.input, &err), GPULET_OK);
    assert_true(fabs(multiple / (8000.0 / 170.0 / 10.0) - 1.0) < 1.5e-3);
    fixture_deinit(&f);
}

static void without_a_limit_there_is_no_largest_multiple(void **state)
{
    (void)state;
    fixture_t f;
    gpulet_error_t err = {""};
    double multiple = 0.0;
    fixture_init(&f, profile_text, one_type, "model,rate_rps,slo_ms\nresnet50,10,400\n", NULL);
    f.devices->counts[0] = -1;
    assert_int_equal(largest(&multiple, "elastic", &f.input, &err), GPULET_OK);
    assert_true(isnan(multiple));
    f.devices->counts[0] = 1;
    fixture_set_workload(&f, "model,rate_rps,slo_ms\nresnet50,0,400\n");
    assert_int_equal(largest(&multiple, "elastic", &f.input, &err), GPULET_OK);
    assert_true(isnan(multiple));
    fixture_set_workload(&f, "model,rate_rps,slo_ms\nresnet50,10,4\n"); /* no size is so fast */
    assert_int_equal(largest(&multiple, "elastic", &f.input, &err), GPULET_OK);
    assert_true(multiple == 0.0);
    fixture_deinit(&f);
}

/* What the planner's own run would say does not matter: this one knows more. */
static gpulet_status_t run_elastic(gpulet_plan_t **out, const gpulet_study_runner_t *runner,
                                   const gpulet_plan_input_t *input, gpulet_error_t *err)
{
    assert_true(runner->time_limit_s == 7.0);
    assert_true(input->any);
    return gpulet_planner_run(out, gpulet_planner_find("elastic"), input, err);
}

static void every_plan_of_a_multiple_is_made_by_the_runner(void **state)
{
    (void)state;
    static const char rates[] =
        "model,rate_rps,slo_ms\nlenet,100,10\nresnet50,3,300\nvgg16,1,1000\n";
    fixture_t f;
    gpulet_error_t err = {""};
    double expected = 0.0;
    double found = 0.0;
    fixture_init(&f, profile_text, one_type, rates, NULL);
    gpulet_study_runner_t runner = {
        .planner = gpulet_planner_find("selftune"), .run = run_elastic, .time_limit_s = 7.0};
    assert_int_equal(largest(&expected, "elastic", &f.input, &err), GPULET_OK);
    assert_int_equal(gpulet_study_multiple(&found, &runner, &f.input, &err), GPULET_OK);
    assert_true(found == expected);
    assert_int_equal(largest(&found, "selftune", &f.input, &err), GPULET_OK);
    assert_true(found != expected);
    fixture_deinit(&f);
}

static gpulet_status_t advise(gpulet_advice_t *out, const fixture_t *f)
{
    const gpulet_planner_t *elastic = gpulet_planner_find("elastic");
    gpulet_plan_t *plan = NULL;
    gpulet_error_t err = {""};
    assert_int_equal(gpulet_planner_run(&plan, elastic, &f->input, &err), GPULET_OK);
    if (plan->feasible) {
        gpulet_plan_destroy(plan);
        return GPULET_E_NOT_FOUND;
    }
    gpulet_study_runner_t runner = {.planner = elastic};
    gpulet_status_t st = gpulet_advise(out, plan, &runner, &runner, &f->input, &err);
    if (st != GPULET_OK)
        fail_msg("%s", err.text);
    gpulet_plan_destroy(plan);
    return st;
}

/* Every answer of the advice, planned again. Returns how many answers there were. */
static size_t check_advice(const gpulet_advice_t *advice, const fixture_t *f)
{
    const gpulet_demand_t *first = &f->workload->demands[0];
    size_t answers = 0;
    for (size_t t = 0; t < advice->types_count; t++) {
        if (advice->types[t].enough < 0)
            continue;
        assert_true(advice->types[t].enough > advice->types[t].was);
        int32_t before = f->devices->counts[t];
        f->devices->counts[t] = advice->types[t].enough;
        assert_true(fits(f, f->devices, 0, first->rate_rps, first->slo_ms, 1.0));
        f->devices->counts[t] = before;
        answers++;
    }
    if (!isnan(advice->multiple)) {
        assert_true(fits(f, f->devices, 0, first->rate_rps, first->slo_ms, advice->multiple));
        answers++;
    }
    for (size_t i = 0; i < advice->models_count; i++) {
        const gpulet_advice_model_t *m = &advice->models[i];
        size_t index = (size_t)(m->demand - f->workload->demands);
        assert_true(m->missing_rps > 0.0);
        assert_true(i == 0 || m->missing_rps <= advice->models[i - 1].missing_rps);
        if (!isnan(m->rate_rps)) {
            assert_true(m->rate_rps < m->demand->rate_rps);
            assert_true(fits(f, f->devices, index, m->rate_rps, m->demand->slo_ms, 1.0));
            answers++;
        }
        if (!isnan(m->slo_ms)) {
            assert_true(m->slo_ms > m->demand->slo_ms);
            assert_true(fits(f, f->devices, index, m->demand->rate_rps, m->slo_ms, 1.0));
            answers++;
        }
    }
    return answers;
}

static void advice_names_devices_rates_and_deadlines_that_do(void **state)
{
    (void)state;
    fixture_t f;
    gpulet_advice_t advice;
    /* One core beside lenet's serves 25 requests/s of them in time. */
    fixture_init(&f, profile_text, one_type,
                 "model,rate_rps,slo_ms\nlenet,100,10\nresnet50,60,100\n", NULL);
    assert_int_equal(advise(&advice, &f), GPULET_OK);
    assert_int_equal(advice.types_count, 1);
    assert_true(advice.types[0].enough >= 2);
    assert_true(advice.multiple > 0.1 && advice.multiple < 1.0);
    assert_true(check_advice(&advice, &f) >= 3);
    fixture_deinit(&f);
}

static void an_slo_that_no_size_meets_gets_one_that_does(void **state)
{
    (void)state;
    fixture_t f;
    gpulet_advice_t advice;
    fixture_init(&f, profile_text, one_type, "model,rate_rps,slo_ms\nvgg16,1,100\n", NULL);
    assert_int_equal(advise(&advice, &f), GPULET_OK);
    assert_int_equal(advice.models_count, 1);
    assert_true(advice.models[0].slo_ms >= 160.0 && advice.models[0].slo_ms < 163.0);
    assert_true(advice.models[0].rate_rps == 0.0);
    assert_true(isnan(advice.multiple));
    assert_int_equal(check_advice(&advice, &f), 2);
    fixture_deinit(&f);
}

static void advice_is_true_for_random_workloads(void **state)
{
    (void)state;
    gpulet_rng_t rng;
    size_t infeasible = 0;
    size_t answers = 0;
    gpulet_rng_init(&rng, 20260101);
    for (int i = 0; i < 40; i++) {
        fixture_t f;
        gpulet_advice_t advice;
        char text[256];
        snprintf(text, sizeof(text),
                 "model,rate_rps,slo_ms\nlenet,%.1f,%.1f\nresnet50,%.1f,%.1f\nvgg16,%.1f,%.1f\n",
                 gpulet_rng_f64(&rng) * 20000, 2 + gpulet_rng_f64(&rng) * 20,
                 gpulet_rng_f64(&rng) * 150, 30 + gpulet_rng_f64(&rng) * 300,
                 gpulet_rng_f64(&rng) * 40, 60 + gpulet_rng_f64(&rng) * 1500);
        fixture_init(&f, profile_text, i % 2 == 0 ? one_type : two_types, text, NULL);
        if (advise(&advice, &f) == GPULET_OK) {
            infeasible++;
            answers += check_advice(&advice, &f);
        }
        fixture_deinit(&f);
    }
    assert_true(infeasible >= 10);
    assert_true(answers >= infeasible);
}

static void plans_differ_by_the_gpulets_that_start_and_stop(void **state)
{
    (void)state;
    fixture_t f;
    gpulet_compare_t c;
    fixture_init(&f, profile_text, one_type,
                 "model,rate_rps,slo_ms\nlenet,100,10\nresnet50,3,300\nvgg16,1,1000\n", NULL);
    f.devices->counts[0] = -1;
    gpulet_plan_t *before = fixture_plan(&f, "elastic");
    assert_int_equal(gpulet_compare_plans(&c, before, before), GPULET_OK);
    size_t all = c.kept;
    assert_true(all > 0 && c.started == 0 && c.stopped == 0);
    gpulet_compare_deinit(&c);
    gpulet_plan_t *after = NULL;
    assert_int_equal(gpulet_plan_clone(&after, before), GPULET_OK);
    after->devices[0].index = 7;                          /* elsewhere is the same */
    after->devices[0].gpulets[0].shares[0].rate_rps += 1; /* so is another rate */
    assert_int_equal(gpulet_compare_plans(&c, before, after), GPULET_OK);
    assert_int_equal(c.kept, all);
    gpulet_compare_deinit(&c);
    after->devices[0].gpulets[0].shares[0].batch++; /* another batch is another gpu-let */
    assert_int_equal(gpulet_compare_plans(&c, before, after), GPULET_OK);
    assert_int_equal(c.kept, all - 1);
    assert_int_equal(c.started, 1);
    assert_int_equal(c.stopped, 1);
    assert_ptr_equal(c.started_list[0].gpulet, &after->devices[0].gpulets[0]);
    assert_ptr_equal(c.stopped_list[0].gpulet, &before->devices[0].gpulets[0]);
    gpulet_compare_deinit(&c);
    gpulet_plan_destroy(before);
    gpulet_plan_destroy(after);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(multiples_are_the_largest_to_a_thousandth),
        cmocka_unit_test(a_multiple_is_what_can_be_computed_by_hand),
        cmocka_unit_test(without_a_limit_there_is_no_largest_multiple),
        cmocka_unit_test(every_plan_of_a_multiple_is_made_by_the_runner),
        cmocka_unit_test(advice_names_devices_rates_and_deadlines_that_do),
        cmocka_unit_test(an_slo_that_no_size_meets_gets_one_that_does),
        cmocka_unit_test(advice_is_true_for_random_workloads),
        cmocka_unit_test(plans_differ_by_the_gpulets_that_start_and_stop),
    };
    return cmocka_run_group_tests_name("study.answers", tests, NULL, NULL);
}
