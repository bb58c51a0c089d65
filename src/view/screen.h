/* A picture for a terminal: a grid of cells, each with one character and how it looks. What is
 * drawn outside of the grid is cut off. Texts may come from anywhere: what is no character, or
 * would steer a terminal, is shown as '?'. Pure. */
#ifndef GPULET_VIEW_SCREEN_H
#define GPULET_VIEW_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

/* Columns and rows of the largest grid. */
enum { GPULET_SCREEN_WIDTH_MAX = 1000, GPULET_SCREEN_HEIGHT_MAX = 20000 };

typedef enum gpulet_tone {
    GPULET_TONE_PLAIN,
    GPULET_TONE_TITLE, /* headings */
    GPULET_TONE_FAINT,
    GPULET_TONE_GOOD,
    GPULET_TONE_WARN,
    GPULET_TONE_BAD
} gpulet_tone_t;

enum { GPULET_SCREEN_NO_MODEL = -1 };

/* How cells look: on the colour of a model, or in a tone. */
typedef struct gpulet_look {
    gpulet_tone_t tone;
    int32_t model; /* GPULET_SCREEN_NO_MODEL: none */
} gpulet_look_t;

typedef struct gpulet_cell {
    char glyph[5]; /* one character; "" where one of two columns in the cell before goes on */
    gpulet_look_t look;
} gpulet_cell_t;

typedef struct gpulet_screen {
    size_t width;
    size_t height;
    bool utf8;            /* else ASCII alone */
    gpulet_cell_t *cells; /* height rows of width; owned */
} gpulet_screen_t;

/* All blank. Sizes are brought into 1 … the largest. */
gpulet_status_t gpulet_screen_init(gpulet_screen_t *screen, size_t width, size_t height,
                                   bool utf8) GPULET_MUST_USE;
void gpulet_screen_deinit(gpulet_screen_t *screen);
/* NULL outside. */
gpulet_cell_t *gpulet_screen_at(const gpulet_screen_t *screen, size_t row, size_t column);

gpulet_look_t gpulet_look_tone(gpulet_tone_t tone);
gpulet_look_t gpulet_look_model(size_t model);

/* Columns that a text takes. */
size_t gpulet_screen_columns(const char *text, bool utf8);
/* Puts as much of the text as fits into `room` columns; a text that is cut ends with an ellipsis.
 * Returns the columns used. */
size_t gpulet_screen_put(gpulet_screen_t *screen, size_t row, size_t column, size_t room,
                         gpulet_look_t look, const char *text);
/* The same so that the text ends where the room does. */
void gpulet_screen_put_right(gpulet_screen_t *screen, size_t row, size_t column, size_t room,
                             gpulet_look_t look, const char *text);
void gpulet_screen_fill(gpulet_screen_t *screen, size_t row, size_t column, size_t room,
                        gpulet_look_t look, const char *glyph);

/* The rows as lines of text without looks; blanks at their ends, and blank rows at the end, are
 * left out. */
gpulet_status_t gpulet_screen_text(gpulet_buf_t *out,
                                   const gpulet_screen_t *screen) GPULET_MUST_USE;

#endif
