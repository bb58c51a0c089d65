#include "core/plan_devices.h"

#include <stdlib.h>
#include <string.h>

static void deinit_device(gpulet_plan_device_t *device)
{
    for (size_t g = 0; g < device->gpulets_count; g++)
        free(device->gpulets[g].shares);
    free(device->gpulets);
}

void gpulet_plan_renumber(gpulet_plan_t *plan, const char *type, const uint32_t *to,
                          uint32_t to_count)
{
    size_t kept = 0;
    for (size_t d = 0; d < plan->devices_count; d++) {
        gpulet_plan_device_t device = plan->devices[d];
        bool ours = strcmp(device.type, type) == 0;
        uint32_t index = !ours                     ? device.index
                         : device.index < to_count ? to[device.index]
                                                   : UINT32_MAX;
        if (ours && index == UINT32_MAX) {
            deinit_device(&device);
            continue;
        }
        device.index = index;
        plan->devices[kept++] = device;
    }
    plan->devices_count = kept;
    plan->devices_used = (uint32_t)kept;
}
