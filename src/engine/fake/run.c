#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "engine/check.h"
#include "engine/fake/internal.h"

/* ---- time ---- */

static uint64_t latency_ns(fake_model_t *model, uint32_t items, uint64_t begin_ns)
{
    const gpulet_fake_script_t *script = &model->script;
    double ms = script->latency_ms + script->latency_ms_per_item * items;
    if (model->curve != NULL) {
        uint32_t min = gpulet_curve_batch_min(model->curve);
        uint32_t max = gpulet_curve_batch_max(model->curve);
        uint32_t batch = items < min ? min : items > max ? max : items;
        ms = gpulet_curve_latency_ms(model->curve, batch, false);
    }
    if (begin_ns - model->ended_ns >= GPULET_PROFILE_COLD_AFTER_NS)
        ms += model->curve != NULL ? gpulet_curve_cold_ms(model->curve) : script->cold_ms;
    if (script->jitter > 0)
        ms *= 1.0 + script->jitter * (2.0 * gpulet_rng_f64(&model->rng) - 1.0);
    return isfinite(ms) && ms > 0 ? (uint64_t)(ms * (double)GPULET_NS_PER_MS) : 0;
}

static void begin(fake_model_t *model)
{
    (void)pthread_mutex_lock(&model->lock);
    model->running = true;
    model->cancelled = false;
    (void)pthread_mutex_unlock(&model->lock);
}

/* Sleeps to the moment until_ns (UINT64_MAX: for ever) unless stopped before; ends the run. A
 * condition variable and no plain sleep, for terminate() must be able to wake it. */
static bool sleep_and_end(fake_model_t *model, uint64_t until_ns)
{
    const struct timespec until = {.tv_sec = (time_t)(until_ns / GPULET_NS_PER_S),
                                   .tv_nsec = (long)(until_ns % GPULET_NS_PER_S)};
    int result = 0;
    (void)pthread_mutex_lock(&model->lock);
    while (!model->cancelled && result != ETIMEDOUT) {
        if (until_ns == UINT64_MAX)
            result = pthread_cond_wait(&model->changed, &model->lock);
        else
            result = pthread_cond_timedwait(&model->changed, &model->lock, &until);
    }
    bool cancelled = model->cancelled;
    model->running = false;
    (void)pthread_mutex_unlock(&model->lock);
    return !cancelled;
}

void gpulet_fake_terminate(gpulet_engine_model_t *engine_model)
{
    fake_model_t *model = (fake_model_t *)engine_model;
    (void)pthread_mutex_lock(&model->lock);
    if (model->running)
        model->cancelled = true;
    (void)pthread_cond_signal(&model->changed);
    (void)pthread_mutex_unlock(&model->lock);
}

/* ---- outputs ---- */

/* The first input, element by element. */
typedef struct source {
    const gpulet_tensor_view_t *input; /* checked */
    uint64_t elements;
    uint64_t rows;        /* items, or 1 */
    const uint8_t **data; /* of BYTES: where each element lies, and its length */
    uint32_t *len;
} source_t;

static void source_deinit(source_t *source)
{
    free(source->data);
    free(source->len);
}

/* Deinit it also after a failure. */
static gpulet_status_t source_init(source_t *source, const gpulet_tensor_view_t *input,
                                   uint32_t items, gpulet_error_t *err)
{
    memset(source, 0, sizeof(*source));
    gpulet_status_t st = gpulet_shape_elements(&source->elements, &input->shape);
    assert(st == GPULET_OK); /* checked */
    source->input = input;
    source->rows = items;
    if (input->type != GPULET_DATATYPE_BYTES)
        return GPULET_OK;
    source->data = calloc(source->elements + 1, sizeof(*source->data));
    source->len = calloc(source->elements + 1, sizeof(*source->len));
    if (source->data == NULL || source->len == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    const uint8_t *cursor = input->data;
    for (uint64_t i = 0; i < source->elements; i++) {
        if (!gpulet_engine_bytes_next(&source->data[i], &source->len[i], &cursor,
                                      (const uint8_t *)input->data + input->size))
            return gpulet_fail(err, GPULET_E_INVALID, "an input changed while it was read");
    }
    return GPULET_OK;
}

/* Fills one row with the bytes of the input's row, repeated. */
static void fill_row(uint8_t *out, size_t size, const uint8_t *from, size_t from_size)
{
    if (from_size == 0) {
        memset(out, 0, size);
        return;
    }
    for (size_t done = 0; done < size; done += from_size)
        memcpy(out + done, from, size - done < from_size ? size - done : from_size);
}

static void fill_dense(uint8_t *out, size_t size, uint64_t rows, const source_t *source)
{
    const gpulet_tensor_view_t *input = source->input;
    bool by_row = rows == source->rows && rows > 0;
    size_t row = by_row ? size / rows : size;
    size_t from_row = by_row ? input->size / rows : input->size;
    /* Serialised strings have rows of unequal size. */
    if (!by_row || input->type == GPULET_DATATYPE_BYTES || input->size == 0) {
        fill_row(out, size, input->data, input->size);
        return;
    }
    for (uint64_t i = 0; i < rows; i++)
        fill_row(out + i * row, row, (const uint8_t *)input->data + i * from_row, from_row);
}

static void append_element(gpulet_buf_t *buf, const source_t *source, uint64_t index)
{
    bool is_bytes = source->data != NULL;
    uint32_t len =
        is_bytes ? source->len[index] : (uint32_t)gpulet_datatype_size(source->input->type);
    const uint8_t *data =
        is_bytes ? source->data[index] : (const uint8_t *)source->input->data + index * len;
    gpulet_buf_append(buf, &len, sizeof(len));
    gpulet_buf_append(buf, data, len);
}

static gpulet_status_t fill_bytes(gpulet_engine_output_t *output, uint64_t elements, uint64_t rows,
                                  const source_t *source, gpulet_error_t *err)
{
    gpulet_buf_t buf = GPULET_BUF_INIT;
    bool by_row = rows == source->rows && rows > 0;
    uint64_t row = by_row ? elements / rows : elements;
    uint64_t from_row = by_row ? source->elements / rows : source->elements;
    (void)gpulet_buf_reserve(&buf, 1);
    for (uint64_t i = 0; i < elements; i++) {
        uint64_t first = row > 0 ? i / row * from_row : 0;
        if (from_row > 0)
            append_element(&buf, source, first + i % row % from_row);
        else
            gpulet_buf_append(&buf, (const uint32_t[]){0}, sizeof(uint32_t));
    }
    if (gpulet_buf_status(&buf) != GPULET_OK) {
        gpulet_buf_deinit(&buf);
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory for an output");
    }
    output->tensor.size = buf.size;
    output->tensor.data = gpulet_buf_release(&buf);
    output->owner = output->tensor.data;
    return GPULET_OK;
}

/* The size of the first input that has a dynamic dimension at that place, else 1. Where rows are
 * copied only the input that they are copied from counts. */
static int64_t dynamic_size(const fake_model_t *model, const gpulet_tensor_view_t *inputs,
                            uint32_t place)
{
    const uint32_t count = model->told ? model->script.io.inputs_count : 1;
    for (uint32_t i = 0; i < count; i++) {
        const gpulet_shape_t *spec = &model->script.io.inputs[i].shape;
        if (place < spec->rank && spec->dims[place] == -1)
            return inputs[i].shape.dims[place];
    }
    return 1;
}

/* A run and what follows from its inputs. */
typedef struct run {
    const fake_model_t *model;
    const gpulet_tensor_view_t *inputs; /* checked */
    uint32_t items;
    source_t source;
} run_t;

static void set_shape(gpulet_shape_t *shape, const gpulet_tensor_spec_t *spec, uint32_t items,
                      const run_t *run)
{
    *shape = spec->shape;
    for (uint32_t d = 0; d < shape->rank; d++) {
        if (shape->dims[d] != -1)
            continue;
        if (d == 0)
            shape->dims[d] = items;
        else if (run->model->told)
            shape->dims[d] = dynamic_size(run->model, run->inputs, d);
        else
            shape->dims[d] = d < run->inputs[0].shape.rank ? run->inputs[0].shape.dims[d] : 1;
    }
}

/* Writes where the caller wants it, if that is large enough, else into memory of its own. */
static gpulet_status_t make_output(gpulet_engine_output_t *output, const gpulet_tensor_spec_t *spec,
                                   const run_t *run, gpulet_error_t *err)
{
    gpulet_tensor_view_t view = output->tensor;
    uint64_t elements;
    size_t size = 0;
    uint32_t items = run->model->script.whole_outputs != 0 ? 1 : run->items;
    uint64_t rows = spec->shape.rank > 0 && spec->shape.dims[0] == -1 ? items : 1;
    set_shape(&view.shape, spec, items, run);
    view.type = spec->type;
    bool is_bytes = spec->type == GPULET_DATATYPE_BYTES;
    if (gpulet_shape_elements(&elements, &view.shape) != GPULET_OK ||
        (!is_bytes && !gpulet_engine_dense_size(&size, spec->type, &view.shape)))
        return gpulet_fail(err, GPULET_E_INTERNAL, "output \"%s\": its shape is absurd",
                           spec->name);
    if (is_bytes) {
        output->tensor.shape = view.shape;
        output->tensor.type = view.type;
        return fill_bytes(output, elements, rows, &run->source, err);
    }
    void *memory = view.data;
    if (memory == NULL || view.size < size) {
        memory = malloc(size + 1);
        if (memory == NULL)
            return gpulet_fail(err, GPULET_E_NOMEM, "out of memory for %zu bytes of output", size);
        output->owner = memory;
    }
    view.data = memory;
    view.size = size;
    fill_dense(memory, size, rows, &run->source);
    output->tensor = view;
    return GPULET_OK;
}

static gpulet_status_t make_outputs(gpulet_engine_output_t *outputs, fake_model_t *model,
                                    uint32_t items, const gpulet_tensor_view_t *inputs,
                                    gpulet_error_t *err)
{
    /* Rows that are made of it are zeros. */
    static const gpulet_tensor_view_t nothing = {.type = GPULET_DATATYPE_UINT8,
                                                 .shape = {.rank = 1, .dims = {0}}};
    const gpulet_model_io_t *io = &model->script.io;
    run_t run = {.model = model, .inputs = inputs, .items = items};
    gpulet_status_t st = source_init(&run.source, model->told ? &nothing : &inputs[0], items, err);
    uint32_t made = 0;
    while (made < io->outputs_count && st == GPULET_OK) {
        st = make_output(&outputs[made], &io->outputs[made], &run, err);
        made++;
    }
    for (uint32_t i = 0; i < made && st != GPULET_OK; i++)
        gpulet_fake_output_release((gpulet_engine_model_t *)model, &outputs[i]);
    source_deinit(&run.source);
    return st;
}

void gpulet_fake_output_release(gpulet_engine_model_t *model, gpulet_engine_output_t *output)
{
    (void)model;
    if (output->owner == NULL)
        return;
    free(output->owner);
    output->owner = NULL;
    output->tensor.data = NULL;
    output->tensor.size = 0;
}

/* ---- run ---- */

static uint32_t items_of(const fake_model_t *model, const gpulet_tensor_view_t *inputs)
{
    if (model->batch_fixed > 0)
        return model->batch_fixed;
    int64_t items = dynamic_size(model, inputs, 0);
    return items > UINT32_MAX ? UINT32_MAX : (uint32_t)items;
}

static bool is_turn(uint64_t runs, uint64_t every)
{
    return every > 0 && runs % every == 0;
}

gpulet_status_t gpulet_fake_run(gpulet_engine_model_t *engine_model,
                                const gpulet_tensor_view_t *inputs, gpulet_engine_output_t *outputs,
                                gpulet_error_t *err)
{
    fake_model_t *model = (fake_model_t *)engine_model;
    const gpulet_fake_script_t *script = &model->script;
    uint64_t begin_ns = gpulet_clock_ns();
    for (uint32_t i = 0; i < script->io.outputs_count; i++)
        outputs[i].owner = NULL;
    gpulet_status_t st = gpulet_engine_check_inputs(&script->io, inputs, err);
    if (st != GPULET_OK)
        return st;
    model->runs++;
    if (is_turn(model->runs, script->crash_run_every))
        abort();
    if (is_turn(model->runs, script->fail_run_every))
        return gpulet_fail(err, GPULET_E_INTERNAL, "run %" PRIu64 " fails as its script says",
                           model->runs);
    begin(model);
    uint32_t items = items_of(model, inputs);
    bool hang = is_turn(model->runs, script->hang_run_every);
    uint64_t until_ns = hang ? UINT64_MAX : begin_ns + latency_ns(model, items, begin_ns);
    st = make_outputs(outputs, model, items, inputs, err);
    if (st != GPULET_OK)
        until_ns = 0;
    if (!sleep_and_end(model, until_ns) && st == GPULET_OK) {
        for (uint32_t i = 0; i < script->io.outputs_count; i++)
            gpulet_fake_output_release(engine_model, &outputs[i]);
        return gpulet_fail(err, GPULET_E_CANCELLED, "the run was stopped");
    }
    model->ended_ns = gpulet_clock_ns();
    return st;
}
