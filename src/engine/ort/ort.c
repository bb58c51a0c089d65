#include "engine/ort/ort.h"

#include <assert.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>

#include "engine/ort/internal.h"

/* Blocks from this size on are mapped, so that releasing one gives its memory back to the system.
 * glibc raises the threshold by itself otherwise, and then keeps hundreds of megabytes of what
 * loading a model needed. */
enum { MMAP_THRESHOLD = 131072 };

/* Errors come back as statuses; nothing is to be said on stderr. */
static void log_nothing(void *param, int level, const char *category, const char *log_id,
                        const char *location, const char *message)
{
    (void)param;
    (void)level;
    (void)category;
    (void)log_id;
    (void)location;
    (void)message;
}

void gpulet_ort_engine_ref(ort_engine_t *engine)
{
    atomic_fetch_add_explicit(&engine->references, 1, memory_order_relaxed);
}

void gpulet_ort_engine_unref(ort_engine_t *engine)
{
    if (atomic_fetch_sub_explicit(&engine->references, 1, memory_order_acq_rel) > 1)
        return;
    if (engine->memory != NULL)
        engine->api.release_memory_info(engine->memory);
    if (engine->env != NULL)
        engine->api.release_env(engine->env);
    free(engine);
}

static gpulet_status_t create_env(ort_engine_t *engine, gpulet_error_t *err)
{
    const gpulet_ort_api_t *api = &engine->api;
    gpulet_status_t st = gpulet_ort_status(
        api, api->create_env(log_nothing, NULL, ORT_LOG_FATAL, "gpulet", &engine->env),
        GPULET_E_INTERNAL, err);
    if (st == GPULET_OK)
        st = gpulet_ort_status(
            api,
            api->create_cpu_memory_info(ORT_ALLOCATOR_ARENA, ORT_MEMORY_DEFAULT, &engine->memory),
            GPULET_E_INTERNAL, err);
    if (st == GPULET_OK)
        st = gpulet_ort_status(api, api->default_allocator(&engine->allocator), GPULET_E_INTERNAL,
                               err);
    return st;
}

static gpulet_status_t open_engine(gpulet_engine_t **out, const gpulet_engine_options_t *options,
                                   gpulet_error_t *err)
{
    char path[PATH_MAX];
    assert(out != NULL && options != NULL);
    gpulet_status_t st = gpulet_engine_ort_locate(path, sizeof(path), options->ort_library, err);
    if (st != GPULET_OK)
        return st;
    /* Without this, creating the environment starts threads, writes files below the user's cache
     * folder and asks for a name on the net. There are no other threads yet. */
    (void)setenv("ORT_DISABLE_TELEMETRY", "1", 1);
    /* A model file must not bring settings of its own. */
    (void)unsetenv("ORT_LOAD_CONFIG_FROM_MODEL");
    (void)mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    ort_engine_t *engine = calloc(1, sizeof(*engine));
    if (engine == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    engine->ops = &gpulet_engine_ort;
    atomic_init(&engine->references, 1);
    st = gpulet_ort_api_open(&engine->api, engine->version, path, err);
    if (st == GPULET_OK)
        st = create_env(engine, err);
    if (st != GPULET_OK) {
        gpulet_ort_engine_unref(engine);
        return st;
    }
    *out = (gpulet_engine_t *)engine;
    return GPULET_OK;
}

static void close_engine(gpulet_engine_t *engine)
{
    if (engine != NULL)
        gpulet_ort_engine_unref((ort_engine_t *)engine);
}

static const char *version(const gpulet_engine_t *engine)
{
    return ((const ort_engine_t *)engine)->version;
}

static const gpulet_model_io_t *io(const gpulet_engine_model_t *model)
{
    return &((const ort_model_t *)model)->io;
}

const gpulet_engine_ops_t gpulet_engine_ort = {
    .abi_version = GPULET_ENGINE_ABI,
    .name = "ort",
    .open = open_engine,
    .close = close_engine,
    .version = version,
    .load = gpulet_ort_load,
    .unload = gpulet_ort_unload,
    .io = io,
    .run = gpulet_ort_run,
    .output_release = gpulet_ort_output_release,
    .terminate = gpulet_ort_terminate,
    .trim = gpulet_ort_trim,
    .prepare = gpulet_ort_prepare,
};
