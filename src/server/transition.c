/* On the way to another plan: when all of it is loaded, routing is switched in one step, and what
 * the plan has no use for drains and stops. What cannot be reached is given up, and what serves
 * goes on. */
#include "base/clock.h"
#include "base/log.h"
#include "server/gpulets.h"

bool server_gpulet_is_hopeless(const server_gpulet_t *g)
{
    return !g->retired && g->state == SERVER_GPULET_BACKOFF && g->failures >= GPULETS_GIVE_UP_AFTER;
}

/* Everything of the new plan is loaded, or has failed often enough not to be waited for. */
static bool is_due(const gpulet_server_t *server)
{
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (!g->retired && !server_gpulet_is_loaded(g) && !server_gpulet_is_hopeless(g))
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
static bool old_is_better(const gpulet_server_t *server)
{
    bool hopeless = false;
    bool serving = false;
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        hopeless |= server_gpulet_is_hopeless(g);
        serving |= g->running && g->state == SERVER_GPULET_SERVING;
    }
    for (uint32_t i = 0; i < server->models_count && !hopeless; i++)
        hopeless = server_gpulets_plan_loses(server, i) || is_refused_heir(server, i);
    return hopeless && serving;
}

/* What serves goes on serving, and the rest of the new plan ends. */
static void roll_back(gpulet_server_t *server, const char *why)
{
    GPULET_LOG(ERROR, "event=plan_given_up planner=%s reason=\"%s\"", server->plan_next->planner,
               why);
    server->switching = false;
    gpulet_plan_destroy(server->plan_next);
    server->plan_next = NULL;
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        bool begun = !g->running && !g->retired;
        g->retired = !g->running;
        if (g->running)
            server_gpulet_change_undo(g);
        else if (begun)
            server_gpulet_stop(g);
    }
    server_gpulets_refresh_models(server);
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

static bool refused_all(const server_gpulet_t *g)
{
    return g->state == SERVER_GPULET_WAITING && g->refused_count == g->services_count;
}

/* Lanes are there for everything before any goes. */
static void open_lanes(gpulet_server_t *server, uint64_t now_ns)
{
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (!g->retired && refused_all(g))
            g->retired = true; /* It would hold its units for nothing. */
        if (g->retired)
            continue;
        g->running = true;
        server_gpulet_change_widen(g, now_ns);
        if (g->state == SERVER_GPULET_WAITING && !g->lost)
            server_gpulet_add_lane(g, now_ns);
    }
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (!g->retired)
            server_gpulet_change_end(g, now_ns);
    }
}

static void close_lanes(gpulet_server_t *server, uint64_t now_ns)
{
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (!g->retired)
            continue;
        g->running = false;
        if (g->state >= SERVER_GPULET_DRAINING)
            continue;
        if (g->lane != SERVER_LANE_NONE) {
            server_lend_end(g, now_ns);
            server_gpulet_set_state(g, SERVER_GPULET_DRAINING);
            server_brain_apply(server, gpulet_sched_lane_drain(server->sched, now_ns, g->lane));
        } else {
            server_gpulet_stop(g);
        }
    }
}

static void switch_over(gpulet_server_t *server, uint64_t now_ns)
{
    server->switching = false;
    gpulet_plan_destroy(server->plan);
    server->plan = server->plan_next;
    server->plan_next = NULL;
    open_lanes(server, now_ns);
    close_lanes(server, now_ns);
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

void server_transition_step(gpulet_server_t *server, uint64_t now_ns)
{
    if (!is_due(server))
        return;
    server->stop = nothing_starts(server);
    if (server->stop)
        server->exit_status = GPULET_E_UNAVAILABLE;
    else if (old_is_better(server))
        roll_back(server, "a gpu-let or a model of it cannot be had");
    else
        switch_over(server, now_ns);
}
