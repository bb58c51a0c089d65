#include "plan/poisson.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void quantiles_are_those_of_the_tables(void **state)
{
    (void)state;
    /* The authors' prototype inflates rates by these and one more: 19, 68, 125, 554. */
    /* The paper's prototype plans for one more than each of these: 19, 68, 125, 235, 342, 554. */
    assert_int_equal(gpulet_poisson_quantile(0.99, 200.0), 234);
    assert_int_equal(gpulet_poisson_quantile(0.99, 300.0), 341);
    assert_int_equal(gpulet_poisson_quantile(0.99, 10.0), 18);
    assert_int_equal(gpulet_poisson_quantile(0.99, 50.0), 67);
    assert_int_equal(gpulet_poisson_quantile(0.99, 100.0), 124);
    assert_int_equal(gpulet_poisson_quantile(0.99, 500.0), 553);
    assert_int_equal(gpulet_poisson_quantile(0.99, 0.0), 0);
    assert_int_equal(gpulet_poisson_quantile(0.5, 1.0), 1);
}

static void the_distribution_function_is_exact_for_small_means(void **state)
{
    (void)state;
    assert_true(fabs(gpulet_poisson_cdf(0, 1.0) - exp(-1.0)) < 1e-15);
    assert_true(fabs(gpulet_poisson_cdf(1, 1.0) - 2.0 * exp(-1.0)) < 1e-15);
    assert_true(fabs(gpulet_poisson_cdf(2, 3.0) - 8.5 * exp(-3.0)) < 1e-14);
}

static void large_means_do_not_underflow(void **state)
{
    (void)state;
    /* Near the mean the function is 1/2 + O(1/√mean). */
    assert_true(fabs(gpulet_poisson_cdf(1000000, 1e6) - 0.5) < 1e-3);
    uint64_t quantile = gpulet_poisson_quantile(0.99, 1e8);
    assert_true(fabs((double)quantile - (1e8 + 2.3263479 * 1e4)) < 3.0);
    assert_true(gpulet_poisson_cdf(10, 1e5) == 0.0);
    assert_true(gpulet_poisson_cdf(1000000, 1e-9) == 1.0);
}

static void the_largest_mean_is_the_inverse_of_the_quantile(void **state)
{
    (void)state;
    static const uint64_t counts[] = {0, 1, 2, 3, 8, 32, 100, 1000, 4096, 100000};
    static const double percentiles[] = {0.01, 0.5, 0.9, 0.99, 0.9999};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        for (size_t k = 0; k < sizeof(percentiles) / sizeof(percentiles[0]); k++) {
            double mean = gpulet_poisson_mean_max(percentiles[k], counts[i]);
            assert_true(mean > 0.0);
            assert_true(gpulet_poisson_quantile(percentiles[k], mean) <= counts[i]);
            assert_true(gpulet_poisson_quantile(percentiles[k], mean * (1.0 + 1e-9)) > counts[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_those_of_the_tables),
        cmocka_unit_test(the_distribution_function_is_exact_for_small_means),
        cmocka_unit_test(large_means_do_not_underflow),
        cmocka_unit_test(the_largest_mean_is_the_inverse_of_the_quantile),
    };
    return cmocka_run_group_tests_name("plan.poisson", tests, NULL, NULL);
}
