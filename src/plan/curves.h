/* Which curves of a profile belong to one (device type, model, size): they stand together, one for
 * each number of instances. */
#ifndef GPULET_PLAN_CURVES_H
#define GPULET_PLAN_CURVES_H

#include <stddef.h>
#include <stdint.h>

#include "core/profile.h"

/* Index of the first (gpulet_profile_curve_at); *count gets how many there are, 0 when none. */
size_t gpulet_curves_find(size_t *count, const gpulet_profile_t *profile, const char *device,
                          const char *model, uint32_t units);

#endif
