/* What servers say, read: what is there, what is missing, what is wrong; and what changed between
 * two looks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "view/live.h"

#define HEAD  "{\"ready\":true,\"uptime_s\":5,\"feasible\":true,"
#define LEAST HEAD "\"devices\":[],\"gpulets\":[],\"models\":[]}"
#define MODEL(name, version, offered, in_time)                                                     \
    "{\"model\":\"" name "\",\"version\":\"" version                                               \
    "\",\"state\":\"ready\",\"offered\":" #offered ",\"in_time\":" #in_time                        \
    ",\"late\":1,\"rejected\":2}"

static gpulet_live_status_t *read_status(const char *text)
{
    gpulet_live_status_t *s = NULL;
    gpulet_error_t err = {""};
    if (gpulet_live_status_read(&s, text, strlen(text), &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return s;
}

static void the_least_that_a_server_says_is_enough(void **state)
{
    (void)state;
    gpulet_live_status_t *s = read_status(LEAST);
    assert_true(s->ready && s->feasible && !s->draining && !s->transition.under_way);
    assert_string_equal(s->planner, "");
    assert_string_equal(s->plan_reason, "");
    assert_true(isnan(s->headroom) && isnan(s->devices_used));
    assert_int_equal(s->models_count + s->devices_count + s->gpulets_count, 0);
    gpulet_live_status_destroy(s);
    gpulet_live_status_destroy(NULL);
}

/* Newer servers may say more, or say it in another way: that is no reason to show nothing. */
static void what_is_not_needed_may_be_of_another_kind(void **state)
{
    (void)state;
    gpulet_live_status_t *s = read_status(
        HEAD "\"headroom\":null,\"shortfall\":{\"a\":1},\"plan_reason\":7,\"transition\":"
             "[1],\"devices\":[],\"gpulets\":[],\"models\":[]}");
    assert_true(isnan(s->headroom) && isnan(s->shortfall) && !s->transition.under_way);
    assert_string_equal(s->plan_reason, "");
    gpulet_live_status_destroy(s);
}

static void errors_say_where(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "status: no JSON"},
        {"[]", "status: expected an object"},
        {"{}", "status.ready: expected true or false, found nothing"},
        {HEAD "\"devices\":{}}", "status.devices: expected a list"},
        {HEAD "\"devices\":[{\"type\":7}]}", "status: devices[0].type: expected a text"},
        {HEAD "\"devices\":[],\"models\":[3]}", "status: models[0]: expected an object"},
        {HEAD "\"devices\":[],\"models\":[" MODEL("a", "1", 1, 1) ",{\"model\":\"b\"}]}",
         "status: models[1].state: expected a text, found nothing"},
        {HEAD "\"devices\":[],\"models\":[],\"gpulets\":[{\"device\":\"x\",\"index\":0,\"units\":1,"
              "\"state\":\"serving\"}]}",
         "status: gpulets[0].models: expected a list"},
        {HEAD "\"devices\":[],\"models\":[],\"gpulets\":[{\"device\":\"x\",\"index\":0,\"units\":1,"
              "\"state\":\"serving\",\"models\":[{}]}]}",
         "status: gpulets[0].models[0].model: expected a text, found nothing"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_live_status_t *s = NULL;
        gpulet_error_t err = {""};
        assert_int_equal(gpulet_live_status_read(&s, cases[i][0], strlen(cases[i][0]), &err),
                         GPULET_E_INVALID);
        assert_null(s);
        if (strncmp(err.text, cases[i][1], strlen(cases[i][1])) != 0)
            fail_msg("'%s' instead of '%s'", err.text, cases[i][1]);
    }
}

static void gpulets_know_their_models_by_name_and_version(void **state)
{
    (void)state;
    gpulet_live_status_t *s = read_status(
        HEAD
        "\"devices\":[],\"models\":[" MODEL("a", "3", 1, 1) "," MODEL("a", "1", 1, 1) "," MODEL(
            "b:1", "1", 1, 1) "],\"gpulets\":[{\"device\":\"x\",\"index\":0,\"units\":1,\"state\":"
                              "\"serving\",\"models\":[{\"model\":\"a:1\"},{\"model\":\"a\"},"
                              "{\"model\":\"b:1\"},{\"model\":\"c\"},{\"model\":\"a:2\"}]}]}");
    const size_t expected[] = {1, 0, 2, 3, 3}; /* the last two are not in the list */
    assert_int_equal(s->gpulets[0].shares_count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(s->gpulets[0].shares[i].model, expected[i]);
    assert_true(!s->models[0].again && s->models[1].again && !s->models[2].again);
    gpulet_live_status_destroy(s);
}

static gpulet_live_status_t *at(double uptime_s, const char *models)
{
    char text[2048];
    snprintf(text, sizeof(text),
             "{\"ready\":true,\"uptime_s\":%f,\"feasible\":true,\"devices\":[],\"gpulets\":[],"
             "\"models\":[%s]}",
             uptime_s, models);
    return read_status(text);
}

static void changes_are_counted_between_looks(void **state)
{
    (void)state;
    gpulet_live_change_t c;
    gpulet_live_status_t *first = at(10, MODEL("a", "1", 100, 90) "," MODEL("b", "1", 50, 50));
    /* In another order, with a new one, and one whose counters began anew. */
    gpulet_live_status_t *second =
        at(12, MODEL("b", "1", 5, 4) "," MODEL("c", "1", 7, 7) "," MODEL("a", "1", 130, 110));
    assert_true(gpulet_live_change(&c, second, first, 2));
    assert_true(c.seconds == 2 && c.offered == 30 && c.in_time == 20 && c.late == 0);
    assert_true(gpulet_live_change(&c, second, first, 0));
    assert_true(c.offered == 5 && c.in_time == 4 && c.late == 1 && c.rejected == 2);
    assert_true(gpulet_live_change(&c, second, first, 1));
    assert_true(c.offered == 7);
    assert_false(gpulet_live_change(&c, second, NULL, 0));
    assert_false(gpulet_live_change(&c, first, second, 0)); /* another server since */
    assert_false(gpulet_live_change(&c, second, second, 0));
    assert_true(c.offered == 0 && c.seconds == 0);
    gpulet_live_status_destroy(first);
    gpulet_live_status_destroy(second);
}

static void log_lines(gpulet_live_log_t *log, size_t count, size_t from)
{
    gpulet_buf_t text = GPULET_BUF_INIT;
    gpulet_error_t err = {""};
    gpulet_buf_append_str(&text, "{\"events\":[");
    for (size_t i = 0; i < count; i++)
        gpulet_buf_printf(&text, "%s{\"seq\":%zu,\"kind\":\"k%zu\"}", i > 0 ? "," : "", from + i,
                          from + i);
    gpulet_buf_printf(&text, "],\"next\":%zu}", from + count);
    assert_int_equal(gpulet_live_log_read(log, text.data, text.size, &err), GPULET_OK);
    gpulet_buf_deinit(&text);
}

static void the_latest_events_are_kept(void **state)
{
    (void)state;
    gpulet_live_log_t log = {0};
    log_lines(&log, 0, 1);
    assert_true(log.count == 0 && log.next == 1);
    log_lines(&log, 3, 1);
    assert_true(log.count == 3 && log.next == 4);
    assert_string_equal(log.events[2].text, "k3");
    log_lines(&log, GPULET_LIVE_EVENTS_MAX - 1, 4);
    assert_int_equal(log.count, GPULET_LIVE_EVENTS_MAX);
    assert_string_equal(log.events[0].text, "k3");
    log_lines(&log, GPULET_LIVE_EVENTS_MAX + 7, 1000);
    assert_int_equal(log.count, GPULET_LIVE_EVENTS_MAX);
    assert_string_equal(log.events[0].text, "k1007");
    gpulet_live_log_clear(&log);
    assert_true(log.count == 0 && log.next == 0);
}

static void events_are_told_in_a_line(void **state)
{
    (void)state;
    static const struct {
        const char *event;
        const char *line;
        bool bad;
    } cases[] = {
        {"\"kind\":\"replan\",\"reason\":\"burst\",\"outcome\":\"reached\",\"gpulets_started\":2,"
         "\"duration_ms\":1234",
         "replan (burst) reached; 2 started, took 1.2 s", false},
        {"\"kind\":\"replan\",\"reason\":\"period\",\"outcome\":\"failed\",\"text\":\"why\",\"plan_"
         "ms\":"
         "0.5",
         "replan (period) failed: why; planned in 0.5 ms", true},
        {"\"kind\":\"rollback\",\"reason\":\"asked\",\"outcome\":\"kept\"", "rollback (asked) kept",
         true},
        {"\"kind\":\"worker_lost\",\"reason\":\"none\",\"outcome\":\"reached\",\"plan_ms\":null",
         "worker lost", true},
        {"\"kind\":\"model_loaded\",\"reason\":\"models\",\"outcome\":\"reached\",\"text\":\"m\"",
         "model loaded (models): m", false},
        {"\"kind\":\"a kind of later\"", "a kind of later", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_live_log_t log = {0};
        gpulet_error_t err = {""};
        char text[512];
        snprintf(text, sizeof(text), "{\"events\":[{\"seq\":1,%s}],\"next\":2}", cases[i].event);
        assert_int_equal(gpulet_live_log_read(&log, text, strlen(text), &err), GPULET_OK);
        assert_string_equal(log.events[0].text, cases[i].line);
        assert_int_equal(log.events[0].bad, cases[i].bad);
        gpulet_live_log_clear(&log);
    }
}

static void an_answer_that_is_wrong_leaves_the_log_alone(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"nothing", "events: no JSON"},
        {"{\"next\":1}", "events.events: expected a list"},
        {"{\"events\":[]}", "events.next: expected a number"},
        {"{\"events\":[{\"seq\":1,\"kind\":\"a\"},{\"seq\":2}],\"next\":3}",
         "events: events[1].kind: expected a text, found nothing"},
    };
    gpulet_live_log_t log = {0};
    log_lines(&log, 2, 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_error_t err = {""};
        assert_int_equal(gpulet_live_log_read(&log, cases[i][0], strlen(cases[i][0]), &err),
                         GPULET_E_INVALID);
        assert_int_equal(strncmp(err.text, cases[i][1], strlen(cases[i][1])), 0);
        assert_true(log.count == 2 && log.next == 3);
    }
    gpulet_live_log_clear(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_that_a_server_says_is_enough),
        cmocka_unit_test(what_is_not_needed_may_be_of_another_kind),
        cmocka_unit_test(errors_say_where),
        cmocka_unit_test(gpulets_know_their_models_by_name_and_version),
        cmocka_unit_test(changes_are_counted_between_looks),
        cmocka_unit_test(the_latest_events_are_kept),
        cmocka_unit_test(events_are_told_in_a_line),
        cmocka_unit_test(an_answer_that_is_wrong_leaves_the_log_alone),
    };
    return cmocka_run_group_tests_name("view.live", tests, NULL, NULL);
}
