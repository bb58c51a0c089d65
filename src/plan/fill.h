/* Filling a pack greedily: the paper's elastic partitioning (arXiv 2109.01611, algorithm 1) with
 * the rules of docs/planning.md, steered by a policy. Rate by rate: the size of the next gpu-let is
 * min(p_eff, p_req); it goes where it leaves least over (best fit, split), or what is left of a
 * model shares an existing gpu-let in turns (merge); whatever breaks a promise is undone (revert,
 * by the pack).
 *
 * A fill borrows its workspace and is owned by one planner. */
#ifndef GPULET_PLAN_FILL_H
#define GPULET_PLAN_FILL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/rng.h"
#include "plan/pack.h"

/* p_eff: what size serves a model best. */
typedef enum gpulet_fill_size {
    GPULET_FILL_SIZE_KNEE,      /* by curvature, the paper's */
    GPULET_FILL_SIZE_GAIN,      /* by marginal gain, the prototype's */
    GPULET_FILL_SIZE_EFFICIENT, /* most rate for its share of the device */
    GPULET_FILL_SIZE_COVER,     /* the set of sizes that covers the rate with the least share */
    GPULET_FILL_SIZE_WHOLE,     /* the largest size only: temporal sharing of whole devices */
    GPULET_FILL_SIZE_SEARCHED,  /* how many are above: those that elastic searches */
    GPULET_FILL_SIZE_HALF = GPULET_FILL_SIZE_SEARCHED, /* the largest size that a device holds twice
                                                          only, or whole where there is none */
    GPULET_FILL_SIZE_REQUIRED, /* the smallest that covers the rate, else the largest */
    GPULET_FILL_SIZE_COUNT
} gpulet_fill_size_t;

typedef enum gpulet_fill_order {
    GPULET_FILL_ORDER_RATE,     /* models by rate, descending (the paper) */
    GPULET_FILL_ORDER_RATE_SLO, /* models by rate·SLO, ascending (the prototype) */
    GPULET_FILL_ORDER_LOAD,     /* models by the devices they need, descending */
    GPULET_FILL_ORDER_SLO,      /* models by SLO, ascending */
    GPULET_FILL_ORDER_PIECE,    /* all models' gpu-lets by the device time they need, descending */
    GPULET_FILL_ORDER_COUNT
} gpulet_fill_order_t;

typedef struct gpulet_fill_policy {
    gpulet_fill_size_t size;
    gpulet_fill_order_t order;
    bool merge;       /* models may share a gpu-let */
    bool merge_first; /* sharing is tried before free space on open devices */
    bool fragment; /* before a new device is opened, smaller gpu-lets may use up what is free on the
                      open ones */
    bool strict;   /* neither grown nor cut smaller than the ideal size: the paper's algorithm 1 */
    bool grow_last; /* the last gpu-let that a device may have takes all that is left of it */
    bool spread;    /* a new device before the open ones, as the prototype does */
    bool precut;    /* the devices are open and cut already: only their gpu-lets are filled */
} gpulet_fill_policy_t;

typedef struct gpulet_fill gpulet_fill_t;

gpulet_status_t gpulet_fill_create(gpulet_fill_t **out,
                                   const gpulet_workspace_t *ws) GPULET_MUST_USE;
void gpulet_fill_destroy(gpulet_fill_t *fill);

/* From now on so much of a model's rate may be left over without being missing (the prototype's
 * slack). */
void gpulet_fill_set_slack(gpulet_fill_t *fill, double slack_rps);
/* Places this model before all others in passes to come; SIZE_MAX: none. */
void gpulet_fill_set_first(gpulet_fill_t *fill, size_t model);

/* Clears the pack and places the whole workload; what does not fit is in pack->missing_rps. */
void gpulet_fill_all(gpulet_fill_t *fill, gpulet_pack_t *pack, const gpulet_fill_policy_t *policy);

/* The same without clearing it first: on devices that are cut already. */
void gpulet_fill_cut(gpulet_fill_t *fill, gpulet_pack_t *pack, const gpulet_fill_policy_t *policy);

/* A new gpu-let of that size, best fit on the open devices of the type or on a new one; the rate
 * placed, 0 when there is no room. */
double gpulet_fill_new(gpulet_fill_t *fill, gpulet_pack_t *pack, size_t type, uint32_t size,
                       uint32_t model, double rate_rps);
/* Places a rate of one model by the policy; what does not fit is missing. */
void gpulet_fill_place(gpulet_fill_t *fill, gpulet_pack_t *pack, const gpulet_fill_policy_t *policy,
                       uint32_t model, double rate_rps);
/* Places rates_rps[] (by model) on top of what the pack holds; what does not fit is added to
 * pack->missing_rps. */
void gpulet_fill_rest(gpulet_fill_t *fill, gpulet_pack_t *pack, const gpulet_fill_policy_t *policy,
                      const double *rates_rps);

/* Improves a pack by taking a few devices out and placing what they held again, until it costs no
 * more than cost_enough or both packs have done work_max. `scratch` is another pack of the same
 * workspace and limits. */
void gpulet_fill_improve(gpulet_fill_t *fill, gpulet_pack_t *pack, gpulet_pack_t *scratch,
                         uint64_t work_max, double cost_enough);

/* Less than 0 when a is better: less missing, then cheaper, then fuller devices. */
int gpulet_fill_compare(const gpulet_pack_t *a, const gpulet_pack_t *b);

#endif
