/* What `gpulet sim` prints and writes. */
#include <math.h>
#include <stdlib.h>

#include <jansson.h>

#include "client/load.h"
#include "cmd/cmd_sim.h"
#include "core/csv.h"
#include "proto/json_write.h"

static double quantile_ms(const gpulet_hist_t *hist, double q)
{
    return (double)gpulet_hist_quantile(hist, q) / 1e6;
}

static double mean_ms(const gpulet_hist_t *hist)
{
    return hist->count > 0 ? (double)hist->sum / (double)hist->count / 1e6 : 0;
}

static double attainment(const gpulet_sim_model_t *m)
{
    uint64_t asked = m->offered - m->cancelled;
    return asked > 0 ? (double)m->in_time / (double)asked : 1;
}

static json_t *subject_json(const char *kind, const gpulet_sim_model_t *m)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f}", kind,
                     m->name, "offered", (json_int_t)m->offered, "in_time", (json_int_t)m->in_time,
                     "late", (json_int_t)m->late, "rejected", (json_int_t)m->rejected, "failed",
                     (json_int_t)m->failed, "cancelled", (json_int_t)m->cancelled, "slo_ms",
                     m->slo_ms, "attainment", attainment(m), "latency_ms_mean",
                     mean_ms(&m->latency_ns), "latency_ms_p50", quantile_ms(&m->latency_ns, 0.5),
                     "latency_ms_p99", quantile_ms(&m->latency_ns, 0.99), "latency_ms_p999",
                     quantile_ms(&m->latency_ns, 0.999));
}

static json_t *models_json(const gpulet_sim_result_t *result)
{
    json_t *models = json_array();
    for (size_t i = 0; i < result->models_count; i++) {
        json_t *model = subject_json("model", &result->models[i]);
        if (result->apps_count > 0)
            (void)json_object_set_new(model, "by_apps",
                                      json_integer((json_int_t)result->models[i].staged.offered));
        (void)json_array_append_new(models, model);
    }
    return models;
}

static json_t *apps_json(const gpulet_sim_result_t *result)
{
    json_t *apps = json_array();
    for (size_t i = 0; i < result->apps_count; i++)
        (void)json_array_append_new(apps, subject_json("app", &result->apps[i]));
    return apps;
}

static json_t *faults_json(const gpulet_sim_result_t *result)
{
    json_t *faults = json_object();
    for (int i = 0; i < GPULET_FAULT_COUNT; i++)
        (void)json_object_set_new(faults, gpulet_fault_name((gpulet_fault_t)i),
                                  json_integer((json_int_t)result->faults[i]));
    return faults;
}

gpulet_status_t cmd_sim_put_json(gpulet_buf_t *out, const sim_settings_t *s,
                                 const gpulet_sim_result_t *result, const gpulet_sim_peak_t *peak,
                                 double wall_s)
{
    char hash[17];
    (void)snprintf(hash, sizeof(hash), "%016llx", (unsigned long long)result->trace_hash);
    json_t *root = json_pack(
        "{s:I, s:s, s:o, s:f, s:f, s:f, s:i, s:I, s:I, s:I, s:b, s:f, s:I, s:I, s:f, s:f, s:f, "
        "s:o}",
        "seed", (json_int_t)s->seed, "trace_hash", hash, "models", models_json(result),
        "attainment", gpulet_sim_attainment(result), "goodput_rps", gpulet_sim_goodput_rps(result),
        "devices_time_avg", result->devices_time_avg, "devices_max", (int)result->devices_max,
        "replans", (json_int_t)result->replans, "breaks", (json_int_t)result->breaks, "rollbacks",
        (json_int_t)result->rollbacks, "feasible", (int)result->feasible, "seconds",
        result->seconds, "requests", (json_int_t)result->requests, "events",
        (json_int_t)result->events, "wall_s", wall_s, "events_per_s",
        wall_s > 0 ? (double)result->events / wall_s : 0, "requests_per_s",
        wall_s > 0 ? (double)result->requests / wall_s : 0, "faults", faults_json(result));
    if (root != NULL && result->apps_count > 0)
        (void)json_object_set_new(root, "apps", apps_json(result));
    if (root != NULL && peak != NULL) {
        (void)json_object_set_new(root, "peak_multiple", json_real(peak->multiple));
        (void)json_object_set_new(root, "peak_rps", json_real(peak->rate_rps));
        (void)json_object_set_new(root, "peak_runs", json_integer((json_int_t)peak->runs));
    }
    gpulet_status_t st = gpulet_json_write(out, root, true);
    gpulet_buf_append_char(out, '\n');
    return st == GPULET_OK ? gpulet_buf_status(out) : st;
}

/* The table of `gpulet bench`, which counts the same things. */
static gpulet_status_t put_subjects(gpulet_buf_t *out, const char *kind,
                                    const gpulet_sim_model_t *subjects, size_t count,
                                    double seconds)
{
    gpulet_load_result_t *rows = calloc(count + 1, sizeof(*rows));
    if (rows == NULL)
        return GPULET_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        const gpulet_sim_model_t *m = &subjects[i];
        (void)snprintf(rows[i].name, sizeof(rows[i].name), "%s", m->name);
        rows[i].slo_ms = m->slo_ms;
        rows[i].offered = m->offered - m->cancelled;
        rows[i].in_time = m->in_time;
        rows[i].late = m->late;
        rows[i].rejected = m->rejected;
        rows[i].failed = m->failed;
        rows[i].latency_ns = m->latency_ns;
    }
    gpulet_load_report_table(out, kind, rows, count, seconds);
    free(rows);
    return GPULET_OK;
}

gpulet_status_t cmd_sim_put_table(gpulet_buf_t *out, const gpulet_sim_result_t *result,
                                  const gpulet_sim_peak_t *peak, double wall_s)
{
    gpulet_status_t st =
        put_subjects(out, "model", result->models, result->models_count, result->seconds);
    if (st == GPULET_OK && result->apps_count > 0) {
        gpulet_buf_append_char(out, '\n');
        st = put_subjects(out, "application", result->apps, result->apps_count, result->seconds);
    }
    gpulet_buf_printf(out,
                      "\n%.2f %% in time, %.1f requests/s; %.2f devices on average, %u at most; "
                      "%llu new plans, %llu given up\n",
                      100 * gpulet_sim_attainment(result), gpulet_sim_goodput_rps(result),
                      result->devices_time_avg, result->devices_max,
                      (unsigned long long)result->replans, (unsigned long long)result->rollbacks);
    if (!result->feasible)
        gpulet_buf_append_str(out, "the first plan does not meet every objective (gpulet plan says "
                                   "which)\n");
    for (int i = 0; i < GPULET_FAULT_COUNT; i++) {
        if (result->faults[i] > 0)
            gpulet_buf_printf(out, "%-14s %llu times\n", gpulet_fault_name((gpulet_fault_t)i),
                              (unsigned long long)result->faults[i]);
    }
    if (peak != NULL)
        gpulet_buf_printf(out,
                          "peak: %.3f times the workload, %.1f requests/s (the figures above "
                          "are of that load)\n",
                          peak->multiple, peak->rate_rps);
    gpulet_buf_printf(out, "%llu requests simulated in %.2f s, trace %016llx\n",
                      (unsigned long long)result->requests, wall_s,
                      (unsigned long long)result->trace_hash);
    return st == GPULET_OK ? gpulet_buf_status(out) : st;
}

gpulet_status_t cmd_sim_put_series(gpulet_buf_t *out, const gpulet_sim_result_t *result,
                                   double window_s)
{
    const size_t width = result->models_count + result->apps_count;
    gpulet_buf_append_str(out, "time_s,model,offered,in_time,missed,planned_rps,devices_used\n");
    for (size_t i = 0; i < result->windows_count * width; i++) {
        const gpulet_sim_window_t *w = &result->windows[i];
        const size_t window = i / width;
        const size_t k = i % width;
        gpulet_csv_append_f64(out, (double)window * window_s);
        gpulet_buf_append_char(out, ',');
        gpulet_csv_append(out, k < result->models_count
                                   ? result->models[k].name
                                   : result->apps[k - result->models_count].name);
        gpulet_buf_printf(out, ",%llu,%llu,%llu,", (unsigned long long)w->offered,
                          (unsigned long long)w->in_time, (unsigned long long)w->missed);
        if (k < result->models_count) /* plans are for models */
            gpulet_csv_append_f64(out, w->planned_rps);
        gpulet_buf_printf(out, ",%u\n", w->devices_used);
    }
    return gpulet_buf_status(out);
}
