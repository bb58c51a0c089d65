/* Models as the engine rewrites them, kept in a folder: loading one of them maps its weights in
 * place of reading, copying and rearranging them. They are made while nothing else is to do, or,
 * where such a time does not come, beside requests: one at a time, by a process at idle priority.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "server/internal.h"
#include "store/model_cache.h"
#include "store/store.h"

enum {
    PATH_SIZE = 4096,
    QUIET_MS = 500,
    WORTH_MS = 10 /* a model that loads faster gains nothing */
};

struct server_prepared {
    gpulet_model_cache_t *cache;
    char machine[512]; /* what an entry depends on besides the model's file */
    uint64_t last_total;
    uint64_t quiet_since_ns;
    uint64_t waits_since_ns; /* for quiet; 0: it does not */
    /* the process under way */
    pid_t pid; /* 0: none */
    uint32_t model;
    char name[512]; /* of the model, whose place another may have taken meanwhile */
    uint64_t begun_ns;
    char key[GPULET_DIGEST_TEXT_MAX + 1];
};

/* ---- what an entry depends on ---- */

/* False when the library's file is not known: then nothing tells its versions apart. The library
 * rewrites a graph for the instructions that the processor has. */
static bool describe_machine(server_prepared_t *p, const gpulet_settings_t *settings)
{
    char library[PATH_SIZE], cpu_key[GPULET_DIGEST_TEXT_MAX + 1];
    gpulet_buf_t cpu = GPULET_BUF_INIT;
    struct stat info;
    if (gpulet_engine_ort_locate(library, sizeof(library), settings->ort_library, NULL) !=
            GPULET_OK ||
        stat(library, &info) != 0)
        return false;
    server_machine_cpu_line(&cpu, "model name");
    server_machine_cpu_line(&cpu, "flags");
    gpulet_digest_of(cpu_key, cpu.data != NULL ? cpu.data : "");
    gpulet_buf_deinit(&cpu);
    (void)snprintf(p->machine, sizeof(p->machine), "1 ort %llx:%llx:%lld:%lld %s",
                   (unsigned long long)info.st_dev, (unsigned long long)info.st_ino,
                   (long long)info.st_size, (long long)info.st_mtim.tv_sec, cpu_key);
    return true;
}

/* Weights may lie in files beside the model's: a sum over all that lies there, in whatever order.
 */
static uint64_t neighbours_of(const char *path)
{
    char folder[PATH_SIZE];
    uint64_t sum = 0;
    struct stat info;
    (void)snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash != NULL)
        *slash = '\0';
    DIR *d = opendir(slash != NULL ? folder : ".");
    if (d == NULL)
        return 0;
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char text[512], key[GPULET_DIGEST_TEXT_MAX + 1];
        if (fstatat(dirfd(d), e->d_name, &info, 0) != 0 || !S_ISREG(info.st_mode))
            continue;
        (void)snprintf(text, sizeof(text), "%.255s %llx %lld %lld.%ld", e->d_name,
                       (unsigned long long)info.st_ino, (long long)info.st_size,
                       (long long)info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
        gpulet_digest_of(key, text);
        key[16] = '\0';
        sum += strtoull(key, NULL, 16);
    }
    (void)closedir(d);
    return sum;
}

static void key_of(char out[GPULET_DIGEST_TEXT_MAX + 1], const server_prepared_t *p,
                   const server_model_t *model)
{
    char text[1024];
    (void)snprintf(text, sizeof(text), "%s %s %llx", p->machine, model->entry->file_key,
                   (unsigned long long)neighbours_of(model->entry->path));
    gpulet_digest_of(out, text);
}

/* ---- open, find, close ---- */

static gpulet_status_t open_cache(server_prepared_t *p, const gpulet_server_t *server,
                                  gpulet_error_t *err)
{
    const gpulet_settings_t *settings = &server->settings;
    char folder[PATH_SIZE];
    if (settings->model_cache != NULL) {
        (void)snprintf(folder, sizeof(folder), "%s", settings->model_cache);
    } else {
        const char *store = gpulet_store_path(server->store);
        const char *slash = strrchr(store, '/');
        int length = slash == NULL ? 0 : (int)(slash - store + 1);
        (void)snprintf(folder, sizeof(folder), "%.*smodels", length, store);
    }
    return gpulet_model_cache_open(&p->cache, folder, settings->model_cache_mb << 20, err);
}

gpulet_status_t server_prepared_open(gpulet_server_t *server, gpulet_error_t *err)
{
    const gpulet_settings_t *settings = &server->settings;
    const char *wanted = settings->model_cache;
    gpulet_error_t why = {""};
    if ((wanted == NULL && server->store == NULL) ||
        (wanted != NULL && strcmp(wanted, "none") == 0) || strcmp(settings->engine, "ort") != 0 ||
        strcmp(settings->device, "cpu") != 0)
        return GPULET_OK;
    server_prepared_t *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    gpulet_status_t st = describe_machine(p, settings) ? open_cache(p, server, &why)
                                                       : gpulet_fail(&why, GPULET_E_UNAVAILABLE,
                                                                     "the engine's library or the "
                                                                     "processor is not known");
    if (st == GPULET_OK) {
        server->prepared = p;
        return GPULET_OK;
    }
    free(p);
    if (wanted != NULL)
        return gpulet_fail(err, st, "--model-cache: %s", why.text);
    GPULET_LOG(WARNING, "event=no_model_cache reason=\"%s\"", why.text);
    return GPULET_OK;
}

void server_prepared_close(gpulet_server_t *server)
{
    server_prepared_t *p = server->prepared;
    if (p == NULL)
        return;
    if (p->pid > 0) {
        (void)kill(p->pid, SIGKILL);
        (void)waitpid(p->pid, NULL, 0);
        gpulet_model_cache_abandon(p->cache, p->key);
    }
    gpulet_model_cache_close(p->cache);
    free(p);
    server->prepared = NULL;
}

const char *server_prepared_find(char *out, size_t out_size, gpulet_server_t *server,
                                 server_model_t *model)
{
    server_prepared_t *p = server->prepared;
    char folder[PATH_SIZE], key[GPULET_DIGEST_TEXT_MAX + 1];
    if (p == NULL)
        return NULL;
    key_of(key, p, model);
    if (gpulet_model_cache_find(folder, sizeof(folder), p->cache, key) != GPULET_OK ||
        gpulet_engine_prepared_path(out, out_size, folder) != GPULET_OK)
        return NULL;
    model->prepared = true;
    return out;
}

/* ---- making one ---- */

static gpulet_status_t spawn(server_prepared_t *p, gpulet_server_t *server,
                             const server_model_t *model, const char *folder, gpulet_error_t *err)
{
    char parent[24], limit[32];
    const gpulet_settings_t *s = &server->settings;
    (void)snprintf(parent, sizeof(parent), "%ld", (long)getpid());
    (void)snprintf(limit, sizeof(limit), "%.3f", s->load_limit_s);
    const char *words[] = {
        "gpulet-worker",    "--parent",  parent, "--prepare",
        model->entry->path, "--into",    folder, "--engine",
        s->engine,          "--limit-s", limit,  s->ort_library ? "--ort-library" : NULL,
        s->ort_library,     NULL};
    posix_spawnattr_t attributes;
    sigset_t none, all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    if (posix_spawnattr_init(&attributes) != 0)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int rc = posix_spawn(&p->pid, server->worker_program, NULL, &attributes,
                         (char *const *)(uintptr_t)words, environ);
    (void)posix_spawnattr_destroy(&attributes);
    if (rc == 0)
        return GPULET_OK;
    p->pid = 0;
    return gpulet_fail(err, GPULET_E_IO, "cannot start %s: %s", server->worker_program,
                       strerror(rc));
}

static void begin(server_prepared_t *p, gpulet_server_t *server, server_model_t *model)
{
    char folder[PATH_SIZE];
    gpulet_error_t err = {""};
    model->prepare_tried = true;
    p->model = model->id;
    (void)snprintf(p->name, sizeof(p->name), "%s", model->entry->key);
    p->begun_ns = gpulet_clock_ns();
    gpulet_status_t st = gpulet_model_cache_begin(folder, sizeof(folder), p->cache, p->key, &err);
    if (st == GPULET_OK && (st = spawn(p, server, model, folder, &err)) != GPULET_OK)
        gpulet_model_cache_abandon(p->cache, p->key);
    if (st != GPULET_OK)
        GPULET_LOG(WARNING, "event=prepare_failed model=%s reason=\"%s\"", model->entry->key,
                   err.text);
}

static bool is_worth_it(const server_model_t *model)
{
    return !model->prepare_tried && model->state == SERVER_MODEL_READY &&
           model->load_ns >= WORTH_MS * GPULET_NS_PER_MS;
}

uint32_t server_prepared_pending(const gpulet_server_t *server)
{
    uint32_t count = 0;
    if (server->prepared == NULL)
        return 0;
    for (uint32_t i = 0; i < server->models_count; i++)
        count += is_worth_it(&server->models[i]);
    return count + (server->prepared->pid > 0);
}

bool server_prepared_running(const gpulet_server_t *server)
{
    return server->prepared != NULL && server->prepared->pid > 0;
}

/* The next model that loads slowly and has no entry. Each is tried once in a server's life. */
static void begin_next(server_prepared_t *p, gpulet_server_t *server)
{
    char folder[PATH_SIZE];
    for (uint32_t i = 0; i < server->models_count; i++) {
        server_model_t *model = &server->models[i];
        if (!is_worth_it(model))
            continue;
        key_of(p->key, p, model);
        if (gpulet_model_cache_find(folder, sizeof(folder), p->cache, p->key) == GPULET_OK) {
            model->prepare_tried = true;
            continue;
        }
        begin(p, server, model);
        return;
    }
}

static void finish(server_prepared_t *p, gpulet_server_t *server, int status)
{
    server_model_t *model = &server->models[p->model];
    gpulet_error_t err = {"the process that prepares it failed"};
    gpulet_status_t st = GPULET_E_INTERNAL;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        st = gpulet_model_cache_commit(p->cache, p->key, &err);
    else
        gpulet_model_cache_abandon(p->cache, p->key);
    if (st != GPULET_OK) {
        GPULET_LOG(WARNING, "event=prepare_failed model=%s reason=\"%s\"", p->name, err.text);
        return;
    }
    if (model->role != SERVER_MODEL_FREE && strcmp(model->entry->key, p->name) == 0)
        model->prepared = true;
    GPULET_LOG(INFO, "event=prepared model=%s seconds=%.2f", p->name,
               (double)(gpulet_clock_ns() - p->begun_ns) / 1e9);
}

static bool is_quiet(server_prepared_t *p, const gpulet_server_t *server, uint64_t now_ns)
{
    if (server->infers_open > 0 || server->infers_total != p->last_total ||
        p->quiet_since_ns == 0) {
        p->last_total = server->infers_total;
        p->quiet_since_ns = now_ns;
    }
    return now_ns - p->quiet_since_ns >= QUIET_MS * GPULET_NS_PER_MS;
}

/* The process is of idle priority, so where no pause comes it does not need one. */
static bool may_begin(server_prepared_t *p, const gpulet_server_t *server, uint64_t now_ns)
{
    bool quiet = is_quiet(p, server, now_ns);
    if (quiet || server_prepared_pending(server) == 0)
        p->waits_since_ns = 0;
    else if (p->waits_since_ns == 0)
        p->waits_since_ns = now_ns;
    return quiet || (p->waits_since_ns != 0 &&
                     (double)(now_ns - p->waits_since_ns) >= server->settings.patience_s * 1e9);
}

void server_prepared_step(gpulet_server_t *server)
{
    server_prepared_t *p = server->prepared;
    int status = 0;
    if (p == NULL)
        return;
    if (p->pid > 0) {
        pid_t pid = waitpid(p->pid, &status, WNOHANG);
        if (pid == 0 || (pid < 0 && errno == EINTR))
            return;
        finish(p, server, pid == p->pid ? status : -1);
        p->pid = 0;
    }
    bool measures =
        server->calibration != NULL ? !server_calibrate_waits(server) : server->calibration_wanted;
    if (!server->ready || server->draining || server->stop || server->switching || measures)
        p->waits_since_ns = 0;
    else if (may_begin(p, server, gpulet_clock_ns()))
        begin_next(p, server);
}
