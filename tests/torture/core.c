/* Parsers and writers of files, and the files themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "base/file.h"
#include "core/app.h"
#include "core/device_type.h"
#include "core/interference.h"
#include "core/plan.h"
#include "core/profile.h"
#include "core/workload.h"
#include "onnx_writer.h"
#include "proto/oip.h"
#include "proto/onnx_file.h"
#include "proto/pbtxt.h"
#include "torture.h"

enum { SIZE_MAX_READ = 1 << 20 };

/* What an output is before the call, and after a call that failed. */
static char untouched;
#define UNTOUCHED ((void *)&untouched)

static gpulet_status_t checked(gpulet_status_t st, const void *out)
{
    if (st != GPULET_OK && out != UNTOUCHED)
        fail_msg("the output was written though it failed");
    return st;
}

static const char profile_text[] =
    "device,model,units,batch,latency_ms,latency_ms_p99,memory_mb,l2_util,dram_util,note\n"
    "# a comment\n"
    "a,m,1,1,4,5,100,0.1,0.2,x\n"
    "a,m,1,4,8,9,120,0.1,0.2,\n"
    "a,m,3,1,2,3,100,0.1,0.2,\n"
    "a,m,3,4,4,5,120,0.1,0.2,\"quoted, and \"\"so\"\"\"\n"
    "a,n,1,1,1,2,10,0.1,0.2,\n"
    "a,n,3,1,1,2,10,0.1,0.2,\n";

static gpulet_status_t profile(void *context)
{
    gpulet_profile_t *out = UNTOUCHED;
    gpulet_buf_t text = GPULET_BUF_INIT;
    const uint32_t sizes[] = {1, 2, 3};
    gpulet_error_t err;
    (void)context;
    gpulet_status_t st =
        checked(gpulet_profile_parse(&out, profile_text, strlen(profile_text), "p.csv",
                                     GPULET_PROFILE_FORMAT_CSV, NULL, &err),
                out);
    if (st != GPULET_OK)
        return st;
    size_t before = gpulet_profile_curves_count(out);
    st = gpulet_profile_interpolate_units(out, "a", sizes, 3, &err);
    if (st == GPULET_OK)
        assert_int_equal(gpulet_profile_curves_count(out), before + 2);
    if (st == GPULET_OK)
        st = gpulet_profile_format_csv(&text, out);
    gpulet_profile_t *copy = UNTOUCHED;
    if (st == GPULET_OK)
        st = checked(gpulet_profile_clone(&copy, out), copy);
    if (copy != UNTOUCHED)
        gpulet_profile_destroy(copy);
    gpulet_buf_deinit(&text);
    gpulet_profile_destroy(out);
    return st;
}

static gpulet_status_t apps_of(const char *text, const char *file)
{
    gpulet_apps_t *out = UNTOUCHED;
    gpulet_buf_t again = GPULET_BUF_INIT;
    gpulet_error_t err;
    gpulet_status_t st = checked(gpulet_apps_parse(&out, text, strlen(text), file, &err), out);
    if (st != GPULET_OK)
        return st;
    st = gpulet_apps_format_yaml(&again, out);
    gpulet_buf_deinit(&again);
    gpulet_apps_destroy(out);
    return st;
}

static gpulet_status_t apps_yaml(void *context)
{
    (void)context;
    return apps_of("apps: {a: {slo_ms: 5, stages: {x: {model: m}, y: {model: m, after: [x]}}}, "
                   "b: {slo_ms: 5, stages: {x: {model: m}}}}\n",
                   "a.yaml");
}

static gpulet_status_t apps_csv(void *context)
{
    (void)context;
    return apps_of("app,slo_ms,stage,model,after\na,5,x,m,\na,,y,m,x\nb,5,x,m,\n", "a.csv");
}

/* The form with tensors. */
static gpulet_status_t app_tensors(void *context)
{
    gpulet_app_t *app = NULL;
    uint32_t stage = 0;
    (void)context;
    gpulet_status_t st = gpulet_app_create(&app, "a", NULL);
    if (st == GPULET_OK)
        st = gpulet_app_add_input(app, "i", NULL);
    if (st == GPULET_OK)
        st = gpulet_app_add_output(app, "o", NULL);
    if (st == GPULET_OK)
        st = gpulet_app_add_stage(app, &stage, NULL, "m", NULL);
    if (st == GPULET_OK)
        st = gpulet_app_map_input(app, stage, "x", "i", NULL);
    if (st == GPULET_OK)
        st = gpulet_app_map_output(app, stage, "y", "o", NULL);
    if (st == GPULET_OK)
        st = gpulet_app_finish(app, NULL);
    gpulet_app_destroy(app);
    return st;
}

static gpulet_status_t glet_profile(void *context)
{
    static const char text[] = "lenet,20,1,2.5\nlenet,20,2,3.5\nlenet,50,1,1.5\n";
    gpulet_profile_t *out = UNTOUCHED;
    gpulet_error_t err;
    (void)context;
    gpulet_status_t st = checked(gpulet_profile_parse(&out, text, strlen(text), "p",
                                                      GPULET_PROFILE_FORMAT_GLET, "gpu", &err),
                                 out);
    if (st == GPULET_OK)
        gpulet_profile_destroy(out);
    return st;
}

static gpulet_status_t workload(void *context)
{
    static const char text[] = "scenario,model,rate_rps,slo_ms,priority,weight\n"
                               "day,m,10,100,1,2\nday,n,5,50,0,1\nnight,m,1,100,0,1\n";
    gpulet_workload_t *out = UNTOUCHED;
    gpulet_buf_t csv = GPULET_BUF_INIT;
    gpulet_error_t err;
    (void)context;
    gpulet_status_t st =
        checked(gpulet_workload_parse(&out, text, strlen(text), "w.csv", "day", &err), out);
    if (st != GPULET_OK)
        return st;
    assert_int_equal(out->count, 2);
    st = gpulet_workload_format_csv(&csv, out);
    gpulet_buf_deinit(&csv);
    gpulet_workload_destroy(out);
    return st;
}

static gpulet_status_t devices(void *context)
{
    static const char text[] =
        "types:\n"
        "  mig:\n    units: 7\n    sizes: [1, 3]\n    gpulets_max: 7\n"
        "    memory_mb_by_size: {1: 9856, 3: 40192}\n"
        "    placement:\n      slots: 8\n      1: {length: 1, starts: [0, 1]}\n"
        "      3: {length: 4, starts: [0, 4]}\n    isolated: true\n"
        "  cpu: {units: 2, sizes: [1, 2], cost: 2.5}\ndevices: {mig: 8}\n";
    gpulet_device_set_t *out = UNTOUCHED;
    gpulet_error_t err;
    (void)context;
    gpulet_status_t st =
        checked(gpulet_device_set_parse(&out, text, strlen(text), "d.yaml", &err), out);
    if (st != GPULET_OK)
        return st;
    st = gpulet_device_set_override_counts(out, "mig=2,cpu=1", &err);
    gpulet_device_set_destroy(out);
    return st;
}

static gpulet_status_t simple_devices(void *context)
{
    gpulet_device_set_t *out = UNTOUCHED;
    (void)context;
    gpulet_status_t st = checked(gpulet_device_set_create_simple(&out, "cpu", 4, 1000, 1), out);
    if (st == GPULET_OK)
        gpulet_device_set_destroy(out);
    return st;
}

static const char plan_text[] =
    "{\"planner\":\"elastic\",\"feasible\":true,\"devices_used\":1,\"lower_bound\":null,"
    "\"proved_optimal\":false,\"elapsed_ms\":0,\"reason\":null,"
    "\"models\":[{\"model\":\"m\",\"rate_rps\":1,\"slo_ms\":9,\"capacity_rps\":2}],"
    "\"devices\":[{\"type\":\"fake\",\"index\":0,\"gpulets\":[{\"units\":10,\"duty_ms\":1,"
    "\"models\":[{\"model\":\"m\",\"batch\":1,\"instances\":1,\"rate_rps\":1,"
    "\"capacity_rps\":1,\"latency_ms\":1,\"interference\":1,\"worst_ms\":1}]}]}]}";

static gpulet_status_t plan(void *context)
{
    gpulet_plan_t *out = UNTOUCHED;
    gpulet_plan_t *copy = UNTOUCHED;
    gpulet_buf_t json = GPULET_BUF_INIT;
    gpulet_error_t err;
    (void)context;
    gpulet_status_t st =
        checked(gpulet_plan_parse_json(&out, plan_text, strlen(plan_text), "p.json", &err), out);
    if (st != GPULET_OK)
        return st;
    st = checked(gpulet_plan_clone(&copy, out), copy);
    gpulet_plan_destroy(out);
    if (st != GPULET_OK)
        return st;
    st = gpulet_plan_format_json(&json, copy);
    gpulet_buf_deinit(&json);
    gpulet_plan_destroy(copy);
    return st;
}

static gpulet_status_t interference(void *context)
{
    static const char text[] = "device,l2_self,l2_other,dram_self,dram_other,constant\n"
                               "a,0.1,0.2,0.3,0.4,1\nb,0.1,0.2,0.3,0.4,1\n";
    gpulet_interference_t *out = UNTOUCHED;
    gpulet_buf_t csv = GPULET_BUF_INIT;
    gpulet_error_t err;
    (void)context;
    gpulet_status_t st =
        checked(gpulet_interference_parse(&out, text, strlen(text), "i.csv", &err), out);
    if (st != GPULET_OK)
        return st;
    st = gpulet_interference_format_csv(&csv, out);
    gpulet_buf_deinit(&csv);
    gpulet_interference_destroy(out);
    return st;
}

static gpulet_status_t pbtxt_ensemble(void *context)
{
    static const char text[] =
        "platform: 'ensemble' input { name: 'i' data_type: TYPE_FP32 dims: 4 } output { name: 'o' "
        "data_type: TYPE_FP32 dims: 4 } ensemble_scheduling { step [ { model_name: 'a' input_map { "
        "key: 'x' value: 'i' } output_map { key: 'y' value: 't' } }, { model_name: 'b' input_map { "
        "key: 'x' value: 't' } output_map { key: 'y' value: 'o' } } ] }";
    gpulet_model_config_t out;
    gpulet_buf_t json = GPULET_BUF_INIT;
    gpulet_error_t err;
    (void)context;
    gpulet_status_t st = gpulet_pbtxt_parse(&out, text, strlen(text), "config.pbtxt", &err);
    if (st != GPULET_OK)
        return st;
    st = gpulet_oip_config_write(&json, &out);
    gpulet_buf_deinit(&json);
    gpulet_model_config_deinit(&out);
    return st;
}

static gpulet_status_t pbtxt(void *context)
{
    static const char text[] =
        "name: \"m\" platform: \"onnxruntime_onnx\" max_batch_size: 8\n"
        "input [ { name: \"IN\" data_type: TYPE_FP32 dims: [ 3, 4 ] reshape { shape: [ 12 ] } } ]\n"
        "output [ { name: \"OUT\" data_type: TYPE_FP32 dims: [ 4 ] label_filename: \"l.txt\" } ]\n"
        "version_policy { specific { versions: [ 1, 3 ] } }\n"
        "dynamic_batching { max_queue_delay_microseconds: 5 }\n"
        "parameters { key: \"slo_ms\" value { string_value: \"50\" } }\n"
        "parameters [ { key: \"other\" value { string_value: \"x\" } } ]\n"
        "instance_group [ { count: 2 }, { count: 1 gpus: [ 0, 1 ] } ] response_cache { }\n"
        "metric_tags { key: \"a\" value: \"1\" } metric_tags { key: \"a\" value: \"2\" }\n"
        "model_metrics { metric_control { histogram_options { buckets: [ .5, inf ] } } }\n";
    static gpulet_model_config_t blank;
    gpulet_model_config_t out = blank;
    gpulet_buf_t json = GPULET_BUF_INIT;
    gpulet_buf_t fields = GPULET_BUF_INIT;
    bool grave = false;
    gpulet_error_t err;
    (void)context;
    gpulet_status_t st = gpulet_pbtxt_parse(&out, text, strlen(text), "config.pbtxt", &err);
    if (st != GPULET_OK) {
        assert_memory_equal(&out, &blank, sizeof(out));
        return st;
    }
    st = gpulet_oip_config_write(&json, &out);
    if (st == GPULET_OK)
        assert_non_null(strstr(json.data,
                               "\"instance_group\":[{\"count\":2},{\"count\":1,\"gpus\":[0,1]}"
                               "],\"cc_model_filenames\":{},\"metric_tags\":{\"a\":\"2\"}"));
    if (st == GPULET_OK)
        st = gpulet_pbtxt_without_effect(&fields, &grave, &out);
    if (st == GPULET_OK)
        assert_string_equal(fields.data,
                            "dynamic_batching.max_queue_delay_microseconds,instance_group,"
                            "response_cache,metric_tags,model_metrics");
    gpulet_buf_deinit(&json);
    gpulet_buf_deinit(&fields);
    gpulet_model_config_deinit(&out);
    return st;
}

static gpulet_status_t onnx(void *context)
{
    static gpulet_onnx_info_t blank;
    const gpulet_buf_t *file = context;
    gpulet_onnx_info_t out = blank;
    gpulet_model_config_t config = {0};
    gpulet_error_t err;
    gpulet_status_t st = gpulet_onnx_read(&out, file->data, file->size, &err);
    if (st != GPULET_OK) {
        assert_memory_equal(&out, &blank, sizeof(out));
        return st;
    }
    st = gpulet_model_config_complete(&config, &out.io, 8, &err);
    gpulet_model_config_deinit(&config);
    gpulet_model_io_deinit(&out.io);
    return st;
}

static gpulet_status_t oip_request(void *context)
{
    static const char text[] =
        "{\"id\":\"a\",\"parameters\":{\"priority\":1,\"timeout\":1000,\"custom\":\"x\"},"
        "\"inputs\":[{\"name\":\"IN\",\"datatype\":\"FP32\",\"shape\":[2,2],\"data\":[[1,2],[3,4]]}"
        ","
        "{\"name\":\"S\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"t\\u00e9xt\"]}],"
        "\"outputs\":[{\"name\":\"OUT\",\"parameters\":{\"binary_data\":true}}]}";
    const gpulet_oip_limits_t limits = {32, 64};
    gpulet_oip_request_t out;
    gpulet_error_t err;
    (void)context;
    gpulet_status_t st = gpulet_oip_request_parse(&out, text, strlen(text), &limits, &err);
    if (st == GPULET_OK)
        gpulet_oip_request_deinit(&out);
    return st;
}

/* The old file stays whole when a new one cannot be written, and nothing is left beside it. */
static gpulet_status_t file(void *context)
{
    static const char old[] = "old", new[] = "new text";
    const char *path = context;
    gpulet_error_t err;
    char *text = UNTOUCHED;
    size_t size = 0;
    torture_pause();
    assert_int_equal(gpulet_file_write(path, old, strlen(old), &err), GPULET_OK);
    torture_resume();
    gpulet_status_t st = gpulet_file_write(path, new, strlen(new), &err);
    bool written = st == GPULET_OK;
    torture_pause();
    assert_int_equal(gpulet_file_read(&text, &size, path, SIZE_MAX_READ, &err), GPULET_OK);
    assert_string_equal(text, written ? new : old);
    free(text);
    torture_resume();
    if (!written)
        return st;
    text = UNTOUCHED;
    st = checked(gpulet_file_read(&text, &size, path, SIZE_MAX_READ, &err), text);
    if (st == GPULET_OK)
        free(text);
    return st;
}

static void parsers_of_planning_files(void **state)
{
    (void)state;
    torture_run("profile", profile, NULL, TORTURE_MEMORY, 10);
    torture_run("prototype's profile", glet_profile, NULL, TORTURE_MEMORY, 5);
    torture_run("workload", workload, NULL, TORTURE_MEMORY, 4);
    torture_run("devices", devices, NULL, TORTURE_MEMORY, 5);
    torture_run("simple devices", simple_devices, NULL, TORTURE_MEMORY, 4);
    torture_run("plan", plan, NULL, TORTURE_MEMORY, 10);
    torture_run("interference", interference, NULL, TORTURE_MEMORY, 4);
    torture_run("applications (YAML)", apps_yaml, NULL, TORTURE_MEMORY, 8);
    torture_run("applications (CSV)", apps_csv, NULL, TORTURE_MEMORY, 8);
    torture_run("an application with tensors", app_tensors, NULL, TORTURE_MEMORY, 6);
}

static void parsers_of_models_and_requests(void **state)
{
    gpulet_buf_t bytes = GPULET_BUF_INIT;
    gpulet_test_onnx_t *model = gpulet_test_onnx_create();
    (void)state;
    gpulet_test_onnx_input(model, "A", 1, "N,3");
    gpulet_test_onnx_input(model, "B", 1, "N,3");
    gpulet_test_onnx_output(model, "C", 1, "N,3");
    gpulet_test_onnx_initializer(model, "W", 1, "1", "\0\0\0\0", 4);
    gpulet_test_onnx_node(model, "Add", "", "A,B", "C");
    gpulet_test_onnx_bytes(&bytes, model);
    gpulet_test_onnx_destroy(model);
    torture_run("config.pbtxt", pbtxt, NULL, TORTURE_MEMORY, 20);
    torture_run("config.pbtxt of an ensemble", pbtxt_ensemble, NULL, TORTURE_MEMORY, 12);
    torture_run("onnx header", onnx, &bytes, TORTURE_MEMORY, 4);
    torture_run("request", oip_request, NULL, TORTURE_MEMORY, 1);
    gpulet_buf_deinit(&bytes);
}

static void files(void **state)
{
    char folder[] = "/tmp/gpulet-torture-XXXXXX";
    char path[64];
    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/file", folder);
    torture_run("file", file, path, TORTURE_BOTH, 5);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(parsers_of_planning_files),
                                       cmocka_unit_test(parsers_of_models_and_requests),
                                       cmocka_unit_test(files)};
    return cmocka_run_group_tests_name("torture.core", tests, NULL, NULL);
}
