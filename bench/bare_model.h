/* A model in the same process: loaded from a repository folder, run on a gathered batch of
 * requests.
 *
 * The yardstick's half of what gpuletd does in its workers, with nothing in between. One thread. */
#ifndef GPULET_BENCH_BARE_MODEL_H
#define GPULET_BENCH_BARE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "core/tensor.h"
#include "engine/engine.h"

enum { GPULET_BARE_BATCH_MAX = 64, GPULET_BARE_TENSORS_MAX = 8 };

typedef struct gpulet_bare_model {
    char name[256];
    char version[24];
    const gpulet_engine_ops_t *ops;
    gpulet_engine_model_t *engine_model;
    const gpulet_model_io_t *io;
    bool batchable; /* every first dimension is dynamic, all others are fixed */
    void *input_memory[GPULET_BARE_TENSORS_MAX]; /* gathered inputs, aligned */
    size_t input_room[GPULET_BARE_TENSORS_MAX];
    void *output_memory[GPULET_BARE_TENSORS_MAX];
    size_t output_room[GPULET_BARE_TENSORS_MAX];
} gpulet_bare_model_t;

/* What one request brings: inputs[i] belongs to io->inputs[i], its data is borrowed while it runs.
 */
typedef struct gpulet_bare_work {
    gpulet_tensor_view_t inputs[GPULET_BARE_TENSORS_MAX];
} gpulet_bare_work_t;

/* Called once for every request of a batch, with its part of the outputs; they are valid during the
 * call. */
typedef void (*gpulet_bare_answer_t)(void *context, size_t index,
                                     const gpulet_tensor_view_t *outputs);

typedef struct gpulet_bare_load_options {
    const char *repository;
    const char *name;
    uint32_t threads;
    bool spin;
} gpulet_bare_load_options_t;

/* Loads the newest version of a model of the repository into `out`, which is zeroed before. */
gpulet_status_t gpulet_bare_model_load(gpulet_bare_model_t *out, const gpulet_engine_ops_t *ops,
                                       gpulet_engine_t *engine,
                                       const gpulet_bare_load_options_t *options,
                                       gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_bare_model_unload(gpulet_bare_model_t *model);
/* Whether two requests may share a batch. */
bool gpulet_bare_model_joins(const gpulet_bare_model_t *model, const gpulet_bare_work_t *a,
                             const gpulet_bare_work_t *b);
/* Runs count (1 … GPULET_BARE_BATCH_MAX) requests as one batch and answers each. On an error none
 * is answered. */
gpulet_status_t gpulet_bare_model_run(gpulet_bare_model_t *model,
                                      const gpulet_bare_work_t *const *works, size_t count,
                                      gpulet_bare_answer_t answer, void *context,
                                      gpulet_error_t *err) GPULET_MUST_USE;
/* The metadata document of the protocol. */
void gpulet_bare_model_describe(gpulet_buf_t *out, const gpulet_bare_model_t *model);

#endif
