/* A workload: what each model is asked for, and how soon (docs/formats.md "Workload"). Plain
 * values, immutable once parsed. */
#ifndef GPULET_CORE_WORKLOAD_H
#define GPULET_CORE_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

enum {
    GPULET_WORKLOAD_NAME_MAX = 255,
    GPULET_WORKLOAD_ROWS_MAX = 100000,
    GPULET_WORKLOAD_SCENARIOS_MAX = 4096
};

typedef struct gpulet_demand {
    char model[GPULET_WORKLOAD_NAME_MAX + 1];
    double rate_rps;   /* items a second, ≥ 0; a rate of 0 asks for nothing and is not planned */
    double slo_ms;     /* > 0 */
    uint32_t priority; /* 0 is highest; default 0 */
    double weight;     /* > 0; default 1 */
    bool priority_given;
} gpulet_demand_t;

typedef struct gpulet_workload {
    size_t count;
    gpulet_demand_t *demands; /* owned; in the order of the file; each model once */
} gpulet_workload_t;

/* scenario NULL: the file must not have several (E_INVALID says which there are); a name that no
 * row has is E_NOT_FOUND. */
gpulet_status_t gpulet_workload_parse(gpulet_workload_t **out, const char *text, size_t size,
                                      const char *file, const char *scenario,
                                      gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_workload_load(gpulet_workload_t **out, const char *path,
                                     const char *scenario, gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_workload_create(gpulet_workload_t **out) GPULET_MUST_USE;
gpulet_status_t gpulet_workload_add(gpulet_workload_t *workload, const gpulet_demand_t *demand,
                                    gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_workload_destroy(gpulet_workload_t *workload);
/* NULL when the model is not in it. */
const gpulet_demand_t *gpulet_workload_find(const gpulet_workload_t *workload, const char *model);

/* The models of a workload by name, for whoever asks for many. Borrows the workload, which must not
 * change meanwhile. */
typedef struct gpulet_workload_index gpulet_workload_index_t;
/* E_NOMEM. Caller destroys. */
gpulet_status_t gpulet_workload_index_create(gpulet_workload_index_t **out,
                                             const gpulet_workload_t *workload) GPULET_MUST_USE;
void gpulet_workload_index_destroy(gpulet_workload_index_t *index);
/* Where the model stands in workload->demands, SIZE_MAX when it is not in it. */
size_t gpulet_workload_index_find(const gpulet_workload_index_t *index, const char *model);

/* Writes the CSV; priority and weight only when one of them is not the default. */
gpulet_status_t gpulet_workload_format_csv(gpulet_buf_t *out,
                                           const gpulet_workload_t *workload) GPULET_MUST_USE;

#endif
