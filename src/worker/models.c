#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/work.h"

gpulet_work_model_t *gpulet_work_model_find(const gpulet_work_t *work, uint32_t model)
{
    gpulet_work_model_t *m = work->models;
    while (m != NULL && m->model != model)
        m = m->next;
    return m;
}

static void model_destroy(const gpulet_work_t *work, gpulet_work_model_t *m)
{
    if (m == NULL)
        return;
    for (uint32_t i = 0; i < m->copies_count; i++)
        work->ops->unload(m->copies[i].engine_model);
    work->ops->unload(m->wide);
    work->ops->unload(m->engine_model);
    if (m->input_base != NULL)
        (void)munmap(m->input_base, (size_t)m->input_size);
    gpulet_model_io_deinit(&m->warmup);
    free(m->name);
    free(m->path);
    free(m);
}

/* What the process has grown by since it was ready, less what other models stand for. */
static uint64_t memory_of(const gpulet_work_t *work, const gpulet_work_model_t *model)
{
    uint64_t others = work->memory_at_ready;
    for (const gpulet_work_model_t *m = work->models; m != NULL; m = m->next)
        others += m == model ? 0 : m->memory_bytes;
    uint64_t now = gpulet_work_memory(work);
    return now > others ? now - others : 0;
}

static void memory_settle(gpulet_work_t *work)
{
    gpulet_work_buffer_deinit(&work->gather);
    (void)malloc_trim(0);
}

uint32_t gpulet_work_items_run(const gpulet_work_model_t *model, uint32_t items)
{
    if (model->batch_fixed > 0)
        return model->batch_fixed;
    for (uint32_t i = 0; i < model->copies_count; i++) {
        if (items <= model->copies[i].batch)
            return model->copies[i].batch;
    }
    return items <= model->batch_padded ? model->batch_padded : items;
}

uint32_t gpulet_work_items_measured(const gpulet_work_model_t *model, uint32_t batch)
{
    if (!model->batched || model->outputs_whole)
        return 1;
    return model->batch_fixed > 0 ? model->batch_fixed : batch;
}

/* ---- load, unload ---- */

/* Further sessions are loaded from the same file. */
static gpulet_status_t remember(gpulet_work_model_t *m, const gpulet_engine_load_options_t *options,
                                gpulet_error_t *err)
{
    m->load_limit_ns = options->load_limit_ns;
    m->name = strdup(options->name);
    m->path = strdup(options->path);
    return m->name != NULL && m->path != NULL ? GPULET_OK
                                              : gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
}

static gpulet_status_t session_load(gpulet_work_model_t *m, const gpulet_work_t *work,
                                    const gpulet_control_t *message, int fd, gpulet_error_t *err)
{
    gpulet_engine_load_options_t options =
        gpulet_work_load_options(work, message->name, message->text, message->ns);
    const bool told = message->io.inputs_count + message->io.outputs_count > 0;
    gpulet_status_t st;
    options.io = told ? &message->io : NULL;
    options.batch_fixed = message->batch;
    m->input_size = message->size;
    if ((st = gpulet_shared_map(&m->input_base, fd, message->size, false, err)) != GPULET_OK)
        return st;
    st = GPULET_E_NOT_FOUND;
    if (message->prepared[0] != '\0') {
        options.path = message->prepared;
        st = work->ops->load(&m->engine_model, work->engine, &options, err);
        if (st == GPULET_E_TIMEOUT)
            return st; /* A thread of the library hangs: the process is to end. */
        if (st != GPULET_OK) {
            options.path = message->text;
            GPULET_LOG(WARNING, "event=prepared_refused model=%s status=%s", message->name,
                       gpulet_status_name(st));
        }
    }
    if (st != GPULET_OK &&
        (st = work->ops->load(&m->engine_model, work->engine, &options, err)) != GPULET_OK)
        return st;
    m->io = work->ops->io(m->engine_model);
    m->told = told ? m->io : NULL;
    if (m->io->inputs_count > GPULET_MODEL_IO_MAX || m->io->outputs_count > GPULET_MODEL_IO_MAX)
        return gpulet_fail(err, GPULET_E_UNSUPPORTED, "more than %d inputs or outputs",
                           GPULET_MODEL_IO_MAX);
    return remember(m, &options, err);
}

gpulet_status_t gpulet_work_model_create(gpulet_work_model_t **out, uint64_t *load_ns,
                                         const gpulet_work_t *work, const gpulet_control_t *message,
                                         int fd, gpulet_error_t *err)
{
    gpulet_work_model_t *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    m->model = message->model;
    m->batch_fixed = message->batch;
    m->batched = message->batched;
    m->recipe = -1;
    uint64_t begun_ns = gpulet_clock_ns();
    gpulet_status_t st = gpulet_model_io_copy(&m->warmup, &message->warmup);
    st = st == GPULET_OK ? session_load(m, work, message, fd, err)
                         : gpulet_fail(err, st, "out of memory");
    *load_ns = gpulet_clock_ns() - begun_ns;
    if (st != GPULET_OK) {
        model_destroy(work, m);
        return st;
    }
    gpulet_work_warm(work, m, message);
    *out = m;
    return GPULET_OK;
}

void gpulet_work_loaded(gpulet_work_t *work, gpulet_work_model_t *m, uint64_t load_ns)
{
    memory_settle(work);
    m->memory_bytes = memory_of(work, m);
    m->next = work->models;
    work->models = m;
    const gpulet_control_t answer = {.kind = GPULET_CONTROL_LOADED,
                                     .model = m->model,
                                     .batched = m->batched && !m->outputs_whole,
                                     .ns = load_ns,
                                     .p50_ns = m->timed_ns,
                                     .memory = m->memory_bytes,
                                     .io = *m->io};
    gpulet_work_send(work, &answer, -1);
}

void gpulet_work_load_failed(gpulet_work_t *work, uint32_t model, gpulet_status_t st,
                             const gpulet_error_t *err)
{
    const gpulet_control_t answer = {.kind = GPULET_CONTROL_LOAD_FAILED,
                                     .model = model,
                                     .status = st,
                                     .text =
                                         err->text[0] != '\0' ? err->text : gpulet_status_text(st)};
    gpulet_work_send(work, &answer, -1);
}

void gpulet_work_load(gpulet_work_t *work, const gpulet_control_t *message, int fd)
{
    gpulet_error_t err = {""};
    gpulet_work_model_t *m = NULL;
    uint64_t load_ns = 0;
    gpulet_status_t st =
        gpulet_work_model_find(work, message->model) == NULL
            ? gpulet_work_model_create(&m, &load_ns, work, message, fd, &err)
            : gpulet_fail(&err, GPULET_E_EXISTS, "model %u is loaded already", message->model);
    if (fd >= 0)
        (void)close(fd);
    if (st == GPULET_OK)
        gpulet_work_loaded(work, m, load_ns);
    else
        gpulet_work_load_failed(work, message->model, st, &err);
}

/* Loads the copy anew when there is one: the number of lent cores has changed. */
static gpulet_status_t widen(gpulet_work_t *work, const gpulet_control_t *message,
                             gpulet_error_t *err)
{
    gpulet_work_model_t *m = gpulet_work_model_find(work, message->model);
    const gpulet_engine_load_options_t options = {
        .name = message->name,
        .path = message->prepared[0] != '\0' ? message->prepared : message->text,
        .io = m != NULL ? m->told : NULL,
        .batch_fixed = m != NULL ? m->batch_fixed : 0,
        .threads = message->threads,
        .units = message->batch,
        .yielding = true,
        .load_limit_ns = message->ns,
    };
    if (m == NULL)
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "model %u is not loaded here", message->model);
    if (message->threads == 0)
        return gpulet_fail(err, GPULET_E_INVALID, "no threads");
    work->ops->unload(m->wide);
    m->wide = NULL;
    return work->ops->load(&m->wide, work->engine, &options, err);
}

void gpulet_work_widen(gpulet_work_t *work, const gpulet_control_t *message)
{
    gpulet_error_t err;
    err.text[0] = '\0';
    gpulet_status_t st = widen(work, message, &err);
    const gpulet_control_t answer = {.kind = GPULET_CONTROL_WIDENED,
                                     .model = message->model,
                                     .status = st,
                                     .text =
                                         err.text[0] != '\0' ? err.text : gpulet_status_text(st)};
    gpulet_work_send(work, &answer, -1);
    if (st == GPULET_E_TIMEOUT)
        work->ended = true; /* A thread of the library hangs: it is not to be lived with. */
}

void gpulet_work_unload(gpulet_work_t *work, uint32_t model)
{
    gpulet_work_model_t **at = &work->models;
    while (*at != NULL && (*at)->model != model)
        at = &(*at)->next;
    gpulet_work_model_t *m = *at;
    if (m == NULL)
        return;
    *at = m->next;
    model_destroy(work, m);
    memory_settle(work);
}

void gpulet_work_models_deinit(gpulet_work_t *work)
{
    while (work->models != NULL) {
        gpulet_work_model_t *m = work->models;
        work->models = m->next;
        model_destroy(work, m);
    }
}

/* ---- measure ---- */

enum {
    RUNS_LIMIT = 100000,
    COLD_RUNS_LIMIT = 1000,
    COLD_RUNS_FEW = 5,
    COLD_PAUSE_MS = 20,
    COLD_RUN_MS_MAX = 50, /* of longer runs what caches cost is less than a hundredth */
    COLD_BYTES = 16 << 20 /* that others use meanwhile: more than the caches of a core */
};

static int compare_ns(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The smallest of the sorted values that at least a hundredth part `percent` of them do not exceed.
 */
static uint64_t percentile(const uint64_t *sorted, uint32_t count, uint32_t percent)
{
    uint64_t rank = ((uint64_t)count * percent + 99) / 100;
    return sorted[rank == 0 ? 0 : rank - 1];
}

static void pause_cold(uint8_t *others)
{
    const struct timespec pause = {0, COLD_PAUSE_MS * 1000000L};
    for (size_t i = 0; i < COLD_BYTES; i += 64)
        ((volatile uint8_t *)others)[i]++;
    (void)nanosleep(&pause, NULL);
}

/* By how much a run takes longer that follows a pause in which the core was idle and its caches
 * were used by others: each beside one that follows right after others, as the speed of a machine
 * drifts. The median; at least a few runs, then as many as the time allows. */
static gpulet_status_t measure_cold(gpulet_control_t *answer, gpulet_work_t *work,
                                    gpulet_work_model_t *m, const gpulet_control_t *message,
                                    const gpulet_tensor_view_t *inputs, uint32_t items,
                                    gpulet_error_t *err)
{
    uint64_t longer[COLD_RUNS_LIMIT];
    uint64_t begun_ns = gpulet_clock_ns();
    gpulet_status_t st = GPULET_OK;
    uint32_t runs = 0;
    uint8_t *others = calloc(1, COLD_BYTES);
    if (others == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    while (st == GPULET_OK && runs < message->cold_runs && runs < COLD_RUNS_LIMIT &&
           (runs < COLD_RUNS_FEW || gpulet_clock_ns() - begun_ns < message->ns)) {
        uint64_t cold_ns = 0;
        uint64_t warm_ns = 0;
        pause_cold(others);
        st = gpulet_work_recipe_run(&cold_ns, work, m, inputs, items, err);
        for (int i = 0; i < GPULET_WORK_WARM_RUNS && st == GPULET_OK; i++)
            st = gpulet_work_recipe_run(&warm_ns, work, m, inputs, items, err);
        longer[runs++] = cold_ns > warm_ns ? cold_ns - warm_ns : 0;
    }
    free(others);
    if (st != GPULET_OK || runs == 0)
        return st;
    qsort(longer, runs, sizeof(longer[0]), compare_ns);
    answer->cold_ns = percentile(longer, runs, 50);
    return GPULET_OK;
}

static gpulet_status_t measure_runs(gpulet_control_t *answer, uint64_t *times, gpulet_work_t *work,
                                    gpulet_work_model_t *m, const gpulet_control_t *message,
                                    gpulet_error_t *err)
{
    gpulet_tensor_view_t inputs[GPULET_MODEL_IO_MAX];
    const uint32_t items = gpulet_work_items_measured(m, message->batch);
    gpulet_work_trial_t trial = {.work = work, .gather = &work->gather, .placed = work};
    /* The sessions that a worker which serves this batch has are part of what it takes. */
    gpulet_work_copies_load(&trial, m, items);
    gpulet_status_t st = gpulet_work_recipe_find(inputs, &trial, m, items, err);
    /* The first run of a shape is not like the others, on a GPU not even the second. */
    for (int i = 1;
         i < GPULET_WORK_WARM_RUNS && st == GPULET_OK && strcmp(work->entry.provider, "cpu") != 0;
         i++)
        st = gpulet_work_recipe_run(&times[0], work, m, inputs, items, err);
    uint64_t begun_ns = gpulet_clock_ns();
    uint32_t runs = 0;
    while (st == GPULET_OK && runs < message->runs_max &&
           (runs < message->runs || gpulet_clock_ns() - begun_ns < message->ns)) {
        st = gpulet_work_recipe_run(&times[runs], work, m, inputs, items, err);
        runs++;
    }
    if (st != GPULET_OK)
        return st;
    qsort(times, runs, sizeof(*times), compare_ns);
    answer->runs = runs;
    answer->ns = times[0];
    answer->p50_ns = percentile(times, runs, 50);
    answer->p99_ns = percentile(times, runs, 99);
    if (message->cold_runs > 0 && answer->p50_ns <= COLD_RUN_MS_MAX * GPULET_NS_PER_MS &&
        strcmp(work->entry.provider, "cpu") == 0)
        st = measure_cold(answer, work, m, message, inputs, items, err);
    return st;
}

void gpulet_work_measure(gpulet_work_t *work, const gpulet_control_t *message)
{
    gpulet_control_t answer = {
        .kind = GPULET_CONTROL_MEASURED, .model = message->model, .batch = message->batch};
    gpulet_work_model_t *m = gpulet_work_model_find(work, message->model);
    gpulet_error_t err;
    gpulet_status_t st;
    uint64_t *times = NULL;
    err.text[0] = '\0';
    if (m == NULL)
        st = gpulet_fail(&err, GPULET_E_NOT_FOUND, "model %u is not loaded here", message->model);
    else if (message->runs_max == 0 || message->runs_max > RUNS_LIMIT || message->batch == 0)
        st = gpulet_fail(&err, GPULET_E_INVALID, "between 1 and %d runs can be measured",
                         RUNS_LIMIT);
    else if (m->outputs_whole && message->batch > 1)
        st = gpulet_fail(&err, GPULET_E_UNSUPPORTED,
                         "its outputs have no batch dimension: one item a run");
    else if ((times = calloc(message->runs_max, sizeof(*times))) == NULL)
        st = gpulet_fail(&err, GPULET_E_NOMEM, "out of memory");
    else
        st = measure_runs(&answer, times, work, m, message, &err);
    free(times);
    if (m != NULL) {
        memory_settle(work);
        answer.memory = m->memory_bytes = memory_of(work, m);
    }
    answer.status = st;
    answer.text = st == GPULET_OK ? "" : err.text;
    gpulet_work_send(work, &answer, -1);
}
