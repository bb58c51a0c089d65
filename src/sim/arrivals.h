/* When requests arrive: one stream a model with one arrival in hand, so that memory does not grow
 * with simulated time. A stream has random numbers of its own, drawn from the seed and the model's
 * name: what is changed elsewhere does not shift it, and the same model sees the same arrivals
 * under every planner.
 *
 * Rates are piecewise constant. An arrival comes when the integral of the rate has grown by an
 * exponential draw (Poisson; the time change of an inhomogeneous Poisson process) or by one
 * (uniform); so a stream of twice the rate is the same stream, twice as fast. */
#ifndef GPULET_SIM_ARRIVALS_H
#define GPULET_SIM_ARRIVALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "sim/load.h"

typedef struct sim_stream {
    gpulet_rng_t rng;
    bool uniform;
    double multiple;                /* of all rates */
    double rate_rps;                /* without steps */
    const gpulet_sim_step_t *steps; /* borrowed */
    size_t steps_count;
    size_t step;   /* the one that holds at now_s */
    double now_s;  /* of the last arrival */
    double needed; /* uniform: of the first arrival, which is anywhere in its interval */
} sim_stream_t;

/* A number for the purpose's generator: differs with seed, purpose and name. */
uint64_t sim_seed(uint64_t seed, const char *purpose, const char *name);

/* Starts at begin_s, which may be below the first step. steps_count 0: rate_rps for ever. */
void sim_stream_init(sim_stream_t *stream, uint64_t seed, const char *model, double begin_s);
/* The time of the next arrival; INFINITY when there is none any more. */
double sim_stream_next_s(sim_stream_t *stream);
/* The rate at a time, multiple included. */
double sim_stream_rate_rps(const sim_stream_t *stream, double at_s);

#endif
