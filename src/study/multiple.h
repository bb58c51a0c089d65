/* Questions that take several plans to answer: how much more, and what if. Pure but for the
 * runner: the same input, the same answer. */
#ifndef GPULET_STUDY_MULTIPLE_H
#define GPULET_STUDY_MULTIPLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "plan/planner.h"

/* How the plans are made that an answer takes. */
typedef struct gpulet_study_runner {
    const gpulet_planner_t *planner;
    /* In the place of gpulet_planner_run, which makes them where it is NULL: a caller that has a
     * clock stops a planner by it. */
    gpulet_status_t (*run)(gpulet_plan_t **out, const struct gpulet_study_runner *runner,
                           const gpulet_plan_input_t *input, gpulet_error_t *err);
    double time_limit_s; /* for that one: of each plan */
} gpulet_study_runner_t;

gpulet_status_t gpulet_study_plan(gpulet_plan_t **out, const gpulet_study_runner_t *runner,
                                  const gpulet_plan_input_t *input,
                                  gpulet_error_t *err) GPULET_MUST_USE;

/* The largest multiple of all rates for which the planner has a plan, by bisection to 0.1 %: it has
 * one for *out, and none for the next larger multiple that was tried. (Planners that follow rules
 * may have plans for larger ones again.) 0 when it has none even for a millionth of the rates; NAN
 * when there is no largest one, since as many devices as needed may be used or nothing is asked
 * for. Errors are the planner's. */
gpulet_status_t gpulet_study_multiple(double *out, const gpulet_study_runner_t *runner,
                                      const gpulet_plan_input_t *input,
                                      gpulet_error_t *err) GPULET_MUST_USE;

/* Whether the planner has a plan when the demands in [first, first + count) have their rates
 * multiplied by rate_factor and their SLOs by slo_factor. */
gpulet_status_t gpulet_study_try(bool *feasible, const gpulet_study_runner_t *runner,
                                 const gpulet_plan_input_t *input, size_t first, size_t count,
                                 const double factors[2], gpulet_error_t *err) GPULET_MUST_USE;

#endif
