/* What a server says of itself, read and drawn, with every allocation failing in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "torture.h"
#include "view/top.h"

#define GOLDEN GPULET_SOURCE_DIR "/tests/golden/top/"

typedef struct files {
    char *status;
    size_t status_size;
    char *events;
    size_t events_size;
} files_t;

static gpulet_status_t draw(gpulet_live_status_t *now, gpulet_live_log_t *log)
{
    gpulet_top_t top = {.url = "http://h", .now = now, .log = log, .sort = GPULET_TOP_SORT_RATE};
    gpulet_buf_t out = GPULET_BUF_INIT;
    gpulet_screen_t screen;
    gpulet_status_t st = gpulet_screen_init(&screen, 80, 24, true);
    if (st == GPULET_OK)
        st = gpulet_top_draw(&screen, &top, NULL);
    if (st == GPULET_OK)
        st = gpulet_screen_text(&out, &screen);
    gpulet_buf_deinit(&out);
    gpulet_screen_deinit(&screen);
    return st;
}

static gpulet_status_t look_and_draw(void *context)
{
    const files_t *f = context;
    gpulet_live_status_t *now = NULL;
    gpulet_live_log_t log = {0};
    gpulet_error_t err = {""};
    gpulet_status_t st = gpulet_live_status_read(&now, f->status, f->status_size, &err);
    if (st == GPULET_OK)
        st = gpulet_live_log_read(&log, f->events, f->events_size, &err);
    else
        assert_null(now);
    assert_true(st == GPULET_OK || err.text[0] != '\0');
    if (st == GPULET_OK) {
        const size_t before = log.count;
        st = gpulet_live_log_read(&log, f->events, f->events_size, &err);
        assert_int_equal(log.count, st == GPULET_OK ? 2 * before : before);
    } else {
        assert_true(log.count == 0 && log.next == 0);
    }
    if (st == GPULET_OK)
        st = draw(now, &log);
    gpulet_live_status_destroy(now);
    gpulet_live_log_clear(&log);
    return st;
}

static void nothing_is_lost_when_memory_is_short(void **state)
{
    gpulet_error_t err;
    files_t f;
    (void)state;
    assert_int_equal(gpulet_file_read(&f.status, &f.status_size, GOLDEN "busy.json", 1 << 20, &err),
                     GPULET_OK);
    assert_int_equal(
        gpulet_file_read(&f.events, &f.events_size, GOLDEN "events.json", 1 << 20, &err),
        GPULET_OK);
    torture_run("look and draw", look_and_draw, &f, TORTURE_MEMORY, 20);
    free(f.status);
    free(f.events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_when_memory_is_short),
    };
    return cmocka_run_group_tests_name("torture.view", tests, NULL, NULL);
}
