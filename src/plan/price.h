/* Pricing of devices: given what a model's whole demand is worth (its price), the most that one
 * device can be worth, and a device that is. What lies behind planner `optimal` and its bound
 * (docs/planning.md "The planner optimal").
 *
 * A gpu-let with models S and their choices serves model i at load_i/D, D ≥ Σ latency. It is worth
 * Σ price_i · min(1, load_i / (D · rate_i)): what goes beyond the whole demand of a model is worth
 * nothing. For fixed choices D = Σ latency is best: every rate and every slack falls with D. So the
 * search over gpu-lets is one over sets of (model, choice) alone, and finite.
 *
 * All figures are integers, rounded so that a device is never worth less than it should be:
 * latencies down, objectives, loads and quotients up. The bound is therefore exact arithmetic, not
 * a matter of tolerances.
 *
 * Interference: for a fixed pair (highest, second-highest pressure on the device) gpu-lets do not
 * depend on one another: the one that presses most is beside the second-highest, all others beside
 * the highest. Pressures are rounded down to at most so many levels; a factor does not fall with
 * pressure, so this too errs on the side of a larger value only. */
#ifndef GPULET_PLAN_PRICE_H
#define GPULET_PLAN_PRICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plan/workspace.h"

enum { GPULET_PRICE_MEMBERS_MAX = 16 };
#define GPULET_PRICE_UNKNOWN UINT64_MAX

/* The best gpu-let of one size. */
typedef struct gpulet_price_gpulet {
    uint32_t size;
    uint32_t count; /* 0: none is worth anything */
    double beside;  /* pressure that it was priced beside; -INFINITY: none */
    uint32_t models[GPULET_PRICE_MEMBERS_MAX];
    uint32_t choices[GPULET_PRICE_MEMBERS_MAX];
} gpulet_price_gpulet_t;

typedef struct gpulet_price_device {
    uint32_t count;
    uint32_t capacity;
    gpulet_price_gpulet_t *gpulets; /* owned */
    uint64_t value;                 /* of this device */
    uint64_t bound;                 /* no device of the type is worth more; may be
                                       GPULET_PRICE_UNKNOWN when none was asked for */
    uint64_t work;                  /* steps it took */
} gpulet_price_device_t;

typedef struct gpulet_pricer gpulet_pricer_t;

/* Borrows the workspace. fine: with interference, more levels of pressure, which bounds more
 * tightly and takes some times longer. */
gpulet_status_t gpulet_pricer_create(gpulet_pricer_t **out, const gpulet_workspace_t *ws,
                                     bool fine) GPULET_MUST_USE;
void gpulet_pricer_destroy(gpulet_pricer_t *pricer);

/* prices[] and rates_rps[] by model of the workspace; a model with price 0 or rate 0 is left out.
 * work_max bounds the search of each gpu-let: beyond it `value` is of the best found and `bound`,
 * where `bounded` asks for one, comes from a relaxation. E_INVALID when the prices are too large
 * for the arithmetic (divide them all), E_NOMEM. The device's memory is reused; free with
 * gpulet_price_device_deinit. */
gpulet_status_t gpulet_pricer_run(gpulet_price_device_t *device, gpulet_pricer_t *pricer,
                                  size_t type, const uint64_t *prices, const double *rates_rps,
                                  uint64_t work_max, bool bounded) GPULET_MUST_USE;
void gpulet_price_device_deinit(gpulet_price_device_t *device);

/* A device of a list: what it serves of every demand, rounded up, at most 1. */
typedef struct gpulet_price_listed {
    uint32_t count;
    gpulet_price_gpulet_t *gpulets; /* owned */
    float *parts;                   /* owned; by model */
} gpulet_price_listed_t;

typedef struct gpulet_price_list {
    size_t count;
    size_t capacity;
    gpulet_price_listed_t *items; /* owned */
    bool complete;                /* nothing was left out */
    uint64_t work;
} gpulet_price_list_t;

/* After gpulet_pricer_run at the same prices and rates that found the exact worth (value = bound):
 * appends every device of the type that is worth at least `least` ≥ 1, unless one that is there
 * serves as much of every model. Not complete when a limit was met. */
gpulet_status_t gpulet_pricer_list(gpulet_price_list_t *list, gpulet_pricer_t *pricer, size_t type,
                                   const uint64_t *prices, const double *rates_rps, uint64_t least,
                                   uint64_t work_max) GPULET_MUST_USE;
void gpulet_price_list_deinit(gpulet_price_list_t *list);

#endif
