#include "harness.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>

#include "base/rng.h"
#include "proto/number.h"

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static uint32_t bits_of_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* Both readings of text agree bit for bit with the C library's. */
static void check_reading(const char *text)
{
    gpulet_decimal_t decimal;
    double wide = 0;
    float narrow = 0;
    size_t size = strlen(text);
    char *copy = exact_copy(text, size);
    assert_int_equal(gpulet_decimal_scan(&decimal, copy, size), size);
    double expected = strtod(text, NULL);
    float expected_narrow = strtof(text, NULL);
    bool fits = gpulet_decimal_f64(&wide, &decimal);
    if (fits != (isfinite(expected) != 0) || (fits && bits_of(wide) != bits_of(expected)))
        fail_msg("%s is read as %.17g, not %.17g", text, wide, expected);
    fits = gpulet_decimal_f32(&narrow, &decimal);
    if (fits != (isfinite(expected_narrow) != 0) ||
        (fits && bits_of_f32(narrow) != bits_of_f32(expected_narrow)))
        fail_msg("%s is read as %.9g, not %.9g", text, (double)narrow, (double)expected_narrow);
    free(copy);
}

static void reads_hard_numbers_as_the_c_library_does(void **state)
{
    static const char *const texts[] = {
        "0",
        "-0",
        "0.0",
        "-0.0e5",
        "1",
        "-1",
        "0.1",
        "0.2",
        "0.3",
        "1e22",
        "1e23",
        "123456789012345678",
        "9007199254740993",
        "9007199254740992",
        "9007199254740991",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "1.7976931348623159e308",
        "1e309",
        "-1e309",
        "2.2250738585072014e-308",
        "2.2250738585072011e-308",
        "4.9e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "1e-400",
        "3.4028234663852886e38",
        "3.4028235677973366e38",
        "3.4028235677973365e38",
        "1e39",
        "1.1754943508222875e-38",
        "1.4e-45",
        "7.006492321624085e-46",
        "7.006492321624086e-46",
        /* Between two floats: exactly, and a hair above, where rounding twice goes wrong. */
        "1.000000059604644775390625",
        "1.0000000596046448",
        "1.00000005960464477539062500001",
        "16777217",
        "16777217.00000000000001",
        "33554434.0000000000001",
        "0.000000000000000000000000000001",
        "1e-27",
        "1e27",
        "1e28",
        "1e-28",
        "123456789.123456789e-20",
        "00e0",
        "0.00000000000000000000000001234567",
        "1e0000000000000000000005",
        "100000000000000000000000000000000000000000000e-40",
        "0.1000000000000000055511151231257827021181583404541015625",
        "0.1000000000000000055511151231257827021181583404541015624999999999999999999999",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strncmp(texts[i], "00", 2) != 0)
            check_reading(texts[i]);
    }
}

static void reads_random_numbers_as_the_c_library_does(void **state)
{
    gpulet_rng_t rng;
    char text[96];
    (void)state;
    gpulet_rng_init(&rng, 11);
    for (int i = 0; i < 60000; i++) {
        uint64_t whole = gpulet_rng_u64(&rng) >> gpulet_rng_below(&rng, 64);
        uint64_t part = gpulet_rng_u64(&rng) >> gpulet_rng_below(&rng, 64);
        int exponent = (int)gpulet_rng_below(&rng, i % 2 == 0 ? 61 : 700) - (i % 2 == 0 ? 30 : 350);
        switch (gpulet_rng_below(&rng, 4)) {
        case 0:
            (void)snprintf(text, sizeof(text), "%llu.%llue%d", (unsigned long long)whole,
                           (unsigned long long)part, exponent);
            break;
        case 1:
            (void)snprintf(text, sizeof(text), "-0.%llu", (unsigned long long)part);
            break;
        case 2:
            (void)snprintf(text, sizeof(text), "%llue%d", (unsigned long long)whole, exponent);
            break;
        default:
            (void)snprintf(text, sizeof(text), "%.17g",
                           gpulet_rng_f64(&rng) * pow(10, exponent % 30));
            break;
        }
        check_reading(text);
    }
}

static void reads_very_long_numbers(void **state)
{
    char text[3000];
    (void)state;
    memset(text, '9', sizeof(text));
    text[1] = '.';
    text[2990] = '\0';
    check_reading(text);
    memset(text, '0', sizeof(text));
    memcpy(text, "0.", 2);
    memcpy(text + 2000, "12345678901234567890123e1990", 29);
    check_reading(text);
    /* A tie that only the last digit breaks. */
    memset(text, '0', sizeof(text));
    memcpy(text, "9007199254740993.", 17);
    text[2500] = '1';
    text[2501] = '\0';
    check_reading(text);
}

static void refuses_what_is_no_json_number(void **state)
{
    static const char *const texts[] = {"",    "-",   "+1", ".5",  "5.",       "1e",
                                        "1e+", "-e1", "a",  "NaN", "Infinity", "1.e2"};
    gpulet_decimal_t decimal;
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char *copy = exact_copy(texts[i], strlen(texts[i]));
        assert_int_equal(gpulet_decimal_scan(&decimal, copy, strlen(texts[i])), 0);
        free(copy);
    }
    assert_int_equal(gpulet_decimal_scan(&decimal, "01", 2), 1);
    assert_int_equal(gpulet_decimal_scan(&decimal, "0x1", 3), 1);
    assert_int_equal(gpulet_decimal_scan(&decimal, "1,2", 3), 1);
}

static void reads_integers_exactly_or_not_at_all(void **state)
{
    static const struct {
        const char *text;
        bool is_signed;
        bool is_unsigned;
        uint64_t bits;
    } cases[] = {
        {"0", true, true, 0},
        {"-0", true, true, 0},
        {"1.0", true, true, 1},
        {"1.50e1", true, true, 15},
        {"1e3", true, true, 1000},
        {"1.5", false, false, 0},
        {"1e-1", false, false, 0},
        {"-1", true, false, UINT64_MAX},
        {"9223372036854775807", true, true, INT64_MAX},
        {"9223372036854775808", false, true, UINT64_C(1) << 63},
        {"-9223372036854775808", true, false, UINT64_C(1) << 63},
        {"-9223372036854775809", false, false, 0},
        {"18446744073709551615", false, true, UINT64_MAX},
        {"18446744073709551616", false, false, 0},
        {"1.00000000000000000000000000", true, true, 1},
        {"1.00000000000000000000000001", false, false, 0},
        {"1e99999999999", false, false, 0},
        {"0e99999999999", true, true, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_decimal_t decimal;
        int64_t number = 0;
        uint64_t natural = 0;
        assert_int_equal(gpulet_decimal_scan(&decimal, cases[i].text, strlen(cases[i].text)),
                         strlen(cases[i].text));
        assert_int_equal(gpulet_decimal_i64(&number, &decimal), cases[i].is_signed);
        assert_int_equal(gpulet_decimal_u64(&natural, &decimal), cases[i].is_unsigned);
        if (cases[i].is_signed)
            assert_int_equal((uint64_t)number, cases[i].bits);
        if (cases[i].is_unsigned)
            assert_int_equal(natural, cases[i].bits);
    }
}

static void check_writing_f64(double value)
{
    char text[GPULET_NUMBER_TEXT_MAX + 1];
    char library[64];
    size_t size = gpulet_number_write_f64(text, value);
    assert_true(size < GPULET_NUMBER_TEXT_MAX);
    text[size] = '\0';
    if (bits_of(strtod(text, NULL)) != bits_of(value))
        fail_msg("%.17g is written as %s", value, text);
    gpulet_decimal_t decimal;
    assert_int_equal(gpulet_decimal_scan(&decimal, text, size), size);
    (void)snprintf(library, sizeof(library), "%.15g", value);
    if (strtod(library, NULL) == value && strpbrk(library, "eE") == NULL &&
        strlen(library) + 2 < size)
        fail_msg("%s is written as %s", library, text);
}

static void check_writing_f32(float value)
{
    char text[GPULET_NUMBER_TEXT_MAX + 1];
    size_t size = gpulet_number_write_f32(text, value);
    assert_true(size < GPULET_NUMBER_TEXT_MAX);
    text[size] = '\0';
    if (bits_of_f32(strtof(text, NULL)) != bits_of_f32(value))
        fail_msg("%.9g is written as %s", (double)value, text);
    /* The usual client reads a double and narrows it. */
    if (bits_of_f32((float)strtod(text, NULL)) != bits_of_f32(value))
        fail_msg("%.9g is written as %s, which rounds otherwise by way of a double", (double)value,
                 text);
}

static void writes_floats_that_read_back_to_the_same_bits(void **state)
{
    gpulet_rng_t rng;
    (void)state;
    gpulet_rng_init(&rng, 5);
    for (int i = 0; i < 120000; i++) {
        uint64_t bits = gpulet_rng_u64(&rng);
        uint32_t bits_f32 = (uint32_t)(bits >> 11);
        double wide;
        float narrow;
        if (i % 3 == 0) { /* near 1, and small integers over powers of ten */
            wide = (double)(int64_t)(bits >> 40) / pow(10, (double)(bits % 9));
            narrow = (float)wide;
        } else {
            memcpy(&wide, &bits, sizeof(wide));
            memcpy(&narrow, &bits_f32, sizeof(narrow));
        }
        if (isfinite(wide))
            check_writing_f64(wide);
        if (isfinite(narrow))
            check_writing_f32(narrow);
    }
    for (int e = -149; e < 128; e++) {
        check_writing_f32(ldexpf(1, e));
        check_writing_f32(nextafterf(ldexpf(1, e), 0));
        check_writing_f32(-nextafterf(ldexpf(1, e), INFINITY));
    }
    for (int e = -1074; e < 1024; e++) {
        check_writing_f64(ldexp(1, e));
        check_writing_f64(nextafter(ldexp(1, e), 0));
        check_writing_f64(nextafter(ldexp(1, e), 1e308));
    }
}

static void writes_the_shortest_text(void **state)
{
    static const struct {
        double value;
        const char *wide;
        const char *narrow;
    } cases[] = {
        {0, "0.0", "0.0"},
        {-0.0, "-0.0", "-0.0"},
        {1, "1.0", "1.0"},
        {-2.5, "-2.5", "-2.5"},
        {0.1, "0.1", "0.1"},
        {100, "100.0", "100.0"},
        {0.3, "0.3", "0.3"},
        {1e-4, "0.0001", "0.0001"},
        {1e-7, "1e-7", "1e-7"},
        {123456, "123456.0", "123456.0"},
        {1e16, "10000000000000000.0", "10000000000000000.0"},
        {1e20, "1e20", "1e20"},
        {2e-5, "0.00002", "0.00002"},
        {1.0 / 3, "0.3333333333333333", "0.33333334"},
        {16777216, "16777216.0", "16777216.0"},
        {9007199254740992.0, "9007199254740992.0", "9007199000000000.0"},
        {(double)INFINITY, "null", "null"},
        {(double)NAN, "null", "null"},
    };
    char text[GPULET_NUMBER_TEXT_MAX + 1];
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        text[gpulet_number_write_f64(text, cases[i].value)] = '\0';
        assert_string_equal(text, cases[i].wide);
        text[gpulet_number_write_f32(text, (float)cases[i].value)] = '\0';
        assert_string_equal(text, cases[i].narrow);
    }
    text[gpulet_number_write_i64(text, INT64_MIN)] = '\0';
    assert_string_equal(text, "-9223372036854775808");
    text[gpulet_number_write_u64(text, UINT64_MAX)] = '\0';
    assert_string_equal(text, "18446744073709551615");
}

static void does_not_heed_the_locale(void **state)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
    const char *found = NULL;
    gpulet_decimal_t decimal;
    char text[GPULET_NUMBER_TEXT_MAX + 1];
    double value = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && found == NULL; i++)
        found = setlocale(LC_NUMERIC, names[i]);
    assert_int_equal(gpulet_decimal_scan(&decimal, "1.5e-300", 8), 8);
    assert_true(gpulet_decimal_f64(&value, &decimal));
    assert_true(value == 1.5e-300);
    text[gpulet_number_write_f64(text, 1.5e-300)] = '\0';
    assert_string_equal(text, "1.5000000000000001e-300"); /* far from 1: 17 digits */
    (void)setlocale(LC_NUMERIC, "C");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_hard_numbers_as_the_c_library_does),
        cmocka_unit_test(reads_random_numbers_as_the_c_library_does),
        cmocka_unit_test(reads_very_long_numbers),
        cmocka_unit_test(refuses_what_is_no_json_number),
        cmocka_unit_test(reads_integers_exactly_or_not_at_all),
        cmocka_unit_test(writes_floats_that_read_back_to_the_same_bits),
        cmocka_unit_test(writes_the_shortest_text),
        cmocka_unit_test(does_not_heed_the_locale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
