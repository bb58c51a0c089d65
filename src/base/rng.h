/* A seeded pseudo-random generator (xoshiro256**, Blackman and Vigna 2018): the same seed gives the
 * same numbers on every machine. Not for secrets. One owner at a time. */
#ifndef GPULET_BASE_RNG_H
#define GPULET_BASE_RNG_H

#include <stdint.h>

typedef struct gpulet_rng {
    uint64_t state[4];
} gpulet_rng_t;

void gpulet_rng_init(gpulet_rng_t *rng, uint64_t seed);
/* A seed for one purpose and name: streams of numbers that know nothing of one another. */
uint64_t gpulet_rng_seed(uint64_t seed, const char *purpose, const char *name);
uint64_t gpulet_rng_u64(gpulet_rng_t *rng);
/* Uniform in 0 … bound-1; bound ≥ 1. */
uint64_t gpulet_rng_below(gpulet_rng_t *rng, uint64_t bound);
/* Uniform in [0, 1). */
double gpulet_rng_f64(gpulet_rng_t *rng);
/* Exponential with the given mean. */
double gpulet_rng_exponential(gpulet_rng_t *rng, double mean);

#endif
