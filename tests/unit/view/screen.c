/* Cells: what fits, how wide it is, and that nothing steers the terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "view/screen.h"

static gpulet_look_t plain;

static void expect_row(const char *text, size_t room, bool utf8, const char *expected)
{
    gpulet_screen_t screen;
    gpulet_buf_t out = GPULET_BUF_INIT;
    assert_int_equal(gpulet_screen_init(&screen, 20, 1, utf8), GPULET_OK);
    size_t used = gpulet_screen_put(&screen, 0, 0, room, plain, text);
    assert_true(used <= room);
    assert_int_equal(gpulet_screen_text(&out, &screen), GPULET_OK);
    if (out.size > 0)
        out.data[out.size - 1] = '\0';
    assert_string_equal(out.data != NULL ? out.data : "", expected);
    assert_int_equal(gpulet_screen_columns(expected, true), used);
    gpulet_buf_deinit(&out);
    gpulet_screen_deinit(&screen);
}

static void texts_are_cut_to_their_room(void **state)
{
    (void)state;
    expect_row("lenet", 20, true, "lenet");
    expect_row("lenet", 5, true, "lenet");
    expect_row("lenet", 4, true, "len…");
    expect_row("lenet", 4, false, "len~");
    expect_row("lenet", 1, true, "…");
    expect_row("lenet", 0, true, "");
    expect_row("größer", 6, true, "größer");
    expect_row("größer", 6, false, "gr??er");
    expect_row("字模型", 6, true, "字模型");
    expect_row("字模型", 5, true, "字模…");
    expect_row("字模型", 4, true, "字…");
    expect_row("字模型", 2, true, "…");
}

static void nothing_steers_the_terminal(void **state)
{
    /* U+202E: right to left from here on. */
    const char turned[] = {'a', (char)0xE2, (char)0x80, (char)0xAE, 'b', '\0'};
    (void)state;
    expect_row("a\033[31mb", 20, true, "a?[31mb");
    expect_row("a\nb\tc\x7F", 20, true, "a?b?c?");
    expect_row("a\xC2\x9B"
               "1m",
               20, true, "a?1m"); /* a control sequence in one character */
    expect_row(turned, 20, true, "ab");
    expect_row("e\xCC\x81"
               "f",
               20, true, "ef"); /* an accent over the letter */
    expect_row("half \xE5\xAD", 20, true, "half ??");
}

static void what_is_outside_is_cut_off(void **state)
{
    gpulet_screen_t screen;
    gpulet_buf_t out = GPULET_BUF_INIT;
    (void)state;
    assert_int_equal(gpulet_screen_init(&screen, 6, 3, true), GPULET_OK);
    assert_int_equal(gpulet_screen_put(&screen, 0, 4, 20, plain, "字模型"), 1);
    assert_int_equal(gpulet_screen_put(&screen, 0, 6, 20, plain, "x"), 0);
    assert_int_equal(gpulet_screen_put(&screen, 7, 0, 20, plain, "row"), 3);
    gpulet_screen_fill(&screen, 1, 5, 100, plain, "#");
    gpulet_screen_put_right(&screen, 1, 0, 4, plain, "ab");
    gpulet_screen_put_right(&screen, 2, 0, 4, plain, "abcdef");
    assert_null(gpulet_screen_at(&screen, 3, 0));
    assert_null(gpulet_screen_at(&screen, 0, 6));
    assert_int_equal(gpulet_screen_text(&out, &screen), GPULET_OK);
    assert_string_equal(out.data, "    …\n  ab #\nabc…\n");
    gpulet_buf_deinit(&out);
    gpulet_screen_deinit(&screen);
}

static void sizes_are_brought_into_range(void **state)
{
    gpulet_screen_t screen;
    (void)state;
    assert_int_equal(gpulet_screen_init(&screen, 0, 0, true), GPULET_OK);
    assert_true(screen.width == 1 && screen.height == 1);
    gpulet_screen_deinit(&screen);
    assert_int_equal(gpulet_screen_init(&screen, SIZE_MAX, 2, true), GPULET_OK);
    assert_true(screen.width == GPULET_SCREEN_WIDTH_MAX && screen.height == 2);
    gpulet_screen_deinit(&screen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_cut_to_their_room),
        cmocka_unit_test(nothing_steers_the_terminal),
        cmocka_unit_test(what_is_outside_is_cut_off),
        cmocka_unit_test(sizes_are_brought_into_range),
    };
    return cmocka_run_group_tests_name("view.screen", tests, NULL, NULL);
}
