/* The thread that plans, so that the loop need not wait for it. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/thread.h"
#include "server/follow.h"
#include "server/planning.h"

struct server_planner {
    pthread_t thread;
    pthread_mutex_t lock; /* wanted, ended, done */
    pthread_cond_t changed;
    bool wanted; /* job is the thread's */
    bool done;   /* job is the loop's, answered */
    bool ended;
    bool busy; /* the loop's: a job is under way or its answer not yet taken */
    server_plan_job_t job;
    int fd; /* readable when it is done */
    struct event *event;
};

static void *planner_main(void *context)
{
    server_planner_t *planner = context;
    const uint64_t one = 1;
    (void)pthread_mutex_lock(&planner->lock);
    while (!planner->ended) {
        if (!planner->wanted) {
            (void)pthread_cond_wait(&planner->changed, &planner->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&planner->lock);
        server_planning_run(&planner->job);
        (void)pthread_mutex_lock(&planner->lock);
        planner->wanted = false;
        planner->done = true;
        if (write(planner->fd, &one, sizeof(one)) < 0)
            continue; /* The counter is at its end: readable already. */
    }
    (void)pthread_mutex_unlock(&planner->lock);
    return NULL;
}

static void on_done(evutil_socket_t fd, short what, void *context)
{
    gpulet_server_t *server = context;
    server_planner_t *planner = server->planner;
    uint64_t count = 0;
    (void)what;
    if (read(fd, &count, sizeof(count)) < 0)
        return;
    (void)pthread_mutex_lock(&planner->lock);
    bool done = planner->done;
    planner->done = false;
    (void)pthread_mutex_unlock(&planner->lock);
    if (!done)
        return;
    server_plan_job_t job = planner->job;
    memset(&planner->job, 0, sizeof(planner->job));
    planner->busy = false;
    server_follow_planned(server, &job);
    server_planning_job_deinit(&job);
}

static void planner_free(server_planner_t *planner)
{
    if (planner->event != NULL)
        event_free(planner->event);
    if (planner->fd >= 0)
        (void)close(planner->fd);
    (void)pthread_cond_destroy(&planner->changed);
    (void)pthread_mutex_destroy(&planner->lock);
    free(planner);
}

gpulet_status_t server_planner_open(gpulet_server_t *server, gpulet_error_t *err)
{
    server_planner_t *planner = calloc(1, sizeof(*planner));
    if (planner == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    (void)pthread_mutex_init(&planner->lock, NULL);
    (void)pthread_cond_init(&planner->changed, NULL);
    planner->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (planner->fd >= 0)
        planner->event =
            event_new(server->base, planner->fd, EV_READ | EV_PERSIST, on_done, server);
    if (planner->event == NULL || event_add(planner->event, NULL) != 0) {
        planner_free(planner);
        return gpulet_fail(err, GPULET_E_NOMEM, "no event for the planning thread");
    }
    int result = gpulet_thread_start(&planner->thread, planner_main, planner);
    if (result != 0) {
        planner_free(planner);
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "cannot start the planning thread: %s",
                           strerror(result));
    }
    server->planner = planner;
    return GPULET_OK;
}

void server_planner_close(gpulet_server_t *server)
{
    server_planner_t *planner = server->planner;
    if (planner == NULL)
        return;
    (void)pthread_mutex_lock(&planner->lock);
    planner->ended = true;
    (void)pthread_cond_signal(&planner->changed);
    (void)pthread_mutex_unlock(&planner->lock);
    (void)pthread_join(planner->thread, NULL);
    server_planning_job_deinit(&planner->job);
    planner_free(planner);
    server->planner = NULL;
}

bool server_planner_busy(const gpulet_server_t *server)
{
    return server->planner->busy;
}

/* The input points at what the job owns, not at the job: it may be moved. */
void server_planner_begin(gpulet_server_t *server, const server_plan_job_t *job)
{
    server_planner_t *planner = server->planner;
    planner->busy = true;
    planner->job = *job;
    (void)pthread_mutex_lock(&planner->lock);
    planner->wanted = true;
    (void)pthread_cond_signal(&planner->changed);
    (void)pthread_mutex_unlock(&planner->lock);
}
