/* Gpu-lets: a partition, the worker that lives in it, and the lane by which the brain reaches it.
 *
 * A new plan is reached make before break: gpu-lets that it shares with the running plan are left
 * alone, the others are started (on units that may overlap for a while) and loaded in the
 * background; when all are loaded, routing is switched in one step and the old ones drain and stop.
 * A worker that dies is replaced with back-off in the same partition. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/internal.h"

enum {
    LANES_MAX = 1024,
    BACKOFF_MS_MIN = 100,
    BACKOFF_MS_MAX = 10000,
    HEALTHY_MS = 500,
    STARTUP_MS = 500, /* of a worker, before one was seen */
    PATIENCE = 2,     /* deaths in a row after which nobody waits for the next worker */
    BACKGROUND_NICE = 10,
    GIVE_UP_AFTER = 5
};

const char *server_gpulet_state_text(server_gpulet_state_t state)
{
    static const char *const texts[] = {"starting", "loading",  "waiting", "serving",
                                        "draining", "stopping", "backoff"};
    return texts[state];
}

static gpulet_status_t open_devices(gpulet_server_t *server, gpulet_error_t *err)
{
    gpulet_device_desc_t descs[SERVER_DEVICES_MAX];
    uint32_t count = 0;
    gpulet_status_t st =
        server->backend->probe(descs, SERVER_DEVICES_MAX, &count, &server->device_options, err);
    if (st != GPULET_OK)
        return st;
    if (count > SERVER_DEVICES_MAX)
        count = SERVER_DEVICES_MAX;
    for (uint32_t i = 0; i < count; i++) {
        server_device_t *device = &server->devices[server->devices_count];
        device->desc = descs[i];
        if ((st = server->backend->open(&device->device, i, &server->device_options, err)) !=
            GPULET_OK)
            return st;
        server->devices_count++;
    }
    if (count == 0)
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "--device: backend %s finds no device",
                           server->backend->name);
    return GPULET_OK;
}

gpulet_status_t server_gpulets_open(gpulet_server_t *server, gpulet_error_t *err)
{
    server->backend = gpulet_device_backend_find(server->settings.device);
    if (server->backend == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "--device: no backend is called '%s'",
                           server->settings.device);
    server->lanes_max = LANES_MAX;
    server->lanes = calloc(server->lanes_max, sizeof(*server->lanes));
    if (server->lanes == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    server->device_options.reserve_cores = server->settings.reserve_cores;
    server->device_options.fake_spec = server->settings.fake_devices;
    return open_devices(server, err);
}

static void set_state(server_gpulet_t *g, server_gpulet_state_t state)
{
    g->state = state;
    g->server->gpulets_dirty = true;
}

/* ---- model states ---- */

static void refresh_models(gpulet_server_t *server)
{
    for (uint32_t i = 0; i < server->models_count; i++) {
        server_model_t *model = &server->models[i];
        if (model->entry->problem == NULL && model->state == SERVER_MODEL_READY)
            model->state = SERVER_MODEL_LOADING;
    }
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        for (uint32_t i = 0; g->lane != SERVER_LANE_NONE && i < g->services_count; i++) {
            server_model_t *model = &server->models[g->services[i].model];
            if (g->services[i].loaded && model->state != SERVER_MODEL_UNAVAILABLE)
                model->state = SERVER_MODEL_READY;
        }
    }
}

/* ---- worker callbacks ---- */

static void load_all(server_gpulet_t *g)
{
    gpulet_server_t *server = g->server;
    gpulet_error_t err = {""};
    g->loads_pending = 0;
    for (uint32_t i = 0; i < g->services_count; i++) {
        server_model_t *model = &server->models[g->services[i].model];
        gpulet_status_t st = server_model_inputs(server, model, &err);
        gpulet_worker_model_t value = {.model = model->id,
                                       .name = model->entry->key,
                                       .path = model->entry->path,
                                       .batch_fixed = model->batch_fixed,
                                       .batched = model->batched};
        if (st == GPULET_OK) {
            value.input_fd = gpulet_slab_fd(model->inputs);
            value.input_size = gpulet_slab_size(model->inputs);
            st = gpulet_worker_load(g->worker, &value, &err);
        }
        if (st != GPULET_OK) {
            GPULET_LOG(ERROR, "event=load_failed gpulet=%s model=%s error=%s", g->name,
                       model->entry->key, err.text);
            g->lost = true;
            return;
        }
        g->loads_pending++;
    }
    set_state(g, g->loads_pending > 0 ? SERVER_GPULET_LOADING : SERVER_GPULET_WAITING);
}

static void on_ready(void *context, gpulet_worker_t *worker)
{
    (void)worker;
    load_all(context);
}

static server_service_t *service_of(server_gpulet_t *g, uint32_t model)
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
    if (--g->loads_pending == 0)
        set_state(g, SERVER_GPULET_WAITING);
}

static void on_loaded(void *context, gpulet_worker_t *worker, const gpulet_worker_loaded_t *loaded)
{
    server_gpulet_t *g = context;
    server_service_t *service = service_of(g, loaded->model);
    server_model_t *model = &g->server->models[loaded->model];
    (void)worker;
    assert(service != NULL);
    service->loaded = true;
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
    server_service_t *service = service_of(g, id);
    char quoted[640];
    (void)worker;
    assert(service != NULL);
    service->failed = true;
    GPULET_LOG(ERROR, "event=model_refused gpulet=%s model=%s status=%s reason=%s", g->name,
               model->entry->key, gpulet_status_name(status),
               gpulet_log_quote(quoted, sizeof(quoted), text));
    model->state = SERVER_MODEL_UNAVAILABLE;
    (void)snprintf(model->reason, sizeof(model->reason), "%s", text);
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

static void count_batch(gpulet_server_t *server, const gpulet_worker_result_t *result,
                        uint32_t model_id)
{
    server_model_t *model = &server->models[model_id];
    uint32_t items =
        model->batched && result->tensors_count > 0 && result->tensors[0].shape.rank > 0
            ? (uint32_t)result->tensors[0].shape.dims[0]
            : 1;
    server_batch_stats_t *stats =
        &model->batches[items <= model->batch_max ? items : model->batch_max];
    stats->count++;
    stats->input_ns += result->input_ns;
    stats->exec_ns += result->exec_ns;
    stats->output_ns += result->output_ns;
    model->execution_count++;
}

static void on_done(void *context, gpulet_worker_t *worker, const gpulet_worker_result_t *result)
{
    server_gpulet_t *g = context;
    (void)worker;
    g->busy_ns += result->exec_ns;
    if (result->status == GPULET_OK)
        count_batch(g->server, result, result->model);
    server_brain_done(g->server, result);
}

/* Told at the end if the server never becomes ready. */
static void note_start_failure(server_gpulet_t *g, const char *why)
{
    if (!g->server->ready && g->server->exit_status == GPULET_OK)
        (void)gpulet_fail(&g->server->exit_error, GPULET_E_UNAVAILABLE,
                          "gpu-let %s cannot be started: %s", g->name, why);
}

static void on_lost(void *context, gpulet_worker_t *worker, const char *why)
{
    server_gpulet_t *g = context;
    char text[300];
    note_start_failure(g, why);
    GPULET_LOG(ERROR, "event=worker_lost gpulet=%s pid=%d reason=%s", g->name,
               (int)gpulet_worker_pid(worker), gpulet_log_quote(text, sizeof(text), why));
    g->lost = true;
    g->lost_count++;
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

static void drop_worker(server_gpulet_t *g)
{
    if (g->event != NULL)
        event_free(g->event);
    if (g->batches_event != NULL)
        event_free(g->batches_event);
    g->event = NULL;
    g->batches_event = NULL;
    gpulet_worker_destroy(g->worker);
    g->worker = NULL;
}

static gpulet_status_t start_worker(server_gpulet_t *g, gpulet_error_t *err)
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
        .log_level = settings->log_level,
        .units = g->units,
        .batch_ahead = 2,
        .output_bytes_max = settings->output_mb << 20,
        .load_limit_ns = (uint64_t)(settings->load_limit_s * 1e9),
        .run_limit_ns = (uint64_t)(settings->run_limit_s * 1e9),
        .nice = server->ready && !g->restarted ? BACKGROUND_NICE : 0,
        .spin = settings->spin,
    };
    gpulet_worker_callbacks_t callbacks = {g,           on_ready, on_loaded, on_load_failed,
                                           on_measured, on_done,  on_lost,   on_stopped};
    for (uint32_t i = 0; i < g->services_count; i++) {
        g->services[i].loaded = false;
        g->services[i].failed = false;
    }
    g->lost = false;
    g->stopped = false;
    g->started_ns = gpulet_clock_ns();
    if ((st = gpulet_worker_start(&g->worker, &options, &callbacks, err)) != GPULET_OK)
        return st;
    if ((st = watch_worker(g)) != GPULET_OK) {
        drop_worker(g);
        return gpulet_fail(err, st, "gpu-let %s: no event", g->name);
    }
    set_state(g, SERVER_GPULET_STARTING);
    GPULET_LOG(INFO, "event=worker_start gpulet=%s pid=%d units=%u place=\"%s\"", g->name,
               (int)gpulet_worker_pid(g->worker), g->units,
               server->backend->describe(g->partition));
    return GPULET_OK;
}

static void gpulet_free(server_gpulet_t *g)
{
    drop_worker(g);
    g->server->backend->release(g->partition);
    free(g->services);
    free(g);
}

static void back_off(server_gpulet_t *g, uint64_t now_ns)
{
    uint64_t wait_ms = BACKOFF_MS_MIN;
    if (g->serving_since_ns != 0 && now_ns - g->serving_since_ns > HEALTHY_MS * GPULET_NS_PER_MS)
        g->failures = 0;
    for (uint32_t i = 0; i < g->failures && wait_ms < BACKOFF_MS_MAX; i++)
        wait_ms *= 2;
    g->failures++;
    g->serving_since_ns = 0;
    g->restart_at_ns = now_ns + (g->failures == 1 ? 0 : wait_ms * GPULET_NS_PER_MS);
    set_state(g, SERVER_GPULET_BACKOFF);
}

static void restart(server_gpulet_t *g, uint64_t now_ns)
{
    gpulet_error_t err;
    g->restarted = true;
    if (start_worker(g, &err) != GPULET_OK) {
        GPULET_LOG(ERROR, "event=worker_start_failed gpulet=%s error=\"%s\"", g->name, err.text);
        note_start_failure(g, err.text);
        back_off(g, now_ns);
    }
}

static void stop_worker(server_gpulet_t *g)
{
    if (g->worker == NULL || g->lost) {
        g->stopped = true;
        return;
    }
    set_state(g, SERVER_GPULET_STOPPING);
    gpulet_worker_stop(g->worker, 2 * GPULET_NS_PER_S);
}

/* ---- lanes ---- */

static uint32_t free_lane(const gpulet_server_t *server)
{
    for (uint32_t i = 0; i < server->lanes_max; i++) {
        if (server->lanes[i] == NULL)
            return i;
    }
    return SERVER_LANE_NONE;
}

static void add_lane(server_gpulet_t *g, uint64_t now_ns)
{
    gpulet_server_t *server = g->server;
    gpulet_sched_service_t *services = calloc(g->services_count, sizeof(*services));
    gpulet_actions_t actions = {NULL, 0};
    uint32_t lane = free_lane(server);
    uint32_t count = 0;
    if (services == NULL || lane == SERVER_LANE_NONE) {
        free(services);
        GPULET_LOG(ERROR, "event=lane_failed gpulet=%s", g->name);
        return;
    }
    for (uint32_t i = 0; i < g->services_count; i++) {
        const server_model_t *model = &server->models[g->services[i].model];
        gpulet_sched_service_t *s = &services[count];
        if (!g->services[i].loaded)
            continue;
        s->model = model->id;
        s->batch = g->services[i].batch;
        s->rate_rps = g->services[i].rate_rps;
        s->exec_ns = server_planning_exec_table(server, model, server->devices[g->device].desc.type,
                                                g->units, &s->exec_count);
        count++;
    }
    gpulet_sched_lane_t value = {server_ns_of_ms(g->duty_ms), g->units, count, services};
    server->lanes[lane] = g;
    g->lane = lane;
    gpulet_status_t st = gpulet_sched_lane_add(server->sched, now_ns, lane, &value, &actions);
    for (uint32_t i = 0; i < count; i++)
        free((void *)(uintptr_t)services[i].exec_ns);
    free(services);
    if (st != GPULET_OK) {
        GPULET_LOG(ERROR, "event=lane_failed gpulet=%s status=%s", g->name, gpulet_status_name(st));
        server->lanes[lane] = NULL;
        g->lane = SERVER_LANE_NONE;
        return;
    }
    gpulet_worker_set_foreground(g->worker);
    g->serving_since_ns = now_ns;
    g->startup_ns = now_ns - g->started_ns;
    set_state(g, SERVER_GPULET_SERVING);
    server_brain_apply(server, actions);
}

static void lose_lane(server_gpulet_t *g, uint64_t now_ns)
{
    gpulet_server_t *server = g->server;
    uint32_t lane = g->lane;
    if (lane == SERVER_LANE_NONE)
        return;
    g->lane = SERVER_LANE_NONE;
    server_brain_apply(server, gpulet_sched_lane_lost(server->sched, now_ns, lane));
    server->lanes[lane] = NULL;
}

void server_gpulets_lane_idle(gpulet_server_t *server, uint32_t lane)
{
    server_gpulet_t *g = server->lanes[lane];
    if (g == NULL)
        return;
    server->lanes[lane] = NULL;
    g->lane = SERVER_LANE_NONE;
    g->drained = true;
    server->gpulets_dirty = true;
}

/* ---- plans ---- */

static int device_of(const gpulet_server_t *server, const gpulet_plan_device_t *device)
{
    for (uint32_t i = 0; i < server->devices_count; i++) {
        if (strcmp(server->devices[i].desc.type, device->type) == 0 &&
            server->devices[i].desc.index == device->index)
            return (int)i;
    }
    return -1;
}

static gpulet_status_t fill_services(server_gpulet_t *g, const gpulet_plan_gpulet_t *planned,
                                     gpulet_error_t *err)
{
    g->services =
        calloc(planned->shares_count > 0 ? planned->shares_count : 1, sizeof(*g->services));
    if (g->services == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    for (size_t i = 0; i < planned->shares_count; i++) {
        const gpulet_plan_share_t *share = &planned->shares[i];
        const server_model_t *model = server_model_by_key(g->server, share->model);
        if (model == NULL)
            return gpulet_fail(err, GPULET_E_NOT_FOUND, "plan: model '%s' is not in the repository",
                               share->model);
        if (service_of(g, model->id) != NULL)
            return gpulet_fail(err, GPULET_E_INVALID,
                               "plan: model '%s' stands twice in one gpu-let", share->model);
        if (model->entry->problem != NULL || model->state == SERVER_MODEL_UNAVAILABLE)
            continue; /* A plan from a file may name what cannot be, or is not to be, served. */
        g->services[g->services_count++] = (server_service_t){
            .model = model->id,
            .batch = share->batch < model->batch_max ? share->batch : model->batch_max,
            .rate_rps = share->rate_rps,
        };
    }
    return GPULET_OK;
}

static gpulet_status_t create_gpulet(server_gpulet_t **out, gpulet_server_t *server,
                                     uint32_t device, const gpulet_plan_gpulet_t *planned,
                                     gpulet_error_t *err)
{
    server_gpulet_t *g = calloc(1, sizeof(*g));
    if (g == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    g->server = server;
    g->device = device;
    g->units = planned->units;
    g->duty_ms = planned->duty_ms;
    g->lane = SERVER_LANE_NONE;
    (void)snprintf(g->name, sizeof(g->name), "%.24s%u.%u", server->devices[device].desc.type,
                   server->devices[device].desc.index, ++server->gpulets_named);
    gpulet_status_t st = fill_services(g, planned, err);
    if (st != GPULET_OK) {
        free(g->services);
        free(g);
        return st;
    }
    *out = g;
    return GPULET_OK;
}

static bool same_services(const server_gpulet_t *a, const server_gpulet_t *b)
{
    if (a->device != b->device || a->units != b->units || a->services_count != b->services_count)
        return false;
    for (uint32_t i = 0; i < a->services_count; i++) {
        if (a->services[i].model != b->services[i].model ||
            a->services[i].batch != b->services[i].batch)
            return false;
    }
    return true;
}

/* An equal gpu-let of the running plan that no gpu-let of the new one has taken yet. */
static server_gpulet_t *find_equal(gpulet_server_t *server, const server_gpulet_t *wanted)
{
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (g->retired && g->state <= SERVER_GPULET_SERVING && !g->lost && same_services(g, wanted))
            return g;
    }
    return NULL;
}

/* Units may be shared for a while with gpu-lets that the new plan does not keep, never between two
 * of one plan. */
static bool some_will_go(const gpulet_server_t *server, uint32_t device)
{
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (g->device == device && g->retired)
            return true;
    }
    return false;
}

static gpulet_status_t place_gpulet(gpulet_server_t *server, uint32_t device,
                                    const gpulet_plan_gpulet_t *planned, gpulet_error_t *err)
{
    server_gpulet_t *g = NULL;
    gpulet_status_t st = create_gpulet(&g, server, device, planned, err);
    if (st != GPULET_OK)
        return st;
    server_gpulet_t *equal = find_equal(server, g);
    if (equal != NULL || g->services_count == 0) {
        if (equal != NULL)
            equal->retired = false;
        free(g->services);
        free(g);
        return GPULET_OK;
    }
    st = server->backend->carve(&g->partition, server->devices[device].device, g->units, 0, err);
    if (st == GPULET_E_FULL && some_will_go(server, device)) {
        st =
            server->backend->carve(&g->partition, server->devices[device].device, g->units, 1, err);
        g->overlaps = true;
    }
    if (st == GPULET_OK)
        st = start_worker(g, err);
    if (st != GPULET_OK) {
        gpulet_free(g);
        return st;
    }
    g->next = server->gpulets;
    server->gpulets = g;
    return GPULET_OK;
}

/* What was begun for a plan that cannot be reached is ended; what there was before `old` goes on.
 */
static void give_up_plan(gpulet_server_t *server, server_gpulet_t *old)
{
    for (server_gpulet_t *g = server->gpulets; g != old; g = g->next) {
        g->retired = true;
        stop_worker(g);
    }
    for (server_gpulet_t *g = old; g != NULL; g = g->next)
        g->retired = g->retired_before;
    server->gpulets_dirty = true;
}

gpulet_status_t server_gpulets_apply(gpulet_server_t *server, gpulet_plan_t *plan,
                                     gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    server_gpulet_t *old = server->gpulets;
    for (server_gpulet_t *g = old; g != NULL; g = g->next) {
        g->retired_before = g->retired;
        g->retired = true;
    }
    for (size_t d = 0; d < plan->devices_count && st == GPULET_OK; d++) {
        int device = device_of(server, &plan->devices[d]);
        if (device < 0)
            st = gpulet_fail(err, GPULET_E_NOT_FOUND, "plan: device %s %u is not on this machine",
                             plan->devices[d].type, plan->devices[d].index);
        for (size_t i = 0; i < plan->devices[d].gpulets_count && st == GPULET_OK; i++)
            st = place_gpulet(server, (uint32_t)device, &plan->devices[d].gpulets[i], err);
    }
    if (st != GPULET_OK) {
        give_up_plan(server, old);
        gpulet_plan_destroy(plan);
        return st;
    }
    if (server->switching) /* The plan before this one was never served. */
        gpulet_plan_destroy(server->plan);
    else
        server->plan_before = server->plan;
    server->plan = plan;
    server->switching = true;
    server->gpulets_dirty = true;
    return GPULET_OK;
}

static bool is_hopeless(const server_gpulet_t *g)
{
    return !g->retired && g->state == SERVER_GPULET_BACKOFF && g->failures >= GIVE_UP_AFTER;
}

/* Everything of the new plan is loaded, or has failed often enough not to be waited for. */
static bool switch_is_due(const gpulet_server_t *server)
{
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        bool loaded = g->state == SERVER_GPULET_WAITING || g->state == SERVER_GPULET_SERVING;
        if (!g->retired && !loaded && !is_hopeless(g))
            return false;
    }
    return true;
}

/* A gpu-let of the new plan cannot be had, and there is something to fall back on. */
static bool old_is_better(const gpulet_server_t *server)
{
    bool hopeless = false;
    bool serving = false;
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        hopeless |= is_hopeless(g);
        serving |= g->retired && g->state == SERVER_GPULET_SERVING;
    }
    return hopeless && serving;
}

/* What serves goes on serving, and the rest of the new plan ends. */
static void keep_what_serves(gpulet_server_t *server)
{
    GPULET_LOG(ERROR, "event=plan_given_up planner=%s", server->plan->planner);
    server->switching = false;
    gpulet_plan_destroy(server->plan);
    server->plan = server->plan_before;
    server->plan_before = NULL;
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (g->state == SERVER_GPULET_SERVING) {
            g->retired = false;
        } else if (!g->retired) {
            g->retired = true;
            stop_worker(g);
        }
    }
    refresh_models(server);
    server_repository_switched(server);
}

/* The first plan, and not one worker of it could be started: there is nothing to be ready for. */
static bool nothing_starts(const gpulet_server_t *server)
{
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (g->state == SERVER_GPULET_WAITING)
            return false;
    }
    return !server->ready && server->gpulets != NULL;
}

static void switch_over(gpulet_server_t *server, uint64_t now_ns)
{
    server->switching = false;
    gpulet_plan_destroy(server->plan_before);
    server->plan_before = NULL;
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (!g->retired && g->state == SERVER_GPULET_WAITING && !g->lost)
            add_lane(g, now_ns);
    }
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (!g->retired || g->state >= SERVER_GPULET_DRAINING)
            continue;
        if (g->lane != SERVER_LANE_NONE) {
            set_state(g, SERVER_GPULET_DRAINING);
            server_brain_apply(server, gpulet_sched_lane_drain(server->sched, now_ns, g->lane));
        } else {
            stop_worker(g);
        }
    }
    refresh_models(server);
    if (!server->ready) {
        server->ready = true;
        server_announce_ready(server);
    } else {
        server->replans++;
        GPULET_LOG(INFO, "event=plan_switched replans=%llu", (unsigned long long)server->replans);
    }
    server_repository_switched(server);
}

/* New gpu-lets that started on shared units move to units of their own once the old ones are gone.
 */
static void settle(gpulet_server_t *server)
{
    char grant[GPULET_GRANT_MAX + 1];
    gpulet_error_t err;
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (g->retired)
            return;
    }
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (!g->overlaps || g->worker == NULL || g->lost || server->backend->settle == NULL)
            continue;
        g->overlaps = false;
        if (server->backend->settle(g->partition, &err) != GPULET_OK ||
            server->backend->grant(grant, sizeof(grant), g->partition) != GPULET_OK ||
            gpulet_worker_regrant(g->worker, grant) != GPULET_OK)
            GPULET_LOG(WARNING, "event=settle_failed gpulet=%s", g->name);
        else
            GPULET_LOG(INFO, "event=settled gpulet=%s place=\"%s\"", g->name,
                       server->backend->describe(g->partition));
    }
}

/* Requests may wait for the worker that replaces the dead one, unless it keeps dying or is not
 * wanted any more. */
static void expect_back(const server_gpulet_t *g, bool wanted, uint64_t now_ns)
{
    uint64_t startup_ns = g->startup_ns > 0 ? g->startup_ns : STARTUP_MS * GPULET_NS_PER_MS;
    uint64_t back_ns = wanted && g->failures <= PATIENCE ? g->restart_at_ns + startup_ns : 0;
    for (uint32_t i = 0; i < g->services_count; i++)
        server_brain_apply(g->server, gpulet_sched_model_expect(g->server->sched, now_ns,
                                                                g->services[i].model, back_ns));
}

static void step_one(server_gpulet_t *g, uint64_t now_ns)
{
    if (g->lost && g->state != SERVER_GPULET_BACKOFF) {
        lose_lane(g, now_ns);
        drop_worker(g);
        if (g->retired || g->state == SERVER_GPULET_STOPPING || g->server->stop) {
            g->stopped = true;
            expect_back(g, false, now_ns);
        } else {
            back_off(g, now_ns);
            expect_back(g, true, now_ns);
            refresh_models(g->server);
        }
        g->lost = false;
    }
    if (g->state == SERVER_GPULET_BACKOFF && g->retired) {
        g->stopped = true;
        expect_back(g, false, now_ns);
    } else if (g->state == SERVER_GPULET_BACKOFF && now_ns >= g->restart_at_ns && !g->server->stop)
        restart(g, now_ns);
    if (g->state == SERVER_GPULET_WAITING && !g->server->switching && !g->retired) {
        add_lane(g, now_ns); /* Its predecessor in the same place died: nothing to wait for. */
        refresh_models(g->server);
    }
    if (g->state == SERVER_GPULET_DRAINING && g->drained)
        stop_worker(g);
    if (g->stopped)
        lose_lane(g, now_ns); /* It was stopped undrained: the brain must not send it any more. */
}

void server_gpulets_step(gpulet_server_t *server)
{
    uint64_t now_ns = gpulet_clock_ns();
    server->gpulets_dirty = false;
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (g->worker != NULL && !g->lost)
            gpulet_worker_check(g->worker, now_ns);
        step_one(g, now_ns);
    }
    if (server->switching && !server->stop && switch_is_due(server)) {
        server->stop = nothing_starts(server);
        if (server->stop)
            server->exit_status = GPULET_E_UNAVAILABLE;
        else if (old_is_better(server))
            keep_what_serves(server);
        else
            switch_over(server, now_ns);
    }
    bool removed = false;
    for (server_gpulet_t **at = &server->gpulets; *at != NULL;) {
        server_gpulet_t *g = *at;
        if (!g->stopped) {
            at = &g->next;
            continue;
        }
        *at = g->next;
        GPULET_LOG(INFO, "event=gpulet_gone gpulet=%s", g->name);
        gpulet_free(g);
        removed = true;
    }
    if (removed)
        settle(server);
    if (server->stop)
        (void)event_base_loopbreak(server->base);
}

bool server_gpulets_all_stopped(const gpulet_server_t *server)
{
    return server->gpulets == NULL;
}

void server_gpulets_stop(gpulet_server_t *server)
{
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        g->retired = true;
        if (g->state != SERVER_GPULET_STOPPING)
            stop_worker(g);
    }
    server->gpulets_dirty = true;
}

void server_gpulets_close(gpulet_server_t *server)
{
    while (server->gpulets != NULL) {
        server_gpulet_t *g = server->gpulets;
        server->gpulets = g->next;
        gpulet_free(g);
    }
    for (uint32_t i = 0; i < server->devices_count; i++)
        server->backend->close(server->devices[i].device);
    server->devices_count = 0;
    free(server->lanes);
    server->lanes = NULL;
}
