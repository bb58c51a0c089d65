#include "base/rng.h"

#include <math.h>

#include "check.h"

static void the_same_seed_gives_the_same_numbers(void **state)
{
    (void)state;
    gpulet_rng_t a;
    gpulet_rng_t b;
    gpulet_rng_t other;
    int different = 0;
    gpulet_rng_init(&a, 42);
    gpulet_rng_init(&b, 42);
    gpulet_rng_init(&other, 43);
    for (int i = 0; i < 1000; i++) {
        uint64_t value = gpulet_rng_u64(&a);
        assert_true(value == gpulet_rng_u64(&b));
        different += value != gpulet_rng_u64(&other);
    }
    assert_true(different > 990);
}

static void the_first_numbers_of_a_seed_never_change(void **state)
{
    (void)state;
    gpulet_rng_t rng;
    gpulet_rng_init(&rng, 0);
    /* xoshiro256** seeded by SplitMix64(0), from the definitions of both. */
    assert_true(gpulet_rng_u64(&rng) == UINT64_C(0x99ec5f36cb75f2b4));
    assert_true(gpulet_rng_u64(&rng) == UINT64_C(0xbf6e1f784956452a));
}

static void below_stays_below_and_reaches_every_value(void **state)
{
    (void)state;
    gpulet_rng_t rng;
    int seen[7] = {0};
    gpulet_rng_init(&rng, 1);
    for (int i = 0; i < 7000; i++) {
        uint64_t value = gpulet_rng_below(&rng, 7);
        assert_true(value < 7);
        seen[value]++;
    }
    for (int i = 0; i < 7; i++)
        assert_in_range(seen[i], 850, 1150);
    assert_true(gpulet_rng_below(&rng, 1) == 0);
    assert_true(gpulet_rng_below(&rng, UINT64_MAX) < UINT64_MAX);
}

static void uniform_numbers_lie_in_the_unit_interval(void **state)
{
    (void)state;
    gpulet_rng_t rng;
    double sum = 0;
    gpulet_rng_init(&rng, 2);
    for (int i = 0; i < 20000; i++) {
        double value = gpulet_rng_f64(&rng);
        assert_true(value >= 0 && value < 1);
        sum += value;
    }
    assert_true(fabs(sum / 20000 - 0.5) < 0.01);
}

static void exponential_numbers_have_their_mean(void **state)
{
    (void)state;
    gpulet_rng_t rng;
    double sum = 0;
    gpulet_rng_init(&rng, 3);
    for (int i = 0; i < 50000; i++) {
        double value = gpulet_rng_exponential(&rng, 4.0);
        assert_true(value >= 0 && isfinite(value));
        sum += value;
    }
    assert_true(fabs(sum / 50000 - 4.0) < 0.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_numbers),
        cmocka_unit_test(the_first_numbers_of_a_seed_never_change),
        cmocka_unit_test(below_stays_below_and_reaches_every_value),
        cmocka_unit_test(uniform_numbers_lie_in_the_unit_interval),
        cmocka_unit_test(exponential_numbers_have_their_mean),
    };
    return cmocka_run_group_tests_name("base.rng", tests, NULL, NULL);
}
