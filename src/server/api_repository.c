/* Models at run time: listed, loaded and unloaded. A load or an unload is a new plan; the request
 * is answered when that is served. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/log.h"
#include "server/internal.h"

/* A request that waits for the plan being switched to. */
struct server_waiter {
    server_waiter_t *next;
    gpulet_http_request_t *http;
    server_model_t *model;
    bool load;
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
    for (uint32_t i = 0; i < server->models_count; i++) {
        const server_model_t *model = &server->models[i];
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

/* Plans for the models as they are wanted now, and waits for that plan. False, and answered, when
 * that is not possible. */
static bool replan_and_wait(gpulet_server_t *server, gpulet_http_request_t *http,
                            server_model_t *model, bool load)
{
    gpulet_error_t err = {"out of memory"};
    gpulet_plan_t *plan = NULL;
    bool provisional = false;
    server_waiter_t *waiter = calloc(1, sizeof(*waiter));
    gpulet_status_t st =
        waiter != NULL ? server_planning_make(&plan, &provisional, server, &err) : GPULET_E_NOMEM;
    if (st == GPULET_OK)
        st = server_gpulets_apply(server, plan, &err);
    if (st != GPULET_OK) {
        free(waiter);
        server_respond_status(http, GPULET_E_UNAVAILABLE, err.text);
        return false;
    }
    if (provisional && server->settings.calibrate)
        server->calibration_wanted = true; /* begins when the one in progress has ended */
    *waiter = (server_waiter_t){server->waiters, http, model, load};
    server->waiters = waiter;
    GPULET_LOG(INFO, "event=%s model=%s", load ? "load_begin" : "unload_begin", model->entry->key);
    server_gpulets_step(server);
    return true;
}

void server_repository_load(gpulet_server_t *server, gpulet_http_request_t *http,
                            server_model_t *model)
{
    char text[700];
    if (model->entry->problem != NULL) {
        (void)snprintf(text, sizeof(text), "failed to load '%s': %s", model->entry->name,
                       model->entry->problem);
        server_respond_error(http, 400, text);
    } else if (model->state == SERVER_MODEL_READY) {
        answer_done(http);
    } else {
        server_model_state_t before = model->state;
        model->state = SERVER_MODEL_LOADING;
        model->reason[0] = '\0';
        if (replan_and_wait(server, http, model, true))
            return;
        model->state = before;
        (void)snprintf(model->reason, sizeof(model->reason), "the last load could not be planned");
    }
}

void server_repository_unload(gpulet_server_t *server, gpulet_http_request_t *http,
                              server_model_t *model)
{
    if (model->state == SERVER_MODEL_UNAVAILABLE) {
        answer_done(http);
        return;
    }
    server_model_state_t before = model->state;
    model->state = SERVER_MODEL_UNAVAILABLE;
    if (replan_and_wait(server, http, model, false))
        (void)snprintf(model->reason, sizeof(model->reason), "unloaded");
    else
        model->state = before;
}

void server_repository_switched(gpulet_server_t *server)
{
    while (server->waiters != NULL) {
        char text[700];
        server_waiter_t waiter = *server->waiters;
        free(server->waiters);
        server->waiters = waiter.next;
        if (waiter.load && waiter.model->state == SERVER_MODEL_LOADING) {
            /* Not wanted in the plans to come either, or it would spoil them too. */
            waiter.model->state = SERVER_MODEL_UNAVAILABLE;
            (void)snprintf(waiter.model->reason, sizeof(waiter.model->reason),
                           "no worker could be started for it");
        }
        if (waiter.load && waiter.model->state != SERVER_MODEL_READY) {
            (void)snprintf(text, sizeof(text), "failed to load '%s': %s", waiter.model->entry->name,
                           waiter.model->reason);
            server_respond_error(waiter.http, 400, text);
        } else {
            answer_done(waiter.http);
        }
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
