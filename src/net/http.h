/* An HTTP/1.1 server on a libevent loop, made for large binary bodies: the application says where
 * the next bytes of a body go, and they are read from the socket straight to there
 * (docs/ARCHITECTURE.md, life of a request: parse from the socket into the shared segment).
 *
 * One server lives on one event_base and is used by that loop's thread alone. Requests of one
 * connection are answered in order; a request is handed to the application only after the one
 * before it was answered (pipelined bytes wait in the buffer).
 *
 * Life of a request: on_request (head complete) → the application calls exactly one of
 * gpulet_http_body_collect, gpulet_http_body_into or gpulet_http_respond* → … → gpulet_http_respond
 * once → on_finished once (sent, or the connection died), after which the request is gone. If the
 * client goes away before the answer, on_gone is called once; the application must still respond
 * (the answer is discarded) when it can. `Expect: 100-continue` is answered when the application
 * first asks for body bytes.
 *
 * No callback but release comes out of a call of the application: what it asks for, and what it
 * answers, is done in the same turn of the loop after it returned. Only one case ends a request
 * that the application has not answered: bytes it asked for cannot be had (too slow, too large,
 * malformed, or on_gone was called and it did not respond inside of that). Then the server answers
 * by itself, if anyone is left to hear it, and on_finished is called.
 *
 * A client that closes its sending side may only be half gone: on_gone is called when nothing more
 * of it waits, and an answer is still sent. drain may be called at any time, destroy not from
 * inside a callback. */
#ifndef GPULET_NET_HTTP_H
#define GPULET_NET_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/status.h"

struct event_base;
typedef struct gpulet_http_server gpulet_http_server_t;
typedef struct gpulet_http_request gpulet_http_request_t;

/* Every limit is a setting of the server program; 0 means the default in brackets. */
typedef struct gpulet_http_limits {
    uint32_t connections_max; /* [1024] over it: 429 and close */
    uint32_t head_bytes_max;  /* [16384] request line and headers: 431 (414 when the request line
                                 alone is too long) */
    uint32_t headers_max;     /* [100] 431 */
    uint64_t body_bytes_max;  /* [67108864 + 1 MiB] after decompression too: 413 */
    uint32_t
        head_timeout_ms; /* [10000] from the first byte of a head to its end: 408 (slow loris) */
    uint32_t body_timeout_ms; /* [30000] without any progress: 408 */
    uint32_t idle_timeout_ms; /* [75000] between requests: silent close */
    uint32_t send_timeout_ms; /* [30000] without any progress: close */
    uint32_t detach_after_ms; /* [10] an answer still unsent after that is copied to the heap and
                                 released */
} gpulet_http_limits_t;

typedef enum gpulet_http_method {
    GPULET_HTTP_GET,
    GPULET_HTTP_HEAD,
    GPULET_HTTP_POST,
    GPULET_HTTP_OTHER
} gpulet_http_method_t;

typedef struct gpulet_http_handler {
    void *context;
    void (*on_request)(void *context, gpulet_http_request_t *request);
    /* The bytes asked for by body_into have arrived: ask for more, or respond. This one and on_body
     * may be NULL if never asked for. */
    void (*on_body_filled)(void *context, gpulet_http_request_t *request);
    /* The whole body asked for by body_collect; borrowed until the request is finished;
     * zero-terminated. */
    void (*on_body)(void *context, gpulet_http_request_t *request, char *data, size_t size);
    void (*on_gone)(void *context, gpulet_http_request_t *request);
    void (*on_finished)(void *context, gpulet_http_request_t *request);
    /* Errors that the server answers by itself (400, 408, 413, 431, …): the body to send, JSON;
     * text is a static sentence. */
    void (*format_error)(void *context, char *out, size_t out_size, int status, const char *text);
} gpulet_http_handler_t;

/* Listens on address:port (port 0: a free one). E_IO with a text that names address and port. */
gpulet_status_t gpulet_http_server_create(gpulet_http_server_t **out, struct event_base *base,
                                          const char *address, uint16_t port,
                                          const gpulet_http_limits_t *limits,
                                          const gpulet_http_handler_t *handler,
                                          gpulet_error_t *err) GPULET_MUST_USE;
uint16_t gpulet_http_server_port(const gpulet_http_server_t *server);
uint32_t gpulet_http_server_connections(const gpulet_http_server_t *server);
/* Stops accepting; idle connections are closed, the others close after the answer in progress
 * (Connection: close). */
void gpulet_http_server_drain(gpulet_http_server_t *server);
/* Closes everything. on_finished is called for every request in progress. */
void gpulet_http_server_destroy(gpulet_http_server_t *server);

/* Valid from on_request to on_finished. Texts are zero-terminated. */
gpulet_http_method_t gpulet_http_method(const gpulet_http_request_t *request);
/* "/v2/models/m/infer", still percent-encoded, without the query. */
const char *gpulet_http_path(const gpulet_http_request_t *request);
const char *gpulet_http_query(const gpulet_http_request_t *request); /* "" when there is none */
/* Case-insensitive; NULL when absent. */
const char *gpulet_http_header(const gpulet_http_request_t *request, const char *name);
/* When the head was complete, monotonic. */
uint64_t gpulet_http_arrival_ns(const gpulet_http_request_t *request);
/* Bytes of the body as the application will see it, or UINT64_MAX when that is not known (chunked,
 * compressed). */
uint64_t gpulet_http_body_size(const gpulet_http_request_t *request);
void gpulet_http_set_user(gpulet_http_request_t *request, void *user);
void *gpulet_http_user(const gpulet_http_request_t *request);

/* The whole body (unchunked, decompressed) in memory of the request, then on_body. Over size_max:
 * the server answers 413 itself. */
void gpulet_http_body_collect(gpulet_http_request_t *request, uint64_t size_max);
/* Only when the body size is known: the next size bytes go to dst (kept valid by the application
 * until on_body_filled or on_finished). size ≤ what remains, 0 is fine. */
void gpulet_http_body_into(gpulet_http_request_t *request, void *dst, size_t size);

typedef struct gpulet_http_field {
    const char *name;
    const char *value;
} gpulet_http_field_t;

typedef struct gpulet_http_answer {
    int status;
    const char *content_type; /* NULL: none */
    const gpulet_http_field_t *fields;
    size_t fields_count;
    const struct iovec *parts; /* sent in order from where they lie; fields and the array itself are
                                  copied, the bytes are not */
    size_t parts_count;        /* at most GPULET_HTTP_PARTS_MAX */
    /* Called once when the parts' bytes are not needed any more (sent, copied, or the connection
     * died); may be NULL. */
    void (*release)(void *context);
    void *release_context;
    bool close; /* close the connection after it */
} gpulet_http_answer_t;

enum { GPULET_HTTP_PARTS_MAX = 66, GPULET_HTTP_FIELDS_MAX = 8 };

/* Exactly once a request. Unread body bytes are skipped if few (64 KiB), else the connection is
 * closed after the answer. The body is compressed by gzip or deflate when Accept-Encoding asks for
 * it and it has over 1 KiB of text or JSON. */
void gpulet_http_respond(gpulet_http_request_t *request, const gpulet_http_answer_t *answer);
/* A small answer whose body is copied. */
void gpulet_http_respond_text(gpulet_http_request_t *request, int status, const char *content_type,
                              const char *body, size_t body_size);

#endif
