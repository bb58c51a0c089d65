/* gzip and deflate (zlib's format) of bodies. A decoder or encoder belongs to one loop. */
#ifndef GPULET_NET_CODING_H
#define GPULET_NET_CODING_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/status.h"
#include "net/http1.h"

typedef struct gpulet_inflater gpulet_inflater_t;

/* coding: gzip or deflate. Caller destroys. */
gpulet_status_t gpulet_inflater_create(gpulet_inflater_t **out,
                                       gpulet_http1_coding_t coding) GPULET_MUST_USE;
void gpulet_inflater_destroy(gpulet_inflater_t *inflater);
/* Appends what data decodes to. E_INVALID when it is no such coding, E_TOO_LARGE as soon as out
 * would pass size_max bytes: memory stays bounded by that, whatever was sent. */
gpulet_status_t gpulet_inflater_feed(gpulet_inflater_t *inflater, gpulet_buf_t *out,
                                     size_t size_max, const char *data,
                                     size_t size) GPULET_MUST_USE;
/* Whether the coding ended where the input did. */
bool gpulet_inflater_ended(const gpulet_inflater_t *inflater);

typedef struct gpulet_deflater gpulet_deflater_t;

/* Caller destroys. One a server: its window is 256 KiB. */
gpulet_status_t gpulet_deflater_create(gpulet_deflater_t **out,
                                       gpulet_http1_coding_t coding) GPULET_MUST_USE;
void gpulet_deflater_destroy(gpulet_deflater_t *deflater);
/* Appends the coded form of all parts together. */
gpulet_status_t gpulet_deflater_run(gpulet_deflater_t *deflater, gpulet_buf_t *out,
                                    const struct iovec *parts, size_t parts_count) GPULET_MUST_USE;

/* What an Accept-Encoding field asks for (zero-terminated): gzip, deflate or identity; the higher
 * weight wins, gzip in a tie. */
gpulet_http1_coding_t gpulet_coding_accepted(const char *accept_encoding);

#endif
