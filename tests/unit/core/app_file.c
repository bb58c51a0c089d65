#include "core/app.h"

#include "check.h"

static const char yaml[] =
    "apps:\n"
    "  traffic: {slo_ms: 202, rate_rps: 100, stages: {ssd: {model: ssd-mobilenet}, car: {model: "
    "googlenet, after: [ssd]}, person: {model: vgg16, after: [ssd]}}}\n"
    "  game:\n"
    "    slo_ms: 108\n"
    "    stages:\n"
    "      last: {model: join, after: [digits, image]}\n"
    "      image: {model: resnet50}\n"
    "      digits: {model: lenet, requests: 6}\n";

static const char csv[] = "app,slo_ms,rate_rps,stage,model,after,requests\n"
                          "traffic,202,100,ssd,ssd-mobilenet,,\n"
                          "traffic,202,,car,googlenet,ssd,\n"
                          "traffic,,100,person,vgg16,  ssd ,\n"
                          "# the paper's other one\n"
                          "game,108,,image,resnet50,,1\n"
                          "game,,,digits,lenet,,6\n"
                          "game,,,last,join,image digits,\n";

static gpulet_status_t parse(gpulet_apps_t **out, const char *text, const char *file,
                             gpulet_error_t *err)
{
    return gpulet_apps_parse(out, text, strlen(text), file, err);
}

static void check_apps(const gpulet_apps_t *apps)
{
    assert_int_equal(apps->count, 2);
    const gpulet_app_t *traffic = gpulet_apps_find(apps, "traffic");
    const gpulet_app_t *game = gpulet_apps_find(apps, "game");
    assert_ptr_equal(traffic, apps->items[0]);
    assert_ptr_equal(game, apps->items[1]);
    assert_null(gpulet_apps_find(apps, "other"));
    assert_true(traffic->slo_ms == 202 && traffic->rate_rps == 100);
    assert_int_equal(traffic->stages_count, 3);
    assert_string_equal(traffic->stages[1].model, "googlenet");
    assert_int_equal(traffic->stages[0].after, 6);
    assert_int_equal(traffic->stages[0].requests, 1);
    assert_true(game->slo_ms == 108 && game->rate_rps == 0);
    const gpulet_app_stage_t *digits = &game->stages[gpulet_app_find_stage(game, "digits")];
    const gpulet_app_stage_t *last = &game->stages[gpulet_app_find_stage(game, "last")];
    assert_int_equal(digits->requests, 6);
    assert_int_equal(digits->before, 0);
    assert_int_equal(__builtin_popcountll(last->before), 2);
    assert_int_equal(last->after, 0);
}

static void yaml_and_csv_say_the_same(void **state)
{
    (void)state;
    const char *const texts[] = {yaml, csv};
    const char *const files[] = {"a.yaml", "a.csv"};
    for (size_t i = 0; i < 2; i++) {
        gpulet_apps_t *apps = NULL;
        gpulet_error_t err = {""};
        if (parse(&apps, texts[i], files[i], &err) != GPULET_OK)
            fail_msg("%s", err.text);
        check_apps(apps);
        gpulet_apps_destroy(apps);
    }
    gpulet_apps_destroy(NULL);
}

static void what_is_written_reads_back_the_same(void **state)
{
    (void)state;
    const char text[] = "apps:\n  \"a \\\" \\\\ \xc3\xa9 \\u2028\":\n    slo_ms: 0.1\n    stages:\n"
                        "      \"x: y\": {model: \"m\\x7f\"}\n";
    const char *const texts[] = {yaml, text};
    for (size_t i = 0; i < 2; i++) {
        gpulet_apps_t *apps = NULL;
        gpulet_apps_t *again = NULL;
        gpulet_buf_t first = GPULET_BUF_INIT;
        gpulet_buf_t second = GPULET_BUF_INIT;
        gpulet_error_t err = {""};
        if (parse(&apps, texts[i], "a", &err) != GPULET_OK) {
            assert_int_equal(i, 1); /* DEL is no part of a name */
            assert_non_null(strstr(err.text, "a:5: model: "));
            continue;
        }
        assert_int_equal(gpulet_apps_format_yaml(&first, apps), GPULET_OK);
        assert_int_equal(parse(&again, first.data, "a", &err), GPULET_OK);
        assert_int_equal(gpulet_apps_format_yaml(&second, again), GPULET_OK);
        assert_string_equal(first.data, second.data);
        gpulet_buf_deinit(&first);
        gpulet_buf_deinit(&second);
        gpulet_apps_destroy(apps);
        gpulet_apps_destroy(again);
    }
}

#define APP(rest) "apps: {a: {slo_ms: 5, stages: {x: {model: m}" rest "}}}\n"

static void errors_name_line_and_field(void **state)
{
    (void)state;
    const wrong_t yamls[] = {
        {"", "a.yaml:1: apps: expected applications, found an empty file"},
        {"- 1\n", "a.yaml:1: file: expected a mapping, found a list"},
        {"app: 1\n", "a.yaml:1: key: expected a known key, found 'app'"},
        {"{}\n", "a.yaml:1: apps: expected applications, found nothing"},
        {"apps: {}\n", "a.yaml:1: apps: expected at least one application"},
        {"apps:\n  a: 3\n", "a.yaml:2: a: expected a mapping, found '3'"},
        {"apps:\n  a: {stages: {x: {model: m}}}\n", "a.yaml:2: slo_ms: expected the objective"},
        {"apps: {a: {slo_ms: 5}}\n", "a.yaml:1: stages: expected the stages"},
        {"apps: {a: {slo_ms: 0, stages: {}}}\n", "slo_ms: expected a number above 0, found '0'"},
        {"apps: {a: {slo_ms: 5, rate_rps: x, stages: {}}}\n", "rate_rps: expected a number above"},
        {"apps: {a: {slo_ms: 5, slo: 5, stages: {}}}\n", "key: expected a known key, found 'slo'"},
        {"apps: {a: {slo_ms: 5, stages: {}}}\n", "a.yaml:1: a: expected at least one stage"},
        {"apps: {a: {slo_ms: 5, stages: {x: {}}}}\n", "model: expected the name of a model"},
        {"apps: {a: {slo_ms: 5, stages: {x: m}}}\n", "x: expected a mapping, found 'm'"},
        {"apps: {a: {slo_ms: 5, stages: {x: {model: [m]}}}}\n", "model: expected a name"},
        {APP(", y: {model: m, requests: 0}"), "requests: expected a whole number from 1 to 4096"},
        {APP(", y: {model: m, after: x}"), "after: expected a list of stages, found 'x'"},
        {APP(", y: {model: m, after: [z]}"), "after: expected a stage of the application"},
        {APP(", y: {model: m, after: [y]}"), "a.yaml:1: a: stages wait for one another: 'y'"},
        {APP(", x: {model: m}"), "stages: expected each key once, found 'x'"},
        {APP("") "---\n", "expected one document, found another"},
        {"apps: {a: {slo_ms: 5, stages: {x: {model: m}}}", "expected YAML, found"},
    };
    const wrong_t csvs[] = {
        {"", "a.csv:1:"},
        {"app,slo_ms,stage\n", "model"},
        {"app,slo_ms,stage,model\n", "a.csv: app: expected at least one row, found none"},
        {"app,slo_ms,stage,model\n,5,x,m\n", "a.csv:2: app: expected"},
        {"app,slo_ms,stage,model\na,0,x,m\n", "a.csv:2: slo_ms: expected a number above 0"},
        {"app,slo_ms,stage,model\na,5,,m\n", "a.csv:2: stage: expected"},
        {"app,slo_ms,stage,model\na,5,x,\n", "a.csv:2: model: expected"},
        {"app,slo_ms,stage,model\na,5,x,m\na,5,x,m\n", "a.csv:3: stage: stage 'x' is given twice"},
        {"app,slo_ms,stage,model\na,5,x,m\na,6,y,m\n",
         "a.csv:3: slo_ms: expected what the application's first row says, or nothing, found '6'"},
        {"app,slo_ms,stage,model\na,5,x,m\nb,5,x,m\na,5,y,m\n",
         "a.csv:4: app: application 'a' is given twice"},
        {"app,slo_ms,stage,model,after\na,5,x,m,y\n", "a.csv:2: after: expected names of stages"},
        {"app,slo_ms,stage,model,after\na,5,x,m,x\n", "a.csv:2: after: expected names of stages"},
        {"app,slo_ms,stage,model,requests\na,5,x,m,4097\n", "a.csv:2: requests: expected"},
    };
    gpulet_apps_t *apps = NULL;
    for (size_t i = 0; i < sizeof(yamls) / sizeof(yamls[0]); i++) {
        gpulet_error_t err = {""};
        check_error(parse(&apps, yamls[i].text, "a.yaml", &err), &err, &yamls[i]);
    }
    for (size_t i = 0; i < sizeof(csvs) / sizeof(csvs[0]); i++) {
        gpulet_error_t err = {""};
        check_error(parse(&apps, csvs[i].text, "a.csv", &err), &err, &csvs[i]);
    }
    assert_null(apps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(yaml_and_csv_say_the_same),
        cmocka_unit_test(what_is_written_reads_back_the_same),
        cmocka_unit_test(errors_name_line_and_field),
    };
    return cmocka_run_group_tests_name("core.app_file", tests, NULL, NULL);
}
