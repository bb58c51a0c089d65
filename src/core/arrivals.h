/* When requests arrive, for the simulator and the load generator alike: the same seed brings the
 * same requests at the same times in both. A stream a model, with one arrival in hand, so that
 * memory does not grow with time. A stream has random numbers of its own, drawn from the seed and
 * the model's name: what is changed elsewhere does not shift it, and the same model sees the same
 * arrivals under every planner.
 *
 * Rates are piecewise constant. An arrival comes when the integral of the rate has grown by an
 * exponential draw (Poisson; the time change of an inhomogeneous Poisson process) or by one
 * (uniform); so a stream of twice the rate is the same stream, twice as fast. */
#ifndef GPULET_CORE_ARRIVALS_H
#define GPULET_CORE_ARRIVALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"

/* From begin_s on the rate holds, until the model's next step. */
typedef struct gpulet_rate_step {
    double begin_s;
    double rate_rps; /* ≥ 0 */
} gpulet_rate_step_t;

/* One owner at a time. The fields of the first block are set before init. */
typedef struct gpulet_arrivals {
    bool uniform;
    double multiple;                 /* of all rates */
    double rate_rps;                 /* without steps */
    const gpulet_rate_step_t *steps; /* ascending by time; before the first its rate holds; borrowed
                                      */
    size_t steps_count;

    gpulet_rng_t rng;
    size_t step;   /* the one that holds at now_s */
    double now_s;  /* of the last arrival */
    double needed; /* uniform: of the first arrival, which is anywhere in its interval */
} gpulet_arrivals_t;

/* Starts at begin_s, which may be below the first step. steps_count 0: rate_rps for ever. */
void gpulet_arrivals_init(gpulet_arrivals_t *arrivals, uint64_t seed, const char *model,
                          double begin_s);
/* The time of the next arrival; INFINITY when there is none any more. */
double gpulet_arrivals_next_s(gpulet_arrivals_t *arrivals);
/* The rate at a time, multiple included. */
double gpulet_arrivals_rate_rps(const gpulet_arrivals_t *arrivals, double at_s);

#endif
