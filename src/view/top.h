/* The picture of a running server that `gpulet top` shows: a head, a bar a device with its gpu-lets
 * to scale, a table of models, the latest events. Pure: everything it depends on is in
 * gpulet_top_t.
 *
 * Rows go first to the head, then to devices and models, then to events; columns of the table by
 * how much they matter. It fits any size; from 40x10 on it is of use. */
#ifndef GPULET_VIEW_TOP_H
#define GPULET_VIEW_TOP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "view/live.h"
#include "view/screen.h"

/* X(name, text): orders of the table of models. */
#define GPULET_TOP_SORT_MAP(X)                                                                     \
    X(SERVER, "as listed")                                                                         \
    X(NAME, "by name")                                                                             \
    X(RATE, "by rate")                                                                             \
    X(MISSES, "by misses")                                                                         \
    X(ATTAINMENT, "by attainment")

typedef enum gpulet_top_sort {
#define GPULET_TOP_SORT_ENUM(name, text) GPULET_TOP_SORT_##name,
    GPULET_TOP_SORT_MAP(GPULET_TOP_SORT_ENUM)
#undef GPULET_TOP_SORT_ENUM
        GPULET_TOP_SORT_COUNT
} gpulet_top_sort_t;

typedef enum gpulet_top_section {
    GPULET_TOP_DEVICES,
    GPULET_TOP_MODELS,
    GPULET_TOP_EVENTS,
    GPULET_TOP_SECTIONS
} gpulet_top_section_t;

/* All borrowed. */
typedef struct gpulet_top {
    const char *url;
    const gpulet_live_status_t *now;    /* NULL: nothing was heard yet */
    const gpulet_live_status_t *before; /* the look that changes are counted from; NULL: none */
    const gpulet_live_log_t *log;       /* NULL: the server tells no events */
    const char *problem;                /* why nothing newer is known; NULL: all is well */
    double problem_s;                   /* for so long */
    int utc_offset_s;                   /* of the clock that events are shown by */
    bool paused;
    bool help; /* the keys in place of the sections */
    bool keys; /* a last row that names the keys */
    gpulet_top_sort_t sort;
    gpulet_top_section_t focus;         /* the section that is scrolled */
    size_t scroll[GPULET_TOP_SECTIONS]; /* rows above the first one shown */
} gpulet_top_t;

const char *gpulet_top_sort_text(gpulet_top_sort_t sort);
/* Rows that show everything. */
size_t gpulet_top_rows(const gpulet_top_t *top);
/* Draws on a blank screen. What is scrolled too far is brought back, in top->scroll too; page (may
 * be NULL): rows of the section in focus. */
gpulet_status_t gpulet_top_draw(gpulet_screen_t *screen, gpulet_top_t *top,
                                size_t *page) GPULET_MUST_USE;

#endif
