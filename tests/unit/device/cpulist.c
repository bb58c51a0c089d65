#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "device/cpulist.h"

static void expect_list(const char *text, const char *expected)
{
    gpulet_cpulist_t list;
    char out[256];
    assert_int_equal(gpulet_cpulist_parse(&list, text, strlen(text), NULL), GPULET_OK);
    assert_int_equal(gpulet_cpulist_format(out, sizeof(out), &list), strlen(expected));
    assert_string_equal(out, expected);
}

static void reads_and_writes_lists(void **state)
{
    (void)state;
    expect_list("0", "0");
    expect_list("0-3,8", "0-3,8");
    expect_list("8,3,2,1,0,2-3", "0-3,8");
    expect_list("63,64,65", "63-65");
    expect_list("4095", "4095");
    expect_list("0-4095", "0-4095");
}

static void refuses_what_is_no_list(void **state)
{
    static const char *const texts[] = {
        "",     ",",   "1,", ",1",   "a",      "1-",  "-1",   "3-1",
        "1--2", "1 2", " 1", "4096", "0-4096", "0x1", "1,,2", "99999999999999999999"};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        gpulet_cpulist_t list;
        gpulet_error_t err = {""};
        if (gpulet_cpulist_parse(&list, texts[i], strlen(texts[i]), &err) != GPULET_E_INVALID)
            fail_msg("'%s'", texts[i]);
        assert_true(err.text[0] != '\0');
    }
}

static void says_when_a_list_does_not_fit(void **state)
{
    gpulet_cpulist_t list = {{0}};
    char out[8];
    (void)state;
    assert_int_equal(gpulet_cpulist_format(out, sizeof(out), &list), 0);
    for (uint32_t i = 10; i < 40; i += 2)
        gpulet_cpulist_set(&list, i);
    assert_int_equal(gpulet_cpulist_count(&list), 15);
    assert_int_equal(gpulet_cpulist_format(out, sizeof(out), &list), 0);
    assert_string_equal(out, "10,12");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes_lists),
        cmocka_unit_test(refuses_what_is_no_list),
        cmocka_unit_test(says_when_a_list_does_not_fit),
    };
    return cmocka_run_group_tests_name("device.cpulist", tests, NULL, NULL);
}
