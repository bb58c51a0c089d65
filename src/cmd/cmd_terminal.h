/* What the terminal that standard output goes to can show. */
#ifndef GPULET_CMD_CMD_TERMINAL_H
#define GPULET_CMD_CMD_TERMINAL_H

#include "view/plan_text.h"

/* Width: the terminal's, else COLUMNS, else 100. UTF-8 as LC_ALL, LC_CTYPE or LANG say. Colours
 * only on a terminal that is not called dumb, and not when NO_COLOR is set. */
gpulet_view_style_t cmd_terminal_style(void);

#endif
