#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/http1.h"

enum { FIELDS_MAX = 8, BYTES_MAX = 512 };

typedef struct outcome {
    gpulet_http1_step_t step;
    int status;
    gpulet_http1_head_t head;
    gpulet_http1_field_t fields[FIELDS_MAX];
    char *data;
} outcome_t;

/* Feeds text whole, or byte by byte with the bytes moving about as in a connection's buffer. */
static void parse(outcome_t *o, const char *text, size_t size, size_t stride)
{
    memset(o, 0, sizeof(*o));
    gpulet_http1_head_begin(&o->head, o->fields, FIELDS_MAX, BYTES_MAX);
    size_t there = 0;
    o->step = GPULET_HTTP1_MORE;
    while (o->step == GPULET_HTTP1_MORE && there < size) {
        size_t next = size - there < stride ? size : there + stride;
        char *moved = malloc(next);
        assert_non_null(moved);
        if (there > 0)
            memcpy(moved, o->data, there);
        memcpy(moved + there, text + there, next - there);
        free(o->data);
        o->data = moved;
        there = next;
        o->step = gpulet_http1_head_parse(&o->head, o->data, there);
    }
    o->status = o->step == GPULET_HTTP1_FAILED ? o->head.status : 0;
}

static const struct {
    int status;
    size_t size; /* 0: strlen */
    const char *text;
} refused[] = {
    {400, 0, "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\nHost: a\n\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: a\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: a\r\n\n"},
    {400, 0, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET /\r\nHost: a\r\n\r\n"},
    {400, 0, "GET\r\n\r\n"},
    {400, 0, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"},
    {400, 0, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "G(T / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "G\x80T / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET / http/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET / HTTP/11\r\nHost: a\r\n\r\n"},
    {400, 0, "GET / HTTP/1.10\r\nHost: a\r\n\r\n"},
    {400, 0, "GET / HTTP/1.x\r\nHost: a\r\n\r\n"},
    {400, 0, "GET / HTTP/ 1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET / FTP/1.1\r\nHost: a\r\n\r\n"},
    {505, 0, "PRI * HTTP/2.0\r\n\r\n"},
    {505, 0, "GET / HTTP/0.9\r\n\r\n"},
    {400, 0, "GET a HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET /<a> HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET /% HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 31, "GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET http:// HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET http://u@h/ HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET ftp://h/ HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n"},
    {501, 0, "CONNECT h:443 HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
    {400, 0, "GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: a\r\nX\t: b\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: a\r\nX@: b\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n"},
    {400, 0, "GET / HTTP/1.1\r\nHost: a\r\nX: a\x7f\r\n\r\n"},
    {400, 34, "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"},
    {400, 34, "GET / HTTP/1.1\r\nHost: a\r\nX\0: ab\r\n\r\n"},
    {400, 0, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"},
    {400, 0, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n"},
    {400, 0, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n"},
    {400, 0, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ,\r\n\r\n"},
    {400, 0, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,\r\n\r\n"},
    {400, 0, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n"},
    {400, 0, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n"},
    {400, 0, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n"},
    {400, 0, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n"},
    {400, 0, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\n"},
    {413, 0, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n"},
    {400, 0,
     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {400, 0,
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"},
    {400, 0, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {400, 0, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"},
    {400, 0, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"},
    {400, 0, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \r\n\r\n"},
    {501, 0, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"},
    {501, 0, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"},
    {501, 0, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"},
    {501, 0, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n"},
    {417, 0, "POST / HTTP/1.1\r\nHost: a\r\nExpect: the-best\r\n\r\n"},
    {431, 0,
     "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\nE: 1\r\nF: 1\r\nG: 1\r\nH: "
     "1\r\n\r\n"},
};

static void refuses_what_is_malformed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        size_t size = refused[i].size > 0 ? refused[i].size : strlen(refused[i].text);
        for (size_t stride = 1; stride <= size; stride = stride < 4 ? stride + 1 : stride * 3) {
            outcome_t o;
            parse(&o, refused[i].text, size, stride);
            if (o.step != GPULET_HTTP1_FAILED || o.status != refused[i].status)
                fail_msg("row %zu, stride %zu: step %d, status %d: %s", i, stride, (int)o.step,
                         o.status, refused[i].text);
            assert_non_null(o.head.text);
            free(o.data);
        }
        outcome_t whole;
        parse(&whole, refused[i].text, size, size);
        assert_int_equal(whole.status, refused[i].status);
        free(whole.data);
    }
}

static void refuses_a_long_request_line_by_414_and_a_long_head_by_431(void **state)
{
    char text[2 * BYTES_MAX];
    outcome_t o;
    (void)state;
    memset(text, 'a', sizeof(text));
    memcpy(text, "GET /", 5);
    parse(&o, text, sizeof(text), 7);
    assert_int_equal(o.status, 414);
    free(o.data);
    memcpy(text, "GET / HTTP/1.1\r\nHost: ", 22);
    parse(&o, text, sizeof(text), sizeof(text));
    assert_int_equal(o.status, 431);
    free(o.data);
}

static void accepts_a_head_of_exactly_the_largest_size(void **state)
{
    char text[BYTES_MAX + 8];
    outcome_t o;
    (void)state;
    memset(text, 'a', sizeof(text));
    memcpy(text, "GET / HTTP/1.1\r\nHost: ", 22);
    memcpy(text + BYTES_MAX - 4, "\r\n\r\nmore", 8);
    parse(&o, text, BYTES_MAX, 1);
    assert_int_equal(o.step, GPULET_HTTP1_DONE);
    assert_int_equal(o.head.size, BYTES_MAX);
    free(o.data);
    parse(&o, text, sizeof(text), sizeof(text));
    assert_int_equal(o.step, GPULET_HTTP1_DONE);
    free(o.data);
    memcpy(text + BYTES_MAX - 4, "a\r\n\r\n", 5);
    parse(&o, text, BYTES_MAX + 1, 1);
    assert_int_equal(o.status, 431);
    free(o.data);
}

static void expect_target(const char *target, const char *path, const char *query)
{
    char text[BYTES_MAX];
    outcome_t o;
    (void)snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", target);
    parse(&o, text, strlen(text), 3);
    assert_int_equal(o.step, GPULET_HTTP1_DONE);
    assert_string_equal(o.head.path == UINT32_MAX ? "/" : o.data + o.head.path, path);
    assert_string_equal(o.head.query == UINT32_MAX ? "" : o.data + o.head.query, query);
    free(o.data);
}

static void splits_targets_into_path_and_query(void **state)
{
    (void)state;
    expect_target("/", "/", "");
    expect_target("/v2/models/a%20b/infer", "/v2/models/a%20b/infer", "");
    expect_target("/a?b=c?d", "/a", "b=c?d");
    expect_target("/a?", "/a", "");
    expect_target("/?x", "/", "x");
    expect_target("http://host", "/", "");
    expect_target("HTTP://host:80/a/b?c", "/a/b", "c");
    expect_target("https://[::1]:8000?q=1", "/", "q=1");
    expect_target("/a{b}|c", "/a{b}|c", "");
}

static void knows_what_the_message_is(void **state)
{
    static const char text[] =
        "POST /x HTTP/1.1\r\nHOST:\t a:80 \t\r\ncontent-length: 12 , 12\r\nConnection: TE, "
        "Close\r\n"
        "Expect: 100-Continue\r\nContent-Encoding: x-gzip\r\nX-Empty:\r\n\r\nbody";
    outcome_t o;
    (void)state;
    for (size_t stride = 1; stride < sizeof(text); stride++) {
        parse(&o, text, sizeof(text) - 1, stride);
        assert_int_equal(o.step, GPULET_HTTP1_DONE);
        assert_int_equal(o.head.method, GPULET_HTTP_POST);
        assert_true(o.head.has_length && o.head.length == 12);
        assert_true(o.head.close);
        assert_true(o.head.expects_continue);
        assert_false(o.head.chunked);
        assert_int_equal(o.head.coding, GPULET_HTTP1_GZIP);
        assert_int_equal(o.head.size, sizeof(text) - 5);
        const gpulet_http1_field_t *host = gpulet_http1_head_find(&o.head, o.data, "hOsT");
        assert_non_null(host);
        assert_string_equal(o.data + host->value, "a:80");
        assert_string_equal(o.data + gpulet_http1_head_find(&o.head, o.data, "x-empty")->value, "");
        assert_null(gpulet_http1_head_find(&o.head, o.data, "X-Emptyy"));
        free(o.data);
    }
}

static void takes_old_clients_as_they_are(void **state)
{
    static const char old[] =
        "GET /x HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n";
    static const char bare_expect[] = "POST / HTTP/1.1\r\nHost:\r\nExpect:\r\n\r\n";
    outcome_t o;
    (void)state;
    parse(&o, old, sizeof(old) - 1, 5);
    assert_int_equal(o.step, GPULET_HTTP1_DONE);
    assert_true(o.head.close);
    assert_false(o.head.expects_continue);
    free(o.data);
    parse(&o, bare_expect, sizeof(bare_expect) - 1, 5);
    assert_int_equal(o.step, GPULET_HTTP1_DONE);
    assert_false(o.head.close);
    assert_false(o.head.expects_continue);
    free(o.data);
}

static void tells_chunked_and_codings(void **state)
{
    static const char text[] = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,Chunked ,\r\n"
                               "Content-Encoding: identity, deflate\r\n\r\n";
    static const char two[] =
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip, deflate\r\n\r\n";
    static const char brotli[] = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Encoding: br\r\n\r\n";
    outcome_t o;
    (void)state;
    parse(&o, text, sizeof(text) - 1, 9);
    assert_int_equal(o.step, GPULET_HTTP1_DONE);
    assert_true(o.head.chunked);
    assert_int_equal(o.head.method, GPULET_HTTP_OTHER);
    assert_int_equal(o.head.coding, GPULET_HTTP1_DEFLATE);
    free(o.data);
    parse(&o, two, sizeof(two) - 1, 9);
    assert_int_equal(o.head.coding, GPULET_HTTP1_CODING_UNKNOWN);
    free(o.data);
    parse(&o, brotli, sizeof(brotli) - 1, 9);
    assert_int_equal(o.head.coding, GPULET_HTTP1_CODING_UNKNOWN);
    free(o.data);
}

static void waits_for_the_rest_of_a_head(void **state)
{
    static const char text[] = "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r";
    outcome_t o;
    (void)state;
    for (size_t size = 1; size < sizeof(text); size++) {
        parse(&o, text, size, 4);
        assert_int_equal(o.step, GPULET_HTTP1_MORE);
        free(o.data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_is_malformed),
        cmocka_unit_test(refuses_a_long_request_line_by_414_and_a_long_head_by_431),
        cmocka_unit_test(accepts_a_head_of_exactly_the_largest_size),
        cmocka_unit_test(splits_targets_into_path_and_query),
        cmocka_unit_test(knows_what_the_message_is),
        cmocka_unit_test(takes_old_clients_as_they_are),
        cmocka_unit_test(tells_chunked_and_codings),
        cmocka_unit_test(waits_for_the_rest_of_a_head),
    };
    return cmocka_run_group_tests_name("net.head", tests, NULL, NULL);
}
