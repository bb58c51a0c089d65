/* The ONNX Runtime engine: the entry of its table of functions. Everything else of it is in
 * engine/ort/api.h and engine/ort/internal.h. */
#ifndef GPULET_ENGINE_ORT_ORT_H
#define GPULET_ENGINE_ORT_ORT_H

#include "engine/engine.h"

extern const gpulet_engine_ops_t gpulet_engine_ort;

#endif
