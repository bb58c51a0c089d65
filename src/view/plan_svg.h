/* A plan as a picture: a row for each kind of device. Across, the device to scale; down, the duty
 * cycle of each gpu-let with the models that take turns in it. Pure. */
#ifndef GPULET_VIEW_PLAN_SVG_H
#define GPULET_VIEW_PLAN_SVG_H

#include "base/buf.h"
#include "base/status.h"
#include "core/device_type.h"
#include "core/plan.h"

gpulet_status_t gpulet_view_plan_svg(gpulet_buf_t *out, const gpulet_plan_t *plan,
                                     const gpulet_device_set_t *devices) GPULET_MUST_USE;

#endif
