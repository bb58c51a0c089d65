/* Writes small ONNX models for tests: just enough of the protobuf format to make what a test needs,
 * also what is wrong on purpose.
 *
 * Build one with create, input/output/initializer/node, then write; every call copies what it is
 * given. Or take a ready-made one from the end of this file. Lists of names and dimensions are
 * texts with commas: "A,B", "N,3,224" (a dimension that is no number is symbolic); "" is a scalar
 * and NULL leaves the shape undeclared. Element types are ONNX numbers: 1 FP32, 7 INT64, 8 string …
 *
 * Programs link it by listing tests/support/onnx_writer.c among their sources, and gpulet_base.
 * Failures abort: it is a test's tool. */
#ifndef GPULET_TEST_ONNX_WRITER_H
#define GPULET_TEST_ONNX_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

typedef struct gpulet_test_onnx {
    int64_t ir_version; /* 8; may be changed */
    int64_t opset;      /* 13; may be changed */
    gpulet_buf_t graph;
    gpulet_buf_t imports; /* of domains beside the standard one */
} gpulet_test_onnx_t;

gpulet_test_onnx_t *gpulet_test_onnx_create(void);
void gpulet_test_onnx_destroy(gpulet_test_onnx_t *m);
void gpulet_test_onnx_input(gpulet_test_onnx_t *m, const char *name, int type, const char *dims);
void gpulet_test_onnx_output(gpulet_test_onnx_t *m, const char *name, int type, const char *dims);
/* An input that is a sequence of tensors. */
void gpulet_test_onnx_input_sequence(gpulet_test_onnx_t *m, const char *name, int type);
void gpulet_test_onnx_initializer(gpulet_test_onnx_t *m, const char *name, int type,
                                  const char *dims, const void *data, size_t size);
/* Its bytes are in the file `location`, as read from the model's folder. */
void gpulet_test_onnx_initializer_external(gpulet_test_onnx_t *m, const char *name, int type,
                                           const char *dims, const char *location);
/* domain "" is the standard one. */
void gpulet_test_onnx_node(gpulet_test_onnx_t *m, const char *op, const char *domain,
                           const char *inputs, const char *outputs);
/* The same with one integer attribute. */
void gpulet_test_onnx_node_int(gpulet_test_onnx_t *m, const char *op, const char *inputs,
                               const char *outputs, const char *attribute, int64_t value);
/* The file's bytes, appended to out; and to a file. */
void gpulet_test_onnx_bytes(gpulet_buf_t *out, const gpulet_test_onnx_t *m);
void gpulet_test_onnx_write(const gpulet_test_onnx_t *m, const char *path);

/* ---- ready-made, each written to path ---- */

/* INPUT0 -> OUTPUT0, equal. */
void gpulet_test_onnx_identity(const char *path, int type, const char *dims);
/* INPUT0, INPUT1 FP32 -> OUTPUT0 = INPUT0 + INPUT1, OUTPUT1 = INPUT0 - INPUT1. */
void gpulet_test_onnx_add_sub(const char *path, const char *dims);
/* INPUT0 FP32 [N,width] times the same [width,width] matrix, `count` times -> OUTPUT0. The matrix
 * swaps neighbours: with an even count the output equals the input. width is even. */
void gpulet_test_onnx_matmul_chain(const char *path, uint32_t width, uint32_t count);
/* INPUT0 FP32 [N] -> OUTPUT0 INT64 [1,M]: the indices of what is not zero, so the shape is known
 * only after the run. */
void gpulet_test_onnx_non_zero(const char *path);
/* One node of an operator that does not exist, in domain. */
void gpulet_test_onnx_unknown_op(const char *path, const char *domain);

#endif
