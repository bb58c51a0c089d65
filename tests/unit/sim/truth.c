#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sim/truth.h"
#include "world.h"

#define DEVICES "  g:\n    units: 100\n    sizes: [50, 100]\ndevices:\n  g: 1\n"

typedef struct fixture {
    world_t w;
    sim_curves_t curves;
    sim_truth_t *truth;
} fixture_t;

static void set_up(fixture_t *f, const char *pairs)
{
    world_init(&f->w, "g,a,50,1,1,,\ng,a,50,16,8,,\ng,a,100,1,1,,\ng,b,50,1,2,,\ng,b,50,16,9,,\n",
               DEVICES, "a,1,10\nb,1,10\n");
    world_truth(&f->w, pairs);
    f->curves =
        (sim_curves_t){.profile = f->w.profile, .devices = f->w.devices, .workload = f->w.workload};
    assert_int_equal(sim_truth_create(&f->truth, f->w.pairs, NULL, &f->curves), GPULET_OK);
}

static void tear_down(fixture_t *f)
{
    sim_truth_destroy(f->truth);
    sim_curves_deinit(&f->curves);
    world_deinit(&f->w);
}

static const sim_curve_t *curve(fixture_t *f, uint32_t model, uint32_t units)
{
    const sim_curve_t *c = NULL;
    assert_int_equal(sim_curves_get(&c, &f->curves, 0, model, units, 1, NULL), GPULET_OK);
    return c;
}

static double factor(fixture_t *f, uint32_t self_batch, uint32_t other_batch)
{
    double value = 0;
    assert_int_equal(sim_truth_factor(&value, f->truth, curve(f, 0, 50), self_batch,
                                      curve(f, 1, 50), other_batch, NULL),
                     GPULET_OK);
    return value;
}

static void between_measured_batches_it_is_linear_and_beyond_them_flat(void **state)
{
    (void)state;
    fixture_t f = {0};
    /* The last pair was measured twice: its mean is what counts. */
    set_up(&f, "g,a,50,1,b,50,1,1.0\ng,a,50,1,b,50,9,2.0\ng,a,50,9,b,50,1,3.0\n"
               "g,a,50,9,b,50,9,3.5\ng,a,50,9,b,50,9,4.5\n");
    assert_true(fabs(factor(&f, 1, 1) - 1) < 1e-12);
    assert_true(fabs(factor(&f, 1, 5) - 1.5) < 1e-12);
    assert_true(fabs(factor(&f, 5, 1) - 2) < 1e-12);
    assert_true(fabs(factor(&f, 5, 5) - 2.5) < 1e-12);
    assert_true(fabs(factor(&f, 9, 9) - 4) < 1e-12);
    assert_true(fabs(factor(&f, 16, 16) - 4) < 1e-12);
    assert_true(fabs(factor(&f, 16, 5) - 3.5) < 1e-12);
    tear_down(&f);
}

static void rows_that_are_no_grid_are_read_row_by_row(void **state)
{
    (void)state;
    fixture_t f = {0};
    set_up(&f, "g,a,50,1,b,50,4,1.0\ng,a,50,8,b,50,1,2.0\ng,a,50,8,b,50,8,4.0\n");
    assert_true(fabs(factor(&f, 1, 16) - 1) < 1e-12);
    assert_true(fabs(factor(&f, 8, 16) - 4) < 1e-12);
    tear_down(&f);
}

static void the_nearest_sizes_stand_for_sizes_that_were_not_measured(void **state)
{
    (void)state;
    fixture_t f = {0};
    set_up(&f, "g,a,80,1,b,20,1,3.0\ng,a,60,1,b,40,1,2.0\n");
    assert_true(fabs(factor(&f, 1, 1) - 2) < 1e-12);
    tear_down(&f);
}

static void a_pair_that_was_not_measured_is_named(void **state)
{
    (void)state;
    fixture_t f = {0};
    double value = 0;
    gpulet_error_t err = {""};
    set_up(&f, "g,a,50,1,b,50,1,1.2\n");
    assert_int_equal(
        sim_truth_factor(&value, f.truth, curve(&f, 1, 50), 1, curve(&f, 0, 50), 1, &err),
        GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "model b beside a"));
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(between_measured_batches_it_is_linear_and_beyond_them_flat),
        cmocka_unit_test(rows_that_are_no_grid_are_read_row_by_row),
        cmocka_unit_test(the_nearest_sizes_stand_for_sizes_that_were_not_measured),
        cmocka_unit_test(a_pair_that_was_not_measured_is_named),
    };
    return cmocka_run_group_tests_name("sim.truth", tests, NULL, NULL);
}
