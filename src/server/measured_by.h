/* What measured latencies depend on besides the model's file, the device's type and the gpu-let:
 * the engine's library, and for models on CPU cores the processor. */
#ifndef GPULET_SERVER_MEASURED_BY_H
#define GPULET_SERVER_MEASURED_BY_H

#include "device/backend.h"

enum { GPULET_MEASURED_BY_MAX = 79 };

/* A name for it, by which the store tells measurements apart: the engine's, then for ONNX Runtime a
 * key of its library's file name and size and, with the cpu backend, of the processor's name. A
 * library that is not found is as any other. ort_library as in the settings, NULL: searched. */
void gpulet_measured_by(char out[GPULET_MEASURED_BY_MAX + 1], const char *engine,
                        const char *ort_library, const char *backend);

#endif
