#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/internal.h"

enum { LISTEN_BACKLOG = 1024, PORT_TEXT = 8, HEAD_BYTES_MIN = 256 };

/* ---- memory ---- */

gpulet_conn_block_t *gpulet_server_block_take(gpulet_http_server_t *server)
{
    gpulet_conn_block_t *block = server->blocks_free;
    if (block != NULL) {
        server->blocks_free = block->next;
        server->blocks_kept--;
        return block;
    }
    size_t fields = server->limits.headers_max * sizeof(gpulet_http1_field_t);
    block = malloc(sizeof(*block) + fields + server->block_size);
    if (block == NULL)
        return NULL;
    block->next = NULL;
    block->fields = (gpulet_http1_field_t *)(void *)(block + 1);
    block->bytes = (char *)(block->fields + server->limits.headers_max);
    return block;
}

void gpulet_server_block_give(gpulet_http_server_t *server, gpulet_conn_block_t *block)
{
    if (server->blocks_kept == SERVER_KEPT_MAX) {
        free(block);
        return;
    }
    server->blocks_kept++;
    block->next = server->blocks_free;
    server->blocks_free = block;
}

/* ---- time ---- */

uint64_t gpulet_server_deadline(const gpulet_http_server_t *server, uint32_t after_ms)
{
    return server->now_ns + after_ms * GPULET_NS_PER_MS;
}

const char *gpulet_server_date(gpulet_http_server_t *server)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct timespec now = {0};
    struct tm tm = {0};
    char text[96];
    if (server->now_ns < server->date_until_ns)
        return server->date;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    (void)snprintf(text, sizeof(text), "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday],
                   tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                   tm.tm_sec);
    memcpy(server->date, text, SERVER_DATE_SIZE - 1);
    server->date_until_ns = server->now_ns + GPULET_NS_PER_S - (uint64_t)now.tv_nsec;
    return server->date;
}

static struct timeval after_ns(uint64_t ns)
{
    uint64_t us = ns / 1000 + 1;
    return (struct timeval){.tv_sec = (time_t)(us / 1000000),
                            .tv_usec = (suseconds_t)(us % 1000000)};
}

/* Deadlines are coarse: one pass over all connections instead of a timer for each. */
static void on_sweep(evutil_socket_t fd, short what, void *context)
{
    gpulet_http_server_t *server = context;
    (void)fd;
    (void)what;
    server->now_ns = gpulet_clock_ns();
    if (!server->accepting && server->listen_fd >= 0) {
        /* Descriptors had run out; perhaps there are some again. */
        server->accepting = event_add(&server->listen_event, NULL) == 0;
    }
    for (gpulet_conn_t *conn = server->conns, *next = NULL; conn != NULL; conn = next) {
        next = conn->next;
        if (conn->deadline_ns <= server->now_ns)
            gpulet_conn_timeout(conn);
    }
}

/* ---- connections that have something to do ---- */

void gpulet_server_schedule(gpulet_conn_t *conn)
{
    gpulet_http_server_t *server = conn->server;
    if (conn->running || conn->scheduled)
        return;
    if (server->ready_first == NULL)
        event_active(&server->ready_event, EV_TIMEOUT, 0);
    conn->scheduled = true;
    conn->ready_next = NULL;
    *server->ready_last = conn;
    server->ready_last = &conn->ready_next;
}

static void on_ready(evutil_socket_t fd, short what, void *context)
{
    gpulet_http_server_t *server = context;
    gpulet_conn_t *conn = server->ready_first;
    (void)fd;
    (void)what;
    server->now_ns = gpulet_clock_ns();
    /* What is scheduled from here on waits for the next turn. */
    server->ready_first = NULL;
    server->ready_last = &server->ready_first;
    while (conn != NULL) {
        gpulet_conn_t *next = conn->ready_next;
        conn->scheduled = false;
        if (server->draining && conn->state == CONN_HEAD)
            gpulet_conn_readable(conn); /* A request may lie in the socket unread. */
        else
            gpulet_conn_run(conn);
        conn = next;
    }
}

/* ---- answers that are slow to go ---- */

static void arm_detach(gpulet_http_server_t *server)
{
    const gpulet_conn_t *first = server->detach_first;
    if (first == NULL)
        return;
    struct timeval after =
        after_ns(first->detach_at_ns > server->now_ns ? first->detach_at_ns - server->now_ns : 0);
    (void)event_add(&server->detach_event, &after);
}

void gpulet_server_detach_soon(gpulet_conn_t *conn)
{
    gpulet_http_server_t *server = conn->server;
    if (conn->detach_back != NULL)
        return;
    bool first = server->detach_first == NULL;
    conn->detach_at_ns = gpulet_server_deadline(server, server->limits.detach_after_ms);
    conn->detach_next = NULL;
    conn->detach_back = server->detach_last;
    *server->detach_last = conn;
    server->detach_last = &conn->detach_next;
    if (first)
        arm_detach(server);
}

void gpulet_server_detach_forget(gpulet_conn_t *conn)
{
    gpulet_http_server_t *server = conn->server;
    if (conn->detach_back == NULL)
        return;
    *conn->detach_back = conn->detach_next;
    if (conn->detach_next != NULL)
        conn->detach_next->detach_back = conn->detach_back;
    else
        server->detach_last = conn->detach_back;
    conn->detach_back = NULL;
    conn->detach_next = NULL;
}

static void on_detach(evutil_socket_t fd, short what, void *context)
{
    gpulet_http_server_t *server = context;
    (void)fd;
    (void)what;
    server->now_ns = gpulet_clock_ns();
    while (server->detach_first != NULL && server->detach_first->detach_at_ns <= server->now_ns) {
        gpulet_conn_t *conn = server->detach_first;
        if (!gpulet_answer_detach(conn)) {
            /* No memory now: behind the others, and once more later. */
            gpulet_server_detach_forget(conn);
            gpulet_server_detach_soon(conn);
        }
    }
    arm_detach(server);
}

/* ---- listening ---- */

/* False: nobody is left to be let in, or nobody can be. */
static bool accept_some(gpulet_http_server_t *server)
{
    for (int i = 0; i < SERVER_ACCEPT_BATCH; i++) {
        int fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == ECONNABORTED || errno == EINTR)
                continue;
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                /* No descriptors or memory: asking again at once would only burn the core. */
                (void)event_del(&server->listen_event);
                server->accepting = false;
            }
            return false;
        }
        bool refused = server->conns_open - server->refused_open >= server->limits.connections_max;
        if (refused && server->refused_open == SERVER_REFUSED_MAX)
            (void)close(fd);
        else
            gpulet_conn_open(server, fd, refused);
    }
    return true;
}

static void on_accept(evutil_socket_t fd, short what, void *context)
{
    gpulet_http_server_t *server = context;
    (void)fd;
    (void)what;
    server->now_ns = gpulet_clock_ns();
    (void)accept_some(server);
}

static gpulet_status_t listen_at(gpulet_http_server_t *server, const struct addrinfo *info)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } bound = {.v6 = {0}};
    socklen_t size = sizeof(bound);
    int on = 1;
    int fd = socket(info->ai_family, info->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC,
                    info->ai_protocol);
    if (fd < 0)
        return GPULET_E_IO;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, LISTEN_BACKLOG) != 0 ||
        getsockname(fd, &bound.any, &size) != 0) {
        int saved = errno;
        (void)close(fd);
        errno = saved;
        return GPULET_E_IO;
    }
    server->port = ntohs(bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port : bound.v4.sin_port);
    server->listen_fd = fd;
    return GPULET_OK;
}

static gpulet_status_t open_listener(gpulet_http_server_t *server, const char *address,
                                     uint16_t port, gpulet_error_t *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *infos = NULL;
    char port_text[PORT_TEXT];
    (void)snprintf(port_text, sizeof(port_text), "%u", (unsigned)port);
    int rc = getaddrinfo(address, port_text, &hints, &infos);
    if (rc != 0)
        return gpulet_fail(err, GPULET_E_IO, "cannot listen on %s:%s: %s", address, port_text,
                           gai_strerror(rc));
    gpulet_status_t st = GPULET_E_IO;
    errno = 0;
    for (const struct addrinfo *i = infos; i != NULL && st != GPULET_OK; i = i->ai_next)
        st = listen_at(server, i);
    freeaddrinfo(infos);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "cannot listen on %s:%s: %s", address, port_text,
                           strerror(errno));
    return GPULET_OK;
}

/* ---- the whole ---- */

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value == 0 ? fallback : value;
}

static gpulet_http_limits_t resolve(const gpulet_http_limits_t *given)
{
    gpulet_http_limits_t l = *given;
    l.connections_max = or_default(l.connections_max, 1024);
    l.head_bytes_max = or_default(l.head_bytes_max, 16384);
    l.headers_max = or_default(l.headers_max, 100);
    if (l.body_bytes_max == 0)
        l.body_bytes_max = 67108864 + 1048576;
    l.head_timeout_ms = or_default(l.head_timeout_ms, 10000);
    l.body_timeout_ms = or_default(l.body_timeout_ms, 30000);
    l.idle_timeout_ms = or_default(l.idle_timeout_ms, 75000);
    l.send_timeout_ms = or_default(l.send_timeout_ms, 30000);
    l.detach_after_ms = or_default(l.detach_after_ms, 10);
    return l;
}

static gpulet_status_t check_limits(const gpulet_http_limits_t *l, gpulet_error_t *err)
{
    if (l->head_bytes_max < HEAD_BYTES_MIN || l->head_bytes_max > GPULET_HTTP1_HEAD_BYTES_MAX)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "the largest head must have %d to %d bytes, not %u", HEAD_BYTES_MIN,
                           GPULET_HTTP1_HEAD_BYTES_MAX, l->head_bytes_max);
    if (l->headers_max > 65536)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "at most 65536 header fields can be allowed, not %u", l->headers_max);
    if (l->body_bytes_max >= SIZE_MAX / 4)
        return gpulet_fail(err, GPULET_E_INVALID, "the largest body cannot have %llu bytes",
                           (unsigned long long)l->body_bytes_max);
    return GPULET_OK;
}

static gpulet_status_t start_events(gpulet_http_server_t *server, gpulet_error_t *err)
{
    struct timeval period = after_ns(SERVER_SWEEP_MS * GPULET_NS_PER_MS);
    if (event_assign(&server->listen_event, server->base, server->listen_fd, EV_READ | EV_PERSIST,
                     on_accept, server) != 0 ||
        event_assign(&server->sweep_event, server->base, -1, EV_PERSIST, on_sweep, server) != 0 ||
        event_assign(&server->ready_event, server->base, -1, 0, on_ready, server) != 0 ||
        event_assign(&server->detach_event, server->base, -1, 0, on_detach, server) != 0)
        return gpulet_fail(err, GPULET_E_INTERNAL, "the event loop refuses an event");
    if (event_add(&server->listen_event, NULL) != 0 ||
        event_add(&server->sweep_event, &period) != 0)
        return gpulet_fail(err, GPULET_E_NOMEM, "the event loop takes no more events");
    server->accepting = true;
    return GPULET_OK;
}

gpulet_status_t gpulet_http_server_create(gpulet_http_server_t **out, struct event_base *base,
                                          const char *address, uint16_t port,
                                          const gpulet_http_limits_t *limits,
                                          const gpulet_http_handler_t *handler, gpulet_error_t *err)
{
    gpulet_http_server_t *server = calloc(1, sizeof(*server));
    if (server == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    assert(handler->on_request != NULL && handler->on_gone != NULL &&
           handler->on_finished != NULL && handler->format_error != NULL);
    server->base = base;
    server->limits = resolve(limits);
    server->handler = *handler;
    server->listen_fd = -1;
    server->ready_last = &server->ready_first;
    server->detach_last = &server->detach_first;
    server->now_ns = gpulet_clock_ns();
    server->block_size = (size_t)server->limits.head_bytes_max + CONN_READ_AHEAD;
    gpulet_status_t st = check_limits(&server->limits, err);
    if (st == GPULET_OK)
        st = open_listener(server, address, port, err);
    if (st == GPULET_OK)
        st = start_events(server, err);
    if (st != GPULET_OK) {
        gpulet_http_server_destroy(server);
        return st;
    }
    *out = server;
    return GPULET_OK;
}

uint16_t gpulet_http_server_port(const gpulet_http_server_t *server)
{
    return server->port;
}

uint32_t gpulet_http_server_connections(const gpulet_http_server_t *server)
{
    return server->conns_open;
}

static void stop_listening(gpulet_http_server_t *server)
{
    if (server->listen_fd < 0)
        return;
    if (event_initialized(&server->listen_event))
        (void)event_del(&server->listen_event);
    server->accepting = false;
    (void)close(server->listen_fd);
    server->listen_fd = -1;
}

void gpulet_http_server_drain(gpulet_http_server_t *server)
{
    if (server->draining)
        return;
    server->now_ns = gpulet_clock_ns();
    /* Who was let in by the kernel already gets an answer: as many as may wait there. */
    for (int i = 0; i <= LISTEN_BACKLOG / SERVER_ACCEPT_BATCH && accept_some(server); i++)
        continue;
    server->draining = true;
    stop_listening(server);
    for (gpulet_conn_t *conn = server->conns; conn != NULL; conn = conn->next)
        gpulet_server_schedule(conn);
}

void gpulet_http_server_destroy(gpulet_http_server_t *server)
{
    if (server == NULL)
        return;
    stop_listening(server);
    server->ready_first = NULL;
    server->ready_last = &server->ready_first;
    while (server->conns != NULL)
        gpulet_conn_destroy(server->conns);
    if (event_initialized(&server->sweep_event))
        (void)event_del(&server->sweep_event);
    if (event_initialized(&server->ready_event))
        (void)event_del(&server->ready_event);
    if (event_initialized(&server->detach_event))
        (void)event_del(&server->detach_event);
    while (server->conns_free != NULL) {
        gpulet_conn_t *conn = server->conns_free;
        server->conns_free = conn->next;
        gpulet_conn_free(conn);
    }
    while (server->blocks_free != NULL) {
        gpulet_conn_block_t *block = server->blocks_free;
        server->blocks_free = block->next;
        free(block);
    }
    gpulet_deflater_destroy(server->gzip);
    gpulet_deflater_destroy(server->deflate);
    free(server);
}
