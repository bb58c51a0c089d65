/* A gpu-let that goes on in another plan: its worker stays, models that it lacks are loaded beside
 * its batches, and at the switch its lane serves other models, batches and rates in one step. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/gpulets.h"

static server_service_t *find(server_service_t *services, uint32_t count, uint32_t model)
{
    for (uint32_t i = 0; i < count; i++) {
        if (services[i].model == model)
            return &services[i];
    }
    return NULL;
}

gpulet_status_t server_gpulet_merge(server_service_t **out, uint32_t *count,
                                    const server_gpulet_t *g, const server_gpulet_t *wanted)
{
    uint32_t merged_count = g->services_count;
    server_service_t *merged =
        calloc((size_t)g->services_count + wanted->services_count, sizeof(*merged));
    if (merged == NULL)
        return GPULET_E_NOMEM;
    memcpy(merged, g->services, g->services_count * sizeof(*merged));
    for (uint32_t i = 0; i < g->services_count; i++)
        merged[i].going = true;
    for (uint32_t i = 0; i < wanted->services_count; i++) {
        const server_service_t *w = &wanted->services[i];
        server_service_t *s = find(merged, g->services_count, w->model);
        if (s == NULL) {
            s = &merged[merged_count++];
            *s = *w;
            s->coming = true;
        }
        s->going = false;
        s->batch_next = w->batch_next;
        s->rate_next = w->rate_next;
    }
    *out = merged;
    *count = merged_count;
    return GPULET_OK;
}

static void drop_service(server_gpulet_t *g, uint32_t index)
{
    server_service_t *s = &g->services[index];
    bool lives = g->worker != NULL && !g->lost;
    if (s->asked && !s->failed && lives && gpulet_worker_unload(g->worker, s->model) != GPULET_OK)
        GPULET_LOG(DEBUG, "event=unload_failed gpulet=%s", g->name); /* it is gone, and told so */
    if (s->asked && !s->loaded && !s->failed && g->loads_pending > 0)
        g->loads_pending--;
    if (s->widen_asked && g->widen_pending > 0)
        g->widen_pending--;
    if (s->failed && g->refused_count > 0)
        g->refused_count--;
    server_executions_forget(&g->executions, s->model);
    *s = g->services[--g->services_count];
}

static bool has_coming(const server_gpulet_t *g)
{
    for (uint32_t i = 0; i < g->services_count; i++) {
        if (g->services[i].coming)
            return true;
    }
    return false;
}

static bool has_going(const server_gpulet_t *g)
{
    for (uint32_t i = 0; i < g->services_count; i++) {
        if (g->services[i].going)
            return true;
    }
    return false;
}

void server_gpulet_change_begin(server_gpulet_t *g, server_service_t *services, uint32_t count,
                                double duty_ms)
{
    free(g->services);
    g->services = services;
    g->services_count = count;
    g->duty_next = duty_ms;
    for (uint32_t i = g->services_count; i-- > 0;) {
        server_service_t *s = &g->services[i];
        /* What nothing was served from yet need not be told apart. */
        if (s->going && (s->coming || !g->running)) {
            drop_service(g, i);
            continue;
        }
        if (!g->running) {
            s->coming = false;
            s->batch = s->batch_next;
            s->rate_rps = s->rate_next;
        }
    }
    if (g->state == SERVER_GPULET_LOADING || g->state == SERVER_GPULET_WAITING ||
        g->state == SERVER_GPULET_SERVING)
        server_gpulet_load_missing(g);
}

void server_gpulet_change_undo(server_gpulet_t *g)
{
    for (uint32_t i = g->services_count; i-- > 0;) {
        server_service_t *s = &g->services[i];
        s->going = false;
        s->batch_next = s->batch;
        s->rate_next = s->rate_rps;
        if (s->coming)
            drop_service(g, i);
    }
    g->duty_next = g->duty_ms;
}

bool server_gpulet_is_loaded(const server_gpulet_t *g)
{
    if (g->state != SERVER_GPULET_WAITING && g->state != SERVER_GPULET_SERVING)
        return false;
    for (uint32_t i = 0; i < g->services_count; i++) {
        if (g->services[i].coming && !g->services[i].loaded && !g->services[i].failed)
            return false;
    }
    return true;
}

/* The lane serves what the gpu-let holds now. */
static void serve(server_gpulet_t *g, uint64_t now_ns, bool with_going)
{
    gpulet_server_t *server = g->server;
    gpulet_actions_t actions = {NULL, 0};
    if (g->lane == SERVER_LANE_NONE)
        return;
    server_lend_end(g, now_ns);
    gpulet_sched_service_t *services = calloc(g->services_count + 1U, sizeof(*services));
    gpulet_status_t st = services != NULL ? GPULET_OK : GPULET_E_NOMEM;
    uint32_t count = services != NULL ? server_gpulet_lane_services(services, g, with_going) : 0;
    const gpulet_sched_lane_t value = {g->units, count, services};
    if (st == GPULET_OK)
        st = gpulet_sched_lane_serve(server->sched, now_ns, g->lane, &value, &actions);
    server_gpulet_lane_services_free(services, count);
    if (st == GPULET_OK) {
        server_brain_apply(server, actions);
        return;
    }
    /* Its worker is replaced, and the new lane serves what it is to. */
    GPULET_LOG(ERROR, "event=lane_failed gpulet=%s status=%s", g->name, gpulet_status_name(st));
    g->lost = true;
    server->gpulets_dirty = true;
}

void server_gpulet_change_early(server_gpulet_t *g, uint64_t now_ns)
{
    serve(g, now_ns, false);
    for (uint32_t i = g->services_count; i-- > 0;) {
        if (g->services[i].going)
            drop_service(g, i);
    }
}

void server_gpulet_change_widen(server_gpulet_t *g, uint64_t now_ns)
{
    bool wider = has_coming(g);
    g->changed = has_going(g);
    for (uint32_t i = 0; i < g->services_count; i++)
        g->services[i].coming = false;
    if (wider)
        serve(g, now_ns, true);
}

void server_gpulet_change_end(server_gpulet_t *g, uint64_t now_ns)
{
    bool changed = g->changed;
    for (uint32_t i = 0; i < g->services_count; i++) {
        server_service_t *s = &g->services[i];
        changed |= !s->going && s->batch != s->batch_next;
        if (s->rate_rps != s->rate_next && g->lane != SERVER_LANE_NONE)
            gpulet_sched_lane_rate(g->server->sched, g->lane, s->model, s->rate_next);
        s->batch = s->batch_next;
        s->rate_rps = s->rate_next;
    }
    g->duty_ms = g->duty_next;
    g->changed = false;
    if (!changed)
        return;
    serve(g, now_ns, false);
    g->wide_units = 0; /* copies for lent units are of other models */
    for (uint32_t i = g->services_count; i-- > 0;) {
        if (g->services[i].going)
            drop_service(g, i);
    }
}
