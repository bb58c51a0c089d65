#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/engine.h"

static char folder[] = "/tmp/gpulet-locate-XXXXXX";

static const char *in_folder(char *path, size_t size, const char *name)
{
    (void)snprintf(path, size, "%s/%s", folder, name);
    return path;
}

static void make_file(const char *name)
{
    char path[128];
    assert_int_equal(gpulet_file_write(in_folder(path, sizeof(path), name), "x", 1, NULL),
                     GPULET_OK);
}

static void remove_file(const char *name)
{
    char path[128];
    assert_int_equal(unlink(in_folder(path, sizeof(path), name)), 0);
}

static void takes_the_path_it_is_given(void **state)
{
    (void)state;
    char path[4096];
    char want[128];
    make_file("any-name");
    (void)in_folder(want, sizeof(want), "any-name");
    assert_int_equal(gpulet_engine_ort_locate(path, sizeof(path), want, NULL), GPULET_OK);
    assert_string_equal(path, want);
    remove_file("any-name");
}

static void a_wrong_path_is_an_error_that_names_it_and_its_source(void **state)
{
    (void)state;
    char path[4096];
    gpulet_error_t err = {""};
    assert_int_equal(gpulet_engine_ort_locate(path, sizeof(path), "/no/such.so", &err),
                     GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "/no/such.so"));
    assert_non_null(strstr(err.text, "as configured"));
    assert_int_equal(setenv("GPULET_ORT_LIBRARY", "/no/other.so", 1), 0);
    assert_int_equal(gpulet_engine_ort_locate(path, sizeof(path), NULL, &err), GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "/no/other.so"));
    assert_non_null(strstr(err.text, "GPULET_ORT_LIBRARY"));
    assert_int_equal(unsetenv("GPULET_ORT_LIBRARY"), 0);
}

static void searches_a_folder_for_the_one_library(void **state)
{
    (void)state;
    char path[4096];
    char want[128];
    gpulet_error_t err = {""};
    assert_int_equal(gpulet_engine_ort_locate(path, sizeof(path), folder, &err),
                     GPULET_E_NOT_FOUND);
    make_file("libonnxruntime_providers_shared.so");
    make_file("libonnxruntime.so.1.20.1");
    assert_int_equal(gpulet_engine_ort_locate(path, sizeof(path), folder, &err), GPULET_OK);
    assert_string_equal(path, in_folder(want, sizeof(want), "libonnxruntime.so.1.20.1"));
    make_file("libonnxruntime.so.1.32.0");
    assert_int_equal(gpulet_engine_ort_locate(path, sizeof(path), folder, &err), GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "holds 2 libraries"));
    make_file("libonnxruntime.so");
    assert_int_equal(setenv("GPULET_ORT_LIBRARY", folder, 1), 0);
    assert_int_equal(gpulet_engine_ort_locate(path, sizeof(path), NULL, &err), GPULET_OK);
    assert_string_equal(path, in_folder(want, sizeof(want), "libonnxruntime.so"));
    assert_int_equal(unsetenv("GPULET_ORT_LIBRARY"), 0);
    remove_file("libonnxruntime.so");
    remove_file("libonnxruntime.so.1.32.0");
    remove_file("libonnxruntime.so.1.20.1");
    remove_file("libonnxruntime_providers_shared.so");
}

static void a_path_that_does_not_fit_is_an_error(void **state)
{
    (void)state;
    char path[8];
    assert_int_equal(gpulet_engine_ort_locate(path, sizeof(path), "/proc/self/exe", NULL),
                     GPULET_E_TOO_LARGE);
}

/* Without a word from anybody: whatever is installed, or an error that says what to do. */
static void otherwise_finds_one_or_says_what_to_do(void **state)
{
    (void)state;
    char path[4096] = "";
    gpulet_error_t err = {""};
    assert_int_equal(setenv("GPULET_ORT_LIBRARY", "", 1), 0); /* counts as unset */
    gpulet_status_t st = gpulet_engine_ort_locate(path, sizeof(path), NULL, &err);
    assert_int_equal(unsetenv("GPULET_ORT_LIBRARY"), 0);
    if (st == GPULET_OK)
        assert_non_null(strstr(path, "libonnxruntime.so"));
    else
        assert_non_null(strstr(err.text, "GPULET_ORT_LIBRARY"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_path_it_is_given),
        cmocka_unit_test(a_wrong_path_is_an_error_that_names_it_and_its_source),
        cmocka_unit_test(searches_a_folder_for_the_one_library),
        cmocka_unit_test(a_path_that_does_not_fit_is_an_error),
        cmocka_unit_test(otherwise_finds_one_or_says_what_to_do),
    };
    (void)unsetenv("GPULET_ORT_LIBRARY");
    if (mkdtemp(folder) == NULL)
        return 1;
    int result = cmocka_run_group_tests_name("engine.locate", tests, NULL, NULL);
    (void)rmdir(folder);
    return result;
}
