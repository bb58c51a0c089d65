/* Models at run time: listed, loaded and unloaded. A load or an unload is a new plan; the request
 * is answered when that is served. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/log.h"
#include "proto/config_json.h"
#include "server/ensembles.h"
#include "server/follow.h"
#include "server/gpulets.h"

/* A request that waits for the plan being switched to. */
struct server_waiter {
    server_waiter_t *next;
    gpulet_http_request_t *http;
    uint64_t seq; /* models_seq with the change that it waits for */
    char name[GPULET_MODEL_NAME_MAX + 1];
    char reason[512]; /* why a version could not be loaded; "": none failed yet */
    bool load;
    bool unplanned; /* it was not even tried */
};

/* The body is empty, "" (as one client posts it) or an object, perhaps with "ready". */
static bool parse_index_request(bool *ready_only, const char *body, size_t size)
{
    *ready_only = false;
    json_t *root = size > 0 ? json_loadb(body, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL)
                            : json_object();
    bool ok = root != NULL &&
              (json_is_object(root) || (json_is_string(root) && json_string_length(root) == 0));
    json_t *ready = ok ? json_object_get(root, "ready") : NULL;
    if (ready != NULL)
        ok = json_is_boolean(ready);
    *ready_only = ok && json_is_true(ready);
    json_decref(root);
    return ok;
}

void server_repository_index(gpulet_server_t *server, gpulet_http_request_t *http, const char *body,
                             size_t size)
{
    static const char *const states[] = {"LOADING", "READY", "UNAVAILABLE"};
    gpulet_buf_t out = GPULET_BUF_INIT;
    bool ready_only = false;
    bool first = true;
    if (!parse_index_request(&ready_only, body, size)) {
        server_respond_error(http, 400,
                             "failed to parse the request JSON buffer: expected an object, perhaps "
                             "with a boolean \"ready\"");
        return;
    }
    gpulet_buf_append_char(&out, '[');
    for (uint32_t i = 0; i < server->named_count; i++) {
        const server_model_t *model = server->named[i];
        if (ready_only && model->state != SERVER_MODEL_READY)
            continue;
        gpulet_buf_append_str(&out, first ? "{\"name\":" : ",{\"name\":");
        gpulet_json_string(&out, model->entry->name, strlen(model->entry->name));
        gpulet_buf_printf(&out,
                          ",\"version\":\"%s\",\"state\":\"%s\",\"reason\":", model->version_text,
                          states[model->state]);
        gpulet_json_string(&out, model->reason, strlen(model->reason));
        gpulet_buf_append_char(&out, '}');
        first = false;
    }
    gpulet_buf_append_char(&out, ']');
    server_respond_buf(http, &out);
}

static void answer_done(gpulet_http_request_t *http)
{
    gpulet_http_respond_text(http, 200, "application/json", "", 0);
}

/* Asks for a plan for the models as they are wanted now, and waits for it. False, and answered,
 * when that is not possible. */
static bool replan_and_wait(gpulet_server_t *server, gpulet_http_request_t *http, const char *name,
                            bool load)
{
    server_waiter_t *waiter = calloc(1, sizeof(*waiter));
    if (waiter == NULL) {
        server_respond_status(http, GPULET_E_UNAVAILABLE, "out of memory");
        return false;
    }
    waiter->next = server->waiters;
    waiter->http = http;
    waiter->load = load;
    waiter->seq = ++server->models_seq;
    (void)snprintf(waiter->name, sizeof(waiter->name), "%s", name);
    server->waiters = waiter;
    GPULET_LOG(INFO, "event=%s model=%s", load ? "load_begin" : "unload_begin", name);
    server_follow_ask(server, GPULET_FOLLOW_MODELS);
    return true;
}

static void fail_load(gpulet_http_request_t *http, gpulet_status_t status, const char *name,
                      const char *why)
{
    char text[GPULET_MODEL_NAME_MAX + GPULET_ERROR_TEXT_MAX + 32];
    (void)snprintf(text, sizeof(text), "failed to load '%s': %s", name, why);
    server_respond_status(http, status == GPULET_E_NOMEM ? GPULET_E_UNAVAILABLE : status, text);
}

/* The text of a config.pbtxt when the body brings a configuration to load with; else *out is left
 * empty. Values of parameters are strings (docs/protocol.md). */
static gpulet_status_t parse_load_request(gpulet_buf_t *out, const char *body, size_t size,
                                          gpulet_error_t *err)
{
    const char *key = NULL;
    json_t *value = NULL;
    gpulet_status_t st = GPULET_OK;
    json_t *root = size > 0 ? json_loadb(body, size, JSON_REJECT_DUPLICATES, NULL) : json_object();
    json_t *parameters = json_object_get(root, "parameters");
    if (!json_is_object(root) || (parameters != NULL && !json_is_object(parameters)))
        st =
            gpulet_fail(err, GPULET_E_INVALID,
                        "failed to parse the request JSON buffer: expected an object, perhaps with "
                        "an object \"parameters\"");
    json_object_foreach(parameters, key, value)
    {
        if (st != GPULET_OK)
            break;
        if (strncmp(key, "file:", strlen("file:")) == 0)
            st = gpulet_fail(err, GPULET_E_UNSUPPORTED,
                             "loading a model from the request is not supported: put it into the "
                             "repository");
        else if (strcmp(key, "config") == 0 && !json_is_string(value))
            st = gpulet_fail(err, GPULET_E_INVALID, "parameters.config: expected a string of JSON");
        else if (strcmp(key, "config") == 0)
            st = gpulet_config_json_to_pbtxt(out, json_string_value(value),
                                             json_string_length(value), err);
    }
    json_decref(root);
    return st;
}

static gpulet_status_t begin_load(gpulet_server_t *server, const char *name, const char *body,
                                  size_t size, bool *anything, gpulet_error_t *err)
{
    gpulet_buf_t config = GPULET_BUF_INIT;
    gpulet_status_t st = parse_load_request(&config, body, size, err);
    if (st == GPULET_OK)
        st = server_reload_begin(server, name, config.data, anything, err);
    gpulet_buf_deinit(&config);
    return st;
}

/* What take_version asked for could not be planned. */
static void give_up_load(gpulet_server_t *server, const char *name)
{
    server_reload_abandon(server, name);
    for (uint32_t i = 0; i < server->named_count; i++) {
        server_model_t *model = server->named[i];
        if (strcmp(model->entry->name, name) != 0)
            continue;
        if (model->ensemble != NULL)
            server_ensemble_give_up(model);
        if (model->state != SERVER_MODEL_LOADING || model->ensemble != NULL)
            continue;
        model->state = SERVER_MODEL_UNAVAILABLE;
        (void)snprintf(model->reason, sizeof(model->reason), "the last load could not be planned");
    }
}

/* A plan begun now would keep the server from its end. */
static bool refuse_while_ending(gpulet_server_t *server, gpulet_http_request_t *http)
{
    if (server->draining || server->stop)
        server_respond_error(http, 503, "the server is shutting down");
    return server->draining || server->stop;
}

void server_repository_load(gpulet_server_t *server, gpulet_http_request_t *http, const char *name,
                            const char *body, size_t size)
{
    gpulet_error_t err = {""};
    bool anything = false;
    bool known = server_model_find(server, name, strlen(name), NULL) != NULL;
    if (refuse_while_ending(server, http))
        return;
    gpulet_status_t st = begin_load(server, name, body, size, &anything, &err);
    if (st == GPULET_E_NOT_FOUND && !known) {
        char text[GPULET_MODEL_NAME_MAX + 64];
        (void)snprintf(text, sizeof(text), "Request for unknown model: '%s' is not found", name);
        server_respond_error(http, 404, text);
    } else if (st != GPULET_OK) {
        fail_load(http, st == GPULET_E_NOT_FOUND ? GPULET_E_INVALID : st, name, err.text);
    } else if (!anything) {
        answer_done(http);
    } else if (!replan_and_wait(server, http, name, true)) {
        give_up_load(server, name);
    }
}

static void set_state(gpulet_server_t *server, const char *name, bool unloaded)
{
    for (uint32_t i = 0; i < server->named_count; i++) {
        server_model_t *model = server->named[i];
        if (strcmp(model->entry->name, name) != 0)
            continue;
        if (model->ensemble != NULL) {
            server_ensemble_unload(model, unloaded);
        } else if (unloaded) {
            model->state = SERVER_MODEL_UNAVAILABLE;
            (void)snprintf(model->reason, sizeof(model->reason), "unloaded");
        } else if (model->entry->problem == NULL) {
            model->state = SERVER_MODEL_LOADING;
        }
    }
    server_ensembles_refresh(server);
}

/* Some version of the name is served or being loaded. */
static bool is_active(const gpulet_server_t *server, const char *name)
{
    for (uint32_t i = 0; i < server->models_count; i++) {
        const server_model_t *model = &server->models[i];
        if (model->role == SERVER_MODEL_COMING && strcmp(model->entry->name, name) == 0)
            return true;
        if (model->role == SERVER_MODEL_CURRENT && model->state != SERVER_MODEL_UNAVAILABLE &&
            strcmp(model->entry->name, name) == 0)
            return true;
    }
    return false;
}

void server_repository_unload(gpulet_server_t *server, gpulet_http_request_t *http,
                              const char *name, const char *body, size_t size)
{
    gpulet_buf_t ignored = GPULET_BUF_INIT;
    gpulet_error_t err = {""};
    if (refuse_while_ending(server, http))
        return;
    gpulet_status_t st = parse_load_request(&ignored, body, size, &err);
    gpulet_buf_deinit(&ignored);
    if (st != GPULET_OK) {
        server_respond_status(http, st, err.text);
        return;
    }
    if (server_model_find(server, name, strlen(name), NULL) == NULL) {
        char text[GPULET_MODEL_NAME_MAX + 64];
        (void)snprintf(text, sizeof(text), "Request for unknown model: '%s' is not found", name);
        server_respond_error(http, 404, text);
        return;
    }
    if (!is_active(server, name)) {
        answer_done(http);
        return;
    }
    server_reload_abandon(server, name);
    set_state(server, name, true);
    if (!replan_and_wait(server, http, name, false)) {
        set_state(server, name, false); /* its gpu-lets go on, so it does */
        server_gpulets_refresh_models(server);
    }
}

static void note_failure(gpulet_server_t *server, const server_model_t *model)
{
    for (server_waiter_t *w = server->waiters; w != NULL; w = w->next) {
        if (w->load && strcmp(w->name, model->entry->name) == 0)
            (void)snprintf(w->reason, sizeof(w->reason), "%s",
                           model->reason[0] != '\0' ? model->reason
                                                    : "no worker could be started for it");
    }
}

/* What was to be loaded as it was before, and was not: not wanted in the plans to come either, or
 * it would spoil them too. */
static void note_not_loaded(gpulet_server_t *server, const server_waiter_t *waiter)
{
    for (uint32_t i = 0; i < server->named_count; i++) {
        server_model_t *model = server->named[i];
        if (strcmp(model->entry->name, waiter->name) != 0)
            continue;
        if (model->state == SERVER_MODEL_LOADING && model->ensemble == NULL) {
            model->state = SERVER_MODEL_UNAVAILABLE;
            (void)snprintf(model->reason, sizeof(model->reason),
                           "no worker could be started for it");
        }
        if (model->state == SERVER_MODEL_UNAVAILABLE)
            note_failure(server, model);
    }
}

static void note_event(gpulet_server_t *server, const server_waiter_t *waiter)
{
    server_event_t event = {
        .kind = waiter->load ? SERVER_EVENT_MODEL_LOADED : SERVER_EVENT_MODEL_UNLOADED,
        .reason = GPULET_FOLLOW_MODELS,
        .outcome = waiter->reason[0] == '\0' ? SERVER_OUTCOME_REACHED : SERVER_OUTCOME_FAILED,
        .devices_before = server_devices_used(server),
        .devices_after = server_devices_used(server),
        .headroom = server_follow_headroom(server),
        .shortfall = server_follow_shortfall(server)};
    (void)snprintf(event.text, sizeof(event.text), "%.*s", SERVER_EVENT_TEXT_MAX,
                   waiter->reason[0] != '\0' ? waiter->reason : waiter->name);
    server_events_add(server->events, &event);
}

static void answer(gpulet_server_t *server, server_waiter_t *waiter)
{
    note_event(server, waiter);
    if (waiter->unplanned)
        server_respond_status(waiter->http, GPULET_E_UNAVAILABLE, waiter->reason);
    else if (waiter->reason[0] != '\0')
        fail_load(waiter->http, GPULET_E_INVALID, waiter->name, waiter->reason);
    else
        answer_done(waiter->http);
    free(waiter);
}

void server_repository_switched(gpulet_server_t *server)
{
    server_reload_settle(server, note_failure);
    for (const server_waiter_t *w = server->waiters; w != NULL; w = w->next) {
        if (w->load && w->reason[0] == '\0')
            note_not_loaded(server, w);
    }
    while (server->waiters != NULL) {
        server_waiter_t *waiter = server->waiters;
        server->waiters = waiter->next;
        answer(server, waiter);
    }
}

/* The plan with it is served, nothing of the model is still to come, and no later change of it is
 * waited for. */
static bool is_done(const gpulet_server_t *server, const server_waiter_t *waiter, uint64_t seen)
{
    bool done = waiter->seq <= seen;
    for (const server_waiter_t *w = server->waiters; w != NULL; w = w->next)
        done &= w->seq <= waiter->seq || strcmp(w->name, waiter->name) != 0;
    for (uint32_t i = 0; i < server->models_count && done; i++) {
        const server_model_t *model = &server->models[i];
        done = model->role != SERVER_MODEL_COMING || strcmp(model->entry->name, waiter->name) != 0;
    }
    return done;
}

void server_repository_advanced(gpulet_server_t *server, uint64_t seen)
{
    server_reload_promote(server);
    for (server_waiter_t **at = &server->waiters; *at != NULL;) {
        server_waiter_t *waiter = *at;
        if (!is_done(server, waiter, seen)) {
            at = &waiter->next;
            continue;
        }
        *at = waiter->next;
        if (waiter->load)
            note_not_loaded(server, waiter);
        answer(server, waiter);
    }
}

/* Changes that the plan being reached does not know of are undone; without one, nothing is left to
 * wait for. */
void server_repository_failed(gpulet_server_t *server, const char *why)
{
    uint64_t known = server->switching ? server->transition.models_seen : 0;
    for (server_waiter_t **at = &server->waiters; *at != NULL;) {
        server_waiter_t *waiter = *at;
        if (waiter->seq <= known) {
            at = &waiter->next;
            continue;
        }
        *at = waiter->next;
        if (waiter->load) {
            give_up_load(server, waiter->name);
        } else {
            set_state(server, waiter->name, false); /* its gpu-lets go on, so it does */
            server_gpulets_refresh_models(server);
        }
        waiter->unplanned = true;
        (void)snprintf(waiter->reason, sizeof(waiter->reason), "%s", why);
        answer(server, waiter);
    }
}

void server_repository_finished(gpulet_server_t *server, gpulet_http_request_t *http)
{
    for (server_waiter_t **at = &server->waiters; *at != NULL; at = &(*at)->next) {
        server_waiter_t *waiter = *at;
        if (waiter->http != http)
            continue;
        *at = waiter->next;
        free(waiter);
        return;
    }
}
