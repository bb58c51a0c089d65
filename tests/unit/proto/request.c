#include "harness.h"

#include "proto/oip.h"

static gpulet_status_t parse(gpulet_oip_request_t *out, const char *json, gpulet_error_t *err)
{
    static const gpulet_oip_limits_t limits = {8, 4};
    char *copy = exact_copy(json, strlen(json));
    gpulet_status_t st = gpulet_oip_request_parse(out, copy, strlen(json), &limits, err);
    free(copy); /* json_data is not looked at by those who use this */
    return st;
}

static void reads_a_whole_request(void **state)
{
    static const char json[] =
        "{\"id\":\"r-1\",\"unknown\":{\"a\":[1,{}]},\"parameters\":{\"priority\":2,\"timeout\":"
        "5000,\"binary_data_output\":true,\"x\":\"y\"},"
        "\"inputs\":[{\"data\":[[1,2],[3,4]],\"name\":\"a\",\"shape\":[2,2],\"datatype\":\"INT32\"}"
        ","
        "{\"name\":\"b\\u00e9\",\"shape\":[],\"datatype\":\"BYTES\",\"parameters\":{\"binary_data_"
        "size\":7,\"content_type\":\"np\"}}],"
        "\"outputs\":[{\"name\":\"y\"},{\"name\":\"z\",\"parameters\":{\"binary_data\":false,"
        "\"classification\":3}}]}";
    gpulet_oip_limits_t limits = GPULET_OIP_LIMITS_DEFAULT;
    gpulet_oip_request_t r;
    (void)state;
    char *copy = exact_copy(json, strlen(json));
    assert_int_equal(gpulet_oip_request_parse(&r, copy, strlen(json), &limits, NULL), GPULET_OK);
    assert_string_equal(r.id, "r-1");
    assert_true(r.priority_given);
    assert_int_equal(r.priority, 2);
    assert_int_equal(r.timeout_us, 5000);
    assert_true(r.binary_data_output);
    assert_int_equal(r.inputs_count, 2);
    assert_string_equal(r.inputs[0].name, "a");
    assert_int_equal(r.inputs[0].type, GPULET_DATATYPE_INT32);
    assert_int_equal(r.inputs[0].shape.rank, 2);
    assert_int_equal(r.inputs[0].shape.dims[1], 2);
    assert_false(r.inputs[0].binary);
    assert_int_equal(r.inputs[0].json_data_size, strlen("[[1,2],[3,4]]"));
    assert_memory_equal(r.inputs[0].json_data, "[[1,2],[3,4]]", 13);
    assert_string_equal(r.inputs[1].name, "b\xc3\xa9");
    assert_int_equal(r.inputs[1].shape.rank, 0);
    assert_true(r.inputs[1].binary);
    assert_int_equal(r.inputs[1].binary_size, 7);
    assert_null(r.inputs[1].json_data);
    assert_int_equal(r.outputs_count, 2);
    assert_false(r.outputs[0].binary_given);
    assert_true(r.outputs[1].binary_given);
    assert_false(r.outputs[1].binary);
    assert_int_equal(r.outputs[1].classification, 3);
    gpulet_oip_request_deinit(&r);
    free(copy);
}

static void takes_null_for_absent(void **state)
{
    gpulet_oip_request_t r;
    (void)state;
    assert_int_equal(parse(&r,
                           "{\"id\":null,\"parameters\":null,\"outputs\":null,\"inputs\":[{"
                           "\"name\":\"a\",\"shape\":[1],"
                           "\"datatype\":\"FP32\",\"parameters\":null,\"data\":null}]}",
                           NULL),
                     GPULET_OK);
    assert_string_equal(r.id, "");
    assert_int_equal(r.outputs_count, 0);
    assert_null(r.inputs[0].json_data);
    gpulet_oip_request_deinit(&r);
}

#define INPUT(members)                                                                             \
    "{\"inputs\":[{\"name\":\"a\",\"shape\":[1],\"datatype\":\"FP32\"" members "}]}"

static void names_what_is_wrong(void **state)
{
    static const struct {
        const char *json;
        gpulet_status_t status;
        const char *text;
    } cases[] = {
        {"", GPULET_E_INVALID,
         "failed to parse the request JSON buffer: The document is empty. at 0"},
        {"[]", GPULET_E_INVALID, "'request': expected an object"},
        {"{", GPULET_E_INVALID, "failed to parse the request JSON buffer"},
        {"{}", GPULET_E_INVALID, "'inputs': the request has none"},
        {"{\"inputs\":[]} x", GPULET_E_INVALID, "must not be followed"},
        {"{\"inputs\":{}}", GPULET_E_INVALID, "'inputs': expected an array of objects"},
        {"{\"inputs\":null}", GPULET_E_INVALID, "'inputs': expected an array of objects"},
        {"{\"inputs\":[1]}", GPULET_E_INVALID, "'inputs': expected an array of objects"},
        {"{\"inputs\":[],\"inputs\":[]}", GPULET_E_INVALID, "Duplicate key"},
        {"{\"inputs\":[],\"outputs\":[[]]}", GPULET_E_INVALID,
         "'outputs': expected an array of objects"},
        {"{\"inputs\":[],\"outputs\":[{}]}", GPULET_E_INVALID, "an output has no 'name'"},
        {"{\"id\":7,\"inputs\":[]}", GPULET_E_INVALID, "'id': expected a string"},
        {"{\"id\":\"a\\u0000b\",\"inputs\":[]}", GPULET_E_INVALID, "'id'"},
        {"{\"inputs\":[{}]}", GPULET_E_INVALID, "input without a name has no 'name'"},
        {"{\"inputs\":[{\"name\":\"a\"}]}", GPULET_E_INVALID, "input 'a' has no 'shape'"},
        {"{\"inputs\":[{\"name\":\"a\",\"shape\":[]}]}", GPULET_E_INVALID,
         "input 'a' has no 'datatype'"},
        {"{\"inputs\":[{\"name\":1}]}", GPULET_E_INVALID, "'name': expected a string"},
        {"{\"inputs\":[{\"shape\":1}]}", GPULET_E_INVALID,
         "'shape': expected an array of integers"},
        {"{\"inputs\":[{\"shape\":[1.5]}]}", GPULET_E_INVALID,
         "'shape': expected an array of integers"},
        {"{\"inputs\":[{\"shape\":[\"1\"]}]}", GPULET_E_INVALID,
         "'shape': expected an array of integers"},
        {"{\"inputs\":[{\"shape\":[-1]}]}", GPULET_E_INVALID, "dimension -1 is negative"},
        {"{\"inputs\":[{\"shape\":[99999999999999999999]}]}", GPULET_E_INVALID, "'shape'"},
        {"{\"inputs\":[{\"shape\":[1,1,1,1,1,1,1,1,1]}]}", GPULET_E_INVALID,
         "more than 8 dimensions"},
        {"{\"inputs\":[{\"datatype\":\"FP31\"}]}", GPULET_E_INVALID, "'datatype': 'FP31' is none"},
        {"{\"inputs\":[{\"datatype\":32}]}", GPULET_E_INVALID, "'datatype': expected a string"},
        {INPUT(",\"data\":5"), GPULET_E_INVALID, "'data': expected an array"},
        {INPUT(",\"data\":[[[[[[[1]]]]]]]"), GPULET_E_INVALID, "Nested too deeply"},
        {INPUT(",\"data\":[1,]"), GPULET_E_INVALID, "Invalid value"},
        {INPUT(",\"parameters\":[]"), GPULET_E_INVALID, "'parameters': expected an object"},
        {INPUT(",\"parameters\":{\"x\":{}}"), GPULET_E_INVALID, "strings, numbers or booleans"},
        {INPUT(",\"parameters\":{\"binary_data_size\":-1}"), GPULET_E_INVALID,
         "'binary_data_size': expected an unsigned integer"},
        {INPUT(",\"parameters\":{\"binary_data_size\":1.5}"), GPULET_E_INVALID,
         "'binary_data_size'"},
        {INPUT(",\"parameters\":{\"shared_memory_region\":\"r\"}"), GPULET_E_INVALID,
         "shared memory is not supported for input 'a'"},
        {"{\"inputs\":[],\"outputs\":[{\"name\":\"y\",\"parameters\":{\"shared_memory_offset\":0}}]"
         "}",
         GPULET_E_INVALID, "shared memory is not supported for output 'y'"},
        {"{\"inputs\":[],\"outputs\":[{\"name\":\"y\",\"parameters\":{\"binary_data\":1}}]}",
         GPULET_E_INVALID, "'binary_data': expected true or false"},
        {"{\"parameters\":{\"priority\":\"1\"},\"inputs\":[]}", GPULET_E_INVALID,
         "'priority': expected an unsigned integer"},
        {"{\"parameters\":{\"timeout\":-5},\"inputs\":[]}", GPULET_E_INVALID, "'timeout'"},
        {"{\"parameters\":{\"sequence_id\":5},\"inputs\":[]}", GPULET_E_UNSUPPORTED, "sequence"},
        {"{\"parameters\":{\"sequence_end\":true},\"inputs\":[]}", GPULET_E_UNSUPPORTED,
         "sequence"},
        {"{\"parameters\":{\"triton_x\":true},\"inputs\":[]}", GPULET_E_INVALID,
         "parameter keys starting with 'triton_' are reserved for Triton usage and should not be "
         "specified."},
        {"{\"parameters\":{\"\\u0074riton_x\":true},\"inputs\":[]}", GPULET_E_INVALID,
         "are reserved"},
        {"{\"inputs\":[{\"name\":\"a\",\"shape\":[],\"datatype\":\"BOOL\"},{\"name\":\"b\","
         "\"shape\":[],\"datatype\":\"BOOL\"},"
         "{\"name\":\"c\",\"shape\":[],\"datatype\":\"BOOL\"},{\"name\":\"d\",\"shape\":[],"
         "\"datatype\":\"BOOL\"},{}]}",
         GPULET_E_INVALID, "'inputs': more than 4"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_oip_request_t r;
        gpulet_error_t err = {""};
        if (parse(&r, cases[i].json, &err) != cases[i].status)
            fail_msg("%s: another status, with \"%s\"", cases[i].json, err.text);
        ASSERT_CONTAINS(err.text, cases[i].text);
        assert_null(r.inputs);
        assert_null(r.outputs);
    }
}

static void limits_the_lengths_of_names(void **state)
{
    static const char *const before[] = {"{\"inputs\":[],\"id\":\"", "{\"inputs\":[{\"name\":\""};
    char json[512];
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        for (size_t length = 255; length <= 256; length++) {
            gpulet_oip_request_t r;
            gpulet_error_t err;
            size_t used = strlen(before[i]);
            memcpy(json, before[i], used);
            memset(json + used, 'x', length);
            strcpy(json + used + length,
                   i == 0 ? "\"}" : "\",\"shape\":[],\"datatype\":\"BOOL\"}]}");
            assert_int_equal(parse(&r, json, &err), length == 255 ? GPULET_OK : GPULET_E_INVALID);
            gpulet_oip_request_deinit(&r);
        }
    }
}

static void refuses_every_prefix_of_a_request(void **state)
{
    static const char json[] =
        "{\"id\":\"1\",\"inputs\":[{\"name\":\"a\",\"shape\":[1],\"datatype\":\"FP32\",\"data\":[1."
        "5e1]}],\"outputs\":[{\"name\":\"y\"}]}";
    gpulet_oip_limits_t limits = GPULET_OIP_LIMITS_DEFAULT;
    (void)state;
    for (size_t size = 0; size < strlen(json); size++) {
        gpulet_oip_request_t r;
        char *copy = exact_copy(json, size);
        assert_int_equal(gpulet_oip_request_parse(&r, copy, size, &limits, NULL), GPULET_E_INVALID);
        assert_null(r.inputs);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_whole_request),
        cmocka_unit_test(takes_null_for_absent),
        cmocka_unit_test(names_what_is_wrong),
        cmocka_unit_test(limits_the_lengths_of_names),
        cmocka_unit_test(refuses_every_prefix_of_a_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
