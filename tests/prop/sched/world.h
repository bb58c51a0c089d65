/* A small world around the brain, in virtual time: lanes that run batches with their own true
 * latencies, clients, faults, and a checker of every promise of sched.h after every event. One
 * owner; a broken promise ends the program with the seed and the time. */
#ifndef GPULET_TESTS_WORLD_H
#define GPULET_TESTS_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "sched/sched.h"

enum { WORLD_MODELS = 8, WORLD_LANES = 8, WORLD_SERVICES = 8, WORLD_EXEC = 64 };

typedef struct world_truth {
    double fixed_ns; /* L(b) = fixed + each × b */
    double each_ns;
    double noise;       /* relative, uniform on both sides */
    double profile_off; /* what the brain is told: truth × this; 0: nothing */
} world_truth_t;

typedef struct world_stats {
    uint64_t offered, in_time, late, failed, cancelled, rejected, dropped, probes, batches, items;
} world_stats_t;

typedef struct world world_t;

world_t *world_create(uint64_t seed, const gpulet_sched_options_t *options);
void world_destroy(world_t *w);
gpulet_rng_t *world_rng(world_t *w);
uint64_t world_now(const world_t *w);
gpulet_sched_t *world_sched(world_t *w);

void world_model(world_t *w, uint32_t model, const gpulet_sched_model_t *value,
                 const world_truth_t *truth);
void world_model_remove(world_t *w, uint32_t model);
/* Plans the lane for models[0 … count) with the planned batches and rates. */
void world_lane(world_t *w, uint32_t lane, uint32_t units, uint32_t count, const uint32_t *models,
                const uint32_t *batches);
/* Another choice for a lane that is there and does not drain. */
void world_serve(world_t *w, uint32_t lane, uint32_t count, const uint32_t *models,
                 const uint32_t *batches);
void world_drain(world_t *w, uint32_t lane);
/* The batches it held may still be answered later, with `speaks`. */
void world_lose(world_t *w, uint32_t lane, bool speaks);
bool world_lane_there(const world_t *w, uint32_t lane);
bool world_lane_draining(const world_t *w, uint32_t lane);
/* Every batch started from now on takes this many times as long. */
void world_slow(world_t *w, double factor);
/* The chance of a batch to fail, of a batch to take ten times as long. */
void world_faults(world_t *w, double failing, double stuck);
void world_shutdown(world_t *w, bool now);

/* An arrival at now; zero fields of the request are filled in. Returns its number. */
uint32_t world_arrive(world_t *w, const gpulet_sched_request_t *request);
void world_cancel(world_t *w, uint32_t number);
/* As a client that does not know whether its request was answered already. */
void world_cancel_any(world_t *w, uint32_t number);
/* Every request has ended. */
void world_check_ended(world_t *w);
uint32_t world_requests(const world_t *w);
/* Runs what is due up to the time, then stands there. */
void world_run(world_t *w, uint64_t until_ns);
/* Poisson arrivals of all models with these rates (requests a second) from now until the time. */
void world_poisson(world_t *w, const double *rates, uint64_t until_ns);
/* Runs until nothing waits or runs, at most that long. */
bool world_settle(world_t *w, uint64_t at_most_ns);

const world_stats_t *world_stats(const world_t *w, uint32_t model);
void world_stats_clear(world_t *w);
uint64_t world_hash(const world_t *w);
/* 'w': waiting, 'r': running, 'i': in time, 'l': late, 'f': failed, 'c': cancelled, 'x': refused or
 * dropped. */
char world_outcome(const world_t *w, uint32_t number);
gpulet_reject_t world_reason(const world_t *w, uint32_t number);

#endif
