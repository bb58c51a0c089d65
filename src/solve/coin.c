#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <coin/Clp_C_Interface.h>

#include "solve/solve.h"

/* Clp's number for a column at its lower bound; a new one would start as "free". */
enum { COLUMN_AT_LOWER = 3, DEPTH_MAX = 512, RELAX_ITERATIONS = 100000 };

static const double INTEGER_TOLERANCE = 1e-6;
static const double ROW_TOLERANCE = 1e-6;

/* Columns are kept beside Clp's copy, to check what it answers. */
struct gpulet_program {
    Clp_Simplex *clp;
    size_t rows;
    double *row_lower; /* owned, rows */
    double *row_upper;
    size_t columns;
    size_t columns_capacity;
    size_t handed; /* columns that Clp has; the others are handed over together, which is cheaper */
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
    p->columns++;
    return GPULET_OK;
}

static void set_column_bounds(gpulet_program_t *p, size_t column, double lower, double upper)
{
    assert(column < p->columns);
    p->lower[column] = to_coin(lower);
    p->upper[column] = to_coin(upper);
    if (column < p->handed) {
        Clp_columnLower(p->clp)[column] = p->lower[column];
        Clp_columnUpper(p->clp)[column] = p->upper[column];
    }
}

static void set_row_bounds(gpulet_program_t *p, size_t row, double lower, double upper)
{
    assert(row < p->rows);
    p->row_lower[row] = to_coin(lower);
    p->row_upper[row] = to_coin(upper);
    Clp_rowLower(p->clp)[row] = p->row_lower[row];
    Clp_rowUpper(p->clp)[row] = p->row_upper[row];
}

static bool hand_over(gpulet_program_t *p)
{
    size_t count = p->columns - p->handed;
    if (count == 0)
        return true;
    CoinBigIndex *starts = malloc((count + 1) * sizeof(*starts));
    if (starts == NULL)
        return false;
    CoinBigIndex first = p->starts[p->handed];
    for (size_t i = 0; i <= count; i++)
        starts[i] = p->starts[p->handed + i] - first;
    Clp_addColumns(p->clp, (int)count, p->lower + p->handed, p->upper + p->handed,
                   p->cost + p->handed, starts, p->entry_rows + first, p->entry_values + first);
    free(starts);
    for (; p->handed > 0 && p->handed < p->columns; p->handed++)
        Clp_setColumnStatus(p->clp, (int)p->handed, COLUMN_AT_LOWER);
    p->handed = p->columns;
    return true;
}

static gpulet_solver_answer_t relax(gpulet_program_t *p, uint32_t iterations_max)
{
    if (!hand_over(p))
        return GPULET_SOLVER_FAILED;
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

/* ---- integer programs: branch and bound over the relaxations, depth first ---- */

typedef struct branch {
    size_t column;
    double lower; /* bounds before the branch */
    double upper;
    double down; /* the value that is left out lies between down and down + 1 */
    bool second; /* both sides have been tried when this one is done */
} branch_t;

/* What costs nothing is settled first (what goes where, before how many there are), and of that the
 * column that rounding up changes least, as covering programs like it; count when all are whole. */
static size_t next_branch(const gpulet_program_t *p)
{
    const double *x = primal(p);
    size_t found = p->columns;
    double highest = 0.0;
    for (size_t j = 0; j < p->columns; j++) {
        double part = x[j] - floor(x[j]);
        if (part <= INTEGER_TOLERANCE || part >= 1.0 - INTEGER_TOLERANCE)
            continue;
        double rank = part + (p->cost[j] > 0.0 ? 0.0 : 1.0);
        if (rank > highest * (1.0 + 1e-9)) {
            highest = rank;
            found = j;
        }
    }
    return found;
}

/* Whether rounding the relaxation's solution keeps every row. */
static bool rounds(const gpulet_program_t *p, double *rounded, double *activity)
{
    const double *x = primal(p);
    memset(activity, 0, p->rows * sizeof(*activity));
    for (size_t j = 0; j < p->columns; j++) {
        rounded[j] = round(x[j]);
        for (CoinBigIndex k = p->starts[j]; k < p->starts[j + 1]; k++)
            activity[p->entry_rows[k]] += p->entry_values[k] * rounded[j];
    }
    for (size_t i = 0; i < p->rows; i++) {
        if (activity[i] < p->row_lower[i] - ROW_TOLERANCE * (1.0 + fabs(p->row_lower[i])) ||
            activity[i] > p->row_upper[i] + ROW_TOLERANCE * (1.0 + fabs(p->row_upper[i])))
            return false;
    }
    return true;
}

/* To the other side of the deepest branch that has one; false at the end of the tree. */
static bool backtrack(gpulet_program_t *p, branch_t *stack, size_t *depth)
{
    while (*depth > 0) {
        branch_t *b = &stack[*depth - 1];
        if (!b->second) {
            b->second = true;
            set_column_bounds(p, b->column, b->lower, b->down);
            return true;
        }
        set_column_bounds(p, b->column, b->lower, b->upper);
        (*depth)--;
    }
    return false;
}

typedef struct tree {
    branch_t stack[DEPTH_MAX];
    size_t depth;
    double *rounded;
    double *activity;
    double cost_max;
    bool found;
    bool cut; /* a limit was met: what was found may not be best */
} tree_t;

/* One node; true when the tree goes deeper from here. */
static bool visit(double *x, gpulet_program_t *p, tree_t *t)
{
    gpulet_solver_answer_t answer = relax(p, RELAX_ITERATIONS);
    if (answer != GPULET_SOLVER_OPTIMAL) {
        t->cut = t->cut || answer != GPULET_SOLVER_INFEASIBLE;
        return false;
    }
    if (objective(p) >= t->cost_max - 1e-9 * (1.0 + fabs(t->cost_max)))
        return false;
    size_t j = next_branch(p);
    if (j == p->columns) {
        if (rounds(p, t->rounded, t->activity)) {
            memcpy(x, t->rounded, p->columns * sizeof(*x));
            t->cost_max = objective(p);
            t->found = true;
        } else {
            t->cut = true;
        }
        return false;
    }
    if (t->depth == DEPTH_MAX) {
        t->cut = true;
        return false;
    }
    double down = floor(primal(p)[j]);
    t->stack[t->depth++] = (branch_t){j, p->lower[j], p->upper[j], down, false};
    set_column_bounds(p, j, down + 1.0, p->upper[j]);
    return true;
}

static gpulet_solver_answer_t integer(double *x, gpulet_program_t *p, uint32_t nodes_max,
                                      double cost_max, double cost_enough)
{
    tree_t *t = calloc(1, sizeof(*t));
    double *rounded = calloc(p->columns + 1, sizeof(*rounded));
    double *activity = calloc(p->rows + 1, sizeof(*activity));
    gpulet_solver_answer_t answer = GPULET_SOLVER_FAILED;
    if (t == NULL || rounded == NULL || activity == NULL)
        goto done;
    t->rounded = rounded;
    t->activity = activity;
    t->cost_max = cost_max;
    bool more = true;
    for (uint32_t nodes = 0; more && !(t->found && t->cost_max <= cost_enough); nodes++) {
        if (nodes == nodes_max) {
            t->cut = true;
            break;
        }
        if (!visit(x, p, t))
            more = backtrack(p, t->stack, &t->depth);
    }
    t->cut = t->cut || more;
    while (t->depth > 0) {
        const branch_t *b = &t->stack[--t->depth];
        set_column_bounds(p, b->column, b->lower, b->upper);
    }
    if (t->found)
        answer = t->cut ? GPULET_SOLVER_FEASIBLE : GPULET_SOLVER_OPTIMAL;
    else
        answer = t->cut ? GPULET_SOLVER_LIMIT : GPULET_SOLVER_INFEASIBLE;
done:
    free(t);
    free(rounded);
    free(activity);
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
