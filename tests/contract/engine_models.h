/* What the cases of the engine contract share: the engine under test, models made for it, and runs
 * in one line. */
#ifndef GPULET_TEST_ENGINE_MODELS_H
#define GPULET_TEST_ENGINE_MODELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/engine.h"

typedef struct test_engine {
    const gpulet_engine_ops_t *ops;
    gpulet_engine_t *engine;
    bool is_ort;
    char folder[64];    /* temporary, for models */
    char path[128];     /* of the model made last */
    int tasks_at_start; /* threads of the process before the engine was opened */
    char home[128];     /* HOME and XDG_CACHE_HOME while it was opened */
} test_engine_t;

extern test_engine_t test_engine;

/* Each writes a model and sets test_engine.path; dims as in onnx_writer.h. */
void make_identity(const char *datatype, const char *dims);
void make_two_by_two(void); /* INPUT0, INPUT1 -> OUTPUT0, OUTPUT1, all FP32 [N,16] */
/* 200 ms or longer, [N,512] -> [N,512]; the fake one hangs in its every second run only. */
void make_long(void);
void make_corrupt(void);
/* A path in the temporary folder, for a model of a case's own. */
const char *make_path(const char *name);

/* Loads test_engine.path; fails the test when it does not load. */
gpulet_engine_model_t *load_model(void);
gpulet_status_t try_load(gpulet_engine_model_t **out, uint32_t threads, uint64_t limit_ns,
                         gpulet_error_t *err);

gpulet_tensor_view_t view_of(gpulet_datatype_t type, void *data, size_t size, uint32_t rank,
                             int64_t dim0, int64_t dim1);
/* FP32 values 0, 1, 2 … */
float *ramp(size_t count);

int count_tasks(void);
/* Resident set in KiB: now, and the highest so far. */
long rss_kib(const char *field);
bool is_sanitized(void);

/* engine_ort.c: cases that make sense for that engine alone. */
int run_ort_cases(void);

#endif
