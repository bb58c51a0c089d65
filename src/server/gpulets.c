/* Gpu-lets: a partition, the worker that lives in it, and the lane by which the brain reaches it.
 *
 * A new plan is reached make before break: gpu-lets that it shares with the running plan are left
 * alone, the others are started (on units that may overlap for a while) and loaded in the
 * background; when all are loaded, routing is switched in one step and the old ones drain and stop.
 * A worker that dies is replaced with back-off in the same partition. */
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/ensembles.h"
#include "server/gpulets.h"

enum {
    LANES_MAX = 1024,
    STARTUP_MS = 500, /* of a worker, before one was seen */
    PATIENCE = 2      /* deaths in a row after which nobody waits for the next worker */
};

const char *server_gpulet_state_text(server_gpulet_state_t state)
{
    static const char *const texts[] = {"held",    "starting", "loading",  "waiting",
                                        "serving", "draining", "stopping", "backoff"};
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

/* The server's own threads on what is set aside for them. */
static gpulet_status_t stand_aside(gpulet_server_t *server, gpulet_error_t *err)
{
    gpulet_device_options_t *options = &server->device_options;
    if (server->backend->stand_aside == NULL || options->reserve_cores == NULL)
        return GPULET_OK;
    gpulet_status_t st =
        server->backend->stand_aside(server->cpus, sizeof(server->cpus), options, err);
    options->cpus = server->cpus;
    return st;
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
    server->device_options.fake_gone = server->settings.fake_gone;
    server->device_options.mps_step = (uint32_t)server->settings.mps_step;
    gpulet_status_t st = stand_aside(server, err);
    return st == GPULET_OK ? open_devices(server, err) : st;
}

void server_gpulet_set_state(server_gpulet_t *g, server_gpulet_state_t state)
{
    g->state = state;
    g->server->gpulets_dirty = true;
}

/* ---- model states ---- */

static bool holds(server_gpulet_t *g, uint32_t model, bool loaded)
{
    const server_service_t *service = server_gpulet_service(g, model);
    return service != NULL && !service->failed && (service->loaded || !loaded);
}

bool server_gpulets_serve(const gpulet_server_t *server, uint32_t model)
{
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        const server_service_t *s = server_gpulet_service(g, model);
        if (!g->retired && g->lane != SERVER_LANE_NONE && s != NULL && s->loaded && !s->coming)
            return true;
    }
    return false;
}

/* It was served until room was made for the plan that is being reached, and will be again should
 * that be given up. */
static bool is_given_up(const gpulet_server_t *server, uint32_t model)
{
    const server_transition_t *t = &server->transition;
    return server->switching && t->broken > 0 && !t->restores &&
           gpulet_plan_routed_rps(server->plan, server->models[model].entry->key) > 0;
}

bool server_gpulets_may_serve(const gpulet_server_t *server, uint32_t model)
{
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (holds(g, model, false) && (!g->retired || g->lane != SERVER_LANE_NONE))
            return true;
    }
    return is_given_up(server, model);
}

bool server_gpulets_plan_loses(const gpulet_server_t *server, uint32_t model)
{
    bool served = false;
    bool wanted = false;
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        const server_service_t *s = server_gpulet_service(g, model);
        if (s == NULL)
            continue;
        bool stays = !g->retired && !s->going;
        if (stays && s->loaded && !s->failed)
            return false;
        wanted |= stays;
        served |= !stays && g->lane != SERVER_LANE_NONE && s->loaded;
    }
    return (served || is_given_up(server, model)) && wanted;
}

void server_gpulets_refresh_models(gpulet_server_t *server)
{
    for (uint32_t i = 0; i < server->models_count; i++) {
        server_model_t *model = &server->models[i];
        if (model->state == SERVER_MODEL_READY && model->ensemble == NULL)
            model->state = SERVER_MODEL_LOADING;
    }
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        for (uint32_t i = 0; g->lane != SERVER_LANE_NONE && i < g->services_count; i++) {
            server_model_t *model = &server->models[g->services[i].model];
            if (g->services[i].loaded && !g->services[i].coming &&
                model->state != SERVER_MODEL_UNAVAILABLE)
                model->state = SERVER_MODEL_READY;
        }
    }
    server_ensembles_refresh(server);
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

/* From the profile; without one a run that was timed when the model was loaded is better than
 * nothing. */
static uint64_t *exec_table(server_gpulet_t *g, const server_service_t *service, uint32_t *count)
{
    const server_model_t *model = &g->server->models[service->model];
    uint64_t *table = server_planning_exec_table(
        g->server, model, g->server->devices[g->device].desc.type, g->units, count);
    if (table != NULL || service->run_ns == 0 || (table = calloc(1, sizeof(*table))) == NULL)
        return table;
    table[0] = service->run_ns;
    *count = 1;
    return table;
}

uint32_t server_gpulet_lane_services(gpulet_sched_service_t *out, server_gpulet_t *g,
                                     bool with_going)
{
    gpulet_server_t *server = g->server;
    uint32_t count = 0;
    for (uint32_t i = 0; i < g->services_count; i++) {
        const server_service_t *service = &g->services[i];
        const server_model_t *model = &server->models[service->model];
        gpulet_sched_service_t *s = &out[count];
        if (!service->loaded || service->coming || (service->going && !with_going))
            continue;
        s->model = model->id;
        s->batch = service->batch < model->batch_max ? service->batch : model->batch_max;
        s->rate_rps = service->rate_rps;
        s->exec_ns = exec_table(g, service, &s->exec_count);
        count++;
    }
    return count;
}

void server_gpulet_lane_services_free(gpulet_sched_service_t *services, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        free((void *)(uintptr_t)services[i].exec_ns);
    free(services);
}

void server_gpulet_add_lane(server_gpulet_t *g, uint64_t now_ns)
{
    gpulet_server_t *server = g->server;
    gpulet_sched_service_t *services = calloc(g->services_count, sizeof(*services));
    gpulet_actions_t actions = {NULL, 0};
    uint32_t lane = free_lane(server);
    if (services == NULL || lane == SERVER_LANE_NONE) {
        free(services);
        GPULET_LOG(ERROR, "event=lane_failed gpulet=%s", g->name);
        return;
    }
    uint32_t count = server_gpulet_lane_services(services, g, true);
    gpulet_sched_lane_t value = {g->units, count, services};
    server->lanes[lane] = g;
    g->lane = lane;
    gpulet_status_t st = gpulet_sched_lane_add(server->sched, now_ns, lane, &value, &actions);
    server_gpulet_lane_services_free(services, count);
    if (st != GPULET_OK) {
        GPULET_LOG(ERROR, "event=lane_failed gpulet=%s status=%s", g->name, gpulet_status_name(st));
        server->lanes[lane] = NULL;
        g->lane = SERVER_LANE_NONE;
        return;
    }
    gpulet_worker_set_foreground(g->worker);
    g->serving_since_ns = now_ns;
    g->startup_ns = now_ns - g->started_ns;
    server_gpulet_set_state(g, SERVER_GPULET_SERVING);
    server_brain_apply(server, actions);
    server_gpulet_load_missing(g);
}

static void lose_lane(server_gpulet_t *g, uint64_t now_ns)
{
    server_lend_end(g, now_ns);
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

/* Its worker is gone. What is served is served by another one, also while another plan is being
 * reached that has no use for it. */
static void step_lost(server_gpulet_t *g, uint64_t now_ns)
{
    bool wanted = !g->retired || g->running;
    lose_lane(g, now_ns);
    server_gpulet_drop_worker(g);
    if (!wanted || g->state == SERVER_GPULET_STOPPING || g->server->stop) {
        g->stopped = true;
        expect_back(g, false, now_ns);
    } else {
        server_gpulet_back_off(g, now_ns);
        expect_back(g, true, now_ns);
        server_gpulets_refresh_models(g->server);
    }
    g->lost = false;
}

static void step_one(server_gpulet_t *g, uint64_t now_ns)
{
    if (g->lost && g->state != SERVER_GPULET_BACKOFF)
        step_lost(g, now_ns);
    if (g->state == SERVER_GPULET_BACKOFF && g->retired && !g->running) {
        g->stopped = true;
        expect_back(g, false, now_ns);
    } else if (g->state == SERVER_GPULET_BACKOFF && now_ns >= g->restart_at_ns &&
               !g->server->stop && !g->server->devices[g->device].gone)
        server_gpulet_restart(g, now_ns);
    if (g->state == SERVER_GPULET_WAITING && g->running) {
        server_gpulet_add_lane(
            g, now_ns); /* Its predecessor in the same place died: nothing to wait for. */
        server_gpulets_refresh_models(g->server);
    }
    if (g->state == SERVER_GPULET_DRAINING && g->drained)
        server_gpulet_stop(g);
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
    if (server->switching && !server->stop)
        server_transition_step(server, now_ns);
    bool removed = false;
    for (server_gpulet_t **at = &server->gpulets; *at != NULL;) {
        server_gpulet_t *g = *at;
        if (!g->stopped) {
            at = &g->next;
            continue;
        }
        *at = g->next;
        GPULET_LOG(INFO, "event=gpulet_gone gpulet=%s", g->name);
        server_gpulet_free(g);
        removed = true;
    }
    if (removed) {
        server_memory_begin_held(server);
        settle(server);
    }
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
        g->running = false;
        if (g->state != SERVER_GPULET_STOPPING)
            server_gpulet_stop(g);
    }
    server->gpulets_dirty = true;
}

void server_gpulets_close(gpulet_server_t *server)
{
    while (server->gpulets != NULL) {
        server_gpulet_t *g = server->gpulets;
        server->gpulets = g->next;
        server_gpulet_free(g);
    }
    for (uint32_t i = 0; i < server->devices_count; i++)
        server->backend->close(server->devices[i].device);
    server->devices_count = 0;
    free(server->lanes);
    server->lanes = NULL;
}
