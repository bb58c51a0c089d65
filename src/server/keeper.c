#include "server/keeper.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/thread.h"

typedef struct keeper_job {
    struct keeper_job *next;
    bool whole; /* all of the file is measured */
    char *json; /* of a plan; NULL: it is about a file, a point if not `whole` */
    const char *why;
    server_told_t *told;
    uint32_t told_count;
    char *device;
    char *engine;
    char *file_key;
    char *model;
    uint32_t units;
    uint32_t batch; /* of `whole` */
    gpulet_profile_point_t point;
} keeper_job_t;

struct server_keeper {
    gpulet_store_t *store;
    pthread_t thread;
    pthread_mutex_t lock; /* first, last, ended, lost */
    pthread_cond_t changed;
    keeper_job_t *first; /* in the order of their coming */
    keeper_job_t **last;
    bool ended;
    bool lost; /* a point could not be written */
};

static void told_free(server_told_t *told, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        free(told[i].model);
    free(told);
}

static void job_free(keeper_job_t *job)
{
    if (job == NULL)
        return;
    free(job->json);
    told_free(job->told, job->told_count);
    free(job->device);
    free(job->engine);
    free(job->file_key);
    free(job->model);
    free(job);
}

/* ---- the thread ---- */

static gpulet_status_t put_plan(gpulet_store_t *store, const keeper_job_t *job, gpulet_error_t *err)
{
    gpulet_status_t st = gpulet_store_begin(store, err);
    if (st != GPULET_OK)
        return st;
    st = gpulet_store_put_plan(store, job->why, job->json, err);
    for (uint32_t i = 0; i < job->told_count && st == GPULET_OK; i++)
        st = gpulet_store_put_told(store, job->told[i].model, job->told[i].rate_rps, err);
    if (st == GPULET_OK)
        return gpulet_store_commit(store, err);
    gpulet_store_undo(store);
    return st;
}

static gpulet_status_t put(gpulet_store_t *store, const keeper_job_t *job, gpulet_error_t *err)
{
    if (job->json != NULL)
        return put_plan(store, job, err);
    if (job->whole)
        return gpulet_store_put_whole(store, job->device, job->engine, job->file_key, job->units,
                                      job->batch, err);
    return gpulet_store_put_point(store, job->device, job->engine, job->file_key, job->model,
                                  job->units, 1, &job->point, err);
}

static bool has_lost(server_keeper_t *keeper, bool more)
{
    (void)pthread_mutex_lock(&keeper->lock);
    bool lost = keeper->lost |= more;
    (void)pthread_mutex_unlock(&keeper->lock);
    return lost;
}

static void write_job(server_keeper_t *keeper, const keeper_job_t *job)
{
    gpulet_error_t err = {""};
    if (job->whole && has_lost(keeper, false))
        return; /* of some file, perhaps this one, it is not so */
    if (put(keeper->store, job, &err) == GPULET_OK)
        return;
    (void)has_lost(keeper, job->json == NULL);
    GPULET_LOG(WARNING, "event=store_failed error=\"%s\"", err.text);
}

/* NULL: the end has come, and nothing is left. */
static keeper_job_t *take(server_keeper_t *keeper)
{
    (void)pthread_mutex_lock(&keeper->lock);
    while (keeper->first == NULL && !keeper->ended)
        (void)pthread_cond_wait(&keeper->changed, &keeper->lock);
    keeper_job_t *job = keeper->first;
    if (job != NULL)
        keeper->first = job->next;
    if (keeper->first == NULL)
        keeper->last = &keeper->first;
    (void)pthread_mutex_unlock(&keeper->lock);
    return job;
}

static void *keeper_main(void *context)
{
    server_keeper_t *keeper = context;
    for (keeper_job_t *job = take(keeper); job != NULL; job = take(keeper)) {
        write_job(keeper, job);
        job_free(job);
    }
    return NULL;
}

/* ---- the loop's side ---- */

static void keeper_free(server_keeper_t *keeper)
{
    (void)pthread_cond_destroy(&keeper->changed);
    (void)pthread_mutex_destroy(&keeper->lock);
    free(keeper);
}

gpulet_status_t server_keeper_create(server_keeper_t **out, gpulet_store_t *store,
                                     gpulet_error_t *err)
{
    server_keeper_t *keeper = calloc(1, sizeof(*keeper));
    if (keeper == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    keeper->store = store;
    keeper->last = &keeper->first;
    (void)pthread_mutex_init(&keeper->lock, NULL);
    (void)pthread_cond_init(&keeper->changed, NULL);
    int result = gpulet_thread_start(&keeper->thread, keeper_main, keeper);
    if (result != 0) {
        keeper_free(keeper);
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "cannot start the store's thread: %s",
                           strerror(result));
    }
    *out = keeper;
    return GPULET_OK;
}

void server_keeper_destroy(server_keeper_t *keeper)
{
    if (keeper == NULL)
        return;
    (void)pthread_mutex_lock(&keeper->lock);
    keeper->ended = true;
    (void)pthread_cond_signal(&keeper->changed);
    (void)pthread_mutex_unlock(&keeper->lock);
    (void)pthread_join(keeper->thread, NULL);
    keeper_free(keeper);
}

/* Of plans only the newest counts. */
static keeper_job_t *remove_plan(server_keeper_t *keeper)
{
    for (keeper_job_t **at = &keeper->first; *at != NULL; at = &(*at)->next) {
        keeper_job_t *job = *at;
        if (job->json == NULL)
            continue;
        *at = job->next;
        if (job->next == NULL)
            keeper->last = at;
        return job;
    }
    return NULL;
}

static void add(server_keeper_t *keeper, keeper_job_t *job)
{
    (void)pthread_mutex_lock(&keeper->lock);
    keeper_job_t *older = job->json != NULL ? remove_plan(keeper) : NULL;
    *keeper->last = job;
    keeper->last = &job->next;
    (void)pthread_cond_signal(&keeper->changed);
    (void)pthread_mutex_unlock(&keeper->lock);
    job_free(older);
}

void server_keeper_plan(server_keeper_t *keeper, const char *why, char *json, server_told_t *told,
                        uint32_t told_count)
{
    keeper_job_t *job = calloc(1, sizeof(*job));
    if (job == NULL) {
        GPULET_LOG(WARNING, "event=store_failed error=\"out of memory\"");
        free(json);
        told_free(told, told_count);
        return;
    }
    job->why = why;
    job->json = json;
    job->told = told;
    job->told_count = told_count;
    add(keeper, job);
}

/* About a model's file; NULL when there is no memory, which is said. */
static keeper_job_t *file_job(const char *device, const char *engine, const char *file_key,
                              const char *model)
{
    keeper_job_t *job = calloc(1, sizeof(*job));
    if (job != NULL) {
        job->device = strdup(device);
        job->engine = strdup(engine);
        job->file_key = strdup(file_key);
        job->model = strdup(model);
    }
    if (job != NULL && job->device != NULL && job->engine != NULL && job->file_key != NULL &&
        job->model != NULL)
        return job;
    GPULET_LOG(WARNING, "event=store_failed error=\"out of memory\"");
    job_free(job);
    return NULL;
}

void server_keeper_point(server_keeper_t *keeper, const char *device, const char *engine,
                         const char *file_key, const char *model, uint32_t units,
                         const gpulet_profile_point_t *point)
{
    keeper_job_t *job = file_job(device, engine, file_key, model);
    if (job == NULL) {
        (void)has_lost(keeper, true);
        return;
    }
    job->units = units;
    job->point = *point;
    add(keeper, job);
}

void server_keeper_whole(server_keeper_t *keeper, const char *device, const char *engine,
                         const char *file_key, uint32_t units, uint32_t batch)
{
    keeper_job_t *job = file_job(device, engine, file_key, "");
    if (job == NULL)
        return;
    job->whole = true;
    job->units = units;
    job->batch = batch;
    add(keeper, job);
}
