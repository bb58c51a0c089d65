/* Following the load: what is seen of rates, when a plan is wanted, and when one is worth it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>

#include "base/rng.h"
#include "sched/follow.h"
#include "sched/rates.h"

#define S UINT64_C(1000000000)

enum { MODELS = 4 };

typedef struct load {
    gpulet_follow_t *follow;
    gpulet_rng_t rng;
    uint64_t now_ns;
    double next_ns[MODELS];
    double rates[MODELS];
    uint32_t wanted[GPULET_FOLLOW_COUNT];
    uint32_t adopted;
    double cost; /* of the plans that are offered */
    double gap_rps;
    double part; /* of what is planned for that they cover */
} load_t;

static void begin(load_t *l, uint64_t seed, const gpulet_follow_options_t *options)
{
    *l = (load_t){.now_ns = S, .part = 1.3, .cost = 1};
    gpulet_rng_init(&l->rng, seed);
    assert_int_equal(gpulet_follow_create(&l->follow, options, MODELS), GPULET_OK);
    assert_int_equal(gpulet_follow_tick(l->follow, l->now_ns), GPULET_FOLLOW_NONE);
}

/* From now on the model is asked at this rate. */
static void ask_for(load_t *l, uint32_t model, double rate)
{
    l->rates[model] = rate;
    l->next_ns[model] =
        rate > 0 ? (double)l->now_ns + gpulet_rng_exponential(&l->rng, 1e9 / rate) : HUGE_VAL;
}

static void offer(load_t *l)
{
    double covers[MODELS];
    gpulet_follow_rate_t rate;
    for (uint32_t m = 0; m < MODELS; m++) {
        gpulet_follow_rate(l->follow, m, &rate);
        covers[m] = rate.planned_rps * l->part;
    }
    gpulet_follow_plan_t plan = {covers, MODELS, l->cost, l->gap_rps};
    if (!gpulet_follow_answered(l->follow, l->now_ns, &plan))
        return;
    l->adopted++;
    gpulet_follow_reached(l->follow, l->now_ns, S / 2, &plan);
}

/* Lives through so many seconds; every plan that is wanted is offered at once. */
static void live(load_t *l, double seconds)
{
    uint64_t end_ns = l->now_ns + (uint64_t)(seconds * 1e9);
    while (l->now_ns < end_ns) {
        l->now_ns = gpulet_follow_next_ns(l->follow);
        for (uint32_t m = 0; m < MODELS; m++) {
            while (l->rates[m] > 0 && l->next_ns[m] <= (double)l->now_ns) {
                gpulet_follow_arrived(l->follow, m, 1);
                l->next_ns[m] += gpulet_rng_exponential(&l->rng, 1e9 / l->rates[m]);
            }
        }
        gpulet_follow_reason_t reason = gpulet_follow_tick(l->follow, l->now_ns);
        l->wanted[reason]++;
        if (reason != GPULET_FOLLOW_NONE)
            offer(l);
    }
}

static gpulet_follow_rate_t rate_of(const load_t *l, uint32_t model)
{
    gpulet_follow_rate_t rate;
    gpulet_follow_rate(l->follow, model, &rate);
    return rate;
}

static void end(load_t *l)
{
    gpulet_follow_destroy(l->follow);
}

static void noise_moves_no_plan(void **state)
{
    static const double rates[] = {0.3, 5, 80, 1200};
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        load_t l;
        begin(&l, seed, NULL);
        for (uint32_t m = 0; m < MODELS; m++) {
            gpulet_follow_model_add(l.follow, m, rates[m]);
            ask_for(&l, m, rates[m]);
        }
        gpulet_follow_ask(l.follow, GPULET_FOLLOW_START);
        live(&l, 60);
        uint32_t settled = l.adopted;
        assert_true(settled >= 1 && settled <= 3);
        live(&l, 1200);
        if (l.adopted > settled + 2) {
            print_error("seed %llu: %u plans on a steady load\n", (unsigned long long)seed,
                        l.adopted - settled);
            fail();
        }
        end(&l);
    }
}

static void a_jump_is_seen_within_two_samples_and_planned_for(void **state)
{
    load_t l;
    (void)state;
    begin(&l, 7, NULL);
    gpulet_follow_model_add(l.follow, 0, 100);
    ask_for(&l, 0, 100);
    gpulet_follow_ask(l.follow, GPULET_FOLLOW_START);
    live(&l, 30);
    assert_true(fabs(rate_of(&l, 0).now_rps - 100) < 15);
    uint32_t before = l.adopted;
    ask_for(&l, 0, 300);
    live(&l, 1);
    assert_int_equal(l.wanted[GPULET_FOLLOW_BURST], 1);
    assert_int_equal(l.adopted, before + 1);
    live(&l, 3);
    assert_true(rate_of(&l, 0).now_rps > 250 && rate_of(&l, 0).covered_rps > 280);
    assert_true(rate_of(&l, 0).average_rps < 200); /* the average takes its time */
    ask_for(&l, 0, 20);
    live(&l, 3);
    assert_true(rate_of(&l, 0).now_rps < 40); /* down as quickly, though nothing hurries */
    end(&l);
}

static void a_rise_is_planned_ahead(void **state)
{
    load_t l;
    (void)state;
    begin(&l, 3, NULL);
    gpulet_follow_model_add(l.follow, 0, 100);
    for (int i = 0; i < 6; i++) {
        ask_for(&l, 0, 100 + 50 * i);
        live(&l, 10);
        l.part = 2; /* so that no burst comes between */
    }
    double now = rate_of(&l, 0).now_rps;
    assert_true(rate_of(&l, 0).planned_rps > now + 40); /* 5 a second each second, for 20 s */
    ask_for(&l, 0, 350);
    live(&l, 60);
    assert_true(rate_of(&l, 0).planned_rps < 400); /* it goes on no more */
    end(&l);
}

static void fewer_devices_are_found_twice_before_they_count(void **state)
{
    load_t l;
    (void)state;
    begin(&l, 5, NULL);
    gpulet_follow_model_add(l.follow, 0, 200);
    ask_for(&l, 0, 200);
    l.cost = 3;
    gpulet_follow_ask(l.follow, GPULET_FOLLOW_START);
    live(&l, 10);
    assert_int_equal(l.adopted, 1);
    ask_for(&l, 0, 50);
    l.cost = 1;
    live(&l, 20);
    assert_int_equal(l.adopted, 1);
    live(&l, 21);
    assert_int_equal(l.adopted, 2);
    l.cost = 2; /* covers as much on more devices */
    live(&l, 100);
    assert_int_equal(l.adopted, 2);
    end(&l);
}

static void a_gap_on_the_way_must_pay(void **state)
{
    load_t l;
    (void)state;
    begin(&l, 9, NULL);
    gpulet_follow_model_add(l.follow, 0, 100);
    ask_for(&l, 0, 100);
    gpulet_follow_ask(l.follow, GPULET_FOLLOW_START);
    live(&l, 5);
    l.gap_rps = 10; /* half a second of it */
    ask_for(&l, 0, 300);
    live(&l, 5);
    assert_int_equal(l.adopted, 2); /* twenty seconds of about 150 more */
    l.gap_rps = 50000;
    ask_for(&l, 0, 900);
    live(&l, 60);
    assert_int_equal(l.adopted, 2);
    l.gap_rps = 0;
    live(&l, 30);
    assert_int_equal(l.adopted, 3);
    l.gap_rps = 0.1;
    l.cost = 0.5;
    for (int i = 0; i < 4; i++) {
        ask_for(&l, 0, 700 - 50 * i);
        live(&l, 25);
    }
    assert_int_equal(l.adopted, 3); /* fewer devices are not worth any */
    l.gap_rps = 0;
    ask_for(&l, 0, 450);
    live(&l, 50);
    assert_int_equal(l.adopted, 4);
    end(&l);
}

static void what_cannot_be_helped_is_tried_less_and_less(void **state)
{
    load_t l;
    (void)state;
    begin(&l, 11, NULL);
    gpulet_follow_model_add(l.follow, 0, 100);
    ask_for(&l, 0, 100);
    gpulet_follow_ask(l.follow, GPULET_FOLLOW_START);
    live(&l, 5);
    ask_for(&l, 0, 1000);
    l.part = 0.1; /* no plan covers that */
    live(&l, 100);
    uint32_t bursts = l.wanted[GPULET_FOLLOW_BURST];
    assert_true(bursts >= 3 && bursts <= 10);
    assert_int_equal(l.adopted, 1);
    end(&l);
}

static void one_plan_at_a_time_and_other_reasons_count_always(void **state)
{
    load_t l;
    (void)state;
    begin(&l, 1, NULL);
    gpulet_follow_model_add(l.follow, 1, 10);
    gpulet_follow_pin(l.follow, 1, 10);
    gpulet_follow_ask(l.follow, GPULET_FOLLOW_MODELS);
    gpulet_follow_ask(l.follow, GPULET_FOLLOW_START); /* the more urgent stays */
    assert_int_equal(gpulet_follow_tick(l.follow, 2 * S), GPULET_FOLLOW_MODELS);
    gpulet_follow_ask(l.follow, GPULET_FOLLOW_LOST);
    assert_int_equal(gpulet_follow_tick(l.follow, 3 * S), GPULET_FOLLOW_NONE);
    double covers[] = {0, 1};
    gpulet_follow_plan_t plan = {covers, 2, 1, 0};
    assert_true(gpulet_follow_answered(l.follow, 3 * S, &plan)); /* though it covers too little */
    assert_int_equal(gpulet_follow_tick(l.follow, 4 * S), GPULET_FOLLOW_LOST);
    assert_false(gpulet_follow_answered(l.follow, 4 * S, NULL));
    gpulet_follow_reached(l.follow, 5 * S, S, &plan);
    assert_true(rate_of(&l, 1).covered_rps == 1);
    assert_true(gpulet_follow_headroom(l.follow) < 0.2);
    assert_true(gpulet_follow_shortfall(l.follow) > 0.8);
    end(&l);
}

static void what_comes_in_bursts_is_planned_wider(void **state)
{
    load_t l;
    gpulet_rng_t rng;
    (void)state;
    begin(&l, 4, NULL);
    gpulet_rng_init(&rng, 4);
    gpulet_follow_model_add(l.follow, 0, 20);
    gpulet_follow_model_add(l.follow, 1, 20);
    for (uint32_t i = 0; i < 240;
         i++) { /* both 20 a second; the second all at once, now and then */
        gpulet_follow_arrived(l.follow, 0, 10);
        if (gpulet_rng_below(&rng, 8) == 0)
            gpulet_follow_arrived(l.follow, 1, 80);
        (void)gpulet_follow_tick(l.follow, gpulet_follow_next_ns(l.follow));
    }
    assert_true(rate_of(&l, 0).planned_rps < 25);
    assert_true(rate_of(&l, 1).now_rps > 8 && rate_of(&l, 1).now_rps < 40);
    assert_true(rate_of(&l, 1).planned_rps > 50); /* a burst of 80 within half a second or two */
    end(&l);
}

static void a_pinned_rate_is_what_is_planned_for(void **state)
{
    load_t l;
    (void)state;
    begin(&l, 2, NULL);
    gpulet_follow_model_add(l.follow, 2, 10);
    gpulet_follow_pin(l.follow, 2, 70);
    ask_for(&l, 2, 500);
    live(&l, 20);
    assert_true(rate_of(&l, 2).planned_rps == 70 && rate_of(&l, 2).now_rps > 400);
    assert_int_equal(l.wanted[GPULET_FOLLOW_BURST], 0);
    gpulet_follow_pin(l.follow, 2, NAN);
    live(&l, 1);
    assert_true(rate_of(&l, 2).planned_rps > 400);
    gpulet_follow_model_remove(l.follow, 2);
    gpulet_follow_model_remove(l.follow, 2);
    assert_true(rate_of(&l, 2).planned_rps == 0);
    live(&l, 2);
    assert_true(gpulet_follow_headroom(l.follow) == HUGE_VAL);
    end(&l);
}

/* The constants of the published prototype: half a second, 40 samples. */
/* What is new is expected beside what is seen, until it is seen that it does not come. */
static void more_is_expected_of_a_model_until_it_does_not_come(void **state)
{
    (void)state;
    load_t l;
    gpulet_follow_rate_t before;
    gpulet_follow_rate_t rate;
    begin(&l, 11, NULL);
    gpulet_follow_model_add(l.follow, 1, 50);
    ask_for(&l, 1, 50);
    live(&l, 40);
    gpulet_follow_rate(l.follow, 1, &before);
    gpulet_follow_model_raise(l.follow, 1, 100);
    gpulet_follow_model_raise(l.follow, 2, 100);
    gpulet_follow_rate(l.follow, 2, &rate);
    assert_true(rate.planned_rps == 0); /* nobody follows it */
    gpulet_follow_rate(l.follow, 1, &rate);
    assert_true(fabs(rate.now_rps - before.now_rps - 100) < 1e-9);
    assert_true(rate.planned_rps > before.planned_rps + 99);
    live(&l, 4);
    gpulet_follow_rate(l.follow, 1, &rate);
    assert_true(rate.now_rps < 80);
    end(&l);
}

static void the_average_is_that_of_the_prototype(void **state)
{
    load_t l;
    (void)state;
    begin(&l, 2, NULL);
    gpulet_follow_model_add(l.follow, 0, 100);
    double expected = 100;
    for (uint32_t i = 0; i < 10; i++) {
        gpulet_follow_arrived(l.follow, 0, 10 * i);
        (void)gpulet_follow_tick(l.follow, gpulet_follow_next_ns(l.follow));
        expected += 2.0 / 41 * (20.0 * i - expected);
    }
    assert_true(fabs(rate_of(&l, 0).average_rps - expected) < 1e-9);
    end(&l);
}

static void a_late_tick_spreads_what_came_over_its_samples(void **state)
{
    load_t l;
    (void)state;
    begin(&l, 2, NULL);
    gpulet_follow_model_add(l.follow, 0, 0);
    gpulet_follow_arrived(l.follow, 0, 1000);
    (void)gpulet_follow_tick(l.follow, 101 * S); /* 100 s in one */
    assert_true(fabs(rate_of(&l, 0).now_rps - 10) < 0.5);
    assert_true(gpulet_follow_next_ns(l.follow) > 101 * S);
    end(&l);
}

static void quantiles_of_the_normal_distribution(void **state)
{
    (void)state;
    assert_true(fabs(sched_normal_quantile(0.975) - 1.959963985) < 1e-6);
    assert_true(fabs(sched_normal_quantile(0.999) - 3.090232306) < 1e-6);
    assert_true(sched_normal_quantile(0.5) < 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noise_moves_no_plan),
        cmocka_unit_test(a_jump_is_seen_within_two_samples_and_planned_for),
        cmocka_unit_test(a_rise_is_planned_ahead),
        cmocka_unit_test(fewer_devices_are_found_twice_before_they_count),
        cmocka_unit_test(a_gap_on_the_way_must_pay),
        cmocka_unit_test(what_cannot_be_helped_is_tried_less_and_less),
        cmocka_unit_test(one_plan_at_a_time_and_other_reasons_count_always),
        cmocka_unit_test(what_comes_in_bursts_is_planned_wider),
        cmocka_unit_test(a_pinned_rate_is_what_is_planned_for),
        cmocka_unit_test(more_is_expected_of_a_model_until_it_does_not_come),
        cmocka_unit_test(the_average_is_that_of_the_prototype),
        cmocka_unit_test(a_late_tick_spreads_what_came_over_its_samples),
        cmocka_unit_test(quantiles_of_the_normal_distribution),
    };
    return cmocka_run_group_tests_name("sched.follow", tests, NULL, NULL);
}
