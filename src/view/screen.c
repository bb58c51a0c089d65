#include "view/screen.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/text.h"

typedef struct range {
    uint32_t first;
    uint32_t last;
} range_t;

/* Characters of no width: marks that stand over others, joiners, and what turns the direction of
 * writing around. */
static const range_t of_no_width[] = {
    {0x00AD, 0x00AD}, {0x0300, 0x036F}, {0x0483, 0x0489}, {0x0591, 0x05BD}, {0x0610, 0x061A},
    {0x064B, 0x065F}, {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF}, {0x200B, 0x200F}, {0x2028, 0x202E},
    {0x2060, 0x206F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}, {0xFEFF, 0xFEFF},
};

/* Characters of two columns: East Asian scripts and pictures. */
static const range_t of_two_columns[] = {
    {0x1100, 0x115F},   {0x2E80, 0x303E},   {0x3041, 0xA4CF},   {0xAC00, 0xD7A3},
    {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},
    {0x1F300, 0x1F64F}, {0x1F680, 0x1F6FF}, {0x1F900, 0x1F9FF}, {0x20000, 0x3FFFD},
};

static bool is_in(const range_t *ranges, size_t count, uint32_t code)
{
    for (size_t i = 0; i < count; i++) {
        if (code >= ranges[i].first && code <= ranges[i].last)
            return true;
    }
    return false;
}

/* One character of a text, as it is shown. */
typedef struct glyph {
    const char *text;
    size_t size;    /* bytes shown */
    size_t taken;   /* bytes of the text */
    size_t columns; /* 0, 1 or 2 */
} glyph_t;

static uint32_t code_of(const char *text, size_t size)
{
    static const unsigned char masks[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t code = (unsigned char)text[0] & masks[size];
    for (size_t i = 1; i < size; i++)
        code = code << 6 | ((unsigned char)text[i] & 0x3F);
    return code;
}

static glyph_t next_glyph(const char *text, size_t left, bool utf8)
{
    size_t size = gpulet_text_utf8(text, left);
    uint32_t code = size > 0 ? code_of(text, size) : 0;
    glyph_t g = {.text = text, .size = size, .taken = size > 0 ? size : 1, .columns = 1};
    if (size == 0 || code < 0x20 || (code >= 0x7F && code < 0xA0) || (size > 1 && !utf8)) {
        g.text = "?";
        g.size = 1;
    } else if (is_in(of_no_width, sizeof(of_no_width) / sizeof(of_no_width[0]), code)) {
        g.columns = 0;
    } else if (is_in(of_two_columns, sizeof(of_two_columns) / sizeof(of_two_columns[0]), code)) {
        g.columns = 2;
    }
    return g;
}

gpulet_status_t gpulet_screen_init(gpulet_screen_t *screen, size_t width, size_t height, bool utf8)
{
    width = width < 1 ? 1 : width > GPULET_SCREEN_WIDTH_MAX ? GPULET_SCREEN_WIDTH_MAX : width;
    height = height < 1 ? 1 : height > GPULET_SCREEN_HEIGHT_MAX ? GPULET_SCREEN_HEIGHT_MAX : height;
    *screen = (gpulet_screen_t){.width = width, .height = height, .utf8 = utf8};
    screen->cells = calloc(width * height, sizeof(*screen->cells));
    if (screen->cells == NULL)
        return GPULET_E_NOMEM;
    for (size_t row = 0; row < height; row++)
        gpulet_screen_fill(screen, row, 0, width, gpulet_look_tone(GPULET_TONE_PLAIN), " ");
    return GPULET_OK;
}

void gpulet_screen_deinit(gpulet_screen_t *screen)
{
    free(screen->cells);
    *screen = (gpulet_screen_t){0};
}

gpulet_cell_t *gpulet_screen_at(const gpulet_screen_t *screen, size_t row, size_t column)
{
    return row < screen->height && column < screen->width
               ? &screen->cells[row * screen->width + column]
               : NULL;
}

gpulet_look_t gpulet_look_tone(gpulet_tone_t tone)
{
    return (gpulet_look_t){.tone = tone, .model = GPULET_SCREEN_NO_MODEL};
}

gpulet_look_t gpulet_look_model(size_t model)
{
    return (gpulet_look_t){.tone = GPULET_TONE_PLAIN, .model = (int32_t)model};
}

size_t gpulet_screen_columns(const char *text, bool utf8)
{
    size_t columns = 0;
    for (size_t left = strlen(text); left > 0;) {
        glyph_t g = next_glyph(text, left, utf8);
        columns += g.columns;
        text += g.taken;
        left -= g.taken;
    }
    return columns;
}

static void set_cell(gpulet_cell_t *cell, const char *glyph, size_t size, gpulet_look_t look)
{
    if (cell == NULL)
        return;
    memcpy(cell->glyph, glyph, size);
    cell->glyph[size] = '\0';
    cell->look = look;
}

size_t gpulet_screen_put(gpulet_screen_t *screen, size_t row, size_t column, size_t room,
                         gpulet_look_t look, const char *text)
{
    room = column < screen->width ? room : 0;
    room = room < screen->width - column ? room : screen->width - column;
    const bool cut = gpulet_screen_columns(text, screen->utf8) > room;
    const size_t most = cut && room > 0 ? room - 1 : room;
    size_t used = 0;
    for (size_t left = strlen(text); left > 0 && room > 0;) {
        glyph_t g = next_glyph(text, left, screen->utf8);
        if (used + g.columns > most)
            break;
        if (g.columns > 0)
            set_cell(gpulet_screen_at(screen, row, column + used), g.text, g.size, look);
        if (g.columns > 1)
            set_cell(gpulet_screen_at(screen, row, column + used + 1), "", 0, look);
        used += g.columns;
        text += g.taken;
        left -= g.taken;
    }
    if (cut && room > 0) {
        const char *more = screen->utf8 ? "…" : "~";
        set_cell(gpulet_screen_at(screen, row, column + used), more, strlen(more), look);
        used++;
    }
    return used;
}

void gpulet_screen_put_right(gpulet_screen_t *screen, size_t row, size_t column, size_t room,
                             gpulet_look_t look, const char *text)
{
    size_t columns = gpulet_screen_columns(text, screen->utf8);
    size_t before = columns < room ? room - columns : 0;
    (void)gpulet_screen_put(screen, row, column + before, room - before, look, text);
}

void gpulet_screen_fill(gpulet_screen_t *screen, size_t row, size_t column, size_t room,
                        gpulet_look_t look, const char *glyph)
{
    for (size_t i = 0; i < room && column + i < screen->width; i++)
        set_cell(gpulet_screen_at(screen, row, column + i), glyph, strlen(glyph), look);
}

static size_t row_end(const gpulet_screen_t *screen, size_t row)
{
    const gpulet_cell_t *cells = &screen->cells[row * screen->width];
    size_t end = screen->width;
    assert(row < screen->height);
    while (end > 0 && strcmp(cells[end - 1].glyph, " ") == 0)
        end--;
    return end;
}

gpulet_status_t gpulet_screen_text(gpulet_buf_t *out, const gpulet_screen_t *screen)
{
    size_t height = screen->height;
    while (height > 0 && row_end(screen, height - 1) == 0)
        height--;
    for (size_t row = 0; row < height; row++) {
        const size_t end = row_end(screen, row);
        for (size_t column = 0; column < end; column++)
            gpulet_buf_append_str(out, gpulet_screen_at(screen, row, column)->glyph);
        gpulet_buf_append_char(out, '\n');
    }
    return gpulet_buf_status(out);
}
