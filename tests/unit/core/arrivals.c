#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/arrivals.h"

static gpulet_arrivals_t stream_of(uint64_t seed, const char *model, double rate)
{
    gpulet_arrivals_t stream = {.multiple = 1, .rate_rps = rate};
    gpulet_arrivals_init(&stream, seed, model, 0);
    return stream;
}

/* Gaps of Poisson arrivals have the mean and the standard deviation 1/rate. */
static void poisson_arrivals_have_the_mean_and_spread_of_their_rate(void **state)
{
    (void)state;
    enum { COUNT = 200000 };
    gpulet_arrivals_t stream = stream_of(1, "a", 50);
    double before = 0;
    double sum = 0;
    double squares = 0;
    for (int i = 0; i < COUNT; i++) {
        double next = gpulet_arrivals_next_s(&stream);
        sum += next - before;
        squares += (next - before) * (next - before);
        before = next;
    }
    double mean = sum / COUNT;
    assert_true(fabs(mean * 50 - 1) < 0.01);
    assert_true(fabs(sqrt(squares / COUNT - mean * mean) * 50 - 1) < 0.02);
}

static void uniform_arrivals_keep_their_distance(void **state)
{
    (void)state;
    gpulet_arrivals_t stream = {.uniform = true, .multiple = 2, .rate_rps = 10};
    gpulet_arrivals_init(&stream, 1, "a", -1);
    double before = gpulet_arrivals_next_s(&stream);
    assert_true(before >= -1 && before < -1 + 0.05);
    for (int i = 0; i < 1000; i++) {
        double next = gpulet_arrivals_next_s(&stream);
        assert_true(fabs(next - before - 0.05) < 1e-9);
        before = next;
    }
}

static void rates_that_change_are_followed(void **state)
{
    (void)state;
    static const gpulet_rate_step_t steps[] = {{0, 1000}, {10, 0}, {20, 4000}, {30, 0}};
    static const uint32_t expected[] = {5000, 10000, 0, 40000};
    gpulet_arrivals_t stream = {.multiple = 1, .steps = steps, .steps_count = 4};
    uint32_t counts[4] = {0};
    gpulet_arrivals_init(&stream, 3, "a", -5);
    for (;;) {
        double next = gpulet_arrivals_next_s(&stream);
        if (isinf(next))
            break;
        assert_true(next < 30);
        counts[next < 0 ? 0 : next < 10 ? 1 : next < 20 ? 2 : 3]++;
    }
    for (int i = 0; i < 4; i++)
        assert_true(fabs((double)counts[i] - expected[i]) <= 4 * sqrt(expected[i]));
    assert_true(gpulet_arrivals_rate_rps(&stream, 9.9) == 1000);
    assert_true(gpulet_arrivals_rate_rps(&stream, 10) == 0);
    assert_true(gpulet_arrivals_rate_rps(&stream, 99) == 0);
}

static void a_stream_depends_on_the_seed_and_its_model_alone(void **state)
{
    (void)state;
    gpulet_arrivals_t a = stream_of(1, "a", 10);
    gpulet_arrivals_t again = stream_of(1, "a", 10);
    gpulet_arrivals_t twice = stream_of(1, "a", 20);
    gpulet_arrivals_t other_model = stream_of(1, "b", 10);
    gpulet_arrivals_t other_seed = stream_of(2, "a", 10);
    double differs_model = 0;
    double differs_seed = 0;
    for (int i = 0; i < 1000; i++) {
        double at = gpulet_arrivals_next_s(&a);
        assert_true(gpulet_arrivals_next_s(&again) == at);
        assert_true(fabs(2 * gpulet_arrivals_next_s(&twice) - at) < 1e-9 * (1 + at));
        differs_model += fabs(gpulet_arrivals_next_s(&other_model) - at);
        differs_seed += fabs(gpulet_arrivals_next_s(&other_seed) - at);
    }
    assert_true(differs_model > 1 && differs_seed > 1);
}

/* The counts of two models in windows are not correlated. */
static void streams_of_two_models_know_nothing_of_one_another(void **state)
{
    (void)state;
    enum { WINDOWS = 2000 };
    static double counts[2][WINDOWS];
    double sum[2] = {0};
    for (int m = 0; m < 2; m++) {
        gpulet_arrivals_t stream = stream_of(7, m == 0 ? "a" : "b", 20);
        for (double at = 0; (at = gpulet_arrivals_next_s(&stream)) < WINDOWS;)
            counts[m][(int)at] += 1;
        for (int i = 0; i < WINDOWS; i++)
            sum[m] += counts[m][i] / WINDOWS;
    }
    double product = 0;
    double squares[2] = {0};
    for (int i = 0; i < WINDOWS; i++) {
        product += (counts[0][i] - sum[0]) * (counts[1][i] - sum[1]);
        for (int m = 0; m < 2; m++)
            squares[m] += (counts[m][i] - sum[m]) * (counts[m][i] - sum[m]);
    }
    assert_true(fabs(product / sqrt(squares[0] * squares[1])) < 0.08);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(poisson_arrivals_have_the_mean_and_spread_of_their_rate),
        cmocka_unit_test(uniform_arrivals_keep_their_distance),
        cmocka_unit_test(rates_that_change_are_followed),
        cmocka_unit_test(a_stream_depends_on_the_seed_and_its_model_alone),
        cmocka_unit_test(streams_of_two_models_know_nothing_of_one_another),
    };
    return cmocka_run_group_tests_name("core.arrivals", tests, NULL, NULL);
}
