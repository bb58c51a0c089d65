/* HTTP routes: one table of methods and path patterns. A pattern's {m} is a model name, {v} a
 * version number, {r} the name of the repository, which is not looked at; paths are matched whole,
 * the query is ignored (docs/protocol.md). */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"
#include "server/internal.h"
#include "server/route.h"

enum { ADMIN_BODY_MAX = 1 << 20 };

typedef struct route {
    const char *path;
    gpulet_http_method_t method;
    bool body; /* the handler runs when the (small) body is there */
    void (*handle)(gpulet_server_t *server, gpulet_http_request_t *http,
                   const server_route_t *match, const char *body, size_t size);
} route_t;

/* ---- answers ---- */

void server_respond_error(gpulet_http_request_t *http, int status, const char *text)
{
    static char nothing[] = "{}";
    gpulet_buf_t body = GPULET_BUF_INIT;
    gpulet_oip_error_write(&body, text);
    const gpulet_http_field_t retry_after = {"Retry-After", "1"};
    struct iovec part = {nothing, strlen(nothing)};
    if (gpulet_buf_status(&body) == GPULET_OK)
        part = (struct iovec){body.data, body.size};
    const gpulet_http_answer_t answer = {.status = status,
                                         .content_type = "application/json",
                                         .fields = &retry_after,
                                         .fields_count = status == 503 ? 1 : 0,
                                         .parts = &part,
                                         .parts_count = 1,
                                         .release = free,
                                         .release_context = body.data};
    gpulet_http_respond(http, &answer);
}

void server_respond_status(gpulet_http_request_t *http, gpulet_status_t status, const char *text)
{
    server_respond_error(http, gpulet_status_http(status), text);
}

void server_respond_buf(gpulet_http_request_t *http, gpulet_buf_t *body)
{
    if (gpulet_buf_status(body) != GPULET_OK)
        server_respond_error(http, 503, "out of memory");
    else
        gpulet_http_respond_text(http, 200, "application/json",
                                 body->data != NULL ? body->data : "", body->size);
    gpulet_buf_deinit(body);
}

static void respond_json(gpulet_http_request_t *http, const char *json)
{
    gpulet_http_respond_text(http, 200, "application/json", json, strlen(json));
}

/* ---- model of a path ---- */

static server_model_t *model_of(gpulet_server_t *server, gpulet_http_request_t *http,
                                const server_route_t *match)
{
    char text[GPULET_MODEL_NAME_MAX + 128];
    server_model_t *model = server_model_find(server, match->name, strlen(match->name),
                                              match->version[0] != '\0' ? match->version : NULL);
    if (model != NULL)
        return model;
    if (match->version[0] != '\0' &&
        server_model_find(server, match->name, strlen(match->name), NULL) != NULL)
        (void)snprintf(text, sizeof(text),
                       "Request for unknown model: '%s' version %s is not found", match->name,
                       match->version);
    else
        (void)snprintf(text, sizeof(text), "Request for unknown model: '%s' is not found",
                       match->name);
    server_respond_error(http, 404, text);
    return NULL;
}

static bool refuse_unavailable(gpulet_http_request_t *http, const server_model_t *model)
{
    char text[700];
    if (model->state != SERVER_MODEL_UNAVAILABLE)
        return false;
    (void)snprintf(text, sizeof(text),
                   "Request for unknown model: '%s' has no available versions (%s)",
                   model->entry->name, model->reason);
    server_respond_error(http, 400, text);
    return true;
}

/* ---- handlers ---- */

static void handle_root(gpulet_server_t *server, gpulet_http_request_t *http,
                        const server_route_t *match, const char *body, size_t size)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    (void)match;
    (void)body;
    (void)size;
    gpulet_buf_printf(&out,
                      "{\"name\":\"gpulet\",\"version\":\"%s\",\"ready\":%s,\"models\":%u,"
                      "\"api\":{\"inference\":\"/v2\",\"status\":\"/gpulet/v1/status\",\"plan\":\"/"
                      "gpulet/v1/plan\",\"page\":\"/gpulet/\"},"
                      "\"documentation\":\"docs/README.md of the installation; GET /v2 for the "
                      "Open Inference Protocol v2\"}\n",
                      GPULET_VERSION, server->ready ? "true" : "false", server->named_count);
    server_respond_buf(http, &out);
}

static void handle_metadata(gpulet_server_t *server, gpulet_http_request_t *http,
                            const server_route_t *match, const char *body, size_t size)
{
    (void)server;
    (void)match;
    (void)body;
    (void)size;
    respond_json(http, "{\"name\":\"gpulet\",\"version\":\"" GPULET_VERSION
                       "\",\"extensions\":[\"classification\",\"model_repository\","
                       "\"model_configuration\",\"binary_tensor_data\",\"parameters\",\"schedule_"
                       "policy\",\"statistics\"]}");
}

static void handle_live(gpulet_server_t *server, gpulet_http_request_t *http,
                        const server_route_t *match, const char *body, size_t size)
{
    (void)server;
    (void)match;
    (void)body;
    (void)size;
    respond_json(http, "{\"live\":true}");
}

static void handle_ready(gpulet_server_t *server, gpulet_http_request_t *http,
                         const server_route_t *match, const char *body, size_t size)
{
    (void)match;
    (void)body;
    (void)size;
    if (server->ready && !server->draining)
        respond_json(http, "{\"ready\":true}");
    else
        gpulet_http_respond_text(http, 400, "application/json", "{\"ready\":false}",
                                 strlen("{\"ready\":false}"));
}

static void handle_model_ready(gpulet_server_t *server, gpulet_http_request_t *http,
                               const server_route_t *match, const char *body, size_t size)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    server_model_t *model = model_of(server, http, match);
    (void)body;
    (void)size;
    if (model == NULL)
        return;
    if (model->state != SERVER_MODEL_READY) {
        server_respond_error(http, 400, "Model version not ready");
        return;
    }
    gpulet_buf_append_str(&out, "{\"name\":");
    gpulet_json_string(&out, model->entry->name, strlen(model->entry->name));
    gpulet_buf_append_str(&out, ",\"ready\":true}");
    server_respond_buf(http, &out);
}

static void handle_model(gpulet_server_t *server, gpulet_http_request_t *http,
                         const server_route_t *match, const char *body, size_t size)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    int64_t versions[64];
    size_t count = 0;
    server_model_t *model = model_of(server, http, match);
    (void)body;
    (void)size;
    if (model == NULL || refuse_unavailable(http, model))
        return;
    for (uint32_t i = 0; i < server->named_count && count < sizeof(versions) / sizeof(versions[0]);
         i++) {
        if (strcmp(server->named[i]->entry->name, model->entry->name) == 0)
            versions[count++] = server->named[i]->entry->version;
    }
    if (gpulet_oip_metadata_write(&out, &model->entry->config, versions, count) != GPULET_OK)
        out.failed = true;
    server_respond_buf(http, &out);
}

static void handle_config(gpulet_server_t *server, gpulet_http_request_t *http,
                          const server_route_t *match, const char *body, size_t size)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    server_model_t *model = model_of(server, http, match);
    (void)body;
    (void)size;
    if (model == NULL || refuse_unavailable(http, model))
        return;
    if (gpulet_oip_config_write(&out, &model->entry->config) != GPULET_OK)
        out.failed = true;
    server_respond_buf(http, &out);
}

static void write_duration(gpulet_buf_t *out, const char *name, const server_duration_t *d,
                           bool last)
{
    gpulet_buf_printf(out, "\"%s\":{\"count\":%llu,\"ns\":%llu}%s", name,
                      (unsigned long long)d->count, (unsigned long long)d->ns, last ? "" : ",");
}

static void write_batch_stats(gpulet_buf_t *out, const server_model_t *model)
{
    bool first = true;
    for (uint32_t b = 0; b <= model->batch_max; b++) {
        const server_batch_stats_t *s = &model->batches[b];
        if (s->count == 0)
            continue;
        gpulet_buf_printf(out, "%s{\"batch_size\":%u,", first ? "" : ",", b);
        write_duration(out, "compute_input", &(server_duration_t){s->count, s->input_ns}, false);
        write_duration(out, "compute_infer", &(server_duration_t){s->count, s->exec_ns}, false);
        write_duration(out, "compute_output", &(server_duration_t){s->count, s->output_ns}, true);
        gpulet_buf_append_char(out, '}');
        first = false;
    }
}

static void write_model_stats(gpulet_buf_t *out, const server_model_t *model)
{
    const server_duration_t none = {0, 0};
    gpulet_buf_append_str(out, "{\"name\":");
    gpulet_json_string(out, model->entry->name, strlen(model->entry->name));
    gpulet_buf_printf(out,
                      ",\"version\":\"%s\",\"last_inference\":%llu,\"inference_count\":%llu,"
                      "\"execution_count\":%llu,",
                      model->version_text, (unsigned long long)model->last_inference_ms,
                      (unsigned long long)model->inference_count,
                      (unsigned long long)model->execution_count);
    gpulet_buf_append_str(out, "\"inference_stats\":{");
    write_duration(out, "success", &model->success, false);
    write_duration(out, "fail", &model->fail, false);
    write_duration(out, "queue", &model->queue, false);
    write_duration(out, "compute_input", &model->compute_input, false);
    write_duration(out, "compute_infer", &model->compute_infer, false);
    write_duration(out, "compute_output", &model->compute_output, false);
    write_duration(out, "cache_hit", &none, false);
    write_duration(out, "cache_miss", &none, true);
    gpulet_buf_append_str(out, "},\"response_stats\":{},\"batch_stats\":[");
    write_batch_stats(out, model);
    gpulet_buf_printf(out, "],\"memory_usage\":[{\"type\":\"CPU\",\"id\":0,\"byte_size\":%llu}]}",
                      (unsigned long long)model->memory_bytes);
}

static void handle_stats(gpulet_server_t *server, gpulet_http_request_t *http,
                         const server_route_t *match, const char *body, size_t size)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    char text[GPULET_MODEL_NAME_MAX + 64];
    bool first = true;
    (void)body;
    (void)size;
    gpulet_buf_append_str(&out, "{\"model_stats\":[");
    for (uint32_t i = 0; i < server->named_count; i++) {
        const server_model_t *model = server->named[i];
        if (model->state == SERVER_MODEL_UNAVAILABLE ||
            (match->name[0] != '\0' && strcmp(match->name, model->entry->name) != 0) ||
            (match->version[0] != '\0' && strcmp(match->version, model->version_text) != 0))
            continue;
        if (!first)
            gpulet_buf_append_char(&out, ',');
        write_model_stats(&out, model);
        first = false;
    }
    gpulet_buf_append_str(&out, "]}");
    if (first && match->name[0] != '\0') {
        gpulet_buf_deinit(&out);
        (void)snprintf(text, sizeof(text), "requested model '%s' is not available", match->name);
        server_respond_error(http, 400, text);
        return;
    }
    server_respond_buf(http, &out);
}

static void handle_index(gpulet_server_t *server, gpulet_http_request_t *http,
                         const server_route_t *match, const char *body, size_t size)
{
    (void)match;
    server_repository_index(server, http, body, size);
}

static void handle_load(gpulet_server_t *server, gpulet_http_request_t *http,
                        const server_route_t *match, const char *body, size_t size)
{
    server_repository_load(server, http, match->name, body, size);
}

static void handle_unload(gpulet_server_t *server, gpulet_http_request_t *http,
                          const server_route_t *match, const char *body, size_t size)
{
    server_repository_unload(server, http, match->name, body, size);
}

static void handle_infer(gpulet_server_t *server, gpulet_http_request_t *http,
                         const server_route_t *match, const char *body, size_t size)
{
    server_model_t *model = model_of(server, http, match);
    (void)body;
    (void)size;
    if (model != NULL && !refuse_unavailable(http, model))
        server_infer_begin(server, http, model);
}

static void handle_plan(gpulet_server_t *server, gpulet_http_request_t *http,
                        const server_route_t *match, const char *body, size_t size)
{
    (void)match;
    (void)body;
    (void)size;
    server_admin_plan(server, http);
}

static void handle_put_plan(gpulet_server_t *server, gpulet_http_request_t *http,
                            const server_route_t *match, const char *body, size_t size)
{
    (void)match;
    server_admin_put_plan(server, http, body, size);
}

static void handle_replan(gpulet_server_t *server, gpulet_http_request_t *http,
                          const server_route_t *match, const char *body, size_t size)
{
    (void)match;
    server_admin_replan(server, http, body, size);
}

static void handle_rates(gpulet_server_t *server, gpulet_http_request_t *http,
                         const server_route_t *match, const char *body, size_t size)
{
    (void)match;
    (void)body;
    (void)size;
    server_admin_rates(server, http);
}

static void handle_pin(gpulet_server_t *server, gpulet_http_request_t *http,
                       const server_route_t *match, const char *body, size_t size)
{
    (void)match;
    server_admin_pin(server, http, body, size);
}

static void handle_events(gpulet_server_t *server, gpulet_http_request_t *http,
                          const server_route_t *match, const char *body, size_t size)
{
    (void)match;
    (void)body;
    (void)size;
    server_admin_events(server, http);
}

static void handle_status(gpulet_server_t *server, gpulet_http_request_t *http,
                          const server_route_t *match, const char *body, size_t size)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    (void)match;
    (void)body;
    (void)size;
    if (server_status_write(&out, server) != GPULET_OK)
        out.failed = true;
    server_respond_buf(http, &out);
}

/* The status as a picture, for a browser. */
static void handle_page(gpulet_server_t *server, gpulet_http_request_t *http,
                        const server_route_t *match, const char *body, size_t size)
{
    (void)server;
    (void)match;
    (void)body;
    (void)size;
    gpulet_http_respond_text(http, 200, "text/html; charset=utf-8", (const char *)server_page,
                             server_page_size);
}

static const route_t routes[] = {
    {"/v2/models/{m}/infer", GPULET_HTTP_POST, false, handle_infer},
    {"/v2/models/{m}/versions/{v}/infer", GPULET_HTTP_POST, false, handle_infer},
    {"/", GPULET_HTTP_GET, false, handle_root},
    {"/v2", GPULET_HTTP_GET, false, handle_metadata},
    {"/v2/health/live", GPULET_HTTP_GET, false, handle_live},
    {"/v2/health/ready", GPULET_HTTP_GET, false, handle_ready},
    {"/v2/models/stats", GPULET_HTTP_GET, false, handle_stats},
    {"/v2/models/{m}", GPULET_HTTP_GET, false, handle_model},
    {"/v2/models/{m}/versions/{v}", GPULET_HTTP_GET, false, handle_model},
    {"/v2/models/{m}/ready", GPULET_HTTP_GET, false, handle_model_ready},
    {"/v2/models/{m}/versions/{v}/ready", GPULET_HTTP_GET, false, handle_model_ready},
    {"/v2/models/{m}/config", GPULET_HTTP_GET, false, handle_config},
    {"/v2/models/{m}/versions/{v}/config", GPULET_HTTP_GET, false, handle_config},
    {"/v2/models/{m}/stats", GPULET_HTTP_GET, false, handle_stats},
    {"/v2/models/{m}/versions/{v}/stats", GPULET_HTTP_GET, false, handle_stats},
    {"/v2/repository/index", GPULET_HTTP_POST, true, handle_index},
    {"/v2/repository/models/{m}/load", GPULET_HTTP_POST, true, handle_load},
    {"/v2/repository/models/{m}/unload", GPULET_HTTP_POST, true, handle_unload},
    {"/v2/repository/{r}/index", GPULET_HTTP_POST, true, handle_index},
    {"/v2/repository/{r}/models/{m}/load", GPULET_HTTP_POST, true, handle_load},
    {"/v2/repository/{r}/models/{m}/unload", GPULET_HTTP_POST, true, handle_unload},
    {"/gpulet/", GPULET_HTTP_GET, false, handle_page},
    {"/gpulet/v1/plan", GPULET_HTTP_GET, false, handle_plan},
    {"/gpulet/v1/plan", GPULET_HTTP_POST, true, handle_put_plan},
    {"/gpulet/v1/replan", GPULET_HTTP_POST, true, handle_replan},
    {"/gpulet/v1/rates", GPULET_HTTP_GET, false, handle_rates},
    {"/gpulet/v1/rates", GPULET_HTTP_POST, true, handle_pin},
    {"/gpulet/v1/events", GPULET_HTTP_GET, false, handle_events},
    {"/gpulet/v1/status", GPULET_HTTP_GET, false, handle_status},
};

enum { ROUTES_COUNT = sizeof(routes) / sizeof(routes[0]) };

/* ---- matching ---- */

static const route_t *find_route(server_route_t *match, bool *path_known,
                                 gpulet_http_method_t method, const char *path)
{
    *path_known = false;
    for (size_t i = 0; i < ROUTES_COUNT; i++) {
        bool fits = routes[i].method == method ||
                    (routes[i].method == GPULET_HTTP_GET && method == GPULET_HTTP_HEAD);
        if (!server_route_match(match, routes[i].path, path))
            continue;
        if (fits)
            return &routes[i];
        *path_known = true;
    }
    return NULL;
}

static void on_request(void *context, gpulet_http_request_t *http)
{
    gpulet_server_t *server = context;
    server_route_t match;
    bool path_known = false;
    const route_t *route =
        find_route(&match, &path_known, gpulet_http_method(http), gpulet_http_path(http));
    gpulet_http_set_user(http, NULL);
    if (route == NULL)
        server_respond_error(http, path_known ? 405 : 404,
                             path_known ? "Method Not Allowed" : "Not Found");
    else if (route->body)
        gpulet_http_body_collect(http, ADMIN_BODY_MAX);
    else
        route->handle(server, http, &match, NULL, 0);
}

static void on_body_filled(void *context, gpulet_http_request_t *http)
{
    (void)context;
    server_infer_filled(gpulet_http_user(http));
}

static void on_body(void *context, gpulet_http_request_t *http, char *data, size_t size)
{
    server_route_t match;
    bool path_known = false;
    if (gpulet_http_user(http) != NULL) {
        server_infer_body(gpulet_http_user(http), data, size);
        return;
    }
    const route_t *route =
        find_route(&match, &path_known, gpulet_http_method(http), gpulet_http_path(http));
    assert(route != NULL);
    route->handle(context, http, &match, data, size);
}

static void on_gone(void *context, gpulet_http_request_t *http)
{
    (void)context;
    if (gpulet_http_user(http) != NULL)
        server_infer_gone(gpulet_http_user(http));
}

static void request_finished(gpulet_server_t *server, gpulet_http_request_t *http)
{
    server_repository_finished(server, http);
    server_admin_finished(server, http);
}

static void on_finished(void *context, gpulet_http_request_t *http)
{
    if (gpulet_http_user(http) != NULL)
        server_infer_finished(gpulet_http_user(http));
    else
        request_finished(context, http);
}

static void format_error(void *context, char *out, size_t out_size, int status, const char *text)
{
    (void)context;
    (void)status;
    (void)snprintf(out, out_size, "{\"error\":\"%s\"}", text);
}

/* ---- metrics port ---- */

static void on_metrics_request(void *context, gpulet_http_request_t *http)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    gpulet_http_method_t method = gpulet_http_method(http);
    gpulet_http_set_user(http, NULL);
    if (strcmp(gpulet_http_path(http), "/metrics") != 0) {
        server_respond_error(http, 404, "Not Found");
        return;
    }
    if (method != GPULET_HTTP_GET && method != GPULET_HTTP_HEAD) {
        server_respond_error(http, 405, "Method Not Allowed");
        return;
    }
    server_metrics_write(&out, context);
    if (gpulet_buf_status(&out) != GPULET_OK)
        server_respond_error(http, 503, "out of memory");
    else
        gpulet_http_respond_text(http, 200, "text/plain; charset=utf-8", out.data, out.size);
    gpulet_buf_deinit(&out);
}

static void ignore_request(void *context, gpulet_http_request_t *http)
{
    (void)context;
    (void)http;
}

gpulet_status_t server_api_open(gpulet_server_t *server, gpulet_error_t *err)
{
    const gpulet_settings_t *s = &server->settings;
    gpulet_http_limits_t limits = {
        .connections_max = (uint32_t)s->http_connections_max,
        .head_bytes_max = (uint32_t)s->http_head_bytes_max,
        .headers_max = (uint32_t)s->http_headers_max,
        .body_bytes_max = s->http_body_mb_max << 20,
        .head_timeout_ms = (uint32_t)s->http_head_timeout_ms,
        .body_timeout_ms = (uint32_t)s->http_body_timeout_ms,
        .idle_timeout_ms = (uint32_t)s->http_idle_timeout_ms,
        .send_timeout_ms = (uint32_t)s->http_send_timeout_ms,
    };
    gpulet_http_handler_t api = {server,  on_request,  on_body_filled, on_body,
                                 on_gone, on_finished, format_error};
    gpulet_http_handler_t metrics = {server,         on_metrics_request, NULL,        NULL,
                                     ignore_request, ignore_request,     format_error};
    gpulet_status_t st = gpulet_http_server_create(&server->http, server->base, s->address,
                                                   (uint16_t)s->http_port, &limits, &api, err);
    if (st == GPULET_OK)
        st = gpulet_http_server_create(&server->metrics_http, server->base, s->address,
                                       (uint16_t)s->metrics_port, &limits, &metrics, err);
    return st;
}

void server_api_close(gpulet_server_t *server)
{
    gpulet_http_server_destroy(server->http);
    gpulet_http_server_destroy(server->metrics_http);
    server->http = NULL;
    server->metrics_http = NULL;
}
