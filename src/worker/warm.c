#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/work.h"

enum { COPIES_FACTOR = 4, TIMED_LONG_MS = 50 };

gpulet_engine_load_options_t gpulet_work_load_options(const gpulet_work_t *work, const char *name,
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

/* ---- one run of made-up inputs ---- */

gpulet_status_t gpulet_work_recipe_run(uint64_t *ns_out, gpulet_work_t *work,
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

/* Whether the output tells `items` items apart. */
static gpulet_status_t check_output(gpulet_work_trial_t *trial, const gpulet_work_model_t *model,
                                    uint32_t i, const gpulet_tensor_view_t *view, uint32_t items,
                                    gpulet_error_t *err)
{
    const gpulet_tensor_spec_t *spec = &model->io->outputs[i];
    if (view->type != spec->type || view->shape.rank > GPULET_RANK_MAX)
        return gpulet_fail(err, GPULET_E_INTERNAL, "output '%s' is not what the model declares",
                           spec->name);
    if (!model->batched || model->outputs_whole ||
        (view->shape.rank > 0 && view->shape.dims[0] == (int64_t)items))
        return GPULET_OK;
    trial->unbatched = true;
    return gpulet_fail(err, GPULET_E_UNSUPPORTED,
                       "output '%s' does not tell %u items apart: the model does not batch",
                       spec->name, items);
}

/* The engine allocates the outputs, so nothing of the worker's is touched: this may happen beside
 * the runs of other models. */
static gpulet_status_t run_apart(gpulet_work_trial_t *trial, const gpulet_work_model_t *model,
                                 const gpulet_tensor_view_t *inputs, uint32_t items,
                                 gpulet_error_t *err)
{
    const gpulet_engine_ops_t *ops = trial->work->ops;
    gpulet_engine_model_t *engine_model = gpulet_work_copy_for(model, false, items);
    gpulet_engine_output_t outputs[GPULET_MODEL_IO_MAX];
    for (uint32_t i = 0; i < model->io->outputs_count; i++)
        outputs[i] = (gpulet_engine_output_t){
            .tensor = {.type = model->io->outputs[i].type, .shape = model->io->outputs[i].shape}};
    const uint64_t begun_ns = gpulet_clock_ns();
    gpulet_status_t st = ops->run(engine_model, inputs, outputs, err);
    trial->run_ns = gpulet_clock_ns() - begun_ns;
    if (st != GPULET_OK)
        return st;
    for (uint32_t i = 0; i < model->io->outputs_count; i++) {
        if (st == GPULET_OK)
            st = check_output(trial, model, i, &outputs[i].tensor, items, err);
        if (outputs[i].owner != NULL)
            ops->output_release(engine_model, &outputs[i]);
    }
    return st;
}

gpulet_status_t gpulet_work_recipe_find(gpulet_tensor_view_t *inputs, gpulet_work_trial_t *trial,
                                        gpulet_work_model_t *model, uint32_t items,
                                        gpulet_error_t *err)
{
    gpulet_status_t first = GPULET_E_UNSUPPORTED;
    gpulet_error_t text;
    uint64_t ns = 0;
    const int count = gpulet_work_recipes(model);
    (void)gpulet_fail(err, first, "no inputs could be made up for this model");
    for (int i = 0; i < count && (trial->placed == NULL || !trial->placed->closed); i++) {
        int recipe = model->recipe >= 0 ? (model->recipe + i) % count : i;
        text.text[0] = '\0';
        gpulet_status_t st = gpulet_work_recipe_make(inputs, trial->gather, model, items, recipe);
        if (st != GPULET_OK)
            (void)gpulet_fail(&text, st, "made-up inputs: %s", gpulet_status_text(st));
        else if (trial->placed != NULL)
            st = gpulet_work_recipe_run(&ns, trial->placed, model, inputs, items, &text);
        else
            st = run_apart(trial, model, inputs, items, &text);
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

/* ---- warming up ---- */

static bool has_copies(const gpulet_work_t *work, const gpulet_work_model_t *m)
{
    return m->batched && !m->outputs_whole && m->batch_fixed == 0 &&
           strcmp(work->entry.provider, "cpu") != 0;
}

void gpulet_work_copies_load(gpulet_work_trial_t *trial, gpulet_work_model_t *m, uint32_t largest)
{
    const gpulet_work_t *work = trial->work;
    gpulet_engine_load_options_t options =
        gpulet_work_load_options(work, m->name, m->path, m->load_limit_ns);
    gpulet_tensor_view_t inputs[GPULET_MODEL_IO_MAX];
    gpulet_error_t err;
    options.io = m->told;
    uint64_t b =
        m->copies_count > 0 ? (uint64_t)m->copies[m->copies_count - 1].batch * COPIES_FACTOR : 1;
    if (!has_copies(work, m))
        return;
    for (; b < largest && m->copies_count < GPULET_WORK_COPIES_MAX; b *= COPIES_FACTOR) {
        gpulet_work_copy_t *copy = &m->copies[m->copies_count];
        if (work->ops->load(&copy->engine_model, work->engine, &options, &err) != GPULET_OK)
            break;
        copy->batch = (uint32_t)b;
        m->copies_count++;
        if (gpulet_work_recipe_find(inputs, trial, m, copy->batch, &err) != GPULET_OK)
            break;
    }
}

/* The sessions of a model that is planned with batches of up to so many items. */
static void copies_load_planned(gpulet_work_trial_t *trial, gpulet_work_model_t *m,
                                uint32_t planned)
{
    gpulet_tensor_view_t inputs[GPULET_MODEL_IO_MAX];
    gpulet_error_t err;
    if (!has_copies(trial->work, m) || planned <= 1)
        return;
    m->batch_padded = planned;
    gpulet_work_copies_load(trial, m, planned);
    if (gpulet_work_recipe_find(inputs, trial, m, planned, &err) != GPULET_OK)
        GPULET_LOG(WARNING, "event=warm_up_failed model=%s batch=%u", m->name, planned);
}

/* A model that is to be batched is tried with two items: its outputs must tell them apart. Only the
 * run shows it, since a declared dimension may be anything. */
static gpulet_status_t model_try(gpulet_work_trial_t *trial, gpulet_work_model_t *m,
                                 gpulet_error_t *err)
{
    gpulet_tensor_view_t inputs[GPULET_MODEL_IO_MAX];
    gpulet_error_t why;
    if (!m->batched || m->batch_fixed > 0)
        return gpulet_work_recipe_find(inputs, trial, m, gpulet_work_items_measured(m, 1), err);
    why.text[0] = '\0';
    gpulet_status_t st = gpulet_work_recipe_find(inputs, trial, m, 2, &why);
    if (st == GPULET_OK)
        return st;
    m->outputs_whole = trial->unbatched;
    return gpulet_work_recipe_find(inputs, trial, m, 1, err);
}

/* What one item takes, for a server that knows nothing of it yet: the least of at most `runs`, of
 * which a long one is the last. The run that tried the model was its first, which counts for
 * little. */
static uint64_t time_one(gpulet_work_trial_t *trial, gpulet_work_model_t *m, uint32_t runs)
{
    gpulet_tensor_view_t inputs[GPULET_MODEL_IO_MAX];
    gpulet_error_t err;
    const uint32_t items = gpulet_work_items_measured(m, 1);
    uint64_t least_ns = 0;
    for (uint32_t i = 0; i < runs && least_ns <= TIMED_LONG_MS * GPULET_NS_PER_MS; i++) {
        if (gpulet_work_recipe_find(inputs, trial, m, items, &err) != GPULET_OK)
            break;
        least_ns = least_ns == 0 || trial->run_ns < least_ns ? trial->run_ns : least_ns;
    }
    return least_ns;
}

/* A model that runs with no made-up inputs may still run with real ones: that is no reason to
 * refuse it. */
void gpulet_work_warm(const gpulet_work_t *work, gpulet_work_model_t *m,
                      const gpulet_control_t *message)
{
    gpulet_work_buffer_t gather = {0};
    gpulet_work_trial_t trial = {.work = work, .gather = &gather};
    gpulet_error_t err = {""};
    gpulet_status_t st = model_try(&trial, m, &err);
    if (st == GPULET_OK) {
        m->timed_ns = time_one(&trial, m, message->runs_max);
        copies_load_planned(&trial, m, message->runs);
    }
    gpulet_work_buffer_deinit(&gather);
    if (st != GPULET_OK) {
        char quoted[512];
        GPULET_LOG(WARNING, "event=warm_up_failed model=%s status=%s error=%s", message->name,
                   gpulet_status_name(st), gpulet_log_quote(quoted, (int)sizeof(quoted), err.text));
    }
}
