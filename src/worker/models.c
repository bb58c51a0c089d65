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

static void model_destroy(gpulet_work_t *work, gpulet_work_model_t *m)
{
    if (m == NULL)
        return;
    for (uint32_t i = 0; i < m->copies_count; i++)
        work->ops->unload(m->copies[i].engine_model);
    work->ops->unload(m->wide);
    work->ops->unload(m->engine_model);
    if (m->input_base != NULL)
        (void)munmap(m->input_base, (size_t)m->input_size);
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

/* ---- one run of made-up inputs ---- */

enum { COPIES_FACTOR = 4, WARM_RUNS = 3 };

static gpulet_status_t recipe_run(uint64_t *ns_out, gpulet_work_t *work,
                                  const gpulet_work_model_t *model,
                                  const gpulet_tensor_view_t *inputs, uint32_t items,
                                  gpulet_error_t *err)
{
    const uint32_t items_and_run[2] = {items, items};
    gpulet_work_result_t result;
    gpulet_status_t st =
        gpulet_work_execute(&result, work, model, false, inputs, items_and_run, err);
    if (st != GPULET_OK)
        return st;
    gpulet_work_output_free(work, result.output.segment, result.output.offset);
    *ns_out = result.exec_ns;
    return GPULET_OK;
}

/* Finds inputs the model runs with; the first that worked is remembered. The first error is the one
 * reported: it speaks of the likeliest. */
static gpulet_status_t recipe_find(gpulet_tensor_view_t *inputs, gpulet_work_t *work,
                                   gpulet_work_model_t *model, uint32_t items, gpulet_error_t *err)
{
    gpulet_status_t first = GPULET_E_UNSUPPORTED;
    gpulet_error_t text;
    uint64_t ns = 0;
    const int count = gpulet_work_recipes(model);
    (void)gpulet_fail(err, first, "no inputs could be made up for this model");
    for (int i = 0; i < count && !work->closed; i++) {
        int recipe = model->recipe >= 0 ? (model->recipe + i) % count : i;
        text.text[0] = '\0';
        gpulet_status_t st = gpulet_work_recipe_make(inputs, work, model, items, recipe);
        if (st == GPULET_OK)
            st = recipe_run(&ns, work, model, inputs, items, &text);
        else
            (void)gpulet_fail(&text, st, "made-up inputs: %s", gpulet_status_text(st));
        if (st == GPULET_OK) {
            model->recipe = recipe;
            return GPULET_OK;
        }
        if (i == 0) {
            first = st;
            *err = text;
        }
    }
    return first;
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

/* As a measurement wants it: a batch of just that size. */
static uint32_t items_measured(const gpulet_work_model_t *model, uint32_t batch)
{
    if (!model->batched || model->outputs_whole)
        return 1;
    return model->batch_fixed > 0 ? model->batch_fixed : batch;
}

/* ---- load, unload ---- */

static void load_failed(gpulet_work_t *work, uint32_t model, gpulet_status_t st, const char *text)
{
    const gpulet_control_t answer = {
        .kind = GPULET_CONTROL_LOAD_FAILED, .model = model, .status = st, .text = text};
    gpulet_work_send(work, &answer, -1);
}

static gpulet_engine_load_options_t load_options(const gpulet_work_t *work, const char *name,
                                                 const char *path, uint64_t limit_ns)
{
    return (gpulet_engine_load_options_t){
        .name = name,
        .path = path,
        .threads = work->entry.threads,
        .provider = work->entry.provider,
        .ordinal = work->entry.ordinal,
        .stream = work->entry.stream,
        .units = work->units,
        .spin = work->spin,
        .load_limit_ns = limit_ns,
    };
}

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

static gpulet_status_t model_load(gpulet_work_model_t *m, gpulet_work_t *work,
                                  const gpulet_control_t *message, int fd, gpulet_error_t *err)
{
    gpulet_engine_load_options_t options =
        load_options(work, message->name, message->text, message->ns);
    gpulet_status_t st;
    if (gpulet_work_model_find(work, message->model) != NULL)
        return gpulet_fail(err, GPULET_E_EXISTS, "model %u is loaded already", message->model);
    m->input_size = message->size;
    if ((st = gpulet_shared_map(&m->input_base, fd, message->size, false, err)) != GPULET_OK)
        return st;
    st = GPULET_E_NOT_FOUND;
    if (message->prepared[0] != '\0') {
        options.path = message->prepared;
        st = work->ops->load(&m->engine_model, work->engine, &options, err);
        if (st == GPULET_E_TIMEOUT)
            return st; /* A thread of the library hangs: the process is to end. */
        if (st != GPULET_OK)
            options.path = message->text;
        if (st != GPULET_OK)
            GPULET_LOG(WARNING, "event=prepared_refused model=%s status=%s", message->name,
                       gpulet_status_name(st));
    }
    if (st != GPULET_OK &&
        (st = work->ops->load(&m->engine_model, work->engine, &options, err)) != GPULET_OK)
        return st;
    m->io = work->ops->io(m->engine_model);
    if (m->io->inputs_count > GPULET_MODEL_IO_MAX || m->io->outputs_count > GPULET_MODEL_IO_MAX)
        return gpulet_fail(err, GPULET_E_UNSUPPORTED, "more than %d inputs or outputs",
                           GPULET_MODEL_IO_MAX);
    return remember(m, &options, err);
}

/* Sessions for smaller batches than the largest, each run once: a GPU chooses its kernels when it
 * first sees a shape. One that cannot be had, for lack of memory perhaps, is done without. Those
 * that are there already stay. */
static void copies_load(gpulet_work_t *work, gpulet_work_model_t *m, uint32_t largest)
{
    const gpulet_engine_load_options_t options =
        load_options(work, m->name, m->path, m->load_limit_ns);
    gpulet_tensor_view_t inputs[GPULET_MODEL_IO_MAX];
    gpulet_error_t err;
    uint64_t b =
        m->copies_count > 0 ? (uint64_t)m->copies[m->copies_count - 1].batch * COPIES_FACTOR : 1;
    for (; b < largest && m->copies_count < GPULET_WORK_COPIES_MAX; b *= COPIES_FACTOR) {
        gpulet_work_copy_t *copy = &m->copies[m->copies_count];
        if (work->ops->load(&copy->engine_model, work->engine, &options, &err) != GPULET_OK)
            break;
        copy->batch = (uint32_t)b;
        m->copies_count++;
        if (recipe_find(inputs, work, m, copy->batch, &err) != GPULET_OK)
            break;
    }
}

static bool has_copies(const gpulet_work_t *work, const gpulet_work_model_t *m)
{
    return m->batched && !m->outputs_whole && m->batch_fixed == 0 &&
           strcmp(work->entry.provider, "cpu") != 0;
}

static void copies_load_planned(gpulet_work_t *work, gpulet_work_model_t *m,
                                const gpulet_control_t *message)
{
    gpulet_tensor_view_t inputs[GPULET_MODEL_IO_MAX];
    uint32_t planned = message->runs;
    gpulet_error_t err;
    if (!has_copies(work, m) || planned <= 1)
        return;
    m->batch_padded = planned;
    copies_load(work, m, planned);
    (void)recipe_find(inputs, work, m, planned, &err);
}

/* A model that is to be batched is tried with two items: its outputs must tell them apart. Only the
 * run shows it, since a declared dimension may be anything. */
static gpulet_status_t model_try(gpulet_work_t *work, gpulet_work_model_t *m, gpulet_error_t *err)
{
    gpulet_tensor_view_t inputs[GPULET_MODEL_IO_MAX];
    gpulet_error_t why;
    if (!m->batched || m->batch_fixed > 0)
        return recipe_find(inputs, work, m, items_measured(m, 1), err);
    why.text[0] = '\0';
    gpulet_status_t st = recipe_find(inputs, work, m, 2, &why);
    if (st == GPULET_OK)
        return st;
    m->outputs_whole = work->unbatched_seen;
    return recipe_find(inputs, work, m, 1, err);
}

/* A model that runs with no made-up inputs may still run with real ones: that is no reason to
 * refuse it. */
static void model_warm(gpulet_work_t *work, gpulet_work_model_t *m, const gpulet_control_t *message)
{
    gpulet_error_t err;
    work->unbatched_seen = false;
    gpulet_status_t st = model_try(work, m, &err);
    if (st == GPULET_OK)
        copies_load_planned(work, m, message);
    memory_settle(work);
    gpulet_work_outputs_trim(work); /* those of two items are of no size that will be asked for */
    if (st != GPULET_OK) {
        char quoted[512];
        GPULET_LOG(WARNING, "event=warm_up_failed model=%s status=%s error=%s", message->name,
                   gpulet_status_name(st), gpulet_log_quote(quoted, (int)sizeof(quoted), err.text));
    }
}

void gpulet_work_load(gpulet_work_t *work, const gpulet_control_t *message, int fd)
{
    gpulet_error_t err;
    err.text[0] = '\0';
    gpulet_work_model_t *m = calloc(1, sizeof(*m));
    if (m == NULL) {
        if (fd >= 0)
            (void)close(fd);
        load_failed(work, message->model, GPULET_E_NOMEM, "out of memory");
        return;
    }
    m->model = message->model;
    m->batch_fixed = message->batch;
    m->batched = message->batched;
    m->recipe = -1;
    uint64_t begun_ns = gpulet_clock_ns();
    gpulet_status_t st = model_load(m, work, message, fd, &err);
    uint64_t load_ns = gpulet_clock_ns() - begun_ns;
    if (fd >= 0)
        (void)close(fd);
    if (st != GPULET_OK) {
        model_destroy(work, m);
        load_failed(work, message->model, st,
                    err.text[0] != '\0' ? err.text : gpulet_status_text(st));
        return;
    }
    model_warm(work, m, message);
    m->memory_bytes = memory_of(work, m);
    m->next = work->models;
    work->models = m;
    const gpulet_control_t answer = {.kind = GPULET_CONTROL_LOADED,
                                     .model = m->model,
                                     .batched = m->batched && !m->outputs_whole,
                                     .ns = load_ns,
                                     .memory = m->memory_bytes,
                                     .io = *m->io};
    gpulet_work_send(work, &answer, -1);
}

/* Loads the copy anew when there is one: the number of lent cores has changed. */
static gpulet_status_t widen(gpulet_work_t *work, const gpulet_control_t *message,
                             gpulet_error_t *err)
{
    gpulet_work_model_t *m = gpulet_work_model_find(work, message->model);
    const gpulet_engine_load_options_t options = {
        .name = message->name,
        .path = message->prepared[0] != '\0' ? message->prepared : message->text,
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

enum { RUNS_LIMIT = 100000 };

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

static gpulet_status_t measure_runs(gpulet_control_t *answer, uint64_t *times, gpulet_work_t *work,
                                    gpulet_work_model_t *m, const gpulet_control_t *message,
                                    gpulet_error_t *err)
{
    gpulet_tensor_view_t inputs[GPULET_MODEL_IO_MAX];
    const uint32_t items = items_measured(m, message->batch);
    /* The sessions that a worker which serves this batch has are part of what it takes. */
    if (has_copies(work, m))
        copies_load(work, m, items);
    gpulet_status_t st = recipe_find(inputs, work, m, items, err);
    /* The first run of a shape is not like the others, on a GPU not even the second. */
    for (int i = 1; i < WARM_RUNS && st == GPULET_OK && strcmp(work->entry.provider, "cpu") != 0;
         i++)
        st = recipe_run(&times[0], work, m, inputs, items, err);
    uint64_t begun_ns = gpulet_clock_ns();
    uint32_t runs = 0;
    while (st == GPULET_OK && runs < message->runs_max &&
           (runs < message->runs || gpulet_clock_ns() - begun_ns < message->ns)) {
        st = recipe_run(&times[runs], work, m, inputs, items, err);
        runs++;
    }
    if (st != GPULET_OK)
        return st;
    qsort(times, runs, sizeof(*times), compare_ns);
    answer->runs = runs;
    answer->p50_ns = percentile(times, runs, 50);
    answer->p99_ns = percentile(times, runs, 99);
    return GPULET_OK;
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
