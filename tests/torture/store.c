/* The store: our memory and file calls, and SQLite failing as it does when the disk is full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>
#include <unistd.h>

#include <sqlite3.h>

#include "store/store.h"
#include "torture.h"
#include "torture_calls.h"

// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): the linker's names
#define SQLITE(bad, name, parameters, arguments)                                                   \
    int __real_##name parameters;                                                                  \
    int __wrap_##name parameters;                                                                  \
    int __wrap_##name parameters                                                                   \
    {                                                                                              \
        return torture_fails(TORTURE_SYSTEM, #name) ? (bad) : __real_##name arguments;             \
    }
SQLITE(SQLITE_FULL, sqlite3_step, (sqlite3_stmt * s), (s))
SQLITE(SQLITE_FULL, sqlite3_exec,
       (sqlite3 * db, const char *sql, int (*row)(void *, int, char **, char **), void *context,
        char **error),
       (db, sql, row, context, error))
SQLITE(SQLITE_NOMEM, sqlite3_prepare_v2,
       (sqlite3 * db, const char *sql, int size, sqlite3_stmt **out, const char **tail),
       (db, sql, size, out, tail))
SQLITE(SQLITE_NOMEM, sqlite3_prepare_v3,
       (sqlite3 * db, const char *sql, int size, unsigned flags, sqlite3_stmt **out,
        const char **tail),
       (db, sql, size, flags, out, tail))
SQLITE(SQLITE_NOMEM, sqlite3_bind_text,
       (sqlite3_stmt * s, int at, const char *text, int size, void (*give)(void *)),
       (s, at, text, size, give))

int __real_sqlite3_open_v2(const char *path, sqlite3 **out, int flags, const char *vfs);
int __wrap_sqlite3_open_v2(const char *path, sqlite3 **out, int flags, const char *vfs);
int __wrap_sqlite3_open_v2(const char *path, sqlite3 **out, int flags, const char *vfs)
{
    int rc = __real_sqlite3_open_v2(path, out, flags, vfs);
    return torture_fails(TORTURE_SYSTEM, "sqlite3_open_v2") ? SQLITE_CANTOPEN : rc;
}
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)

static gpulet_status_t use(gpulet_store_t *store)
{
    const gpulet_profile_point_t point = {1, 2.5, 3, NAN, 12, NAN, NAN, NAN, NAN};
    gpulet_profile_t *profile = NULL;
    gpulet_error_t err;
    size_t count = 0;
    char *json = NULL;
    torture_pause();
    assert_int_equal(gpulet_profile_create(&profile), GPULET_OK);
    torture_resume();
    gpulet_status_t st =
        gpulet_store_put_point(store, "cpu", "ort", "key", "m", 1, 1, &point, &err);
    if (st == GPULET_OK)
        st = gpulet_store_put_plan(store, "test", "{}", &err);
    if (st == GPULET_OK)
        st = gpulet_store_get_points(store, "cpu", "ort", "key", "m", profile, &count, &err);
    if (st == GPULET_OK) {
        assert_int_equal(count, 1);
        st = gpulet_store_last_plan(&json, store, &err);
    }
    if (st == GPULET_OK)
        assert_string_equal(json, "{}");
    else
        assert_null(json);
    free(json);
    gpulet_profile_destroy(profile);
    return st;
}

static gpulet_status_t whole_store(void *context)
{
    gpulet_store_t *store = NULL;
    gpulet_error_t err;
    gpulet_status_t st = gpulet_store_open(&store, context, &err);
    if (st != GPULET_OK) {
        assert_null(store);
        return st;
    }
    st = use(store);
    gpulet_store_close(store);
    return st;
}

static void remove_all(const char *path)
{
    char text[128];
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(text, sizeof(text), "%s%s", path, ends[i]);
        (void)unlink(text);
    }
}

/* Made anew each time. */
static gpulet_status_t new_store(void *context)
{
    torture_pause();
    remove_all(context);
    torture_resume();
    return whole_store(context);
}

static void stores(void **state)
{
    char folder[] = "/tmp/gpulet-torture-XXXXXX";
    char deeper[64];
    char path[96];
    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(deeper, sizeof(deeper), "%s/state", folder);
    (void)snprintf(path, sizeof(path), "%s/gpulet.db", deeper);
    torture_run("new store", new_store, path, TORTURE_BOTH, 10);
    torture_run("old store", whole_store, path, TORTURE_BOTH, 10);
    remove_all(path);
    assert_int_equal(rmdir(deeper), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(stores)};
    return cmocka_run_group_tests_name("torture.store", tests, NULL, NULL);
}
