#include "peer.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

enum { PATIENCE_S = 30, PIECE = 100000, JSON_SIZE = 4096 };

/* ---- the application ---- */

static void count_release(void *context)
{
    ((world_t *)context)->released++;
}

static void into_next(world_t *world, gpulet_http_request_t *request)
{
    size_t left = world->memory_size - world->into_at;
    gpulet_http_body_into(request, world->memory + world->into_at, left < PIECE ? left : PIECE);
}

static void send_memory(world_t *world, gpulet_http_request_t *request)
{
    struct iovec parts[3] = {
        {world->memory, world->memory_size / 3},
        {NULL, 0},
        {world->memory + world->memory_size / 3, world->memory_size - world->memory_size / 3}};
    gpulet_http_answer_t answer = {.status = 200,
                                   .content_type = "application/octet-stream",
                                   .parts = parts,
                                   .parts_count = 3,
                                   .release = count_release,
                                   .release_context = world};
    gpulet_http_respond(request, &answer);
}

static void send_json(gpulet_http_request_t *request)
{
    static char json[JSON_SIZE];
    struct iovec part = {json, sizeof(json)};
    gpulet_http_answer_t answer = {
        .status = 200, .content_type = "application/json", .parts = &part, .parts_count = 1};
    memset(json, ' ', sizeof(json));
    json[0] = '[';
    json[JSON_SIZE - 1] = ']';
    gpulet_http_respond(request, &answer);
}

static void send_odd(gpulet_http_request_t *request, const char *path)
{
    gpulet_http_field_t field = {"X-Quoted", "a\r\nSet-Cookie: b"};
    struct iovec part = {(void *)(uintptr_t) "ok", 2};
    gpulet_http_answer_t answer = {.status = 200, .parts = &part, .parts_count = 1};
    answer.close = strcmp(path, "/close") == 0;
    answer.fields = &field;
    answer.fields_count = answer.close ? 0 : 1;
    gpulet_http_respond(request, &answer);
}

static void on_request(void *context, gpulet_http_request_t *request)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "OTHER"};
    world_t *world = context;
    const char *path = gpulet_http_path(request);
    world->requests++;
    gpulet_buf_clear(&world->last);
    gpulet_buf_printf(&world->last, "%s %s %s", names[gpulet_http_method(request)], path,
                      gpulet_http_query(request));
    assert_null(gpulet_http_user(request));
    assert_true(gpulet_http_arrival_ns(request) > 0);
    if (strcmp(path, "/echo") == 0) {
        gpulet_http_body_collect(request, world->collect_max);
    } else if (strcmp(path, "/into") == 0) {
        world->memory_size = (size_t)gpulet_http_body_size(request);
        world->memory = realloc(world->memory, world->memory_size + 1);
        world->into_at = 0;
        into_next(world, request);
    } else if (strcmp(path, "/big") == 0) {
        send_memory(world, request);
    } else if (strcmp(path, "/json") == 0) {
        send_json(request);
    } else if (strcmp(path, "/later") == 0) {
        assert_true(world->kept_count < WORLD_KEPT_MAX);
        world->kept[world->kept_count++] = request;
    } else if (strcmp(path, "/hello") == 0) {
        gpulet_http_respond_text(request, 200, "text/plain", "hello", 5);
    } else {
        send_odd(request, path);
    }
}

static void on_body_filled(void *context, gpulet_http_request_t *request)
{
    world_t *world = context;
    size_t left = world->memory_size - world->into_at;
    world->filled++;
    world->into_at += left < PIECE ? left : PIECE;
    if (world->into_at < world->memory_size)
        into_next(world, request);
    else
        send_memory(world, request);
}

static void on_body(void *context, gpulet_http_request_t *request, char *data, size_t size)
{
    world_t *world = context;
    struct iovec part = {data, size};
    gpulet_http_answer_t answer = {.status = 200,
                                   .content_type = "application/octet-stream",
                                   .parts = &part,
                                   .parts_count = 1};
    world->bodies++;
    assert_int_equal(data[size], '\0');
    gpulet_http_respond(request, &answer);
}

static void on_gone(void *context, gpulet_http_request_t *request)
{
    (void)request;
    ((world_t *)context)->gone++;
}

static void on_finished(void *context, gpulet_http_request_t *request)
{
    world_t *world = context;
    world->finished++;
    for (uint32_t i = 0; i < world->kept_count; i++) {
        if (world->kept[i] == request)
            world->kept[i] = NULL;
    }
}

static void format_error(void *context, char *out, size_t out_size, int status, const char *text)
{
    (void)context;
    (void)status;
    (void)snprintf(out, out_size, "{\"error\":\"%s\"}", text);
}

void world_open(world_t *world, const gpulet_http_limits_t *limits)
{
    gpulet_error_t err = {""};
    gpulet_http_limits_t none = {0};
    gpulet_http_handler_t handler = {world,   on_request,  on_body_filled, on_body,
                                     on_gone, on_finished, format_error};
    memset(world, 0, sizeof(*world));
    world->collect_max = UINT64_MAX;
    world->base = event_base_new();
    assert_non_null(world->base);
    assert_int_equal(gpulet_http_server_create(&world->server, world->base, "127.0.0.1", 0,
                                               limits == NULL ? &none : limits, &handler, &err),
                     GPULET_OK);
    world->port = gpulet_http_server_port(world->server);
    assert_true(world->port > 0);
}

void world_close(world_t *world)
{
    gpulet_http_server_destroy(world->server);
    /* Whatever happened: each request ended exactly once. */
    assert_int_equal(world->requests, world->finished);
    event_base_free(world->base);
    gpulet_buf_deinit(&world->last);
    free(world->memory);
}

static void turn_until(world_t *world, uint64_t give_up_ns)
{
    if (gpulet_clock_ns() > give_up_ns)
        fail_msg("nothing happens any more");
    (void)event_base_loop(world->base, EVLOOP_ONCE);
}

static uint64_t patience(void)
{
    return gpulet_clock_ns() + PATIENCE_S * GPULET_NS_PER_S;
}

void world_turn(world_t *world)
{
    turn_until(world, patience());
}

void world_until(world_t *world, const uint32_t *value, uint32_t least)
{
    uint64_t give_up_ns = patience();
    while (*value < least)
        turn_until(world, give_up_ns);
}

void world_answer(world_t *world, uint32_t index, const char *text)
{
    assert_non_null(world->kept[index]);
    gpulet_http_respond_text(world->kept[index], 200, "text/plain", text, strlen(text));
}

/* ---- a client ---- */

void peer_open(peer_t *peer, world_t *world)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(world->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    memset(peer, 0, sizeof(*peer));
    peer->world = world;
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(peer->fd >= 0);
    assert_int_equal(connect(peer->fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

void peer_close(peer_t *peer)
{
    gpulet_buf_deinit(&peer->in);
    if (peer->fd >= 0)
        (void)close(peer->fd);
    peer->fd = -1;
}

void peer_reset(peer_t *peer)
{
    struct linger now = {1, 0};
    assert_int_equal(setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    peer_close(peer);
}

/* Takes what is there. False when that is nothing. */
static bool receive(peer_t *peer)
{
    static char chunk[65536];
    ssize_t got = peer->eof ? 0 : recv(peer->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return false;
    if (got <= 0) {
        bool news = !peer->eof;
        peer->eof = true;
        return news;
    }
    gpulet_buf_append(&peer->in, chunk, (size_t)got);
    return true;
}

void peer_send(peer_t *peer, const void *data, size_t size)
{
    uint64_t give_up_ns = patience();
    for (size_t at = 0; at < size;) {
        ssize_t sent =
            send(peer->fd, (const char *)data + at, size - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            at += (size_t)sent;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            (void)receive(peer);
            turn_until(peer->world, give_up_ns);
        } else {
            return; /* The server has had enough; what it said is to be read. */
        }
    }
}

void peer_say(peer_t *peer, const char *text)
{
    peer_send(peer, text, strlen(text));
}

static void wait_for_bytes(peer_t *peer)
{
    uint64_t give_up_ns = patience();
    while (!receive(peer) && !peer->eof)
        turn_until(peer->world, give_up_ns);
}

static void drop(peer_t *peer, size_t size)
{
    memmove(peer->in.data, peer->in.data + size, peer->in.size - size + 1);
    peer->in.size -= size;
}

void peer_take(answer_t *answer, peer_t *peer, bool head_only)
{
    memset(answer, 0, sizeof(*answer));
    const char *end = NULL;
    while ((end = peer->in.data == NULL ? NULL : strstr(peer->in.data, "\r\n\r\n")) == NULL) {
        if (peer->eof)
            fail_msg("the connection ended instead of an answer");
        wait_for_bytes(peer);
    }
    size_t head_size = (size_t)(end - peer->in.data) + 4;
    answer->head = strndup(peer->in.data, head_size);
    assert_non_null(answer->head);
    assert_int_equal(sscanf(answer->head, "HTTP/1.1 %d ", &answer->status), 1);
    const char *length = strcasestr(answer->head, "\r\nContent-Length: ");
    drop(peer, head_size);
    if (length != NULL && !head_only)
        answer->body_size = strtoul(length + 18, NULL, 10);
    while (peer->in.size < answer->body_size) {
        if (peer->eof)
            fail_msg("the connection ended inside an answer");
        wait_for_bytes(peer);
    }
    answer->body = malloc(answer->body_size + 1);
    assert_non_null(answer->body);
    if (answer->body_size > 0) {
        memcpy(answer->body, peer->in.data, answer->body_size);
        drop(peer, answer->body_size);
    }
    answer->body[answer->body_size] = '\0';
}

void peer_expect(peer_t *peer, int status, const char *body)
{
    answer_t answer;
    peer_take(&answer, peer, false);
    assert_int_equal(answer.status, status);
    if (body != NULL)
        assert_string_equal(answer.body, body);
    answer_free(&answer);
}

void peer_expect_end(peer_t *peer)
{
    while (!peer->eof)
        wait_for_bytes(peer);
    assert_int_equal(peer->in.size, 0);
}

bool answer_has(const answer_t *answer, const char *line)
{
    char text[256];
    (void)snprintf(text, sizeof(text), "\r\n%s\r\n", line);
    return strstr(answer->head, text) != NULL;
}

void answer_free(answer_t *answer)
{
    free(answer->head);
    free(answer->body);
}
