/* On the way to another plan: when all of it is loaded, routing is switched in one step, and what
 * the plan has no use for drains and stops. What cannot be reached is given up, and what serves
 * goes on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/ensembles.h"
#include "server/follow.h"
#include "server/gpulets.h"
#include "server/keeper.h"
#include "server/planning.h"

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

static bool is_planned(const gpulet_server_t *server, uint32_t id)
{
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (!g->retired && server_gpulet_service(g, id) != NULL)
            return true;
    }
    return false;
}

/* What was to take the place of a model that is served could not be loaded anywhere. One that the
 * plan does not know of, as its load was asked for since, waits for the next. */
static bool is_refused_heir(const gpulet_server_t *server, uint32_t id)
{
    if (!is_planned(server, id))
        return false;
    for (uint32_t i = 0; i < server->models_count; i++) {
        const server_model_t *model = &server->models[i];
        if (model->role == SERVER_MODEL_CURRENT && model->successor != NULL &&
            model->successor->ensemble == NULL && model->successor->id == id &&
            model->state == SERVER_MODEL_READY)
            return !server_gpulets_may_serve(server, id);
    }
    return false;
}

/* A gpu-let of the new plan cannot be had, or a model that is served has been refused by it, and
 * there is something to fall back on. */
static bool old_is_better(const gpulet_server_t *server)
{
    bool hopeless = false;
    bool serving = server->transition.broken > 0 && !server->transition.restores;
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        hopeless |= server_gpulet_is_hopeless(g);
        serving |= g->running && g->state == SERVER_GPULET_SERVING;
    }
    for (uint32_t i = 0; i < server->models_count && !hopeless; i++)
        hopeless = server_gpulets_plan_loses(server, i) || is_refused_heir(server, i);
    return hopeless && serving;
}

/* ---- what became of it ---- */

uint32_t server_devices_used(const gpulet_server_t *server)
{
    bool used[SERVER_DEVICES_MAX] = {false};
    uint32_t count = 0;
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        count += g->running && !used[g->device];
        used[g->device] |= g->running;
    }
    return count;
}

static double ms_since(uint64_t then_ns, uint64_t now_ns)
{
    return (double)(now_ns - then_ns) / 1e6;
}

static void note(gpulet_server_t *server, server_event_kind_t kind, server_outcome_t outcome,
                 const char *text, uint64_t now_ns)
{
    const server_transition_t *t = &server->transition;
    server_event_t event = {
        .kind = kind,
        .reason = t->reason,
        .outcome = outcome,
        .devices_before = t->devices_before,
        .devices_after = server_devices_used(server),
        .gpulets_started = t->started,
        .gpulets_stopped = t->stopped,
        .gpulets_kept = t->kept,
        .models_loaded = t->loaded,
        .models_unloaded = t->unloaded,
        .plan_ms = (double)t->plan_ns / 1e6,
        .duration_ms = ms_since(t->wanted_ns, now_ns),
        .headroom = server_follow_headroom(server),
        .shortfall = server_follow_shortfall(server),
    };
    if (t->broken > 0)
        (void)snprintf(event.text, sizeof(event.text),
                       "%u gpu-lets gave up models before others had them, for lack of memory%s%s",
                       t->broken, text[0] != '\0' ? "; " : "", text);
    else
        (void)snprintf(event.text, sizeof(event.text), "%.*s", SERVER_EVENT_TEXT_MAX, text);
    server_events_add(server->events, &event);
    GPULET_LOG(INFO,
               "event=replan reason=%s outcome=%s started=%u stopped=%u kept=%u loaded=%u "
               "unloaded=%u broken=%u devices=%u plan_ms=%.1f duration_ms=%.1f",
               gpulet_follow_reason_text(t->reason), server_outcome_text(outcome), t->started,
               t->stopped, t->kept, t->loaded, t->unloaded, t->broken, event.devices_after,
               event.plan_ms, event.duration_ms);
}

/* A restart begins with what was served last. */
static void keep_in_store(gpulet_server_t *server)
{
    gpulet_buf_t json = GPULET_BUF_INIT;
    if (server->keeper == NULL)
        return;
    server_told_t *told = calloc(server->models_count + 1U, sizeof(*told));
    uint32_t count = 0;
    bool failed = told == NULL || gpulet_plan_format_json(&json, server->plan) != GPULET_OK;
    for (uint32_t i = 0; !failed && i < server->models_count; i++) {
        const server_model_t *model = &server->models[i];
        if (model->role != SERVER_MODEL_CURRENT)
            continue;
        told[count].rate_rps = model->rate_rps;
        told[count].model = strdup(model->entry->key);
        failed = told[count++].model == NULL;
    }
    if (!failed) {
        server_keeper_plan(server->keeper, gpulet_follow_reason_text(server->transition.reason),
                           json.data, told, count);
        return;
    }
    GPULET_LOG(WARNING, "event=store_failed error=\"out of memory\"");
    for (uint32_t i = 0; i < count; i++)
        free(told[i].model);
    free(told);
    gpulet_buf_deinit(&json);
}

/* Those who wait for a plan made for what they asked. */
static void settle_waiters(gpulet_server_t *server, server_outcome_t outcome, const char *why,
                           uint64_t now_ns)
{
    const server_transition_t *t = &server->transition;
    if (t->models_seen == server->models_seq)
        server_repository_switched(server);
    else if (outcome == SERVER_OUTCOME_REACHED)
        server_repository_advanced(server, t->models_seen);
    server_admin_settled(server, t->asks_seen, outcome, ms_since(t->wanted_ns, now_ns), why);
}

void server_transition_kept(gpulet_server_t *server, const server_plan_job_t *job)
{
    uint64_t now_ns = gpulet_clock_ns();
    server_events_count(server->events, job->reason, SERVER_OUTCOME_KEPT);
    GPULET_LOG(DEBUG, "event=replan reason=%s outcome=kept plan_ms=%.1f",
               gpulet_follow_reason_text(job->reason), (double)job->plan_ns / 1e6);
    server_admin_settled(server, job->asks_seen, SERVER_OUTCOME_KEPT,
                         ms_since(job->wanted_ns, now_ns), "what runs is as good");
}

void server_transition_failed(gpulet_server_t *server, const server_plan_job_t *job)
{
    uint64_t now_ns = gpulet_clock_ns();
    server_event_t event = {.kind = SERVER_EVENT_REPLAN,
                            .reason = job->reason,
                            .outcome = SERVER_OUTCOME_FAILED,
                            .devices_before = server_devices_used(server),
                            .devices_after = server_devices_used(server),
                            .plan_ms = (double)job->plan_ns / 1e6,
                            .duration_ms = ms_since(job->wanted_ns, now_ns),
                            .headroom = server_follow_headroom(server),
                            .shortfall = server_follow_shortfall(server)};
    (void)snprintf(event.text, sizeof(event.text), "%.*s", SERVER_EVENT_TEXT_MAX, job->err.text);
    server_events_add(server->events, &event);
    /* Models that were to come are given up; what is being reached knows nothing of them, and is
     * all that is waited for. */
    server_repository_failed(server, job->err.text);
    server->transition.models_seen = server->models_seq;
    server_admin_settled(server, job->asks_seen, SERVER_OUTCOME_FAILED,
                         ms_since(job->wanted_ns, now_ns), job->err.text);
}

/* ---- begin and end ---- */

gpulet_status_t server_transition_begin(gpulet_server_t *server, server_plan_job_t *job)
{
    gpulet_plan_t *plan = job->plan;
    uint32_t devices_before = server_devices_used(server);
    job->plan = NULL;
    gpulet_status_t st = server_gpulets_apply(server, plan, &job->err);
    if (st != GPULET_OK)
        return st;
    server_shares_deinit(&server->shares_next);
    server->shares_next = job->shares;
    job->shares = (server_shares_t){NULL, NULL};
    server_transition_t *t = &server->transition;
    t->reason = job->reason;
    t->wanted_ns = job->wanted_ns;
    t->plan_ns = job->plan_ns;
    t->note = job->note;
    t->models_seen = job->models_seen;
    t->devices_seen = job->devices_seen;
    t->asks_seen = job->asks_seen;
    t->devices_before = devices_before;
    return GPULET_OK;
}

/* Of the running plan some is missing that had to make room: it is begun anew. */
static void restore(gpulet_server_t *server, uint64_t now_ns)
{
    server_plan_job_t job = {.reason = server->transition.reason,
                             .wanted_ns = now_ns,
                             .models_seen = server->transition.models_seen,
                             .devices_seen = server->transition.devices_seen,
                             .asks_seen = server->transition.asks_seen,
                             .note = server->note};
    job.status = gpulet_plan_clone(&job.plan, server->plan);
    if (job.status == GPULET_OK)
        job.status = server_transition_begin(server, &job);
    if (job.status != GPULET_OK)
        GPULET_LOG(ERROR, "event=restore_failed error=\"%s\"", job.err.text);
    server->transition.restores = job.status == GPULET_OK;
    server_planning_job_deinit(&job);
}

/* What serves goes on serving, and the rest of the new plan ends. */
static void roll_back(gpulet_server_t *server, const char *why, uint64_t now_ns)
{
    GPULET_LOG(ERROR, "event=plan_given_up planner=%s reason=\"%s\"", server->plan_next->planner,
               why);
    server->switching = false;
    gpulet_plan_destroy(server->plan_next);
    server->plan_next = NULL;
    server_shares_deinit(&server->shares_next);
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        bool begun = !g->running && !g->retired;
        g->retired = !g->running;
        if (g->running)
            server_gpulet_change_undo(g);
        else if (begun)
            server_gpulet_stop(g);
    }
    server_gpulets_refresh_models(server);
    server_follow_reached(server, now_ns, false);
    note(server, SERVER_EVENT_ROLLBACK, SERVER_OUTCOME_FAILED, why, now_ns);
    settle_waiters(server, SERVER_OUTCOME_FAILED, why, now_ns);
    if (server->transition.broken > 0 && !server->transition.restores)
        restore(server, now_ns);
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

/* The plan that is gone back to had its shares all the while. */
static void take_shares(gpulet_server_t *server)
{
    if (server->transition.restores)
        return;
    server_shares_deinit(&server->shares);
    server->shares = server->shares_next;
    server->shares_next = (server_shares_t){NULL, NULL};
    server_ensembles_share(server);
}

static void switch_over(gpulet_server_t *server, uint64_t now_ns)
{
    bool first = !server->ready;
    server->switching = false;
    gpulet_plan_destroy(server->plan);
    server->plan = server->plan_next;
    server->plan_next = NULL;
    server->note = server->transition.note;
    take_shares(server);
    open_lanes(server, now_ns);
    close_lanes(server, now_ns);
    server_gpulets_refresh_models(server);
    server->ready = true;
    server_follow_reached(server, now_ns, true);
    note(server, first ? SERVER_EVENT_PLAN : SERVER_EVENT_REPLAN, SERVER_OUTCOME_REACHED,
         server->plan->reason, now_ns);
    keep_in_store(server);
    if (first)
        server_announce_ready(server);
    else
        server->replans++;
    settle_waiters(server, SERVER_OUTCOME_REACHED, server->plan->reason, now_ns);
}

void server_transition_step(gpulet_server_t *server, uint64_t now_ns)
{
    uint64_t limit_ns = gpulet_duration_ns(server->settings.transition_limit_s * 1e3);
    bool late = server->ready && now_ns - server->transition.begun_ns > limit_ns;
    if (!is_due(server)) {
        if (late)
            roll_back(server, "it was not reached within the limit", now_ns);
        return;
    }
    server->stop = nothing_starts(server);
    if (server->stop)
        server->exit_status = GPULET_E_UNAVAILABLE;
    else if (old_is_better(server)) {
        server_devices_blame(server, now_ns);
        roll_back(server, "a gpu-let or a model of it cannot be had", now_ns);
    } else
        switch_over(server, now_ns);
}
