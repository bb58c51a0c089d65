#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/internal.h"

enum { HEAD_GUESS = 320, DECIMAL_MAX = 24 };

/* What the head of an answer says beyond what the application gave. */
typedef struct answer_shape {
    uint64_t body_size;
    gpulet_http1_coding_t coding;
    bool vary;
    bool has_body; /* the status allows one */
} answer_shape_t;

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {411, "Length Required"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].status == status)
            return reasons[i].text;
    }
    return "Status";
}

static void put(gpulet_buf_t *out, const char *text)
{
    gpulet_buf_append(out, text, strlen(text));
}

static void put_decimal(gpulet_buf_t *out, uint64_t value)
{
    char digits[DECIMAL_MAX];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    gpulet_buf_append(out, digits + at, sizeof(digits) - at);
}

/* A value may quote what a peer sent: a line end in it must not become one of ours. */
static void put_value(gpulet_buf_t *out, const char *value)
{
    size_t size = strlen(value);
    size_t begin = out->size;
    gpulet_buf_append(out, value, size);
    if (out->failed || gpulet_http1_value_valid(value, size))
        return;
    for (size_t i = begin; i < out->size; i++) {
        if (!gpulet_http1_value_valid(out->data + i, 1))
            out->data[i] = ' ';
    }
}

static void put_field(gpulet_buf_t *out, const char *name, const char *value)
{
    put(out, name);
    put(out, ": ");
    put_value(out, value);
    put(out, "\r\n");
}

static void put_head(gpulet_conn_t *conn, const gpulet_http_answer_t *answer,
                     const answer_shape_t *shape)
{
    gpulet_buf_t *out = &conn->out;
    (void)gpulet_buf_reserve(out, HEAD_GUESS);
    put(out, "HTTP/1.1 ");
    put_decimal(out, (uint64_t)answer->status);
    put(out, " ");
    put(out, reason_of(answer->status));
    put(out, "\r\nServer: gpulet\r\nDate: ");
    gpulet_buf_append(out, gpulet_server_date(conn->server), SERVER_DATE_SIZE - 1);
    put(out, "\r\n");
    if (answer->content_type != NULL)
        put_field(out, "Content-Type", answer->content_type);
    for (size_t i = 0; i < answer->fields_count; i++) {
        assert(gpulet_http1_token_valid(answer->fields[i].name, strlen(answer->fields[i].name)));
        put_field(out, answer->fields[i].name, answer->fields[i].value);
    }
    if (shape->coding != GPULET_HTTP1_IDENTITY)
        put_field(out, "Content-Encoding", shape->coding == GPULET_HTTP1_GZIP ? "gzip" : "deflate");
    if (shape->vary)
        put(out, "Vary: Accept-Encoding\r\n");
    if (shape->has_body) {
        put(out, "Content-Length: ");
        put_decimal(out, shape->body_size);
        put(out, "\r\n");
    }
    put(out, conn->close_after ? "Connection: close\r\n\r\n" : "\r\n");
}

/* ---- compression ---- */

static bool is_text(const char *content_type)
{
    return content_type != NULL && (strncmp(content_type, "text/", 5) == 0 ||
                                    strncmp(content_type, "application/json", 16) == 0);
}

static gpulet_deflater_t *deflater_for(gpulet_http_server_t *server, gpulet_http1_coding_t coding)
{
    gpulet_deflater_t **slot = coding == GPULET_HTTP1_GZIP ? &server->gzip : &server->deflate;
    if (*slot == NULL && gpulet_deflater_create(slot, coding) != GPULET_OK)
        *slot = NULL;
    return *slot;
}

/* The compressed body, in heap memory of conn, when that was asked for and is worth it. */
static bool compress(gpulet_conn_t *conn, const gpulet_http_answer_t *answer, answer_shape_t *shape)
{
    gpulet_http_request_t *request = &conn->request;
    gpulet_buf_t packed = GPULET_BUF_INIT;
    if (!shape->has_body || shape->body_size <= ANSWER_DEFLATE_MIN ||
        shape->body_size > ANSWER_DEFLATE_MAX || !is_text(answer->content_type))
        return false;
    shape->vary = true;
    const gpulet_http1_field_t *field =
        gpulet_http1_head_find(&request->head, request->base, "Accept-Encoding");
    gpulet_http1_coding_t coding = field == NULL
                                       ? GPULET_HTTP1_IDENTITY
                                       : gpulet_coding_accepted(request->base + field->value);
    if (coding == GPULET_HTTP1_IDENTITY)
        return false;
    gpulet_deflater_t *deflater = deflater_for(conn->server, coding);
    if (deflater == NULL ||
        gpulet_deflater_run(deflater, &packed, answer->parts, answer->parts_count) != GPULET_OK ||
        packed.size >= shape->body_size) {
        gpulet_buf_deinit(&packed);
        return false;
    }
    shape->body_size = packed.size;
    shape->coding = coding;
    conn->detached = gpulet_buf_release(&packed);
    return true;
}

/* ---- sending ---- */

/* The bytes of out that the socket did not take yet are always the first of iov. */
static void out_to_iov(gpulet_conn_t *conn)
{
    conn->iov[0] = (struct iovec){conn->out.data, conn->out.size};
    conn->iov_at = 0;
    conn->iov_count = 1;
}

/* Drops what was sent of out, so that more can be appended. */
static void out_compact(gpulet_conn_t *conn)
{
    size_t unsent = conn->iov_at < conn->iov_count ? conn->iov[0].iov_len : 0;
    if (unsent > 0)
        memmove(conn->out.data, conn->out.data + conn->out.size - unsent, unsent);
    if (conn->out.data != NULL) {
        conn->out.size = unsent;
        conn->out.data[unsent] = '\0';
    }
    conn->out.failed = false;
    conn->iov_at = 0;
    conn->iov_count = 0;
}

void gpulet_answer_continue(gpulet_conn_t *conn)
{
    if (conn->state == CONN_DEAD)
        return;
    out_compact(conn);
    put(&conn->out, "HTTP/1.1 100 Continue\r\n\r\n");
    out_to_iov(conn);
}

void gpulet_answer_release(gpulet_conn_t *conn)
{
    void (*release)(void *context) = conn->release;
    gpulet_server_detach_forget(conn);
    conn->release = NULL;
    if (release != NULL)
        release(conn->release_context);
}

void gpulet_answer_reset(gpulet_conn_t *conn)
{
    gpulet_answer_release(conn);
    free(conn->detached);
    conn->detached = NULL;
    conn->iov_at = 0;
    conn->iov_count = 0;
    if (conn->out.capacity > CONN_OUT_KEPT_MAX)
        gpulet_buf_deinit(&conn->out);
    gpulet_buf_clear(&conn->out);
}

bool gpulet_answer_detach(gpulet_conn_t *conn)
{
    size_t total = 0;
    size_t first = conn->iov_at;
    if (conn->release == NULL)
        return true;
    if (first == 0 && first < conn->iov_count)
        first = 1; /* out is ours already */
    for (size_t i = first; i < conn->iov_count; i++)
        total += conn->iov[i].iov_len;
    char *copy = malloc(total > 0 ? total : 1);
    if (copy == NULL)
        return false;
    size_t at = 0;
    for (size_t i = first; i < conn->iov_count; i++) {
        memcpy(copy + at, conn->iov[i].iov_base, conn->iov[i].iov_len);
        at += conn->iov[i].iov_len;
    }
    assert(conn->detached == NULL);
    conn->detached = copy;
    conn->iov[first] = (struct iovec){copy, total};
    conn->iov_count = first + 1;
    gpulet_answer_release(conn);
    return true;
}

static void iov_advance(gpulet_conn_t *conn, size_t sent)
{
    while (conn->iov_at < conn->iov_count && sent >= conn->iov[conn->iov_at].iov_len) {
        sent -= conn->iov[conn->iov_at].iov_len;
        conn->iov_at++;
    }
    if (sent > 0) {
        struct iovec *part = &conn->iov[conn->iov_at];
        part->iov_base = (char *)part->iov_base + sent;
        part->iov_len -= sent;
    }
}

gpulet_http1_step_t gpulet_answer_flush(gpulet_conn_t *conn)
{
    while (conn->iov_at < conn->iov_count) {
        struct msghdr message = {.msg_iov = conn->iov + conn->iov_at,
                                 .msg_iovlen = conn->iov_count - conn->iov_at};
        size_t wanted = 0;
        for (size_t i = conn->iov_at; i < conn->iov_count; i++)
            wanted += conn->iov[i].iov_len;
        ssize_t sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR)
                continue;
            return errno == EAGAIN || errno == EWOULDBLOCK ? GPULET_HTTP1_MORE
                                                           : GPULET_HTTP1_FAILED;
        }
        if (sent > 0)
            conn->deadline_ns =
                gpulet_server_deadline(conn->server, conn->server->limits.send_timeout_ms);
        iov_advance(conn, (size_t)sent);
        if ((size_t)sent < wanted)
            return GPULET_HTTP1_MORE;
    }
    return GPULET_HTTP1_DONE;
}

/* ---- answers ---- */

/* Whether the next request can be told from what this one left unread. */
static bool keeps_connection(const gpulet_conn_t *conn, const gpulet_http_answer_t *answer)
{
    const gpulet_http_request_t *request = &conn->request;
    if (answer->close || conn->server->draining || !request->active || request->head.close)
        return false;
    if (request->body_complete)
        return true;
    if (!request->continued || conn->eof) /* Will the body come or not? Nobody knows. */
        return false;
    return !request->head.chunked && request->body_left <= CONN_SKIP_MAX;
}

/* Takes the answer over into conn: head, and the parts as they lie. */
static void set_answer(gpulet_conn_t *conn, const gpulet_http_answer_t *answer, bool copy_body)
{
    gpulet_http_request_t *request = &conn->request;
    answer_shape_t shape = {.has_body = answer->status >= 200 && answer->status != 204 &&
                                        answer->status != 304};
    for (size_t i = 0; i < answer->parts_count; i++)
        shape.body_size += answer->parts[i].iov_len;
    bool head_only = request->active && request->head.method == GPULET_HTTP_HEAD;
    bool body_sent = shape.has_body && !head_only && shape.body_size > 0;
    bool compressed = request->active && compress(conn, answer, &shape);
    bool keep = keeps_connection(conn, answer);
    conn->close_after = !keep;
    /* An answer given before all was read would be lost in a reset if the socket were closed at
     * once. */
    conn->linger_after = !keep && !(request->active && request->body_complete);
    out_compact(conn);
    put_head(conn, answer, &shape);
    if (copy_body && body_sent && !compressed) {
        for (size_t i = 0; i < answer->parts_count; i++)
            gpulet_buf_append(&conn->out, answer->parts[i].iov_base, answer->parts[i].iov_len);
    }
    if (gpulet_buf_status(&conn->out) != GPULET_OK) {
        /* No memory even for a head: the peer sees the connection end. */
        gpulet_buf_deinit(&conn->out);
        conn->close_after = true;
        return;
    }
    out_to_iov(conn);
    if (!body_sent || (copy_body && !compressed))
        return;
    if (compressed) {
        conn->iov[conn->iov_count++] = (struct iovec){conn->detached, (size_t)shape.body_size};
        return;
    }
    for (size_t i = 0; i < answer->parts_count; i++) {
        if (answer->parts[i].iov_len > 0)
            conn->iov[conn->iov_count++] = answer->parts[i];
    }
}

static void respond(gpulet_http_request_t *request, const gpulet_http_answer_t *answer,
                    bool copy_body)
{
    gpulet_conn_t *conn = request->conn;
    assert(request->active && !request->responded);
    assert(answer->parts_count <= GPULET_HTTP_PARTS_MAX);
    assert(answer->fields_count <= GPULET_HTTP_FIELDS_MAX);
    request->responded = true;
    request->want = WANT_NOTHING;
    conn->release = answer->release;
    conn->release_context = answer->release_context;
    if (conn->state != CONN_DEAD)
        set_answer(conn, answer, copy_body);
    /* Parts that will not be sent from where they lie are given back now. */
    if (conn->detached != NULL || conn->iov_count <= 1)
        gpulet_answer_release(conn);
    gpulet_server_schedule(conn);
}

void gpulet_http_respond(gpulet_http_request_t *request, const gpulet_http_answer_t *answer)
{
    respond(request, answer, false);
}

void gpulet_http_respond_text(gpulet_http_request_t *request, int status, const char *content_type,
                              const char *body, size_t body_size)
{
    struct iovec part = {(void *)body, body_size};
    gpulet_http_answer_t answer = {
        .status = status, .content_type = content_type, .parts = &part, .parts_count = 1};
    respond(request, &answer, true);
}

void gpulet_answer_error(gpulet_conn_t *conn, int status, const char *text)
{
    char body[ANSWER_ERROR_MAX] = "";
    const gpulet_http_handler_t *handler = &conn->server->handler;
    const bool unknown_coding =
        status == 501 && conn->request.head.coding == GPULET_HTTP1_CODING_UNKNOWN;
    gpulet_http_field_t field = {"Retry-After", "1"};
    if (unknown_coding)
        field = (gpulet_http_field_t){"Accept-Encoding", "gzip, deflate"};
    handler->format_error(handler->context, body, sizeof(body), status, text);
    body[sizeof(body) - 1] = '\0';
    struct iovec part = {body, strlen(body)};
    gpulet_http_answer_t answer = {.status = status,
                                   .content_type = "application/json",
                                   .fields = &field,
                                   .fields_count = unknown_coding || status == 429 || status == 503,
                                   .parts = &part,
                                   .parts_count = 1,
                                   .close = true};
    conn->request.responded = true;
    conn->request.want = WANT_NOTHING;
    if (conn->state != CONN_DEAD)
        set_answer(conn, &answer, true);
    gpulet_server_schedule(conn);
}
