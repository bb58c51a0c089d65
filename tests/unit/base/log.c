#include "base/log.h"

#include "check.h"

static void quotes_and_backslashes_are_escaped(void **state)
{
    (void)state;
    char out[64];
    assert_string_equal(gpulet_log_quote(out, sizeof(out), "say \"a\\b\""),
                        "\"say \\\"a\\\\b\\\"\"");
}

static void control_bytes_cannot_forge_a_line(void **state)
{
    (void)state;
    char out[64];
    assert_string_equal(gpulet_log_quote(out, sizeof(out), "a\nlevel=error\x7f\r"),
                        "\"a level=error  \"");
}

static void text_is_cut_to_the_room_there_is(void **state)
{
    (void)state;
    char text[100];
    memset(text, '"', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (int size = 5; size < 64; size++) {
        char out[64];
        memset(out, 1, sizeof(out));
        (void)gpulet_log_quote(out, size, text);
        size_t len = strlen(out);
        assert_true(len < (size_t)size);
        assert_int_equal(out[0], '"');
        assert_int_equal(out[len - 1], '"');
        assert_int_equal(len % 2, 0); /* no escape is cut in two */
        assert_int_equal(out[size], 1);
    }
}

static void bytes_of_a_peer_stay_one_word_of_text(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *quoted;
    } rows[] = {
        {"", "\"\""},
        {"order-17 a=b", "\"order-17 a=b\""},
        {"a\"b\\", "\"a\\\"b\\\\\""},
        {"a\nlevel=error\x7f\t", "\"a\\x0alevel=error\\x7f\\x09\""},
        {"\xc3\xa9\xff", "\"\\xc3\\xa9\\xff\""},
        {"12345678", "\"12345678\""},
        {"123456789", "\"12345678...\""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[64];
        const size_t max = i < 5 ? 64 : 8;
        assert_string_equal(gpulet_log_quote_peer(out, sizeof(out), rows[i].text, max),
                            rows[i].quoted);
    }
}

static void text_of_a_peer_is_cut_to_the_room_there_is(void **state)
{
    (void)state;
    char text[100];
    memset(text, 1, sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (size_t size = 8; size < 64; size++) {
        char out[64];
        memset(out, 1, sizeof(out));
        (void)gpulet_log_quote_peer(out, size, text, sizeof(text));
        size_t len = strlen(out);
        assert_true(len < size);
        assert_string_equal(out + len - 4, "...\"");
        assert_int_equal((len - 5) % 4, 0); /* no escape is cut in two */
        assert_int_equal(out[size], 1);
    }
}

static void levels_are_read_by_name(void **state)
{
    (void)state;
    gpulet_log_level_t level = GPULET_LOG_DEBUG;
    assert_int_equal(gpulet_log_level_parse(&level, "warning"), GPULET_OK);
    assert_int_equal(level, GPULET_LOG_WARNING);
    assert_int_equal(gpulet_log_level_parse(&level, "loud"), GPULET_E_INVALID);
    gpulet_log_setup(GPULET_LOG_WARNING, "test");
    assert_false(gpulet_log_enabled(GPULET_LOG_INFO));
    assert_true(gpulet_log_enabled(GPULET_LOG_ERROR));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotes_and_backslashes_are_escaped),
        cmocka_unit_test(control_bytes_cannot_forge_a_line),
        cmocka_unit_test(text_is_cut_to_the_room_there_is),
        cmocka_unit_test(bytes_of_a_peer_stay_one_word_of_text),
        cmocka_unit_test(text_of_a_peer_is_cut_to_the_room_there_is),
        cmocka_unit_test(levels_are_read_by_name),
    };
    return cmocka_run_group_tests_name("base.log", tests, NULL, NULL);
}
