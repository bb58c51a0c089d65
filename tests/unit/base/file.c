#include "base/file.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "folder.h"

enum { SIZE_MAX_READ = 1 << 20, BIG_SIZE = 300000 };

static int entries_count(const char *path)
{
    int count = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        count += entry->d_name[0] != '.';
    (void)closedir(dir);
    return count;
}

static void what_is_written_is_read_back(void **state)
{
    folder_t *folder = *state;
    char *data = malloc(BIG_SIZE);
    char *text = NULL;
    size_t size = 0;
    gpulet_error_t err;
    assert_non_null(data);
    for (int i = 0; i < BIG_SIZE; i++)
        data[i] = (char)(i * 7);
    assert_int_equal(gpulet_file_write(folder_at(folder, "file"), data, BIG_SIZE, &err), GPULET_OK);
    assert_int_equal(gpulet_file_read(&text, &size, folder_at(folder, "file"), SIZE_MAX_READ, &err),
                     GPULET_OK);
    assert_int_equal(size, BIG_SIZE);
    assert_memory_equal(text, data, BIG_SIZE);
    assert_int_equal(text[size], 0);
    free(text);
    free(data);
}

static void writing_replaces_and_leaves_no_other_file(void **state)
{
    folder_t *folder = *state;
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(gpulet_file_write(folder_at(folder, "file"), "long text", 9, NULL), GPULET_OK);
    assert_int_equal(gpulet_file_write(folder_at(folder, "file"), "short", 5, NULL), GPULET_OK);
    assert_int_equal(entries_count(folder->root), 1);
    assert_int_equal(gpulet_file_read(&text, &size, folder_at(folder, "file"), 5, NULL), GPULET_OK);
    assert_string_equal(text, "short");
    free(text);
}

static void an_empty_file_is_an_empty_text(void **state)
{
    folder_t *folder = *state;
    char *text = NULL;
    size_t size = 1;
    assert_int_equal(gpulet_file_write(folder_at(folder, "file"), "", 0, NULL), GPULET_OK);
    assert_int_equal(gpulet_file_read(&text, &size, folder_at(folder, "file"), 0, NULL), GPULET_OK);
    assert_int_equal(size, 0);
    assert_string_equal(text, "");
    free(text);
}

static void errors_name_the_path(void **state)
{
    folder_t *folder = *state;
    char *text = NULL;
    size_t size = 0;
    gpulet_error_t err;
    char missing[256];
    (void)snprintf(missing, sizeof(missing), "%s/none/file", folder->root);
    assert_int_equal(gpulet_file_read(&text, &size, missing, 10, &err), GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, missing));
    assert_int_equal(gpulet_file_write(missing, "x", 1, &err), GPULET_E_IO);
    assert_non_null(strstr(err.text, missing));
    assert_int_equal(gpulet_file_read(&text, &size, folder->root, 10, &err), GPULET_E_IO);
    assert_non_null(strstr(err.text, folder->root));
    assert_null(text);
}

static void a_file_over_the_limit_is_refused(void **state)
{
    folder_t *folder = *state;
    char *text = NULL;
    size_t size = 0;
    gpulet_error_t err;
    assert_int_equal(gpulet_file_write(folder_at(folder, "file"), "0123456789", 10, NULL),
                     GPULET_OK);
    assert_int_equal(gpulet_file_read(&text, &size, folder_at(folder, "file"), 9, &err),
                     GPULET_E_TOO_LARGE);
    assert_non_null(strstr(err.text, "9 bytes"));
    assert_null(text);
}

static void a_path_too_long_is_refused(void **state)
{
    (void)state;
    static char path[5000];
    gpulet_error_t err;
    memset(path, 'p', sizeof(path) - 1);
    assert_int_equal(gpulet_file_write(path, "x", 1, &err), GPULET_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(writing_replaces_and_leaves_no_other_file),
        cmocka_unit_test(an_empty_file_is_an_empty_text),
        cmocka_unit_test(errors_name_the_path),
        cmocka_unit_test(a_file_over_the_limit_is_refused),
        cmocka_unit_test(a_path_too_long_is_refused),
    };
    return cmocka_run_group_tests_name("base.file", tests, folder_setup, folder_teardown);
}
