#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "proto/json_write.h"

static void check_text(const char *given, bool lines, const char *expected)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    json_t *root = json_loads(given, JSON_DECODE_ANY, NULL);
    assert_non_null(root);
    assert_int_equal(gpulet_json_write(&out, root, lines), GPULET_OK);
    assert_string_equal(out.data, expected);
    gpulet_buf_deinit(&out);
}

static void every_kind_of_value_is_written(void **state)
{
    static const char text[] =
        "{\"b\":[],\"a\":{},\"s\":\"q\\\"\xc3\xa9\\n\",\"i\":-9007199254740993,"
        "\"t\":true,\"f\":false,\"n\":null,\"l\":[1,2.5,[\"x\"]]}";
    (void)state;
    check_text(text, false, text);
    check_text("{\"a\": {\"b\": [1, {}]}, \"c\": []}", true,
               "{\n \"a\": {\n  \"b\": [\n   1,\n   {}\n  ]\n },\n \"c\": []\n}");
}

static void figures_read_back_as_they_were(void **state)
{
    static const double figures[] = {
        0,        0.1,           1e-9, 123456.7891, 98765432.1234,
        1.0 / 3,  12345678.125,  5e20, -2.5,        1.7976931348623157e308,
        100000.5, 604800000.0001};
    (void)state;
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
        gpulet_buf_t out = GPULET_BUF_INIT;
        assert_int_equal(gpulet_json_write(&out, json_real(figures[i]), false), GPULET_OK);
        json_t *back = json_loads(out.data, JSON_DECODE_ANY, NULL);
        assert_true(json_is_real(back));
        assert_memory_equal(&(double){json_real_value(back)}, &figures[i], sizeof(double));
        json_decref(back);
        gpulet_buf_deinit(&out);
    }
    check_text("604800000.0001", false, "604800000.0001");
}

static void what_could_not_be_made_is_out_of_memory(void **state)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    (void)state;
    assert_int_equal(gpulet_json_write(&out, NULL, false), GPULET_E_NOMEM);
    assert_int_equal(out.size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_value_is_written),
        cmocka_unit_test(figures_read_back_as_they_were),
        cmocka_unit_test(what_could_not_be_made_is_out_of_memory),
    };
    return cmocka_run_group_tests_name("proto.json_write", tests, NULL, NULL);
}
