/* Every plan of a small world, one after another: an independent answer to how many devices (or how
 * much cost) a workload needs. Shares nothing with the planners, the workspace or the bound: it
 * reads the profile and applies the rules of docs/planning.md itself. */
#ifndef TESTS_PROP_PLAN_ENUMERATE_H
#define TESTS_PROP_PLAN_ENUMERATE_H

#include <stdbool.h>

#include "plan/planner.h"

/* The least cost of any plan, or INFINITY when none has at most cost_max; NAN when the world is too
 * large to enumerate. Device counts are left out. */
double enumerate_least_cost(const gpulet_plan_input_t *input, double cost_max);

#endif
