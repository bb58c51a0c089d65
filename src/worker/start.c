#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/parse.h"
#include "worker/main_loop.h"
#include "worker/work.h"

/* ---- priority ---- */

/* Only this thread; new threads inherit it. */
static int thread_nice_set(pid_t tid, int nice)
{
    return setpriority(PRIO_PROCESS, (id_t)tid, nice);
}

/* Whether a thread may take its nice value back is asked of a thread that nobody will miss. */
static void *nice_try(void *result)
{
    pid_t tid = (pid_t)syscall(SYS_gettid);
    int before = getpriority(PRIO_PROCESS, (id_t)tid);
    bool *revocable = result;
    *revocable = thread_nice_set(tid, before + 1) == 0 && thread_nice_set(tid, before) == 0;
    return NULL;
}

void gpulet_work_background(int nice)
{
    const struct sched_param none = {0};
    pthread_t thread;
    bool revocable = false;
    if (pthread_create(&thread, NULL, nice_try, &revocable) == 0)
        (void)pthread_join(thread, NULL);
    /* Without the right to come back, a batch thread is at least never woken ahead of others. */
    if (revocable)
        (void)thread_nice_set(0, nice);
    else
        (void)sched_setscheduler(0, SCHED_BATCH, &none);
}

void gpulet_work_foreground(void)
{
    const struct sched_param none = {0};
    DIR *d = opendir("/proc/self/task");
    if (d == NULL)
        return;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        uint64_t tid = 0;
        if (gpulet_parse_u64(&tid, e->d_name, strlen(e->d_name)) != GPULET_OK)
            continue;
        if (sched_getscheduler((pid_t)tid) == SCHED_IDLE)
            continue;
        (void)sched_setscheduler((pid_t)tid, SCHED_OTHER, &none);
        (void)thread_nice_set((pid_t)tid, 0);
    }
    (void)closedir(d);
}

/* ---- memory ---- */

/* A field of /proc/self/status, in bytes. */
static uint64_t status_field(const char *text, const char *name)
{
    uint64_t kib = 0;
    const char *at = strstr(text, name);
    if (at == NULL)
        return 0;
    at += strlen(name);
    at += strspn(at, " \t");
    return gpulet_parse_u64(&kib, at, strspn(at, "0123456789")) == GPULET_OK ? kib * 1024 : 0;
}

uint64_t gpulet_work_rss(void)
{
    char text[8192];
    FILE *f = fopen("/proc/self/status", "re");
    if (f == NULL)
        return 0;
    size_t size = fread(text, 1, sizeof(text) - 1, f);
    (void)fclose(f);
    text[size] = '\0';
    return status_field(text, "RssAnon:") + status_field(text, "RssFile:");
}

uint64_t gpulet_work_memory(const gpulet_work_t *work)
{
    gpulet_error_t err = {""};
    uint64_t bytes = 0;
    if (work->backend->memory_used == NULL)
        return gpulet_work_rss();
    if (work->backend->memory_used(&bytes, &err) != GPULET_OK)
        GPULET_LOG(WARNING, "event=device_memory_unknown error=\"%s\"", err.text);
    return bytes;
}

/* ---- start ---- */

/* Waits for one message; there is no work to do meanwhile. */
static gpulet_status_t message_await(gpulet_control_t *out, gpulet_work_t *work, int *fd_out)
{
    size_t size = 0;
    for (;;) {
        gpulet_status_t st = gpulet_control_receive(work->control_fd, work->packet,
                                                    sizeof(work->packet), &size, fd_out);
        if (st == GPULET_OK)
            break;
        if (st != GPULET_E_AGAIN)
            return st;
        struct pollfd p = {.fd = work->control_fd, .events = POLLIN};
        (void)poll(&p, 1, -1);
    }
    gpulet_status_t st = gpulet_control_decode(out, work->packet, size);
    if (st != GPULET_OK && *fd_out >= 0) {
        (void)close(*fd_out);
        *fd_out = -1;
    }
    return st;
}

static gpulet_status_t event_await(int *out, gpulet_work_t *work)
{
    gpulet_control_t message;
    int fd = -1;
    gpulet_status_t st = message_await(&message, work, &fd);
    if (st != GPULET_OK)
        return st;
    bool good = message.kind == GPULET_CONTROL_EVENTS && fd >= 0;
    gpulet_control_deinit(&message);
    if (!good) {
        if (fd >= 0)
            (void)close(fd);
        return GPULET_E_INVALID;
    }
    *out = fd;
    return GPULET_OK;
}

static bool ring_size_good(uint64_t size)
{
    return size >= GPULET_RING_SIZE_MIN && size <= UINT64_C(1) << 30 && (size & (size - 1)) == 0;
}

static gpulet_status_t rings_map(gpulet_work_t *work, const gpulet_control_start_t *s, int fd,
                                 gpulet_error_t *err)
{
    if (!ring_size_good(s->ring_to_worker) || !ring_size_good(s->ring_to_server))
        return gpulet_fail(err, GPULET_E_INVALID, "the start message has impossible ring sizes");
    size_t first = gpulet_ring_bytes(s->ring_to_worker);
    work->shared_size = first + gpulet_ring_bytes(s->ring_to_server);
    gpulet_status_t st = gpulet_shared_map(&work->shared, fd, work->shared_size, true, err);
    if (st != GPULET_OK)
        return st;
    gpulet_ring_init(&work->in, work->shared, s->ring_to_worker, work->event_fd);
    gpulet_ring_init(&work->out, (uint8_t *)work->shared + first, s->ring_to_server,
                     work->server_fd);
    return GPULET_OK;
}

static gpulet_status_t epoll_open(gpulet_work_t *work, gpulet_error_t *err)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = work->event_fd};
    struct epoll_event control = {.events = EPOLLIN, .data.fd = work->control_fd};
    work->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    /* Edge-triggered: a wake-up then needs no read of the counter. */
    if (work->epoll_fd < 0 ||
        epoll_ctl(work->epoll_fd, EPOLL_CTL_ADD, work->event_fd, &event) != 0 ||
        epoll_ctl(work->epoll_fd, EPOLL_CTL_ADD, work->control_fd, &control) != 0)
        return gpulet_fail(err, GPULET_E_IO, "epoll: %s", strerror(errno));
    return GPULET_OK;
}

static gpulet_status_t options_check(const gpulet_control_t *m, gpulet_error_t *err)
{
    if (m->kind != GPULET_CONTROL_START || m->start.magic != GPULET_CONTROL_MAGIC ||
        m->start.version != GPULET_WIRE_VERSION || m->start.layout != gpulet_control_layout())
        return gpulet_fail(err, GPULET_E_UNSUPPORTED,
                           "server and gpulet-worker are of different versions");
    return GPULET_OK;
}

/* The options' texts lie in work->packet, which the next message overwrites: everything that needs
 * them happens before. */
static gpulet_status_t engine_open(gpulet_work_t *work, const gpulet_control_start_t *s,
                                   gpulet_error_t *err)
{
    const gpulet_engine_options_t options = {
        .ort_library = s->ort_library[0] != '\0' ? s->ort_library : NULL,
        .fake_profile = s->fake_profile[0] != '\0' ? s->fake_profile : NULL,
        .fake_device = s->device_type[0] != '\0' ? s->device_type : NULL,
    };
    gpulet_status_t st;
    work->backend = gpulet_device_backend_find(s->backend);
    if (work->backend == NULL)
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "no device backend '%s'", s->backend);
    const gpulet_engine_ops_t *ops = gpulet_engine_find(s->engine);
    if (ops == NULL)
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "no engine '%s'", s->engine);
    if ((st = work->backend->enter(s->grant, &work->entry, err)) != GPULET_OK)
        return st;
    if (work->entry.threads == 0)
        work->entry.threads = 1;
    if (s->nice > 0)
        gpulet_work_background(s->nice);
    if ((st = ops->open(&work->engine, &options, err)) != GPULET_OK)
        return st;
    work->ops = ops;
    return GPULET_OK;
}

static gpulet_status_t hello_send(gpulet_work_t *work)
{
    const gpulet_control_t hello = {.kind = GPULET_CONTROL_HELLO,
                                    .size = gpulet_slab_size(work->slab)};
    gpulet_work_send(work, &hello, gpulet_slab_fd(work->slab));
    return work->closed ? GPULET_E_CLOSED : GPULET_OK;
}

static gpulet_status_t start_with(gpulet_work_t *work, const gpulet_control_start_t *s, int fd,
                                  const char *name, gpulet_error_t *err)
{
    gpulet_log_level_t level = GPULET_LOG_INFO;
    gpulet_status_t st;
    if (gpulet_log_level_parse(&level, s->log_level) != GPULET_OK)
        level = GPULET_LOG_INFO;
    gpulet_log_setup(level, name);
    work->spin = s->spin;
    work->units = s->units;
    if ((st = rings_map(work, s, fd, err)) != GPULET_OK ||
        (st = epoll_open(work, err)) != GPULET_OK ||
        (st = gpulet_slab_create(&work->slab, "gpulet-output", s->output_bytes_max, err)) !=
            GPULET_OK ||
        (st = hello_send(work)) != GPULET_OK || (st = engine_open(work, s, err)) != GPULET_OK)
        return st;
    work->memory_at_ready = gpulet_work_memory(work);
    const gpulet_control_t ready = {.kind = GPULET_CONTROL_READY,
                                    .threads = work->entry.threads,
                                    .text = work->ops->version(work->engine)};
    gpulet_work_send(work, &ready, -1);
    return work->closed ? GPULET_E_CLOSED : GPULET_OK;
}

gpulet_status_t gpulet_work_start(gpulet_work_t *work, const char *name, gpulet_error_t *err)
{
    gpulet_control_t message;
    uint8_t *start_bytes = NULL;
    int fd = -1;
    work->controls_end = &work->controls;
    work->records = calloc(GPULET_WIRE_AHEAD_MAX, GPULET_WORK_RECORD_MAX);
    if (work->records == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    for (size_t i = 0; i < GPULET_WIRE_AHEAD_MAX; i++)
        work->runs[i].record = (uint8_t *)work->records + i * GPULET_WORK_RECORD_MAX;
    gpulet_status_t st = message_await(&message, work, &fd);
    if (st != GPULET_OK)
        return gpulet_fail(
            err, st,
            "the start message cannot be read: are server and gpulet-worker of one version?");
    st = options_check(&message, err);
    /* The message's texts point into the packet buffer: keep a copy and read it again. */
    if (st == GPULET_OK && (start_bytes = malloc(sizeof(work->packet))) == NULL)
        st = GPULET_E_NOMEM;
    if (st == GPULET_OK) {
        size_t size = 0;
        st = gpulet_control_encode(start_bytes, sizeof(work->packet), &size, &message);
        if (st == GPULET_OK)
            st = gpulet_control_decode(&message, start_bytes, size);
    }
    if (st == GPULET_OK && ((st = event_await(&work->event_fd, work)) != GPULET_OK ||
                            (st = event_await(&work->server_fd, work)) != GPULET_OK))
        (void)gpulet_fail(err, st, "the server did not send its eventfds");
    if (st == GPULET_OK)
        st = start_with(work, &message.start, fd, name, err);
    if (fd >= 0)
        (void)close(fd);
    free(start_bytes);
    return st;
}

void gpulet_work_finish(gpulet_work_t *work)
{
    gpulet_work_models_deinit(work);
    if (work->ops != NULL)
        work->ops->close(work->engine);
    gpulet_work_inputs_deinit(work);
    gpulet_work_outputs_deinit(work);
    while (work->controls != NULL) {
        gpulet_work_queued_control_t *c = work->controls;
        work->controls = c->next;
        if (c->fd >= 0)
            (void)close(c->fd);
        free(c);
    }
    free(work->records);
    if (work->shared != NULL)
        (void)munmap(work->shared, work->shared_size);
    const int fds[] = {work->epoll_fd, work->event_fd, work->server_fd, work->control_fd,
                       work->loaded_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0)
            (void)close(fds[i]);
    }
}

/* ---- the process ---- */

/* Ctrl-C in a terminal goes to the whole group; the server drains and then says stop. */
static void signals_ignore(void)
{
    const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        (void)signal(ignored[i], SIG_IGN);
}

int gpulet_work_main(int control_fd, pid_t parent, const char *name)
{
    gpulet_error_t err;
    err.text[0] = '\0';
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before the line above */
        return 1;
    signals_ignore();
    (void)prctl(PR_SET_NAME, name);
    gpulet_work_t *work = calloc(1, sizeof(*work));
    if (work == NULL)
        return 1;
    work->control_fd = control_fd;
    work->epoll_fd = work->event_fd = work->server_fd = work->loaded_fd = -1;
    gpulet_status_t st = gpulet_work_start(work, name, &err);
    if (st == GPULET_OK) {
        gpulet_work_loop(work);
    } else if (st != GPULET_E_CLOSED) {
        const gpulet_control_t failed = {.kind = GPULET_CONTROL_FAILED,
                                         .status = st,
                                         .text = err.text[0] != '\0' ? err.text
                                                                     : gpulet_status_text(st)};
        gpulet_work_send(work, &failed, -1);
    }
    int rc = st == GPULET_OK && !work->closed ? 0 : 1;
    if (work->loading != NULL)
        _exit(rc); /* A thread of the library cannot be stopped, and uses what would be freed. */
    gpulet_work_finish(work);
    free(work);
    return rc;
}
