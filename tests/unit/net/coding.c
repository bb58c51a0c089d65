#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/coding.h"

static void pack(gpulet_buf_t *out, gpulet_http1_coding_t coding, const char *text, size_t size)
{
    gpulet_deflater_t *deflater = NULL;
    struct iovec parts[] = {{(void *)(uintptr_t)text, size / 2},
                            {(void *)(uintptr_t)(text + size / 2), size - size / 2}};
    assert_int_equal(gpulet_deflater_create(&deflater, coding), GPULET_OK);
    assert_int_equal(gpulet_deflater_run(deflater, out, parts, 2), GPULET_OK);
    gpulet_deflater_destroy(deflater);
}

static gpulet_status_t unpack(gpulet_buf_t *out, bool *ended, gpulet_http1_coding_t coding,
                              const gpulet_buf_t *packed, size_t stride, size_t size_max)
{
    gpulet_inflater_t *inflater = NULL;
    gpulet_status_t st = gpulet_inflater_create(&inflater, coding);
    for (size_t at = 0; at < packed->size && st == GPULET_OK; at += stride) {
        size_t size = packed->size - at < stride ? packed->size - at : stride;
        st = gpulet_inflater_feed(inflater, out, size_max, packed->data + at, size);
    }
    *ended = gpulet_inflater_ended(inflater);
    gpulet_inflater_destroy(inflater);
    return st;
}

static void gives_back_what_was_put_in(void **state)
{
    char text[20000];
    (void)state;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + (i * i) % 23);
    for (int coding = GPULET_HTTP1_GZIP; coding <= GPULET_HTTP1_DEFLATE; coding++) {
        gpulet_buf_t packed = GPULET_BUF_INIT;
        pack(&packed, (gpulet_http1_coding_t)coding, text, sizeof(text));
        static const size_t strides[] = {1, 2, 17, 100000};
        for (size_t s = 0; s < sizeof(strides) / sizeof(strides[0]); s++) {
            gpulet_buf_t out = GPULET_BUF_INIT;
            bool ended = false;
            assert_int_equal(unpack(&out, &ended, (gpulet_http1_coding_t)coding, &packed,
                                    strides[s], sizeof(text)),
                             GPULET_OK);
            assert_true(ended);
            assert_int_equal(out.size, sizeof(text));
            assert_memory_equal(out.data, text, sizeof(text));
            gpulet_buf_deinit(&out);
        }
        gpulet_buf_deinit(&packed);
    }
}

static void stops_a_bomb_at_the_limit(void **state)
{
    enum { BOMB = 16 << 20, LIMIT = 100000 };
    char *zeros = calloc(1, BOMB);
    gpulet_buf_t packed = GPULET_BUF_INIT;
    gpulet_buf_t out = GPULET_BUF_INIT;
    bool ended = false;
    (void)state;
    assert_non_null(zeros);
    pack(&packed, GPULET_HTTP1_GZIP, zeros, BOMB);
    assert_int_equal(unpack(&out, &ended, GPULET_HTTP1_GZIP, &packed, packed.size, LIMIT),
                     GPULET_E_TOO_LARGE);
    assert_true(out.capacity <= 2 * LIMIT + 4096);
    gpulet_buf_deinit(&out);
    gpulet_buf_deinit(&packed);
    free(zeros);
}

static void sees_truncation_garbage_and_trailing_bytes(void **state)
{
    gpulet_buf_t packed = GPULET_BUF_INIT;
    gpulet_buf_t out = GPULET_BUF_INIT;
    bool ended = false;
    (void)state;
    pack(&packed, GPULET_HTTP1_DEFLATE, "hello hello hello", 17);
    packed.size -= 2;
    assert_int_equal(unpack(&out, &ended, GPULET_HTTP1_DEFLATE, &packed, 3, 100), GPULET_OK);
    assert_false(ended);
    packed.size += 2;
    gpulet_buf_clear(&out);
    gpulet_buf_append(&packed, "x", 1);
    assert_int_equal(unpack(&out, &ended, GPULET_HTTP1_DEFLATE, &packed, 3, 100), GPULET_E_INVALID);
    gpulet_buf_clear(&out);
    packed.data[0] = 'x';
    assert_int_equal(unpack(&out, &ended, GPULET_HTTP1_DEFLATE, &packed, 3, 100), GPULET_E_INVALID);
    gpulet_buf_deinit(&out);
    gpulet_buf_deinit(&packed);
}

static void takes_gzip_members_one_after_another(void **state)
{
    gpulet_buf_t packed = GPULET_BUF_INIT;
    gpulet_buf_t out = GPULET_BUF_INIT;
    bool ended = false;
    (void)state;
    pack(&packed, GPULET_HTTP1_GZIP, "one ", 4);
    pack(&packed, GPULET_HTTP1_GZIP, "two", 3);
    assert_int_equal(unpack(&out, &ended, GPULET_HTTP1_GZIP, &packed, 1, 7), GPULET_OK);
    assert_true(ended);
    assert_string_equal(out.data, "one two");
    gpulet_buf_deinit(&out);
    gpulet_buf_deinit(&packed);
}

static void chooses_what_the_client_weighs_most(void **state)
{
    static const struct {
        const char *text;
        gpulet_http1_coding_t coding;
    } rows[] = {
        {"", GPULET_HTTP1_IDENTITY},
        {"identity", GPULET_HTTP1_IDENTITY},
        {"gzip", GPULET_HTTP1_GZIP},
        {"GZIP, deflate", GPULET_HTTP1_GZIP},
        {"deflate", GPULET_HTTP1_DEFLATE},
        {"gzip;q=0.5, deflate;q=0.501", GPULET_HTTP1_DEFLATE},
        {"gzip ; q=0.9, deflate;q=0.8, br", GPULET_HTTP1_GZIP},
        {"gzip;q=0", GPULET_HTTP1_IDENTITY},
        {"gzip;q=0.000, *;q=1", GPULET_HTTP1_DEFLATE},
        {"*", GPULET_HTTP1_GZIP},
        {"*;q=0", GPULET_HTTP1_IDENTITY},
        {"br, zstd", GPULET_HTTP1_IDENTITY},
        {"gzip;q=1.5", GPULET_HTTP1_IDENTITY},
        {"gzip;q=abc", GPULET_HTTP1_IDENTITY},
        {"gzip;x=1", GPULET_HTTP1_IDENTITY},
        {"gzip;q=", GPULET_HTTP1_IDENTITY},
        {",,gzip,,", GPULET_HTTP1_GZIP},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (gpulet_coding_accepted(rows[i].text) != rows[i].coding)
            fail_msg("'%s'", rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_back_what_was_put_in),
        cmocka_unit_test(stops_a_bomb_at_the_limit),
        cmocka_unit_test(sees_truncation_garbage_and_trailing_bytes),
        cmocka_unit_test(takes_gzip_members_one_after_another),
        cmocka_unit_test(chooses_what_the_client_weighs_most),
    };
    return cmocka_run_group_tests_name("net.coding", tests, NULL, NULL);
}
