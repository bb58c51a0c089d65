/* Plans are made for devices counted from 0; when some of a machine's are gone, those that are left
 * are counted anew, and plans are translated. Plain values. */
#ifndef GPULET_CORE_PLAN_DEVICES_H
#define GPULET_CORE_PLAN_DEVICES_H

#include "core/plan.h"

/* The device `index` of the type becomes to[index]; UINT32_MAX, or an index of to_count or more: it
 * is taken out of the plan with its gpu-lets. Other types are left alone. devices_used follows. */
void gpulet_plan_renumber(gpulet_plan_t *plan, const char *type, const uint32_t *to,
                          uint32_t to_count);

#endif
