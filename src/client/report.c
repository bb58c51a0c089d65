#include <math.h>

#include <jansson.h>

#include "client/load.h"
#include "proto/json_write.h"

static double quantile_ms(const gpulet_hist_t *hist, double q)
{
    return (double)gpulet_hist_quantile(hist, q) / 1e6;
}

/* A text of the server's may have been cut inside a character. */
static json_t *text_json(const char *text)
{
    json_t *value = json_string(text);
    return value != NULL ? value : json_string("(not UTF-8)");
}

/* The fields of a simulation's report that only the server can know. */
static void add_server(json_t *root, const gpulet_load_server_t *server)
{
    /* A hash of the brain's every decision: no server tells them. */
    (void)json_object_set_new(root, "trace_hash", json_null());
    (void)json_object_set_new(
        root, "devices_time_avg",
        isnan(server->devices_time_avg) ? json_null() : json_real(server->devices_time_avg));
    (void)json_object_set_new(root, "replans",
                              isnan(server->replans) ? json_null()
                                                     : json_integer((json_int_t)server->replans));
}

gpulet_status_t gpulet_load_report_json(gpulet_buf_t *out, const gpulet_load_result_t *results,
                                        size_t count, double seconds, uint64_t seed,
                                        const gpulet_load_server_t *server)
{
    uint64_t offered = 0;
    uint64_t in_time = 0;
    uint64_t answered = 0;
    json_t *models = json_array();
    for (size_t i = 0; i < count; i++) {
        const gpulet_load_result_t *r = &results[i];
        offered += r->offered;
        in_time += r->in_time;
        answered += r->in_time + r->late;
        (void)json_array_append_new(
            models, json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:o}",
                              "model", text_json(r->name), "offered", (json_int_t)r->offered,
                              "in_time", (json_int_t)r->in_time, "late", (json_int_t)r->late,
                              "rejected", (json_int_t)r->rejected, "failed", (json_int_t)r->failed,
                              "latency_ms_p50", quantile_ms(&r->latency_ns, 0.5), "latency_ms_p99",
                              quantile_ms(&r->latency_ns, 0.99), "latency_ms_p999",
                              quantile_ms(&r->latency_ns, 0.999), "reject_ms_p99",
                              quantile_ms(&r->reject_latency_ns, 0.99), "attainment",
                              r->offered > 0 ? (double)r->in_time / (double)r->offered : 1.0,
                              "error", text_json(r->error)));
    }
    json_t *root = json_pack("{s:I, s:f, s:o, s:f, s:f, s:f}", "seed", (json_int_t)seed, "seconds",
                             seconds, "models", models, "attainment",
                             offered > 0 ? (double)in_time / (double)offered : 1.0, "goodput_rps",
                             seconds > 0 ? (double)in_time / seconds : 0.0, "answered_rps",
                             seconds > 0 ? (double)answered / seconds : 0.0);
    add_server(root, server);
    gpulet_status_t st = gpulet_json_write(out, root, true);
    gpulet_buf_append_char(out, '\n');
    return st == GPULET_OK ? gpulet_buf_status(out) : st;
}

void gpulet_load_report_table(gpulet_buf_t *out, const char *kind,
                              const gpulet_load_result_t *results, size_t count, double seconds)
{
    gpulet_buf_printf(out, "%-20s %9s %10s %9s %9s %9s %9s %8s %8s %8s\n", kind, "SLO ms",
                      "offered/s", "in time", "p50 ms", "p99 ms", "p99.9 ms", "late", "rejected",
                      "failed");
    for (size_t i = 0; i < count; i++) {
        const gpulet_load_result_t *r = &results[i];
        gpulet_buf_printf(out, "%-20s %9.1f %10.1f %8.2f%% %9.3f %9.3f %9.3f %8llu %8llu %8llu\n",
                          r->name, r->slo_ms, seconds > 0 ? (double)r->offered / seconds : 0.0,
                          r->offered > 0 ? 100.0 * (double)r->in_time / (double)r->offered : 100.0,
                          quantile_ms(&r->latency_ns, 0.5), quantile_ms(&r->latency_ns, 0.99),
                          quantile_ms(&r->latency_ns, 0.999), (unsigned long long)r->late,
                          (unsigned long long)r->rejected, (unsigned long long)r->failed);
        if (r->error[0] != '\0')
            gpulet_buf_printf(out, "  first failure: %s\n", r->error);
    }
}
