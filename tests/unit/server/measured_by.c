/* What measurements are told apart by. */
#include "server/measured_by.h"

#include <string.h>

#include "folder.h"

static void of(char out[GPULET_MEASURED_BY_MAX + 1], folder_t *folder, const char *library,
               const char *backend)
{
    gpulet_measured_by(out, "ort", folder_at(folder, library), backend);
    assert_int_equal(strncmp(out, "ort ", 4), 0);
}

static void libraries_and_backends_are_told_apart_and_copies_are_not(void **state)
{
    folder_t *folder = *state;
    char first[GPULET_MEASURED_BY_MAX + 1];
    char other[GPULET_MEASURED_BY_MAX + 1];
    (void)folder_write_text(folder, "a/libonnxruntime.so.1.20.0", "library");
    (void)folder_write_text(folder, "a/libonnxruntime.so.1.21.0", "library");
    (void)folder_write_text(folder, "b/libonnxruntime.so.1.20.0", "library");
    (void)folder_write_text(folder, "c/libonnxruntime.so.1.20.0", "another build of it");
    of(first, folder, "a/libonnxruntime.so.1.20.0", "cpu");
    of(other, folder, "b/libonnxruntime.so.1.20.0", "cpu");
    assert_string_equal(other, first);
    of(other, folder, "a/libonnxruntime.so.1.21.0", "cpu");
    assert_string_not_equal(other, first);
    of(other, folder, "c/libonnxruntime.so.1.20.0", "cpu");
    assert_string_not_equal(other, first);
    of(other, folder, "a/libonnxruntime.so.1.20.0", "mps");
    assert_string_not_equal(other, first); /* the processor is not what counts there */
}

static void an_engine_without_a_library_is_its_name(void **state)
{
    char out[GPULET_MEASURED_BY_MAX + 1];
    (void)state;
    gpulet_measured_by(out, "fake", NULL, "fake");
    assert_string_equal(out, "fake");
}

static gpulet_model_io_t warmup_of(gpulet_tensor_spec_t *spec, int64_t width)
{
    *spec = (gpulet_tensor_spec_t){
        .name = "x", .type = GPULET_DATATYPE_FP32, .shape = {.rank = 2, .dims = {-1, width}}};
    return (gpulet_model_io_t){.inputs_count = 1, .inputs = spec};
}

static void shapes_are_told_apart_and_who_says_none_is_as_before(void **state)
{
    const gpulet_model_io_t none = {0};
    gpulet_tensor_spec_t specs[2];
    const gpulet_model_io_t narrow = warmup_of(&specs[0], 64);
    const gpulet_model_io_t broad = warmup_of(&specs[1], 320);
    const gpulet_model_io_t *cases[][2] = {{&none, NULL},     {&narrow, NULL},   {&broad, NULL},
                                           {&narrow, &broad}, {&broad, &narrow}, {&none, &narrow}};
    enum { COUNT = sizeof(cases) / sizeof(cases[0]) };
    char out[COUNT][GPULET_MEASURED_BY_MAX + 1];
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        gpulet_measured_by_shapes(out[i], "ort 0123", cases[i][0], cases[i][1]);
        assert_int_equal(strncmp(out[i], "ort 0123", 8), 0);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(out[i], out[k]);
    }
    assert_string_equal(out[0], "ort 0123");
    gpulet_measured_by_shapes(out[1], "ort 0123", &none, &none);
    assert_string_equal(out[1], "ort 0123");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(libraries_and_backends_are_told_apart_and_copies_are_not,
                                        folder_setup, folder_teardown),
        cmocka_unit_test(an_engine_without_a_library_is_its_name),
        cmocka_unit_test(shapes_are_told_apart_and_who_says_none_is_as_before),
    };
    return cmocka_run_group_tests_name("server.measured_by", tests, NULL, NULL);
}
