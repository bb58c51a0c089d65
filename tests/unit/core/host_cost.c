#include "core/host_cost.h"

#include <math.h>

#include "check.h"

static gpulet_profile_t *new_profile(void)
{
    static const char text[] = "device,model,units,batch,latency_ms,latency_ms_p99,memory_mb\ng,a,"
                               "1,1,10,12,5\ng,a,1,9,50,60,7\n";
    gpulet_profile_t *profile = NULL;
    assert_int_equal(gpulet_profile_parse(&profile, text, strlen(text), "p",
                                          GPULET_PROFILE_FORMAT_CSV, NULL, NULL),
                     GPULET_OK);
    return profile;
}

static gpulet_status_t parse(gpulet_host_cost_t **out, const char *text, gpulet_error_t *err)
{
    return gpulet_host_cost_parse(out, text, strlen(text), "h.csv", err);
}

static void the_cost_is_added_at_every_batch(void **state)
{
    (void)state;
    gpulet_host_cost_t *cost = NULL;
    gpulet_profile_t *profile = new_profile();
    gpulet_profile_t *sum = NULL;
    assert_int_equal(parse(&cost, "model,batch,ms\na,1,1\na,3,2\na,9,20\n", NULL), GPULET_OK);
    assert_int_equal(gpulet_host_cost_apply(&sum, profile, cost, NULL), GPULET_OK);
    const gpulet_curve_t *curve = gpulet_profile_curve_at(sum, 0);
    assert_true(fabs(gpulet_curve_latency_ms(curve, 1, false) - 11) < 1e-9);
    assert_true(fabs(gpulet_curve_latency_ms(curve, 2, false) - (15 + 1.5)) < 1e-9);
    assert_true(fabs(gpulet_curve_latency_ms(curve, 6, false) - (35 + 11)) < 1e-9);
    assert_true(fabs(gpulet_curve_latency_ms(curve, 9, true) - 80) < 1e-9);
    assert_true(gpulet_curve_memory_mb(curve, 2) == 7);
    assert_true(isnan(gpulet_host_cost_ms(cost, "a", 10)));
    assert_true(isnan(gpulet_host_cost_ms(cost, "b", 1)));
    gpulet_profile_destroy(sum);
    gpulet_profile_destroy(profile);
    gpulet_host_cost_destroy(cost);
    gpulet_host_cost_destroy(NULL);
}

static void what_has_no_cost_is_an_error(void **state)
{
    (void)state;
    static const wrong_t wrongs[] = {
        {"model,batch,ms\nb,1,1\nb,9,1\n", "h.csv: model: expected rows of a"},
        {"model,batch,ms\na,2,1\na,9,1\n", "h.csv: batch: expected a from batch 1 to 9"},
        {"model,batch,ms\na,1,1\na,8,1\n", "found 1 to 8"},
    };
    gpulet_profile_t *profile = new_profile();
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        gpulet_host_cost_t *cost = NULL;
        gpulet_profile_t *sum = NULL;
        gpulet_error_t err = {""};
        assert_int_equal(parse(&cost, wrongs[i].text, NULL), GPULET_OK);
        check_error(gpulet_host_cost_apply(&sum, profile, cost, &err), &err, &wrongs[i]);
        assert_null(sum);
        gpulet_host_cost_destroy(cost);
    }
    gpulet_profile_destroy(profile);
}

static void errors_name_file_line_and_field(void **state)
{
    (void)state;
    static const wrong_t wrongs[] = {
        {"model,ms\n", "h.csv:1: batch: expected such a column"},
        {"model,batch,ms\na,0,1\n", "h.csv:2: batch: expected a whole number from 1"},
        {"model,batch,ms\n\na,1,-1\n", "h.csv:3: ms: expected"},
        {"model,batch,ms\na,1,x\n", "h.csv:2: ms: expected"},
        {"model,batch,ms\na,1,1\na,1,2\n", "h.csv:3: batch: expected each batch of a once"},
    };
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        gpulet_host_cost_t *cost = NULL;
        gpulet_error_t err = {""};
        check_error(parse(&cost, wrongs[i].text, &err), &err, &wrongs[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cost_is_added_at_every_batch),
        cmocka_unit_test(what_has_no_cost_is_an_error),
        cmocka_unit_test(errors_name_file_line_and_field),
    };
    return cmocka_run_group_tests_name("core.host_cost", tests, NULL, NULL);
}
