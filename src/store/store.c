#include "store/store.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <sqlite3.h>

enum {
    SCHEMA_VERSION = 1,
    APPLICATION_ID = 0x67706c74,
    BUSY_MS = 2000,
    PATH_SIZE = 4096,
    PLANS_KEPT = 1000
};

struct gpulet_store {
    sqlite3 *db;
    sqlite3_stmt *put_point;
    sqlite3_stmt *get_points;
    sqlite3_stmt *put_whole;
    sqlite3_stmt *get_whole;
    sqlite3_stmt *put_content;
    sqlite3_stmt *get_content;
    sqlite3_stmt *put_pair;
    sqlite3_stmt *get_pairs;
    sqlite3_stmt *put_plan;
    sqlite3_stmt *trim_plans;
    sqlite3_stmt *last_plan;
    sqlite3_stmt *put_told;
    sqlite3_stmt *get_told;
    char path[PATH_SIZE];
};

static const char schema_sql[] =
    "CREATE TABLE point(device TEXT NOT NULL, engine TEXT NOT NULL, file_key TEXT NOT NULL, units "
    "INTEGER NOT NULL,"
    " instances INTEGER NOT NULL, batch INTEGER NOT NULL, model TEXT NOT NULL, latency_ms REAL NOT "
    "NULL, latency_ms_p99 REAL,"
    " memory_mb REAL, cold_ms REAL, measured_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,"
    " PRIMARY KEY(device, engine, file_key, units, instances, batch)) WITHOUT ROWID;"
    "CREATE TABLE plan(id INTEGER PRIMARY KEY, made_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, "
    "why TEXT NOT NULL,"
    " json TEXT NOT NULL);";

/* Came after version 1, which reads a store that has them as well as one that has not. */
static const char later_sql[] =
    "CREATE TABLE IF NOT EXISTS all_measured(device TEXT NOT NULL, engine TEXT NOT NULL,"
    " file_key TEXT NOT NULL, units INTEGER NOT NULL, batch INTEGER NOT NULL,"
    " PRIMARY KEY(device, engine, file_key, units, batch)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS content(file_key TEXT PRIMARY KEY, digest TEXT NOT NULL)"
    " WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS content_digest ON content(digest);"
    "CREATE TABLE IF NOT EXISTS told(model TEXT PRIMARY KEY, rate_rps REAL NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS pair(device TEXT NOT NULL, engine TEXT NOT NULL, self_key TEXT NOT "
    "NULL, self_units INTEGER NOT NULL, self_batch INTEGER NOT NULL, other_key TEXT NOT NULL,"
    " other_units INTEGER NOT NULL, other_batch INTEGER NOT NULL, self_model TEXT NOT NULL,"
    " other_model TEXT NOT NULL, slowdown REAL NOT NULL, slowdown_p10 REAL, slowdown_p90 REAL,"
    " traffic_mb_s REAL, measured_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,"
    " PRIMARY KEY(device, engine, self_key, self_units, self_batch, other_key, other_units,"
    " other_batch)) WITHOUT ROWID;";

/* The keys of all files that hold what the file of a key holds, itself among them: of a statement's
 * parameter 3 or 4. */
#define SAME_CONTENT(N)                                                                            \
    "(SELECT ?" N " UNION SELECT b.file_key FROM content a JOIN content b ON a.digest = b.digest"  \
    " WHERE a.file_key = ?" N ")"
#define SAME_AS_3 SAME_CONTENT("3")
#define SAME_AS_4 SAME_CONTENT("4")

static gpulet_status_t fail_db(const gpulet_store_t *store, gpulet_error_t *err)
{
    return gpulet_fail(err, GPULET_E_IO, "store %s: %s", store->path, sqlite3_errmsg(store->db));
}

static gpulet_status_t read_pragma(int *out, gpulet_store_t *store, const char *sql,
                                   gpulet_error_t *err)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(store->db, sql, -1, &stmt, NULL) != SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_ROW) {
        gpulet_status_t st = gpulet_fail(err, GPULET_E_INVALID, "store %s: %s", store->path,
                                         sqlite3_errmsg(store->db));
        (void)sqlite3_finalize(stmt);
        return st;
    }
    *out = sqlite3_column_int(stmt, 0);
    (void)sqlite3_finalize(stmt);
    return GPULET_OK;
}

typedef struct header {
    int application;
    int version;
    int tables;
} header_t;

/* The tables first: another process may commit them, and the numbers with them, between two of
 * these reads; then the numbers are seen to be ours. */
static gpulet_status_t read_header(header_t *out, gpulet_store_t *store, gpulet_error_t *err)
{
    gpulet_status_t st =
        read_pragma(&out->tables, store, "SELECT count(*) FROM sqlite_master", err);
    if (st == GPULET_OK)
        st = read_pragma(&out->application, store, "PRAGMA application_id", err);
    if (st == GPULET_OK)
        st = read_pragma(&out->version, store, "PRAGMA user_version", err);
    return st;
}

static bool is_new(const header_t *header)
{
    return header->tables == 0 && header->application == 0;
}

/* In one transaction: half a schema would be a database of something else for ever, and another
 * process may be making it at the same time. */
static gpulet_status_t make_schema(header_t *header, gpulet_store_t *store, gpulet_error_t *err)
{
    char sql[160];
    (void)snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT;",
                   APPLICATION_ID, SCHEMA_VERSION);
    if (sqlite3_exec(store->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return fail_db(store, err);
    gpulet_status_t st = read_header(header, store, err);
    if (st == GPULET_OK && is_new(header) &&
        (sqlite3_exec(store->db, schema_sql, NULL, NULL, NULL) != SQLITE_OK ||
         sqlite3_exec(store->db, sql, NULL, NULL, NULL) != SQLITE_OK))
        st = fail_db(store, err);
    if (sqlite3_get_autocommit(store->db) == 0)
        (void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    return st == GPULET_OK ? read_header(header, store, err) : st;
}

/* The columns that came after version 1. In one transaction, as another process may be at it. */
static gpulet_status_t add_columns(gpulet_store_t *store, gpulet_error_t *err)
{
    static const char look[] =
        "SELECT count(*) FROM pragma_table_info('point') WHERE name='cold_ms'";
    int there = 0;
    gpulet_status_t st = read_pragma(&there, store, look, err);
    if (st != GPULET_OK || there > 0)
        return st;
    if (sqlite3_exec(store->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return fail_db(store, err);
    st = read_pragma(&there, store, look, err);
    if (st == GPULET_OK && there == 0 &&
        sqlite3_exec(store->db, "ALTER TABLE point ADD COLUMN cold_ms REAL", NULL, NULL, NULL) !=
            SQLITE_OK)
        st = fail_db(store, err);
    if (sqlite3_exec(store->db, st == GPULET_OK ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL) !=
            SQLITE_OK &&
        st == GPULET_OK)
        st = fail_db(store, err);
    return st;
}

static gpulet_status_t check_schema(gpulet_store_t *store, gpulet_error_t *err)
{
    header_t header = {0, 0, 0};
    gpulet_status_t st = read_header(&header, store, err);
    if (st == GPULET_OK && is_new(&header))
        st = make_schema(&header, store, err);
    if (st != GPULET_OK)
        return st;
    if (header.application != APPLICATION_ID)
        return gpulet_fail(err, GPULET_E_INVALID, "store %s: a database of something else",
                           store->path);
    if (header.version != SCHEMA_VERSION)
        return gpulet_fail(err, GPULET_E_INVALID, "store %s: version %d, this program reads %d",
                           store->path, header.version, SCHEMA_VERSION);
    if (sqlite3_exec(store->db, later_sql, NULL, NULL, NULL) != SQLITE_OK)
        return fail_db(store, err);
    return add_columns(store, err);
}

#define AT(field) offsetof(gpulet_store_t, field)
static const struct {
    size_t at; /* of a sqlite3_stmt * */
    const char *sql;
} statements[] = {
    {AT(put_point), "INSERT OR REPLACE INTO point(device, engine, file_key, units, "
                    "instances, batch, model, latency_ms,"
                    " latency_ms_p99, memory_mb, cold_ms) VALUES(?,?,?,?,?,?,?,?,?,?,?)"},
    {AT(get_points), "SELECT units, instances, batch, latency_ms, latency_ms_p99, memory_mb, "
                     "cold_ms, max((file_key = ?3) || measured_at) FROM point"
                     " WHERE device=?1 AND engine=?2 AND file_key IN " SAME_AS_3
                     " GROUP BY units, instances, batch ORDER BY units, instances, batch"},
    {AT(put_whole), "INSERT OR REPLACE INTO all_measured(device, engine, file_key, units, batch) "
                    "VALUES(?,?,?,?,?)"},
    {AT(get_whole),
     "SELECT 1 FROM all_measured WHERE device=?1 AND engine=?2 AND file_key IN " SAME_AS_3
     " AND units>=?4 AND batch>=?5"},
    {AT(put_content), "INSERT OR REPLACE INTO content(file_key, digest) VALUES(?,?)"},
    {AT(get_content), "SELECT digest FROM content WHERE file_key=?"},
    {AT(put_pair), "INSERT OR REPLACE INTO pair(device, engine, self_key, self_units, self_batch,"
                   " other_key, other_units, other_batch, self_model, other_model, slowdown,"
                   " slowdown_p10, slowdown_p90, traffic_mb_s)"
                   " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)"},
    {AT(get_pairs),
     "SELECT self_units, self_batch, other_units, other_batch, slowdown,"
     " slowdown_p10, slowdown_p90, traffic_mb_s,"
     " max(((self_key = ?3) + (other_key = ?4)) || measured_at) FROM pair"
     " WHERE device=?1 AND engine=?2 AND self_key IN " SAME_AS_3 " AND other_key IN " SAME_AS_4
     " GROUP BY self_units, self_batch, other_units, other_batch"
     " ORDER BY self_units, self_batch, "
     "other_units, other_batch"},
    {AT(put_plan), "INSERT INTO plan(why, json) VALUES(?,?)"},
    {AT(trim_plans), "DELETE FROM plan WHERE id <= (SELECT max(id) FROM plan) - ?"},
    {AT(last_plan), "SELECT json FROM plan ORDER BY id DESC LIMIT 1"},
    {AT(put_told), "INSERT OR REPLACE INTO told(model, rate_rps) VALUES(?,?)"},
    {AT(get_told), "SELECT rate_rps FROM told WHERE model=?"},
};
#undef AT

static sqlite3_stmt **statement(gpulet_store_t *store, size_t index)
{
    return (sqlite3_stmt **)(void *)((char *)store + statements[index].at);
}

static gpulet_status_t prepare_all(gpulet_store_t *store, gpulet_error_t *err)
{
    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
        if (sqlite3_prepare_v3(store->db, statements[i].sql, -1, SQLITE_PREPARE_PERSISTENT,
                               statement(store, i), NULL) != SQLITE_OK)
            return fail_db(store, err);
    }
    return GPULET_OK;
}

static void make_folders(const char *path)
{
    char folder[PATH_SIZE];
    (void)snprintf(folder, sizeof(folder), "%s", path);
    for (char *c = folder + 1; *c != '\0'; c++) {
        if (*c != '/')
            continue;
        *c = '\0';
        (void)mkdir(folder, 0755); /* a failure shows when the file is opened */
        *c = '/';
    }
}

static gpulet_status_t default_path(char *out, size_t size, gpulet_error_t *err)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    if (state != NULL && state[0] == '/')
        (void)snprintf(out, size, "%s/gpulet/gpulet.db", state);
    else if (home != NULL && home[0] == '/')
        (void)snprintf(out, size, "%s/.local/state/gpulet/gpulet.db", home);
    else
        return gpulet_fail(err, GPULET_E_NOT_FOUND,
                           "store: no home folder; name a file with --store");
    return GPULET_OK;
}

gpulet_status_t gpulet_store_open(gpulet_store_t **out, const char *path, gpulet_error_t *err)
{
    gpulet_store_t *store = calloc(1, sizeof(*store));
    gpulet_status_t st = GPULET_OK;
    if (store == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    if (path != NULL)
        (void)snprintf(store->path, sizeof(store->path), "%s", path);
    else
        st = default_path(store->path, sizeof(store->path), err);
    if (st == GPULET_OK) {
        make_folders(store->path);
        if (sqlite3_open_v2(store->path, &store->db,
                            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                            NULL) != SQLITE_OK)
            st = fail_db(store, err);
    }
    if (st == GPULET_OK) {
        (void)sqlite3_busy_timeout(store->db, BUSY_MS);
        (void)sqlite3_exec(store->db, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL);
        if ((st = check_schema(store, err)) == GPULET_OK)
            st = prepare_all(store, err);
    }
    if (st != GPULET_OK) {
        gpulet_store_close(store);
        return st;
    }
    *out = store;
    return GPULET_OK;
}

void gpulet_store_close(gpulet_store_t *store)
{
    if (store == NULL)
        return;
    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
        (void)sqlite3_finalize(*statement(store, i));
    (void)sqlite3_close(store->db);
    free(store);
}

const char *gpulet_store_path(const gpulet_store_t *store)
{
    return store->path;
}

/* A value that could not be bound leaves the one of the statement's last use in its place: whoever
 * binds asks `failed` before running the statement. */
static void bind_text(bool *failed, sqlite3_stmt *stmt, int at, const char *text)
{
    *failed |= sqlite3_bind_text(stmt, at, text, -1, SQLITE_TRANSIENT) != SQLITE_OK;
}

/* NAN, "not known", is stored as NULL. */
static void bind_number(bool *failed, sqlite3_stmt *stmt, int at, double value)
{
    int rc = isnan(value) ? sqlite3_bind_null(stmt, at) : sqlite3_bind_double(stmt, at, value);
    *failed |= rc != SQLITE_OK;
}

static void bind_count(bool *failed, sqlite3_stmt *stmt, int at, uint32_t value)
{
    *failed |= sqlite3_bind_int64(stmt, at, value) != SQLITE_OK;
}

static bool bind_file(sqlite3_stmt *stmt, const char *device, const char *engine,
                      const char *file_key)
{
    bool failed = false;
    bind_text(&failed, stmt, 1, device);
    bind_text(&failed, stmt, 2, engine);
    bind_text(&failed, stmt, 3, file_key);
    return !failed;
}

static double column_number(sqlite3_stmt *stmt, int at)
{
    return sqlite3_column_type(stmt, at) == SQLITE_NULL ? NAN : sqlite3_column_double(stmt, at);
}

static gpulet_status_t run_once(gpulet_store_t *store, sqlite3_stmt *stmt, gpulet_error_t *err)
{
    int rc = sqlite3_step(stmt);
    gpulet_status_t st = rc == SQLITE_DONE ? GPULET_OK : fail_db(store, err);
    (void)sqlite3_reset(stmt);
    return st;
}

/* NOLINTNEXTLINE(readability-function-size): a row has that many columns. */
gpulet_status_t gpulet_store_put_point(gpulet_store_t *store, const char *device,
                                       const char *engine, const char *file_key, const char *model,
                                       uint32_t units, uint32_t instances,
                                       const gpulet_profile_point_t *point, gpulet_error_t *err)
{
    sqlite3_stmt *stmt = store->put_point;
    bool failed = !bind_file(stmt, device, engine, file_key);
    bind_count(&failed, stmt, 4, units);
    bind_count(&failed, stmt, 5, instances);
    bind_count(&failed, stmt, 6, point->batch);
    bind_text(&failed, stmt, 7, model);
    bind_number(&failed, stmt, 8, point->latency_ms);
    bind_number(&failed, stmt, 9, point->latency_ms_p99);
    bind_number(&failed, stmt, 10, point->memory_mb);
    bind_number(&failed, stmt, 11, point->cold_ms);
    return failed ? fail_db(store, err) : run_once(store, stmt, err);
}

static gpulet_status_t add_row(sqlite3_stmt *stmt, const char *device, const char *model,
                               gpulet_profile_t *profile, gpulet_error_t *err)
{
    gpulet_profile_point_t point = {
        .batch = (uint32_t)sqlite3_column_int64(stmt, 2),
        .latency_ms = sqlite3_column_double(stmt, 3),
        .latency_ms_p99 = column_number(stmt, 4),
        .throughput_rps = NAN,
        .memory_mb = column_number(stmt, 5),
        .l2_util = NAN,
        .dram_util = NAN,
        .cold_ms = column_number(stmt, 6),
    };
    return gpulet_profile_add(profile, device, model, (uint32_t)sqlite3_column_int64(stmt, 0),
                              (uint32_t)sqlite3_column_int64(stmt, 1), &point, true, err);
}

gpulet_status_t gpulet_store_get_points(gpulet_store_t *store, const char *device,
                                        const char *engine, const char *file_key, const char *model,
                                        gpulet_profile_t *profile, size_t *points_out,
                                        gpulet_error_t *err)
{
    sqlite3_stmt *stmt = store->get_points;
    gpulet_status_t st = GPULET_OK;
    size_t points = 0;
    int rc = SQLITE_ROW;
    if (!bind_file(stmt, device, engine, file_key))
        return fail_db(store, err);
    while (st == GPULET_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        st = add_row(stmt, device, model, profile, err);
        points++;
    }
    if (st == GPULET_OK && rc != SQLITE_DONE)
        st = fail_db(store, err);
    (void)sqlite3_reset(stmt);
    if (st == GPULET_OK)
        *points_out = points;
    return st;
}

gpulet_status_t gpulet_store_put_whole(gpulet_store_t *store, const char *device,
                                       const char *engine, const char *file_key, uint32_t units,
                                       uint32_t batch, gpulet_error_t *err)
{
    sqlite3_stmt *stmt = store->put_whole;
    bool failed = !bind_file(stmt, device, engine, file_key);
    bind_count(&failed, stmt, 4, units);
    bind_count(&failed, stmt, 5, batch);
    return failed ? fail_db(store, err) : run_once(store, stmt, err);
}

gpulet_status_t gpulet_store_get_whole(bool *out, gpulet_store_t *store, const char *device,
                                       const char *engine, const char *file_key, uint32_t units,
                                       uint32_t batch, gpulet_error_t *err)
{
    sqlite3_stmt *stmt = store->get_whole;
    bool failed = !bind_file(stmt, device, engine, file_key);
    bind_count(&failed, stmt, 4, units);
    bind_count(&failed, stmt, 5, batch);
    int rc = failed ? SQLITE_ERROR : sqlite3_step(stmt);
    gpulet_status_t st = rc == SQLITE_ROW || rc == SQLITE_DONE ? GPULET_OK : fail_db(store, err);
    (void)sqlite3_reset(stmt);
    if (st == GPULET_OK)
        *out = rc == SQLITE_ROW;
    return st;
}

gpulet_status_t gpulet_store_put_content(gpulet_store_t *store, const char *file_key,
                                         const char *digest, gpulet_error_t *err)
{
    bool failed = false;
    bind_text(&failed, store->put_content, 1, file_key);
    bind_text(&failed, store->put_content, 2, digest);
    return failed ? fail_db(store, err) : run_once(store, store->put_content, err);
}

gpulet_status_t gpulet_store_get_content(char out[GPULET_DIGEST_TEXT_MAX + 1],
                                         gpulet_store_t *store, const char *file_key,
                                         gpulet_error_t *err)
{
    bool failed = false;
    bind_text(&failed, store->get_content, 1, file_key);
    int rc = failed ? SQLITE_ERROR : sqlite3_step(store->get_content);
    gpulet_status_t st = GPULET_OK;
    if (rc == SQLITE_ROW)
        (void)snprintf(out, GPULET_DIGEST_TEXT_MAX + 1, "%s",
                       (const char *)sqlite3_column_text(store->get_content, 0));
    else
        st = rc == SQLITE_DONE
                 ? gpulet_fail(err, GPULET_E_NOT_FOUND, "store %s: no content of file %s",
                               store->path, file_key)
                 : fail_db(store, err);
    (void)sqlite3_reset(store->get_content);
    return st;
}

gpulet_status_t gpulet_store_put_pair(gpulet_store_t *store, const char *engine,
                                      const char *self_key, const char *other_key,
                                      const gpulet_pair_t *pair, gpulet_error_t *err)
{
    sqlite3_stmt *stmt = store->put_pair;
    bool failed = false;
    bind_text(&failed, stmt, 1, pair->device);
    bind_text(&failed, stmt, 2, engine);
    bind_text(&failed, stmt, 3, self_key);
    bind_count(&failed, stmt, 4, pair->self.units);
    bind_count(&failed, stmt, 5, pair->self.batch);
    bind_text(&failed, stmt, 6, other_key);
    bind_count(&failed, stmt, 7, pair->other.units);
    bind_count(&failed, stmt, 8, pair->other.batch);
    bind_text(&failed, stmt, 9, pair->self.model);
    bind_text(&failed, stmt, 10, pair->other.model);
    bind_number(&failed, stmt, 11, pair->slowdown);
    bind_number(&failed, stmt, 12, pair->slowdown_p10);
    bind_number(&failed, stmt, 13, pair->slowdown_p90);
    bind_number(&failed, stmt, 14, pair->traffic_mb_s);
    return failed ? fail_db(store, err) : run_once(store, stmt, err);
}

gpulet_status_t gpulet_store_get_pairs(gpulet_store_t *store, const char *engine,
                                       const char *self_key, const char *other_key,
                                       const gpulet_pair_t *names, gpulet_pairs_t *pairs,
                                       size_t *count_out, gpulet_error_t *err)
{
    sqlite3_stmt *stmt = store->get_pairs;
    gpulet_status_t st = GPULET_OK;
    size_t count = 0;
    int rc = SQLITE_ROW;
    bool failed = false;
    bind_text(&failed, stmt, 1, names->device);
    bind_text(&failed, stmt, 2, engine);
    bind_text(&failed, stmt, 3, self_key);
    bind_text(&failed, stmt, 4, other_key);
    if (failed)
        return fail_db(store, err);
    while (st == GPULET_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        gpulet_pair_t pair = *names;
        pair.self.units = (uint32_t)sqlite3_column_int64(stmt, 0);
        pair.self.batch = (uint32_t)sqlite3_column_int64(stmt, 1);
        pair.other.units = (uint32_t)sqlite3_column_int64(stmt, 2);
        pair.other.batch = (uint32_t)sqlite3_column_int64(stmt, 3);
        pair.slowdown = sqlite3_column_double(stmt, 4);
        pair.slowdown_p10 = column_number(stmt, 5);
        pair.slowdown_p90 = column_number(stmt, 6);
        pair.traffic_mb_s = column_number(stmt, 7);
        if ((st = gpulet_pairs_add(pairs, &pair)) != GPULET_OK)
            (void)gpulet_fail(err, st, "out of memory");
        count++;
    }
    if (st == GPULET_OK && rc != SQLITE_DONE)
        st = fail_db(store, err);
    (void)sqlite3_reset(stmt);
    if (st == GPULET_OK)
        *count_out = count;
    return st;
}

gpulet_status_t gpulet_store_begin(gpulet_store_t *store, gpulet_error_t *err)
{
    int rc = sqlite3_exec(store->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    return rc == SQLITE_OK ? GPULET_OK : fail_db(store, err);
}

gpulet_status_t gpulet_store_commit(gpulet_store_t *store, gpulet_error_t *err)
{
    if (sqlite3_exec(store->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK)
        return GPULET_OK;
    gpulet_status_t st = fail_db(store, err);
    gpulet_store_undo(store);
    return st;
}

void gpulet_store_undo(gpulet_store_t *store)
{
    (void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
}

gpulet_status_t gpulet_store_put_plan(gpulet_store_t *store, const char *why, const char *json,
                                      gpulet_error_t *err)
{
    bool failed = false;
    bind_text(&failed, store->put_plan, 1, why);
    bind_text(&failed, store->put_plan, 2, json);
    gpulet_status_t st = failed ? fail_db(store, err) : run_once(store, store->put_plan, err);
    if (st != GPULET_OK)
        return st;
    bind_count(&failed, store->trim_plans, 1, PLANS_KEPT);
    return failed ? fail_db(store, err) : run_once(store, store->trim_plans, err);
}

gpulet_status_t gpulet_store_last_plan(char **json_out, gpulet_store_t *store, gpulet_error_t *err)
{
    int rc = sqlite3_step(store->last_plan);
    gpulet_status_t st = GPULET_OK;
    char *json = NULL;
    if (rc == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(store->last_plan, 0);
        json = text != NULL ? strdup(text) : NULL;
        st = json != NULL ? GPULET_OK : gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    } else {
        st = rc == SQLITE_DONE
                 ? gpulet_fail(err, GPULET_E_NOT_FOUND, "store %s: no plan in it", store->path)
                 : fail_db(store, err);
    }
    (void)sqlite3_reset(store->last_plan);
    if (st == GPULET_OK)
        *json_out = json;
    return st;
}

gpulet_status_t gpulet_store_put_told(gpulet_store_t *store, const char *model, double rate_rps,
                                      gpulet_error_t *err)
{
    bool failed = false;
    bind_text(&failed, store->put_told, 1, model);
    failed |= sqlite3_bind_double(store->put_told, 2, rate_rps) != SQLITE_OK;
    return failed ? fail_db(store, err) : run_once(store, store->put_told, err);
}

gpulet_status_t gpulet_store_get_told(double *rate_rps_out, gpulet_store_t *store,
                                      const char *model, gpulet_error_t *err)
{
    bool failed = false;
    bind_text(&failed, store->get_told, 1, model);
    int rc = failed ? SQLITE_ERROR : sqlite3_step(store->get_told);
    gpulet_status_t st = GPULET_OK;
    if (rc == SQLITE_ROW)
        *rate_rps_out = sqlite3_column_double(store->get_told, 0);
    else
        st = rc == SQLITE_DONE ? gpulet_fail(err, GPULET_E_NOT_FOUND, "store %s: no rate of %s",
                                             store->path, model)
                               : fail_db(store, err);
    (void)sqlite3_reset(store->get_told);
    return st;
}
