#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "study/whatif.h"

static gpulet_demand_t demands[3];
static gpulet_workload_t workload = {.count = 3, .demands = demands};
static gpulet_device_type_t types[2];
static int32_t counts[2];
static gpulet_device_set_t devices = {.types_count = 2, .types = types, .counts = counts};

static int setup(void **state)
{
    static const char *const names[] = {"a", "ssd-mobilenet.v1", "x.rate*2"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        demands[i] = (gpulet_demand_t){.rate_rps = 100, .slo_ms = 50, .weight = 1};
        snprintf(demands[i].model, sizeof(demands[i].model), "%s", names[i]);
    }
    snprintf(types[0].name, sizeof(types[0].name), "a100-mig");
    snprintf(types[1].name, sizeof(types[1].name), "t4");
    devices.types_count = 2;
    counts[0] = 3;
    counts[1] = -1;
    return 0;
}

static gpulet_status_t change(const char *text, gpulet_error_t *err)
{
    gpulet_whatif_t whatif;
    gpulet_status_t st = gpulet_whatif_parse(&whatif, text, strlen(text), err);
    if (st != GPULET_OK)
        return st;
    assert_string_equal(whatif.text, text);
    return gpulet_whatif_apply(&workload, &devices, &whatif, err);
}

static void change_ok(const char *text)
{
    gpulet_error_t err = {""};
    if (change(text, &err) != GPULET_OK)
        fail_msg("%s: %s", text, err.text);
}

static void rates_and_slos_change_by_every_operator(void **state)
{
    (void)state;
    change_ok("a.rate*2");
    assert_true(demands[0].rate_rps == 200 && demands[1].rate_rps == 100);
    change_ok("a.rate/4");
    assert_true(demands[0].rate_rps == 50);
    change_ok("a.rate+7.5");
    assert_true(demands[0].rate_rps == 57.5);
    change_ok("a.rate-57.5");
    assert_true(demands[0].rate_rps == 0);
    change_ok("a.slo=1e2");
    assert_true(demands[0].slo_ms == 100 && demands[1].slo_ms == 50);
}

static void all_changes_every_model(void **state)
{
    (void)state;
    change_ok("all.rate*1.5,all.slo*2");
    for (size_t i = 0; i < 3; i++)
        assert_true(demands[i].rate_rps == 150 && demands[i].slo_ms == 100);
}

static void names_may_hold_dots_and_operators(void **state)
{
    (void)state;
    change_ok("ssd-mobilenet.v1.rate=7");
    assert_true(demands[1].rate_rps == 7);
    change_ok("x.rate*2.slo*3");
    assert_true(demands[2].slo_ms == 150 && demands[2].rate_rps == 100);
    change_ok("x.rate*2.rate*2");
    assert_true(demands[2].rate_rps == 200);
}

static void devices_change_by_type(void **state)
{
    (void)state;
    change_ok("devices.a100-mig+2");
    assert_int_equal(counts[0], 5);
    change_ok("devices.a100-mig=-1,devices.t4=4");
    assert_int_equal(counts[0], -1);
    assert_int_equal(counts[1], 4);
    devices.types_count = 1;
    change_ok("devices=3");
    assert_int_equal(counts[0], 3);
    change_ok("devices*2");
    assert_int_equal(counts[0], 6);
}

static void errors_say_what_was_expected_and_found(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        gpulet_status_t status;
        const char *expected;
    } cases[] = {
        {"", GPULET_E_INVALID, "found ''"},
        {"a", GPULET_E_INVALID, "MODEL.rate"},
        {"a.rate", GPULET_E_INVALID, "found 'a.rate'"},
        {"a.rate*", GPULET_E_INVALID, "found 'a.rate*'"},
        {"a.rate*two", GPULET_E_INVALID, "found 'a.rate*two'"},
        {"a.rate*nan", GPULET_E_INVALID, "found 'a.rate*nan'"},
        {"a.weight*2", GPULET_E_INVALID, "found 'a.weight*2'"},
        {".rate*2", GPULET_E_INVALID, "found '.rate*2'"},
        {"a.rate*2,", GPULET_E_INVALID, "found ''"},
        {"a.rate/0", GPULET_E_INVALID, "other than 0"},
        {"b.rate*2", GPULET_E_NOT_FOUND, "found 'b'"},
        {"a.rate-1000", GPULET_E_INVALID, "a: expected a rate of 0 or above, found -900"},
        {"a.slo*0", GPULET_E_INVALID, "a: expected an SLO above 0, found 0"},
        {"a.rate*1e308,a.rate*1e308", GPULET_E_INVALID, "a: expected a rate of 0 or above"},
        {"devices=3", GPULET_E_INVALID, "expected devices.TYPE"},
        {"devices.h100=3", GPULET_E_NOT_FOUND, "found 'h100'"},
        {"devices.a100-mig=0", GPULET_E_INVALID, "found 0"},
        {"devices.a100-mig=1.5", GPULET_E_INVALID, "found 1.5"},
        {"devices.a100-mig-4", GPULET_E_INVALID, "found -1"},
        {"devices.a100-mig=1e9", GPULET_E_INVALID, "found 1e+09"},
        {"devices.t4+1", GPULET_E_INVALID, "as many t4 as needed"},
        {"devices.=3", GPULET_E_INVALID, "found 'devices.=3'"},
        {"devices", GPULET_E_INVALID, "found 'devices'"},
        {"a.rate*1,a.rate*1,a.rate*1,a.rate*1,a.rate*1,a.rate*1,a.rate*1,a.rate*1,a.rate*1,"
         "a.rate*1,a.rate*1,a.rate*1,a.rate*1,a.rate*1,a.rate*1,a.rate*1,a.rate*1",
         GPULET_E_INVALID, "at most 16 changes"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_error_t err = {""};
        gpulet_status_t st = change(cases[i].text, &err);
        if (st != cases[i].status || strstr(err.text, cases[i].expected) == NULL)
            fail_msg("%s: %s: '%s'", cases[i].text, gpulet_status_name(st), err.text);
        (void)setup(state);
    }
}

static void long_texts_are_refused(void **state)
{
    char text[GPULET_WHATIF_TEXT_MAX + 2];
    gpulet_error_t err = {""};
    (void)state;
    memset(text, 'a', sizeof(text));
    memcpy(text + sizeof(text) - 8, ".rate*2", 8);
    assert_int_equal(change(text, &err), GPULET_E_INVALID); /* a name that is too long */
    gpulet_whatif_t whatif;
    assert_int_equal(gpulet_whatif_parse(&whatif, text, sizeof(text), &err), GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "at most 1023 bytes"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(rates_and_slos_change_by_every_operator, setup),
        cmocka_unit_test_setup(all_changes_every_model, setup),
        cmocka_unit_test_setup(names_may_hold_dots_and_operators, setup),
        cmocka_unit_test_setup(devices_change_by_type, setup),
        cmocka_unit_test_setup(errors_say_what_was_expected_and_found, setup),
        cmocka_unit_test_setup(long_texts_are_refused, setup),
    };
    return cmocka_run_group_tests_name("study.whatif", tests, NULL, NULL);
}
