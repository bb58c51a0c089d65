/* From a batch's result, the brain's refusal or a failure to the answer of one request. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "server/ensemble.h"

enum {
    RETRY_AFTER_TEXT = 32,
    MESSAGE_SIZE = GPULET_ERROR_TEXT_MAX + GPULET_OIP_ID_MAX + 32 /* with the request's id */
};

/* ---- answers that are no result ---- */

/* Clients look for the id in this form (docs/protocol.md). */
static void name_request(char out[static MESSAGE_SIZE], const server_infer_t *infer,
                         const char *text)
{
    const char *id = infer->request_parsed ? infer->request.id : "";
    if (id[0] != '\0' || infer->named)
        (void)snprintf(out, MESSAGE_SIZE, "[request id: %s] %s",
                       id[0] != '\0' ? id : "<id_unknown>", text);
    else
        (void)snprintf(out, MESSAGE_SIZE, "%s", text);
}

void server_infer_fail(server_infer_t *infer, gpulet_status_t status, const char *text)
{
    server_infer_fail_ran(infer, status, text, NULL);
}

void server_infer_cut_off(server_infer_t *infer)
{
    server_model_t *model = infer->model;
    server_infer_log_failure(
        infer, false, infer->server->stop ? "the server ended" : "the body could not be read",
        NULL);
    infer->state = INFER_ANSWERED;
    model->fail.count++;
    model->fail.ns += gpulet_clock_ns() - infer->arrival_ns;
}

void server_infer_fail_ran(server_infer_t *infer, gpulet_status_t status, const char *text,
                           const server_ran_t *ran)
{
    char message[MESSAGE_SIZE];
    server_model_t *model = infer->model;
    if (!infer->is_stage)
        server_infer_log_failure(infer, status == GPULET_E_CANCELLED, text, ran);
    infer->state = INFER_ANSWERED;
    model->fail.count++;
    model->fail.ns += gpulet_clock_ns() - infer->arrival_ns;
    if (infer->is_stage) {
        server_ensemble_stage_failed(infer, status, text);
        return;
    }
    name_request(message, infer, text);
    server_respond_status(infer->http, status, message);
}

/* ---- results ---- */

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

/* The shape as the configuration has it, where that is not the engine's. */
static void shape_for_client(gpulet_tensor_view_t *view, const server_infer_t *infer,
                             uint32_t output)
{
    const gpulet_model_config_t *config = &infer->model->entry->config;
    const uint32_t lead = infer->model->batched && !infer->model->outputs_whole ? 1 : 0;
    for (size_t i = 0; i < config->outputs_count; i++) {
        const gpulet_config_io_t *io = &config->outputs[i];
        gpulet_shape_t shape = {.rank = io->dims.rank + lead};
        uint64_t elements = 0;
        uint64_t known = 1;
        uint32_t open = 0;
        if (infer->model->output_at[i] != output || !io->reshape_given ||
            shape.rank > GPULET_RANK_MAX || view->shape.rank < lead)
            continue;
        for (uint32_t d = 0; d < shape.rank; d++) {
            shape.dims[d] = d < lead ? view->shape.dims[d] : io->dims.dims[d - lead];
            open += shape.dims[d] == -1;
            known *= shape.dims[d] == -1 ? 1 : (uint64_t)shape.dims[d];
        }
        if (gpulet_shape_elements(&elements, &view->shape) != GPULET_OK || open > 1 || known == 0 ||
            (open == 0 ? known != elements : elements % known != 0))
            return;
        for (uint32_t d = 0; d < shape.rank; d++)
            shape.dims[d] = shape.dims[d] == -1 ? (int64_t)(elements / known) : shape.dims[d];
        view->shape = shape;
        return;
    }
}

gpulet_status_t server_infer_output(gpulet_tensor_view_t *out, const server_infer_t *infer,
                                    uint32_t output, const gpulet_action_t *action,
                                    const gpulet_worker_result_t *result, gpulet_error_t *err)
{
    if (output >= result->tensors_count)
        return gpulet_fail(err, GPULET_E_INTERNAL, "model '%s' answered %u outputs",
                           infer->model->entry->name, result->tensors_count);
    *out = result->tensors[output];
    if (slice(out, infer, action->u.reply.row, result->items) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_INTERNAL,
                           "output '%s' of model '%s' has no batch dimension of the batch's size",
                           infer->model->entry->io.outputs[output].name, infer->model->entry->name);
    shape_for_client(out, infer, output);
    return GPULET_OK;
}

static const server_labels_t *labels_of(const server_model_t *model, uint32_t output)
{
    if (model->ensemble != NULL)
        return server_ensemble_labels(model, output);
    return model->labels != NULL ? &model->labels[output] : NULL;
}

/* From tensors to what is answered: names, and classes in their place where they are asked for. */
static gpulet_status_t make_answers(server_infer_t *infer, gpulet_oip_answer_t *answers,
                                    const gpulet_tensor_view_t *tensors, gpulet_error_t *err)
{
    const gpulet_oip_layout_t *layout = &infer->layout;
    const server_model_t *model = infer->model;
    for (uint32_t i = 0; i < layout->outputs_count; i++) {
        uint32_t index = model->output_at[layout->output[i]];
        gpulet_oip_answer_t *answer = &answers[i];
        answer->name = model->entry->io.outputs[index].name;
        answer->binary = layout->output_binary[i];
        answer->tensor = tensors[i];
        if (layout->output_classification[i] > 0) {
            const server_labels_t *labels = labels_of(model, index);
            size_t begin = infer->classes.size;
            gpulet_status_t st = gpulet_oip_classify(
                &infer->classes, &answer->tensor.shape, &answer->tensor,
                model->batched && !model->outputs_whole, layout->output_classification[i],
                labels != NULL ? labels->names : NULL, labels != NULL ? labels->count : 0, err);
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

static uint64_t epoch_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / GPULET_NS_PER_MS;
}

static void record(gpulet_hist_t **hist, uint64_t ns)
{
    if (*hist == NULL)
        *hist = calloc(1, sizeof(**hist));
    if (*hist != NULL)
        gpulet_hist_record(*hist, ns);
}

void server_infer_count(server_infer_t *infer, const server_times_t *times)
{
    server_model_t *model = infer->model;
    uint64_t now_ns = gpulet_clock_ns();
    uint64_t total = now_ns - infer->arrival_ns;
    model->success.count++;
    model->success.ns += total;
    model->queue.count++;
    model->queue.ns += times->queue_ns;
    model->compute_input.count++;
    model->compute_input.ns += times->input_ns;
    model->compute_infer.count++;
    model->compute_infer.ns += times->exec_ns;
    model->compute_output.count++;
    model->compute_output.ns += times->output_ns;
    model->inference_count += infer->layout.items;
    model->last_inference_ms = epoch_ms();
    record(&model->latency_ns, total);
    record(&model->queue_ns, times->queue_ns);
}

static void send_result(server_infer_t *infer, const gpulet_oip_answer_t *answers, bool binary_any,
                        void (*release)(void *), void *context)
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
        .release = binary_any ? release : NULL,
        .release_context = context,
    };
    infer->state = INFER_ANSWERED;
    gpulet_http_respond(infer->http, &answer);
    if (!binary_any)
        release(context);
}

gpulet_status_t server_infer_send(server_infer_t *infer, const gpulet_tensor_view_t *tensors,
                                  const server_times_t *times, void (*release)(void *context),
                                  void *context, gpulet_error_t *err)
{
    gpulet_oip_answer_t answers[GPULET_MODEL_IO_MAX];
    bool binary_any = false;
    gpulet_status_t st = make_answers(infer, answers, tensors, err);
    if (st == GPULET_OK)
        st = gpulet_oip_response_write(&infer->head, &binary_any, infer->model->entry->name,
                                       infer->model->version_text, infer->request.id, answers,
                                       infer->layout.outputs_count, err);
    if (st != GPULET_OK) {
        release(context);
        return st;
    }
    server_infer_count(infer, times);
    send_result(infer, answers, binary_any, release, context);
    return GPULET_OK;
}

/* Nothing to release: the outputs' bytes are in the answer itself. */
static void release_nothing(void *context)
{
    (void)context;
}

static gpulet_status_t answer_client(server_infer_t *infer, const gpulet_action_t *action,
                                     const gpulet_worker_result_t *result, server_output_t *output,
                                     gpulet_error_t *err)
{
    const gpulet_oip_layout_t *layout = &infer->layout;
    const server_times_t times = {action->u.reply.queue_ns, result->input_ns, result->exec_ns,
                                  result->output_ns};
    gpulet_tensor_view_t tensors[GPULET_MODEL_IO_MAX];
    gpulet_status_t st = GPULET_OK;
    for (uint32_t i = 0; i < layout->outputs_count && st == GPULET_OK; i++)
        st = server_infer_output(&tensors[i], infer, infer->model->output_at[layout->output[i]],
                                 action, result, err);
    if (st != GPULET_OK)
        return st;
    if (output != NULL)
        output->refs++;
    return server_infer_send(infer, tensors, &times,
                             output != NULL ? release_output : release_nothing, output, err);
}

void server_infer_answer(server_infer_t *infer, const gpulet_action_t *action,
                         const gpulet_worker_result_t *result, server_output_t *output)
{
    gpulet_error_t err = {""};
    const server_ran_t ran = {.queue_ns = action->u.reply.queue_ns,
                              .exec_ns = result->exec_ns,
                              .gpulet = infer->server->result_gpulet->name,
                              .batch = action->u.reply.batch,
                              .failed = action->u.reply.status != GPULET_OK};
    assert(infer->state == INFER_QUEUED);
    server_infer_slot_give(infer); /* The engine has read it; a retry is not possible any more. */
    if (ran.failed) {
        /* The request was checked before: what fails in the run is not the client's fault. */
        server_infer_fail_ran(infer, GPULET_E_INTERNAL, result->error, &ran);
        return;
    }
    if (infer->is_stage) {
        server_ensemble_stage_answered(infer, action, result, output);
        return;
    }
    gpulet_status_t st = answer_client(infer, action, result, output, &err);
    if (st != GPULET_OK)
        server_infer_fail_ran(infer, st, err.text, &ran);
    else if (!action->u.reply.in_time)
        server_infer_log(infer, SERVER_END_LATE, "late", &ran, NULL);
}

void server_infer_refuse(server_infer_t *infer, gpulet_reject_t reason, uint64_t retry_after_ns,
                         const server_ran_t *ran)
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
    char text[GPULET_ERROR_TEXT_MAX];
    char message[MESSAGE_SIZE];
    char after[RETRY_AFTER_TEXT];
    server_model_t *model = infer->model;
    const uint64_t total_ns = gpulet_clock_ns() - infer->arrival_ns;
    const server_ran_t waited = {.queue_ns = total_ns};
    const char *step = ran != NULL ? ran->step : NULL;
    server_infer_log(infer, SERVER_END_REFUSED, gpulet_reject_text(reason),
                     ran != NULL ? ran : &waited, NULL);
    server_infer_slot_give(infer);
    infer->state = INFER_ANSWERED;
    model->fail.count++;
    model->fail.ns += total_ns;
    (void)snprintf(text, sizeof(text), "%s (model '%s', %s%s%sreason %s)", texts[reason],
                   model->entry->name, step != NULL ? "step '" : "", step != NULL ? step : "",
                   step != NULL ? "', " : "", gpulet_reject_text(reason));
    gpulet_buf_clear(&infer->head);
    name_request(message, infer, text);
    gpulet_oip_error_write(&infer->head, message);
    (void)snprintf(after, sizeof(after), "%llu",
                   (unsigned long long)((retry_after_ns + GPULET_NS_PER_S - 1) / GPULET_NS_PER_S +
                                        (retry_after_ns == 0)));
    gpulet_http_field_t field = {"Retry-After", after};
    struct iovec part = {infer->head.data, infer->head.size};
    /* A request that no batch can hold will fit no better later. */
    const bool never = reason == GPULET_REJECT_TOO_LARGE;
    gpulet_http_answer_t answer = {.status = never ? 413 : 503,
                                   .content_type = "application/json",
                                   .fields = &field,
                                   .fields_count = never ? 0 : 1,
                                   .parts = &part,
                                   .parts_count = 1};
    gpulet_http_respond(infer->http, &answer);
}

void server_infer_reject(server_infer_t *infer, gpulet_reject_t reason, uint64_t retry_after_ns)
{
    server_model_t *model = infer->model;
    server_model_t *heir = reason == GPULET_REJECT_NOT_SERVED ? server_reload_heir(model) : NULL;
    if (heir != NULL && !(infer->is_stage && server_ensemble_is_over(infer))) {
        server_infer_move(infer, heir);
        return;
    }
    if (!infer->is_stage) {
        server_infer_refuse(infer, reason, retry_after_ns, NULL);
        return;
    }
    server_infer_slot_give(infer);
    infer->state = INFER_ANSWERED;
    model->fail.count++;
    model->fail.ns += gpulet_clock_ns() - infer->arrival_ns;
    server_ensemble_stage_rejected(infer, reason, retry_after_ns);
}

void server_infer_cancelled(server_infer_t *infer)
{
    server_infer_slot_give(infer);
    server_infer_fail(infer, GPULET_E_CANCELLED, "the client is gone");
}
