/* The terminal of `gpulet top`, by ncurses: shows a screen of cells, tells keys. There is one
 * terminal a process. */
#ifndef GPULET_CMD_CMD_TOP_TERMINAL_H
#define GPULET_CMD_CMD_TOP_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "view/screen.h"

typedef enum top_key {
    TOP_KEY_NONE, /* nothing was pressed */
    TOP_KEY_QUIT,
    TOP_KEY_PAUSE,
    TOP_KEY_SORT,
    TOP_KEY_HELP,
    TOP_KEY_SECTION,
    TOP_KEY_UP,
    TOP_KEY_DOWN,
    TOP_KEY_PAGE_UP,
    TOP_KEY_PAGE_DOWN,
    TOP_KEY_HOME,
    TOP_KEY_END,
    TOP_KEY_RESIZE,
    TOP_KEY_REDRAW, /* everything anew */
    TOP_KEY_OTHER
} top_key_t;

/* Takes the terminal of standard input and output over. E_UNSUPPORTED when it cannot be driven. */
gpulet_status_t top_terminal_open(gpulet_error_t *err) GPULET_MUST_USE;
/* Gives it back as it was. May be called at any time. */
void top_terminal_close(void);
void top_terminal_size(size_t *width, size_t *height);
top_key_t top_terminal_key(void);
void top_terminal_show(const gpulet_screen_t *screen, bool all_anew);

#endif
