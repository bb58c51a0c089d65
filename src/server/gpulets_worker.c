/* The workers of gpu-lets: what they say, how they start and stop. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/follow.h"
#include "server/gpulets.h"

enum {
    BACKOFF_MS_MIN = 100,
    BACKOFF_MS_MAX = 10000,
    HEALTHY_MS = 500,
    BACKGROUND_NICE = 10,
    TIMED_RUNS = 3 /* of a model without a profile, as it is loaded */
};

/* ---- worker callbacks ---- */

/* Nothing but the profile knows how long a model takes that is not there. */
static void warn_of_no_times(const server_gpulet_t *g, const gpulet_repository_model_t *entry)
{
    const gpulet_server_t *server = g->server;
    const char *type = server->devices[g->device].desc.type;
    if (entry->rehearsed && (server->profile_given == NULL ||
                             !gpulet_profile_has_model(server->profile_given, type, entry->key)))
        GPULET_LOG(WARNING,
                   "event=rehearsed_without_times gpulet=%s model=%s device=%s hint=\"it takes no "
                   "time unless its file is a script: name a profile of this device type with "
                   "--profiles\"",
                   g->name, entry->key, type);
}

static gpulet_status_t ask_load(server_gpulet_t *g, server_service_t *service, gpulet_error_t *err)
{
    gpulet_server_t *server = g->server;
    server_model_t *model = &server->models[service->model];
    char prepared[GPULET_ENGINE_PREPARED_PATH_MAX];
    gpulet_status_t st = server_model_inputs(server, model, err);
    gpulet_worker_model_t value = {
        .model = model->id,
        .name = model->entry->key,
        .path = model->entry->path,
        .io = gpulet_repository_told(model->entry),
        .prepared = server_prepared_find(prepared, sizeof(prepared), server, model),
        .warmup = &model->entry->warmup,
        .batch_fixed = model->batch_fixed,
        .batch_planned = service->batch_next,
        .timed_runs =
            gpulet_profile_has_model(server->profile, NULL, model->entry->key) ? 0 : TIMED_RUNS,
        .batched = model->batched};
    if (st == GPULET_OK) {
        value.input_fd = gpulet_slab_fd(model->inputs->slab);
        value.input_size = gpulet_slab_size(model->inputs->slab);
        warn_of_no_times(g, model->entry);
        st = gpulet_worker_load(g->worker, &value, err);
    }
    return st;
}

void server_gpulet_load_missing(server_gpulet_t *g)
{
    gpulet_error_t err = {""};
    bool serves = g->lane != SERVER_LANE_NONE;
    for (uint32_t i = 0; i < g->services_count; i++) {
        server_service_t *service = &g->services[i];
        if (service->asked || service->held || (service->coming && g->running && !serves))
            continue;
        gpulet_status_t st = ask_load(g, service, &err);
        if (st != GPULET_OK) {
            GPULET_LOG(ERROR, "event=load_failed gpulet=%s model=%s error=%s", g->name,
                       g->server->models[service->model].entry->key, err.text);
            if (serves && st != GPULET_E_CLOSED) { /* What it serves need not suffer for that. */
                service->asked = true;
                service->failed = true;
                g->refused_count++;
                g->server->gpulets_dirty = true;
                continue;
            }
            g->lost = true;
            g->server->gpulets_dirty = true;
            return;
        }
        service->asked = true;
        service->batch_loaded = service->batch_next;
        g->loads_pending++;
    }
    if (!serves)
        server_gpulet_set_state(g, g->loads_pending > 0 ? SERVER_GPULET_LOADING
                                                        : SERVER_GPULET_WAITING);
}

static void on_ready(void *context, gpulet_worker_t *worker)
{
    server_gpulet_t *g = context;
    (void)worker;
    if (g->state == SERVER_GPULET_STARTING) /* Else it has been told to stop meanwhile. */
        server_gpulet_load_missing(g);
}

server_service_t *server_gpulet_service(server_gpulet_t *g, uint32_t model)
{
    for (uint32_t i = 0; i < g->services_count; i++) {
        if (g->services[i].model == model)
            return &g->services[i];
    }
    return NULL;
}

static void load_done(server_gpulet_t *g)
{
    assert(g->loads_pending > 0);
    if (--g->loads_pending == 0 && g->state == SERVER_GPULET_LOADING)
        server_gpulet_set_state(g, SERVER_GPULET_WAITING);
    g->server->gpulets_dirty = true;
}

/* Its outputs have no batch dimension, so a batch could not be taken apart. */
static void run_one_by_one(gpulet_server_t *server, server_model_t *model)
{
    GPULET_LOG(
        WARNING,
        "event=model_unbatched model=%s reason=\"max_batch_size is %u, but outputs of a batch "
        "of two have no dimension of two: one item a run\"",
        model->entry->key, model->batch_max);
    model->outputs_whole = true;
    model->batch_max = 1;
    model->own.config.max_batch_size = 1;
    if (server_model_publish(server, model) != GPULET_OK)
        GPULET_LOG(ERROR, "event=model_unbatched_failed model=%s", model->entry->key);
}

static bool same_places(const gpulet_tensor_spec_t *a, uint32_t a_count,
                        const gpulet_tensor_spec_t *b, uint32_t b_count)
{
    if (a_count != b_count)
        return false;
    for (uint32_t i = 0; i < a_count; i++) {
        if (strcmp(a[i].name, b[i].name) != 0 || a[i].type != b[i].type)
            return false;
    }
    return true;
}

/* Requests are laid out by what the file held when the model was loaded by name; a worker that
 * starts later may find another one. */
static bool is_as_known(const gpulet_model_io_t *found, const gpulet_model_io_t *known)
{
    return same_places(found->inputs, found->inputs_count, known->inputs, known->inputs_count) &&
           same_places(found->outputs, found->outputs_count, known->outputs, known->outputs_count);
}

static void on_load_failed(void *context, gpulet_worker_t *worker, uint32_t id,
                           gpulet_status_t status, const char *text);

static void on_loaded(void *context, gpulet_worker_t *worker, const gpulet_worker_loaded_t *loaded)
{
    server_gpulet_t *g = context;
    server_service_t *service = server_gpulet_service(g, loaded->model);
    server_model_t *model = &g->server->models[loaded->model];
    assert(service != NULL);
    if (!is_as_known(loaded->io, &model->entry->io)) {
        on_load_failed(context, worker, loaded->model, GPULET_E_INVALID,
                       "the file has other inputs and outputs than when the model was loaded: "
                       "load it anew");
        return;
    }
    service->loaded = true;
    service->run_ns = loaded->run_ns;
    if (loaded->outputs_whole && !model->outputs_whole)
        run_one_by_one(g->server, model);
    model->load_ns = loaded->load_ns;
    model->memory_bytes = loaded->memory_bytes;
    GPULET_LOG(INFO, "event=model_loaded gpulet=%s model=%s load_ms=%.1f memory_mb=%.1f", g->name,
               model->entry->key, (double)loaded->load_ns / 1e6,
               (double)loaded->memory_bytes / 1048576.0);
    load_done(g);
}

static void on_load_failed(void *context, gpulet_worker_t *worker, uint32_t id,
                           gpulet_status_t status, const char *text)
{
    server_gpulet_t *g = context;
    gpulet_server_t *server = g->server;
    server_model_t *model = &server->models[id];
    server_service_t *service = server_gpulet_service(g, id);
    char quoted[640];
    (void)worker;
    assert(service != NULL);
    service->failed = true;
    g->refused_count++;
    GPULET_LOG(ERROR, "event=model_refused gpulet=%s model=%s status=%s reason=%s", g->name,
               model->entry->key, gpulet_status_name(status),
               gpulet_log_quote(quoted, sizeof(quoted), text));
    (void)snprintf(model->reason, sizeof(model->reason), "%s", text);
    if (server_gpulets_may_serve(server, id)) {
        GPULET_LOG(WARNING, "event=model_served_elsewhere model=%s not_in=%s", model->entry->key,
                   g->name);
        load_done(g);
        return;
    }
    model->state = SERVER_MODEL_UNAVAILABLE;
    /* What waits for a worker that was to come back need not wait for this one. */
    server_brain_apply(server, gpulet_sched_model_expect(server->sched, gpulet_clock_ns(), id, 0));
    if (!server->ready && !server->settings.skip_bad_models && !server->stop) {
        server->stop = true;
        server->exit_status =
            gpulet_fail(&server->exit_error, status, "model %s: %s", model->entry->key, text);
    }
    load_done(g);
}

static void on_measured(void *context, gpulet_worker_t *worker,
                        const gpulet_worker_measured_t *measured)
{
    (void)context;
    (void)worker;
    (void)measured;
}

static void on_widened(void *context, gpulet_worker_t *worker, uint32_t model,
                       gpulet_status_t status, const char *text)
{
    (void)worker;
    server_lend_widened(context, model, status, text);
}

static void count_batch(server_gpulet_t *g, const gpulet_worker_result_t *result)
{
    server_model_t *model = &g->server->models[result->model];
    uint32_t items = result->items;
    server_batch_stats_t *stats =
        &model->batches[items <= model->batch_max ? items : model->batch_max];
    stats->count++;
    stats->input_ns += result->input_ns;
    stats->exec_ns += result->exec_ns;
    stats->output_ns += result->output_ns;
    model->execution_count++;
    /* What is left of a model that went at a switch is not of interest any more. */
    if (server_gpulet_service(g, result->model) != NULL)
        server_executions_add(&g->executions, result->model, items, result->exec_ns);
}

static void on_done(void *context, gpulet_worker_t *worker, const gpulet_worker_result_t *result)
{
    server_gpulet_t *g = context;
    (void)worker;
    g->busy_ns += result->exec_ns;
    if (result->status == GPULET_OK) {
        count_batch(g, result);
        server_lend_ran(g, result);
    }
    server_brain_done(g, result);
}

/* Told at the end if the server never becomes ready. */
static void note_start_failure(server_gpulet_t *g, const char *why)
{
    if (!g->server->ready && g->server->exit_status == GPULET_OK)
        (void)gpulet_fail(&g->server->exit_error, GPULET_E_UNAVAILABLE,
                          "gpu-let %s cannot be started: %s", g->name, why);
}

static void note_lost(const server_gpulet_t *g, const char *why)
{
    gpulet_server_t *server = g->server;
    server_event_t event = {.kind = SERVER_EVENT_WORKER_LOST,
                            .reason = GPULET_FOLLOW_LOST,
                            .outcome = SERVER_OUTCOME_REACHED,
                            .devices_before = server_devices_used(server),
                            .devices_after = server_devices_used(server),
                            .headroom = server_follow_headroom(server),
                            .shortfall = server_follow_shortfall(server)};
    (void)snprintf(event.text, sizeof(event.text), "%s: %s", g->name, why);
    server_events_add(server->events, &event);
}

static void on_lost(void *context, gpulet_worker_t *worker, const char *why)
{
    server_gpulet_t *g = context;
    char text[300];
    note_start_failure(g, why);
    GPULET_LOG(ERROR, "event=worker_lost gpulet=%s pid=%d reason=%s", g->name,
               (int)gpulet_worker_pid(worker), gpulet_log_quote(text, sizeof(text), why));
    /* What it had answered before it died may have been read just now, and the next batch refused:
     * then the loss is counted already. */
    if (!g->lost) {
        g->lost_count++;
        note_lost(g, why);
    }
    g->lost = true;
    g->server->gpulets_dirty = true;
}

static void on_stopped(void *context, gpulet_worker_t *worker)
{
    server_gpulet_t *g = context;
    (void)worker;
    g->stopped = true;
    g->server->gpulets_dirty = true;
}

static void on_worker_readable(evutil_socket_t fd, short what, void *context)
{
    server_gpulet_t *g = context;
    gpulet_server_t *server = g->server;
    (void)fd;
    (void)what;
    gpulet_worker_process(g->worker);
    if (server->gpulets_dirty)
        server_gpulets_step(server);
}

static void on_batches(evutil_socket_t fd, short what, void *context)
{
    server_gpulet_t *g = context;
    gpulet_server_t *server = g->server;
    (void)fd;
    (void)what;
    gpulet_worker_process_batches(g->worker);
    if (server->gpulets_dirty)
        server_gpulets_step(server);
}

static gpulet_status_t watch_worker(server_gpulet_t *g)
{
    gpulet_server_t *server = g->server;
    g->event = event_new(server->base, gpulet_worker_fd(g->worker), EV_READ | EV_PERSIST,
                         on_worker_readable, g);
    g->batches_event = event_new(server->base, gpulet_worker_batches_fd(g->worker),
                                 EV_READ | EV_PERSIST | EV_ET, on_batches, g);
    if (g->event == NULL || g->batches_event == NULL || event_add(g->event, NULL) != 0 ||
        event_add(g->batches_event, NULL) != 0)
        return GPULET_E_NOMEM;
    return GPULET_OK;
}

/* ---- start and stop ---- */

void server_gpulet_drop_worker(server_gpulet_t *g)
{
    server_lend_end(g, gpulet_clock_ns());
    if (g->event != NULL)
        event_free(g->event);
    if (g->batches_event != NULL)
        event_free(g->batches_event);
    g->event = NULL;
    g->batches_event = NULL;
    gpulet_worker_destroy(g->worker);
    g->worker = NULL;
}

gpulet_status_t server_gpulet_start(server_gpulet_t *g, gpulet_error_t *err)
{
    gpulet_server_t *server = g->server;
    const gpulet_settings_t *settings = &server->settings;
    char grant[GPULET_GRANT_MAX + 1];
    gpulet_status_t st = server->backend->grant(grant, sizeof(grant), g->partition);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "gpu-let %s: no grant", g->name);
    gpulet_worker_options_t options = {
        .program = server->worker_program,
        .name = g->name,
        .backend = settings->device,
        .grant = grant,
        .engine = settings->engine,
        .ort_library = settings->ort_library,
        .fake_profile = settings->profiles,
        .device_type = server->devices[g->device].desc.type,
        .log_level = settings->log_level,
        .units = g->units,
        .batch_ahead = 2,
        .output_bytes_max = settings->output_mb << 20,
        .load_limit_ns = (uint64_t)(settings->load_limit_s * 1e9),
        .run_limit_ns = (uint64_t)(settings->run_limit_s * 1e9),
        .nice = server->ready && !g->restarted ? BACKGROUND_NICE : 0,
        .spin = settings->spin,
    };
    gpulet_worker_callbacks_t callbacks = {g,           on_ready,   on_loaded, on_load_failed,
                                           on_measured, on_widened, on_done,   on_lost,
                                           on_stopped};
    for (uint32_t i = 0; i < g->services_count; i++) {
        g->services[i].asked = false;
        g->services[i].loaded = false;
        g->services[i].failed = false;
        g->services[i].widened = false;
        g->services[i].widen_asked = false;
    }
    g->loads_pending = 0;
    g->wide_units = 0;
    g->widen_pending = 0;
    g->lend_after_ns = 0;
    g->lend_failures = 0;
    g->load_busy_ns = g->busy_ns;
    g->load = 0;
    g->refused_count = 0;
    g->lost = false;
    g->stopped = false;
    g->started_ns = gpulet_clock_ns();
    if ((st = gpulet_worker_start(&g->worker, &options, &callbacks, err)) != GPULET_OK)
        return st;
    if ((st = watch_worker(g)) != GPULET_OK) {
        server_gpulet_drop_worker(g);
        return gpulet_fail(err, st, "gpu-let %s: no event", g->name);
    }
    server_gpulet_set_state(g, SERVER_GPULET_STARTING);
    GPULET_LOG(INFO, "event=worker_start gpulet=%s pid=%d units=%u place=\"%s\"", g->name,
               (int)gpulet_worker_pid(g->worker), g->units,
               server->backend->describe(g->partition));
    return GPULET_OK;
}

void server_gpulet_free(server_gpulet_t *g)
{
    server_gpulet_drop_worker(g);
    g->server->backend->release(g->partition);
    free(g->services);
    server_executions_deinit(&g->executions);
    free(g);
}

void server_gpulet_back_off(server_gpulet_t *g, uint64_t now_ns)
{
    uint64_t wait_ms = BACKOFF_MS_MIN;
    if (g->serving_since_ns != 0 && now_ns - g->serving_since_ns > HEALTHY_MS * GPULET_NS_PER_MS)
        g->failures = 0;
    for (uint32_t i = 0; i < g->failures && wait_ms < BACKOFF_MS_MAX; i++)
        wait_ms *= 2;
    g->failures++;
    g->serving_since_ns = 0;
    g->restart_at_ns = now_ns + (g->failures == 1 ? 0 : wait_ms * GPULET_NS_PER_MS);
    server_gpulet_set_state(g, SERVER_GPULET_BACKOFF);
}

void server_gpulet_restart(server_gpulet_t *g, uint64_t now_ns)
{
    gpulet_error_t err;
    g->restarted = true;
    if (server_gpulet_start(g, &err) != GPULET_OK) {
        GPULET_LOG(ERROR, "event=worker_start_failed gpulet=%s error=\"%s\"", g->name, err.text);
        note_start_failure(g, err.text);
        server_gpulet_back_off(g, now_ns);
    }
}

void server_gpulet_stop(server_gpulet_t *g)
{
    if (g->worker == NULL || g->lost) {
        g->stopped = true;
        return;
    }
    server_gpulet_set_state(g, SERVER_GPULET_STOPPING);
    gpulet_worker_stop(g->worker, 2 * GPULET_NS_PER_S);
}
