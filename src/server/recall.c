#include "server/recall.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "server/follow.h"
#include "server/known.h"
#include "store/content.h"
#include "store/store.h"

enum {
    REST_MS_MAX = 20,
    LOOK_MS_MAX = 500 /* plans do not wait longer */
};

/* What is done with a file, in the order of urgency. It is looked up by its key; if nobody knows
 * what is in it, it is read after that, and looked up by its content. */
typedef enum recall_phase {
    RECALL_LOOK,
    RECALL_READ_WANTED, /* measuring waits for it */
    RECALL_READ,
    RECALL_PHASES
} recall_phase_t;

typedef struct recall_job {
    struct recall_job *next;
    uint32_t id; /* of the model, whose place another may have taken meanwhile */
    char *model;
    char *file_key;
    char measured_by[GPULET_MEASURED_BY_MAX + 1];
    char *path;
    uint32_t batch_max;
    recall_phase_t phase;
    bool wanted;               /* measuring waits for it */
    bool content_known;        /* answer */
    bool whole;                /* answer: there is no more of it to measure */
    gpulet_profile_t *profile; /* answer; NULL: the store has nothing of it */
} recall_job_t;

typedef struct recall_list {
    recall_job_t *first;
    recall_job_t **last;
} recall_list_t;

struct server_recall {
    char *store_path;
    char *device;
    uint32_t units; /* of a whole device */
    char measured_by[GPULET_MEASURED_BY_MAX + 1];
    pthread_t thread;
    pthread_mutex_t lock; /* the lists */
    pthread_cond_t changed;
    recall_list_t todo[RECALL_PHASES];
    recall_list_t answers;
    atomic_bool ended;
    int fd;                /* readable when there are answers */
    gpulet_store_t *store; /* the thread's */
    uint64_t rested_ns;    /* likewise: when it last did */
    struct event *event;
    uint32_t looking;          /* the loop's: jobs that look … */
    uint64_t looking_since_ns; /* … since */
    uint32_t wanted;           /* likewise: jobs that measuring waits for */
};

/* ---- jobs ---- */

static void job_free(recall_job_t *job)
{
    if (job == NULL)
        return;
    free(job->model);
    free(job->file_key);
    free(job->path);
    gpulet_profile_destroy(job->profile);
    free(job);
}

static recall_job_t *job_create(const server_recall_t *r, const server_model_t *model)
{
    recall_job_t *job = calloc(1, sizeof(*job));
    if (job == NULL)
        return NULL;
    job->id = model->id;
    job->batch_max = model->batch_max;
    job->model = strdup(model->entry->key);
    job->file_key = strdup(model->entry->file_key);
    job->path = strdup(model->entry->path);
    gpulet_measured_by_shapes(job->measured_by, r->measured_by, &model->entry->warmup, NULL);
    if (job->model != NULL && job->file_key != NULL && job->path != NULL)
        return job;
    job_free(job);
    return NULL;
}

static void list_add(recall_list_t *list, recall_job_t *job)
{
    if (list->first == NULL)
        list->last = &list->first;
    job->next = NULL;
    *list->last = job;
    list->last = &job->next;
}

static recall_job_t *list_take(recall_list_t *list)
{
    recall_job_t *job = list->first;
    if (job != NULL)
        list->first = job->next;
    return job;
}

static void list_free(recall_list_t *list)
{
    for (recall_job_t *job = list_take(list); job != NULL; job = list_take(list))
        job_free(job);
}

/* ---- the thread ---- */

static gpulet_status_t take_points(recall_job_t *job, server_recall_t *r, gpulet_error_t *err)
{
    size_t count = 0;
    if (gpulet_profile_create(&job->profile) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    gpulet_status_t st =
        gpulet_store_get_points(r->store, r->device, job->measured_by, job->file_key, job->model,
                                job->profile, &count, err);
    if (st == GPULET_OK)
        st = gpulet_store_get_whole(&job->whole, r->store, r->device, job->measured_by,
                                    job->file_key, r->units, job->batch_max, err);
    if (st != GPULET_OK || count == 0) {
        gpulet_profile_destroy(job->profile);
        job->profile = NULL;
    }
    return st;
}

static gpulet_status_t look(recall_job_t *job, server_recall_t *r, gpulet_error_t *err)
{
    char digest[GPULET_DIGEST_TEXT_MAX + 1];
    gpulet_status_t st = gpulet_store_get_content(digest, r->store, job->file_key, err);
    job->content_known = st == GPULET_OK;
    if (st != GPULET_OK && st != GPULET_E_NOT_FOUND)
        return st;
    return take_points(job, r, err);
}

static void answer(server_recall_t *r, recall_job_t *job)
{
    const uint64_t one = 1;
    (void)pthread_mutex_lock(&r->lock);
    list_add(&r->answers, job);
    (void)pthread_mutex_unlock(&r->lock);
    if (write(r->fd, &one, sizeof(one)) < 0)
        return; /* The counter is at its end: readable already. */
}

static void run_look(server_recall_t *r, recall_job_t *job)
{
    gpulet_error_t err = {""};
    gpulet_status_t st =
        r->store != NULL ? GPULET_OK : gpulet_store_open(&r->store, r->store_path, &err);
    if (st == GPULET_OK)
        st = look(job, r, &err);
    if (st != GPULET_OK) {
        GPULET_LOG(WARNING, "event=store_unreadable model=%s reason=\"%s\"", job->model, err.text);
        job->content_known = true; /* no use reading the file */
    }
    answer(r, job);
}

/* While a file is read: rests as long as it worked, but not long where the disk is slow, and what
 * is to be looked up meanwhile is. */
static bool read_on(void *context)
{
    server_recall_t *r = context;
    uint64_t worked_ns = gpulet_clock_ns() - r->rested_ns;
    uint64_t rest_ns =
        worked_ns < REST_MS_MAX * GPULET_NS_PER_MS ? worked_ns : REST_MS_MAX * GPULET_NS_PER_MS;
    struct timespec rest = {0, (long)rest_ns};
    if (atomic_load(&r->ended))
        return false;
    (void)nanosleep(&rest, NULL);
    (void)pthread_mutex_lock(&r->lock);
    recall_job_t *job = list_take(&r->todo[RECALL_LOOK]);
    (void)pthread_mutex_unlock(&r->lock);
    if (job != NULL)
        run_look(r, job);
    r->rested_ns = gpulet_clock_ns();
    return true;
}

static gpulet_status_t read_file(recall_job_t *job, server_recall_t *r, gpulet_error_t *err)
{
    char digest[GPULET_DIGEST_TEXT_MAX + 1];
    const gpulet_content_pace_t pace = {.context = r, .go_on = read_on};
    r->rested_ns = gpulet_clock_ns();
    gpulet_status_t st = gpulet_content_digest(digest, job->path, job->file_key, &pace, err);
    if (st == GPULET_OK)
        st = gpulet_store_put_content(r->store, job->file_key, digest, err);
    return st == GPULET_OK ? take_points(job, r, err) : st;
}

static void run_read(server_recall_t *r, recall_job_t *job)
{
    gpulet_error_t err = {""};
    gpulet_status_t st = read_file(job, r, &err);
    if (st != GPULET_OK && st != GPULET_E_CANCELLED)
        GPULET_LOG(WARNING, "event=content_unknown model=%s reason=\"%s\"", job->model, err.text);
    answer(r, job);
}

static void *recall_main(void *context)
{
    server_recall_t *r = context;
    (void)pthread_mutex_lock(&r->lock);
    while (!atomic_load(&r->ended)) {
        recall_job_t *job = NULL;
        for (int phase = 0; job == NULL && phase < RECALL_PHASES; phase++)
            job = list_take(&r->todo[phase]);
        if (job == NULL) {
            (void)pthread_cond_wait(&r->changed, &r->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&r->lock);
        if (job->phase == RECALL_LOOK)
            run_look(r, job);
        else
            run_read(r, job);
        (void)pthread_mutex_lock(&r->lock);
    }
    (void)pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- the loop's side ---- */

static void hand_over(server_recall_t *r, recall_job_t *job, recall_phase_t phase)
{
    job->phase = phase;
    (void)pthread_mutex_lock(&r->lock);
    list_add(&r->todo[phase], job);
    (void)pthread_cond_signal(&r->changed);
    (void)pthread_mutex_unlock(&r->lock);
}

static bool is_of(const recall_job_t *job, const server_recall_t *r, const server_model_t *model)
{
    char measured_by[GPULET_MEASURED_BY_MAX + 1];
    if (model->entry->problem != NULL || strcmp(model->entry->key, job->model) != 0 ||
        strcmp(model->entry->file_key, job->file_key) != 0 || model->batch_max != job->batch_max)
        return false;
    gpulet_measured_by_shapes(measured_by, r->measured_by, &model->entry->warmup, NULL);
    return strcmp(measured_by, job->measured_by) == 0;
}

/* The model that the job asks for, if it is still there and the answer is of use; NULL. */
static server_model_t *asker(gpulet_server_t *server, const recall_job_t *job)
{
    server_model_t *model = &server->models[job->id];
    bool same = job->id < server->models_count && model->role != SERVER_MODEL_FREE &&
                is_of(job, server->recall, model);
    return same && server_model_unmeasured(model) ? model : NULL;
}

/* A plan is asked for when more is known than before. */
static void take_answer(gpulet_server_t *server, recall_job_t *job)
{
    server_model_t *model = asker(server, job);
    bool news = model != NULL && job->profile != NULL &&
                server_known_stored(server, model, job->profile, job->whole);
    gpulet_profile_destroy(job->profile);
    job->profile = NULL;
    if (!news)
        return;
    GPULET_LOG(INFO, "event=profile_from_store model=%s whole=%d", job->model, (int)job->whole);
    if (!server_follow_fixed(server))
        server_follow_ask(server, GPULET_FOLLOW_PROFILE);
}

static void on_job_end(gpulet_server_t *server, recall_job_t *job)
{
    if (asker(server, job) != NULL)
        server_calibrate_want(server);
    job_free(job);
}

static void on_answer(gpulet_server_t *server, recall_job_t *job)
{
    server_recall_t *r = server->recall;
    bool looked = job->phase == RECALL_LOOK;
    /* A model that is rehearsed may have no file. */
    bool unread = looked && !job->content_known && job->path[0] != '\0';
    r->looking -= looked;
    r->wanted -= job->wanted;
    take_answer(server, job);
    job->wanted = unread && asker(server, job) != NULL;
    r->wanted += job->wanted;
    if (unread)
        hand_over(r, job, job->wanted ? RECALL_READ_WANTED : RECALL_READ);
    else
        on_job_end(server, job);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    gpulet_server_t *server = context;
    server_recall_t *r = server->recall;
    recall_list_t answers;
    uint64_t count = 0;
    (void)what;
    if (read(fd, &count, sizeof(count)) < 0)
        return;
    (void)pthread_mutex_lock(&r->lock);
    answers = r->answers;
    r->answers.first = NULL;
    (void)pthread_mutex_unlock(&r->lock);
    for (recall_job_t *job = answers.first, *next; job != NULL; job = next) {
        next = job->next;
        on_answer(server, job);
    }
    server_follow_step(server, gpulet_clock_ns()); /* it may have waited for this */
}

void server_recall_model(gpulet_server_t *server, const server_model_t *model)
{
    server_recall_t *r = server->recall;
    if (model->ensemble != NULL || model->entry->problem != NULL ||
        model->known == SERVER_KNOWN_GIVEN)
        return;
    recall_job_t *job = r != NULL ? job_create(r, model) : NULL;
    if (job == NULL) {
        server_calibrate_want(server);
        return;
    }
    job->wanted = server_model_unmeasured(model);
    r->wanted += job->wanted;
    if (r->looking++ == 0)
        r->looking_since_ns = gpulet_clock_ns();
    hand_over(r, job, RECALL_LOOK);
}

bool server_recall_looking(const gpulet_server_t *server)
{
    const server_recall_t *r = server->recall;
    return r != NULL && r->looking > 0 &&
           gpulet_clock_ns() - r->looking_since_ns < LOOK_MS_MAX * GPULET_NS_PER_MS;
}

bool server_recall_wanted(const gpulet_server_t *server)
{
    return server->recall != NULL && server->recall->wanted > 0;
}

/* ---- open and close ---- */

static void recall_free(server_recall_t *r)
{
    if (r->event != NULL)
        event_free(r->event);
    if (r->fd >= 0)
        (void)close(r->fd);
    for (int phase = 0; phase < RECALL_PHASES; phase++)
        list_free(&r->todo[phase]);
    list_free(&r->answers);
    gpulet_store_close(r->store);
    (void)pthread_cond_destroy(&r->changed);
    (void)pthread_mutex_destroy(&r->lock);
    free(r->store_path);
    free(r->device);
    free(r);
}

static gpulet_status_t start_thread(gpulet_server_t *server, gpulet_error_t *err)
{
    server_recall_t *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    (void)pthread_mutex_init(&r->lock, NULL);
    (void)pthread_cond_init(&r->changed, NULL);
    r->store_path = strdup(gpulet_store_path(server->store));
    r->device = strdup(server->device_set->types[0].name);
    r->units = server->device_set->types[0].units;
    memcpy(r->measured_by, server->measured_by, sizeof(r->measured_by));
    r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->fd >= 0)
        r->event = event_new(server->base, r->fd, EV_READ | EV_PERSIST, on_readable, server);
    if (r->store_path == NULL || r->device == NULL || r->event == NULL ||
        event_add(r->event, NULL) != 0) {
        recall_free(r);
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    }
    int result = gpulet_thread_start(&r->thread, recall_main, r);
    if (result != 0) {
        recall_free(r);
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "cannot start a thread: %s",
                           strerror(result));
    }
    server->recall = r;
    return GPULET_OK;
}

/* Before the first plan, and so here and now. */
static gpulet_status_t take_stored(size_t *total, gpulet_server_t *server, server_model_t *model,
                                   gpulet_error_t *err)
{
    const gpulet_repository_model_t *entry = model->entry;
    const gpulet_device_type_t *type = &server->device_set->types[0];
    gpulet_profile_t *points = NULL;
    char measured_by[GPULET_MEASURED_BY_MAX + 1];
    bool whole = false;
    size_t count = 0;
    gpulet_measured_by_shapes(measured_by, server->measured_by, &entry->warmup, NULL);
    if (gpulet_profile_create(&points) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    gpulet_status_t st = gpulet_store_get_points(server->store, type->name, measured_by,
                                                 entry->file_key, entry->key, points, &count, err);
    if (st == GPULET_OK)
        st = gpulet_store_get_whole(&whole, server->store, type->name, measured_by, entry->file_key,
                                    type->units, model->batch_max, err);
    if (st == GPULET_OK && count > 0)
        (void)server_known_stored(server, model, points, whole);
    gpulet_profile_destroy(points);
    *total += count;
    if (st == GPULET_OK || server->settings.store != NULL)
        return st;
    GPULET_LOG(WARNING, "event=store_unreadable model=%s reason=\"%s\"", entry->key, err->text);
    return GPULET_OK;
}

gpulet_status_t server_recall_open(gpulet_server_t *server, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    size_t total = 0;
    if (server->store == NULL)
        return GPULET_OK;
    for (uint32_t i = 0; st == GPULET_OK && i < server->models_count; i++) {
        server_model_t *model = &server->models[i];
        if (model->entry->problem == NULL && model->ensemble == NULL &&
            model->known == SERVER_KNOWN_NOT)
            st = take_stored(&total, server, model, err);
    }
    if (total > 0)
        GPULET_LOG(INFO, "event=profiles_from_store points=%zu store=%s", total,
                   gpulet_store_path(server->store));
    if (st == GPULET_OK)
        st = start_thread(server, err);
    for (uint32_t i = 0; st == GPULET_OK && i < server->models_count; i++)
        server_recall_model(server, &server->models[i]);
    return st;
}

void server_recall_close(gpulet_server_t *server)
{
    server_recall_t *r = server->recall;
    if (r == NULL)
        return;
    (void)pthread_mutex_lock(&r->lock);
    atomic_store(&r->ended, true);
    (void)pthread_cond_signal(&r->changed);
    (void)pthread_mutex_unlock(&r->lock);
    (void)pthread_join(r->thread, NULL);
    recall_free(r);
    server->recall = NULL;
}
