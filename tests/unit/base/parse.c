#include "base/parse.h"

#include "check.h"

static gpulet_status_t u64(const char *text, uint64_t *out)
{
    return gpulet_parse_u64(out, text, strlen(text));
}

static gpulet_status_t i64(const char *text, int64_t *out)
{
    return gpulet_parse_i64(out, text, strlen(text));
}

static gpulet_status_t f64(const char *text, double *out)
{
    return gpulet_parse_f64(out, text, strlen(text));
}

static void whole_numbers_are_read_up_to_their_limit(void **state)
{
    (void)state;
    uint64_t value = 1;
    assert_int_equal(u64("0", &value), GPULET_OK);
    assert_true(value == 0);
    assert_int_equal(u64("18446744073709551615", &value), GPULET_OK);
    assert_true(value == UINT64_MAX);
    assert_int_equal(u64("18446744073709551616", &value), GPULET_E_TOO_LARGE);
    assert_int_equal(u64("99999999999999999999999", &value), GPULET_E_TOO_LARGE);
    assert_int_equal(u64("007", &value), GPULET_OK);
    assert_true(value == 7);
}

static void what_is_no_whole_number_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",    " 1",  "1 ",   "+1",  "-1",
                                        "1.0", "1e3", "0x10", "one", "99999999999999999999999x"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        uint64_t value = 77;
        assert_int_equal(u64(texts[i], &value), GPULET_E_INVALID);
        assert_true(value == 77);
    }
    uint64_t value = 0;
    assert_int_equal(gpulet_parse_u64(&value, "12\0003", 4), GPULET_E_INVALID);
    assert_int_equal(gpulet_parse_u64(&value, "123", 2), GPULET_OK);
    assert_true(value == 12);
}

static void signed_numbers_reach_both_ends(void **state)
{
    (void)state;
    int64_t value = 0;
    assert_int_equal(i64("-9223372036854775808", &value), GPULET_OK);
    assert_true(value == INT64_MIN);
    assert_int_equal(i64("9223372036854775807", &value), GPULET_OK);
    assert_true(value == INT64_MAX);
    assert_int_equal(i64("9223372036854775808", &value), GPULET_E_TOO_LARGE);
    assert_int_equal(i64("-9223372036854775809", &value), GPULET_E_TOO_LARGE);
    assert_int_equal(i64("-", &value), GPULET_E_INVALID);
    assert_int_equal(i64("--1", &value), GPULET_E_INVALID);
    assert_int_equal(i64("", &value), GPULET_E_INVALID);
}

static void decimals_are_read_exactly(void **state)
{
    (void)state;
    double value = 0;
    assert_int_equal(f64("74.3150", &value), GPULET_OK);
    assert_true(value == 74.315);
    assert_int_equal(f64("-1.5e-3", &value), GPULET_OK);
    assert_true(value == -1.5e-3);
    assert_int_equal(f64(".5", &value), GPULET_OK);
    assert_true(value == 0.5);
    assert_int_equal(f64("1e400", &value), GPULET_E_TOO_LARGE);
}

static void what_is_no_decimal_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",      ".",  "e",  "1e",  "inf",  "nan", "-inf",
                                        "0x1p3", " 1", "1 ", "1,5", "1..2", "--1", "1e5.0"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        double value = 77;
        assert_int_equal(f64(texts[i], &value), GPULET_E_INVALID);
        assert_true(value == 77);
    }
    double value = 0;
    assert_int_equal(gpulet_parse_f64(&value, "1\0002", 3), GPULET_E_INVALID);
}

static void truth_has_eight_spellings(void **state)
{
    (void)state;
    static const char *const words[] = {"true", "false", "1", "0", "yes", "no", "on", "off"};
    for (size_t i = 0; i < 8; i++) {
        bool value = i % 2 == 1;
        assert_int_equal(gpulet_parse_bool(&value, words[i], strlen(words[i])), GPULET_OK);
        assert_int_equal(value, i % 2 == 0);
    }
    bool value = false;
    assert_int_equal(gpulet_parse_bool(&value, "", 0), GPULET_E_INVALID);
    assert_int_equal(gpulet_parse_bool(&value, "tru", 3), GPULET_E_INVALID);
    assert_int_equal(gpulet_parse_bool(&value, "2", 1), GPULET_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers_are_read_up_to_their_limit),
        cmocka_unit_test(what_is_no_whole_number_is_refused),
        cmocka_unit_test(signed_numbers_reach_both_ends),
        cmocka_unit_test(decimals_are_read_exactly),
        cmocka_unit_test(what_is_no_decimal_is_refused),
        cmocka_unit_test(truth_has_eight_spellings),
    };
    return cmocka_run_group_tests_name("base.parse", tests, NULL, NULL);
}
