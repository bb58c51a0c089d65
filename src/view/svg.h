/* Writes SVG pictures: shapes and texts in the order they are drawn, one element a line. Texts are
 * escaped, and what XML cannot hold becomes U+FFFD. Pictures need no fonts or files from elsewhere,
 * bring their own background, and follow the reader's choice of light or dark. Pure; errors show in
 * gpulet_buf_status(out) at the end. */
#ifndef GPULET_VIEW_SVG_H
#define GPULET_VIEW_SVG_H

#include <stddef.h>

#include "base/buf.h"

typedef enum gpulet_svg_anchor {
    GPULET_SVG_ANCHOR_START,
    GPULET_SVG_ANCHOR_MIDDLE,
    GPULET_SVG_ANCHOR_END
} gpulet_svg_anchor_t;

typedef struct gpulet_svg_rect {
    double x;
    double y;
    double width;
    double height;
} gpulet_svg_rect_t;

/* How a text looks. */
typedef enum gpulet_svg_text {
    GPULET_SVG_TEXT_TITLE,       /* 15 px, bold */
    GPULET_SVG_TEXT_PLAIN,       /* 12 px */
    GPULET_SVG_TEXT_SMALL,       /* 10 px, a little fainter */
    GPULET_SVG_TEXT_INSIDE,      /* 12 px, dark on the light colours of models in either scheme */
    GPULET_SVG_TEXT_INSIDE_SMALL /* 9.5 px */
} gpulet_svg_text_t;

/* Opens the picture and paints its background. `title` is what a screen reader says. */
void gpulet_svg_begin(gpulet_buf_t *out, double width, double height, const char *title);
void gpulet_svg_end(gpulet_buf_t *out);

/* A rectangle of a colour "#rrggbb", with a thin border; `hint` (or NULL) shows when pointed at. */
void gpulet_svg_box(gpulet_buf_t *out, const gpulet_svg_rect_t *rect, const char *colour,
                    const char *hint);
/* The same without a border. */
void gpulet_svg_area(gpulet_buf_t *out, const gpulet_svg_rect_t *rect, const char *colour);
/* An empty frame: what nothing uses. */
void gpulet_svg_frame(gpulet_buf_t *out, const gpulet_svg_rect_t *rect);
void gpulet_svg_line(gpulet_buf_t *out, double x1, double y1, double x2, double y2);
/* y is the baseline. */
void gpulet_svg_text(gpulet_buf_t *out, double x, double y, gpulet_svg_text_t look,
                     gpulet_svg_anchor_t anchor, const char *text);

/* Appends text with the five characters that XML reserves written as entities. */
void gpulet_svg_escape(gpulet_buf_t *out, const char *text);

/* The light colour of a model, by its index; they repeat after a dozen. */
const char *gpulet_svg_colour(size_t index);
/* About how wide a text of 12 px is: fonts differ, so this is on the safe side. */
double gpulet_svg_width(const char *text);

#endif
