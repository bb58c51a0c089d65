/* What would make an infeasible plan feasible: more devices, lower rates, a later deadline. Every
 * answer was planned with the changed input and is feasible; that it is the least change is only
 * what the search found. Pure. */
#ifndef GPULET_STUDY_ADVICE_H
#define GPULET_STUDY_ADVICE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "plan/planner.h"
#include "study/multiple.h"

enum { GPULET_ADVICE_MODELS_MAX = 4 };

typedef struct gpulet_advice_type {
    const char *type; /* borrowed from the devices */
    int32_t was;
    int32_t enough; /* of this type, the others as they are; -1: no number found */
} gpulet_advice_type_t;

typedef struct gpulet_advice_model {
    const gpulet_demand_t *demand; /* borrowed from the workload */
    double missing_rps;
    double rate_rps; /* its own rate that would do, all else as it is; NAN: none, 0: without it */
    double slo_ms;   /* its own SLO that would do; NAN: none up to 1,000 times as long */
} gpulet_advice_model_t;

typedef struct gpulet_advice {
    double multiple; /* of all rates; NAN: none */
    size_t types_count;
    gpulet_advice_type_t types[GPULET_DEVICE_TYPES_MAX];
    size_t models_count; /* those that miss most, in that order */
    gpulet_advice_model_t models[GPULET_ADVICE_MODELS_MAX];
    size_t models_missing; /* all that miss something */
} gpulet_advice_t;

/* `plan` is the infeasible plan of the runner's planner for the input. Rates and SLOs are searched
 * with `search`, which may be a quicker planner: what it finds feasible is. */
gpulet_status_t gpulet_advise(gpulet_advice_t *out, const gpulet_plan_t *plan,
                              const gpulet_study_runner_t *runner,
                              const gpulet_study_runner_t *search, const gpulet_plan_input_t *input,
                              gpulet_error_t *err) GPULET_MUST_USE;

#endif
