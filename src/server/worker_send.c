#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/worker_internal.h"

void gpulet_worker_self_wake(gpulet_worker_t *worker)
{
    const uint64_t one = 1;
    if (write(worker->event_fd, &one, sizeof(one)) < 0)
        return; /* The counter is at its end: readable already. */
}

/* EPOLLOUT only while something waits: a socket is nearly always writable. */
static void watch_writable(gpulet_worker_t *worker, bool writable)
{
    struct epoll_event e = {.events = EPOLLIN | (writable ? (uint32_t)EPOLLOUT : 0U),
                            .data.fd = worker->control_fd};
    (void)epoll_ctl(worker->epoll_fd, EPOLL_CTL_MOD, worker->control_fd, &e);
}

void gpulet_worker_socket_closed(gpulet_worker_t *worker)
{
    if (worker->closed_ns != 0)
        return;
    worker->closed_ns = gpulet_clock_ns();
    (void)epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, worker->control_fd, NULL);
}

static gpulet_status_t packet_send(gpulet_worker_t *worker, const uint8_t *bytes, size_t size,
                                   int fd)
{
    gpulet_status_t st = gpulet_control_send(worker->control_fd, bytes, size, fd, false);
    if (st == GPULET_OK) {
        /* The worker looks at its socket when this count has moved. */
        (void)atomic_fetch_add_explicit(&worker->to_worker.shared->messages, 1,
                                        memory_order_release);
        return GPULET_OK;
    }
    if (st == GPULET_E_AGAIN)
        return st;
    gpulet_worker_socket_closed(worker);
    return GPULET_E_CLOSED;
}

static gpulet_status_t packet_keep(gpulet_worker_t *worker, const uint8_t *bytes, size_t size,
                                   int fd)
{
    gpulet_worker_packet_t *p = malloc(sizeof(*p) + size);
    if (p == NULL)
        return GPULET_E_NOMEM;
    p->next = NULL;
    p->fd = -1;
    /* The caller may close its descriptor as soon as this returns. */
    if (fd >= 0 && (p->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0) {
        free(p);
        return GPULET_E_IO;
    }
    p->size = size;
    memcpy(p->bytes, bytes, size);
    if (worker->packets == NULL)
        watch_writable(worker, true);
    *worker->packets_end = p;
    worker->packets_end = &p->next;
    return GPULET_OK;
}

gpulet_status_t gpulet_worker_send(gpulet_worker_t *worker, const gpulet_control_t *message, int fd)
{
    uint8_t bytes[GPULET_CONTROL_MESSAGE_MAX];
    size_t size = 0;
    if (worker->state >= GPULET_WORKER_LOST || worker->closed_ns != 0)
        return GPULET_E_CLOSED;
    gpulet_status_t st = gpulet_control_encode(bytes, sizeof(bytes), &size, message);
    if (st != GPULET_OK)
        return st;
    st = worker->packets == NULL ? packet_send(worker, bytes, size, fd) : GPULET_E_AGAIN;
    if (st == GPULET_E_AGAIN)
        st = packet_keep(worker, bytes, size, fd);
    return st;
}

static void packets_flush(gpulet_worker_t *worker)
{
    if (worker->packets == NULL || worker->closed_ns != 0)
        return;
    while (worker->packets != NULL) {
        gpulet_worker_packet_t *p = worker->packets;
        if (packet_send(worker, p->bytes, p->size, p->fd) != GPULET_OK)
            return;
        worker->packets = p->next;
        if (p->fd >= 0)
            (void)close(p->fd);
        free(p);
    }
    worker->packets_end = &worker->packets;
    watch_writable(worker, false);
}

void gpulet_worker_packets_free(gpulet_worker_t *worker)
{
    while (worker->packets != NULL) {
        gpulet_worker_packet_t *p = worker->packets;
        worker->packets = p->next;
        if (p->fd >= 0)
            (void)close(p->fd);
        free(p);
    }
    worker->packets_end = &worker->packets;
}

static bool release_push(gpulet_worker_t *worker, const gpulet_record_release_t *release)
{
    gpulet_status_t st = gpulet_ring_push(&worker->to_worker, release, sizeof(*release), NULL, 0);
    if (st == GPULET_E_INVALID)
        gpulet_worker_lose(worker, "it wrote nonsense into the ring");
    return st == GPULET_OK;
}

static void releases_flush(gpulet_worker_t *worker)
{
    size_t done = 0;
    while (done < worker->releases_count && release_push(worker, &worker->releases[done]))
        done++;
    if (done == 0)
        return;
    worker->releases_count -= done;
    memmove(worker->releases, worker->releases + done,
            worker->releases_count * sizeof(*worker->releases));
}

void gpulet_worker_flush(gpulet_worker_t *worker)
{
    if (worker->state >= GPULET_WORKER_LOST)
        return;
    packets_flush(worker);
    releases_flush(worker);
    if (worker->releases_count > 0)
        gpulet_ring_wake(&worker->to_worker, GPULET_RING_ASLEEP);
}

/* Keeps a release for later. */
static void release_keep(gpulet_worker_t *worker, const gpulet_record_release_t *release)
{
    if (worker->releases_count == worker->releases_cap) {
        size_t cap = worker->releases_cap == 0 ? 64 : worker->releases_cap * 2;
        gpulet_record_release_t *grown = realloc(worker->releases, cap * sizeof(*grown));
        if (grown == NULL) {
            /* The worker would wait for this memory for ever. */
            gpulet_worker_lose(worker, "no memory to tell it of a release");
            gpulet_worker_self_wake(worker);
            return;
        }
        worker->releases = grown;
        worker->releases_cap = cap;
    }
    worker->releases[worker->releases_count++] = *release;
    gpulet_ring_wake(&worker->to_worker, GPULET_RING_ASLEEP);
}

static void release_send(gpulet_worker_t *worker, const gpulet_worker_output_t *output)
{
    const gpulet_record_release_t release = {.kind = GPULET_RECORD_RELEASE,
                                             .segment = output->segment->segment,
                                             .offset = output->offset};
    if (worker->state >= GPULET_WORKER_LOST)
        return;
    if (worker->releases_count > 0 || !release_push(worker, &release)) {
        release_keep(worker, &release);
        return;
    }
    /* A worker that waits for memory must hear of it; one that sleeps need not, until the ring
     * fills up. */
    bool crowded = gpulet_ring_backlog(&worker->to_worker) > worker->to_worker.size / 2;
    gpulet_ring_wake(&worker->to_worker, crowded ? GPULET_RING_ASLEEP : GPULET_RING_STARVED);
}

void gpulet_worker_release(void *output)
{
    gpulet_worker_output_t *o = output;
    if (o == NULL)
        return;
    gpulet_worker_t *worker = o->worker;
    if (worker != NULL)
        release_send(worker, o);
    gpulet_worker_segment_unref(o->segment);
    if (worker == NULL) {
        free(o);
        return;
    }
    o->prev->next = o->next;
    o->next->prev = o->prev;
    o->next = worker->spare;
    worker->spare = o;
}
