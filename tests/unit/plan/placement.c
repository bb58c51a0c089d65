#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plan/workspace.h"

static uint32_t sizes[] = {1, 2, 3, 4, 7};
static gpulet_placement_t placements[] = {
    {1, 7, {0, 1, 2, 3, 4, 5, 6}}, {2, 3, {0, 2, 4}}, {4, 2, {0, 4}}, {4, 1, {0}}, {8, 1, {0}},
};
static const gpulet_device_type_t mig = {.name = "mig",
                                         .units = 7,
                                         .sizes_count = 5,
                                         .sizes = sizes,
                                         .gpulets_max = 7,
                                         .slots = 8,
                                         .placements = placements};

static bool fits(const uint32_t *list, size_t count)
{
    int32_t slots[8];
    bool found = gpulet_placement_find(&mig, list, count, slots);
    unsigned taken = 0;
    for (size_t i = 0; found && i < count; i++) {
        unsigned mask = ((1u << placements[list[i]].length) - 1u) << slots[i];
        assert_int_equal(taken & mask, 0);
        assert_true(mask < 256);
        taken |= mask;
    }
    return found;
}

static void legal_mixes_are_found(void **state)
{
    (void)state;
    assert_true(fits((const uint32_t[]){4}, 1));
    assert_true(fits((const uint32_t[]){2, 2}, 2));    /* 3 + 3 */
    assert_true(fits((const uint32_t[]){2, 3}, 2));    /* 3 + 4: the 4 must stand at 0 */
    assert_true(fits((const uint32_t[]){0, 1, 3}, 3)); /* 1 + 2 + 4 */
    assert_true(fits((const uint32_t[]){1, 1, 2}, 3)); /* 2 + 2 + 3 */
    assert_true(fits((const uint32_t[]){0, 0, 0, 0, 0, 0, 0}, 7));
    assert_true(fits((const uint32_t[]){0, 1, 1, 1}, 4));
    assert_true(fits(NULL, 0));
}

static void mixes_that_fit_by_units_alone_are_refused(void **state)
{
    (void)state;
    assert_false(fits((const uint32_t[]){2, 2, 0}, 3)); /* 3 + 3 + 1: seven units but nine slots */
    assert_false(fits((const uint32_t[]){3, 1, 1}, 3)); /* over seven units */
    assert_false(fits((const uint32_t[]){4, 0}, 2));
    assert_false(fits((const uint32_t[]){3, 3}, 2));
}

static void without_a_rule_the_sum_decides(void **state)
{
    (void)state;
    gpulet_device_type_t plain = mig;
    plain.slots = 0;
    plain.placements = NULL;
    plain.gpulets_max = 3;
    int32_t slots[3] = {7, 7, 7};
    assert_true(gpulet_placement_find(&plain, (const uint32_t[]){2, 2, 0}, 3, slots));
    assert_int_equal(slots[0], -1);
    assert_false(gpulet_placement_find(&plain, (const uint32_t[]){0, 0, 0, 0}, 4, NULL));
    assert_false(gpulet_placement_find(&plain, (const uint32_t[]){3, 3}, 2, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legal_mixes_are_found),
        cmocka_unit_test(mixes_that_fit_by_units_alone_are_refused),
        cmocka_unit_test(without_a_rule_the_sum_decides),
    };
    return cmocka_run_group_tests_name("plan.placement", tests, NULL, NULL);
}
