/* The Open Inference Protocol v2 in JSON and with binary tensors (docs/protocol.md), without
 * I/O: bytes in, values out.
 *
 * A request is read in three steps, so that tensor bytes are written once, straight to where the
 * engine will read them:
 *   1. gpulet_oip_request_parse reads the JSON part and remembers where each input's data stands in
 * it;
 *   2. gpulet_oip_request_check holds it against the model: names, datatypes, shapes, batch size,
 * byte sizes;
 *   3. gpulet_oip_data_decode turns one input's JSON "data" into the little-endian bytes of its
 * tensor; binary inputs are just bytes that follow the JSON part, in the order of the inputs that
 * carry binary_data_size. Everything borrowed points into the caller's JSON text. Error texts are
 * the ones Triton's clients match on. Thread-safe: no state. */
#ifndef GPULET_PROTO_OIP_H
#define GPULET_PROTO_OIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "core/model_config.h"
#include "core/tensor.h"

typedef struct gpulet_oip_limits {
    uint32_t depth_max;   /* nesting of JSON, default 32 */
    uint32_t tensors_max; /* inputs, and outputs, default GPULET_MODEL_IO_MAX */
} gpulet_oip_limits_t;

#define GPULET_OIP_LIMITS_DEFAULT                                                                  \
    {                                                                                              \
        32, GPULET_MODEL_IO_MAX                                                                    \
    }

enum { GPULET_OIP_ID_MAX = 255 };

typedef struct gpulet_oip_input {
    char name[GPULET_TENSOR_NAME_MAX + 1];
    gpulet_datatype_t type;
    gpulet_shape_t shape;
    bool binary; /* parameters.binary_data_size was there, or goes without saying */
    uint64_t binary_size;
    const char *
        json_data; /* the text of the "data" array, brackets included; NULL when absent; borrowed */
    size_t json_data_size;
} gpulet_oip_input_t;

typedef struct gpulet_oip_output {
    char name[GPULET_TENSOR_NAME_MAX + 1];
    bool binary_given;
    bool binary;
    uint32_t classification; /* 0: the tensor itself */
} gpulet_oip_output_t;

typedef struct gpulet_oip_request {
    char id[GPULET_OIP_ID_MAX + 1]; /* "" when absent; a longer one is an error */
    bool priority_given;
    uint64_t priority;   /* wire value: 1 is highest, 0 the model's default */
    uint64_t timeout_us; /* 0: none */
    bool binary_data_output;
    uint32_t inputs_count;
    uint32_t outputs_count;       /* 0: all outputs */
    gpulet_oip_input_t *inputs;   /* owned */
    gpulet_oip_output_t *outputs; /* owned */
} gpulet_oip_request_t;

/* Strict JSON (RFC 8259, UTF-8 checked, duplicate keys of one object refused). json need not be
 * zero-terminated. On failure nothing is owned by *out. Inputs or outputs in shared memory are
 * E_INVALID ("shared memory is not supported"); sequence parameters E_UNSUPPORTED; parameter keys
 * starting with "triton_" E_INVALID; other parameters are checked to be scalars and ignored. */
gpulet_status_t gpulet_oip_request_parse(gpulet_oip_request_t *out, const char *json,
                                         size_t json_size, const gpulet_oip_limits_t *limits,
                                         gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_oip_request_deinit(gpulet_oip_request_t *request);
/* tail_size: bytes that follow the JSON part. A single input that says nothing of its data has them
 * all; to be called before the check. */
void gpulet_oip_request_take_tail(gpulet_oip_request_t *request, uint64_t tail_size);

/* What stands where once a request has been held against its model. Index i is the model's input i.
 */
typedef struct gpulet_oip_layout {
    uint32_t items;                              /* batch dimension; 1 for a model without one */
    uint32_t inputs_count;                       /* the model's */
    uint32_t request_input[GPULET_MODEL_IO_MAX]; /* index into request->inputs; UINT32_MAX: an
                                                    absent optional input */
    gpulet_shape_t engine_shape[GPULET_MODEL_IO_MAX]; /* as the engine sees it, batch dimension
                                                         included, reshape applied */
    uint64_t bytes[GPULET_MODEL_IO_MAX];  /* of the tensor; for BYTES from JSON or binary: its
                                             serialised size */
    uint64_t binary_total;                /* bytes that must follow the JSON part */
    uint32_t outputs_count;               /* wanted; in the order they are to be answered */
    uint32_t output[GPULET_MODEL_IO_MAX]; /* the model's output index */
    bool output_binary[GPULET_MODEL_IO_MAX];
    uint32_t output_classification[GPULET_MODEL_IO_MAX];
} gpulet_oip_layout_t;

/* Checks names, datatypes, shapes, equal batch sizes, items ≤ max_batch_size, byte sizes, FP16/BF16
 * only as binary, and that each input has data of exactly one kind. config must be complete. For
 * JSON data the number and kind of elements is checked by decoding. */
gpulet_status_t gpulet_oip_request_check(gpulet_oip_layout_t *out,
                                         const gpulet_oip_request_t *request,
                                         const gpulet_model_config_t *config,
                                         gpulet_error_t *err) GPULET_MUST_USE;

/* Bytes that the "data" array of a BYTES input takes when serialised (4 a string plus its bytes
 * after unescaping). */
gpulet_status_t gpulet_oip_data_bytes_size(uint64_t *out, const char *json_data,
                                           size_t json_data_size,
                                           gpulet_error_t *err) GPULET_MUST_USE;
/* Decodes a nested or flat "data" array of exactly `elements` elements into dst[0..dst_size).
 * Numbers must fit the datatype (an integer type refuses fractions and overflow, with the value
 * named); BOOL takes true/false and 0/1; BYTES takes strings. */
gpulet_status_t gpulet_oip_data_decode(void *dst, size_t dst_size, const gpulet_oip_input_t *input,
                                       uint64_t elements, const char *model,
                                       gpulet_error_t *err) GPULET_MUST_USE;
/* Checks that size bytes are exactly `elements` serialised BYTES elements (lengths that lie are
 * E_INVALID). */
gpulet_status_t gpulet_oip_bytes_check(const void *data, size_t size, uint64_t elements,
                                       const char *input_name, const char *model,
                                       gpulet_error_t *err) GPULET_MUST_USE;

/* One answered tensor: full shape as the client sees it. */
typedef struct gpulet_oip_answer {
    const char *name;
    gpulet_tensor_view_t tensor;
    bool binary;
} gpulet_oip_answer_t;

/* Writes the JSON part of a response (id left out when ""). Binary answers get
 * parameters.binary_data_size and no data, and their bytes must follow in the same order;
 * *binary_any tells whether there is one. FP16/BF16 in JSON is E_INVALID. Floats are written so
 * that they read back to the same bits; NaN and infinities, which JSON has not, as null. */
gpulet_status_t gpulet_oip_response_write(gpulet_buf_t *out, bool *binary_any, const char *model,
                                          const char *version, const char *id,
                                          const gpulet_oip_answer_t *answers,
                                          uint32_t answers_count,
                                          gpulet_error_t *err) GPULET_MUST_USE;
/* The classification extension: BYTES elements "value:index[:label]" of the k largest of each row;
 * labels may be NULL. Appends the serialised elements to out and gives the shape [rows, k] ([k]
 * when rows_dim is false). */
gpulet_status_t gpulet_oip_classify(gpulet_buf_t *out, gpulet_shape_t *shape,
                                    const gpulet_tensor_view_t *tensor, bool rows_dim, uint32_t k,
                                    const char *const *labels, size_t labels_count,
                                    gpulet_error_t *err) GPULET_MUST_USE;

/* {"error":"…"} */
void gpulet_oip_error_write(gpulet_buf_t *out, const char *text);
/* Model metadata JSON: a leading -1 is put before dims when max_batch_size ≥ 1. */
gpulet_status_t gpulet_oip_metadata_write(gpulet_buf_t *out, const gpulet_model_config_t *config,
                                          const int64_t *versions,
                                          size_t versions_count) GPULET_MUST_USE;
/* Model configuration JSON with Triton's field names, as perf_analyzer reads it (docs/protocol.md).
 */
gpulet_status_t gpulet_oip_config_write(gpulet_buf_t *out,
                                        const gpulet_model_config_t *config) GPULET_MUST_USE;

/* Appends text as a JSON string with its quotes; invalid UTF-8 becomes U+FFFD. */
void gpulet_json_string(gpulet_buf_t *out, const char *text, size_t size);

#endif
