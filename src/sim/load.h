/* What is asked of the models, as files say it (docs/formats.md "Rates", "Arrivals"): rates that
 * change at given times, or every single arrival. Plain values, immutable once parsed; models are
 * numbers of the workload's rows, and applications of rows behind them. */
#ifndef GPULET_SIM_LOAD_H
#define GPULET_SIM_LOAD_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/app.h"
#include "core/arrivals.h"
#include "core/workload.h"

/* Who may be asked for. rows are those of a workload file, or NULL: a row with the name of an
 * application says that one's rate and SLO, which are written to `apps`. *models: the other rows,
 * and one of rate 0 for every model that only applications use, as late as the latest of them.
 * *subjects: the same, then a row an application; what the readers below are given. E_INVALID: an
 * application has the name of a model. Caller destroys both. */
gpulet_status_t gpulet_sim_subjects(gpulet_workload_t **models, gpulet_workload_t **subjects,
                                    gpulet_apps_t *apps, const gpulet_workload_t *rows,
                                    gpulet_error_t *err) GPULET_MUST_USE;

typedef struct gpulet_sim_model_rates {
    size_t count;              /* 0: the file does not name the model */
    gpulet_rate_step_t *steps; /* ascending by time; owned */
} gpulet_sim_model_rates_t;

typedef struct gpulet_sim_rates {
    size_t models_count;              /* of the workload */
    gpulet_sim_model_rates_t *models; /* owned */
    double end_s;                     /* of the last step */
} gpulet_sim_rates_t;

/* CSV `time_s,model,rate_rps`; the times of a model ascend. Errors name file, line and field; a
 * model that the workload does not have is one. Before a model's first step its first rate holds.
 * Caller destroys. */
gpulet_status_t gpulet_sim_rates_parse(gpulet_sim_rates_t **out, const char *text, size_t size,
                                       const char *file, const gpulet_workload_t *workload,
                                       gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_sim_rates_destroy(gpulet_sim_rates_t *rates); /* NULL is fine */

typedef struct gpulet_sim_arrival {
    double time_s;
    uint32_t model;
    uint32_t items; /* ≥ 1 */
} gpulet_sim_arrival_t;

enum { GPULET_SIM_ITEMS_MAX = 256 };

typedef struct gpulet_sim_trace {
    size_t count;
    size_t capacity;
    gpulet_sim_arrival_t *arrivals; /* by time, equal times in the order of the file; owned */
} gpulet_sim_trace_t;

/* CSV `time_s,model[,items]`, in any order. Errors as above. Caller destroys. */
gpulet_status_t gpulet_sim_trace_parse(gpulet_sim_trace_t **out, const char *text, size_t size,
                                       const char *file, const gpulet_workload_t *workload,
                                       gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_sim_trace_destroy(gpulet_sim_trace_t *trace); /* NULL is fine */

#endif
