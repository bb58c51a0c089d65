/* Answers to "what if", "what would do" and "what is left to each stage", as text for people. Pure.
 */
#ifndef GPULET_VIEW_ANSWERS_TEXT_H
#define GPULET_VIEW_ANSWERS_TEXT_H

#include <stddef.h>

#include "base/buf.h"
#include "base/status.h"
#include "core/plan.h"
#include "plan/apps.h"
#include "study/advice.h"
#include "study/compare.h"
#include "view/plan_text.h"

/* A plan beside others; all borrowed. */
typedef struct gpulet_view_variant {
    const char *change; /* as it was written */
    const gpulet_plan_t *plan;
    const gpulet_compare_t *compare; /* with the first; NULL for the first itself */
} gpulet_view_variant_t;

/* The first is the plan as it is; the others stand below and beside it. */
gpulet_status_t gpulet_view_variants(gpulet_buf_t *out, const gpulet_view_variant_t *variants,
                                     size_t count,
                                     const gpulet_view_style_t *style) GPULET_MUST_USE;
/* Each application's stages with their shares of its SLO and the worst case of the plan; the sums
 * are those of the longest way. */
gpulet_status_t gpulet_view_apps(gpulet_buf_t *out, const gpulet_apps_plan_t *split,
                                 const gpulet_view_style_t *style) GPULET_MUST_USE;
gpulet_status_t gpulet_view_advice(gpulet_buf_t *out, const gpulet_advice_t *advice,
                                   const gpulet_view_style_t *style) GPULET_MUST_USE;

#endif
