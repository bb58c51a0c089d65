/* Reads what an ONNX file declares of its inputs and outputs, without loading it: only the
 * protobuf's own framing is walked, so a file of a gigabyte that is mapped into memory costs a few
 * page faults. Thread-safe: no state. */
#ifndef GPULET_PROTO_ONNX_FILE_H
#define GPULET_PROTO_ONNX_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/tensor.h"

typedef struct gpulet_onnx_info {
    int64_t ir_version;
    int64_t opset; /* of the default domain */
    gpulet_model_io_t io;
} gpulet_onnx_info_t;

/* data[0..size) is the file. Inputs that are also initialisers are left out. Symbolic and unknown
 * dimensions are -1; an output whose rank is not declared has rank 0 and type as declared.
 * E_INVALID with an offset when the bytes are no ONNX model, E_UNSUPPORTED when an input is no
 * tensor or of a datatype that gpulet has not. Caller deinits out->io. */
gpulet_status_t gpulet_onnx_read(gpulet_onnx_info_t *out, const void *data, size_t size,
                                 gpulet_error_t *err) GPULET_MUST_USE;

#endif
