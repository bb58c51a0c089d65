/* Parses protobuf's text format against a schema and hands the used fields to a sink. Private to
 * proto/. */
#ifndef GPULET_PROTO_PBTXT_PARSE_H
#define GPULET_PROTO_PBTXT_PARSE_H

#include "base/buf.h"
#include "base/status.h"
#include "core/kept.h"
#include "proto/pbtxt_lexer.h"
#include "proto/pbtxt_schema.h"

/* A scalar as its field's kind has it. */
typedef struct gpulet_pbtxt_value {
    gpulet_pbtxt_place_t place;
    bool boolean;
    int64_t number;   /* INT32, INT64, and the value of an ENUM */
    uint64_t natural; /* UINT32, UINT64 */
    const char *text; /* STRING: zero-terminated, UTF-8, no zero byte in it. FLOAT: as a number of
                         JSON, or null. Borrowed during the call */
    size_t text_size;
} gpulet_pbtxt_value_t;

/* Called for fields with a use, in the order of the text. */
typedef struct gpulet_pbtxt_sink {
    gpulet_status_t (*scalar)(void *context, const gpulet_pbtxt_field_t *field,
                              const gpulet_pbtxt_value_t *value);
    gpulet_status_t (*begin)(void *context, const gpulet_pbtxt_field_t *field,
                             gpulet_pbtxt_place_t place);
    gpulet_status_t (*end)(void *context, const gpulet_pbtxt_field_t *field,
                           gpulet_pbtxt_place_t place);
    void *context;
} gpulet_pbtxt_sink_t;

/* lexer stands at the first word of the document; message is its type. What has no use goes to
 * kept, a message. */
gpulet_status_t gpulet_pbtxt_parse_document(gpulet_pbtxt_lexer_t *lexer,
                                            const gpulet_pbtxt_message_t *message,
                                            const gpulet_pbtxt_sink_t *sink,
                                            gpulet_kept_t *kept) GPULET_MUST_USE;

#endif
