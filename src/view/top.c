#include "view/top.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "view/top_internal.h"

enum { LINE_SIZE = 1024, LOW = 12 /* rows below which the head is short */ };

const char *gpulet_top_sort_text(gpulet_top_sort_t sort)
{
    static const char *const texts[] = {
#define GPULET_TOP_SORT_TEXT(name, text) text,
        GPULET_TOP_SORT_MAP(GPULET_TOP_SORT_TEXT)
#undef GPULET_TOP_SORT_TEXT
    };
    return texts[sort];
}

static void put(gpulet_screen_t *screen, size_t row, gpulet_tone_t tone, const char *text)
{
    (void)gpulet_screen_put(screen, row, 0, screen->width, gpulet_look_tone(tone), text);
}

static void append(char *line, const char *fmt, ...) GPULET_PRINTF(2, 3);

/* To a line of LINE_SIZE, cut at its end. */
static void append(char *line, const char *fmt, ...)
{
    size_t used = strlen(line);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(line + used, LINE_SIZE - used, fmt, args);
    va_end(args);
}

static void append_duration(char *line, double s)
{
    double rest = floor(fmin(fmax(s, 0), 1e9)); /* also what is no number */
    if (s < 60)
        append(line, "%.0f s", rest);
    else if (s < 3600)
        append(line, "%.0f m %.0f s", floor(rest / 60), fmod(rest, 60));
    else if (s < 86400)
        append(line, "%.0f h %.0f m", floor(rest / 3600), fmod(floor(rest / 60), 60));
    else
        append(line, "%.0f d %.0f h", floor(rest / 86400), fmod(floor(rest / 3600), 24));
}

const char *top_percent(char *out, size_t size, double percent)
{
    (void)snprintf(out, size, percent >= 100 ? "%.0f" : "%.2f", floor(percent * 100 + 1e-9) / 100);
    return out;
}

/* ---- head ---- */

static void draw_first(gpulet_screen_t *screen, const gpulet_top_t *top)
{
    char line[LINE_SIZE] = "gpulet";
    const gpulet_live_status_t *s = top->now;
    if (s != NULL && s->version[0] != '\0')
        append(line, " %.40s", s->version);
    append(line, "  %.200s", top->url);
    if (s != NULL) {
        append(line, "  up ");
        append_duration(line, s->uptime_s);
        append(line, "  %s", s->draining ? "draining" : s->ready ? "ready" : "not ready");
    }
    put(screen, 0, GPULET_TONE_TITLE, line);
    if (top->paused && screen->width > 8)
        gpulet_screen_put_right(screen, 0, screen->width - 8, 8, gpulet_look_tone(GPULET_TONE_WARN),
                                " paused");
}

static void plan_line(char *line, const gpulet_live_status_t *s)
{
    double used = isnan(s->devices_used) ? (double)top_devices_used(s) : s->devices_used;
    line[0] = '\0';
    append(line, "plan %.40s, %.0f of %zu device%s", s->planner[0] != '\0' ? s->planner : "none",
           used, s->devices_count, s->devices_count == 1 ? "" : "s");
    if (s->replans > 0)
        append(line, ", %.0f re-plan%s", s->replans, s->replans > 1 ? "s" : "");
    if (s->headroom > 0 && s->headroom < 1e6)
        append(line, ", holds %.2f times the load", s->headroom);
    if (s->shortfall > 0)
        append(line, ", lacks %.1f %%", 100 * s->shortfall);
}

/* What was asked in total since the last look, and how much of it was in time. */
static void traffic_line(char *line, const gpulet_top_t *top)
{
    gpulet_live_change_t all = {0};
    const gpulet_live_status_t *s = top->now;
    double in_time = 0;
    double settled = 0;
    char percent[32];
    bool known = false;
    line[0] = '\0';
    for (size_t i = 0; i < s->models_count; i++) {
        const gpulet_live_model_t *m = &s->models[i];
        gpulet_live_change_t c;
        known |= gpulet_live_change(&c, s, top->before, i);
        all.seconds = c.seconds;
        all.offered += c.offered;
        all.in_time += c.in_time;
        all.late += c.late + c.rejected + c.failed;
        in_time += m->in_time;
        settled += m->in_time + m->late + m->rejected + m->failed;
    }
    if (known)
        append(line, "%.1f requests/s", all.offered / all.seconds);
    if (known && all.in_time + all.late > 0)
        append(line, ", %s %% in time",
               top_percent(percent, sizeof(percent), 100 * all.in_time / (all.in_time + all.late)));
    if (settled > 0)
        append(line, "%s%s %% in time since the start", known ? "; " : "",
               top_percent(percent, sizeof(percent), 100 * in_time / settled));
}

/* The problem, or what is under way, or the plan's verdict. */
static gpulet_tone_t verdict_line(char *line, const gpulet_top_t *top)
{
    const gpulet_live_status_t *s = top->now;
    line[0] = '\0';
    if (s == NULL)
        return GPULET_TONE_PLAIN;
    if (s->planner[0] == '\0') {
        append(line, "there is no plan yet");
        return GPULET_TONE_WARN;
    }
    if (!s->feasible) {
        append(line, "not every objective is met: %.600s",
               s->plan_reason[0] != '\0' ? s->plan_reason : "the plan does not say which is not");
        return GPULET_TONE_BAD;
    }
    append(line, "the plan meets every objective");
    if (s->plan_reason[0] != '\0')
        append(line, " (%.600s)", s->plan_reason);
    return GPULET_TONE_GOOD;
}

static gpulet_tone_t urgent_line(char *line, const gpulet_top_t *top)
{
    const gpulet_live_transition_t *t = top->now != NULL ? &top->now->transition : NULL;
    line[0] = '\0';
    if (top->problem != NULL) {
        append(line, "no answer for ");
        append_duration(line, top->problem_s);
        append(line, " (%.600s); asking again", top->problem);
        return GPULET_TONE_BAD;
    }
    if (top->now == NULL) {
        append(line, "asking the server");
        return GPULET_TONE_PLAIN;
    }
    if (!t->under_way)
        return GPULET_TONE_PLAIN;
    append(line, "going over to another plan");
    if (t->reason[0] != '\0')
        append(line, " (%.200s)", t->reason);
    if (t->since_ms >= 0 && t->since_ms < 1e11)
        append(line, " for %.1f s", t->since_ms / 1000);
    append(line, ": %.0f gpu-let%s starting, %.0f model%s loading", t->starting,
           t->starting == 1 ? "" : "s", t->loading, t->loading == 1 ? "" : "s");
    return GPULET_TONE_WARN;
}

/* Returns the rows used. */
static size_t draw_head(gpulet_screen_t *screen, const gpulet_top_t *top)
{
    char line[LINE_SIZE];
    size_t row = 1;
    draw_first(screen, top);
    if (screen->height < LOW) {
        gpulet_tone_t tone = urgent_line(line, top);
        if (line[0] == '\0')
            tone = verdict_line(line, top);
        put(screen, row, tone, line);
        return row + 1;
    }
    if (top->now != NULL) {
        plan_line(line, top->now);
        put(screen, row++, GPULET_TONE_PLAIN, line);
        traffic_line(line, top);
        if (line[0] != '\0')
            put(screen, row++, GPULET_TONE_PLAIN, line);
        gpulet_tone_t tone = verdict_line(line, top);
        put(screen, row++, tone, line);
    }
    gpulet_tone_t tone = urgent_line(line, top);
    if (line[0] != '\0')
        put(screen, row++, tone, line);
    return row;
}

/* ---- sections ---- */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t section_rows(const gpulet_top_t *top, gpulet_top_section_t section)
{
    if (top->now == NULL)
        return 0;
    return section == GPULET_TOP_DEVICES  ? top_devices_rows(top->now)
           : section == GPULET_TOP_MODELS ? top->now->models_count
           : top->log != NULL             ? top->log->count
                                          : 0;
}

void top_heading(gpulet_screen_t *screen, const gpulet_top_t *top, top_area_t area,
                 gpulet_top_section_t section, size_t room)
{
    static const char *const names[] = {"devices", "models", "events"};
    const char *mark = top->keys && section == top->focus ? " <" : "";
    char line[LINE_SIZE] = "";
    size_t total = section_rows(top, section);
    size_t first = top->scroll[section];
    size_t last = least(first + area.rows - 1, total);
    if (total + 1 > area.rows && area.rows > 1) {
        append(line, "%s %zu-%zu of %zu%s", names[section], first + 1, last, total, mark);
        if (strlen(line) >= room) {
            line[0] = '\0';
            append(line, "%zu-%zu/%zu%s", first + 1, last, total, mark);
        }
    } else {
        append(line, "%s%s", names[section], mark);
    }
    (void)gpulet_screen_put(screen, area.row, 0, room, gpulet_look_tone(GPULET_TONE_TITLE), line);
}

/* Shares rows out: devices get up to a third, events at least a little where there is much room,
 * models what they need; what is left goes to events, then to devices. */
static void share_rows(size_t out[GPULET_TOP_SECTIONS], const gpulet_top_t *top, size_t rows)
{
    size_t want[GPULET_TOP_SECTIONS];
    for (int s = 0; s < GPULET_TOP_SECTIONS; s++) {
        want[s] = section_rows(top, (gpulet_top_section_t)s);
        want[s] += want[s] > 0 ? 1 : 0; /* its heading */
        out[s] = 0;
    }
    size_t third = rows / 3 > 2 ? rows / 3 : 2;
    out[GPULET_TOP_DEVICES] = least(least(want[GPULET_TOP_DEVICES], third), rows);
    rows -= out[GPULET_TOP_DEVICES];
    size_t few = rows >= 10 ? least(want[GPULET_TOP_EVENTS], rows / 4) : 0;
    out[GPULET_TOP_MODELS] = least(want[GPULET_TOP_MODELS], rows - few);
    rows -= out[GPULET_TOP_MODELS];
    size_t more =
        least(want[GPULET_TOP_DEVICES] - out[GPULET_TOP_DEVICES], rows - least(few, rows));
    out[GPULET_TOP_DEVICES] += more;
    rows -= more;
    out[GPULET_TOP_EVENTS] = rows > 1 ? least(want[GPULET_TOP_EVENTS], rows) : 0;
}

static void draw_help(gpulet_screen_t *screen, size_t row)
{
    static const char *const lines[] = {
        "q      leave",
        "p      pause, or go on",
        "s      sort the models another way",
        "Tab    scroll another section (marked <)",
        "arrows, PgUp, PgDn, Home, End   scroll",
        "h, ?   this, or back",
        "",
        "Bars: a device to scale, its gpu-lets, their models and batches; +N: units",
        "borrowed from a neighbour; N%: busy. next: gpu-lets that start, last: that end.",
        "A model with a ! was refused by the gpu-let's worker.",
        "Rates are in requests a second: now, planned for, covered by the plan.",
        "in time, late, refused, failed: since the last look; of all: since the start.",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        put(screen, row + i, GPULET_TONE_PLAIN, lines[i]);
}

static void draw_keys(gpulet_screen_t *screen, const gpulet_top_t *top, size_t row)
{
    char line[LINE_SIZE] = "q quit  h help  p pause  Tab section  arrows scroll  ";
    append(line, "s sort (%s)", gpulet_top_sort_text(top->sort));
    put(screen, row, GPULET_TONE_FAINT, line);
}

static void clamp_scroll(gpulet_top_t *top, gpulet_top_section_t section, size_t rows)
{
    size_t total = section_rows(top, section);
    size_t shown = rows > 1 ? rows - 1 : 0;
    size_t most = total > shown ? total - shown : 0;
    top->scroll[section] = least(top->scroll[section], most);
}

static gpulet_status_t draw_sections(gpulet_screen_t *screen, gpulet_top_t *top, size_t row,
                                     size_t rows, size_t *page)
{
    size_t shares[GPULET_TOP_SECTIONS];
    top_area_t areas[GPULET_TOP_SECTIONS];
    gpulet_status_t st = GPULET_OK;
    share_rows(shares, top, rows);
    for (int s = 0; s < GPULET_TOP_SECTIONS; s++) {
        areas[s] = (top_area_t){.row = row, .rows = shares[s]};
        row += shares[s];
        clamp_scroll(top, (gpulet_top_section_t)s, shares[s]);
    }
    if (page != NULL)
        *page = shares[top->focus] > 2 ? shares[top->focus] - 1 : 1;
    if (shares[GPULET_TOP_DEVICES] > 0)
        st = top_devices_draw(screen, top, areas[GPULET_TOP_DEVICES]);
    if (st == GPULET_OK && shares[GPULET_TOP_MODELS] > 0)
        st = top_models_draw(screen, top, areas[GPULET_TOP_MODELS]);
    if (shares[GPULET_TOP_EVENTS] > 0)
        top_events_draw(screen, top, areas[GPULET_TOP_EVENTS]);
    return st;
}

size_t gpulet_top_rows(const gpulet_top_t *top)
{
    size_t rows = LOW + (top->keys ? 1 : 0); /* the head has six at most */
    for (int s = 0; s < GPULET_TOP_SECTIONS; s++)
        rows += section_rows(top, (gpulet_top_section_t)s) + 1;
    return rows;
}

gpulet_status_t gpulet_top_draw(gpulet_screen_t *screen, gpulet_top_t *top, size_t *page)
{
    size_t row = draw_head(screen, top);
    size_t last = screen->height - (top->keys && screen->height > 2 ? 1 : 0);
    if (page != NULL)
        *page = 1;
    if (last < screen->height)
        draw_keys(screen, top, last);
    if (row < last && screen->height >= LOW)
        row++;
    if (row >= last)
        return GPULET_OK;
    if (top->help) {
        draw_help(screen, row);
        return GPULET_OK;
    }
    return draw_sections(screen, top, row, last - row, page);
}
