#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/coding.h"
#include "peer.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

static void answers_with_the_fields_it_promises(void **state)
{
    world_t world;
    peer_t peer;
    answer_t answer;
    (void)state;
    world_open(&world, NULL);
    peer_open(&peer, &world);
    peer_say(&peer, GET("/hello?a=b"));
    peer_take(&answer, &peer, false);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "hello");
    assert_true(answer_has(&answer, "Server: gpulet"));
    assert_true(answer_has(&answer, "Content-Type: text/plain"));
    assert_true(answer_has(&answer, "Content-Length: 5"));
    assert_non_null(strstr(answer.head, "\r\nDate: "));
    assert_non_null(strstr(answer.head, " GMT\r\n"));
    assert_null(strstr(answer.head, "Connection:"));
    assert_string_equal(world.last.data, "GET /hello a=b");
    answer_free(&answer);
    peer_close(&peer);
    world_close(&world);
}

static void keeps_a_connection_and_counts_it(void **state)
{
    world_t world;
    peer_t peer;
    (void)state;
    world_open(&world, NULL);
    peer_open(&peer, &world);
    for (int i = 0; i < 100; i++) {
        peer_say(&peer, GET("/hello"));
        peer_expect(&peer, 200, "hello");
    }
    assert_int_equal(gpulet_http_server_connections(world.server), 1);
    peer_close(&peer);
    while (gpulet_http_server_connections(world.server) > 0)
        world_turn(&world);
    world_close(&world);
}

static void answers_pipelined_requests_in_order(void **state)
{
    enum { COUNT = 2000 };
    world_t world;
    peer_t peer;
    gpulet_buf_t all = GPULET_BUF_INIT;
    char expected[32];
    (void)state;
    world_open(&world, NULL);
    peer_open(&peer, &world);
    for (int i = 0; i < COUNT; i++) {
        int digits = snprintf(expected, sizeof(expected), "%d", i);
        gpulet_buf_printf(&all, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%d%s",
                          digits, i, i % 7 == 0 ? "\r\n" : "");
    }
    peer_send(&peer, all.data, all.size);
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(expected, sizeof(expected), "%d", i);
        peer_expect(&peer, 200, expected);
    }
    assert_int_equal(world.requests, COUNT);
    gpulet_buf_deinit(&all);
    peer_close(&peer);
    world_close(&world);
}

static void holds_pipelined_requests_while_one_waits(void **state)
{
    world_t world;
    peer_t peer;
    (void)state;
    world_open(&world, NULL);
    peer_open(&peer, &world);
    peer_say(&peer, GET("/later") GET("/hello") GET("/later"));
    world_until(&world, &world.requests, 1);
    world_turn(&world);
    assert_int_equal(world.requests, 1);
    world_answer(&world, 0, "first");
    peer_expect(&peer, 200, "first");
    peer_expect(&peer, 200, "hello");
    world_until(&world, &world.requests, 3);
    world_answer(&world, 1, "last");
    peer_expect(&peer, 200, "last");
    peer_close(&peer);
    world_close(&world);
}

static void understands_requests_split_at_every_byte(void **state)
{
    static const char text[] =
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
        "POST /into HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nxyz"
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n1;x\r\nd\r\n0\r\nT: v\r\n\r\n";
    world_t world;
    peer_t peer;
    (void)state;
    world_open(&world, NULL);
    for (size_t split = 1; split < sizeof(text) - 1; split++) {
        peer_open(&peer, &world);
        peer_send(&peer, text, split);
        while (gpulet_http_server_connections(world.server) == 0)
            world_turn(&world);
        world_turn(&world); /* The first piece is read. */
        peer_send(&peer, text + split, sizeof(text) - 1 - split);
        peer_expect(&peer, 200, "body");
        peer_expect(&peer, 200, "xyz");
        peer_expect(&peer, 200, "abcd");
        peer_close(&peer);
        while (gpulet_http_server_connections(world.server) > 0)
            world_turn(&world);
    }
    world_close(&world);
}

static void understands_requests_that_come_byte_by_byte(void **state)
{
    static const char text[] =
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n" GET("/hello");
    world_t world;
    peer_t peer;
    (void)state;
    world_open(&world, NULL);
    peer_open(&peer, &world);
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        peer_send(&peer, text + i, 1);
        world_turn(&world);
    }
    peer_expect(&peer, 200, "abcd");
    peer_expect(&peer, 200, "hello");
    peer_close(&peer);
    world_close(&world);
}

static void moves_large_bodies_both_ways(void **state)
{
    enum { SIZE = 8 << 20 };
    static const char *const paths[] = {"/into", "/echo"};
    world_t world;
    peer_t peer;
    answer_t answer;
    char head[128];
    char *data = malloc(SIZE);
    (void)state;
    assert_non_null(data);
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (char)(i * 2654435761U >> 13);
    world_open(&world, NULL);
    peer_open(&peer, &world);
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(head, sizeof(head),
                       "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", paths[i], SIZE);
        peer_say(&peer, head);
        peer_send(&peer, data, SIZE);
        peer_take(&answer, &peer, false);
        assert_int_equal(answer.status, 200);
        assert_int_equal(answer.body_size, SIZE);
        assert_memory_equal(answer.body, data, SIZE);
        answer_free(&answer);
    }
    peer_say(&peer, GET("/hello"));
    peer_expect(&peer, 200, "hello");
    assert_int_equal(world.filled, (SIZE + 99999) / 100000);
    assert_int_equal(world.released, 1);
    peer_close(&peer);
    world_close(&world);
    free(data);
}

static void takes_large_chunked_bodies(void **state)
{
    enum { CHUNK = 70001, CHUNKS = 30 };
    world_t world;
    peer_t peer;
    answer_t answer;
    char *data = malloc(CHUNK);
    (void)state;
    assert_non_null(data);
    for (size_t i = 0; i < CHUNK; i++)
        data[i] = (char)(i * 31);
    world_open(&world, NULL);
    peer_open(&peer, &world);
    peer_say(&peer, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < CHUNKS; i++) {
        char line[32];
        (void)snprintf(line, sizeof(line), "%x\r\n", CHUNK);
        peer_say(&peer, line);
        peer_send(&peer, data, CHUNK);
        peer_say(&peer, "\r\n");
    }
    peer_say(&peer, "0\r\n\r\n" GET("/hello"));
    peer_take(&answer, &peer, false);
    assert_int_equal(answer.body_size, CHUNK * CHUNKS);
    for (int i = 0; i < CHUNKS; i++)
        assert_memory_equal(answer.body + (size_t)i * CHUNK, data, CHUNK);
    answer_free(&answer);
    peer_expect(&peer, 200, "hello");
    peer_close(&peer);
    world_close(&world);
    free(data);
}

static void asks_for_an_expected_body_only_when_it_is_wanted(void **state)
{
    world_t world;
    peer_t peer;
    answer_t answer;
    (void)state;
    world_open(&world, NULL);
    peer_open(&peer, &world);
    peer_say(&peer,
             "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    peer_take(&answer, &peer, true);
    assert_int_equal(answer.status, 100);
    answer_free(&answer);
    peer_say(&peer, "body");
    peer_expect(&peer, 200, "body");
    /* The body comes along unasked: no 100. */
    peer_say(
        &peer,
        "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody");
    peer_expect(&peer, 200, "body");
    /* Not wanted: the final answer at once, and the end, since the body may come or not. */
    peer_say(
        &peer,
        "POST /hello HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    peer_take(&answer, &peer, false);
    assert_int_equal(answer.status, 200);
    assert_true(answer_has(&answer, "Connection: close"));
    answer_free(&answer);
    peer_expect_end(&peer);
    peer_close(&peer);
    world_close(&world);
}

static void send_coded(peer_t *peer, const char *coding, const gpulet_buf_t *packed, size_t size)
{
    char head[256];
    (void)snprintf(
        head, sizeof(head),
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Encoding: %s\r\nContent-Length: %zu\r\n\r\n",
        coding, size);
    peer_say(peer, head);
    peer_send(peer, packed->data, size);
}

static void pack(gpulet_buf_t *out, gpulet_http1_coding_t coding, const void *data, size_t size)
{
    gpulet_deflater_t *deflater = NULL;
    struct iovec part = {(void *)(uintptr_t)data, size};
    assert_int_equal(gpulet_deflater_create(&deflater, coding), GPULET_OK);
    assert_int_equal(gpulet_deflater_run(deflater, out, &part, 1), GPULET_OK);
    gpulet_deflater_destroy(deflater);
}

static void decodes_gzip_and_deflate_bodies(void **state)
{
    world_t world;
    peer_t peer;
    gpulet_buf_t gzip = GPULET_BUF_INIT;
    gpulet_buf_t deflate = GPULET_BUF_INIT;
    (void)state;
    pack(&gzip, GPULET_HTTP1_GZIP, "the body", 8);
    pack(&deflate, GPULET_HTTP1_DEFLATE, "the body", 8);
    world_open(&world, NULL);
    peer_open(&peer, &world);
    send_coded(&peer, "gzip", &gzip, gzip.size);
    peer_expect(&peer, 200, "the body");
    send_coded(&peer, "deflate", &deflate, deflate.size);
    peer_expect(&peer, 200, "the body");
    send_coded(&peer, "identity", &(gpulet_buf_t){.data = (char[]){"plain"}}, 5);
    peer_expect(&peer, 200, "plain");
    send_coded(&peer, "gzip", &gzip, gzip.size - 1);
    peer_expect(&peer, 400, NULL);
    peer_expect_end(&peer);
    peer_close(&peer);
    peer_open(&peer, &world);
    send_coded(&peer, "gzip", &deflate, deflate.size);
    peer_expect(&peer, 400, NULL);
    peer_close(&peer);
    world_close(&world);
    gpulet_buf_deinit(&gzip);
    gpulet_buf_deinit(&deflate);
}

static void refuses_codings_it_does_not_know_and_says_which_it_does(void **state)
{
    world_t world;
    peer_t peer;
    answer_t answer;
    gpulet_buf_t body = GPULET_BUF_INIT;
    (void)state;
    world_open(&world, NULL);
    peer_open(&peer, &world);
    gpulet_buf_append_str(&body, "body");
    send_coded(&peer, "br", &body, body.size);
    peer_take(&answer, &peer, false);
    assert_int_equal(answer.status, 501);
    assert_true(answer_has(&answer, "Accept-Encoding: gzip, deflate"));
    assert_true(answer_has(&answer, "Content-Type: application/json"));
    answer_free(&answer);
    assert_int_equal(world.requests, 0);
    gpulet_buf_deinit(&body);
    peer_close(&peer);
    world_close(&world);
}

static void stops_a_compressed_bomb(void **state)
{
    enum { BOMB = 8 << 20 };
    world_t world;
    peer_t peer;
    gpulet_buf_t packed = GPULET_BUF_INIT;
    char *zeros = calloc(1, BOMB);
    (void)state;
    assert_non_null(zeros);
    pack(&packed, GPULET_HTTP1_GZIP, zeros, BOMB);
    world_open(&world, &(gpulet_http_limits_t){.body_bytes_max = 1 << 20});
    peer_open(&peer, &world);
    send_coded(&peer, "gzip", &packed, packed.size);
    peer_expect(&peer, 413, NULL);
    peer_expect_end(&peer);
    assert_int_equal(world.bodies, 0);
    peer_close(&peer);
    world_close(&world);
    gpulet_buf_deinit(&packed);
    free(zeros);
}

static void expect_compressed(peer_t *peer, const char *accept, gpulet_http1_coding_t coding)
{
    char text[256];
    answer_t answer;
    gpulet_buf_t out = GPULET_BUF_INIT;
    gpulet_inflater_t *inflater = NULL;
    (void)snprintf(text, sizeof(text),
                   "GET /json HTTP/1.1\r\nHost: a\r\nAccept-Encoding: %s\r\n\r\n", accept);
    peer_say(peer, text);
    peer_take(&answer, peer, false);
    assert_true(answer_has(&answer, "Vary: Accept-Encoding"));
    if (coding == GPULET_HTTP1_IDENTITY) {
        assert_null(strstr(answer.head, "Content-Encoding"));
        assert_int_equal(answer.body_size, 4096);
        answer_free(&answer);
        return;
    }
    assert_true(answer_has(&answer, coding == GPULET_HTTP1_GZIP ? "Content-Encoding: gzip"
                                                                : "Content-Encoding: deflate"));
    assert_true(answer.body_size < 4096);
    assert_int_equal(gpulet_inflater_create(&inflater, coding), GPULET_OK);
    assert_int_equal(gpulet_inflater_feed(inflater, &out, 4096, answer.body, answer.body_size),
                     GPULET_OK);
    assert_true(gpulet_inflater_ended(inflater));
    assert_int_equal(out.size, 4096);
    gpulet_inflater_destroy(inflater);
    gpulet_buf_deinit(&out);
    answer_free(&answer);
}

static void compresses_answers_for_those_who_ask(void **state)
{
    world_t world;
    peer_t peer;
    (void)state;
    world_open(&world, NULL);
    peer_open(&peer, &world);
    expect_compressed(&peer, "gzip, deflate", GPULET_HTTP1_GZIP);
    expect_compressed(&peer, "deflate", GPULET_HTTP1_DEFLATE);
    expect_compressed(&peer, "gzip;q=0", GPULET_HTTP1_IDENTITY);
    expect_compressed(&peer, "gzip", GPULET_HTTP1_GZIP);
    peer_say(&peer, "GET /hello HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    peer_expect(&peer, 200, "hello");
    peer_close(&peer);
    world_close(&world);
}

static void answers_head_without_a_body(void **state)
{
    world_t world;
    peer_t peer;
    answer_t answer;
    (void)state;
    world_open(&world, NULL);
    world.memory = calloc(1, 100000);
    world.memory_size = 100000;
    peer_open(&peer, &world);
    peer_say(&peer,
             "HEAD /big HTTP/1.1\r\nHost: a\r\n\r\nHEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n" GET(
                 "/hello"));
    peer_take(&answer, &peer, true);
    assert_true(answer_has(&answer, "Content-Length: 100000"));
    answer_free(&answer);
    peer_take(&answer, &peer, true);
    assert_true(answer_has(&answer, "Content-Length: 5"));
    answer_free(&answer);
    peer_expect(&peer, 200, "hello");
    assert_int_equal(world.released, 1);
    peer_close(&peer);
    world_close(&world);
}

static void speaks_http_1_0_without_keeping_the_connection(void **state)
{
    world_t world;
    peer_t peer;
    answer_t answer;
    (void)state;
    world_open(&world, NULL);
    peer_open(&peer, &world);
    peer_say(&peer, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    peer_take(&answer, &peer, false);
    assert_true(answer_has(&answer, "Connection: close"));
    answer_free(&answer);
    peer_expect_end(&peer);
    peer_close(&peer);
    world_close(&world);
}

static void closes_when_either_side_asks_for_it(void **state)
{
    world_t world;
    peer_t peer;
    (void)state;
    world_open(&world, NULL);
    peer_open(&peer, &world);
    peer_say(&peer, "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" GET("/hello"));
    peer_expect(&peer, 200, "hello");
    peer_expect_end(&peer);
    peer_close(&peer);
    peer_open(&peer, &world);
    peer_say(&peer, GET("/close"));
    peer_expect(&peer, 200, "ok");
    peer_expect_end(&peer);
    peer_close(&peer);
    assert_int_equal(world.requests, 2);
    world_close(&world);
}

static void keeps_line_ends_out_of_fields(void **state)
{
    world_t world;
    peer_t peer;
    answer_t answer;
    (void)state;
    world_open(&world, NULL);
    peer_open(&peer, &world);
    peer_say(&peer, GET("/fields"));
    peer_take(&answer, &peer, false);
    assert_true(answer_has(&answer, "X-Quoted: a  Set-Cookie: b"));
    answer_free(&answer);
    peer_close(&peer);
    world_close(&world);
}

static void skips_small_unread_bodies_and_keeps_the_connection(void **state)
{
    world_t world;
    peer_t peer;
    (void)state;
    world_open(&world, NULL);
    peer_open(&peer, &world);
    peer_say(&peer, "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
    peer_expect(&peer, 200, "hello");
    peer_say(&peer, "56789" GET("/hello"));
    peer_expect(&peer, 200, "hello");
    /* Whole and chunked, answered before it is looked at. */
    peer_say(&peer,
             "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" GET("/hello"));
    peer_expect(&peer, 200, "hello");
    peer_expect(&peer, 200, "hello");
    peer_close(&peer);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_with_the_fields_it_promises),
        cmocka_unit_test(keeps_a_connection_and_counts_it),
        cmocka_unit_test(answers_pipelined_requests_in_order),
        cmocka_unit_test(holds_pipelined_requests_while_one_waits),
        cmocka_unit_test(understands_requests_split_at_every_byte),
        cmocka_unit_test(understands_requests_that_come_byte_by_byte),
        cmocka_unit_test(moves_large_bodies_both_ways),
        cmocka_unit_test(takes_large_chunked_bodies),
        cmocka_unit_test(asks_for_an_expected_body_only_when_it_is_wanted),
        cmocka_unit_test(decodes_gzip_and_deflate_bodies),
        cmocka_unit_test(refuses_codings_it_does_not_know_and_says_which_it_does),
        cmocka_unit_test(stops_a_compressed_bomb),
        cmocka_unit_test(compresses_answers_for_those_who_ask),
        cmocka_unit_test(answers_head_without_a_body),
        cmocka_unit_test(speaks_http_1_0_without_keeping_the_connection),
        cmocka_unit_test(closes_when_either_side_asks_for_it),
        cmocka_unit_test(keeps_line_ends_out_of_fields),
        cmocka_unit_test(skips_small_unread_bodies_and_keeps_the_connection),
    };
    return cmocka_run_group_tests_name("net.server", tests, NULL, NULL);
}
