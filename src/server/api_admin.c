/* The plan, the rates and the events from outside (docs/protocol.md "Administration"). A request
 * for another plan is answered when that is served, or will not be. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/log.h"
#include "proto/json_write.h"
#include "server/admin_request.h"
#include "server/follow.h"
#include "server/gpulets.h"
#include "server/planning.h"

struct server_asker {
    server_asker_t *next;
    gpulet_http_request_t *http;
    uint64_t seq; /* asks_seq of what it asked for */
};

/* ---- waiting ---- */

static bool wait_for(gpulet_server_t *server, gpulet_http_request_t *http, uint64_t seq)
{
    server_asker_t *asker = calloc(1, sizeof(*asker));
    if (asker == NULL) {
        server_respond_error(http, 503, "out of memory");
        return false;
    }
    *asker = (server_asker_t){server->askers, http, seq};
    server->askers = asker;
    return true;
}

static void respond_json(gpulet_http_request_t *http, int status, json_t *root)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    if (gpulet_json_write(&out, root, false) != GPULET_OK)
        server_respond_error(http, 503, "out of memory");
    else
        gpulet_http_respond_text(http, status, "application/json", out.data, out.size);
    gpulet_buf_deinit(&out);
}

static void respond_outcome(gpulet_http_request_t *http, server_outcome_t outcome,
                            double duration_ms, const char *why)
{
    json_t *reason = json_string(why);
    if (reason == NULL)
        reason = json_string("(not UTF-8)");
    respond_json(http, outcome == SERVER_OUTCOME_FAILED ? 503 : 200,
                 json_pack("{s:s, s:f, s:o}", "outcome", server_outcome_text(outcome),
                           "duration_ms", duration_ms, "reason", reason));
}

void server_admin_settled(gpulet_server_t *server, uint64_t asks_seen, server_outcome_t outcome,
                          double duration_ms, const char *why)
{
    for (server_asker_t **at = &server->askers; *at != NULL;) {
        server_asker_t *asker = *at;
        if (asker->seq > asks_seen) {
            at = &asker->next;
            continue;
        }
        *at = asker->next;
        respond_outcome(asker->http, outcome, duration_ms, why);
        free(asker);
    }
}

void server_admin_refused(gpulet_server_t *server, uint64_t asks_seen, const char *why)
{
    for (server_asker_t **at = &server->askers; *at != NULL;) {
        server_asker_t *asker = *at;
        if (asker->seq <= asks_seen) {
            at = &asker->next;
            continue;
        }
        *at = asker->next;
        respond_outcome(asker->http, SERVER_OUTCOME_FAILED, 0, why);
        free(asker);
    }
}

void server_admin_finished(gpulet_server_t *server, gpulet_http_request_t *http)
{
    for (server_asker_t **at = &server->askers; *at != NULL; at = &(*at)->next) {
        server_asker_t *asker = *at;
        if (asker->http != http)
            continue;
        *at = asker->next;
        free(asker);
        return;
    }
}

/* ---- what is asked ---- */

static bool parse_number(uint64_t *out, gpulet_http_request_t *http, const char *name)
{
    gpulet_error_t err = {""};
    if (server_admin_query_u64(out, gpulet_http_query(http), name, &err) == GPULET_OK)
        return true;
    server_respond_error(http, 400, err.text);
    return false;
}

static bool refuse_while_ending(const gpulet_server_t *server, gpulet_http_request_t *http)
{
    bool ends = server->draining || server->stop;
    if (ends || !server->ready)
        server_respond_error(http, 503,
                             ends ? "the server is shutting down" : "the server is not ready yet");
    return ends || !server->ready;
}

/* ---- the plan ---- */

void server_admin_plan(gpulet_server_t *server, gpulet_http_request_t *http)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    if (server->plan == NULL) {
        server_respond_error(http, 404, "there is no plan yet: the first one is being reached");
        return;
    }
    if (gpulet_plan_format_json(&out, server->plan) != GPULET_OK)
        out.failed = true;
    server_respond_buf(http, &out);
}

static gpulet_status_t read_plan(server_plan_job_t *job, gpulet_server_t *server, const char *body,
                                 size_t size, gpulet_error_t *err)
{
    gpulet_status_t st = gpulet_plan_parse_json(&job->plan, body, size, "plan", err);
    if (st == GPULET_OK)
        st = server_plan_check(server, job->plan, err);
    return st == GPULET_OK ? server_planning_complete(job, server, "request", err) : st;
}

void server_admin_put_plan(gpulet_server_t *server, gpulet_http_request_t *http, const char *body,
                           size_t size)
{
    gpulet_error_t err = {""};
    uint64_t wait = 1;
    server_plan_job_t job = {.reason = GPULET_FOLLOW_ASKED,
                             .wanted_ns = gpulet_clock_ns(),
                             .note = {.multiple = 1, .could_hold = 1}};
    if (refuse_while_ending(server, http) || !parse_number(&wait, http, "wait"))
        return;
    gpulet_status_t st = read_plan(&job, server, body, size, &err);
    if (st != GPULET_OK) {
        server_planning_job_deinit(&job);
        server_respond_status(http, st, err.text);
        return;
    }
    if (wait != 0 && !wait_for(server, http, server->asks_seq + 1)) {
        server_planning_job_deinit(&job);
        return;
    }
    server->plans_seq++; /* What is being planned now comes too late. */
    job.asks_seen = ++server->asks_seq;
    job.models_seen = server->models_seq;
    st = server_transition_begin(server, &job);
    if (st != GPULET_OK) {
        server_transition_failed(server, &job);
        if (wait == 0)
            server_respond_status(http, GPULET_E_UNAVAILABLE, job.err.text);
    } else if (wait == 0) {
        respond_json(http, 202, json_pack("{s:s}", "outcome", "begun"));
    }
    server_planning_job_deinit(&job);
    server_gpulets_step(server);
}

/* ---- another plan, now ---- */

void server_admin_replan(gpulet_server_t *server, gpulet_http_request_t *http, const char *body,
                         size_t size)
{
    gpulet_error_t err = {""};
    server_replan_request_t request;
    uint64_t wait = 1;
    if (refuse_while_ending(server, http) || !parse_number(&wait, http, "wait"))
        return;
    gpulet_status_t st = server_admin_parse_replan(&request, body, size, &err);
    if (st != GPULET_OK) {
        server_respond_status(http, st, err.text);
        return;
    }
    request.wait = request.wait && wait != 0;
    if (request.wait && !wait_for(server, http, server->asks_seq + 1))
        return;
    server->asks_seq++;
    server->ask_forced |= request.force;
    if (!request.wait)
        respond_json(http, 202, json_pack("{s:s}", "outcome", "begun"));
    server_follow_ask(server, GPULET_FOLLOW_ASKED);
}

/* ---- rates ---- */

void server_admin_rates(gpulet_server_t *server, gpulet_http_request_t *http)
{
    json_t *models = json_array();
    for (uint32_t i = 0; i < server->named_count; i++) {
        const server_model_t *model = server->named[i];
        gpulet_follow_rate_t rate;
        if (model->ensemble != NULL)
            continue; /* What is asked of it is asked of its models. */
        server_follow_rate(server, model, &rate);
        (void)json_array_append_new(
            models,
            json_pack("{s:s, s:f, s:f, s:f, s:f, s:o}", "model", model->entry->key, "average_rps",
                      rate.average_rps, "now_rps", rate.now_rps, "planned_rps", rate.planned_rps,
                      "covered_rps", rate.covered_rps, "pinned_rps",
                      isnan(rate.pinned_rps) ? json_null() : json_real(rate.pinned_rps)));
    }
    respond_json(http, 200, json_pack("{s:o}", "models", models));
}

void server_admin_pin(gpulet_server_t *server, gpulet_http_request_t *http, const char *body,
                      size_t size)
{
    gpulet_error_t err = {""};
    server_pin_t *pins = NULL;
    size_t count = 0;
    gpulet_status_t st = server_admin_parse_pins(&pins, &count, body, size, &err);
    for (size_t i = 0; st == GPULET_OK && i < count; i++) {
        const server_model_t *model = server_model_by_key(server, pins[i].model);
        if (model == NULL)
            st =
                gpulet_fail(&err, GPULET_E_INVALID, "%.200s: no model is called so", pins[i].model);
        else if (model->ensemble != NULL)
            st = gpulet_fail(&err, GPULET_E_INVALID,
                             "%.200s: an ensemble is not planned for: pin its models",
                             pins[i].model);
    }
    for (size_t i = 0; st == GPULET_OK && i < count; i++)
        server_follow_pin(server, server_model_by_key(server, pins[i].model), pins[i].rate_rps);
    server_admin_pins_free(pins, count);
    if (st != GPULET_OK) {
        server_respond_status(http, st, err.text);
        return;
    }
    server_admin_rates(server, http);
    server_follow_ask(server, GPULET_FOLLOW_ASKED);
}

/* ---- events ---- */

void server_admin_events(gpulet_server_t *server, gpulet_http_request_t *http)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    uint64_t since = 0;
    if (!parse_number(&since, http, "since"))
        return;
    server_events_write(&out, server->events, since);
    server_respond_buf(http, &out);
}
