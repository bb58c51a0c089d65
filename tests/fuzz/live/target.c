/* What a server says of itself, and the picture of it at sizes of all kinds. The first bytes choose
 * how it is looked at; the rest is the answer. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "view/top.h"

enum { HEAD = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void draw(const uint8_t *head, gpulet_top_t *top)
{
    gpulet_screen_t screen;
    gpulet_buf_t out = GPULET_BUF_INIT;
    size_t page = 0;
    if (gpulet_screen_init(&screen, head[0], head[1] % 64, (head[2] & 1) != 0) != GPULET_OK)
        return;
    top->sort = (gpulet_top_sort_t)(head[3] % GPULET_TOP_SORT_COUNT);
    top->focus = (gpulet_top_section_t)(head[3] / 16 % GPULET_TOP_SECTIONS);
    top->keys = (head[2] & 2) != 0;
    top->scroll[top->focus] = head[2] / 4;
    assert(gpulet_top_draw(&screen, top, &page) == GPULET_OK && page > 0);
    for (size_t row = 0; row < screen.height; row++) {
        for (size_t column = 0; column < screen.width; column++) {
            const unsigned char first =
                (unsigned char)gpulet_screen_at(&screen, row, column)->glyph[0];
            assert(first == 0 || first >= 0x20);
            assert(screen.utf8 || (first >= 0x20 && first < 0x7F));
        }
    }
    assert(gpulet_screen_text(&out, &screen) == GPULET_OK);
    gpulet_buf_deinit(&out);
    gpulet_screen_deinit(&screen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gpulet_live_status_t *now = NULL;
    gpulet_live_status_t *before = NULL;
    gpulet_live_log_t log = {0};
    gpulet_error_t err = {""};
    if (size < HEAD)
        return 0;
    const char *text = (const char *)data + HEAD;
    size -= HEAD;
    if (gpulet_live_log_read(&log, text, size, &err) != GPULET_OK)
        assert(err.text[0] != '\0' && log.count == 0);
    err.text[0] = '\0';
    if (gpulet_live_status_read(&now, text, size, &err) != GPULET_OK)
        assert(err.text[0] != '\0' && now == NULL);
    else if (gpulet_live_status_read(&before, text, size, &err) == GPULET_OK)
        before->uptime_s -= 1;
    gpulet_top_t top = {.url = "http://h", .now = now, .before = before, .log = &log};
    draw(data, &top);
    gpulet_live_status_destroy(now);
    gpulet_live_status_destroy(before);
    gpulet_live_log_clear(&log);
    return 0;
}
