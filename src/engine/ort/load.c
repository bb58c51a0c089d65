#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/thread.h"
#include "engine/ort/internal.h"

/* Far beyond any machine; more would only exhaust this one. */
enum { THREADS_MAX = 4096 };

/* ---- creating a session, watched ----
 *
 * When the library cannot start a thread of its pool it waits for it for ever, and nothing can stop
 * a thread of a library. So a session is created by a thread of its own, which is left behind when
 * it takes too long; whoever of the two leaves last frees what they share. The pool's threads
 * inherit the CPU mask of that thread, which inherits the caller's. */

typedef struct load_job {
    pthread_mutex_t lock; /* done, abandoned */
    pthread_cond_t changed;
    bool done;
    bool abandoned;
    ort_engine_t *engine; /* a reference */
    ort_session_options_t *options;
    char *path;
    bool yielding; /* this thread, and with it the pool that it starts, runs at idle priority */
    int yield_error;
    ort_session_t *session;
    ort_status_t *status;
} load_job_t;

static void job_destroy(load_job_t *job)
{
    const gpulet_ort_api_t *api = &job->engine->api;
    api->release_session(job->session);
    api->release_status(job->status);
    api->release_session_options(job->options);
    gpulet_ort_engine_unref(job->engine);
    (void)pthread_cond_destroy(&job->changed);
    (void)pthread_mutex_destroy(&job->lock);
    free(job->path);
    free(job);
}

static void *job_main(void *argument)
{
    load_job_t *job = argument;
    const ort_engine_t *engine = job->engine;
    const struct sched_param none = {0};
    if (job->yielding && sched_setscheduler(0, SCHED_IDLE, &none) != 0)
        job->yield_error = errno;
    else
        job->status =
            engine->api.create_session(engine->env, job->path, job->options, &job->session);
    (void)pthread_mutex_lock(&job->lock);
    bool abandoned = job->abandoned;
    job->done = true;
    (void)pthread_cond_signal(&job->changed);
    (void)pthread_mutex_unlock(&job->lock);
    if (abandoned)
        job_destroy(job);
    return NULL;
}

static gpulet_status_t job_create(load_job_t **out, ort_engine_t *engine, const char *path,
                                  gpulet_error_t *err)
{
    pthread_condattr_t attr;
    load_job_t *job = calloc(1, sizeof(*job));
    char *copy = strdup(path);
    if (job == NULL || copy == NULL) {
        free(job);
        free(copy);
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    }
    job->path = copy;
    job->engine = engine;
    gpulet_ort_engine_ref(engine);
    (void)pthread_mutex_init(&job->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&job->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    *out = job;
    return GPULET_OK;
}

/* Whether the job was done in time; else it is abandoned. */
static bool job_wait(load_job_t *job, uint64_t limit_ns)
{
    uint64_t until_ns = gpulet_clock_ns() + limit_ns;
    struct timespec until = {.tv_sec = (time_t)(until_ns / GPULET_NS_PER_S),
                             .tv_nsec = (long)(until_ns % GPULET_NS_PER_S)};
    int result = 0;
    (void)pthread_mutex_lock(&job->lock);
    while (!job->done && result != ETIMEDOUT) {
        result = limit_ns == 0 ? pthread_cond_wait(&job->changed, &job->lock)
                               : pthread_cond_timedwait(&job->changed, &job->lock, &until);
    }
    bool done = job->done;
    job->abandoned = !done;
    (void)pthread_mutex_unlock(&job->lock);
    return done;
}

/* What the library said about a model file: whose fault is it? */
static gpulet_status_t load_status(int code, const char *text)
{
    static const char *const unsupported[] = {
        "No Op registered", "is not a registered function/op", "only *guarantees* support",
        "Unsupported model IR version", "Could not find an implementation"};
    if (strstr(text, "std::bad_alloc") != NULL || strstr(text, "Failed to allocate memory") != NULL)
        return GPULET_E_NOMEM;
    for (size_t i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]); i++) {
        if (strstr(text, unsupported[i]) != NULL)
            return GPULET_E_UNSUPPORTED;
    }
    switch ((ort_code_t)code) {
    case ORT_CODE_NO_SUCH_FILE:
        return GPULET_E_NOT_FOUND;
    case ORT_CODE_NOT_IMPLEMENTED:
        return GPULET_E_UNSUPPORTED;
    case ORT_CODE_ENGINE_ERROR:
    case ORT_CODE_PROVIDER_FAIL:
    case ORT_CODE_DEVICE_RESET:
        return GPULET_E_INTERNAL;
    default:
        return GPULET_E_INVALID; /* codes 1 and 6 also stand for files with impossible graphs */
    }
}

static gpulet_status_t job_result(ort_session_t **out, load_job_t *job, gpulet_error_t *err)
{
    gpulet_error_t local;
    local.text[0] = '\0';
    gpulet_error_t *text = err != NULL ? err : &local;
    if (job->yield_error != 0)
        return gpulet_fail(text, GPULET_E_UNAVAILABLE, "no idle priority: %s",
                           strerror(job->yield_error));
    if (job->status != NULL) {
        int code = gpulet_ort_take(&job->engine->api, job->status, text);
        job->status = NULL;
        return load_status(code, text->text);
    }
    *out = job->session;
    job->session = NULL;
    return GPULET_OK;
}

static gpulet_status_t create_watched(ort_session_t **out, load_job_t *job, uint64_t limit_ns,
                                      gpulet_error_t *err)
{
    pthread_t thread;
    int result = gpulet_thread_start(&thread, job_main, job);
    if (result != 0) {
        job_destroy(job);
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "cannot start a thread to load with: %s",
                           strerror(result));
    }
    if (!job_wait(job, limit_ns)) {
        (void)pthread_detach(thread); /* job is the thread's now */
        return gpulet_fail(err, GPULET_E_TIMEOUT,
                           "ONNX Runtime did not finish loading within %" PRIu64 " ms",
                           limit_ns / GPULET_NS_PER_MS);
    }
    (void)pthread_join(thread, NULL);
    gpulet_status_t st = job_result(out, job, err);
    job_destroy(job);
    return st;
}

static bool wants_gpu(const gpulet_engine_load_options_t *options)
{
    return options->provider != NULL && strcmp(options->provider, "cuda") == 0;
}

/* Settings of the provider that whoever runs us wants, "key=value;key=value": the library refuses
 * what it does not know. */
static ort_status_t *update_from_environment(const gpulet_ort_api_t *api, ort_cuda_options_t *cuda)
{
    char text[1024];
    const char *wanted = getenv("GPULET_CUDA_OPTIONS");
    ort_status_t *status = NULL;
    char *rest = NULL;
    if (wanted == NULL || strlen(wanted) >= sizeof(text))
        return NULL;
    memcpy(text, wanted, strlen(wanted) + 1);
    for (char *pair = strtok_r(text, ";", &rest); pair != NULL && status == NULL;
         pair = strtok_r(NULL, ";", &rest)) {
        char *value = strchr(pair, '=');
        if (value == NULL)
            continue;
        *value = '\0';
        const char *keys[1] = {pair}, *values[1] = {value + 1};
        status = api->update_cuda_options(cuda, keys, values, 1);
    }
    return status;
}

static gpulet_status_t append_cuda(load_job_t *job, const gpulet_engine_load_options_t *options,
                                   gpulet_error_t *err)
{
    char ordinal[16];
    /* The arena grows by what is asked for, since gpu-lets share the memory. The heuristic choice
     * of convolution takes no trial runs. */
    static const char *const keys[] = {"device_id", "arena_extend_strategy",
                                       "cudnn_conv_algo_search"};
    const char *const values[] = {ordinal, "kSameAsRequested", "HEURISTIC"};
    const gpulet_ort_api_t *api = &job->engine->api;
    ort_cuda_options_t *cuda = NULL;
    (void)snprintf(ordinal, sizeof(ordinal), "%" PRIu32, options->ordinal);
    ort_status_t *status = api->create_cuda_options(&cuda);
    if (status == NULL)
        status = api->update_cuda_options(cuda, keys, values, sizeof(keys) / sizeof(keys[0]));
    if (status == NULL)
        status = update_from_environment(api, cuda);
    /* After the texts, which would set it back. */
    if (status == NULL && options->stream != NULL)
        status = api->update_cuda_options_with(cuda, "user_compute_stream", options->stream);
    if (status == NULL)
        status = api->append_cuda(job->options, cuda);
    if (cuda != NULL)
        api->release_cuda_options(cuda);
    gpulet_status_t st = gpulet_ort_status(api, status, GPULET_E_UNAVAILABLE, err);
    if (st != GPULET_OK)
        gpulet_error_prefix(err, "ONNX Runtime's CUDA provider");
    return st;
}

static gpulet_status_t append_provider(load_job_t *job, const gpulet_engine_load_options_t *options,
                                       gpulet_error_t *err)
{
    if (wants_gpu(options))
        return append_cuda(job, options, err);
    if (options->provider == NULL || strcmp(options->provider, "cpu") == 0)
        return GPULET_OK;
    return gpulet_fail(err, GPULET_E_UNSUPPORTED, "no provider is called '%s'", options->provider);
}

static gpulet_status_t configure(load_job_t *job, const gpulet_engine_load_options_t *options,
                                 gpulet_error_t *err)
{
    const gpulet_ort_api_t *api = &job->engine->api;
    const char *spin = options->spin ? "1" : "0";
    ort_status_t *status = api->create_session_options(&job->options);
    ort_session_options_t *o = job->options;
    if (status == NULL)
        status = api->set_intra_threads(o, (int)options->threads);
    if (status == NULL)
        status = api->set_inter_threads(o, 1);
    if (status == NULL)
        status = api->set_execution_mode(o, ORT_EXECUTION_SEQUENTIAL);
    if (status == NULL)
        status = api->set_optimisation(o, ORT_OPTIMISATION_ALL);
    /* The pattern of one batch size is memory on top for every other; batches vary here. */
    if (status == NULL)
        status = api->disable_mem_pattern(o);
    if (status == NULL)
        status = api->set_log_severity(o, ORT_LOG_FATAL);
    if (status == NULL)
        status = api->add_session_config(o, "session.intra_op.allow_spinning", spin);
    gpulet_status_t st = gpulet_ort_status(api, status, GPULET_E_INTERNAL, err);
    return st == GPULET_OK ? append_provider(job, options, err) : st;
}

/* The graph as it is after all rewriting, its weights in a file of their own: from there they are
 * mapped, not read, copied and rearranged. */
static gpulet_status_t configure_saving(load_job_t *job, const char *folder, gpulet_error_t *err)
{
    const gpulet_ort_api_t *api = &job->engine->api;
    ort_session_options_t *o = job->options;
    char path[GPULET_ENGINE_PREPARED_PATH_MAX];
    gpulet_status_t st = gpulet_engine_prepared_path(path, sizeof(path), folder);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "%s: the path is too long", folder);
    ort_status_t *status = api->set_optimised_path(o, path);
    if (status == NULL)
        status = api->add_session_config(
            o, "session.optimized_model_external_initializers_file_name", "weights.bin");
    if (status == NULL)
        status = api->add_session_config(
            o, "session.optimized_model_external_initializers_min_size_in_bytes", "1024");
    return gpulet_ort_status(api, status, GPULET_E_INTERNAL, err);
}

/* With a folder, what is made of the model is saved there. */
static gpulet_status_t create_session(ort_session_t **out, ort_engine_t *engine,
                                      const gpulet_engine_load_options_t *options,
                                      const char *folder, gpulet_error_t *err)
{
    struct stat info;
    load_job_t *job = NULL;
    if (options->threads > THREADS_MAX)
        return gpulet_fail(err, GPULET_E_INVALID, "%" PRIu32 " threads are over the limit of %d",
                           options->threads, THREADS_MAX);
    if (stat(options->path, &info) != 0)
        return gpulet_fail(err, errno == ENOENT ? GPULET_E_NOT_FOUND : GPULET_E_IO, "%s: %s",
                           options->path, strerror(errno));
    /* Reading a pipe or a device would never end. */
    if (!S_ISREG(info.st_mode))
        return gpulet_fail(err, GPULET_E_INVALID, "%s is no regular file", options->path);
    gpulet_status_t st = job_create(&job, engine, options->path, err);
    if (st != GPULET_OK)
        return st;
    assert(job != NULL);
    job->yielding = options->yielding;
    st = configure(job, options, err);
    if (st == GPULET_OK && folder != NULL)
        st = configure_saving(job, folder, err);
    if (st != GPULET_OK) {
        job_destroy(job);
        return st;
    }
    return create_watched(out, job, options->load_limit_ns, err);
}

/* ---- what the session says of its inputs and outputs ---- */

static gpulet_status_t read_shape(gpulet_tensor_spec_t *spec, const gpulet_ort_api_t *api,
                                  const ort_shape_info_t *info, gpulet_error_t *err)
{
    int type = 0;
    size_t rank = 0;
    ort_status_t *status = api->element_type(info, &type);
    if (status == NULL)
        status = api->dimensions_count(info, &rank);
    if (status != NULL)
        return gpulet_ort_status(api, status, GPULET_E_INTERNAL, err);
    spec->type = gpulet_datatype_from_onnx(type);
    if (spec->type == GPULET_DATATYPE_INVALID)
        return gpulet_fail(err, GPULET_E_UNSUPPORTED,
                           "\"%s\": ONNX element type %d has no datatype of the protocol",
                           spec->name, type);
    if (rank > GPULET_RANK_MAX)
        return gpulet_fail(err, GPULET_E_UNSUPPORTED, "\"%s\": rank %zu is over the limit of %d",
                           spec->name, rank, GPULET_RANK_MAX);
    spec->shape.rank = (uint32_t)rank;
    status = rank > 0 ? api->dimensions(info, spec->shape.dims, rank) : NULL;
    for (size_t i = 0; i < rank; i++) {
        if (spec->shape.dims[i] < 0)
            spec->shape.dims[i] = -1;
    }
    return gpulet_ort_status(api, status, GPULET_E_INTERNAL, err);
}

static gpulet_status_t read_type(gpulet_tensor_spec_t *spec, const gpulet_ort_api_t *api,
                                 const ort_type_info_t *type, gpulet_error_t *err)
{
    const ort_shape_info_t *info = NULL;
    int kind = 0;
    ort_status_t *status = api->value_kind(type, &kind);
    if (status == NULL && kind != ORT_VALUE_KIND_TENSOR)
        return gpulet_fail(err, GPULET_E_UNSUPPORTED,
                           "\"%s\" is no tensor (a sequence, map, optional or sparse value)",
                           spec->name);
    if (status == NULL)
        status = api->cast_to_shape_info(type, &info);
    if (status != NULL)
        return gpulet_ort_status(api, status, GPULET_E_INTERNAL, err);
    if (info == NULL)
        return gpulet_fail(err, GPULET_E_UNSUPPORTED, "\"%s\" is no tensor", spec->name);
    return read_shape(spec, api, info, err);
}

static gpulet_status_t read_spec(gpulet_tensor_spec_t *spec, const ort_model_t *model, bool input,
                                 size_t index, gpulet_error_t *err)
{
    const gpulet_ort_api_t *api = &model->engine->api;
    ort_allocator_t *allocator = model->engine->allocator;
    ort_type_info_t *type = NULL;
    char *name = NULL;
    gpulet_status_t st =
        gpulet_ort_status(api,
                          input ? api->input_name(model->session, index, allocator, &name)
                                : api->output_name(model->session, index, allocator, &name),
                          GPULET_E_INTERNAL, err);
    if (st != GPULET_OK)
        return st;
    size_t len = strlen(name);
    if (len > GPULET_TENSOR_NAME_MAX)
        st = gpulet_fail(err, GPULET_E_UNSUPPORTED,
                         "a tensor's name has %zu bytes, over the limit of %d", len,
                         GPULET_TENSOR_NAME_MAX);
    else
        memcpy(spec->name, name, len + 1);
    api->release_status(api->allocator_free(allocator, name));
    if (st != GPULET_OK)
        return st;
    st = gpulet_ort_status(api,
                           input ? api->input_type(model->session, index, &type)
                                 : api->output_type(model->session, index, &type),
                           GPULET_E_INTERNAL, err);
    if (st != GPULET_OK)
        return st;
    st = read_type(spec, api, type, err);
    api->release_type_info(type);
    if (st != GPULET_OK)
        gpulet_error_prefix(err, "%s %zu", input ? "input" : "output", index);
    return st;
}

static gpulet_status_t read_specs(ort_model_t *model, bool input, gpulet_error_t *err)
{
    const gpulet_ort_api_t *api = &model->engine->api;
    size_t count = 0;
    gpulet_status_t st = gpulet_ort_status(api,
                                           input ? api->input_count(model->session, &count)
                                                 : api->output_count(model->session, &count),
                                           GPULET_E_INTERNAL, err);
    if (st != GPULET_OK)
        return st;
    if (count > GPULET_MODEL_IO_MAX)
        return gpulet_fail(err, GPULET_E_UNSUPPORTED, "the model has %zu %s, over the limit of %d",
                           count, input ? "inputs" : "outputs", GPULET_MODEL_IO_MAX);
    gpulet_tensor_spec_t *specs = calloc(count + 1, sizeof(*specs));
    if (specs == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    if (input) {
        model->io.inputs = specs;
        model->io.inputs_count = (uint32_t)count;
    } else {
        model->io.outputs = specs;
        model->io.outputs_count = (uint32_t)count;
    }
    for (size_t i = 0; i < count; i++) {
        if ((st = read_spec(&specs[i], model, input, i, err)) != GPULET_OK)
            return st;
        (input ? model->input_names : model->output_names)[i] = specs[i].name;
    }
    return GPULET_OK;
}

/* ---- load and unload ---- */

/* On a GPU what weighs lies in the device's arena, which grows by what is asked for and stays. */
static gpulet_status_t create_run_options(ort_model_t *model, bool shrinks, gpulet_error_t *err)
{
    const gpulet_ort_api_t *api = &model->engine->api;
    ort_status_t *status = api->create_run_options(&model->options);
    if (status == NULL)
        status = api->set_run_log_severity(model->options, ORT_LOG_FATAL);
    if (status == NULL)
        status = api->create_run_options(&model->options_trim);
    if (status == NULL)
        status = api->set_run_log_severity(model->options_trim, ORT_LOG_FATAL);
    if (status == NULL && shrinks)
        status = api->add_run_config(model->options_trim, "memory.enable_memory_arena_shrinkage",
                                     "cpu:0");
    return gpulet_ort_status(api, status, GPULET_E_INTERNAL, err);
}

gpulet_status_t gpulet_ort_load(gpulet_engine_model_t **out, gpulet_engine_t *engine,
                                const gpulet_engine_load_options_t *options, gpulet_error_t *err)
{
    assert(out != NULL && engine != NULL && options->path != NULL && options->threads >= 1);
    ort_model_t *model = calloc(1, sizeof(*model));
    if (model == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    model->ops = ((ort_engine_t *)engine)->ops;
    model->engine = (ort_engine_t *)engine;
    model->on_gpu = wants_gpu(options);
    atomic_init(&model->trim_wanted, false);
    (void)pthread_mutex_init(&model->lock, NULL);
    gpulet_status_t st = create_session(&model->session, model->engine, options, NULL, err);
    if (st == GPULET_OK)
        st = read_specs(model, true, err);
    if (st == GPULET_OK)
        st = read_specs(model, false, err);
    if (st == GPULET_OK)
        st = create_run_options(model, !wants_gpu(options), err);
    if (st != GPULET_OK) {
        gpulet_ort_unload((gpulet_engine_model_t *)model);
        return st;
    }
    (void)malloc_trim(0); /* what only loading needed */
    *out = (gpulet_engine_model_t *)model;
    return GPULET_OK;
}

void gpulet_ort_unload(gpulet_engine_model_t *engine_model)
{
    ort_model_t *model = (ort_model_t *)engine_model;
    if (model == NULL)
        return;
    const gpulet_ort_api_t *api = &model->engine->api;
    api->release_run_options(model->options);
    api->release_run_options(model->options_trim);
    api->release_session(model->session);
    gpulet_model_io_deinit(&model->io);
    (void)pthread_mutex_destroy(&model->lock);
    free(model);
    (void)malloc_trim(0);
}

gpulet_status_t gpulet_ort_prepare(gpulet_engine_t *engine,
                                   const gpulet_engine_load_options_t *options, const char *folder,
                                   gpulet_error_t *err)
{
    ort_session_t *session = NULL;
    assert(engine != NULL && folder != NULL && options->path != NULL);
    gpulet_status_t st = create_session(&session, (ort_engine_t *)engine, options, folder, err);
    if (st == GPULET_OK)
        ((ort_engine_t *)engine)->api.release_session(session);
    return st;
}
