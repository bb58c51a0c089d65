/* Objects of JSON into structures, by tables. Private to live*.c. */
#ifndef GPULET_VIEW_LIVE_READ_H
#define GPULET_VIEW_LIVE_READ_H

#include <stddef.h>

#include <jansson.h>

#include "base/status.h"

typedef enum live_kind {
    LIVE_TEXT,   /* const char *, borrowed from the document; "" when it is not there */
    LIVE_NUMBER, /* double; NAN when it is not there or null */
    LIVE_COUNT,  /* double; 0 when it is not there */
    LIVE_BOOL    /* bool; false when it is not there */
} live_kind_t;

typedef struct live_field {
    const char *key;
    live_kind_t kind;
    size_t offset;
    int required; /* a reader is nothing without it; others are left out when of another kind */
} live_field_t;

/* The table ends with a NULL key. `where` stands in errors: "status: models[3]". */
gpulet_status_t live_read_object(void *out, const json_t *object, const live_field_t *fields,
                                 const char *where, gpulet_error_t *err) GPULET_MUST_USE;
/* The array object[key], which must be there and not be too long. */
gpulet_status_t live_read_list(const json_t **out, size_t *count, const json_t *object,
                               const char *key, const char *where,
                               gpulet_error_t *err) GPULET_MUST_USE;
/* The document, an object; json_decref when done. */
gpulet_status_t live_read_document(json_t **out, const char *text, size_t size, const char *what,
                                   gpulet_error_t *err) GPULET_MUST_USE;

#endif
