#include "view/plan_svg.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "view/fold.h"
#include "view/plan_text.h"
#include "view/svg.h"

enum { TEXT_MAX = 640, ROWS_MAX = 200, TITLE_CHARACTERS = 100 };

/* Pixels. */
static const double WIDTH = 960, MARGIN = 20, LABEL = 130, BAR_HEIGHT = 58, LINE = 14, CAPTION = 14,
                    ROW_GAP = 8, RULER = 26, TABLE_LINE = 18, SMALL_TEXT = 0.8;

typedef struct picture {
    gpulet_buf_t *out;
    const gpulet_plan_t *plan;
    const gpulet_device_set_t *devices;
    double y; /* where the next thing goes */
} picture_t;

static double bar_x(void)
{
    return MARGIN + LABEL;
}

static double bar_width(void)
{
    return WIDTH - 2 * MARGIN - LABEL;
}

/* ---- a gpu-let ---- */

static void describe(char *text, size_t size, const picture_t *p, const gpulet_plan_share_t *share,
                     bool by_name)
{
    char key[GPULET_VIEW_KEY_SIZE];
    char instances[24] = "";
    const char *name =
        by_name ? share->model : gpulet_view_key(key, gpulet_view_model(p->plan, share->model));
    if (share->instances > 1)
        (void)snprintf(instances, sizeof(instances), "·%u", share->instances);
    (void)snprintf(text, size, "%s ×%u%s", name, share->batch, instances);
}

static void hint_of(char *text, size_t size, const gpulet_plan_gpulet_t *g,
                    const gpulet_plan_share_t *share)
{
    (void)snprintf(
        text, size,
        "%s: %u units, batch %u, %u instance%s, %.1f of %.1f requests/s, runs %.2f ms of "
        "every %.2f ms, worst case %.2f ms",
        share->model, g->units, share->batch, share->instances, share->instances == 1 ? "" : "s",
        share->rate_rps, share->capacity_rps, share->latency_ms, g->duty_ms, share->worst_ms);
}

/* The name and batch, else the key and batch, else the key, in what is left of one stripe; false
 * when there is no room at all. */
static bool put_name(const picture_t *p, const gpulet_svg_rect_t *stripe,
                     const gpulet_plan_share_t *share)
{
    char text[TEXT_MAX];
    bool large = stripe->height >= LINE - 1;
    double shrink = large ? 1.0 : SMALL_TEXT;
    if (stripe->height < LINE * SMALL_TEXT - 1)
        return false;
    describe(text, sizeof(text), p, share, true);
    if (gpulet_svg_width(text) * shrink + 6 > stripe->width)
        describe(text, sizeof(text), p, share, false);
    if (gpulet_svg_width(text) * shrink + 4 > stripe->width)
        (void)gpulet_view_key(text, gpulet_view_model(p->plan, share->model));
    if (gpulet_svg_width(text) * shrink > stripe->width)
        return false;
    gpulet_svg_text(p->out, stripe->x + stripe->width / 2,
                    stripe->y + stripe->height / 2 + 4 * shrink,
                    large ? GPULET_SVG_TEXT_INSIDE : GPULET_SVG_TEXT_INSIDE_SMALL,
                    GPULET_SVG_ANCHOR_MIDDLE, text);
    return true;
}

/* Units and duty cycle below the box, with the keys of models whose stripes were too thin. */
static void put_caption(const picture_t *p, const gpulet_plan_gpulet_t *g,
                        const gpulet_svg_rect_t *box, const char *keys)
{
    char text[TEXT_MAX];
    (void)snprintf(text, sizeof(text), "%u units, %.1f ms%s%s", g->units, g->duty_ms,
                   keys[0] != '\0' ? ", also " : "", keys);
    if (gpulet_svg_width(text) * SMALL_TEXT > box->width)
        (void)snprintf(text, sizeof(text), "%u", g->units);
    if (gpulet_svg_width(text) * SMALL_TEXT <= box->width)
        gpulet_svg_text(p->out, box->x + box->width / 2, box->y + box->height + 10,
                        GPULET_SVG_TEXT_SMALL, GPULET_SVG_ANCHOR_MIDDLE, text);
}

static void put_gpulet(const picture_t *p, const gpulet_plan_gpulet_t *g, gpulet_view_span_t span)
{
    gpulet_svg_rect_t box = {.x = bar_x() + span.begin * bar_width(),
                             .y = p->y,
                             .width = (span.end - span.begin) * bar_width(),
                             .height = BAR_HEIGHT};
    char text[TEXT_MAX];
    char keys[TEXT_MAX / 2] = "";
    double y = box.y;
    gpulet_svg_box(p->out, &box, "#ffffff", NULL); /* the idle part of the cycle */
    for (size_t i = 0; i < g->shares_count; i++) {
        const gpulet_plan_share_t *share = &g->shares[i];
        double part = g->duty_ms > 0.0 ? share->latency_ms / g->duty_ms : 0.0;
        gpulet_svg_rect_t stripe = {box.x, y, box.width,
                                    fmin(part * BAR_HEIGHT, box.y + BAR_HEIGHT - y)};
        gpulet_svg_rect_t room = g->shares_count == 1 ? box : stripe;
        hint_of(text, sizeof(text), g, share);
        gpulet_svg_box(p->out, &stripe, gpulet_svg_colour(gpulet_view_model(p->plan, share->model)),
                       text);
        if (!put_name(p, &room, share)) {
            size_t length = strlen(keys);
            char key[GPULET_VIEW_KEY_SIZE];
            (void)gpulet_view_key(key, gpulet_view_model(p->plan, share->model));
            (void)snprintf(keys + length, sizeof(keys) - length, "%s%s", length > 0 ? "+" : "",
                           key);
        }
        y += stripe.height;
    }
    put_caption(p, g, &box, keys);
}

/* ---- rows ---- */

static void put_ruler(picture_t *p, const gpulet_plan_device_t *device)
{
    const gpulet_device_type_t *type = gpulet_view_type(p->devices, device->type);
    double scale = gpulet_view_scale(device, type);
    uint64_t step = gpulet_view_step(scale, 20.0);
    double y = p->y + RULER - 6;
    gpulet_svg_text(p->out, MARGIN, y - 2, GPULET_SVG_TEXT_SMALL, GPULET_SVG_ANCHOR_START,
                    type != NULL && type->slots > 0 ? "slots" : "units");
    gpulet_svg_line(p->out, bar_x(), y, bar_x() + bar_width(), y);
    for (uint64_t mark = 0; (double)mark <= scale; mark += step) {
        char text[32];
        double x = bar_x() + (double)mark / scale * bar_width();
        (void)snprintf(text, sizeof(text), "%" PRIu64, mark);
        gpulet_svg_line(p->out, x, y - 4, x, y);
        gpulet_svg_text(p->out, x, y - 7, GPULET_SVG_TEXT_SMALL, GPULET_SVG_ANCHOR_MIDDLE, text);
    }
    p->y += RULER;
}

/* At most `room` characters, the last of them an ellipsis when there are more. */
static void cut(char *out, size_t size, const char *text, size_t room)
{
    size_t length = 0;
    size_t at = 0;
    bool long_text = gpulet_view_length(text) > room;
    while (text[at] != '\0' && at + 4 < size) {
        length += ((unsigned char)text[at] & 0xC0) != 0x80 ? 1 : 0;
        if (long_text && length == room)
            break;
        out[at] = text[at];
        at++;
    }
    (void)snprintf(out + at, size - at, "%s", long_text ? "…" : "");
}

static void put_row(picture_t *p, const gpulet_view_group_t *group)
{
    const gpulet_plan_device_t *device = &p->plan->devices[group->first];
    const gpulet_device_type_t *type = gpulet_view_type(p->devices, device->type);
    char label[GPULET_DEVICE_NAME_MAX + 32];
    gpulet_svg_rect_t whole = {bar_x(), p->y, bar_width(), BAR_HEIGHT};
    size_t room = (size_t)(LABEL / gpulet_svg_width("m"));
    if (group->count > 1)
        (void)snprintf(label, sizeof(label), " ×%zu", group->count);
    else
        (void)snprintf(label, sizeof(label), " %u", device->index);
    bool one_line = gpulet_view_length(device->type) + gpulet_view_length(label) <= room;
    char name[GPULET_DEVICE_NAME_MAX + 8];
    cut(name, sizeof(name), device->type, room);
    gpulet_svg_text(p->out, MARGIN, p->y + BAR_HEIGHT / 2 - (one_line ? -4 : 4),
                    GPULET_SVG_TEXT_PLAIN, GPULET_SVG_ANCHOR_START, name);
    gpulet_svg_text(p->out, one_line ? bar_x() - 10 : MARGIN,
                    p->y + BAR_HEIGHT / 2 + (one_line ? 4 : 14), GPULET_SVG_TEXT_PLAIN,
                    one_line ? GPULET_SVG_ANCHOR_END : GPULET_SVG_ANCHOR_START, label + 1);
    gpulet_svg_frame(p->out, &whole);
    for (size_t i = 0; i < device->gpulets_count; i++)
        put_gpulet(p, &device->gpulets[i], gpulet_view_place(device, type, i));
    p->y += BAR_HEIGHT + CAPTION + ROW_GAP;
}

/* ---- the table ---- */

static double worst_of(const gpulet_plan_t *plan, const char *model)
{
    double worst_ms = 0.0;
    for (size_t d = 0; d < plan->devices_count; d++) {
        for (size_t i = 0; i < plan->devices[d].gpulets_count; i++) {
            const gpulet_plan_gpulet_t *g = &plan->devices[d].gpulets[i];
            for (size_t k = 0; k < g->shares_count; k++) {
                if (strcmp(g->shares[k].model, model) == 0)
                    worst_ms = fmax(worst_ms, g->shares[k].worst_ms);
            }
        }
    }
    return worst_ms;
}

static void put_table(picture_t *p)
{
    static const char *const heads[] = {"requests/s", "capacity/s", "SLO ms", "worst case ms"};
    const double columns[] = {480, 590, 680, 800};
    p->y += TABLE_LINE;
    gpulet_svg_text(p->out, MARGIN + 48, p->y, GPULET_SVG_TEXT_SMALL, GPULET_SVG_ANCHOR_START,
                    "model");
    for (size_t i = 0; i < 4; i++)
        gpulet_svg_text(p->out, columns[i], p->y, GPULET_SVG_TEXT_SMALL, GPULET_SVG_ANCHOR_END,
                        heads[i]);
    for (size_t i = 0; i < p->plan->models_count; i++) {
        const gpulet_plan_model_t *m = &p->plan->models[i];
        const double figures[] = {m->rate_rps, m->capacity_rps, m->slo_ms,
                                  worst_of(p->plan, m->model)};
        char key[GPULET_VIEW_KEY_SIZE];
        char text[32];
        gpulet_svg_rect_t swatch = {MARGIN, p->y + 6, 14, 12};
        p->y += TABLE_LINE;
        gpulet_svg_box(p->out, &swatch, gpulet_svg_colour(i), NULL);
        gpulet_svg_text(p->out, MARGIN + 22, p->y - 2, GPULET_SVG_TEXT_PLAIN,
                        GPULET_SVG_ANCHOR_START, gpulet_view_key(key, i));
        gpulet_svg_text(p->out, MARGIN + 48, p->y - 2, GPULET_SVG_TEXT_PLAIN,
                        GPULET_SVG_ANCHOR_START, m->model);
        for (size_t k = 0; k < 4; k++) {
            (void)snprintf(text, sizeof(text), k < 2 ? "%.1f" : "%.2f", figures[k]);
            gpulet_svg_text(p->out, columns[k], p->y - 2, GPULET_SVG_TEXT_PLAIN,
                            GPULET_SVG_ANCHOR_END, text);
        }
        if (m->capacity_rps < m->rate_rps * (1 - 1e-6))
            gpulet_svg_text(p->out, columns[3] + 20, p->y - 2, GPULET_SVG_TEXT_PLAIN,
                            GPULET_SVG_ANCHOR_START, "not enough");
    }
}

/* The verdict over as many lines as it takes, broken at blanks. */
static void put_title(picture_t *p, const char *verdict)
{
    while (*verdict != '\0') {
        char line[TEXT_MAX];
        size_t size = strlen(verdict);
        if (size > TITLE_CHARACTERS) {
            size = TITLE_CHARACTERS;
            while (size > 1 && verdict[size] != ' ')
                size--;
            if (size == 1) /* one word of a whole line and more */
                size = strcspn(verdict, " ");
            size = size < sizeof(line) ? size : sizeof(line) - 1;
        }
        memcpy(line, verdict, size);
        line[size] = '\0';
        p->y += LINE + 6;
        gpulet_svg_text(p->out, MARGIN, p->y, GPULET_SVG_TEXT_TITLE, GPULET_SVG_ANCHOR_START, line);
        verdict += size;
        verdict += *verdict == ' ' ? 1 : 0;
    }
}

static void put_rows(picture_t *p, const gpulet_view_group_t *groups, size_t count)
{
    const char *type = "";
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        const gpulet_plan_device_t *device = &p->plan->devices[groups[i].first];
        if (i >= ROWS_MAX) {
            left += groups[i].count;
            continue;
        }
        if (strcmp(type, device->type) != 0)
            put_ruler(p, device);
        type = device->type;
        put_row(p, &groups[i]);
    }
    if (left > 0) {
        char text[64];
        (void)snprintf(text, sizeof(text), "… and %zu more devices", left);
        p->y += LINE;
        gpulet_svg_text(p->out, bar_x(), p->y, GPULET_SVG_TEXT_PLAIN, GPULET_SVG_ANCHOR_START,
                        text);
    }
}

gpulet_status_t gpulet_view_plan_svg(gpulet_buf_t *out, const gpulet_plan_t *plan,
                                     const gpulet_device_set_t *devices)
{
    gpulet_buf_t body = GPULET_BUF_INIT; /* drawn first: only then is the height known */
    gpulet_buf_t verdict = GPULET_BUF_INIT;
    gpulet_view_group_t *groups = NULL;
    size_t count = 0;
    picture_t p = {.out = &body, .plan = plan, .devices = devices, .y = MARGIN};
    gpulet_status_t st = gpulet_view_fold(&groups, &count, plan);
    if (st == GPULET_OK)
        st = gpulet_view_verdict(&verdict, plan);
    if (st == GPULET_OK) {
        verdict.data[strcspn(verdict.data, "\n")] = '\0';
        put_title(&p, verdict.data);
        p.y += ROW_GAP;
        put_rows(&p, groups, count);
        put_table(&p);
        gpulet_svg_begin(out, WIDTH, p.y + MARGIN, verdict.data);
        gpulet_buf_append(out, body.data, body.size);
        gpulet_svg_end(out);
        st = gpulet_buf_status(&body);
    }
    gpulet_buf_deinit(&body);
    gpulet_buf_deinit(&verdict);
    free(groups);
    return st == GPULET_OK ? gpulet_buf_status(out) : st;
}
