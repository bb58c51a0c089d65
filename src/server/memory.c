/* Never more on a device than it holds, counting what runs and what is starting. Where a plan
 * cannot be made before the running one is broken, as few gpu-lets as possible give up their memory
 * first, and what they make room for is begun when they are gone. */
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/room.h"
#include "server/gpulets.h"

/* Until a gpu-let that was waited for serves: drain, start, load. */
enum { GAP_MS = 3000, CANDIDATES_MAX = 1024 };

static const gpulet_device_type_t *type_of(const gpulet_server_t *server, uint32_t device)
{
    int type = gpulet_device_set_find(server->device_set, server->devices[device].desc.type);
    return type >= 0 ? &server->device_set->types[type] : NULL;
}

double server_memory_limit_mb(const gpulet_server_t *server, uint32_t device)
{
    const gpulet_device_type_t *type = type_of(server, device);
    return type != NULL && server->ready ? type->memory_mb : INFINITY;
}

double server_memory_process_mb(const server_gpulet_t *g)
{
    const gpulet_device_type_t *type = type_of(g->server, g->device);
    return type != NULL ? type->memory_mb_process : 0;
}

/* As profiled, else as measured when it was loaded last; 0 when nothing is known. */
double server_memory_service_mb(const server_gpulet_t *g, const server_service_t *service)
{
    const double mib = 1048576.0;
    const server_model_t *model = &g->server->models[service->model];
    const gpulet_curve_t *curve =
        gpulet_profile_curve(g->server->profile, g->server->devices[g->device].desc.type,
                             model->entry->key, g->units, 1);
    double mb = curve != NULL ? gpulet_curve_memory_mb(curve, service->batch_next) : NAN;
    return isnan(mb) ? (double)model->memory_bytes / mib : mb;
}

static double services_mb(const server_gpulet_t *g, bool only_going)
{
    double mb = 0;
    for (uint32_t i = 0; i < g->services_count; i++) {
        const server_service_t *s = &g->services[i];
        if (!s->failed && !s->held && (s->going || !only_going))
            mb += server_memory_service_mb(g, s);
    }
    return mb;
}

double server_memory_used_mb(const gpulet_server_t *server, uint32_t device)
{
    double mb = 0;
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (g->device == device && g->state != SERVER_GPULET_HELD)
            mb += server_memory_process_mb(g) + services_mb(g, false);
    }
    return mb;
}

/* ---- making room ---- */

static bool is_leaving(const server_gpulet_t *g)
{
    return g->state == SERVER_GPULET_DRAINING || g->state == SERVER_GPULET_STOPPING;
}

static bool has_held(const server_gpulet_t *g)
{
    for (uint32_t i = 0; i < g->services_count; i++) {
        if (g->services[i].held)
            return true;
    }
    return g->state == SERVER_GPULET_HELD;
}

static double held_mb(const server_gpulet_t *g)
{
    double mb = 0;
    if (g->state == SERVER_GPULET_HELD)
        return server_memory_process_mb(g) + services_mb(g, false);
    for (uint32_t i = 0; i < g->services_count; i++)
        mb += g->services[i].held ? server_memory_service_mb(g, &g->services[i]) : 0;
    return mb;
}

/* What is missed on the device for all that is held, once all that leaves already has left. */
static double missing_mb(const gpulet_server_t *server, uint32_t device)
{
    double mb = server_memory_used_mb(server, device) - server_memory_limit_mb(server, device);
    double held = 0;
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (g->device != device)
            continue;
        held += has_held(g) ? held_mb(g) : 0;
        mb -= is_leaving(g) ? server_memory_process_mb(g) + services_mb(g, false) : 0;
    }
    return held > 0 ? mb + held : 0;
}

/* What the gpu-let could give up before the switch; 0: nothing. */
static double spare_mb(const server_gpulet_t *g)
{
    if (!g->running || is_leaving(g))
        return 0;
    return g->retired ? server_memory_process_mb(g) + services_mb(g, false) : services_mb(g, true);
}

/* Requests for what is given up wait for the new gpu-lets, if they have the time. */
static void expect_back(server_gpulet_t *g, uint64_t now_ns)
{
    for (uint32_t i = 0; i < g->services_count; i++) {
        if (g->retired || g->services[i].going)
            server_brain_apply(
                g->server, gpulet_sched_model_expect(g->server->sched, now_ns, g->services[i].model,
                                                     now_ns + GAP_MS * GPULET_NS_PER_MS));
    }
}

static void give_up(server_gpulet_t *g, uint64_t now_ns)
{
    gpulet_server_t *server = g->server;
    GPULET_LOG(WARNING,
               "event=break_before_make gpulet=%s memory_mb=%.0f reason=\"the device has not the "
               "memory for both plans\"",
               g->name, spare_mb(g));
    server->transition.broken++;
    expect_back(g, now_ns);
    if (!g->retired) {
        server_gpulet_change_early(g, now_ns);
        return;
    }
    g->running = false;
    if (g->lane == SERVER_LANE_NONE) {
        server_gpulet_stop(g);
        return;
    }
    server_lend_end(g, now_ns);
    server_gpulet_set_state(g, SERVER_GPULET_DRAINING);
    server_brain_apply(server, gpulet_sched_lane_drain(server->sched, now_ns, g->lane));
}

/* Another gpu-let serves the model meanwhile. */
static bool is_served_beside(const server_gpulet_t *g, uint32_t model)
{
    for (server_gpulet_t *other = g->server->gpulets; other != NULL; other = other->next) {
        const server_service_t *s = server_gpulet_service(other, model);
        if (other != g && s != NULL && s->loaded && !s->coming && other->running &&
            other->state == SERVER_GPULET_SERVING && other->lane != SERVER_LANE_NONE)
            return true;
    }
    return false;
}

/* Nobody would miss what it gives up. */
static bool is_spared(const server_gpulet_t *g)
{
    for (uint32_t i = 0; i < g->services_count; i++) {
        if ((g->retired || g->services[i].going) && !is_served_beside(g, g->services[i].model))
            return false;
    }
    return true;
}

static void make_room_on(gpulet_server_t *server, uint32_t device, bool spared, uint64_t now_ns)
{
    server_gpulet_t *candidates[CANDIDATES_MAX];
    double sizes[CANDIDATES_MAX];
    bool chosen[CANDIDATES_MAX];
    size_t count = 0;
    double missing = missing_mb(server, device);
    if (!(missing > 0))
        return;
    for (server_gpulet_t *g = server->gpulets; g != NULL && count < CANDIDATES_MAX; g = g->next) {
        double mb = g->device == device ? spare_mb(g) : 0;
        if (mb <= 0 || (spared && !is_spared(g)))
            continue;
        candidates[count] = g;
        sizes[count++] = mb;
    }
    (void)gpulet_room_choose(chosen, sizes, count, missing);
    for (size_t i = 0; i < count; i++) {
        /* The first of two that serve a model has gone by now. */
        if (chosen[i] && (!spared || is_spared(candidates[i])))
            give_up(candidates[i], now_ns);
    }
}

void server_memory_make_room(gpulet_server_t *server, uint64_t now_ns)
{
    for (uint32_t d = 0; d < server->devices_count; d++) {
        make_room_on(server, d, true, now_ns);
        make_room_on(server, d, false, now_ns);
    }
    server_gpulets_refresh_models(server);
    server_memory_begin_held(server);
}

/* ---- beginning what was held ---- */

/* More will go before the switch: it pays to wait. */
static bool some_leave(const gpulet_server_t *server, uint32_t device)
{
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (g->device == device && is_leaving(g))
            return true;
    }
    return false;
}

static void begin(server_gpulet_t *g)
{
    gpulet_error_t err = {""};
    for (uint32_t i = 0; i < g->services_count; i++)
        g->services[i].held = false;
    if (g->state != SERVER_GPULET_HELD) {
        if (g->state == SERVER_GPULET_SERVING)
            server_gpulet_load_missing(g);
        return;
    }
    if (server_gpulet_start(g, &err) != GPULET_OK) {
        GPULET_LOG(ERROR, "event=worker_start_failed gpulet=%s error=\"%s\"", g->name, err.text);
        server_gpulet_back_off(g, gpulet_clock_ns());
    }
}

/* What fits, and in the end all: the figures are no better than what was measured. */
void server_memory_begin_held(gpulet_server_t *server)
{
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (g->retired || !has_held(g))
            continue;
        double room_mb =
            server_memory_limit_mb(server, g->device) - server_memory_used_mb(server, g->device);
        if (held_mb(g) <= room_mb || !some_leave(server, g->device))
            begin(g);
    }
}
