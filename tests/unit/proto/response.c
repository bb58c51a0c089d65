#include "harness.h"

#include <jansson.h>
#include <math.h>

#include "proto/oip.h"

static gpulet_oip_answer_t answer(const char *name, gpulet_datatype_t type, gpulet_shape_t shape,
                                  void *data, size_t size, bool binary)
{
    return (gpulet_oip_answer_t){name, {type, shape, data, size}, binary};
}

static void writes_json_and_binary_outputs(void **state)
{
    float floats[3] = {0.1F, -2, (float)NAN};
    int8_t bytes[2] = {-128, 127};
    uint8_t bools[2] = {0, 2};
    char strings[] = "\x02\0\0\0a\"\0\0\0\0";
    uint16_t halves[1] = {0x3c00};
    gpulet_buf_t out = GPULET_BUF_INIT;
    bool any = false;
    const gpulet_oip_answer_t answers[] = {
        answer("f", GPULET_DATATYPE_FP32, (gpulet_shape_t){2, {1, 3}}, floats, 12, false),
        answer("i", GPULET_DATATYPE_INT8, (gpulet_shape_t){1, {2}}, bytes, 2, false),
        answer("b", GPULET_DATATYPE_BOOL, (gpulet_shape_t){1, {2}}, bools, 2, false),
        answer("s", GPULET_DATATYPE_BYTES, (gpulet_shape_t){1, {2}}, strings, 10, false),
        answer("h", GPULET_DATATYPE_FP16, (gpulet_shape_t){0, {0}}, halves, 2, true),
        answer("e", GPULET_DATATYPE_FP64, (gpulet_shape_t){1, {0}}, NULL, 0, false),
    };
    (void)state;
    assert_int_equal(gpulet_oip_response_write(&out, &any, "m", "1", "id\"", answers, 6, NULL),
                     GPULET_OK);
    assert_true(any);
    assert_string_equal(
        out.data, "{\"id\":\"id\\\"\",\"model_name\":\"m\",\"model_version\":\"1\",\"outputs\":["
                  "{\"name\":\"f\",\"datatype\":\"FP32\",\"shape\":[1,3],\"data\":[0.1,-2.0,null]},"
                  "{\"name\":\"i\",\"datatype\":\"INT8\",\"shape\":[2],\"data\":[-128,127]},"
                  "{\"name\":\"b\",\"datatype\":\"BOOL\",\"shape\":[2],\"data\":[false,true]},"
                  "{\"name\":\"s\",\"datatype\":\"BYTES\",\"shape\":[2],\"data\":[\"a\\\"\",\"\"]},"
                  "{\"name\":\"h\",\"datatype\":\"FP16\",\"shape\":[],\"parameters\":{\"binary_"
                  "data_size\":2}},"
                  "{\"name\":\"e\",\"datatype\":\"FP64\",\"shape\":[0],\"data\":[]}]}");
    gpulet_buf_clear(&out);
    assert_int_equal(gpulet_oip_response_write(&out, &any, "m", "1", "", answers, 1, NULL),
                     GPULET_OK);
    assert_false(any);
    assert_memory_equal(out.data, "{\"model_name\"", 13);
    gpulet_buf_deinit(&out);
}

static void refuses_outputs_that_lie(void **state)
{
    char data[16] = "\xff\0\0\0";
    gpulet_buf_t out = GPULET_BUF_INIT;
    gpulet_error_t err;
    bool any = false;
    (void)state;
    gpulet_oip_answer_t a =
        answer("h", GPULET_DATATYPE_FP16, (gpulet_shape_t){1, {2}}, data, 4, false);
    assert_int_equal(gpulet_oip_response_write(&out, &any, "m", "1", "", &a, 1, &err),
                     GPULET_E_INVALID);
    ASSERT_CONTAINS(err.text, "FP16");
    a = answer("f", GPULET_DATATYPE_FP32, (gpulet_shape_t){1, {3}}, data, 8, true);
    assert_int_equal(gpulet_oip_response_write(&out, &any, "m", "1", "", &a, 1, &err),
                     GPULET_E_INTERNAL);
    a = answer("f", GPULET_DATATYPE_FP32, (gpulet_shape_t){1, {-1}}, data, 4, true);
    assert_int_equal(gpulet_oip_response_write(&out, &any, "m", "1", "", &a, 1, &err),
                     GPULET_E_INTERNAL);
    a = answer("s", GPULET_DATATYPE_BYTES, (gpulet_shape_t){1, {1}}, data, 4, false);
    assert_int_equal(gpulet_oip_response_write(&out, &any, "m", "1", "", &a, 1, &err),
                     GPULET_E_INTERNAL);
    ASSERT_CONTAINS(err.text, "malformed strings");
    gpulet_buf_deinit(&out);
}

static void reads_its_own_numbers_back(void **state)
{
    enum { COUNT = 1000 };
    float floats[COUNT];
    float again[COUNT];
    gpulet_buf_t out = GPULET_BUF_INIT;
    bool any = false;
    (void)state;
    for (int i = 0; i < COUNT; i++)
        floats[i] = sinf((float)i) * powf(10, (float)(i % 60 - 30));
    gpulet_oip_answer_t a = answer("f", GPULET_DATATYPE_FP32, (gpulet_shape_t){1, {COUNT}}, floats,
                                   sizeof(floats), false);
    assert_int_equal(gpulet_oip_response_write(&out, &any, "m", "1", "", &a, 1, NULL), GPULET_OK);
    const char *data = strstr(out.data, "\"data\":") + 7;
    gpulet_oip_input_t input = {.name = "x",
                                .type = GPULET_DATATYPE_FP32,
                                .json_data = data,
                                .json_data_size = strlen(data) - 3};
    assert_int_equal(gpulet_oip_data_decode(again, sizeof(again), &input, COUNT, "m", NULL),
                     GPULET_OK);
    assert_memory_equal(floats, again, sizeof(floats));
    gpulet_buf_deinit(&out);
}

static void check_classes(const gpulet_tensor_view_t *tensor, bool rows, uint32_t k,
                          const char *const *labels, const char *expected,
                          gpulet_shape_t expected_shape)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    gpulet_buf_t text = GPULET_BUF_INIT;
    gpulet_shape_t shape;
    uint64_t elements = 0;
    assert_int_equal(
        gpulet_oip_classify(&out, &shape, tensor, rows, k, labels, labels != NULL ? 2 : 0, NULL),
        GPULET_OK);
    assert_true(gpulet_shape_equal(&shape, &expected_shape));
    assert_int_equal(gpulet_shape_elements(&elements, &shape), GPULET_OK);
    assert_int_equal(gpulet_oip_bytes_check(out.data, out.size, elements, "x", "m", NULL),
                     GPULET_OK);
    for (size_t at = 0; at < out.size;) {
        uint32_t length;
        memcpy(&length, out.data + at, 4);
        gpulet_buf_append(&text, out.data + at + 4, length);
        gpulet_buf_append_char(&text, ' ');
        at += 4 + length;
    }
    assert_string_equal(text.data, expected);
    gpulet_buf_deinit(&out);
    gpulet_buf_deinit(&text);
}

static void finds_the_classes(void **state)
{
    static const char *const labels[] = {"cat", "dog"};
    float floats[] = {0.25F, 0.5F, (float)NAN, 0.5F, -1, -0.0F, 0, (float)INFINITY};
    int16_t ints[] = {-5, 7, 7, 300};
    uint16_t halves[] = {0x3c00, 0xc000, 0x3555};
    gpulet_tensor_view_t t = {GPULET_DATATYPE_FP32, {2, {2, 4}}, floats, sizeof(floats)};
    (void)state;
    check_classes(&t, true, 2, labels, "0.5:1:dog 0.5:3 inf:3 -0.0:1:dog ",
                  (gpulet_shape_t){2, {2, 2}});
    check_classes(&t, true, 99, NULL, "0.5:1 0.5:3 0.25:0 nan:2 inf:3 -0.0:1 0.0:2 -1.0:0 ",
                  (gpulet_shape_t){2, {2, 4}});
    check_classes(&t, false, 1, NULL, "inf:7 ", (gpulet_shape_t){1, {1}});
    t = (gpulet_tensor_view_t){GPULET_DATATYPE_INT16, {1, {4}}, ints, sizeof(ints)};
    check_classes(&t, false, 4, labels, "300:3 7:1:dog 7:2 -5:0:cat ", (gpulet_shape_t){1, {4}});
    t = (gpulet_tensor_view_t){GPULET_DATATYPE_FP16, {1, {3}}, halves, sizeof(halves)};
    check_classes(&t, false, 3, NULL, "1.0:0 0.33325195:2 -2.0:1 ", (gpulet_shape_t){1, {3}});
}

static void cannot_classify_strings(void **state)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    gpulet_shape_t shape;
    gpulet_error_t err;
    gpulet_tensor_view_t t = {GPULET_DATATYPE_BYTES, {1, {1}}, "\0\0\0\0", 4};
    (void)state;
    assert_int_equal(gpulet_oip_classify(&out, &shape, &t, false, 1, NULL, 0, &err),
                     GPULET_E_INVALID);
    t = (gpulet_tensor_view_t){GPULET_DATATYPE_INT8, {1, {5}}, "\0\0\0\0", 4};
    assert_int_equal(gpulet_oip_classify(&out, &shape, &t, false, 1, NULL, 0, &err),
                     GPULET_E_INTERNAL);
    gpulet_buf_deinit(&out);
}

/* A configuration as it would come from a file. */
static gpulet_model_config_t make_config(gpulet_config_io_t *in, gpulet_config_io_t *out)
{
    static gpulet_config_parameter_t parameter = {"slo_ms", "50"};
    memset(in, 0, sizeof(*in));
    memset(out, 0, sizeof(*out));
    strcpy(in->name, "x");
    in->type = GPULET_DATATYPE_FP32;
    in->dims = (gpulet_shape_t){2, {3, -1}};
    strcpy(out->name, "y");
    out->type = GPULET_DATATYPE_BYTES;
    return (gpulet_model_config_t){.name = "m\"",
                                   .max_batch_size = 8,
                                   .inputs_count = 1,
                                   .inputs = in,
                                   .outputs_count = 1,
                                   .outputs = out,
                                   .versions_latest = 1,
                                   .dynamic_batching = true,
                                   .parameters_count = 1,
                                   .parameters = &parameter};
}

static void describes_a_model(void **state)
{
    gpulet_config_io_t in;
    gpulet_config_io_t out;
    gpulet_model_config_t config = make_config(&in, &out);
    gpulet_buf_t text = GPULET_BUF_INIT;
    const int64_t versions[] = {1, 3};
    (void)state;
    assert_int_equal(gpulet_oip_metadata_write(&text, &config, versions, 2), GPULET_OK);
    assert_string_equal(
        text.data,
        "{\"name\":\"m\\\"\",\"versions\":[\"1\",\"3\"],\"platform\":\"onnxruntime_onnx\","
        "\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[-1,3,-1]}],"
        "\"outputs\":[{\"name\":\"y\",\"datatype\":\"BYTES\",\"shape\":[-1]}]}");
    gpulet_buf_clear(&text);
    config.max_batch_size = 0;
    assert_int_equal(gpulet_oip_metadata_write(&text, &config, NULL, 0), GPULET_OK);
    ASSERT_CONTAINS(text.data, "\"versions\":[]");
    ASSERT_CONTAINS(text.data, "\"shape\":[3,-1]");
    ASSERT_CONTAINS(text.data, "\"shape\":[]");
    gpulet_buf_deinit(&text);
}

static void writes_a_configuration_that_profilers_read(void **state)
{
    gpulet_config_io_t in;
    gpulet_config_io_t out;
    gpulet_model_config_t config = make_config(&in, &out);
    gpulet_buf_t text = GPULET_BUF_INIT;
    int64_t versions[] = {2, 5};
    (void)state;
    for (int i = 0; i < 3; i++) {
        config.version_policy = i == 0   ? GPULET_VERSIONS_LATEST
                                : i == 1 ? GPULET_VERSIONS_ALL
                                         : GPULET_VERSIONS_SPECIFIC;
        config.versions = versions;
        config.versions_count = 2;
        config.dynamic_batching = i != 1;
        in.reshape_given = i == 2;
        gpulet_buf_clear(&text);
        assert_int_equal(gpulet_oip_config_write(&text, &config), GPULET_OK);
        json_t *tree = json_loadb(text.data, text.size, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(tree);
        assert_int_equal(json_integer_value(json_object_get(tree, "max_batch_size")), 8);
        assert_int_equal(json_object_get(tree, "dynamic_batching") != NULL, i != 1);
        json_t *input = json_array_get(json_object_get(tree, "input"), 0);
        json_t *output = json_array_get(json_object_get(tree, "output"), 0);
        assert_string_equal(json_string_value(json_object_get(input, "name")), "x");
        assert_string_equal(json_string_value(json_object_get(input, "data_type")), "TYPE_FP32");
        assert_true(json_is_false(json_object_get(input, "optional")));
        assert_true(json_is_false(json_object_get(input, "is_shape_tensor")));
        assert_int_equal(json_array_size(json_object_get(input, "dims")), 2);
        assert_string_equal(json_string_value(json_object_get(output, "data_type")), "TYPE_STRING");
        json_t *parameter = json_object_get(json_object_get(tree, "parameters"), "slo_ms");
        assert_string_equal(json_string_value(json_object_get(parameter, "string_value")), "50");
        assert_true(json_is_false(
            json_object_get(json_object_get(tree, "model_transaction_policy"), "decoupled")));
        json_decref(tree);
    }
    gpulet_buf_clear(&text);
    gpulet_oip_error_write(&text, "it's \"bad\"\n");
    assert_string_equal(text.data, "{\"error\":\"it's \\\"bad\\\"\\n\"}");
    gpulet_buf_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_json_and_binary_outputs),
        cmocka_unit_test(refuses_outputs_that_lie),
        cmocka_unit_test(reads_its_own_numbers_back),
        cmocka_unit_test(finds_the_classes),
        cmocka_unit_test(cannot_classify_strings),
        cmocka_unit_test(describes_a_model),
        cmocka_unit_test(writes_a_configuration_that_profilers_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
