#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

#include "engine/fake/fake.h"
#include "engine/ort/ort.h"

static const gpulet_engine_ops_t *const engines[] = {&gpulet_engine_ort, &gpulet_engine_fake, NULL};

const gpulet_engine_ops_t *const *gpulet_engine_all(void)
{
    return engines;
}

const gpulet_engine_ops_t *gpulet_engine_find(const char *name)
{
    for (const gpulet_engine_ops_t *const *e = engines; *e != NULL; e++) {
        if (strcmp((*e)->name, name) == 0)
            return *e;
    }
    return NULL;
}

gpulet_status_t gpulet_engine_prepared_path(char *out, size_t out_size, const char *folder)
{
    int length = snprintf(out, out_size, "%s/model.onnx", folder);
    return length > 0 && (size_t)length < out_size ? GPULET_OK : GPULET_E_TOO_LARGE;
}
