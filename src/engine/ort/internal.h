/* Inside of the ONNX Runtime engine: what its files share. */
#ifndef GPULET_ENGINE_ORT_INTERNAL_H
#define GPULET_ENGINE_ORT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/tensor.h"
#include "engine/engine.h"
#include "engine/ort/api.h"

/* Counted, because a load that was given up still uses the environment from its own thread. */
typedef struct ort_engine {
    const gpulet_engine_ops_t *ops; /* first, see engine.h */
    atomic_uint references;         /* the owner's, and one for each session being created */
    gpulet_ort_api_t api;
    char version[GPULET_ORT_VERSION_MAX];
    ort_env_t *env;
    ort_memory_info_t *memory;  /* describes the caller's memory */
    ort_allocator_t *allocator; /* the library's own, never released */
} ort_engine_t;

typedef struct ort_model {
    const gpulet_engine_ops_t *ops; /* first, see engine.h */
    ort_engine_t *engine;           /* borrowed: a model goes before its engine */
    ort_session_t *session;
    bool on_gpu;
    gpulet_model_io_t io;
    const char *input_names[GPULET_MODEL_IO_MAX];  /* into io */
    const char *output_names[GPULET_MODEL_IO_MAX]; /* into io */
    ort_value_t *inputs[GPULET_MODEL_IO_MAX];      /* of the run in progress */
    ort_value_t *outputs[GPULET_MODEL_IO_MAX];     /* of the run in progress */
    /* Outputs whose shape was not what the caller expected: the library allocates them from then
     * on, since it finds out only after all the work is done. */
    bool allocates[GPULET_MODEL_IO_MAX];
    ort_run_options_t *options;
    ort_run_options_t *options_trim; /* the same, and gives the arena's memory back after the run */
    atomic_bool trim_wanted;

    pthread_mutex_t lock; /* the next two, against terminate() from another thread */
    ort_run_options_t *running;
    bool cancelled;
} ort_model_t;

/* ---- ort.c ---- */
void gpulet_ort_engine_ref(ort_engine_t *engine);
void gpulet_ort_engine_unref(ort_engine_t *engine); /* the last one closes it */

/* ---- load.c ---- */
gpulet_status_t gpulet_ort_load(gpulet_engine_model_t **out, gpulet_engine_t *engine,
                                const gpulet_engine_load_options_t *options, gpulet_error_t *err);
void gpulet_ort_unload(gpulet_engine_model_t *model);
gpulet_status_t gpulet_ort_prepare(gpulet_engine_t *engine,
                                   const gpulet_engine_load_options_t *options, const char *folder,
                                   gpulet_error_t *err);

/* ---- run.c ---- */
gpulet_status_t gpulet_ort_run(gpulet_engine_model_t *model, const gpulet_tensor_view_t *inputs,
                               gpulet_engine_output_t *outputs, gpulet_error_t *err);
void gpulet_ort_output_release(gpulet_engine_model_t *model, gpulet_engine_output_t *output);
void gpulet_ort_terminate(gpulet_engine_model_t *model);
void gpulet_ort_trim(gpulet_engine_model_t *model);

/* ---- strings.c: BYTES tensors, which the library keeps as objects of its own ---- */
/* A string tensor of the elements of input, which was checked. Any bytes may be in a string. */
gpulet_status_t gpulet_ort_strings_in(ort_value_t **out, const ort_engine_t *engine,
                                      const gpulet_tensor_view_t *input,
                                      gpulet_error_t *err) GPULET_MUST_USE;
/* The `elements` strings of value, serialised into memory that the caller frees. */
gpulet_status_t gpulet_ort_strings_out(void **data_out, size_t *size_out,
                                       const ort_engine_t *engine, const ort_value_t *value,
                                       uint64_t elements, gpulet_error_t *err) GPULET_MUST_USE;

#endif
