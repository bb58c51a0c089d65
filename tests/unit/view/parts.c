/* What drawings are made of: escapes, keys, places, marks. The drawings themselves are in
 * tests/golden/view. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "view/fold.h"
#include "view/plan_svg.h"
#include "view/plan_text.h"
#include "view/svg.h"

static void texts_in_pictures_are_escaped(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"<b>&\"it's\"", "&lt;b&gt;&amp;&quot;it&apos;s&quot;"},
        {"gr\xC3\xB6\xC3\x9F"
         "er",
         "gr\xC3\xB6\xC3\x9F"
         "er"},
        {"a\x01z\x1Bq", "a\xEF\xBF\xBDz\xEF\xBF\xBDq"}, /* controls */
        {"\xC3", "\xEF\xBF\xBD"},                       /* half a character */
        {"\xEF\xBF\xBF", "\xEF\xBF\xBD"},               /* U+FFFF */
        {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"},       /* four bytes */
        {"", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_buf_t out = GPULET_BUF_INIT;
        gpulet_buf_append_str(&out, "");
        gpulet_svg_escape(&out, cases[i][0]);
        assert_string_equal(out.data != NULL ? out.data : "", cases[i][1]);
        gpulet_buf_deinit(&out);
    }
}

static void keys_go_on_after_z(void **state)
{
    (void)state;
    char key[GPULET_VIEW_KEY_SIZE];
    assert_string_equal(gpulet_view_key(key, 0), "A");
    assert_string_equal(gpulet_view_key(key, 25), "Z");
    assert_string_equal(gpulet_view_key(key, 26), "AA");
    assert_string_equal(gpulet_view_key(key, 26 + 26 * 26 - 1), "ZZ");
    assert_string_equal(gpulet_view_key(key, 26 + 26 * 26), "AAA");
}

static void marks_are_round_numbers_and_not_too_many(void **state)
{
    (void)state;
    assert_true(gpulet_view_step(8, 10) == 1);
    assert_true(gpulet_view_step(8, 4) == 2);
    assert_true(gpulet_view_step(100, 10) == 10);
    assert_true(gpulet_view_step(100, 20) == 5);
    assert_true(gpulet_view_step(1e6, 7) == 200000);
    assert_true(gpulet_view_step(5, 0) == 5);
}

/* A plan of random shape; nothing that is drawn has to keep a promise. */
static gpulet_plan_t *random_plan(gpulet_rng_t *rng)
{
    static const char *const names[] = {"a", "model-with-a-name", "\xC3\xB6\xC3\x9F<&>", "x\"y"};
    gpulet_plan_t *plan = NULL;
    assert_int_equal(gpulet_plan_create(&plan), GPULET_OK);
    for (size_t i = 0; i < 4; i++) {
        gpulet_plan_model_t *m = gpulet_plan_add_model(plan);
        snprintf(m->model, sizeof(m->model), "%s", names[i]);
        m->rate_rps = gpulet_rng_f64(rng) * 1e6;
        m->capacity_rps = gpulet_rng_f64(rng) * 1e6;
        m->slo_ms = 1 + gpulet_rng_f64(rng) * 1e4;
    }
    size_t devices = gpulet_rng_u64(rng) % 6;
    for (size_t d = 0; d < devices; d++) {
        gpulet_plan_device_t *device = gpulet_plan_add_device(plan);
        snprintf(device->type, sizeof(device->type),
                 gpulet_rng_u64(rng) % 4 > 0 ? "cpu" : "unknown");
        device->index = (uint32_t)d;
        size_t gpulets = 1 + gpulet_rng_u64(rng) % 9;
        for (size_t i = 0; i < gpulets; i++) {
            gpulet_plan_gpulet_t *g = gpulet_plan_add_gpulet(device);
            g->units = 1 + (uint32_t)(gpulet_rng_u64(rng) % 40);
            g->slot = -1;
            g->duty_ms = gpulet_rng_f64(rng) * 100;
            size_t shares = gpulet_rng_u64(rng) % 5;
            for (size_t k = 0; k < shares; k++) {
                gpulet_plan_share_t *s = gpulet_plan_add_share(g);
                snprintf(s->model, sizeof(s->model), "%s", names[k % 4]);
                s->batch = 1 + (uint32_t)(gpulet_rng_u64(rng) % 4096);
                s->instances = 1 + (uint32_t)(gpulet_rng_u64(rng) % 3);
                s->latency_ms = g->duty_ms * gpulet_rng_f64(rng);
            }
        }
    }
    plan->devices_used = (uint32_t)devices;
    plan->feasible = gpulet_rng_u64(rng) % 2 == 0;
    plan->cost = plan->lower_bound_devices = NAN;
    plan->lower_bound = 1;
    return plan;
}

/* Columns of a line without its colours. */
static size_t columns(const char *line, size_t size)
{
    size_t count = 0;
    for (size_t i = 0; i < size; i++) {
        if (line[i] == '\033') {
            while (line[i] != 'm')
                i++;
            continue;
        }
        count += ((unsigned char)line[i] & 0xC0) != 0x80 ? 1 : 0;
    }
    return count;
}

static void every_bar_is_as_wide_as_the_terminal(void **state)
{
    (void)state;
    gpulet_rng_t rng;
    gpulet_device_set_t *devices = NULL;
    gpulet_rng_init(&rng, 7);
    assert_int_equal(gpulet_device_set_create_simple(&devices, "cpu", 128, 1000, -1), GPULET_OK);
    for (int i = 0; i < 300; i++) {
        gpulet_plan_t *plan = random_plan(&rng);
        gpulet_buf_t out = GPULET_BUF_INIT;
        gpulet_view_style_t style = {.width = (size_t)(gpulet_rng_u64(&rng) % 300),
                                     .utf8 = i % 2 == 0,
                                     .colour = i % 3 == 0};
        size_t width = style.width < 40 ? 40 : style.width > 240 ? 240 : style.width;
        gpulet_buf_append_str(&out, "");
        assert_int_equal(gpulet_view_bars(&out, plan, devices, &style), GPULET_OK);
        const char *line = out.size > 0 ? out.data : "";
        for (const char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            size_t size = (size_t)(end - line);
            if (strncmp(line, "units", 5) == 0)
                assert_true(columns(line, size) <= width + 4);
            else
                assert_int_equal(columns(line, size), width);
            for (size_t k = 0; !style.utf8 && k < size; k++)
                assert_true((unsigned char)line[k] < 0x80);
        }
        gpulet_buf_deinit(&out);
        assert_int_equal(gpulet_view_plan_text(&out, plan, devices, &style), GPULET_OK);
        gpulet_buf_deinit(&out);
        assert_int_equal(gpulet_view_plan_svg(&out, plan, devices), GPULET_OK);
        assert_null(strstr(out.data, "nan"));
        gpulet_buf_deinit(&out);
        gpulet_plan_destroy(plan);
    }
    gpulet_device_set_destroy(devices);
}

static void many_kinds_of_devices_are_cut_short(void **state)
{
    (void)state;
    gpulet_plan_t *plan = NULL;
    gpulet_device_set_t *devices = NULL;
    gpulet_buf_t out = GPULET_BUF_INIT;
    const gpulet_view_style_t style = {.width = 80};
    assert_int_equal(gpulet_plan_create(&plan), GPULET_OK);
    assert_int_equal(gpulet_device_set_create_simple(&devices, "cpu", 4, 1000, -1), GPULET_OK);
    for (uint32_t i = 0; i < 130; i++) {
        gpulet_plan_device_t *device = gpulet_plan_add_device(plan);
        snprintf(device->type, sizeof(device->type), "cpu");
        gpulet_plan_gpulet_t *g = gpulet_plan_add_gpulet(device);
        g->units = 4;
        g->slot = -1;
        g->duty_ms = 1;
        gpulet_plan_share_t *s = gpulet_plan_add_share(g);
        snprintf(s->model, sizeof(s->model), "m");
        s->batch = 1 + i;
        s->instances = 1;
    }
    assert_int_equal(gpulet_view_bars(&out, plan, devices, &style), GPULET_OK);
    assert_non_null(strstr(out.data, "... and 30 more devices\n"));
    gpulet_buf_deinit(&out);
    gpulet_plan_destroy(plan);
    gpulet_device_set_destroy(devices);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_in_pictures_are_escaped),
        cmocka_unit_test(keys_go_on_after_z),
        cmocka_unit_test(marks_are_round_numbers_and_not_too_many),
        cmocka_unit_test(every_bar_is_as_wide_as_the_terminal),
        cmocka_unit_test(many_kinds_of_devices_are_cut_short),
    };
    return cmocka_run_group_tests_name("view.parts", tests, NULL, NULL);
}
