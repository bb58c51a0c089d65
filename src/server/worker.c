#include "server/worker.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "server/worker_end.h"
#include "server/worker_internal.h"

enum {
    ROUNDS = 16 /* of taking in within one call of process, before the loop gets its turn */
};
static const uint64_t start_limit_default_ns = 20 * GPULET_NS_PER_S;
static const uint64_t load_limit_default_ns = 120 * GPULET_NS_PER_S;
static const uint64_t run_limit_default_ns = 60 * GPULET_NS_PER_S;
static const uint64_t closed_limit_ns = GPULET_NS_PER_S;

/* ---- small things ---- */

void gpulet_worker_lose(gpulet_worker_t *worker, const char *fmt, ...)
{
    va_list args;
    if (worker->state >= GPULET_WORKER_LOST)
        return;
    worker->state = GPULET_WORKER_LOST;
    va_start(args, fmt);
    (void)vsnprintf(worker->why, sizeof(worker->why), fmt, args);
    va_end(args);
    if (worker->calls == 0) /* The owner called: it hears of it from process. */
        gpulet_worker_self_wake(worker);
}

gpulet_worker_known_t *gpulet_worker_known_find(const gpulet_worker_t *worker, uint32_t model)
{
    gpulet_worker_known_t *k = worker->models;
    while (k != NULL && (k->unloaded || k->model != model))
        k = k->next;
    return k;
}

static void process_kill(gpulet_worker_t *worker)
{
    if (worker->killed || worker->reaped || worker->pid <= 0)
        return;
    worker->killed = true;
    worker->given_away =
        gpulet_worker_end(worker->pid, worker->pid_fd, worker->backend, worker->grant);
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ---- start ---- */

static uint64_t limit_of(uint64_t value, uint64_t otherwise)
{
    return value > 0 ? value : otherwise;
}

gpulet_status_t gpulet_worker_start(gpulet_worker_t **out, const gpulet_worker_options_t *options,
                                    const gpulet_worker_callbacks_t *callbacks, gpulet_error_t *err)
{
    assert(options->program != NULL && options->name != NULL && options->engine != NULL);
    assert(options->batch_ahead <= GPULET_WIRE_AHEAD_MAX);
    gpulet_worker_t *worker = calloc(1, sizeof(*worker));
    if (worker == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    worker->callbacks = *callbacks;
    (void)snprintf(worker->name, sizeof(worker->name), "%s", options->name);
    worker->batch_ahead = options->batch_ahead > 0 ? options->batch_ahead : 2;
    worker->start_limit_ns = limit_of(options->start_limit_ns, start_limit_default_ns);
    worker->load_limit_ns = limit_of(options->load_limit_ns, load_limit_default_ns);
    worker->run_limit_ns = limit_of(options->run_limit_ns, run_limit_default_ns);
    worker->epoll_fd = worker->control_fd = worker->pid_fd = -1;
    worker->event_fd = worker->worker_event_fd = -1;
    worker->debts_end = &worker->debts;
    worker->packets_end = &worker->packets;
    worker->outputs.next = worker->outputs.prev = &worker->outputs;
    worker->started_ns = worker->progress_ns = gpulet_clock_ns();
    worker->backend =
        options->backend != NULL ? gpulet_device_backend_find(options->backend) : NULL;
    worker->grant = strdup(options->grant != NULL ? options->grant : "");
    gpulet_status_t st = worker->grant != NULL ? gpulet_worker_launch(worker, options, err)
                                               : gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    if (st != GPULET_OK) {
        gpulet_worker_destroy(worker);
        return st;
    }
    *out = worker;
    return GPULET_OK;
}

int gpulet_worker_fd(const gpulet_worker_t *worker)
{
    return worker->epoll_fd;
}

pid_t gpulet_worker_pid(const gpulet_worker_t *worker)
{
    return worker->pid;
}

/* ---- the end of a process ---- */

static void exit_describe(char *out, size_t out_size, int status)
{
    if (WIFSIGNALED(status))
        (void)snprintf(out, out_size, "killed by signal %d (%s)", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    else
        (void)snprintf(out, out_size, "ended with status %d", WEXITSTATUS(status));
}

/* The process is gone: a stop that was asked for, unless it took batches with it. */
static void exit_judge(gpulet_worker_t *worker)
{
    char text[128];
    exit_describe(text, sizeof(text), worker->exit_status);
    if (worker->state >= GPULET_WORKER_LOST)
        return;
    if (!worker->stopping)
        gpulet_worker_lose(worker, "%s", text);
    else if (worker->batches_count > 0)
        gpulet_worker_lose(worker, "%s while it was to stop, with %u batches", text,
                           worker->batches_count);
    else
        worker->state = GPULET_WORKER_STOPPED;
}

/* True when the process is gone and reaped. */
static bool process_reap(gpulet_worker_t *worker)
{
    int status = 0;
    if (worker->reaped)
        return true;
    pid_t pid = waitpid(worker->pid, &status, WNOHANG);
    if (pid == 0 || (pid < 0 && errno != ECHILD))
        return false;
    worker->reaped = true;
    worker->exit_status = pid > 0 ? status : 0;
    (void)epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, worker->pid_fd, NULL);
    return true;
}

/* ---- the owner's two calls ---- */

static void call_begin(gpulet_worker_t *worker)
{
    worker->calls++;
}

/* Stops watching a worker that is over: nothing it does may wake the owner again. */
static void watch_end(gpulet_worker_t *worker)
{
    (void)epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, worker->event_fd, NULL);
    (void)epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, worker->control_fd, NULL);
    (void)epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, worker->pid_fd, NULL);
}

/* Tells the owner of the end, once, and frees the handle if a callback destroyed it. */
static void call_end(gpulet_worker_t *worker)
{
    if (worker->state >= GPULET_WORKER_LOST && !worker->told && !worker->destroyed) {
        worker->told = true;
        process_kill(worker);
        watch_end(worker);
        if (worker->state == GPULET_WORKER_STOPPED)
            worker->callbacks.on_stopped(worker->callbacks.context, worker);
        else
            worker->callbacks.on_lost(worker->callbacks.context, worker, worker->why);
    }
    if (--worker->calls == 0 && worker->destroyed)
        gpulet_worker_destroy(worker);
}

/* Takes in until nothing is left, then goes to sleep in the ring's sense. */
static void receive_all(gpulet_worker_t *worker)
{
    gpulet_ring_awake(&worker->from_worker);
    for (int i = 0; i < ROUNDS && worker->state < GPULET_WORKER_LOST; i++) {
        bool drained = gpulet_worker_receive(worker);
        gpulet_worker_flush(worker);
        if (drained && worker->state < GPULET_WORKER_LOST &&
            gpulet_ring_sleep(&worker->from_worker, GPULET_RING_ASLEEP))
            return;
    }
    if (worker->state < GPULET_WORKER_LOST)
        gpulet_worker_self_wake(worker);
}

void gpulet_worker_process(gpulet_worker_t *worker)
{
    struct epoll_event events[4];
    bool ended = false;
    assert(!worker->destroyed);
    if (worker->told)
        return;
    call_begin(worker);
    int count = epoll_wait(worker->epoll_fd, events, 4, 0);
    for (int i = 0; i < count; i++) {
        ended = ended || events[i].data.fd == worker->pid_fd;
        worker->socket_ready = worker->socket_ready || events[i].data.fd != worker->event_fd;
    }
    worker->socket_ready = worker->socket_ready || ended;
    /* What it wrote before it died counts. */
    receive_all(worker);
    if (ended && !worker->destroyed && process_reap(worker)) {
        while (worker->state < GPULET_WORKER_LOST && !gpulet_worker_receive(worker))
            continue;
        exit_judge(worker);
    }
    call_end(worker);
}

int gpulet_worker_batches_fd(gpulet_worker_t *worker)
{
    (void)epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, worker->event_fd, NULL);
    gpulet_worker_self_wake(worker); /* what came before is seen on the new descriptor */
    return worker->event_fd;
}

void gpulet_worker_process_batches(gpulet_worker_t *worker)
{
    assert(!worker->destroyed);
    if (worker->told)
        return;
    call_begin(worker);
    receive_all(worker);
    call_end(worker);
}

/* The oldest batch may have to wait until that is done. What came after the batch does not keep it
 * waiting, nor a load in a worker that serves. */
static bool waits_behind(const gpulet_worker_t *worker, const gpulet_worker_debt_t *debt)
{
    return debt != NULL && debt->sent_ns <= worker->batches[0].sent_ns &&
           !(debt->kind == GPULET_CONTROL_LOAD && worker->serves);
}

static void limits_check(gpulet_worker_t *worker, uint64_t now_ns)
{
    const gpulet_worker_debt_t *debt = worker->debts;
    if (worker->state == GPULET_WORKER_STARTING) {
        if (now_ns > worker->started_ns + worker->start_limit_ns)
            gpulet_worker_lose(worker, "not ready after %llu ms",
                               (unsigned long long)(worker->start_limit_ns / GPULET_NS_PER_MS));
        return;
    }
    if (debt != NULL) {
        /* Batches may go on beside a load: they are no sign of its progress. */
        if (now_ns > later(debt->sent_ns, worker->paid_ns) + debt->limit_ns)
            gpulet_worker_lose(
                worker, "%s of model %u takes over %llu ms",
                debt->kind == GPULET_CONTROL_MEASURE ? "the measurement" : "the load",
                debt->known->model, (unsigned long long)(debt->limit_ns / GPULET_NS_PER_MS));
    }
    if (worker->batches_count > 0 && !waits_behind(worker, debt) &&
        now_ns > later(worker->batches[0].sent_ns, worker->progress_ns) + worker->run_limit_ns)
        gpulet_worker_lose(worker, "batch %llu runs for over %llu ms",
                           (unsigned long long)worker->batches[0].batch,
                           (unsigned long long)(worker->run_limit_ns / GPULET_NS_PER_MS));
}

/* A worker that is to end, or says it does, has a limit for that too. */
static void ending_check(gpulet_worker_t *worker, uint64_t now_ns)
{
    bool closed = worker->closed_ns != 0 && now_ns > worker->closed_ns + closed_limit_ns;
    if (worker->stopping && (closed || now_ns > worker->stop_deadline_ns))
        process_kill(worker);
    else if (closed)
        gpulet_worker_lose(worker, "it closed its control socket");
}

void gpulet_worker_check(gpulet_worker_t *worker, uint64_t now_ns)
{
    assert(!worker->destroyed);
    if (worker->told)
        return;
    call_begin(worker);
    gpulet_worker_flush(worker);
    /* A worker that forgot to wake us costs a timer's period, no more. */
    if (worker->state < GPULET_WORKER_LOST && gpulet_ring_pending(&worker->from_worker))
        receive_all(worker);
    if (worker->state < GPULET_WORKER_LOST)
        limits_check(worker, now_ns);
    if (worker->state < GPULET_WORKER_LOST)
        ending_check(worker, now_ns);
    call_end(worker);
}

/* ---- models ---- */

static gpulet_status_t debt_add(gpulet_worker_t *worker, gpulet_worker_known_t *known,
                                gpulet_control_kind_t kind, uint64_t limit_ns)
{
    gpulet_worker_debt_t *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return GPULET_E_NOMEM;
    d->known = known;
    d->kind = kind;
    d->sent_ns = gpulet_clock_ns();
    d->limit_ns = limit_ns;
    *worker->debts_end = d;
    worker->debts_end = &d->next;
    return GPULET_OK;
}

/* Undoes the debt added last: its message could not be sent. */
static void debt_undo(gpulet_worker_t *worker)
{
    gpulet_worker_debt_t **at = &worker->debts;
    while ((*at)->next != NULL)
        at = &(*at)->next;
    free(*at);
    *at = NULL;
    worker->debts_end = at;
}

gpulet_status_t gpulet_worker_load(gpulet_worker_t *worker, const gpulet_worker_model_t *model,
                                   gpulet_error_t *err)
{
    gpulet_control_t load = {.kind = GPULET_CONTROL_LOAD,
                             .model = model->model,
                             .batch = model->batch_fixed,
                             .batched = model->batched,
                             .runs = model->batch_planned,
                             .runs_max = model->timed_runs,
                             .size = model->input_size,
                             .ns = worker->load_limit_ns,
                             .name = model->name,
                             .text = model->path,
                             .prepared = model->prepared};
    if (model->io != NULL)
        load.io = *model->io;
    if (model->warmup != NULL)
        load.warmup = *model->warmup;
    if (worker->state >= GPULET_WORKER_LOST)
        return gpulet_fail(err, GPULET_E_CLOSED, "the worker is gone");
    if (gpulet_worker_known_find(worker, model->model) != NULL)
        return gpulet_fail(err, GPULET_E_EXISTS, "model %u is loaded already", model->model);
    gpulet_worker_known_t *known = calloc(1, sizeof(*known));
    if (known == NULL || debt_add(worker, known, GPULET_CONTROL_LOAD,
                                  worker->load_limit_ns + worker->run_limit_ns) != GPULET_OK) {
        free(known);
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    }
    known->model = model->model;
    known->batched = model->batched;
    gpulet_status_t st = gpulet_worker_send(worker, &load, model->input_fd);
    if (st != GPULET_OK) {
        debt_undo(worker);
        free(known);
        return gpulet_fail(err, st, "cannot ask for a load: %s", gpulet_status_text(st));
    }
    known->next = worker->models;
    worker->models = known;
    return GPULET_OK;
}

gpulet_status_t gpulet_worker_unload(gpulet_worker_t *worker, uint32_t model)
{
    const gpulet_control_t unload = {.kind = GPULET_CONTROL_UNLOAD, .model = model};
    gpulet_worker_known_t *known = gpulet_worker_known_find(worker, model);
    if (known == NULL)
        return GPULET_E_NOT_FOUND;
    gpulet_status_t st = gpulet_worker_send(worker, &unload, -1);
    if (st != GPULET_OK)
        return st;
    known->unloaded = true;
    gpulet_worker_known_settle(worker, known);
    return GPULET_OK;
}

gpulet_status_t gpulet_worker_measure(gpulet_worker_t *worker, const gpulet_worker_order_t *order)
{
    const gpulet_control_t measure = {.kind = GPULET_CONTROL_MEASURE,
                                      .model = order->model,
                                      .batch = order->batch,
                                      .runs = order->runs_min,
                                      .runs_max = order->runs_max,
                                      .cold_runs = order->cold_runs,
                                      .ns = order->budget_ns};
    assert(order->batch > 0 && order->runs_max > 0 && order->runs_min <= order->runs_max);
    assert(worker->batches_count == 0);
    gpulet_worker_known_t *known = gpulet_worker_known_find(worker, order->model);
    if (known == NULL)
        return GPULET_E_NOT_FOUND;
    /* At least runs_min runs are made whatever the budget: each may take the limit of a run, but
     * all that slow would be absurd. */
    uint64_t limit_ns = 2 * order->budget_ns + 2 * worker->run_limit_ns + worker->load_limit_ns;
    gpulet_status_t st = debt_add(worker, known, GPULET_CONTROL_MEASURE, limit_ns);
    if (st != GPULET_OK)
        return st;
    if ((st = gpulet_worker_send(worker, &measure, -1)) != GPULET_OK)
        debt_undo(worker);
    return st;
}

/* ---- batches ---- */

static bool large_sent(const gpulet_worker_t *worker, uint32_t segment)
{
    for (uint32_t i = 0; i < worker->sent_count; i++) {
        if (worker->sent[i] == segment)
            return true;
    }
    return false;
}

static gpulet_status_t large_send(gpulet_worker_t *worker, const gpulet_worker_large_t *large)
{
    const gpulet_control_t message = {
        .kind = GPULET_CONTROL_LARGE, .segment = large->segment, .size = large->size};
    if (large_sent(worker, large->segment))
        return GPULET_OK;
    if (worker->sent_count == worker->sent_cap) {
        uint32_t cap = worker->sent_cap == 0 ? 16 : worker->sent_cap * 2;
        uint32_t *grown = realloc(worker->sent, cap * sizeof(*grown));
        if (grown == NULL)
            return GPULET_E_NOMEM;
        worker->sent = grown;
        worker->sent_cap = cap;
    }
    gpulet_status_t st = gpulet_worker_send(worker, &message, large->fd);
    if (st == GPULET_OK)
        worker->sent[worker->sent_count++] = large->segment;
    return st;
}

gpulet_status_t gpulet_worker_run(gpulet_worker_t *worker, uint64_t batch, uint32_t model,
                                  uint32_t items, const gpulet_wire_span_t *requests,
                                  uint32_t requests_count, const gpulet_worker_large_t *large,
                                  uint32_t large_count)
{
    const gpulet_record_run_t run = {.kind = GPULET_RECORD_RUN,
                                     .wide = worker->wide,
                                     .model = model,
                                     .batch = batch,
                                     .items = items,
                                     .requests_count = requests_count};
    gpulet_worker_known_t *known = gpulet_worker_known_find(worker, model);
    gpulet_status_t st = GPULET_OK;
    assert(items > 0 && requests_count > 0 && requests_count <= GPULET_WIRE_REQUESTS_MAX);
    if (worker->state >= GPULET_WORKER_LOST || worker->stopping || worker->closed_ns != 0)
        return GPULET_E_CLOSED;
    assert(known != NULL && known->loaded);
    if (worker->batches_count >= worker->batch_ahead)
        return GPULET_E_FULL;
    for (uint32_t i = 0; i < large_count && st == GPULET_OK; i++)
        st = large_send(worker, &large[i]);
    if (st != GPULET_OK)
        return st;
    if (worker->releases_count > 0) /* They free what this batch may need. */
        gpulet_worker_flush(worker);
    st = gpulet_ring_push(&worker->to_worker, &run, sizeof(run), requests,
                          requests_count * sizeof(*requests));
    if (st == GPULET_E_INVALID) {
        gpulet_worker_lose(worker, "it wrote nonsense into the ring");
        return GPULET_E_CLOSED;
    }
    if (st != GPULET_OK)
        return st;
    worker->batches[worker->batches_count++] = (gpulet_worker_batch_t){
        .known = known, .batch = batch, .items = items, .sent_ns = gpulet_clock_ns()};
    known->batches++;
    gpulet_ring_wake(&worker->to_worker, GPULET_RING_ASLEEP);
    return GPULET_OK;
}

gpulet_status_t gpulet_worker_widen(gpulet_worker_t *worker, const gpulet_worker_model_t *model,
                                    uint32_t threads, uint32_t units)
{
    const gpulet_control_t message = {.kind = GPULET_CONTROL_WIDEN,
                                      .model = model->model,
                                      .threads = threads,
                                      .batch = units,
                                      .ns = worker->load_limit_ns,
                                      .name = model->name,
                                      .text = model->path,
                                      .prepared = model->prepared};
    gpulet_worker_known_t *known = gpulet_worker_known_find(worker, model->model);
    assert(known != NULL && known->loaded && threads > 0);
    if (worker->state >= GPULET_WORKER_LOST || worker->stopping || worker->closed_ns != 0)
        return GPULET_E_CLOSED;
    /* A copy comes from a prepared file, in a moment, and batches wait behind it. */
    if (debt_add(worker, known, GPULET_CONTROL_WIDEN, worker->run_limit_ns) != GPULET_OK)
        return GPULET_E_NOMEM;
    known->widened = false;
    gpulet_status_t st = gpulet_worker_send(worker, &message, -1);
    if (st != GPULET_OK)
        debt_undo(worker);
    return st;
}

void gpulet_worker_set_wide(gpulet_worker_t *worker, bool wide)
{
    worker->wide = wide;
}

void gpulet_worker_forget_large(gpulet_worker_t *worker, uint32_t segment)
{
    const gpulet_control_t forget = {.kind = GPULET_CONTROL_FORGET, .segment = segment};
    for (uint32_t i = 0; i < worker->sent_count; i++) {
        if (worker->sent[i] != segment)
            continue;
        worker->sent[i] = worker->sent[--worker->sent_count];
        /* Failing costs the worker's address space, and fails only when the worker or memory is at
         * its end. */
        if (gpulet_worker_send(worker, &forget, -1) != GPULET_OK)
            return;
        return;
    }
}

/* ---- the rest ---- */

gpulet_status_t gpulet_worker_regrant(gpulet_worker_t *worker, const char *grant)
{
    const gpulet_control_t regrant = {.kind = GPULET_CONTROL_REGRANT, .text = grant};
    return gpulet_worker_send(worker, &regrant, -1);
}

void gpulet_worker_set_foreground(gpulet_worker_t *worker)
{
    const gpulet_control_t foreground = {.kind = GPULET_CONTROL_FOREGROUND};
    worker->serves = true;
    if (gpulet_worker_send(worker, &foreground, -1) != GPULET_OK)
        return; /* It is gone, which the owner hears of. */
}

void gpulet_worker_stop(gpulet_worker_t *worker, uint64_t limit_ns)
{
    const gpulet_control_t stop = {.kind = GPULET_CONTROL_STOP};
    if (worker->stopping || worker->state >= GPULET_WORKER_LOST)
        return;
    worker->stopping = true;
    worker->stop_deadline_ns = gpulet_clock_ns() + limit_ns;
    if (gpulet_worker_send(worker, &stop, -1) != GPULET_OK)
        process_kill(worker);
}

static void memory_free(gpulet_worker_t *worker)
{
    while (worker->debts != NULL) {
        gpulet_worker_debt_t *d = worker->debts;
        worker->debts = d->next;
        free(d);
    }
    while (worker->models != NULL) {
        gpulet_worker_known_t *k = worker->models;
        worker->models = k->next;
        gpulet_model_io_deinit(&k->io);
        free(k);
    }
    while (worker->spare != NULL) {
        gpulet_worker_output_t *o = worker->spare;
        worker->spare = o->next;
        free(o);
    }
    for (uint32_t i = 0; i < worker->large_count; i++)
        gpulet_worker_segment_unref(worker->large[i]);
    gpulet_worker_segment_unref(worker->output);
    free(worker->grant);
    free(worker->large);
    free(worker->sent);
    free(worker->releases);
    gpulet_worker_packets_free(worker);
}

void gpulet_worker_destroy(gpulet_worker_t *worker)
{
    if (worker == NULL)
        return;
    if (worker->calls > 0) { /* From a callback: the call that it comes from frees it. */
        worker->destroyed = true;
        worker->state = GPULET_WORKER_LOST;
        return;
    }
    gpulet_worker_channel_close(worker);
    /* Results not yet released live on, each holding its mapping. */
    for (gpulet_worker_output_t *o = worker->outputs.next; o != &worker->outputs; o = o->next)
        o->worker = NULL;
    memory_free(worker);
    free(worker);
}
