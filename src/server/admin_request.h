/* What requests for administration say (docs/protocol.md "Administration"), read from their bytes.
 * Pure. Errors are E_INVALID and name the field. */
#ifndef GPULET_SERVER_ADMIN_REQUEST_H
#define GPULET_SERVER_ADMIN_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct server_replan_request {
    bool force; /* default false */
    bool wait;  /* default true */
} server_replan_request_t;

typedef struct server_pin {
    char *model;     /* owned */
    double rate_rps; /* ≥ 0; NAN: not pinned any more */
} server_pin_t;

/* The number under a name of "a=1&b=2"; left alone when the name is not there. */
gpulet_status_t server_admin_query_u64(uint64_t *out, const char *query, const char *name,
                                       gpulet_error_t *err) GPULET_MUST_USE;
/* An empty body is an empty object. */
gpulet_status_t server_admin_parse_replan(server_replan_request_t *out, const char *body,
                                          size_t size, gpulet_error_t *err) GPULET_MUST_USE;
/* Each model once, in the order of the body. Caller frees with server_admin_pins_free. */
gpulet_status_t server_admin_parse_pins(server_pin_t **out, size_t *count, const char *body,
                                        size_t size, gpulet_error_t *err) GPULET_MUST_USE;
void server_admin_pins_free(server_pin_t *pins, size_t count); /* NULL is fine */

#endif
