/* Responses as a peer on this machine writes them, also byte by byte. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/http_client.h"

enum { WAIT_MS = 10000, BIG = 300000 };

static const char request_text[] = "GET / HTTP/1.1\r\n\r\n";

/* A client and the accepted end of its connection. */
typedef struct pair {
    int listener;
    int peer;
    gpulet_client_t *client;
} pair_t;

static void open_listener(pair_t *pair, gpulet_url_t *url)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    char text[64];
    pair->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(pair->listener >= 0);
    assert_int_equal(bind(pair->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(pair->listener, 4), 0);
    assert_int_equal(getsockname(pair->listener, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(text, sizeof(text), "http://127.0.0.1:%u", ntohs(address.sin_port));
    assert_int_equal(gpulet_url_parse(url, text, NULL), GPULET_OK);
    assert_int_equal(gpulet_url_resolve(url, NULL), GPULET_OK);
}

static void wait_for(int fd, short events)
{
    struct pollfd p = {fd, events, 0};
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
}

static gpulet_client_step_t send_request(pair_t *pair)
{
    struct iovec part = {(void *)(uintptr_t)request_text, sizeof(request_text) - 1};
    gpulet_client_step_t step = gpulet_client_begin(pair->client, &part, 1);
    while (step == GPULET_CLIENT_WAIT_WRITE) {
        wait_for(gpulet_client_fd(pair->client), POLLOUT);
        step = gpulet_client_step(pair->client);
    }
    return step;
}

/* Unread bytes would make the end of the connection a reset. */
static void take_request(const pair_t *pair)
{
    char text[sizeof(request_text)];
    assert_int_equal(recv(pair->peer, text, sizeof(request_text) - 1, MSG_WAITALL),
                     sizeof(request_text) - 1);
}

static void open_pair(pair_t *pair)
{
    gpulet_url_t url;
    gpulet_error_t err = {""};
    open_listener(pair, &url);
    assert_int_equal(gpulet_client_create(&pair->client, &url, &err), GPULET_OK);
    pair->peer = accept(pair->listener, NULL, NULL);
    assert_true(pair->peer >= 0);
    assert_int_equal(send_request(pair), GPULET_CLIENT_WAIT_READ);
    take_request(pair);
}

static void close_pair(pair_t *pair)
{
    gpulet_client_destroy(pair->client);
    if (pair->peer >= 0)
        (void)close(pair->peer);
    (void)close(pair->listener);
}

/* The peer writes size bytes, `piece` at a time, each of which the client takes in; with `end` it
 * then closes. */
static gpulet_client_step_t feed(pair_t *pair, const char *bytes, size_t size, size_t piece,
                                 bool end)
{
    gpulet_client_step_t step = GPULET_CLIENT_WAIT_READ;
    for (size_t at = 0; at < size && step == GPULET_CLIENT_WAIT_READ; at += piece) {
        size_t now = size - at < piece ? size - at : piece;
        assert_int_equal(write(pair->peer, bytes + at, now), now);
        wait_for(gpulet_client_fd(pair->client), POLLIN);
        step = gpulet_client_step(pair->client);
    }
    if (end) {
        (void)close(pair->peer);
        pair->peer = -1;
    }
    while (end && step == GPULET_CLIENT_WAIT_READ) {
        wait_for(gpulet_client_fd(pair->client), POLLIN);
        step = gpulet_client_step(pair->client);
    }
    return step;
}

typedef struct good {
    const char *text;
    int status;
    const char *body;
    bool reusable;
    bool closes; /* the end of the connection is the end of the body */
} good_t;

static const good_t goods[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", true, false},
    {"HTTP/1.1 200 OK\r\ncontent-length:\t5 \r\n\r\nhello", 200, "hello", true, false},
    {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, "", true, false},
    {"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", 503, "{}", false,
     false},
    {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false, false},
    {"HTTP/1.1 204 No Content\r\n\r\n", 204, "", true, false},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", 304, "", true, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, "hello",
     true, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
     "3;x=y\r\nhel\r\n00A\r\nlo, world!\r\n0\r\nA: b\r\nC: d\r\n\r\n",
     200, "hello, world!", true, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, "", true, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: "
     "3\r\n\r\n1\r\nx\r\n0\r\n\r\n",
     200, "x", true, false},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true,
     false},
    {"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\n"
     "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
     200, "ok", true, false},
    {"HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, "until the end", false, true},
    {"HTTP/1.1 200 OK\r\n\r\n", 200, "", false, true},
};

static void check_good(const good_t *good, size_t piece)
{
    pair_t pair;
    size_t size = 0;
    open_pair(&pair);
    gpulet_client_step_t step = feed(&pair, good->text, strlen(good->text),
                                     piece > 0 ? piece : strlen(good->text), good->closes);
    if (step != GPULET_CLIENT_DONE)
        fail_msg("step %d, \"%s\": %s", (int)step, gpulet_client_error(pair.client), good->text);
    assert_int_equal(gpulet_client_status(pair.client), good->status);
    const char *body = gpulet_client_body(pair.client, &size);
    assert_int_equal(size, strlen(good->body));
    assert_memory_equal(body, good->body, size);
    assert_int_equal(gpulet_client_reusable(pair.client), good->reusable);
    close_pair(&pair);
}

static void responses_are_understood_however_they_arrive(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
        check_good(&goods[i], 1);
        check_good(&goods[i], 7);
        check_good(&goods[i], 0);
    }
}

static void what_is_no_response_fails_with_a_reason(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"ICY 200 OK\r\n\r\n", "no HTTP/1.1"},
        {"HTTP/2.0 200 OK\r\n\r\n", "no HTTP/1.1"},
        {"HTTP/1.1 abc OK\r\n\r\n", "no HTTP/1.1"},
        {"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "no HTTP/1.1"},
        {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no HTTP/1.1"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "no HTTP/1.1"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n", "no HTTP/1.1"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "chunk is malformed"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n5\r\n", "chunk is malformed"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", "chunk is malformed"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\n", "chunk is malformed"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5g\r\n", "chunk is malformed"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
         "chunk is malformed"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n", "chunk is malformed"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n", "chunk is malformed"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        pair_t pair;
        open_pair(&pair);
        gpulet_client_step_t step =
            feed(&pair, cases[i].text, strlen(cases[i].text), i % 2 == 0 ? 1 : 1000, false);
        if (step != GPULET_CLIENT_FAILED ||
            strstr(gpulet_client_error(pair.client), cases[i].error) == NULL)
            fail_msg("step %d, \"%s\": %s", (int)step, gpulet_client_error(pair.client),
                     cases[i].text);
        assert_false(gpulet_client_reusable(pair.client));
        close_pair(&pair);
    }
}

static void a_connection_that_ends_too_early_fails(void **state)
{
    static const char *const texts[] = {
        "",
        "HTTP/1.1 200 OK\r\nContent",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        pair_t pair;
        open_pair(&pair);
        assert_int_equal(feed(&pair, texts[i], strlen(texts[i]), 1, true), GPULET_CLIENT_FAILED);
        close_pair(&pair);
    }
}

static void a_head_without_an_end_is_given_up(void **state)
{
    static char text[BIG];
    pair_t pair;
    (void)state;
    memset(text, 'a', sizeof(text));
    memcpy(text, "HTTP/1.1 200 OK\r\nA: ", 20);
    open_pair(&pair);
    assert_int_equal(feed(&pair, text, sizeof(text), 4096, false), GPULET_CLIENT_FAILED);
    close_pair(&pair);
}

static void a_large_body_arrives_whole(void **state)
{
    static char text[BIG];
    pair_t pair;
    size_t size = 0;
    (void)state;
    int head =
        snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BIG - 1000);
    for (int i = head; i < BIG; i++)
        text[i] = (char)(i * 31);
    open_pair(&pair);
    assert_int_equal(feed(&pair, text, (size_t)head + BIG - 1000, 5000, false), GPULET_CLIENT_DONE);
    const char *body = gpulet_client_body(pair.client, &size);
    assert_int_equal(size, BIG - 1000);
    assert_memory_equal(body, text + head, size);
    close_pair(&pair);
}

static void a_kept_connection_is_used_again(void **state)
{
    pair_t pair;
    size_t size = 0;
    (void)state;
    open_pair(&pair);
    for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
        if (!goods[i].reusable)
            continue;
        assert_int_equal(feed(&pair, goods[i].text, strlen(goods[i].text), 3, false),
                         GPULET_CLIENT_DONE);
        (void)gpulet_client_body(pair.client, &size);
        assert_int_equal(size, strlen(goods[i].body));
        assert_int_equal(send_request(&pair), GPULET_CLIENT_WAIT_READ);
        take_request(&pair);
    }
    close_pair(&pair);
}

static void nobody_listening_is_an_error_that_names_the_place(void **state)
{
    pair_t pair;
    gpulet_url_t url;
    gpulet_error_t err = {""};
    gpulet_buf_t body = GPULET_BUF_INIT;
    int http = 0;
    (void)state;
    open_listener(&pair, &url);
    (void)close(pair.listener);
    assert_int_equal(
        gpulet_client_fetch(&http, &body, &url, "GET", "/path", NULL, 0, WAIT_MS, &err),
        GPULET_E_IO);
    assert_non_null(strstr(err.text, url.port));
    gpulet_buf_deinit(&body);
}

static void an_answer_that_does_not_come_is_not_waited_for_for_ever(void **state)
{
    pair_t pair;
    gpulet_url_t url;
    gpulet_error_t err = {""};
    gpulet_buf_t body = GPULET_BUF_INIT;
    int http = 0;
    (void)state;
    open_listener(&pair, &url); /* the kernel accepts, nobody answers */
    assert_int_equal(gpulet_client_fetch(&http, &body, &url, "GET", "/path", NULL, 0, 50, &err),
                     GPULET_E_IO);
    assert_non_null(strstr(err.text, "no answer in time"));
    gpulet_buf_deinit(&body);
    (void)close(pair.listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(responses_are_understood_however_they_arrive),
        cmocka_unit_test(what_is_no_response_fails_with_a_reason),
        cmocka_unit_test(a_connection_that_ends_too_early_fails),
        cmocka_unit_test(a_head_without_an_end_is_given_up),
        cmocka_unit_test(a_large_body_arrives_whole),
        cmocka_unit_test(a_kept_connection_is_used_again),
        cmocka_unit_test(nobody_listening_is_an_error_that_names_the_place),
        cmocka_unit_test(an_answer_that_does_not_come_is_not_waited_for_for_ever),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("client.response", tests, NULL, NULL);
}
