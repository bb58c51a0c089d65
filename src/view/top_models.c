/* The table of models. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "view/fold.h"
#include "view/top_internal.h"

enum { VALUE_SIZE = 32, NAME_SIZE = 320, NAME_LEAST = 10, NAME_MOST = 32, MARK_WIDTH = 2 };

/* A model as the table sorts and shows it. */
typedef struct row {
    size_t index;
    const gpulet_live_model_t *model;
    gpulet_live_change_t change;
    bool changed; /* `change` was counted between two looks */
} row_t;

static double settled(const gpulet_live_change_t *c)
{
    return c->in_time + c->late + c->rejected + c->failed;
}

static double misses(const gpulet_live_change_t *c)
{
    return c->late + c->rejected + c->failed;
}

/* ---- values; NAN is shown as "-" ---- */

static double rate_now(const row_t *r)
{
    if (!isnan(r->model->rate_now_rps))
        return r->model->rate_now_rps;
    return r->changed ? r->change.offered / r->change.seconds : NAN;
}

static double rate_planned(const row_t *r)
{
    return r->model->rate_planned_rps;
}

static double rate_covered(const row_t *r)
{
    return r->model->rate_covered_rps;
}

static double slo(const row_t *r)
{
    return r->model->slo_ms > 0 ? r->model->slo_ms : NAN;
}

static double p50(const row_t *r)
{
    return r->model->latency_ms_p50 > 0 ? r->model->latency_ms_p50 : NAN; /* none yet */
}

static double p99(const row_t *r)
{
    return r->model->latency_ms_p99 > 0 ? r->model->latency_ms_p99 : NAN;
}

static double attained_now(const row_t *r)
{
    return r->changed && settled(&r->change) > 0 ? 100 * r->change.in_time / settled(&r->change)
                                                 : NAN;
}

static double attained(const row_t *r)
{
    const gpulet_live_model_t *m = r->model;
    return m->in_time + m->late + m->rejected + m->failed > 0 ? 100 * m->attainment : NAN;
}

static double late(const row_t *r)
{
    return r->changed ? r->change.late : NAN;
}

static double refused(const row_t *r)
{
    return r->changed ? r->change.rejected : NAN;
}

static double failed(const row_t *r)
{
    return r->changed ? r->change.failed : NAN;
}

static double waiting(const row_t *r)
{
    return r->model->waiting;
}

/* ---- columns ---- */

typedef enum tint { TINT_NONE, TINT_PERCENT, TINT_COUNT, TINT_LATENCY, TINT_RATE } tint_t;

typedef struct column {
    const char *title;
    size_t width; /* with the blank before it */
    int rank;     /* those of the highest rank go first where there is no room; 0 … */
    tint_t tint;
    double (*value)(const row_t *row);
} column_t;

static const column_t columns[] = {
    {"SLO ms", 8, 3, TINT_NONE, slo},
    {"rate/s", 8, 1, TINT_RATE, rate_now},
    {"planned", 8, 7, TINT_NONE, rate_planned},
    {"covered", 8, 8, TINT_NONE, rate_covered},
    {"p50 ms", 8, 6, TINT_NONE, p50},
    {"p99 ms", 8, 2, TINT_LATENCY, p99},
    {"in time", 8, 0, TINT_PERCENT, attained_now},
    {"of all", 8, 4, TINT_PERCENT, attained},
    {"late", 6, 9, TINT_COUNT, late},
    {"refused", 8, 5, TINT_COUNT, refused},
    {"failed", 7, 10, TINT_COUNT, failed},
    {"waits", 6, 11, TINT_COUNT, waiting},
};
enum { COLUMNS_COUNT = sizeof(columns) / sizeof(columns[0]) };

typedef struct table {
    gpulet_screen_t *screen;
    size_t name_width; /* with mark and key */
    bool shown[COLUMNS_COUNT];
} table_t;

/* The columns of lowest rank that fit beside names of the least width; what is left goes to names.
 */
static void choose_columns(table_t *t, const gpulet_live_status_t *s)
{
    size_t wanted = NAME_LEAST;
    size_t width = t->screen->width;
    for (size_t i = 0; i < s->models_count; i++) {
        char name[NAME_SIZE];
        top_model_name(name, sizeof(name), &s->models[i]);
        size_t c = gpulet_screen_columns(name, t->screen->utf8) + MARK_WIDTH + 2;
        wanted = c > wanted ? c : wanted;
    }
    wanted = wanted < NAME_MOST ? wanted : NAME_MOST;
    size_t left = width > NAME_LEAST ? width - NAME_LEAST : 0;
    bool full = false;
    for (int rank = 0; rank < COLUMNS_COUNT && !full; rank++) {
        for (size_t c = 0; c < COLUMNS_COUNT; c++) {
            if (columns[c].rank != rank)
                continue;
            full = columns[c].width > left;
            t->shown[c] = !full;
            left -= full ? 0 : columns[c].width;
        }
    }
    t->name_width = wanted < NAME_LEAST + left ? wanted : NAME_LEAST + left;
    t->name_width = t->name_width < width ? t->name_width : width;
}

static void value_text(char out[VALUE_SIZE], double value, tint_t tint)
{
    if (!isfinite(value))
        (void)snprintf(out, VALUE_SIZE, "-");
    else if (tint == TINT_PERCENT)
        (void)snprintf(out, VALUE_SIZE, "%s%%",
                       top_percent((char[VALUE_SIZE]){""}, VALUE_SIZE, value));
    else if (value == 0 || (tint == TINT_COUNT && fabs(value) < 1e5))
        (void)snprintf(out, VALUE_SIZE, "%.0f", value);
    else
        (void)snprintf(out, VALUE_SIZE,
                       fabs(value) < 10    ? "%.2f"
                       : fabs(value) < 1e4 ? "%.1f"
                       : fabs(value) < 1e6 ? "%.0f"
                                           : "%.1e",
                       value);
}

static gpulet_tone_t tone_of(const row_t *r, tint_t tint, double value)
{
    if (!isfinite(value))
        return GPULET_TONE_FAINT;
    switch (tint) {
    case TINT_PERCENT:
        return value >= 99 ? GPULET_TONE_GOOD : value >= 90 ? GPULET_TONE_WARN : GPULET_TONE_BAD;
    case TINT_COUNT:
        return value > 0 ? GPULET_TONE_WARN : GPULET_TONE_PLAIN;
    case TINT_LATENCY:
        return r->model->slo_ms > 0 && value > r->model->slo_ms ? GPULET_TONE_BAD
                                                                : GPULET_TONE_PLAIN;
    case TINT_RATE:
        return value > r->model->rate_covered_rps ? GPULET_TONE_WARN : GPULET_TONE_PLAIN;
    case TINT_NONE:
        break;
    }
    return GPULET_TONE_PLAIN;
}

void top_model_name(char *out, size_t size, const gpulet_live_model_t *model)
{
    (void)snprintf(out, size, "%s%s%s", model->name, model->again ? ":" : "",
                   model->again ? model->version : "");
}

/* ---- rows ---- */

static void draw_titles(const table_t *t, const gpulet_top_t *top, top_area_t area)
{
    size_t at = t->name_width;
    top_heading(t->screen, top, area, GPULET_TOP_MODELS, t->name_width);
    for (size_t c = 0; c < COLUMNS_COUNT; c++) {
        if (!t->shown[c])
            continue;
        gpulet_screen_put_right(t->screen, area.row, at + 1, columns[c].width - 1,
                                gpulet_look_tone(GPULET_TONE_TITLE), columns[c].title);
        at += columns[c].width;
    }
}

static void draw_name(const table_t *t, size_t row, const row_t *r)
{
    char name[NAME_SIZE];
    char key[GPULET_VIEW_KEY_SIZE];
    const bool ready = strcmp(r->model->state, "ready") == 0;
    const bool loading = strcmp(r->model->state, "loading") == 0;
    const char *mark = ready ? " " : loading ? (t->screen->utf8 ? "…" : "~") : "!";
    const gpulet_tone_t tone = ready     ? GPULET_TONE_PLAIN
                               : loading ? GPULET_TONE_WARN
                                         : GPULET_TONE_BAD;
    size_t at = gpulet_screen_put(t->screen, row, 0, 1, gpulet_look_tone(tone), mark);
    at += gpulet_screen_put(t->screen, row, at, t->name_width - at, gpulet_look_model(r->index),
                            gpulet_view_key(key, r->index));
    top_model_name(name, sizeof(name), r->model);
    if (at + 1 < t->name_width)
        (void)gpulet_screen_put(t->screen, row, at + 1, t->name_width - at - 1,
                                gpulet_look_tone(tone), name);
}

static void draw_row(const table_t *t, size_t row, const row_t *r)
{
    const gpulet_live_model_t *m = r->model;
    size_t at = t->name_width;
    draw_name(t, row, r);
    /* One that is not served has nothing to count, but a reason. */
    if (strcmp(m->state, "ready") != 0) {
        char text[NAME_SIZE];
        (void)snprintf(text, sizeof(text), "%s%s%s", m->state, m->reason[0] != '\0' ? ": " : "",
                       m->reason);
        (void)gpulet_screen_put(t->screen, row, at + 1, t->screen->width,
                                gpulet_look_tone(GPULET_TONE_WARN), text);
        return;
    }
    for (size_t c = 0; c < COLUMNS_COUNT; c++) {
        char text[VALUE_SIZE];
        if (!t->shown[c])
            continue;
        double value = columns[c].value(r);
        value_text(text, value, columns[c].tint);
        gpulet_screen_put_right(t->screen, row, at + 1, columns[c].width - 1,
                                gpulet_look_tone(tone_of(r, columns[c].tint, value)), text);
        at += columns[c].width;
    }
}

/* ---- order ---- */

static int by_index(const row_t *a, const row_t *b)
{
    return a->index < b->index ? -1 : a->index > b->index ? 1 : 0;
}

static int descending(double a, double b)
{
    a = isnan(a) ? -HUGE_VAL : a;
    b = isnan(b) ? -HUGE_VAL : b;
    return a > b ? -1 : a < b ? 1 : 0;
}

static int by_name(const void *a, const void *b)
{
    int order = strcmp(((const row_t *)a)->model->name, ((const row_t *)b)->model->name);
    return order != 0 ? order : by_index(a, b);
}

static int by_rate(const void *a, const void *b)
{
    int order = descending(rate_now(a), rate_now(b));
    return order != 0 ? order : by_index(a, b);
}

static int by_misses(const void *a, const void *b)
{
    int order =
        descending(misses(&((const row_t *)a)->change), misses(&((const row_t *)b)->change));
    return order != 0 ? order : by_index(a, b);
}

/* What was asked since the last look first; then over all time. */
static int by_attainment(const void *a, const void *b)
{
    int order = descending(-attained_now(a), -attained_now(b));
    order = order != 0 ? order : descending(-attained(a), -attained(b));
    return order != 0 ? order : by_index(a, b);
}

gpulet_status_t top_models_draw(gpulet_screen_t *screen, const gpulet_top_t *top, top_area_t area)
{
    static int (*const orders[])(const void *, const void *) = {NULL, by_name, by_rate, by_misses,
                                                                by_attainment};
    const gpulet_live_status_t *s = top->now;
    const size_t first = top->scroll[GPULET_TOP_MODELS];
    table_t t = {.screen = screen};
    row_t *rows = calloc(s->models_count + 1, sizeof(*rows));
    if (rows == NULL)
        return GPULET_E_NOMEM;
    for (size_t i = 0; i < s->models_count; i++) {
        rows[i] = (row_t){.index = i, .model = &s->models[i]};
        rows[i].changed = gpulet_live_change(&rows[i].change, s, top->before, i);
    }
    if (orders[top->sort] != NULL)
        qsort(rows, s->models_count, sizeof(*rows), orders[top->sort]);
    choose_columns(&t, s);
    draw_titles(&t, top, area);
    for (size_t i = 0; i + 1 < area.rows && first + i < s->models_count; i++)
        draw_row(&t, area.row + 1 + i, &rows[first + i]);
    free(rows);
    return GPULET_OK;
}
