#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sched/estimate.h"

#define MS 1000000ULL

static sched_estimate_t estimate;

static int clear(void **state)
{
    (void)state;
    memset(&estimate, 0, sizeof(estimate));
    sched_estimate_profile(&estimate, NULL, 0);
    return 0;
}

static void fill(uint64_t *exec, uint32_t count, double fixed_ms, double each_ms, double off)
{
    for (uint32_t b = 1; b <= count; b++)
        exec[b - 1] = (uint64_t)((fixed_ms + each_ms * b) * off * 1e6);
}

static uint64_t mean(uint32_t items)
{
    sched_curve_t curve = sched_curve(&estimate, 0, 0);
    return sched_curve_mean_ns(&curve, items);
}

static void assert_near(uint64_t value, double expected, double part)
{
    assert_true((double)value > expected * (1 - part) && (double)value < expected * (1 + part));
}

static void a_known_profile_is_read_exactly_at_small_batches(void **state)
{
    (void)state;
    uint64_t exec[32];
    fill(exec, 32, 4, 3.6, 1);
    sched_estimate_profile(&estimate, exec, 32);
    for (uint32_t b = 1; b <= 32; b++)
        assert_near(mean(b), (double)exec[b - 1], 1e-6);
    assert_near(mean(100), 364e6, 1e-6); /* along the last two */
}

static void unknown_batches_are_interpolated(void **state)
{
    (void)state;
    uint64_t exec[8] = {10 * MS, 0, 0, 40 * MS, 0, 0, 0, 60 * MS};
    sched_estimate_profile(&estimate, exec, 8);
    assert_int_equal(mean(2), 20 * MS);
    assert_int_equal(mean(6), 50 * MS);
    assert_int_equal(mean(12), 80 * MS);
}

static void one_known_batch_grows_in_proportion(void **state)
{
    (void)state;
    uint64_t exec[1] = {3 * MS};
    sched_estimate_profile(&estimate, exec, 1);
    assert_int_equal(mean(7), 21 * MS);
    assert_true(sched_estimate_known(&estimate));
}

static void nothing_known_is_a_millisecond_an_item_and_is_learned(void **state)
{
    (void)state;
    assert_false(sched_estimate_known(&estimate));
    assert_int_equal(mean(1), MS);
    for (int i = 0; i < 30; i++) {
        sched_estimate_learn(&estimate, 0, 1, 8 * MS);
        sched_estimate_learn(&estimate, 0, 8, 30 * MS);
    }
    assert_true(sched_estimate_known(&estimate));
    assert_near(mean(1), 8e6, 0.1);
    assert_near(mean(8), 30e6, 0.1);
    assert_true(mean(4) > 8 * MS && mean(4) < 30 * MS);
}

static void a_profile_ten_times_off_heals_within_twenty_batches(void **state)
{
    (void)state;
    static const double offs[] = {10, 0.1};
    for (int i = 0; i < 2; i++) {
        uint64_t exec[32];
        clear(NULL);
        fill(exec, 32, 4, 3.6, offs[i]);
        sched_estimate_profile(&estimate, exec, 32);
        for (int j = 0; j < 20; j++)
            sched_estimate_learn(&estimate, 0, 4, 18400000);
        assert_near(mean(4), 18.4e6, 0.2);
        assert_near(mean(8), 32.8e6, 0.5); /* The others follow. */
    }
}

static void one_outlier_moves_little(void **state)
{
    (void)state;
    uint64_t exec[8];
    fill(exec, 8, 4, 3.6, 1);
    sched_estimate_profile(&estimate, exec, 8);
    for (int i = 0; i < 50; i++)
        sched_estimate_learn(&estimate, 0, 4, 18400000);
    sched_estimate_learn(&estimate, 0, 4, 184000000);
    assert_near(mean(4), 18.4e6, 0.15);
}

static void noise_widens_the_safe_time(void **state)
{
    (void)state;
    uint64_t exec[8];
    fill(exec, 8, 4, 3.6, 1);
    sched_estimate_profile(&estimate, exec, 8);
    sched_curve_t exact = sched_curve(&estimate, 0, 0);
    assert_int_equal(sched_curve_safe_ns(&exact, 4), sched_curve_mean_ns(&exact, 4));
    for (int i = 0; i < 100; i++)
        sched_estimate_learn(&estimate, 0, 4, i % 2 == 0 ? 16000000 : 21000000);
    sched_curve_t curve = sched_curve(&estimate, 0, 0);
    double ratio = (double)sched_curve_safe_ns(&curve, 4) / (double)sched_curve_mean_ns(&curve, 4);
    assert_true(ratio > 1.08 && ratio < 1.25);
}

static void fit_is_the_largest_batch_within_the_budget(void **state)
{
    (void)state;
    uint64_t exec[32];
    fill(exec, 32, 4, 3.6, 1);
    sched_estimate_profile(&estimate, exec, 32);
    sched_curve_t curve = sched_curve(&estimate, 0, 0);
    for (uint64_t budget = 0; budget < 130 * MS; budget += 777777) {
        uint32_t expected = 0;
        for (uint32_t b = 1; b <= 32; b++) {
            if (sched_curve_safe_ns(&curve, b) <= budget)
                expected = b;
        }
        assert_int_equal(sched_curve_fit(&curve, budget, 32), expected);
    }
}

static void a_fixed_batch_always_costs_the_same(void **state)
{
    (void)state;
    uint64_t exec[8];
    fill(exec, 8, 4, 3.6, 1);
    sched_estimate_profile(&estimate, exec, 8);
    sched_curve_t curve = sched_curve(&estimate, 0, 8);
    assert_int_equal(sched_curve_mean_ns(&curve, 1), exec[7]);
    assert_int_equal(sched_curve_fit(&curve, exec[7], 8), 8);
    assert_int_equal(sched_curve_fit(&curve, exec[7] - 1, 8), 0);
    assert_int_equal(sched_curve_best(&curve, 8), 8);
}

static void padded_sizes_have_a_best_batch(void **state)
{
    (void)state;
    uint64_t exec[16];
    for (uint32_t b = 1; b <= 16; b++)
        exec[b - 1] = b <= 8 ? 10 * MS : 20 * MS;
    sched_estimate_profile(&estimate, exec, 16);
    sched_curve_t curve = sched_curve(&estimate, 0, 0);
    assert_int_equal(sched_curve_best(&curve, 12), 8);
    assert_int_equal(sched_curve_best(&curve, 16), 16);
}

static void size_classes_are_learned_apart(void **state)
{
    (void)state;
    for (int i = 0; i < 40; i++) {
        sched_estimate_learn(&estimate, 10, 1, 2 * MS);
        sched_estimate_learn(&estimate, 14, 1, 20 * MS);
    }
    sched_curve_t small = sched_curve(&estimate, 10, 0), large = sched_curve(&estimate, 14, 0);
    assert_near(sched_curve_mean_ns(&small, 1), 2e6, 0.15);
    assert_near(sched_curve_mean_ns(&large, 1), 20e6, 0.15);
    sched_curve_t larger =
        sched_curve(&estimate, 15, 0); /* never measured: in proportion to its elements */
    assert_near(sched_curve_mean_ns(&larger, 1), 40e6, 0.2);
}

static void a_new_profile_keeps_what_was_measured(void **state)
{
    (void)state;
    uint64_t exec[8];
    fill(exec, 8, 4, 3.6, 1);
    sched_estimate_profile(&estimate, exec, 8);
    for (int i = 0; i < 40; i++)
        sched_estimate_learn(&estimate, 0, 4, 30 * MS);
    uint64_t before = mean(4);
    fill(exec, 8, 2, 1, 1);
    sched_estimate_profile(&estimate, exec, 8);
    assert_near(mean(4), (double)before, 0.01);
    sched_estimate_profile(&estimate, NULL, 0);
    assert_near(mean(4), (double)before, 0.01);
}

static void more_items_never_seem_cheaper(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        sched_estimate_learn(&estimate, 0, 2, 30 * MS);
        sched_estimate_learn(&estimate, 0, 4, 10 * MS);
    }
    for (uint32_t b = 1; b < 64; b++)
        assert_true(mean(b) <= mean(b + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_known_profile_is_read_exactly_at_small_batches, clear),
        cmocka_unit_test_setup(unknown_batches_are_interpolated, clear),
        cmocka_unit_test_setup(one_known_batch_grows_in_proportion, clear),
        cmocka_unit_test_setup(nothing_known_is_a_millisecond_an_item_and_is_learned, clear),
        cmocka_unit_test_setup(a_profile_ten_times_off_heals_within_twenty_batches, clear),
        cmocka_unit_test_setup(one_outlier_moves_little, clear),
        cmocka_unit_test_setup(noise_widens_the_safe_time, clear),
        cmocka_unit_test_setup(fit_is_the_largest_batch_within_the_budget, clear),
        cmocka_unit_test_setup(a_fixed_batch_always_costs_the_same, clear),
        cmocka_unit_test_setup(padded_sizes_have_a_best_batch, clear),
        cmocka_unit_test_setup(size_classes_are_learned_apart, clear),
        cmocka_unit_test_setup(a_new_profile_keeps_what_was_measured, clear),
        cmocka_unit_test_setup(more_items_never_seem_cheaper, clear),
    };
    return cmocka_run_group_tests_name("sched.estimate", tests, NULL, NULL);
}
