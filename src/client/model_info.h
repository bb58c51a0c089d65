/* What a server says of a model (GET /v2/models/M), and a made-up request for it. */
#ifndef GPULET_CLIENT_MODEL_INFO_H
#define GPULET_CLIENT_MODEL_INFO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/rng.h"
#include "base/status.h"
#include "client/http_client.h"
#include "core/tensor.h"

typedef struct gpulet_model_info {
    char name[256];
    gpulet_model_io_t io; /* shapes as the protocol shows them; -1 may be any size */
} gpulet_model_info_t;

gpulet_status_t gpulet_model_info_fetch(gpulet_model_info_t *out, const gpulet_url_t *url,
                                        const char *model, gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_model_info_deinit(gpulet_model_info_t *info);

/* How dimensions of -1 are filled in: the first is the batch, the others `dim`, unless a shape is
 * given by the input's name as "NAME:1,3,48,320" (batch included), several separated by ';'. */
typedef struct gpulet_request_shape {
    uint32_t batch;
    int64_t dim;
    const char *shapes; /* NULL: none */
} gpulet_request_shape_t;

/* The whole HTTP request (head and body) with random data: floats in [0,1), small whole numbers,
 * short strings. */
gpulet_status_t gpulet_request_make(gpulet_buf_t *out, const gpulet_model_info_t *info,
                                    const gpulet_url_t *url, const gpulet_request_shape_t *shape,
                                    bool binary, gpulet_rng_t *rng,
                                    gpulet_error_t *err) GPULET_MUST_USE;

#endif
