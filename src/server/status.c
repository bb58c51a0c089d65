/* GET /gpulet/v1/status: what the server does now, for `gpulet status` and people. */
#include <math.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/version.h"
#include "proto/json_write.h"
#include "server/follow.h"

/* A reason may hold a path, or have been cut inside a character. */
static json_t *text_json(const char *text)
{
    json_t *value = json_string(text);
    return value != NULL ? value : json_string("(not UTF-8)");
}

/* The steps of an ensemble; null for a model. */
static json_t *steps_json(const server_model_t *model)
{
    const gpulet_app_t *app = model->entry->config.app;
    if (app == NULL)
        return json_null();
    json_t *steps = json_array();
    for (size_t i = 0; i < app->stages_count; i++)
        (void)json_array_append_new(steps,
                                    json_pack("{s:o, s:o}", "step", text_json(app->stages[i].name),
                                              "model", text_json(app->stages[i].model)));
    return steps;
}

/* What is asked of an ensemble is followed as what is asked of its models. */
static json_t *rate_json(const server_model_t *model, double rate_rps)
{
    return model->ensemble != NULL ? json_null() : json_real(rate_rps);
}

static json_t *model_json(gpulet_server_t *server, const server_model_t *model)
{
    static const char *const states[] = {"loading", "ready", "unavailable"};
    gpulet_sched_model_stats_t stats;
    uint64_t rejected = 0;
    server_model_stats(server, model, &stats);
    for (int r = 0; r < GPULET_REJECT_COUNT; r++)
        rejected += stats.rejected[r];
    uint64_t settled = stats.offered - stats.cancelled - stats.waiting - stats.running;
    double p50 =
        model->latency_ns != NULL ? (double)gpulet_hist_quantile(model->latency_ns, 0.5) / 1e6 : 0;
    double p99 =
        model->latency_ns != NULL ? (double)gpulet_hist_quantile(model->latency_ns, 0.99) / 1e6 : 0;
    double p999 = model->latency_ns != NULL
                      ? (double)gpulet_hist_quantile(model->latency_ns, 0.999) / 1e6
                      : 0;
    gpulet_follow_rate_t rate;
    server_follow_rate(server, model, &rate);
    return json_pack(
        "{s:o, s:s, s:s, s:o, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:f, "
        "s:f, s:f, s:f, s:f, s:b, s:o, s:o, s:o, s:o, s:f, s:o}",
        "model", text_json(model->entry->name), "version", model->version_text, "state",
        states[model->state], "reason", text_json(model->reason), "slo_ms", model->slo_ms,
        "rate_rps", model->rate_rps, "offered", (json_int_t)stats.offered, "in_time",
        (json_int_t)stats.in_time, "late", (json_int_t)stats.late, "rejected", (json_int_t)rejected,
        "failed", (json_int_t)stats.failed, "cancelled", (json_int_t)stats.cancelled, "waiting",
        (int)stats.waiting, "running", (int)stats.running, "attainment",
        settled > 0 ? (double)stats.in_time / (double)settled : 1.0, "latency_ms_p50", p50,
        "latency_ms_p99", p99, "latency_ms_p999", p999, "load_ms", (double)model->load_ns / 1e6,
        "prepared", (int)model->prepared, "rate_average_rps", rate_json(model, rate.average_rps),
        "rate_now_rps", rate_json(model, rate.now_rps), "rate_planned_rps",
        rate_json(model, rate.planned_rps), "rate_covered_rps", rate_json(model, rate.covered_rps),
        "step_slo_ms", model->stage_slo_ms, "steps", steps_json(model));
}

static json_t *gpulet_json(gpulet_server_t *server, const server_gpulet_t *g, uint64_t now_ns)
{
    json_t *models = json_array();
    for (uint32_t i = 0; i < g->services_count; i++) {
        const server_service_t *s = &g->services[i];
        uint64_t estimate =
            g->lane != SERVER_LANE_NONE
                ? gpulet_sched_estimate_ns(server->sched, g->lane, s->model, s->batch)
                : 0;
        (void)json_array_append_new(
            models, json_pack("{s:o, s:i, s:f, s:b, s:b, s:f}", "model",
                              text_json(server->models[s->model].entry->key), "batch",
                              (int)s->batch, "rate_rps", s->rate_rps, "loaded", (int)s->loaded,
                              "refused", (int)s->failed, "estimate_ms", (double)estimate / 1e6));
    }
    double served = g->serving_since_ns > 0 ? (double)(now_ns - g->serving_since_ns) : 0;
    return json_pack(
        "{s:s, s:s, s:i, s:i, s:s, s:s, s:i, s:f, s:f, s:I, s:i, s:o}", "name", g->name, "device",
        server->devices[g->device].desc.type, "index", (int)server->devices[g->device].desc.index,
        "units", (int)g->units, "place", server->backend->describe(g->partition), "state",
        server_gpulet_state_text(g->state), "pid",
        g->worker != NULL ? (int)gpulet_worker_pid(g->worker) : 0, "duty_ms", g->duty_ms, "busy",
        served > 0 ? (double)g->busy_ns / served : 0.0, "workers_lost", (json_int_t)g->lost_count,
        "borrowed_units", (int)g->borrowed_units, "models", models);
}

/* NULL where nothing is under way. */
static json_t *transition_json(const gpulet_server_t *server, uint64_t now_ns)
{
    const server_transition_t *t = &server->transition;
    int starting = 0;
    int loading = 0;
    if (!server->switching)
        return json_null();
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        starting += !g->retired && !g->running;
        loading += !g->retired ? (int)g->loads_pending : 0;
    }
    return json_pack("{s:s, s:f, s:i, s:i}", "reason", gpulet_follow_reason_text(t->reason),
                     "since_ms", (double)(now_ns - t->wanted_ns) / 1e6, "starting", starting,
                     "loading", loading);
}

static json_t *finite_json(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static void add_plan(json_t *root, const gpulet_server_t *server, uint64_t now_ns)
{
    const gpulet_plan_t *plan = server->plan;
    bool missed = plan != NULL && !plan->feasible && plan->reason[0] != '\0';
    (void)json_object_set_new(root, "plan_reason", missed ? text_json(plan->reason) : json_null());
    (void)json_object_set_new(root, "plan_percentile", json_real(server->note.percentile));
    (void)json_object_set_new(root, "plan_multiple", json_real(server->note.multiple));
    (void)json_object_set_new(root, "headroom", finite_json(server_follow_headroom(server)));
    (void)json_object_set_new(root, "shortfall", finite_json(server_follow_shortfall(server)));
    (void)json_object_set_new(root, "devices_used", json_integer(server_devices_used(server)));
    (void)json_object_set_new(root, "following", json_boolean(server->settings.follow));
    (void)json_object_set_new(root, "transition", transition_json(server, now_ns));
}

static json_t *device_json(const server_device_t *device)
{
    return json_pack("{s:s, s:i, s:i, s:s, s:s}", "type", device->desc.type, "index",
                     (int)device->desc.index, "units", (int)device->desc.units, "text",
                     device->desc.text, "state",
                     device->gone      ? "gone"
                     : device->failing ? "failing"
                                       : "there");
}

gpulet_status_t server_status_write(gpulet_buf_t *out, gpulet_server_t *server)
{
    uint64_t now_ns = gpulet_clock_ns();
    json_t *models = json_array();
    json_t *gpulets = json_array();
    json_t *devices = json_array();
    for (uint32_t i = 0; i < server->named_count; i++)
        (void)json_array_append_new(models, model_json(server, server->named[i]));
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next)
        (void)json_array_append_new(gpulets, gpulet_json(server, g, now_ns));
    for (uint32_t i = 0; i < server->devices_count; i++)
        (void)json_array_append_new(devices, device_json(&server->devices[i]));
    json_t *root =
        json_pack("{s:s, s:b, s:b, s:f, s:s, s:b, s:I, s:i, s:i, s:o, s:o, s:o}", "version",
                  GPULET_VERSION, "ready", (int)server->ready, "draining", (int)server->draining,
                  "uptime_s", (double)(now_ns - server->started_ns) / 1e9, "planner",
                  server->plan != NULL ? server->plan->planner : "", "feasible",
                  server->plan != NULL && server->plan->feasible, "replans",
                  (json_int_t)server->replans, "preparing", (int)server_prepared_pending(server),
                  "connections", (int)gpulet_http_server_connections(server->http), "devices",
                  devices, "gpulets", gpulets, "models", models);
    add_plan(root, server, now_ns);
    return gpulet_json_write(out, root, false);
}
