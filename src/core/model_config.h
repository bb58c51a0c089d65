/* The configuration of one model: what config.pbtxt says, completed from the model file
 * (docs/serving.md). A plain value, immutable once complete. */
#ifndef GPULET_CORE_MODEL_CONFIG_H
#define GPULET_CORE_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/app.h"
#include "core/kept.h"
#include "core/tensor.h"

enum { GPULET_MODEL_NAME_MAX = 255, GPULET_MODEL_BATCH_LIMIT = 1024 };

/* What a user wrote for one input or output. dims never hold the batch dimension when
 * max_batch_size ≥ 1. */
typedef struct gpulet_config_io {
    char name[GPULET_TENSOR_NAME_MAX + 1];
    gpulet_datatype_t type;
    gpulet_shape_t dims;
    bool reshape_given;
    gpulet_shape_t reshape; /* the shape the engine sees, batch dimension left out */
    bool optional;
    char label_filename[256]; /* outputs: classification labels, "" for none */
} gpulet_config_io_t;

typedef struct gpulet_config_parameter {
    char *key;   /* owned */
    char *value; /* owned */
} gpulet_config_parameter_t;

typedef struct gpulet_model_config {
    char name[GPULET_MODEL_NAME_MAX + 1]; /* "" when the file does not say */
    char platform[64];
    char backend[64];
    char default_model_filename[256]; /* "" : model.onnx */
    bool max_batch_size_given;
    int32_t max_batch_size; /* 0: the model has no batch dimension of its own */
    size_t inputs_count;
    gpulet_config_io_t *inputs; /* owned */
    size_t outputs_count;
    gpulet_config_io_t *outputs; /* owned */

    /* version_policy: exactly one of these rules; default latest 1 */
    enum { GPULET_VERSIONS_LATEST, GPULET_VERSIONS_ALL, GPULET_VERSIONS_SPECIFIC } version_policy;
    uint32_t versions_latest;
    size_t versions_count;
    int64_t *versions; /* owned; specific */

    size_t warmup_count;
    gpulet_config_io_t *warmup; /* owned; model_warmup: by an input's name, in the first sample that
                                   has it, its dims when the model is tried and measured; no -1 in
                                   them. Types may be INVALID: not said */

    bool dynamic_batching;           /* the block is there */
    uint32_t priority_levels;        /* 0: none */
    uint32_t default_priority_level; /* 0: none */
    uint32_t max_queue_size;         /* default_queue_policy; 0: no limit of its own */
    uint64_t default_timeout_us;     /* default_queue_policy; 0: none */
    bool timeout_delay;              /* default_queue_policy; timeout_action is DELAY */

    gpulet_app_t *app; /* owned; of an ensemble: the graph of its steps; NULL: it is one
                          model. Named as the configuration, with its slo_ms and rate_rps */

    size_t parameters_count;
    gpulet_config_parameter_t *parameters; /* owned; all of them, ours included */

    /* Read from `parameters`; an unparsable value is an error of the parser, with line and column.
     */
    double slo_ms;     /* 0: best effort */
    double rate_rps;   /* 0: not given */
    uint32_t priority; /* parameter "priority": 0 is highest, as in the workload; by default what
                          default_priority_level says, whose highest is 1, else 0 */
    bool late_serve;   /* parameter "late": "serve" | "drop"; by default timeout_delay */

    gpulet_kept_t *kept; /* owned; what it says beyond all of this; NULL: nothing. Its inputs and
                            outputs are those given, in the same order */
} gpulet_model_config_t;

void gpulet_model_config_deinit(gpulet_model_config_t *config);
/* NULL when there is none. */
const char *gpulet_model_config_parameter(const gpulet_model_config_t *config, const char *key);

/* Whether it lists inputs or outputs at all. */
bool gpulet_model_config_lists_tensors(const gpulet_model_config_t *config);
/* What the model takes and gives by its configuration alone, where no model file says it: then each
 * side must be listed, with datatypes and dims. Errors name the field. The caller deinits out. */
gpulet_status_t gpulet_model_config_describe(gpulet_model_io_t *out,
                                             const gpulet_model_config_t *config,
                                             gpulet_error_t *err) GPULET_MUST_USE;
/* Gives dynamic dimensions of the outputs the sizes that the configuration, which is complete,
 * says.
 */
void gpulet_model_config_narrow(gpulet_model_io_t *io, const gpulet_model_config_t *config);

/* Completes and checks the configuration against what the model file declares (Triton's
 * auto-complete for ONNX): inputs and outputs that are absent are taken from io; those given must
 * exist there with the same datatype and fitting dims; max_batch_size, when not given, is
 * batch_max_default if every input and output has a dynamic (-1) first dimension, 1 … N if all have
 * the same fixed first dimension N > 1 (the worker pads; then max_batch_size = N), else 0. Errors
 * name the field. */
gpulet_status_t gpulet_model_config_complete(gpulet_model_config_t *config,
                                             const gpulet_model_io_t *io,
                                             uint32_t batch_max_default,
                                             gpulet_error_t *err) GPULET_MUST_USE;

/* The shape that the engine sees of a tensor that a client sends with `shape`, both FULL: the
 * unknown dimensions of a reshape are, in their order, those of the dims. lead: 1 when there is a
 * batch dimension, else 0. E_TOO_LARGE: over GPULET_RANK_MAX dimensions. */
gpulet_status_t gpulet_config_io_engine_shape(gpulet_shape_t *out, const gpulet_config_io_t *io,
                                              const gpulet_shape_t *shape,
                                              uint32_t lead) GPULET_MUST_USE;

/* The inputs that model_warmup names and that may have any size by io, which the configuration was
 * completed from: with the FULL shape that the engine is to see of them when the model is tried and
 * measured, a batch dimension being -1; no outputs. The caller ends with gpulet_model_io_deinit.
 * E_NOMEM. */
gpulet_status_t gpulet_model_config_warmup(gpulet_model_io_t *out,
                                           const gpulet_model_config_t *config,
                                           const gpulet_model_io_t *io) GPULET_MUST_USE;

#endif
