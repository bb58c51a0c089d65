/* Rates of models from counts of arrivals (follow.h). Inside of this folder. */
#ifndef GPULET_SCHED_RATES_H
#define GPULET_SCHED_RATES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct sched_rate {
    bool followed;
    uint32_t place;     /* in the list of those that are */
    uint64_t counted;   /* items in the sample under way */
    double average;     /* a second: exponential, α = 2/(window+1) */
    double now;         /* of the steady window */
    double steady_s;    /* how long that is */
    double dispersion;  /* variance of a sample over its mean, ≥ 1 (Poisson: 1) */
    double trend_rps_s; /* > 0: it has risen so much a second over all that is remembered … */
    double line_rps;    /* … and is there now by the straight line through it */
} sched_rate_t;

typedef struct sched_rates {
    uint32_t models_max;
    uint32_t window;
    uint32_t memory; /* samples of a model that are kept */
    uint64_t sample_ns;
    uint64_t sample_end_ns; /* 0: not begun */
    double z;               /* of the confidence, one-sided */
    uint32_t next;          /* where the next sample is kept */
    sched_rate_t *models;
    uint32_t *followed;
    uint32_t followed_count;
    double *samples; /* items, `memory` a model */
} sched_rates_t;

gpulet_status_t sched_rates_init(sched_rates_t *rates, uint32_t models_max, uint32_t window,
                                 uint64_t sample_ns, double confidence) GPULET_MUST_USE;
void sched_rates_deinit(sched_rates_t *rates);
/* As if it had always been asked at that rate; false: it is followed already. */
bool sched_rates_add(sched_rates_t *rates, uint32_t model, double rate_rps);
/* As if it had always been asked at so much more; one that is not followed is left alone. */
void sched_rates_raise(sched_rates_t *rates, uint32_t model, double rate_rps);
void sched_rates_remove(sched_rates_t *rates, uint32_t model);
static inline void sched_rates_count(sched_rates_t *rates, uint32_t model, uint32_t items)
{
    if (model < rates->models_max)
        rates->models[model].counted += items;
}
/* Ends what samples are over. */
void sched_rates_tick(sched_rates_t *rates, uint64_t now_ns);
/* The rate now, or what it comes to so far ahead if it goes on rising. */
double sched_rates_expected(const sched_rates_t *rates, uint32_t model, double ahead_s);
/* The upper end of that. */
double sched_rates_upper(const sched_rates_t *rates, uint32_t model, double ahead_s);
/* The rate is above, by the confidence. */
bool sched_rates_exceeds(const sched_rates_t *rates, uint32_t model, double rate_rps);
/* z with P(N(0,1) ≤ z) = probability, 0.5 ≤ probability < 1. */
double sched_normal_quantile(double probability);

#endif
