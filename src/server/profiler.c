#include "server/profiler.h"

#include <assert.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "base/clock.h"
#include "server/measurer.h"

enum {
    TICK_MS = 50,
    BATCHES_MAX = 64,
    DISTURBED_MAX = 3,
    NICE = 10,
    ALL_SIZES_UP_TO = 8,
    RUNS_FEW = 3,
    COLD_RUNS = 15,
    END_MS = 10000,
    END_LOOK_MS = 10
};

typedef enum profiler_state {
    PROFILER_START_WORKER, /* of size sizes[size] */
    PROFILER_STARTING,
    PROFILER_LOAD,
    PROFILER_LOADING,
    PROFILER_MEASURE,
    PROFILER_MEASURING,
    PROFILER_NEXT_MODEL,
    PROFILER_NEXT_SIZE,
    PROFILER_END
} profiler_state_t;

struct gpulet_profiler {
    gpulet_profiler_options_t options;
    uint32_t *sizes;
    uint32_t *batches;
    const gpulet_repository_model_t **models;
    profiler_state_t state;
    size_t size;
    size_t model;
    uint32_t points[BATCHES_MAX]; /* batches of the model in hand */
    size_t points_count;
    size_t point;
    uint32_t disturbed;
    uint64_t rows;
    uint64_t budget_ns; /* of the point in hand */
    gpulet_cpu_meter_t meter;
    double last_ms; /* latency of the point before; 0: none */
    gpulet_measurer_t measurer;
    gpulet_slab_t *slab;
    struct event *tick;
    char problem[256];
};

uint32_t *gpulet_profiler_default_sizes(size_t *count, uint32_t units, uint32_t step)
{
    uint32_t *sizes = calloc(ALL_SIZES_UP_TO + 40, sizeof(*sizes));
    *count = 0;
    if (sizes == NULL)
        return NULL;
    for (uint64_t u = 1; u * step < units; u = u < ALL_SIZES_UP_TO ? u + 1 : u * 2)
        sizes[(*count)++] = (uint32_t)(u * step);
    sizes[(*count)++] = units;
    return sizes;
}

static const gpulet_repository_model_t *current_model(const gpulet_profiler_t *p)
{
    return p->models[p->model];
}

uint32_t gpulet_profiler_batch_max(const gpulet_repository_model_t *model)
{
    return model->config.max_batch_size > 0 ? (uint32_t)model->config.max_batch_size : 1;
}

/* What the batches below the first that is not known take tells how long that may. */
static void add_point(gpulet_profiler_t *p, uint32_t batch)
{
    const gpulet_profiler_options_t *o = &p->options;
    double known_ms = o->known_ms != NULL
                          ? o->known_ms(o->context, current_model(p), p->sizes[p->size], batch)
                          : NAN;
    if (isnan(known_ms) && p->points_count < BATCHES_MAX)
        p->points[p->points_count++] = batch;
    else if (p->points_count == 0)
        p->last_ms = known_ms;
}

/* The batches to measure of the model in hand. */
static void choose_points(gpulet_profiler_t *p)
{
    uint32_t limit = gpulet_profiler_batch_max(current_model(p));
    p->points_count = 0;
    p->point = 0;
    p->last_ms = 0;
    p->disturbed = 0;
    for (size_t i = 0; i < p->options.batches_count; i++) {
        if (p->batches[i] <= limit)
            add_point(p, p->batches[i]);
    }
    if (p->options.batches_count > 0)
        return;
    for (uint32_t b = 1; b < limit; b *= 2)
        add_point(p, b);
    add_point(p, limit);
}

/* Has the worker end by itself where its device minds being left in a hurry, and where the memory
 * of one gone half way would spoil the next one's figures. Blocks: not in a server. */
static void end_worker(gpulet_profiler_t *p)
{
    gpulet_measurer_t *m = &p->measurer;
    if (m->worker == NULL || m->lost || p->options.background || p->options.backend->detach == NULL)
        return;
    m->stopped = false;
    gpulet_worker_stop(m->worker, END_MS * GPULET_NS_PER_MS);
    for (int waited = 0; waited < 2 * END_MS && !m->stopped && !m->lost; waited += END_LOOK_MS) {
        struct pollfd fd = {.fd = gpulet_worker_fd(m->worker), .events = POLLIN};
        (void)poll(&fd, 1, END_LOOK_MS);
        gpulet_worker_process(m->worker);
        gpulet_measurer_check(m);
    }
}

static void drop_worker(gpulet_profiler_t *p)
{
    end_worker(p);
    gpulet_measurer_release(&p->measurer);
}

static void report_problem(gpulet_profiler_t *p, const char *text)
{
    if (text != p->problem)
        (void)snprintf(p->problem, sizeof(p->problem), "%s", text);
    p->options.on_problem(p->options.context, current_model(p), p->sizes[p->size], text);
}

/* ---- what the worker said ---- */

static void take_figures(gpulet_profiler_t *p)
{
    const gpulet_profiler_options_t *o = &p->options;
    const gpulet_worker_measured_t *m = &p->measurer.figures;
    gpulet_cpu_meter_end(&p->meter);
    if (p->measurer.failed) {
        report_problem(p, p->measurer.text);
        p->state = PROFILER_NEXT_MODEL;
        return;
    }
    p->state = PROFILER_MEASURE;
    if (o->was_disturbed != NULL && o->was_disturbed(o->context) && p->disturbed++ < DISTURBED_MAX)
        return;
    gpulet_profiler_row_t row = {
        .model = current_model(p),
        .units = p->sizes[p->size],
        .batch = m->batch,
        .runs = m->runs,
        .least_ms = (double)m->least_ns / 1e6,
        .latency_ms = (double)m->p50_ns / 1e6,
        .latency_ms_p99 = (double)m->p99_ns / 1e6,
        .cold_ms = (double)m->cold_ns / 1e6,
        .memory_mb = (double)m->memory_bytes / 1048576.0,
    };
    p->rows++;
    p->disturbed = 0;
    p->last_ms = row.latency_ms;
    p->point++;
    o->on_row(o->context, &row);
}

/* From a state that waits to the next one, once the worker has answered. */
static void hear(gpulet_profiler_t *p)
{
    const gpulet_measurer_t *m = &p->measurer;
    if (p->state == PROFILER_STARTING && m->ready) {
        p->state = PROFILER_LOAD;
    } else if (p->state == PROFILER_LOADING && m->loaded) {
        p->state = PROFILER_MEASURE;
    } else if (p->state == PROFILER_LOADING && m->failed) {
        report_problem(p, m->text);
        p->state = PROFILER_NEXT_MODEL;
    } else if (p->state == PROFILER_MEASURING && m->measured) {
        take_figures(p);
    }
    if (m->lost) {
        report_problem(p, m->text);
        drop_worker(p);
        p->state = PROFILER_NEXT_MODEL;
    }
}

/* ---- steps ---- */

static gpulet_status_t start_worker(gpulet_profiler_t *p, gpulet_error_t *err)
{
    bool background = p->options.background;
    gpulet_status_t st = gpulet_measurer_carve(&p->measurer, p->sizes[p->size], background, err);
    return st == GPULET_OK ? gpulet_measurer_start(&p->measurer, background ? NICE : 0, err) : st;
}

static void do_start(gpulet_profiler_t *p)
{
    gpulet_error_t err;
    if (p->model >= p->options.models_count) {
        p->state = PROFILER_NEXT_SIZE;
        return;
    }
    p->state = PROFILER_STARTING;
    if (start_worker(p, &err) != GPULET_OK) {
        drop_worker(p);
        for (; p->model < p->options.models_count; p->model++)
            report_problem(p, err.text);
        p->state = PROFILER_NEXT_SIZE;
    }
}

static void do_load(gpulet_profiler_t *p)
{
    gpulet_error_t err;
    choose_points(p);
    if (p->points_count == 0) {
        p->state = PROFILER_NEXT_MODEL;
        return;
    }
    p->state = PROFILER_LOADING;
    if (gpulet_measurer_load(&p->measurer, (uint32_t)p->model, current_model(p), p->slab, &err) !=
        GPULET_OK) {
        report_problem(p, err.text);
        p->state = PROFILER_NEXT_MODEL;
    }
}

static void do_measure(gpulet_profiler_t *p)
{
    const gpulet_profiler_options_t *o = &p->options;
    double share_s = o->seconds_per_model /
                     (double)(o->sizes_count * (p->points_count > 0 ? p->points_count : 1));
    if (p->point >= p->points_count) {
        p->state = PROFILER_NEXT_MODEL;
        return;
    }
    /* Twice the batch takes at most about twice as long: leave out what cannot fit in the model's
     * time with the least runs. */
    if (o->background &&
        p->last_ms * 2 * o->runs_min / 1000.0 > o->seconds_per_model / (double)o->sizes_count) {
        p->state = PROFILER_NEXT_MODEL;
        return;
    }
    if (o->may_run != NULL && !o->may_run(o->context))
        return;
    /* A point that will take much longer than its share is run only as often as a median needs. */
    uint32_t runs_min = p->last_ms * 2 * o->runs_min / 1000.0 > share_s && o->runs_min > RUNS_FEW
                            ? RUNS_FEW
                            : o->runs_min;
    const gpulet_worker_order_t order = {
        (uint32_t)p->model, p->points[p->point],           runs_min,
        o->runs_max,        p->point == 0 ? COLD_RUNS : 0, (uint64_t)(share_s * 1e9)};
    gpulet_error_t err;
    p->state = PROFILER_MEASURING;
    gpulet_cpu_meter_begin(&p->meter);
    if (gpulet_measurer_measure(&p->measurer, &order, &err) != GPULET_OK) {
        report_problem(p, err.text);
        p->state = PROFILER_NEXT_MODEL;
    }
}

static void do_next_model(gpulet_profiler_t *p)
{
    gpulet_status_t st = GPULET_OK;
    if (p->measurer.worker != NULL)
        st = gpulet_worker_unload(p->measurer.worker, (uint32_t)p->model);
    if (st != GPULET_OK && st != GPULET_E_NOT_FOUND) /* nothing of it to measure, or it failed */
        drop_worker(p); /* it takes no orders: the next model gets a new one */
    p->model++;
    if (p->model >= p->options.models_count)
        p->state = PROFILER_NEXT_SIZE;
    else
        p->state = p->measurer.worker != NULL ? PROFILER_LOAD : PROFILER_START_WORKER;
}

static void do_next_size(gpulet_profiler_t *p)
{
    drop_worker(p);
    p->model = 0;
    p->size++;
    if (p->size < p->options.sizes_count) {
        p->state = PROFILER_START_WORKER;
        return;
    }
    p->state = PROFILER_END;
    (void)event_del(p->tick);
    p->options.on_end(p->options.context, GPULET_OK, p->problem);
}

/* Goes on until something has to be waited for. */
static void step(void *context)
{
    gpulet_profiler_t *p = context;
    hear(p);
    for (;;) {
        profiler_state_t before = p->state;
        switch (p->state) {
        case PROFILER_START_WORKER:
            do_start(p);
            break;
        case PROFILER_LOAD:
            do_load(p);
            break;
        case PROFILER_MEASURE:
            do_measure(p);
            break;
        case PROFILER_NEXT_MODEL:
            do_next_model(p);
            break;
        case PROFILER_NEXT_SIZE:
            do_next_size(p);
            break;
        case PROFILER_STARTING:
        case PROFILER_LOADING:
        case PROFILER_MEASURING:
        case PROFILER_END:
            return;
        }
        if (p->state == before && before == PROFILER_MEASURE)
            return; /* not now: the tick asks again */
        if (p->state == PROFILER_END)
            return;
    }
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    gpulet_profiler_t *p = context;
    (void)fd;
    (void)what;
    gpulet_measurer_check(&p->measurer);
    step(p);
}

static gpulet_status_t copy_lists(gpulet_profiler_t *p)
{
    const gpulet_profiler_options_t *o = &p->options;
    p->sizes = calloc(o->sizes_count, sizeof(*p->sizes));
    p->batches = calloc(o->batches_count + 1, sizeof(*p->batches));
    p->models = calloc(o->models_count, sizeof(*p->models));
    if (p->sizes == NULL || p->batches == NULL || p->models == NULL)
        return GPULET_E_NOMEM;
    memcpy(p->sizes, o->sizes, o->sizes_count * sizeof(*p->sizes));
    if (o->batches_count > 0)
        memcpy(p->batches, o->batches, o->batches_count * sizeof(*p->batches));
    memcpy(p->models, o->models, o->models_count * sizeof(*p->models));
    return GPULET_OK;
}

gpulet_status_t gpulet_profiler_start(gpulet_profiler_t **out,
                                      const gpulet_profiler_options_t *options, gpulet_error_t *err)
{
    struct timeval period = {0, TICK_MS * 1000L};
    assert(options->sizes_count > 0 && options->models_count > 0 && options->runs_min > 0);
    gpulet_profiler_t *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    p->options = *options;
    const gpulet_measurer_options_t workers = {
        .base = options->base,
        .backend = options->backend,
        .device = options->device,
        .device_backend_name = options->device_backend_name,
        .worker_program = options->worker_program,
        .engine = options->engine,
        .ort_library = options->ort_library,
        .fake_profile = options->fake_profile,
        .device_type = options->device_type,
        .log_level = options->log_level,
        .load_limit_s = options->load_limit_s,
    };
    gpulet_measurer_init(&p->measurer, &workers, "profiler");
    p->measurer.on_news = step;
    p->measurer.context = p;
    gpulet_status_t st = copy_lists(p);
    if (st != GPULET_OK) {
        (void)gpulet_fail(err, st, "out of memory");
        goto fail;
    }
    if ((st = gpulet_measurer_slab(&p->slab, "profiler", err)) != GPULET_OK)
        goto fail;
    p->tick = event_new(options->base, -1, EV_PERSIST, on_tick, p);
    if (p->tick == NULL || event_add(p->tick, &period) != 0) {
        st = gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
        goto fail;
    }
    *out = p;
    return GPULET_OK;
fail:
    gpulet_profiler_destroy(p);
    return st;
}

const gpulet_cpu_meter_t *gpulet_profiler_meter(const gpulet_profiler_t *profiler)
{
    return &profiler->meter;
}

void gpulet_profiler_destroy(gpulet_profiler_t *profiler)
{
    if (profiler == NULL)
        return;
    drop_worker(profiler);
    if (profiler->tick != NULL)
        event_free(profiler->tick);
    gpulet_slab_destroy(profiler->slab);
    free(profiler->sizes);
    free(profiler->batches);
    free((void *)profiler->models);
    free(profiler);
}
