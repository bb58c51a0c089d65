/* How well the brain serves, in virtual time. The figures are printed: they are what the promises
 * of the batch rule and of admission are worth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "world.h"

#define MS     1000000ULL
#define SECOND 1000000000ULL

static const gpulet_sched_options_t options = {.models_max = WORLD_MODELS,
                                               .lanes_max = WORLD_LANES,
                                               .requests_max = 8192,
                                               .commit_ahead_ns = 500000,
                                               .overhead_ns = 200000};
static const world_truth_t resnet = {4e6, 3.6e6, 0.05, 1.0};
static const world_truth_t lenet = {1e5, 2e4, 0.05, 1.0};

static gpulet_sched_model_t model_of(uint64_t slo_ms, uint32_t batch_max)
{
    return (gpulet_sched_model_t){.slo_ns = slo_ms * MS, .batch_max = batch_max};
}

static double attainment(const world_t *w, uint32_t model)
{
    const world_stats_t *s = world_stats(w, model);
    return s->offered == 0 ? 1.0 : (double)s->in_time / (double)s->offered;
}

static double goodput(const world_t *w, uint32_t model, double seconds)
{
    return (double)world_stats(w, model)->in_time / seconds;
}

static void print_line(const char *what, double load, const world_t *w, uint32_t model,
                       double seconds)
{
    const world_stats_t *s = world_stats(w, model);
    printf("%-34s load %.2f: attainment %.4f goodput %8.1f/s late %5.2f%% dropped %5.2f%% refused "
           "%5.2f%% "
           "mean batch %.1f\n",
           what, load, attainment(w, model), goodput(w, model, seconds),
           100.0 * (double)s->late / (double)s->offered,
           100.0 * (double)s->dropped / (double)s->offered,
           100.0 * (double)(s->rejected - s->dropped) / (double)s->offered,
           (double)s->items / (double)(s->batches > 0 ? s->batches : 1));
}

/* Long enough for a steady figure, short enough for many requests. */
static uint64_t seconds_of(double rate)
{
    return rate > 5000 ? 5 : 60;
}

/* One model alone on one lane, at a rate, after 5 s of warming up. */
static world_t *alone(uint64_t seed, const gpulet_sched_model_t *model, const world_truth_t *truth,
                      uint32_t planned, double rate)
{
    world_t *w = world_create(seed, &options);
    uint32_t models[1] = {0}, batches[1] = {planned};
    double rates[WORLD_MODELS] = {rate};
    world_model(w, 0, model, truth);
    world_lane(w, 0, 100, 1, models, batches);
    world_poisson(w, rates, world_now(w) + (rate > 5000 ? 1 : 5) * SECOND);
    assert_true(world_settle(w, 10 * SECOND));
    world_stats_clear(w);
    world_poisson(w, rates, world_now(w) + seconds_of(rate) * SECOND);
    assert_true(world_settle(w, 10 * SECOND));
    return w;
}

/* The largest batch with two runs within the SLO, and what it serves a second. */
static double capacity(const world_truth_t *t, double slo_ns, uint32_t batch_max, uint32_t *batch)
{
    *batch = 1;
    while (*batch < batch_max && 2 * (t->fixed_ns + t->each_ns * (*batch + 1)) <= slo_ns)
        ++*batch;
    return *batch / (t->fixed_ns + t->each_ns * *batch) * 1e9;
}

static void overload_of(const char *name, uint64_t slo_ms, uint32_t batch_max,
                        const world_truth_t *truth)
{
    static const double loads[] = {0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0};
    gpulet_sched_model_t model = model_of(slo_ms, batch_max);
    uint32_t batch;
    double cap = capacity(truth, (double)model.slo_ns, batch_max, &batch);
    double peak = 0, last = 0;
    for (uint32_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        world_t *w = alone(100 + i, &model, truth, batch, cap * loads[i]);
        double seconds = (double)seconds_of(cap * loads[i]);
        print_line(name, loads[i], w, 0, seconds);
        last = goodput(w, 0, seconds);
        peak = last > peak ? last : peak;
        world_destroy(w);
    }
    printf("%-34s goodput at 3x is %.3f of its peak (capacity %.1f/s, batch %u)\n", name,
           last / peak, cap, batch);
    assert_true(last >= 0.9 * peak);
    assert_true(peak >= 0.9 * cap);
}

static void overload_keeps_nine_tenths_of_the_peak_goodput(void **state)
{
    (void)state;
    overload_of("resnet slo 300 batch 32", 300, 32, &resnet);
    overload_of("resnet slo 300 batch 8", 300, 8, &resnet);
    overload_of("resnet slo 60 batch 32", 60, 32, &resnet);
    overload_of("lenet slo 10 batch 32", 10, 32, &lenet);
}

/* Overload on a lane whose speed wanders by half and whose every run is off by up to a fifth: what
 * is refused is refused at arrival, all but one in a hundred, and the lane gives its best. */
static void overload_of_a_restless_lane(const char *name, uint64_t slo_ms, uint32_t batch_max,
                                        const world_truth_t *truth)
{
    static const double loads[] = {0.8, 1.0, 1.5, 3.0};
    gpulet_sched_model_t model = model_of(slo_ms, batch_max);
    uint32_t batch;
    double cap = capacity(truth, (double)model.slo_ns, batch_max, &batch);
    double peak = 0, last = 0, dropped = 0;
    for (uint32_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        world_t *w = world_create(500 + i, &options);
        uint32_t models[1] = {0}, batches[1] = {batch};
        double rates[WORLD_MODELS] = {cap * loads[i]};
        uint64_t seconds = seconds_of(rates[0]), step = seconds * SECOND / 100;
        gpulet_rng_t wander; /* the same for every load */
        double speed = 1;
        gpulet_rng_init(&wander, 99);
        world_model(w, 0, &model, truth);
        world_lane(w, 0, 100, 1, models, batches);
        for (int k = 0; k < 120; k++) {
            speed *= 0.9 + 0.2 * gpulet_rng_f64(&wander);
            speed = speed < 0.75 ? 0.75 : speed > 1.5 ? 1.5 : speed;
            world_slow(w, speed);
            if (k == 20)
                world_stats_clear(w);
            world_poisson(w, rates, world_now(w) + step);
        }
        print_line(name, loads[i], w, 0, (double)seconds);
        const world_stats_t *s = world_stats(w, 0);
        last = goodput(w, 0, (double)seconds);
        peak = last > peak ? last : peak;
        dropped = (double)s->dropped / (double)(s->rejected + 1);
        world_destroy(w);
    }
    printf("%-34s goodput at 3x is %.3f of its peak; %.2f%% of the refusals came late\n", name,
           last / peak, 100 * dropped);
    assert_true(last >= 0.9 * peak);
    assert_true(dropped < 0.01);
}

static void overload_of_restless_lanes_is_refused_at_arrival(void **state)
{
    (void)state;
    static const world_truth_t slow = {3e7, 4.5e7, 0.2, 1.0}; /* a large network on one core */
    static const world_truth_t unsteady = {4e6, 3.6e6, 0.2, 1.0};
    static const world_truth_t small = {1e5, 2e4, 0.2, 1.0};
    overload_of_a_restless_lane("restless resnet slo 300 batch 32", 300, 32, &unsteady);
    overload_of_a_restless_lane("restless resnet slo 60 batch 32", 60, 32, &unsteady);
    overload_of_a_restless_lane("restless core slo 500 batch 32", 500, 32, &slow);
    overload_of_a_restless_lane("restless lenet slo 10 batch 32", 10, 32, &small);
}

static void poisson_at_four_fifths_of_capacity_is_in_time(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {8, 16, 32};
    for (uint32_t i = 0; i < 3; i++) {
        gpulet_sched_model_t model = model_of(300, sizes[i]);
        uint32_t batch;
        double cap = capacity(&resnet, 300e6, sizes[i], &batch);
        world_t *w = alone(7 + i, &model, &resnet, batch, 0.8 * cap);
        print_line(sizes[i] == 8    ? "resnet batch 8"
                   : sizes[i] == 16 ? "resnet batch 16"
                                    : "resnet batch 32",
                   0.8, w, 0, 60);
        assert_true(attainment(w, 0) >= 0.99);
        world_destroy(w);
    }
}

static void a_small_model_is_unaffected_by_a_heavy_one_on_another_lane(void **state)
{
    (void)state;
    world_t *w = world_create(11, &options);
    gpulet_sched_model_t light = model_of(10, 32), heavy = model_of(300, 32);
    uint32_t first[1] = {0}, second[1] = {1}, batches[1] = {32};
    world_model(w, 0, &light, &lenet);
    world_model(w, 1, &heavy, &resnet);
    world_lane(w, 0, 100, 1, first, batches);
    world_lane(w, 1, 100, 1, second, batches);
    double rates[WORLD_MODELS] = {2000, 600};
    world_poisson(w, rates, world_now(w) + 30 * SECOND);
    print_line("lenet beside overloaded resnet", 2.2, w, 0, 30);
    print_line("resnet overloaded", 2.2, w, 1, 30);
    assert_true(attainment(w, 0) >= 0.999);
    world_destroy(w);
}

static void two_models_sharing_a_lane_are_both_in_time(void **state)
{
    (void)state;
    static const world_truth_t vgg = {6e6, 4e6, 0.05, 1.0};
    /* Duty cycle 100 ms: resnet 10 (40 ms), vgg 11 (50 ms); worst case 100 + 50 <= 150. Rates:
     * batch / duty. */
    for (int i = 0; i < 2; i++) {
        static const double loads[] = {0.7, 3.0};
        world_t *w = world_create(21, &options);
        gpulet_sched_model_t a = model_of(150, 32), b = model_of(200, 32);
        uint32_t models[2] = {0, 1}, batches[2] = {10, 11};
        world_model(w, 0, &a, &resnet);
        world_model(w, 1, &b, &vgg);
        world_lane(w, 0, 100, 2, models, batches);
        double rates[WORLD_MODELS] = {100 * loads[i], 110 * loads[i]};
        world_poisson(w, rates, world_now(w) + 60 * SECOND);
        print_line("shared lane: resnet slo 150", loads[i], w, 0, 60);
        print_line("shared lane: vgg slo 200", loads[i], w, 1, 60);
        if (i == 0) {
            assert_true(attainment(w, 0) >= 0.99);
            assert_true(attainment(w, 1) >= 0.99);
        } else {
            double total = goodput(w, 0, 60) + goodput(w, 1, 60);
            assert_true(total >= 0.8 * 210);
            assert_true(attainment(w, 0) > 0.1 && attainment(w, 1) > 0.1);
        }
        world_destroy(w);
    }
}

/* Sharing a lane with an overloaded neighbour: the plan gives each its share, and the one within it
 * should hardly suffer. */
static void a_model_within_its_share_survives_an_overloaded_co_resident(void **state)
{
    (void)state;
    static const uint64_t slos[3][2] = {{150, 200}, {200, 150}, {150, 150}};
    for (int i = 0; i < 3; i++) {
        world_t *w = world_create(25, &options);
        gpulet_sched_model_t a = model_of(slos[i][0], 32), b = model_of(slos[i][1], 32);
        uint32_t models[2] = {0, 1}, batches[2] = {10, 10};
        world_model(w, 0, &a, &resnet);
        world_model(w, 1, &b, &resnet);
        world_lane(w, 0, 100, 2, models, batches);
        double rates[WORLD_MODELS] = {60, 400};
        world_poisson(w, rates, world_now(w) + 60 * SECOND);
        printf("slo %llu within its share beside slo %llu overloaded\n",
               (unsigned long long)slos[i][0], (unsigned long long)slos[i][1]);
        print_line("  within its share", 0.6, w, 0, 60);
        print_line("  overloaded", 4, w, 1, 60);
        assert_true(attainment(w, 0) >= 0.95);
        world_destroy(w);
    }
}

/* A light model with a tight SLO on the lane of a heavy one, as the plan may put them. */
static void a_tight_light_model_shares_a_lane_with_a_heavier_one(void **state)
{
    (void)state;
    world_t *w = world_create(27, &options);
    gpulet_sched_model_t light = model_of(50, 32), heavy = model_of(100, 32);
    uint32_t models[2] = {0, 1}, batches[2] = {16, 4};
    world_model(w, 0, &light, &lenet);
    world_model(w, 1, &heavy, &resnet);
    world_lane(w, 0, 100, 2, models, batches);
    double rates[WORLD_MODELS] = {400, 100};
    world_poisson(w, rates, world_now(w) + 60 * SECOND);
    print_line("lenet slo 50 sharing with resnet", 0.7, w, 0, 60);
    print_line("resnet slo 100 sharing with lenet", 0.7, w, 1, 60);
    assert_true(attainment(w, 0) >= 0.99);
    assert_true(attainment(w, 1) >= 0.99);
    world_destroy(w);
}

static void two_lanes_of_a_model_serve_twice_as_much(void **state)
{
    (void)state;
    static const double loads[] = {0.8, 3.0};
    for (int i = 0; i < 2; i++) {
        world_t *w = world_create(31, &options);
        gpulet_sched_model_t a = model_of(300, 32);
        uint32_t models[1] = {0}, batches[1] = {32};
        world_model(w, 0, &a, &resnet);
        world_lane(w, 0, 100, 1, models, batches);
        world_lane(w, 1, 50, 1, models, batches);
        world_lane(w, 2, 100, 1, models, batches);
        /* The half-sized lane: L(17) = 130 ms, two within the SLO. */
        double cap = 2 * 268.0 + 17 / 0.1304;
        double rates[WORLD_MODELS] = {cap * loads[i]};
        world_poisson(w, rates, world_now(w) + 60 * SECOND);
        print_line("resnet on lanes of 100, 50, 100", loads[i], w, 0, 60);
        if (i == 0)
            assert_true(attainment(w, 0) >= 0.99);
        else
            assert_true(goodput(w, 0, 60) >= 0.85 * cap);
        world_destroy(w);
    }
}

static void a_profile_ten_times_wrong_heals(void **state)
{
    (void)state;
    static const double offs[] = {10.0, 0.1, 0.0};
    for (int i = 0; i < 3; i++) {
        world_t *w = world_create(41, &options);
        gpulet_sched_model_t a = model_of(60, 16);
        world_truth_t truth = resnet;
        truth.profile_off = offs[i];
        uint32_t models[1] = {0}, batches[1] = {4};
        world_model(w, 0, &a, &truth);
        world_lane(w, 0, 100, 1, models, batches);
        double rates[WORLD_MODELS] = {100};
        uint64_t start = world_now(w), healed = 0, batches_till = 0;
        for (int step = 0; step < 400 && healed == 0; step++) {
            world_poisson(w, rates, world_now(w) + 50 * MS);
            double e = (double)gpulet_sched_estimate_ns(world_sched(w), 0, 0, 1) / 7.6e6;
            if (e > 0.7 && e < 1.4) {
                healed = world_now(w) - start;
                batches_till = world_stats(w, 0)->batches;
            }
        }
        world_run(w, world_now(w) + SECOND);
        world_stats_clear(w);
        world_poisson(w, rates, world_now(w) + 20 * SECOND);
        printf("profile x %.1f: healed after %.2f s and %llu batches; attainment after %.4f\n",
               offs[i], (double)healed / 1e9, (unsigned long long)batches_till, attainment(w, 0));
        assert_true(healed != 0 && batches_till <= 60);
        assert_true(attainment(w, 0) >= 0.97);
        world_destroy(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overload_keeps_nine_tenths_of_the_peak_goodput),
        cmocka_unit_test(overload_of_restless_lanes_is_refused_at_arrival),
        cmocka_unit_test(poisson_at_four_fifths_of_capacity_is_in_time),
        cmocka_unit_test(a_small_model_is_unaffected_by_a_heavy_one_on_another_lane),
        cmocka_unit_test(two_models_sharing_a_lane_are_both_in_time),
        cmocka_unit_test(a_model_within_its_share_survives_an_overloaded_co_resident),
        cmocka_unit_test(a_tight_light_model_shares_a_lane_with_a_heavier_one),
        cmocka_unit_test(two_lanes_of_a_model_serve_twice_as_much),
        cmocka_unit_test(a_profile_ten_times_wrong_heals),
    };
    return cmocka_run_group_tests_name("prop.sched.figures", tests, NULL, NULL);
}
