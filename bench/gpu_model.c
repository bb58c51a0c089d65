#include "gpu_model.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/check.h"
#include "gpu_cuda.h"

enum { RUNS_MAX = 2048 };

void gpu_engine_open(gpu_model_t *m)
{
    const gpulet_engine_options_t options = {0};
    gpulet_error_t err = {""};
    memset(m, 0, sizeof(*m));
    m->ops = gpulet_engine_find("ort");
    if (m->ops->open(&m->engine, &options, &err) != GPULET_OK)
        cu_die("%s", err.text);
}

double gpu_model_load(gpu_model_t *m, const char *folder, const char *name, void *stream)
{
    char path[PATH_MAX];
    gpulet_error_t err = {""};
    (void)snprintf(path, sizeof(path), "%s/%s/1/model.onnx", folder, name);
    const gpulet_engine_load_options_t options = {.name = name,
                                                  .path = path,
                                                  .threads = 1,
                                                  .units = 1,
                                                  .load_limit_ns = 120 * GPULET_NS_PER_S,
                                                  .provider = "cuda",
                                                  .stream = stream};
    uint64_t begun_ns = gpulet_clock_ns();
    if (m->ops->load(&m->model, m->engine, &options, &err) != GPULET_OK)
        cu_die("%s: %s", name, err.text);
    return (double)(gpulet_clock_ns() - begun_ns) / 1e6;
}

void gpu_model_unload(gpu_model_t *m)
{
    const gpulet_model_io_t *io = m->ops->io(m->model);
    for (uint32_t i = 0; i < io->inputs_count; i++) {
        free(m->inputs[i].data);
        m->inputs[i].data = NULL;
        m->inputs[i].size = 0;
    }
    m->ops->unload(m->model);
    m->model = NULL;
}

static void prepare(gpu_model_t *m, int64_t batch)
{
    const gpulet_model_io_t *io = m->ops->io(m->model);
    for (uint32_t i = 0; i < io->inputs_count; i++) {
        gpulet_tensor_view_t *v = &m->inputs[i];
        size_t size = 0;
        v->type = io->inputs[i].type;
        v->shape = io->inputs[i].shape;
        for (uint32_t d = 0; d < v->shape.rank; d++) {
            if (v->shape.dims[d] < 0)
                v->shape.dims[d] = d == 0 ? batch : 1;
        }
        if (!gpulet_engine_dense_size(&size, v->type, &v->shape))
            cu_die("input %u has no size", i);
        if (size != v->size) {
            free(v->data);
            v->data = calloc(1, size);
            v->size = size;
        }
        if (v->data == NULL)
            cu_die("out of memory");
    }
    memset(m->outputs, 0, sizeof(m->outputs));
}

double gpu_model_run(gpu_model_t *m, int64_t batch)
{
    gpulet_error_t err = {""};
    prepare(m, batch);
    uint64_t begun_ns = gpulet_clock_ns();
    if (m->ops->run(m->model, m->inputs, m->outputs, &err) != GPULET_OK)
        cu_die("run of %lld: %s", (long long)batch, err.text);
    double ms = (double)(gpulet_clock_ns() - begun_ns) / 1e6;
    for (uint32_t i = 0; i < m->ops->io(m->model)->outputs_count; i++)
        m->ops->output_release(m->model, &m->outputs[i]);
    return ms;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

double gpu_model_measure(gpu_model_t *m, int64_t batch, double seconds)
{
    static double times[RUNS_MAX];
    unsigned count = 0;
    for (int i = 0; i < 5; i++)
        (void)gpu_model_run(m, batch);
    uint64_t until_ns = gpulet_clock_ns() + (uint64_t)(seconds * 1e9);
    while (count < RUNS_MAX && (count < 5 || gpulet_clock_ns() < until_ns))
        times[count++] = gpu_model_run(m, batch);
    qsort(times, count, sizeof(times[0]), by_size);
    return times[count / 2];
}
