/* A study: which of many workloads each planner can schedule on the same devices. The cases are
 * shared out over threads; planners are pure, so the verdicts do not depend on how many there are.
 * Only the times do. */
#ifndef GPULET_STUDY_STUDY_H
#define GPULET_STUDY_STUDY_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "plan/planner.h"
#include "study/spec.h"

enum { GPULET_STUDY_THREADS_MAX = 256 };

typedef enum gpulet_study_verdict {
    GPULET_STUDY_VERDICT_YES,    /* the planner has a plan */
    GPULET_STUDY_VERDICT_NO,     /* proved: its lower bound is above what there is */
    GPULET_STUDY_VERDICT_MISSED, /* a planner that follows rules found none; nothing is proved */
    GPULET_STUDY_VERDICT_OPEN,   /* `optimal` found none and proved nothing within its steps */
    GPULET_STUDY_VERDICTS_COUNT
} gpulet_study_verdict_t;

typedef struct gpulet_study_planner {
    size_t counts[GPULET_STUDY_VERDICTS_COUNT]; /* cases, by verdict */
    double elapsed_ms;                          /* sum over the cases */
    double cpu_ms; /* the same by the clock of the thread: what a busy machine does not lengthen */
} gpulet_study_planner_t;

typedef struct gpulet_study_result {
    size_t cases_count;
    size_t planners_count;
    size_t threads_count;
    double wall_ms;
    uint8_t *verdicts; /* owned; [case * planners_count + planner], gpulet_study_verdict_t */
    gpulet_study_planner_t planners[GPULET_STUDY_PLANNERS_MAX];
} gpulet_study_result_t;

typedef struct gpulet_study_options {
    size_t threads; /* 0 means 1 */
    /* NULL, or called by the calling thread every now and then. */
    void (*progress)(void *arg, size_t cases_done, size_t cases_count);
    void *progress_arg;
} gpulet_study_options_t;

/* Plans every case with every planner. `input` is what all cases share; its workload is not looked
 * at. Errors are the planners' own, of the first case that has one, and E_INTERNAL when one planner
 * has a plan for what another one's bound excludes. Caller deinits *out. */
gpulet_status_t gpulet_study_run(gpulet_study_result_t *out, const gpulet_study_spec_t *spec,
                                 const gpulet_plan_input_t *input,
                                 const gpulet_study_options_t *options,
                                 gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_study_result_deinit(gpulet_study_result_t *result);

/* "yes", "no", "missed", "open". */
const char *gpulet_study_verdict_text(gpulet_study_verdict_t verdict);
/* What the plan of one case says. */
gpulet_study_verdict_t gpulet_study_judge(const gpulet_plan_t *plan,
                                          const gpulet_device_set_t *devices,
                                          const gpulet_planner_t *planner);

/* One JSON document, ending in a newline. */
gpulet_status_t gpulet_study_format_json(gpulet_buf_t *out, const gpulet_study_spec_t *spec,
                                         const gpulet_study_result_t *result) GPULET_MUST_USE;
/* A line a case: the models' rates, then the planners' verdicts; columns are named after them. */
gpulet_status_t gpulet_study_format_csv(gpulet_buf_t *out, const gpulet_study_spec_t *spec,
                                        const gpulet_study_result_t *result) GPULET_MUST_USE;
/* The table for people. */
gpulet_status_t gpulet_study_format_text(gpulet_buf_t *out, const gpulet_study_spec_t *spec,
                                         const gpulet_study_result_t *result) GPULET_MUST_USE;

#endif
