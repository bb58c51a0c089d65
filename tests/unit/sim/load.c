#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sim/load.h"

static gpulet_demand_t demands[] = {{.model = "a", .slo_ms = 1}, {.model = "b", .slo_ms = 1}};
static const gpulet_workload_t workload = {2, demands};
static gpulet_error_t err;

static gpulet_sim_rates_t *rates_of(const char *text)
{
    gpulet_sim_rates_t *rates = NULL;
    err.text[0] = '\0';
    if (gpulet_sim_rates_parse(&rates, text, strlen(text), "r.csv", &workload, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return rates;
}

static void rates_are_steps_of_each_model(void **state)
{
    (void)state;
    gpulet_sim_rates_t *rates = rates_of("time_s,model,rate_rps\n0,b,10\n0,a,1\n2.5,b,0\n7,b,30\n");
    assert_int_equal(rates->models_count, 2);
    assert_int_equal(rates->models[0].count, 1);
    assert_int_equal(rates->models[1].count, 3);
    assert_true(rates->models[1].steps[1].begin_s == 2.5);
    assert_true(rates->models[1].steps[1].rate_rps == 0);
    assert_true(rates->end_s == 7);
    gpulet_sim_rates_destroy(rates);
}

static gpulet_status_t parse_rates(const char *text)
{
    gpulet_sim_rates_t *rates = NULL;
    err.text[0] = '\0';
    return gpulet_sim_rates_parse(&rates, text, strlen(text), "r.csv", &workload, &err);
}

static void bad_rates_name_line_and_field(void **state)
{
    (void)state;
    static const struct {
        const char *text, *where;
    } cases[] = {
        {"time_s,model\n0,a\n", "r.csv:1: rate_rps"},
        {"time_s,model,rate_rps\n0,a,1\n0,a,2\n", "r.csv:3: time_s"},
        {"time_s,model,rate_rps\n0,c,1\n", "r.csv:2: model"},
        {"time_s,model,rate_rps\n0,a,-1\n", "r.csv:2: rate_rps"},
        {"time_s,model,rate_rps\nsoon,a,1\n", "r.csv:2: time_s"},
        {"time_s,model,rate_rps\n0,,1\n", "r.csv:2: model"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(parse_rates(cases[i].text), GPULET_E_INVALID);
        if (strncmp(err.text, cases[i].where, strlen(cases[i].where)) != 0)
            fail_msg("expected %s, found %s", cases[i].where, err.text);
    }
}

static void arrivals_are_put_in_order_and_equal_times_stay_as_they_were(void **state)
{
    (void)state;
    static const char text[] = "time_s,model,items\n3,a,1\n1,b,2\n1,a,3\n0.5,a,\n1,b,4\n2,b,5\n";
    static const uint32_t items[] = {1, 2, 3, 4, 5, 1};
    gpulet_sim_trace_t *trace = NULL;
    assert_int_equal(gpulet_sim_trace_parse(&trace, text, strlen(text), "t.csv", &workload, &err),
                     GPULET_OK);
    assert_int_equal(trace->count, 6);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(trace->arrivals[i].items, items[i]);
    assert_true(trace->arrivals[0].time_s == 0.5 && trace->arrivals[5].time_s == 3);
    gpulet_sim_trace_destroy(trace);
}

static void bad_arrivals_name_line_and_field(void **state)
{
    (void)state;
    static const char *const texts[] = {"time_s,model,items\n0,a,0\n",
                                        "time_s,model,items\n0,a,257\n", "time_s,model\n-1,a\n",
                                        "time_s,model\n0,nobody\n"};
    for (size_t i = 0; i < 4; i++) {
        gpulet_sim_trace_t *trace = NULL;
        assert_int_equal(
            gpulet_sim_trace_parse(&trace, texts[i], strlen(texts[i]), "t.csv", &workload, &err),
            GPULET_E_INVALID);
        assert_non_null(strstr(err.text, "t.csv:2: "));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_steps_of_each_model),
        cmocka_unit_test(bad_rates_name_line_and_field),
        cmocka_unit_test(arrivals_are_put_in_order_and_equal_times_stay_as_they_were),
        cmocka_unit_test(bad_arrivals_name_line_and_field),
    };
    return cmocka_run_group_tests_name("sim.load", tests, NULL, NULL);
}
