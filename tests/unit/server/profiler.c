#include "server/profiler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void check_stepped(uint32_t units, uint32_t step, const uint32_t *expected,
                          size_t expected_count)
{
    size_t count = 0;
    uint32_t *sizes = gpulet_profiler_default_sizes(&count, units, step);
    assert_non_null(sizes);
    assert_int_equal(count, expected_count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(sizes[i], expected[i]);
    free(sizes);
}

static void check(uint32_t units, const uint32_t *expected, size_t expected_count)
{
    check_stepped(units, 1, expected, expected_count);
}

static void all_sizes_of_a_small_device_are_worth_measuring(void **state)
{
    (void)state;
    check(1, (const uint32_t[]){1}, 1);
    check(2, (const uint32_t[]){1, 2}, 2);
    check(7, (const uint32_t[]){1, 2, 3, 4, 5, 6, 7}, 7);
    check(8, (const uint32_t[]){1, 2, 3, 4, 5, 6, 7, 8}, 8);
}

static void of_a_large_one_powers_of_two_and_the_whole(void **state)
{
    (void)state;
    check(9, (const uint32_t[]){1, 2, 3, 4, 5, 6, 7, 8, 9}, 9);
    check(16, (const uint32_t[]){1, 2, 3, 4, 5, 6, 7, 8, 16}, 9);
    check(100, (const uint32_t[]){1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 100}, 12);
}

static void sizes_of_a_stepped_device_are_multiples(void **state)
{
    (void)state;
    check_stepped(100, 10, (const uint32_t[]){10, 20, 30, 40, 50, 60, 70, 80, 100}, 9);
    check_stepped(100, 30, (const uint32_t[]){30, 60, 90, 100}, 4);
    check_stepped(100, 100, (const uint32_t[]){100}, 1);
}

static void even_the_largest_number_of_units_has_few_sizes(void **state)
{
    size_t count = 0;
    uint32_t *sizes = gpulet_profiler_default_sizes(&count, UINT32_MAX, 1);
    (void)state;
    assert_non_null(sizes);
    assert_int_equal(count, 8 + 28 + 1);
    for (size_t i = 1; i < count; i++)
        assert_true(sizes[i] > sizes[i - 1]);
    assert_int_equal(sizes[count - 1], UINT32_MAX);
    free(sizes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sizes_of_a_small_device_are_worth_measuring),
        cmocka_unit_test(of_a_large_one_powers_of_two_and_the_whole),
        cmocka_unit_test(sizes_of_a_stepped_device_are_multiples),
        cmocka_unit_test(even_the_largest_number_of_units_has_few_sizes),
    };
    return cmocka_run_group_tests_name("server.profiler", tests, NULL, NULL);
}
