#include "harness.h"

#include "base/buf.h"
#include "proto/oip.h"
#include "proto/pbtxt.h"

static gpulet_status_t parse(gpulet_model_config_t *out, const char *text, gpulet_error_t *err)
{
    char *copy = exact_copy(text, strlen(text));
    gpulet_status_t st = gpulet_pbtxt_parse(out, copy, strlen(text), "f", err);
    free(copy);
    return st;
}

static void reads_a_whole_configuration(void **state)
{
    static const char text[] =
        "# a comment\n"
        "name: \"res\" 'net\\x35\\060'; platform: \"onnxruntime_onnx\", backend: \"onnxruntime\"\n"
        "max_batch_size: 0x10\n"
        "default_model_filename: \"m.onnx\"\n"
        "input [ { name: \"x\" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 224, -1 ] "
        "reshape { shape: [ ] } },\n"
        "        { name: \"s\", data_type: 13, dims: 1 dims: 2, optional: true } ]\n"
        "output: < name: \"y\" data_type: TYPE_BF16 dims: [ 1000 ] label_filename: \"labels.txt\" "
        ">\n"
        "output { name: \"z\" }\n"
        "version_policy: { specific: { versions: [ 1, 3 ] } }\n"
        "dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 "
        "priority_levels: 3\n"
        "  default_priority_level: 2 default_queue_policy { default_timeout_microseconds: 7 "
        "max_queue_size: 9 timeout_action: DELAY }\n"
        "  priority_queue_policy { key: 1 value { max_queue_size: 77 } } }\n"
        "instance_group [ { count: 2 kind: KIND_CPU rate_limiter { resources [ { name: \"R\" "
        "global: true count: 4 } ] priority: 2 } } ]\n"
        "parameters { key: \"slo_ms\" value { string_value: \"50\" } }\n"
        "parameters: [ { key: \"rate_rps\" value: { string_value: \"1e2\" } }, { value { "
        "string_value: \"1\" } key: \"priority\" },\n"
        "  { key: \"late\" value { string_value: \"serve\" } }, { key: \"other\" } ]\n"
        "optimization { cuda { graphs: t graph_spec { input { key: \"a\" value { dim: [1] } } } } "
        "execution_accelerators {\n"
        "  gpu_execution_accelerator : [ { name : \"tensorrt\" parameters { key: \"p\" value: "
        "\"FP16\" } } ] } }\n"
        "model_warmup { name: \"w\" inputs { key: \"x\" value: { data_type: TYPE_FP32 dims: 3 "
        "zero_data: true } } }\n"
        "model_metrics { metric_control { histogram_options { buckets: [ 0.1, .5, 5., 1e3, 2f, "
        "-inf, nan ] } } }\n"
        "response_cache { enable: False }";
    gpulet_model_config_t c;
    gpulet_error_t err = {""};
    (void)state;
    if (parse(&c, text, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    assert_string_equal(c.name, "resnet50");
    assert_string_equal(c.platform, "onnxruntime_onnx");
    assert_string_equal(c.backend, "onnxruntime");
    assert_string_equal(c.default_model_filename, "m.onnx");
    assert_true(c.max_batch_size_given);
    assert_int_equal(c.max_batch_size, 16);
    assert_int_equal(c.inputs_count, 2);
    assert_string_equal(c.inputs[0].name, "x");
    assert_int_equal(c.inputs[0].type, GPULET_DATATYPE_FP32);
    assert_int_equal(c.inputs[0].dims.rank, 3);
    assert_int_equal(c.inputs[0].dims.dims[2], -1);
    assert_true(c.inputs[0].reshape_given);
    assert_int_equal(c.inputs[0].reshape.rank, 0);
    assert_int_equal(c.inputs[1].type, GPULET_DATATYPE_BYTES);
    assert_int_equal(c.inputs[1].dims.rank, 2);
    assert_true(c.inputs[1].optional);
    assert_int_equal(c.warmup_count, 1);
    assert_string_equal(c.warmup[0].name, "x");
    assert_int_equal(c.warmup[0].type, GPULET_DATATYPE_FP32);
    assert_int_equal(c.warmup[0].dims.rank, 1);
    assert_int_equal(c.outputs_count, 2);
    assert_int_equal(c.outputs[0].type, GPULET_DATATYPE_BF16);
    assert_string_equal(c.outputs[0].label_filename, "labels.txt");
    assert_int_equal(c.version_policy, GPULET_VERSIONS_SPECIFIC);
    assert_int_equal(c.versions_count, 2);
    assert_int_equal(c.versions[1], 3);
    assert_true(c.dynamic_batching);
    assert_int_equal(c.priority_levels, 3);
    assert_int_equal(c.default_priority_level, 2);
    assert_int_equal(c.default_timeout_us, 7);
    assert_int_equal(c.max_queue_size, 9);
    assert_true(c.timeout_delay);
    assert_int_equal(c.parameters_count, 5);
    assert_string_equal(gpulet_model_config_parameter(&c, "slo_ms"), "50");
    assert_string_equal(gpulet_model_config_parameter(&c, "other"), "");
    assert_true(c.slo_ms == 50 && c.rate_rps == 100);
    assert_int_equal(c.priority, 1);
    assert_true(c.late_serve);
    gpulet_model_config_deinit(&c);
}

static void gives_defaults_to_an_empty_file(void **state)
{
    static const char *const texts[] = {"", "\n# only a comment",
                                        "dynamic_batching {} version_policy { all {} }",
                                        "version_policy { latest { num_versions: 2 } }"};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        gpulet_model_config_t c;
        assert_int_equal(parse(&c, texts[i], NULL), GPULET_OK);
        assert_string_equal(c.name, "");
        assert_false(c.max_batch_size_given);
        assert_int_equal(c.dynamic_batching, i == 2);
        assert_int_equal(c.version_policy, i == 2 ? GPULET_VERSIONS_ALL : GPULET_VERSIONS_LATEST);
        assert_int_equal(c.versions_latest, i == 3 ? 2 : 1);
        assert_true(c.slo_ms == 0 && c.rate_rps == 0 && !c.late_serve);
        gpulet_model_config_deinit(&c);
    }
}

#define PARAMETER(key, value)                                                                      \
    "parameters { key: \"" key "\" value { string_value: \"" value "\" } }"

static void names_what_is_wrong_and_where(void **state)
{
    static const struct {
        const char *text;
        const char *error;
    } cases[] = {
        {"max_batch: 1", "f:1:1: ModelConfig has no field 'max_batch'"},
        {"name: \"a\"\n  max_batch_sizes: 1", "f:2:3: ModelConfig has no field 'max_batch_sizes'"},
        {"input { naem: \"x\" }", "f:1:9: ModelInput has no field 'naem'"},
        {"max_batch_size: -1", "f:1:17: max_batch_size: must be >= 0, not -1"},
        {"max_batch_size: 2147483648",
         "f:1:17: max_batch_size: expected a 32-bit integer, found 2147483648"},
        {"max_batch_size: 1.0", "expected a 32-bit integer, found 1.0"},
        {"max_batch_size: \"1\"", "expected a 32-bit integer, found \"1\""},
        {"max_batch_size: 08", "expected a 32-bit integer"},
        {"max_batch_size: ",
         "f:1:17: max_batch_size: expected a 32-bit integer, found the end of the file"},
        {"max_batch_size 1", "f:1:16: max_batch_size: expected :, found 1"},
        {"max_batch_size: [1]", "it takes one value, not a list"},
        {"max_batch_size: 1 max_batch_size: 1", "f:1:19: field 'max_batch_size' is given twice"},
        {"name: unquoted", "name: expected a string, found unquoted"},
        {"name: \"a", "f:1:7: the string is not closed on its line"},
        {"name: \"a\nb\"", "f:1:7: the string is not closed on its line"},
        {"name: \"\\q\"", "f:1:8: invalid escape in the string"},
        {"name: \"\\xff\"", "name: the string is not UTF-8"},
        {"name: \"\\0\"", "name: the string is not UTF-8 or has a zero byte"},
        {"name: \"\\777\"", "invalid escape"},
        {"input { data_type: FP32 }", "data_type: expected a value of DataType, found FP32"},
        {"input { data_type: 99 }", "expected a value of DataType, found 99"},
        {"input { name: \"x\" dims: [1 2] }", "dims: expected , or ], found 2"},
        {"input { name: \"x\" dims: [1,] }", "dims: expected a 64-bit integer, found ]"},
        {"input { name: \"x\" dims: 0 }", "f:1:25: dims: a dimension must be >= 1, or -1, not 0"},
        {"input { name: \"x\" dims: -2 }", "dims: a dimension must be >= 1, or -1, not -2"},
        {"input { name: \"x\" dims: [1,1,1,1,1,1,1,1,1] }", "dims: more than 8 dimensions"},
        {"input { dims: 1 }", "f:1:7: the input has no name"},
        {"input { name: \"x\" } input { name: \"x\" }", "input 'x' is given twice"},
        {"input { name: \"x\" ",
         "ModelInput: expected the name of a field, found the end of the file"},
        {"input { name: \"x\" >", "expected the name of a field, found >"},
        {"input \"x\"", "input: expected {, found \"x\""},
        {"input { optional: 2 }", "optional: expected true or false, found 2"},
        {"}", "f:1:1: ModelConfig: expected the name of a field, found }"},
        {"name: \"a\" ;; ", "expected the name of a field, found ;"},
        {"\x01", "f:1:1: unexpected byte 0x01"},
        {"name\xc3\xa9: \"a\"", "f:1:5: unexpected byte 0xc3"},
        {"dynamic_batching {} ensemble_scheduling {}",
         "field 'ensemble_scheduling' cannot stand beside 'dynamic_batching'"},
        {"version_policy { all {} latest {} }", "field 'latest' cannot stand beside 'all'"},
        {"version_policy { latest { num_versions: 0 } }", "num_versions: must be >= 1"},
        {"version_policy { latest { num_versions: -1 } }",
         "num_versions: expected an unsigned 32-bit integer, found -"},
        {"version_policy { specific { versions: 0 } }", "versions: a version must be >= 1"},
        {"version_policy { specific { } }", "specific: no versions are named"},
        {"dynamic_batching { default_priority_level: 2 }",
         "default_priority_level 2 is above priority_levels 0"},
        {"dynamic_batching { priority_levels: 4294967296 }", "priority_levels: at most 4294967295"},
        {"dynamic_batching { priority_levels: 18446744073709551616 }",
         "expected an unsigned 64-bit integer"},
        {"model_metrics { metric_control { histogram_options { buckets: x } } }",
         "buckets: expected a number, found x"},
        {"model_warmup { inputs { value { zero_data: true random_data: true } } }",
         "field 'random_data' cannot stand beside 'zero_data'"},
        {"model_warmup { inputs { value { dims: 1 } } }",
         "f:1:23: model_warmup: the input has no key"},
        {"model_warmup { inputs { key: \"x\" value { dims: [ 3, -1 ] } } }",
         "f:1:23: model_warmup: input 'x': dims: expected sizes of at least 1"},
        {"model_warmup { inputs { key: \"x\" value { dims: 0 } } }",
         "f:1:48: dims: a dimension must be >= 1"},
        {PARAMETER("slo_ms", "fast"),
         "f:1:50: parameter slo_ms: expected a number above 0, found 'fast'"},
        {PARAMETER("slo_ms", "0"), "parameter slo_ms: expected a number above 0"},
        {PARAMETER("slo_ms", "-1"), "parameter slo_ms"},
        {PARAMETER("slo_ms", "50 "), "parameter slo_ms"},
        {PARAMETER("slo_ms", ""), "parameter slo_ms"},
        {PARAMETER("slo_ms", "inf"), "parameter slo_ms"},
        {PARAMETER("slo_ms", "1e999"), "parameter slo_ms"},
        {PARAMETER("rate_rps", "nan"),
         "parameter rate_rps: expected a number above 0, found 'nan'"},
        {PARAMETER("priority", "-1"), "parameter priority: expected an unsigned 32-bit integer"},
        {PARAMETER("late", "maybe"), "parameter late: expected serve or drop, found 'maybe'"},
        {PARAMETER("a", "1") PARAMETER("a", "2"), "parameter 'a' is given twice"},
        {"parameters { value { string_value: \"1\" } }", "f:1:12: the parameter has no key"},
        {"parameters { key: \"a\" key: \"b\" }", "field 'key' is given twice"},
        {"parameters { key: \"a\" value: \"b\" }", "value: expected {, found \"b\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_model_config_t c;
        gpulet_error_t err = {""};
        memset(&c, 0x5a, sizeof(c));
        if (parse(&c, cases[i].text, &err) != GPULET_E_INVALID)
            fail_msg("%s is accepted", cases[i].text);
        ASSERT_CONTAINS(err.text, cases[i].error);
        assert_int_equal((unsigned char)c.name[0], 0x5a);
    }
}

static void of_an_input_the_first_sample_counts(void **state)
{
    static const char text[] = "model_warmup [ { inputs { key: 'x' value { dims: [ 3, 48 ] } } },\n"
                               "  { batch_size: 8 inputs { value { dims: 7 } key: 'x' } inputs { "
                               "key: 'y' value { dims: 5 } } "
                               "} ]";
    gpulet_model_config_t c;
    gpulet_error_t err = {""};
    (void)state;
    if (parse(&c, text, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    assert_int_equal(c.warmup_count, 2);
    assert_int_equal(c.warmup[0].dims.rank, 2);
    assert_int_equal(c.warmup[0].dims.dims[1], 48);
    assert_string_equal(c.warmup[1].name, "y");
    assert_int_equal(c.warmup[1].type, GPULET_DATATYPE_INVALID);
    gpulet_model_config_deinit(&c);
}

static void limits_lengths_and_counts(void **state)
{
    gpulet_buf_t text = GPULET_BUF_INIT;
    gpulet_model_config_t c;
    gpulet_error_t err;
    (void)state;
    gpulet_buf_append_str(&text, "name: \"");
    for (int i = 0; i < 256; i++)
        gpulet_buf_append_char(&text, 'n');
    gpulet_buf_append_str(&text, "\"");
    assert_int_equal(parse(&c, text.data, &err), GPULET_E_INVALID);
    ASSERT_CONTAINS(err.text, "f:1:7: name: longer than 255 bytes");
    gpulet_buf_clear(&text);
    for (int i = 0; i < 65; i++)
        gpulet_buf_printf(&text, "output { name: \"o%d\" }\n", i);
    assert_int_equal(parse(&c, text.data, &err), GPULET_E_INVALID);
    ASSERT_CONTAINS(err.text, "f:65:8: more than 64 outputs");
    gpulet_buf_clear(&text);
    for (int i = 0; i < 65; i++)
        gpulet_buf_printf(&text, "model_warmup { inputs { key: \"i%d\" value { dims: 1 } } }\n", i);
    assert_int_equal(parse(&c, text.data, &err), GPULET_E_INVALID);
    ASSERT_CONTAINS(err.text, "f:65:23: model_warmup: more than 64 inputs");
    gpulet_buf_deinit(&text);
}

#define IO                                                                                         \
    "platform: 'ensemble' input { name: 'i' data_type: TYPE_FP32 dims: 4 } output { name: 'o' "    \
    "data_type: TYPE_FP32 dims: 4 }\n"
#define STEP(model, in, out)                                                                       \
    "{ model_name: '" model "' input_map { key: 'x' value: '" in                                   \
    "' } output_map { key: 'y' value: '" out "' } }"

static void reads_an_ensemble(void **state)
{
    static const char text[] =
        "name: 'e' " IO "parameters { key: 'slo_ms' value { string_value: '20' } }\n"
        "ensemble_scheduling { max_inflight_requests: 7 step [\n"
        "  { output_map { value: 'o' key: 'y' } input_map [ { key: 'a' value: 't' }, { key: 'b' "
        "value: "
        "'i' } ] model_version: 3 model_name: 'm' },\n" STEP("m", "i", "t") " ] }";
    gpulet_model_config_t c;
    gpulet_error_t err = {""};
    gpulet_buf_t json = GPULET_BUF_INIT;
    (void)state;
    if (parse(&c, text, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    assert_non_null(c.app);
    assert_string_equal(c.app->name, "e");
    assert_true(c.app->slo_ms == 20);
    assert_int_equal(c.app->stages_count, 2);
    assert_string_equal(c.app->stages[0].name, "m");
    assert_string_equal(c.app->stages[1].name, "m#2");
    assert_int_equal(c.app->stages[0].version, 3);
    assert_int_equal(c.app->stages[1].version, GPULET_APP_NEWEST);
    assert_int_equal(c.app->stages[0].before, 2);
    assert_int_equal(c.app->order[0], 1);
    assert_int_equal(gpulet_oip_config_write(&json, &c), GPULET_OK);
    assert_non_null(strstr(
        json.data,
        "\"ensemble_scheduling\":{\"step\":[{\"model_name\":\"m\",\"model_version\":3,\"input_"
        "map\":"
        "{\"a\":\"t\",\"b\":\"i\"},\"output_map\":{\"y\":\"o\"},\"model_namespace\":\"\"},{"));
    assert_non_null(strstr(json.data, "\"platform\":\"ensemble\",\"backend\":\"\""));
    gpulet_model_config_deinit(&c);
    gpulet_buf_deinit(&json);
}

static void a_wrong_ensemble_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text;
        const char *error;
    } cases[] = {
        {"name: 'e'\nplatform: 'ensemble'",
         "f:2:11: platform ensemble: expected ensemble_scheduling with it"},
        {"platform: 'onnxruntime_onnx' ensemble_scheduling {}",
         "ensemble_scheduling: expected platform ensemble and no backend with it, found platform "
         "'onnxruntime_onnx'"},
        {"backend: 'onnxruntime' ensemble_scheduling {}", "found backend 'onnxruntime'"},
        {"ensemble_scheduling {}", "an ensemble: expected at least one input, found none"},
        {"ensemble_scheduling {} input { name: 'i' dims: 1 }",
         "input 'i' of an ensemble: data_type: expected one"},
        {"ensemble_scheduling {}\ninput { name: 'i' data_type: TYPE_FP32 }",
         "f:2:7: input 'i' of an ensemble: dims: expected at least one"},
        {"ensemble_scheduling {} input { name: 'i' data_type: TYPE_FP32 dims: 1 }",
         "expected at least one output, found none"},
        {"ensemble_scheduling {} input { name: 'i' data_type: TYPE_FP32 dims: 1 reshape {} }",
         "input 'i' of an ensemble: reshape is not supported there"},
        {"ensemble_scheduling {} input { name: 'i' data_type: TYPE_FP32 dims: 1 optional: true }",
         "input 'i' of an ensemble: optional is not supported there"},
        {IO "ensemble_scheduling { }", "f:2:21: ensemble_scheduling: expected at least one stage"},
        {IO "ensemble_scheduling { step { } }", "f:2:28: step 1: model_name: expected the name"},
        {IO "ensemble_scheduling { step { model_name: '' } }", "model_name: expected a name"},
        {IO "ensemble_scheduling { step { model_name: 'm' model_version: 0 } }",
         "model_version: expected a version of at least 1, or -1 for the newest, found 0"},
        {IO "ensemble_scheduling { step { input_map { value: 'i' } } }",
         "input_map: expected a key, the name of a tensor of the model"},
        {IO "ensemble_scheduling { step { output_map { key: 'y' } } }",
         "output_map: expected a value, the name of a tensor of the ensemble"},
        {IO "ensemble_scheduling { step { model_name: 'm'\n output_map { key: 'y' value: 'o' } } }",
         "ensemble_scheduling: stage 'm': input_map: expected at least one tensor, found none"},
        {IO "ensemble_scheduling { step { model_name: 'm' input_map { key: 'x' value: 'i' }\n"
            "input_map { key: 'x' value: 'i' } } }",
         "f:3:11: ensemble_scheduling: stage 'm': input_map: 'x' is mapped twice"},
        {IO "ensemble_scheduling { step [ " STEP("m", "i", "o") ",\n" STEP("n", "i", "o") " ] }",
         "stage 'n': output_map: tensor 'o' is written by stage 'm' already"},
        {IO "ensemble_scheduling { step [ " STEP("m", "i", "o") "," STEP("n", "o", "i") " ] }",
         "f:1:28: input 'i' is written by step 'n' as well"},
        {IO "ensemble_scheduling { step [ " STEP("m", "i", "t") " ] }",
         "stage 'm': output_map: tensor 't' is neither read by a stage nor an output"},
        {IO "ensemble_scheduling { step [ " STEP("m", "u", "o") " ] }",
         "stage 'm': input_map: tensor 'u' is neither an input nor written by a stage"},
        {IO "output { name: 'p' data_type: TYPE_FP32 dims: 4 } ensemble_scheduling { step [ " STEP(
             "m", "i", "o") " ] }",
         "output 'p': no stage writes it"},
        {IO "input { name: 'j' data_type: TYPE_FP32 dims: 4 } ensemble_scheduling { step [ " STEP(
             "m", "i", "o") " ] }",
         "input 'j': no stage reads it"},
        {IO "ensemble_scheduling { step [ { model_name: 'm' input_map [ { key: 'x' value: 'i' }, { "
            "key: 'z' value: 't' } ] output_map { key: 'y' value: 's' } }," STEP(
                "n", "s", "t") "," STEP("k", "s", "o") " ] }",
         "stages wait for one another: 'm' after 'n' after 'm'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_model_config_t c;
        gpulet_error_t err = {""};
        assert_int_equal(parse(&c, cases[i].text, &err), GPULET_E_INVALID);
        if (strstr(err.text, cases[i].error) == NULL || strncmp(err.text, "f:", 2) != 0)
            fail_msg("%zu: \"%s\" lacks \"%s\"", i, err.text, cases[i].error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_whole_configuration),
        cmocka_unit_test(reads_an_ensemble),
        cmocka_unit_test(a_wrong_ensemble_is_refused_with_its_place),
        cmocka_unit_test(gives_defaults_to_an_empty_file),
        cmocka_unit_test(names_what_is_wrong_and_where),
        cmocka_unit_test(of_an_input_the_first_sample_counts),
        cmocka_unit_test(limits_lengths_and_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
