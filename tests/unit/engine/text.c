#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "engine/ort/api.h"

static void assert_cleans(const char *text, const char *expected)
{
    char out[512];
    gpulet_ort_text_clean(out, sizeof(out), text);
    assert_string_equal(out, expected);
}

static void cuts_paths_and_signatures_of_the_build(void **state)
{
    (void)state;
    assert_cleans("Load model from m.onnx failed:/src/onnx/core/graph/model.cc:149 "
                  "onnxruntime::Model::Model(onnx::ModelProto&&, const PathString&, bool) "
                  "Unsupported model IR version: 99.",
                  "Load model from m.onnx failed: Unsupported model IR version: 99");
    assert_cleans(
        "/a/b.h:45 onnxruntime::Helper<T>::Helper(const Shape&, std::function<void(int)>, "
        "bool) const [with T = float; U = int[3]] a == b was false.",
        "a == b was false");
    assert_cleans("/a/b.cc:1 void (anonymous namespace)::f(int) words", "words");
    assert_cleans("/a/b.cc:1 auto ns::Class::operator()(int) const words", "words");
    assert_cleans("/a/b.cc:1 virtual ns::f(int)::<lambda(float)> words", "words");
    assert_cleans("Error: utils.cc:619 Validate::Path External data is missing",
                  "Error: External data is missing");
}

static void keeps_words_that_only_look_alike(void **state)
{
    (void)state;
    assert_cleans("/models/a.onnx failed: (x) y", "/models/a.onnx failed: (x) y");
    assert_cleans("/a/b.cc:12 Expected (a) of b", "Expected (a) of b");
    assert_cleans("/a/b.cc: no line", "/a/b.cc: no line");
    assert_cleans("shape {1,2} at 10:30", "shape {1,2} at 10:30");
    assert_cleans("/a/b.cc:9 unclosed(", "unclosed(");
    assert_cleans("/a/b.cc:9", "");
}

static void makes_one_clean_line(void **state)
{
    (void)state;
    assert_cleans("  one\n\ttwo \x01 three...\n", "one two three");
    assert_cleans("", "");
    assert_cleans("caf\xc3\xa9 \xff\xc3 \xed\xa0\x80 \xf0\x9f\x98\x80",
                  "caf\xc3\xa9 ?? ??? \xf0\x9f\x98\x80");
}

static void never_writes_past_the_end_nor_half_a_character(void **state)
{
    (void)state;
    for (size_t size = 1; size < 12; size++) {
        char out[16];
        memset(out, 'x', sizeof(out));
        gpulet_ort_text_clean(out, size, "ab\xc3\xa9 \xf0\x9f\x98\x80zz");
        assert_true(strlen(out) < size);
        assert_int_equal(out[size], 'x');
        size_t len = strlen(out);
        assert_true(len != 3 && len != 6 && len != 7 && len != 8);
    }
}

static void reads_the_offered_version(void **state)
{
    (void)state;
    assert_int_equal(gpulet_ort_api_offered("1.32.0"), 32);
    assert_int_equal(gpulet_ort_api_offered("1.9.1"), 9);
    assert_int_equal(gpulet_ort_api_offered("1.17"), 17);
    assert_int_equal(gpulet_ort_api_offered("2.0.0"), 0);
    assert_int_equal(gpulet_ort_api_offered("1."), 0);
    assert_int_equal(gpulet_ort_api_offered(""), 0);
    assert_int_equal(gpulet_ort_api_offered("1.99999999999999999999"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_paths_and_signatures_of_the_build),
        cmocka_unit_test(keeps_words_that_only_look_alike),
        cmocka_unit_test(makes_one_clean_line),
        cmocka_unit_test(never_writes_past_the_end_nor_half_a_character),
        cmocka_unit_test(reads_the_offered_version),
    };
    return cmocka_run_group_tests_name("engine.text", tests, NULL, NULL);
}
