#include "server/settings.h"

#include <stdlib.h>

#include "folder.h"

typedef struct wrong {
    const char *text;
    const char *error;
} wrong_t;

static gpulet_status_t parse(gpulet_settings_t *out, const char *text, const bool *seen,
                             gpulet_error_t *err)
{
    memset(out, 0, sizeof(*out));
    assert_int_equal(gpulet_options_defaults(gpulet_settings_table, out), GPULET_OK);
    return gpulet_settings_parse_yaml(out, text, strlen(text), "f.yaml", seen, err);
}

static void every_default_is_what_the_table_says(void **state)
{
    gpulet_settings_t s;
    gpulet_error_t err = {""};
    char *argv[] = {"gpuletd", NULL};
    (void)state;
    assert_int_equal(gpulet_settings_read(&s, 1, argv, &err), GPULET_OK);
    assert_null(s.model_repository);
    assert_null(s.config);
    assert_string_equal(s.address, "127.0.0.1");
    assert_int_equal(s.http_port, 8000);
    assert_int_equal(s.grpc_port, 0);
    assert_int_equal(s.metrics_port, 8002);
    assert_string_equal(s.engine, "ort");
    assert_string_equal(s.device, "cpu");
    assert_string_equal(s.planner, "elastic");
    assert_int_equal(s.batch_max, 32);
    assert_true(s.calibrate);
    assert_true(s.use_spare);
    assert_false(s.spin);
    assert_false(s.skip_bad_models);
    assert_true(s.rate_percentile == 0.99);
    assert_true(s.drain_limit_s == 30);
    gpulet_settings_deinit(&s);
}

static void every_row_has_a_name_of_its_own_and_a_help(void **state)
{
    (void)state;
    for (const gpulet_option_t *o = gpulet_settings_table; o->name != NULL; o++) {
        assert_ptr_equal(gpulet_options_find(gpulet_settings_table, o->name, strlen(o->name)), o);
        assert_true(o->help != NULL && o->help[0] != '\0');
        assert_true(o->kind == GPULET_OPTION_BOOL || o->value_name != NULL);
    }
}

static bool follows(int argc, char **argv)
{
    gpulet_settings_t s;
    gpulet_error_t err = {""};
    if (gpulet_settings_read(&s, argc, argv, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    bool follow = s.follow;
    gpulet_settings_deinit(&s);
    return follow;
}

static void a_given_plan_stays_unless_following_is_asked_for(void **state)
{
    folder_t *folder = *state;
    char config[1024];
    char both[1024];
    char *bare[] = {"gpuletd", NULL};
    char *plan[] = {"gpuletd", "--plan", "p.json", NULL};
    char *asked[] = {"gpuletd", "--plan", "p.json", "--follow", NULL};
    char *from_file[] = {"gpuletd", "--config", config, NULL};
    char *from_both[] = {"gpuletd", "--config", both, NULL};
    (void)snprintf(config, sizeof(config), "%s",
                   folder_write_text(folder, "c.yaml", "plan: p.json\n"));
    (void)snprintf(both, sizeof(both), "%s",
                   folder_write_text(folder, "b.yaml", "follow: true\nplan: p.json\n"));
    assert_true(follows(1, bare));
    assert_false(follows(3, plan));
    assert_true(follows(4, asked));
    assert_false(follows(3, from_file));
    assert_true(follows(3, from_both));
}

static void a_file_sets_what_it_names(void **state)
{
    gpulet_settings_t s;
    gpulet_error_t err = {""};
    (void)state;
    assert_int_equal(parse(&s,
                           "# comment\nmodel-repository: /models\nhttp-port: 0\nspin: true\n"
                           "use-spare: false\nrate-percentile: 0.5\n",
                           NULL, &err),
                     GPULET_OK);
    assert_string_equal(s.model_repository, "/models");
    assert_int_equal(s.http_port, 0);
    assert_true(s.spin);
    assert_false(s.use_spare);
    assert_true(s.rate_percentile == 0.5);
    assert_int_equal(s.metrics_port, 8002);
    gpulet_settings_deinit(&s);
}

static void an_empty_file_sets_nothing(void **state)
{
    static const char *const texts[] = {"", "\n\n", "# only a comment\n", "---\n", "{}\n"};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        gpulet_settings_t s;
        gpulet_error_t err = {""};
        if (strcmp(texts[i], "---\n") == 0)
            continue; /* a document that is one empty scalar: refused below */
        assert_int_equal(parse(&s, texts[i], NULL, &err), GPULET_OK);
        assert_int_equal(s.http_port, 8000);
        gpulet_settings_deinit(&s);
    }
}

static void what_is_wrong_in_a_file_is_named_with_its_line(void **state)
{
    static const wrong_t wrongs[] = {
        {"http-port: 1\nhttp-prot: 2\n", "f.yaml:2: http-prot: no such setting"},
        {"\n\nhttp-port: 70000\n", "f.yaml:3: --http-port: expected 0 to 65535, found '70000'"},
        {"http-port: -1\n", "f.yaml:1: --http-port: expected a whole number"},
        {"http-port: 1.5\n", "expected a whole number, found '1.5'"},
        {"rate-percentile: much\n", "expected a number, found 'much'"},
        {"rate-percentile: .nan\n", "expected a number, found '.nan'"},
        {"spin: maybe\n", "expected true or false, found 'maybe'"},
        {"spin: true\nplanner: [a, b]\n", "f.yaml:2: planner: expected one value"},
        {"planner: {a: b}\n", "planner: expected one value"},
        {"? [a]\n: b\n", "f.yaml:1: expected the name of a setting"},
        {"- http-port\n", "f.yaml:1: expected a map of settings"},
        {"just a text\n", "expected a map of settings"},
        {"---\n", "expected a map of settings"},
        {"spin: true\nplanner: \"open\n", "f.yaml:"},
        {"spin: true\n\tplanner: x\n", "f.yaml:2:"},
        {"planner: *unknown\n", "f.yaml:1:"},
        {"planner: \xff\xfe\n", "f.yaml:1:"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        gpulet_settings_t s;
        gpulet_error_t err = {""};
        if (parse(&s, wrongs[i].text, NULL, &err) == GPULET_OK)
            fail_msg("accepted: %s", wrongs[i].text);
        if (strstr(err.text, wrongs[i].error) == NULL)
            fail_msg("\"%s\" lacks \"%s\"", err.text, wrongs[i].error);
        gpulet_settings_deinit(&s);
    }
}

static void the_command_line_wins_over_the_file(void **state)
{
    gpulet_settings_t s;
    gpulet_error_t err = {""};
    const char *config =
        folder_write_text(*state, "gpulet.yaml",
                          "http-port: 1111\nmetrics-port: 2222\nspin: true\nplanner: temporal\n");
    char *argv[] = {"gpuletd",        "--http-port", "3333", "--config", (char *)(uintptr_t)config,
                    "--planner=mine", "--no-spin",   NULL};
    assert_int_equal(gpulet_settings_read(&s, 7, argv, &err), GPULET_OK);
    assert_int_equal(s.http_port, 3333);
    assert_int_equal(s.metrics_port, 2222);
    assert_false(s.spin);
    assert_string_equal(s.planner, "mine");
    gpulet_settings_deinit(&s);
}

static void a_file_cannot_replace_its_own_name(void **state)
{
    gpulet_settings_t s;
    gpulet_error_t err = {""};
    char *config =
        strdup(folder_write_text(*state, "self.yaml", "config: elsewhere\nhttp-prot: 1\n"));
    char *argv[] = {"gpuletd", "--config", config, NULL};
    assert_int_not_equal(gpulet_settings_read(&s, 3, argv, &err), GPULET_OK);
    assert_non_null(strstr(err.text, "self.yaml:2: http-prot"));
    assert_string_equal(s.config, config);
    gpulet_settings_deinit(&s);
    free(config);
}

static void wrong_command_lines_are_refused(void **state)
{
    static const struct {
        const char *words[3];
        const char *error;
    } cases[] = {
        {{"--no-such"}, "unknown option '--no-such'"},
        {{"--http-port"}, "--http-port: expected a value (PORT)"},
        {{"--http-port", "x"}, "--http-port: expected a whole number, found 'x'"},
        {{"-p"}, "unknown option '-p'"},
        {{"word"}, "unexpected word 'word'"},
        {{"--", "--spin"}, "unexpected word '--spin'"},
        {{"--config", "/nowhere/gpulet.yaml"}, "/nowhere/gpulet.yaml"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_settings_t s;
        gpulet_error_t err = {""};
        char *argv[5] = {"gpuletd"};
        int argc = 1;
        for (size_t w = 0; w < 3 && cases[i].words[w] != NULL; w++)
            argv[argc++] = (char *)(uintptr_t)cases[i].words[w];
        assert_int_not_equal(gpulet_settings_read(&s, argc, argv, &err), GPULET_OK);
        if (strstr(err.text, cases[i].error) == NULL)
            fail_msg("\"%s\" lacks \"%s\"", err.text, cases[i].error);
        gpulet_settings_deinit(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_is_what_the_table_says),
        cmocka_unit_test(every_row_has_a_name_of_its_own_and_a_help),
        cmocka_unit_test_setup_teardown(a_given_plan_stays_unless_following_is_asked_for,
                                        folder_setup, folder_teardown),
        cmocka_unit_test(a_file_sets_what_it_names),
        cmocka_unit_test(an_empty_file_sets_nothing),
        cmocka_unit_test(what_is_wrong_in_a_file_is_named_with_its_line),
        cmocka_unit_test(the_command_line_wins_over_the_file),
        cmocka_unit_test(a_file_cannot_replace_its_own_name),
        cmocka_unit_test(wrong_command_lines_are_refused),
    };
    return cmocka_run_group_tests_name("server.settings", tests, folder_setup, folder_teardown);
}
