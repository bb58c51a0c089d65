#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <math.h>
#include <sqlite3.h>

#include "base/file.h"
#include "folder.h"

enum { PROCESSES = 8 };

static gpulet_store_t *open_store(const char *path)
{
    gpulet_store_t *store = NULL;
    gpulet_error_t err = {""};
    if (gpulet_store_open(&store, path, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return store;
}

static void put(gpulet_store_t *store, const char *key, uint32_t units, uint32_t batch, double ms)
{
    gpulet_error_t err = {""};
    gpulet_profile_point_t point = {batch, ms, NAN, NAN, 12.5, NAN, NAN, NAN, 0.25};
    if (gpulet_store_put_point(store, "cpu", "ort", key, "m", units, 1, &point, &err) != GPULET_OK)
        fail_msg("%s", err.text);
}

/* How many points of the key there are; they go into profile as model "n". */
static size_t get(gpulet_store_t *store, const char *device, const char *engine, const char *key,
                  gpulet_profile_t *profile)
{
    gpulet_error_t err = {""};
    size_t count = 99;
    if (gpulet_store_get_points(store, device, engine, key, "n", profile, &count, &err) !=
        GPULET_OK)
        fail_msg("%s", err.text);
    return count;
}

static void points_come_back_as_they_were(void **state)
{
    folder_t *folder = *state;
    gpulet_profile_t *profile = NULL;
    gpulet_store_t *store = open_store(folder_at(folder, "gpulet.db"));
    assert_string_equal(gpulet_store_path(store), folder_at(folder, "gpulet.db"));
    put(store, "key", 2, 1, 1.25);
    put(store, "key", 2, 4, 3.1);
    put(store, "key", 1, 1, 2.5);
    put(store, "key", 1, 1, 2.75); /* measured again: the newer one stays */
    gpulet_store_close(store);
    store = open_store(folder_at(folder, "gpulet.db"));
    assert_int_equal(gpulet_profile_create(&profile), GPULET_OK);
    assert_int_equal(get(store, "cpu", "ort", "key", profile), 3);
    const gpulet_curve_t *curve = gpulet_profile_curve(profile, "cpu", "n", 2, 1);
    assert_non_null(curve);
    assert_int_equal(curve->points_count, 2);
    assert_true(curve->points[0].latency_ms == 1.25);
    assert_true(curve->points[1].latency_ms == 3.1);
    assert_true(curve->points[0].memory_mb == 12.5);
    assert_true(curve->points[0].cold_ms == 0.25);
    assert_true(isnan(curve->points[0].latency_ms_p99));
    curve = gpulet_profile_curve(profile, "cpu", "n", 1, 1);
    assert_int_equal(curve->points_count, 1);
    assert_true(curve->points[0].latency_ms == 2.75);
    gpulet_profile_destroy(profile);
    gpulet_store_close(store);
}

static void points_belong_to_device_engine_and_file(void **state)
{
    folder_t *folder = *state;
    gpulet_profile_t *profile = NULL;
    gpulet_store_t *store = open_store(folder_at(folder, "gpulet.db"));
    put(store, "key", 1, 1, 1);
    assert_int_equal(gpulet_profile_create(&profile), GPULET_OK);
    assert_int_equal(get(store, "cpu", "ort", "other key", profile), 0);
    assert_int_equal(get(store, "gpu", "ort", "key", profile), 0);
    assert_int_equal(get(store, "cpu", "fake", "key", profile), 0);
    assert_false(gpulet_profile_has_model(profile, NULL, "n"));
    assert_int_equal(get(store, "cpu", "ort", "key", profile), 1);
    gpulet_profile_destroy(profile);
    gpulet_store_close(store);
}

static void tell_content(gpulet_store_t *store, const char *key, const char *digest)
{
    gpulet_error_t err = {""};
    if (gpulet_store_put_content(store, key, digest, &err) != GPULET_OK)
        fail_msg("%s", err.text);
}

static void a_copy_has_the_points_of_what_it_is_a_copy_of(void **state)
{
    folder_t *folder = *state;
    gpulet_error_t err = {""};
    char digest[GPULET_DIGEST_TEXT_MAX + 1];
    gpulet_profile_t *profile = NULL;
    gpulet_store_t *store = open_store(folder_at(folder, "gpulet.db"));
    put(store, "first", 1, 1, 1.5);
    put(store, "other", 1, 2, 9);
    assert_int_equal(gpulet_profile_create(&profile), GPULET_OK);
    assert_int_equal(gpulet_store_get_content(digest, store, "copy", &err), GPULET_E_NOT_FOUND);
    tell_content(store, "copy", "same");
    assert_int_equal(get(store, "cpu", "ort", "copy", profile),
                     0); /* of the first nothing is told */
    tell_content(store, "first", "same");
    tell_content(store, "other", "else");
    assert_int_equal(gpulet_store_get_content(digest, store, "copy", &err), GPULET_OK);
    assert_string_equal(digest, "same");
    assert_int_equal(get(store, "gpu", "ort", "copy", profile), 0);
    assert_int_equal(get(store, "cpu", "ort", "copy", profile), 1);
    assert_true(gpulet_profile_curve(profile, "cpu", "n", 1, 1)->points[0].latency_ms == 1.5);
    put(store, "copy", 2, 1, 1); /* one of its own is one more, of both */
    assert_int_equal(get(store, "cpu", "ort", "copy", profile), 2);
    assert_int_equal(get(store, "cpu", "ort", "first", profile), 2);
    tell_content(store, "copy", "else"); /* written to since */
    assert_int_equal(get(store, "cpu", "ort", "first", profile), 1);
    gpulet_profile_destroy(profile);
    gpulet_store_close(store);
}

/* Of points of several files of one content the own one, else the newest. */
static void of_two_measurements_one_counts(void **state)
{
    folder_t *folder = *state;
    gpulet_profile_t *profile = NULL;
    gpulet_store_t *store = open_store(folder_at(folder, "gpulet.db"));
    put(store, "first", 1, 1, 1.5);
    put(store, "copy", 1, 1, 2.5);
    tell_content(store, "first", "same");
    tell_content(store, "copy", "same");
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(folder_at(folder, "gpulet.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "UPDATE point SET measured_at = '2020-01-01 00:00:00' WHERE "
                                  "file_key = 'first'",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(gpulet_profile_create(&profile), GPULET_OK);
    assert_int_equal(get(store, "cpu", "ort", "first", profile), 1);
    assert_true(gpulet_profile_curve(profile, "cpu", "n", 1, 1)->points[0].latency_ms == 1.5);
    tell_content(store, "third", "same");
    assert_int_equal(get(store, "cpu", "ort", "third", profile), 1);
    assert_true(gpulet_profile_curve(profile, "cpu", "n", 1, 1)->points[0].latency_ms == 2.5);
    gpulet_profile_destroy(profile);
    gpulet_store_close(store);
}

static bool is_whole_for(gpulet_store_t *store, const char *engine, const char *key, uint32_t units,
                         uint32_t batch)
{
    gpulet_error_t err = {""};
    bool whole = false;
    if (gpulet_store_get_whole(&whole, store, "cpu", engine, key, units, batch, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return whole;
}

static bool is_whole(gpulet_store_t *store, const char *engine, const char *key)
{
    return is_whole_for(store, engine, key, 4, 8);
}

static void what_is_measured_whole_is_so_for_copies(void **state)
{
    folder_t *folder = *state;
    gpulet_error_t err = {""};
    gpulet_store_t *store = open_store(folder_at(folder, "gpulet.db"));
    assert_false(is_whole(store, "ort", "first"));
    for (int i = 0; i < 2; i++)
        assert_int_equal(gpulet_store_put_whole(store, "cpu", "ort", "first", 4, 8, &err),
                         GPULET_OK);
    assert_true(is_whole(store, "ort", "first"));
    assert_true(is_whole_for(store, "ort", "first", 1, 8));
    assert_false(is_whole_for(store, "ort", "first", 5, 1));
    assert_false(is_whole_for(store, "ort", "first", 1, 9));
    assert_false(is_whole(store, "fake", "first"));
    assert_false(is_whole(store, "ort", "copy"));
    tell_content(store, "first", "same");
    tell_content(store, "copy", "same");
    assert_true(is_whole(store, "ort", "copy"));
    gpulet_store_close(store);
}

static void the_newest_plan_is_the_last_one(void **state)
{
    folder_t *folder = *state;
    gpulet_error_t err = {""};
    char *json = NULL;
    gpulet_store_t *store = open_store(folder_at(folder, "gpulet.db"));
    assert_int_equal(gpulet_store_last_plan(&json, store, &err), GPULET_E_NOT_FOUND);
    assert_null(json);
    assert_int_equal(gpulet_store_put_plan(store, "start", "{\"a\":1}", &err), GPULET_OK);
    assert_int_equal(gpulet_store_put_plan(store, "load", "{\"a\":2}", &err), GPULET_OK);
    assert_int_equal(gpulet_store_last_plan(&json, store, &err), GPULET_OK);
    assert_string_equal(json, "{\"a\":2}");
    free(json);
    gpulet_store_close(store);
}

static void rates_that_were_told_are_kept_by_model(void **state)
{
    folder_t *folder = *state;
    gpulet_error_t err = {""};
    double rate_rps = -1;
    gpulet_store_t *store = open_store(folder_at(folder, "gpulet.db"));
    assert_int_equal(gpulet_store_get_told(&rate_rps, store, "a", &err), GPULET_E_NOT_FOUND);
    assert_true(rate_rps == -1);
    assert_int_equal(gpulet_store_put_told(store, "a", 1.5, &err), GPULET_OK);
    assert_int_equal(gpulet_store_put_told(store, "b", 0, &err), GPULET_OK);
    assert_int_equal(gpulet_store_put_told(store, "a", 2.25, &err), GPULET_OK);
    gpulet_store_close(store);
    store = open_store(folder_at(folder, "gpulet.db"));
    assert_int_equal(gpulet_store_get_told(&rate_rps, store, "a", &err), GPULET_OK);
    assert_true(rate_rps == 2.25);
    assert_int_equal(gpulet_store_get_told(&rate_rps, store, "b", &err), GPULET_OK);
    assert_true(rate_rps == 0);
    gpulet_store_close(store);
}

static void what_is_undone_was_never_put(void **state)
{
    folder_t *folder = *state;
    gpulet_error_t err = {""};
    char *json = NULL;
    double rate_rps = -1;
    gpulet_store_t *store = open_store(folder_at(folder, "gpulet.db"));
    assert_int_equal(gpulet_store_begin(store, &err), GPULET_OK);
    assert_int_equal(gpulet_store_put_plan(store, "start", "{\"a\":1}", &err), GPULET_OK);
    assert_int_equal(gpulet_store_put_told(store, "a", 1, &err), GPULET_OK);
    gpulet_store_undo(store);
    assert_int_equal(gpulet_store_last_plan(&json, store, &err), GPULET_E_NOT_FOUND);
    assert_int_equal(gpulet_store_get_told(&rate_rps, store, "a", &err), GPULET_E_NOT_FOUND);
    assert_int_equal(gpulet_store_begin(store, &err), GPULET_OK);
    assert_int_not_equal(gpulet_store_begin(store, &err), GPULET_OK);
    assert_int_equal(gpulet_store_put_told(store, "a", 2, &err), GPULET_OK);
    assert_int_equal(gpulet_store_commit(store, &err), GPULET_OK);
    assert_int_not_equal(gpulet_store_commit(store, &err), GPULET_OK);
    gpulet_store_close(store);
    store = open_store(folder_at(folder, "gpulet.db"));
    assert_int_equal(gpulet_store_get_told(&rate_rps, store, "a", &err), GPULET_OK);
    assert_true(rate_rps == 2);
    gpulet_store_close(store);
}

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static int number_in(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    int value = sqlite3_column_int(stmt, 0);
    (void)sqlite3_finalize(stmt);
    (void)sqlite3_close(db);
    return value;
}

static void only_the_newest_thousand_plans_are_kept(void **state)
{
    folder_t *folder = *state;
    gpulet_error_t err = {""};
    gpulet_store_t *store = open_store(folder_at(folder, "gpulet.db"));
    gpulet_store_close(store);
    run_sql(folder_at(folder, "gpulet.db"),
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1500)"
            " INSERT INTO plan(why, json) SELECT 'old', i FROM n");
    store = open_store(folder_at(folder, "gpulet.db"));
    assert_int_equal(gpulet_store_put_plan(store, "new", "{}", &err), GPULET_OK);
    gpulet_store_close(store);
    assert_int_equal(number_in(folder_at(folder, "gpulet.db"), "SELECT count(*) FROM plan"), 1000);
}

static void is_refused(const char *path, gpulet_status_t expected, const char *text)
{
    gpulet_store_t *store = NULL;
    gpulet_error_t err = {""};
    assert_int_equal(gpulet_store_open(&store, path, &err), expected);
    assert_null(store);
    if (strstr(err.text, text) == NULL || strstr(err.text, path) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", err.text, text);
}

static void a_file_that_is_no_store_is_refused_and_left_alone(void **state)
{
    folder_t *folder = *state;
    static const char text[] = "model,rate_rps,slo_ms\nnot a database, but a longer text file\n";
    char *again = NULL;
    size_t size = 0;
    assert_int_equal(gpulet_file_write(folder_at(folder, "gpulet.db"), text, sizeof(text), NULL),
                     GPULET_OK);
    is_refused(folder_at(folder, "gpulet.db"), GPULET_E_INVALID, "not a database");
    assert_int_equal(gpulet_file_read(&again, &size, folder_at(folder, "gpulet.db"), 4096, NULL),
                     GPULET_OK);
    assert_int_equal(size, sizeof(text));
    assert_memory_equal(again, text, sizeof(text));
    free(again);
}

static void the_database_of_another_program_is_refused_and_left_alone(void **state)
{
    folder_t *folder = *state;
    run_sql(folder_at(folder, "gpulet.db"), "CREATE TABLE song(title TEXT)");
    is_refused(folder_at(folder, "gpulet.db"), GPULET_E_INVALID, "a database of something else");
    assert_int_equal(
        number_in(folder_at(folder, "gpulet.db"), "SELECT count(*) FROM sqlite_master"), 1);
    (void)unlink(folder_at(folder, "gpulet.db"));
    run_sql(folder_at(folder, "gpulet.db"), "PRAGMA application_id=42");
    is_refused(folder_at(folder, "gpulet.db"), GPULET_E_INVALID, "a database of something else");
}

static void a_newer_version_is_refused(void **state)
{
    folder_t *folder = *state;
    gpulet_store_close(open_store(folder_at(folder, "gpulet.db")));
    assert_int_equal(number_in(folder_at(folder, "gpulet.db"), "PRAGMA user_version"), 1);
    run_sql(folder_at(folder, "gpulet.db"), "PRAGMA user_version=2");
    is_refused(folder_at(folder, "gpulet.db"), GPULET_E_INVALID, "version 2, this program reads 1");
}

static void a_place_that_cannot_be_written_is_named(void **state)
{
    (void)state;
    is_refused("/proc/nowhere/gpulet.db", GPULET_E_IO, "unable to open");
}

static void folders_on_the_way_are_made(void **state)
{
    folder_t *folder = *state;
    char path[160];
    char deep[128];
    (void)snprintf(path, sizeof(path), "%s/a/b/gpulet.db", folder->root);
    gpulet_store_close(open_store(path));
    assert_int_equal(unlink(path), 0);
    (void)snprintf(deep, sizeof(deep), "%s/a/b", folder->root);
    assert_int_equal(rmdir(deep), 0);
    (void)snprintf(deep, sizeof(deep), "%s/a", folder->root);
    assert_int_equal(rmdir(deep), 0);
}

/* As version 1 made it, before there was a column for cold runs. */
static void a_store_without_the_newer_columns_gets_them(void **state)
{
    folder_t *folder = *state;
    gpulet_profile_t *profile = NULL;
    gpulet_store_t *store = open_store(folder_at(folder, "gpulet.db"));
    put(store, "key", 2, 1, 1.25);
    gpulet_store_close(store);
    run_sql(folder_at(folder, "gpulet.db"), "ALTER TABLE point DROP COLUMN cold_ms");
    store = open_store(folder_at(folder, "gpulet.db"));
    put(store, "key", 2, 8, 5);
    assert_int_equal(gpulet_profile_create(&profile), GPULET_OK);
    assert_int_equal(get(store, "cpu", "ort", "key", profile), 2);
    const gpulet_curve_t *curve = gpulet_profile_curve(profile, "cpu", "n", 2, 1);
    assert_int_equal(curve->points_count, 2);
    assert_true(isnan(curve->points[0].cold_ms));
    assert_true(curve->points[1].cold_ms == 0.25);
    gpulet_profile_destroy(profile);
    gpulet_store_close(store);
}

/* In a process of its own, at the same time as others: make the store, or find it made. */
static void open_and_put(const char *path, int go, uint32_t units)
{
    gpulet_store_t *store = NULL;
    gpulet_error_t err = {""};
    gpulet_profile_point_t point = {1, 1, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    char byte = 0;
    if (read(go, &byte, 1) != 0) /* all begin when the pipe is closed */
        _exit(2);
    bool ok = gpulet_store_open(&store, path, &err) == GPULET_OK &&
              gpulet_store_put_point(store, "cpu", "ort", "key", "m", units, 1, &point, &err) ==
                  GPULET_OK;
    if (!ok)
        (void)fprintf(stderr, "%s\n", err.text);
    gpulet_store_close(store);
    _exit(ok ? 0 : 1);
}

static void processes_that_open_it_at_once_all_find_a_store(void **state)
{
    folder_t *folder = *state;
    gpulet_profile_t *profile = NULL;
    int go[2];
    int failed = 0;
    assert_int_equal(pipe(go), 0);
    for (uint32_t i = 0; i < PROCESSES; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            (void)close(go[1]);
            open_and_put(folder_at(folder, "gpulet.db"), go[0], i + 1);
        }
    }
    (void)close(go[0]);
    (void)close(go[1]);
    for (int i = 0; i < PROCESSES; i++) {
        int status = 0;
        assert_true(wait(&status) > 0);
        failed += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    }
    assert_int_equal(failed, 0);
    gpulet_store_t *store = open_store(folder_at(folder, "gpulet.db"));
    gpulet_store_t *second = open_store(folder_at(folder, "gpulet.db"));
    assert_int_equal(gpulet_profile_create(&profile), GPULET_OK);
    assert_int_equal(get(store, "cpu", "ort", "key", profile), PROCESSES);
    put(second, "key", 100, 1, 1);
    assert_int_equal(get(store, "cpu", "ort", "key", profile), PROCESSES + 1);
    gpulet_profile_destroy(profile);
    gpulet_store_close(second);
    gpulet_store_close(store);
}

static gpulet_pair_t pair_of(const char *device, uint32_t batch, double slowdown)
{
    return (gpulet_pair_t){.self = {"a", 1, batch},
                           .other = {"b", 2, 8},
                           .device = {device[0], '\0'},
                           .slowdown = slowdown,
                           .slowdown_p10 = slowdown - 0.5,
                           .slowdown_p90 = NAN,
                           .traffic_mb_s = NAN};
}

static void pairs_come_back_under_the_names_of_today(void **state)
{
    folder_t *folder = *state;
    gpulet_store_t *store = open_store(folder_at(folder, "gpulet.db"));
    gpulet_pairs_t *pairs = NULL;
    const gpulet_pair_t put[] = {pair_of("g", 4, 1.25), pair_of("g", 1, 1.5), pair_of("h", 1, 2),
                                 pair_of("g", 1, 1.75)};
    gpulet_pair_t names = {.device = "g", .self = {.model = "new a"}, .other = {.model = "new b"}};
    size_t count = 9;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(gpulet_store_put_pair(store, "ort", "file a", "file b", &put[i], NULL),
                         GPULET_OK);
    assert_int_equal(gpulet_store_put_pair(store, "ort", "file b", "file a", &put[0], NULL),
                     GPULET_OK);
    assert_int_equal(gpulet_store_put_pair(store, "ort", "file c", "file b", &put[1], NULL),
                     GPULET_OK);
    gpulet_store_close(store);
    store = open_store(folder_at(folder, "gpulet.db"));
    assert_int_equal(gpulet_pairs_create(&pairs), GPULET_OK);
    assert_int_equal(
        gpulet_store_get_pairs(store, "ort", "file a", "file b", &names, pairs, &count, NULL),
        GPULET_OK);
    assert_int_equal(count, 2);
    assert_int_equal(pairs->count, 2);
    assert_string_equal(pairs->items[0].self.model, "new a");
    assert_string_equal(pairs->items[0].other.model, "new b");
    assert_true(pairs->items[0].self.batch == 1 && pairs->items[0].slowdown == 1.75);
    assert_true(pairs->items[0].slowdown_p10 == 1.25 && isnan(pairs->items[0].traffic_mb_s));
    assert_true(pairs->items[1].self.batch == 4 && pairs->items[1].slowdown == 1.25);
    assert_int_equal(
        gpulet_store_get_pairs(store, "fake", "file a", "file b", &names, pairs, &count, NULL),
        GPULET_OK);
    assert_int_equal(count, 0);
    tell_content(store, "file a", "content a");
    tell_content(store, "copy of a", "content a");
    assert_int_equal(
        gpulet_store_get_pairs(store, "ort", "copy of a", "file b", &names, pairs, &count, NULL),
        GPULET_OK);
    assert_int_equal(count, 2);
    gpulet_pairs_destroy(pairs);
    gpulet_store_close(store);
}

#define in_folder(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_folder(points_come_back_as_they_were),
        in_folder(a_store_without_the_newer_columns_gets_them),
        in_folder(points_belong_to_device_engine_and_file),
        in_folder(a_copy_has_the_points_of_what_it_is_a_copy_of),
        in_folder(of_two_measurements_one_counts),
        in_folder(what_is_measured_whole_is_so_for_copies),
        in_folder(pairs_come_back_under_the_names_of_today),
        in_folder(the_newest_plan_is_the_last_one),
        in_folder(rates_that_were_told_are_kept_by_model),
        in_folder(what_is_undone_was_never_put),
        in_folder(only_the_newest_thousand_plans_are_kept),
        in_folder(a_file_that_is_no_store_is_refused_and_left_alone),
        in_folder(the_database_of_another_program_is_refused_and_left_alone),
        in_folder(a_newer_version_is_refused),
        in_folder(a_place_that_cannot_be_written_is_named),
        in_folder(folders_on_the_way_are_made),
        in_folder(processes_that_open_it_at_once_all_find_a_store),
    };
    return cmocka_run_group_tests_name("store.store", tests, NULL, NULL);
}
