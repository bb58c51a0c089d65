#include "cmd/cmd_top_terminal.h"

#include <stdio.h>
#include <stdlib.h>

#define NCURSES_NOMACROS 1 /* its macros shadow and convert */
#include <ncurses.h>

#include "view/fold.h"

enum {
    PAIR_WARN = 1,
    PAIR_GOOD,
    PAIR_BAD,
    PAIR_MODELS, /* and those behind it */
    MODEL_COLOURS = 12,
    COLOURS_MANY = 256,
    INK = 16, /* black, whatever the palette of the first sixteen */
    ESCAPE = 27,
    REDRAW = 'L' & 0x1F,
    ESCAPE_WAIT_MS = 50
};

static SCREEN *terminal;
static int model_pairs; /* 0: without colours */

static void set_colours(void)
{
    static const short few[] = {COLOR_CYAN, COLOR_GREEN, COLOR_YELLOW, COLOR_MAGENTA, COLOR_BLUE};
    const char *no = getenv("NO_COLOR");
    model_pairs = 0;
    if (!has_colors() || (no != NULL && no[0] != '\0') || start_color() == ERR)
        return;
    const short ground = use_default_colors() == OK ? -1 : COLOR_BLACK;
    (void)init_pair(PAIR_WARN, COLOR_YELLOW, ground);
    (void)init_pair(PAIR_GOOD, COLOR_GREEN, ground);
    (void)init_pair(PAIR_BAD, COLOR_RED, ground);
    model_pairs = COLORS >= COLOURS_MANY ? MODEL_COLOURS : (int)(sizeof(few) / sizeof(few[0]));
    for (int i = 0; i < model_pairs; i++) {
        if (COLORS >= COLOURS_MANY)
            (void)init_pair((short)(PAIR_MODELS + i), INK,
                            (short)gpulet_view_background((size_t)i));
        else
            (void)init_pair((short)(PAIR_MODELS + i), COLOR_BLACK, few[i]);
    }
}

gpulet_status_t top_terminal_open(gpulet_error_t *err)
{
    const char *name = getenv("TERM");
    terminal = newterm(NULL, stdout, stdin);
    if (terminal == NULL)
        return gpulet_fail(err, GPULET_E_UNSUPPORTED,
                           "TERM: no terminal that can be drawn on is called '%s' (--once prints a "
                           "picture without one)",
                           name != NULL ? name : "");
    (void)set_term(terminal);
    set_colours();
    (void)cbreak();
    (void)noecho();
    (void)nonl();
    (void)curs_set(0);
    (void)keypad(stdscr, TRUE);
    (void)nodelay(stdscr, TRUE);
    (void)set_escdelay(ESCAPE_WAIT_MS);
    return GPULET_OK;
}

void top_terminal_close(void)
{
    if (terminal == NULL)
        return;
    (void)endwin();
    delscreen(terminal);
    terminal = NULL;
}

void top_terminal_size(size_t *width, size_t *height)
{
    *width = (size_t)getmaxx(stdscr);
    *height = (size_t)getmaxy(stdscr);
}

top_key_t top_terminal_key(void)
{
    static const struct {
        int code;
        top_key_t key;
    } keys[] = {
        {ERR, TOP_KEY_NONE},          {'q', TOP_KEY_QUIT},
        {'Q', TOP_KEY_QUIT},          {ESCAPE, TOP_KEY_HELP},
        {'p', TOP_KEY_PAUSE},         {' ', TOP_KEY_PAUSE},
        {'s', TOP_KEY_SORT},          {'h', TOP_KEY_HELP},
        {'?', TOP_KEY_HELP},          {'\t', TOP_KEY_SECTION},
        {KEY_UP, TOP_KEY_UP},         {'k', TOP_KEY_UP},
        {KEY_DOWN, TOP_KEY_DOWN},     {'j', TOP_KEY_DOWN},
        {KEY_PPAGE, TOP_KEY_PAGE_UP}, {KEY_NPAGE, TOP_KEY_PAGE_DOWN},
        {KEY_HOME, TOP_KEY_HOME},     {KEY_END, TOP_KEY_END},
        {KEY_RESIZE, TOP_KEY_RESIZE}, {REDRAW, TOP_KEY_REDRAW},
    };
    const int code = wgetch(stdscr);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (keys[i].code == code)
            return keys[i].key;
    }
    return TOP_KEY_OTHER;
}

static attr_t attributes_of(gpulet_look_t look, short *pair)
{
    static const attr_t attributes[] = {A_NORMAL, A_BOLD, A_DIM, A_NORMAL, A_NORMAL, A_BOLD};
    static const short pairs[] = {0, 0, 0, PAIR_GOOD, PAIR_WARN, PAIR_BAD};
    *pair = 0;
    if (look.model != GPULET_SCREEN_NO_MODEL) {
        if (model_pairs > 0)
            *pair = (short)(PAIR_MODELS + look.model % model_pairs);
        return model_pairs > 0 ? A_NORMAL : A_REVERSE;
    }
    if (model_pairs > 0)
        *pair = pairs[look.tone];
    return attributes[look.tone];
}

void top_terminal_show(const gpulet_screen_t *screen, bool all_anew)
{
    (void)werase(stdscr);
    for (size_t row = 0; row < screen->height; row++) {
        for (size_t column = 0; column < screen->width; column++) {
            const gpulet_cell_t *cell = gpulet_screen_at(screen, row, column);
            short pair = 0;
            if (cell->glyph[0] == '\0')
                continue;
            attr_t attributes = attributes_of(cell->look, &pair);
            (void)wattr_set(stdscr, attributes, pair, NULL);
            /* In the last column of the last row this says ERR, having written it. */
            (void)mvwaddstr(stdscr, (int)row, (int)column, cell->glyph);
        }
    }
    if (all_anew)
        (void)clearok(stdscr, TRUE);
    (void)wrefresh(stdscr);
}
