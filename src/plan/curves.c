#include "plan/curves.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

/* Index of the first curve that is not below the names; with `behind`, not of them either. */
static size_t bound_of(const gpulet_profile_t *profile, const char *device, const char *model,
                       bool behind)
{
    size_t low = 0;
    size_t high = gpulet_profile_curves_count(profile);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const gpulet_curve_t *curve = gpulet_profile_curve_at(profile, middle);
        int order = strcmp(curve->device, device);
        if (order == 0)
            order = strcmp(curve->model, model);
        if (order < 0 || (behind && order == 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

gpulet_curves_t gpulet_curves_find(const gpulet_profile_t *profile, const char *device,
                                   const char *model)
{
    size_t first = bound_of(profile, device, model, false);
    return (gpulet_curves_t){profile, first, bound_of(profile, device, model, true) - first};
}

gpulet_curves_t gpulet_curves_take(gpulet_curves_t *rest, uint32_t units)
{
    while (rest->count > 0 && gpulet_curves_at(rest, 0)->units < units) {
        rest->first++;
        rest->count--;
    }
    gpulet_curves_t taken = {rest->profile, rest->first, 0};
    while (rest->count > 0 && gpulet_curves_at(rest, 0)->units == units) {
        rest->first++;
        rest->count--;
        taken.count++;
    }
    return taken;
}

const gpulet_curve_t *gpulet_curves_at(const gpulet_curves_t *curves, size_t index)
{
    assert(index < curves->count);
    return gpulet_profile_curve_at(curves->profile, curves->first + index);
}
