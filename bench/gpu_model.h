/* A model run by our engine on the GPU, for gpu_facts. Failures end the process, as in gpu_cuda.h.
 */
#ifndef GPULET_BENCH_GPU_MODEL_H
#define GPULET_BENCH_GPU_MODEL_H

#include <stdint.h>

#include "engine/engine.h"

typedef struct gpu_model {
    const gpulet_engine_ops_t *ops;
    gpulet_engine_t *engine;
    gpulet_engine_model_t *model;
    gpulet_tensor_view_t inputs[GPULET_MODEL_IO_MAX];
    gpulet_engine_output_t outputs[GPULET_MODEL_IO_MAX];
} gpu_model_t;

void gpu_engine_open(gpu_model_t *m);
/* FOLDER/NAME/1/model.onnx; stream may be NULL. The time it took, in ms. */
double gpu_model_load(gpu_model_t *m, const char *folder, const char *name, void *stream);
void gpu_model_unload(gpu_model_t *m);
/* Time of one run in ms. */
double gpu_model_run(gpu_model_t *m, int64_t batch);
/* Median of runs after some that do not count. */
double gpu_model_measure(gpu_model_t *m, int64_t batch, double seconds);

#endif
