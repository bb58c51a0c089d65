#include "server/follow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/ensembles.h"
#include "server/gpulets.h"
#include "server/planning.h"
#include "server/recall.h"

struct server_follow {
    gpulet_follow_t *rates;
    double *covers; /* of the plan in question, by model number */
};

gpulet_status_t server_follow_open(gpulet_server_t *server, gpulet_error_t *err)
{
    const gpulet_settings_t *s = &server->settings;
    const double sample_s = 0.5;
    const gpulet_follow_options_t options = {
        .sample_ns = gpulet_duration_ns(sample_s * 1e3),
        .window = (uint32_t)(s->rate_window_s / sample_s),
        .period_ns = gpulet_duration_ns(s->replan_period_s * 1e3),
        .hold_ns = gpulet_duration_ns(s->replan_hold_s * 1e3),
        .better = s->replan_better,
    };
    server_follow_t *f = calloc(1, sizeof(*f));
    if (f != NULL)
        f->covers = calloc(SERVER_MODELS_MAX, sizeof(*f->covers));
    if (f == NULL || f->covers == NULL ||
        gpulet_follow_create(&f->rates, &options, SERVER_MODELS_MAX) != GPULET_OK) {
        free(f != NULL ? f->covers : NULL);
        free(f);
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    }
    server->follow = f;
    return server_planner_open(server, err);
}

void server_follow_close(gpulet_server_t *server)
{
    server_planner_close(server);
    if (server->follow == NULL)
        return;
    gpulet_follow_destroy(server->follow->rates);
    free(server->follow->covers);
    free(server->follow);
    server->follow = NULL;
}

/* ---- rates ---- */

double server_follow_rate_rps(const gpulet_server_t *server, const server_model_t *model)
{
    gpulet_follow_rate_t rate;
    server_follow_rate(server, model, &rate);
    bool seen = server->ready && server->settings.follow && rate.planned_rps > 0;
    return !isnan(rate.pinned_rps) ? rate.pinned_rps
           : seen                  ? rate.planned_rps
                                   : server_model_rate_rps(model);
}

void server_follow_rate(const gpulet_server_t *server, const server_model_t *model,
                        gpulet_follow_rate_t *out)
{
    gpulet_follow_rate(server->follow->rates, model->id, out);
}

void server_follow_pin(gpulet_server_t *server, const server_model_t *model, double rate_rps)
{
    gpulet_follow_model_add(server->follow->rates, model->id, server_model_rate_rps(model));
    gpulet_follow_pin(server->follow->rates, model->id, rate_rps);
}

void server_follow_arrived(gpulet_server_t *server, const server_model_t *model, uint32_t items)
{
    gpulet_follow_arrived(server->follow->rates, model->id, items);
}

void server_follow_forget(gpulet_server_t *server, const server_model_t *model)
{
    gpulet_follow_model_remove(server->follow->rates, model->id);
}

double server_follow_headroom(const gpulet_server_t *server)
{
    return gpulet_follow_headroom(server->follow->rates);
}

double server_follow_shortfall(const gpulet_server_t *server)
{
    return gpulet_follow_shortfall(server->follow->rates);
}

/* What takes a model's place is expected to be asked as often. */
static void follow_heir(gpulet_server_t *server, const server_model_t *model)
{
    gpulet_follow_rate_t rate;
    const server_model_t *heir = model->successor;
    server_follow_rate(server, model, &rate);
    gpulet_follow_model_add(server->follow->rates, heir->id,
                            rate.now_rps > 0 ? rate.now_rps : server_model_rate_rps(heir));
    if (!isnan(rate.pinned_rps))
        gpulet_follow_pin(server->follow->rates, heir->id, rate.pinned_rps);
}

/* What an ensemble that is new will ask is expected beside what has been seen; what one that is
 * gone asked no more is seen soon enough. */
static void follow_model(gpulet_server_t *server, server_model_t *model)
{
    gpulet_follow_t *rates = server->follow->rates;
    if (model->staged_rps > model->staged_seen_rps)
        gpulet_follow_model_raise(rates, model->id, model->staged_rps - model->staged_seen_rps);
    gpulet_follow_model_add(rates, model->id, server_model_rate_rps(model));
}

/* Models that plans are made for are followed, others are not. */
static void sync_models(gpulet_server_t *server)
{
    server_ensembles_expect(server);
    for (uint32_t i = 0; i < server->models_count; i++) {
        if (server->models[i].role == SERVER_MODEL_CURRENT && server->models[i].successor != NULL &&
            server->models[i].successor->ensemble == NULL)
            follow_heir(server, &server->models[i]);
    }
    for (uint32_t i = 0; i < server->models_count; i++) {
        server_model_t *model = &server->models[i];
        bool serves = model->role == SERVER_MODEL_CURRENT && model->state == SERVER_MODEL_READY;
        if (model->role != SERVER_MODEL_FREE && server_model_wanted(model))
            follow_model(server, model);
        else if (model->role != SERVER_MODEL_FREE && !serves)
            gpulet_follow_model_remove(server->follow->rates, i);
        model->staged_seen_rps = model->staged_rps;
    }
}

/* ---- asking for a plan ---- */

static bool by_rates(gpulet_follow_reason_t reason)
{
    return reason == GPULET_FOLLOW_PERIOD || reason == GPULET_FOLLOW_BURST;
}

static void begin_planning(gpulet_server_t *server, gpulet_follow_reason_t reason, uint64_t now_ns)
{
    server_plan_job_t job = {.reason = reason,
                             .wanted_ns = now_ns,
                             .models_seen = server->models_seq,
                             .devices_seen = server->devices_seq,
                             .plans_seen = server->plans_seq,
                             .asks_seen = server->asks_seq,
                             .forced = server->ask_forced};
    server->ask_forced = false;
    sync_models(server);
    if (!server_planning_without_planner(&job, server)) {
        job.status = server_planning_prepare(&job, server, &job.err);
        if (job.status == GPULET_OK) {
            server_planner_begin(server, &job);
            return;
        }
    }
    server_follow_planned(server, &job);
    server_planning_job_deinit(&job);
}

void server_follow_step(gpulet_server_t *server, uint64_t now_ns)
{
    gpulet_follow_t *rates = server->follow->rates;
    if (!server->ready || server->draining || server->stop || server_recall_looking(server))
        return;
    gpulet_follow_reason_t reason = gpulet_follow_tick(rates, now_ns);
    if (reason == GPULET_FOLLOW_NONE)
        return;
    bool provisional = server->plan != NULL && !server_planning_all_profiled(server);
    if (by_rates(reason) && (!server->settings.follow || provisional || server->switching)) {
        (void)gpulet_follow_answered(rates, now_ns, NULL);
        return;
    }
    begin_planning(server, reason, now_ns);
}

bool server_follow_fixed(const gpulet_server_t *server)
{
    return !server->settings.follow && (server->settings.plan != NULL || server->plans_seq > 0);
}

void server_follow_ask(gpulet_server_t *server, gpulet_follow_reason_t reason)
{
    gpulet_follow_ask(server->follow->rates, reason);
    server_follow_step(server, gpulet_clock_ns());
}

/* ---- the answer ---- */

static double cost_of(const gpulet_plan_t *plan)
{
    return isnan(plan->cost) ? (double)plan->devices_used : plan->cost;
}

static void describe(gpulet_follow_plan_t *out, const gpulet_server_t *server,
                     const gpulet_plan_t *plan)
{
    double *covers = server->follow->covers;
    for (uint32_t i = 0; i < server->models_count; i++)
        covers[i] = server->models[i].role == SERVER_MODEL_FREE
                        ? 0
                        : gpulet_plan_covers_rps(plan, server->models[i].entry->key);
    *out = (gpulet_follow_plan_t){.covers_rps = covers,
                                  .count = server->models_count,
                                  .cost = cost_of(plan),
                                  .gap_rps = plan->movement.gap_rps};
}

/* A plan that a person asked for, but not for a change at any price. */
static bool is_improvement(const gpulet_server_t *server, const gpulet_follow_plan_t *next)
{
    double least = HUGE_VAL;
    bool more = false;
    for (uint32_t i = 0; i < next->count; i++) {
        gpulet_follow_rate_t rate;
        gpulet_follow_rate(server->follow->rates, i, &rate);
        if (rate.planned_rps <= 0)
            continue;
        more |= rate.covered_rps < rate.planned_rps && next->covers_rps[i] > rate.covered_rps;
        least = fmin(least, next->covers_rps[i] / rate.planned_rps);
    }
    return more || server->plan == NULL || next->cost < cost_of(server->plan) ||
           least >= server->settings.replan_better * server_follow_headroom(server);
}

/* What it was made from is not so any more. */
static bool is_stale(const gpulet_server_t *server, const server_plan_job_t *job)
{
    return job->models_seen != server->models_seq || job->devices_seen != server->devices_seq ||
           job->plans_seen != server->plans_seq;
}

static void failed(gpulet_server_t *server, const server_plan_job_t *job)
{
    char text[GPULET_ERROR_TEXT_MAX * 2];
    GPULET_LOG(ERROR, "event=replan_failed reason=%s error=%s",
               gpulet_follow_reason_text(job->reason),
               gpulet_log_quote(text, sizeof(text), job->err.text));
    server_transition_failed(server, job);
}

static void adopt(gpulet_server_t *server, server_plan_job_t *job, uint64_t now_ns)
{
    if (job->provisional)
        server_calibrate_want(server); /* begins when the one in progress has ended */
    job->status = server_transition_begin(server, job);
    if (job->status != GPULET_OK) {
        gpulet_follow_reached(server->follow->rates, now_ns, 0, NULL);
        failed(server, job);
        return;
    }
    server_gpulets_step(server);
}

void server_follow_planned(gpulet_server_t *server, server_plan_job_t *job)
{
    uint64_t now_ns = gpulet_clock_ns();
    gpulet_follow_t *rates = server->follow->rates;
    gpulet_follow_plan_t next;
    bool ends = server->draining || server->stop;
    if (ends || is_stale(server, job)) {
        (void)gpulet_follow_answered(rates, now_ns, NULL);
        if (!by_rates(job->reason) && !ends)
            gpulet_follow_ask(rates, job->reason);
        server->ask_forced |= job->forced;
        return;
    }
    if (job->status != GPULET_OK) {
        (void)gpulet_follow_answered(rates, now_ns, NULL);
        failed(server, job);
        return;
    }
    if (job->devices != NULL) /* a planner made it */
        server_planning_finish(job, server);
    describe(&next, server, job->plan);
    /* One for other models or devices is wanted whatever asked for it as well. */
    bool same_world = job->models_seen == server->transition.models_seen &&
                      job->devices_seen == server->transition.devices_seen;
    bool useless = same_world && job->reason == GPULET_FOLLOW_PROFILE && job->provisional;
    bool as_good = same_world && job->reason == GPULET_FOLLOW_ASKED && !job->forced &&
                   !is_improvement(server, &next);
    if (useless || as_good || !gpulet_follow_answered(rates, now_ns, &next)) {
        if (useless || as_good)
            (void)gpulet_follow_answered(rates, now_ns, NULL);
        server_transition_kept(server, job);
        return;
    }
    adopt(server, job, now_ns);
}

void server_follow_end(gpulet_server_t *server)
{
    static const char why[] = "the server is shutting down";
    uint64_t begun = server->switching ? server->transition.asks_seen : 0;
    server_repository_failed(server, why);
    server->transition.models_seen = server->models_seq;
    server_admin_refused(server, begun, why);
}

void server_follow_reached(gpulet_server_t *server, uint64_t now_ns, bool served)
{
    gpulet_follow_plan_t plan;
    const server_transition_t *t = &server->transition;
    if (!served) {
        gpulet_follow_reached(server->follow->rates, now_ns, 0, NULL);
        return;
    }
    sync_models(server);
    describe(&plan, server, server->plan);
    gpulet_follow_reached(server->follow->rates, now_ns,
                          t->reason == GPULET_FOLLOW_START ? 0 : now_ns - t->wanted_ns, &plan);
}
