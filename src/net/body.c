#include <assert.h>
#include <string.h>

#include "net/internal.h"

enum { COLLECT_FIRST = 65536, COLLECT_AT_ONCE = 1 << 20 };

void gpulet_body_begin(gpulet_http_request_t *request)
{
    const gpulet_http1_head_t *head = &request->head;
    request->want = WANT_NOTHING;
    request->into = NULL;
    request->into_left = 0;
    request->skipped = 0;
    request->body_left = head->has_length ? head->length : 0;
    request->body_complete = !head->chunked && request->body_left == 0;
    request->continued = !head->expects_continue || request->body_complete;
    if (head->chunked)
        gpulet_chunked_begin(&request->chunked);
}

void gpulet_body_end(gpulet_http_request_t *request)
{
    gpulet_inflater_destroy(request->inflater);
    request->inflater = NULL;
    if (request->body.capacity > CONN_BODY_KEPT_MAX)
        gpulet_buf_deinit(&request->body);
    gpulet_buf_clear(&request->body);
}

static gpulet_http1_step_t fail(gpulet_body_fault_t *fault, int status, const char *text)
{
    fault->status = status;
    fault->text = text;
    return GPULET_HTTP1_FAILED;
}

static gpulet_http1_step_t collect(gpulet_http_request_t *request, const char *data, size_t size,
                                   gpulet_body_fault_t *fault)
{
    gpulet_status_t st = GPULET_OK;
    if (request->inflater != NULL) {
        st = gpulet_inflater_feed(request->inflater, &request->body, (size_t)request->collect_max,
                                  data, size);
    } else if (size > request->collect_max - request->body.size) {
        st = GPULET_E_TOO_LARGE;
    } else {
        gpulet_buf_append(&request->body, data, size);
        st = gpulet_buf_status(&request->body);
    }
    if (st == GPULET_E_TOO_LARGE)
        return fail(fault, 413, "the body is too large");
    if (st == GPULET_E_NOMEM)
        return fail(fault, 503, "out of memory");
    return st == GPULET_OK ? GPULET_HTTP1_DONE
                           : fail(fault, 400, "the body is not what its Content-Encoding says");
}

static gpulet_http1_step_t deliver(gpulet_http_request_t *request, const char *data, size_t size,
                                   gpulet_body_fault_t *fault)
{
    switch (request->want) {
    case WANT_COLLECT:
        return collect(request, data, size, fault);
    case WANT_INTO:
        memcpy(request->into, data, size);
        request->into += size;
        request->into_left -= size;
        return GPULET_HTTP1_DONE;
    case WANT_NOTHING:
        request->skipped += size;
        break;
    }
    return GPULET_HTTP1_DONE;
}

/* The next piece of the body among the buffered bytes, and past it. */
static gpulet_http1_step_t next_piece(gpulet_http_request_t *request, const char **piece,
                                      size_t *piece_size, gpulet_body_fault_t *fault)
{
    gpulet_conn_t *conn = request->conn;
    size_t there = conn->end - conn->start;
    const char *data = conn->block->bytes + conn->start;
    *piece_size = 0;
    if (request->head.chunked) {
        size_t consumed = 0;
        gpulet_http1_step_t step =
            gpulet_chunked_next(&request->chunked, data, there, &consumed, piece, piece_size);
        conn->start += consumed;
        if (step == GPULET_HTTP1_FAILED)
            return fail(fault, 400, request->chunked.text);
        return step;
    }
    if (there > request->body_left)
        there = (size_t)request->body_left;
    if (request->want == WANT_INTO && there > request->into_left)
        there = request->into_left;
    *piece = data;
    *piece_size = there;
    conn->start += there;
    request->body_left -= there;
    if (there == 0 && request->body_left == 0)
        return GPULET_HTTP1_DONE;
    return there > 0 ? GPULET_HTTP1_DATA : GPULET_HTTP1_MORE;
}

static gpulet_http1_step_t ended(gpulet_http_request_t *request, gpulet_body_fault_t *fault)
{
    request->body_complete = true;
    if (request->want != WANT_COLLECT)
        return GPULET_HTTP1_DONE;
    if (request->inflater != NULL && !gpulet_inflater_ended(request->inflater))
        return fail(fault, 400, "the compressed body ends too early");
    gpulet_buf_append(&request->body, "", 0); /* so that even an empty one is a text */
    return gpulet_buf_status(&request->body) == GPULET_OK ? GPULET_HTTP1_DONE
                                                          : fail(fault, 503, "out of memory");
}

gpulet_http1_step_t gpulet_body_pump(gpulet_http_request_t *request, gpulet_body_fault_t *fault)
{
    while (!request->body_complete) {
        const char *piece = NULL;
        size_t size = 0;
        if (request->want == WANT_INTO && request->into_left == 0) {
            request->body_complete = request->body_left == 0;
            return GPULET_HTTP1_DONE;
        }
        if (!request->head.chunked && request->body_left == 0)
            return ended(request, fault);
        if (request->conn->start == request->conn->end)
            return GPULET_HTTP1_MORE;
        gpulet_http1_step_t step = next_piece(request, &piece, &size, fault);
        if (step == GPULET_HTTP1_DONE)
            return ended(request, fault);
        if (step == GPULET_HTTP1_DATA)
            step = deliver(request, piece, size, fault);
        if (step == GPULET_HTTP1_FAILED)
            return step;
    }
    return request->want == WANT_COLLECT && request->body.data == NULL ? ended(request, fault)
                                                                       : GPULET_HTTP1_DONE;
}

size_t gpulet_body_direct(gpulet_http_request_t *request, char **dst)
{
    if (request->head.chunked || request->body_complete)
        return 0;
    if (request->want == WANT_INTO) {
        *dst = request->into;
        return request->into_left;
    }
    if (request->want != WANT_COLLECT || request->inflater != NULL)
        return 0;
    gpulet_buf_t *body = &request->body;
    /* Memory grows with what has really come, not with what was announced. */
    if (body->capacity - body->size <= 1 || body->data == NULL) {
        size_t grow = body->size < COLLECT_FIRST ? COLLECT_FIRST : body->size;
        if (request->body_left < grow || request->head.length <= COLLECT_AT_ONCE)
            grow = (size_t)request->body_left;
        if (gpulet_buf_reserve(body, grow) != GPULET_OK)
            return 0;
    }
    size_t room = body->capacity - body->size - 1;
    *dst = body->data + body->size;
    return room < request->body_left ? room : (size_t)request->body_left;
}

void gpulet_body_direct_filled(gpulet_http_request_t *request, size_t size)
{
    request->body_left -= size;
    if (request->want == WANT_INTO) {
        request->into += size;
        request->into_left -= size;
        return;
    }
    request->body.size += size;
    request->body.data[request->body.size] = '\0';
}

/* ---- what the application calls ---- */

uint64_t gpulet_http_body_size(const gpulet_http_request_t *request)
{
    if (request->head.chunked)
        return UINT64_MAX;
    if (!request->head.has_length || request->head.length == 0)
        return 0;
    return request->head.coding == GPULET_HTTP1_IDENTITY ? request->head.length : UINT64_MAX;
}

/* The application asks for body bytes: whoever waits to be told so is told. */
static void asked(gpulet_http_request_t *request)
{
    gpulet_conn_t *conn = request->conn;
    if (!request->continued && conn->start == conn->end)
        gpulet_answer_continue(conn);
    request->continued = true;
    gpulet_server_schedule(conn);
}

void gpulet_http_body_collect(gpulet_http_request_t *request, uint64_t size_max)
{
    const gpulet_http1_head_t *head = &request->head;
    gpulet_conn_t *conn = request->conn;
    assert(request->active && !request->responded && request->want == WANT_NOTHING);
    assert(conn->server->handler.on_body != NULL);
    uint64_t limit = conn->server->limits.body_bytes_max;
    request->want = WANT_COLLECT;
    request->collect_max = size_max < limit ? size_max : limit;
    gpulet_buf_clear(&request->body);
    if (gpulet_http_body_size(request) != UINT64_MAX && head->length > request->collect_max) {
        gpulet_answer_error(conn, 413, "the body is too large");
        return;
    }
    if (head->coding != GPULET_HTTP1_IDENTITY && !request->body_complete &&
        gpulet_inflater_create(&request->inflater, head->coding) != GPULET_OK) {
        gpulet_answer_error(conn, 503, "out of memory");
        return;
    }
    asked(request);
}

void gpulet_http_body_into(gpulet_http_request_t *request, void *dst, size_t size)
{
    assert(request->active && !request->responded && request->want == WANT_NOTHING);
    assert(request->conn->server->handler.on_body_filled != NULL);
    assert(gpulet_http_body_size(request) != UINT64_MAX && size <= request->body_left);
    request->want = WANT_INTO;
    request->into = dst;
    request->into_left = size;
    asked(request);
}
