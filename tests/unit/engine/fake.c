#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "engine/fake/fake.h"

#define OPS (&gpulet_engine_fake)

static char folder[] = "/tmp/gpulet-fake-XXXXXX";
static char script_path[64];
static char profile_path[64];

static gpulet_engine_t *open_with(const char *profile, const char *device)
{
    gpulet_engine_t *engine = NULL;
    gpulet_error_t err = {""};
    const gpulet_engine_options_t options = {.fake_profile = profile != NULL ? profile_path : NULL,
                                             .fake_device = device};
    if (profile != NULL)
        assert_int_equal(gpulet_file_write(profile_path, profile, strlen(profile), NULL), 0);
    if (OPS->open(&engine, &options, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return engine;
}

static gpulet_engine_model_t *load(gpulet_engine_t *engine, const char *script, uint32_t units)
{
    gpulet_engine_model_t *model = NULL;
    gpulet_error_t err = {""};
    const gpulet_engine_load_options_t options = {
        .name = "lenet", .path = script_path, .threads = 1, .units = units};
    assert_int_equal(gpulet_file_write(script_path, script, strlen(script), NULL), 0);
    if (OPS->load(&model, engine, &options, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return model;
}

static gpulet_status_t run(gpulet_engine_model_t *model, int64_t items)
{
    static float values[64 * 16];
    gpulet_tensor_view_t input = {.type = GPULET_DATATYPE_FP32,
                                  .shape = {.rank = 2, .dims = {items, 16}},
                                  .data = values,
                                  .size = (size_t)items * 64};
    gpulet_engine_output_t output = {.owner = NULL};
    gpulet_status_t st = OPS->run(model, &input, &output, NULL);
    OPS->output_release(model, &output);
    return st;
}

static double run_ms(gpulet_engine_model_t *model, int64_t items)
{
    uint64_t begin_ns = gpulet_clock_ns();
    assert_int_equal(run(model, items), GPULET_OK);
    return (double)(gpulet_clock_ns() - begin_ns) / 1e6;
}

/* A busy machine may make a run longer, never shorter. */
static void assert_takes(gpulet_engine_model_t *model, int64_t items, double ms)
{
    double took = run_ms(model, items);
    for (int i = 0; i < 5 && took >= ms + 5; i++)
        took = run_ms(model, items);
    assert_true(took >= ms && took < ms + 5);
}

static void takes_the_time_of_its_script(void **state)
{
    (void)state;
    gpulet_engine_t *engine = open_with(NULL, NULL);
    gpulet_engine_model_t *model = load(engine, "latency_ms=4\nlatency_ms_per_item=2\n", 1);
    assert_takes(model, 1, 6);
    assert_takes(model, 8, 20);
    OPS->unload(model);
    OPS->close(engine);
}

static void takes_the_time_of_the_profile(void **state)
{
    (void)state;
    static const char profile[] = "device,model,units,batch,latency_ms\n"
                                  "big,lenet,2,1,8\nbig,lenet,2,3,16\n"
                                  "small,lenet,1,1,20\nsmall,lenet,2,1,30\n";
    gpulet_engine_t *engine = open_with(profile, NULL);
    gpulet_engine_model_t *model = load(engine, "latency_ms=50\n", 2);
    assert_takes(model, 1, 8);
    assert_takes(model, 2, 12);  /* between the measured */
    assert_takes(model, 64, 16); /* beyond: the nearest */
    OPS->unload(model);
    model = load(engine, "latency_ms=50\n", 3); /* a size without rows: the script */
    assert_takes(model, 1, 50);
    OPS->unload(model);
    OPS->close(engine);

    engine = open_with(profile, "small");
    model = load(engine, "", 2);
    assert_takes(model, 1, 30);
    OPS->unload(model);
    OPS->close(engine);
}

static void a_missing_profile_is_an_error(void **state)
{
    (void)state;
    gpulet_engine_t *engine = NULL;
    gpulet_error_t err = {""};
    const gpulet_engine_options_t options = {.fake_profile = "/no/such.csv"};
    assert_int_equal(OPS->open(&engine, &options, &err), GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "/no/such.csv"));
}

static void rows_of_the_output_are_rows_of_the_first_input(void **state)
{
    (void)state;
    gpulet_engine_t *engine = open_with(NULL, NULL);
    gpulet_engine_model_t *model =
        load(engine,
             "input=A:UINT8:-1x3\noutput=WIDE:UINT8:-1x7\noutput=NARROW:UINT8:-1x2\n"
             "output=WHOLE:UINT8:4\noutput=TEXT:BYTES:-1x2\noutput=DYNAMIC:UINT8:-1x-1x-1\n",
             1);
    uint8_t values[] = {1, 2, 3, 11, 12, 13};
    gpulet_tensor_view_t input = {.type = GPULET_DATATYPE_UINT8,
                                  .shape = {.rank = 2, .dims = {2, 3}},
                                  .data = values,
                                  .size = sizeof(values)};
    gpulet_engine_output_t outputs[5] = {0};
    assert_int_equal(OPS->run(model, &input, outputs, NULL), GPULET_OK);
    static const uint8_t wide[] = {1, 2, 3, 1, 2, 3, 1, 11, 12, 13, 11, 12, 13, 11};
    static const uint8_t narrow[] = {1, 2, 11, 12};
    static const uint8_t whole[] = {1, 2, 3, 11};
    static const uint8_t text[] = {1, 0, 0, 0, 1, 1, 0, 0, 0, 2, 1, 0, 0, 0, 11, 1, 0, 0, 0, 12};
    assert_int_equal(outputs[0].tensor.size, sizeof(wide));
    assert_memory_equal(outputs[0].tensor.data, wide, sizeof(wide));
    assert_memory_equal(outputs[1].tensor.data, narrow, sizeof(narrow));
    assert_memory_equal(outputs[2].tensor.data, whole, sizeof(whole));
    assert_int_equal(outputs[3].tensor.size, sizeof(text));
    assert_memory_equal(outputs[3].tensor.data, text, sizeof(text));
    assert_int_equal(outputs[4].tensor.shape.dims[1], 3);
    assert_int_equal(outputs[4].tensor.shape.dims[2], 1);
    for (int i = 0; i < 5; i++)
        OPS->output_release(model, &outputs[i]);
    OPS->unload(model);
    OPS->close(engine);
}

static void sleeps_between_sizes_as_plans_expect(void **state)
{
    (void)state;
    static const char profile[] = "device,model,units,instances,batch,latency_ms\n"
                                  "big,lenet,2,1,1,8\nbig,other,4,1,1,3\n"
                                  "small,lenet,2,1,1,30\nsmall,lenet,2,2,1,90\n"
                                  "small,lenet,6,1,1,10\nsmall,lenet,6,1,4,20\n";
    gpulet_engine_t *engine = open_with(profile, "small");
    gpulet_engine_model_t *model = load(engine, "latency_ms=50\n", 4);
    assert_takes(model, 1, 20);
    OPS->unload(model);
    model = load(engine, "latency_ms=50\n", 7); /* beyond the measured sizes: the nearest */
    assert_takes(model, 1, 10);
    OPS->unload(model);
    model = load(engine, "latency_ms=50\n", 1);
    assert_takes(model, 1, 30);
    OPS->unload(model);
    OPS->close(engine);
    engine = open_with(profile, "neither"); /* the times of another device are not its own */
    model = load(engine, "latency_ms=50\n", 2);
    assert_takes(model, 1, 50);
    OPS->unload(model);
    OPS->close(engine);
}

/* ---- what the caller says of the model ---- */

static gpulet_engine_model_t *load_told(gpulet_engine_t *engine, const char *path,
                                        const gpulet_model_io_t *io, uint32_t batch_fixed)
{
    gpulet_engine_model_t *model = NULL;
    gpulet_error_t err = {""};
    const gpulet_engine_load_options_t options = {.name = "lenet",
                                                  .path = path,
                                                  .io = io,
                                                  .batch_fixed = batch_fixed,
                                                  .threads = 1,
                                                  .units = 1};
    if (OPS->load(&model, engine, &options, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return model;
}

static void assert_zeros(const gpulet_engine_output_t *output, gpulet_datatype_t type,
                         gpulet_shape_t shape, size_t size)
{
    assert_int_equal(output->tensor.type, type);
    assert_true(gpulet_shape_equal(&output->tensor.shape, &shape));
    assert_int_equal(output->tensor.size, size);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(((const uint8_t *)output->tensor.data)[i], 0);
}

static void what_it_is_told_is_answered_with_zeros(void **state)
{
    (void)state;
    gpulet_tensor_spec_t inputs[] = {
        {"A", GPULET_DATATYPE_UINT8, {2, {-1, 2}}},
        {"B", GPULET_DATATYPE_UINT8, {3, {-1, -1, -1}}},
    };
    gpulet_tensor_spec_t outputs[] = {
        {"X", GPULET_DATATYPE_FP32, {4, {-1, -1, 3, -1}}},
        {"Y", GPULET_DATATYPE_BYTES, {2, {-1, 2}}},
        {"Z", GPULET_DATATYPE_INT64, {0}},
    };
    const gpulet_model_io_t io = {2, 3, inputs, outputs};
    gpulet_engine_t *engine = open_with(NULL, NULL);
    gpulet_engine_model_t *model = load_told(engine, "", &io, 0);
    uint8_t values[64];
    memset(values, 7, sizeof(values));
    const gpulet_tensor_view_t views[] = {
        {GPULET_DATATYPE_UINT8, {2, {2, 2}}, values, 4},
        {GPULET_DATATYPE_UINT8, {3, {2, 5, 1}}, values, 10},
    };
    for (size_t i = 0; i < 3; i++)
        memset(&outputs[i], 0, sizeof(outputs[i])); /* it keeps a copy */
    uint8_t place[256];
    memset(place, 7, sizeof(place));
    gpulet_engine_output_t out[3] = {{.tensor = {.data = place, .size = sizeof(place)}}};
    assert_int_equal(OPS->run(model, views, out, NULL), GPULET_OK);
    assert_zeros(&out[0], GPULET_DATATYPE_FP32, (gpulet_shape_t){4, {2, 5, 3, 1}}, 120);
    assert_ptr_equal(out[0].tensor.data, place);
    assert_zeros(&out[1], GPULET_DATATYPE_BYTES, (gpulet_shape_t){2, {2, 2}}, 16);
    assert_zeros(&out[2], GPULET_DATATYPE_INT64, (gpulet_shape_t){0}, 8);
    for (size_t i = 0; i < 3; i++)
        OPS->output_release(model, &out[i]);
    OPS->unload(model);
    OPS->close(engine);
}

static void a_fixed_batch_takes_the_time_of_all_of_it(void **state)
{
    (void)state;
    static const char profile[] = "device,model,units,batch,latency_ms\n"
                                  "big,lenet,1,1,10\nbig,lenet,1,4,25\n";
    gpulet_tensor_spec_t spec = {"A", GPULET_DATATYPE_FP32, {2, {4, 16}}};
    const gpulet_model_io_t io = {1, 1, &spec, &spec};
    gpulet_engine_t *engine = open_with(profile, "big");
    gpulet_engine_model_t *model = load_told(engine, "", &io, 0);
    assert_takes(model, 4, 10);
    OPS->unload(model);
    model = load_told(engine, "", &io, 4);
    assert_takes(model, 4, 25);
    OPS->unload(model);
    OPS->close(engine);
}

static void a_model_without_inputs_answers_too(void **state)
{
    (void)state;
    gpulet_tensor_spec_t output = {"X", GPULET_DATATYPE_FP32, {2, {-1, 2}}};
    const gpulet_model_io_t io = {.outputs_count = 1, .outputs = &output};
    gpulet_engine_t *engine = open_with(NULL, NULL);
    gpulet_engine_model_t *model = load_told(engine, "", &io, 0);
    gpulet_engine_output_t out = {.owner = NULL};
    assert_int_equal(OPS->run(model, NULL, &out, NULL), GPULET_OK);
    assert_zeros(&out, GPULET_DATATYPE_FP32, (gpulet_shape_t){2, {1, 2}}, 8);
    OPS->output_release(model, &out);
    OPS->unload(model);
    OPS->close(engine);
}

static void the_tensors_of_a_script_count_before_what_it_is_told(void **state)
{
    (void)state;
    static const char own[] = "input=OWN:FP32:-1x16\n";
    gpulet_tensor_spec_t told = {"TOLD", GPULET_DATATYPE_FP32, {2, {-1, 16}}};
    const gpulet_model_io_t io = {1, 1, &told, &told};
    gpulet_engine_t *engine = open_with(NULL, NULL);
    assert_int_equal(gpulet_file_write(script_path, own, strlen(own), NULL), GPULET_OK);
    gpulet_engine_model_t *model = load_told(engine, script_path, &io, 0);
    assert_string_equal(OPS->io(model)->inputs[0].name, "OWN");
    OPS->unload(model);
    assert_int_equal(gpulet_file_write(script_path, "fail_run_every=1\n", 17, NULL), GPULET_OK);
    model = load_told(engine, script_path, &io, 0);
    assert_string_equal(OPS->io(model)->inputs[0].name, "TOLD");
    assert_int_equal(run(model, 1), GPULET_E_INTERNAL);
    OPS->unload(model);
    OPS->close(engine);
}

static void fails_every_nth_run(void **state)
{
    (void)state;
    gpulet_engine_t *engine = open_with(NULL, NULL);
    gpulet_engine_model_t *model = load(engine, "fail_run_every=3\n", 1);
    for (int i = 1; i <= 9; i++)
        assert_int_equal(run(model, 1), i % 3 == 0 ? GPULET_E_INTERNAL : GPULET_OK);
    OPS->unload(model);
    OPS->close(engine);
}

static void crashes_every_nth_run(void **state)
{
    (void)state;
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)signal(SIGABRT, SIG_DFL);
        gpulet_engine_model_t *model = load(open_with(NULL, NULL), "crash_run_every=2\n", 1);
        if (run(model, 1) == GPULET_OK)
            (void)run(model, 1);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void fails_to_load_with_the_text_of_its_script(void **state)
{
    (void)state;
    static const char script[] = "fail_load=the moon is in the wrong place\n";
    gpulet_engine_t *engine = open_with(NULL, NULL);
    gpulet_engine_model_t *model = NULL;
    gpulet_error_t err = {""};
    const gpulet_engine_load_options_t options = {.path = script_path, .threads = 1};
    assert_int_equal(gpulet_file_write(script_path, script, sizeof(script) - 1, NULL), GPULET_OK);
    assert_int_equal(OPS->load(&model, engine, &options, &err), GPULET_E_INVALID);
    assert_string_equal(err.text, "the moon is in the wrong place");
    OPS->close(engine);
}

static void holds_the_memory_it_is_told_to(void **state)
{
    (void)state;
    struct rusage before;
    struct rusage after;
    gpulet_engine_t *engine = open_with(NULL, NULL);
    assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
    gpulet_engine_model_t *model = load(engine, "memory_mb=32\n", 1);
    assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
    assert_true(after.ru_maxrss - before.ru_maxrss >= 24 * 1024);
    OPS->unload(model);
    OPS->close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_time_of_its_script),
        cmocka_unit_test(takes_the_time_of_the_profile),
        cmocka_unit_test(a_missing_profile_is_an_error),
        cmocka_unit_test(rows_of_the_output_are_rows_of_the_first_input),
        cmocka_unit_test(sleeps_between_sizes_as_plans_expect),
        cmocka_unit_test(what_it_is_told_is_answered_with_zeros),
        cmocka_unit_test(a_fixed_batch_takes_the_time_of_all_of_it),
        cmocka_unit_test(a_model_without_inputs_answers_too),
        cmocka_unit_test(the_tensors_of_a_script_count_before_what_it_is_told),
        cmocka_unit_test(fails_every_nth_run),
        cmocka_unit_test(crashes_every_nth_run),
        cmocka_unit_test(fails_to_load_with_the_text_of_its_script),
        cmocka_unit_test(holds_the_memory_it_is_told_to),
    };
    if (mkdtemp(folder) == NULL)
        return 1;
    (void)snprintf(script_path, sizeof(script_path), "%s/model", folder);
    (void)snprintf(profile_path, sizeof(profile_path), "%s/profile.csv", folder);
    int result = cmocka_run_group_tests_name("engine.fake", tests, NULL, NULL);
    (void)unlink(script_path);
    (void)unlink(profile_path);
    (void)rmdir(folder);
    return result;
}
