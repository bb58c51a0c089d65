#include "base/status.h"

#include "check.h"

static void every_status_has_a_name_a_text_and_an_http_status(void **state)
{
    (void)state;
#define CHECK(name, value, http, text)                                                             \
    assert_string_equal(gpulet_status_name(GPULET_##name), #name);                                 \
    assert_string_equal(gpulet_status_text(GPULET_##name), text);                                  \
    assert_int_equal(gpulet_status_http(GPULET_##name), http);                                     \
    assert_int_equal(GPULET_##name, value);
    GPULET_STATUS_MAP(CHECK)
#undef CHECK
}

static void an_unknown_status_is_named_so(void **state)
{
    (void)state;
    gpulet_status_t unknown = GPULET_OK;
    int value = -99;
    memcpy(&unknown, &value, sizeof(unknown));
    assert_string_equal(gpulet_status_name(unknown), "E_UNKNOWN");
    assert_int_equal(gpulet_status_http(unknown), 500);
}

static void failing_fills_the_text_and_returns_the_status(void **state)
{
    (void)state;
    gpulet_error_t err;
    assert_int_equal(gpulet_fail(&err, GPULET_E_IO, "disk %d is %s", 3, "gone"), GPULET_E_IO);
    assert_string_equal(err.text, "disk 3 is gone");
    assert_int_equal(gpulet_fail(NULL, GPULET_E_IO, "nobody reads this"), GPULET_E_IO);
}

static void a_prefix_goes_in_front(void **state)
{
    (void)state;
    gpulet_error_t err;
    (void)gpulet_fail(&err, GPULET_E_IO, "gone");
    gpulet_error_prefix(&err, "worker %d", 2);
    assert_string_equal(err.text, "worker 2: gone");
    gpulet_error_prefix(NULL, "nothing");
}

static void long_texts_are_cut_and_terminated(void **state)
{
    (void)state;
    static char text[3000];
    gpulet_error_t err;
    memset(text, 'x', sizeof(text) - 1);
    (void)gpulet_fail(&err, GPULET_E_IO, "%s", text);
    assert_int_equal(strlen(err.text), GPULET_ERROR_TEXT_MAX - 1);
    gpulet_error_prefix(&err, "%s", text);
    assert_true(strlen(err.text) < GPULET_ERROR_TEXT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_a_name_a_text_and_an_http_status),
        cmocka_unit_test(an_unknown_status_is_named_so),
        cmocka_unit_test(failing_fills_the_text_and_returns_the_status),
        cmocka_unit_test(a_prefix_goes_in_front),
        cmocka_unit_test(long_texts_are_cut_and_terminated),
    };
    return cmocka_run_group_tests_name("base.status", tests, NULL, NULL);
}
