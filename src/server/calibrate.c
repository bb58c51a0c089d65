/* Models that are not known well enough (known.h) are measured while nothing else is to do, or,
 * where such a time does not come, between requests; then they are planned anew. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/follow.h"
#include "server/keeper.h"
#include "server/known.h"
#include "server/profiler.h"

enum {
    QUIET_MS = 200,
    RUNS_MIN = 3,
    RUNS_MAX = 50,
    RESTS = 3, /* times as long as a point took that was measured between requests */
    TELL_S = 3 /* without a moment between requests it is said */
};

struct server_calibration {
    gpulet_server_t *server;
    gpulet_profiler_t *profiler;
    gpulet_device_t *device; /* a view of its own: its partitions lie beside those of the plan, and
                                overlap them */
    const gpulet_repository_model_t **entries;
    server_model_t **models; /* likewise */
    size_t count;
    uint64_t begun_ns;
    uint64_t seen_requests; /* when the last point was begun */
    uint64_t last_total;
    uint64_t quiet_since_ns;
    uint64_t waits_since_ns; /* for quiet; 0: it does not */
    uint64_t shut_since_ns;  /* no moment came in which there was no request; 0: one did */
    uint64_t point_ns;       /* when the point in hand was begun */
    uint64_t rests_until_ns;
    bool waits;  /* no point is in hand */
    bool told;   /* that there is always a request */
    bool beside; /* the point in hand is measured between requests */
    bool ended;
};

void server_calibrate_want(gpulet_server_t *server)
{
    server->calibration_wanted |= server->settings.calibrate && !server_follow_fixed(server);
}

/* The profiler borrows the entries of these. */
static server_model_t *model_of(const server_calibration_t *c,
                                const gpulet_repository_model_t *entry)
{
    size_t i = 0;
    while (c->entries[i] != entry)
        i++;
    return c->models[i];
}

static bool is_quiet(server_calibration_t *c, uint64_t now_ns)
{
    const gpulet_server_t *server = c->server;
    if (server->infers_open > 0 || server->infers_total != c->last_total) {
        c->last_total = server->infers_total;
        c->quiet_since_ns = now_ns;
    }
    return now_ns - c->quiet_since_ns >= QUIET_MS * GPULET_NS_PER_MS;
}

/* A server that is never without a request learns nothing: what it needs is more, or a profile. */
static void note_shut(server_calibration_t *c, uint64_t now_ns)
{
    if (c->server->infers_open == 0)
        c->shut_since_ns = 0;
    else if (c->shut_since_ns == 0)
        c->shut_since_ns = now_ns;
    else if (!c->told && now_ns - c->shut_since_ns >= TELL_S * GPULET_NS_PER_S) {
        GPULET_LOG(WARNING,
                   "event=calibration_waits reason=\"there is always a request\" hint=\"measure "
                   "with 'gpulet profile' and name the file with --profiles\"");
        c->told = true;
    }
}

static bool may_run_beside(server_calibration_t *c, uint64_t now_ns)
{
    if (c->waits_since_ns == 0)
        c->waits_since_ns = now_ns;
    if ((double)(now_ns - c->waits_since_ns) < c->server->settings.patience_s * 1e9)
        return false;
    note_shut(c, now_ns);
    return c->server->infers_open == 0 && now_ns >= c->rests_until_ns;
}

static bool may_run(void *context)
{
    server_calibration_t *c = context;
    uint64_t now_ns = gpulet_clock_ns();
    bool quiet = is_quiet(c, now_ns);
    c->waits = server_prepared_running(c->server) || (!quiet && !may_run_beside(c, now_ns));
    if (c->waits)
        return false;
    if (quiet)
        c->waits_since_ns = 0;
    c->beside = !quiet;
    c->point_ns = now_ns;
    c->seen_requests = c->server->infers_total;
    return true;
}

/* Between requests there is no use in trying again. */
static bool was_disturbed(void *context)
{
    const server_calibration_t *c = context;
    return !c->beside && c->server->infers_total != c->seen_requests;
}

static double known_ms(void *context, const gpulet_repository_model_t *entry, uint32_t units,
                       uint32_t batch)
{
    const server_calibration_t *c = context;
    return server_known_ms(model_of(c, entry), c->server->devices[0].desc.type, units, batch);
}

/* Requests lengthen runs and shorten none: of a point that was measured between them the shortest
 * run counts, and it is not kept for later. */
static void on_row(void *context, const gpulet_profiler_row_t *row)
{
    server_calibration_t *c = context;
    gpulet_server_t *server = c->server;
    server_model_t *model = model_of(c, row->model);
    const char *device = server->devices[0].desc.type;
    uint64_t now_ns = gpulet_clock_ns();
    gpulet_error_t err;
    gpulet_profile_point_t point = {
        row->batch, row->latency_ms, row->latency_ms_p99, NAN, row->memory_mb, NAN, NAN,
        NAN,        row->cold_ms};
    if (c->beside) {
        point.latency_ms = row->least_ms;
        point.latency_ms_p99 = point.cold_ms = NAN;
        c->rests_until_ns = now_ns + RESTS * (now_ns - c->point_ns);
    }
    model->rough |= c->beside;
    GPULET_LOG(
        INFO, "event=measured model=%s units=%u batch=%u p50_ms=%.3f p99_ms=%.3f runs=%u beside=%d",
        row->model->key, row->units, row->batch, row->latency_ms, row->latency_ms_p99, row->runs,
        (int)c->beside);
    if (server_known_point(model, device, row->units, &point, &err) != GPULET_OK) {
        GPULET_LOG(ERROR, "event=profile_row_refused error=\"%s\"", err.text);
        model->failed_to_measure = true;
    } else if (server->keeper != NULL && !c->beside) {
        char measured_by[GPULET_MEASURED_BY_MAX + 1];
        gpulet_measured_by_shapes(measured_by, server->measured_by, &row->model->warmup, NULL);
        server_keeper_point(server->keeper, device, measured_by, row->model->file_key,
                            row->model->key, row->units, &point);
    }
}

static void on_problem(void *context, const gpulet_repository_model_t *model, uint32_t units,
                       const char *text)
{
    const server_calibration_t *c = context;
    char quoted[400];
    model_of(c, model)->failed_to_measure = true;
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
        .models = c->entries,
        .models_count = c->count,
        .seconds_per_model = s->calibrate_seconds,
        .runs_min = RUNS_MIN,
        .runs_max = RUNS_MAX,
        .background = true,
        .device_backend_name = s->device,
        .worker_program = server->worker_program,
        .engine = s->engine,
        .ort_library = s->ort_library,
        .device_type = server->devices[0].desc.type,
        .log_level = s->log_level,
        .load_limit_s = s->load_limit_s,
        .context = c,
        .on_row = on_row,
        .on_problem = on_problem,
        .known_ms = known_ms,
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
    free((void *)c->entries);
    free((void *)c->models);
    free(c);
}

static gpulet_status_t choose_models(server_calibration_t *c)
{
    gpulet_server_t *server = c->server;
    c->entries = calloc(server->models_count, sizeof(*c->entries));
    c->models = calloc(server->models_count, sizeof(*c->models));
    if (c->entries == NULL || c->models == NULL)
        return GPULET_E_NOMEM;
    for (uint32_t i = 0; i < server->models_count; i++) {
        server_model_t *model = &server->models[i];
        if (!server_model_unmeasured(model))
            continue;
        c->models[c->count] = model;
        c->entries[c->count++] = model->entry;
    }
    return c->count > 0 ? GPULET_OK : GPULET_E_NOT_FOUND;
}

gpulet_status_t server_calibrate_begin(gpulet_server_t *server)
{
    gpulet_error_t err;
    server_calibration_t *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return GPULET_E_NOMEM;
    c->server = server;
    c->begun_ns = c->quiet_since_ns = gpulet_clock_ns();
    gpulet_status_t st = choose_models(c);
    if (st == GPULET_OK)
        st = server->backend->open(&c->device, 0, &server->device_options, &err);
    if (st == GPULET_OK)
        st = start_profiler(c);
    if (st != GPULET_OK) {
        calibration_free(c);
        return st;
    }
    GPULET_LOG(INFO, "event=calibration_begin models=%zu", c->count);
    server->calibration = c;
    return GPULET_OK;
}

void server_calibrate_end(gpulet_server_t *server)
{
    if (server->calibration == NULL)
        return;
    calibration_free(server->calibration);
    server->calibration = NULL;
}

bool server_calibrate_measures(const gpulet_server_t *server, const server_model_t *model)
{
    const server_calibration_t *c = server->calibration;
    for (size_t i = 0; c != NULL && i < c->count; i++) {
        if (c->models[i] == model)
            return true;
    }
    return false;
}

bool server_calibrate_waits(const gpulet_server_t *server)
{
    return server->calibration != NULL && server->calibration->waits;
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

static void keep_whole(gpulet_server_t *server, const server_model_t *model)
{
    char measured_by[GPULET_MEASURED_BY_MAX + 1];
    const gpulet_device_desc_t *desc = &server->devices[0].desc;
    gpulet_measured_by_shapes(measured_by, server->measured_by, &model->entry->warmup, NULL);
    server_keeper_whole(server->keeper, desc->type, measured_by, model->entry->file_key,
                        desc->units, model->batch_max);
}

/* Models whose place was taken meanwhile are left out. True when there are rough points. */
static bool take_measured(server_calibration_t *c)
{
    gpulet_server_t *server = c->server;
    bool rough = false;
    for (size_t i = 0; i < c->count; i++) {
        server_model_t *model = c->models[i];
        if (!server_model_unmeasured(model))
            continue;
        server_known_finish(server, model);
        rough |= model->rough;
        if (server->keeper != NULL && model->measured != NULL && !model->rough &&
            !model->failed_to_measure)
            keep_whole(server, model);
    }
    return rough;
}

/* After the last point a plan is made from what is known now. */
void server_calibrate_step(gpulet_server_t *server)
{
    server_calibration_t *c = server->calibration;
    if (c == NULL || !c->ended || server->switching)
        return;
    bool rough = take_measured(c);
    GPULET_LOG(INFO, "event=calibration_end seconds=%.1f rough=%d",
               (double)(gpulet_clock_ns() - c->begun_ns) / 1e9, (int)rough);
    warn_of_others(c);
    server_calibrate_end(server);
    if (!server->draining && !server->stop && !server_follow_fixed(server))
        server_follow_ask(server, GPULET_FOLLOW_PROFILE);
}
