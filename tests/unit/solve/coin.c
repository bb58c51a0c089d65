#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "solve/solve.h"

/* Two rows, each at least `need`. */
static gpulet_program_t *program(double need)
{
    double lower[2] = {need, need};
    double upper[2] = {INFINITY, INFINITY};
    gpulet_program_t *p = NULL;
    assert_int_equal(gpulet_solve_coin()->create(&p, 2, lower, upper), GPULET_OK);
    return p;
}

static void add(gpulet_program_t *p, double cost, double a, double b)
{
    int rows[2] = {0, 1};
    double values[2] = {a, b};
    gpulet_solver_column_t c = {cost, 0.0, INFINITY, 2, rows, values};
    assert_int_equal(gpulet_solve_coin()->add_column(p, &c), GPULET_OK);
}

static void relaxes_and_goes_on_with_more_columns(void **state)
{
    (void)state;
    const gpulet_solver_t *s = gpulet_solve_coin();
    gpulet_program_t *p = program(1.0);
    add(p, 1.0, 1.0, 0.0);
    add(p, 1.0, 0.0, 1.0);
    assert_int_equal(s->relax(p, 1000), GPULET_SOLVER_OPTIMAL);
    assert_true(fabs(s->objective(p) - 2.0) <= 1e-9);
    assert_true(fabs(s->dual(p)[0] - 1.0) <= 1e-9);
    assert_true(fabs(s->dual(p)[1] - 1.0) <= 1e-9);
    add(p, 1.0, 0.75, 0.75);
    assert_int_equal(s->relax(p, 1000), GPULET_SOLVER_OPTIMAL);
    assert_true(fabs(s->objective(p) - 4.0 / 3.0) <= 1e-9);
    assert_true(fabs(s->primal(p)[2] - 4.0 / 3.0) <= 1e-9);
    s->destroy(p);
}

static void solves_integers(void **state)
{
    (void)state;
    const gpulet_solver_t *s = gpulet_solve_coin();
    gpulet_program_t *p = program(3.0);
    add(p, 1.0, 1.0, 0.0);
    add(p, 1.0, 0.0, 1.0);
    add(p, 1.0, 0.75, 0.75);
    double x[3] = {0};
    assert_int_equal(s->integer(x, p, 1000, INFINITY, -INFINITY), GPULET_SOLVER_OPTIMAL);
    assert_true(fabs(x[0] + x[1] + x[2] - 4.0) <= 1e-9);
    assert_true(x[0] + 0.75 * x[2] >= 3.0 - 1e-6 && x[1] + 0.75 * x[2] >= 3.0 - 1e-6);
    s->destroy(p);
}

static void says_that_there_is_no_solution(void **state)
{
    (void)state;
    const gpulet_solver_t *s = gpulet_solve_coin();
    gpulet_program_t *p = program(1.0);
    add(p, 1.0, 1.0, 0.0);
    double x[1] = {7.0};
    assert_int_equal(s->relax(p, 1000), GPULET_SOLVER_INFEASIBLE);
    assert_int_equal(s->integer(x, p, 1000, INFINITY, -INFINITY), GPULET_SOLVER_INFEASIBLE);
    assert_true(fabs(x[0] - 7.0) <= 0.0);
    s->destroy(p);
}

static void bounds_may_change(void **state)
{
    (void)state;
    const gpulet_solver_t *s = gpulet_solve_coin();
    gpulet_program_t *p = program(1.0);
    add(p, 1.0, 1.0, 1.0);
    add(p, 3.0, 1.0, 1.0);
    assert_int_equal(s->relax(p, 1000), GPULET_SOLVER_OPTIMAL);
    assert_true(fabs(s->objective(p) - 1.0) <= 1e-9);
    s->set_column_bounds(p, 0, 0.0, 0.0);
    assert_int_equal(s->relax(p, 1000), GPULET_SOLVER_OPTIMAL);
    assert_true(fabs(s->objective(p) - 3.0) <= 1e-9);
    s->set_row_bounds(p, 0, 2.0, INFINITY);
    assert_int_equal(s->relax(p, 1000), GPULET_SOLVER_OPTIMAL);
    assert_true(fabs(s->objective(p) - 6.0) <= 1e-9);
    s->destroy(p);
}

/* A program's standard output belongs to its answer. */
static void prints_nothing(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    (void)fflush(stdout);
    int kept = dup(1);
    assert_true(kept >= 0 && dup2(fileno(file), 1) == 1);
    gpulet_program_t *p = program(3.0);
    add(p, 1.0, 1.0, 0.2);
    add(p, 1.0, 0.0, 1.0);
    add(p, 1.0, 0.75, 0.7);
    double x[3];
    (void)gpulet_solve_coin()->relax(p, 1000);
    (void)gpulet_solve_coin()->integer(x, p, 1000, INFINITY, -INFINITY);
    gpulet_solve_coin()->destroy(p);
    (void)fflush(stdout);
    assert_true(dup2(kept, 1) == 1);
    (void)close(kept);
    (void)fseek(file, 0, SEEK_END);
    long printed = ftell(file);
    (void)fclose(file);
    assert_int_equal(printed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(relaxes_and_goes_on_with_more_columns),
        cmocka_unit_test(solves_integers),
        cmocka_unit_test(says_that_there_is_no_solution),
        cmocka_unit_test(bounds_may_change),
        cmocka_unit_test(prints_nothing),
    };
    return cmocka_run_group_tests_name("solve.coin", tests, NULL, NULL);
}
