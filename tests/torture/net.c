/* A server's set-up, and the lives of requests: a client in another thread, which nothing happens
 * to, sends them while the server's calls fail. It may be answered, refused or cut off; it must
 * not be left waiting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/http.h"
#include "torture.h"

enum { BODY = 5000, PATIENCE_S = 10, GRACE_MS = 150 };

typedef struct world {
    struct event_base *base;
    gpulet_http_server_t *server;
    uint32_t requests, finished, kept, released;
    char body[BODY];
} world_t;

static void count_release(void *context)
{
    ((world_t *)context)->released++;
}

static void send_back(world_t *world, gpulet_http_request_t *request, const void *data, size_t size)
{
    struct iovec part = {(void *)(uintptr_t)data, size};
    const gpulet_http_field_t field = {"X-Field", "value"};
    gpulet_http_answer_t answer = {.status = 200,
                                   .content_type = "application/json",
                                   .fields = &field,
                                   .fields_count = 1,
                                   .parts = &part,
                                   .parts_count = 1,
                                   .release = count_release,
                                   .release_context = world};
    world->kept++;
    gpulet_http_respond(request, &answer);
}

static void on_request(void *context, gpulet_http_request_t *request)
{
    world_t *world = context;
    world->requests++;
    if (strcmp(gpulet_http_path(request), "/into") == 0 && gpulet_http_body_size(request) <= BODY)
        gpulet_http_body_into(request, world->body, (size_t)gpulet_http_body_size(request));
    else
        gpulet_http_body_collect(request, BODY);
}

static void on_filled(void *context, gpulet_http_request_t *request)
{
    world_t *world = context;
    send_back(world, request, world->body, BODY);
}

static void on_body(void *context, gpulet_http_request_t *request, char *data, size_t size)
{
    send_back(context, request, data, size);
}

static void on_gone(void *context, gpulet_http_request_t *request)
{
    (void)context;
    (void)request;
}

static void on_finished(void *context, gpulet_http_request_t *request)
{
    (void)request;
    ((world_t *)context)->finished++;
}

static void format_error(void *context, char *out, size_t out_size, int status, const char *text)
{
    (void)context;
    (void)snprintf(out, out_size, "{\"error\":\"%d %s\"}", status, text);
}

static gpulet_status_t open_server(world_t *world)
{
    const gpulet_http_handler_t handler = {world,   on_request,  on_filled,   on_body,
                                           on_gone, on_finished, format_error};
    gpulet_http_limits_t limits = {.connections_max = 2};
    gpulet_error_t err;
    return gpulet_http_server_create(&world->server, world->base, "127.0.0.1", 0, &limits, &handler,
                                     &err);
}

static gpulet_status_t set_up(void *context)
{
    world_t *world = context;
    world->server = NULL;
    gpulet_status_t st = open_server(world);
    if (st != GPULET_OK)
        assert_null(world->server);
    gpulet_http_server_destroy(world->server);
    return st;
}

/* ---- the client ---- */

typedef struct client {
    const char *text; /* of the requests, all at once */
    size_t size;
    int answers; /* so many are expected when nothing fails */
    uint16_t port;
    int got;
    bool waited_in_vain;
    _Atomic bool done;
} client_t;

static void talk(client_t *client, int fd)
{
    static const char mark[] = "HTTP/1.1 200 OK";
    char text[4 * BODY];
    size_t used = 0;
    (void)send(fd, client->text, client->size, MSG_NOSIGNAL);
    for (;;) {
        ssize_t n = recv(fd, text + used, sizeof(text) - 1 - used, 0);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            client->waited_in_vain = true;
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    text[used] = '\0';
    for (const char *at = strstr(text, mark); at != NULL; at = strstr(at + 1, mark))
        client->got++;
}

static void *client_run(void *context)
{
    client_t *client = context;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(client->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval limit = {PATIENCE_S, 0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        talk(client, fd);
    (void)close(fd);
    client->done = true;
    return NULL;
}

typedef struct round {
    world_t *world;
    client_t client;
} round_t;

/* The loop's own calls are the library's; what comes out of it is ours and may fail. A connection
 * that cannot be accepted waits until the server is gone, so the client's wait has an end. */
static gpulet_status_t request(void *context)
{
    round_t *round = context;
    world_t *world = round->world;
    client_t *client = &round->client;
    pthread_t thread;
    torture_pause();
    world->requests = world->finished = world->kept = world->released = 0;
    client->got = 0;
    client->done = false;
    client->waited_in_vain = false;
    gpulet_status_t st = open_server(world);
    assert_int_equal(st, GPULET_OK);
    client->port = gpulet_http_server_port(world->server);
    assert_int_equal(pthread_create(&thread, NULL, client_run, client), 0);
    uint64_t end_ns = gpulet_clock_ns() + PATIENCE_S * GPULET_NS_PER_S / 2;
    while (!client->done && gpulet_clock_ns() < end_ns) {
        torture_resume();
        (void)event_base_loop(world->base, EVLOOP_ONCE);
        torture_pause();
        if (world->requests == 0 && torture_has_failed() &&
            gpulet_clock_ns() >
                end_ns - PATIENCE_S * GPULET_NS_PER_S / 2 + GRACE_MS * GPULET_NS_PER_MS)
            break; /* never accepted */
    }
    gpulet_http_server_destroy(world->server);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_false(client->waited_in_vain);
    assert_int_equal(world->requests, world->finished);
    assert_int_equal(world->kept, world->released);
    torture_resume();
    return client->got == client->answers ? GPULET_OK : GPULET_E_IO;
}

static char *make_body(size_t size)
{
    char *body = malloc(size + 1);
    assert_non_null(body);
    memset(body, 'x', size);
    body[size] = '\0';
    return body;
}

static void lives_of_requests(void **state)
{
    world_t *world = *state;
    char *body = make_body(BODY);
    char *text = malloc(8 * BODY);
    assert_non_null(text);
    round_t round = {world, {.text = text}};
    round.client.size =
        (size_t)sprintf(text,
                        "POST /into HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s"
                        "POST /echo HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n"
                        "Content-Length: 3000\r\nConnection: close\r\n\r\n%.3000s",
                        BODY, body, body);
    round.client.answers = 2;
    torture_run("two requests", request, &round, TORTURE_BOTH, 5);
    round.client.size =
        (size_t)sprintf(text,
                        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
                        "Connection: close\r\n\r\n3e8\r\n%.1000s\r\n7d0\r\n%.2000s\r\n0\r\n\r\n",
                        body, body);
    round.client.answers = 1;
    torture_run("chunked request", request, &round, TORTURE_BOTH, 5);
    free(text);
    free(body);
}

static void set_up_of_a_server(void **state)
{
    torture_run("server", set_up, *state, TORTURE_BOTH, 6);
}

static int up(void **state)
{
    static world_t world;
    world.base = event_base_new();
    *state = &world;
    return world.base != NULL ? 0 : -1;
}

static int down(void **state)
{
    event_base_free(((world_t *)*state)->base);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(set_up_of_a_server),
                                       cmocka_unit_test(lives_of_requests)};
    return cmocka_run_group_tests_name("torture.net", tests, up, down);
}
