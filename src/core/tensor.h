/* Tensors as values: datatypes, shapes, specifications.
 *
 * Names and numbers are those of the Open Inference Protocol v2 (datatypes "FP32", "INT64",
 * "BYTES", …). Bytes are little-endian, row-major, without padding; a BYTES element is a uint32
 * length followed by that many bytes; a BOOL is one byte. Thread-safe: no state. */
#ifndef GPULET_CORE_TENSOR_H
#define GPULET_CORE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* X(name, size of an element in bytes, 0 for BYTES; ONNX element type). */
#define GPULET_DATATYPE_MAP(X)                                                                     \
    X(BOOL, 1, 9)                                                                                  \
    X(UINT8, 1, 2)                                                                                 \
    X(UINT16, 2, 4)                                                                                \
    X(UINT32, 4, 12)                                                                               \
    X(UINT64, 8, 13)                                                                               \
    X(INT8, 1, 3)                                                                                  \
    X(INT16, 2, 5)                                                                                 \
    X(INT32, 4, 6)                                                                                 \
    X(INT64, 8, 7)                                                                                 \
    X(FP16, 2, 10)                                                                                 \
    X(FP32, 4, 1)                                                                                  \
    X(FP64, 8, 11)                                                                                 \
    X(BYTES, 0, 8)                                                                                 \
    X(BF16, 2, 16)

typedef enum gpulet_datatype {
    GPULET_DATATYPE_INVALID = 0,
#define GPULET_DATATYPE_ENUM(name, size, onnx) GPULET_DATATYPE_##name,
    GPULET_DATATYPE_MAP(GPULET_DATATYPE_ENUM)
#undef GPULET_DATATYPE_ENUM
        GPULET_DATATYPE_COUNT
} gpulet_datatype_t;

/* "FP32"; "INVALID" for a value outside the table. */
const char *gpulet_datatype_name(gpulet_datatype_t type);
/* GPULET_DATATYPE_INVALID when the name is not in the table. */
gpulet_datatype_t gpulet_datatype_parse(const char *name, size_t name_len);
/* Bytes of one element; 0 for BYTES and INVALID. */
size_t gpulet_datatype_size(gpulet_datatype_t type);
/* From and to the ONNX element type (TensorProto.DataType); INVALID, or 0, when there is none. */
gpulet_datatype_t gpulet_datatype_from_onnx(int onnx_type);
int gpulet_datatype_to_onnx(gpulet_datatype_t type);

enum { GPULET_RANK_MAX = 8, GPULET_TENSOR_NAME_MAX = 255, GPULET_MODEL_IO_MAX = 64 };

/* A shape; in a specification a dimension of -1 may be any size. */
typedef struct gpulet_shape {
    uint32_t rank;
    int64_t dims[GPULET_RANK_MAX];
} gpulet_shape_t;

bool gpulet_shape_equal(const gpulet_shape_t *a, const gpulet_shape_t *b);
/* Whether shape fits spec: equal rank, and each dimension equal or the specification's is -1. */
bool gpulet_shape_matches(const gpulet_shape_t *spec, const gpulet_shape_t *shape);
/* Product of the dimensions (1 for rank 0). E_INVALID on a negative dimension, E_TOO_LARGE on
 * overflow of int64. */
gpulet_status_t gpulet_shape_elements(uint64_t *out, const gpulet_shape_t *shape) GPULET_MUST_USE;
/* "[1,-1,16]" into text; always terminated. Returns text. */
const char *gpulet_shape_format(char *text, size_t text_size, const gpulet_shape_t *shape);

/* What a model expects of one input or output: the FULL shape as the engine sees it, batch
 * dimension included. */
typedef struct gpulet_tensor_spec {
    char name[GPULET_TENSOR_NAME_MAX + 1];
    gpulet_datatype_t type;
    gpulet_shape_t shape;
} gpulet_tensor_spec_t;

/* Inputs and outputs of a model as its file (or its engine session) declares them. */
typedef struct gpulet_model_io {
    uint32_t inputs_count;
    uint32_t outputs_count;
    gpulet_tensor_spec_t *inputs;  /* owned */
    gpulet_tensor_spec_t *outputs; /* owned */
} gpulet_model_io_t;

/* Copies what it points to as well. E_NOMEM: out is empty. The caller deinits the copy. */
gpulet_status_t gpulet_model_io_copy(gpulet_model_io_t *out,
                                     const gpulet_model_io_t *io) GPULET_MUST_USE;
/* Frees what io owns and clears it. A zeroed io is fine. */
void gpulet_model_io_deinit(gpulet_model_io_t *io);

/* Bytes somebody else owns, read as one tensor. data holds exactly size bytes of OIP's
 * little-endian layout. */
typedef struct gpulet_tensor_view {
    gpulet_datatype_t type;
    gpulet_shape_t shape;
    void *data;
    size_t size;
} gpulet_tensor_view_t;

#endif
