#include "base/hist.h"

#include <stdlib.h>

#include "base/rng.h"
#include "check.h"

enum { VALUES_COUNT = 5000 };

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static int setup(void **state)
{
    *state = calloc(2, sizeof(gpulet_hist_t));
    return *state == NULL;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void an_empty_histogram_answers_zero(void **state)
{
    gpulet_hist_t *hist = *state;
    gpulet_hist_clear(hist);
    assert_true(gpulet_hist_quantile(hist, 0.99) == 0);
}

static void small_values_are_exact(void **state)
{
    gpulet_hist_t *hist = *state;
    gpulet_hist_clear(hist);
    for (uint64_t value = 1; value <= 100; value++)
        gpulet_hist_record(hist, value);
    assert_true(gpulet_hist_quantile(hist, 0.0) == 1);
    assert_true(gpulet_hist_quantile(hist, 0.5) == 50);
    assert_true(gpulet_hist_quantile(hist, 1.0) == 100);
    assert_true(hist->count == 100 && hist->sum == 5050 && hist->max == 100);
}

static void quantiles_are_within_a_64th_of_the_truth(void **state)
{
    gpulet_hist_t *hist = *state;
    static uint64_t values[VALUES_COUNT];
    static const double quantiles[] = {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0};
    gpulet_rng_t rng;
    gpulet_rng_init(&rng, 5);
    gpulet_hist_clear(hist);
    for (int i = 0; i < VALUES_COUNT; i++) {
        values[i] = gpulet_rng_u64(&rng) >> gpulet_rng_below(&rng, 64);
        gpulet_hist_record(hist, values[i]);
    }
    qsort(values, VALUES_COUNT, sizeof(values[0]), compare);
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        double exact_rank = quantiles[i] * VALUES_COUNT;
        size_t rank = (size_t)exact_rank;
        rank += (double)rank < exact_rank;
        uint64_t truth = values[rank - 1];
        uint64_t answer = gpulet_hist_quantile(hist, quantiles[i]);
        assert_true(answer >= truth);
        assert_true(answer - truth <= truth / 64);
    }
}

static void the_largest_value_is_a_value(void **state)
{
    gpulet_hist_t *hist = *state;
    gpulet_hist_clear(hist);
    gpulet_hist_record(hist, UINT64_MAX);
    assert_true(gpulet_hist_quantile(hist, 0.5) == UINT64_MAX);
}

static void merging_is_recording_both(void **state)
{
    gpulet_hist_t *a = *state;
    gpulet_hist_t *b = a + 1;
    gpulet_hist_clear(a);
    gpulet_hist_clear(b);
    for (uint64_t value = 0; value < 10; value++)
        gpulet_hist_record(value < 5 ? a : b, value);
    gpulet_hist_merge(a, b);
    assert_true(a->count == 10 && a->sum == 45 && a->max == 9);
    assert_true(gpulet_hist_quantile(a, 0.5) == 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_histogram_answers_zero),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(quantiles_are_within_a_64th_of_the_truth),
        cmocka_unit_test(the_largest_value_is_a_value),
        cmocka_unit_test(merging_is_recording_both),
    };
    return cmocka_run_group_tests_name("base.hist", tests, setup, teardown);
}
