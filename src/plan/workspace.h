/* What every planner works on: the input with names resolved to indices once, and for each (model,
 * device type, size) the planned batches that may be used at all, with their latency, sorted for
 * search.
 *
 * A *choice* is a batch and a number of co-resident instances. In a gpu-let with duty cycle D a
 * model is given a choice whose `load` (mean arrivals a cycle that it holds) covers rate·D; its
 * batch takes latency_ms of the cycle, times the interference factor, which is 1 without an
 * occupied neighbour and rises with the highest pressure of one; what kind of model is behind it is
 * known in core/interference.h alone.
 *
 * A workspace borrows its input and is immutable once created, except that batches' loads under a
 * percentile are remembered while it is built. Owned by the planner that created it. Rates of 0 are
 * left out: models_count counts what is to be planned. */
#ifndef GPULET_PLAN_WORKSPACE_H
#define GPULET_PLAN_WORKSPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "plan/knee.h"
#include "plan/planner.h"

#define GPULET_WORKSPACE_SLACK                                                                     \
    1e-9 /* relative: rounding may not decide whether a batch is enough */

#define GPULET_WORKSPACE_GBPS (1073741824.0 / 8.0) /* bytes a second in a network_gbps */

typedef struct gpulet_choice {
    double
        load; /* mean arrivals a cycle that the batch holds; batch·instances without a percentile */
    double latency_ms;       /* margin included, interference not */
    double latency_ms_after; /* the least latency_ms of this and all later choices */
    gpulet_interference_response_t response; /* how it slows down with a neighbour's pressure */
    double pressure;                         /* its own on its neighbours; any finite number */
    double memory_mb;                        /* 0 when unknown */
    uint32_t batch;
    uint32_t instances;
} gpulet_choice_t;

/* The choices of one (model, type, size): ascending by load; empty when the SLO cannot be met at
 * that size. */
typedef struct gpulet_choices {
    gpulet_choice_t *items; /* owned */
    size_t count;
    size_t best;           /* index of the most rate alone in a gpu-let */
    double rate_rps;       /* that rate; 0 when count is 0 */
    double latency_ms_min; /* over all choices */
    double work_ms;        /* least latency an item */
    double input_bytes;    /* of an item; 0 when unknown */
    double line_ms;        /* no choice takes less than line_ms + line_slope_ms · its load */
    double line_slope_ms;  /* ≥ 0 */
    uint32_t instances_min;
} gpulet_choices_t;

typedef struct gpulet_ws_model {
    const gpulet_demand_t *demand; /* borrowed */
    size_t index;                  /* in the workload */
    double rate_rps;
    double slo_ms;           /* with slo_fraction */
    double latency_ms_least; /* over all types, sizes and batches, whether or not within the SLO;
                                for the reason */
} gpulet_ws_model_t;

typedef struct gpulet_ws_type {
    const gpulet_device_type_t *type; /* borrowed */
    const gpulet_interference_row_t
        *row;            /* NULL: gpu-lets of this type do not disturb one another */
    int32_t devices_max; /* -1: as many as needed */
    size_t offset;       /* of its first size in a model's row of choices */
    uint32_t size_whole; /* index of the largest size */
} gpulet_ws_type_t;

typedef struct gpulet_workspace {
    const gpulet_plan_input_t *input; /* borrowed */
    double margin;
    double percentile; /* 0: none */
    double slo_beside; /* multiplies the SLO of gpu-lets with a neighbour that disturbs them; 1 but
                          for elastic's residual_slack */
    size_t models_count;
    gpulet_ws_model_t *models; /* owned */
    size_t types_count;
    gpulet_ws_type_t *types; /* owned */
    size_t sizes_total;
    gpulet_choices_t *choices; /* owned, models_count · sizes_total */
    double *loads;             /* owned: load by batch·instances, NAN until asked for */
    size_t loads_count;
} gpulet_workspace_t;

/* E_INVALID: an option out of range, or a blank utilisation where interference coefficients are
 * given. E_NOT_FOUND: a model without a profile row at any size of any device type. Caller
 * destroys. */
gpulet_status_t gpulet_workspace_create(gpulet_workspace_t **out, const gpulet_plan_input_t *input,
                                        gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_workspace_destroy(gpulet_workspace_t *ws);

const gpulet_choices_t *gpulet_workspace_choices(const gpulet_workspace_t *ws, size_t model,
                                                 size_t type, uint32_t size);

/* Index of the choice with the least latency that holds `load`, or choices->count when none does.
 * pressure is the highest of the neighbours, -INFINITY with none. lean: only the fewest instances,
 * to save memory. *latency_ms gets the latency with interference. */
size_t gpulet_choices_pick(const gpulet_choices_t *choices, double load, double pressure, bool lean,
                           double *latency_ms);
/* Latency of one choice beside a neighbour of that pressure (-INFINITY: there is none);
 * nondecreasing in it and never below latency_ms. */
double gpulet_choice_latency_ms(const gpulet_choice_t *choice, double pressure);
/* The factor that it includes: at least 1, and 1 with no neighbour. */
double gpulet_choice_factor(const gpulet_choice_t *choice, double pressure);

/* The affordable-rate curve of a model on a type, from its choices: points[] has room for all sizes
 * of the type and sizes[] gets their size indices. Returns how many there are. */
size_t gpulet_workspace_rate_curve(const gpulet_workspace_t *ws, size_t model, size_t type,
                                   gpulet_rate_point_t *points, uint32_t *sizes);

/* Whether gpu-lets of these sizes (indices, sizes[0 … count)) can stand on one device together;
 * slots (may be NULL) gets where each starts, -1 where the type has no placement rule. The search
 * is bounded: a pathological rule may be refused. */
bool gpulet_placement_find(const gpulet_device_type_t *type, const uint32_t *sizes, size_t count,
                           int32_t *slots);

#endif
