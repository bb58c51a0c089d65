/* What a config.pbtxt says beyond what gpulet heeds: shown again, and told of. */
#include "harness.h"

#include <jansson.h>

#include "proto/oip.h"
#include "proto/pbtxt.h"

static void read_text(gpulet_model_config_t *out, const char *text)
{
    gpulet_error_t err = {""};
    char *copy = exact_copy(text, strlen(text));
    if (gpulet_pbtxt_parse(out, copy, strlen(text), "f", &err) != GPULET_OK)
        fail_msg("%s", err.text);
    free(copy);
}

/* What is shown of the configuration. Caller deinits. */
static gpulet_buf_t shown(const char *text)
{
    gpulet_model_config_t c;
    gpulet_buf_t json = GPULET_BUF_INIT;
    read_text(&c, text);
    assert_int_equal(gpulet_oip_config_write(&json, &c), GPULET_OK);
    gpulet_model_config_deinit(&c);
    json_t *root =
        json_loadb(json.data, json.size, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);
    if (root == NULL)
        fail_msg("no JSON: %s", json.data);
    json_decref(root);
    return json;
}

static void assert_shown(const char *text, const char *part)
{
    gpulet_buf_t json = shown(text);
    ASSERT_CONTAINS(json.data, part);
    gpulet_buf_deinit(&json);
}

static void assert_told(const char *text, const char *fields, bool grave)
{
    gpulet_model_config_t c;
    gpulet_buf_t out = GPULET_BUF_INIT;
    bool found = !grave;
    read_text(&c, text);
    assert_int_equal(gpulet_pbtxt_without_effect(&out, &found, &c), GPULET_OK);
    assert_string_equal(out.data != NULL ? out.data : "", fields);
    if (found != grave)
        fail_msg("%s: %s", text, found ? "grave" : "not grave");
    gpulet_model_config_deinit(&c);
    gpulet_buf_deinit(&out);
}

static void shows_every_kind_of_value(void **state)
{
    static const struct {
        const char *text;
        const char *part;
    } cases[] = {
        {"runtime: \"a\" '\"\\n\xc3\xa9'", "\"runtime\":\"a\\\"\\n\xc3\xa9\""},
        {"instance_group { count: -0x10 kind: KIND_GPU passive: t name: \"g\" }",
         "\"instance_group\":[{\"count\":-16,\"kind\":\"KIND_GPU\",\"passive\":true,\"name\":\"g\"}"
         "]"},
        {"instance_group { kind: 2 passive: 0 }", "[{\"kind\":\"KIND_CPU\",\"passive\":false}]"},
        {"sequence_batching { max_sequence_idle_microseconds: 18446744073709551615 }",
         "\"sequence_batching\":{\"max_sequence_idle_microseconds\":18446744073709551615}"},
        {"model_warmup { inputs { key: \"x\" value { dims: 3 dims: [ 224, 9223372036854775807 ] "
         "random_data: true } } batch_size: 2 } model_warmup { count: 1 }",
         "\"model_warmup\":[{\"inputs\":{\"x\":{\"dims\":[3,224,9223372036854775807],\"random_"
         "data\":"
         "true}},\"batch_size\":2},{\"count\":1}]"},
        {"sequence_batching { state { initial_state { dims: -9223372036854775808 } } }",
         "\"initial_state\":[{\"dims\":[-9223372036854775808]}]"},
        {"optimization { cuda { graphs: true } gather_kernel_buffer_threshold: 4294967295 }",
         "\"optimization\":{\"cuda\":{\"graphs\":true},\"gather_kernel_buffer_threshold\":"
         "4294967295}"},
        {"response_cache < >", "\"response_cache\":{}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_shown(cases[i].text, cases[i].part);
}

static void shows_floats_as_they_were_written(void **state)
{
    (void)state;
    assert_shown(
        "model_metrics { metric_control { histogram_options { buckets: [ 0.1, .5, 5., 1e3, "
        "2f, -0.25, 0.10000000149011612, inf, -infinity, nan, 1e39 ] } } }",
        "\"model_metrics\":{\"metric_control\":[{\"histogram_options\":{\"buckets\":[0.1,0.5,"
        "5.0,1e3,2,-0.25,0.10000000149011612,null,null,null,null]}}]}");
}

static void gathers_what_is_repeated_piecemeal(void **state)
{
    (void)state;
    assert_shown(
        "instance_group { count: 1 gpus: 0 name: \"a\" gpus: [ 1, 2 ] gpus: [ ] }\n"
        "max_batch_size: 4 instance_group [ { count: 2 }, { } ]",
        "\"instance_group\":[{\"count\":1,\"gpus\":[0,1,2],\"name\":\"a\"},{\"count\":2},{}]");
}

static void shows_maps_as_objects(void **state)
{
    (void)state;
    assert_shown(
        "metric_tags { key: \"a\" value: \"1\" } metric_tags [ { value: \"2\" key: \"b\" }, "
        "{ key: \"a\" value: \"3\" }, { } ]",
        "\"metric_tags\":{\"a\":\"3\",\"b\":\"2\",\"\":\"\"}");
    assert_shown(
        "dynamic_batching { priority_levels: 2 priority_queue_policy [ { key: 1 value { "
        "timeout_action: DELAY max_queue_size: 7 } }, { value { } }, { key: 2 } ] }",
        "\"priority_queue_policy\":{\"1\":{\"timeout_action\":\"DELAY\",\"max_queue_size\":7},"
        "\"0\":{},\"2\":{}}");
}

static void a_map_has_a_limit(void **state)
{
    gpulet_buf_t text = GPULET_BUF_INIT;
    gpulet_model_config_t c;
    gpulet_error_t err = {""};
    (void)state;
    for (int i = 0; i < GPULET_KEPT_ENTRIES_MAX; i++)
        gpulet_buf_printf(&text, "metric_tags { key: \"%d\" }\n", i);
    gpulet_buf_append_str(&text, "metric_tags { key: \"7\" }\n");
    gpulet_buf_t json = shown(text.data);
    ASSERT_CONTAINS(json.data, "\"4095\":\"\"}");
    gpulet_buf_deinit(&json);
    gpulet_buf_append_str(&text, "metric_tags { key: \"more\" }\n");
    assert_int_equal(gpulet_pbtxt_parse(&c, text.data, text.size, "f", &err), GPULET_E_INVALID);
    assert_string_equal(err.text, "f:4098:13: metric_tags: more than 4096 entries");
    gpulet_buf_deinit(&text);
}

static void shows_what_batching_inputs_and_outputs_say(void **state)
{
    static const char text[] =
        "dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 "
        "preserve_ordering: true priority_levels: 1 default_queue_policy { timeout_action: DELAY "
        "allow_timeout_override: false } }\n"
        "input [ { name: \"a\" }, { name: \"b\" format: FORMAT_NCHW allow_ragged_batch: true } ]\n"
        "output [ { name: \"y\" is_shape_tensor: true } ]";
    static const char *const parts[] = {
        "\"dynamic_batching\":{\"priority_levels\":1,\"default_priority_level\":0,"
        "\"default_queue_policy\":{\"timeout_action\":\"DELAY\",\"default_timeout_microseconds\":0,"
        "\"max_queue_size\":0,\"allow_timeout_override\":false},\"preferred_batch_size\":[4,8],"
        "\"max_queue_delay_microseconds\":100,\"preserve_ordering\":true,"
        "\"priority_queue_policy\":{}}",
        "{\"name\":\"a\",\"data_type\":\"TYPE_INVALID\",\"dims\":[],\"optional\":false,\"format\":"
        "\"FORMAT_NONE\",\"is_shape_tensor\":false,\"allow_ragged_batch\":false,"
        "\"is_non_linear_format_io\":false},{\"name\":\"b\"",
        "\"format\":\"FORMAT_NCHW\",\"is_shape_tensor\":false,\"allow_ragged_batch\":true",
        "\"label_filename\":\"\",\"is_shape_tensor\":true,\"is_non_linear_format_io\":false}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        assert_shown(text, parts[i]);
}

static void what_is_not_given_is_shown_as_it_is(void **state)
{
    static const char *const given[] = {"", "model_transaction_policy { } instance_group [ ]"};
    static const char *const parts[] = {
        "\"runtime\":\"\"",          "\"batch_input\":[]",
        "\"batch_output\":[]",       "\"instance_group\":[]",
        "\"cc_model_filenames\":{}", "\"metric_tags\":{}",
        "\"model_warmup\":[]",       "\"model_transaction_policy\":{\"decoupled\":false}"};
    (void)state;
    for (size_t g = 0; g < sizeof(given) / sizeof(given[0]); g++) {
        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
            assert_shown(given[g], parts[i]);
        gpulet_buf_t json = shown(given[g]);
        assert_null(strstr(json.data, "optimization"));
        assert_null(strstr(json.data, "response_cache"));
        gpulet_buf_deinit(&json);
    }
    assert_shown("dynamic_batching { }",
                 "\"timeout_action\":\"REJECT\",\"default_timeout_microseconds\":0,\"max_queue_"
                 "size\":0,\"allow_timeout_override\":true},\"preferred_batch_size\":[],"
                 "\"max_queue_delay_microseconds\":0,\"preserve_ordering\":false,");
}

#define ENSEMBLE                                                                                   \
    "platform: 'ensemble' input { name: 'i' data_type: TYPE_FP32 dims: 4 } output { name: 'o' "    \
    "data_type: TYPE_FP32 dims: 4 } ensemble_scheduling { max_inflight_requests: 7 step [ { "      \
    "model_name: 'a' model_namespace: 'n' input_map { key: 'x' value: 'i' } output_map { key: "    \
    "'y' value: 't' } }, { model_name: 'b' input_map { key: 'x' value: 't' } output_map { key: "   \
    "'y' value: 'o' } } ] }"

static void shows_what_an_ensemble_says(void **state)
{
    (void)state;
    assert_shown(ENSEMBLE,
                 "\"output_map\":{\"y\":\"t\"},\"model_namespace\":\"n\"},{\"model_name\":"
                 "\"b\"");
    assert_shown(ENSEMBLE, "\"model_namespace\":\"\"}],\"max_inflight_requests\":7}");
    assert_told(ENSEMBLE,
                "ensemble_scheduling.max_inflight_requests,"
                "ensemble_scheduling.step.model_namespace",
                false);
}

static void tells_of_what_has_no_effect(void **state)
{
    static const struct {
        const char *text;
        const char *fields;
        bool grave;
    } cases[] = {
        {"name: \"m\" max_batch_size: 4 parameters { key: \"a\" } dynamic_batching { "
         "default_queue_policy { timeout_action: DELAY max_queue_size: 3 } }",
         "", false},
        {"instance_group { count: 2 } optimization { } response_cache { enable: true } "
         "instance_group { }",
         "instance_group,optimization,response_cache", false},
        {"dynamic_batching { max_queue_delay_microseconds: 100 preferred_batch_size: 4 "
         "default_queue_policy { allow_timeout_override: false } }",
         "dynamic_batching.max_queue_delay_microseconds,dynamic_batching.preferred_batch_size,"
         "dynamic_batching.default_queue_policy.allow_timeout_override",
         false},
        {"input [ { name: \"a\" format: FORMAT_NCHW }, { name: \"b\" format: FORMAT_NHWC } ] "
         "output { "
         "name: \"y\" is_shape_tensor: true }",
         "input.format,output.is_shape_tensor", false},
        {"sequence_batching { }", "sequence_batching", true},
        {"batch_input { }", "batch_input", true},
        {"batch_output { } metric_tags { }", "batch_output,metric_tags", true},
        {"model_transaction_policy { decoupled: true }", "model_transaction_policy", true},
        {"input { name: \"a\" allow_ragged_batch: true }", "input.allow_ragged_batch", true},
        {"input { name: \"a\" is_shape_tensor: true }", "input.is_shape_tensor", true},
        /* What says no more than what holds anyway is no news. */
        {"model_transaction_policy { decoupled: false } runtime: \"\" input { name: \"a\" "
         "allow_ragged_batch: false is_shape_tensor: false format: FORMAT_NONE } dynamic_batching "
         "{ "
         "preserve_ordering: false max_queue_delay_microseconds: 0 default_queue_policy { "
         "allow_timeout_override: true } }",
         "", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_told(cases[i].text, cases[i].fields, cases[i].grave);
}

#define PARAMETER(key, value)                                                                      \
    " parameters { key: \"" key "\" value { string_value: \"" value "\" } } "
#define DELAY        "dynamic_batching { default_queue_policy { timeout_action: DELAY } }"
#define LEVEL(level) "dynamic_batching { priority_levels: 5 default_priority_level: " level " }"

static void batching_says_what_no_parameter_says(void **state)
{
    static const struct {
        const char *text;
        uint32_t priority;
        bool late_serve;
    } cases[] = {
        {LEVEL("0"), 0, false},
        {LEVEL("1"), 0, false},
        {LEVEL("5"), 4, false},
        {LEVEL("5") PARAMETER("priority", "2"), 2, false},
        {PARAMETER("priority", "0") LEVEL("5"), 0, false},
        {DELAY, 0, true},
        {"dynamic_batching { default_queue_policy { timeout_action: REJECT } }", 0, false},
        {DELAY PARAMETER("late", "drop"), 0, false},
        {PARAMETER("late", "drop") DELAY, 0, false},
        {PARAMETER("late", "serve"), 0, true},
        {"dynamic_batching { default_queue_policy { timeout_action: REJECT } }" PARAMETER("late",
                                                                                          "serve"),
         0, true},
        {"dynamic_batching { priority_levels: 1 priority_queue_policy { key: 1 value { "
         "timeout_action: DELAY } } }",
         0, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_model_config_t c;
        read_text(&c, cases[i].text);
        if (c.priority != cases[i].priority || c.late_serve != cases[i].late_serve)
            fail_msg("%s: priority %u, late_serve %d", cases[i].text, c.priority, c.late_serve);
        gpulet_model_config_deinit(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_every_kind_of_value),
        cmocka_unit_test(shows_floats_as_they_were_written),
        cmocka_unit_test(gathers_what_is_repeated_piecemeal),
        cmocka_unit_test(shows_maps_as_objects),
        cmocka_unit_test(a_map_has_a_limit),
        cmocka_unit_test(shows_what_batching_inputs_and_outputs_say),
        cmocka_unit_test(what_is_not_given_is_shown_as_it_is),
        cmocka_unit_test(shows_what_an_ensemble_says),
        cmocka_unit_test(tells_of_what_has_no_effect),
        cmocka_unit_test(batching_says_what_no_parameter_says),
    };
    return cmocka_run_group_tests_name("proto.pbtxt_unused", tests, NULL, NULL);
}
