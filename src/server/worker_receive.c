#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "ipc/check.h"
#include "ipc/slab.h"
#include "server/worker_internal.h"

enum {
    /* In one call, so that one worker cannot keep the loop for itself. */
    RECORDS_A_CALL = 256,
    MESSAGES_A_CALL = 64
};

/* ---- segments ---- */

void gpulet_worker_segment_unref(gpulet_worker_segment_t *segment)
{
    if (segment == NULL || --segment->refs > 0)
        return;
    (void)munmap(segment->base, (size_t)segment->size);
    free(segment);
}

static gpulet_worker_segment_t *segment_map(gpulet_worker_t *worker, const gpulet_control_t *m,
                                            int fd)
{
    gpulet_error_t err;
    gpulet_worker_segment_t *s = calloc(1, sizeof(*s));
    if (s == NULL || m->size > GPULET_WORKER_SEGMENT_BYTES_MAX) {
        free(s);
        gpulet_worker_lose(worker, "output segment of %llu bytes", (unsigned long long)m->size);
        return NULL;
    }
    if (gpulet_shared_map(&s->base, fd, m->size, false, &err) != GPULET_OK) {
        free(s);
        gpulet_worker_lose(worker, "output segment: %s", err.text);
        return NULL;
    }
    s->size = m->size;
    s->segment = m->segment;
    s->refs = 1;
    return s;
}

static gpulet_worker_segment_t *segment_find(const gpulet_worker_t *worker, uint32_t segment)
{
    if (segment == 0)
        return worker->output;
    for (uint32_t i = 0; i < worker->large_count; i++) {
        if (worker->large[i]->segment == segment)
            return worker->large[i];
    }
    return NULL;
}

static void take_large(gpulet_worker_t *worker, const gpulet_control_t *m, int fd)
{
    if (m->segment == 0 || segment_find(worker, m->segment) != NULL ||
        worker->large_count >= GPULET_WORKER_SEGMENTS_MAX ||
        worker->large_bytes > GPULET_WORKER_SEGMENT_BYTES_MAX) {
        gpulet_worker_lose(worker, "it announced an impossible output segment");
        return;
    }
    if (worker->large_count == worker->large_cap) {
        uint32_t cap = worker->large_cap == 0 ? 8 : worker->large_cap * 2;
        gpulet_worker_segment_t **grown = realloc(worker->large, cap * sizeof(*grown));
        if (grown == NULL) {
            gpulet_worker_lose(worker, "no memory for its output segment");
            return;
        }
        worker->large = grown;
        worker->large_cap = cap;
    }
    gpulet_worker_segment_t *s = segment_map(worker, m, fd);
    if (s == NULL)
        return;
    worker->large[worker->large_count++] = s;
    worker->large_bytes += s->size;
}

static void take_gone(gpulet_worker_t *worker, const gpulet_control_t *m)
{
    for (uint32_t i = 0; i < worker->large_count; i++) {
        gpulet_worker_segment_t *s = worker->large[i];
        if (s->segment != m->segment)
            continue;
        worker->large[i] = worker->large[--worker->large_count];
        worker->large_bytes -= s->size;
        gpulet_worker_segment_unref(s);
        return;
    }
    gpulet_worker_lose(worker, "it withdrew an output segment that it never announced");
}

/* ---- answers ---- */

void gpulet_worker_known_settle(gpulet_worker_t *worker, gpulet_worker_known_t *known)
{
    if (!known->unloaded || known->batches > 0)
        return;
    for (const gpulet_worker_debt_t *d = worker->debts; d != NULL; d = d->next) {
        if (d->known == known)
            return;
    }
    gpulet_worker_known_t **at = &worker->models;
    while (*at != known)
        at = &(*at)->next;
    *at = known->next;
    gpulet_model_io_deinit(&known->io);
    free(known);
}

/* The worker answers in order: the first debt must be this one. NULL: it is not, the worker is mad.
 */
static gpulet_worker_known_t *debt_pay(gpulet_worker_t *worker, const gpulet_control_t *m,
                                       gpulet_control_kind_t kind)
{
    gpulet_worker_debt_t *d = worker->debts;
    if (d == NULL || d->kind != kind || d->known->model != m->model) {
        gpulet_worker_lose(worker, "it answered what was not asked");
        return NULL;
    }
    gpulet_worker_known_t *known = d->known;
    worker->paid_ns = gpulet_clock_ns();
    worker->debts = d->next;
    if (worker->debts == NULL)
        worker->debts_end = &worker->debts;
    free(d);
    return known;
}

static void take_loaded(gpulet_worker_t *worker, gpulet_control_t *m)
{
    gpulet_worker_known_t *known = debt_pay(worker, m, GPULET_CONTROL_LOAD);
    if (known == NULL)
        return;
    known->io = m->io;
    memset(&m->io, 0, sizeof(m->io));
    known->loaded = true;
    if (known->unloaded) {
        gpulet_worker_known_settle(worker, known);
        return;
    }
    const gpulet_worker_loaded_t loaded = {.model = known->model,
                                           .io = &known->io,
                                           .load_ns = m->ns,
                                           .run_ns = m->p50_ns,
                                           .memory_bytes = m->memory,
                                           .outputs_whole = known->batched && !m->batched};
    known->batched = known->batched && m->batched;
    worker->callbacks.on_loaded(worker->callbacks.context, worker, &loaded);
}

static gpulet_status_t status_of(const gpulet_control_t *m)
{
    gpulet_status_t st = (gpulet_status_t)m->status;
    return strcmp(gpulet_status_name(st), "E_UNKNOWN") == 0 ? GPULET_E_INTERNAL : st;
}

static void take_load_failed(gpulet_worker_t *worker, const gpulet_control_t *m)
{
    gpulet_worker_known_t *known = debt_pay(worker, m, GPULET_CONTROL_LOAD);
    if (known == NULL)
        return;
    bool wanted = !known->unloaded;
    known->unloaded = true;
    gpulet_worker_known_settle(worker, known);
    gpulet_status_t st = status_of(m) == GPULET_OK ? GPULET_E_INTERNAL : status_of(m);
    if (wanted)
        worker->callbacks.on_load_failed(worker->callbacks.context, worker, m->model, st, m->text);
}

static void take_widened(gpulet_worker_t *worker, const gpulet_control_t *m)
{
    gpulet_worker_known_t *known = debt_pay(worker, m, GPULET_CONTROL_WIDEN);
    if (known == NULL)
        return;
    gpulet_status_t st = status_of(m);
    bool wanted = !known->unloaded;
    known->widened = st == GPULET_OK;
    gpulet_worker_known_settle(worker, known);
    if (wanted && worker->callbacks.on_widened != NULL)
        worker->callbacks.on_widened(worker->callbacks.context, worker, m->model, st, m->text);
}

static void take_measured(gpulet_worker_t *worker, const gpulet_control_t *m)
{
    gpulet_worker_known_t *known = debt_pay(worker, m, GPULET_CONTROL_MEASURE);
    if (known == NULL)
        return;
    bool wanted = !known->unloaded;
    gpulet_worker_known_settle(worker, known);
    if (!wanted)
        return;
    gpulet_status_t st = status_of(m);
    const gpulet_worker_measured_t measured = {
        .model = m->model,
        .batch = m->batch,
        .runs = st == GPULET_OK ? m->runs : 0,
        .least_ns = m->ns,
        .p50_ns = m->p50_ns,
        .p99_ns = m->p99_ns,
        .cold_ns = m->cold_ns,
        .memory_bytes = m->memory,
        .status = st == GPULET_OK && m->runs == 0 ? GPULET_E_INTERNAL : st,
        .text = m->text};
    worker->callbacks.on_measured(worker->callbacks.context, worker, &measured);
}

static void take_hello(gpulet_worker_t *worker, const gpulet_control_t *m, int fd)
{
    if (worker->output != NULL) {
        gpulet_worker_lose(worker, "it said hello twice");
        return;
    }
    worker->output = segment_map(worker, m, fd);
    if (worker->output != NULL)
        worker->output->segment = 0;
}

static void take_ready(gpulet_worker_t *worker)
{
    if (worker->state != GPULET_WORKER_STARTING || worker->output == NULL) {
        gpulet_worker_lose(worker, "it was ready at the wrong time");
        return;
    }
    worker->state = GPULET_WORKER_READY;
    worker->callbacks.on_ready(worker->callbacks.context, worker);
}

static void take_message(gpulet_worker_t *worker, gpulet_control_t *m, int fd)
{
    worker->progress_ns = gpulet_clock_ns();
    switch (m->kind) {
    case GPULET_CONTROL_HELLO:
        take_hello(worker, m, fd);
        break;
    case GPULET_CONTROL_READY:
        take_ready(worker);
        break;
    case GPULET_CONTROL_FAILED:
        gpulet_worker_lose(worker, "%s", m->text);
        break;
    case GPULET_CONTROL_LOADED:
        take_loaded(worker, m);
        break;
    case GPULET_CONTROL_LOAD_FAILED:
        take_load_failed(worker, m);
        break;
    case GPULET_CONTROL_WIDENED:
        take_widened(worker, m);
        break;
    case GPULET_CONTROL_MEASURED:
        take_measured(worker, m);
        break;
    case GPULET_CONTROL_LARGE:
        take_large(worker, m, fd);
        break;
    case GPULET_CONTROL_GONE:
        take_gone(worker, m);
        break;
    default:
        gpulet_worker_lose(worker, "it sent a message of kind %d", (int)m->kind);
    }
}

/* One message; false when there is none (or the worker is lost). */
static bool message_receive(gpulet_worker_t *worker)
{
    gpulet_control_t message;
    size_t size = 0;
    int fd = -1;
    gpulet_status_t st;
    if (worker->closed_ns != 0)
        return false;
    st = gpulet_control_receive(worker->control_fd, worker->packet, sizeof(worker->packet), &size,
                                &fd);
    if (st == GPULET_E_AGAIN)
        return false;
    if (st == GPULET_E_CLOSED) {
        gpulet_worker_socket_closed(worker);
        return false;
    }
    if (st != GPULET_OK || gpulet_control_decode(&message, worker->packet, size) != GPULET_OK) {
        gpulet_worker_lose(worker, "it sent a message that cannot be read");
    } else {
        take_message(worker, &message, fd);
        gpulet_control_deinit(&message);
    }
    if (fd >= 0)
        (void)close(fd);
    return worker->state < GPULET_WORKER_LOST;
}

/* ---- finished batches ---- */

static gpulet_worker_output_t *output_hold(gpulet_worker_t *worker,
                                           gpulet_worker_segment_t *segment, uint64_t offset)
{
    gpulet_worker_output_t *o = worker->spare;
    if (o != NULL)
        worker->spare = o->next;
    else if ((o = calloc(1, sizeof(*o))) == NULL)
        return NULL;
    o->worker = worker;
    o->segment = segment;
    o->offset = offset;
    segment->refs++;
    o->prev = &worker->outputs;
    o->next = worker->outputs.next;
    o->next->prev = o;
    worker->outputs.next = o;
    return o;
}

/* A segment that was announced beside the ring may still lie in the socket. Only announcements are
 * looked for: other messages on the way are taken as they come. */
static gpulet_worker_segment_t *segment_await(gpulet_worker_t *worker, uint32_t segment)
{
    gpulet_worker_segment_t *s = segment_find(worker, segment);
    for (int i = 0; s == NULL && i < GPULET_WORKER_SEGMENTS_MAX && message_receive(worker); i++)
        s = segment_find(worker, segment);
    return s;
}

static gpulet_worker_segment_t *output_check(gpulet_worker_t *worker,
                                             const gpulet_worker_batch_t *batch,
                                             const gpulet_wire_span_t *span)
{
    const gpulet_model_io_t *io = &batch->known->io;
    const gpulet_tensors_expected_t expected = {io->outputs, io->outputs_count, false};
    gpulet_error_t err;
    gpulet_worker_segment_t *s = segment_await(worker, span->segment);
    if (worker->state >= GPULET_WORKER_LOST)
        return NULL; /* a callback on the way may even have destroyed the handle */
    if (s == NULL) {
        gpulet_worker_lose(worker, "its output lies in an unknown segment %u", span->segment);
        return NULL;
    }
    gpulet_status_t st = gpulet_span_check(span, s->size, &err);
    if (st == GPULET_OK)
        st = gpulet_tensors_read(worker->views, &expected, (uint8_t *)s->base + span->offset,
                                 span->size, &err);
    if (st != GPULET_OK) {
        gpulet_worker_lose(worker, "bad output: %s", err.text);
        return NULL;
    }
    for (uint32_t i = 0; batch->known->batched && i < io->outputs_count; i++) {
        const gpulet_shape_t *shape = &worker->views[i].shape;
        if (shape->rank == 0 || shape->dims[0] != (int64_t)batch->items) {
            gpulet_worker_lose(worker, "bad output: '%s' does not hold %u items",
                               io->outputs[i].name, batch->items);
            return NULL;
        }
    }
    return s;
}

/* Takes the batch out of the table of outstanding ones. */
static bool batch_take(gpulet_worker_batch_t *out, gpulet_worker_t *worker, uint64_t number)
{
    for (uint32_t i = 0; i < worker->batches_count; i++) {
        if (worker->batches[i].batch != number)
            continue;
        *out = worker->batches[i];
        worker->batches_count--;
        memmove(&worker->batches[i], &worker->batches[i + 1],
                (worker->batches_count - i) * sizeof(worker->batches[0]));
        return true;
    }
    return false;
}

/* Puts a batch back whose answer was nonsense: it is lost with the worker, like the others. */
static void batch_restore(gpulet_worker_t *worker, const gpulet_worker_batch_t *batch)
{
    worker->batches[worker->batches_count++] = *batch;
}

static void take_done(gpulet_worker_t *worker, const gpulet_record_done_t *done)
{
    gpulet_worker_batch_t batch;
    gpulet_worker_result_t result = {.batch = done->batch,
                                     .status = (gpulet_status_t)done->status,
                                     .error = done->error,
                                     .exec_ns = done->exec_ns,
                                     .input_ns = done->input_ns,
                                     .output_ns = done->output_ns};
    if (!batch_take(&batch, worker, done->batch)) {
        gpulet_worker_lose(worker, "it finished batch %llu, which it did not hold",
                           (unsigned long long)done->batch);
        return;
    }
    worker->progress_ns = gpulet_clock_ns();
    /* Its own figures of time are believed within what has passed here: a wild one would teach the
     * brain that the model can never be in time. */
    const uint64_t passed_ns = worker->progress_ns - batch.sent_ns;
    uint64_t *const times[] = {&result.exec_ns, &result.input_ns, &result.output_ns};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
        *times[i] = *times[i] < passed_ns ? *times[i] : passed_ns;
    result.model = batch.known->model;
    result.items = batch.items;
    if (done->status == GPULET_OK) {
        gpulet_worker_segment_t *s = output_check(worker, &batch, &done->output);
        if (s == NULL) {
            batch_restore(worker, &batch);
            return;
        }
        if ((result.output = output_hold(worker, s, done->output.offset)) == NULL) {
            gpulet_worker_lose(worker, "no memory for its result");
            batch_restore(worker, &batch);
            return;
        }
        result.tensors = worker->views;
        result.tensors_count = batch.known->io.outputs_count;
    }
    batch.known->batches--;
    gpulet_worker_known_settle(worker, batch.known);
    worker->callbacks.on_done(worker->callbacks.context, worker, &result);
}

/* One record; false when there is none (or the worker is lost). */
static bool record_receive(gpulet_worker_t *worker)
{
    union {
        uint64_t align;
        uint8_t bytes[sizeof(gpulet_record_done_t)];
    } record;
    gpulet_record_done_t done;
    gpulet_error_t err;
    size_t size = 0;
    gpulet_status_t st =
        gpulet_ring_pop(&worker->from_worker, record.bytes, sizeof(record.bytes), &size);
    if (st == GPULET_E_AGAIN)
        return false;
    if (st != GPULET_OK) {
        gpulet_worker_lose(worker, "it wrote nonsense into the ring");
        return false;
    }
    if (gpulet_done_read(&done, record.bytes, size, &err) != GPULET_OK) {
        gpulet_worker_lose(worker, "it wrote %s", err.text);
        return false;
    }
    take_done(worker, &done);
    return worker->state < GPULET_WORKER_LOST;
}

bool gpulet_worker_receive(gpulet_worker_t *worker)
{
    int records = 0;
    int messages = 0;
    if (worker->state >= GPULET_WORKER_LOST)
        return true;
    while (records < RECORDS_A_CALL && record_receive(worker))
        records++;
    while (worker->socket_ready && messages < MESSAGES_A_CALL &&
           worker->state < GPULET_WORKER_LOST) {
        worker->socket_ready = message_receive(worker);
        messages++;
    }
    return records < RECORDS_A_CALL && messages < MESSAGES_A_CALL;
}
