#include "server/measurer.h"

#include <stdio.h>

#include <event2/event.h>

#include "base/clock.h"

enum { SLAB_BYTES = 1 << 20 };

/* ---- what the worker says ---- */

static void on_ready(void *context, gpulet_worker_t *worker)
{
    (void)worker;
    ((gpulet_measurer_t *)context)->ready = true;
}

static void on_loaded(void *context, gpulet_worker_t *worker, const gpulet_worker_loaded_t *loaded)
{
    (void)worker;
    (void)loaded;
    ((gpulet_measurer_t *)context)->loaded = true;
}

static void on_load_failed(void *context, gpulet_worker_t *worker, uint32_t model,
                           gpulet_status_t status, const char *text)
{
    gpulet_measurer_t *m = context;
    (void)worker;
    (void)model;
    (void)status;
    m->failed = true;
    (void)snprintf(m->text, sizeof(m->text), "%s", text);
}

static void on_measured(void *context, gpulet_worker_t *worker,
                        const gpulet_worker_measured_t *figures)
{
    gpulet_measurer_t *m = context;
    (void)worker;
    m->measured = true;
    m->failed = figures->runs == 0;
    m->figures = *figures;
    (void)snprintf(m->text, sizeof(m->text), "%s", figures->text);
    m->figures.text = m->text;
}

static void on_done(void *context, gpulet_worker_t *worker, const gpulet_worker_result_t *result)
{
    (void)context;
    (void)worker;
    gpulet_worker_release(result->output); /* no batch is ever sent */
}

static void on_lost(void *context, gpulet_worker_t *worker, const char *why)
{
    gpulet_measurer_t *m = context;
    (void)worker;
    m->lost = true;
    (void)snprintf(m->text, sizeof(m->text), "the worker was lost: %s", why);
}

static void on_stopped(void *context, gpulet_worker_t *worker)
{
    (void)worker;
    ((gpulet_measurer_t *)context)->stopped = true;
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    gpulet_measurer_t *m = context;
    (void)fd;
    (void)what;
    if (m->worker != NULL && !m->lost)
        gpulet_worker_process(m->worker);
    if (m->on_news != NULL)
        m->on_news(m->context);
}

/* ---- orders ---- */

static void forget(gpulet_measurer_t *m)
{
    m->ready = m->loaded = m->measured = m->failed = false;
    if (!m->lost)
        m->text[0] = '\0';
}

gpulet_status_t gpulet_measurer_slab(gpulet_slab_t **out, const char *name, gpulet_error_t *err)
{
    return gpulet_slab_create(out, name, SLAB_BYTES, err);
}

void gpulet_measurer_init(gpulet_measurer_t *m, const gpulet_measurer_options_t *options,
                          const char *name)
{
    *m = (gpulet_measurer_t){.options = *options, .name = name};
}

gpulet_status_t gpulet_measurer_carve(gpulet_measurer_t *m, uint32_t units, bool background,
                                      gpulet_error_t *err)
{
    m->units = units;
    return m->options.backend->carve(&m->partition, m->options.device, units, background, err);
}

gpulet_status_t gpulet_measurer_start(gpulet_measurer_t *m, int nice, gpulet_error_t *err)
{
    const gpulet_measurer_options_t *o = &m->options;
    char grant[GPULET_GRANT_MAX + 1];
    gpulet_status_t st = o->backend->grant(grant, sizeof(grant), m->partition);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "the gpu-let has too many units for a text");
    gpulet_worker_options_t options = {
        .program = o->worker_program,
        .name = m->name,
        .backend = o->device_backend_name,
        .grant = grant,
        .engine = o->engine,
        .ort_library = o->ort_library,
        .fake_profile = o->fake_profile,
        .device_type = o->device_type,
        .log_level = o->log_level,
        .units = m->units,
        .batch_ahead = 2,
        .load_limit_ns = (uint64_t)(o->load_limit_s * 1e9),
        .nice = nice,
    };
    gpulet_worker_callbacks_t callbacks = {.context = m,
                                           .on_ready = on_ready,
                                           .on_loaded = on_loaded,
                                           .on_load_failed = on_load_failed,
                                           .on_measured = on_measured,
                                           .on_done = on_done,
                                           .on_lost = on_lost,
                                           .on_stopped = on_stopped};
    m->lost = m->stopped = false;
    forget(m);
    if ((st = gpulet_worker_start(&m->worker, &options, &callbacks, err)) != GPULET_OK)
        return st;
    m->readable =
        event_new(o->base, gpulet_worker_fd(m->worker), EV_READ | EV_PERSIST, on_readable, m);
    if (m->readable == NULL || event_add(m->readable, NULL) != 0)
        return gpulet_fail(err, GPULET_E_NOMEM, "no event for the worker");
    return GPULET_OK;
}

/* The batch that a model's own shapes ask for; 0: any. */
static uint32_t fixed_batch(const gpulet_repository_model_t *model)
{
    if (model->config.max_batch_size <= 0 || model->io.inputs_count == 0 ||
        model->io.inputs[0].shape.rank == 0)
        return 0;
    return model->io.inputs[0].shape.dims[0] > 0 ? (uint32_t)model->io.inputs[0].shape.dims[0] : 0;
}

gpulet_status_t gpulet_measurer_load(gpulet_measurer_t *m, uint32_t number,
                                     const gpulet_repository_model_t *model,
                                     const gpulet_slab_t *slab, gpulet_error_t *err)
{
    gpulet_worker_model_t value = {
        .model = number,
        .name = model->key,
        .path = model->path,
        .warmup = &model->warmup,
        .io = gpulet_repository_told(model),
        .input_fd = gpulet_slab_fd(slab),
        .input_size = gpulet_slab_size(slab),
        .batch_fixed = fixed_batch(model),
        .batched = model->config.max_batch_size > 0,
    };
    forget(m);
    return gpulet_worker_load(m->worker, &value, err);
}

gpulet_status_t gpulet_measurer_measure(gpulet_measurer_t *m, const gpulet_worker_order_t *order,
                                        gpulet_error_t *err)
{
    forget(m);
    return gpulet_worker_measure(m->worker, order) == GPULET_OK
               ? GPULET_OK
               : gpulet_fail(err, GPULET_E_UNAVAILABLE, "the worker takes no order");
}

void gpulet_measurer_check(gpulet_measurer_t *m)
{
    if (m->worker != NULL)
        gpulet_worker_check(m->worker, gpulet_clock_ns());
}

void gpulet_measurer_drop(gpulet_measurer_t *m)
{
    if (m->readable != NULL)
        event_free(m->readable);
    m->readable = NULL;
    gpulet_worker_destroy(m->worker);
    m->worker = NULL;
    m->lost = m->stopped = false;
}

void gpulet_measurer_release(gpulet_measurer_t *m)
{
    gpulet_measurer_drop(m);
    if (m->partition != NULL)
        m->options.backend->release(m->partition);
    m->partition = NULL;
}
