/* Linear and integer programs, as a table of functions: what a planner may ask for without knowing
 * who solves (src/solve/ implements it). Values only.
 *
 * A program is: minimise Σ cost_j·x_j subject to row_i ≥ lower_i and row_i ≤ upper_i, lower_j ≤ x_j
 * ≤ upper_j. Rows are fixed at creation, columns are added at any time; a later relaxation starts
 * from where the last one ended. Nothing is printed, no clock ends a solution and no thread is
 * started: the same calls give the same answers. A program has one owner and one thread at a time;
 * programs know nothing of one another, so threads may each have their own.
 * ±INFINITY stands for "no limit". */
#ifndef GPULET_CORE_SOLVER_H
#define GPULET_CORE_SOLVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct gpulet_program gpulet_program_t;

typedef enum gpulet_solver_answer {
    GPULET_SOLVER_OPTIMAL,
    GPULET_SOLVER_FEASIBLE,   /* integer programs: a solution, but a limit ended the search */
    GPULET_SOLVER_INFEASIBLE, /* no solution exists */
    GPULET_SOLVER_UNBOUNDED,
    GPULET_SOLVER_LIMIT, /* a limit came before any solution */
    GPULET_SOLVER_FAILED /* numerical trouble */
} gpulet_solver_answer_t;

typedef struct gpulet_solver_column {
    double cost;
    double lower;
    double upper;
    size_t count;    /* entries */
    const int *rows; /* borrowed for the call; each row at most once */
    const double *values;
} gpulet_solver_column_t;

typedef struct gpulet_solver {
    const char *name;
    /* Caller destroys *out with destroy. E_NOMEM. */
    gpulet_status_t (*create)(gpulet_program_t **out, size_t rows, const double *lower,
                              const double *upper);
    void (*destroy)(gpulet_program_t *program);
    /* Columns are numbered from 0 in the order of their adding. */
    gpulet_status_t (*add_column)(gpulet_program_t *program, const gpulet_solver_column_t *column);
    void (*set_column_bounds)(gpulet_program_t *program, size_t column, double lower, double upper);
    void (*set_row_bounds)(gpulet_program_t *program, size_t row, double lower, double upper);
    /* The relaxation. Afterwards primal (by column), dual (by row: what one more unit of the row
     * would cost) and objective hold until the next change. */
    gpulet_solver_answer_t (*relax)(gpulet_program_t *program, uint32_t iterations_max);
    const double *(*primal)(const gpulet_program_t *program);
    const double *(*dual)(const gpulet_program_t *program);
    double (*objective)(const gpulet_program_t *program);
    /* All columns integer; x has room for all columns and is written for OPTIMAL and FEASIBLE.
     * nodes_max bounds the search tree. Nothing worse than cost_max is of interest, and what costs
     * at most cost_enough (-INFINITY: nothing) ends the search. */
    gpulet_solver_answer_t (*integer)(double *x, gpulet_program_t *program, uint32_t nodes_max,
                                      double cost_max, double cost_enough);
} gpulet_solver_t;

#endif
