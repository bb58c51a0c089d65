#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "device/cut.h"

enum { UNITS_MAX = 64 };

static void expect_take(gpulet_cut_t *cut, uint32_t *taken, uint32_t count, const char *expected)
{
    char text[256] = "";
    assert_int_equal(gpulet_cut_take(cut, taken, count, false), GPULET_OK);
    for (uint32_t i = 0; i < count; i++) {
        size_t at = strlen(text);
        text[at] = (char)(taken[i] < 10 ? '0' + taken[i] : 'a' + taken[i] - 10);
        text[at + 1] = '\0';
    }
    assert_string_equal(text, expected);
}

static void takes_the_smallest_run_that_fits(void **state)
{
    gpulet_cut_t cut;
    uint32_t a[UNITS_MAX];
    uint32_t b[UNITS_MAX];
    uint32_t c[UNITS_MAX];
    uint32_t d[UNITS_MAX];
    (void)state;
    assert_int_equal(gpulet_cut_init(&cut, 10, NULL), GPULET_OK);
    expect_take(&cut, a, 4, "0123");
    expect_take(&cut, b, 1, "4");
    expect_take(&cut, c, 2, "56");
    expect_take(&cut, d, 1, "7"); /* 8 and 9 stay free */
    gpulet_cut_give(&cut, a, 4);
    expect_take(&cut, c + 2, 2, "89");
    expect_take(&cut, d + 1, 1, "0");
    gpulet_cut_deinit(&cut);
}

static void stays_inside_one_group_when_it_can(void **state)
{
    static const uint32_t groups[] = {0, 0, 0, 1, 1, 1, 1, 2};
    gpulet_cut_t cut;
    uint32_t a[UNITS_MAX];
    uint32_t b[UNITS_MAX];
    (void)state;
    assert_int_equal(gpulet_cut_init(&cut, 8, groups), GPULET_OK);
    expect_take(&cut, a, 4, "3456");
    expect_take(&cut, b, 3, "012");
    gpulet_cut_give(&cut, a, 4);
    gpulet_cut_give(&cut, b, 3);
    expect_take(&cut, a, 2, "01");
    expect_take(&cut, b, 2, "34");
    gpulet_cut_deinit(&cut);
}

static void takes_scattered_units_when_no_run_fits(void **state)
{
    gpulet_cut_t cut;
    uint32_t all[UNITS_MAX];
    uint32_t a[UNITS_MAX];
    (void)state;
    assert_int_equal(gpulet_cut_init(&cut, 8, NULL), GPULET_OK);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(gpulet_cut_take(&cut, &all[i], 1, false), GPULET_OK);
    gpulet_cut_give(&cut, &all[1], 1);
    gpulet_cut_give(&cut, &all[3], 2);
    gpulet_cut_give(&cut, &all[7], 1);
    expect_take(&cut, a, 3, "134"); /* the run of two and one more */
    assert_int_equal(gpulet_cut_take(&cut, a, 2, false), GPULET_E_FULL);
    gpulet_cut_deinit(&cut);
}

static void shares_the_least_used_units_only_when_asked_to(void **state)
{
    gpulet_cut_t cut;
    uint32_t a[UNITS_MAX];
    uint32_t b[UNITS_MAX];
    uint32_t c[UNITS_MAX];
    (void)state;
    assert_int_equal(gpulet_cut_init(&cut, 6, NULL), GPULET_OK);
    expect_take(&cut, a, 4, "0123");
    assert_int_equal(gpulet_cut_take(&cut, b, 3, false), GPULET_E_FULL);
    assert_int_equal(gpulet_cut_take(&cut, b, 3, true), GPULET_OK);
    assert_int_equal(b[0], 3); /* one shared, two free */
    assert_false(gpulet_cut_exclusive(&cut, b, 3));
    assert_false(gpulet_cut_exclusive(&cut, a, 4));
    assert_int_equal(gpulet_cut_settle(&cut, b, 3), GPULET_E_FULL);
    assert_int_equal(b[0], 3);
    gpulet_cut_give(&cut, a, 4);
    assert_true(gpulet_cut_exclusive(&cut, b, 3));
    assert_int_equal(gpulet_cut_settle(&cut, b, 3), GPULET_OK);
    assert_int_equal(b[0], 3); /* already alone there */
    assert_int_equal(gpulet_cut_take(&cut, c, 4, true), GPULET_OK);
    assert_int_equal(gpulet_cut_settle(&cut, c, 4), GPULET_E_FULL);
    gpulet_cut_give(&cut, b, 3);
    assert_int_equal(gpulet_cut_settle(&cut, c, 4), GPULET_OK);
    gpulet_cut_deinit(&cut);
}

static void never_gives_a_unit_twice(void **state)
{
    gpulet_rng_t rng;
    (void)state;
    gpulet_rng_init(&rng, 7);
    for (int round = 0; round < 200; round++) {
        uint32_t taken[UNITS_MAX][UNITS_MAX];
        uint32_t counts[UNITS_MAX] = {0};
        uint32_t units = 1 + (uint32_t)gpulet_rng_below(&rng, UNITS_MAX);
        uint32_t used = 0;
        gpulet_cut_t cut;
        assert_int_equal(gpulet_cut_init(&cut, units, NULL), GPULET_OK);
        for (int step = 0; step < 100; step++) {
            uint32_t slot = (uint32_t)gpulet_rng_below(&rng, UNITS_MAX);
            if (counts[slot] > 0) {
                gpulet_cut_give(&cut, taken[slot], counts[slot]);
                used -= counts[slot];
                counts[slot] = 0;
                continue;
            }
            uint32_t count = 1 + (uint32_t)gpulet_rng_below(&rng, units);
            gpulet_status_t st = gpulet_cut_take(&cut, taken[slot], count, false);
            assert_int_equal(st, used + count <= units ? GPULET_OK : GPULET_E_FULL);
            if (st != GPULET_OK)
                continue;
            counts[slot] = count;
            used += count;
            assert_true(gpulet_cut_exclusive(&cut, taken[slot], count));
            assert_int_equal(gpulet_cut_free_units(&cut), units - used);
        }
        gpulet_cut_deinit(&cut);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_smallest_run_that_fits),
        cmocka_unit_test(stays_inside_one_group_when_it_can),
        cmocka_unit_test(takes_scattered_units_when_no_run_fits),
        cmocka_unit_test(shares_the_least_used_units_only_when_asked_to),
        cmocka_unit_test(never_gives_a_unit_twice),
    };
    return cmocka_run_group_tests_name("device.cut", tests, NULL, NULL);
}
