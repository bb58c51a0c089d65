#include "harness.h"

#include <jansson.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/rng.h"
#include "proto/json_reader.h"
#include "proto/oip.h"

/* Reads a whole document; ERROR or END. */
static gpulet_json_token_t read_all(gpulet_json_reader_t *reader, const char *text, size_t size,
                                    uint32_t depth)
{
    gpulet_json_token_t token;
    gpulet_json_init(reader, text, size, depth);
    do
        token = gpulet_json_next(reader);
    while (token != GPULET_JSON_END && token != GPULET_JSON_ERROR);
    return token;
}

static bool accepts(const char *text, size_t size)
{
    gpulet_json_reader_t reader;
    char *copy = exact_copy(text, size);
    bool good = read_all(&reader, copy, size, 64) == GPULET_JSON_END;
    free(copy);
    return good;
}

static void accepts_what_the_standard_allows(void **state)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        "null",
        "true",
        "false",
        "\"\"",
        " [ ] ",
        "\t\r\n{ }\n",
        "[1,2]",
        "{\"a\":{\"a\":1},\"b\":[{\"a\":1},{\"a\":2}]}",
        "\"\\u0000\"",
        "\"\\ud834\\udd1e\"",
        "\"\xf0\x9d\x84\x9e\xc3\xa9\"",
        "\"\x7f\"",
        "[-0.0e-0]",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (!accepts(texts[i], strlen(texts[i])))
            fail_msg("%s is refused", texts[i]);
    }
}

static void refuses_what_the_standard_forbids(void **state)
{
    static const struct {
        const char *text;
        const char *why;
        size_t at;
    } cases[] = {
        {"", "The document is empty.", 0},
        {"  ", "The document is empty.", 2},
        {"[", "Missing a value.", 1},
        {"[1", "Missing a comma or ]", 2},
        {"[1,]", "Invalid value.", 3},
        {"[,1]", "Invalid value.", 1},
        {"[1 2]", "Missing a comma or ]", 3},
        {"[1}", "Missing a comma or ]", 2},
        {"{\"a\":1]", "Missing a comma or }", 6},
        {"{\"a\" 1}", "Missing a colon", 5},
        {"{\"a\"}", "Missing a colon", 4},
        {"{a:1}", "Missing a name", 1},
        {"{\"a\":1,}", "Missing a name", 7},
        {"{1:1}", "Missing a name", 1},
        {"{\"a\":}", "Invalid value.", 5},
        {"[] []", "The document root must not be followed", 3},
        {"tru", "Invalid value.", 0},
        {"nulll", "The document root must not", 4},
        {"NaN", "Invalid value.", 0},
        {"[01]", "Missing a comma", 2},
        {"[+1]", "Invalid value.", 1},
        {"[1.]", "Invalid value.", 1},
        {"'a'", "Invalid value.", 0},
        {"\"a", "Missing a closing quotation mark", 0},
        {"\"\n\"", "Control character", 1},
        {"\"\\x\"", "Invalid escape", 1},
        {"\"\\u12g4\"", "Invalid escape", 1},
        {"\"\\ud800\"", "Invalid escape", 1},
        {"\"\\ud800\\u0041\"", "Invalid escape", 1},
        {"\"\\udc00\"", "Invalid escape", 1},
        {"\"\\", "Invalid escape", 1},
        {"\"\xc3\"", "Invalid UTF-8", 1},
        {"\"\xc0\xaf\"", "Invalid UTF-8", 1},
        {"\"\xed\xa0\x80\"", "Invalid UTF-8", 1},
        {"\"\xf4\x90\x80\x80\"", "Invalid UTF-8", 1},
        {"[1] // comment", "The document root must not", 4},
        {"{\"a\":1,\"b\":2,\"a\":3}", "Duplicate key", 14},
        {"{\"a\":1,\"\\u0061\":3}", "Duplicate key", 8},
        {"{\"\":1,\"\":3}", "Duplicate key", 7},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_json_reader_t reader;
        gpulet_error_t err;
        char *copy = exact_copy(cases[i].text, strlen(cases[i].text));
        assert_int_equal(read_all(&reader, copy, strlen(cases[i].text), 64), GPULET_JSON_ERROR);
        ASSERT_CONTAINS(reader.error, cases[i].why);
        assert_int_equal(reader.error_offset, cases[i].at);
        assert_int_equal(gpulet_json_next(&reader), GPULET_JSON_ERROR);
        assert_int_equal(gpulet_json_fail(&reader, "what", &err), GPULET_E_INVALID);
        ASSERT_CONTAINS(err.text, cases[i].why);
        free(copy);
    }
}

static void limits_depth_and_keys(void **state)
{
    gpulet_json_reader_t reader;
    gpulet_buf_t text = GPULET_BUF_INIT;
    (void)state;
    assert_int_equal(read_all(&reader, "[[[[]]]]", 8, 4), GPULET_JSON_END);
    assert_int_equal(read_all(&reader, "[[[[[]]]]]", 10, 4), GPULET_JSON_ERROR);
    ASSERT_CONTAINS(reader.error, "Nested too deeply");
    for (int i = 0; i < 5000; i++)
        gpulet_buf_append_char(&text, '[');
    assert_int_equal(read_all(&reader, text.data, text.size, UINT32_MAX), GPULET_JSON_ERROR);
    gpulet_buf_clear(&text);
    for (int i = 0; i < 300; i++)
        gpulet_buf_printf(&text, "%s\"k%d\":0", i == 0 ? "{" : ",", i);
    gpulet_buf_append_char(&text, '}');
    assert_int_equal(read_all(&reader, text.data, text.size, 64), GPULET_JSON_ERROR);
    ASSERT_CONTAINS(reader.error, "Too many keys");
    gpulet_buf_deinit(&text);
}

static void unescapes_strings(void **state)
{
    gpulet_json_reader_t reader;
    const char text[] = "[\"a\\u00e9\\n\\ud834\\udd1e\\/\\u0000z\", \"plain\"]";
    const char expected[] = "a\xc3\xa9\n\xf0\x9d\x84\x9e/\0z";
    char out[64];
    (void)state;
    gpulet_json_init(&reader, text, strlen(text), 8);
    assert_int_equal(gpulet_json_next(&reader), GPULET_JSON_ARRAY_BEGIN);
    assert_int_equal(gpulet_json_next(&reader), GPULET_JSON_STRING);
    assert_true(reader.escaped);
    assert_int_equal(reader.unescaped_size, sizeof(expected) - 1);
    gpulet_json_unescape(out, &reader);
    assert_memory_equal(out, expected, sizeof(expected) - 1);
    assert_false(gpulet_json_copy(out, sizeof(out), &reader)); /* a zero byte */
    assert_int_equal(gpulet_json_next(&reader), GPULET_JSON_STRING);
    assert_true(gpulet_json_equals(&reader, "plain"));
    assert_false(gpulet_json_equals(&reader, "plait"));
    assert_false(gpulet_json_copy(out, 5, &reader));
    assert_true(gpulet_json_copy(out, 6, &reader));
    assert_string_equal(out, "plain");
}

/* ---- against another reader ---- */

static void make_string(gpulet_buf_t *out, gpulet_rng_t *rng)
{
    static const char *const pieces[] = {"a",
                                         "key",
                                         " ",
                                         "\\n",
                                         "\\u0041",
                                         "\\\\",
                                         "\\\"",
                                         "\xc3\xa9",
                                         "\\u20ac",
                                         "\\ud83d\\ude00",
                                         "\xf0\x9f\x98\x80",
                                         "0",
                                         "/",
                                         "longer text here"};
    gpulet_buf_append_char(out, '"');
    for (uint64_t n = gpulet_rng_below(rng, 5); n > 0; n--)
        gpulet_buf_append_str(out,
                              pieces[gpulet_rng_below(rng, sizeof(pieces) / sizeof(pieces[0]))]);
    gpulet_buf_append_char(out, '"');
}

static void make_value(gpulet_buf_t *out, gpulet_rng_t *rng, int depth)
{
    static const char *const words[] = {"null",  "true", "false",   "0",    "-1",
                                        "12345", "0.5",  "-1.25e3", "1E-2", "9007199254740993"};
    uint64_t kind = gpulet_rng_below(rng, depth > 0 ? 10 : 6);
    if (gpulet_rng_below(rng, 4) == 0)
        gpulet_buf_append_str(out, " \n");
    if (kind < 4) {
        gpulet_buf_append_str(out, words[gpulet_rng_below(rng, sizeof(words) / sizeof(words[0]))]);
    } else if (kind < 6) {
        make_string(out, rng);
    } else {
        bool object = kind < 8;
        gpulet_buf_append_char(out, object ? '{' : '[');
        for (uint64_t i = 0, n = gpulet_rng_below(rng, 5); i < n; i++) {
            if (i > 0)
                gpulet_buf_append_char(out, ',');
            if (object) {
                make_string(out, rng);
                gpulet_buf_append_char(out, ':');
            }
            make_value(out, rng, depth - 1);
        }
        gpulet_buf_append_char(out, object ? '}' : ']');
    }
}

/* One byte changed, left out or put in. */
static void damage(gpulet_buf_t *text, gpulet_rng_t *rng)
{
    static const char bytes[] = "{}[]\",:\\0-.eE tn\x01\xc3\x80u";
    size_t at = (size_t)gpulet_rng_below(rng, text->size);
    switch (gpulet_rng_below(rng, 3)) {
    case 0:
        text->data[at] = bytes[gpulet_rng_below(rng, sizeof(bytes) - 1)];
        break;
    case 1:
        memmove(text->data + at, text->data + at + 1, text->size - at);
        text->size--;
        break;
    default:
        gpulet_buf_append_char(text, ' ');
        memmove(text->data + at + 1, text->data + at, text->size - 1 - at);
        text->data[at] = bytes[gpulet_rng_below(rng, sizeof(bytes) - 1)];
        break;
    }
}

/* Reads the value at hand with the reader and holds it against the tree. */
static void compare(gpulet_json_reader_t *reader, gpulet_json_token_t token, const json_t *tree)
{
    char out[512];
    switch (token) {
    case GPULET_JSON_NULL:
        assert_true(json_is_null(tree));
        break;
    case GPULET_JSON_TRUE:
    case GPULET_JSON_FALSE:
        assert_true(token == GPULET_JSON_TRUE ? json_is_true(tree) : json_is_false(tree));
        break;
    case GPULET_JSON_NUMBER: {
        double value = 0;
        assert_true(gpulet_decimal_f64(&value, &reader->number));
        assert_true(value == json_number_value(tree));
        break;
    }
    case GPULET_JSON_STRING:
        assert_int_equal(reader->unescaped_size, json_string_length(tree));
        assert_true(reader->unescaped_size <= sizeof(out));
        gpulet_json_unescape(out, reader);
        assert_memory_equal(out, json_string_value(tree), json_string_length(tree));
        break;
    case GPULET_JSON_ARRAY_BEGIN: {
        size_t count = 0;
        while ((token = gpulet_json_next(reader)) != GPULET_JSON_ARRAY_END)
            compare(reader, token, json_array_get(tree, count++));
        assert_int_equal(count, json_array_size(tree));
        break;
    }
    default: {
        size_t count = 0;
        assert_int_equal(token, GPULET_JSON_OBJECT_BEGIN);
        while (gpulet_json_next(reader) == GPULET_JSON_KEY) {
            char key[512];
            assert_true(gpulet_json_copy(key, sizeof(key), reader));
            token = gpulet_json_next(reader);
            compare(reader, token, json_object_get(tree, key));
            count++;
        }
        assert_int_equal(count, json_object_size(tree));
        break;
    }
    }
}

static void agrees_with_another_reader_on_generated_documents(void **state)
{
    gpulet_rng_t rng;
    int good = 0;
    int bad = 0;
    (void)state;
    gpulet_rng_init(&rng, 2024);
    for (int i = 0; i < 6000; i++) {
        gpulet_buf_t text = GPULET_BUF_INIT;
        gpulet_json_reader_t reader;
        json_error_t error;
        make_value(&text, &rng, 4);
        if (i % 3 == 0)
            damage(&text, &rng);
        char *copy = exact_copy(text.data, text.size);
        json_t *tree = json_loadb(
            copy, text.size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
        bool ours = read_all(&reader, copy, text.size, 64) == GPULET_JSON_END;
        /* The other one also refuses numbers that no double holds, which is not a matter of syntax.
         */
        bool overflow = tree == NULL && json_error_code(&error) == json_error_numeric_overflow;
        if (ours != (tree != NULL) && !overflow)
            fail_msg("%s: %s", text.data, ours ? "only ours accepts it" : reader.error);
        if (tree != NULL) {
            gpulet_json_init(&reader, copy, text.size, 64);
            gpulet_json_token_t token = gpulet_json_next(&reader);
            compare(&reader, token, tree);
            assert_int_equal(gpulet_json_next(&reader), GPULET_JSON_END);
        }
        good += tree != NULL;
        bad += tree == NULL;
        json_decref(tree);
        free(copy);
        gpulet_buf_deinit(&text);
    }
    assert_true(good > 3000 && bad > 500);
}

static void writes_strings_that_read_back(void **state)
{
    static const struct {
        const char *text;
        size_t size;
        const char *json;
    } cases[] = {
        {"plain", 5, "\"plain\""},
        {"a\"b\\c/d", 7, "\"a\\\"b\\\\c/d\""},
        {"\b\t\n\f\r\x01\x0b\x7f", 8, "\"\\b\\t\\n\\f\\r\\u0001\\u000b\\u007f\""},
        {"\0x", 2, "\"\\u0000x\""},
        {"\xc3\xa9\xff\xc3", 4, "\"\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"", 0, "\"\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_buf_t out = GPULET_BUF_INIT;
        gpulet_json_string(&out, cases[i].text, cases[i].size);
        assert_string_equal(out.data, cases[i].json);
        assert_true(accepts(out.data, out.size));
        gpulet_buf_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_what_the_standard_allows),
        cmocka_unit_test(refuses_what_the_standard_forbids),
        cmocka_unit_test(limits_depth_and_keys),
        cmocka_unit_test(unescapes_strings),
        cmocka_unit_test(agrees_with_another_reader_on_generated_documents),
        cmocka_unit_test(writes_strings_that_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
