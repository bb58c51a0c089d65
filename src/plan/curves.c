#include "plan/curves.h"

#include <string.h>

static int compare_key(const gpulet_curve_t *curve, const char *device, const char *model,
                       uint32_t units)
{
    int order = strcmp(curve->device, device);
    if (order == 0)
        order = strcmp(curve->model, model);
    if (order == 0)
        order = curve->units < units ? -1 : curve->units > units;
    return order;
}

size_t gpulet_curves_find(size_t *count, const gpulet_profile_t *profile, const char *device,
                          const char *model, uint32_t units)
{
    size_t total = gpulet_profile_curves_count(profile);
    size_t low = 0;
    size_t high = total;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare_key(gpulet_profile_curve_at(profile, mid), device, model, units) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    size_t end = low;
    while (end < total &&
           compare_key(gpulet_profile_curve_at(profile, end), device, model, units) == 0)
        end++;
    *count = end - low;
    return low;
}
