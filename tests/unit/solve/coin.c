#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
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

enum { THREADS = 4, PROGRAMS = 12, ROWS = 12, COLUMNS = 40 };

/* What a thread found: objectives and duals, and integer solutions. */
typedef struct found {
    double relaxed[PROGRAMS];
    double duals[PROGRAMS][ROWS];
    double whole[PROGRAMS];
    bool failed;
} found_t;

/* A covering program drawn from the seed. */
static bool solve_one(found_t *out, size_t at)
{
    const gpulet_solver_t *s = gpulet_solve_coin();
    gpulet_program_t *p = NULL;
    gpulet_rng_t rng;
    double lower[ROWS];
    double upper[ROWS];
    int rows[ROWS];
    double values[ROWS];
    double x[COLUMNS];
    gpulet_rng_init(&rng, at + 1);
    for (int i = 0; i < ROWS; i++) {
        lower[i] = 1.0 + 3.0 * gpulet_rng_f64(&rng);
        upper[i] = INFINITY;
        rows[i] = i;
    }
    bool ok = s->create(&p, ROWS, lower, upper) == GPULET_OK;
    for (int j = 0; ok && j < COLUMNS; j++) {
        for (int i = 0; i < ROWS; i++)
            values[i] = gpulet_rng_below(&rng, 3) == 0 ? gpulet_rng_f64(&rng) : 0.0;
        gpulet_solver_column_t c = {1.0 + gpulet_rng_f64(&rng), 0.0, INFINITY, ROWS, rows, values};
        ok = s->add_column(p, &c) == GPULET_OK;
        if (ok && j % 10 == 9)
            (void)s->relax(p, 1000);
    }
    ok = ok && s->relax(p, 100000) == GPULET_SOLVER_OPTIMAL;
    if (ok) {
        out->relaxed[at] = s->objective(p);
        memcpy(out->duals[at], s->dual(p), sizeof(out->duals[at]));
        gpulet_solver_answer_t answer = s->integer(x, p, 60, INFINITY, -INFINITY);
        ok = answer == GPULET_SOLVER_OPTIMAL || answer == GPULET_SOLVER_FEASIBLE;
        for (int j = 0; ok && j < COLUMNS; j++)
            out->whole[at] += x[j];
    }
    if (p != NULL)
        s->destroy(p);
    return ok;
}

static void *solve_all(void *arg)
{
    found_t *out = arg;
    for (size_t i = 0; i < PROGRAMS; i++)
        out->failed = !solve_one(out, i) || out->failed;
    return NULL;
}

/* Studies plan on many threads: programs must not know of one another. */
static void threads_get_the_same_answers(void **state)
{
    (void)state;
    static found_t alone;
    static found_t beside[THREADS];
    pthread_t threads[THREADS];
    (void)solve_all(&alone);
    assert_false(alone.failed);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, solve_all, &beside[i]), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_memory_equal(&alone, &beside[i], sizeof(alone));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(relaxes_and_goes_on_with_more_columns),
        cmocka_unit_test(solves_integers),
        cmocka_unit_test(says_that_there_is_no_solution),
        cmocka_unit_test(bounds_may_change),
        cmocka_unit_test(prints_nothing),
        cmocka_unit_test(threads_get_the_same_answers),
    };
    return cmocka_run_group_tests_name("solve.coin", tests, NULL, NULL);
}
