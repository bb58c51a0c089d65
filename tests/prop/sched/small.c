/* Every small world: up to three models, three lanes and four requests with small integer times,
 * exact profiles, no noise. The checker of world.c looks at the promises; here a brute-force search
 * over all schedules (which knows the future) bounds what can be answered in time. */
#include <stdio.h>
#include <stdlib.h>

#include "world.h"

#define MS 1000000ULL

enum { REQUESTS = 4, TIMES = 3, LIMITS = 3 };

static const uint32_t fixed_ms[3] = {1, 2, 1}, each_ms[3] = {1, 1, 2};
static const uint64_t limits_ms[LIMITS] = {3, 5, 9};

typedef struct shape {
    uint32_t models, lanes;
    uint32_t serves[3]; /* by lane: a mask of models */
} shape_t;

typedef struct job {
    uint32_t model;
    uint64_t arrival, deadline; /* ms */
} job_t;

typedef struct totals {
    uint64_t worlds, offered, in_time, best, dropped, refused;
} totals_t;

typedef struct search {
    const shape_t *shape;
    const job_t *jobs;
    uint32_t best;
} search_t;

/* The batch `mask` of one model, on a lane that is free at `from`: when it ends in time, else 0. */
static uint64_t ends(const search_t *s, uint32_t mask, uint32_t model, uint64_t from)
{
    uint64_t start = from, deadline = UINT64_MAX;
    uint32_t count = 0;
    for (uint32_t i = 0; i < REQUESTS; i++) {
        if ((mask & 1U << i) == 0)
            continue;
        if (s->jobs[i].model != model)
            return 0;
        start = s->jobs[i].arrival > start ? s->jobs[i].arrival : start;
        deadline = s->jobs[i].deadline < deadline ? s->jobs[i].deadline : deadline;
        count++;
    }
    uint64_t end = start + fixed_ms[model] + (uint64_t)each_ms[model] * count;
    return end <= deadline ? end : 0;
}

/* Serves any batch of what is left on any lane, after what ran there. */
static void explore(search_t *s, uint32_t left, const uint64_t *free_at, uint32_t served)
{
    s->best = served > s->best ? served : s->best;
    if (served + (uint32_t)__builtin_popcount(left) <= s->best)
        return;
    for (uint32_t mask = left; mask != 0; mask = (mask - 1) & left) {
        uint32_t model = s->jobs[__builtin_ctz(mask)].model;
        for (uint32_t lane = 0; lane < s->shape->lanes; lane++) {
            if ((s->shape->serves[lane] & 1U << model) == 0)
                continue;
            uint64_t end = ends(s, mask, model, free_at[lane]);
            if (end == 0)
                continue;
            uint64_t next[3] = {free_at[0], free_at[1], free_at[2]};
            next[lane] = end;
            explore(s, left & ~mask, next, served + (uint32_t)__builtin_popcount(mask));
        }
    }
}

static void fail(const shape_t *shape, const job_t *jobs, const char *what)
{
    fprintf(stderr, "broken: %s; models %u lanes %u:", what, shape->models, shape->lanes);
    for (uint32_t l = 0; l < shape->lanes; l++)
        fprintf(stderr, " %u", shape->serves[l]);
    for (uint32_t i = 0; i < REQUESTS; i++)
        fprintf(stderr, " (model %u arrival %llu deadline %llu)", jobs[i].model,
                (unsigned long long)jobs[i].arrival, (unsigned long long)jobs[i].deadline);
    fprintf(stderr, "\n");
    abort();
}

static world_t *build(const shape_t *shape)
{
    static const gpulet_sched_options_t options = {WORLD_MODELS, WORLD_LANES, 8, 1, 2};
    world_t *w = world_create(1, &options);
    for (uint32_t m = 0; m < shape->models; m++) {
        gpulet_sched_model_t value = {.slo_ns = 100 * MS, .batch_max = 4};
        world_truth_t truth = {(double)(fixed_ms[m] * MS), (double)(each_ms[m] * MS), 0, 1};
        world_model(w, m, &value, &truth);
    }
    for (uint32_t l = 0; l < shape->lanes; l++) {
        uint32_t models[3], batches[3] = {4, 4, 4}, count = 0;
        for (uint32_t m = 0; m < shape->models; m++) {
            if ((shape->serves[l] & 1U << m) != 0)
                models[count++] = m;
        }
        world_lane(w, l, 100, count, models, batches);
    }
    return w;
}

static void try_world(const shape_t *shape, const job_t *jobs, totals_t *totals)
{
    world_t *w = build(shape);
    uint64_t start = world_now(w);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        world_run(w, start + jobs[i].arrival * MS);
        /* The two nanoseconds of overhead are on top of the whole milliseconds. */
        gpulet_sched_request_t r = {.model = jobs[i].model,
                                    .timeout_ns = (jobs[i].deadline - jobs[i].arrival) * MS + 100};
        world_arrive(w, &r);
    }
    if (!world_settle(w, 1000 * MS))
        fail(shape, jobs, "it does not end");
    search_t search = {shape, jobs, 0};
    explore(&search, (1U << REQUESTS) - 1, (const uint64_t[3]){0, 0, 0}, 0);
    uint32_t in_time = 0;
    for (uint32_t m = 0; m < shape->models; m++) {
        const world_stats_t *s = world_stats(w, m);
        in_time += (uint32_t)s->in_time;
        totals->dropped += s->dropped;
        totals->refused += s->rejected - s->dropped;
        if (s->late > 0)
            fail(shape, jobs, "late with an exact profile");
    }
    if (in_time > search.best)
        fail(shape, jobs, "better than the best");
    if (in_time == 0 && search.best > 0 && world_stats(w, jobs[0].model)->probes == 0)
        fail(shape, jobs, "nothing was answered in time");
    totals->worlds++;
    totals->offered += REQUESTS;
    totals->in_time += in_time;
    totals->best += search.best;
    world_destroy(w);
}

/* All models and limits of the requests, at these arrivals. */
static void each_choice(const shape_t *shape, const uint64_t *arrivals, uint32_t stride,
                        totals_t *totals)
{
    uint32_t options = shape->models * LIMITS, count = 1;
    for (uint32_t i = 0; i < REQUESTS; i++)
        count *= options;
    for (uint32_t code = 0; code < count; code += stride) {
        job_t jobs[REQUESTS];
        uint32_t rest = code;
        for (uint32_t i = 0; i < REQUESTS; i++) {
            uint32_t choice = rest % options;
            rest /= options;
            jobs[i] = (job_t){choice % shape->models, arrivals[i],
                              arrivals[i] + limits_ms[choice / shape->models]};
        }
        try_world(shape, jobs, totals);
    }
}

int main(int argc, char **argv)
{
    static const shape_t shapes[] = {
        {1, 1, {1}},    {1, 2, {1, 1}},    {1, 3, {1, 1, 1}}, {2, 1, {3}},    {2, 2, {3, 3}},
        {2, 2, {1, 3}}, {2, 3, {3, 1, 2}}, {3, 1, {7}},       {3, 2, {7, 3}}, {3, 3, {3, 6, 5}},
    };
    uint32_t stride = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : 1;
    for (uint32_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        totals_t t = {0};
        for (uint64_t b = 0; b < TIMES; b++) {
            for (uint64_t c = b; c < TIMES; c++) {
                for (uint64_t d = c; d < TIMES; d++)
                    each_choice(&shapes[i], (const uint64_t[REQUESTS]){0, b, c, d}, stride, &t);
            }
        }
        printf("models %u lanes %u: %llu worlds, in time %.4f of the clairvoyant best, dropped "
               "%.4f refused %.4f of offered\n",
               shapes[i].models, shapes[i].lanes, (unsigned long long)t.worlds,
               (double)t.in_time / (double)t.best, (double)t.dropped / (double)t.offered,
               (double)t.refused / (double)t.offered);
        if ((double)t.in_time < 0.85 * (double)t.best) {
            printf("1 failed: too far from the best\n");
            return 1;
        }
    }
    printf("%zu passed, 0 failed\n", sizeof(shapes) / sizeof(shapes[0]));
    return 0;
}
