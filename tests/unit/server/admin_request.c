#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/admin_request.h"

static void numbers_are_found_in_a_query(void **state)
{
    static const struct {
        const char *query;
        uint64_t value; /* 7: left alone */
    } good[] = {{"", 7},
                {"since=0", 0},
                {"since=12", 12},
                {"a=1&since=3&b=2", 3},
                {"sincere=4", 7},
                {"since", 7},
                {"&&since=5&", 5},
                {"xsince=1", 7},
                {"since=6&since=8", 6},
                {"a&since=9", 9},
                {"since=18446744073709551615", UINT64_MAX}};
    static const char *const bad[] = {"since=",   "since=x",   "since=-1",
                                      "since=1x", "since=%31", "since=18446744073709551616"};
    gpulet_error_t err = {""};
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        uint64_t value = 7;
        assert_int_equal(server_admin_query_u64(&value, good[i].query, "since", &err), GPULET_OK);
        assert_int_equal(value, good[i].value);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t value = 7;
        assert_int_equal(server_admin_query_u64(&value, bad[i], "since", &err), GPULET_E_INVALID);
        assert_non_null(strstr(err.text, "since"));
    }
}

static void a_plan_is_asked_for_with_or_without_force(void **state)
{
    static const struct {
        const char *body;
        bool force, wait;
    } good[] = {{"", false, true},
                {"{}", false, true},
                {"{\"force\": true}", true, true},
                {"{\"wait\": false, \"force\": false}", false, false}};
    static const struct {
        const char *body;
        const char *says;
    } bad[] = {{"[]", "object"},
               {"{", "object"},
               {"{\"force\": 1}", "force"},
               {"{\"forced\": true}", "forced: no such"},
               {"{\"wait\": null}", "wait"},
               {"{\"wait\": true, \"wait\": true}", "object"}};
    gpulet_error_t err = {""};
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        server_replan_request_t r;
        assert_int_equal(server_admin_parse_replan(&r, good[i].body, strlen(good[i].body), &err),
                         GPULET_OK);
        assert_int_equal(r.force, good[i].force);
        assert_int_equal(r.wait, good[i].wait);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        server_replan_request_t r = {.force = true};
        assert_int_equal(server_admin_parse_replan(&r, bad[i].body, strlen(bad[i].body), &err),
                         GPULET_E_INVALID);
        assert_non_null(strstr(err.text, bad[i].says));
        assert_true(r.force && !r.wait);
    }
}

static void rates_are_pinned_and_let_go(void **state)
{
    static const char text[] = "{\"lenet\": 100, \"vgg16\": null, \"b:2\": 0.5}";
    static const char *const bad[] = {"",
                                      "[]",
                                      "{\"m\": -1}",
                                      "{\"m\": 1e10}",
                                      "{\"m\": \"x\"}",
                                      "{\"m\": true}",
                                      "{\"a\": 1, \"m\": []}",
                                      "{\"m\": 1, \"m\": 2}"};
    server_pin_t *pins = NULL;
    size_t count = 0;
    gpulet_error_t err = {""};
    (void)state;
    assert_int_equal(server_admin_parse_pins(&pins, &count, text, strlen(text), &err), GPULET_OK);
    assert_int_equal(count, 3);
    assert_string_equal(pins[0].model, "lenet");
    assert_true(pins[0].rate_rps == 100);
    assert_true(isnan(pins[1].rate_rps));
    assert_true(pins[2].rate_rps == 0.5);
    server_admin_pins_free(pins, count);
    pins = NULL;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        err.text[0] = '\0';
        assert_int_equal(server_admin_parse_pins(&pins, &count, bad[i], strlen(bad[i]), &err),
                         GPULET_E_INVALID);
        assert_null(pins);
        assert_true(err.text[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_found_in_a_query),
        cmocka_unit_test(a_plan_is_asked_for_with_or_without_force),
        cmocka_unit_test(rates_are_pinned_and_let_go),
    };
    return cmocka_run_group_tests_name("server.admin_request", tests, NULL, NULL);
}
