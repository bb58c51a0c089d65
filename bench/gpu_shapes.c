/* What a change of the batch costs: the engine chooses its kernels anew for each shape. One session
 * whose batch changes with every run, beside two sessions that each keep theirs. */
#include <stdlib.h>

#include "gpu_cuda.h"
#include "gpu_facts.h"
#include "gpu_model.h"

enum { SMALL = 8, LARGE = 16, CHANGES = 12 };

static void one_model(const char *name)
{
    const char *options = getenv("GPULET_CUDA_OPTIONS");
    gpu_model_t m, other;
    gpu_engine_open(&m);
    double before_mb = facts_used_mb();
    (void)gpu_model_load(&m, facts.models, name, NULL);
    double large_ms = gpu_model_measure(&m, LARGE, 0.2);
    double small_ms = gpu_model_measure(&m, SMALL, 0.2);
    double one_mb = facts_used_mb() - before_mb;
    double changing_ms = 0, kept_ms = 0;
    for (int i = 0; i < CHANGES; i++) {
        (void)gpu_model_run(&m, LARGE);
        changing_ms += gpu_model_run(&m, SMALL) / CHANGES;
    }
    (void)gpu_model_measure(&m, LARGE, 0.1);
    other = m;
    other.model = NULL;
    for (int i = 0; i < GPULET_MODEL_IO_MAX; i++)
        other.inputs[i] = (gpulet_tensor_view_t){0};
    double load_ms = gpu_model_load(&other, facts.models, name, NULL);
    (void)gpu_model_measure(&other, SMALL, 0.1);
    double two_mb = facts_used_mb() - before_mb;
    for (int i = 0; i < CHANGES; i++) {
        (void)gpu_model_run(&m, LARGE);
        kept_ms += gpu_model_run(&other, SMALL) / CHANGES;
    }
    cu_emit("\"model\": \"%s\", \"options\": \"%s\", \"small_ms\": %.3f, \"large_ms\": %.3f, "
            "\"small_after_large_ms\": %.3f, \"in_a_session_of_its_own_ms\": %.3f, "
            "\"second_load_ms\": %.1f, \"memory_mb\": %.0f, \"memory_of_two_mb\": %.0f",
            name, options != NULL ? options : "", small_ms, large_ms, changing_ms, kept_ms, load_ms,
            one_mb, two_mb);
    gpu_model_unload(&other);
    gpu_model_unload(&m);
}

void facts_shapes(void)
{
    if (facts.models == NULL)
        cu_die("no models: --models REPOSITORY");
    cu_primary(cu_open());
    one_model("lenet");
    one_model("mobilenet");
    one_model("resnet50");
    one_model("vgg16");
}
