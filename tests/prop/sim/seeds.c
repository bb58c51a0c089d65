/* Random small worlds with faults and checks: a list of seeds, then fresh ones from the time
 * of day, each printed before it runs, so that `gpulet sim --world random --seed N` shows a failure
 * again. Some seeds run twice: the same seed gives the same trace. Arguments: how many of the fixed
 * list, how many fresh ones [2000 200], the first of the fixed list [1]. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../seeds.h"
#include "sim/random.h"

enum { TWICE = 20, ENOUGH = 100 };

/* What the worlds came to, all together. */
typedef struct tally {
    uint64_t requests;
    uint64_t apps[4]; /* of applications: in time, late, refused, given up on */
    uint64_t replans;
    uint64_t breaks;
    uint64_t rollbacks;
    uint64_t faults[GPULET_FAULT_COUNT];
} tally_t;

static tally_t tally;

static void count(const gpulet_sim_result_t *result)
{
    tally.requests += result->requests;
    for (size_t i = 0; i < result->apps_count; i++) {
        const gpulet_sim_model_t *a = &result->apps[i];
        tally.apps[0] += a->in_time;
        tally.apps[1] += a->late;
        tally.apps[2] += a->rejected;
        tally.apps[3] += a->cancelled;
    }
    tally.replans += result->replans;
    tally.breaks += result->breaks;
    tally.rollbacks += result->rollbacks;
    for (int i = 0; i < GPULET_FAULT_COUNT; i++)
        tally.faults[i] += result->faults[i];
}

/* Checks that nothing happens in are worth nothing. False: something never did. */
static bool put_tally(void)
{
    bool all = tally.replans > 0 && tally.breaks > 0 && tally.rollbacks > 0;
    (void)printf("applications: in time %llu, late %llu, refused %llu, given up on %llu; ",
                 (unsigned long long)tally.apps[0], (unsigned long long)tally.apps[1],
                 (unsigned long long)tally.apps[2], (unsigned long long)tally.apps[3]);
    for (int i = 0; i < 4; i++)
        all = all && tally.apps[i] > 0;
    (void)printf("requests %llu, replans %llu, breaks %llu, rollbacks %llu",
                 (unsigned long long)tally.requests, (unsigned long long)tally.replans,
                 (unsigned long long)tally.breaks, (unsigned long long)tally.rollbacks);
    for (int i = 0; i < GPULET_FAULT_COUNT; i++) {
        (void)printf(", %s %llu", gpulet_fault_name((gpulet_fault_t)i),
                     (unsigned long long)tally.faults[i]);
        all = all && tally.faults[i] > 0;
    }
    (void)printf("\n");
    return all;
}

/* The trace's hash; ends the program when the run fails. */
static uint64_t run_seed(uint64_t seed)
{
    gpulet_sim_world_t world = {0};
    gpulet_sim_result_t result = {0};
    gpulet_error_t err = {""};
    gpulet_status_t st = gpulet_sim_world_make(&world, seed, &err);
    if (st == GPULET_OK)
        st = gpulet_sim_run(&result, &world.options, &err);
    if (st != GPULET_OK) {
        (void)fprintf(stderr, "seed=%llu: %s: %s\n", (unsigned long long)seed,
                      gpulet_status_name(st), err.text);
        exit(1);
    }
    uint64_t hash = result.trace_hash;
    count(&result);
    gpulet_sim_result_deinit(&result);
    gpulet_sim_world_deinit(&world);
    return hash;
}

static void check_seed(uint64_t seed)
{
    uint64_t hash = run_seed(seed);
    if (seed % TWICE == 0 && run_seed(seed) != hash) {
        (void)fprintf(stderr, "seed=%llu: the same seed gave another trace\n",
                      (unsigned long long)seed);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    uint64_t fixed = argc > 1 ? strtoull(argv[1], NULL, 0) : 2000;
    uint64_t fresh = argc > 2 ? strtoull(argv[2], NULL, 0) : 200;
    uint64_t first = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
    uint64_t now = (uint64_t)time(NULL) * 1000;
    seeds_choose(&first, &fixed);
    for (uint64_t i = 0; i < fixed; i++)
        check_seed(first + i);
    for (uint64_t i = 0; i < fresh; i++) {
        (void)printf("fresh seed=%llu\n", (unsigned long long)(now + i));
        (void)fflush(stdout);
        check_seed(now + i);
    }
    if (!put_tally() && fixed >= ENOUGH) {
        (void)fprintf(stderr, "something never happened in any world\n");
        return 1;
    }
    (void)printf("%llu passed, 0 failed\n", (unsigned long long)(fixed + fresh));
    return 0;
}
