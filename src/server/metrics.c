/* The text for Prometheus: Triton's names kept exactly (docs/protocol.md), attainment and what else
 * is ours under gpulet_*. One table row a metric; each is a function of a model, a gpu-let or the
 * server. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "server/follow.h"
#include "server/metrics.h"

static void label_text(gpulet_buf_t *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            gpulet_buf_append_char(out, '\\');
        gpulet_buf_append_char(out, (char)(*text == '\n' ? ' ' : *text));
    }
}

void server_metrics_head(gpulet_buf_t *out, const char *name, const char *kind, const char *help)
{
    gpulet_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

static void model_labels(gpulet_buf_t *out, const char *name, const server_model_t *model,
                         const char *more)
{
    gpulet_buf_printf(out, "%s{model=\"", name);
    label_text(out, model->entry->name);
    gpulet_buf_printf(out, "\",version=\"%s\"%s} ", model->version_text, more);
}

typedef struct model_values {
    const server_model_t *model;
    gpulet_sched_model_stats_t sched;
} model_values_t;

typedef double (*model_value_fn)(const model_values_t *values);

static double success_count(const model_values_t *v)
{
    return (double)v->model->success.count;
}
static double inference_count(const model_values_t *v)
{
    return (double)v->model->inference_count;
}
static double execution_count(const model_values_t *v)
{
    return (double)v->model->execution_count;
}
static double whole_us(uint64_t ns)
{
    uint64_t us = ns / 1000;
    return (double)us;
}
static double request_us(const model_values_t *v)
{
    return whole_us(v->model->success.ns);
}
static double queue_us(const model_values_t *v)
{
    return whole_us(v->model->queue.ns);
}
static double input_us(const model_values_t *v)
{
    return whole_us(v->model->compute_input.ns);
}
static double infer_us(const model_values_t *v)
{
    return whole_us(v->model->compute_infer.ns);
}
static double output_us(const model_values_t *v)
{
    return whole_us(v->model->compute_output.ns);
}
static double pending(const model_values_t *v)
{
    return (double)v->sched.waiting;
}
static double load_seconds(const model_values_t *v)
{
    return (double)v->model->load_ns / 1e9;
}
static double slo_seconds(const model_values_t *v)
{
    return v->model->slo_ms / 1000.0;
}
static double offered(const model_values_t *v)
{
    return (double)v->sched.offered;
}
static double in_time(const model_values_t *v)
{
    return (double)v->sched.in_time;
}
static double attainment(const model_values_t *v)
{
    uint64_t counted = v->sched.offered - v->sched.cancelled - v->sched.waiting - v->sched.running;
    return counted == 0 ? 1.0 : (double)v->sched.in_time / (double)counted;
}
static double memory_bytes(const model_values_t *v)
{
    return (double)v->model->memory_bytes;
}
static double is_ready(const model_values_t *v)
{
    return v->model->state == SERVER_MODEL_READY ? 1 : 0;
}

typedef struct model_metric {
    const char *name;
    const char *kind;
    const char *help;
    model_value_fn value;
} model_metric_t;

static const model_metric_t model_metrics[] = {
    {"nv_inference_request_success", "counter",
     "Number of successful inference requests, all batch sizes", success_count},
    {"nv_inference_count", "counter",
     "Number of inferences performed (does not include cached requests)", inference_count},
    {"nv_inference_exec_count", "counter",
     "Number of model executions performed (does not include cached requests)", execution_count},
    {"nv_inference_request_duration_us", "counter",
     "Cumulative inference request duration in microseconds", request_us},
    {"nv_inference_queue_duration_us", "counter",
     "Cumulative inference queuing duration in microseconds", queue_us},
    {"nv_inference_compute_input_duration_us", "counter",
     "Cumulative compute input duration in microseconds", input_us},
    {"nv_inference_compute_infer_duration_us", "counter",
     "Cumulative compute inference duration in microseconds", infer_us},
    {"nv_inference_compute_output_duration_us", "counter",
     "Cumulative inference compute output duration in microseconds", output_us},
    {"nv_inference_pending_request_count", "gauge",
     "Instantaneous number of pending requests awaiting execution per-model.", pending},
    {"gpulet_queue_length", "gauge", "Requests that wait for a batch", pending},
    {"nv_model_load_duration_secs", "gauge", "Model load time in seconds", load_seconds},
    {"gpulet_slo_seconds", "gauge", "The model's objective, 0 when it has none", slo_seconds},
    {"gpulet_requests_offered_total", "counter", "Requests that reached admission", offered},
    {"gpulet_requests_in_time_total", "counter", "Requests answered by their deadline", in_time},
    {"gpulet_attainment_ratio", "gauge",
     "Requests answered in time over requests offered and settled, since start", attainment},
    {"gpulet_model_memory_bytes", "gauge", "Memory that the model took when it was last loaded",
     memory_bytes},
    {"gpulet_model_ready", "gauge", "1 when a gpu-let serves the model", is_ready},
};

static void write_failures(gpulet_buf_t *out, const model_values_t *values, uint32_t count)
{
    server_metrics_head(out, "nv_inference_request_failure", "counter",
                        "Number of failed inference requests, all batch sizes");
    for (uint32_t i = 0; i < count; i++) {
        const gpulet_sched_model_stats_t *s = &values[i].sched;
        uint64_t rejected = 0;
        for (int r = 0; r < GPULET_REJECT_COUNT; r++)
            rejected += s->rejected[r];
        uint64_t other = values[i].model->fail.count > rejected + s->failed + s->cancelled
                             ? values[i].model->fail.count - rejected - s->failed - s->cancelled
                             : 0;
        const struct {
            const char *label;
            uint64_t value;
        } rows[] = {{",reason=\"REJECTED\"", rejected},
                    {",reason=\"CANCELED\"", s->cancelled},
                    {",reason=\"BACKEND\"", s->failed},
                    {",reason=\"OTHER\"", other}};
        for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
            model_labels(out, "nv_inference_request_failure", values[i].model, rows[r].label);
            gpulet_buf_printf(out, "%llu\n", (unsigned long long)rows[r].value);
        }
    }
}

static void write_misses(gpulet_buf_t *out, const model_values_t *values, uint32_t count)
{
    server_metrics_head(out, "gpulet_requests_missed_total", "counter",
                        "Requests that were not answered in time, by reason");
    for (uint32_t i = 0; i < count; i++) {
        char label[64];
        model_labels(out, "gpulet_requests_missed_total", values[i].model, ",reason=\"late\"");
        gpulet_buf_printf(out, "%llu\n", (unsigned long long)values[i].sched.late);
        model_labels(out, "gpulet_requests_missed_total", values[i].model, ",reason=\"failed\"");
        gpulet_buf_printf(out, "%llu\n", (unsigned long long)values[i].sched.failed);
        for (int r = 0; r < GPULET_REJECT_COUNT; r++) {
            (void)snprintf(label, sizeof(label), ",reason=\"%s\"",
                           gpulet_reject_text((gpulet_reject_t)r));
            model_labels(out, "gpulet_requests_missed_total", values[i].model, label);
            gpulet_buf_printf(out, "%llu\n", (unsigned long long)values[i].sched.rejected[r]);
        }
    }
}

static const gpulet_hist_t *latency(const server_model_t *model)
{
    return model->latency_ns;
}
static const gpulet_hist_t *queue_delay(const server_model_t *model)
{
    return model->queue_ns;
}

typedef struct model_summary {
    const char *name;
    const char *help;
    const gpulet_hist_t *(*hist_ns)(const server_model_t *model); /* NULL: nothing recorded yet */
} model_summary_t;

static const model_summary_t model_summaries[] = {
    {"gpulet_request_latency_seconds", "Arrival to answer of answered requests, since start",
     latency},
    {"gpulet_queue_delay_seconds",
     "Arrival to the sending of its batch of answered requests, since start", queue_delay},
};

static void write_total(gpulet_buf_t *out, const char *name, const char *part,
                        const server_model_t *model, double value)
{
    char full[64];
    (void)snprintf(full, sizeof(full), "%s_%s", name, part);
    model_labels(out, full, model, "");
    gpulet_buf_printf(out, "%.15g\n", value);
}

static void write_summary(gpulet_buf_t *out, const model_values_t *values, uint32_t count,
                          const model_summary_t *summary)
{
    static const double quantiles[] = {0.5, 0.9, 0.99, 0.999};
    static const char *const labels[] = {"0.5", "0.9", "0.99", "0.999"};
    server_metrics_head(out, summary->name, "summary", summary->help);
    for (uint32_t i = 0; i < count; i++) {
        const gpulet_hist_t *hist = summary->hist_ns(values[i].model);
        char label[64];
        for (size_t q = 0; hist != NULL && q < sizeof(quantiles) / sizeof(quantiles[0]); q++) {
            (void)snprintf(label, sizeof(label), ",quantile=\"%s\"", labels[q]);
            model_labels(out, summary->name, values[i].model, label);
            gpulet_buf_printf(out, "%.9g\n",
                              (double)gpulet_hist_quantile(hist, quantiles[q]) / 1e9);
        }
        write_total(out, summary->name, "sum", values[i].model,
                    hist != NULL ? (double)hist->sum / 1e9 : 0.0);
        write_total(out, summary->name, "count", values[i].model,
                    hist != NULL ? (double)hist->count : 0.0);
    }
}

static void write_models(gpulet_buf_t *out, const model_values_t *values, uint32_t count)
{
    for (size_t m = 0; m < sizeof(model_metrics) / sizeof(model_metrics[0]); m++) {
        const model_metric_t *metric = &model_metrics[m];
        server_metrics_head(out, metric->name, metric->kind, metric->help);
        for (uint32_t i = 0; i < count; i++) {
            model_labels(out, metric->name, values[i].model, "");
            gpulet_buf_printf(out, "%.15g\n", metric->value(&values[i]));
        }
    }
    write_failures(out, values, count);
    write_misses(out, values, count);
    for (size_t m = 0; m < sizeof(model_summaries) / sizeof(model_summaries[0]); m++)
        write_summary(out, values, count, &model_summaries[m]);
}

static void gpulet_row(gpulet_buf_t *out, const char *name, const server_gpulet_t *g,
                       const char *more, double value)
{
    gpulet_buf_printf(out, "%s{gpulet=\"%s\",device=\"%s\",index=\"%u\"%s} %.15g\n", name, g->name,
                      g->server->devices[g->device].desc.type,
                      g->server->devices[g->device].desc.index, more, value);
}

static void write_refusals(gpulet_buf_t *out, gpulet_server_t *server)
{
    server_metrics_head(
        out, "gpulet_model_refused", "gauge",
        "1 for a model of the plan that the gpu-let's worker could not load; others may serve it");
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        for (uint32_t i = 0; g->refused_count > 0 && i < g->services_count; i++) {
            gpulet_buf_t more = GPULET_BUF_INIT;
            if (!g->services[i].failed)
                continue;
            gpulet_buf_append_str(&more, ",model=\"");
            label_text(&more, server->models[g->services[i].model].entry->key);
            gpulet_buf_append_char(&more, '"');
            out->failed |= gpulet_buf_status(&more) != GPULET_OK;
            gpulet_row(out, "gpulet_model_refused", g, more.data != NULL ? more.data : "", 1);
            gpulet_buf_deinit(&more);
        }
    }
}

/* A value of batches of a model in a gpu-let. */
static void batch_row(gpulet_buf_t *out, const char *name, const server_gpulet_t *g, uint32_t model,
                      uint32_t batch, double value)
{
    gpulet_buf_t more = GPULET_BUF_INIT;
    gpulet_buf_append_str(&more, ",model=\"");
    label_text(&more, g->server->models[model].entry->key);
    gpulet_buf_printf(&more, "\",batch=\"%u\"", batch);
    out->failed |= gpulet_buf_status(&more) != GPULET_OK;
    gpulet_row(out, name, g, more.data != NULL ? more.data : "", value);
    gpulet_buf_deinit(&more);
}

static void write_estimates(gpulet_buf_t *out, gpulet_server_t *server)
{
    server_metrics_head(out, "gpulet_predicted_execution_seconds", "gauge",
                        "What a planned batch of the model is believed to take in the gpu-let");
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        for (uint32_t i = 0; g->lane != SERVER_LANE_NONE && i < g->services_count; i++) {
            const server_service_t *s = &g->services[i];
            uint64_t ns = gpulet_sched_estimate_ns(server->sched, g->lane, s->model, s->batch);
            batch_row(out, "gpulet_predicted_execution_seconds", g, s->model, s->batch,
                      (double)ns / 1e9);
        }
    }
}

/* Only sizes that occurred: the sample with the labels of a prediction is what became of it. */
static void write_executions(gpulet_buf_t *out, gpulet_server_t *server)
{
    server_metrics_head(out, "gpulet_execution_seconds", "summary",
                        "What batches of the model took in the gpu-let, by their size");
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        for (uint32_t i = 0; i < g->executions.count; i++) {
            const server_execution_t *e = &g->executions.items[i];
            batch_row(out, "gpulet_execution_seconds_sum", g, e->model, e->batch,
                      (double)e->ns / 1e9);
            batch_row(out, "gpulet_execution_seconds_count", g, e->model, e->batch,
                      (double)e->count);
        }
    }
}

static void write_gpulets(gpulet_buf_t *out, gpulet_server_t *server)
{
    server_metrics_head(out, "gpulet_units", "gauge", "Size of a gpu-let in device units");
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next)
        gpulet_row(out, "gpulet_units", g, "", g->units);
    server_metrics_head(out, "gpulet_borrowed_units", "gauge",
                        "Units of idle neighbours that a gpu-let has the use of");
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next)
        gpulet_row(out, "gpulet_borrowed_units", g, "", g->borrowed_units);
    server_metrics_head(out, "gpulet_busy_seconds_total", "counter",
                        "Time a gpu-let spent executing batches");
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next)
        gpulet_row(out, "gpulet_busy_seconds_total", g, "", (double)g->busy_ns / 1e9);
    server_metrics_head(out, "gpulet_worker_lost_total", "counter",
                        "Workers of a gpu-let that died or were killed");
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next)
        gpulet_row(out, "gpulet_worker_lost_total", g, "", (double)g->lost_count);
    server_metrics_head(out, "gpulet_serving", "gauge", "1 while a gpu-let serves");
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next)
        gpulet_row(out, "gpulet_serving", g, "", g->state == SERVER_GPULET_SERVING ? 1 : 0);
    write_refusals(out, server);
    write_estimates(out, server);
    write_executions(out, server);
}

static void write_server(gpulet_buf_t *out, gpulet_server_t *server)
{
    server_metrics_head(out, "gpulet_connections", "gauge", "Open HTTP connections");
    gpulet_buf_printf(out, "gpulet_connections %u\n", gpulet_http_server_connections(server->http));
    server_metrics_head(out, "gpulet_uptime_seconds", "gauge", "Since the server was started");
    gpulet_buf_printf(out, "gpulet_uptime_seconds %.3f\n",
                      (double)(gpulet_clock_ns() - server->started_ns) / 1e9);
    server_metrics_head(out, "gpulet_ready", "gauge", "1 when the first plan is served");
    gpulet_buf_printf(out, "gpulet_ready %d\n", server->ready ? 1 : 0);
}

/* Reasons and outcomes that never occurred are left out. */
static void write_replans(gpulet_buf_t *out, const gpulet_server_t *server)
{
    uint64_t count = 0;
    double sum_ms = 0;
    server_metrics_head(out, "gpulet_replans_total", "counter",
                        "Plans that were wanted, by the reason and what became of them");
    for (int r = GPULET_FOLLOW_START; r < GPULET_FOLLOW_COUNT; r++) {
        for (int o = 0; o < SERVER_OUTCOME_COUNT; o++) {
            uint64_t times = server_events_replans(server->events, (gpulet_follow_reason_t)r,
                                                   (server_outcome_t)o);
            if (times > 0)
                gpulet_buf_printf(out, "gpulet_replans_total{reason=\"%s\",outcome=\"%s\"} %llu\n",
                                  gpulet_follow_reason_text((gpulet_follow_reason_t)r),
                                  server_outcome_text((server_outcome_t)o),
                                  (unsigned long long)times);
        }
    }
    server_events_durations(server->events, &count, &sum_ms);
    server_metrics_head(out, "gpulet_replan_duration_seconds", "summary",
                        "From a plan that was wanted to its being served");
    gpulet_buf_printf(
        out, "gpulet_replan_duration_seconds_sum %.9g\ngpulet_replan_duration_seconds_count %llu\n",
        sum_ms / 1e3, (unsigned long long)count);
}

static void write_rates(gpulet_buf_t *out, const gpulet_server_t *server)
{
    server_metrics_head(
        out, "gpulet_rate_rps", "gauge",
        "Items a second asked of a model: on average, now, as planned for, as covered by the plan");
    for (uint32_t i = 0; i < server->named_count; i++) {
        gpulet_follow_rate_t rate;
        if (server->named[i]->ensemble != NULL)
            continue;
        server_follow_rate(server, server->named[i], &rate);
        const struct {
            const char *label;
            double value;
        } rows[] = {{",kind=\"average\"", rate.average_rps},
                    {",kind=\"now\"", rate.now_rps},
                    {",kind=\"planned\"", rate.planned_rps},
                    {",kind=\"covered\"", rate.covered_rps}};
        for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
            model_labels(out, "gpulet_rate_rps", server->named[i], rows[r].label);
            gpulet_buf_printf(out, "%.9g\n", rows[r].value);
        }
    }
}

static void write_gauge(gpulet_buf_t *out, const char *name, const char *help, double value)
{
    server_metrics_head(out, name, "gauge", help);
    if (isinf(value))
        gpulet_buf_printf(out, "%s +Inf\n", name);
    else
        gpulet_buf_printf(out, "%s %.9g\n", name, value);
}

static void write_plan(gpulet_buf_t *out, const gpulet_server_t *server)
{
    write_replans(out, server);
    write_rates(out, server);
    write_gauge(out, "gpulet_plan_headroom", "How many times the expected rates the plan covers",
                server_follow_headroom(server));
    write_gauge(out, "gpulet_plan_shortfall", "Share of the expected rates that it does not cover",
                server_follow_shortfall(server));
    write_gauge(out, "gpulet_devices_used", "Devices that hold a gpu-let of the plan",
                server_devices_used(server));
    write_gauge(out, "gpulet_transition_active", "1 while another plan is being reached",
                server->switching ? 1 : 0);
}

void server_metrics_write(gpulet_buf_t *out, gpulet_server_t *server)
{
    /* Prometheus wants all samples of a metric together, so the values of all models are gathered
     * first. */
    model_values_t *values =
        calloc(server->named_count > 0 ? server->named_count : 1, sizeof(*values));
    if (values == NULL) {
        out->failed = true;
        return;
    }
    for (uint32_t i = 0; i < server->named_count; i++) {
        values[i].model = server->named[i];
        server_model_stats(server, server->named[i], &values[i].sched);
    }
    write_models(out, values, server->named_count);
    write_gpulets(out, server);
    write_plan(out, server);
    write_server(out, server);
    server_metrics_machine(out, server);
    free(values);
}
