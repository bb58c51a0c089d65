/* The fields of Triton's ModelConfig: names, kinds, which of them gpulet reads. Private to proto/.
 */
#ifndef GPULET_PROTO_PBTXT_SCHEMA_H
#define GPULET_PROTO_PBTXT_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum gpulet_pbtxt_kind {
    GPULET_PBTXT_KIND_STRING,
    GPULET_PBTXT_KIND_BOOL,
    GPULET_PBTXT_KIND_INT32,
    GPULET_PBTXT_KIND_INT64,
    GPULET_PBTXT_KIND_UINT32,
    GPULET_PBTXT_KIND_UINT64,
    GPULET_PBTXT_KIND_FLOAT,
    GPULET_PBTXT_KIND_ENUM,
    GPULET_PBTXT_KIND_MESSAGE
} gpulet_pbtxt_kind_t;

/* What gpulet does with a field. A message that is not used is checked and kept, and nothing in it
 * is used. */
typedef enum gpulet_pbtxt_use {
    GPULET_PBTXT_USE_NONE,
    GPULET_PBTXT_USE_INSIDE, /* a message whose fields are used */
    GPULET_PBTXT_USE_NAME,
    GPULET_PBTXT_USE_PLATFORM,
    GPULET_PBTXT_USE_BACKEND,
    GPULET_PBTXT_USE_DEFAULT_MODEL_FILENAME,
    GPULET_PBTXT_USE_MAX_BATCH_SIZE,
    GPULET_PBTXT_USE_INPUT,
    GPULET_PBTXT_USE_OUTPUT,
    GPULET_PBTXT_USE_IO_NAME,
    GPULET_PBTXT_USE_IO_TYPE,
    GPULET_PBTXT_USE_IO_DIMS,
    GPULET_PBTXT_USE_IO_RESHAPE,
    GPULET_PBTXT_USE_IO_RESHAPE_SHAPE,
    GPULET_PBTXT_USE_IO_OPTIONAL,
    GPULET_PBTXT_USE_IO_LABELS,
    GPULET_PBTXT_USE_VERSIONS_LATEST,
    GPULET_PBTXT_USE_VERSIONS_LATEST_COUNT,
    GPULET_PBTXT_USE_VERSIONS_ALL,
    GPULET_PBTXT_USE_VERSIONS_SPECIFIC,
    GPULET_PBTXT_USE_VERSIONS_SPECIFIC_VERSION,
    GPULET_PBTXT_USE_DYNAMIC_BATCHING,
    GPULET_PBTXT_USE_PRIORITY_LEVELS,
    GPULET_PBTXT_USE_DEFAULT_PRIORITY_LEVEL,
    GPULET_PBTXT_USE_TIMEOUT_ACTION,
    GPULET_PBTXT_USE_QUEUE_TIMEOUT,
    GPULET_PBTXT_USE_QUEUE_SIZE,
    GPULET_PBTXT_USE_PARAMETER,
    GPULET_PBTXT_USE_PARAMETER_KEY,
    GPULET_PBTXT_USE_PARAMETER_VALUE,
    GPULET_PBTXT_USE_ENSEMBLE,
    GPULET_PBTXT_USE_STEP,
    GPULET_PBTXT_USE_STEP_MODEL,
    GPULET_PBTXT_USE_STEP_VERSION,
    GPULET_PBTXT_USE_STEP_INPUT,
    GPULET_PBTXT_USE_STEP_OUTPUT,
    GPULET_PBTXT_USE_STEP_KEY,
    GPULET_PBTXT_USE_STEP_VALUE,
    GPULET_PBTXT_USE_WARMUP, /* a message that is kept as it stands, and its fields are used */
    GPULET_PBTXT_USE_WARMUP_INPUT
} gpulet_pbtxt_use_t;

/* What it means that a field is not used. */
typedef enum gpulet_pbtxt_loss {
    GPULET_PBTXT_LOSS_SMALL,
    GPULET_PBTXT_LOSS_GRAVE, /* answers are others, or clients have to talk in another way */
    GPULET_PBTXT_LOSS_GRAVE_IF_TRUE
} gpulet_pbtxt_loss_t;

/* Values are the positions, as every enum of ModelConfig counts from 0. */
typedef struct gpulet_pbtxt_enum {
    const char *name;
    const char *const *values;
    size_t values_count;
} gpulet_pbtxt_enum_t;

typedef struct gpulet_pbtxt_message gpulet_pbtxt_message_t;

typedef struct gpulet_pbtxt_field {
    const char *name;
    gpulet_pbtxt_kind_t kind;
    bool repeated;
    bool oneof; /* one of a group, of which there is at most one a message */
    gpulet_pbtxt_use_t use;
    const gpulet_pbtxt_enum_t *enumeration;
    const gpulet_pbtxt_message_t *message; /* of maps: the entry, with key and value */
    gpulet_pbtxt_loss_t loss;              /* of a field that is not used */
    const char *otherwise; /* of a field that is not used, in a message that is: the JSON shown when
                              it is not given, which is what holds anyway; NULL: it is not shown */
} gpulet_pbtxt_field_t;

struct gpulet_pbtxt_message {
    const char *name;
    const gpulet_pbtxt_field_t *fields;
    size_t fields_count; /* at most 64 */
};

extern const gpulet_pbtxt_message_t gpulet_pbtxt_model_config;

/* NULL when the message has no such field. */
const gpulet_pbtxt_field_t *gpulet_pbtxt_field_find(const gpulet_pbtxt_message_t *message,
                                                    const char *name, size_t name_len);

/* Whether what the field says is kept as it stands: it is not used, or it is used beside that. */
bool gpulet_pbtxt_field_is_kept(const gpulet_pbtxt_field_t *field);
/* Whether the field is a map: then JSON has an object in place of a list of entries. */
bool gpulet_pbtxt_field_is_map(const gpulet_pbtxt_field_t *field);

#endif
