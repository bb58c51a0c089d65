/* What `gpulet top` shows, kept in top/: a server in the middle of a change of plans, and one that
 * says only what the first versions did. GPULET_UPDATE_GOLDEN=1 writes the pictures anew; look at
 * them then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "view/top.h"

#define GOLDEN GPULET_SOURCE_DIR "/tests/golden/top/"

static gpulet_live_status_t *before;
static gpulet_live_status_t *busy;
static gpulet_live_status_t *old;
static gpulet_live_log_t events;

static void expect_ok(gpulet_status_t st, const gpulet_error_t *err)
{
    if (st != GPULET_OK)
        fail_msg("%s: %s", gpulet_status_name(st), err->text);
}

static char *load(const char *name, size_t *size)
{
    gpulet_error_t err = {""};
    char path[1024];
    char *text = NULL;
    snprintf(path, sizeof(path), "%s%s", GOLDEN, name);
    expect_ok(gpulet_file_read(&text, size, path, 1 << 20, &err), &err);
    return text;
}

static gpulet_live_status_t *load_status(const char *name)
{
    gpulet_error_t err = {""};
    gpulet_live_status_t *status = NULL;
    size_t size = 0;
    char *text = load(name, &size);
    expect_ok(gpulet_live_status_read(&status, text, size, &err), &err);
    free(text);
    return status;
}

static int setup(void **state)
{
    gpulet_error_t err = {""};
    size_t size = 0;
    (void)state;
    before = load_status("before.json");
    busy = load_status("busy.json");
    old = load_status("old.json");
    char *text = load("events.json", &size);
    expect_ok(gpulet_live_log_read(&events, text, size, &err), &err);
    free(text);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    gpulet_live_status_destroy(before);
    gpulet_live_status_destroy(busy);
    gpulet_live_status_destroy(old);
    gpulet_live_log_clear(&events);
    return 0;
}

static gpulet_top_t of_busy(void)
{
    return (gpulet_top_t){.url = "http://127.0.0.1:8000",
                          .now = busy,
                          .before = before,
                          .log = &events,
                          .utc_offset_s = 3600,
                          .keys = true,
                          .focus = GPULET_TOP_MODELS};
}

/* Every row is as wide as the terminal at most: one that is longer would break the picture. */
static void expect_width(const gpulet_buf_t *text, size_t width, bool utf8)
{
    char line[8192];
    for (const char *at = text->data; *at != '\0'; at = strchr(at, '\n') + 1) {
        snprintf(line, sizeof(line), "%.*s", (int)(strchr(at, '\n') - at), at);
        assert_true(gpulet_screen_columns(line, utf8) <= width);
    }
}

static void compare(const char *name, gpulet_top_t *top, size_t width, size_t height, bool utf8)
{
    gpulet_error_t err = {""};
    gpulet_screen_t screen;
    gpulet_buf_t out = GPULET_BUF_INIT;
    char path[1024];
    size_t size = 0;
    assert_int_equal(gpulet_screen_init(&screen, width, height, utf8), GPULET_OK);
    assert_int_equal(gpulet_top_draw(&screen, top, NULL), GPULET_OK);
    assert_int_equal(gpulet_screen_text(&out, &screen), GPULET_OK);
    expect_width(&out, width, utf8);
    snprintf(path, sizeof(path), "%s%s", GOLDEN, name);
    if (getenv("GPULET_UPDATE_GOLDEN") != NULL)
        expect_ok(gpulet_file_write(path, out.data, out.size, &err), &err);
    char *expected = load(name, &size);
    if (size != out.size || memcmp(expected, out.data, size) != 0)
        fail_msg("%s differs; now it is:\n%s", name, out.data);
    free(expected);
    gpulet_buf_deinit(&out);
    gpulet_screen_deinit(&screen);
}

static void a_busy_server_is_shown_at_every_size(void **state)
{
    gpulet_top_t top = of_busy();
    (void)state;
    compare("wide.txt", &top, 140, 44, true);
    compare("usual.txt", &top, 80, 24, true);
    compare("ascii.txt", &top, 80, 24, false);
    compare("small.txt", &top, 40, 10, true);
    compare("tiny.txt", &top, 12, 3, true);
}

static void sections_are_sorted_and_scrolled(void **state)
{
    gpulet_top_t top = of_busy();
    (void)state;
    top.sort = GPULET_TOP_SORT_MISSES;
    top.focus = GPULET_TOP_DEVICES;
    top.scroll[GPULET_TOP_DEVICES] = 2;
    top.scroll[GPULET_TOP_MODELS] = 1000;
    top.scroll[GPULET_TOP_EVENTS] = 1;
    compare("scrolled.txt", &top, 100, 24, true);
}

static void help_takes_the_place_of_the_sections(void **state)
{
    gpulet_top_t top = of_busy();
    (void)state;
    top.help = true;
    top.paused = true;
    compare("help.txt", &top, 100, 24, true);
}

static void a_server_that_is_gone_is_shown_as_it_was(void **state)
{
    gpulet_top_t top = of_busy();
    (void)state;
    top.problem = "http://127.0.0.1:8000: Connection refused";
    top.problem_s = 75;
    compare("gone.txt", &top, 80, 24, true);
    compare("gone.small.txt", &top, 40, 10, true);
    top.now = top.before = NULL;
    compare("never.txt", &top, 80, 24, true);
}

static void an_older_server_is_shown_too(void **state)
{
    gpulet_top_t top = {.url = "http://127.0.0.1:8000", .now = old};
    (void)state;
    compare("old.txt", &top, 100, gpulet_top_rows(&top), false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_busy_server_is_shown_at_every_size),
        cmocka_unit_test(sections_are_sorted_and_scrolled),
        cmocka_unit_test(help_takes_the_place_of_the_sections),
        cmocka_unit_test(a_server_that_is_gone_is_shown_as_it_was),
        cmocka_unit_test(an_older_server_is_shown_too),
    };
    return cmocka_run_group_tests_name("golden.top", tests, setup, teardown);
}
