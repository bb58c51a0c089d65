/* What the files of filling share: fill.c has the passes over a whole workload, fill_curves.c what
 * is known of models before any pass and the size of the next gpu-let, fill_hosts.c turns in
 * gpu-lets that run, fill_place.c new gpu-lets and the order in which the two are tried,
 * fill_improve.c what comes after a pass. */
#ifndef GPULET_PLAN_FILL_INTERNAL_H
#define GPULET_PLAN_FILL_INTERNAL_H

#include <stdint.h>

#include "plan/fill.h"

/* A rate below this part of the demand is rounding. */
#define GPULET_FILL_CRUMB 1e-9

/* How many hosts are tried before a rate is placed elsewhere: the tightest come first, so later
 * ones rarely help. */
enum { GPULET_FILL_HOSTS_MAX = 24 };

typedef struct gpulet_fill_ranked {
    double key; /* ascending */
    uint32_t a;
    uint32_t b;
} gpulet_fill_ranked_t;

typedef struct gpulet_fill_curve {
    size_t count;
    gpulet_rate_point_t *points;         /* borrowed from fill->points */
    uint32_t *sizes;                     /* size index of each point; borrowed from fill->sizes */
    size_t knee[GPULET_FILL_SIZE_COUNT]; /* `count`: there is none */
} gpulet_fill_curve_t;

struct gpulet_fill {
    const gpulet_workspace_t *ws;
    gpulet_rate_point_t *points; /* owned, as all below */
    uint32_t *sizes;
    gpulet_fill_curve_t *curves;  /* models · types */
    uint32_t *type_order;         /* models · types: cheapest first */
    double *load;                 /* by model: devices needed, fluid */
    gpulet_fill_ranked_t *ranked; /* scratch, grows */
    size_t ranked_capacity;
    gpulet_fill_ranked_t *pieces; /* scratch of a whole pass */
    double *piece_rates;
    size_t pieces_count;
    size_t pieces_capacity;
    double *rates; /* scratch by model */
    gpulet_fill_policy_t policy;
    double slack_rps;
    size_t first; /* SIZE_MAX: none */
};

static inline const gpulet_fill_curve_t *gpulet_fill_curve(const gpulet_fill_t *fill, size_t model,
                                                           size_t type)
{
    return &fill->curves[model * fill->ws->types_count + type];
}

/* Sets fill->ranked[count]; false, and pack->failed, without memory. */
bool gpulet_fill_rank(gpulet_fill_t *fill, gpulet_pack_t *pack, size_t count,
                      gpulet_fill_ranked_t item);
/* By key, then a, then b. The array may be NULL when there is nothing in it. */
void gpulet_fill_sort(gpulet_fill_ranked_t *items, size_t count);

/* Everything that fill_curves.c knows of a model: curves, type_order, load. */
void gpulet_fill_set_model(gpulet_fill_t *fill, size_t model);
/* Whether the policy knows one size only. */
bool gpulet_fill_fixed_size(const gpulet_fill_policy_t *policy);
/* Index of the point for what is left to serve; curve->count when there is none. */
size_t gpulet_fill_ideal_point(const gpulet_fill_t *fill, const gpulet_fill_curve_t *curve,
                               double rate_rps);

/* Temporal sharing: the whole rate into the fullest gpu-let that takes it. */
bool gpulet_fill_merge_whole(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model,
                             double rate_rps);
/* A part of the rate where nothing takes all of it; the rate placed. */
double gpulet_fill_merge_part(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model,
                              double rate_rps);
/* Grows a gpu-let into the free units of its device so that it takes the rate as well, by the
 * fewest units. */
bool gpulet_fill_grow_whole(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model,
                            double rate_rps);

/* Places a rate of one model by fill->policy; what does not fit is missing. */
void gpulet_fill_place_rate(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model,
                            double rate_rps);
/* Places rates[] (by model) in the order of fill->policy. */
void gpulet_fill_place_rates(gpulet_fill_t *fill, gpulet_pack_t *pack, const double *rates);

#endif
