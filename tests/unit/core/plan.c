#include "core/plan.h"

#include <math.h>
#include <stdlib.h>

#include "check.h"

/* The example of the format's description. */
static const char example[] =
    "{\"planner\": \"optimal\", \"feasible\": true, \"devices_used\": 7, \"lower_bound\": 7, "
    "\"proved_optimal\": true,\n"
    " \"elapsed_ms\": 41.0,\n"
    " \"models\": [{\"model\": \"resnet50\", \"rate_rps\": 829.0, \"slo_ms\": 204.5, "
    "\"capacity_rps\": "
    "861.2}],\n"
    " \"devices\": [{\"type\": \"a100-mig\", \"index\": 0, \"gpulets\": [\n"
    "   {\"units\": 3, \"slot\": 4, \"duty_ms\": 74.3150, \"models\": [\n"
    "     {\"model\": \"resnet50\", \"batch\": 32, \"instances\": 2, \"rate_rps\": 829.0, "
    "\"capacity_rps\": 861.2,\n"
    "      \"latency_ms\": 74.3150, \"interference\": 1.0, \"worst_ms\": 148.6300}]}]}],\n"
    " \"reason\": null}\n";

static gpulet_status_t parse(gpulet_plan_t **out, const char *text, gpulet_error_t *err)
{
    return gpulet_plan_parse_json(out, text, strlen(text), "p.json", err);
}

static char *formatted(const gpulet_plan_t *plan)
{
    gpulet_buf_t buf = GPULET_BUF_INIT;
    assert_int_equal(gpulet_plan_format_json(&buf, plan), GPULET_OK);
    return gpulet_buf_release(&buf);
}

/* Two devices, three gpu-lets, figures of every kind. */
static gpulet_plan_t *sample(void)
{
    gpulet_plan_t *plan = NULL;
    assert_int_equal(gpulet_plan_create(&plan), GPULET_OK);
    (void)snprintf(plan->planner, sizeof(plan->planner), "elastic");
    plan->devices_used = 2;
    plan->cost = 3.5;
    plan->lower_bound = 2.25;
    plan->lower_bound_devices = 2;
    plan->elapsed_ms = 0.125;
    (void)snprintf(plan->reason, sizeof(plan->reason), "m\"1\" lacks\n1/3");
    for (uint32_t d = 0; d < 2; d++) {
        gpulet_plan_device_t *device = gpulet_plan_add_device(plan);
        (void)snprintf(device->type, sizeof(device->type), "größe");
        device->index = d;
        for (uint32_t g = 0; g <= d; g++) {
            gpulet_plan_gpulet_t *gpulet = gpulet_plan_add_gpulet(device);
            gpulet->units = 1 + g;
            gpulet->slot = d == 0 ? -1 : (int32_t)g;
            gpulet->duty_ms = 10.0 / 3;
            gpulet_plan_share_t *share = gpulet_plan_add_share(gpulet);
            *share = (gpulet_plan_share_t){"m\"1\"", 4, 1, 1e-9, 1e15, 74.315, 1, 829};
        }
    }
    gpulet_plan_model_t *model = gpulet_plan_add_model(plan);
    *model = (gpulet_plan_model_t){"m\"1\"", 0, 0.1, 12345678.5};
    return plan;
}

static void the_described_document_is_read(void **state)
{
    (void)state;
    gpulet_error_t err = {""};
    gpulet_plan_t *plan = NULL;
    if (parse(&plan, example, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    assert_string_equal(plan->planner, "optimal");
    assert_true(plan->feasible && plan->proved_optimal);
    assert_int_equal(plan->devices_used, 7);
    assert_true(plan->lower_bound == 7 && isnan(plan->cost) && isnan(plan->lower_bound_devices));
    assert_true(plan->elapsed_ms == 41);
    assert_int_equal(plan->models_count, 1);
    assert_true(plan->models[0].slo_ms == 204.5);
    assert_int_equal(plan->devices_count, 1);
    assert_string_equal(plan->devices[0].type, "a100-mig");
    const gpulet_plan_gpulet_t *gpulet = &plan->devices[0].gpulets[0];
    assert_int_equal(gpulet->units, 3);
    assert_int_equal(gpulet->slot, 4);
    assert_true(gpulet->duty_ms == 74.315);
    assert_int_equal(gpulet->shares[0].batch, 32);
    assert_int_equal(gpulet->shares[0].instances, 2);
    assert_true(gpulet->shares[0].worst_ms == 148.63);
    assert_string_equal(plan->reason, "");
    char *text = formatted(plan);
    assert_non_null(strstr(text, "\"duty_ms\": 74.3150,"));
    assert_non_null(strstr(text, "\"worst_ms\": 148.6300}"));
    assert_non_null(strstr(text, "\"rate_rps\": 829.0,"));
    assert_non_null(strstr(text, "\"lower_bound\": 7,"));
    assert_non_null(strstr(text, "\"reason\": null}\n"));
    assert_null(strstr(text, "cost"));
    free(text);
    gpulet_plan_destroy(plan);
    gpulet_plan_destroy(NULL);
}

static void what_is_written_reads_back_the_same(void **state)
{
    (void)state;
    gpulet_error_t err = {""};
    gpulet_plan_t *plan = sample();
    gpulet_plan_t *again = NULL;
    char *first = formatted(plan);
    if (parse(&again, first, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    char *second = formatted(again);
    assert_string_equal(first, second);
    assert_true(again->devices[1].gpulets[1].duty_ms == 10.0 / 3);
    assert_int_equal(again->devices[0].gpulets[0].slot, -1);
    assert_string_equal(again->reason, plan->reason);
    free(first);
    free(second);
    gpulet_plan_destroy(plan);
    gpulet_plan_destroy(again);
}

static void a_clone_shares_nothing(void **state)
{
    (void)state;
    gpulet_plan_t *plan = sample();
    gpulet_plan_t *copy = NULL;
    char *first = formatted(plan);
    assert_int_equal(gpulet_plan_clone(&copy, plan), GPULET_OK);
    memset(plan->devices[1].gpulets[1].shares, 0, sizeof(gpulet_plan_share_t));
    plan->models[0].rate_rps = 99;
    gpulet_plan_destroy(plan);
    char *second = formatted(copy);
    assert_string_equal(first, second);
    free(first);
    free(second);
    gpulet_plan_destroy(copy);
}

static void added_elements_are_zeroed(void **state)
{
    (void)state;
    gpulet_plan_t *plan = NULL;
    assert_int_equal(gpulet_plan_create(&plan), GPULET_OK);
    assert_true(isnan(plan->cost) && isnan(plan->lower_bound));
    for (size_t i = 0; i < 100; i++) {
        gpulet_plan_model_t *model = gpulet_plan_add_model(plan);
        assert_int_equal(model->model[0], 0);
        assert_true(model->rate_rps == 0);
        memset(model, 0x55, sizeof(*model));
    }
    assert_int_equal(plan->models_count, 100);
    gpulet_plan_destroy(plan);
}

static void an_unknown_bound_is_null(void **state)
{
    (void)state;
    gpulet_plan_t *plan = NULL;
    gpulet_plan_t *again = NULL;
    assert_int_equal(gpulet_plan_create(&plan), GPULET_OK);
    (void)snprintf(plan->planner, sizeof(plan->planner), "even");
    char *text = formatted(plan);
    assert_non_null(strstr(text, "\"lower_bound\": null"));
    assert_int_equal(parse(&again, text, NULL), GPULET_OK);
    assert_true(isnan(again->lower_bound));
    assert_int_equal(again->devices_count, 0);
    free(text);
    gpulet_plan_destroy(plan);
    gpulet_plan_destroy(again);
}

static void a_figure_that_is_no_number_is_not_written(void **state)
{
    (void)state;
    gpulet_plan_t *plan = sample();
    gpulet_buf_t buf = GPULET_BUF_INIT;
    plan->devices[0].gpulets[0].duty_ms = NAN;
    gpulet_buf_append_str(&buf, "before");
    assert_int_equal(gpulet_plan_format_json(&buf, plan), GPULET_E_INVALID);
    assert_string_equal(buf.data, "before");
    gpulet_buf_deinit(&buf);
    gpulet_plan_destroy(plan);
}

static void a_reason_cut_inside_a_character_is_still_json(void **state)
{
    (void)state;
    gpulet_plan_t *plan = sample();
    gpulet_plan_t *again = NULL;
    gpulet_error_t err = {""};
    (void)snprintf(plan->reason, sizeof(plan->reason), "cut \xe2\x82");
    char *text = formatted(plan);
    if (parse(&again, text, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    free(text);
    gpulet_plan_destroy(plan);
    gpulet_plan_destroy(again);
}

/* A piece of the example, what stands there instead, and a part of the error. */
typedef struct edit {
    const char *from;
    const char *to;
    const char *error;
} edit_t;

static void a_missing_or_wrong_field_is_named_by_its_path(void **state)
{
    (void)state;
    static const edit_t edits[] = {
        {"\"planner\": \"optimal\", ", "", "p.json: planner: expected a name, found nothing"},
        {"\"optimal\"", "7", "planner: expected a name, found 7"},
        {"\"optimal\"", "\"\"", "planner: expected a name, found nothing"},
        {"\"feasible\": true, ", "", "feasible: expected true or false, found nothing"},
        {"\"feasible\": true", "\"feasible\": \"yes\"",
         "feasible: expected true or false, found 'yes'"},
        {"\"devices_used\": 7, ", "", "devices_used: expected a whole number from 0"},
        {"\"devices_used\": 7", "\"devices_used\": -7", "devices_used: expected a whole number"},
        {"\"lower_bound\": 7, ", "", "lower_bound: expected a number of at least 0, found nothing"},
        {"\"lower_bound\": 7", "\"lower_bound\": \"x\"", "lower_bound: expected"},
        {"\"lower_bound\": 7", "\"lower_bound\": 7, \"cost\": []", "cost: expected"},
        {"\"lower_bound\": 7", "\"lower_bound\": 7, \"lower_bound\": 7",
         "p.json:1: expected a JSON object"},
        {"\"proved_optimal\": true,", "", "proved_optimal: expected true or false, found nothing"},
        {"\"elapsed_ms\": 41.0,", "", "elapsed_ms: expected"},
        {"\"elapsed_ms\": 41.0", "\"elapsed_ms\": -1",
         "elapsed_ms: expected a number of at least 0, found -1"},
        {"\"models\": [{\"model\": \"resnet50\"", "\"models\": [{\"model\": 5",
         "p.json: models[0].model: expected a name"},
        {"\"slo_ms\": 204.5, ", "", "models[0].slo_ms: expected"},
        {"\"type\": \"a100-mig\", ", "", "p.json: devices[0].type: expected a name, found nothing"},
        {"\"a100-mig\"", "\"a\\u0001\"",
         "devices[0].type: expected a name without control characters"},
        {"\"index\": 0", "\"index\": 0.5", "devices[0].index: expected a whole number"},
        {"\"gpulets\": [", "\"pieces\": [", "devices[0].gpulets: expected an array, found nothing"},
        {"\"gpulets\": [", "\"gpulets\": [3, ",
         "devices[0].gpulets[0]: expected an object, found 3"},
        {"\"units\": 3", "\"units\": 0",
         "p.json: devices[0].gpulets[0].units: expected a whole number from 1 to 1000000, found 0"},
        {"\"slot\": 4", "\"slot\": 64",
         "devices[0].gpulets[0].slot: expected a slot of the device or null"},
        {"\"slot\": 4", "\"slot\": -2", "slot: expected a slot of the device or null, found -2"},
        {"\"duty_ms\": 74.3150, ", "", "devices[0].gpulets[0].duty_ms: expected"},
        {"\"batch\": 32", "\"batch\": 0",
         "devices[0].gpulets[0].models[0].batch: expected a whole number from 1 to 4096, found 0"},
        {"\"batch\": 32", "\"batch\": 32.0", "batch: expected a whole number"},
        {"\"instances\": 2, ", "", "models[0].instances: expected"},
        {"\"latency_ms\": 74.3150, ", "", "models[0].latency_ms: expected"},
        {"\"interference\": 1.0, ", "", "models[0].interference: expected"},
        {"\"worst_ms\": 148.6300", "\"worst_ms\": null",
         "models[0].worst_ms: expected a number of at least 0, found null"},
        {",\n \"reason\": null", "", "reason: expected null or a short text, found nothing"},
        {"\"reason\": null", "\"reason\": 7", "reason: expected null or a short text, found 7"},
        {"]}],\n", "]},\n", "p.json:"},
    };
    for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
        gpulet_buf_t buf = GPULET_BUF_INIT;
        gpulet_error_t err = {""};
        gpulet_plan_t *plan = NULL;
        const char *at = strstr(example, edits[i].from);
        if (at == NULL)
            fail_msg("the example has no %s", edits[i].from);
        gpulet_buf_append(&buf, example, (size_t)(at - example));
        gpulet_buf_append_str(&buf, edits[i].to);
        gpulet_buf_append_str(&buf, at + strlen(edits[i].from));
        wrong_t wrong = {edits[i].from, edits[i].error};
        check_error(parse(&plan, buf.data, &err), &err, &wrong);
        assert_null(plan);
        gpulet_buf_deinit(&buf);
    }
}

static void what_is_no_object_is_refused(void **state)
{
    (void)state;
    static const wrong_t wrongs[] = {{"", "p.json:1: expected a JSON object"},
                                     {"[]", "p.json: file: expected an object, found an array"},
                                     {"{}", "p.json: planner: expected a name, found nothing"},
                                     {"{\n\n\"a\"}", "p.json:3: expected a JSON object, found"},
                                     {"{} {}", "p.json:1: expected a JSON object"}};
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        gpulet_error_t err = {""};
        gpulet_plan_t *plan = NULL;
        check_error(parse(&plan, wrongs[i].text, &err), &err, &wrongs[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_described_document_is_read),
        cmocka_unit_test(what_is_written_reads_back_the_same),
        cmocka_unit_test(a_clone_shares_nothing),
        cmocka_unit_test(added_elements_are_zeroed),
        cmocka_unit_test(an_unknown_bound_is_null),
        cmocka_unit_test(a_figure_that_is_no_number_is_not_written),
        cmocka_unit_test(a_reason_cut_inside_a_character_is_still_json),
        cmocka_unit_test(a_missing_or_wrong_field_is_named_by_its_path),
        cmocka_unit_test(what_is_no_object_is_refused),
    };
    return cmocka_run_group_tests_name("core.plan", tests, NULL, NULL);
}
