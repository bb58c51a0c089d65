/* The engine alone in a closed loop, without any server: the most items a second that these cores
 * can give. One thread a session, each on its own cores, always with the next batch in hand. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bare_model.h"
#include "base/clock.h"
#include "base/hist.h"
#include "base/options.h"
#include "base/rng.h"
#include "engine/check.h"

enum { SESSIONS_MAX = 64, WARM_RUNS = 2 };

typedef struct settings {
    char *repository;
    char *model;
    uint64_t sessions;
    uint64_t threads;
    uint64_t batch;
    double duration_s;
    char *ort_library;
    bool spin;
    bool help;
} settings_t;

#define AT(field) offsetof(settings_t, field)

static const gpulet_option_t options_table[] = {
    {"model-dir", GPULET_OPTION_STRING, AT(repository), NULL, 1, 0, "DIR", "repository of models",
     NULL},
    {"model", GPULET_OPTION_STRING, AT(model), "resnet50", 1, 0, "NAME", "which of them", NULL},
    {"sessions", GPULET_OPTION_U64, AT(sessions), "2", 1, SESSIONS_MAX, "N",
     "loaded copies that run side by side", NULL},
    {"threads", GPULET_OPTION_U64, AT(threads), "1", 1, 256, "N", "threads of a session", NULL},
    {"batch", GPULET_OPTION_U64, AT(batch), "8", 1, GPULET_BARE_BATCH_MAX, "N", "items a run",
     NULL},
    {"duration-s", GPULET_OPTION_F64, AT(duration_s), "5", 0.1, 3600, "S",
     "how long runs are counted", NULL},
    {"ort-library", GPULET_OPTION_STRING, AT(ort_library), NULL, 1, 0, "PATH",
     "ONNX Runtime's shared library", NULL},
    {"spin", GPULET_OPTION_BOOL, AT(spin), NULL, 1, 0, NULL,
     "the engine's threads spin between runs", NULL},
    {"help", GPULET_OPTION_BOOL, AT(help), NULL, 1, 0, NULL, "print this", NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, 1, 0, NULL, NULL, NULL},
};

typedef struct session {
    pthread_t thread;
    gpulet_bare_model_t model;
    gpulet_bare_work_t work;
    const settings_t *settings;
    cpu_set_t cores;
    pthread_barrier_t *begin;
    uint64_t runs;
    uint64_t busy_ns;
    gpulet_hist_t latency_ns;
    gpulet_error_t err;
    gpulet_status_t status;
} session_t;

static void ignore_outputs(void *context, size_t index, const gpulet_tensor_view_t *outputs)
{
    (void)context;
    (void)index;
    (void)outputs;
}

/* One random input of `batch` rows an input of the model. */
static gpulet_status_t make_work(session_t *session)
{
    const gpulet_model_io_t *io = session->model.io;
    gpulet_rng_t rng;
    gpulet_rng_init(&rng, 1);
    for (uint32_t i = 0; i < io->inputs_count; i++) {
        gpulet_tensor_view_t *view = &session->work.inputs[i];
        view->type = io->inputs[i].type;
        view->shape = io->inputs[i].shape;
        if (view->shape.rank > 0 && view->shape.dims[0] < 0)
            view->shape.dims[0] = (int64_t)session->settings->batch;
        if (view->type != GPULET_DATATYPE_FP32 ||
            !gpulet_engine_dense_size(&view->size, view->type, &view->shape))
            return gpulet_fail(&session->err, GPULET_E_UNSUPPORTED,
                               "%s: only FP32 inputs of a known shape", session->model.name);
        float *data = malloc(view->size);
        if (data == NULL)
            return gpulet_fail(&session->err, GPULET_E_NOMEM, "out of memory");
        for (size_t e = 0; e < view->size / sizeof(*data); e++)
            data[e] = (float)gpulet_rng_f64(&rng);
        view->data = data;
    }
    return GPULET_OK;
}

static gpulet_status_t run_once(session_t *session)
{
    const gpulet_bare_work_t *work = &session->work;
    return gpulet_bare_model_run(&session->model, &work, 1, ignore_outputs, NULL, &session->err);
}

static void *session_main(void *argument)
{
    session_t *session = argument;
    (void)pthread_setaffinity_np(pthread_self(), sizeof(session->cores), &session->cores);
    session->status = make_work(session);
    for (int i = 0; i < WARM_RUNS && session->status == GPULET_OK; i++)
        session->status = run_once(session);
    (void)pthread_barrier_wait(session->begin);
    uint64_t begin_ns = gpulet_clock_ns();
    uint64_t end_ns = begin_ns + (uint64_t)(session->settings->duration_s * 1e9);
    uint64_t now_ns = begin_ns;
    while (session->status == GPULET_OK && now_ns < end_ns) {
        uint64_t before_ns = now_ns;
        session->status = run_once(session);
        now_ns = gpulet_clock_ns();
        gpulet_hist_record(&session->latency_ns, now_ns - before_ns);
        session->runs++;
    }
    session->busy_ns = now_ns - begin_ns;
    for (size_t i = 0; i < GPULET_BARE_TENSORS_MAX; i++)
        free(session->work.inputs[i].data);
    return NULL;
}

/* The index-th `threads` of the cores this process may use, around again when there are not enough.
 */
static void choose_cores(cpu_set_t *out, uint64_t index, uint64_t threads)
{
    cpu_set_t all;
    CPU_ZERO(out);
    CPU_ZERO(&all);
    if (sched_getaffinity(0, sizeof(all), &all) != 0 || CPU_COUNT(&all) == 0)
        return;
    uint64_t count = (uint64_t)CPU_COUNT(&all);
    for (uint64_t t = 0; t < threads; t++) {
        uint64_t wanted = (index * threads + t) % count;
        for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            if (CPU_ISSET(cpu, &all) && wanted-- == 0) {
                CPU_SET(cpu, out);
                break;
            }
        }
    }
}

static gpulet_status_t load_sessions(session_t *sessions, const gpulet_engine_ops_t *ops,
                                     gpulet_engine_t *engine, const settings_t *settings,
                                     gpulet_error_t *err)
{
    cpu_set_t before;
    (void)sched_getaffinity(0, sizeof(before), &before);
    for (uint64_t i = 0; i < settings->sessions; i++) {
        gpulet_bare_load_options_t load = {settings->repository, settings->model,
                                           (uint32_t)settings->threads, settings->spin};
        sessions[i].settings = settings;
        choose_cores(&sessions[i].cores, i, settings->threads);
        (void)sched_setaffinity(0, sizeof(sessions[i].cores),
                                &sessions[i].cores); /* the engine's threads inherit it */
        gpulet_status_t st = gpulet_bare_model_load(&sessions[i].model, ops, engine, &load, err);
        (void)sched_setaffinity(0, sizeof(before), &before);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

static gpulet_status_t run_sessions(session_t *sessions, const settings_t *settings,
                                    gpulet_error_t *err)
{
    static gpulet_hist_t latency_ns;
    pthread_barrier_t begin;
    double items_rps = 0;
    (void)pthread_barrier_init(&begin, NULL, (unsigned)settings->sessions);
    for (uint64_t i = 0; i < settings->sessions; i++) {
        sessions[i].begin = &begin;
        int rc = pthread_create(&sessions[i].thread, NULL, session_main, &sessions[i]);
        if (rc != 0) {
            /* The others wait at the barrier for ever; the program ends with main. */
            return gpulet_fail(err, GPULET_E_UNAVAILABLE, "cannot start a thread: %s",
                               strerror(rc));
        }
    }
    gpulet_status_t st = GPULET_OK;
    for (uint64_t i = 0; i < settings->sessions; i++) {
        (void)pthread_join(sessions[i].thread, NULL);
        if (sessions[i].status != GPULET_OK && st == GPULET_OK)
            st = gpulet_fail(err, sessions[i].status, "%s", sessions[i].err.text);
        gpulet_hist_merge(&latency_ns, &sessions[i].latency_ns);
        if (sessions[i].busy_ns > 0)
            items_rps +=
                (double)(sessions[i].runs * settings->batch) * 1e9 / (double)sessions[i].busy_ns;
    }
    (void)pthread_barrier_destroy(&begin);
    if (st == GPULET_OK)
        (void)printf("{\"bench\":\"bare_loop\",\"model\":\"%s\",\"sessions\":%llu,\"threads\":%llu,"
                     "\"batch\":%llu,"
                     "\"items_rps\":%.3f,\"run_ms_p50\":%.4f,\"run_ms_p99\":%.4f}\n",
                     settings->model, (unsigned long long)settings->sessions,
                     (unsigned long long)settings->threads, (unsigned long long)settings->batch,
                     items_rps, (double)gpulet_hist_quantile(&latency_ns, 0.5) / 1e6,
                     (double)gpulet_hist_quantile(&latency_ns, 0.99) / 1e6);
    return st;
}

static gpulet_status_t measure(const settings_t *settings, gpulet_error_t *err)
{
    const gpulet_engine_ops_t *ops = gpulet_engine_find("ort");
    gpulet_engine_options_t options = {.ort_library = settings->ort_library};
    gpulet_engine_t *engine = NULL;
    if (settings->repository == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "expected --model-dir");
    if (ops == NULL)
        return gpulet_fail(err, GPULET_E_UNSUPPORTED, "ONNX Runtime is not compiled in");
    session_t *sessions = calloc(settings->sessions, sizeof(*sessions));
    if (sessions == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    gpulet_status_t st = ops->open(&engine, &options, err);
    if (st == GPULET_OK)
        st = load_sessions(sessions, ops, engine, settings, err);
    if (st == GPULET_OK)
        st = run_sessions(sessions, settings, err);
    if (st == GPULET_E_UNAVAILABLE)
        return st; /* threads of this program may still use what would be freed */
    for (uint64_t i = 0; i < settings->sessions; i++)
        gpulet_bare_model_unload(&sessions[i].model);
    ops->close(engine);
    free(sessions);
    return st;
}

int main(int argc, char **argv)
{
    settings_t settings = {0};
    gpulet_error_t err = {""};
    int words = 0;
    gpulet_status_t st = gpulet_options_defaults(options_table, &settings);
    if (st == GPULET_OK)
        st = gpulet_options_parse(options_table, &settings, 1, argc, argv, &words, NULL, &err);
    if (st == GPULET_OK && settings.help) {
        gpulet_buf_t out = GPULET_BUF_INIT;
        gpulet_options_help(&out, options_table);
        (void)fputs(out.data != NULL ? out.data : "", stdout);
        gpulet_buf_deinit(&out);
    } else if (st == GPULET_OK) {
        st = measure(&settings, &err);
    }
    if (st != GPULET_OK)
        (void)fprintf(stderr, "bare_loop: %s\n", err.text);
    gpulet_options_deinit(options_table, &settings);
    return st == GPULET_OK ? 0 : 1;
}
