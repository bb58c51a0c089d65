#include "server/neighbours.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void check(const uint32_t *sizes, size_t sizes_count, uint32_t units,
                  const gpulet_neighbours_split_t *expected, size_t expected_count)
{
    gpulet_neighbours_split_t found[16];
    size_t count = gpulet_neighbours_splits(found, sizes, sizes_count, units);
    assert_int_equal(count, expected_count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(found[i].self, expected[i].self);
        assert_int_equal(found[i].other, expected[i].other);
    }
}

static void two_cores_are_one_and_one(void **state)
{
    (void)state;
    const uint32_t sizes[] = {1, 2};
    const gpulet_neighbours_split_t expected[] = {{1, 1}};
    check(sizes, 2, 2, expected, 1);
}

static void one_core_has_no_room_for_two(void **state)
{
    (void)state;
    const uint32_t sizes[] = {1};
    check(sizes, 1, 1, NULL, 0);
    const uint32_t large[] = {3, 4};
    check(large, 2, 4, NULL, 0);
}

static void each_size_stands_beside_the_largest_that_fits_both_ways_round(void **state)
{
    (void)state;
    const uint32_t sizes[] = {1, 2, 4, 8};
    const gpulet_neighbours_split_t expected[] = {{1, 4}, {4, 1}, {2, 4}, {4, 2}, {4, 4}};
    check(sizes, 4, 8, expected, 5);
}

static void a_run_without_room_says_so(void **state)
{
    (void)state;
    const uint32_t sizes[] = {1};
    const gpulet_repository_model_t *models[] = {NULL};
    const gpulet_neighbours_options_t options = {.device_type = "cpu",
                                                 .units_total = 1,
                                                 .sizes = sizes,
                                                 .sizes_count = 1,
                                                 .models = models,
                                                 .models_count = 1,
                                                 .rounds = 1};
    gpulet_error_t err = {""};
    assert_int_equal(gpulet_neighbours_run(&options, &err), GPULET_E_UNAVAILABLE);
    assert_string_equal(err.text, "interference needs two gpu-lets at once: the device cpu has 1 "
                                  "unit, and no two of the sizes to measure fit");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_cores_are_one_and_one),
        cmocka_unit_test(one_core_has_no_room_for_two),
        cmocka_unit_test(each_size_stands_beside_the_largest_that_fits_both_ways_round),
        cmocka_unit_test(a_run_without_room_says_so),
    };
    return cmocka_run_group_tests_name("server.neighbours", tests, NULL, NULL);
}
