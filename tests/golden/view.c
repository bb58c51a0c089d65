/* Drawings of plans kept in view/: a plan that fits and one that does not, made by hand to have
 * folded devices, narrow gpu-lets, names of other scripts and names that XML must escape.
 * GPULET_UPDATE_GOLDEN=1 writes the drawings anew; look at them then. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "view/answers_text.h"
#include "view/plan_svg.h"
#include "view/plan_text.h"
#include "view/study_svg.h"

#define GOLDEN GPULET_SOURCE_DIR "/tests/golden/view/"

static const gpulet_view_style_t wide = {.width = 100, .utf8 = true};
static const gpulet_view_style_t narrow = {.width = 60};
static const gpulet_view_style_t coloured = {.width = 80, .utf8 = true, .colour = true};

static gpulet_device_set_t *devices;
static gpulet_plan_t *plan;
static gpulet_plan_t *shorter;

static void expect_ok(gpulet_status_t st, const gpulet_error_t *err)
{
    if (st != GPULET_OK)
        fail_msg("%s: %s", gpulet_status_name(st), err->text);
}

static int setup(void **state)
{
    gpulet_error_t err = {""};
    (void)state;
    expect_ok(gpulet_device_set_load(&devices, GOLDEN "devices.yaml", &err), &err);
    expect_ok(gpulet_plan_load(&plan, GOLDEN "plan.json", &err), &err);
    expect_ok(gpulet_plan_load(&shorter, GOLDEN "short.json", &err), &err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    gpulet_device_set_destroy(devices);
    gpulet_plan_destroy(plan);
    gpulet_plan_destroy(shorter);
    return 0;
}

/* Consumes the buffer. */
static void compare(const char *name, gpulet_buf_t *out)
{
    gpulet_error_t err = {""};
    char path[1024];
    char *expected = NULL;
    size_t size = 0;
    snprintf(path, sizeof(path), "%s%s", GOLDEN, name);
    if (getenv("GPULET_UPDATE_GOLDEN") != NULL)
        expect_ok(gpulet_file_write(path, out->data, out->size, &err), &err);
    expect_ok(gpulet_file_read(&expected, &size, path, 1 << 20, &err), &err);
    if (size != out->size || memcmp(expected, out->data, size) != 0)
        fail_msg("%s differs; now it is:\n%s", name, out->data);
    free(expected);
    gpulet_buf_deinit(out);
}

static void text_of(const char *name, const gpulet_plan_t *drawn, const gpulet_view_style_t *style)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    assert_int_equal(gpulet_view_plan_text(&out, drawn, devices, style), GPULET_OK);
    compare(name, &out);
}

static void plans_are_drawn_on_terminals_of_all_kinds(void **state)
{
    (void)state;
    text_of("wide.txt", plan, &wide);
    text_of("narrow.txt", plan, &narrow);
    text_of("coloured.txt", plan, &coloured);
    text_of("short.txt", shorter, &wide);
}

static void plans_are_pictures(void **state)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    (void)state;
    assert_int_equal(gpulet_view_plan_svg(&out, plan, devices), GPULET_OK);
    compare("plan.svg", &out);
    assert_int_equal(gpulet_view_plan_svg(&out, shorter, devices), GPULET_OK);
    compare("short.svg", &out);
}

static void plans_stand_side_by_side(void **state)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    gpulet_plan_t *other = NULL;
    gpulet_compare_t c[2];
    (void)state;
    assert_int_equal(gpulet_plan_clone(&other, plan), GPULET_OK);
    other->devices_used = 12;
    other->devices_count = 12;
    other->devices[1].gpulets[0].shares[0].batch = 8;
    other->proved_optimal = false;
    for (size_t i = 12; i < plan->devices_count; i++) { /* a clone owns all that it holds */
        for (size_t k = 0; k < other->devices[i].gpulets_count; k++)
            free(other->devices[i].gpulets[k].shares);
        free(other->devices[i].gpulets);
    }
    assert_int_equal(gpulet_compare_plans(&c[0], plan, other), GPULET_OK);
    assert_int_equal(gpulet_compare_plans(&c[1], plan, shorter), GPULET_OK);
    const gpulet_view_variant_t variants[] = {{"as it is", plan, NULL},
                                              {"resnet50.rate*0.5", other, &c[0]},
                                              {"größer.rate*2,devices.mig=3", shorter, &c[1]}};
    assert_int_equal(gpulet_view_variants(&out, variants, 3, &wide), GPULET_OK);
    compare("variants.txt", &out);
    assert_int_equal(gpulet_view_variants(&out, variants, 3, &narrow), GPULET_OK);
    compare("variants.narrow.txt", &out);
    gpulet_compare_deinit(&c[0]);
    gpulet_compare_deinit(&c[1]);
    gpulet_plan_destroy(other);
}

static void advice_is_a_list(void **state)
{
    static const gpulet_demand_t tiny = {.model = "tiny", .rate_rps = 300, .slo_ms = 75};
    static const gpulet_demand_t large = {.model = "größer", .rate_rps = 30.5, .slo_ms = 10};
    gpulet_buf_t out = GPULET_BUF_INIT;
    gpulet_advice_t advice = {
        .multiple = 0.8339,
        .types_count = 2,
        .types = {{"mig", 4, 5}, {"a-type", 20, -1}},
        .models_count = 2,
        .models_missing = 2,
        .models = {{&tiny, 123.4, 176, 88.5}, {&large, 2, 0, NAN}},
    };
    (void)state;
    assert_int_equal(gpulet_view_advice(&out, &advice, &wide), GPULET_OK);
    compare("advice.txt", &out);
    advice = (gpulet_advice_t){.multiple = NAN};
    assert_int_equal(gpulet_view_advice(&out, &advice, &wide), GPULET_OK);
    assert_non_null(strstr(out.data, "No single change"));
    gpulet_buf_deinit(&out);
}

static void studies_are_pictures_and_tables(void **state)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    gpulet_study_spec_t spec;
    gpulet_error_t err = {""};
    uint8_t verdicts[26 * 2];
    gpulet_study_result_t result = {.cases_count = 26,
                                    .planners_count = 2,
                                    .threads_count = 2,
                                    .wall_ms = 1234.5,
                                    .verdicts = verdicts};
    (void)state;
    expect_ok(gpulet_study_spec_parse(&spec, "a,b<&>,c", "a=1,b<&>=2,c=3", "0,10,20",
                                      "temporal,elastic", &err),
              &err);
    for (size_t i = 0; i < 52; i++) {
        verdicts[i] = (uint8_t)(i * i % 7 % 4);
        result.planners[i % 2].counts[verdicts[i]]++;
    }
    result.planners[0].cpu_ms = 26;
    result.planners[1].cpu_ms = 2.6;
    assert_int_equal(gpulet_view_study_svg(&out, &spec, &result), GPULET_OK);
    compare("study.svg", &out);
    assert_int_equal(gpulet_study_format_text(&out, &spec, &result), GPULET_OK);
    compare("study.txt", &out);
    assert_int_equal(gpulet_study_format_csv(&out, &spec, &result), GPULET_OK);
    compare("study.csv", &out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_are_drawn_on_terminals_of_all_kinds),
        cmocka_unit_test(plans_are_pictures),
        cmocka_unit_test(plans_stand_side_by_side),
        cmocka_unit_test(advice_is_a_list),
        cmocka_unit_test(studies_are_pictures_and_tables),
    };
    return cmocka_run_group_tests_name("golden.view", tests, setup, teardown);
}
