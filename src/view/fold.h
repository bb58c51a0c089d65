/* What the drawings of a plan have in common: identical devices are drawn once, gpu-lets stand
 * where they are on the device, models have a short key. Pure. */
#ifndef GPULET_VIEW_FOLD_H
#define GPULET_VIEW_FOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/device_type.h"
#include "core/plan.h"

enum { GPULET_VIEW_KEY_SIZE = 16 };

/* Devices that are cut and loaded in the same way; only the rates that are routed to them, and with
 * them the duty cycles, may differ. */
typedef struct gpulet_view_group {
    size_t first; /* index in plan->devices */
    size_t count;
} gpulet_view_group_t;

/* In the order of their first devices. Caller frees *out. */
gpulet_status_t gpulet_view_fold(gpulet_view_group_t **out, size_t *count,
                                 const gpulet_plan_t *plan) GPULET_MUST_USE;

/* The part of a device that a gpu-let covers, 0 … 1. */
typedef struct gpulet_view_span {
    double begin;
    double end;
} gpulet_view_span_t;

/* By slot where the type has a placement rule, else one behind the other. NULL type: as if the
 * gpu-lets filled the device. */
gpulet_view_span_t gpulet_view_place(const gpulet_plan_device_t *device,
                                     const gpulet_device_type_t *type, size_t gpulet);
/* What a whole device measures: its slots, else its units. */
double gpulet_view_scale(const gpulet_plan_device_t *device, const gpulet_device_type_t *type);
/* The type of a device of a plan, NULL when the set does not know it. */
const gpulet_device_type_t *gpulet_view_type(const gpulet_device_set_t *set, const char *name);

/* A, B, …, Z, AA, AB, …; returns out. */
const char *gpulet_view_key(char out[GPULET_VIEW_KEY_SIZE], size_t model);
/* The light background of a model among 256 colours, for black letters. */
unsigned gpulet_view_background(size_t model);
/* Index of the model in plan->models; their count when it is not there. */
size_t gpulet_view_model(const gpulet_plan_t *plan, const char *name);

/* A distance between marks of a ruler that leaves at most `most` of them: 1, 2 or 5 times a power
 * of ten. */
uint64_t gpulet_view_step(double scale, double most);

#endif
