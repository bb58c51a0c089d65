/* Inside of the fake engine: what its files share. */
#ifndef GPULET_ENGINE_FAKE_INTERNAL_H
#define GPULET_ENGINE_FAKE_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "core/profile.h"
#include "engine/engine.h"
#include "engine/fake/script.h"

typedef struct fake_engine {
    const gpulet_engine_ops_t *ops; /* first, see engine.h */
    gpulet_profile_t *profile;      /* NULL: none */
    char *device;                   /* device type in it; NULL: the first that has the model */
} fake_engine_t;

typedef struct fake_model {
    const gpulet_engine_ops_t *ops; /* first, see engine.h */
    gpulet_fake_script_t script;
    bool told;                   /* what it takes and gives is not of its file: answers are zeros */
    uint32_t batch_fixed;        /* items of every run; 0: what the inputs hold */
    gpulet_profile_t *between;   /* curves made from those of other sizes; NULL: none */
    const gpulet_curve_t *curve; /* into a profile; NULL: the script's latency */
    gpulet_rng_t rng;
    uint64_t runs;
    uint64_t ended_ns; /* the run before; 0: there was none */
    char *memory;      /* held as asked */

    pthread_mutex_t lock; /* the next two, against terminate() from another thread */
    pthread_cond_t changed;
    bool running;
    bool cancelled;
} fake_model_t;

gpulet_status_t gpulet_fake_run(gpulet_engine_model_t *model, const gpulet_tensor_view_t *inputs,
                                gpulet_engine_output_t *outputs, gpulet_error_t *err);
void gpulet_fake_output_release(gpulet_engine_model_t *model, gpulet_engine_output_t *output);
void gpulet_fake_terminate(gpulet_engine_model_t *model);

#endif
