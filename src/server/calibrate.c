/* Models without a whole profile of their own file are measured while nothing else is to do, or,
 * where such a time does not come, between requests; then they are planned anew. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/follow.h"
#include "server/keeper.h"
#include "server/profiler.h"

enum {
    QUIET_MS = 200,
    RUNS_MIN = 3,
    RUNS_MAX = 50,
    RESTS = 3 /* a point that was measured between requests is followed by so many times its time */
};

struct server_calibration {
    gpulet_server_t *server;
    gpulet_profiler_t *profiler;
    gpulet_device_t *device; /* a view of its own: its partitions lie beside those of the plan, and
                                overlap them */
    const gpulet_repository_model_t **models;
    size_t models_count;
    uint64_t seen_requests; /* when the last point was begun */
    uint64_t quiet_since_ns;
    uint64_t waits_since_ns; /* for quiet */
    uint64_t point_ns;       /* when the point in hand was begun */
    uint64_t rests_until_ns;
    uint64_t last_total;
    uint64_t begun_ns;
    bool beside; /* the point in hand is measured between requests */
    bool rough;  /* there are such points */
    bool ended;
};

static bool is_patient(const server_calibration_t *c, uint64_t now_ns)
{
    double waited_s = (double)(now_ns - c->waits_since_ns) / 1e9;
    return waited_s < c->server->settings.patience_s;
}

static bool may_run(void *context)
{
    server_calibration_t *c = context;
    const gpulet_server_t *server = c->server;
    uint64_t now_ns = gpulet_clock_ns();
    if (server->infers_open > 0 || server->infers_total != c->last_total) {
        c->last_total = server->infers_total;
        c->quiet_since_ns = now_ns;
    }
    bool quiet = now_ns - c->quiet_since_ns >= QUIET_MS * GPULET_NS_PER_MS;
    if (!quiet && (server->infers_open > 0 || is_patient(c, now_ns) || now_ns < c->rests_until_ns))
        return false;
    c->beside = !quiet;
    c->point_ns = now_ns;
    c->seen_requests = server->infers_total;
    return true;
}

/* Between requests there is no use in trying again. */
static bool was_disturbed(void *context)
{
    const server_calibration_t *c = context;
    return !c->beside && c->server->infers_total != c->seen_requests;
}

/* Whether it was measured in this life of the server, or is among what the store had. Where the
 * profile is of another file nothing is known. */
static bool is_known(void *context, const gpulet_repository_model_t *entry, uint32_t units,
                     uint32_t batch)
{
    const server_calibration_t *c = context;
    const gpulet_server_t *server = c->server;
    const char *device = server->devices[0].desc.type;
    const gpulet_curve_t *curve =
        gpulet_profile_curve(server->profile_measured, device, entry->key, units, 1);
    for (uint32_t i = 0; curve == NULL && i < server->models_count; i++) {
        if (server->models[i].entry == entry && !server->models[i].inherits)
            curve = gpulet_profile_curve(server->profile, device, entry->key, units, 1);
    }
    for (uint32_t i = 0; curve != NULL && i < curve->points_count; i++) {
        if (curve->points[i].batch == batch)
            return true;
    }
    return false;
}

/* What requests lengthen they lengthen: of a point that was measured between them the shortest run
 * counts, and it is not kept for later. */
static void on_row(void *context, const gpulet_profiler_row_t *row)
{
    server_calibration_t *c = context;
    gpulet_server_t *server = c->server;
    const char *device = server->devices[0].desc.type;
    uint64_t now_ns = gpulet_clock_ns();
    gpulet_error_t err;
    gpulet_profile_point_t point = {row->batch,
                                    c->beside ? row->least_ms : row->latency_ms,
                                    c->beside ? NAN : row->latency_ms_p99,
                                    NAN,
                                    row->memory_mb,
                                    NAN,
                                    NAN,
                                    NAN,
                                    c->beside ? NAN : row->cold_ms};
    GPULET_LOG(
        INFO, "event=measured model=%s units=%u batch=%u p50_ms=%.3f p99_ms=%.3f runs=%u beside=%d",
        row->model->key, row->units, row->batch, row->latency_ms, row->latency_ms_p99, row->runs,
        (int)c->beside);
    if (c->beside)
        c->rests_until_ns = now_ns + RESTS * (now_ns - c->point_ns);
    else
        c->waits_since_ns = now_ns;
    c->rough |= c->beside;
    if (gpulet_profile_add(server->profile_measured, device, row->model->key, row->units, 1, &point,
                           true, &err) != GPULET_OK)
        GPULET_LOG(ERROR, "event=profile_row_refused error=\"%s\"", err.text);
    else if (server->keeper != NULL && !c->beside)
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

bool server_model_unmeasured(const gpulet_server_t *server, const server_model_t *model)
{
    return server_model_wanted(model) &&
           (model->inherits || model->unfinished ||
            !gpulet_profile_has_model(server->profile, NULL, model->entry->key));
}

static gpulet_status_t start_profiler(server_calibration_t *c)
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
        .models = c->models,
        .models_count = c->models_count,
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
        .is_known = is_known,
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

static void calibration_free(server_calibration_t *c)
{
    gpulet_profiler_destroy(c->profiler);
    if (c->device != NULL)
        c->server->backend->close(c->device);
    free((void *)c->models);
    free(c);
}

static gpulet_status_t open_calibration(server_calibration_t *c)
{
    gpulet_server_t *server = c->server;
    gpulet_error_t err;
    if (server->profile_measured == NULL &&
        gpulet_profile_create(&server->profile_measured) != GPULET_OK)
        return GPULET_E_NOMEM;
    gpulet_status_t st = server->backend->open(&c->device, 0, &server->device_options, &err);
    return st == GPULET_OK ? start_profiler(c) : st;
}

gpulet_status_t server_calibrate_begin(gpulet_server_t *server)
{
    server_calibration_t *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return GPULET_E_NOMEM;
    c->server = server;
    c->begun_ns = c->quiet_since_ns = c->waits_since_ns = gpulet_clock_ns();
    c->models = calloc(server->models_count, sizeof(*c->models));
    for (uint32_t i = 0; c->models != NULL && i < server->models_count; i++) {
        if (server_model_unmeasured(server, &server->models[i]))
            c->models[c->models_count++] = server->models[i].entry;
    }
    gpulet_status_t st = c->models == NULL      ? GPULET_E_NOMEM
                         : c->models_count == 0 ? GPULET_E_NOT_FOUND
                                                : open_calibration(c);
    if (st != GPULET_OK) {
        calibration_free(c);
        return st;
    }
    GPULET_LOG(INFO, "event=calibration_begin models=%zu", c->models_count);
    server->calibration = c;
    return GPULET_OK;
}

void server_calibrate_end(gpulet_server_t *server)
{
    if (server->calibration == NULL)
        return;
    if (server->calibration->rough) { /* the store has not all of it */
        gpulet_profile_destroy(server->profile_measured);
        server->profile_measured = NULL;
    }
    calibration_free(server->calibration);
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

/* What was measured of a model takes the place of what was supposed. One of which nothing could be
 * measured keeps that. */
static void finish_model(server_calibration_t *c, server_model_t *model)
{
    gpulet_server_t *server = c->server;
    const char *key = model->entry->key;
    bool any = gpulet_profile_has_model(server->profile_measured, NULL, key);
    if (any && model->inherits)
        (void)gpulet_profile_remove_model(server->profile, key);
    if (server->keeper != NULL && !c->rough && (any || model->unfinished))
        server_keeper_whole(server->keeper, server->devices[0].desc.type, server->measured_by,
                            model->entry->file_key);
    model->inherits = model->unfinished = false;
}

static bool is_measured(const server_calibration_t *c, const server_model_t *model)
{
    for (size_t i = 0; i < c->models_count; i++) {
        if (c->models[i] == model->entry)
            return true;
    }
    return false;
}

/* Sizes that were not measured are filled in. */
static void take_measured(server_calibration_t *c)
{
    gpulet_server_t *server = c->server;
    const gpulet_device_type_t *type = &server->device_set->types[0];
    gpulet_error_t err = {"out of memory"};
    for (uint32_t i = 0; i < server->models_count; i++) {
        if (server->models[i].role != SERVER_MODEL_FREE && is_measured(c, &server->models[i]))
            finish_model(c, &server->models[i]);
    }
    if (gpulet_profile_merge(server->profile, server->profile_measured) != GPULET_OK ||
        gpulet_profile_interpolate_units(server->profile, type->name, type->sizes,
                                         type->sizes_count, &err) != GPULET_OK)
        GPULET_LOG(WARNING, "event=interpolation_failed error=\"%s\"", err.text);
    gpulet_profile_destroy(server->profile_measured);
    server->profile_measured = NULL;
}

/* After the last point a plan is made from what is known now. */
void server_calibrate_step(gpulet_server_t *server)
{
    server_calibration_t *c = server->calibration;
    if (c == NULL || !c->ended || server->switching)
        return;
    GPULET_LOG(INFO, "event=calibration_end seconds=%.1f rough=%d",
               (double)(gpulet_clock_ns() - c->begun_ns) / 1e9, (int)c->rough);
    warn_of_others(c);
    take_measured(c);
    server_calibrate_end(server);
    if (server->draining || server->stop)
        return;
    server_follow_ask(server, GPULET_FOLLOW_PROFILE);
}
