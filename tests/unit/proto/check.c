#include "harness.h"

#include "proto/oip.h"

static gpulet_config_io_t inputs[2];
static gpulet_config_io_t outputs[2];
static gpulet_model_config_t config;

static gpulet_shape_t shape(uint32_t rank, int64_t a, int64_t b, int64_t c)
{
    return (gpulet_shape_t){rank, {a, b, c}};
}

/* A model 'm' of batches up to 4: x FP32 [16], s BYTES [-1]; y FP32 [4], h FP16 [2]. */
static int setup(void **state)
{
    (void)state;
    memset(inputs, 0, sizeof(inputs));
    memset(outputs, 0, sizeof(outputs));
    memset(&config, 0, sizeof(config));
    strcpy(config.name, "m");
    config.max_batch_size = 4;
    strcpy(inputs[0].name, "x");
    inputs[0].type = GPULET_DATATYPE_FP32;
    inputs[0].dims = shape(1, 16, 0, 0);
    strcpy(inputs[1].name, "s");
    inputs[1].type = GPULET_DATATYPE_BYTES;
    inputs[1].dims = shape(1, -1, 0, 0);
    strcpy(outputs[0].name, "y");
    outputs[0].type = GPULET_DATATYPE_FP32;
    outputs[0].dims = shape(1, 4, 0, 0);
    strcpy(outputs[1].name, "h");
    outputs[1].type = GPULET_DATATYPE_FP16;
    outputs[1].dims = shape(1, 2, 0, 0);
    config.inputs = inputs;
    config.outputs = outputs;
    config.inputs_count = 2;
    config.outputs_count = 2;
    return 0;
}

static gpulet_status_t check_with_tail(gpulet_oip_layout_t *layout, const char *json,
                                       uint64_t tail_size, gpulet_error_t *err)
{
    gpulet_oip_limits_t limits = GPULET_OIP_LIMITS_DEFAULT;
    gpulet_oip_request_t request;
    char *copy = exact_copy(json, strlen(json));
    assert_int_equal(gpulet_oip_request_parse(&request, copy, strlen(json), &limits, err),
                     GPULET_OK);
    gpulet_oip_request_take_tail(&request, tail_size);
    gpulet_status_t st = gpulet_oip_request_check(layout, &request, &config, err);
    gpulet_oip_request_deinit(&request);
    free(copy);
    return st;
}

static gpulet_status_t check(gpulet_oip_layout_t *layout, const char *json, gpulet_error_t *err)
{
    return check_with_tail(layout, json, 0, err);
}

#define X(dims, size)                                                                              \
    "{\"name\":\"x\",\"shape\":" dims                                                              \
    ",\"datatype\":\"FP32\",\"parameters\":{\"binary_data_size\":" size "}}"
#define S(dims, data) "{\"name\":\"s\",\"shape\":" dims ",\"datatype\":\"BYTES\",\"data\":" data "}"
#define GOOD_X        X("[2,16]", "128")
#define GOOD_S        S("[2,1]", "[\"ab\",\"\\u00e9\"]")
#define BINARY        "\"parameters\":{\"binary_data_output\":true},"

static void lays_out_a_good_request(void **state)
{
    gpulet_oip_layout_t l;
    (void)state;
    assert_int_equal(check(&l, "{" BINARY "\"inputs\":[" GOOD_S "," GOOD_X "]}", NULL), GPULET_OK);
    assert_int_equal(l.items, 2);
    assert_int_equal(l.inputs_count, 2);
    assert_int_equal(l.request_input[0], 1);
    assert_int_equal(l.request_input[1], 0);
    assert_int_equal(l.bytes[0], 128);
    assert_int_equal(l.bytes[1], 4 + 2 + 4 + 2);
    assert_int_equal(l.binary_total, 128);
    assert_int_equal(l.engine_shape[0].rank, 2);
    assert_int_equal(l.engine_shape[0].dims[0], 2);
    assert_int_equal(l.outputs_count, 2);
    assert_true(l.output_binary[0] && l.output_binary[1]);
}

static void answers_the_outputs_in_the_order_asked(void **state)
{
    gpulet_oip_layout_t l;
    (void)state;
    assert_int_equal(check(&l,
                           "{\"inputs\":[" GOOD_X "," GOOD_S
                           "],\"outputs\":[{\"name\":\"h\",\"parameters\":{\"classification\":1}},"
                           "{\"name\":\"y\",\"parameters\":{\"binary_data\":true}}]}",
                           NULL),
                     GPULET_OK);
    assert_int_equal(l.outputs_count, 2);
    assert_int_equal(l.output[0], 1);
    assert_int_equal(l.output_classification[0], 1);
    assert_false(l.output_binary[0]);
    assert_int_equal(l.output[1], 0);
    assert_true(l.output_binary[1]);
}

static void answers_with_the_texts_that_clients_know(void **state)
{
    static const struct {
        const char *json;
        gpulet_status_t status;
        const char *text;
    } cases[] = {
        {"{\"inputs\":[" X("[5,16]", "320") "," GOOD_S "]}", GPULET_E_INVALID,
         "inference request batch-size must be <= 4 for 'm'"},
        {"{\"inputs\":[" X("[0,16]", "0") "," GOOD_S "]}", GPULET_E_INVALID,
         "inference request batch-size must be >= 1 for 'm'"},
        {"{\"inputs\":[{\"name\":\"x\",\"shape\":[1,16],\"datatype\":\"INT8\",\"data\":[1]}," GOOD_S
         "]}",
         GPULET_E_INVALID, "inference input 'x' data-type is 'INT8', but model 'm' expects 'FP32'"},
        {"{\"inputs\":[" X("[1,3]", "12") "," GOOD_S "]}", GPULET_E_INVALID,
         "unexpected shape for input 'x' for model 'm'. Expected [-1,16], got [1,3]. NOTE: Setting "
         "a non-zero max_batch_size in the model config "
         "requires a batch dimension to be prepended to each input shape."},
        {"{\"inputs\":[" X("[16]", "64") "," GOOD_S "]}", GPULET_E_INVALID,
         "Expected [-1,16], got [16]. NOTE: "},
        {"{\"inputs\":[" X("[2,16]", "127") "," GOOD_S "]}", GPULET_E_INVALID,
         "input byte size mismatch for input 'x' for model 'm'. Expected 128, got 127"},
        {"{\"inputs\":[" X("[1,16]", "64") "," GOOD_S "]}", GPULET_E_INVALID,
         "input 's' batch size does not match other inputs for 'm'"},
        {"{\"inputs\":[" GOOD_X "]}", GPULET_E_INVALID,
         "expected 2 inputs but got 1 inputs for model 'm'. Got input(s) ['x'], but missing "
         "required input(s) ['s']. Please provide all "
         "required input(s)."},
        {"{\"inputs\":[]}", GPULET_E_INVALID,
         "expected 2 inputs but got 0 inputs for model 'm'. Got input(s) [], but missing required "
         "input(s) ['x','s']."},
        {"{\"inputs\":[" GOOD_X ",{\"name\":\"q\",\"shape\":[],\"datatype\":\"INT8\"}]}",
         GPULET_E_INVALID, "unexpected inference input 'q' for model 'm'"},
        {"{\"inputs\":[" GOOD_X "," GOOD_S ",{\"name\":\"q\",\"shape\":[],\"datatype\":\"INT8\"}]}",
         GPULET_E_INVALID, "unexpected inference input 'q' for model 'm'"},
        {"{\"inputs\":[" GOOD_X "," GOOD_X "]}", GPULET_E_INVALID,
         "input 'x' already exists in request"},
        {"{\"inputs\":[{\"name\":\"x\",\"shape\":[2,16],\"datatype\":\"FP32\"}," GOOD_S "]}",
         GPULET_E_INVALID, "has neither 'data' nor binary data"},
        {"{\"inputs\":[{\"name\":\"x\",\"shape\":[2,16],\"datatype\":\"FP32\",\"data\":[],"
         "\"parameters\":{\"binary_data_size\":128}}," GOOD_S "]}",
         GPULET_E_INVALID, "has both 'data' and binary data"},
        {"{\"inputs\":[" GOOD_X "," S("[2,1]", "[1,2]") "]}", GPULET_E_INVALID,
         "input 's' for model 'm': "},
        {"{\"inputs\":[" GOOD_X "," S("[2,1000000000]", "[\"a\"]") "]}", GPULET_E_INVALID,
         "the shape has 2000000000 elements, the data fewer"},
        {"{\"inputs\":[" GOOD_X "," S("[2,4611686018427387904]", "[\"a\"]") "]}",
         GPULET_E_TOO_LARGE, "too large"},
        {"{" BINARY "\"inputs\":[" GOOD_X ",{\"name\":\"s\",\"shape\":[2,3],\"datatype\":\"BYTES\","
         "\"parameters\":{\"binary_data_size\":23}}]}",
         GPULET_E_INVALID,
         "input byte size mismatch for input 's' for model 'm'. Expected 24, got 23"},
        {"{\"inputs\":[" GOOD_X "," GOOD_S "],\"outputs\":[{\"name\":\"z\"}]}", GPULET_E_INVALID,
         "unexpected inference output 'z' for model 'm'"},
        {"{\"inputs\":[" GOOD_X "," GOOD_S "],\"outputs\":[{\"name\":\"y\"},{\"name\":\"y\"}]}",
         GPULET_E_INVALID, "output 'y' already requested"},
        {"{\"inputs\":[" GOOD_X "," GOOD_S "]}", GPULET_E_INVALID,
         "sending FP16 data via JSON is not supported. Please use the binary data format for "
         "output h"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_oip_layout_t l;
        gpulet_error_t err = {""};
        if (check(&l, cases[i].json, &err) != cases[i].status)
            fail_msg("%s: another status, with \"%s\"", cases[i].json, err.text);
        ASSERT_CONTAINS(err.text, cases[i].text);
    }
}

#define BARE_X "{\"name\":\"x\",\"shape\":[2,16],\"datatype\":\"FP32\"}"

static void a_single_input_that_says_nothing_has_the_bytes_behind(void **state)
{
    gpulet_oip_layout_t l;
    (void)state;
    inputs[1].optional = true;
    assert_int_equal(check_with_tail(&l, "{" BINARY "\"inputs\":[" BARE_X "]}", 128, NULL),
                     GPULET_OK);
    assert_int_equal(l.bytes[0], 128);
    assert_int_equal(l.binary_total, 128);
}

static void bytes_behind_are_taken_in_no_other_case(void **state)
{
    static const struct {
        const char *json;
        uint64_t tail_size;
        const char *text;
    } cases[] = {
        {"{" BINARY "\"inputs\":[" BARE_X "]}", 0, "has neither 'data' nor binary data"},
        {"{" BINARY "\"inputs\":[" BARE_X "]}", 127,
         "input byte size mismatch for input 'x' for model 'm'. Expected 128, got 127"},
        {"{" BINARY "\"inputs\":[" BARE_X "]}", 129,
         "input byte size mismatch for input 'x' for model 'm'. Expected 128, got 129"},
        {"{" BINARY "\"inputs\":[" BARE_X "]}", UINT64_MAX, "input byte size mismatch"},
        {"{" BINARY "\"inputs\":[" BARE_X "," GOOD_S "]}", 128,
         "has neither 'data' nor binary data"},
        {"{" BINARY "\"inputs\":[" BARE_X ",{\"name\":\"s\",\"shape\":[2,1],\"datatype\":"
         "\"BYTES\"}]}",
         128, "has neither 'data' nor binary data"},
    };
    gpulet_oip_layout_t l;
    (void)state;
    inputs[1].optional = true;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_error_t err = {""};
        assert_int_equal(check_with_tail(&l, cases[i].json, cases[i].tail_size, &err),
                         GPULET_E_INVALID);
        ASSERT_CONTAINS(err.text, cases[i].text);
    }
    /* What says how much it has keeps to that; the rest is too much, or too little. */
    assert_int_equal(check_with_tail(&l, "{" BINARY "\"inputs\":[" GOOD_X "]}", 500, NULL),
                     GPULET_OK);
    assert_int_equal(l.binary_total, 128);
}

static void refuses_half_floats_in_json(void **state)
{
    gpulet_oip_layout_t l;
    gpulet_error_t err;
    (void)state;
    inputs[0].type = GPULET_DATATYPE_FP16;
    assert_int_equal(check(&l,
                           "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,16],\"datatype\":\"FP16\","
                           "\"data\":[1]}," GOOD_S "]}",
                           &err),
                     GPULET_E_INVALID);
    ASSERT_CONTAINS(err.text, "receiving FP16 data via JSON is not supported. Please use the "
                              "binary data format for input x");
}

static void serves_a_model_without_batches(void **state)
{
    gpulet_oip_layout_t l;
    gpulet_error_t err;
    (void)state;
    config.max_batch_size = 0;
    config.inputs_count = 1;
    config.outputs_count = 1;
    inputs[0].dims = shape(2, -1, 16, 0);
    assert_int_equal(check(&l, "{\"inputs\":[" X("[9,16]", "576") "]}", NULL), GPULET_OK);
    assert_int_equal(l.items, 1);
    assert_int_equal(l.engine_shape[0].dims[0], 9);
    assert_int_equal(check(&l, "{\"inputs\":[" X("[0,16]", "0") "]}", NULL), GPULET_OK);
    assert_int_equal(l.bytes[0], 0);
    assert_int_equal(check(&l, "{\"inputs\":[" X("[9,0]", "0") "]}", &err), GPULET_E_INVALID);
    ASSERT_CONTAINS(err.text, "Expected [-1,16], got [9,0].");
    assert_null(strstr(err.text, "NOTE"));
}

static void reshapes_for_the_engine(void **state)
{
    gpulet_oip_layout_t l;
    gpulet_error_t err;
    (void)state;
    config.inputs_count = 1;
    config.outputs_count = 1;
    inputs[0].reshape_given = true;
    inputs[0].reshape = shape(2, 4, 4, 0);
    assert_int_equal(check(&l, "{\"inputs\":[" GOOD_X "]}", NULL), GPULET_OK);
    assert_int_equal(l.engine_shape[0].rank, 3);
    assert_int_equal(l.engine_shape[0].dims[0], 2);
    assert_int_equal(l.engine_shape[0].dims[2], 4);
    inputs[0].dims = shape(2, -1, 2, 0);
    inputs[0].reshape = shape(3, 1, 2, -1);
    assert_int_equal(check(&l, "{\"inputs\":[" X("[2,8,2]", "128") "]}", NULL), GPULET_OK);
    assert_int_equal(l.engine_shape[0].rank, 4);
    assert_int_equal(l.engine_shape[0].dims[3], 8);
    inputs[0].reshape = shape(2, 3, -1, 0);
    assert_int_equal(check(&l, "{\"inputs\":[" X("[2,8,2]", "128") "]}", &err), GPULET_E_INVALID);
    ASSERT_CONTAINS(err.text, "cannot be reshaped");
    inputs[0].dims = shape(1, 1, 0, 0);
    inputs[0].reshape = shape(0, 0, 0, 0);
    assert_int_equal(check(&l, "{\"inputs\":[" X("[2,1]", "8") "]}", NULL), GPULET_OK);
    assert_int_equal(l.engine_shape[0].rank, 1);
}

static void leaves_optional_inputs_out(void **state)
{
    gpulet_oip_layout_t l;
    gpulet_error_t err;
    (void)state;
    config.outputs_count = 1;
    inputs[1].optional = true;
    assert_int_equal(check(&l, "{\"inputs\":[" GOOD_X "]}", NULL), GPULET_OK);
    assert_int_equal(l.request_input[1], UINT32_MAX);
    assert_int_equal(l.bytes[1], 0);
    assert_int_equal(check(&l, "{\"inputs\":[" GOOD_S "]}", &err), GPULET_E_INVALID);
    ASSERT_CONTAINS(err.text, "expected between 1 and 2 inputs but got 1 inputs for model 'm'.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(lays_out_a_good_request, setup),
        cmocka_unit_test_setup(answers_the_outputs_in_the_order_asked, setup),
        cmocka_unit_test_setup(answers_with_the_texts_that_clients_know, setup),
        cmocka_unit_test_setup(a_single_input_that_says_nothing_has_the_bytes_behind, setup),
        cmocka_unit_test_setup(bytes_behind_are_taken_in_no_other_case, setup),
        cmocka_unit_test_setup(refuses_half_floats_in_json, setup),
        cmocka_unit_test_setup(serves_a_model_without_batches, setup),
        cmocka_unit_test_setup(reshapes_for_the_engine, setup),
        cmocka_unit_test_setup(leaves_optional_inputs_out, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
