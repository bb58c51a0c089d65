/* A plan for people, as text of a fixed width: a bar a device, a table of models, a verdict. Pure:
 * what the terminal can do is said by the caller. Columns are counted in characters (code points);
 * names of wide characters shift what follows them. */
#ifndef GPULET_VIEW_PLAN_TEXT_H
#define GPULET_VIEW_PLAN_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/status.h"
#include "core/device_type.h"
#include "core/plan.h"

enum { GPULET_VIEW_WIDTH_MIN = 40, GPULET_VIEW_WIDTH_MAX = 240, GPULET_VIEW_ROWS_MAX = 100 };

typedef struct gpulet_view_style {
    size_t width; /* columns; brought into the range above */
    bool utf8;    /* else ASCII alone */
    bool colour;  /* escape sequences for 256 colours */
} gpulet_view_style_t;

/* A ruler and a line for each kind of device, drawn to scale; in every gpu-let the models and their
 * batches, by name where there is room, else by key. */
gpulet_status_t gpulet_view_bars(gpulet_buf_t *out, const gpulet_plan_t *plan,
                                 const gpulet_device_set_t *devices,
                                 const gpulet_view_style_t *style) GPULET_MUST_USE;
/* Key, rate, capacity, SLO, worst case and gpu-lets of each model. */
gpulet_status_t gpulet_view_models(gpulet_buf_t *out, const gpulet_plan_t *plan,
                                   const gpulet_view_style_t *style) GPULET_MUST_USE;
/* One sentence: how many devices, and what is proved about fewer; or what is missing. */
gpulet_status_t gpulet_view_verdict(gpulet_buf_t *out, const gpulet_plan_t *plan) GPULET_MUST_USE;
/* All three. */
gpulet_status_t gpulet_view_plan_text(gpulet_buf_t *out, const gpulet_plan_t *plan,
                                      const gpulet_device_set_t *devices,
                                      const gpulet_view_style_t *style) GPULET_MUST_USE;

/* Characters of a text, for padding. */
size_t gpulet_view_length(const char *text);

#endif
