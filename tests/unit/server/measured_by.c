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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(libraries_and_backends_are_told_apart_and_copies_are_not,
                                        folder_setup, folder_teardown),
        cmocka_unit_test(an_engine_without_a_library_is_its_name),
    };
    return cmocka_run_group_tests_name("server.measured_by", tests, NULL, NULL);
}
