/* From a batch's result, or the brain's refusal, to the answer of one request. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "server/infer.h"

enum { RETRY_AFTER_TEXT = 32 };

static void release_output(void *context)
{
    server_output_unref(context);
}

/* The bytes of rows first … first+rows-1 of a BYTES tensor: lengths are walked, and checked, since
 * a worker wrote them. */
static gpulet_status_t bytes_rows(gpulet_tensor_view_t *view, uint64_t elements_row, uint64_t first,
                                  uint64_t rows)
{
    const uint8_t *data = view->data;
    size_t at = 0;
    size_t begin = 0;
    for (uint64_t i = 0; i < (first + rows) * elements_row; i++) {
        uint32_t length = 0;
        if (i == first * elements_row)
            begin = at;
        if (view->size - at < sizeof(length))
            return GPULET_E_INTERNAL;
        memcpy(&length, data + at, sizeof(length));
        if (view->size - at - sizeof(length) < length)
            return GPULET_E_INTERNAL;
        at += sizeof(length) + length;
    }
    view->data = (uint8_t *)view->data + begin;
    view->size = at - begin;
    return GPULET_OK;
}

/* Cuts the request's rows out of a batch's output. */
static gpulet_status_t slice(gpulet_tensor_view_t *view, const server_infer_t *infer, uint32_t row,
                             uint32_t batch_items)
{
    uint64_t elements = 0;
    uint64_t items = infer->layout.items;
    if (!infer->model->batched || batch_items == items)
        return GPULET_OK;
    if (infer->model->outputs_whole)
        return GPULET_E_INTERNAL;
    if (view->shape.rank == 0 || view->shape.dims[0] != (int64_t)batch_items)
        return GPULET_E_INTERNAL;
    gpulet_status_t st = gpulet_shape_elements(&elements, &view->shape);
    if (st != GPULET_OK)
        return GPULET_E_INTERNAL;
    view->shape.dims[0] = (int64_t)items;
    if (view->type == GPULET_DATATYPE_BYTES)
        return bytes_rows(view, elements / batch_items, row, items);
    uint64_t stride = view->size / batch_items;
    view->data = (uint8_t *)view->data + stride * row;
    view->size = stride * items;
    return GPULET_OK;
}

static gpulet_status_t make_answers(server_infer_t *infer, gpulet_oip_answer_t *answers,
                                    const gpulet_action_t *action,
                                    const gpulet_worker_result_t *result, uint32_t batch_items,
                                    gpulet_error_t *err)
{
    const gpulet_oip_layout_t *layout = &infer->layout;
    const gpulet_model_io_t *io = &infer->model->entry->io;
    for (uint32_t i = 0; i < layout->outputs_count; i++) {
        uint32_t index = layout->output[i];
        gpulet_oip_answer_t *answer = &answers[i];
        answer->name = io->outputs[index].name;
        answer->binary = layout->output_binary[i];
        answer->tensor = result->tensors[index];
        if (slice(&answer->tensor, infer, action->u.reply.row, batch_items) != GPULET_OK)
            return gpulet_fail(
                err, GPULET_E_INTERNAL,
                "output '%s' of model '%s' has no batch dimension of the batch's size",
                answer->name, infer->model->entry->name);
        if (layout->output_classification[i] > 0) {
            const server_labels_t *labels =
                infer->model->labels != NULL ? &infer->model->labels[index] : NULL;
            size_t begin = infer->classes.size;
            gpulet_status_t st = gpulet_oip_classify(
                &infer->classes, &answer->tensor.shape, &answer->tensor,
                infer->model->batched && !infer->model->outputs_whole,
                layout->output_classification[i], labels != NULL ? labels->names : NULL,
                labels != NULL ? labels->count : 0, err);
            if (st != GPULET_OK)
                return st;
            answer->tensor.type = GPULET_DATATYPE_BYTES;
            answer->tensor.data =
                (void *)(uintptr_t)begin; /* an offset until all are written and the buffer rests */
            answer->tensor.size = infer->classes.size - begin;
        }
    }
    for (uint32_t i = 0; i < layout->outputs_count; i++) {
        if (layout->output_classification[i] > 0)
            answers[i].tensor.data = infer->classes.data + (uintptr_t)answers[i].tensor.data;
    }
    return GPULET_OK;
}

static void send_result(server_infer_t *infer, const gpulet_oip_answer_t *answers, bool binary_any,
                        server_output_t *output)
{
    struct iovec parts[GPULET_MODEL_IO_MAX + 1];
    gpulet_http_field_t field;
    char length[32];
    size_t count = 0;
    parts[count++] = (struct iovec){infer->head.data, infer->head.size};
    for (uint32_t i = 0; i < infer->layout.outputs_count; i++) {
        if (answers[i].binary && answers[i].tensor.size > 0)
            parts[count++] = (struct iovec){answers[i].tensor.data, answers[i].tensor.size};
    }
    (void)snprintf(length, sizeof(length), "%zu", infer->head.size);
    field = (gpulet_http_field_t){"Inference-Header-Content-Length", length};
    gpulet_http_answer_t answer = {
        .status = 200,
        .content_type = binary_any ? "application/octet-stream" : "application/json",
        .fields = &field,
        .fields_count = binary_any ? 1 : 0,
        .parts = parts,
        .parts_count = count,
    };
    if (binary_any && output != NULL) {
        output->refs++;
        answer.release = release_output;
        answer.release_context = output;
    }
    infer->state = INFER_ANSWERED;
    gpulet_http_respond(infer->http, &answer);
}

static uint64_t epoch_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / GPULET_NS_PER_MS;
}

static void count_success(server_infer_t *infer, const gpulet_action_t *action,
                          const gpulet_worker_result_t *result)
{
    server_model_t *model = infer->model;
    uint64_t now_ns = gpulet_clock_ns();
    uint64_t total = now_ns - infer->arrival_ns;
    model->success.count++;
    model->success.ns += total;
    model->queue.count++;
    model->queue.ns += action->u.reply.queue_ns;
    model->compute_input.count++;
    model->compute_input.ns += result->input_ns;
    model->compute_infer.count++;
    model->compute_infer.ns += result->exec_ns;
    model->compute_output.count++;
    model->compute_output.ns += result->output_ns;
    model->inference_count += infer->layout.items;
    model->last_inference_ms = epoch_ms();
    if (model->latency_ns == NULL)
        model->latency_ns = calloc(1, sizeof(*model->latency_ns));
    if (model->latency_ns != NULL)
        gpulet_hist_record(model->latency_ns, total);
}

void server_infer_answer(server_infer_t *infer, const gpulet_action_t *action,
                         const gpulet_worker_result_t *result, server_output_t *output)
{
    gpulet_oip_answer_t answers[GPULET_MODEL_IO_MAX];
    gpulet_error_t err = {""};
    bool binary_any = false;
    assert(infer->state == INFER_QUEUED);
    server_infer_slot_give(infer); /* The engine has read it; a retry is not possible any more. */
    if (action->u.reply.status != GPULET_OK) {
        /* The request was checked before: what fails in the run is not the client's fault. */
        server_infer_fail(infer, GPULET_E_INTERNAL, result->error);
        return;
    }
    gpulet_status_t st = make_answers(infer, answers, action, result, result->items, &err);
    if (st == GPULET_OK)
        st = gpulet_oip_response_write(&infer->head, &binary_any, infer->model->entry->name,
                                       infer->model->version_text, infer->request.id, answers,
                                       infer->layout.outputs_count, &err);
    if (st != GPULET_OK) {
        server_infer_fail(infer, st, err.text);
        return;
    }
    count_success(infer, action, result);
    send_result(infer, answers, binary_any, output);
}

void server_infer_reject(server_infer_t *infer, gpulet_reject_t reason, uint64_t retry_after_ns)
{
    static const char *const texts[] = {
        [GPULET_REJECT_QUEUE_FULL] = "Exceeds maximum queue size",
        [GPULET_REJECT_PREDICTED_LATE] = "the request could not be answered within its objective",
        [GPULET_REJECT_DROPPED] = "Request timeout expired: the objective can no longer be met",
        [GPULET_REJECT_TIMEOUT] = "Request timeout expired",
        [GPULET_REJECT_NOT_SERVED] = "no gpu-let serves the model now",
        [GPULET_REJECT_WORKER_LOST] = "the worker was lost and the objective can no longer be met",
        [GPULET_REJECT_TOO_LARGE] = "the request has more items than a batch may have",
        [GPULET_REJECT_SHUTDOWN] = "the server is shutting down",
    };
    char body[512];
    char after[RETRY_AFTER_TEXT];
    server_model_t *model = infer->model;
    server_model_t *heir = reason == GPULET_REJECT_NOT_SERVED ? server_reload_heir(model) : NULL;
    if (heir != NULL) {
        server_infer_move(infer, heir);
        return;
    }
    server_infer_slot_give(infer);
    infer->state = INFER_ANSWERED;
    model->fail.count++;
    model->fail.ns += gpulet_clock_ns() - infer->arrival_ns;
    (void)snprintf(body, sizeof(body), "%s (model '%s', reason %s)", texts[reason],
                   model->entry->name, gpulet_reject_text(reason));
    gpulet_buf_clear(&infer->head);
    gpulet_oip_error_write(&infer->head, body);
    (void)snprintf(after, sizeof(after), "%llu",
                   (unsigned long long)((retry_after_ns + GPULET_NS_PER_S - 1) / GPULET_NS_PER_S +
                                        (retry_after_ns == 0)));
    gpulet_http_field_t field = {"Retry-After", after};
    struct iovec part = {infer->head.data, infer->head.size};
    gpulet_http_answer_t answer = {.status = 503,
                                   .content_type = "application/json",
                                   .fields = &field,
                                   .fields_count = 1,
                                   .parts = &part,
                                   .parts_count = 1};
    gpulet_http_respond(infer->http, &answer);
}

void server_infer_cancelled(server_infer_t *infer)
{
    server_infer_slot_give(infer);
    server_infer_fail(infer, GPULET_E_CANCELLED, "the client is gone");
}
