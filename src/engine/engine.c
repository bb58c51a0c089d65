#include "engine/engine.h"

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
