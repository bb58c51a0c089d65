/* A plan: all gpu-lets of all devices, with their models, batches, rates and duty cycles; read and
 * written as the JSON of docs/formats.md
 * ("gpulet plan"). A plan is a value: it knows nothing of the planner that made it. Owned by
 * whoever created it; immutable once it is complete. */
#ifndef GPULET_CORE_PLAN_H
#define GPULET_CORE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "core/device_type.h"
#include "core/workload.h"

enum { GPULET_PLAN_REASON_MAX = 511, GPULET_PLANNER_NAME_MAX = 31 };

/* One model in one gpu-let. */
typedef struct gpulet_plan_share {
    char model[GPULET_WORKLOAD_NAME_MAX + 1];
    uint32_t batch;      /* ≥ 1 */
    uint32_t instances;  /* ≥ 1 */
    double rate_rps;     /* demand that is routed here */
    double capacity_rps; /* instances·batch·1000/duty_ms */
    double latency_ms;   /* of one batch, margin and interference included */
    double interference; /* factor that latency_ms includes; 1 with no neighbour */
    double worst_ms;     /* duty_ms + latency_ms */
} gpulet_plan_share_t;

typedef struct gpulet_plan_gpulet {
    uint32_t units;
    int32_t slot;   /* start slot where the type has a placement rule, else -1 */
    double duty_ms; /* ≥ the sum of latency_ms of its models */
    size_t shares_count;
    gpulet_plan_share_t *shares; /* owned */
} gpulet_plan_gpulet_t;

typedef struct gpulet_plan_device {
    char type[GPULET_DEVICE_NAME_MAX + 1];
    uint32_t index; /* 0-based within its type */
    size_t gpulets_count;
    gpulet_plan_gpulet_t *gpulets; /* owned */
} gpulet_plan_device_t;

typedef struct gpulet_plan_model {
    char model[GPULET_WORKLOAD_NAME_MAX + 1];
    double rate_rps;
    double slo_ms;
    double capacity_rps; /* of all its gpu-lets */
} gpulet_plan_model_t;

/* What it takes to go from one plan to another (plan_movement.h). */
typedef struct gpulet_plan_movement {
    uint32_t gpulets_started;
    uint32_t gpulets_stopped;
    uint32_t models_loaded; /* in all gpu-lets together */
    uint32_t devices_added;
    uint32_t devices_removed;
    double gap_rps; /* requests a second that nobody serves on the way; only plans for serving tell
                       (plan/serving.h) */
} gpulet_plan_movement_t;

typedef struct gpulet_plan {
    char planner[GPULET_PLANNER_NAME_MAX + 1];
    bool feasible;
    uint32_t devices_used;
    double cost;        /* NAN where types have no costs */
    double lower_bound; /* devices, or cost where types have costs; NAN: no number of devices would
                           do */
    double lower_bound_devices; /* NAN where types have no costs */
    bool proved_optimal;
    bool by_prototype_rule; /* feasible is the prototype's verdict, which tolerates what the
                               verifier does not */
    bool promises_kept;     /* the verifier's verdict; only written with by_prototype_rule */
    bool proved_infeasible; /* the bound is more than all devices there are */
    bool moves;             /* made from a running plan: movement holds */
    gpulet_plan_movement_t movement;
    double elapsed_ms;
    size_t models_count;
    gpulet_plan_model_t *models; /* owned */
    size_t devices_count;
    gpulet_plan_device_t *devices;           /* owned; only devices that hold a gpu-let */
    char reason[GPULET_PLAN_REASON_MAX + 1]; /* "" when feasible */
} gpulet_plan_t;

gpulet_status_t gpulet_plan_create(gpulet_plan_t **out) GPULET_MUST_USE;
void gpulet_plan_destroy(gpulet_plan_t *plan);
gpulet_status_t gpulet_plan_clone(gpulet_plan_t **out, const gpulet_plan_t *plan) GPULET_MUST_USE;
/* Appends a zeroed element and returns it, NULL when out of memory; the pointer is valid until the
 * next append to the same array. */
gpulet_plan_device_t *gpulet_plan_add_device(gpulet_plan_t *plan);
gpulet_plan_gpulet_t *gpulet_plan_add_gpulet(gpulet_plan_device_t *device);
gpulet_plan_share_t *gpulet_plan_add_share(gpulet_plan_gpulet_t *gpulet);
gpulet_plan_model_t *gpulet_plan_add_model(gpulet_plan_t *plan);

/* What all gpu-lets are routed of the model together. */
double gpulet_plan_routed_rps(const gpulet_plan_t *plan, const char *model);

/* The JSON document of docs/formats.md, figures with at least four decimals where they are not
 * whole, ending in a newline. */
gpulet_status_t gpulet_plan_format_json(gpulet_buf_t *out,
                                        const gpulet_plan_t *plan) GPULET_MUST_USE;
/* Reads such a document. Unknown keys are ignored; a missing or wrong field is E_INVALID with its
 * path, "devices[0].gpulets[1].units: expected …, found …". Only the structure is checked here;
 * whether the plan keeps its promises is the verifier's question. */
gpulet_status_t gpulet_plan_parse_json(gpulet_plan_t **out, const char *text, size_t size,
                                       const char *file, gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_plan_load(gpulet_plan_t **out, const char *path,
                                 gpulet_error_t *err) GPULET_MUST_USE;

#endif
