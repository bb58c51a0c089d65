/* One inference request: head → JSON part → check → tensor bytes straight into shared memory →
 * brain → answer.
 *
 * An infer object lives from server_infer_begin to server_infer_finished; the HTTP request it
 * serves lives exactly as long. Its id inside the brain is its address. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/mman.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"
#include "server/internal.h"

enum {
    JSON_CLASS_MAX_KEPT = 1 << 16,
    LARGE_KEPT_BYTES = 128 << 20,
    RETRY_AFTER_TEXT = 32,
    FIELDS_PER_ANSWER = 2
};

typedef enum infer_state {
    INFER_FREE,
    INFER_READING_JSON,
    INFER_READING_TENSOR,
    INFER_COLLECTING,
    INFER_QUEUED,
    INFER_ANSWERED
} infer_state_t;

/* Shared memory over GPULET_SLAB_SLOT_MAX: a memfd of its own, kept for the next request of its
 * size. */
typedef struct server_large {
    struct server_large *next;
    uint32_t segment;
    int fd;
    void *base;
    uint64_t size;
} server_large_t;

struct server_infer {
    gpulet_server_t *server;
    server_infer_t *next_free;
    server_model_t *model;
    gpulet_http_request_t *http;
    infer_state_t state;
    uint64_t arrival_ns;
    gpulet_ticket_t ticket;
    bool raw; /* Inference-Header-Content-Length: 0 */
    bool request_parsed;
    gpulet_oip_request_t request;
    gpulet_oip_layout_t layout;
    char *json;
    size_t json_size;
    size_t json_capacity;
    uint8_t *slot;
    uint64_t slot_offset;
    uint64_t slot_size;
    bool slot_taken;
    server_large_t *large;
    uint32_t next_input; /* index into request.inputs: the next one that may be binary */
    gpulet_buf_t head;
    gpulet_buf_t classes;
    server_output_t *output;
};

static uint64_t align_up(uint64_t value)
{
    return (value + GPULET_WIRE_ALIGN - 1) & ~(uint64_t)(GPULET_WIRE_ALIGN - 1);
}

/* ---- memory of a request ---- */

static server_infer_t *infer_take(gpulet_server_t *server)
{
    server_infer_t *infer = server->infer_free;
    if (infer != NULL) {
        server->infer_free = infer->next_free;
    } else if ((infer = calloc(1, sizeof(*infer))) == NULL) {
        return NULL;
    }
    infer->server = server;
    infer->next_free = NULL;
    server->infers_open++;
    server->infers_total++;
    return infer;
}

static void large_destroy(gpulet_server_t *server, server_large_t *large)
{
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (g->worker != NULL && !g->lost)
            gpulet_worker_forget_large(g->worker, large->segment);
    }
    server->large_bytes -= large->size;
    (void)munmap(large->base, large->size);
    (void)close(large->fd);
    free(large);
}

static server_large_t *large_take(gpulet_server_t *server, uint64_t size)
{
    const uint64_t bytes_max = server->settings.input_mb << 20;
    uint64_t rounded = GPULET_SLAB_SLOT_MAX;
    gpulet_error_t err;
    while (rounded < size)
        rounded *= 2;
    for (server_large_t **at = &server->large_free; *at != NULL; at = &(*at)->next) {
        if ((*at)->size == rounded) {
            server_large_t *found = *at;
            *at = found->next;
            return found;
        }
    }
    /* Kept ones of other sizes must not stand in the way of what is wanted now. */
    while (server->large_bytes + rounded > bytes_max && server->large_free != NULL) {
        server_large_t *idle = server->large_free;
        server->large_free = idle->next;
        large_destroy(server, idle);
    }
    if (server->large_bytes + rounded > bytes_max)
        return NULL;
    server_large_t *large = calloc(1, sizeof(*large));
    if (large == NULL ||
        gpulet_large_create(&large->fd, &large->base, "gpulet-input", rounded, &err) != GPULET_OK) {
        free(large);
        return NULL;
    }
    large->segment = ++server->large_next;
    large->size = rounded;
    server->large_bytes += rounded;
    return large;
}

static void large_give(gpulet_server_t *server, server_large_t *large)
{
    uint64_t kept = 0;
    for (const server_large_t *l = server->large_free; l != NULL; l = l->next)
        kept += l->size;
    if (kept + large->size > LARGE_KEPT_BYTES) {
        large_destroy(server, large);
        return;
    }
    large->next = server->large_free;
    server->large_free = large;
}

static void slot_give(server_infer_t *infer)
{
    if (infer->large != NULL)
        large_give(infer->server, infer->large);
    else if (infer->slot_taken)
        gpulet_slab_free(infer->model->inputs, infer->slot_offset);
    infer->large = NULL;
    infer->slot_taken = false;
    infer->slot = NULL;
}

static gpulet_status_t slot_take(server_infer_t *infer, uint64_t size)
{
    gpulet_server_t *server = infer->server;
    server_model_t *model = infer->model;
    gpulet_error_t err;
    infer->slot_size = size;
    if (server_model_inputs(server, model, &err) != GPULET_OK)
        return GPULET_E_NOMEM;
    if (size > GPULET_SLAB_SLOT_MAX) {
        if ((infer->large = large_take(server, size)) == NULL)
            return GPULET_E_FULL;
        infer->slot = infer->large->base;
        infer->slot_offset = 0;
        return GPULET_OK;
    }
    gpulet_status_t st = gpulet_slab_alloc(&infer->slot_offset, model->inputs, size);
    if (st != GPULET_OK)
        return st;
    infer->slot_taken = true;
    infer->slot = (uint8_t *)gpulet_slab_base(model->inputs) + infer->slot_offset;
    return GPULET_OK;
}

void server_infer_finished(server_infer_t *infer)
{
    gpulet_server_t *server = infer->server;
    assert(infer->state != INFER_FREE && (infer->state != INFER_QUEUED || server->stop));
    slot_give(infer);
    if (infer->request_parsed)
        gpulet_oip_request_deinit(&infer->request);
    infer->request_parsed = false;
    if (infer->json_capacity > JSON_CLASS_MAX_KEPT) {
        free(infer->json);
        infer->json = NULL;
        infer->json_capacity = 0;
    }
    if (infer->head.capacity > JSON_CLASS_MAX_KEPT)
        gpulet_buf_deinit(&infer->head);
    if (infer->classes.capacity > JSON_CLASS_MAX_KEPT)
        gpulet_buf_deinit(&infer->classes);
    gpulet_buf_clear(&infer->head);
    gpulet_buf_clear(&infer->classes);
    infer->state = INFER_FREE;
    infer->http = NULL;
    infer->model = NULL;
    infer->next_free = server->infer_free;
    server->infer_free = infer;
    server->infers_open--;
}

void server_infer_close_all(gpulet_server_t *server)
{
    while (server->infer_free != NULL) {
        server_infer_t *infer = server->infer_free;
        server->infer_free = infer->next_free;
        gpulet_buf_deinit(&infer->head);
        gpulet_buf_deinit(&infer->classes);
        free(infer->json);
        free(infer);
    }
    while (server->large_free != NULL) {
        server_large_t *large = server->large_free;
        server->large_free = large->next;
        large_destroy(server, large);
    }
}

/* ---- answers that are no result ---- */

static void fail(server_infer_t *infer, gpulet_status_t status, const char *text)
{
    char message[GPULET_ERROR_TEXT_MAX + GPULET_OIP_ID_MAX + 32];
    server_model_t *model = infer->model;
    const char *id = infer->request_parsed ? infer->request.id : "";
    infer->state = INFER_ANSWERED;
    model->fail.count++;
    model->fail.ns += gpulet_clock_ns() - infer->arrival_ns;
    if (id[0] != '\0')
        (void)snprintf(message, sizeof(message), "[request id: %s] %s", id, text);
    else
        (void)snprintf(message, sizeof(message), "%s", text);
    server_respond_status(infer->http, status, message);
}

/* ---- reading ---- */

static uint64_t shape_hash(const server_infer_t *infer)
{
    uint64_t hash = UINT64_C(1469598103934665603);
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

static void submit(server_infer_t *infer)
{
    gpulet_server_t *server = infer->server;
    const gpulet_oip_request_t *wire = &infer->request;
    gpulet_sched_request_t request = {
        .id = (uint64_t)(uintptr_t)infer,
        .model = infer->model->id,
        .items = infer->layout.items,
        .arrival_ns = infer->arrival_ns,
        .timeout_ns = wire->timeout_us > UINT64_MAX / 1000 ? 0 : wire->timeout_us * 1000,
        /* On the wire 1 is highest and 0 the model's own; inside 0 is highest. */
        .priority_given = wire->priority_given && wire->priority > 0,
        .priority = wire->priority > GPULET_SCHED_PRIORITIES ? GPULET_SCHED_PRIORITIES - 1
                    : wire->priority > 0                     ? (uint32_t)wire->priority - 1
                                                             : 0,
        .shape_key = shape_hash(infer),
        .size_class = size_class(infer),
    };
    infer->state = INFER_QUEUED;
    infer->ticket = 0;
    gpulet_ticket_t ticket = 0;
    gpulet_actions_t actions =
        gpulet_sched_on_request(server->sched, gpulet_clock_ns(), &request, &ticket);
    infer->ticket = ticket;
    server_brain_apply(server, actions);
}

/* Lays the table and the tensors out in a slot. Offsets are aligned for the engine's sake. */
static gpulet_status_t prepare_slot(server_infer_t *infer)
{
    const gpulet_oip_layout_t *layout = &infer->layout;
    uint64_t table = align_up(sizeof(gpulet_wire_tensors_t) +
                              layout->inputs_count * sizeof(gpulet_wire_tensor_t));
    uint64_t size = table;
    for (uint32_t i = 0; i < layout->inputs_count; i++)
        size += align_up(layout->bytes[i]);
    gpulet_status_t st = slot_take(infer, size);
    if (st != GPULET_OK)
        return st;
    gpulet_wire_tensors_t *tensors = (gpulet_wire_tensors_t *)infer->slot;
    uint64_t offset = table;
    tensors->count = layout->inputs_count;
    tensors->reserved = 0;
    for (uint32_t i = 0; i < layout->inputs_count; i++) {
        gpulet_wire_tensor_t *t = &tensors->tensors[i];
        bool absent = layout->request_input[i] == UINT32_MAX;
        memset(t, 0, sizeof(*t));
        t->type = absent ? GPULET_DATATYPE_INVALID : infer->model->entry->io.inputs[i].type;
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

static const gpulet_wire_tensor_t *slot_tensor(const server_infer_t *infer, uint32_t model_input)
{
    return &((const gpulet_wire_tensors_t *)infer->slot)->tensors[model_input];
}

static gpulet_status_t decode_json_inputs(server_infer_t *infer, gpulet_error_t *err)
{
    for (uint32_t i = 0; i < infer->request.inputs_count; i++) {
        const gpulet_oip_input_t *input = &infer->request.inputs[i];
        uint32_t target = model_input_of(infer, i);
        uint64_t elements = 0;
        if (input->binary || target == UINT32_MAX)
            continue;
        const gpulet_wire_tensor_t *t = slot_tensor(infer, target);
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
    for (uint32_t i = 0; i < infer->request.inputs_count; i++) {
        const gpulet_oip_input_t *input = &infer->request.inputs[i];
        uint64_t elements = 0;
        uint32_t target = model_input_of(infer, i);
        if (input->type != GPULET_DATATYPE_BYTES || !input->binary || target == UINT32_MAX)
            continue;
        const gpulet_wire_tensor_t *t = slot_tensor(infer, target);
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
        const gpulet_wire_tensor_t *t = slot_tensor(infer, target);
        if (t->size == 0)
            continue;
        gpulet_http_body_into(infer->http, infer->slot + t->offset, t->size);
        return;
    }
    if (check_bytes_inputs(infer, &err) != GPULET_OK) {
        fail(infer, GPULET_E_INVALID, err.text);
        return;
    }
    submit(infer);
}

static gpulet_status_t parse_and_check(server_infer_t *infer, gpulet_error_t *err)
{
    gpulet_oip_limits_t limits = {(uint32_t)infer->server->settings.http_json_depth_max,
                                  (uint32_t)infer->server->settings.http_tensors_max};
    gpulet_status_t st =
        gpulet_oip_request_parse(&infer->request, infer->json, infer->json_size, &limits, err);
    if (st != GPULET_OK)
        return st;
    infer->request_parsed = true;
    return gpulet_oip_request_check(&infer->layout, &infer->request, &infer->model->entry->config,
                                    err);
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
    gpulet_status_t st = parse_and_check(infer, &err);
    if (st == GPULET_OK && infer->layout.binary_total > tail_size)
        st = fail_short(infer, tail_size, &err);
    if (st == GPULET_OK && infer->layout.binary_total < tail_size)
        st = gpulet_fail(&err, GPULET_E_INVALID, "unexpected additional input data for model '%s'",
                         infer->model->entry->name);
    if (st == GPULET_OK && (st = prepare_slot(infer)) != GPULET_OK)
        st = gpulet_fail(&err, GPULET_E_UNAVAILABLE,
                         "no shared memory is free for the inputs of model '%s'",
                         infer->model->entry->name);
    if (st == GPULET_OK)
        st = decode_json_inputs(infer, &err);
    if (st != GPULET_OK) {
        fail(infer, st, err.text);
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
    server_infer_t *infer = infer_take(server);
    if (infer == NULL) {
        server_respond_error(http, 503, "out of memory");
        return;
    }
    infer->http = http;
    infer->model = model;
    infer->arrival_ns = gpulet_http_arrival_ns(http);
    infer->raw = false;
    infer->output = NULL;
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
        fail(infer, st, err.text);
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
        const gpulet_wire_tensor_t *t = slot_tensor(infer, target);
        memcpy(infer->slot + t->offset, tail, t->size);
        tail += t->size;
    }
    if (check_bytes_inputs(infer, &err) != GPULET_OK)
        fail(infer, GPULET_E_INVALID, err.text);
    else
        submit(infer);
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
        fail(infer, st, err.text);
        return;
    }
    if (!infer->raw && json > 0)
        memcpy(infer->json, data, json);
    if (begin_tensors(infer, size - json))
        copy_collected(infer, data + json);
}

void server_infer_gone(server_infer_t *infer)
{
    if (infer->state == INFER_QUEUED && infer->ticket != 0)
        server_brain_apply(infer->server, gpulet_sched_on_cancel(infer->server->sched,
                                                                 gpulet_clock_ns(), infer->ticket));
    else if (infer->state == INFER_READING_JSON || infer->state == INFER_READING_TENSOR ||
             infer->state == INFER_COLLECTING)
        fail(infer, GPULET_E_CANCELLED, "the client is gone");
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

/* ---- answering ---- */

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
                &infer->classes, &answer->tensor.shape, &answer->tensor, infer->model->batched,
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
    slot_give(infer); /* The engine has read it; a retry is not possible any more. */
    if (action->u.reply.status != GPULET_OK) {
        /* The request was checked before: what fails in the run is not the client's fault. */
        fail(infer, GPULET_E_INTERNAL, result->error);
        return;
    }
    uint32_t batch_items =
        result->tensors_count > 0 && infer->model->batched && result->tensors[0].shape.rank > 0
            ? (uint32_t)result->tensors[0].shape.dims[0]
            : infer->layout.items;
    gpulet_status_t st = make_answers(infer, answers, action, result, batch_items, &err);
    if (st == GPULET_OK)
        st = gpulet_oip_response_write(&infer->head, &binary_any, infer->model->entry->name,
                                       infer->model->version_text, infer->request.id, answers,
                                       infer->layout.outputs_count, &err);
    if (st != GPULET_OK) {
        fail(infer, st, err.text);
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
    slot_give(infer);
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
    slot_give(infer);
    fail(infer, GPULET_E_CANCELLED, "the client is gone");
}
