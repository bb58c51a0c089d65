/* The solver of core/solver.h: relaxations by COIN-OR's Clp, integer programs by a branch and bound
 * of our own over them (docs/decisions/0009-solver.md says why not by Cbc). */
#ifndef GPULET_SOLVE_SOLVE_H
#define GPULET_SOLVE_SOLVE_H

#include "core/solver.h"

/* Static; never NULL. */
const gpulet_solver_t *gpulet_solve_coin(void);

#endif
