/* Limits, slowness and the ends of connections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/clock.h"
#include "peer.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

static void refuses_a_large_body_by_its_length_alone(void **state)
{
    world_t world;
    peer_t peer;
    answer_t answer;
    (void)state;
    world_open(&world, &(gpulet_http_limits_t){.body_bytes_max = 1000});
    peer_open(&peer, &world);
    peer_say(&peer, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
    peer_take(&answer, &peer, false);
    assert_int_equal(answer.status, 413);
    assert_true(answer_has(&answer, "Connection: close"));
    assert_string_equal(answer.body, "{\"error\":\"the body is too large\"}");
    answer_free(&answer);
    assert_int_equal(world.requests, 0);
    peer_close(&peer);
    /* A client that sends it all the same still gets to see the answer. */
    char *data = calloc(1, 1 << 20);
    assert_non_null(data);
    peer_open(&peer, &world);
    peer_say(&peer, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n");
    peer_send(&peer, data, 1 << 20);
    peer_expect(&peer, 413, NULL);
    peer_close(&peer);
    free(data);
    world_close(&world);
}

static void refuses_a_body_larger_than_the_application_wants(void **state)
{
    world_t world;
    peer_t peer;
    (void)state;
    world_open(&world, NULL);
    world.collect_max = 5;
    peer_open(&peer, &world);
    peer_say(&peer, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n123456");
    peer_expect(&peer, 413, NULL);
    peer_expect_end(&peer);
    peer_close(&peer);
    peer_open(&peer, &world);
    peer_say(&peer, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
                    "chunked\r\n\r\n4\r\n1234\r\n2\r\n56\r\n");
    peer_expect(&peer, 413, NULL);
    peer_expect_end(&peer);
    peer_close(&peer);
    peer_open(&peer, &world);
    peer_say(&peer, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345");
    peer_expect(&peer, 200, "12345");
    peer_close(&peer);
    world_close(&world);
}

static void answers_malformed_bytes_and_closes(void **state)
{
    static const struct {
        const char *text;
        int status;
    } rows[] = {
        {"rubbish\r\n\r\n", 400},
        {"GET / HTTP/2.0\r\n\r\n", 505},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417},
    };
    world_t world;
    peer_t peer;
    (void)state;
    world_open(&world, NULL);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        peer_open(&peer, &world);
        peer_say(&peer, GET("/hello"));
        peer_say(&peer, rows[i].text);
        peer_expect(&peer, 200, "hello");
        peer_expect(&peer, rows[i].status, NULL);
        peer_expect_end(&peer);
        peer_close(&peer);
    }
    world_close(&world);
}

static void refuses_heads_that_are_too_large(void **state)
{
    world_t world;
    peer_t peer;
    char filler[2000];
    (void)state;
    memset(filler, 'a', sizeof(filler) - 1);
    filler[sizeof(filler) - 1] = '\0';
    world_open(&world, &(gpulet_http_limits_t){.head_bytes_max = 1024, .headers_max = 3});
    peer_open(&peer, &world);
    peer_say(&peer, "GET /");
    peer_say(&peer, filler);
    peer_expect(&peer, 414, NULL);
    peer_close(&peer);
    peer_open(&peer, &world);
    peer_say(&peer, "GET / HTTP/1.1\r\nX: ");
    peer_say(&peer, filler);
    peer_expect(&peer, 431, NULL);
    peer_close(&peer);
    peer_open(&peer, &world);
    peer_say(&peer, "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 1\r\nC: 1\r\n\r\n");
    peer_expect(&peer, 431, NULL);
    peer_close(&peer);
    world_close(&world);
}

/* A drain took in no more than one batch of the connections that waited; the others were reset. */
static void drain_answers_all_who_were_let_in(void **state)
{
    enum { PEERS = 150 };
    static peer_t peers[PEERS];
    world_t world;
    (void)state;
    world_open(&world, NULL);
    for (int i = 0; i < PEERS; i++) {
        peer_open(&peers[i], &world);
        peer_say(&peers[i], GET("/hello"));
    }
    gpulet_http_server_drain(world.server);
    for (int i = 0; i < PEERS; i++) {
        peer_expect(&peers[i], 200, "hello");
        peer_close(&peers[i]);
    }
    world_close(&world);
}

static void ends_a_head_that_never_ends(void **state)
{
    world_t world;
    peer_t slow;
    peer_t good;
    uint64_t began_ns = gpulet_clock_ns();
    (void)state;
    world_open(&world, &(gpulet_http_limits_t){.head_timeout_ms = 150});
    peer_open(&slow, &world);
    peer_open(&good, &world);
    peer_say(&slow, "GET / HTTP/1.1\r\n");
    while (gpulet_clock_ns() - began_ns < 100 * GPULET_NS_PER_MS) {
        peer_say(&slow, "A");
        peer_say(&good, GET("/hello"));
        peer_expect(&good, 200, "hello");
    }
    peer_expect(&slow, 408, NULL);
    peer_expect_end(&slow);
    peer_close(&slow);
    peer_close(&good);
    world_close(&world);
}

static void ends_bodies_that_do_not_come_and_idle_connections(void **state)
{
    world_t world;
    peer_t peer;
    (void)state;
    world_open(&world, &(gpulet_http_limits_t){.body_timeout_ms = 50, .idle_timeout_ms = 120});
    peer_open(&peer, &world);
    peer_say(&peer, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12");
    peer_expect(&peer, 408, NULL);
    peer_expect_end(&peer);
    peer_close(&peer);
    peer_open(&peer, &world);
    peer_say(&peer, "POST /into HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12");
    peer_expect(&peer, 408, NULL);
    peer_expect_end(&peer);
    peer_close(&peer);
    peer_open(&peer, &world);
    peer_say(&peer, GET("/hello"));
    peer_expect(&peer, 200, "hello");
    peer_expect_end(&peer);
    peer_close(&peer);
    assert_int_equal(world.gone, 0);
    world_close(&world);
}

static void does_not_time_the_application(void **state)
{
    world_t world;
    peer_t peer;
    uint64_t began_ns = gpulet_clock_ns();
    (void)state;
    world_open(&world, &(gpulet_http_limits_t){.head_timeout_ms = 1,
                                               .body_timeout_ms = 1,
                                               .idle_timeout_ms = 1000,
                                               .send_timeout_ms = 1});
    peer_open(&peer, &world);
    peer_say(&peer, GET("/later"));
    world_until(&world, &world.requests, 1);
    while (gpulet_clock_ns() - began_ns < 300 * GPULET_NS_PER_MS)
        world_turn(&world);
    world_answer(&world, 0, "at last");
    peer_expect(&peer, 200, "at last");
    peer_close(&peer);
    world_close(&world);
}

static void tells_those_over_the_limit_of_connections(void **state)
{
    enum { LIMIT = 3 };
    world_t world;
    peer_t peers[LIMIT];
    peer_t more;
    answer_t answer;
    (void)state;
    world_open(&world, &(gpulet_http_limits_t){.connections_max = LIMIT});
    for (int i = 0; i < LIMIT; i++) {
        peer_open(&peers[i], &world);
        peer_say(&peers[i], GET("/hello"));
        peer_expect(&peers[i], 200, "hello");
    }
    peer_open(&more, &world);
    peer_say(&more, GET("/hello"));
    peer_take(&answer, &more, false);
    assert_int_equal(answer.status, 429);
    assert_string_equal(answer.body, "{\"error\":\"too many connections\"}");
    assert_true(answer_has(&answer, "Retry-After: 1"));
    assert_true(answer_has(&answer, "Content-Type: application/json"));
    answer_free(&answer);
    peer_expect_end(&more);
    peer_close(&more);
    peer_close(&peers[0]);
    while (gpulet_http_server_connections(world.server) >= LIMIT)
        world_turn(&world);
    peer_open(&more, &world);
    peer_say(&more, GET("/hello"));
    peer_expect(&more, 200, "hello");
    peer_close(&more);
    for (int i = 1; i < LIMIT; i++)
        peer_close(&peers[i]);
    world_close(&world);
}

/* Connections that are told so take descriptors as well: of a flood only so many are, the others
 * are closed without a word. */
static void tells_only_so_many_at_one_time(void **state)
{
    enum { TOLD = 64 };
    world_t world;
    peer_t first;
    peer_t told[TOLD];
    peer_t more;
    (void)state;
    world_open(&world, &(gpulet_http_limits_t){.connections_max = 1});
    peer_open(&first, &world);
    for (int i = 0; i < TOLD; i++)
        peer_open(&told[i], &world);
    peer_open(&more, &world);
    peer_expect_end(&more);
    for (int i = 0; i < TOLD; i++) {
        peer_expect(&told[i], 429, "{\"error\":\"too many connections\"}");
        peer_close(&told[i]);
    }
    peer_close(&more);
    peer_close(&first);
    world_close(&world);
}

static void tells_the_application_of_a_half_closed_client_and_still_answers(void **state)
{
    world_t world;
    peer_t peer;
    (void)state;
    world_open(&world, NULL);
    peer_open(&peer, &world);
    peer_say(&peer, GET("/hello") GET("/later"));
    assert_int_equal(shutdown(peer.fd, SHUT_WR), 0);
    peer_expect(&peer, 200, "hello");
    world_until(&world, &world.gone, 1);
    world_answer(&world, 0, "still");
    peer_expect(&peer, 200, "still");
    peer_expect_end(&peer);
    assert_int_equal(world.gone, 1);
    peer_close(&peer);
    world_close(&world);
}

static void tells_the_application_of_a_client_that_died(void **state)
{
    world_t world;
    peer_t peer;
    (void)state;
    world_open(&world, NULL);
    peer_open(&peer, &world);
    peer_say(&peer, GET("/later"));
    world_until(&world, &world.requests, 1);
    peer_reset(&peer);
    world_until(&world, &world.gone, 1);
    assert_int_equal(world.finished, 0);
    assert_int_equal(gpulet_http_server_connections(world.server), 0);
    world_answer(&world, 0, "to nobody");
    world_until(&world, &world.finished, 1);
    world_close(&world);
}

static void tells_the_application_of_a_body_that_breaks_off(void **state)
{
    static const char *const texts[] = {
        "POST /into HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12",
    };
    world_t world;
    peer_t peer;
    (void)state;
    world_open(&world, NULL);
    for (uint32_t i = 0; i < 3; i++) {
        peer_open(&peer, &world);
        peer_say(&peer, texts[i]);
        assert_int_equal(shutdown(peer.fd, SHUT_WR), 0);
        peer_expect(&peer, 400, "{\"error\":\"the body ends too early\"}");
        peer_expect_end(&peer);
        peer_close(&peer);
        assert_int_equal(world.gone, 2 * i + 1);
        peer_open(&peer, &world);
        uint32_t before = world.requests;
        peer_say(&peer, texts[i]);
        world_until(&world, &world.requests, before + 1);
        peer_reset(&peer);
        world_until(&world, &world.gone, 2 * i + 2);
        world_until(&world, &world.finished, before + 1);
    }
    assert_int_equal(world.bodies + world.filled, 0);
    world_close(&world);
}

static void gives_memory_back_though_the_client_does_not_read(void **state)
{
    enum { SIZE = 32 << 20 };
    world_t world;
    peer_t peer;
    answer_t answer;
    uint64_t began_ns = 0;
    (void)state;
    world_open(&world, NULL);
    world.memory = malloc(SIZE);
    assert_non_null(world.memory);
    world.memory_size = SIZE;
    for (size_t i = 0; i < SIZE; i++)
        world.memory[i] = (char)(i >> 10);
    peer_open(&peer, &world);
    peer_say(&peer, GET("/big"));
    world_until(&world, &world.requests, 1);
    began_ns = gpulet_clock_ns();
    world_until(&world, &world.released, 1);
    assert_true(gpulet_clock_ns() - began_ns < 5 * GPULET_NS_PER_S);
    assert_int_equal(world.finished, 0);
    memset(world.memory, 0, SIZE); /* It is ours again. */
    peer_take(&answer, &peer, false);
    assert_int_equal(answer.body_size, SIZE);
    for (size_t i = 0; i < SIZE; i += 1000) {
        if (answer.body[i] != (char)(i >> 10))
            fail_msg("byte %zu", i);
    }
    answer_free(&answer);
    assert_int_equal(world.released, 1);
    peer_say(&peer, GET("/hello"));
    peer_expect(&peer, 200, "hello");
    peer_close(&peer);
    world_close(&world);
}

static void closes_on_a_client_that_never_reads(void **state)
{
    enum { SIZE = 32 << 20 };
    world_t world;
    peer_t peer;
    (void)state;
    world_open(&world, &(gpulet_http_limits_t){.send_timeout_ms = 100});
    world.memory = calloc(1, SIZE);
    assert_non_null(world.memory);
    world.memory_size = SIZE;
    peer_open(&peer, &world);
    peer_say(&peer, GET("/big"));
    world_until(&world, &world.finished, 1);
    assert_int_equal(world.released, 1);
    assert_int_equal(gpulet_http_server_connections(world.server), 0);
    peer_close(&peer);
    world_close(&world);
}

static void drains_without_losing_a_request(void **state)
{
    world_t world;
    peer_t idle;
    peer_t busy;
    peer_t sent;
    answer_t answer;
    (void)state;
    world_open(&world, NULL);
    peer_open(&idle, &world);
    peer_say(&idle, GET("/hello"));
    peer_expect(&idle, 200, "hello");
    peer_open(&busy, &world);
    peer_say(&busy, GET("/later") GET("/hello"));
    world_until(&world, &world.kept_count, 1);
    peer_open(&sent, &world);
    peer_say(&sent, GET("/hello")); /* lies in the socket when the drain begins */
    gpulet_http_server_drain(world.server);
    gpulet_http_server_drain(world.server);
    peer_expect_end(&idle);
    peer_take(&answer, &sent, false);
    assert_true(answer_has(&answer, "Connection: close"));
    answer_free(&answer);
    world_answer(&world, 0, "done");
    peer_take(&answer, &busy, false);
    assert_string_equal(answer.body, "done");
    assert_true(answer_has(&answer, "Connection: close"));
    answer_free(&answer);
    peer_expect_end(&busy);
    while (gpulet_http_server_connections(world.server) > 0)
        world_turn(&world);
    peer_close(&idle);
    peer_close(&busy);
    peer_close(&sent);
    world_close(&world);
}

static void finishes_every_request_when_it_is_destroyed(void **state)
{
    world_t world;
    peer_t peers[4];
    (void)state;
    world_open(&world, NULL);
    world.memory = calloc(1, 32 << 20);
    assert_non_null(world.memory);
    world.memory_size = 32 << 20;
    for (int i = 0; i < 4; i++)
        peer_open(&peers[i], &world);
    peer_say(&peers[0], GET("/later"));
    peer_say(&peers[1], "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123");
    peer_say(&peers[2], "GET /hel");
    peer_say(&peers[3], GET("/big"));
    world_until(&world, &world.requests, 3);
    world_close(&world);
    assert_int_equal(world.finished, 3);
    assert_int_equal(world.released, 1);
    for (int i = 0; i < 4; i++)
        peer_close(&peers[i]);
}

static void names_address_and_port_when_it_cannot_listen(void **state)
{
    world_t world;
    gpulet_http_server_t *second = NULL;
    gpulet_error_t err = {""};
    gpulet_http_limits_t limits = {0};
    gpulet_http_limits_t absurd = {.head_bytes_max = 10};
    gpulet_http_handler_t handler = {0};
    char port[16];
    (void)state;
    world_open(&world, NULL);
    handler.on_request = (void (*)(void *, gpulet_http_request_t *))abort;
    handler.on_gone = handler.on_request;
    handler.on_finished = handler.on_request;
    handler.format_error = (void (*)(void *, char *, size_t, int, const char *))abort;
    (void)snprintf(port, sizeof(port), ":%u", world.port);
    assert_int_equal(gpulet_http_server_create(&second, world.base, "127.0.0.1", world.port,
                                               &limits, &handler, &err),
                     GPULET_E_IO);
    assert_non_null(strstr(err.text, "127.0.0.1"));
    assert_non_null(strstr(err.text, port));
    assert_int_equal(
        gpulet_http_server_create(&second, world.base, "no address", 0, &limits, &handler, &err),
        GPULET_E_IO);
    assert_int_equal(
        gpulet_http_server_create(&second, world.base, "127.0.0.1", 0, &absurd, &handler, &err),
        GPULET_E_INVALID);
    assert_null(second);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_a_large_body_by_its_length_alone),
        cmocka_unit_test(refuses_a_body_larger_than_the_application_wants),
        cmocka_unit_test(answers_malformed_bytes_and_closes),
        cmocka_unit_test(refuses_heads_that_are_too_large),
        cmocka_unit_test(drain_answers_all_who_were_let_in),
        cmocka_unit_test(ends_a_head_that_never_ends),
        cmocka_unit_test(ends_bodies_that_do_not_come_and_idle_connections),
        cmocka_unit_test(does_not_time_the_application),
        cmocka_unit_test(tells_those_over_the_limit_of_connections),
        cmocka_unit_test(tells_only_so_many_at_one_time),
        cmocka_unit_test(tells_the_application_of_a_half_closed_client_and_still_answers),
        cmocka_unit_test(tells_the_application_of_a_client_that_died),
        cmocka_unit_test(tells_the_application_of_a_body_that_breaks_off),
        cmocka_unit_test(gives_memory_back_though_the_client_does_not_read),
        cmocka_unit_test(closes_on_a_client_that_never_reads),
        cmocka_unit_test(drains_without_losing_a_request),
        cmocka_unit_test(finishes_every_request_when_it_is_destroyed),
        cmocka_unit_test(names_address_and_port_when_it_cannot_listen),
    };
    return cmocka_run_group_tests_name("net.ends", tests, NULL, NULL);
}
