/* Cases of ONNX Runtime alone: its texts, its threads, what it must not do behind our back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "engine_models.h"
#include "onnx_writer.h"

#define OPS (test_engine.ops)

/* Loading test_engine.path fails with this status; the text holds words and no place of the
 * library's source. */
static void assert_load_fails(gpulet_status_t expected, const char *words)
{
    gpulet_engine_model_t *model = NULL;
    gpulet_error_t err = {""};
    gpulet_status_t st = try_load(&model, 1, 0, &err);
    print_message("%s: %s\n", gpulet_status_name(st), err.text);
    assert_int_equal(st, expected);
    assert_non_null(strstr(err.text, words));
    assert_null(strstr(err.text, "onnxruntime_src"));
    assert_null(strstr(err.text, "onnxruntime::"));
    assert_null(strstr(err.text, ".cc:"));
    assert_null(strstr(err.text, ".h:"));
    assert_null(strchr(err.text, '\n'));
    assert_null(model);
}

static bool has_socket(void)
{
    char link[512];
    char target[512];
    bool found = false;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%s", e->d_name);
        ssize_t len = readlink(link, target, sizeof(target) - 1);
        target[len > 0 ? len : 0] = '\0';
        /* The test's own standard streams may be anything. */
        found = found || (strtol(e->d_name, NULL, 10) > 2 && strncmp(target, "socket:", 7) == 0);
    }
    (void)closedir(dir);
    return found;
}

/* With another provider these figures are of its threads, copies and memory. */
static void of_the_host_only(void)
{
    if (getenv("GPULET_TEST_PROVIDER") != NULL)
        skip();
}

/* First of all cases: nothing else has run yet. The library would otherwise start a thread, write a
 * database below HOME and ask the net. */
static void opening_and_loading_starts_no_telemetry(void **state)
{
    of_the_host_only();
    (void)state;
    int entries = 0;
    make_identity("FP32", "N,16");
    gpulet_engine_model_t *model = load_model();
    assert_int_equal(count_tasks(), test_engine.tasks_at_start);
    DIR *dir = opendir(test_engine.home);
    assert_non_null(dir);
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        entries += e->d_name[0] != '.' || strlen(e->d_name) > 2;
    (void)closedir(dir);
    assert_int_equal(entries, 0);
    assert_false(has_socket());
    assert_string_equal(getenv("ORT_DISABLE_TELEMETRY"), "1");
    OPS->unload(model);
}

static void pool_threads_are_one_less_and_inherit_the_mask(void **state)
{
    of_the_host_only();
    (void)state;
    cpu_set_t before;
    cpu_set_t one;
    gpulet_engine_model_t *model = NULL;
    CPU_ZERO(&one);
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &before))
            CPU_SET(i, &one);
    }
    int tasks = count_tasks();
    make_identity("FP32", "N,16");
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    gpulet_status_t st = try_load(&model, 3, UINT64_C(30000000000), NULL);
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
    assert_int_equal(st, GPULET_OK);
    assert_int_equal(count_tasks(), tasks + 2);
    int narrow = 0;
    DIR *dir = opendir("/proc/self/task");
    assert_non_null(dir);
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        cpu_set_t mask;
        pid_t task = (pid_t)strtol(e->d_name, NULL, 10);
        if (task > 0 && sched_getaffinity(task, sizeof(mask), &mask) == 0)
            narrow += CPU_EQUAL(&mask, &one) && task != getpid();
    }
    (void)closedir(dir);
    assert_true(narrow >= 2);
    OPS->unload(model);
    assert_int_equal(count_tasks(), tasks);
}

static uint64_t cpu_ns(void)
{
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return (uint64_t)t.tv_sec * GPULET_NS_PER_S + (uint64_t)t.tv_nsec;
}

/* The share of a core that the process uses in pauses after runs that keep both threads busy. */
static double use_of_pauses(bool spin)
{
    enum { ITEMS = 256, WIDTH = 512, PAUSES = 15 };
    const struct timespec pause = {.tv_nsec = 20000000};
    const gpulet_engine_load_options_t options = {
        .name = "model", .path = test_engine.path, .threads = 2, .units = 2, .spin = spin};
    gpulet_engine_model_t *model = NULL;
    uint64_t used_ns = 0;
    uint64_t passed_ns = 0;
    assert_int_equal(OPS->load(&model, test_engine.engine, &options, NULL), GPULET_OK);
    float *values = calloc((size_t)ITEMS * WIDTH, sizeof(*values));
    assert_non_null(values);
    for (int i = 0; i < PAUSES; i++) {
        gpulet_tensor_view_t input =
            view_of(GPULET_DATATYPE_FP32, values, (size_t)ITEMS * WIDTH * 4, 2, ITEMS, WIDTH);
        gpulet_engine_output_t output = {.owner = NULL};
        assert_int_equal(OPS->run(model, &input, &output, NULL), GPULET_OK);
        OPS->output_release(model, &output);
        uint64_t cpu_begin_ns = cpu_ns();
        uint64_t begin_ns = gpulet_clock_ns();
        (void)nanosleep(&pause, NULL);
        used_ns += cpu_ns() - cpu_begin_ns;
        passed_ns += gpulet_clock_ns() - begin_ns;
    }
    free(values);
    OPS->unload(model);
    return (double)used_ns / (double)passed_ns;
}

static void threads_do_not_spin_unless_told_to(void **state)
{
    of_the_host_only();
    (void)state;
    gpulet_test_onnx_matmul_chain(make_path("chain.onnx"), 512, 4);
    double calm = use_of_pauses(false);
    double spinning = use_of_pauses(true);
    print_message("of a core in pauses: %.4f, spinning %.4f\n", calm, spinning);
    assert_true(calm < 0.1);
}

/* A library without CUDA, or a machine without it, says so in the library's own words. */
static void says_why_a_provider_cannot_be_had(void **state)
{
    static const char *const providers[] = {"cuda", "abacus"};
    (void)state;
    make_identity("FP32", "N,16");
    for (size_t i = 0; i < sizeof(providers) / sizeof(providers[0]); i++) {
        const gpulet_engine_load_options_t options = {.name = "model",
                                                      .path = test_engine.path,
                                                      .threads = 1,
                                                      .units = 1,
                                                      .provider = providers[i],
                                                      .ordinal = 99};
        gpulet_engine_model_t *model = NULL;
        gpulet_error_t err = {""};
        gpulet_status_t st = OPS->load(&model, test_engine.engine, &options, &err);
        assert_null(model);
        if (i == 0) {
            assert_int_not_equal(st, GPULET_OK);
            assert_non_null(strstr(err.text, "CUDA"));
        } else {
            assert_int_equal(st, GPULET_E_UNSUPPORTED);
            assert_non_null(strstr(err.text, "abacus"));
        }
    }
}

static void says_what_is_wrong_with_a_model(void **state)
{
    (void)state;
    gpulet_test_onnx_unknown_op(make_path("op.onnx"), "");
    assert_load_fails(GPULET_E_UNSUPPORTED, "Frobnicate");
    gpulet_test_onnx_unknown_op(make_path("op.onnx"), "my.domain");
    assert_load_fails(GPULET_E_UNSUPPORTED, "Frobnicate");

    gpulet_test_onnx_t *m = gpulet_test_onnx_create();
    gpulet_test_onnx_input(m, "INPUT0", 1, "N");
    gpulet_test_onnx_output(m, "OUTPUT0", 1, "N");
    gpulet_test_onnx_node(m, "Identity", "", "INPUT0", "OUTPUT0");
    m->opset = 9999;
    gpulet_test_onnx_write(m, make_path("opset.onnx"));
    assert_load_fails(GPULET_E_UNSUPPORTED, "opset");
    m->opset = 13;
    m->ir_version = 99;
    gpulet_test_onnx_write(m, make_path("ir.onnx"));
    assert_load_fails(GPULET_E_UNSUPPORTED, "IR version");
    gpulet_test_onnx_destroy(m);

    m = gpulet_test_onnx_create();
    gpulet_test_onnx_input(m, "INPUT0", 1, "2,3");
    gpulet_test_onnx_input(m, "INPUT1", 1, "5,7");
    gpulet_test_onnx_output(m, "OUTPUT0", 1, NULL);
    gpulet_test_onnx_node(m, "MatMul", "", "INPUT0,INPUT1", "OUTPUT0");
    gpulet_test_onnx_write(m, make_path("shapes.onnx"));
    gpulet_test_onnx_destroy(m);
    assert_load_fails(GPULET_E_INVALID, "");

    assert_int_equal(gpulet_file_write(make_path("empty.onnx"), "", 0, NULL), GPULET_OK);
    assert_load_fails(GPULET_E_INVALID, "No graph");
}

static void refuses_what_the_protocol_cannot_say(void **state)
{
    (void)state;
    gpulet_test_onnx_t *m = gpulet_test_onnx_create();
    gpulet_test_onnx_input_sequence(m, "INPUT0", 1);
    gpulet_test_onnx_output(m, "OUTPUT0", 7, "");
    gpulet_test_onnx_node(m, "SequenceLength", "", "INPUT0", "OUTPUT0");
    gpulet_test_onnx_write(m, make_path("sequence.onnx"));
    gpulet_test_onnx_destroy(m);
    assert_load_fails(GPULET_E_UNSUPPORTED, "input 0: \"INPUT0\" is no tensor");

    m = gpulet_test_onnx_create();
    gpulet_test_onnx_input(m, "INPUT0", 1, "1,1,1,1,1,1,1,1,1");
    gpulet_test_onnx_output(m, "OUTPUT0", 1, "1,1,1,1,1,1,1,1,1");
    gpulet_test_onnx_node(m, "Identity", "", "INPUT0", "OUTPUT0");
    gpulet_test_onnx_write(m, make_path("rank.onnx"));
    gpulet_test_onnx_destroy(m);
    assert_load_fails(GPULET_E_UNSUPPORTED, "rank 9");
}

static void reads_weights_that_lie_beside_the_model(void **state)
{
    (void)state;
    float weights[16];
    float values[16];
    for (int i = 0; i < 16; i++) {
        weights[i] = (float)(10 * i);
        values[i] = 1.0F;
    }
    gpulet_test_onnx_t *m = gpulet_test_onnx_create();
    gpulet_test_onnx_input(m, "INPUT0", 1, "N,16");
    gpulet_test_onnx_output(m, "OUTPUT0", 1, "N,16");
    gpulet_test_onnx_initializer_external(m, "W", 1, "16", "weights.bin");
    gpulet_test_onnx_node(m, "Add", "", "INPUT0,W", "OUTPUT0");
    gpulet_test_onnx_write(m, make_path("external.onnx"));
    gpulet_test_onnx_destroy(m);
    assert_load_fails(GPULET_E_INVALID, "weights.bin");
    assert_int_equal(gpulet_file_write(make_path("weights.bin"), weights, sizeof(weights), NULL),
                     GPULET_OK);
    (void)make_path("external.onnx");
    gpulet_engine_model_t *model = load_model();
    gpulet_tensor_view_t input = view_of(GPULET_DATATYPE_FP32, values, sizeof(values), 2, 1, 16);
    gpulet_engine_output_t output = {.owner = NULL};
    assert_int_equal(OPS->run(model, &input, &output, NULL), GPULET_OK);
    for (int i = 0; i < 16; i++)
        assert_true(((const float *)output.tensor.data)[i] == weights[i] + 1.0F);
    OPS->output_release(model, &output);
    OPS->unload(model);
}

static void delivers_shapes_that_only_the_run_knows(void **state)
{
    (void)state;
    float values[] = {0, 5, 0, 6, 7};
    int64_t out[8] = {0};
    gpulet_error_t err = {""};
    gpulet_test_onnx_non_zero(make_path("non_zero.onnx"));
    gpulet_engine_model_t *model = load_model();
    gpulet_tensor_view_t input = view_of(GPULET_DATATYPE_FP32, values, sizeof(values), 1, 5, 0);
    for (int i = 0; i < 3; i++) { /* first by trying again, then at once */
        gpulet_engine_output_t output = {view_of(GPULET_DATATYPE_INT64, out, sizeof(out), 2, 1, 5),
                                         NULL};
        gpulet_status_t st = OPS->run(model, &input, &output, &err);
        if (st != GPULET_OK)
            fail_msg("%s", err.text);
        static const int64_t expected[] = {1, 3, 4};
        assert_int_equal(output.tensor.type, GPULET_DATATYPE_INT64);
        assert_int_equal(output.tensor.shape.rank, 2);
        assert_int_equal(output.tensor.shape.dims[1], 3);
        assert_int_equal(output.tensor.size, sizeof(expected));
        assert_memory_equal(output.tensor.data, expected, sizeof(expected));
        assert_non_null(output.owner);
        OPS->output_release(model, &output);
    }
    OPS->unload(model);
}

/* A failing node is the engine's error, with its words, and the model stays good. */
static void a_failing_run_leaves_the_model_good(void **state)
{
    (void)state;
    float values[6] = {1, 2, 3, 4, 5, 6};
    int64_t shape[2] = {4, 4};
    gpulet_error_t err = {""};
    gpulet_test_onnx_t *m = gpulet_test_onnx_create();
    gpulet_test_onnx_input(m, "INPUT0", 1, "N");
    gpulet_test_onnx_input(m, "INPUT1", 7, "2");
    gpulet_test_onnx_output(m, "OUTPUT0", 1, NULL);
    gpulet_test_onnx_node(m, "Reshape", "", "INPUT0,INPUT1", "OUTPUT0");
    gpulet_test_onnx_write(m, make_path("reshape.onnx"));
    gpulet_test_onnx_destroy(m);
    gpulet_engine_model_t *model = load_model();
    const gpulet_tensor_view_t inputs[] = {
        view_of(GPULET_DATATYPE_FP32, values, sizeof(values), 1, 6, 0),
        view_of(GPULET_DATATYPE_INT64, shape, sizeof(shape), 1, 2, 0)};
    gpulet_engine_output_t output = {.owner = NULL};
    assert_int_equal(OPS->run(model, inputs, &output, &err), GPULET_E_INTERNAL);
    print_message("%s\n", err.text);
    assert_non_null(strstr(err.text, "Reshape"));
    assert_null(strstr(err.text, "onnxruntime_src"));
    assert_null(output.owner);
    shape[0] = 2;
    shape[1] = 3;
    assert_int_equal(OPS->run(model, inputs, &output, &err), GPULET_OK);
    assert_int_equal(output.tensor.shape.rank, 2); /* its rank was not declared */
    assert_int_equal(output.tensor.shape.dims[0], 2);
    OPS->output_release(model, &output);
    OPS->unload(model);
}

static void no_part_of_a_model_crashes_it(void **state)
{
    (void)state;
    gpulet_engine_model_t *model = NULL;
    char *bytes = NULL;
    size_t size = 0;
    gpulet_test_onnx_add_sub(make_path("whole.onnx"), "N,16");
    assert_int_equal(gpulet_file_read(&bytes, &size, test_engine.path, 1 << 20, NULL), GPULET_OK);
    (void)make_path("part.onnx");
    for (size_t part = 0; part + 10 < size; part += 3) {
        gpulet_error_t err = {""};
        assert_int_equal(gpulet_file_write(test_engine.path, bytes, part, NULL), GPULET_OK);
        gpulet_status_t st = try_load(&model, 1, 0, &err);
        assert_true(st == GPULET_E_INVALID || st == GPULET_E_UNSUPPORTED);
        assert_true(strlen(err.text) > 0);
    }
    free(bytes);
    make_identity("FP32", "N,16");
    OPS->unload(load_model());
}

/* 64 MiB in and 64 MiB out, both in memory of ours: the process must not grow by another 64. */
static void large_tensors_are_not_copied(void **state)
{
    of_the_host_only();
    (void)state;
    enum { SIZE = 64 << 20 };
    make_identity("FP32", "N,16");
    gpulet_engine_model_t *model = load_model();
    char *memory = mmap(NULL, (size_t)2 * SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    memset(memory, 1, (size_t)2 * SIZE);
    memory[SIZE - 1] = 77;
    long before_kib = rss_kib("VmRSS");
    FILE *file = fopen("/proc/self/clear_refs", "we");
    bool cleared = file != NULL && fputs("5", file) >= 0; /* the highest becomes what is now */
    cleared = file != NULL && fclose(file) == 0 && cleared;
    gpulet_tensor_view_t input = view_of(GPULET_DATATYPE_FP32, memory, SIZE, 2, SIZE / 64, 16);
    gpulet_engine_output_t output = {
        view_of(GPULET_DATATYPE_FP32, memory + SIZE, SIZE, 2, SIZE / 64, 16), NULL};
    assert_int_equal(OPS->run(model, &input, &output, NULL), GPULET_OK);
    assert_ptr_equal(output.tensor.data, memory + SIZE);
    assert_int_equal(memory[2 * SIZE - 1], 77);
    if (cleared)
        assert_true(rss_kib("VmHWM") - before_kib < 8 * 1024);
    assert_true(rss_kib("VmRSS") - before_kib < 8 * 1024);
    (void)munmap(memory, (size_t)2 * SIZE);
    OPS->unload(model);
}

/* After a large batch the arena keeps what that needed, until a small run that follows a trim. */
static void a_trim_gives_the_memory_of_large_batches_back(void **state)
{
    of_the_host_only();
    (void)state;
    enum { ITEMS = 16384, WIDTH = 512 };
    long rss[4];
    static const int64_t sizes[] = {1, ITEMS, 1, 1};
    gpulet_test_onnx_matmul_chain(make_path("chain.onnx"), WIDTH, 4);
    gpulet_engine_model_t *model = load_model();
    float *values = calloc((size_t)ITEMS * WIDTH, sizeof(*values));
    assert_non_null(values);
    for (int i = 0; i < 4; i++) {
        gpulet_tensor_view_t input =
            view_of(GPULET_DATATYPE_FP32, values, (size_t)sizes[i] * WIDTH * 4, 2, sizes[i], WIDTH);
        gpulet_engine_output_t output = {.owner = NULL};
        if (i == 3)
            OPS->trim(model);
        assert_int_equal(OPS->run(model, &input, &output, NULL), GPULET_OK);
        OPS->output_release(model, &output);
        rss[i] = rss_kib("VmRSS");
    }
    print_message("resident KiB: small %ld, large %ld, small %ld, trimmed %ld\n", rss[0], rss[1],
                  rss[2], rss[3]);
    free(values);
    OPS->unload(model);
    if (is_sanitized())
        skip(); /* what is freed stays in quarantine */
    assert_true(rss[2] - rss[3] > 16 * 1024);
}

static void a_wrong_library_is_an_error_that_names_it(void **state)
{
    (void)state;
    gpulet_engine_t *engine = NULL;
    gpulet_error_t err = {""};
    gpulet_engine_options_t options = {.ort_library = "/no/such/libonnxruntime.so"};
    assert_int_equal(OPS->open(&engine, &options, &err), GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "/no/such/libonnxruntime.so"));
    options.ort_library = "/proc/self/exe"; /* is there, but is no library that can be opened */
    assert_int_not_equal(OPS->open(&engine, &options, &err), GPULET_OK);
    options.ort_library = "/lib/x86_64-linux-gnu/libm.so.6";
    if (access(options.ort_library, R_OK) == 0) {
        assert_int_equal(OPS->open(&engine, &options, &err), GPULET_E_INVALID);
        assert_non_null(strstr(err.text, "libm.so.6"));
    }
    assert_null(engine);
}

static void running_costs_microseconds(void **state)
{
    of_the_host_only();
    (void)state;
    enum { TIMES = 5000 };
    float out[16];
    make_identity("FP32", "N,16");
    gpulet_engine_model_t *model = load_model();
    float *values = ramp(16);
    gpulet_tensor_view_t input = view_of(GPULET_DATATYPE_FP32, values, 64, 2, 1, 16);
    uint64_t best_ns = UINT64_MAX;
    for (int i = 0; i < TIMES; i++) {
        gpulet_engine_output_t output = {view_of(GPULET_DATATYPE_FP32, out, 64, 2, 1, 16), NULL};
        uint64_t begin_ns = gpulet_clock_ns();
        assert_int_equal(OPS->run(model, &input, &output, NULL), GPULET_OK);
        uint64_t took_ns = gpulet_clock_ns() - begin_ns;
        best_ns = took_ns < best_ns ? took_ns : best_ns;
    }
    print_message("the quickest run took %.2f us\n", (double)best_ns / 1e3);
    assert_true(best_ns < 1000000);
    free(values);
    OPS->unload(model);
}

int run_ort_cases(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_and_loading_starts_no_telemetry),
        cmocka_unit_test(says_why_a_provider_cannot_be_had),
        cmocka_unit_test(pool_threads_are_one_less_and_inherit_the_mask),
        cmocka_unit_test(threads_do_not_spin_unless_told_to),
        cmocka_unit_test(says_what_is_wrong_with_a_model),
        cmocka_unit_test(refuses_what_the_protocol_cannot_say),
        cmocka_unit_test(reads_weights_that_lie_beside_the_model),
        cmocka_unit_test(delivers_shapes_that_only_the_run_knows),
        cmocka_unit_test(a_failing_run_leaves_the_model_good),
        cmocka_unit_test(no_part_of_a_model_crashes_it),
        cmocka_unit_test(large_tensors_are_not_copied),
        cmocka_unit_test(a_trim_gives_the_memory_of_large_batches_back),
        cmocka_unit_test(a_wrong_library_is_an_error_that_names_it),
        cmocka_unit_test(running_costs_microseconds),
    };
    return cmocka_run_group_tests_name("contract.engine.ort", tests, NULL, NULL);
}
