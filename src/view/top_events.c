#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "view/top_internal.h"

enum { TIME_SIZE = 32 };

static const double since_1970_ms = 1e11; /* earlier times count from the server's start */

static void time_text(char out[TIME_SIZE], const gpulet_top_t *top, double time_ms)
{
    if (!(time_ms >= 0) || time_ms > 1e15) {
        (void)snprintf(out, TIME_SIZE, "-");
    } else if (time_ms < since_1970_ms) {
        (void)snprintf(out, TIME_SIZE, "%.1f s", time_ms / 1000);
    } else {
        int64_t s = (int64_t)(time_ms / 1000) + top->utc_offset_s;
        (void)snprintf(out, TIME_SIZE, "%02" PRId64 ":%02" PRId64 ":%02" PRId64, s / 3600 % 24,
                       s / 60 % 60, s % 60);
    }
}

/* The newest first. */
void top_events_draw(gpulet_screen_t *screen, const gpulet_top_t *top, top_area_t area)
{
    const gpulet_live_log_t *log = top->log;
    size_t first = top->scroll[GPULET_TOP_EVENTS];
    top_heading(screen, top, area, GPULET_TOP_EVENTS, screen->width);
    for (size_t i = 0; i + 1 < area.rows && first + i < log->count; i++) {
        const gpulet_live_event_t *e = &log->events[log->count - 1 - first - i];
        const gpulet_look_t look = gpulet_look_tone(e->bad ? GPULET_TONE_BAD : GPULET_TONE_PLAIN);
        char text[TIME_SIZE];
        time_text(text, top, e->time_ms);
        (void)gpulet_screen_put(screen, area.row + 1 + i, 0, 9, gpulet_look_tone(GPULET_TONE_FAINT),
                                text);
        (void)gpulet_screen_put(screen, area.row + 1 + i, 10, screen->width, look, e->text);
    }
}
