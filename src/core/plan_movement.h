/* What it takes to go from one plan to another. A gpu-let of the new plan goes on when the old one
 * has one of its size on the same device (at the same slot, where there are slots) with a model in
 * common; each of the old plan goes on at most once. A model is loaded where a gpu-let is started
 * for it or goes on without having had it. Batches and rates change at no cost. Plain values. */
#ifndef GPULET_CORE_PLAN_MOVEMENT_H
#define GPULET_CORE_PLAN_MOVEMENT_H

#include "core/plan.h"

/* Defaults of gpulet_plan_movement_weight: a device more is worth four models loaded. */
#define GPULET_MOVEMENT_WEIGHT_MODEL  1.0
#define GPULET_MOVEMENT_WEIGHT_GPULET 2.0
#define GPULET_MOVEMENT_WEIGHT_DEVICE 4.0

enum { GPULET_MOVEMENT_GPULETS_MAX = 1024 };

/* From `from` (NULL: nothing runs yet) to `to`. */
gpulet_plan_movement_t gpulet_plan_movement(const gpulet_plan_t *from, const gpulet_plan_t *to);
double gpulet_plan_movement_weight(const gpulet_plan_movement_t *movement);

/* How many models two gpu-lets have in common. */
uint32_t gpulet_plan_gpulet_common(const gpulet_plan_gpulet_t *a, const gpulet_plan_gpulet_t *b);

/* Which gpu-let of `from` each of `to` goes on from: from_of[i] for to->gpulets[i], SIZE_MAX where
 * it is started. Pairs with most models in common first. Both taken as the same device, of at most
 * GPULET_MOVEMENT_GPULETS_MAX gpu-lets (more are taken for new). */
void gpulet_plan_device_match(size_t *from_of, const gpulet_plan_device_t *from,
                              const gpulet_plan_device_t *to);

/* How many gpu-lets of `to` would go on from `from`, both taken as the same device, and how many
 * models those have in common. */
void gpulet_plan_device_overlap(const gpulet_plan_device_t *from, const gpulet_plan_device_t *to,
                                uint32_t *gpulets, uint32_t *models);

#endif
