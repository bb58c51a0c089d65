#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/work.h"

enum {
    SPIN_NS = 50000,
    SPIN_CHECK = 64, /* looks at the ring between two looks at the clock */
    IDLE_MS = 1000   /* quiet for so long: give memory back */
};

void gpulet_work_send(gpulet_work_t *work, const gpulet_control_t *message, int fd)
{
    uint8_t *bytes = malloc(GPULET_CONTROL_MESSAGE_MAX);
    size_t size = 0;
    gpulet_status_t st = GPULET_E_NOMEM;
    if (bytes != NULL)
        st = gpulet_control_encode(bytes, GPULET_CONTROL_MESSAGE_MAX, &size, message);
    if (st == GPULET_OK)
        st = gpulet_control_send(work->control_fd, bytes, size, fd, true);
    free(bytes);
    /* An answer that cannot be sent would be waited for in vain: better to end and be seen to. */
    if (st != GPULET_OK)
        work->closed = work->ended = true;
}

/* ---- taking in ---- */

static void control_queue(gpulet_work_t *work, size_t size, int fd)
{
    gpulet_work_queued_control_t *c = malloc(sizeof(*c) + size);
    if (c == NULL) {
        if (fd >= 0)
            (void)close(fd);
        work->closed = work->ended = true;
        return;
    }
    c->next = NULL;
    c->fd = fd;
    c->size = size;
    /* All records sent before this message end by here: they come first. */
    c->after = gpulet_ring_horizon(&work->in);
    memcpy(c->bytes, work->packet, size);
    *work->controls_end = c;
    work->controls_end = &c->next;
}

/* A segment must be there for records that are in the ring already, so it is mapped at once. */
static void control_large(gpulet_work_t *work, const gpulet_control_t *message, int fd)
{
    gpulet_error_t err;
    err.text[0] = '\0';
    if (gpulet_work_input_map(work, message->segment, fd, message->size, &err) != GPULET_OK)
        GPULET_LOG(ERROR, "event=map_failed segment=%u error=\"%s\"", message->segment, err.text);
    if (fd >= 0)
        (void)close(fd);
}

static void control_take(gpulet_work_t *work, size_t size, int fd)
{
    gpulet_control_t message;
    if (gpulet_control_decode(&message, work->packet, size) != GPULET_OK) {
        GPULET_LOG(ERROR, "event=bad_message size=%zu", size);
        if (fd >= 0)
            (void)close(fd);
        work->closed = work->ended = true;
        return;
    }
    if (message.kind == GPULET_CONTROL_LARGE)
        control_large(work, &message, fd);
    else
        control_queue(work, size, fd);
    gpulet_control_deinit(&message);
}

static void controls_receive(gpulet_work_t *work)
{
    for (;;) {
        size_t size = 0;
        int fd = -1;
        gpulet_status_t st = gpulet_control_receive(work->control_fd, work->packet,
                                                    sizeof(work->packet), &size, &fd);
        if (st == GPULET_E_AGAIN)
            return;
        if (st != GPULET_OK) {
            work->closed = work->ended = true;
            return;
        }
        control_take(work, size, fd);
        if (work->closed)
            return;
    }
}

static void ring_receive(gpulet_work_t *work)
{
    while (work->runs_count < GPULET_WIRE_AHEAD_MAX) {
        uint32_t slot = (work->runs_first + work->runs_count) % GPULET_WIRE_AHEAD_MAX;
        gpulet_work_queued_run_t *q = &work->runs[slot];
        gpulet_status_t st =
            gpulet_ring_pop(&work->in, q->record, GPULET_WORK_RECORD_MAX, &q->size);
        if (st == GPULET_E_AGAIN)
            return;
        if (st != GPULET_OK || q->size < sizeof(gpulet_record_release_t)) {
            GPULET_LOG(ERROR, "event=bad_ring");
            work->closed = work->ended = true;
            return;
        }
        const gpulet_record_release_t *release = q->record;
        if (release->kind == GPULET_RECORD_RELEASE) {
            gpulet_work_output_free(work, release->segment, release->offset);
            continue;
        }
        q->index = work->in.own;
        work->runs_count++;
    }
}

void gpulet_work_pump(gpulet_work_t *work)
{
    /* The server counts its messages in shared memory, so that a busy worker looks at the socket
     * only when there is something. */
    uint32_t messages = atomic_load_explicit(&work->in.shared->messages, memory_order_acquire);
    if (messages != work->messages_seen) {
        work->messages_seen = messages;
        controls_receive(work);
    }
    ring_receive(work);
}

void gpulet_work_wait(gpulet_work_t *work, int limit_ms)
{
    struct epoll_event events[4];
    if (!gpulet_ring_sleep(&work->in, GPULET_RING_STARVED)) {
        if (work->runs_count < GPULET_WIRE_AHEAD_MAX)
            return;
        /* What is there cannot be taken: the queue is full. Only time helps. */
        limit_ms = limit_ms > 1 ? 1 : limit_ms;
    }
    int count = epoll_wait(work->epoll_fd, events, 4, limit_ms);
    gpulet_ring_awake(&work->in);
    for (int i = 0; i < count; i++) {
        if (events[i].data.fd == work->control_fd)
            controls_receive(work);
    }
}

/* ---- doing ---- */

static void control_regrant(gpulet_work_t *work, const char *grant)
{
    gpulet_error_t err;
    gpulet_device_entry_t entry = {0};
    err.text[0] = '\0';
    gpulet_status_t st = work->backend->enter(grant, &entry, &err);
    if (st != GPULET_OK) {
        /* It may now run on units of others: the server must hear of it, and a worker that ends is
         * heard. */
        const gpulet_control_t failed = {
            .kind = GPULET_CONTROL_FAILED, .status = st, .text = err.text};
        gpulet_work_send(work, &failed, -1);
        work->ended = work->closed = true;
        return;
    }
    work->entry = entry;
}

static void control_do(gpulet_work_t *work, gpulet_work_queued_control_t *c)
{
    gpulet_control_t m;
    if (gpulet_control_decode(&m, c->bytes, c->size) != GPULET_OK) {
        work->closed = work->ended = true;
        return;
    }
    switch (m.kind) {
    case GPULET_CONTROL_LOAD:
        gpulet_work_load(work, &m, c->fd);
        c->fd = -1;
        break;
    case GPULET_CONTROL_UNLOAD:
        gpulet_work_unload(work, m.model);
        break;
    case GPULET_CONTROL_MEASURE:
        gpulet_work_measure(work, &m);
        break;
    case GPULET_CONTROL_FORGET:
        gpulet_work_input_unmap(work, m.segment);
        break;
    case GPULET_CONTROL_REGRANT:
        control_regrant(work, m.text);
        break;
    case GPULET_CONTROL_FOREGROUND:
        gpulet_work_foreground();
        work->serves = true;
        break;
    case GPULET_CONTROL_WIDEN:
        gpulet_work_widen(work, &m);
        break;
    case GPULET_CONTROL_STOP:
        work->ended = true;
        break;
    default:
        GPULET_LOG(ERROR, "event=unexpected_message kind=%d", (int)m.kind);
        work->closed = work->ended = true;
    }
    gpulet_control_deinit(&m);
}

static gpulet_control_kind_t kind_of(const gpulet_work_queued_control_t *c)
{
    gpulet_control_t m;
    if (gpulet_control_decode(&m, c->bytes, c->size) != GPULET_OK)
        return GPULET_CONTROL_STOP; /* it came whole and was decoded before: memory is at its end */
    gpulet_control_kind_t kind = m.kind;
    gpulet_control_deinit(&m);
    return kind;
}

/* A load goes on beside: what comes after it waits, but for the end, and no batch depends on any of
 * it. */
static bool control_waits(const gpulet_work_t *work, const gpulet_work_queued_control_t *c)
{
    return work->loading != NULL && kind_of(c) != GPULET_CONTROL_STOP;
}

static void control_next(gpulet_work_t *work)
{
    gpulet_work_queued_control_t *c = work->controls;
    work->controls = c->next;
    if (work->controls == NULL)
        work->controls_end = &work->controls;
    if (work->serves && kind_of(c) == GPULET_CONTROL_LOAD && gpulet_work_load_begin(work, c))
        return;
    control_do(work, c);
    if (c->fd >= 0)
        (void)close(c->fd);
    free(c);
}

/* Does the one thing that is next in the server's order. False when there is nothing to do. */
static bool step(gpulet_work_t *work)
{
    gpulet_work_queued_control_t *c = work->controls;
    gpulet_work_queued_run_t *q = &work->runs[work->runs_first];
    bool records_done = c != NULL && work->in.own >= c->after;
    if (c != NULL && (work->runs_count > 0 ? q->index > c->after : records_done) &&
        !control_waits(work, c)) {
        control_next(work);
        return true;
    }
    if (work->runs_count == 0)
        return false;
    /* The slot is given up after the run: taking in meanwhile must not overwrite it. */
    gpulet_work_run(work, q->record, q->size);
    work->runs_first = (work->runs_first + 1) % GPULET_WIRE_AHEAD_MAX;
    work->runs_count--;
    return true;
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* Looks at the ring for a short while before going to sleep: waking costs more than that. */
static bool spin(gpulet_work_t *work)
{
    uint64_t end_ns = gpulet_clock_ns() + SPIN_NS;
    do {
        for (int i = 0; i < SPIN_CHECK; i++) {
            if (gpulet_ring_pending(&work->in))
                return true;
            relax();
        }
    } while (gpulet_clock_ns() < end_ns);
    return false;
}

/* Gives memory back. False: there was something to do after all, or outputs are still out, so that
 * another time will be better. */
static bool idle_trim(gpulet_work_t *work)
{
    /* Releases wake nobody: they may have been lying in the ring. */
    gpulet_work_pump(work);
    if (work->ended || work->runs_count > 0 || work->controls != NULL)
        return false;
    gpulet_work_outputs_trim(work);
    gpulet_work_buffer_deinit(&work->gather);
    for (gpulet_work_model_t *m = work->models; m != NULL; m = m->next) {
        work->ops->trim(m->engine_model);
        if (m->wide != NULL)
            work->ops->trim(m->wide);
    }
    return work->large_busy_bytes == 0 && gpulet_slab_used(work->slab) == 0;
}

/* Waits for work. True when it has been quiet for IDLE_MS. */
static bool sleep_for_work(gpulet_work_t *work, bool trimmed)
{
    struct epoll_event events[4];
    if (!gpulet_ring_sleep(&work->in, GPULET_RING_ASLEEP))
        return false;
    int count = epoll_wait(work->epoll_fd, events, 4, trimmed ? -1 : IDLE_MS);
    gpulet_ring_awake(&work->in);
    for (int i = 0; i < count; i++) {
        if (events[i].data.fd == work->control_fd)
            controls_receive(work);
    }
    return count == 0;
}

void gpulet_work_loop(gpulet_work_t *work)
{
    bool trimmed = false;
    while (!work->ended) {
        gpulet_work_pump(work);
        gpulet_work_load_poll(work);
        if (work->ended)
            return;
        if (step(work)) {
            trimmed = false;
            continue;
        }
        if (work->spin && !trimmed && spin(work))
            continue;
        if (sleep_for_work(work, trimmed) && !trimmed)
            trimmed = idle_trim(work);
    }
}
