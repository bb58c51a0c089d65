#include "core/csv.h"

#include <math.h>
#include <stdlib.h>

#include "check.h"

static gpulet_status_t open_text(gpulet_csv_t *csv, const char *text, gpulet_error_t *err)
{
    return gpulet_csv_open(csv, text, strlen(text), "f.csv", err);
}

/* Reads a whole text; the status of the first failure. */
static gpulet_status_t read_text(const char *text, gpulet_error_t *err)
{
    gpulet_csv_t csv;
    bool more = true;
    gpulet_status_t st = open_text(&csv, text, err);
    if (st != GPULET_OK)
        return st;
    while (st == GPULET_OK && more)
        st = gpulet_csv_next(&csv, &more, err);
    gpulet_csv_close(&csv);
    return st;
}

static void fields_are_split_trimmed_and_unquoted(void **state)
{
    (void)state;
    gpulet_csv_t csv;
    bool more = false;
    const char *text = "\xef\xbb\xbf# comment\r\n\r\n a , b,\"c,d\"\r\n"
                       "  # another\n \t\n 1 ,\" 2 \",\"say \"\"x\"\"\"  \r\n,,";
    assert_int_equal(open_text(&csv, text, NULL), GPULET_OK);
    assert_int_equal(csv.columns_count, 3);
    assert_int_equal(gpulet_csv_column(&csv, "a"), 0);
    assert_int_equal(gpulet_csv_column(&csv, "c,d"), 2);
    assert_int_equal(gpulet_csv_column(&csv, "e"), -1);
    assert_int_equal(gpulet_csv_next(&csv, &more, NULL), GPULET_OK);
    assert_true(more);
    assert_int_equal(csv.line, 6);
    assert_string_equal(csv.fields[0].text, "1");
    assert_string_equal(csv.fields[1].text, " 2 ");
    assert_string_equal(csv.fields[2].text, "say \"x\"");
    assert_int_equal(gpulet_csv_next(&csv, &more, NULL), GPULET_OK);
    assert_true(more);
    assert_false(gpulet_csv_has(&csv, 0));
    assert_false(gpulet_csv_has(&csv, -1));
    assert_int_equal(gpulet_csv_next(&csv, &more, NULL), GPULET_OK);
    assert_false(more);
    gpulet_csv_close(&csv);
}

static void errors_name_file_line_and_field(void **state)
{
    (void)state;
    static const wrong_t wrongs[] = {
        {"", "f.csv:1: header: expected column names"},
        {"# only\n\n", "f.csv:3: header: expected column names"},
        {"a,a\n", "f.csv:1: a: expected each column once"},
        {"a,,b\n", "f.csv:1: header: expected a name, found nothing"},
        {"a,b\n1\n", "f.csv:2: row: expected 2 fields, found 1"},
        {"a,b\n\n1,2,3\n", "f.csv:3: row: expected 2 fields, found 3"},
        {"a\n\"1\n2\"\n", "f.csv:2: row: expected a closing quote"},
        {"a\n\"1\"2\n", "f.csv:2: row: expected a comma after the closing quote"},
        {"a\n1\"2\n", "f.csv:2: row: expected quotes around a whole field"},
        {"a\n1\x01\n", "f.csv:2: row: expected text, found the control byte 0x01"},
        {"a\n1\r2\n", "f.csv:2: row: expected text, found the control byte 0x0d"},
        {"\xff\n1\n", "f.csv:1: header: expected a name in UTF-8"},
    };
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        gpulet_error_t err = {""};
        check_error(read_text(wrongs[i].text, &err), &err, &wrongs[i]);
    }
}

static void limits_are_errors(void **state)
{
    (void)state;
    gpulet_error_t err;
    gpulet_buf_t buf = GPULET_BUF_INIT;
    gpulet_csv_t csv;
    for (int i = 0; i <= GPULET_CSV_COLUMNS_MAX; i++)
        gpulet_buf_printf(&buf, "%sc%d", i == 0 ? "" : ",", i);
    assert_int_equal(read_text(buf.data, &err), GPULET_E_TOO_LARGE);
    gpulet_buf_clear(&buf);
    for (int i = 0; i <= GPULET_CSV_LINE_MAX; i++)
        gpulet_buf_append_char(&buf, ',');
    assert_int_equal(read_text(buf.data, &err), GPULET_E_TOO_LARGE);
    gpulet_buf_clear(&buf);
    gpulet_buf_append_str(&buf, "a\n");
    for (int i = 0; i <= GPULET_CSV_ROWS_MAX; i++)
        gpulet_buf_append_str(&buf, "1\n");
    assert_int_equal(read_text(buf.data, &err), GPULET_E_TOO_LARGE);
    assert_int_equal(
        gpulet_csv_open(&csv, buf.data, (size_t)GPULET_CSV_FILE_SIZE_MAX + 1, "f", &err),
        GPULET_E_TOO_LARGE);
    gpulet_buf_deinit(&buf);
}

static void numbers_and_names_are_checked(void **state)
{
    (void)state;
    gpulet_csv_t csv;
    gpulet_error_t err;
    bool more = false;
    double value = 0;
    uint32_t whole = 0;
    int column = -1;
    assert_int_equal(open_text(&csv, "x,y,z,n\n1.5,7,,a\tb\n", &err), GPULET_OK);
    assert_int_equal(gpulet_csv_require(&csv, &column, "y", &err), GPULET_OK);
    assert_int_equal(column, 1);
    assert_int_equal(gpulet_csv_require(&csv, &column, "w", &err), GPULET_E_INVALID);
    assert_string_equal(err.text, "f.csv:1: w: expected such a column in the header, found none");
    assert_int_equal(gpulet_csv_next(&csv, &more, &err), GPULET_OK);
    assert_int_equal(gpulet_csv_f64(&csv, 0, &value, &gpulet_text_positive, &err), GPULET_OK);
    assert_true(value == 1.5);
    assert_int_equal(gpulet_csv_f64(&csv, 0, &value, &gpulet_text_fraction, &err),
                     GPULET_E_INVALID);
    assert_string_equal(err.text, "f.csv:2: x: expected a number from 0 to 1, found '1.5'");
    assert_int_equal(gpulet_csv_u32(&csv, 1, &whole, 0, 7, &err), GPULET_OK);
    assert_int_equal(whole, 7);
    assert_int_equal(gpulet_csv_u32(&csv, 1, &whole, 0, 6, &err), GPULET_E_INVALID);
    assert_string_equal(err.text, "f.csv:2: y: expected a whole number from 0 to 6, found '7'");
    assert_int_equal(gpulet_csv_u32(&csv, 2, &whole, 0, 6, &err), GPULET_E_INVALID);
    assert_string_equal(err.text, "f.csv:2: z: expected a whole number from 0 to 6, found nothing");
    assert_int_equal(gpulet_csv_name(&csv, 3, 10, &err), GPULET_E_INVALID);
    assert_string_equal(err.text,
                        "f.csv:2: n: expected a name without control characters, found 'a?b'");
    assert_int_equal(gpulet_csv_name(&csv, 0, 2, &err), GPULET_E_INVALID);
    assert_string_equal(err.text, "f.csv:2: x: expected at most 2 bytes, found 3");
    gpulet_csv_close(&csv);
}

static void a_written_field_reads_back(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "plain", "",  "a,b",      "say \"x\"", " blank ", "#no comment",
        "\t",    "ü", "in\tside", "\"",        ","};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        gpulet_csv_t csv;
        bool more = false;
        gpulet_buf_t buf = GPULET_BUF_INIT;
        gpulet_buf_append_str(&buf, "a,b\n");
        gpulet_csv_append(&buf, fields[i]);
        gpulet_buf_append_str(&buf, ",1\n");
        assert_int_equal(open_text(&csv, buf.data, NULL), GPULET_OK);
        assert_int_equal(gpulet_csv_next(&csv, &more, NULL), GPULET_OK);
        assert_string_equal(csv.fields[0].text, fields[i]);
        gpulet_csv_close(&csv);
        gpulet_buf_deinit(&buf);
    }
}

static void numbers_are_written_short_and_exact(void **state)
{
    (void)state;
    static const double values[] = {0,   1, 74.315, 0.1, 1.0 / 3, 1e-300, 1.7976931348623157e308,
                                    -2.5};
    char text[GPULET_TEXT_NUMBER_SIZE];
    gpulet_buf_t buf = GPULET_BUF_INIT;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        assert_true(strtod(gpulet_text_number(text, values[i]), NULL) == values[i]);
    assert_string_equal(gpulet_text_number(text, 74.315), "74.315");
    gpulet_csv_append_f64(&buf, NAN);
    assert_int_equal(buf.size, 0);
    gpulet_buf_deinit(&buf);
}

static void excerpts_are_short_printable_utf8(void **state)
{
    (void)state;
    char out[GPULET_TEXT_EXCERPT_SIZE];
    char text[200];
    assert_string_equal(gpulet_text_excerpt(out, "a\nb\xff", 4), "'a?b?'");
    for (size_t at = 0; at < 8; at++) {
        memset(text, 'x', sizeof(text));
        for (size_t i = at; i + 1 < sizeof(text); i += 2)
            memcpy(text + i, "ü", 2);
        (void)gpulet_text_excerpt(out, text, sizeof(text));
        assert_true(strlen(out) < sizeof(out));
        for (size_t i = 0; out[i] != '\0';) {
            size_t step = gpulet_text_utf8(out + i, strlen(out + i));
            assert_true(step > 0);
            i += step;
        }
    }
}

static void utf8_is_what_rfc_3629_says(void **state)
{
    (void)state;
    static const char *const good[] = {
        "a", "\x7f", "\xc2\x80", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {
        "\x80",         "\xc0\x80",         "\xc1\xbf",         "\xe0\x80\x80",
        "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc2",
        "\xe2\x82"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(gpulet_text_utf8(good[i], strlen(good[i])), strlen(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(gpulet_text_utf8(bad[i], strlen(bad[i])), 0);
    assert_int_equal(gpulet_text_utf8("", 0), 0);
    assert_int_equal(gpulet_text_check_name("\xc2\x9b", 2, 10, NULL), GPULET_E_INVALID);
    assert_int_equal(gpulet_text_check_name("größe", strlen("größe"), 10, NULL), GPULET_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_split_trimmed_and_unquoted),
        cmocka_unit_test(errors_name_file_line_and_field),
        cmocka_unit_test(limits_are_errors),
        cmocka_unit_test(numbers_and_names_are_checked),
        cmocka_unit_test(a_written_field_reads_back),
        cmocka_unit_test(numbers_are_written_short_and_exact),
        cmocka_unit_test(excerpts_are_short_printable_utf8),
        cmocka_unit_test(utf8_is_what_rfc_3629_says),
    };
    return cmocka_run_group_tests_name("core.csv", tests, NULL, NULL);
}
