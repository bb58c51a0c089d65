#include "store/content.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder.h"

static void key_of(char out[GPULET_FILE_KEY_MAX + 1], const char *path)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    gpulet_file_key(out, &status);
}

static void digest_of(char out[GPULET_DIGEST_TEXT_MAX + 1], const char *path)
{
    char key[GPULET_FILE_KEY_MAX + 1];
    gpulet_error_t err = {""};
    key_of(key, path);
    if (gpulet_content_digest(out, path, key, NULL, &err) != GPULET_OK)
        fail_msg("%s", err.text);
}

static void a_copy_has_another_key_and_the_same_content(void **state)
{
    folder_t *folder = *state;
    char keys[3][GPULET_FILE_KEY_MAX + 1];
    char digests[3][GPULET_DIGEST_TEXT_MAX + 1];
    static const char *const names[] = {"a", "deep/copy of a", "b"};
    static const char *const texts[] = {"weights", "weights", "weight"};
    char expected[GPULET_DIGEST_TEXT_MAX + 1];
    for (int i = 0; i < 3; i++) {
        const char *path = folder_write_text(folder, names[i], texts[i]);
        key_of(keys[i], path);
        digest_of(digests[i], path);
    }
    assert_string_not_equal(keys[0], keys[1]);
    assert_string_equal(digests[0], digests[1]);
    assert_string_not_equal(digests[0], digests[2]);
    gpulet_digest_of(expected, "weights");
    assert_string_equal(digests[0], expected);
}

/* Counts the pieces and, after some, has enough or writes to the file. */
typedef struct reader {
    int pieces;
    int enough;
    const char *path;
} reader_t;

static bool go_on(void *context)
{
    reader_t *reader = context;
    if (++reader->pieces < reader->enough)
        return true;
    if (reader->path == NULL)
        return false;
    FILE *f = fopen(reader->path, "ae");
    assert_non_null(f);
    assert_true(fputs("more", f) >= 0);
    assert_int_equal(fclose(f), 0);
    reader->enough = 1000;
    return true;
}

static const char *write_large(folder_t *folder, size_t size)
{
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, 'w', size);
    const char *path = folder_write(folder, "large", text, size);
    free(text);
    return path;
}

static void reading_may_be_ended(void **state)
{
    folder_t *folder = *state;
    char key[GPULET_FILE_KEY_MAX + 1], digest[GPULET_DIGEST_TEXT_MAX + 1];
    reader_t reader = {.enough = 2};
    const gpulet_content_pace_t pace = {.context = &reader, .go_on = go_on};
    const char *path = write_large(folder, 5 << 20);
    key_of(key, path);
    assert_int_equal(gpulet_content_digest(digest, path, key, &pace, NULL), GPULET_E_CANCELLED);
    assert_int_equal(reader.pieces, 2);
}

static void a_file_that_is_another_by_now_has_no_content(void **state)
{
    folder_t *folder = *state;
    char key[GPULET_FILE_KEY_MAX + 1], digest[GPULET_DIGEST_TEXT_MAX + 1];
    gpulet_error_t err = {""};
    const char *path = write_large(folder, 3 << 20);
    reader_t reader = {.enough = 2, .path = path};
    const gpulet_content_pace_t pace = {.context = &reader, .go_on = go_on};
    assert_int_equal(gpulet_content_digest(digest, path, "1:2:3:4.5", NULL, &err),
                     GPULET_E_NOT_FOUND);
    key_of(key, path);
    assert_int_equal(gpulet_content_digest(digest, path, key, &pace, &err), GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "changed meanwhile"));
    assert_true(reader.pieces >= 2);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(gpulet_content_digest(digest, path, key, NULL, &err), GPULET_E_NOT_FOUND);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(gpulet_content_digest(digest, path, key, NULL, &err), GPULET_E_NOT_FOUND);
}

#define in_folder(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_folder(a_copy_has_another_key_and_the_same_content),
        in_folder(reading_may_be_ended),
        in_folder(a_file_that_is_another_by_now_has_no_content),
    };
    return cmocka_run_group_tests_name("store.content", tests, NULL, NULL);
}
