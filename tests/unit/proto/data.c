#include "harness.h"

#include <math.h>

#include "proto/oip.h"

static gpulet_status_t decode(void *dst, size_t dst_size, gpulet_datatype_t type, const char *json,
                              uint64_t elements, gpulet_error_t *err)
{
    gpulet_oip_input_t input = {.name = "x", .type = type, .json_data_size = strlen(json)};
    char *copy = exact_copy(json, strlen(json));
    char *exact = exact_copy(dst, dst_size);
    input.json_data = copy;
    gpulet_status_t st = gpulet_oip_data_decode(exact, dst_size, &input, elements, "m", err);
    memcpy(dst, exact, dst_size);
    free(exact);
    free(copy);
    return st;
}

static void decodes_each_datatype(void **state)
{
    (void)state;
    uint8_t bools[3] = {9, 9, 9};
    assert_int_equal(decode(bools, 3, GPULET_DATATYPE_BOOL, "[true,false,1]", 3, NULL), GPULET_OK);
    assert_memory_equal(bools, ((uint8_t[]){1, 0, 1}), 3);
    int8_t i8[2] = {0};
    assert_int_equal(decode(i8, 2, GPULET_DATATYPE_INT8, "[-128,127]", 2, NULL), GPULET_OK);
    assert_true(i8[0] == -128 && i8[1] == 127);
    uint16_t u16[2] = {0};
    assert_int_equal(decode(u16, 4, GPULET_DATATYPE_UINT16, "[[65535],[0]]", 2, NULL), GPULET_OK);
    assert_true(u16[0] == 65535 && u16[1] == 0);
    int32_t i32[4] = {0};
    assert_int_equal(decode(i32, 16, GPULET_DATATYPE_INT32, " [ [1, -2],\n[3.0, 4e0] ] ", 4, NULL),
                     GPULET_OK);
    assert_memory_equal(i32, ((int32_t[]){1, -2, 3, 4}), 16);
    int64_t i64[2] = {0};
    assert_int_equal(decode(i64, 16, GPULET_DATATYPE_INT64,
                            "[-9223372036854775808,9223372036854775807]", 2, NULL),
                     GPULET_OK);
    assert_true(i64[0] == INT64_MIN && i64[1] == INT64_MAX);
    uint64_t u64[1] = {0};
    assert_int_equal(decode(u64, 8, GPULET_DATATYPE_UINT64, "[18446744073709551615]", 1, NULL),
                     GPULET_OK);
    assert_true(u64[0] == UINT64_MAX);
    float f32[4] = {0};
    assert_int_equal(decode(f32, 16, GPULET_DATATYPE_FP32, "[0.1,-0.0,1e38,3]", 4, NULL),
                     GPULET_OK);
    assert_true(f32[0] == 0.1F && signbit(f32[1]) && f32[2] == 1e38F && f32[3] == 3);
    double f64[1] = {0};
    assert_int_equal(decode(f64, 8, GPULET_DATATYPE_FP64, "[[[[0.30000000000000004]]]]", 1, NULL),
                     GPULET_OK);
    assert_true(f64[0] == 0.1 + 0.2);
}

static void accepts_empty_data(void **state)
{
    char none[1];
    (void)state;
    assert_int_equal(decode(none, 0, GPULET_DATATYPE_FP32, "[]", 0, NULL), GPULET_OK);
    assert_int_equal(decode(none, 0, GPULET_DATATYPE_FP32, "[[],[]]", 0, NULL), GPULET_OK);
    assert_int_equal(decode(none, 0, GPULET_DATATYPE_BYTES, "[]", 0, NULL), GPULET_OK);
}

static void names_what_is_wrong_with_data(void **state)
{
    static const struct {
        gpulet_datatype_t type;
        const char *json;
        uint64_t elements;
        const char *text;
    } cases[] = {
        {GPULET_DATATYPE_INT32, "[1.5]", 1,
         "unable to parse 'data' of input 'x' for model 'm': 1.5 is no INT32"},
        {GPULET_DATATYPE_INT32, "[2147483648]", 1, "2147483648 is no INT32"},
        {GPULET_DATATYPE_INT32, "[-2147483649]", 1, "-2147483649 is no INT32"},
        {GPULET_DATATYPE_UINT8, "[256]", 1, "256 is no UINT8"},
        {GPULET_DATATYPE_UINT8, "[-1]", 1, "-1 is no UINT8"},
        {GPULET_DATATYPE_INT64, "[9223372036854775808]", 1, "is no INT64"},
        {GPULET_DATATYPE_BOOL, "[2]", 1, "2 is no BOOL"},
        {GPULET_DATATYPE_BOOL, "[\"true\"]", 1, "\"true\" is no BOOL"},
        {GPULET_DATATYPE_FP32, "[1e39]", 1, "1e39 is no FP32"},
        {GPULET_DATATYPE_FP64, "[1e309]", 1, "1e309 is no FP64"},
        {GPULET_DATATYPE_FP32, "[null]", 1, "null is no FP32"},
        {GPULET_DATATYPE_FP32, "[true]", 1, "true is no FP32"},
        {GPULET_DATATYPE_FP32, "[\"1\"]", 1, "\"1\" is no FP32"},
        {GPULET_DATATYPE_FP32, "[NaN]", 1,
         "failed to parse the request JSON buffer: Invalid value. at 1"},
        {GPULET_DATATYPE_FP32, "[1]", 2, "the shape has 2 elements, the data fewer"},
        {GPULET_DATATYPE_FP32, "[1,2,3]", 2, "the shape has 2 elements, the data more"},
        {GPULET_DATATYPE_FP32, "[[1],[2,3]]", 3, "not of one shape"},
        {GPULET_DATATYPE_FP32, "[[1],2]", 2, "not of one shape"},
        {GPULET_DATATYPE_FP32, "[1,[2]]", 2, "not of one shape"},
        {GPULET_DATATYPE_FP32, "[[1],[]]", 1, "not of one shape"},
        {GPULET_DATATYPE_FP32, "[[[1]],[]]", 1, "not of one shape"},
        {GPULET_DATATYPE_FP32, "[{}]", 1, "an object is no element"},
        {GPULET_DATATYPE_FP32, "1", 1, "must be an array"},
        {GPULET_DATATYPE_FP32, "", 1, "The document is empty."},
        {GPULET_DATATYPE_FP16, "[1]", 1, "receiving FP16 data via JSON is not supported"},
        {GPULET_DATATYPE_BF16, "[1]", 1, "receiving BF16 data via JSON is not supported"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t dst[8] = {0};
        gpulet_error_t err = {""};
        size_t size = gpulet_datatype_size(cases[i].type) * (size_t)cases[i].elements;
        assert_int_equal(decode(dst, size, cases[i].type, cases[i].json, cases[i].elements, &err),
                         GPULET_E_INVALID);
        ASSERT_CONTAINS(err.text, cases[i].text);
    }
}

static void decodes_strings(void **state)
{
    static const char json[] = "[\"ab\",\"\",\"\\u20ac\\u0000\"]";
    static const char expected[] = "\x02\0\0\0ab\0\0\0\0\x04\0\0\0\xe2\x82\xac\0";
    char dst[sizeof(expected) - 1] = {0};
    uint64_t size = 0;
    gpulet_error_t err;
    (void)state;
    assert_int_equal(gpulet_oip_data_bytes_size(&size, json, strlen(json), NULL), GPULET_OK);
    assert_int_equal(size, sizeof(expected) - 1);
    assert_int_equal(decode(dst, sizeof(dst), GPULET_DATATYPE_BYTES, json, 3, NULL), GPULET_OK);
    assert_memory_equal(dst, expected, sizeof(dst));
    assert_int_equal(gpulet_oip_bytes_check(dst, sizeof(dst), 3, "s", "m", NULL), GPULET_OK);
    assert_int_equal(decode(dst, sizeof(dst) - 1, GPULET_DATATYPE_BYTES, json, 3, &err),
                     GPULET_E_INVALID);
    ASSERT_CONTAINS(err.text, "another size");
    assert_int_equal(decode(dst, sizeof(dst), GPULET_DATATYPE_BYTES, json, 2, &err),
                     GPULET_E_INVALID);
    ASSERT_CONTAINS(err.text, "the data more");
    assert_int_equal(decode(dst, sizeof(dst), GPULET_DATATYPE_BYTES, json, 4, &err),
                     GPULET_E_INVALID);
    ASSERT_CONTAINS(err.text, "the data fewer");
    assert_int_equal(decode(dst, 5, GPULET_DATATYPE_BYTES, "[5]", 1, &err), GPULET_E_INVALID);
    ASSERT_CONTAINS(err.text, "5 is no BYTES");
    assert_int_equal(gpulet_oip_data_bytes_size(&size, "[1]", 3, &err), GPULET_E_INVALID);
    ASSERT_CONTAINS(err.text, "must be a string");
    assert_int_equal(gpulet_oip_data_bytes_size(&size, "[\"a\"", 4, &err), GPULET_E_INVALID);
}

static void refuses_string_lengths_that_lie(void **state)
{
    static const struct {
        const char *data;
        size_t size;
        uint64_t elements;
        const char *text;
    } cases[] = {
        {"\x05\0\0\0abc", 7, 1,
         "incomplete string data for inference input 's' for model 'm': expecting string of length "
         "5 but only 3 bytes available"},
        {"\xff\xff\xff\xff", 4, 1, "incomplete string data"},
        {"\x01\0\0", 3, 1, "expected 1 strings for inference input 's' for model 'm', got 0"},
        {"\0\0\0\0", 4, 2, "expected 2 strings for inference input 's' for model 'm', got 1"},
        {"\0\0\0\0", 4, 0, "unexpected additional data after 0 strings"},
        {"\x01\0\0\0ab", 6, 1, "unexpected additional data after 1 strings"},
        {"", 0, UINT64_MAX, "got 0"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_error_t err = {""};
        char *copy = exact_copy(cases[i].data, cases[i].size);
        assert_int_equal(
            gpulet_oip_bytes_check(copy, cases[i].size, cases[i].elements, "s", "m", &err),
            GPULET_E_INVALID);
        ASSERT_CONTAINS(err.text, cases[i].text);
        free(copy);
    }
    assert_int_equal(gpulet_oip_bytes_check("", 0, 0, "s", "m", NULL), GPULET_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_each_datatype),           cmocka_unit_test(accepts_empty_data),
        cmocka_unit_test(names_what_is_wrong_with_data),   cmocka_unit_test(decodes_strings),
        cmocka_unit_test(refuses_string_lengths_that_lie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
