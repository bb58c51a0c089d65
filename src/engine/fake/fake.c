#include "engine/fake/fake.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/fake/internal.h"

static void close_engine(gpulet_engine_t *engine)
{
    fake_engine_t *fake = (fake_engine_t *)engine;
    if (fake == NULL)
        return;
    gpulet_profile_destroy(fake->profile);
    free(fake->device);
    free(fake);
}

static gpulet_status_t open_engine(gpulet_engine_t **out, const gpulet_engine_options_t *options,
                                   gpulet_error_t *err)
{
    assert(out != NULL && options != NULL);
    gpulet_status_t st = GPULET_OK;
    fake_engine_t *fake = calloc(1, sizeof(*fake));
    if (fake == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    fake->ops = &gpulet_engine_fake;
    if (options->fake_device != NULL && (fake->device = strdup(options->fake_device)) == NULL)
        st = gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    if (st == GPULET_OK && options->fake_profile != NULL)
        st = gpulet_profile_load(&fake->profile, options->fake_profile, GPULET_PROFILE_FORMAT_CSV,
                                 NULL, err);
    if (st != GPULET_OK) {
        close_engine((gpulet_engine_t *)fake);
        return st;
    }
    *out = (gpulet_engine_t *)fake;
    return GPULET_OK;
}

static const char *version(const gpulet_engine_t *engine)
{
    (void)engine;
    return "1.0";
}

/* The curve of one instance alone. */
static const gpulet_curve_t *find_curve(const fake_engine_t *engine, const char *model,
                                        uint32_t units)
{
    if (engine->profile == NULL || model == NULL)
        return NULL;
    if (engine->device != NULL)
        return gpulet_profile_curve(engine->profile, engine->device, model, units, 1);
    for (size_t i = 0; i < gpulet_profile_curves_count(engine->profile); i++) {
        const gpulet_curve_t *curve = gpulet_profile_curve_at(engine->profile, i);
        if (strcmp(curve->model, model) == 0 && curve->units == units && curve->instances == 1)
            return curve;
    }
    return NULL;
}

/* All curves of the model on the device, one instance alone. */
static gpulet_status_t copy_curves(gpulet_profile_t *out, const fake_engine_t *engine,
                                   const char *model, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    for (size_t i = 0; i < gpulet_profile_curves_count(engine->profile); i++) {
        const gpulet_curve_t *c = gpulet_profile_curve_at(engine->profile, i);
        if (strcmp(c->device, engine->device) != 0 || strcmp(c->model, model) != 0 ||
            c->instances != 1)
            continue;
        for (uint32_t k = 0; k < c->points_count && st == GPULET_OK; k++)
            st = gpulet_profile_add(out, c->device, c->model, c->units, c->instances, &c->points[k],
                                    false, err);
    }
    return st;
}

/* The curve at the nearest measured size: below it first, since that errs on the slow side. */
static const gpulet_curve_t *nearest_curve(const fake_engine_t *engine, const char *model,
                                           uint32_t units)
{
    const gpulet_curve_t *nearest = NULL;
    for (size_t i = 0; i < gpulet_profile_curves_count(engine->profile); i++) {
        const gpulet_curve_t *c = gpulet_profile_curve_at(engine->profile, i);
        if (strcmp(c->device, engine->device) != 0 || strcmp(c->model, model) != 0 ||
            c->instances != 1)
            continue;
        const bool below = c->units <= units;
        if (nearest == NULL || (below && (nearest->units > units || c->units > nearest->units)) ||
            (!below && nearest->units > units && c->units < nearest->units))
            nearest = c;
    }
    return nearest;
}

/* Plans have gpu-lets of sizes between the measured ones, whose times they expect between theirs.
 */
static gpulet_status_t set_curve(fake_model_t *model, const fake_engine_t *engine,
                                 const gpulet_engine_load_options_t *options, gpulet_error_t *err)
{
    model->curve = find_curve(engine, options->name, options->units);
    if (model->curve != NULL || engine->profile == NULL || engine->device == NULL ||
        options->name == NULL)
        return GPULET_OK;
    gpulet_status_t st = gpulet_profile_create(&model->between);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "out of memory");
    st = copy_curves(model->between, engine, options->name, err);
    if (st == GPULET_OK)
        st = gpulet_profile_interpolate_units(model->between, engine->device, &options->units, 1,
                                              err);
    if (st == GPULET_OK)
        model->curve =
            gpulet_profile_curve(model->between, engine->device, options->name, options->units, 1);
    if (st == GPULET_OK && model->curve == NULL)
        model->curve = nearest_curve(engine, options->name, options->units);
    return st;
}

/* Takes as long as the script says, or up to the limit. */
static gpulet_status_t take_load_time(double load_ms, uint64_t limit_ns, gpulet_error_t *err)
{
    uint64_t load_ns = (uint64_t)(load_ms * (double)GPULET_NS_PER_MS);
    bool late = limit_ns > 0 && load_ns > limit_ns;
    uint64_t until_ns = gpulet_clock_ns() + (late ? limit_ns : load_ns);
    const struct timespec until = {.tv_sec = (time_t)(until_ns / GPULET_NS_PER_S),
                                   .tv_nsec = (long)(until_ns % GPULET_NS_PER_S)};
    if (load_ns > 0) {
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
            ;
    }
    if (late)
        return gpulet_fail(err, GPULET_E_TIMEOUT,
                           "the model did not finish loading within %" PRIu64 " ms",
                           limit_ns / GPULET_NS_PER_MS);
    return GPULET_OK;
}

/* What the script says of loading; it may not return. */
static gpulet_status_t obey(const gpulet_fake_script_t *script,
                            const gpulet_engine_load_options_t *options, gpulet_error_t *err)
{
    gpulet_status_t st = take_load_time(script->load_ms, options->load_limit_ns, err);
    if (st != GPULET_OK || (script->load_units != 0 && script->load_units != options->units))
        return st;
    if (script->crash_load != 0)
        abort();
    while (script->hang_load != 0)
        (void)pause();
    if (script->fail_load[0] != '\0')
        return gpulet_fail(err, GPULET_E_INVALID, "%s", script->fail_load);
    return GPULET_OK;
}

static gpulet_status_t hold_memory(fake_model_t *model, gpulet_error_t *err)
{
    size_t size = (size_t)model->script.memory_mb << 20;
    if (size == 0)
        return GPULET_OK;
    model->memory = malloc(size);
    if (model->memory == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory for %" PRIu64 " MiB",
                           model->script.memory_mb);
    memset(model->memory, 1, size); /* only touched pages count */
    return GPULET_OK;
}

static void unload(gpulet_engine_model_t *engine_model)
{
    fake_model_t *model = (fake_model_t *)engine_model;
    if (model == NULL)
        return;
    gpulet_fake_script_deinit(&model->script);
    gpulet_profile_destroy(model->between);
    (void)pthread_cond_destroy(&model->changed);
    (void)pthread_mutex_destroy(&model->lock);
    free(model->memory);
    free(model);
    (void)malloc_trim(0);
}

static void init_model(fake_model_t *model)
{
    pthread_condattr_t attr;
    model->ops = &gpulet_engine_fake;
    (void)pthread_mutex_init(&model->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&model->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
}

/* What the model is: its file's own words count first. */
static gpulet_status_t read_model(fake_model_t *model, const gpulet_engine_load_options_t *options,
                                  gpulet_error_t *err)
{
    gpulet_fake_script_t *script = &model->script;
    gpulet_model_io_t io;
    gpulet_status_t st = options->path[0] == '\0'
                             ? gpulet_fake_script_parse(script, "", 0, err)
                             : gpulet_fake_script_load(script, options->path, err);
    if (st != GPULET_OK || options->io == NULL || script->names_tensors)
        return st;
    if ((st = gpulet_model_io_copy(&io, options->io)) != GPULET_OK)
        return gpulet_fail(err, st, "out of memory");
    gpulet_model_io_deinit(&script->io);
    script->io = io;
    model->told = true;
    model->batch_fixed = options->batch_fixed;
    return GPULET_OK;
}

static gpulet_status_t load(gpulet_engine_model_t **out, gpulet_engine_t *engine,
                            const gpulet_engine_load_options_t *options, gpulet_error_t *err)
{
    assert(out != NULL && engine != NULL && options->path != NULL && options->threads >= 1);
    fake_model_t *model = calloc(1, sizeof(*model));
    if (model == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    init_model(model);
    gpulet_status_t st = read_model(model, options, err);
    if (st == GPULET_OK)
        st = obey(&model->script, options, err);
    if (st == GPULET_OK)
        st = hold_memory(model, err);
    if (st == GPULET_OK)
        st = set_curve(model, (const fake_engine_t *)engine, options, err);
    if (st != GPULET_OK) {
        unload((gpulet_engine_model_t *)model);
        return st;
    }
    gpulet_rng_init(&model->rng, model->script.seed);
    *out = (gpulet_engine_model_t *)model;
    return GPULET_OK;
}

static const gpulet_model_io_t *io(const gpulet_engine_model_t *model)
{
    return &((const fake_model_t *)model)->script.io;
}

static void trim(gpulet_engine_model_t *model)
{
    (void)model; /* it holds nothing back */
}

const gpulet_engine_ops_t gpulet_engine_fake = {
    .abi_version = GPULET_ENGINE_ABI,
    .name = "fake",
    .open = open_engine,
    .close = close_engine,
    .version = version,
    .load = load,
    .unload = unload,
    .io = io,
    .run = gpulet_fake_run,
    .output_release = gpulet_fake_output_release,
    .terminate = gpulet_fake_terminate,
    .trim = trim,
};
