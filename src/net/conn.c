#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/internal.h"

/* ---- ends ---- */

static void die(gpulet_conn_t *conn)
{
    gpulet_http_server_t *server = conn->server;
    if (conn->state == CONN_DEAD)
        return;
    conn->state = CONN_DEAD;
    conn->deadline_ns = UINT64_MAX;
    (void)event_del(&conn->read_event);
    (void)event_del(&conn->write_event);
    conn->reading = false;
    conn->writing = false;
    (void)close(conn->fd);
    conn->fd = -1;
    server->conns_open--;
    if (conn->refused)
        server->refused_open--;
}

static void finish_request(gpulet_conn_t *conn)
{
    const gpulet_http_handler_t *handler = &conn->server->handler;
    gpulet_http_request_t *request = &conn->request;
    gpulet_answer_reset(conn);
    if (!request->active)
        return;
    handler->on_finished(handler->context, request);
    request->active = false;
    request->want = WANT_NOTHING;
    gpulet_body_end(request);
}

static void tell_gone(gpulet_conn_t *conn)
{
    const gpulet_http_handler_t *handler = &conn->server->handler;
    if (conn->request.gone)
        return;
    conn->request.gone = true;
    handler->on_gone(handler->context, &conn->request);
}

void gpulet_conn_free(gpulet_conn_t *conn)
{
    gpulet_buf_deinit(&conn->out);
    gpulet_buf_deinit(&conn->request.body);
    free(conn);
}

static void give_back(gpulet_conn_t *conn)
{
    gpulet_http_server_t *server = conn->server;
    assert(conn->state == CONN_DEAD && !conn->request.active && !conn->scheduled);
    gpulet_answer_reset(conn);
    *conn->back = conn->next;
    if (conn->next != NULL)
        conn->next->back = conn->back;
    if (conn->block != NULL)
        gpulet_server_block_give(server, conn->block);
    conn->block = NULL;
    if (server->conns_kept == SERVER_KEPT_MAX) {
        gpulet_conn_free(conn);
        return;
    }
    server->conns_kept++;
    conn->next = server->conns_free;
    server->conns_free = conn;
}

void gpulet_conn_destroy(gpulet_conn_t *conn)
{
    conn->scheduled = false;
    conn->running = true; /* Nothing that is called from here may schedule it again. */
    die(conn);
    conn->request.responded = true;
    finish_request(conn);
    give_back(conn);
}

/* ---- steps: each does what it can and says whether another one makes sense ---- */

static void next_head(gpulet_conn_t *conn)
{
    conn->state = CONN_HEAD;
    conn->head_begun = false;
    conn->deadline_ns = gpulet_server_deadline(conn->server, conn->server->limits.idle_timeout_ms);
}

static void begin_head(gpulet_conn_t *conn)
{
    gpulet_http_server_t *server = conn->server;
    gpulet_http_request_t *request = &conn->request;
    gpulet_http1_head_begin(&request->head, conn->block->fields, server->limits.headers_max,
                            server->limits.head_bytes_max);
    request->responded = false;
    request->gone = false;
    request->body_complete = true;
    request->continued = true;
    request->want = WANT_NOTHING;
    request->user = NULL;
    conn->head_begun = true;
    conn->deadline_ns = gpulet_server_deadline(server, server->limits.head_timeout_ms);
}

static bool fail_step(gpulet_conn_t *conn, int status, const char *text)
{
    gpulet_answer_error(conn, status, text);
    conn->state = CONN_ANSWER;
    conn->deadline_ns = gpulet_server_deadline(conn->server, conn->server->limits.send_timeout_ms);
    return true;
}

/* The head is complete: the application's turn, unless the head alone says that the body cannot be
 * taken. */
static bool begin_request(gpulet_conn_t *conn)
{
    gpulet_http_server_t *server = conn->server;
    gpulet_http_request_t *request = &conn->request;
    const gpulet_http1_head_t *head = &request->head;
    bool has_body = head->chunked || head->length > 0;
    size_t buffered = conn->end - conn->start - head->size;
    if (conn->start > 0 && has_body && (head->chunked || head->length > buffered)) {
        /* Room for the body to come; nobody holds pointers into the head yet. */
        memmove(conn->block->bytes, conn->block->bytes + conn->start, conn->end - conn->start);
        conn->end -= conn->start;
        conn->start = 0;
    }
    request->base = conn->block->bytes + conn->start;
    conn->start += head->size;
    conn->head_begun = false;
    if (has_body && head->coding == GPULET_HTTP1_CODING_UNKNOWN)
        return fail_step(conn, 501, "the Content-Encoding is not supported");
    if (head->length > server->limits.body_bytes_max)
        return fail_step(conn, 413, "the body is too large");
    gpulet_body_begin(request);
    request->arrival_ns = gpulet_clock_ns();
    request->active = true;
    conn->state = CONN_REQUEST;
    conn->deadline_ns = UINT64_MAX;
    server->handler.on_request(server->handler.context, request);
    return true;
}

static bool step_head(gpulet_conn_t *conn)
{
    gpulet_http_request_t *request = &conn->request;
    if (!conn->head_begun) {
        /* Empty lines before a request come from clients that end a body with one too many. */
        while (conn->end - conn->start >= 2 &&
               memcmp(conn->block->bytes + conn->start, "\r\n", 2) == 0)
            conn->start += 2;
        if (conn->start < conn->end)
            begin_head(conn);
    }
    gpulet_http1_step_t step = GPULET_HTTP1_MORE;
    if (conn->head_begun)
        step = gpulet_http1_head_parse(&request->head, conn->block->bytes + conn->start,
                                       conn->end - conn->start);
    if (step == GPULET_HTTP1_DONE)
        return begin_request(conn);
    if (step == GPULET_HTTP1_FAILED)
        return fail_step(conn, request->head.status, request->head.text);
    if (conn->eof)
        die(conn);
    return conn->eof;
}

/* What the application asked for is there. */
static void tell_filled(gpulet_conn_t *conn)
{
    const gpulet_http_handler_t *handler = &conn->server->handler;
    gpulet_http_request_t *request = &conn->request;
    gpulet_body_want_t wanted = request->want;
    request->want = WANT_NOTHING;
    conn->deadline_ns = UINT64_MAX;
    if (wanted == WANT_INTO)
        handler->on_body_filled(handler->context, request);
    else
        handler->on_body(handler->context, request, request->body.data, request->body.size);
}

static bool step_body(gpulet_conn_t *conn)
{
    gpulet_http_server_t *server = conn->server;
    gpulet_http_request_t *request = &conn->request;
    gpulet_body_fault_t fault = {0};
    gpulet_http1_step_t step = gpulet_body_pump(request, &fault);
    if (step == GPULET_HTTP1_DONE) {
        tell_filled(conn);
        return true;
    }
    if (step == GPULET_HTTP1_FAILED) {
        gpulet_answer_error(conn, fault.status, fault.text);
        return true;
    }
    if (conn->eof) {
        tell_gone(conn);
        if (!request->responded)
            gpulet_answer_error(conn, 400, "the body ends too early");
        return true;
    }
    if (conn->iov_at < conn->iov_count) { /* "100 Continue" */
        if (gpulet_answer_flush(conn) == GPULET_HTTP1_FAILED) {
            die(conn);
            return true;
        }
        conn->deadline_ns = UINT64_MAX;
    }
    if (conn->deadline_ns == UINT64_MAX)
        conn->deadline_ns = gpulet_server_deadline(server, server->limits.body_timeout_ms);
    return false;
}

static bool step_request(gpulet_conn_t *conn)
{
    gpulet_http_request_t *request = &conn->request;
    if (request->responded) {
        conn->state = CONN_ANSWER;
        conn->deadline_ns =
            gpulet_server_deadline(conn->server, conn->server->limits.send_timeout_ms);
        return true;
    }
    if (request->want != WANT_NOTHING)
        return step_body(conn);
    if (conn->eof && conn->start == conn->end && !request->gone) {
        tell_gone(conn);
        return true;
    }
    return false;
}

static bool after_answer(gpulet_conn_t *conn)
{
    finish_request(conn);
    if (!conn->close_after) {
        if (conn->request.body_complete) {
            next_head(conn);
        } else {
            conn->state = CONN_SKIP;
            conn->deadline_ns =
                gpulet_server_deadline(conn->server, conn->server->limits.body_timeout_ms);
        }
        return true;
    }
    /* A socket closed with unread bytes is reset, and the answer may go with it. */
    bool lingers = conn->linger_after || conn->start < conn->end;
    if (!lingers || conn->eof || shutdown(conn->fd, SHUT_WR) != 0) {
        die(conn);
        return true;
    }
    conn->state = CONN_LINGER;
    conn->deadline_ns = gpulet_server_deadline(conn->server, CONN_LINGER_MS);
    return true;
}

static bool step_answer(gpulet_conn_t *conn)
{
    gpulet_http_request_t *request = &conn->request;
    gpulet_body_fault_t fault = {0};
    switch (gpulet_answer_flush(conn)) {
    case GPULET_HTTP1_DONE:
        return after_answer(conn);
    case GPULET_HTTP1_MORE:
        break;
    default:
        die(conn);
        return true;
    }
    if (conn->release != NULL)
        gpulet_server_detach_soon(conn);
    /* A client that writes before it reads must get rid of its body first. */
    if (request->active && !request->body_complete &&
        (gpulet_body_pump(request, &fault) == GPULET_HTTP1_FAILED || conn->eof)) {
        request->body_complete = true;
        conn->close_after = true;
        conn->linger_after = true;
    }
    return false;
}

static bool step_skip(gpulet_conn_t *conn)
{
    gpulet_http_request_t *request = &conn->request;
    gpulet_body_fault_t fault = {0};
    gpulet_http1_step_t step = gpulet_body_pump(request, &fault);
    if (step == GPULET_HTTP1_DONE) {
        next_head(conn);
        return true;
    }
    if (step == GPULET_HTTP1_FAILED || conn->eof) {
        die(conn);
        return true;
    }
    return false;
}

static bool step_linger(gpulet_conn_t *conn)
{
    conn->start = 0;
    conn->end = 0;
    if (conn->eof)
        die(conn);
    return conn->eof;
}

static bool step_dead(gpulet_conn_t *conn)
{
    gpulet_http_request_t *request = &conn->request;
    if (!request->active)
        return false;
    if (!request->responded)
        tell_gone(conn);
    /* Bytes that were asked for will not come, so the application is not waited for. */
    if (request->responded || request->want != WANT_NOTHING)
        finish_request(conn);
    return false;
}

static void advance(gpulet_conn_t *conn)
{
    static bool (*const steps[])(gpulet_conn_t * conn) = {
        [CONN_HEAD] = step_head, [CONN_REQUEST] = step_request, [CONN_ANSWER] = step_answer,
        [CONN_SKIP] = step_skip, [CONN_LINGER] = step_linger,   [CONN_DEAD] = step_dead};
    unsigned requests = 0;
    bool yields = false;
    bool again = true;
    conn->running = true;
    while (again) {
        gpulet_conn_state_t before = conn->state;
        again = steps[before](conn);
        if (before == CONN_ANSWER && conn->state == CONN_HEAD)
            requests++;
        if (requests == CONN_REQUESTS_A_TURN && again) {
            yields = true;
            break;
        }
    }
    conn->running = false;
    if (yields)
        gpulet_server_schedule(conn);
}

/* ---- the socket ---- */

/* Bytes before this one are the head of a request that the application may look at. */
static size_t block_floor(const gpulet_conn_t *conn)
{
    const gpulet_http_request_t *request = &conn->request;
    if (!request->active)
        return 0;
    return (size_t)(request->base - conn->block->bytes) + request->head.size;
}

static bool wants_read(const gpulet_conn_t *conn)
{
    const gpulet_http_request_t *request = &conn->request;
    if (conn->eof)
        return false;
    switch (conn->state) {
    case CONN_HEAD:
    case CONN_SKIP:
    case CONN_LINGER:
        return true;
    case CONN_REQUEST:
        /* While the application works, to see the peer go; what else comes waits in the block. */
        return request->want != WANT_NOTHING ||
               block_floor(conn) + (conn->end - conn->start) < conn->server->block_size;
    case CONN_ANSWER:
        return request->active && !request->body_complete;
    case CONN_DEAD:
        break;
    }
    return false;
}

static void listen_to_socket(gpulet_conn_t *conn)
{
    bool read = wants_read(conn);
    bool write = conn->iov_at < conn->iov_count;
    if (read != conn->reading) {
        if ((read ? event_add(&conn->read_event, NULL) : event_del(&conn->read_event)) == 0)
            conn->reading = read;
    }
    if (write != conn->writing) {
        if ((write ? event_add(&conn->write_event, NULL) : event_del(&conn->write_event)) == 0)
            conn->writing = write;
    }
}

/* The end of a turn: conn may be gone after it. */
static void settle(gpulet_conn_t *conn)
{
    gpulet_http_server_t *server = conn->server;
    bool idle = conn->state == CONN_HEAD && !conn->head_begun && conn->start == conn->end;
    if (idle && server->draining) {
        die(conn);
    } else if (idle && conn->block != NULL) {
        gpulet_server_block_give(server, conn->block);
        conn->block = NULL;
        conn->start = 0;
        conn->end = 0;
    }
    if (conn->state == CONN_DEAD) {
        if (!conn->request.active && !conn->scheduled)
            give_back(conn);
        return;
    }
    listen_to_socket(conn);
}

void gpulet_conn_run(gpulet_conn_t *conn)
{
    advance(conn);
    settle(conn);
}

/* Makes room behind the bytes that are still needed. */
static bool make_room(gpulet_conn_t *conn)
{
    if (conn->block == NULL) {
        conn->block = gpulet_server_block_take(conn->server);
        conn->start = 0;
        conn->end = 0;
        return conn->block != NULL;
    }
    char *bytes = conn->block->bytes;
    size_t floor = block_floor(conn);
    if (conn->start == conn->end) {
        conn->start = floor;
        conn->end = floor;
    } else if (conn->start > floor && conn->server->block_size - conn->end < CONN_READ_AHEAD / 2) {
        memmove(bytes + floor, bytes + conn->start, conn->end - conn->start);
        conn->end -= conn->start - floor;
        conn->start = floor;
    }
    return true;
}

/* One read. True when it got all that was asked for, so that more may be there. */
static bool read_once(gpulet_conn_t *conn)
{
    struct iovec iov[2];
    int count = 0;
    char *direct = NULL;
    size_t direct_size = 0;
    if (!make_room(conn)) {
        die(conn);
        return false;
    }
    if (conn->state == CONN_REQUEST && conn->start == conn->end)
        direct_size = gpulet_body_direct(&conn->request, &direct);
    if (direct_size > 0)
        iov[count++] = (struct iovec){direct, direct_size};
    size_t room = conn->server->block_size - conn->end;
    if (room > 0)
        iov[count++] = (struct iovec){conn->block->bytes + conn->end, room};
    ssize_t got =
        count == 1 ? read(conn->fd, iov[0].iov_base, iov[0].iov_len) : readv(conn->fd, iov, count);
    if (got < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            die(conn);
        return false;
    }
    if (got == 0) {
        conn->eof = true;
        return false;
    }
    size_t to_direct = (size_t)got < direct_size ? (size_t)got : direct_size;
    if (to_direct > 0)
        gpulet_body_direct_filled(&conn->request, to_direct);
    conn->end += (size_t)got - to_direct;
    if (conn->state == CONN_REQUEST)
        conn->deadline_ns = UINT64_MAX; /* Progress: the time for the body begins anew. */
    else if (conn->state == CONN_SKIP)
        conn->deadline_ns =
            gpulet_server_deadline(conn->server, conn->server->limits.body_timeout_ms);
    return (size_t)got == direct_size + room;
}

void gpulet_conn_readable(gpulet_conn_t *conn)
{
    bool more = true;
    for (int i = 0; i < CONN_READS_A_TURN && more && wants_read(conn); i++) {
        more = read_once(conn);
        advance(conn);
        /* A large body just asked for is likely there too. */
        more = more || (i == 0 && conn->request.want != WANT_NOTHING &&
                        conn->request.body_left >= CONN_READ_AHEAD);
    }
    settle(conn);
}

void gpulet_conn_timeout(gpulet_conn_t *conn)
{
    conn->deadline_ns = UINT64_MAX;
    if (conn->state == CONN_HEAD && conn->head_begun)
        (void)fail_step(conn, 408, "the head of the request took too long");
    else if (conn->state == CONN_REQUEST)
        (void)fail_step(conn, 408, "the body of the request took too long");
    else
        die(conn);
    gpulet_conn_run(conn);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    gpulet_conn_t *conn = context;
    (void)fd;
    (void)what;
    conn->server->now_ns = gpulet_clock_ns();
    gpulet_conn_readable(conn);
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
    gpulet_conn_t *conn = context;
    (void)fd;
    (void)what;
    conn->server->now_ns = gpulet_clock_ns();
    gpulet_conn_run(conn);
}

/* ---- beginning ---- */

static gpulet_conn_t *take(gpulet_http_server_t *server)
{
    gpulet_conn_t *conn = server->conns_free;
    if (conn == NULL)
        return calloc(1, sizeof(*conn));
    server->conns_free = conn->next;
    server->conns_kept--;
    gpulet_buf_t out = conn->out;
    gpulet_buf_t body = conn->request.body;
    memset(conn, 0, sizeof(*conn));
    conn->out = out;
    conn->request.body = body;
    return conn;
}

void gpulet_conn_open(gpulet_http_server_t *server, int fd, bool refused)
{
    gpulet_conn_t *conn = take(server);
    int on = 1;
    if (conn == NULL) {
        (void)close(fd);
        return;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    conn->server = server;
    conn->fd = fd;
    conn->refused = refused;
    conn->request.conn = conn;
    conn->next = server->conns;
    conn->back = &server->conns;
    if (conn->next != NULL)
        conn->next->back = &conn->next;
    server->conns = conn;
    server->conns_open++;
    if (refused)
        server->refused_open++;
    (void)event_assign(&conn->read_event, server->base, fd, EV_READ | EV_PERSIST, on_readable,
                       conn);
    (void)event_assign(&conn->write_event, server->base, fd, EV_WRITE | EV_PERSIST, on_writable,
                       conn);
    next_head(conn);
    conn->running = true;
    if (refused)
        (void)fail_step(conn, 429, "too many connections");
    gpulet_conn_run(conn);
}

/* ---- what the application calls ---- */

gpulet_http_method_t gpulet_http_method(const gpulet_http_request_t *request)
{
    return request->head.method;
}

const char *gpulet_http_path(const gpulet_http_request_t *request)
{
    return request->head.path == UINT32_MAX ? "/" : request->base + request->head.path;
}

const char *gpulet_http_query(const gpulet_http_request_t *request)
{
    return request->head.query == UINT32_MAX ? "" : request->base + request->head.query;
}

const char *gpulet_http_header(const gpulet_http_request_t *request, const char *name)
{
    const gpulet_http1_field_t *field = gpulet_http1_head_find(&request->head, request->base, name);
    return field == NULL ? NULL : request->base + field->value;
}

uint64_t gpulet_http_arrival_ns(const gpulet_http_request_t *request)
{
    return request->arrival_ns;
}

void gpulet_http_set_user(gpulet_http_request_t *request, void *user)
{
    request->user = user;
}

void *gpulet_http_user(const gpulet_http_request_t *request)
{
    return request->user;
}
