/* The sections of the picture. Private to top*.c. */
#ifndef GPULET_VIEW_TOP_INTERNAL_H
#define GPULET_VIEW_TOP_INTERNAL_H

#include "view/top.h"

/* Rows of a section: from `row` on, `rows` of them, the first with the heading. */
typedef struct top_area {
    size_t row;
    size_t rows;
} top_area_t;

/* A heading in `room` columns of the area's first row; the section in focus is marked, and one that
 * shows only some of its rows says which. */
void top_heading(gpulet_screen_t *screen, const gpulet_top_t *top, top_area_t area,
                 gpulet_top_section_t section, size_t room);

/* Two decimals, never rounded up to what it is not; returns out. */
const char *top_percent(char *out, size_t size, double percent);

/* top_devices.c: rows without the heading. */
size_t top_devices_rows(const gpulet_live_status_t *status);
gpulet_status_t top_devices_draw(gpulet_screen_t *screen, const gpulet_top_t *top,
                                 top_area_t area) GPULET_MUST_USE;
/* Devices that have a gpu-let of the plan that runs or comes. */
size_t top_devices_used(const gpulet_live_status_t *status);

/* top_models.c */
gpulet_status_t top_models_draw(gpulet_screen_t *screen, const gpulet_top_t *top,
                                top_area_t area) GPULET_MUST_USE;
/* The name as the table shows it: with its version where there are several. */
void top_model_name(char *out, size_t size, const gpulet_live_model_t *model);

/* top_events.c */
void top_events_draw(gpulet_screen_t *screen, const gpulet_top_t *top, top_area_t area);

#endif
