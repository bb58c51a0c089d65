/* The chunked transfer coding, sans-I/O (RFC 9112 §7.1): wire bytes in, pieces of the body out.
 * Extensions and trailer fields are checked and skipped. Thread-safe: no state. */
#ifndef GPULET_NET_CHUNKED_H
#define GPULET_NET_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

#include "net/http1.h"

enum {
    GPULET_CHUNKED_LINE_MAX = 1024,       /* a size line with its extensions, and a trailer field */
    GPULET_CHUNKED_TRAILER_MAX = 8192,    /* all trailer fields together */
    GPULET_CHUNKED_EXTENSIONS_MAX = 16384 /* extensions of all chunks together */
};

typedef struct gpulet_chunked {
    int state;
    uint64_t left; /* of the chunk's data, or its size while that is read */
    uint32_t digits;
    uint32_t line;    /* bytes of the line so far */
    uint32_t trailer; /* bytes of all trailer lines so far */
    uint32_t extensions;
    const char *text; /* why it failed; the status is always 400 */
} gpulet_chunked_t;

void gpulet_chunked_begin(gpulet_chunked_t *chunked);
/* Eats bytes from data; *consumed says how many. DATA: *body with *body_size bytes (within data)
 * belongs to the body, call again with the rest. MORE: all were eaten. DONE: the coding has ended,
 * bytes after *consumed are the next request's. */
gpulet_http1_step_t gpulet_chunked_next(gpulet_chunked_t *chunked, const char *data, size_t size,
                                        size_t *consumed, const char **body, size_t *body_size);

#endif
