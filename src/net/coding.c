#include "net/coding.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    WINDOW_BITS = 15,
    WINDOW_GZIP = 16, /* zlib: added to the bits for gzip's frame */
    GROW_MIN = 4096,
    GROW_MAX = 1 << 20,
    LEVEL = 1, /* speed first: the loop serves everyone else too */
    MEMORY_LEVEL = 8
};

struct gpulet_inflater {
    z_stream z;
    bool gzip;
    bool ended;
};

struct gpulet_deflater {
    z_stream z;
};

static int window_of(gpulet_http1_coding_t coding)
{
    assert(coding == GPULET_HTTP1_GZIP || coding == GPULET_HTTP1_DEFLATE);
    return coding == GPULET_HTTP1_GZIP ? WINDOW_BITS + WINDOW_GZIP : WINDOW_BITS;
}

gpulet_status_t gpulet_inflater_create(gpulet_inflater_t **out, gpulet_http1_coding_t coding)
{
    gpulet_inflater_t *inflater = calloc(1, sizeof(*inflater));
    if (inflater == NULL)
        return GPULET_E_NOMEM;
    inflater->gzip = coding == GPULET_HTTP1_GZIP;
    if (inflateInit2(&inflater->z, window_of(coding)) != Z_OK) {
        free(inflater);
        return GPULET_E_NOMEM;
    }
    *out = inflater;
    return GPULET_OK;
}

void gpulet_inflater_destroy(gpulet_inflater_t *inflater)
{
    if (inflater == NULL)
        return;
    (void)inflateEnd(&inflater->z);
    free(inflater);
}

bool gpulet_inflater_ended(const gpulet_inflater_t *inflater)
{
    return inflater->ended;
}

/* Room for at least one byte over size_max, so that "too large" is seen as such and not as a full
 * buffer. */
static gpulet_status_t make_room(gpulet_buf_t *out, size_t size_max)
{
    size_t grow = out->size < GROW_MIN ? GROW_MIN : out->size;
    if (grow > GROW_MAX)
        grow = GROW_MAX;
    if (grow > size_max + 1 - out->size)
        grow = size_max + 1 - out->size;
    return gpulet_buf_reserve(out, grow);
}

static gpulet_status_t inflate_some(gpulet_inflater_t *inflater, gpulet_buf_t *out, size_t size_max)
{
    z_stream *z = &inflater->z;
    if (inflater->ended) {
        /* gzip files may stand one after another; zlib's format has one end. */
        if (!inflater->gzip || inflateReset(z) != Z_OK)
            return GPULET_E_INVALID;
        inflater->ended = false;
    }
    gpulet_status_t st = make_room(out, size_max);
    if (st != GPULET_OK)
        return st;
    size_t room = out->capacity - out->size - 1;
    if (room > size_max + 1 - out->size)
        room = size_max + 1 - out->size;
    if (room > UINT_MAX)
        room = UINT_MAX;
    z->next_out = (Bytef *)out->data + out->size;
    z->avail_out = (uInt)room;
    int rc = inflate(z, Z_NO_FLUSH);
    out->size += room - z->avail_out;
    out->data[out->size] = '\0';
    if (out->size > size_max)
        return GPULET_E_TOO_LARGE;
    if (rc == Z_MEM_ERROR)
        return GPULET_E_NOMEM;
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
        return GPULET_E_INVALID;
    inflater->ended = rc == Z_STREAM_END;
    return GPULET_OK;
}

gpulet_status_t gpulet_inflater_feed(gpulet_inflater_t *inflater, gpulet_buf_t *out,
                                     size_t size_max, const char *data, size_t size)
{
    assert(size <= UINT_MAX && size_max < SIZE_MAX / 4);
    inflater->z.next_in = (Bytef *)data;
    inflater->z.avail_in = (uInt)size;
    for (;;) {
        if (inflater->z.avail_in == 0 && (inflater->ended || size == 0))
            return GPULET_OK;
        gpulet_status_t st = inflate_some(inflater, out, size_max);
        if (st != GPULET_OK)
            return st;
        /* Room left over means that all there was to say has been said. */
        if (inflater->z.avail_in == 0 && inflater->z.avail_out > 0)
            return GPULET_OK;
    }
}

gpulet_status_t gpulet_deflater_create(gpulet_deflater_t **out, gpulet_http1_coding_t coding)
{
    gpulet_deflater_t *deflater = calloc(1, sizeof(*deflater));
    if (deflater == NULL)
        return GPULET_E_NOMEM;
    if (deflateInit2(&deflater->z, LEVEL, Z_DEFLATED, window_of(coding), MEMORY_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        free(deflater);
        return GPULET_E_NOMEM;
    }
    *out = deflater;
    return GPULET_OK;
}

void gpulet_deflater_destroy(gpulet_deflater_t *deflater)
{
    if (deflater == NULL)
        return;
    (void)deflateEnd(&deflater->z);
    free(deflater);
}

gpulet_status_t gpulet_deflater_run(gpulet_deflater_t *deflater, gpulet_buf_t *out,
                                    const struct iovec *parts, size_t parts_count)
{
    z_stream *z = &deflater->z;
    size_t total = 0;
    for (size_t i = 0; i < parts_count; i++)
        total += parts[i].iov_len;
    assert(total <= UINT_MAX / 2);
    if (deflateReset(z) != Z_OK)
        return GPULET_E_INTERNAL;
    size_t bound = deflateBound(z, (uLong)total);
    gpulet_status_t st = gpulet_buf_reserve(out, bound);
    if (st != GPULET_OK)
        return st;
    z->next_out = (Bytef *)out->data + out->size;
    z->avail_out = (uInt)bound;
    int rc = Z_OK;
    for (size_t i = 0; i <= parts_count && rc == Z_OK; i++) {
        z->next_in = i < parts_count ? parts[i].iov_base : NULL;
        z->avail_in = i < parts_count ? (uInt)parts[i].iov_len : 0;
        if (i == parts_count || z->avail_in > 0)
            rc = deflate(z, i < parts_count ? Z_NO_FLUSH : Z_FINISH);
    }
    if (rc != Z_STREAM_END)
        return GPULET_E_INTERNAL;
    out->size += bound - z->avail_out;
    out->data[out->size] = '\0';
    return GPULET_OK;
}

/* "0.5" as 500; a malformed weight is 0, which refuses the coding. */
static int weight_of(const char *text, size_t size)
{
    int value = 0;
    if (size == 0 || size > 5 || (text[0] != '0' && text[0] != '1') || (size > 1 && text[1] != '.'))
        return 0;
    for (size_t i = 0, digits = 0; digits < 4; digits++) {
        value = value * 10 + (i < size ? text[i] - '0' : 0);
        if (i < size && (text[i] < '0' || text[i] > '9'))
            return 0;
        i += i == 0 ? 2 : 1;
    }
    return value > 1000 ? 0 : value;
}

static int element_weight(const char *element, size_t *element_size)
{
    const char *mark = memchr(element, ';', *element_size);
    if (mark == NULL)
        return 1000;
    const char *end = element + *element_size;
    *element_size = (size_t)(mark - element);
    while (*element_size > 0 && strchr(" \t", element[*element_size - 1]) != NULL)
        (*element_size)--;
    mark++;
    while (mark < end && (*mark == ' ' || *mark == '\t'))
        mark++;
    if (end - mark < 2 || (mark[0] | 0x20) != 'q' || mark[1] != '=')
        return 0;
    return weight_of(mark + 2, (size_t)(end - mark - 2));
}

gpulet_http1_coding_t gpulet_coding_accepted(const char *accept_encoding)
{
    const char *at = accept_encoding;
    const char *end = at + strlen(at);
    const char *element;
    size_t size;
    int gzip = -1;
    int deflate_weight = -1;
    int other = 0;
    while (gpulet_http1_list_next(&at, end, &element, &size)) {
        int weight = element_weight(element, &size);
        if (gpulet_http1_is(element, size, "gzip") || gpulet_http1_is(element, size, "x-gzip"))
            gzip = weight;
        else if (gpulet_http1_is(element, size, "deflate"))
            deflate_weight = weight;
        else if (gpulet_http1_is(element, size, "*"))
            other = weight;
    }
    gzip = gzip < 0 ? other : gzip;
    deflate_weight = deflate_weight < 0 ? other : deflate_weight;
    if (gzip <= 0 && deflate_weight <= 0)
        return GPULET_HTTP1_IDENTITY;
    return gzip >= deflate_weight ? GPULET_HTTP1_GZIP : GPULET_HTTP1_DEFLATE;
}
