#include "plan/knee.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const uint32_t parts[] = {20, 40, 50, 60, 80, 100};

static void set_rates(gpulet_rate_point_t *points, const double *rates)
{
    for (size_t i = 0; i < 6; i++)
        points[i] = (gpulet_rate_point_t){.units = parts[i], .rate_rps = rates[i]};
}

static void the_gain_rule_finds_40_percent_on_the_papers_curves(void **state)
{
    (void)state;
    gpulet_rate_point_t points[6];
    set_rates(points, (const double[]){350, 457, 485, 516, 533, 537}); /* GoogLeNet */
    assert_int_equal(points[gpulet_knee_find(points, 6, GPULET_KNEE_GAIN)].units, 40);
    set_rates(points, (const double[]){187, 285, 320, 340, 374, 384}); /* ResNet50 */
    assert_int_equal(points[gpulet_knee_find(points, 6, GPULET_KNEE_GAIN)].units, 40);
}

static void curvature_finds_a_sharp_bend(void **state)
{
    (void)state;
    gpulet_rate_point_t points[6];
    set_rates(points, (const double[]){200, 400, 405, 410, 420, 430});
    assert_int_equal(points[gpulet_knee_find(points, 6, GPULET_KNEE_CURVATURE)].units, 40);
    set_rates(points, (const double[]){200, 400, 500, 600, 605, 610});
    assert_int_equal(points[gpulet_knee_find(points, 6, GPULET_KNEE_CURVATURE)].units, 60);
}

static void curvature_of_the_papers_curves_lies_inside(void **state)
{
    (void)state;
    /* The digitised points are too coarse for more: one pixel moves the bend between 40 and 60. */
    gpulet_rate_point_t points[6];
    set_rates(points, (const double[]){350, 457, 485, 516, 533, 537});
    size_t knee = gpulet_knee_find(points, 6, GPULET_KNEE_CURVATURE);
    assert_in_range(points[knee].units, 40, 60);
    set_rates(points, (const double[]){187, 285, 320, 340, 374, 384});
    knee = gpulet_knee_find(points, 6, GPULET_KNEE_CURVATURE);
    assert_in_range(points[knee].units, 40, 60);
}

static void a_straight_curve_has_its_knee_at_the_smallest_size(void **state)
{
    (void)state;
    gpulet_rate_point_t points[6];
    set_rates(points, (const double[]){100, 200, 250, 300, 400, 500});
    assert_int_equal(gpulet_knee_find(points, 6, GPULET_KNEE_CURVATURE), 0);
    set_rates(points, (const double[]){100, 101, 102, 103, 104, 105});
    assert_int_equal(gpulet_knee_find(points, 6, GPULET_KNEE_GAIN), 0);
    assert_int_equal(gpulet_knee_find(points, 1, GPULET_KNEE_CURVATURE), 0);
}

static void nine_hundred_requests_become_40_40_20(void **state)
{
    (void)state;
    gpulet_rate_point_t points[6];
    set_rates(points, (const double[]){100, 400, 420, 440, 450, 460});
    size_t knee = gpulet_knee_find(points, 6, GPULET_KNEE_GAIN);
    assert_int_equal(points[knee].units, 40);
    static const uint32_t expected[] = {40, 40, 20};
    double left = 900.0;
    for (size_t i = 0; i < 3; i++) {
        size_t p = gpulet_knee_ideal(points, 6, knee, left);
        assert_int_equal(points[p].units, expected[i]);
        left -= points[p].rate_rps;
    }
    assert_true(left <= 0.0);
}

static void the_required_size_is_the_smallest_that_serves_the_rate(void **state)
{
    (void)state;
    gpulet_rate_point_t points[6];
    set_rates(points, (const double[]){100, 400, 420, 440, 450, 460});
    assert_int_equal(gpulet_knee_required(points, 6, 100.0), 0);
    assert_int_equal(gpulet_knee_required(points, 6, 100.1), 1);
    assert_int_equal(gpulet_knee_required(points, 6, 460.0), 5);
    assert_int_equal(gpulet_knee_required(points, 6, 461.0), 6);
}

/* Digitised latencies of an RTX 2080 Ti, batches 4 to 32 by size 20 … 100 %. */
static const double googlenet[4][6] = {{9.5, 7.6, 7.3, 7.3, 7.0, 7.1},
                                       {17.3, 11.9, 11.1, 10.3, 9.9, 9.7},
                                       {29.5, 20.7, 20.3, 18.5, 18.1, 17.6},
                                       {56.8, 41.9, 38.4, 36.4, 33.7, 33.3}};
static const double resnet50[4][6] = {{19.3, 11.9, 10.7, 10.0, 8.6, 7.8},
                                      {35.4, 21.7, 20.2, 18.0, 16.0, 14.5},
                                      {62.9, 39.9, 36.5, 34.3, 30.2, 29.1},
                                      {116.0, 76.1, 66.8, 62.4, 56.0, 54.1}};

static gpulet_profile_t *new_profile(const double latency[4][6])
{
    gpulet_profile_t *profile = NULL;
    assert_int_equal(gpulet_profile_create(&profile), GPULET_OK);
    for (uint32_t b = 0; b < 4; b++) {
        for (size_t p = 0; p < 6; p++) {
            gpulet_profile_point_t point = {4u << b, latency[b][p], NAN, NAN, NAN,
                                            NAN,     NAN,           NAN, NAN};
            assert_int_equal(
                gpulet_profile_add(profile, "gpu", "m", parts[p], 1, &point, false, NULL),
                GPULET_OK);
        }
    }
    return profile;
}

static void check_curve(const double latency[4][6], double slo_ms)
{
    gpulet_device_set_t *set = NULL;
    static const char text[] =
        "types:\n  gpu:\n    units: 100\n    sizes: [20, 40, 50, 60, 80, 100]\n";
    assert_int_equal(gpulet_device_set_parse(&set, text, strlen(text), "devices", NULL), GPULET_OK);
    gpulet_profile_t *profile = new_profile(latency);
    gpulet_rate_point_t points[6];
    gpulet_rate_curve_options_t options = {.slo_ms = slo_ms};
    size_t count = gpulet_rate_curve(points, profile, &set->types[0], "m", &options);
    assert_int_equal(count, 6);
    for (size_t i = 0; i < count; i++) {
        assert_true(2.0 * points[i].latency_ms <= slo_ms);
        const gpulet_curve_t *curve = gpulet_profile_curve(profile, "gpu", "m", parts[i], 1);
        if (points[i].batch < 32)
            assert_true(2.0 * gpulet_curve_latency_ms(curve, points[i].batch + 1, false) > slo_ms);
        assert_true(fabs(points[i].rate_rps - 1000.0 * points[i].batch / points[i].latency_ms) <
                    1e-9);
        assert_true(i == 0 || points[i].rate_rps >= points[i - 1].rate_rps);
    }
    assert_int_equal(points[gpulet_knee_find(points, count, GPULET_KNEE_GAIN)].units, 40);
    options.latency_margin = 1000.0;
    assert_int_equal(gpulet_rate_curve(points, profile, &set->types[0], "m", &options), 0);
    gpulet_profile_destroy(profile);
    gpulet_device_set_destroy(set);
}

static void the_digitised_latencies_give_a_knee_at_40_percent(void **state)
{
    (void)state;
    check_curve(googlenet, 66.0);
    check_curve(resnet50, 108.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_gain_rule_finds_40_percent_on_the_papers_curves),
        cmocka_unit_test(curvature_finds_a_sharp_bend),
        cmocka_unit_test(curvature_of_the_papers_curves_lies_inside),
        cmocka_unit_test(a_straight_curve_has_its_knee_at_the_smallest_size),
        cmocka_unit_test(nine_hundred_requests_become_40_40_20),
        cmocka_unit_test(the_required_size_is_the_smallest_that_serves_the_rate),
        cmocka_unit_test(the_digitised_latencies_give_a_knee_at_40_percent),
    };
    return cmocka_run_group_tests_name("plan.knee", tests, NULL, NULL);
}
