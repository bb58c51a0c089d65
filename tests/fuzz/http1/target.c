/* Request heads and chunked bodies: whole, byte by byte and in pieces must give the same outcome,
 * and what is accepted must hold what the parser promises. The first byte says how the pieces are
 * cut. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/chunked.h"
#include "net/http1.h"

enum { FIELDS_MAX = 16, HEAD_MAX = 1024 };

typedef struct outcome {
    gpulet_http1_step_t step;
    gpulet_http1_head_t head;
    gpulet_http1_field_t fields[FIELDS_MAX];
    char *bytes; /* as the parser left them */
    size_t used;
    size_t there;
    uint64_t hash; /* of the body */
    size_t body_size;
} outcome_t;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse_head(outcome_t *o, const uint8_t *data, size_t size, size_t stride)
{
    memset(o, 0, sizeof(*o));
    gpulet_http1_head_begin(&o->head, o->fields, FIELDS_MAX, HEAD_MAX);
    o->step = GPULET_HTTP1_MORE;
    while (o->step == GPULET_HTTP1_MORE && o->there < size) {
        size_t next = size - o->there < stride ? size : o->there + stride;
        char *moved = malloc(next);
        assert(moved != NULL);
        if (o->there > 0)
            memcpy(moved, o->bytes, o->there);
        memcpy(moved + o->there, data + o->there, next - o->there);
        free(o->bytes);
        o->bytes = moved;
        o->there = next;
        o->step = gpulet_http1_head_parse(&o->head, o->bytes, next);
    }
}

static void check_text(const outcome_t *o, uint32_t at, uint32_t length)
{
    assert(at < o->there && length < o->there - at);
    assert(memchr(o->bytes + at, '\0', o->there - at) == o->bytes + at + length);
}

static void check_head(const outcome_t *o)
{
    const gpulet_http1_head_t *h = &o->head;
    if (o->step == GPULET_HTTP1_FAILED) {
        assert(h->status >= 400 && h->status < 600 && h->text != NULL);
        return;
    }
    if (o->step != GPULET_HTTP1_DONE)
        return;
    assert(h->size <= HEAD_MAX && h->size <= o->there && h->fields_count <= FIELDS_MAX);
    assert(h->hosts == 1 || (h->minor_zero && h->hosts == 0));
    assert(!(h->chunked && h->has_length));
    for (uint32_t i = 0; i < h->fields_count; i++) {
        const gpulet_http1_field_t *f = &o->fields[i];
        check_text(o, f->name, f->name_size);
        check_text(o, f->value, f->value_size);
        assert(gpulet_http1_token_valid(o->bytes + f->name, f->name_size));
        assert(gpulet_http1_value_valid(o->bytes + f->value, f->value_size));
    }
    if (h->path != UINT32_MAX)
        assert(o->bytes[h->path] == '/' || o->bytes[h->path] == '*');
}

static void compare_heads(const uint8_t *data, size_t size, size_t stride)
{
    outcome_t whole;
    outcome_t parts;
    parse_head(&whole, data, size, size > 0 ? size : 1);
    parse_head(&parts, data, size, stride);
    check_head(&whole);
    check_head(&parts);
    assert(whole.step == parts.step);
    assert(whole.head.status == parts.head.status && whole.head.text == parts.head.text);
    if (whole.step == GPULET_HTTP1_DONE) {
        assert(whole.head.size == parts.head.size && whole.head.path == parts.head.path);
        assert(whole.head.query == parts.head.query && whole.head.length == parts.head.length);
        assert(whole.head.fields_count == parts.head.fields_count);
        assert(memcmp(whole.bytes, parts.bytes, whole.head.size) == 0);
        assert(memcmp(whole.fields, parts.fields,
                      whole.head.fields_count * sizeof(whole.fields[0])) == 0);
    }
    free(whole.bytes);
    free(parts.bytes);
}

static void decode(outcome_t *o, const uint8_t *data, size_t size, size_t stride)
{
    gpulet_chunked_t chunked;
    memset(o, 0, sizeof(*o));
    gpulet_chunked_begin(&chunked);
    o->step = GPULET_HTTP1_MORE;
    o->hash = UINT64_C(14695981039346656037);
    while (o->used < size && o->step != GPULET_HTTP1_DONE && o->step != GPULET_HTTP1_FAILED) {
        size_t piece = size - o->used < stride ? size - o->used : stride;
        char *exact = malloc(piece);
        assert(exact != NULL);
        memcpy(exact, data + o->used, piece);
        size_t consumed = 0;
        size_t body_size = 0;
        const char *body = NULL;
        o->step = gpulet_chunked_next(&chunked, exact, piece, &consumed, &body, &body_size);
        assert(consumed <= piece && (consumed > 0 || o->step == GPULET_HTTP1_FAILED));
        assert(o->step != GPULET_HTTP1_MORE || consumed == piece);
        for (size_t i = 0; i < body_size; i++)
            o->hash = (o->hash ^ (uint8_t)body[i]) * UINT64_C(1099511628211);
        o->body_size += body_size;
        o->used += consumed;
        free(exact);
    }
    if (o->step == GPULET_HTTP1_DATA)
        o->step = GPULET_HTTP1_MORE;
    assert(o->step != GPULET_HTTP1_FAILED || chunked.text != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    outcome_t whole;
    outcome_t parts;
    if (size < 1)
        return 0;
    size_t stride = (size_t)data[0] % 61 + 1;
    data++;
    size--;
    compare_heads(data, size, 1);
    compare_heads(data, size, stride);
    decode(&whole, data, size, size > 0 ? size : 1);
    decode(&parts, data, size, stride);
    assert(whole.step == parts.step && whole.used == parts.used);
    assert(whole.hash == parts.hash && whole.body_size == parts.body_size);
    return 0;
}
