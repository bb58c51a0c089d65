/* What measured latencies depend on besides the model's file, the device's type and the gpu-let:
 * the engine's library, for models on CPU cores the processor, and the shapes of inputs that may
 * have any. */
#ifndef GPULET_SERVER_MEASURED_BY_H
#define GPULET_SERVER_MEASURED_BY_H

#include "core/tensor.h"
#include "device/backend.h"

enum { GPULET_MEASURED_BY_MAX = 127 };

/* A name for it, by which the store tells measurements apart: the engine's, then for ONNX Runtime a
 * key of its library's file name and size and, with the cpu backend, of the processor's name. A
 * library that is not found is as any other. ort_library as in the settings, NULL: searched. */
void gpulet_measured_by(char out[GPULET_MEASURED_BY_MAX + 1], const char *engine,
                        const char *ort_library, const char *backend);
/* The same for a model whose inputs are made up in certain shapes, and, other not NULL, measured
 * beside such a one; measured_by itself when nothing is said of either
 * (gpulet_model_config_warmup).
 */
void gpulet_measured_by_shapes(char out[GPULET_MEASURED_BY_MAX + 1], const char *measured_by,
                               const gpulet_model_io_t *warmup, const gpulet_model_io_t *other);

#endif
