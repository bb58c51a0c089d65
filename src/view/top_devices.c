/* Devices to scale. The server says how large gpu-lets are, not where they lie, so they stand one
 * behind the other; those that come and those that go have rows of their own, since during a
 * change of plans they overlap the ones that serve. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "view/fold.h"
#include "view/top_internal.h"

enum { LABEL_MAX = 24, LABEL_SIZE = 96, NAME_SIZE = 300, PIECE_SIZE = 512, SUFFIX_SIZE = 48 };

typedef enum phase { PHASE_NOW, PHASE_NEXT, PHASE_LAST, PHASES_COUNT } phase_t;

static phase_t phase_of(const gpulet_live_gpulet_t *g)
{
    static const char *const next[] = {"held", "starting", "loading", "waiting", "backoff"};
    for (size_t i = 0; i < sizeof(next) / sizeof(next[0]); i++) {
        if (strcmp(g->state, next[i]) == 0)
            return PHASE_NEXT;
    }
    return strcmp(g->state, "serving") == 0 ? PHASE_NOW : PHASE_LAST;
}

static bool is_on(const gpulet_live_gpulet_t *g, const gpulet_live_device_t *device)
{
    return g->index == device->index && strcmp(g->device, device->type) == 0;
}

/* Units of the device's gpu-lets in each phase; 0: there are none. */
static void sum_units(double out[PHASES_COUNT], const gpulet_live_status_t *s,
                      const gpulet_live_device_t *device)
{
    for (int p = 0; p < PHASES_COUNT; p++)
        out[p] = 0;
    for (size_t i = 0; i < s->gpulets_count; i++) {
        if (is_on(&s->gpulets[i], device))
            out[phase_of(&s->gpulets[i])] += fmax(s->gpulets[i].units, 1e-9);
    }
}

size_t top_devices_rows(const gpulet_live_status_t *status)
{
    size_t rows = 0;
    for (size_t d = 0; d < status->devices_count; d++) {
        double units[PHASES_COUNT];
        sum_units(units, status, &status->devices[d]);
        rows += (size_t)1 + (units[PHASE_NEXT] > 0) + (units[PHASE_LAST] > 0);
    }
    return rows;
}

size_t top_devices_used(const gpulet_live_status_t *status)
{
    size_t used = 0;
    for (size_t d = 0; d < status->devices_count; d++) {
        double units[PHASES_COUNT];
        sum_units(units, status, &status->devices[d]);
        used += units[PHASE_NOW] > 0 || units[PHASE_NEXT] > 0 ? 1 : 0;
    }
    return used;
}

/* ---- one gpu-let ---- */

typedef enum detail { DETAIL_ALL, DETAIL_NAMES, DETAIL_KEYS, DETAILS_COUNT } detail_t;

typedef struct piece {
    gpulet_screen_t *screen;
    const gpulet_live_status_t *status;
    const gpulet_live_gpulet_t *gpulet;
    size_t row;
    size_t column;
    size_t room;
} piece_t;

static void share_text(char *out, const piece_t *p, const gpulet_live_share_t *share,
                       detail_t detail)
{
    char name[NAME_SIZE];
    char key[GPULET_VIEW_KEY_SIZE];
    (void)snprintf(name, sizeof(name), "%s", share->key);
    const char *shown = name;
    if (detail == DETAIL_KEYS && share->model < p->status->models_count)
        shown = gpulet_view_key(key, share->model);
    (void)snprintf(out, PIECE_SIZE, "%s%s", shown, share->refused ? "!" : "");
    if (detail == DETAIL_ALL && share->batch > 0 && share->batch < 1e6)
        (void)snprintf(out + strlen(out), PIECE_SIZE - strlen(out), " %s%.0f",
                       p->screen->utf8 ? "×" : "x", share->batch);
}

/* What is said of the gpu-let as a whole, behind its models. */
static void suffix_text(char out[SUFFIX_SIZE], const piece_t *p, detail_t detail)
{
    const gpulet_live_gpulet_t *g = p->gpulet;
    out[0] = '\0';
    if (g->borrowed_units > 0 && g->borrowed_units < 1e6)
        (void)snprintf(out, SUFFIX_SIZE, detail == DETAIL_KEYS ? "+%.0f" : " +%.0f",
                       g->borrowed_units);
    if (detail == DETAIL_KEYS)
        return;
    if (strcmp(g->state, "serving") != 0)
        (void)snprintf(out + strlen(out), SUFFIX_SIZE - strlen(out), " %.20s", g->state);
    else if (detail == DETAIL_ALL && g->busy >= 0 && g->busy < 10)
        (void)snprintf(out + strlen(out), SUFFIX_SIZE - strlen(out), " %.0f%%", 100 * g->busy);
}

static size_t columns_of(const piece_t *p, detail_t detail)
{
    char text[PIECE_SIZE];
    char suffix[SUFFIX_SIZE];
    size_t columns = 0;
    for (size_t i = 0; i < p->gpulet->shares_count && columns <= p->room; i++) {
        share_text(text, p, &p->gpulet->shares[i], detail);
        columns += gpulet_screen_columns(text, p->screen->utf8);
        columns += i == 0 ? 0 : detail == DETAIL_KEYS ? 1 : 3;
    }
    suffix_text(suffix, p, detail);
    return columns + gpulet_screen_columns(suffix, p->screen->utf8);
}

static gpulet_look_t look_of(const piece_t *p, size_t share)
{
    const gpulet_live_gpulet_t *g = p->gpulet;
    return share < g->shares_count && g->shares[share].model < p->status->models_count
               ? gpulet_look_model(g->shares[share].model)
               : gpulet_look_tone(GPULET_TONE_PLAIN);
}

static void draw_piece(const piece_t *p)
{
    char text[PIECE_SIZE];
    char suffix[SUFFIX_SIZE];
    detail_t detail = DETAIL_ALL;
    gpulet_screen_fill(p->screen, p->row, p->column, p->room, look_of(p, 0), " ");
    while (detail + 1 < DETAILS_COUNT && columns_of(p, detail) > p->room)
        detail++;
    size_t columns = columns_of(p, detail);
    size_t at = columns < p->room && detail != DETAIL_KEYS ? 1 : 0; /* a blank looks better */
    suffix_text(suffix, p, detail);
    /* Where not even the keys fit, their end is cut off, not what is said of the whole. */
    size_t behind = gpulet_screen_columns(suffix, p->screen->utf8);
    size_t room = behind < p->room ? p->room - behind : p->room;
    for (size_t i = 0; i < p->gpulet->shares_count && at < room; i++) {
        if (i > 0)
            at += gpulet_screen_put(p->screen, p->row, p->column + at, room - at, look_of(p, i),
                                    detail == DETAIL_KEYS ? "+" : " + ");
        share_text(text, p, &p->gpulet->shares[i], detail);
        at += gpulet_screen_put(p->screen, p->row, p->column + at, room - at, look_of(p, i), text);
    }
    if (at < p->room)
        (void)gpulet_screen_put(p->screen, p->row, p->column + at, p->room - at, look_of(p, 0),
                                suffix);
}

/* ---- one device ---- */

typedef struct bar {
    gpulet_screen_t *screen;
    const gpulet_live_status_t *status;
    size_t column; /* of the first line */
    size_t width;  /* without the last line */
} bar_t;

static void draw_bar(const bar_t *bar, size_t row, const gpulet_live_device_t *device,
                     phase_t phase, double units)
{
    const gpulet_look_t faint = gpulet_look_tone(GPULET_TONE_FAINT);
    const char *line = bar->screen->utf8 ? "│" : "|";
    const double scale = fmax(fmax(device->units, units), 1);
    double done = 0;
    gpulet_screen_fill(bar->screen, row, bar->column, bar->width, faint,
                       phase != PHASE_NOW  ? " "
                       : bar->screen->utf8 ? "░"
                                           : ".");
    for (size_t i = 0; i < bar->status->gpulets_count; i++) {
        const gpulet_live_gpulet_t *g = &bar->status->gpulets[i];
        if (!is_on(g, device) || phase_of(g) != phase)
            continue;
        size_t begin = (size_t)floor(fmin(done / scale, 1) * (double)bar->width + 1e-6);
        done += g->units;
        size_t end = (size_t)floor(fmin(done / scale, 1) * (double)bar->width + 1e-6);
        if (begin == end)
            continue; /* narrower than a column */
        draw_piece(
            &(piece_t){bar->screen, bar->status, g, row, bar->column + begin + 1, end - begin - 1});
        gpulet_screen_fill(bar->screen, row, bar->column + begin, 1, faint, line);
        gpulet_screen_fill(bar->screen, row, bar->column + end, 1, faint, line);
    }
    if (phase == PHASE_NOW) {
        gpulet_screen_fill(bar->screen, row, bar->column, 1, faint, line);
        gpulet_screen_fill(bar->screen, row, bar->column + bar->width, 1, faint, line);
    }
}

static void label_of(char out[LABEL_SIZE], const gpulet_live_device_t *device)
{
    (void)snprintf(out, LABEL_SIZE, "%.60s %.0f", device->type, fmin(device->index, 1e6));
}

static size_t label_columns(const gpulet_screen_t *screen, const gpulet_live_status_t *s)
{
    size_t most = screen->width / 3 < LABEL_MAX ? screen->width / 3 : LABEL_MAX;
    size_t columns = 6;
    for (size_t d = 0; d < s->devices_count; d++) {
        char label[LABEL_SIZE];
        label_of(label, &s->devices[d]);
        size_t c = gpulet_screen_columns(label, screen->utf8);
        columns = c > columns ? c : columns;
    }
    return columns < most ? columns : most;
}

gpulet_status_t top_devices_draw(gpulet_screen_t *screen, const gpulet_top_t *top, top_area_t area)
{
    static const char *const labels[] = {NULL, "  next", "  last"};
    const gpulet_live_status_t *s = top->now;
    const size_t first = top->scroll[GPULET_TOP_DEVICES];
    const size_t label_width = label_columns(screen, s);
    size_t at = 0; /* row of the section, shown or not */
    bar_t bar = {.screen = screen, .status = s, .column = label_width + 1};
    bar.width = screen->width > bar.column + 1 ? screen->width - bar.column - 1 : 0;
    top_heading(screen, top, area, GPULET_TOP_DEVICES, screen->width);
    for (size_t d = 0; d < s->devices_count; d++) {
        char label[LABEL_SIZE];
        double units[PHASES_COUNT];
        sum_units(units, s, &s->devices[d]);
        label_of(label, &s->devices[d]);
        for (int p = PHASE_NOW; p < PHASES_COUNT; p++) {
            if (p != PHASE_NOW && units[p] <= 0)
                continue;
            size_t row = area.row + 1 + at - first;
            if (at >= first && at - first + 1 < area.rows) {
                (void)gpulet_screen_put(screen, row, 0, label_width,
                                        gpulet_look_tone(GPULET_TONE_PLAIN),
                                        labels[p] != NULL ? labels[p] : label);
                draw_bar(&bar, row, &s->devices[d], (phase_t)p, units[p]);
            }
            at++;
        }
    }
    return GPULET_OK;
}
