/* Compressed bodies and what an Accept-Encoding asks for. The first byte says which coding and
 * limit, the second how the pieces are cut. Whole, byte by byte and in pieces must give the same
 * outcome, never more than the limit, and what is packed here must come back. */
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/coding.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const size_t limits[] = {0, 1, 100, 4096, 5000, 70000, 1 << 20, 4 << 20};

typedef struct outcome {
    gpulet_status_t st;
    bool ended;
    gpulet_buf_t out;
} outcome_t;

static void unpack(outcome_t *o, gpulet_http1_coding_t coding, size_t size_max, const uint8_t *data,
                   size_t size, size_t stride)
{
    gpulet_inflater_t *inflater = NULL;
    memset(o, 0, sizeof(*o));
    o->st = gpulet_inflater_create(&inflater, coding);
    assert(o->st == GPULET_OK);
    for (size_t at = 0; at < size && o->st == GPULET_OK; at += stride) {
        size_t piece = size - at < stride ? size - at : stride;
        char *exact = malloc(piece);
        assert(exact != NULL);
        memcpy(exact, data + at, piece);
        o->st = gpulet_inflater_feed(inflater, &o->out, size_max, exact, piece);
        free(exact);
        /* One byte more than the limit is how too much is noticed. */
        assert(o->out.size <= size_max + (o->st == GPULET_E_TOO_LARGE));
        assert(o->out.capacity <= 2 * size_max + 64);
    }
    assert(o->st == GPULET_OK || o->st == GPULET_E_INVALID || o->st == GPULET_E_TOO_LARGE);
    o->ended = gpulet_inflater_ended(inflater);
    gpulet_inflater_destroy(inflater);
}

static void compare(const outcome_t *whole, gpulet_http1_coding_t coding, size_t size_max,
                    const uint8_t *data, size_t size, size_t stride)
{
    outcome_t parts;
    unpack(&parts, coding, size_max, data, size, stride);
    assert(whole->st == parts.st);
    if (whole->st == GPULET_OK) {
        assert(whole->ended == parts.ended && whole->out.size == parts.out.size);
        assert(whole->out.size == 0 ||
               memcmp(whole->out.data, parts.out.data, whole->out.size) == 0);
    }
    gpulet_buf_deinit(&parts.out);
}

static void pack_and_unpack(gpulet_http1_coding_t coding, const uint8_t *data, size_t size,
                            size_t cut)
{
    gpulet_deflater_t *deflater = NULL;
    gpulet_buf_t packed = GPULET_BUF_INIT;
    outcome_t back;
    size_t first = size < cut ? size : cut;
    const struct iovec parts[] = {{(void *)(uintptr_t)data, first},
                                  {(void *)(uintptr_t)(data + first), size - first}};
    gpulet_status_t st = gpulet_deflater_create(&deflater, coding);
    assert(st == GPULET_OK);
    st = gpulet_deflater_run(deflater, &packed, parts, 2);
    assert(st == GPULET_OK);
    gpulet_deflater_destroy(deflater);
    unpack(&back, coding, size, (const uint8_t *)packed.data, packed.size, packed.size);
    assert(back.st == GPULET_OK && back.ended && back.out.size == size);
    assert(size == 0 || memcmp(back.out.data, data, size) == 0);
    gpulet_buf_deinit(&back.out);
    gpulet_buf_deinit(&packed);
}

static void choose(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    assert(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    gpulet_http1_coding_t coding = gpulet_coding_accepted(text);
    bool any = strchr(text, '*') != NULL;
    if (coding == GPULET_HTTP1_GZIP)
        assert(any || strcasestr(text, "gzip") != NULL);
    else if (coding == GPULET_HTTP1_DEFLATE)
        assert(any || strcasestr(text, "deflate") != NULL);
    else
        assert(coding == GPULET_HTTP1_IDENTITY);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    outcome_t whole;
    if (size < 2)
        return 0;
    gpulet_http1_coding_t coding = data[0] & 1 ? GPULET_HTTP1_DEFLATE : GPULET_HTTP1_GZIP;
    size_t size_max = limits[data[0] / 2 % (sizeof(limits) / sizeof(limits[0]))];
    size_t stride = (size_t)data[1] + 1;
    data += 2;
    size -= 2;
    unpack(&whole, coding, size_max, data, size, size > 0 ? size : 1);
    compare(&whole, coding, size_max, data, size, 1);
    compare(&whole, coding, size_max, data, size, stride);
    gpulet_buf_deinit(&whole.out);
    pack_and_unpack(coding, data, size, stride);
    choose(data, size);
    return 0;
}
