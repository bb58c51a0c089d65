/* The solver of core/solver.h over COIN-OR's Clp (relaxations) and Cbc (integer programs). */
#ifndef GPULET_SOLVE_SOLVE_H
#define GPULET_SOLVE_SOLVE_H

#include "core/solver.h"

/* Static; never NULL. */
const gpulet_solver_t *gpulet_solve_coin(void);

#endif
