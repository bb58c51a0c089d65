#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "study/study.h"

static const char profile_text[] = "device,model,units,batch,latency_ms\n"
                                   "cpu,a,1,1,1.0\ncpu,a,1,32,20.0\ncpu,a,2,1,0.8\ncpu,a,2,32,13\n"
                                   "cpu,b,1,1,40\ncpu,b,1,8,300\ncpu,b,2,1,24\ncpu,b,2,8,170\n";
static const char devices_text[] =
    "types:\n  cpu:\n    units: 2\n    sizes: [1, 2]\ndevices:\n  cpu: 1\n";

typedef struct setting {
    gpulet_profile_t *profile;
    gpulet_device_set_t *devices;
    gpulet_study_spec_t spec;
    gpulet_plan_input_t input;
} setting_t;

static setting_t s;

static void begin(const char *models, const char *slos, const char *rates, const char *planners)
{
    gpulet_error_t err = {""};
    assert_int_equal(gpulet_profile_parse(&s.profile, profile_text, sizeof(profile_text) - 1, "p",
                                          GPULET_PROFILE_FORMAT_CSV, NULL, &err),
                     GPULET_OK);
    assert_int_equal(
        gpulet_device_set_parse(&s.devices, devices_text, sizeof(devices_text) - 1, "d", &err),
        GPULET_OK);
    assert_int_equal(gpulet_study_spec_parse(&s.spec, models, slos, rates, planners, &err),
                     GPULET_OK);
    s.input = (gpulet_plan_input_t){.profile = s.profile, .devices = s.devices, .brief = true};
}

static int teardown(void **state)
{
    (void)state;
    gpulet_profile_destroy(s.profile);
    gpulet_device_set_destroy(s.devices);
    s.profile = NULL;
    s.devices = NULL;
    return 0;
}

static void the_verdicts_are_what_single_plans_say_on_any_number_of_threads(void **state)
{
    (void)state;
    gpulet_error_t err = {""};
    gpulet_study_result_t results[2] = {0};
    begin("a,b", "a=10,b=300", "0,5,50,500,5000", "temporal,elastic");
    for (size_t i = 0; i < 2; i++) {
        gpulet_study_options_t options = {.threads = i == 0 ? 1 : 7};
        assert_int_equal(gpulet_study_run(&results[i], &s.spec, &s.input, &options, &err),
                         GPULET_OK);
        assert_int_equal(results[i].cases_count, 24);
    }
    assert_memory_equal(results[0].verdicts, results[1].verdicts, 48);
    for (size_t c = 0; c < 24; c++) {
        double rates[GPULET_STUDY_MODELS_MAX];
        gpulet_demand_t demands[2];
        gpulet_workload_t workload = {.count = 2, .demands = demands};
        gpulet_plan_input_t input = s.input;
        gpulet_study_case_rates(rates, &s.spec, c);
        for (size_t i = 0; i < 2; i++)
            demands[i] = (gpulet_demand_t){.model = {i == 0 ? 'a' : 'b'},
                                           .rate_rps = rates[i],
                                           .slo_ms = i == 0 ? 10 : 300,
                                           .weight = 1};
        input.workload = &workload;
        for (size_t i = 0; i < 2; i++) {
            gpulet_plan_t *plan = NULL;
            assert_int_equal(gpulet_planner_run(&plan, s.spec.planners[i], &input, &err),
                             GPULET_OK);
            bool yes = results[0].verdicts[c * 2 + i] == GPULET_STUDY_VERDICT_YES;
            assert_true(yes == plan->feasible);
            gpulet_plan_destroy(plan);
        }
    }
    const gpulet_study_planner_t *elastic = &results[0].planners[1];
    assert_true(elastic->counts[GPULET_STUDY_VERDICT_YES] > 0);
    assert_true(elastic->counts[GPULET_STUDY_VERDICT_NO] > 0); /* 5000 of a are beyond the bound */
    assert_true(elastic->counts[GPULET_STUDY_VERDICT_YES] >=
                results[0].planners[0].counts[GPULET_STUDY_VERDICT_YES]);
    gpulet_study_result_deinit(&results[0]);
    gpulet_study_result_deinit(&results[1]);
}

static void the_first_case_that_fails_is_named_whatever_the_threads_do(void **state)
{
    (void)state;
    begin("a,nobody", "a=10,nobody=300", "0,5,50,500,5000", NULL);
    for (size_t threads = 1; threads <= 4; threads++) {
        gpulet_error_t err = {""};
        gpulet_study_result_t result = {0};
        gpulet_study_options_t options = {.threads = threads};
        assert_int_not_equal(gpulet_study_run(&result, &s.spec, &s.input, &options, &err),
                             GPULET_OK);
        assert_ptr_equal(strstr(err.text, "rates 0,5: "), err.text);
        assert_non_null(strstr(err.text, "nobody"));
        assert_null(result.verdicts);
    }
}

/* Fails every case; the slow one a while after the others. */
static double slow_rate_rps;

static gpulet_status_t fail_slowly(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                   gpulet_error_t *err)
{
    /* Long enough for the other threads to have taken their cases. */
    bool slow = input->workload->demands[0].rate_rps == slow_rate_rps;
    const struct timespec pause = {.tv_nsec = slow ? 120000000 : 40000000};
    (void)out;
    (void)nanosleep(&pause, NULL);
    return gpulet_fail(err, GPULET_E_INVALID, "no");
}

static void failures_are_ordered_by_case_and_not_by_time(void **state)
{
    (void)state;
    const gpulet_planner_t planner = {.name = "failing", .help = "", .run = fail_slowly};
    begin("a", "a=10", "1,2,3,4", "elastic");
    s.spec.planners[0] = &planner;
    for (slow_rate_rps = 1; slow_rate_rps <= 4; slow_rate_rps++) {
        gpulet_error_t err = {""};
        gpulet_study_result_t result = {0};
        gpulet_study_options_t options = {.threads = 4};
        assert_int_equal(gpulet_study_run(&result, &s.spec, &s.input, &options, &err),
                         GPULET_E_INVALID);
        assert_string_equal(err.text, "rates 1: no");
    }
}

static void a_bound_above_what_there_is_proves_a_no(void **state)
{
    (void)state;
    gpulet_plan_t plan = {.cost = NAN, .lower_bound = 1, .lower_bound_devices = NAN};
    const gpulet_planner_t elastic = {.name = "elastic", .help = ""};
    const gpulet_planner_t optimal = {.name = "optimal", .help = "", .proves = true};
    const gpulet_planner_t exhaustive = {.name = "exhaustive", .help = ""};
    begin("a", "a=10", "1", NULL);
    assert_int_equal(gpulet_study_judge(&plan, s.devices, &elastic), GPULET_STUDY_VERDICT_MISSED);
    assert_int_equal(gpulet_study_judge(&plan, s.devices, &optimal), GPULET_STUDY_VERDICT_OPEN);
    assert_int_equal(gpulet_study_judge(&plan, s.devices, &exhaustive),
                     GPULET_STUDY_VERDICT_MISSED);
    plan.lower_bound = 2;
    assert_int_equal(gpulet_study_judge(&plan, s.devices, &elastic), GPULET_STUDY_VERDICT_NO);
    assert_int_equal(gpulet_study_judge(&plan, s.devices, &optimal), GPULET_STUDY_VERDICT_NO);
    s.devices->counts[0] = -1;
    assert_int_equal(gpulet_study_judge(&plan, s.devices, &elastic), GPULET_STUDY_VERDICT_MISSED);
    plan.lower_bound = NAN; /* no number of devices would do */
    assert_int_equal(gpulet_study_judge(&plan, s.devices, &elastic), GPULET_STUDY_VERDICT_NO);
    /* With costs, the bound is a cost: 1.5 of one device that costs 2. */
    s.devices->counts[0] = 1;
    s.devices->types[0].cost = 2;
    plan = (gpulet_plan_t){.cost = 0, .lower_bound = 1.5, .lower_bound_devices = 1};
    assert_int_equal(gpulet_study_judge(&plan, s.devices, &elastic), GPULET_STUDY_VERDICT_MISSED);
    plan.lower_bound = 2.5;
    assert_int_equal(gpulet_study_judge(&plan, s.devices, &elastic), GPULET_STUDY_VERDICT_NO);
    plan.feasible = true;
    assert_int_equal(gpulet_study_judge(&plan, s.devices, &elastic), GPULET_STUDY_VERDICT_YES);
}

static gpulet_status_t make_impossible(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                       gpulet_error_t *err)
{
    (void)input;
    (void)err;
    return gpulet_plan_create(out);
}

static void planners_that_only_give_up_are_counted_apart(void **state)
{
    (void)state;
    gpulet_error_t err = {""};
    gpulet_study_result_t result = {0};
    gpulet_study_options_t options = {.threads = 2};
    gpulet_buf_t out = GPULET_BUF_INIT;
    const gpulet_planner_t optimal = {
        .name = "optimal", .help = "", .run = make_impossible, .proves = true};
    begin("a", "a=10", "0,1,5000", "elastic");
    s.spec.planners[s.spec.planners_count++] = &optimal;
    assert_int_equal(gpulet_study_run(&result, &s.spec, &s.input, &options, &err), GPULET_OK);
    assert_int_equal(gpulet_study_format_csv(&out, &s.spec, &result), GPULET_OK);
    assert_string_equal(out.data, "a,elastic,optimal\n1,yes,open\n5000,no,no\n");
    gpulet_buf_clear(&out);
    assert_int_equal(gpulet_study_format_json(&out, &s.spec, &result), GPULET_OK);
    assert_non_null(strstr(out.data, "{\"scenarios\": 2,\n \"schedulable\": {\"elastic\": 1, "
                                     "\"optimal\": 0},\n \"proved_infeasible\": {\"elastic\": 1, "
                                     "\"optimal\": 1},"));
    assert_non_null(strstr(out.data, "\"open\": {\"elastic\": 0, \"optimal\": 1}"));
    gpulet_buf_deinit(&out);
    gpulet_study_result_deinit(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_verdicts_are_what_single_plans_say_on_any_number_of_threads,
                                  teardown),
        cmocka_unit_test_teardown(the_first_case_that_fails_is_named_whatever_the_threads_do,
                                  teardown),
        cmocka_unit_test_teardown(failures_are_ordered_by_case_and_not_by_time, teardown),
        cmocka_unit_test_teardown(a_bound_above_what_there_is_proves_a_no, teardown),
        cmocka_unit_test_teardown(planners_that_only_give_up_are_counted_apart, teardown),
    };
    return cmocka_run_group_tests_name("study.study", tests, NULL, NULL);
}
