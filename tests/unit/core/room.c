#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/room.h"

enum { SIZES_MAX = 10 };

static double sum(const bool *chosen, const double *sizes, size_t count)
{
    double total = 0;
    for (size_t i = 0; i < count; i++)
        total += chosen[i] ? sizes[i] : 0;
    return total;
}

static void nothing_goes_when_nothing_is_needed(void **state)
{
    const double sizes[] = {1, 2};
    bool chosen[] = {true, true};
    (void)state;
    assert_int_equal(gpulet_room_choose(chosen, sizes, 2, 0), 0);
    assert_false(chosen[0] || chosen[1]);
    assert_int_equal(gpulet_room_choose(chosen, sizes, 2, -5), 0);
    assert_int_equal(gpulet_room_choose(chosen, sizes, 0, 5), 0);
}

static void the_smallest_that_will_do_goes(void **state)
{
    const double sizes[] = {500, 300, 200, 400};
    bool chosen[4];
    (void)state;
    assert_int_equal(gpulet_room_choose(chosen, sizes, 4, 250), 1);
    assert_true(chosen[1]);
    assert_int_equal(gpulet_room_choose(chosen, sizes, 4, 650), 2);
    assert_true(chosen[0] && chosen[2]);
    assert_int_equal(gpulet_room_choose(chosen, sizes, 4, 5000), 4);
}

static size_t bits(unsigned set)
{
    size_t count = 0;
    for (; set != 0; set &= set - 1)
        count++;
    return count;
}

/* Against all subsets of many random sets. */
static void no_fewer_would_do(void **state)
{
    uint64_t seed = 1;
    (void)state;
    for (int round = 0; round < 2000; round++) {
        double sizes[SIZES_MAX];
        bool chosen[SIZES_MAX];
        size_t count = 1 + (size_t)(round % SIZES_MAX);
        for (size_t i = 0; i < count; i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
            sizes[i] = (double)(1 + (seed >> 40) % 100);
        }
        double need = (double)(1 + (seed >> 20) % 300);
        size_t found = gpulet_room_choose(chosen, sizes, count, need);
        size_t fewest = count;
        for (unsigned set = 0; set < 1U << count; set++) {
            double total = 0;
            for (size_t i = 0; i < count; i++)
                total += (set >> i & 1) != 0 ? sizes[i] : 0;
            if (total >= need && bits(set) < fewest)
                fewest = bits(set);
        }
        assert_int_equal(found, fewest);
        assert_true(sum(chosen, sizes, count) >= need || found == count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_goes_when_nothing_is_needed),
        cmocka_unit_test(the_smallest_that_will_do_goes),
        cmocka_unit_test(no_fewer_would_do),
    };
    return cmocka_run_group_tests_name("core.room", tests, NULL, NULL);
}
