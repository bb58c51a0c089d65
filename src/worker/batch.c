#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "ipc/check.h"
#include "worker/work.h"

enum { DONE_WAIT_MS = 1 };

/* No output of a served model comes near this; it keeps sums of sizes from overflowing. */
#define OUTPUT_BYTES_MAX (UINT64_C(1) << 40)

/* One run in progress. */
typedef struct execution {
    gpulet_work_t *work;
    const gpulet_work_model_t *model;
    gpulet_engine_model_t *engine_model; /* which copy of it */
    uint32_t items;                      /* wanted */
    uint32_t items_run;                  /* with padding */
    uint8_t *base;                       /* of the span; NULL while there is none */
    gpulet_wire_span_t span;
    gpulet_engine_output_t outputs[GPULET_MODEL_IO_MAX];
    uint64_t offsets[GPULET_MODEL_IO_MAX];
} execution_t;

/* The size and shape that output i should have; false when only the run will tell. */
static bool output_expect(gpulet_tensor_view_t *out, const execution_t *e, uint32_t i)
{
    const gpulet_tensor_spec_t *spec = &e->model->io->outputs[i];
    uint64_t elements = 0;
    *out = (gpulet_tensor_view_t){.type = spec->type, .shape = spec->shape};
    if (e->model->batched && !e->model->outputs_whole && spec->shape.rank > 0)
        out->shape.dims[0] = e->items_run;
    size_t element = gpulet_datatype_size(spec->type);
    if (element == 0 || gpulet_shape_elements(&elements, &out->shape) != GPULET_OK ||
        elements > OUTPUT_BYTES_MAX / GPULET_MODEL_IO_MAX / element)
        return false;
    out->size = (size_t)(elements * element);
    return true;
}

/* Reserves the span beforehand when every output's size is known, so that the engine writes where
 * the server will read. */
static gpulet_status_t outputs_place(execution_t *e, gpulet_error_t *err)
{
    /* cppcheck-suppress ctuuninitvar ; the caller has set what is read here */
    const uint32_t count = e->model->io->outputs_count;
    uint64_t sizes[GPULET_MODEL_IO_MAX] = {0};
    bool known = true;
    for (uint32_t i = 0; i < count; i++) {
        e->outputs[i].owner = NULL;
        known = output_expect(&e->outputs[i].tensor, e, i) && known;
        sizes[i] = e->outputs[i].tensor.size;
    }
    if (!known) {
        for (uint32_t i = 0; i < count; i++)
            e->outputs[i].tensor.size = 0;
        return GPULET_OK;
    }
    uint64_t size = gpulet_tensors_layout(e->offsets, sizes, count);
    gpulet_status_t st = gpulet_work_output_alloc(&e->span, &e->base, e->work, size, err);
    if (st != GPULET_OK)
        return st;
    for (uint32_t i = 0; i < count; i++)
        e->outputs[i].tensor.data = e->base + e->offsets[i];
    return GPULET_OK;
}

/* Bytes of the first `elements` strings; false when they do not fit in what the engine gave. */
static bool strings_size(uint64_t *out, const gpulet_tensor_view_t *view, uint64_t elements)
{
    const uint8_t *data = view->data;
    size_t at = 0;
    for (uint64_t i = 0; i < elements; i++) {
        uint32_t length;
        if (view->size - at < sizeof(length))
            return false;
        memcpy(&length, data + at, sizeof(length));
        at += sizeof(length);
        if (view->size - at < length)
            return false;
        at += length;
    }
    *out = at;
    return true;
}

/* Checks one output as the engine gave it and cuts the padding off: items of the first dimension
 * lie one after another. */
static gpulet_status_t output_cut(const execution_t *e, uint32_t i, gpulet_tensor_view_t *view,
                                  gpulet_error_t *err)
{
    const gpulet_tensor_spec_t *spec = &e->model->io->outputs[i];
    uint64_t elements = 0;
    uint64_t size = 0;
    char shape[128];
    if (view->type != spec->type || view->shape.rank > GPULET_RANK_MAX)
        return gpulet_fail(err, GPULET_E_INTERNAL, "output '%s' is not what the model declares",
                           spec->name);
    const bool by_item = e->model->batched && !e->model->outputs_whole;
    if (by_item && (view->shape.rank == 0 || view->shape.dims[0] != (int64_t)e->items_run))
        return gpulet_fail(err, GPULET_E_UNSUPPORTED,
                           "output '%s' has shape %s for %u items: the model does not batch",
                           spec->name, gpulet_shape_format(shape, sizeof(shape), &view->shape),
                           e->items_run);
    if (by_item)
        view->shape.dims[0] = e->items;
    if (gpulet_shape_elements(&elements, &view->shape) != GPULET_OK || elements > OUTPUT_BYTES_MAX)
        return gpulet_fail(err, GPULET_E_INTERNAL, "output '%s' has an impossible shape",
                           spec->name);
    size_t element = gpulet_datatype_size(spec->type);
    bool fits = element == 0 ? strings_size(&size, view, elements)
                             : (size = elements * element) <= view->size;
    if (!fits || size > OUTPUT_BYTES_MAX / GPULET_MODEL_IO_MAX)
        return gpulet_fail(err, GPULET_E_INTERNAL, "output '%s' has %zu bytes for %llu elements",
                           spec->name, view->size, (unsigned long long)elements);
    view->size = (size_t)size;
    return GPULET_OK;
}

/* Whether all outputs lie where they were placed. */
static bool outputs_in_place(const execution_t *e)
{
    if (e->base == NULL)
        return false;
    for (uint32_t i = 0; i < e->model->io->outputs_count; i++) {
        if (e->outputs[i].owner != NULL ||
            e->outputs[i].tensor.data != (void *)(e->base + e->offsets[i]))
            return false;
    }
    return true;
}

/* Moves all outputs to a new span of the right size. */
static gpulet_status_t outputs_copy(execution_t *e, gpulet_error_t *err)
{
    const uint32_t count = e->model->io->outputs_count;
    uint64_t sizes[GPULET_MODEL_IO_MAX];
    gpulet_wire_span_t span;
    uint8_t *base = NULL;
    for (uint32_t i = 0; i < count; i++)
        sizes[i] = e->outputs[i].tensor.size;
    uint64_t size = gpulet_tensors_layout(e->offsets, sizes, count);
    gpulet_status_t st = gpulet_work_output_alloc(&span, &base, e->work, size, err);
    if (st != GPULET_OK)
        return st;
    for (uint32_t i = 0; i < count; i++) {
        if (sizes[i] > 0)
            memcpy(base + e->offsets[i], e->outputs[i].tensor.data, (size_t)sizes[i]);
    }
    if (e->base != NULL)
        gpulet_work_output_free(e->work, e->span.segment, e->span.offset);
    e->span = span;
    e->base = base;
    return GPULET_OK;
}

static void table_write(const execution_t *e)
{
    const uint32_t count = e->model->io->outputs_count;
    gpulet_wire_tensors_t *table = (gpulet_wire_tensors_t *)(void *)e->base;
    table->count = count;
    table->reserved = 0;
    for (uint32_t i = 0; i < count; i++) {
        const gpulet_tensor_view_t *view = &e->outputs[i].tensor;
        gpulet_wire_tensor_t *t = &table->tensors[i];
        t->type = (uint32_t)view->type;
        t->rank = view->shape.rank;
        memcpy(t->dims, view->shape.dims, sizeof(t->dims));
        t->offset = e->offsets[i];
        t->size = view->size;
    }
}

static gpulet_status_t outputs_finish(execution_t *e, gpulet_error_t *err)
{
    const gpulet_engine_ops_t *ops = e->work->ops;
    const uint32_t count = e->model->io->outputs_count;
    gpulet_status_t st = GPULET_OK;
    for (uint32_t i = 0; i < count && st == GPULET_OK; i++)
        st = output_cut(e, i, &e->outputs[i].tensor, err);
    if (st == GPULET_OK && !outputs_in_place(e))
        st = outputs_copy(e, err);
    if (st == GPULET_OK)
        table_write(e);
    /* Only now: a released output has no size any more. */
    for (uint32_t i = 0; i < count; i++) {
        if (e->outputs[i].owner != NULL)
            ops->output_release(e->engine_model, &e->outputs[i]);
    }
    return st;
}

gpulet_engine_model_t *gpulet_work_copy_for(const gpulet_work_model_t *model, bool wide,
                                            uint32_t items_run)
{
    for (uint32_t i = 0; i < model->copies_count; i++) {
        if (model->copies[i].batch == items_run)
            return model->copies[i].engine_model;
    }
    return wide && model->wide != NULL ? model->wide : model->engine_model;
}

gpulet_status_t gpulet_work_execute(gpulet_work_result_t *result, gpulet_work_t *work,
                                    const gpulet_work_model_t *model, bool wide,
                                    const gpulet_tensor_view_t *inputs,
                                    const uint32_t items_and_run[2], gpulet_error_t *err)
{
    execution_t e;
    e.work = work;
    e.model = model;
    e.engine_model = gpulet_work_copy_for(model, wide, items_and_run[1]);
    e.items = items_and_run[0];
    e.items_run = items_and_run[1];
    e.base = NULL;
    assert(model->io->outputs_count <= GPULET_MODEL_IO_MAX && e.items <= e.items_run);
    gpulet_status_t st = outputs_place(&e, err);
    if (st != GPULET_OK)
        return st;
    uint64_t begun_ns = gpulet_clock_ns();
    st = work->ops->run(e.engine_model, inputs, e.outputs, err);
    uint64_t ran_ns = gpulet_clock_ns();
    if (st == GPULET_OK)
        st = outputs_finish(&e, err);
    if (st != GPULET_OK) {
        if (e.base != NULL)
            gpulet_work_output_free(work, e.span.segment, e.span.offset);
        return st;
    }
    result->output = e.span;
    result->output.items = e.items;
    result->exec_ns = ran_ns - begun_ns;
    result->output_ns = gpulet_clock_ns() - ran_ns;
    return GPULET_OK;
}

static gpulet_status_t run_check(gpulet_work_model_t **model_out, const gpulet_work_t *work,
                                 const gpulet_record_run_t *run, size_t size, gpulet_error_t *err)
{
    if (size < sizeof(*run) || run->requests_count == 0 ||
        run->requests_count > GPULET_WIRE_REQUESTS_MAX ||
        size != sizeof(*run) + run->requests_count * sizeof(run->requests[0]))
        return gpulet_fail(err, GPULET_E_INVALID, "a run record of %zu bytes", size);
    *model_out = gpulet_work_model_find(work, run->model);
    if (*model_out == NULL)
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "model %u is not loaded here", run->model);
    return GPULET_OK;
}

/* The ring of answers holds far more than a worker may hold of batches: it is full only while the
 * server is not looking. */
static void done_push(gpulet_work_t *work, const gpulet_record_done_t *done)
{
    const size_t size = offsetof(gpulet_record_done_t, error) + strlen(done->error) + 1;
    while (!work->closed) {
        gpulet_status_t st = gpulet_ring_push(&work->out, done, size, NULL, 0);
        if (st == GPULET_OK) {
            gpulet_ring_wake(&work->out, GPULET_RING_ASLEEP);
            return;
        }
        if (st == GPULET_E_INVALID) {
            work->closed = true;
            return;
        }
        gpulet_work_wait(work, DONE_WAIT_MS);
    }
}

void gpulet_work_run(gpulet_work_t *work, const gpulet_record_run_t *run, size_t size)
{
    gpulet_record_done_t done = {.kind = GPULET_RECORD_DONE};
    gpulet_tensor_view_t inputs[GPULET_MODEL_IO_MAX];
    gpulet_work_result_t result = {0};
    gpulet_work_model_t *model = NULL;
    gpulet_error_t err;
    uint32_t items_and_run[2] = {0, 0};
    err.text[0] = '\0';
    uint64_t begun_ns = gpulet_clock_ns();
    gpulet_status_t st = run_check(&model, work, run, size, &err);
    if (st == GPULET_OK) {
        items_and_run[0] = run->items;
        st = gpulet_work_inputs_prepare(inputs, &items_and_run[1], work, model, run, &err);
    }
    done.input_ns = gpulet_clock_ns() - begun_ns;
    assert(st != GPULET_OK || model != NULL);
    if (st == GPULET_OK)
        st = gpulet_work_execute(&result, work, model, run->wide != 0, inputs, items_and_run, &err);
    done.status = st;
    done.batch = size >= sizeof(*run) ? run->batch : 0;
    done.exec_ns = result.exec_ns;
    done.output_ns = result.output_ns;
    done.output = result.output;
    if (st != GPULET_OK)
        (void)snprintf(done.error, sizeof(done.error), "%.*s", GPULET_WIRE_ERROR_MAX,
                       err.text[0] != '\0' ? err.text : gpulet_status_text(st));
    done_push(work, &done);
}
