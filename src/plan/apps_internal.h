/* Shared by apps.c and apps_search.c.
 *
 * What is searched is one figure a model, not one a stage: where several stages use a model the
 * smallest share holds, so that giving any of them more is of no use. */
#ifndef GPULET_PLAN_APPS_INTERNAL_H
#define GPULET_PLAN_APPS_INTERNAL_H

#include "plan/apps.h"

/* An SLO from which on a model costs less: a point of its cost as a function of its SLO, which is
 * a staircase going down. */
typedef struct apps_option {
    double slo_ms;
    double cost; /* devices, or cost where types have costs */
} apps_option_t;

/* A model that stages use, or clients directly. */
typedef struct apps_item {
    const char *model;             /* borrowed */
    const gpulet_demand_t *direct; /* NULL: no client asks for it directly */
    double rate_rps;               /* all together */
    double cap_ms; /* no SLO may be longer: that of direct demand, and of the applications */
    bool staged;   /* some application uses it */
    size_t options_count;
    apps_option_t *options; /* owned; ascending by SLO, descending by cost */
} apps_item_t;

typedef struct apps_problem {
    const gpulet_plan_input_t *input;
    gpulet_apps_plan_t *split; /* entries: which applications, with SLO and rate */
    size_t items_count;
    apps_item_t *items; /* owned */
    uint32_t *uses; /* owned; entry e, stage s: uses[e · GPULET_APP_STAGES_MAX + s] is its item */
} apps_problem_t;

/* The SLOs of all items. */
typedef struct apps_choice {
    double *slo_ms; /* owned */
    double cost;    /* estimated */
} apps_choice_t;

/* Whether the shares fit into every application's SLO. */
bool apps_fits(const apps_problem_t *p, const double *slo_ms);
/* The longest way through an application, by its models' SLOs. */
double apps_longest_ms(const apps_problem_t *p, size_t entry, const double *slo_ms);
/* Fills in the staircases; caps are known. */
gpulet_status_t apps_options(apps_problem_t *p, gpulet_error_t *err) GPULET_MUST_USE;
/* The choice of least estimated cost among those that fit; of item `fixed` (SIZE_MAX: none) option
 * `option` is taken. False: none fits; then slo_ms are those that need the least time. The search
 * ends after a number of steps, with the best it has found. E_NOMEM is possible. */
gpulet_status_t apps_search(const apps_problem_t *p, size_t fixed, size_t option, double *slo_ms,
                            bool *fits) GPULET_MUST_USE;
/* Shares what is left of the SLOs among the models, so that every way is as long as it may be. */
void apps_spread(const apps_problem_t *p, double *slo_ms);

#endif
