#include "proto/config_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/pbtxt.h"

/* Through both: the JSON to the text, the text to the configuration. */
static gpulet_status_t read_json(gpulet_model_config_t *out, const char *json, gpulet_error_t *err)
{
    gpulet_buf_t text = GPULET_BUF_INIT;
    gpulet_status_t st = gpulet_config_json_to_pbtxt(&text, json, strlen(json), err);
    if (st == GPULET_OK)
        st = gpulet_pbtxt_parse(out, text.data != NULL ? text.data : "", text.size, "given", err);
    gpulet_buf_deinit(&text);
    return st;
}

static void every_kind_of_field_arrives(void **state)
{
    gpulet_model_config_t c;
    gpulet_error_t err = {""};
    (void)state;
    gpulet_status_t st = read_json(
        &c,
        "{\"name\":\"m\",\"max_batch_size\":8,\"input\":[{\"name\":\"IN\",\"data_type\":\"TYPE_"
        "FP32\","
        "\"dims\":[\"-1\",4],\"optional\":true,\"reshape\":{\"shape\":[-1,2,2]}}],"
        "\"output\":[{\"name\":\"OUT\",\"data_type\":11,\"dims\":[4],\"label_filename\":\"l.txt\"}]"
        ","
        "\"version_policy\":{\"specific\":{\"versions\":[1,\"3\"]}},\"backend\":null,"
        "\"parameters\":{\"slo_ms\":{\"string_value\":\"50\"},\"a\":{\"string_value\":\"\"}},"
        "\"instance_group\":[{\"kind\":\"KIND_CPU\",\"count\":2}]}",
        &err);
    if (st != GPULET_OK)
        fail_msg("%s", err.text);
    assert_string_equal(c.name, "m");
    assert_int_equal(c.max_batch_size, 8);
    assert_int_equal(c.inputs_count, 1);
    assert_true(c.inputs[0].optional && c.inputs[0].reshape_given);
    assert_int_equal(c.inputs[0].dims.dims[0], -1);
    assert_int_equal(c.outputs[0].type, GPULET_DATATYPE_FP32);
    assert_string_equal(c.outputs[0].label_filename, "l.txt");
    assert_int_equal(c.versions_count, 2);
    assert_int_equal(c.versions[1], 3);
    assert_true(c.slo_ms == 50);
    assert_int_equal(c.parameters_count, 2);
    gpulet_model_config_deinit(&c);
}

static void names_may_be_written_as_protobuf_writes_json(void **state)
{
    gpulet_model_config_t c;
    gpulet_error_t err;
    (void)state;
    assert_int_equal(read_json(&c,
                               "{\"maxBatchSize\":3,\"dynamicBatching\":{\"priorityLevels"
                               "\":\"100\",\"defaultQueuePolicy\":{\"maxQueueSize\":9}}}",
                               &err),
                     GPULET_OK);
    assert_int_equal(c.max_batch_size, 3);
    assert_int_equal(c.priority_levels, 100);
    assert_int_equal(c.max_queue_size, 9);
    gpulet_model_config_deinit(&c);
}

static void texts_stay_inside_of_their_quotes(void **state)
{
    gpulet_model_config_t c;
    gpulet_error_t err = {""};
    (void)state;
    gpulet_status_t st = read_json(&c,
                                   "{\"parameters\":{\"a\\\"b\":{\"string_value\":\"\\\"}\\n\\u0001"
                                   "max_batch_size: 9\\\\\"}}}",
                                   &err);
    if (st != GPULET_OK)
        fail_msg("%s", err.text);
    assert_int_equal(c.max_batch_size, 0);
    assert_string_equal(c.parameters[0].key, "a\"b");
    assert_string_equal(c.parameters[0].value, "\"}\n\001max_batch_size: 9\\");
    gpulet_model_config_deinit(&c);
}

static void what_is_wrong_is_named(void **state)
{
    static const struct {
        const char *json, *says;
    } cases[] = {
        {"", "JSON object"},
        {"[]", "JSON object"},
        {"{\"a\":1,\"a\":2}", "JSON object"},
        {"{\"no_such\":1}", "no_such"},
        {"{\"input\":[{\"no_such\":1}]}", "ModelInput has no field 'no_such'"},
        {"{\"max_batch_size\":\"1 name: \\\"x\\\"\"}", "max_batch_size: expected a number"},
        {"{\"max_batch_size\":1.5}", "max_batch_size: expected a number"},
        {"{\"max_batch_size\":[1]}", "max_batch_size: expected a number"},
        {"{\"max_batch_size\":99999999999}", "max_batch_size"},
        {"{\"name\":1}", "name: expected a string"},
        {"{\"input\":{}}", "input: expected an array"},
        {"{\"input\":[1]}", "input: expected an object"},
        {"{\"input\":[{\"data_type\":\"TYPE FP32\"}]}", "data_type: expected a name"},
        {"{\"input\":[{\"optional\":1}]}", "optional: expected true or false"},
        {"{\"version_policy\":{\"all\":{},\"latest\":{}}}", "latest"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_model_config_t c;
        gpulet_error_t err = {""};
        gpulet_status_t st = read_json(&c, cases[i].json, &err);
        if (st == GPULET_OK || strstr(err.text, cases[i].says) == NULL)
            fail_msg("%s: status %d, \"%s\"", cases[i].json, (int)st, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_field_arrives),
        cmocka_unit_test(names_may_be_written_as_protobuf_writes_json),
        cmocka_unit_test(texts_stay_inside_of_their_quotes),
        cmocka_unit_test(what_is_wrong_is_named),
    };
    return cmocka_run_group_tests_name("proto.config_json", tests, NULL, NULL);
}
