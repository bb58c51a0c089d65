/* What a study varies, as it is written on the command line: models, their SLOs, the rates that
 * each may have, the planners to compare. Plain values, immutable once parsed. */
#ifndef GPULET_STUDY_SPEC_H
#define GPULET_STUDY_SPEC_H

#include <stddef.h>

#include "base/status.h"
#include "core/workload.h"
#include "plan/planner.h"

enum {
    GPULET_STUDY_MODELS_MAX = 64,
    GPULET_STUDY_RATES_MAX = 64,
    GPULET_STUDY_PLANNERS_MAX = 32,
    GPULET_STUDY_CASES_MAX = 4194304
};

typedef struct gpulet_study_model {
    char name[GPULET_WORKLOAD_NAME_MAX + 1];
    double slo_ms;
} gpulet_study_model_t;

typedef struct gpulet_study_spec {
    size_t models_count;
    gpulet_study_model_t models[GPULET_STUDY_MODELS_MAX];
    size_t rates_count;
    double rates_rps[GPULET_STUDY_RATES_MAX]; /* in the order that was given, each once */
    size_t planners_count;
    const gpulet_planner_t *planners[GPULET_STUDY_PLANNERS_MAX];
    size_t cases_count; /* combinations of rates without the one that asks for nothing */
} gpulet_study_spec_t;

/* The texts of --models "a,b", --slo-ms "a=5,b=44", --rates "0,200" and --planners
 * "temporal,elastic" (NULL: all there are). E_INVALID names the option, what was expected and what
 * was found. *out is written only on success. */
gpulet_status_t gpulet_study_spec_parse(gpulet_study_spec_t *out, const char *models,
                                        const char *slo_ms, const char *rates, const char *planners,
                                        gpulet_error_t *err) GPULET_MUST_USE;

/* The rates of a case, one a model. Cases are in lexicographic order: the first model's rate
 * changes last. */
void gpulet_study_case_rates(double *rates_rps, const gpulet_study_spec_t *spec, size_t index);
/* Its place among all combinations, the one that asks for nothing included. */
size_t gpulet_study_case_number(const gpulet_study_spec_t *spec, size_t index);

#endif
