/* From one plan to the next, make before break: gpu-lets that both have are left alone, the others
 * are started on units that may overlap for a while and loaded in the background; when all are
 * loaded, routing is switched in one step and the old ones drain. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/gpulets.h"

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
        if (server_gpulet_service(g, model->id) != NULL)
            return gpulet_fail(err, GPULET_E_INVALID,
                               "plan: model '%s' stands twice in one gpu-let", share->model);
        if (!server_model_wanted(model))
            continue; /* A plan from a file may name what cannot be, or is not to be, served. */
        g->services[g->services_count++] = (server_service_t){
            .model = model->id,
            .batch = share->batch < model->batch_max ? share->batch : model->batch_max,
            .rate_rps = share->rate_rps,
            .rate_next = share->rate_rps,
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
    g->duty_next = planned->duty_ms;
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

/* It stays; what the new plan wants of it counts from the switch on. */
static void keep(server_gpulet_t *g, const server_gpulet_t *wanted)
{
    g->retired = false;
    g->duty_next = wanted->duty_ms;
    for (uint32_t i = 0; i < g->services_count; i++)
        g->services[i].rate_next = wanted->services[i].rate_rps;
}

static void adopt_rates(server_gpulet_t *g)
{
    g->duty_ms = g->duty_next;
    for (uint32_t i = 0; i < g->services_count; i++) {
        server_service_t *service = &g->services[i];
        if (service->rate_rps != service->rate_next && g->lane != SERVER_LANE_NONE)
            gpulet_sched_lane_rate(g->server->sched, g->lane, service->model, service->rate_next);
        service->rate_rps = service->rate_next;
    }
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
            keep(equal, g);
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
        st = server_gpulet_start(g, err);
    if (st != GPULET_OK) {
        server_gpulet_free(g);
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
        server_gpulet_stop(g);
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
    return !g->retired && g->state == SERVER_GPULET_BACKOFF && g->failures >= GPULETS_GIVE_UP_AFTER;
}

/* Everything of the new plan is loaded, or has failed often enough not to be waited for. */
bool server_gpulets_switch_is_due(const gpulet_server_t *server)
{
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        bool loaded = g->state == SERVER_GPULET_WAITING || g->state == SERVER_GPULET_SERVING;
        if (!g->retired && !loaded && !is_hopeless(g))
            return false;
    }
    return true;
}

/* What was to take the place of a model that is served could not be loaded anywhere. */
static bool is_refused_heir(const gpulet_server_t *server, uint32_t id)
{
    for (uint32_t i = 0; i < server->models_count; i++) {
        const server_model_t *model = &server->models[i];
        if (model->role == SERVER_MODEL_CURRENT && model->successor != NULL &&
            model->successor->id == id && model->state == SERVER_MODEL_READY)
            return !server_gpulets_may_serve(server, id);
    }
    return false;
}

/* A gpu-let of the new plan cannot be had, or a model that is served has been refused by it, and
 * there is something to fall back on. */
bool server_gpulets_old_is_better(const gpulet_server_t *server)
{
    bool hopeless = false;
    bool serving = false;
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        hopeless |= is_hopeless(g);
        serving |= g->state == SERVER_GPULET_SERVING;
    }
    for (uint32_t i = 0; i < server->models_count && !hopeless; i++)
        hopeless = server_gpulets_plan_loses(server, i) || is_refused_heir(server, i);
    return hopeless && serving;
}

/* What serves goes on serving, and the rest of the new plan ends. */
void server_gpulets_keep_what_serves(gpulet_server_t *server)
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
            server_gpulet_stop(g);
        }
    }
    server_gpulets_refresh_models(server);
    server_repository_switched(server);
}

/* The first plan, and not one worker of it could be started: there is nothing to be ready for. */
bool server_gpulets_nothing_starts(const gpulet_server_t *server)
{
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (g->state == SERVER_GPULET_WAITING)
            return false;
    }
    return !server->ready && server->gpulets != NULL;
}

static bool refused_all(const server_gpulet_t *g)
{
    return g->state == SERVER_GPULET_WAITING && g->refused_count == g->services_count;
}

void server_gpulets_switch_over(gpulet_server_t *server, uint64_t now_ns)
{
    server->switching = false;
    gpulet_plan_destroy(server->plan_before);
    server->plan_before = NULL;
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (!g->retired && refused_all(g))
            g->retired = true; /* It would hold its units for nothing. */
        if (!g->retired)
            adopt_rates(g);
        if (!g->retired && g->state == SERVER_GPULET_WAITING && !g->lost)
            server_gpulet_add_lane(g, now_ns);
    }
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (!g->retired || g->state >= SERVER_GPULET_DRAINING)
            continue;
        if (g->lane != SERVER_LANE_NONE) {
            server_lend_end(g, now_ns);
            server_gpulet_set_state(g, SERVER_GPULET_DRAINING);
            server_brain_apply(server, gpulet_sched_lane_drain(server->sched, now_ns, g->lane));
        } else {
            server_gpulet_stop(g);
        }
    }
    server_gpulets_refresh_models(server);
    if (!server->ready) {
        server->ready = true;
        server_announce_ready(server);
    } else {
        server->replans++;
        GPULET_LOG(INFO, "event=plan_switched replans=%llu", (unsigned long long)server->replans);
    }
    server_repository_switched(server);
}
