/* The bars of a plan: each line is laid out as cells, so that colours and the width of characters
 * stay out of the arithmetic. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/text.h"
#include "view/fold.h"
#include "view/plan_text.h"

enum { LABEL_MAX = 24, PIECE_MAX = 512, NO_COLOUR = -1, RULER_COLUMNS = 6 };

typedef struct cell {
    char glyph[5]; /* one character */
    int colour;    /* index of a model, or NO_COLOUR */
} cell_t;

typedef struct canvas {
    gpulet_buf_t *out;
    const gpulet_plan_t *plan;
    const gpulet_device_set_t *devices;
    const gpulet_view_style_t *style;
    size_t label_width;
    size_t bar_width; /* without the closing line */
    cell_t *cells;    /* owned; bar_width + 1 */
} canvas_t;

size_t gpulet_view_length(const char *text)
{
    size_t length = 0;
    for (const char *p = text; *p != '\0'; p++)
        length += ((unsigned char)*p & 0xC0) != 0x80 ? 1 : 0;
    return length;
}

static void set_cell(cell_t *cell, const char *glyph, size_t size, int colour)
{
    size = size < sizeof(cell->glyph) ? size : sizeof(cell->glyph) - 1;
    memcpy(cell->glyph, glyph, size);
    cell->glyph[size] = '\0';
    cell->colour = colour;
}

/* Writes text into cells[0..room), as much as fits; returns the cells used. */
static size_t put_text(const canvas_t *c, cell_t *cells, size_t room, const char *text, int colour)
{
    size_t used = 0;
    size_t left = strlen(text);
    while (left > 0 && used < room) {
        size_t step = gpulet_text_utf8(text, left);
        if (step == 0 || (step > 1 && !c->style->utf8))
            set_cell(&cells[used++], "?", 1, colour);
        else
            set_cell(&cells[used++], text, step, colour);
        text += step == 0 ? 1 : step;
        left -= step == 0 ? 1 : step;
    }
    return used;
}

/* ---- what stands in a gpu-let ---- */

typedef enum detail { DETAIL_NAMES, DETAIL_KEYS_AND_BATCHES, DETAIL_KEYS, DETAILS_COUNT } detail_t;

static void describe_share(const canvas_t *c, char *text, size_t size,
                           const gpulet_plan_share_t *share, detail_t detail)
{
    char key[GPULET_VIEW_KEY_SIZE];
    const char *times = c->style->utf8 ? "×" : "x";
    const char *dot = c->style->utf8 ? "·" : "*";
    char instances[24] = "";
    const char *name = detail == DETAIL_NAMES
                           ? share->model
                           : gpulet_view_key(key, gpulet_view_model(c->plan, share->model));
    if (share->instances > 1)
        (void)snprintf(instances, sizeof(instances), "%s%u", dot, share->instances);
    if (detail == DETAIL_KEYS)
        (void)snprintf(text, size, "%s", name);
    else
        (void)snprintf(text, size, "%s%s%s%u%s", name, detail == DETAIL_NAMES ? " " : "", times,
                       share->batch, instances);
}

/* Puts the gpu-let's models into the cells in the most detail that fits. */
static void fill_piece(const canvas_t *c, cell_t *cells, size_t room, const gpulet_plan_gpulet_t *g)
{
    char text[PIECE_MAX];
    for (int detail = 0; detail < DETAILS_COUNT; detail++) {
        const char *joint = detail == DETAIL_NAMES ? " + " : "+";
        size_t length = 0;
        for (size_t i = 0; i < g->shares_count; i++) {
            describe_share(c, text, sizeof(text), &g->shares[i], (detail_t)detail);
            length += gpulet_view_length(text) + (i > 0 ? strlen(joint) : 0);
        }
        if (length > room && detail + 1 < DETAILS_COUNT)
            continue;
        size_t at = length < room && detail == DETAIL_NAMES ? 1 : 0; /* a blank looks better */
        for (size_t i = 0; i < g->shares_count; i++) {
            int colour = (int)gpulet_view_model(c->plan, g->shares[i].model);
            describe_share(c, text, sizeof(text), &g->shares[i], (detail_t)detail);
            if (i > 0)
                at += put_text(c, cells + at, room - at, joint, colour);
            at += put_text(c, cells + at, room - at, text, colour);
        }
        if (length > room && room > 0)
            set_cell(&cells[room - 1], c->style->utf8 ? "…" : "~", c->style->utf8 ? 3 : 1,
                     cells[room - 1].colour);
        return;
    }
}

static void fill_device(const canvas_t *c, const gpulet_plan_device_t *device)
{
    const gpulet_device_type_t *type = gpulet_view_type(c->devices, device->type);
    const char *line = c->style->utf8 ? "│" : "|";
    const char *free_cell = c->style->utf8 ? "░" : ".";
    for (size_t i = 0; i < c->bar_width; i++)
        set_cell(&c->cells[i], free_cell, strlen(free_cell), NO_COLOUR);
    for (size_t i = 0; i < device->gpulets_count; i++) {
        const gpulet_plan_gpulet_t *g = &device->gpulets[i];
        gpulet_view_span_t span = gpulet_view_place(device, type, i);
        size_t begin = (size_t)floor(span.begin * (double)c->bar_width + 1e-6);
        size_t end = (size_t)floor(span.end * (double)c->bar_width + 1e-6);
        int colour =
            g->shares_count > 0 ? (int)gpulet_view_model(c->plan, g->shares[0].model) : NO_COLOUR;
        if (begin == end)
            continue; /* narrower than a column */
        for (size_t x = begin + 1; x < end; x++)
            set_cell(&c->cells[x], " ", 1, colour);
        fill_piece(c, &c->cells[begin + 1], end - begin - 1, g);
        set_cell(&c->cells[begin], line, strlen(line), NO_COLOUR);
        set_cell(&c->cells[end], line, strlen(line), NO_COLOUR);
    }
    set_cell(&c->cells[0], line, strlen(line), NO_COLOUR);
    set_cell(&c->cells[c->bar_width], line, strlen(line), NO_COLOUR);
}

static void put_cells(const canvas_t *c)
{
    int colour = NO_COLOUR;
    for (size_t i = 0; i <= c->bar_width; i++) {
        if (c->style->colour && c->cells[i].colour != colour) {
            colour = c->cells[i].colour;
            if (colour == NO_COLOUR)
                gpulet_buf_append_str(c->out, "\033[0m");
            else
                gpulet_buf_printf(c->out, "\033[38;5;16;48;5;%um",
                                  gpulet_view_background((size_t)colour));
        }
        gpulet_buf_append_str(c->out, c->cells[i].glyph);
    }
    gpulet_buf_append_char(c->out, '\n'); /* the last cell is a line, without colour */
}

/* ---- lines ---- */

static void label_of(const canvas_t *c, char *text, size_t size, const gpulet_view_group_t *group)
{
    const gpulet_plan_device_t *device = &c->plan->devices[group->first];
    if (group->count > 1)
        (void)snprintf(text, size, "%s %s%zu", device->type, c->style->utf8 ? "×" : "x",
                       group->count);
    else
        (void)snprintf(text, size, "%s %u", device->type, device->index);
}

static void put_label(const canvas_t *c, const char *text)
{
    cell_t cells[LABEL_MAX];
    size_t room = c->label_width < LABEL_MAX ? c->label_width : LABEL_MAX;
    size_t used = put_text(c, cells, room, text, NO_COLOUR);
    for (size_t i = 0; i < used; i++)
        gpulet_buf_append_str(c->out, cells[i].glyph);
    gpulet_buf_printf(c->out, "%*s", (int)(c->label_width - used) + 1, "");
}

/* Marks in the units that the device is measured in. */
static void put_ruler(const canvas_t *c, const gpulet_plan_device_t *device)
{
    const gpulet_device_type_t *type = gpulet_view_type(c->devices, device->type);
    double scale = gpulet_view_scale(device, type);
    uint64_t step = gpulet_view_step(scale, (double)c->bar_width / RULER_COLUMNS);
    size_t at = 0;
    put_label(c, type != NULL && type->slots > 0 ? "slots" : "units");
    for (uint64_t mark = 0; (double)mark <= scale; mark += step) {
        char text[32];
        size_t x = (size_t)floor((double)mark / scale * (double)c->bar_width + 1e-6);
        (void)snprintf(text, sizeof(text), "%" PRIu64, mark);
        size_t end = x + strlen(text);
        if (x < at || end > c->bar_width + 1 + (mark > 0 ? strlen(text) - 1 : 0))
            continue;
        gpulet_buf_printf(c->out, "%*s%s", (int)(x - at), "", text);
        at = end;
    }
    gpulet_buf_append_char(c->out, '\n');
}

static void put_groups(const canvas_t *c, const gpulet_view_group_t *groups, size_t count)
{
    const char *type = "";
    size_t drawn = 0;
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        const gpulet_plan_device_t *device = &c->plan->devices[groups[i].first];
        char label[GPULET_DEVICE_NAME_MAX + 32];
        if (drawn == GPULET_VIEW_ROWS_MAX) {
            left += groups[i].count;
            continue;
        }
        if (strcmp(type, device->type) != 0)
            put_ruler(c, device);
        type = device->type;
        label_of(c, label, sizeof(label), &groups[i]);
        put_label(c, label);
        fill_device(c, device);
        put_cells(c);
        drawn++;
    }
    if (left > 0)
        gpulet_buf_printf(c->out, "%s and %zu more devices\n", c->style->utf8 ? "…" : "...", left);
}

gpulet_status_t gpulet_view_bars(gpulet_buf_t *out, const gpulet_plan_t *plan,
                                 const gpulet_device_set_t *devices,
                                 const gpulet_view_style_t *style)
{
    gpulet_view_group_t *groups = NULL;
    size_t count = 0;
    size_t width = style->width;
    width = width < GPULET_VIEW_WIDTH_MIN ? GPULET_VIEW_WIDTH_MIN : width;
    width = width > GPULET_VIEW_WIDTH_MAX ? GPULET_VIEW_WIDTH_MAX : width;
    canvas_t c = {.out = out, .plan = plan, .devices = devices, .style = style, .label_width = 5};
    gpulet_status_t st = gpulet_view_fold(&groups, &count, plan);
    if (st != GPULET_OK)
        return st;
    for (size_t i = 0; i < count; i++) {
        char label[GPULET_DEVICE_NAME_MAX + 32];
        label_of(&c, label, sizeof(label), &groups[i]);
        size_t length = gpulet_view_length(label);
        c.label_width = length > c.label_width ? length : c.label_width;
    }
    size_t most = width / 3 < LABEL_MAX ? width / 3 : LABEL_MAX;
    c.label_width = c.label_width < most ? c.label_width : most;
    c.bar_width = width - c.label_width - 2;
    c.cells = calloc(c.bar_width + 1, sizeof(*c.cells));
    if (c.cells != NULL)
        put_groups(&c, groups, count);
    st = c.cells != NULL ? gpulet_buf_status(out) : GPULET_E_NOMEM;
    free(c.cells);
    free(groups);
    return st;
}
