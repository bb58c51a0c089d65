#include "base/buf.h"

#include <stdlib.h>

#include "check.h"

static void an_empty_buffer_releases_an_empty_text(void **state)
{
    (void)state;
    gpulet_buf_t buf = GPULET_BUF_INIT;
    char *text = gpulet_buf_release(&buf);
    assert_string_equal(text, "");
    free(text);
    assert_null(buf.data);
    gpulet_buf_deinit(&buf);
}

static void appends_grow_and_stay_terminated(void **state)
{
    (void)state;
    gpulet_buf_t buf = GPULET_BUF_INIT;
    for (int i = 0; i < 1000; i++) {
        gpulet_buf_append_char(&buf, 'x');
        assert_int_equal(buf.data[buf.size], 0);
    }
    gpulet_buf_append_str(&buf, "end");
    gpulet_buf_append(&buf, "", 0);
    gpulet_buf_printf(&buf, "%d-%s", 7, "seven");
    assert_int_equal(buf.size, 1000 + 3 + 7);
    assert_string_equal(buf.data + 1000, "end7-seven");
    assert_int_equal(gpulet_buf_status(&buf), GPULET_OK);
    gpulet_buf_deinit(&buf);
}

static void zero_bytes_are_kept(void **state)
{
    (void)state;
    gpulet_buf_t buf = GPULET_BUF_INIT;
    gpulet_buf_append(&buf, "a\0b", 3);
    assert_int_equal(buf.size, 3);
    assert_memory_equal(buf.data, "a\0b", 4);
    gpulet_buf_deinit(&buf);
}

static void clearing_keeps_the_memory(void **state)
{
    (void)state;
    gpulet_buf_t buf = GPULET_BUF_INIT;
    gpulet_buf_append_str(&buf, "text");
    size_t capacity = buf.capacity;
    gpulet_buf_clear(&buf);
    assert_int_equal(buf.size, 0);
    assert_int_equal(buf.capacity, capacity);
    assert_string_equal(buf.data, "");
    gpulet_buf_deinit(&buf);
}

static void a_failed_reserve_is_remembered_until_cleared(void **state)
{
    (void)state;
    gpulet_buf_t buf = GPULET_BUF_INIT;
    gpulet_buf_append_str(&buf, "old");
    assert_int_equal(gpulet_buf_reserve(&buf, SIZE_MAX), GPULET_E_NOMEM);
    gpulet_buf_append_str(&buf, "new");
    assert_string_equal(buf.data, "old");
    assert_int_equal(gpulet_buf_status(&buf), GPULET_E_NOMEM);
    gpulet_buf_clear(&buf);
    gpulet_buf_append_str(&buf, "new");
    assert_string_equal(buf.data, "new");
    assert_int_equal(gpulet_buf_reserve(&buf, SIZE_MAX), GPULET_E_NOMEM);
    assert_null(gpulet_buf_release(&buf));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_releases_an_empty_text),
        cmocka_unit_test(appends_grow_and_stay_terminated),
        cmocka_unit_test(zero_bytes_are_kept),
        cmocka_unit_test(clearing_keeps_the_memory),
        cmocka_unit_test(a_failed_reserve_is_remembered_until_cleared),
    };
    return cmocka_run_group_tests_name("base.buf", tests, NULL, NULL);
}
