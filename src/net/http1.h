/* The head of an HTTP/1.x request, sans-I/O: bytes in, fields out (RFC 9110, RFC 9112).
 *
 * The caller keeps all bytes of the head from its first one at `data` and calls parse again when
 * more are there; a line is looked at once. The bytes may move between calls: results are offsets.
 * They are also changed: names, values, path and query become zero-terminated texts. Whatever is
 * ambiguous is refused, since a guess here is how requests are smuggled. Thread-safe: no state. */
#ifndef GPULET_NET_HTTP1_H
#define GPULET_NET_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/http.h"

typedef enum gpulet_http1_step {
    GPULET_HTTP1_MORE,  /* all bytes were looked at; more are needed */
    GPULET_HTTP1_DATA,  /* chunked only: a piece of the body */
    GPULET_HTTP1_DONE,  /* complete */
    GPULET_HTTP1_FAILED /* status and text say why */
} gpulet_http1_step_t;

typedef enum gpulet_http1_coding {
    GPULET_HTTP1_IDENTITY,
    GPULET_HTTP1_GZIP,
    GPULET_HTTP1_DEFLATE,
    GPULET_HTTP1_CODING_UNKNOWN
} gpulet_http1_coding_t;

enum { GPULET_HTTP1_HEAD_BYTES_MAX = 1 << 20 };

/* Offsets from `data`. */
typedef struct gpulet_http1_field {
    uint32_t name;
    uint32_t name_size;
    uint32_t value;
    uint32_t value_size;
} gpulet_http1_field_t;

typedef struct gpulet_http1_head {
    gpulet_http_method_t method;
    uint32_t path;   /* offset; UINT32_MAX stands for "/" (absolute form without a path) */
    uint32_t query;  /* offset; UINT32_MAX when there is none */
    bool minor_zero; /* HTTP/1.0 */
    bool close;      /* Connection: close, or HTTP/1.0 */
    bool chunked;
    bool has_length;
    bool expects_continue;
    gpulet_http1_coding_t coding; /* of the request's body */
    uint64_t length;
    uint32_t size;                /* of the head with its empty line, when done */
    gpulet_http1_field_t *fields; /* the caller's */
    uint32_t fields_max;
    uint32_t fields_count;
    uint32_t bytes_max;

    int status; /* when failed */
    const char *text;

    uint32_t line; /* where the line being received begins */
    uint32_t scan; /* no line end before here */
    uint32_t hosts;
    bool has_te;
    bool te_ended; /* "chunked" was seen: nothing may follow it */
    bool te_unknown;
} gpulet_http1_head_t;

/* fields: room for fields_max entries, kept by the caller while the head is used. */
void gpulet_http1_head_begin(gpulet_http1_head_t *head, gpulet_http1_field_t *fields,
                             uint32_t fields_max, uint32_t bytes_max);
/* MORE, DONE (head->size bytes were the head) or FAILED. */
gpulet_http1_step_t gpulet_http1_head_parse(gpulet_http1_head_t *head, char *data, size_t size);
/* The first field of that name, case-insensitive, or NULL. */
const gpulet_http1_field_t *gpulet_http1_head_find(const gpulet_http1_head_t *head,
                                                   const char *data, const char *name);

/* One element of a comma-separated list: moves *at past it. False at the end. Empty elements are
 * skipped. */
bool gpulet_http1_list_next(const char **at, const char *end, const char **element,
                            size_t *element_size);
/* Whether text (not terminated) is word, whatever the case of letters. */
bool gpulet_http1_is(const char *text, size_t size, const char *word);
/* A value that may stand in a field: no control bytes but tab. */
bool gpulet_http1_value_valid(const char *text, size_t size);
bool gpulet_http1_token_valid(const char *text, size_t size);

#endif
