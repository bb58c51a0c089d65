/* Poisson probabilities for planning by percentile (docs/planning.md): how many arrivals one duty
 * cycle may bring.
 *
 * Everything is summed exactly from the tail that shrinks, so no approximation is used at any mean;
 * the cost is a few standard deviations of terms. Pure functions. */
#ifndef GPULET_PLAN_POISSON_H
#define GPULET_PLAN_POISSON_H

#include <stdint.h>

/* P(X ≤ count) for X ~ Poisson(mean); mean ≥ 0. */
double gpulet_poisson_cdf(uint64_t count, double mean);
/* Least count with P(X ≤ count) ≥ percentile; 0 < percentile < 1. */
uint64_t gpulet_poisson_quantile(double percentile, double mean);
/* The largest mean whose percentile is at most count: what `count` places in a cycle can promise to
 * hold. */
double gpulet_poisson_mean_max(double percentile, uint64_t count);
/* The mean that a batch of `items` a cycle is planned for: the above, and never more than the
 * items, since a low percentile would promise what is not there on average. */
double gpulet_poisson_load_max(double percentile, uint64_t items);

#endif
