/* A client of HTTP/1.1 servers on one machine or near: one connection, one request at a time, kept
 * alive. Without waiting (for the load generator, which polls many) or waiting (for the command
 * line). Not thread-safe; one owner. */
#ifndef GPULET_CLIENT_HTTP_CLIENT_H
#define GPULET_CLIENT_HTTP_CLIENT_H

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/status.h"

enum { GPULET_URL_HOST_MAX = 255, GPULET_URL_BASE_MAX = 255 };

/* "http://host[:port][/base]"; the port is 8000 when left out. */
typedef struct gpulet_url {
    char host[GPULET_URL_HOST_MAX + 1];
    char port[8];
    char base[GPULET_URL_BASE_MAX + 1]; /* "" or "/base", without a slash at its end */
    struct sockaddr_storage address;    /* after gpulet_url_resolve */
    socklen_t address_size;
} gpulet_url_t;

gpulet_status_t gpulet_url_parse(gpulet_url_t *out, const char *text,
                                 gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_url_resolve(gpulet_url_t *url, gpulet_error_t *err) GPULET_MUST_USE;
/* Appends a name, whatever is in it, as one segment of a path. */
void gpulet_url_append_segment(gpulet_buf_t *out, const char *name);

typedef struct gpulet_client gpulet_client_t;

typedef enum gpulet_client_step {
    GPULET_CLIENT_WAIT_READ,  /* call step again when the socket is readable */
    GPULET_CLIENT_WAIT_WRITE, /* … writable */
    GPULET_CLIENT_DONE,       /* the response is complete */
    GPULET_CLIENT_FAILED      /* the connection is dead: destroy it */
} gpulet_client_step_t;

/* Begins to connect. url must be resolved. */
gpulet_status_t gpulet_client_create(gpulet_client_t **out, const gpulet_url_t *url,
                                     gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_client_destroy(gpulet_client_t *client); /* NULL is fine */
int gpulet_client_fd(const gpulet_client_t *client);
/* Begins a request; parts (at most 4: head, body …) must stay until step says DONE or FAILED. */
gpulet_client_step_t gpulet_client_begin(gpulet_client_t *client, const struct iovec *parts,
                                         int parts_count);
gpulet_client_step_t gpulet_client_step(gpulet_client_t *client);
/* Of a complete response; valid until the next begin. */
int gpulet_client_status(const gpulet_client_t *client);
const char *gpulet_client_body(const gpulet_client_t *client, size_t *size);
/* Whether the server keeps the connection open. */
bool gpulet_client_reusable(const gpulet_client_t *client);
const char *gpulet_client_error(const gpulet_client_t *client);

/* One request on a connection of its own, waiting at most timeout_ms. *status_out is the HTTP
 * status; *body is appended to. */
gpulet_status_t gpulet_client_fetch(int *status_out, gpulet_buf_t *body, const gpulet_url_t *url,
                                    const char *method, const char *path, const char *content,
                                    size_t content_size, int timeout_ms,
                                    gpulet_error_t *err) GPULET_MUST_USE;

#endif
