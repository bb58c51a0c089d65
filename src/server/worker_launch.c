#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/slab.h"
#include "server/worker_end.h"
#include "server/worker_internal.h"

enum {
    CHILD_CONTROL_FD = 3,
    RING_TO_WORKER = 128 * 1024, /* 20 of the longest runs, 5000 releases */
    RING_TO_SERVER = 64 * 1024,
    REAP_MS = 50 /* for which the end of a killed process is waited for on the spot */
};
static const uint64_t output_bytes_default = UINT64_C(256) << 20;

/* The control memfd with both rings; *fd_out is the caller's. */
static gpulet_status_t rings_create(int *fd_out, gpulet_worker_t *worker, gpulet_error_t *err)
{
    const size_t first = gpulet_ring_bytes(RING_TO_WORKER);
    worker->shared_size = first + gpulet_ring_bytes(RING_TO_SERVER);
    gpulet_status_t st =
        gpulet_large_create(fd_out, &worker->shared, "gpulet-control", worker->shared_size, err);
    if (st != GPULET_OK)
        return st;
    gpulet_ring_init(&worker->to_worker, worker->shared, RING_TO_WORKER, worker->worker_event_fd);
    gpulet_ring_init(&worker->from_worker, (uint8_t *)worker->shared + first, RING_TO_SERVER,
                     worker->event_fd);
    return GPULET_OK;
}

static gpulet_status_t epoll_fill(gpulet_worker_t *worker, gpulet_error_t *err)
{
    /* Edge-triggered: a wake-up then needs no read of the counter. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = worker->event_fd};
    struct epoll_event control = {.events = EPOLLIN, .data.fd = worker->control_fd};
    struct epoll_event process = {.events = EPOLLIN, .data.fd = worker->pid_fd};
    if (epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, worker->event_fd, &event) != 0 ||
        epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, worker->control_fd, &control) != 0 ||
        epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, worker->pid_fd, &process) != 0)
        return gpulet_fail(err, GPULET_E_IO, "epoll: %s", strerror(errno));
    return GPULET_OK;
}

/* Starts the program with child_fd as its descriptor 3, no signal blocked and all signals at their
 * defaults. */
static gpulet_status_t process_spawn(gpulet_worker_t *worker, const char *program, int child_fd,
                                     gpulet_error_t *err)
{
    char parent[24];
    char command[] = "gpulet-worker", parent_flag[] = "--parent", name_flag[] = "--name";
    char *const argv[] = {command, parent_flag, parent, name_flag, worker->name, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    (void)snprintf(parent, sizeof(parent), "%ld", (long)getpid());
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    if (posix_spawn_file_actions_init(&actions) != 0)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    if (posix_spawnattr_init(&attributes) != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    }
    int rc = posix_spawn_file_actions_adddup2(&actions, child_fd, CHILD_CONTROL_FD);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (rc == 0)
        rc = posix_spawn(&worker->pid, program, &actions, &attributes, argv, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (rc != 0) {
        worker->pid = 0;
        return gpulet_fail(err, rc == ENOENT ? GPULET_E_NOT_FOUND : GPULET_E_IO,
                           "cannot start %s: %s", program, strerror(rc));
    }
    /* Not reaped by anyone yet, so the number still means this process. */
    worker->pid_fd = (int)syscall(SYS_pidfd_open, worker->pid, 0);
    if (worker->pid_fd < 0)
        return gpulet_fail(err, GPULET_E_IO, "pidfd_open: %s", strerror(errno));
    return GPULET_OK;
}

static const char *text_or_empty(const char *text)
{
    return text == NULL ? "" : text;
}

static gpulet_status_t start_send(gpulet_worker_t *worker, const gpulet_worker_options_t *o,
                                  int control_memfd, gpulet_error_t *err)
{
    const gpulet_control_t start = {.kind = GPULET_CONTROL_START,
                                    .start = {.magic = GPULET_CONTROL_MAGIC,
                                              .version = GPULET_WIRE_VERSION,
                                              .layout = gpulet_control_layout(),
                                              .units = o->units,
                                              .nice = o->nice,
                                              .spin = o->spin,
                                              .output_bytes_max = o->output_bytes_max > 0
                                                                      ? o->output_bytes_max
                                                                      : output_bytes_default,
                                              .ring_to_worker = RING_TO_WORKER,
                                              .ring_to_server = RING_TO_SERVER,
                                              .backend = text_or_empty(o->backend),
                                              .grant = text_or_empty(o->grant),
                                              .engine = text_or_empty(o->engine),
                                              .ort_library = text_or_empty(o->ort_library),
                                              .fake_profile = text_or_empty(o->fake_profile),
                                              .device_type = text_or_empty(o->device_type),
                                              .log_level = text_or_empty(o->log_level)}};
    const gpulet_control_t events = {.kind = GPULET_CONTROL_EVENTS};
    gpulet_status_t st;
    if ((st = gpulet_worker_send(worker, &start, control_memfd)) != GPULET_OK ||
        (st = gpulet_worker_send(worker, &events, worker->worker_event_fd)) != GPULET_OK ||
        (st = gpulet_worker_send(worker, &events, worker->event_fd)) != GPULET_OK)
        return gpulet_fail(err, st, "cannot send the start message: %s", gpulet_status_text(st));
    return GPULET_OK;
}

gpulet_status_t gpulet_worker_launch(gpulet_worker_t *worker,
                                     const gpulet_worker_options_t *options, gpulet_error_t *err)
{
    int pair[2] = {-1, -1};
    int control_memfd = -1;
    gpulet_status_t st;
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    worker->worker_event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->epoll_fd < 0 || worker->event_fd < 0 || worker->worker_event_fd < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return gpulet_fail(err, GPULET_E_IO, "no descriptors for a worker: %s", strerror(errno));
    worker->control_fd = pair[0];
    if ((st = rings_create(&control_memfd, worker, err)) != GPULET_OK)
        goto out;
    if ((st = process_spawn(worker, options->program, pair[1], err)) != GPULET_OK)
        goto out;
    if ((st = epoll_fill(worker, err)) != GPULET_OK)
        goto out;
    if ((st = start_send(worker, options, control_memfd, err)) != GPULET_OK)
        goto out;
    /* Whatever comes before the first call of process wakes the owner. */
    (void)gpulet_ring_sleep(&worker->from_worker, GPULET_RING_ASLEEP);
out:
    (void)close(pair[1]);
    if (control_memfd >= 0)
        (void)close(control_memfd);
    return st;
}

void gpulet_worker_channel_close(gpulet_worker_t *worker)
{
    if (worker->pid > 0 && !worker->reaped) {
        if (!worker->killed)
            worker->given_away =
                gpulet_worker_end(worker->pid, worker->pid_fd, worker->backend, worker->grant);
        if (!worker->given_away)
            gpulet_worker_reap(worker->pid, worker->pid_fd, REAP_MS);
        worker->reaped = true;
    }
    const int fds[] = {worker->epoll_fd, worker->control_fd, worker->event_fd,
                       worker->worker_event_fd, worker->pid_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0)
            (void)close(fds[i]);
    }
    if (worker->shared != NULL)
        (void)munmap(worker->shared, worker->shared_size);
}
