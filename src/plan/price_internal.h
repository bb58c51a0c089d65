/* What the files of pricing share. */
#ifndef GPULET_PLAN_PRICE_INTERNAL_H
#define GPULET_PLAN_PRICE_INTERNAL_H

#include "plan/price.h"

/* One choice of a model in a world. */
typedef struct gpulet_price_option {
    uint64_t latency; /* in the pricer's unit, rounded down */
    double load_ms;   /* load·1000: over a rate it is the time that the batch lasts, in ms */
    double memory_mb;
    uint32_t choice;
} gpulet_price_option_t;

typedef struct gpulet_price_range {
    uint32_t first;
    uint32_t count;
} gpulet_price_range_t;

/* All gpu-lets of a type that stand beside a pressure and press no more than a level themselves. */
typedef struct gpulet_price_world {
    uint32_t type;
    uint32_t level_max;
    double beside;
    gpulet_price_range_t *ranges; /* owned; sizes of the type · models */
} gpulet_price_world_t;

struct gpulet_pricer {
    const gpulet_workspace_t *ws;
    double unit_ms;
    uint64_t *slo; /* owned; by model, rounded up */
    size_t worlds_count;
    gpulet_price_world_t *worlds; /* owned */
    size_t *first_world;          /* owned; by type: the one without a neighbour */
    uint32_t *levels;             /* owned; by type; 0: no interference */
    size_t options_count;
    size_t options_capacity;
    gpulet_price_option_t *options; /* owned */
    /* scratch of one run */
    uint64_t *gains; /* by option of one (world, size); as many as options at most */
    struct gpulet_price_item *items;
    gpulet_price_gpulet_t *found; /* worlds of a type · sizes */
    uint64_t *values;             /* the same: what they are worth … */
    uint64_t *bounds;             /* … and at most are */
    size_t cells;
    int64_t *table; /* of the cut, grows */
    size_t table_capacity;
};

/* A model in the search of one gpu-let. */
typedef struct gpulet_price_item {
    uint32_t model;
    uint32_t count; /* options, ascending by latency */
    const gpulet_price_option_t *options;
    const uint64_t *gains; /* price · time the batch lasts: over D it is the worth */
    uint64_t price;
    uint64_t slo;
    double density;     /* most worth alone, for all of the time */
    double price_after; /* Σ and highest price of this and all later items */
    double price_highest;
} gpulet_price_item_t;

typedef struct gpulet_price_gpulet_query {
    const gpulet_price_item_t *items; /* descending by density */
    size_t count;
    uint32_t members_max; /* 0: no limit */
    double memory_mb;     /* of the gpu-let */
    bool prototype_duty;
    uint64_t work_max;
    bool bounded;   /* a bound is wanted where the search is cut off; else it is unknown then */
    uint64_t least; /* with collect: only what is worth at least so much is of interest */
    /* NULL, or called for every such gpu-let; false ends the search. */
    bool (*collect)(void *ctx, const gpulet_price_gpulet_t *gpulet, uint64_t value);
    void *ctx;
} gpulet_price_gpulet_query_t;

/* The best gpu-let: its members in *out, its worth in *value, and in *bound what none exceeds.
 * Returns the steps done. */
uint64_t gpulet_price_gpulet(gpulet_price_gpulet_t *out, uint64_t *value, uint64_t *bound,
                             const gpulet_price_gpulet_query_t *query);

/* Sets the query up for one (world, size): members, memory, items. False when a figure is too
 * large. */
bool gpulet_price_query(gpulet_price_gpulet_query_t *query, gpulet_pricer_t *pricer,
                        const gpulet_price_world_t *world, uint32_t size, const uint64_t *prices,
                        const double *rates_rps);

/* The cut of a device that is worth most. values[] by size; top[] (NULL: none) is the worth as the
 * one gpu-let that presses most, of which there is then exactly one. sizes[] gets the sizes, the
 * top one first; room for as many as the device may hold. *exact is false when some limit of the
 * type had to be left out: then the result is still an upper bound. */
typedef struct gpulet_price_cut {
    const gpulet_device_type_t *type;
    const uint64_t *values;
    const uint64_t *top;
} gpulet_price_cut_t;
gpulet_status_t gpulet_price_cut(uint64_t *value, uint32_t *sizes, uint32_t *sizes_count,
                                 bool *exact, gpulet_pricer_t *pricer,
                                 const gpulet_price_cut_t *cut);

#endif
