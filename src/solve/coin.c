#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coin/Cbc_C_Interface.h>
#include <coin/Clp_C_Interface.h>

#include "solve/solve.h"

/* Columns are kept beside Clp's copy: the integer program is built from them anew. */
struct gpulet_program {
    Clp_Simplex *clp;
    size_t rows;
    double *row_lower; /* owned, rows */
    double *row_upper;
    size_t columns;
    size_t columns_capacity;
    double *lower; /* owned, columns */
    double *upper;
    double *cost;
    CoinBigIndex *starts; /* owned, columns + 1 */
    size_t entries_capacity;
    int *entry_rows; /* owned */
    double *entry_values;
};

static double to_coin(double bound)
{
    return isfinite(bound) ? bound : copysign(DBL_MAX, bound);
}

static void destroy(gpulet_program_t *p)
{
    if (p == NULL)
        return;
    if (p->clp != NULL)
        Clp_deleteModel(p->clp);
    free(p->row_lower);
    free(p->row_upper);
    free(p->lower);
    free(p->upper);
    free(p->cost);
    free(p->starts);
    free(p->entry_rows);
    free(p->entry_values);
    free(p);
}

static gpulet_status_t create(gpulet_program_t **out, size_t rows, const double *lower,
                              const double *upper)
{
    gpulet_program_t *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return GPULET_E_NOMEM;
    p->rows = rows;
    p->row_lower = calloc(rows + 1, sizeof(*p->row_lower));
    p->row_upper = calloc(rows + 1, sizeof(*p->row_upper));
    p->starts = calloc(1, sizeof(*p->starts));
    p->clp = Clp_newModel();
    if (p->row_lower == NULL || p->row_upper == NULL || p->starts == NULL || p->clp == NULL) {
        destroy(p);
        return GPULET_E_NOMEM;
    }
    for (size_t i = 0; i < rows; i++) {
        p->row_lower[i] = to_coin(lower[i]);
        p->row_upper[i] = to_coin(upper[i]);
    }
    Clp_setLogLevel(p->clp, 0);
    Clp_resize(p->clp, (int)rows, 0);
    Clp_chgRowLower(p->clp, p->row_lower);
    Clp_chgRowUpper(p->clp, p->row_upper);
    Clp_setPerturbation(p->clp, 100); /* none: the duals are to be those of the program itself */
    *out = p;
    return GPULET_OK;
}

static bool resize(void **items, size_t count, size_t size)
{
    void *more = realloc(*items, (count > 0 ? count : 1) * size);
    if (more != NULL)
        *items = more;
    return more != NULL;
}

static bool reserve(gpulet_program_t *p, size_t entries)
{
    if (p->columns == p->columns_capacity) {
        size_t wanted = p->columns_capacity * 2 + 64;
        if (!resize((void **)&p->lower, wanted, sizeof(*p->lower)) ||
            !resize((void **)&p->upper, wanted, sizeof(*p->upper)) ||
            !resize((void **)&p->cost, wanted, sizeof(*p->cost)) ||
            !resize((void **)&p->starts, wanted + 1, sizeof(*p->starts)))
            return false;
        p->columns_capacity = wanted;
    }
    size_t need = (size_t)p->starts[p->columns] + entries;
    if (need > p->entries_capacity) {
        size_t wanted = need * 2 + 64;
        if (!resize((void **)&p->entry_rows, wanted, sizeof(*p->entry_rows)) ||
            !resize((void **)&p->entry_values, wanted, sizeof(*p->entry_values)))
            return false;
        p->entries_capacity = wanted;
    }
    return true;
}

static gpulet_status_t add_column(gpulet_program_t *p, const gpulet_solver_column_t *c)
{
    if (!reserve(p, c->count))
        return GPULET_E_NOMEM;
    CoinBigIndex at = p->starts[p->columns];
    for (size_t i = 0; i < c->count; i++) {
        assert(c->rows[i] >= 0 && (size_t)c->rows[i] < p->rows);
        p->entry_rows[(size_t)at + i] = c->rows[i];
        p->entry_values[(size_t)at + i] = c->values[i];
    }
    p->lower[p->columns] = to_coin(c->lower);
    p->upper[p->columns] = to_coin(c->upper);
    p->cost[p->columns] = c->cost;
    p->starts[p->columns + 1] = at + (CoinBigIndex)c->count;
    CoinBigIndex starts[2] = {0, (CoinBigIndex)c->count};
    Clp_addColumns(p->clp, 1, &p->lower[p->columns], &p->upper[p->columns], &p->cost[p->columns],
                   starts, p->entry_rows + at, p->entry_values + at);
    p->columns++;
    return GPULET_OK;
}

static void set_column_bounds(gpulet_program_t *p, size_t column, double lower, double upper)
{
    assert(column < p->columns);
    p->lower[column] = to_coin(lower);
    p->upper[column] = to_coin(upper);
    Clp_columnLower(p->clp)[column] = p->lower[column];
    Clp_columnUpper(p->clp)[column] = p->upper[column];
}

static void set_row_bounds(gpulet_program_t *p, size_t row, double lower, double upper)
{
    assert(row < p->rows);
    p->row_lower[row] = to_coin(lower);
    p->row_upper[row] = to_coin(upper);
    Clp_rowLower(p->clp)[row] = p->row_lower[row];
    Clp_rowUpper(p->clp)[row] = p->row_upper[row];
}

static gpulet_solver_answer_t relax(gpulet_program_t *p, uint32_t iterations_max)
{
    Clp_setMaximumIterations(p->clp, iterations_max > INT32_MAX ? INT32_MAX : (int)iterations_max);
    (void)Clp_primal(p->clp, 0);
    switch (Clp_status(p->clp)) {
    case 0:
        return GPULET_SOLVER_OPTIMAL;
    case 1:
        return GPULET_SOLVER_INFEASIBLE;
    case 2:
        return GPULET_SOLVER_UNBOUNDED;
    case 3:
        return GPULET_SOLVER_LIMIT;
    default:
        return GPULET_SOLVER_FAILED;
    }
}

static const double *primal(const gpulet_program_t *p)
{
    return Clp_primalColumnSolution(p->clp);
}

static const double *dual(const gpulet_program_t *p)
{
    return Clp_dualRowSolution(p->clp);
}

static double objective(const gpulet_program_t *p)
{
    return Clp_objectiveValue(p->clp);
}

static gpulet_solver_answer_t read_integer(double *x, const gpulet_program_t *p, Cbc_Model *cbc)
{
    if (Cbc_isProvenInfeasible(cbc) != 0)
        return GPULET_SOLVER_INFEASIBLE;
    const double *found = Cbc_bestSolution(cbc);
    if (found == NULL)
        return Cbc_isAbandoned(cbc) != 0 ? GPULET_SOLVER_FAILED : GPULET_SOLVER_LIMIT;
    for (size_t j = 0; j < p->columns; j++)
        x[j] = round(found[j]);
    return Cbc_isProvenOptimal(cbc) != 0 ? GPULET_SOLVER_OPTIMAL : GPULET_SOLVER_FEASIBLE;
}

static gpulet_solver_answer_t integer(double *x, gpulet_program_t *p, uint32_t nodes_max,
                                      double cost_max)
{
    Cbc_Model *cbc = Cbc_newModel();
    if (cbc == NULL)
        return GPULET_SOLVER_FAILED;
    Cbc_loadProblem(cbc, (int)p->columns, (int)p->rows, p->starts, p->entry_rows, p->entry_values,
                    p->lower, p->upper, p->cost, p->row_lower, p->row_upper);
    for (size_t j = 0; j < p->columns; j++)
        Cbc_setInteger(cbc, (int)j);
    char text[32];
    (void)snprintf(text, sizeof(text), "%u", nodes_max);
    Cbc_setLogLevel(cbc, 0);
    Cbc_setParameter(cbc, "maxNodes", text);
    Cbc_setParameter(cbc, "threads", "0");
    if (isfinite(cost_max)) {
        (void)snprintf(text, sizeof(text), "%.9g", cost_max);
        Cbc_setParameter(cbc, "cutoff", text);
    }
    (void)Cbc_solve(cbc);
    gpulet_solver_answer_t answer = read_integer(x, p, cbc);
    Cbc_deleteModel(cbc);
    return answer;
}

const gpulet_solver_t *gpulet_solve_coin(void)
{
    static const gpulet_solver_t solver = {
        .name = "COIN-OR",
        .create = create,
        .destroy = destroy,
        .add_column = add_column,
        .set_column_bounds = set_column_bounds,
        .set_row_bounds = set_row_bounds,
        .relax = relax,
        .primal = primal,
        .dual = dual,
        .objective = objective,
        .integer = integer,
    };
    return &solver;
}
