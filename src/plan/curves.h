/* Which curves of a profile belong to one (device type, model): they stand together, by size and
 * within a size by the number of instances. */
#ifndef GPULET_PLAN_CURVES_H
#define GPULET_PLAN_CURVES_H

#include <stddef.h>
#include <stdint.h>

#include "core/profile.h"

/* Curves in a row; borrows the profile. */
typedef struct gpulet_curves {
    const gpulet_profile_t *profile;
    size_t first; /* for gpulet_profile_curve_at */
    size_t count; /* 0: there is none */
} gpulet_curves_t;

gpulet_curves_t gpulet_curves_find(const gpulet_profile_t *profile, const char *device,
                                   const char *model);
/* Takes those of one size off the front of `rest`, and what is smaller with them: sizes are asked
 * for in ascending order. */
gpulet_curves_t gpulet_curves_take(gpulet_curves_t *rest, uint32_t units);
const gpulet_curve_t *gpulet_curves_at(const gpulet_curves_t *curves, size_t index);

#endif
