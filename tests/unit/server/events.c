#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "server/events.h"

static json_t *written(const server_events_t *events, uint64_t since)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    json_error_t error;
    server_events_write(&out, events, since);
    assert_int_equal(gpulet_buf_status(&out), GPULET_OK);
    json_t *root = json_loadb(out.data, out.size, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        fail_msg("%s: %s", error.text, out.data);
    gpulet_buf_deinit(&out);
    return root;
}

static json_int_t number(const json_t *event, const char *key)
{
    return json_integer_value(json_object_get(event, key));
}

static void only_the_last_are_kept_and_numbers_go_on(void **state)
{
    enum { EVENTS = 2 * SERVER_EVENTS_MAX + 7 };
    server_events_t *events = NULL;
    (void)state;
    assert_int_equal(server_events_create(&events), GPULET_OK);
    json_t *root = written(events, 0);
    assert_int_equal(json_array_size(json_object_get(root, "events")), 0);
    assert_int_equal(number(root, "next"), 1);
    json_decref(root);
    for (int i = 0; i < EVENTS; i++) {
        server_event_t e = {.kind = SERVER_EVENT_WORKER_LOST, .gpulets_kept = (uint32_t)i};
        server_events_add(events, &e);
    }
    root = written(events, 0);
    const json_t *list = json_object_get(root, "events");
    assert_int_equal(json_array_size(list), SERVER_EVENTS_MAX);
    for (size_t i = 0; i < SERVER_EVENTS_MAX; i++) {
        const json_t *e = json_array_get(list, i);
        assert_int_equal(number(e, "seq"), EVENTS - SERVER_EVENTS_MAX + 1 + (json_int_t)i);
        assert_int_equal(number(e, "gpulets_kept"), number(e, "seq") - 1);
    }
    assert_int_equal(number(root, "next"), EVENTS + 1);
    json_decref(root);
    root = written(events, EVENTS);
    assert_int_equal(json_array_size(json_object_get(root, "events")), 1);
    json_decref(root);
    root = written(events, UINT64_MAX);
    assert_int_equal(json_array_size(json_object_get(root, "events")), 0);
    json_decref(root);
    server_events_destroy(events);
}

static void plans_are_counted_by_reason_and_outcome(void **state)
{
    server_events_t *events = NULL;
    uint64_t count = 0;
    double sum_ms = 0;
    (void)state;
    assert_int_equal(server_events_create(&events), GPULET_OK);
    server_event_t e = {.kind = SERVER_EVENT_REPLAN,
                        .reason = GPULET_FOLLOW_BURST,
                        .outcome = SERVER_OUTCOME_REACHED,
                        .duration_ms = 20};
    server_events_add(events, &e);
    e.duration_ms = 5;
    server_events_add(events, &e);
    e.kind = SERVER_EVENT_ROLLBACK;
    e.outcome = SERVER_OUTCOME_FAILED;
    server_events_add(events, &e);
    e.kind = SERVER_EVENT_DEVICE_LOST; /* no plan */
    server_events_add(events, &e);
    server_events_count(events, GPULET_FOLLOW_PERIOD, SERVER_OUTCOME_KEPT);
    assert_int_equal(server_events_replans(events, GPULET_FOLLOW_BURST, SERVER_OUTCOME_REACHED), 2);
    assert_int_equal(server_events_replans(events, GPULET_FOLLOW_BURST, SERVER_OUTCOME_FAILED), 1);
    assert_int_equal(server_events_replans(events, GPULET_FOLLOW_PERIOD, SERVER_OUTCOME_KEPT), 1);
    server_events_durations(events, &count, &sum_ms);
    assert_int_equal(count, 2);
    assert_true(sum_ms == 25);
    server_events_destroy(events);
}

static void any_text_and_any_figure_is_json(void **state)
{
    server_events_t *events = NULL;
    (void)state;
    assert_int_equal(server_events_create(&events), GPULET_OK);
    server_event_t e = {.kind = SERVER_EVENT_PLAN, .headroom = HUGE_VAL, .plan_ms = NAN};
    (void)snprintf(e.text, sizeof(e.text), "quoted \"so\" \\ and \n so");
    server_events_add(events, &e);
    (void)snprintf(e.text, sizeof(e.text), "cut in the middle \xc3");
    server_events_add(events, &e);
    json_t *root = written(events, 0);
    const json_t *first = json_array_get(json_object_get(root, "events"), 0);
    const json_t *second = json_array_get(json_object_get(root, "events"), 1);
    assert_string_equal(json_string_value(json_object_get(first, "text")),
                        "quoted \"so\" \\ and \n so");
    assert_string_equal(json_string_value(json_object_get(second, "text")), "(not UTF-8)");
    assert_true(json_is_null(json_object_get(first, "headroom")));
    assert_true(json_is_null(json_object_get(first, "plan_ms")));
    json_decref(root);
    server_events_destroy(events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_last_are_kept_and_numbers_go_on),
        cmocka_unit_test(plans_are_counted_by_reason_and_outcome),
        cmocka_unit_test(any_text_and_any_figure_is_json),
    };
    return cmocka_run_group_tests_name("server.events", tests, NULL, NULL);
}
