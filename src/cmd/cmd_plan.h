/* The parts of `gpulet plan`: for the files cmd_plan*.c alone. */
#ifndef GPULET_CMD_CMD_PLAN_H
#define GPULET_CMD_CMD_PLAN_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/status.h"
#include "cmd/cmd_planning.h"
#include "core/plan.h"
#include "plan/apps.h"
#include "plan/planner.h"
#include "study/advice.h"
#include "study/compare.h"
#include "study/multiple.h"
#include "study/whatif.h"

enum { CMD_PLAN_WHATIFS_MAX = 16 };

typedef struct plan_settings {
    cmd_planning_t planning;
    char *workload;
    char *scenario;
    char *apps;
    char *planner; /* NULL: by the other options */
    double time_limit_s;
    char *from;
    char *verify;
    char *what_if; /* a line each */
    bool max_multiple;
    bool advice;
    bool json;
    char *out;
    char *model_list;
    char *svg;
    bool help;
} plan_settings_t;

/* "What if", asked and answered. */
typedef struct plan_variant {
    gpulet_whatif_t asked;
    gpulet_plan_t *plan;      /* owned; NULL until it is answered */
    gpulet_compare_t compare; /* of the plan as it is and this one */
} plan_variant_t;

/* All that is answered. */
typedef struct plan_answers {
    gpulet_plan_t *plan;       /* owned */
    gpulet_apps_plan_t *split; /* owned; NULL: no applications were given */
    size_t variants_count;
    plan_variant_t variants[CMD_PLAN_WHATIFS_MAX];
    bool multiple_given;
    double multiple; /* NAN: there is no largest */
    bool advice_given;
    gpulet_advice_t advice;
} plan_answers_t;

/* Reads the questions; errors are wrong usage. */
gpulet_status_t cmd_plan_read_what_if(plan_answers_t *answers, const char *text,
                                      gpulet_error_t *err) GPULET_MUST_USE;
/* Whether they can be asked of this input; else it was wrong usage. */
gpulet_status_t cmd_plan_check_what_if(const plan_answers_t *answers,
                                       const gpulet_plan_input_t *input,
                                       gpulet_error_t *err) GPULET_MUST_USE;
/* Answers them. answers->plan is there. */
gpulet_status_t cmd_plan_what_if(plan_answers_t *answers, const gpulet_study_runner_t *runner,
                                 const gpulet_plan_input_t *input,
                                 gpulet_error_t *err) GPULET_MUST_USE;
void cmd_plan_answers_deinit(plan_answers_t *answers);

/* ModelList.txt: gpu-lets, models, batches and cycles; what follows from them is computed. */
gpulet_status_t cmd_plan_load_model_list(gpulet_plan_t **out, const char *path,
                                         const gpulet_plan_input_t *input,
                                         gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t cmd_plan_put_model_list(const char *path, const gpulet_plan_t *plan,
                                        const gpulet_device_set_t *devices,
                                        gpulet_error_t *err) GPULET_MUST_USE;

/* Makes every output that is asked for, and then writes them. */
gpulet_status_t cmd_plan_put_out(const plan_settings_t *s, const plan_answers_t *answers,
                                 const gpulet_device_set_t *devices,
                                 gpulet_error_t *err) GPULET_MUST_USE;

#endif
