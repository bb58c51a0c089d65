/* Random worlds with faults: lanes lost in the middle of batches, completions that come late or
 * never, batches of ten times their time, clients gone, drains, re-additions, models changed and
 * removed, lanes that serve others from now on. Then the faults end and the backlog must drain in
 * bounded time. The checker of world.c looks at every promise after every event. Arguments: first
 * seed and count; a failing seed prints itself. */
#include <stdio.h>
#include <stdlib.h>

#include "../seeds.h"
#include "world.h"

#define MS 1000000ULL

typedef struct scenario {
    world_t *w;
    gpulet_rng_t *rng;
    uint32_t models, lanes;
    bool known[WORLD_MODELS];
} scenario_t;

static uint32_t below(scenario_t *s, uint32_t bound)
{
    return (uint32_t)gpulet_rng_below(s->rng, bound);
}

static bool chance(scenario_t *s, double p)
{
    return gpulet_rng_f64(s->rng) < p;
}

static void set_model(scenario_t *s, uint32_t model)
{
    static const uint64_t slos[] = {0, 5, 20, 60, 300};
    static const double offs[] = {1.0, 1.0, 1.0, 0.0, 10.0, 0.1};
    gpulet_sched_model_t value = {.slo_ns = slos[below(s, 5)] * MS,
                                  .priority = below(s, 3),
                                  .batch_max = 1 + below(s, 16),
                                  .batch_fixed = chance(s, 0.2) ? 8 : 0,
                                  .queue_max = chance(s, 0.3) ? 1 + below(s, 20) : 0,
                                  .timeout_ns = chance(s, 0.2) ? 30 * MS : 0,
                                  .late_serve = chance(s, 0.2)};
    if (value.batch_fixed > value.batch_max)
        value.batch_max = value.batch_fixed;
    world_truth_t truth = {1e5 + gpulet_rng_f64(s->rng) * 5e6, 1e4 + gpulet_rng_f64(s->rng) * 2e6,
                           chance(s, 0.5) ? 0.0 : 0.2, offs[below(s, 6)]};
    world_model(s->w, model, &value, &truth);
    s->known[model] = true;
}

/* Some of the models that are known, with planned batches. */
static uint32_t choose(scenario_t *s, uint32_t models[WORLD_SERVICES],
                       uint32_t batches[WORLD_SERVICES])
{
    uint32_t count = 0;
    for (uint32_t m = 0; m < s->models; m++) {
        if (!s->known[m] || !chance(s, 0.6))
            continue;
        models[count] = m;
        batches[count++] = 1 + below(s, 12);
    }
    return count;
}

static void add_lane(scenario_t *s, uint32_t lane)
{
    uint32_t models[WORLD_SERVICES], batches[WORLD_SERVICES];
    uint32_t count = choose(s, models, batches);
    world_lane(s->w, lane, 25 * (1 + below(s, 4)), count, models, batches);
}

static void change_lane(scenario_t *s, uint32_t lane)
{
    uint32_t models[WORLD_SERVICES], batches[WORLD_SERVICES];
    uint32_t count = choose(s, models, batches);
    world_serve(s->w, lane, count, models, batches);
}

static void arrive(scenario_t *s)
{
    gpulet_sched_request_t r = {.model = below(s, s->models)};
    r.items = chance(s, 0.8) ? 1 : 1 + below(s, 6);
    r.timeout_ns = chance(s, 0.1) ? (1 + below(s, 40)) * MS : 0;
    r.priority_given = chance(s, 0.1);
    r.priority = below(s, 20);
    r.shape_key = chance(s, 0.8) ? 0 : below(s, 3);
    r.size_class = r.shape_key == 0 ? 0 : 3 + (uint32_t)r.shape_key;
    uint64_t ago = chance(s, 0.1) ? below(s, 10000000) : 0;
    r.arrival_ns = world_now(s->w) - ago;
    world_arrive(s->w, &r);
}

static void fault(scenario_t *s)
{
    uint32_t lane = below(s, s->lanes), model = below(s, s->models);
    switch (below(s, 11)) {
    case 0:
        if (world_lane_there(s->w, lane))
            world_lose(s->w, lane, chance(s, 0.5));
        break;
    case 1:
        if (world_lane_there(s->w, lane) && !world_lane_draining(s->w, lane))
            world_drain(s->w, lane);
        break;
    case 2:
    case 3:
    case 4:
        if (!world_lane_there(s->w, lane))
            add_lane(s, lane);
        break;
    case 5:
        set_model(s, model);
        break;
    case 6:
        if (chance(s, 0.3) && s->known[model]) {
            world_model_remove(s->w, model);
            s->known[model] = false;
        }
        break;
    case 7:
    case 8:
        if (world_lane_there(s->w, lane) && !world_lane_draining(s->w, lane))
            change_lane(s, lane);
        break;
    case 9:
        world_slow(s->w, chance(s, 0.3) ? 10 : 1);
        break;
    default:
        world_faults(s->w, chance(s, 0.3) ? 0.1 : 0, chance(s, 0.3) ? 0.1 : 0);
        break;
    }
}

static void disturb(scenario_t *s)
{
    uint32_t steps = 30 + below(s, 200);
    uint64_t gap = (uint64_t[]){100000, 500000, 2000000, 8000000}[below(s, 4)];
    for (uint32_t i = 0; i < steps; i++) {
        uint32_t burst = chance(s, 0.1) ? 20 : 1;
        for (uint32_t j = 0; j < burst; j++)
            arrive(s);
        if (chance(s, 0.1))
            world_cancel_any(s->w, below(s, world_requests(s->w)));
        if (chance(s, 0.08))
            fault(s);
        world_run(s->w, world_now(s->w) + below(s, (uint32_t)(2 * gap)));
    }
}

static uint64_t run_seed(uint64_t seed)
{
    gpulet_sched_options_t options = {WORLD_MODELS, WORLD_LANES, 64 + (uint32_t)(seed % 3) * 200,
                                      500000, 200000};
    scenario_t s = {.w = world_create(seed, &options)};
    s.rng = world_rng(s.w);
    s.models = 1 + below(&s, 4);
    s.lanes = 1 + below(&s, 4);
    for (uint32_t m = 0; m < s.models; m++)
        set_model(&s, m);
    for (uint32_t l = 0; l < s.lanes; l++)
        add_lane(&s, l);
    disturb(&s);
    world_slow(s.w, 1);
    world_faults(s.w, 0, 0);
    if (seed % 4 == 0)
        world_shutdown(s.w, seed % 8 == 0);
    for (uint32_t l = 0; l < s.lanes; l++) {
        if (!world_lane_there(s.w, l))
            add_lane(&s, l);
    }
    uint32_t all[WORLD_SERVICES], ones[WORLD_SERVICES], count = 0;
    for (uint32_t m = 0; m < s.models; m++) {
        if (s.known[m]) {
            all[count] = m;
            ones[count++] = 1;
        }
    }
    world_lane(s.w, WORLD_LANES - 1, 100, count, all, ones);
    if (!world_settle(s.w, 120000 * MS)) {
        fprintf(stderr, "seed=0x%llx: the backlog does not drain\n", (unsigned long long)seed);
        abort();
    }
    world_check_ended(s.w);
    uint64_t hash = world_hash(s.w);
    world_destroy(s.w);
    return hash;
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 0) : 4000;
    seeds_choose(&first, &count);
    for (uint64_t seed = first; seed < first + count; seed++) {
        uint64_t hash = run_seed(seed);
        if (seed % 50 == 0 && run_seed(seed) != hash) {
            fprintf(stderr, "seed=0x%llx: the same events gave other actions\n",
                    (unsigned long long)seed);
            return 1;
        }
        if (seed == first)
            printf("seed=0x%llx trace=%016llx\n", (unsigned long long)seed,
                   (unsigned long long)hash);
    }
    printf("%llu passed, 0 failed\n", (unsigned long long)count);
    return 0;
}
