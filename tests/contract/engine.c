/* The contract every engine keeps: `contract.engine fake` or `contract.engine ort`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine_models.h"

/* The library keeps some objects for the life of the process and reports none of them; its leaks
 * are not ours. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libonnxruntime.so\n";
}

enum { SKIPPED = 77, WIDTH = 16 };

#define OPS (test_engine.ops)

/* Runs FP32 [items,16]. */
static gpulet_status_t run_items(gpulet_engine_output_t *output, gpulet_engine_model_t *model,
                                 float *values, int64_t items, gpulet_error_t *err)
{
    gpulet_tensor_view_t input = view_of(GPULET_DATATYPE_FP32, values,
                                         (size_t)items * WIDTH * sizeof(float), 2, items, WIDTH);
    return OPS->run(model, &input, output, err);
}

static void assert_delivers(const gpulet_engine_output_t *output, const float *values,
                            int64_t items)
{
    assert_int_equal(output->tensor.type, GPULET_DATATYPE_FP32);
    assert_int_equal(output->tensor.shape.rank, 2);
    assert_int_equal(output->tensor.shape.dims[0], items);
    assert_int_equal(output->tensor.shape.dims[1], WIDTH);
    assert_int_equal(output->tensor.size, (size_t)items * WIDTH * sizeof(float));
    if (items > 0)
        assert_memory_equal(output->tensor.data, values, output->tensor.size);
}

static void is_listed_and_found_by_name(void **state)
{
    (void)state;
    bool listed = false;
    for (const gpulet_engine_ops_t *const *e = gpulet_engine_all(); *e != NULL; e++)
        listed = listed || *e == OPS;
    assert_true(listed);
    assert_null(gpulet_engine_find("no-such-engine"));
    assert_int_equal(OPS->abi_version, GPULET_ENGINE_ABI);
    assert_true(strlen(OPS->version(test_engine.engine)) > 0);
}

static void closing_and_unloading_nothing_is_fine(void **state)
{
    (void)state;
    OPS->unload(NULL);
    OPS->close(NULL);
}

static void opens_a_second_time(void **state)
{
    (void)state;
    const gpulet_engine_options_t options = {.ort_library = NULL};
    gpulet_engine_t *second = NULL;
    gpulet_error_t err;
    assert_int_equal(OPS->open(&second, &options, &err), GPULET_OK);
    OPS->close(second);
    make_identity("FP32", "N,16");
    OPS->unload(load_model());
}

static void tells_inputs_and_outputs(void **state)
{
    (void)state;
    make_identity("FP32", "N,16");
    gpulet_engine_model_t *model = load_model();
    const gpulet_model_io_t *io = OPS->io(model);
    assert_int_equal(io->inputs_count, 1);
    assert_int_equal(io->outputs_count, 1);
    assert_string_equal(io->inputs[0].name, "INPUT0");
    assert_string_equal(io->outputs[0].name, "OUTPUT0");
    assert_int_equal(io->inputs[0].type, GPULET_DATATYPE_FP32);
    assert_int_equal(io->inputs[0].shape.rank, 2);
    assert_int_equal(io->inputs[0].shape.dims[0], -1);
    assert_int_equal(io->inputs[0].shape.dims[1], WIDTH);
    assert_int_equal(io->outputs[0].shape.dims[0], -1);
    OPS->unload(model);
}

static void answers_batches_of_any_size(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 3, 8, 64, 2, 1};
    make_identity("FP32", "N,16");
    gpulet_engine_model_t *model = load_model();
    float *values = ramp((size_t)64 * WIDTH);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        gpulet_engine_output_t output = {.owner = NULL};
        assert_int_equal(run_items(&output, model, values, sizes[i], NULL), GPULET_OK);
        assert_delivers(&output, values, sizes[i]);
        assert_ptr_not_equal(output.tensor.data, values); /* the input's memory is not lent out */
        OPS->output_release(model, &output);
        assert_null(output.owner);
    }
    free(values);
    OPS->unload(model);
}

static void answers_an_empty_batch(void **state)
{
    (void)state;
    make_identity("FP32", "N,16");
    gpulet_engine_model_t *model = load_model();
    gpulet_engine_output_t output = {.owner = NULL};
    assert_int_equal(run_items(&output, model, NULL, 0, NULL), GPULET_OK);
    assert_delivers(&output, NULL, 0);
    OPS->output_release(model, &output);
    OPS->unload(model);
}

static void writes_the_output_where_it_is_asked_to(void **state)
{
    (void)state;
    float out[4 * WIDTH];
    make_identity("FP32", "N,16");
    gpulet_engine_model_t *model = load_model();
    float *values = ramp((size_t)4 * WIDTH);
    for (int64_t items = 4; items >= 1; items--) { /* smaller ones leave room in out */
        memset(out, 0xff, sizeof(out));
        gpulet_engine_output_t output = {
            view_of(GPULET_DATATYPE_FP32, out, sizeof(out), 2, items, WIDTH), NULL};
        assert_int_equal(run_items(&output, model, values, items, NULL), GPULET_OK);
        assert_ptr_equal(output.tensor.data, out);
        assert_null(output.owner);
        assert_delivers(&output, values, items);
    }
    free(values);
    OPS->unload(model);
}

static void delivers_although_the_given_memory_is_too_small(void **state)
{
    (void)state;
    float out[WIDTH];
    make_identity("FP32", "N,16");
    gpulet_engine_model_t *model = load_model();
    float *values = ramp((size_t)2 * WIDTH);
    gpulet_engine_output_t output = {view_of(GPULET_DATATYPE_FP32, out, sizeof(out), 2, 2, WIDTH),
                                     NULL};
    assert_int_equal(run_items(&output, model, values, 2, NULL), GPULET_OK);
    assert_ptr_not_equal(output.tensor.data, out);
    assert_non_null(output.owner);
    assert_delivers(&output, values, 2);
    OPS->output_release(model, &output);
    free(values);
    OPS->unload(model);
}

/* The batches that other processes gather lie in memory that is only mapped for reading, anywhere.
 */
static void reads_inputs_from_read_only_memory_at_odd_places(void **state)
{
    (void)state;
    enum { SIZE = WIDTH * sizeof(float) };
    make_identity("FP32", "N,16");
    gpulet_engine_model_t *model = load_model();
    float *values = ramp(WIDTH);
    uint8_t *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    memcpy(map + 4, values, SIZE);
    assert_int_equal(mprotect(map, 4096, PROT_READ), 0);
    gpulet_tensor_view_t input = view_of(GPULET_DATATYPE_FP32, map + 4, SIZE, 2, 1, WIDTH);
    gpulet_engine_output_t output = {.owner = NULL};
    assert_int_equal(OPS->run(model, &input, &output, NULL), GPULET_OK);
    assert_delivers(&output, values, 1);
    OPS->output_release(model, &output);
    (void)munmap(map, 4096);
    free(values);
    OPS->unload(model);
}

static void computes_all_outputs_of_all_inputs(void **state)
{
    (void)state;
    float out[2 * WIDTH];
    make_two_by_two();
    gpulet_engine_model_t *model = load_model();
    float *values = ramp((size_t)2 * WIDTH);
    gpulet_tensor_view_t in = view_of(GPULET_DATATYPE_FP32, values, sizeof(out), 2, 2, WIDTH);
    const gpulet_tensor_view_t inputs[] = {in, in};
    /* One where we want it, one where the engine wants it. */
    gpulet_engine_output_t outputs[2] = {
        {view_of(GPULET_DATATYPE_FP32, out, sizeof(out), 2, 2, WIDTH), NULL}, {.owner = NULL}};
    assert_int_equal(OPS->run(model, inputs, outputs, NULL), GPULET_OK);
    assert_ptr_equal(outputs[0].tensor.data, out);
    assert_non_null(outputs[1].owner);
    for (int i = 0; i < 2 * WIDTH && test_engine.is_ort; i++) {
        assert_true(out[i] == 2 * values[i]);
        assert_true(((const float *)outputs[1].tensor.data)[i] == 0);
    }
    OPS->output_release(model, &outputs[0]);
    OPS->output_release(model, &outputs[1]);
    free(values);
    OPS->unload(model);
}

static void takes_scalars(void **state)
{
    (void)state;
    int64_t value = 42;
    make_identity("INT64", "");
    gpulet_engine_model_t *model = load_model();
    gpulet_tensor_view_t input = view_of(GPULET_DATATYPE_INT64, &value, sizeof(value), 0, 0, 0);
    gpulet_engine_output_t output = {.owner = NULL};
    assert_int_equal(OPS->run(model, &input, &output, NULL), GPULET_OK);
    assert_int_equal(output.tensor.shape.rank, 0);
    assert_int_equal(output.tensor.size, sizeof(value));
    assert_memory_equal(output.tensor.data, &value, sizeof(value));
    OPS->output_release(model, &output);
    OPS->unload(model);
}

static void assert_refuses(gpulet_engine_model_t *model, const gpulet_tensor_view_t *input,
                           const char *words)
{
    gpulet_engine_output_t output = {.owner = NULL};
    gpulet_error_t err = {""};
    assert_int_equal(OPS->run(model, input, &output, &err), GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "INPUT0"));
    if (strstr(err.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, words);
    assert_null(output.owner);
}

static void refuses_inputs_that_do_not_fit(void **state)
{
    (void)state;
    enum { SIZE = 2 * WIDTH * sizeof(float) };
    make_identity("FP32", "N,16");
    gpulet_engine_model_t *model = load_model();
    float *v = ramp((size_t)2 * WIDTH + 1);
    const struct {
        gpulet_tensor_view_t input;
        const char *words;
    } bad[] = {
        {view_of(GPULET_DATATYPE_INT32, v, SIZE, 2, 2, WIDTH), "INT32, not FP32"},
        {view_of(GPULET_DATATYPE_BYTES, v, SIZE, 2, 2, WIDTH), "BYTES, not FP32"},
        {view_of(GPULET_DATATYPE_FP32, v, SIZE, 1, 2 * WIDTH, 0), "rank is 1, not 2"},
        {view_of(GPULET_DATATYPE_FP32, v, SIZE, 9, 2, WIDTH), "rank is 9"},
        {view_of(GPULET_DATATYPE_FP32, v, SIZE, 2, 4, 8), "shape is [4,8], not [-1,16]"},
        {view_of(GPULET_DATATYPE_FP32, v, SIZE, 2, -2, WIDTH), "absurd"},
        {view_of(GPULET_DATATYPE_FP32, v, SIZE, 2, INT64_MAX, WIDTH), "absurd"},
        {view_of(GPULET_DATATYPE_FP32, v, SIZE, 2, INT64_MAX / WIDTH, WIDTH), "absurd"},
        {view_of(GPULET_DATATYPE_FP32, v, SIZE - 1, 2, 2, WIDTH), "127 bytes, not 128"},
        {view_of(GPULET_DATATYPE_FP32, v, SIZE + 4, 2, 2, WIDTH), "132 bytes, not 128"},
        {view_of(GPULET_DATATYPE_FP32, NULL, SIZE, 2, 2, WIDTH), "no data"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_refuses(model, &bad[i].input, bad[i].words);
    gpulet_engine_output_t output = {.owner = NULL};
    assert_int_equal(run_items(&output, model, v, 2, NULL), GPULET_OK);
    assert_delivers(&output, v, 2);
    OPS->output_release(model, &output);
    free(v);
    OPS->unload(model);
}

static void carries_strings_of_any_bytes(void **state)
{
    (void)state;
    static const char bytes[] = "\x03\0\0\0a\0b"
                                "\0\0\0\0"
                                "\x04\0\0\0\xff\xfe\n\"";
    make_identity("BYTES", "N");
    gpulet_engine_model_t *model = load_model();
    char given[64];
    gpulet_tensor_view_t input =
        view_of(GPULET_DATATYPE_BYTES, (void *)(uintptr_t)bytes, sizeof(bytes) - 1, 1, 3, 0);
    gpulet_engine_output_t output = {view_of(GPULET_DATATYPE_BYTES, given, sizeof(given), 1, 3, 0),
                                     NULL};
    assert_int_equal(OPS->run(model, &input, &output, NULL), GPULET_OK);
    assert_int_equal(output.tensor.type, GPULET_DATATYPE_BYTES);
    assert_non_null(output.owner); /* strings are always the engine's to place */
    assert_int_equal(output.tensor.shape.dims[0], 3);
    assert_int_equal(output.tensor.size, sizeof(bytes) - 1);
    assert_memory_equal(output.tensor.data, bytes, sizeof(bytes) - 1);
    OPS->output_release(model, &output);

    input.size -= 1;
    assert_refuses(model, &input, "element 2 of 3 runs past the end");
    input.size = sizeof(bytes);
    assert_refuses(model, &input, "1 bytes follow");
    input.size = 2;
    assert_refuses(model, &input, "element 0");
    input.shape.dims[0] = 0;
    input.size = 0;
    assert_int_equal(OPS->run(model, &input, &output, NULL), GPULET_OK);
    assert_int_equal(output.tensor.size, 0);
    OPS->output_release(model, &output);
    OPS->unload(model);
}

static void carries_every_datatype(void **state)
{
    (void)state;
    uint8_t bytes[2 * 8] = {1, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 1, 1, 0, 0};
    for (int type = 1; type < GPULET_DATATYPE_COUNT; type++) {
        size_t size = 2 * gpulet_datatype_size((gpulet_datatype_t)type);
        if (type == GPULET_DATATYPE_BYTES)
            continue;
        make_identity(gpulet_datatype_name((gpulet_datatype_t)type), "N");
        gpulet_engine_model_t *model = load_model();
        gpulet_tensor_view_t input = view_of((gpulet_datatype_t)type, bytes, size, 1, 2, 0);
        gpulet_engine_output_t output = {.owner = NULL};
        assert_int_equal(OPS->run(model, &input, &output, NULL), GPULET_OK);
        assert_int_equal(output.tensor.type, type);
        assert_int_equal(output.tensor.size, size);
        assert_memory_equal(output.tensor.data, bytes, size);
        OPS->output_release(model, &output);
        OPS->unload(model);
    }
}

static void refuses_a_corrupt_model_and_stays_good(void **state)
{
    (void)state;
    gpulet_engine_model_t *model = NULL;
    gpulet_error_t err = {""};
    char said[128];
    int log = memfd_create("stderr", MFD_CLOEXEC);
    int before = dup(STDERR_FILENO);
    make_corrupt();
    assert_true(log >= 0 && before >= 0 && dup2(log, STDERR_FILENO) >= 0);
    gpulet_status_t st = try_load(&model, 1, 0, &err);
    assert_true(dup2(before, STDERR_FILENO) >= 0);
    assert_int_equal(pread(log, said, sizeof(said), 0), 0); /* nothing on stderr */
    (void)close(log);
    (void)close(before);
    assert_int_equal(st, GPULET_E_INVALID);
    assert_true(strlen(err.text) > 10);
    assert_null(strchr(err.text, '\n'));
    assert_null(model);
    make_identity("FP32", "N,16");
    OPS->unload(load_model());
}

static void refuses_paths_that_are_no_file(void **state)
{
    (void)state;
    gpulet_engine_model_t *model = NULL;
    gpulet_error_t err = {""};
    (void)make_path("missing.onnx");
    assert_int_equal(try_load(&model, 1, 0, &err), GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "missing.onnx"));
    (void)snprintf(test_engine.path, sizeof(test_engine.path), "%s", test_engine.folder);
    assert_int_equal(try_load(&model, 1, 0, &err), GPULET_E_INVALID);
    assert_non_null(strstr(err.text, test_engine.folder));
}

typedef struct stopper {
    gpulet_engine_model_t *model;
    uint64_t asked_ns;
} stopper_t;

static void *stop_soon(void *argument)
{
    stopper_t *stopper = argument;
    const struct timespec wait = {.tv_nsec = 30000000};
    (void)nanosleep(&wait, NULL);
    stopper->asked_ns = gpulet_clock_ns();
    OPS->terminate(stopper->model);
    return NULL;
}

static void stops_a_run_when_asked(void **state)
{
    (void)state;
    enum { ITEMS = 1024, VALUES = ITEMS * 512 };
    gpulet_error_t err = {""};
    pthread_t thread;
    make_long();
    gpulet_engine_model_t *model = load_model();
    stopper_t stopper = {model, 0};
    float *values = ramp(VALUES);
    gpulet_tensor_view_t input =
        view_of(GPULET_DATATYPE_FP32, values, VALUES * sizeof(float), 2, ITEMS, 512);
    gpulet_tensor_view_t small = view_of(GPULET_DATATYPE_FP32, values, 512 * 4, 2, 1, 512);
    gpulet_engine_output_t output = {.owner = NULL};
    OPS->terminate(model); /* nothing runs: the next run must not notice */
    assert_int_equal(OPS->run(model, &small, &output, &err), GPULET_OK);
    OPS->output_release(model, &output);
    output = (gpulet_engine_output_t){.owner = NULL};
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, &stopper), 0);
    gpulet_status_t st = OPS->run(model, &input, &output, &err);
    uint64_t end_ns = gpulet_clock_ns();
    (void)pthread_join(thread, NULL);
    OPS->output_release(model, &output);
    if (st == GPULET_OK && stopper.asked_ns >= end_ns)
        skip(); /* a machine so fast that nothing was left to stop */
    assert_int_equal(st, GPULET_E_CANCELLED);
    print_message("stopped %.1f ms after it was asked to\n",
                  (double)(end_ns - stopper.asked_ns) / 1e6);
    assert_int_equal(OPS->run(model, &small, &output, &err), GPULET_OK);
    assert_memory_equal(output.tensor.data, values, (size_t)512 * 4);
    OPS->output_release(model, &output);
    free(values);
    OPS->unload(model);
}

static void gives_up_a_load_that_takes_too_long(void **state)
{
    (void)state;
    gpulet_engine_model_t *model = NULL;
    gpulet_error_t err = {""};
    int tasks = count_tasks();
    make_long();
    if (!test_engine.is_ort) {
        FILE *file = fopen(test_engine.path, "we");
        assert_non_null(file);
        (void)fputs("load_ms=60000\n", file);
        (void)fclose(file);
    }
    assert_int_equal(try_load(&model, 1, 1000, &err), GPULET_E_TIMEOUT);
    assert_non_null(strstr(err.text, "did not finish loading"));
    assert_null(model);
    make_identity("FP32", "N,16");
    OPS->unload(load_model());
    /* What was left behind cleans up after itself. */
    for (int i = 0; i < 400 && count_tasks() > tasks; i++) {
        const struct timespec wait = {.tv_nsec = 25000000};
        (void)nanosleep(&wait, NULL);
    }
    assert_int_equal(count_tasks(), tasks);
}

static void trims_and_goes_on(void **state)
{
    (void)state;
    make_identity("FP32", "N,16");
    gpulet_engine_model_t *model = load_model();
    float *values = ramp((size_t)64 * WIDTH);
    static const int64_t sizes[] = {64, 1, 64, 1};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        gpulet_engine_output_t output = {.owner = NULL};
        OPS->trim(model);
        assert_int_equal(run_items(&output, model, values, sizes[i], NULL), GPULET_OK);
        assert_delivers(&output, values, sizes[i]);
        OPS->output_release(model, &output);
    }
    free(values);
    OPS->unload(model);
}

static void gives_memory_back_when_reloading(void **state)
{
    (void)state;
    enum { WARM = 4, TIMES = 20 };
    long warm_kib = 0;
    make_long();
    for (int i = 0; i < TIMES; i++) {
        gpulet_engine_model_t *model = load_model();
        OPS->unload(model);
        if (i + 1 == WARM)
            warm_kib = rss_kib("VmRSS");
    }
    long growth_kib = rss_kib("VmRSS") - warm_kib;
    print_message("resident after %d loads: %ld KiB, growth since the first %d: %ld KiB\n", TIMES,
                  rss_kib("VmRSS"), WARM, growth_kib);
    if (is_sanitized())
        skip(); /* what is freed stays in quarantine */
    assert_true(growth_kib < 8 * 1024);
}

static void *return_at_once(void *argument)
{
    return argument;
}

/* The program's exit code: tools/setup brings the library, so where that was run it is no skip. */
static int missing(const char *reason)
{
    const char *required = getenv("GPULET_REQUIRE");
    bool fails = required != NULL && strcmp(required, "1") == 0;
    (void)printf("%s: %s; run: tools/setup engine\n", fails ? "failed" : "skipped", reason);
    return fails ? 1 : SKIPPED;
}

static int open_engine(const char *name)
{
    const gpulet_engine_options_t options = {.ort_library = NULL};
    gpulet_error_t err = {""};
    char path[4096];
    test_engine.ops = gpulet_engine_find(name);
    if (test_engine.ops == NULL)
        return 1;
    test_engine.is_ort = strcmp(name, "ort") == 0;
    if (test_engine.is_ort &&
        gpulet_engine_ort_locate(path, sizeof(path), NULL, &err) == GPULET_E_NOT_FOUND) {
        return missing(err.text);
    }
    (void)snprintf(test_engine.folder, sizeof(test_engine.folder), "/tmp/gpulet-engine-XXXXXX");
    if (mkdtemp(test_engine.folder) == NULL)
        return 1;
    (void)snprintf(test_engine.home, sizeof(test_engine.home), "%s-home", test_engine.folder);
    char *home = mkdtemp(strcat(test_engine.home, "-XXXXXX"));
    if (home == NULL || setenv("HOME", home, 1) != 0 || setenv("XDG_CACHE_HOME", home, 1) != 0)
        return 1;
    /* A sanitizer starts a thread of its own beside the first that a program starts. */
    pthread_t thread;
    if (pthread_create(&thread, NULL, return_at_once, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 1;
    test_engine.tasks_at_start = count_tasks();
    if (test_engine.ops->open(&test_engine.engine, &options, &err) != GPULET_OK) {
        (void)printf("cannot open %s: %s\n", name, err.text);
        return 1;
    }
    (void)printf("%s %s\n", name, test_engine.ops->version(test_engine.engine));
    return 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_listed_and_found_by_name),
        cmocka_unit_test(closing_and_unloading_nothing_is_fine),
        cmocka_unit_test(opens_a_second_time),
        cmocka_unit_test(tells_inputs_and_outputs),
        cmocka_unit_test(answers_batches_of_any_size),
        cmocka_unit_test(answers_an_empty_batch),
        cmocka_unit_test(writes_the_output_where_it_is_asked_to),
        cmocka_unit_test(delivers_although_the_given_memory_is_too_small),
        cmocka_unit_test(reads_inputs_from_read_only_memory_at_odd_places),
        cmocka_unit_test(computes_all_outputs_of_all_inputs),
        cmocka_unit_test(takes_scalars),
        cmocka_unit_test(refuses_inputs_that_do_not_fit),
        cmocka_unit_test(carries_strings_of_any_bytes),
        cmocka_unit_test(carries_every_datatype),
        cmocka_unit_test(refuses_a_corrupt_model_and_stays_good),
        cmocka_unit_test(refuses_paths_that_are_no_file),
        cmocka_unit_test(stops_a_run_when_asked),
        cmocka_unit_test(gives_up_a_load_that_takes_too_long),
        cmocka_unit_test(trims_and_goes_on),
        cmocka_unit_test(gives_memory_back_when_reloading),
    };
    int result = open_engine(argc > 1 ? argv[1] : "fake");
    if (result != 0)
        return result;
    result = test_engine.is_ort ? run_ort_cases() : 0;
    result += cmocka_run_group_tests_name("contract.engine", tests, NULL, NULL);
    test_engine.ops->close(test_engine.engine);
    (void)nftw(test_engine.folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    (void)nftw(test_engine.home, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return result > 0;
}
