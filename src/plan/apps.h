/* Applications in planning: from applications and direct demands to a workload of single models, by
 * shares of the SLO that need the fewest devices (docs/planning.md "Applications").
 *
 * Every stage is given a share of its application's SLO; along every way through the graph the
 * shares sum up to the SLO at most. A model that several stages use, or clients directly, is
 * planned once: rates add up, the smallest share holds. Pure as planner.h: deterministic, ends on a
 * count of steps. */
#ifndef GPULET_PLAN_APPS_H
#define GPULET_PLAN_APPS_H

#include "core/app.h"
#include "plan/planner.h"

typedef enum gpulet_apps_rule {
    GPULET_APPS_RULE_LEAST,       /* shares that need the fewest devices */
    GPULET_APPS_RULE_EQUAL,       /* for comparison: as much for every stage of the longest way */
    GPULET_APPS_RULE_PROPORTIONAL /* for comparison: by each stage's latency at batch 1 on the whole
                                     device */
} gpulet_apps_rule_t;

typedef struct gpulet_apps_options {
    gpulet_apps_rule_t rule;
    const gpulet_planner_t *planner; /* decides among the best candidates by planning; NULL:
                                        `elastic`. Taken for its quick form */
    uint32_t plans_max;              /* candidates that are planned; 0: 12; 1: the estimate alone
                                        decides and nothing is planned */
    double rate_rps_default; /* of an application without a rate; 0: such a one is E_INVALID */
    double slo_ms_default;   /* of one without an SLO; 0: likewise */
    bool rates_included;     /* the workload's rates are all that is asked of the models, by
                                applications too: nothing is added to them, and a model without a
                                row is asked for by applications alone */
} gpulet_apps_options_t;

typedef struct gpulet_apps_stage {
    double share_ms; /* of the SLO; slo_fraction is not in it */
    double worst_ms; /* of its model in a plan, by gpulet_apps_plan_worst; NAN before */
} gpulet_apps_stage_t;

typedef struct gpulet_apps_entry {
    const gpulet_app_t *app; /* borrowed */
    double slo_ms;
    double rate_rps;
    gpulet_apps_stage_t *stages; /* owned; one a stage */
} gpulet_apps_entry_t;

typedef struct gpulet_apps_plan {
    gpulet_workload_t *workload; /* owned; direct demands first, in their order */
    size_t count;
    gpulet_apps_entry_t *entries; /* owned; one an application */
} gpulet_apps_plan_t;

/* input->workload: what clients ask of models directly, NULL for nothing; apps are borrowed by
 * *out, which the caller destroys. An SLO that no shares can meet is not an error: then the shares
 * are those that miss by least, and the planner says why no plan meets them. E_NOT_FOUND: a model
 * without a profile row; E_INVALID: the rate or SLO of an application is missing, or a problem of
 * the input. */
gpulet_status_t gpulet_apps_plan_split(gpulet_apps_plan_t **out, const gpulet_plan_input_t *input,
                                       const gpulet_apps_t *apps,
                                       const gpulet_apps_options_t *options,
                                       gpulet_error_t *err) GPULET_MUST_USE;
/* The shares that a plan from elsewhere leaves: those that it was made for, by its models[], or,
 * where these do not fit, in the proportions of what its gpu-lets take at worst; what is left over
 * is shared out as well. Of the options only the defaults and rates_included count.
 * E_INFEASIBLE: an application's SLO is too short for the plan; E_NOT_FOUND: the plan does not say
 * how long a model takes; E_INVALID as above. */
gpulet_status_t gpulet_apps_plan_adopt(gpulet_apps_plan_t **out, const gpulet_plan_t *plan,
                                       const gpulet_plan_input_t *input, const gpulet_apps_t *apps,
                                       const gpulet_apps_options_t *options,
                                       gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_apps_plan_destroy(gpulet_apps_plan_t *split); /* NULL is fine */
/* Fills in worst_ms from a plan of the workload: the longest of the gpu-lets that hold the model.
 */
void gpulet_apps_plan_worst(gpulet_apps_plan_t *split, const gpulet_plan_t *plan);

#endif
