#include "base/options.h"

#include <stdio.h>

#include "check.h"

typedef struct sample {
    bool flag;
    bool on;
    uint64_t count;
    double ratio;
    char *name;
    char *plain;
} sample_t;

#define AT(field) offsetof(sample_t, field)

static const gpulet_option_t table[] = {
    {"flag", GPULET_OPTION_BOOL, AT(flag), NULL, 1, 0, NULL, "a switch", "First"},
    {"on", GPULET_OPTION_BOOL, AT(on), "true", 1, 0, NULL, "another", NULL},
    {"count", GPULET_OPTION_U64, AT(count), "7", 1, 100, "N", "how many", "Second"},
    {"ratio", GPULET_OPTION_F64, AT(ratio), "0.5", 0, 1, "X", "how much", NULL},
    {"name", GPULET_OPTION_STRING, AT(name), "none", 1, 0, "NAME", "what", NULL},
    {"plain", GPULET_OPTION_STRING, AT(plain), NULL, 1, 0, "TEXT", "no default", NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, 1, 0, NULL, NULL, NULL},
};

enum { ROWS = 6, WORDS_MAX = 8 };

/* Defaults, then the words, of which the first is looked at too. */
static gpulet_status_t read_words(sample_t *out, const char *const *words, int *rest, char **argv,
                                  bool *seen, gpulet_error_t *err)
{
    int argc = 0;
    memset(out, 0, sizeof(*out));
    while (argc < WORDS_MAX && words[argc] != NULL) {
        argv[argc] = (char *)(uintptr_t)words[argc];
        argc++;
    }
    assert_int_equal(gpulet_options_defaults(table, out), GPULET_OK);
    return gpulet_options_parse(table, out, 0, argc, argv, rest, seen, err);
}

static void without_words_there_are_the_defaults(void **state)
{
    sample_t s;
    char *argv[WORDS_MAX];
    int rest = 9;
    gpulet_error_t err = {""};
    (void)state;
    assert_int_equal(read_words(&s, (const char *const[]){NULL}, &rest, argv, NULL, &err),
                     GPULET_OK);
    assert_int_equal(rest, 0);
    assert_false(s.flag);
    assert_true(s.on);
    assert_int_equal(s.count, 7);
    assert_true(s.ratio == 0.5);
    assert_string_equal(s.name, "none");
    assert_null(s.plain);
    gpulet_options_deinit(table, &s);
    assert_null(s.name);
}

static void every_way_of_writing_an_option_is_read(void **state)
{
    sample_t s;
    char *argv[WORDS_MAX];
    bool seen[ROWS + 1] = {false};
    int rest = 0;
    gpulet_error_t err = {""};
    (void)state;
    assert_int_equal(read_words(&s,
                                (const char *const[]){"--flag", "--no-on", "--count", "100",
                                                      "--ratio=1", "--name=", "--plain=a=b", NULL},
                                &rest, argv, seen, &err),
                     GPULET_OK);
    assert_true(s.flag);
    assert_false(s.on);
    assert_int_equal(s.count, 100);
    assert_true(s.ratio == 1.0);
    assert_string_equal(s.name, "");
    assert_string_equal(s.plain, "a=b");
    for (int i = 0; i < ROWS; i++)
        assert_true(seen[i]);
    assert_false(seen[ROWS]);
    gpulet_options_deinit(table, &s);
}

static void the_last_of_several_wins(void **state)
{
    sample_t s;
    char *argv[WORDS_MAX];
    bool seen[ROWS + 1] = {false};
    int rest = 0;
    gpulet_error_t err = {""};
    (void)state;
    assert_int_equal(read_words(&s,
                                (const char *const[]){"--flag=true", "--flag=false", "--name", "a",
                                                      "--name", "--flag", NULL},
                                &rest, argv, seen, &err),
                     GPULET_OK);
    assert_false(s.flag);
    assert_string_equal(s.name, "--flag"); /* a value may look like an option */
    assert_true(seen[0] && !seen[1] && !seen[2] && seen[4]);
    gpulet_options_deinit(table, &s);
}

static void other_words_are_moved_to_the_front(void **state)
{
    sample_t s;
    char *argv[WORDS_MAX];
    int rest = 0;
    gpulet_error_t err = {""};
    (void)state;
    assert_int_equal(
        read_words(&s,
                   (const char *const[]){"one", "--count", "3", "two", "-", "--", "--flag", NULL},
                   &rest, argv, NULL, &err),
        GPULET_OK);
    assert_int_equal(rest, 4);
    assert_string_equal(argv[0], "one");
    assert_string_equal(argv[1], "two");
    assert_string_equal(argv[2], "-");
    assert_string_equal(argv[3], "--flag");
    assert_int_equal(s.count, 3);
    assert_false(s.flag);
    gpulet_options_deinit(table, &s);
}

static void what_is_wrong_is_named_with_what_was_expected(void **state)
{
    static const struct {
        const char *words[3];
        const char *error;
    } cases[] = {
        {{"--cuont", "3"}, "unknown option '--cuont'"},
        {{"--cuont=3"}, "unknown option '--cuont'"},
        {{"--count"}, "--count: expected a value (N)"},
        {{"--count", "many"}, "--count: expected a whole number, found 'many'"},
        {{"--count", "0"}, "--count: expected 1 to 100, found '0'"},
        {{"--count=101"}, "--count: expected 1 to 100, found '101'"},
        {{"--count", "18446744073709551616"}, "--count: expected a whole number"},
        {{"--count="}, "--count: expected a whole number, found ''"},
        {{"--ratio", "-0.1"}, "--ratio: expected 0 to 1, found '-0.1'"},
        {{"--ratio", "nan"}, "--ratio: expected a number, found 'nan'"},
        {{"--ratio", "1e999"}, "--ratio: expected"},
        {{"--flag=yes please"}, "--flag: expected true or false, found 'yes please'"},
        {{"--no-count"}, "unknown option '--no-count'"},
        {{"--no-flag=true"}, "unknown option '--no-flag'"},
        {{"--no-"}, "unknown option '--no-'"},
        {{"--=x"}, "unknown option '--'"},
        {{"-f"}, "unknown option '-f' (options start with two dashes"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        sample_t s;
        char *argv[WORDS_MAX];
        int rest = 0;
        gpulet_error_t err = {""};
        if (read_words(&s, cases[i].words, &rest, argv, NULL, &err) == GPULET_OK)
            fail_msg("accepted: %s", cases[i].words[0]);
        if (strstr(err.text, cases[i].error) == NULL)
            fail_msg("\"%s\" lacks \"%s\"", err.text, cases[i].error);
        gpulet_options_deinit(table, &s);
    }
}

static void one_option_is_set_by_its_name(void **state)
{
    sample_t s = {0};
    gpulet_error_t err = {""};
    (void)state;
    assert_int_equal(gpulet_options_set(table, &s, "count", "12", &err), GPULET_OK);
    assert_int_equal(s.count, 12);
    assert_int_equal(gpulet_options_set(table, &s, "name", "first", &err), GPULET_OK);
    assert_int_equal(gpulet_options_set(table, &s, "name", "second", &err), GPULET_OK);
    assert_string_equal(s.name, "second");
    assert_int_equal(gpulet_options_set(table, &s, "coun", "12", &err), GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "'coun'"));
    assert_int_equal(gpulet_options_set(table, &s, "count", "0", &err), GPULET_E_INVALID);
    assert_int_equal(s.count, 12); /* a wrong value changes nothing */
    gpulet_options_deinit(table, &s);
}

static void help_and_reference_name_every_row(void **state)
{
    gpulet_buf_t help = GPULET_BUF_INIT;
    gpulet_buf_t markdown = GPULET_BUF_INIT;
    (void)state;
    gpulet_options_help(&help, table);
    gpulet_options_markdown(&markdown, table);
    for (int i = 0; i < ROWS; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "--%s", table[i].name);
        assert_non_null(strstr(help.data, name));
        assert_non_null(strstr(help.data, table[i].help));
        assert_non_null(strstr(markdown.data, name));
    }
    assert_non_null(strstr(help.data, "First:\n"));
    assert_non_null(strstr(help.data, "\nSecond:\n"));
    assert_non_null(strstr(help.data, "how many [7]\n"));
    assert_non_null(strstr(help.data, "another [true]\n"));
    assert_non_null(strstr(markdown.data, "### Second"));
    gpulet_buf_deinit(&help);
    gpulet_buf_deinit(&markdown);
}

static void values_of_a_list_add_up_in_their_order(void **state)
{
    static const gpulet_option_t lists[] = {
        {"what", GPULET_OPTION_STRINGS, AT(plain), NULL, 1, 0, "TEXT", "several", NULL},
        {NULL, GPULET_OPTION_BOOL, 0, NULL, 1, 0, NULL, NULL, NULL},
    };
    char words[][16] = {"--what", "a*2", "--what=b", "--what", ""};
    char *argv[] = {words[0], words[1], words[2], words[3], words[4]};
    sample_t s = {0};
    int rest = 0;
    gpulet_error_t err = {""};
    (void)state;
    assert_int_equal(gpulet_options_defaults(lists, &s), GPULET_OK);
    assert_null(s.plain);
    assert_int_equal(gpulet_options_parse(lists, &s, 0, 5, argv, &rest, NULL, &err), GPULET_OK);
    assert_string_equal(s.plain, "a*2\nb\n");
    assert_int_equal(gpulet_options_set(lists, &s, "what", "c\nd", &err), GPULET_E_INVALID);
    assert_string_equal(s.plain, "a*2\nb\n");
    gpulet_options_deinit(lists, &s);
    assert_null(s.plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_a_list_add_up_in_their_order),
        cmocka_unit_test(without_words_there_are_the_defaults),
        cmocka_unit_test(every_way_of_writing_an_option_is_read),
        cmocka_unit_test(the_last_of_several_wins),
        cmocka_unit_test(other_words_are_moved_to_the_front),
        cmocka_unit_test(what_is_wrong_is_named_with_what_was_expected),
        cmocka_unit_test(one_option_is_set_by_its_name),
        cmocka_unit_test(help_and_reference_name_every_row),
    };
    return cmocka_run_group_tests_name("base.options", tests, NULL, NULL);
}
