#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "store/model_cache.h"

enum { BLOCK = 65536 };

typedef struct place {
    char root[64];
    char folder[128];
    char keys[4][GPULET_DIGEST_TEXT_MAX + 1];
} place_t;

static int setup(void **state)
{
    static const char *const texts[] = {"a", "b", "c", "d"};
    place_t *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return -1;
    (void)snprintf(p->root, sizeof(p->root), "/tmp/gpulet-cache-XXXXXX");
    if (mkdtemp(p->root) == NULL) {
        free(p);
        return -1;
    }
    (void)snprintf(p->folder, sizeof(p->folder), "%s/deep/models", p->root);
    for (int i = 0; i < 4; i++)
        gpulet_digest_of(p->keys[i], texts[i]);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    place_t *p = *state;
    char path[160];
    (void)snprintf(path, sizeof(path), "%s/deep", p->root);
    int failed = rmdir(p->folder) != 0 || rmdir(path) != 0 || rmdir(p->root) != 0;
    free(p);
    return failed;
}

static gpulet_model_cache_t *open_cache(const place_t *p, uint64_t bytes_max)
{
    gpulet_model_cache_t *cache = NULL;
    gpulet_error_t err = {""};
    if (gpulet_model_cache_open(&cache, p->folder, bytes_max, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return cache;
}

static bool has(gpulet_model_cache_t *cache, const char *key)
{
    char path[256];
    return gpulet_model_cache_find(path, sizeof(path), cache, key) == GPULET_OK;
}

/* An entry of so many blocks, and what committing it said. */
static gpulet_status_t make(gpulet_model_cache_t *cache, const char *key, size_t blocks)
{
    char folder[256], file[300];
    char *bytes = calloc(blocks, BLOCK);
    assert_non_null(bytes);
    assert_int_equal(gpulet_model_cache_begin(folder, sizeof(folder), cache, key, NULL), GPULET_OK);
    assert_false(has(cache, key)); /* not before it is whole */
    memset(bytes, 1, blocks * BLOCK);
    (void)snprintf(file, sizeof(file), "%s/weights.bin", folder);
    assert_int_equal(gpulet_file_write(file, bytes, blocks * BLOCK, NULL), GPULET_OK);
    free(bytes);
    return gpulet_model_cache_commit(cache, key, NULL);
}

static void an_entry_appears_whole_and_outlasts_its_server(void **state)
{
    const place_t *p = *state;
    gpulet_model_cache_t *cache = open_cache(p, UINT64_MAX);
    assert_false(has(cache, p->keys[0]));
    assert_int_equal(make(cache, p->keys[0], 1), GPULET_OK);
    assert_true(has(cache, p->keys[0]));
    gpulet_model_cache_close(cache);
    cache = open_cache(p, UINT64_MAX);
    assert_true(has(cache, p->keys[0]));
    assert_false(has(cache, p->keys[1]));
    gpulet_model_cache_remove(cache, p->keys[0]);
    assert_false(has(cache, p->keys[0]));
    gpulet_model_cache_close(cache);
}

static void an_abandoned_entry_leaves_nothing(void **state)
{
    const place_t *p = *state;
    char folder[256];
    gpulet_model_cache_t *cache = open_cache(p, UINT64_MAX);
    assert_int_equal(gpulet_model_cache_begin(folder, sizeof(folder), cache, p->keys[0], NULL),
                     GPULET_OK);
    gpulet_model_cache_abandon(cache, p->keys[0]);
    assert_int_not_equal(access(folder, F_OK), 0);
    gpulet_model_cache_close(cache);
}

static void the_second_of_two_makers_loses_quietly(void **state)
{
    const place_t *p = *state;
    char folder[256];
    gpulet_model_cache_t *cache = open_cache(p, UINT64_MAX);
    assert_int_equal(make(cache, p->keys[0], 1), GPULET_OK);
    assert_int_equal(gpulet_model_cache_begin(folder, sizeof(folder), cache, p->keys[0], NULL),
                     GPULET_OK);
    assert_int_equal(gpulet_model_cache_commit(cache, p->keys[0], NULL), GPULET_OK);
    assert_true(has(cache, p->keys[0]));
    gpulet_model_cache_remove(cache, p->keys[0]);
    gpulet_model_cache_close(cache);
}

static void the_longest_unused_goes_first(void **state)
{
    const place_t *p = *state;
    gpulet_model_cache_t *cache = open_cache(p, 3 * BLOCK + BLOCK / 2);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(make(cache, p->keys[i], 1), GPULET_OK);
        usleep(20000); /* file times tick coarsely */
    }
    assert_true(has(cache, p->keys[0])); /* and with that is used */
    usleep(20000);
    assert_int_equal(make(cache, p->keys[3], 1), GPULET_OK);
    assert_false(has(cache, p->keys[1]));
    assert_true(has(cache, p->keys[0]) && has(cache, p->keys[2]) && has(cache, p->keys[3]));
    /* One that takes all the room pushes all others out; one that takes more is not kept. */
    assert_int_equal(make(cache, p->keys[1], 3), GPULET_OK);
    assert_true(has(cache, p->keys[1]));
    assert_false(has(cache, p->keys[0]) || has(cache, p->keys[2]) || has(cache, p->keys[3]));
    assert_int_equal(make(cache, p->keys[0], 4), GPULET_E_TOO_LARGE);
    assert_false(has(cache, p->keys[0]));
    gpulet_model_cache_remove(cache, p->keys[1]);
    gpulet_model_cache_close(cache);
}

static void a_folder_that_others_may_write_to_is_refused(void **state)
{
    const place_t *p = *state;
    gpulet_model_cache_t *cache = open_cache(p, 1);
    gpulet_error_t err = {""};
    gpulet_model_cache_close(cache);
    assert_int_equal(chmod(p->folder, 0777), 0);
    assert_int_equal(gpulet_model_cache_open(&cache, p->folder, 1, &err), GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "nobody else may write"));
    assert_int_equal(chmod(p->folder, 0700), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_entry_appears_whole_and_outlasts_its_server, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_abandoned_entry_leaves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(the_second_of_two_makers_loses_quietly, setup, teardown),
        cmocka_unit_test_setup_teardown(the_longest_unused_goes_first, setup, teardown),
        cmocka_unit_test_setup_teardown(a_folder_that_others_may_write_to_is_refused, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("store.model_cache", tests, NULL, NULL);
}
