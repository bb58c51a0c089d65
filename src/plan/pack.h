/* A plan in the making: devices, their gpu-lets, and in each the models with the rate they are to
 * serve there.
 *
 * Every operation either succeeds and leaves a state in which every promise of docs/planning.md
 * holds for the rates placed, or changes nothing (the paper's revert). A gpu-let's duty cycle is
 * the least D with Σ L_i(D) ≤ D, where L_i(D) is the shortest batch of model i that holds rate_i·D:
 * L_i grows with D, so if that D breaks an SLO every other does too, and the test is exact. On
 * devices with interference all gpu-lets are solved together until their pressures agree.
 *
 * A pack borrows its workspace and is owned by one planner. Out of memory sets `failed`; operations
 * then do nothing. */
#ifndef GPULET_PLAN_PACK_H
#define GPULET_PLAN_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plan/workspace.h"

/* No plan holds more; a rate that needs more is reported as missing. */
enum { GPULET_PACK_GPULETS_MAX = 8192 };

typedef struct gpulet_pack_member {
    uint32_t model;    /* index in the workspace */
    uint32_t choice;   /* index in the choices of (model, type, size) */
    double rate_rps;   /* placed here */
    double latency_ms; /* interference included */
    bool pinned;       /* the choice stays, whatever others would do */
} gpulet_pack_member_t;

typedef struct gpulet_pack_gpulet {
    uint32_t size; /* index */
    uint32_t count;
    uint32_t capacity;
    gpulet_pack_member_t *members; /* owned */
    double duty_ms;
    double pressure; /* the highest of its members */
    double beside; /* the highest pressure of its neighbours that it was solved for, -INFINITY with
                      none */
    double used;   /* Σ rate / rate alone: over 1 never fits */
    double slack_ms; /* least SLO − duty − latency of its members */
    double memory_mb;
    double network_bps; /* bytes a second of the rates placed */
} gpulet_pack_gpulet_t;

typedef struct gpulet_pack_device {
    uint32_t type;
    uint32_t count;
    uint32_t capacity;
    uint32_t units_used;
    gpulet_pack_gpulet_t *gpulets; /* owned */
} gpulet_pack_device_t;

typedef struct gpulet_pack {
    const gpulet_workspace_t *ws; /* borrowed */
    size_t count;
    size_t capacity;
    gpulet_pack_device_t *devices; /* owned */
    uint32_t *devices_by_type;     /* owned */
    int32_t *devices_max;          /* owned; -1: no limit */
    double *missing_rps;           /* owned, by model */
    size_t gpulets_count;
    uint64_t work; /* steps done so far, so that planners can end on a count and never on a clock */
    gpulet_pack_device_t trial; /* where changes are tried out */
    bool failed;
} gpulet_pack_t;

/* unlimited: as many devices of every type as needed, whatever the input says. */
gpulet_status_t gpulet_pack_init(gpulet_pack_t *pack, const gpulet_workspace_t *ws,
                                 bool unlimited) GPULET_MUST_USE;
void gpulet_pack_deinit(gpulet_pack_t *pack);
/* Makes `to` (initialised on the same workspace) equal to `from`. */
void gpulet_pack_copy(gpulet_pack_t *to, const gpulet_pack_t *from);
void gpulet_pack_clear(gpulet_pack_t *pack);

/* A new empty device of the type; its index, or SIZE_MAX when there is none left. Empty devices may
 * be dropped with close. */
size_t gpulet_pack_open(gpulet_pack_t *pack, size_t type);
/* Removes a device; the last one takes its index. */
void gpulet_pack_close(gpulet_pack_t *pack, size_t device);

/* Adds empty gpu-lets of these sizes (indices) to a device, for try_add to fill; false when they do
 * not fit on it. Empty gpu-lets disturb nobody and are in no plan. */
bool gpulet_pack_cut(gpulet_pack_t *pack, size_t device, const uint32_t *sizes, size_t count);

/* A new gpu-let for rate_rps of the model on the device. */
bool gpulet_pack_try_new(gpulet_pack_t *pack, size_t device, uint32_t size, uint32_t model,
                         double rate_rps);
/* Adds rate_rps of the model to a gpu-let (temporal sharing), at its size or, when size differs,
 * grown or shrunk to it. */
bool gpulet_pack_try_add(gpulet_pack_t *pack, size_t device, size_t gpulet, uint32_t size,
                         uint32_t model, double rate_rps);
/* The same two with the choice given (its index in the choices of model, type and size): where
 * gpu-lets disturb one another the quickest batch need not be the one that presses least. In the
 * second the model must not stand in the gpu-let yet. */
bool gpulet_pack_try_new_pinned(gpulet_pack_t *pack, size_t device, uint32_t size, uint32_t model,
                                uint32_t choice, double rate_rps);
bool gpulet_pack_try_add_pinned(gpulet_pack_t *pack, size_t device, size_t gpulet, uint32_t model,
                                uint32_t choice, double rate_rps);
/* The rate of the model that a device's network still takes beside what is placed on it, INFINITY
 * when it has no limit. */
double gpulet_pack_network_rps(const gpulet_pack_t *pack, size_t device, uint32_t size,
                               uint32_t model);
/* Multiplies the rates of one gpu-let. */
bool gpulet_pack_try_scale(gpulet_pack_t *pack, size_t device, size_t gpulet, double factor);

/* Units (or, where the type has a placement rule, slots) of a size as a fraction of the device. */
double gpulet_pack_share(const gpulet_device_type_t *type, uint32_t size);
/* What the devices cost, and how much is missing over all models. */
double gpulet_pack_cost(const gpulet_pack_t *pack);
double gpulet_pack_missing(const gpulet_pack_t *pack);

/* Makes batches as large as the objectives allow, so that the plan has capacity to spare. Rates
 * placed grow beyond the demand. */
void gpulet_pack_spread(gpulet_pack_t *pack);
/* Writes the plan: devices, shares with the demand routed in proportion to what each can hold,
 * models, feasible. */
gpulet_status_t gpulet_pack_emit(gpulet_plan_t **out, const gpulet_pack_t *pack) GPULET_MUST_USE;

#endif
