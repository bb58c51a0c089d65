/* One inference request: head → JSON part → check → tensor bytes straight into shared memory →
 * brain. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/parse.h"
#include "server/ensembles.h"
#include "server/follow.h"
#include "server/infer.h"

static uint64_t align_up(uint64_t value)
{
    return (value + GPULET_WIRE_ALIGN - 1) & ~(uint64_t)(GPULET_WIRE_ALIGN - 1);
}

/* ---- reading ---- */

/* The seed is not known outside: nobody can find shapes that fall together with those of others,
 * whose batch would fail. */
static uint64_t shape_hash(const server_infer_t *infer)
{
    uint64_t hash = infer->server->shape_seed;
    const gpulet_oip_layout_t *layout = &infer->layout;
    for (uint32_t i = 0; i < layout->inputs_count; i++) {
        const gpulet_shape_t *shape = &layout->engine_shape[i];
        if (layout->request_input[i] == UINT32_MAX) {
            hash = (hash ^ 0x5bU) * UINT64_C(1099511628211);
            continue;
        }
        for (uint32_t d = infer->model->batched ? 1 : 0; d < shape->rank; d++)
            hash = (hash ^ (uint64_t)shape->dims[d]) * UINT64_C(1099511628211);
    }
    return hash;
}

static uint32_t size_class(const server_infer_t *infer)
{
    uint64_t bytes = 0;
    if (!infer->model->dynamic)
        return 0;
    for (uint32_t i = 0; i < infer->layout.inputs_count; i++)
        bytes += infer->layout.bytes[i];
    bytes /= infer->layout.items;
    return bytes == 0 ? 0 : 63U - (uint32_t)__builtin_clzll(bytes);
}

/* What the client asks for, or the ensemble that this is a stage of. */
static void describe(gpulet_sched_request_t *out, const server_infer_t *infer)
{
    const gpulet_oip_request_t *wire = &infer->request;
    const server_model_t *model = infer->model;
    out->continues = infer->continues;
    if (infer->is_stage) {
        out->deadline_ns = infer->deadline_ns;
        out->late_serve = infer->late_serve;
        out->priority_given = true;
        out->priority = infer->priority;
        return;
    }
    /* The brain holds the model to the smallest objective of those who use it: a client that asks
     * for the model alone has the model's own. */
    if (model->stage_slo_ms > 0)
        out->deadline_ns =
            model->slo_ms > 0 ? infer->arrival_ns + gpulet_duration_ns(model->slo_ms) : UINT64_MAX;
    out->timeout_ns = wire->timeout_us > UINT64_MAX / 1000 ? 0 : wire->timeout_us * 1000;
    /* On the wire 1 is highest and 0 the model's own; inside 0 is highest. */
    out->priority_given = wire->priority_given && wire->priority > 0;
    out->priority = server_infer_priority(infer, 0);
}

uint32_t server_infer_priority(const server_infer_t *infer, uint32_t otherwise)
{
    const gpulet_oip_request_t *wire = &infer->request;
    if (!wire->priority_given || wire->priority == 0)
        return otherwise;
    return wire->priority > GPULET_SCHED_PRIORITIES ? GPULET_SCHED_PRIORITIES - 1
                                                    : (uint32_t)wire->priority - 1;
}

void server_infer_submit_all(gpulet_server_t *server, server_infer_t **infers, uint32_t count)
{
    gpulet_sched_request_t requests[GPULET_SCHED_GROUP_MAX];
    gpulet_ticket_t tickets[GPULET_SCHED_GROUP_MAX];
    for (uint32_t i = 0; i < count; i++) {
        server_infer_t *infer = infers[i];
        requests[i] = (gpulet_sched_request_t){
            .id = (uint64_t)(uintptr_t)infer,
            .model = infer->model->id,
            .items = infer->layout.items,
            .arrival_ns = infer->arrival_ns,
            .shape_key = shape_hash(infer),
            .size_class = size_class(infer),
        };
        describe(&requests[i], infer);
        server_follow_arrived(server, infer->model, infer->layout.items);
        infer->state = INFER_QUEUED;
    }
    gpulet_actions_t actions =
        gpulet_sched_on_requests(server->sched, gpulet_clock_ns(), requests, count, tickets);
    for (uint32_t i = 0; i < count; i++)
        infers[i]->ticket = tickets[i];
    server_brain_apply(server, actions);
}

void server_infer_submit(server_infer_t *infer)
{
    if (infer->model->ensemble == NULL) {
        server_infer_submit_all(infer->server, &infer, 1);
        return;
    }
    infer->state = INFER_QUEUED;
    infer->ticket = 0;
    server_ensemble_begin(infer);
}

/* Offsets are aligned for the engine's sake. The table is in the order of the model file. */
gpulet_status_t server_infer_prepare(server_infer_t *infer)
{
    const gpulet_oip_layout_t *layout = &infer->layout;
    uint64_t table = align_up(sizeof(gpulet_wire_tensors_t) +
                              layout->inputs_count * sizeof(gpulet_wire_tensor_t));
    uint64_t size = table;
    for (uint32_t i = 0; i < layout->inputs_count; i++)
        size += align_up(layout->bytes[i]);
    gpulet_status_t st = server_infer_slot_take(infer, size);
    if (st != GPULET_OK)
        return st;
    gpulet_wire_tensors_t *tensors = (gpulet_wire_tensors_t *)infer->slot;
    uint64_t offset = table;
    tensors->count = layout->inputs_count;
    tensors->reserved = 0;
    for (uint32_t i = 0; i < layout->inputs_count; i++) {
        const uint32_t at = infer->model->input_at[i];
        gpulet_wire_tensor_t *t = &tensors->tensors[at];
        bool absent = layout->request_input[i] == UINT32_MAX;
        memset(t, 0, sizeof(*t));
        t->type = absent ? GPULET_DATATYPE_INVALID : infer->model->entry->io.inputs[at].type;
        t->rank = layout->engine_shape[i].rank;
        memcpy(t->dims, layout->engine_shape[i].dims, sizeof(t->dims));
        t->offset = offset;
        t->size = absent ? 0 : layout->bytes[i];
        offset += align_up(t->size);
    }
    return GPULET_OK;
}

/* The model's input that the request's input at `index` is for; every input of a checked request is
 * one. */
static uint32_t model_input_of(const server_infer_t *infer, uint32_t index)
{
    for (uint32_t i = 0; i < infer->layout.inputs_count; i++) {
        if (infer->layout.request_input[i] == index)
            return i;
    }
    return UINT32_MAX;
}

const gpulet_wire_tensor_t *server_infer_tensor(const server_infer_t *infer, uint32_t input)
{
    return &((const gpulet_wire_tensors_t *)infer->slot)->tensors[infer->model->input_at[input]];
}

static gpulet_status_t decode_json_inputs(server_infer_t *infer, gpulet_error_t *err)
{
    for (uint32_t i = 0; i < infer->request.inputs_count; i++) {
        const gpulet_oip_input_t *input = &infer->request.inputs[i];
        uint32_t target = model_input_of(infer, i);
        uint64_t elements = 0;
        if (input->binary || target == UINT32_MAX)
            continue;
        const gpulet_wire_tensor_t *t = server_infer_tensor(infer, target);
        gpulet_status_t st = gpulet_shape_elements(&elements, &input->shape);
        if (st == GPULET_OK)
            st = gpulet_oip_data_decode(infer->slot + t->offset, t->size, input, elements,
                                        infer->model->entry->name, err);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

static gpulet_status_t check_bytes_inputs(server_infer_t *infer, gpulet_error_t *err)
{
    infer->named = true;
    for (uint32_t i = 0; i < infer->request.inputs_count; i++) {
        const gpulet_oip_input_t *input = &infer->request.inputs[i];
        uint64_t elements = 0;
        uint32_t target = model_input_of(infer, i);
        if (input->type != GPULET_DATATYPE_BYTES || !input->binary || target == UINT32_MAX)
            continue;
        const gpulet_wire_tensor_t *t = server_infer_tensor(infer, target);
        gpulet_status_t st = gpulet_shape_elements(&elements, &input->shape);
        if (st == GPULET_OK)
            st = gpulet_oip_bytes_check(infer->slot + t->offset, t->size, elements, input->name,
                                        infer->model->entry->name, err);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

/* Asks for the next binary tensor's bytes, or submits when all are there. */
static void read_next_tensor(server_infer_t *infer)
{
    gpulet_error_t err;
    infer->state = INFER_READING_TENSOR;
    while (infer->next_input < infer->request.inputs_count) {
        uint32_t index = infer->next_input++;
        uint32_t target = model_input_of(infer, index);
        if (!infer->request.inputs[index].binary || target == UINT32_MAX)
            continue;
        const gpulet_wire_tensor_t *t = server_infer_tensor(infer, target);
        if (t->size == 0)
            continue;
        gpulet_http_body_into(infer->http, infer->slot + t->offset, t->size);
        return;
    }
    if (check_bytes_inputs(infer, &err) != GPULET_OK) {
        server_infer_fail(infer, GPULET_E_INVALID, err.text);
        return;
    }
    server_infer_submit(infer);
}

static gpulet_status_t parse_and_check(server_infer_t *infer, uint64_t tail_size,
                                       gpulet_error_t *err)
{
    gpulet_oip_limits_t limits = {(uint32_t)infer->server->settings.http_json_depth_max,
                                  (uint32_t)infer->server->settings.http_tensors_max};
    gpulet_status_t st =
        gpulet_oip_request_parse(&infer->request, infer->json, infer->json_size, &limits, err);
    if (st != GPULET_OK)
        return st;
    infer->request_parsed = true;
    gpulet_oip_request_take_tail(&infer->request, tail_size);
    st = gpulet_oip_request_check(&infer->layout, &infer->request, &infer->model->entry->config,
                                  err);
    infer->named = st != GPULET_OK;
    return st;
}

/* Names the first input whose bytes are not all there. */
static gpulet_status_t fail_short(const server_infer_t *infer, uint64_t tail_size,
                                  gpulet_error_t *err)
{
    const gpulet_oip_input_t *input = infer->request.inputs;
    uint64_t end = input->binary ? input->binary_size : 0;
    while (end <= tail_size)
        end += (++input)->binary ? input->binary_size : 0;
    return gpulet_fail(
        err, GPULET_E_INVALID,
        "unexpected size for input '%s', expecting %llu additional bytes for model '%s'",
        input->name, (unsigned long long)(end - tail_size), infer->model->entry->name);
}

/* The JSON part is there. tail_size: bytes that follow it. */
static bool begin_tensors(server_infer_t *infer, uint64_t tail_size)
{
    gpulet_error_t err;
    gpulet_status_t st = parse_and_check(infer, tail_size, &err);
    if (st == GPULET_OK && infer->layout.binary_total > tail_size)
        st = fail_short(infer, tail_size, &err);
    if (st == GPULET_OK && infer->layout.binary_total < tail_size)
        st = gpulet_fail(&err, GPULET_E_INVALID, "unexpected additional input data for model '%s'",
                         infer->model->entry->name);
    if (st == GPULET_OK && (st = server_infer_prepare(infer)) != GPULET_OK) {
        infer->named = true;
        st = gpulet_fail(&err, GPULET_E_UNAVAILABLE,
                         "no shared memory is free for the inputs of model '%s'",
                         infer->model->entry->name);
    }
    if (st == GPULET_OK)
        st = decode_json_inputs(infer, &err);
    if (st != GPULET_OK) {
        server_infer_fail(infer, st, err.text);
        return false;
    }
    infer->next_input = 0;
    return true;
}

/* A raw binary request: one input, at most one variable dimension, batch 1, all outputs binary
 * (docs/protocol.md). */
static gpulet_status_t make_raw_json(server_infer_t *infer, uint64_t size, gpulet_error_t *err)
{
    const gpulet_model_config_t *config = &infer->model->entry->config;
    gpulet_buf_t json = GPULET_BUF_INIT;
    infer->named = true;
    if (config->inputs_count != 1)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "Raw request must only have 1 input (found %zu) to be deduced but got "
                           "%zu inputs in '%s' model configuration",
                           config->inputs_count, config->inputs_count, infer->model->entry->name);
    const gpulet_config_io_t *input = &config->inputs[0];
    const bool bytes = input->type == GPULET_DATATYPE_BYTES;
    uint64_t fixed = bytes ? 1 : gpulet_datatype_size(input->type); /* bytes, the variable one 1 */
    int variable = -1;
    bool overflow = false;
    for (uint32_t i = 0; i < input->dims.rank; i++) {
        if (input->dims.dims[i] == -1 && variable >= 0)
            return gpulet_fail(err, GPULET_E_INVALID,
                               "The shape of the raw input '%s' can not be deduced because there "
                               "are more than one variable-sized dimension",
                               input->name);
        if (input->dims.dims[i] == -1)
            variable = (int)i;
        else
            overflow |= __builtin_mul_overflow(fixed, (uint64_t)input->dims.dims[i], &fixed);
    }
    if (!bytes && variable >= 0 && (overflow || fixed == 0 || size % fixed != 0))
        return gpulet_fail(
            err, GPULET_E_INVALID,
            "The shape of the raw input '%s' can not be deduced: %llu bytes do not fill it",
            input->name, (unsigned long long)size);
    gpulet_buf_append_str(&json, "{\"inputs\":[{\"name\":");
    gpulet_json_string(&json, input->name, strlen(input->name));
    gpulet_buf_printf(&json, ",\"datatype\":\"%s\",\"shape\":[", gpulet_datatype_name(input->type));
    if (infer->model->batched)
        gpulet_buf_append_str(&json, input->dims.rank > 0 ? "1," : "1");
    for (uint32_t i = 0; i < input->dims.rank; i++) {
        int64_t dim = (int)i != variable ? input->dims.dims[i]
                      : bytes            ? 1
                                         : (int64_t)(size / fixed);
        gpulet_buf_printf(&json, i > 0 ? ",%lld" : "%lld", (long long)dim);
    }
    gpulet_buf_printf(&json,
                      "],\"parameters\":{\"binary_data_size\":%llu}}],\"parameters\":{\"binary_"
                      "data_output\":true}}",
                      (unsigned long long)size);
    free(infer->json);
    infer->json_size = json.size;
    infer->json_capacity = json.capacity;
    infer->json = gpulet_buf_release(&json);
    return infer->json != NULL ? GPULET_OK : gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
}

static bool json_reserve(server_infer_t *infer, size_t size)
{
    infer->json_size = size;
    if (size <= infer->json_capacity)
        return true;
    char *grown = realloc(infer->json, size);
    if (grown == NULL)
        return false;
    infer->json = grown;
    infer->json_capacity = size;
    return true;
}

/* The length of the JSON part, from the head; body when there is no such header. */
static gpulet_status_t json_length(uint64_t *out, server_infer_t *infer, uint64_t body,
                                   gpulet_error_t *err)
{
    const char *text = gpulet_http_header(infer->http, "Inference-Header-Content-Length");
    uint64_t length = 0;
    if (text == NULL) {
        *out = body;
        return GPULET_OK;
    }
    if (gpulet_parse_u64(&length, text, strlen(text)) != GPULET_OK || length > body)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "inference header size should be in range (0, %llu), got: %.40s",
                           (unsigned long long)body, text);
    infer->raw = length == 0;
    *out = length;
    return GPULET_OK;
}

void server_infer_begin(gpulet_server_t *server, gpulet_http_request_t *http, server_model_t *model)
{
    gpulet_error_t err;
    uint64_t json = 0;
    uint64_t body = gpulet_http_body_size(http);
    server_infer_t *infer = server_infer_take(server);
    if (infer == NULL) {
        server_respond_error(http, 503, "out of memory");
        return;
    }
    infer->http = http;
    infer->model = model;
    model->infers_open++;
    infer->arrival_ns = gpulet_http_arrival_ns(http);
    infer->raw = false;
    infer->state = INFER_READING_JSON;
    gpulet_http_set_user(http, infer);
    if (body == UINT64_MAX) { /* Chunked or compressed: its size shows only at its end. */
        infer->state = INFER_COLLECTING;
        gpulet_http_body_collect(http, server->settings.http_body_mb_max << 20);
        return;
    }
    gpulet_status_t st = json_length(&json, infer, body, &err);
    if (st == GPULET_OK && infer->raw)
        st = make_raw_json(infer, body, &err);
    if (st == GPULET_OK && !infer->raw && json > server->settings.http_body_mb_max << 20)
        st = gpulet_fail(&err, GPULET_E_TOO_LARGE,
                         "the JSON part has %llu bytes, more than http-body-mb-max",
                         (unsigned long long)json);
    if (st == GPULET_OK && !infer->raw && !json_reserve(infer, json))
        st = gpulet_fail(&err, GPULET_E_NOMEM, "out of memory");
    if (st != GPULET_OK) {
        server_infer_fail(infer, st, err.text);
    } else if (infer->raw) {
        if (begin_tensors(infer, body))
            read_next_tensor(infer);
    } else {
        gpulet_http_body_into(http, infer->json, json);
    }
}

void server_infer_filled(server_infer_t *infer)
{
    if (infer->state == INFER_READING_TENSOR) {
        read_next_tensor(infer);
        return;
    }
    if (begin_tensors(infer, gpulet_http_body_size(infer->http) - infer->json_size))
        read_next_tensor(infer);
}

/* The whole body lies in memory: copy the binary tensors to where they belong. */
static void copy_collected(server_infer_t *infer, const char *tail)
{
    gpulet_error_t err;
    for (uint32_t i = 0; i < infer->request.inputs_count; i++) {
        uint32_t target = model_input_of(infer, i);
        if (!infer->request.inputs[i].binary || target == UINT32_MAX)
            continue;
        const gpulet_wire_tensor_t *t = server_infer_tensor(infer, target);
        memcpy(infer->slot + t->offset, tail, t->size);
        tail += t->size;
    }
    if (check_bytes_inputs(infer, &err) != GPULET_OK)
        server_infer_fail(infer, GPULET_E_INVALID, err.text);
    else
        server_infer_submit(infer);
}

void server_infer_body(server_infer_t *infer, char *data, size_t size)
{
    gpulet_error_t err;
    uint64_t json = 0;
    gpulet_status_t st = json_length(&json, infer, size, &err);
    if (st == GPULET_OK && infer->raw)
        st = make_raw_json(infer, size, &err);
    if (st == GPULET_OK && !infer->raw && !json_reserve(infer, json))
        st = gpulet_fail(&err, GPULET_E_NOMEM, "out of memory");
    if (st != GPULET_OK) {
        server_infer_fail(infer, st, err.text);
        return;
    }
    if (!infer->raw && json > 0)
        memcpy(infer->json, data, json);
    if (begin_tensors(infer, size - json))
        copy_collected(infer, data + json);
}

void server_infer_move(server_infer_t *infer, server_model_t *model)
{
    infer->model->infers_open--;
    model->infers_open++;
    infer->model = model;
    infer->continues = true;
    server_infer_submit(infer);
}

void server_infer_gone(server_infer_t *infer)
{
    if (infer->state == INFER_QUEUED && infer->run != NULL)
        server_ensemble_gone(infer);
    else if (infer->state == INFER_QUEUED && infer->ticket != 0)
        server_brain_apply(infer->server, gpulet_sched_on_cancel(infer->server->sched,
                                                                 gpulet_clock_ns(), infer->ticket));
    else if (infer->state == INFER_READING_JSON || infer->state == INFER_READING_TENSOR ||
             infer->state == INFER_COLLECTING)
        server_infer_fail(infer, GPULET_E_CANCELLED, "the client is gone");
}

void server_infer_span(const server_infer_t *infer, gpulet_wire_span_t *span,
                       gpulet_worker_large_t *large, uint32_t *large_count)
{
    span->offset = infer->slot_offset;
    span->size = infer->slot_size;
    span->items = infer->layout.items;
    span->segment = 0;
    if (infer->large == NULL)
        return;
    span->segment = infer->large->segment;
    large[*large_count] =
        (gpulet_worker_large_t){infer->large->segment, infer->large->fd, infer->large->size};
    (*large_count)++;
}
