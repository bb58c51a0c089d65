#include "device/backend.h"

#include <string.h>

#include "device/mps/mps.h"
#include "device/partition.h"

const gpulet_device_backend_t *const *gpulet_device_backends(void)
{
    static const gpulet_device_backend_t *const backends[] = {
        &gpulet_device_cpu, &gpulet_device_mps, &gpulet_device_fake, NULL};
    return backends;
}

const gpulet_device_backend_t *gpulet_device_backend_find(const char *name)
{
    for (const gpulet_device_backend_t *const *b = gpulet_device_backends(); *b != NULL; b++) {
        if (strcmp((*b)->name, name) == 0)
            return *b;
    }
    return NULL;
}
