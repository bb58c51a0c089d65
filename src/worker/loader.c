#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"
#include "worker/work.h"

enum { LOADER_NICE = 10 };

/* One load beside the runs of other models. The loading thread owns everything but `done` until it
 * has set it; then the main loop does. */
struct gpulet_work_loading {
    gpulet_work_t *work; /* what is constant of it */
    pthread_t thread;
    atomic_bool done; /* release/acquire */
    int done_fd;      /* the main loop's eventfd */
    gpulet_work_queued_control_t *control;
    gpulet_control_t message; /* points into control */
    gpulet_work_model_t *model;
    uint64_t load_ns;
    gpulet_status_t status;
    gpulet_error_t err;
};

static void *load_main(void *context)
{
    gpulet_work_loading_t *loading = context;
    const uint64_t one = 1;
    gpulet_work_background(LOADER_NICE);
    loading->status =
        gpulet_work_model_create(&loading->model, &loading->load_ns, loading->work,
                                 &loading->message, loading->control->fd, &loading->err);
    int done_fd = loading->done_fd;
    atomic_store_explicit(&loading->done, true, memory_order_release);
    if (write(done_fd, &one, sizeof(one)) < 0)
        return NULL; /* The counter is at its end: readable already. */
    return NULL;
}

static void loading_destroy(gpulet_work_loading_t *loading)
{
    gpulet_control_deinit(&loading->message);
    if (loading->control->fd >= 0)
        (void)close(loading->control->fd);
    free(loading->control);
    free(loading);
}

/* The descriptor that wakes the main loop, made when it is first needed. */
static bool loaded_fd_open(gpulet_work_t *work)
{
    if (work->loaded_fd >= 0)
        return true;
    work->loaded_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = work->loaded_fd};
    if (work->loaded_fd >= 0 &&
        epoll_ctl(work->epoll_fd, EPOLL_CTL_ADD, work->loaded_fd, &event) == 0)
        return true;
    if (work->loaded_fd >= 0)
        (void)close(work->loaded_fd);
    work->loaded_fd = -1;
    return false;
}

bool gpulet_work_load_begin(gpulet_work_t *work, gpulet_work_queued_control_t *control)
{
    gpulet_work_loading_t *loading = calloc(1, sizeof(*loading));
    if (loading == NULL || !loaded_fd_open(work) ||
        gpulet_control_decode(&loading->message, control->bytes, control->size) != GPULET_OK) {
        free(loading);
        return false;
    }
    loading->work = work;
    loading->control = control;
    loading->done_fd = work->loaded_fd;
    if (gpulet_work_model_find(work, loading->message.model) != NULL) {
        loading->status = gpulet_fail(&loading->err, GPULET_E_EXISTS, "model %u is loaded already",
                                      loading->message.model);
        gpulet_work_load_failed(work, loading->message.model, loading->status, &loading->err);
        loading_destroy(loading);
        return true;
    }
    int result = gpulet_thread_start(&loading->thread, load_main, loading);
    if (result != 0) {
        GPULET_LOG(WARNING, "event=no_load_thread error=\"%s\"", strerror(result));
        gpulet_control_deinit(&loading->message);
        free(loading);
        return false;
    }
    work->loading = loading;
    return true;
}

void gpulet_work_load_poll(gpulet_work_t *work)
{
    gpulet_work_loading_t *loading = work->loading;
    if (loading == NULL || !atomic_load_explicit(&loading->done, memory_order_acquire))
        return;
    (void)pthread_join(loading->thread, NULL);
    work->loading = NULL;
    gpulet_work_foreground(); /* its pool's threads took over the low priority */
    if (loading->status == GPULET_OK)
        gpulet_work_loaded(work, loading->model, loading->load_ns);
    else
        gpulet_work_load_failed(work, loading->message.model, loading->status, &loading->err);
    loading_destroy(loading);
}
