#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "ipc/check.h"
#include "worker/work.h"

enum {
    LARGE_WAIT_MS = 100,
    LARGE_WAIT_ROUNDS = 100 /* ten seconds until a segment never announced is an error */
};

/* ---- large segments of the server ---- */

gpulet_status_t gpulet_work_input_map(gpulet_work_t *work, uint32_t segment, int fd, uint64_t size,
                                      gpulet_error_t *err)
{
    void *base = NULL;
    if (work->inputs_count == work->inputs_cap) {
        uint32_t cap = work->inputs_cap == 0 ? 16 : work->inputs_cap * 2;
        gpulet_work_input_t *grown = realloc(work->inputs, cap * sizeof(*grown));
        if (grown == NULL)
            return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
        work->inputs = grown;
        work->inputs_cap = cap;
    }
    gpulet_status_t st = gpulet_shared_map(&base, fd, size, false, err);
    if (st != GPULET_OK)
        return st;
    work->inputs[work->inputs_count++] =
        (gpulet_work_input_t){.segment = segment, .base = base, .size = size};
    return GPULET_OK;
}

void gpulet_work_input_unmap(gpulet_work_t *work, uint32_t segment)
{
    for (uint32_t i = 0; i < work->inputs_count; i++) {
        if (work->inputs[i].segment != segment)
            continue;
        (void)munmap(work->inputs[i].base, (size_t)work->inputs[i].size);
        work->inputs[i] = work->inputs[--work->inputs_count];
        return;
    }
}

const gpulet_work_input_t *gpulet_work_input_find(const gpulet_work_t *work, uint32_t segment)
{
    for (uint32_t i = 0; i < work->inputs_count; i++) {
        if (work->inputs[i].segment == segment)
            return &work->inputs[i];
    }
    return NULL;
}

void gpulet_work_inputs_deinit(gpulet_work_t *work)
{
    for (uint32_t i = 0; i < work->inputs_count; i++)
        (void)munmap(work->inputs[i].base, (size_t)work->inputs[i].size);
    free(work->inputs);
    free(work->views);
    gpulet_work_buffer_deinit(&work->gather);
}

/* ---- the buffer ---- */

gpulet_status_t gpulet_work_buffer_reserve(gpulet_work_buffer_t *buffer, size_t size)
{
    size_t rounded = 4096;
    if (size <= buffer->size)
        return GPULET_OK;
    while (rounded < size)
        rounded *= 2;
    gpulet_work_buffer_deinit(buffer);
    void *data = mmap(NULL, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return GPULET_E_NOMEM;
    buffer->data = data;
    buffer->size = rounded;
    return GPULET_OK;
}

void gpulet_work_buffer_deinit(gpulet_work_buffer_t *buffer)
{
    if (buffer->data != NULL)
        (void)munmap(buffer->data, buffer->size);
    buffer->data = NULL;
    buffer->size = 0;
}

/* ---- checking the requests ---- */

/* A segment may be announced on the socket after the record that uses it was read from the ring:
 * waits for it. */
static const gpulet_work_input_t *large_await(gpulet_work_t *work, uint32_t segment)
{
    const gpulet_work_input_t *input = gpulet_work_input_find(work, segment);
    for (int i = 0; input == NULL && i < LARGE_WAIT_ROUNDS && !work->closed; i++) {
        gpulet_work_pump(work);
        if ((input = gpulet_work_input_find(work, segment)) == NULL)
            gpulet_work_wait(work, LARGE_WAIT_MS);
    }
    return input;
}

static gpulet_status_t request_read(gpulet_tensor_view_t *views, gpulet_work_t *work,
                                    const gpulet_work_model_t *model,
                                    const gpulet_wire_span_t *span, gpulet_error_t *err)
{
    const gpulet_work_input_t segment0 = {.base = model->input_base, .size = model->input_size};
    const gpulet_work_input_t *segment =
        span->segment == 0 ? &segment0 : large_await(work, span->segment);
    const gpulet_model_io_t *io = model->io;
    gpulet_status_t st;
    if (segment == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "input segment %u was never announced",
                           span->segment);
    if ((st = gpulet_span_check(span, segment->size, err)) != GPULET_OK)
        return st;
    const gpulet_tensors_expected_t expected = {io->inputs, io->inputs_count, true};
    st = gpulet_tensors_read(views, &expected, (uint8_t *)segment->base + span->offset, span->size,
                             err);
    if (st != GPULET_OK)
        return st;
    for (uint32_t i = 0; i < io->inputs_count; i++) {
        if (views[i].type == GPULET_DATATYPE_INVALID)
            continue;
        gpulet_shape_t wanted = io->inputs[i].shape;
        if (model->batch_fixed > 0 && wanted.rank > 0)
            wanted.dims[0] = -1; /* it will be padded */
        if (!gpulet_shape_matches(&wanted, &views[i].shape))
            return gpulet_fail(err, GPULET_E_INVALID, "input '%s' has a shape the model refuses",
                               io->inputs[i].name);
        if (model->batched &&
            (views[i].shape.rank == 0 || views[i].shape.dims[0] != (int64_t)span->items))
            return gpulet_fail(err, GPULET_E_INVALID, "input '%s' does not hold %u items",
                               io->inputs[i].name, span->items);
    }
    return GPULET_OK;
}

static gpulet_status_t requests_read(gpulet_work_t *work, const gpulet_work_model_t *model,
                                     const gpulet_record_run_t *run, gpulet_error_t *err)
{
    const size_t n = model->io->inputs_count;
    uint64_t items = 0;
    if (n * run->requests_count > work->views_cap) {
        gpulet_tensor_view_t *grown =
            realloc(work->views, n * run->requests_count * sizeof(*grown));
        if (grown == NULL)
            return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
        work->views = grown;
        work->views_cap = n * run->requests_count;
    }
    for (uint32_t r = 0; r < run->requests_count; r++) {
        gpulet_status_t st = request_read(work->views + r * n, work, model, &run->requests[r], err);
        if (st != GPULET_OK)
            return st;
        items += run->requests[r].items;
    }
    if (items != run->items || items == 0)
        return gpulet_fail(err, GPULET_E_INVALID, "a batch of %u items holds %llu", run->items,
                           (unsigned long long)items);
    return GPULET_OK;
}

/* ---- gathering ---- */

/* Elements of one item of this view. */
static uint64_t item_elements(const gpulet_tensor_view_t *view)
{
    uint64_t elements = 1;
    for (uint32_t d = 1; d < view->shape.rank; d++)
        elements *= (uint64_t)view->shape.dims[d];
    return elements;
}

/* Bytes that stand for `items` items of nothing: zeros; strings of length zero are four zero bytes
 * each. */
static uint64_t padding_size(const gpulet_tensor_view_t *view, uint64_t items)
{
    size_t element = gpulet_datatype_size(view->type);
    return items * item_elements(view) * (element == 0 ? 4 : element);
}

/* The shape and size of input i of the whole batch; data is set later. All requests must agree but
 * for the first dimension. */
static gpulet_status_t gathered_shape(gpulet_tensor_view_t *out, const gpulet_work_t *work,
                                      const gpulet_work_model_t *model,
                                      const gpulet_record_run_t *run, const uint32_t i_and_items[2],
                                      gpulet_error_t *err)
{
    const size_t n = model->io->inputs_count;
    const uint32_t i = i_and_items[0];
    const uint32_t items = i_and_items[1];
    const gpulet_tensor_view_t *first = &work->views[i];
    *out = *first;
    uint64_t size = 0;
    for (uint32_t r = 0; r < run->requests_count; r++) {
        const gpulet_tensor_view_t *v = &work->views[r * n + i];
        gpulet_shape_t shape = v->shape;
        if (v->type != first->type)
            return gpulet_fail(err, GPULET_E_INVALID, "input '%s' is absent in part of the batch",
                               model->io->inputs[i].name);
        if (shape.rank > 0)
            shape.dims[0] = first->shape.dims[0];
        if (!gpulet_shape_equal(&shape, &first->shape))
            return gpulet_fail(err, GPULET_E_INVALID, "input '%s' has two shapes in one batch",
                               model->io->inputs[i].name);
        size += v->size;
    }
    if (first->type != GPULET_DATATYPE_INVALID) {
        out->shape.dims[0] = items;
        size += padding_size(first, items - run->items);
    }
    out->size = (size_t)size;
    out->data = NULL;
    return GPULET_OK;
}

static void gather_copy(gpulet_tensor_view_t *out, const gpulet_work_t *work, size_t n,
                        const gpulet_record_run_t *run, uint32_t i)
{
    uint8_t *at = out->data;
    for (uint32_t r = 0; r < run->requests_count; r++) {
        const gpulet_tensor_view_t *v = &work->views[r * n + i];
        if (v->size > 0)
            memcpy(at, v->data, v->size);
        at += v->size;
    }
    memset(at, 0, out->size - (size_t)(at - (uint8_t *)out->data));
}

static gpulet_status_t gather(gpulet_tensor_view_t *inputs, gpulet_work_t *work,
                              const gpulet_work_model_t *model, const gpulet_record_run_t *run,
                              uint32_t items, gpulet_error_t *err)
{
    const uint32_t n = model->io->inputs_count;
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t i_and_items[2] = {i, items};
        gpulet_status_t st = gathered_shape(&inputs[i], work, model, run, i_and_items, err);
        if (st != GPULET_OK)
            return st;
        total += (inputs[i].size + GPULET_WIRE_ALIGN - 1) & ~(size_t)(GPULET_WIRE_ALIGN - 1);
    }
    if (gpulet_work_buffer_reserve(&work->gather, total) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_NOMEM, "no memory to gather %zu bytes", total);
    total = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (inputs[i].type == GPULET_DATATYPE_INVALID)
            continue;
        inputs[i].data = work->gather.data + total;
        gather_copy(&inputs[i], work, n, run, i);
        total += (inputs[i].size + GPULET_WIRE_ALIGN - 1) & ~(size_t)(GPULET_WIRE_ALIGN - 1);
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_work_inputs_prepare(gpulet_tensor_view_t *inputs, uint32_t *items_out,
                                           gpulet_work_t *work, const gpulet_work_model_t *model,
                                           const gpulet_record_run_t *run, gpulet_error_t *err)
{
    gpulet_status_t st = requests_read(work, model, run, err);
    if (st != GPULET_OK)
        return st;
    uint32_t items = model->batched ? gpulet_work_items_run(model, run->items) : run->items;
    if (run->items > items)
        return gpulet_fail(err, GPULET_E_INVALID, "%u items for a model of fixed batch %u",
                           run->items, items);
    if (model->outputs_whole && run->items != 1)
        return gpulet_fail(err, GPULET_E_INVALID, "%u items: the model does not batch", run->items);
    if (!model->batched && run->requests_count != 1)
        return gpulet_fail(err, GPULET_E_INVALID, "several requests for a model without a batch");
    *items_out = items;
    if (run->requests_count == 1 && run->items == items) {
        for (uint32_t i = 0; i < model->io->inputs_count; i++)
            inputs[i] = work->views[i];
        return GPULET_OK;
    }
    return gather(inputs, work, model, run, items, err);
}
