#include "view/study_svg.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "view/svg.h"

enum { BLANK = 0xFF, TEXT_MAX = 512 };

/* Pixels. A map narrower or larger than these cannot be read and is left out. */
static const double WIDTH = 960, MARGIN = 20, BAR_HEIGHT = 22, LINE = 18, FIELD_MAX = 12,
                    MAP_HEIGHT_MAX = 2000;

/* By verdict: yes, no, missed, open; told apart by lightness too. */
static const char *const colours[] = {"#2a9d6f", "#b8bec7", "#e8a33d", "#b06fc4"};
static const char *const meanings[] = {"scheduled", "proved impossible", "no plan found",
                                       "left open"};

/* Cases as a rectangle: the first models' rates make the rows, the others' the columns. */
typedef struct map {
    size_t rows_models;
    size_t rows;
    size_t columns;
    double field; /* pixels; 0: too many to draw */
} map_t;

static map_t map_of(const gpulet_study_spec_t *spec)
{
    map_t map = {.rows_models = spec->models_count / 2, .rows = 1, .columns = 1};
    for (size_t i = 0; i < spec->models_count; i++) {
        size_t *side = i < map.rows_models ? &map.rows : &map.columns;
        *side *= spec->rates_count;
    }
    map.field = fmin(FIELD_MAX, floor((WIDTH - 2 * MARGIN) / (double)map.columns));
    if (map.field < 1.0 || map.field * (double)map.rows > MAP_HEIGHT_MAX)
        map.field = 0.0;
    return map;
}

static void put_bar(gpulet_buf_t *out, double y, const gpulet_study_planner_t *planner,
                    size_t cases)
{
    double x = MARGIN;
    for (size_t v = 0; v < GPULET_STUDY_VERDICTS_COUNT; v++) {
        double width = (WIDTH - 2 * MARGIN) * (double)planner->counts[v] / (double)cases;
        gpulet_svg_rect_t rect = {x, y, width, BAR_HEIGHT};
        char text[64];
        if (planner->counts[v] == 0)
            continue;
        (void)snprintf(text, sizeof(text), "%zu %s", planner->counts[v], meanings[v]);
        gpulet_svg_box(out, &rect, colours[v], text);
        if (gpulet_svg_width(text) + 8 > width)
            (void)snprintf(text, sizeof(text), "%zu", planner->counts[v]);
        if (gpulet_svg_width(text) + 4 <= width)
            gpulet_svg_text(out, x + width / 2, y + BAR_HEIGHT / 2 + 4, GPULET_SVG_TEXT_INSIDE,
                            GPULET_SVG_ANCHOR_MIDDLE, text);
        x += width;
    }
}

/* Runs of one verdict are one rectangle. */
static void put_map(gpulet_buf_t *out, double y, const map_t *map, const uint8_t *fields)
{
    gpulet_svg_rect_t frame = {MARGIN, y, map->field * (double)map->columns,
                               map->field * (double)map->rows};
    gpulet_svg_frame(out, &frame);
    for (size_t r = 0; r < map->rows; r++) {
        const uint8_t *row = &fields[r * map->columns];
        for (size_t begin = 0, end = 0; begin < map->columns; begin = end) {
            while (end < map->columns && row[end] == row[begin])
                end++;
            gpulet_svg_rect_t rect = {MARGIN + map->field * (double)begin,
                                      y + map->field * (double)r,
                                      map->field * (double)(end - begin), map->field};
            if (row[begin] != BLANK)
                gpulet_svg_area(out, &rect, colours[row[begin]]);
        }
    }
}

/* Where each case stands in the rectangle; the one that asks for nothing stays blank. */
static void fill_fields(uint8_t *fields, const map_t *map, const gpulet_study_spec_t *spec,
                        const gpulet_study_result_t *result, size_t planner)
{
    memset(fields, BLANK, map->rows * map->columns);
    for (size_t c = 0; c < result->cases_count; c++)
        fields[gpulet_study_case_number(spec, c)] =
            result->verdicts[c * result->planners_count + planner];
}

static void put_caption(gpulet_buf_t *out, double y, const map_t *map,
                        const gpulet_study_spec_t *spec)
{
    char text[TEXT_MAX];
    size_t length = (size_t)snprintf(text, sizeof(text), "Maps: a field a case. Down:");
    for (size_t i = 0; i < spec->models_count && length < sizeof(text) - 1; i++) {
        if (i == map->rows_models)
            length += (size_t)snprintf(text + length, sizeof(text) - length,
                                       "%s. Across:", i == 0 ? " nothing" : "");
        if (length < sizeof(text) - 1)
            length += (size_t)snprintf(text + length, sizeof(text) - length, " %.60s",
                                       spec->models[i].name);
    }
    if (length < sizeof(text) - 1)
        (void)snprintf(text + length, sizeof(text) - length, "; the last named changes fastest.");
    gpulet_svg_text(out, MARGIN, y, GPULET_SVG_TEXT_SMALL, GPULET_SVG_ANCHOR_START, text);
}

static void put_legend(gpulet_buf_t *out, double y)
{
    double x = MARGIN;
    for (size_t v = 0; v < GPULET_STUDY_VERDICTS_COUNT; v++) {
        gpulet_svg_rect_t swatch = {x, y - 10, 14, 12};
        gpulet_svg_box(out, &swatch, colours[v], NULL);
        gpulet_svg_text(out, x + 20, y, GPULET_SVG_TEXT_PLAIN, GPULET_SVG_ANCHOR_START,
                        meanings[v]);
        x += 40 + gpulet_svg_width(meanings[v]);
    }
}

gpulet_status_t gpulet_view_study_svg(gpulet_buf_t *out, const gpulet_study_spec_t *spec,
                                      const gpulet_study_result_t *result)
{
    map_t map = map_of(spec);
    double block = LINE + BAR_HEIGHT + 8 + map.field * (double)map.rows + (map.field > 0 ? 12 : 4);
    double head = MARGIN + 3 * LINE + 8;
    uint8_t *fields = malloc(map.rows * map.columns);
    char text[TEXT_MAX];
    if (fields == NULL)
        return GPULET_E_NOMEM;
    (void)snprintf(text, sizeof(text), "%zu workloads of %zu models on the same devices",
                   result->cases_count, spec->models_count);
    gpulet_svg_begin(out, WIDTH, head + block * (double)spec->planners_count + MARGIN, text);
    gpulet_svg_text(out, MARGIN, MARGIN + 12, GPULET_SVG_TEXT_TITLE, GPULET_SVG_ANCHOR_START, text);
    put_legend(out, MARGIN + 12 + LINE);
    if (map.field > 0.0)
        put_caption(out, MARGIN + 12 + 2 * LINE, &map, spec);
    for (size_t i = 0; i < spec->planners_count; i++) {
        double y = head + block * (double)i;
        const gpulet_study_planner_t *planner = &result->planners[i];
        (void)snprintf(text, sizeof(text), "%s: %zu scheduled, %.2f %%", spec->planners[i]->name,
                       planner->counts[GPULET_STUDY_VERDICT_YES],
                       100.0 * (double)planner->counts[GPULET_STUDY_VERDICT_YES] /
                           (double)result->cases_count);
        gpulet_svg_text(out, MARGIN, y + 12, GPULET_SVG_TEXT_PLAIN, GPULET_SVG_ANCHOR_START, text);
        put_bar(out, y + LINE, planner, result->cases_count);
        if (map.field > 0.0) {
            fill_fields(fields, &map, spec, result, i);
            put_map(out, y + LINE + BAR_HEIGHT + 8, &map, fields);
        }
    }
    gpulet_svg_end(out);
    free(fields);
    return gpulet_buf_status(out);
}
