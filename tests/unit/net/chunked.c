#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/chunked.h"

enum { BODY_MAX = 256 };

typedef struct result {
    gpulet_http1_step_t step;
    size_t used;
    char body[BODY_MAX];
    size_t body_size;
} result_t;

/* Feeds the two pieces [0, split) and [split, size), each in memory of its own. */
static void decode(result_t *r, const char *text, size_t size, size_t split)
{
    gpulet_chunked_t chunked;
    memset(r, 0, sizeof(*r));
    gpulet_chunked_begin(&chunked);
    r->step = GPULET_HTTP1_MORE;
    for (int part = 0; part < 2 && r->step == GPULET_HTTP1_MORE; part++) {
        size_t begin = part == 0 ? 0 : split;
        size_t end = part == 0 ? split : size;
        char *copy = malloc(end - begin + 1);
        assert_non_null(copy);
        memcpy(copy, text + begin, end - begin);
        size_t at = 0;
        do {
            size_t consumed = 0;
            const char *body = NULL;
            size_t body_size = 0;
            r->step = gpulet_chunked_next(&chunked, copy + at, end - begin - at, &consumed, &body,
                                          &body_size);
            at += consumed;
            if (r->step == GPULET_HTTP1_DATA) {
                assert_true(r->body_size + body_size <= BODY_MAX);
                memcpy(r->body + r->body_size, body, body_size);
                r->body_size += body_size;
            }
        } while (r->step == GPULET_HTTP1_DATA);
        r->used += at;
        free(copy);
    }
}

static void decodes_the_same_at_every_split(void **state)
{
    static const char text[] =
        "4\r\nWiki\r\n005;name=\"v;w\";x\r\npedia\r\nE \t; e\r\n in\r\n\r\nchunks.\r\n"
        "0\r\nTrailer: a\r\nOther:\r\n\r\nNEXT";
    static const char expected[] = "Wikipedia in\r\n\r\nchunks.";
    result_t r;
    (void)state;
    for (size_t split = 0; split < sizeof(text); split++) {
        decode(&r, text, sizeof(text) - 1, split);
        assert_int_equal(r.step, GPULET_HTTP1_DONE);
        assert_int_equal(r.used, sizeof(text) - 5);
        assert_int_equal(r.body_size, sizeof(expected) - 1);
        assert_memory_equal(r.body, expected, r.body_size);
    }
}

static void refuses_what_is_malformed_at_every_split(void **state)
{
    static const char *const texts[] = {
        "\r\n",
        "g\r\n",
        "-1\r\n",
        "+1\r\n",
        " 1\r\na\r\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "1\na\r\n0\r\n\r\n",
        "1\ra\r\n0\r\n\r\n",
        "1 \r\na\r\n0\r\n\r\n",
        "1 2\r\na\r\n0\r\n\r\n",
        "1\r\na0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\na\r0\r\n\r\n",
        "1;a\nb\r\na\r\n0\r\n\r\n",
        "1;\x01\r\na\r\n0\r\n\r\n",
        "1;a\rb\r\na\r\n0\r\n\r\n",
        "0\r\n\n",
        "0\r\n\rx",
        "0\r\n x: y\r\n\r\n",
        "0\r\n: y\r\n\r\n",
        "0\r\nx y\r\n\r\n",
        "0\r\nx y: z\r\n\r\n",
        "0\r\nx: y\n\r\n",
        "0\r\nx: y\rz\r\n",
        "0\r\nx: \x01\r\n\r\n",
        "0\r\nx\r\n\r\n",
        "FFFFFFFFFFFFFFFF\r\n",
        "0000000000000001\r\na\r\n0\r\n\r\n",
    };
    result_t r;
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        size_t size = strlen(texts[i]);
        for (size_t split = 0; split <= size; split++) {
            decode(&r, texts[i], size, split);
            if (r.step != GPULET_HTTP1_FAILED)
                fail_msg("row %zu at split %zu: %s", i, split, texts[i]);
        }
    }
}

static void bounds_lines_extensions_and_trailers(void **state)
{
    static char text[64 * 1024];
    gpulet_chunked_t chunked;
    size_t consumed = 0;
    size_t body_size = 0;
    const char *body = NULL;
    (void)state;
    memset(text, 'a', sizeof(text));
    memcpy(text, "0;", 2);
    gpulet_chunked_begin(&chunked);
    assert_int_equal(
        gpulet_chunked_next(&chunked, text, sizeof(text), &consumed, &body, &body_size),
        GPULET_HTTP1_FAILED);
    assert_true(consumed <= GPULET_CHUNKED_LINE_MAX + 1);
    memcpy(text, "0\r\nX:", 5);
    gpulet_chunked_begin(&chunked);
    assert_int_equal(
        gpulet_chunked_next(&chunked, text, sizeof(text), &consumed, &body, &body_size),
        GPULET_HTTP1_FAILED);
    memcpy(text, "0\r\n", 3);
    for (size_t i = 3; i + 8 <= sizeof(text); i += 8)
        memcpy(text + i, "Abc: d\r\n", 8);
    gpulet_chunked_begin(&chunked);
    assert_int_equal(
        gpulet_chunked_next(&chunked, text, sizeof(text), &consumed, &body, &body_size),
        GPULET_HTTP1_FAILED);
    assert_true(consumed <= 2 * GPULET_CHUNKED_TRAILER_MAX);
}

static void bounds_the_extensions_of_all_chunks_together(void **state)
{
    gpulet_chunked_t chunked;
    char line[600];
    (void)state;
    memset(line, 'e', sizeof(line));
    memcpy(line, "1;", 2);
    memcpy(line + sizeof(line) - 5, "\r\nx\r\n", 5);
    gpulet_chunked_begin(&chunked);
    for (int i = 0; i < 100; i++) {
        size_t at = 0;
        while (at < sizeof(line)) {
            size_t consumed = 0;
            size_t body_size = 0;
            const char *body = NULL;
            if (gpulet_chunked_next(&chunked, line + at, sizeof(line) - at, &consumed, &body,
                                    &body_size) == GPULET_HTTP1_FAILED)
                return;
            at += consumed;
        }
    }
    fail_msg("extensions without end");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_the_same_at_every_split),
        cmocka_unit_test(refuses_what_is_malformed_at_every_split),
        cmocka_unit_test(bounds_lines_extensions_and_trailers),
        cmocka_unit_test(bounds_the_extensions_of_all_chunks_together),
    };
    return cmocka_run_group_tests_name("net.chunked", tests, NULL, NULL);
}
