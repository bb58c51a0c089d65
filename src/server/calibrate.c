/* Models without a profile are measured while nothing else is to do, kept in the store, and then
 * planned anew. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/follow.h"
#include "server/keeper.h"
#include "server/profiler.h"

enum { QUIET_MS = 200, RUNS_MIN = 3, RUNS_MAX = 50 };

struct server_calibration {
    gpulet_server_t *server;
    gpulet_profiler_t *profiler;
    gpulet_device_t *device; /* a view of its own: its partitions lie beside those of the plan, and
                                overlap them */
    uint64_t seen_requests;  /* when the last point was begun */
    uint64_t quiet_since_ns;
    uint64_t last_total;
    uint64_t begun_ns;
    bool ended;
};

static bool may_run(void *context)
{
    server_calibration_t *c = context;
    gpulet_server_t *server = c->server;
    uint64_t now_ns = gpulet_clock_ns();
    if (server->infers_open > 0 || server->infers_total != c->last_total) {
        c->last_total = server->infers_total;
        c->quiet_since_ns = now_ns;
        return false;
    }
    c->seen_requests = server->infers_total;
    return now_ns - c->quiet_since_ns >= QUIET_MS * GPULET_NS_PER_MS;
}

static bool was_disturbed(void *context)
{
    const server_calibration_t *c = context;
    return c->server->infers_total != c->seen_requests;
}

static void on_row(void *context, const gpulet_profiler_row_t *row)
{
    server_calibration_t *c = context;
    gpulet_server_t *server = c->server;
    const char *device = server->devices[0].desc.type;
    gpulet_error_t err;
    gpulet_profile_point_t point = {
        row->batch, row->latency_ms, row->latency_ms_p99, NAN, row->memory_mb, NAN, NAN,
        NAN,        row->cold_ms};
    GPULET_LOG(INFO, "event=measured model=%s units=%u batch=%u p50_ms=%.3f p99_ms=%.3f runs=%u",
               row->model->key, row->units, row->batch, row->latency_ms, row->latency_ms_p99,
               row->runs);
    if (gpulet_profile_add(server->profile, device, row->model->key, row->units, 1, &point, true,
                           &err) != GPULET_OK)
        GPULET_LOG(ERROR, "event=profile_row_refused error=\"%s\"", err.text);
    else if (server->keeper != NULL)
        server_keeper_point(server->keeper, device, server->measured_by, row->model->file_key,
                            row->model->key, row->units, &point);
}

static void on_problem(void *context, const gpulet_repository_model_t *model, uint32_t units,
                       const char *text)
{
    char quoted[400];
    (void)context;
    GPULET_LOG(WARNING, "event=measure_failed model=%s units=%u reason=%s", model->key, units,
               gpulet_log_quote(quoted, sizeof(quoted), text));
}

static void on_end(void *context, gpulet_status_t status, const char *text)
{
    server_calibration_t *c = context;
    (void)status;
    (void)text;
    c->ended = true;
    c->server->gpulets_dirty = true;
}

static bool wants_measuring(const gpulet_server_t *server, const server_model_t *model)
{
    return server_model_wanted(model) &&
           !gpulet_profile_has_model(server->profile, NULL, model->entry->key);
}

static gpulet_status_t start_profiler(server_calibration_t *c,
                                      const gpulet_repository_model_t **models, size_t count)
{
    gpulet_server_t *server = c->server;
    const gpulet_settings_t *s = &server->settings;
    gpulet_error_t err;
    size_t sizes_count = 0;
    uint32_t *sizes = gpulet_profiler_default_sizes(&sizes_count, server->devices[0].desc.units,
                                                    server->devices[0].desc.step);
    gpulet_profiler_options_t options = {
        .base = server->base,
        .backend = server->backend,
        .device = c->device,
        .sizes = sizes,
        .sizes_count = sizes_count,
        .models = models,
        .models_count = count,
        .seconds_per_model = s->calibrate_seconds,
        .runs_min = RUNS_MIN,
        .runs_max = RUNS_MAX,
        .background = true,
        .device_backend_name = s->device,
        .worker_program = server->worker_program,
        .engine = s->engine,
        .ort_library = s->ort_library,
        .log_level = s->log_level,
        .load_limit_s = s->load_limit_s,
        .context = c,
        .on_row = on_row,
        .on_problem = on_problem,
        .may_run = may_run,
        .was_disturbed = was_disturbed,
        .on_end = on_end,
    };
    gpulet_status_t st = sizes != NULL ? gpulet_profiler_start(&c->profiler, &options, &err)
                                       : gpulet_fail(&err, GPULET_E_NOMEM, "out of memory");
    if (st != GPULET_OK)
        GPULET_LOG(ERROR, "event=calibration_failed error=\"%s\"", err.text);
    free(sizes);
    return st;
}

gpulet_status_t server_calibrate_begin(gpulet_server_t *server)
{
    gpulet_error_t err;
    size_t count = 0;
    const gpulet_repository_model_t **models = calloc(server->models_count, sizeof(*models));
    server_calibration_t *c = calloc(1, sizeof(*c));
    if (models == NULL || c == NULL) {
        free((void *)models);
        free(c);
        return GPULET_E_NOMEM;
    }
    for (uint32_t i = 0; i < server->models_count; i++) {
        if (wants_measuring(server, &server->models[i]))
            models[count++] = server->models[i].entry;
    }
    c->server = server;
    c->begun_ns = c->quiet_since_ns = gpulet_clock_ns();
    gpulet_status_t st = count > 0
                             ? server->backend->open(&c->device, 0, &server->device_options, &err)
                             : GPULET_E_NOT_FOUND;
    if (st == GPULET_OK)
        st = start_profiler(c, models, count);
    free((void *)models);
    if (st != GPULET_OK) {
        server->backend->close(c->device);
        free(c);
        return st;
    }
    GPULET_LOG(INFO, "event=calibration_begin models=%zu", count);
    server->calibration = c;
    return GPULET_OK;
}

void server_calibrate_end(gpulet_server_t *server)
{
    server_calibration_t *c = server->calibration;
    if (c == NULL)
        return;
    gpulet_profiler_destroy(c->profiler);
    server->backend->close(c->device);
    free(c);
    server->calibration = NULL;
}

/* Points that were measured beside other processes are slower than the models are. */
static void warn_of_others(const server_calibration_t *c)
{
    const gpulet_cpu_meter_t *meter = gpulet_profiler_meter(c->profiler);
    if (gpulet_cpu_meter_disturbed(meter))
        GPULET_LOG(WARNING,
                   "event=measured_on_a_busy_machine others_percent=%.0f hint=\"latencies may be "
                   "too high: measure again with 'gpulet profile --fresh' when it is quiet\"",
                   100 * gpulet_cpu_meter_others(meter));
}

/* After the last point: sizes that were not measured are filled in, and a plan is made from what is
 * known now. */
void server_calibrate_step(gpulet_server_t *server)
{
    server_calibration_t *c = server->calibration;
    gpulet_error_t err = {""};
    if (c == NULL || !c->ended || server->switching)
        return;
    GPULET_LOG(INFO, "event=calibration_end seconds=%.1f",
               (double)(gpulet_clock_ns() - c->begun_ns) / 1e9);
    warn_of_others(c);
    server_calibrate_end(server);
    const gpulet_device_type_t *type = &server->device_set->types[0];
    if (gpulet_profile_interpolate_units(server->profile, type->name, type->sizes,
                                         type->sizes_count, &err) != GPULET_OK)
        GPULET_LOG(WARNING, "event=interpolation_failed error=\"%s\"", err.text);
    if (server->draining || server->stop)
        return;
    server_follow_ask(server, GPULET_FOLLOW_PROFILE);
}
