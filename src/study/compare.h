/* What it takes to come from one plan to another. Pure. */
#ifndef GPULET_STUDY_COMPARE_H
#define GPULET_STUDY_COMPARE_H

#include <stddef.h>

#include "base/status.h"
#include "core/plan.h"

/* A gpu-let of one of the plans that has no counterpart in the other: same device type, same units,
 * same models with the same batches and instances, in any order; where it stands and the rates do
 * not matter. */
typedef struct gpulet_compare_change {
    const char *type;                   /* borrowed from the plan, as what follows */
    const gpulet_plan_gpulet_t *gpulet; /* one of them */
    size_t count;                       /* so many of the kind */
} gpulet_compare_change_t;

typedef struct gpulet_compare {
    size_t kept; /* gpu-lets, as the two that follow */
    size_t started;
    size_t stopped;
    size_t started_kinds;
    gpulet_compare_change_t *started_list; /* owned; in the order of the plan */
    size_t stopped_kinds;
    gpulet_compare_change_t *stopped_list; /* owned */
} gpulet_compare_t;

/* Both plans live as long as *out, which the caller deinits. */
gpulet_status_t gpulet_compare_plans(gpulet_compare_t *out, const gpulet_plan_t *before,
                                     const gpulet_plan_t *after) GPULET_MUST_USE;
void gpulet_compare_deinit(gpulet_compare_t *compare);

#endif
