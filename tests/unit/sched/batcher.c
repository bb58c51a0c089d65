#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sched/batcher.h"

#define MS 1000000ULL

/* L(b) = 10 + b ms: a batch of one costs eleven times its share of a large one. */
static sched_estimate_t estimate;
static sched_curve_t curve;
static sched_batcher_t rule;

static int set_up(void **state)
{
    (void)state;
    uint64_t exec[64];
    for (uint32_t b = 1; b <= 64; b++)
        exec[b - 1] = (10 + b) * MS;
    memset(&estimate, 0, sizeof(estimate));
    sched_estimate_profile(&estimate, exec, 64);
    curve = sched_curve(&estimate, 0, 0);
    rule = (sched_batcher_t){&curve, 0, 16, 16, 256, 1};
    return 0;
}

static void assert_choice(sched_choice_t choice, uint32_t first, uint32_t count)
{
    assert_int_equal(choice.first, first);
    assert_int_equal(choice.count, count);
}

static void takes_all_when_all_are_in_time(void **state)
{
    (void)state;
    sched_candidate_t c[3] = {{1, 20 * MS}, {1, 30 * MS}, {1, 40 * MS}};
    assert_choice(sched_batcher_choose(&rule, c, 3), 0, 3);
}

static void a_tight_head_makes_a_small_batch_when_the_rest_can_wait(void **state)
{
    (void)state;
    sched_candidate_t c[4] = {{1, 11 * MS}, {1, 60 * MS}, {1, 60 * MS}, {1, 60 * MS}};
    assert_choice(sched_batcher_choose(&rule, c, 4), 0, 1);
}

static void a_tight_head_is_passed_over_when_it_would_cost_more_than_itself(void **state)
{
    (void)state;
    sched_candidate_t c[4] = {{1, 11 * MS}, {1, 20 * MS}, {1, 20 * MS}, {1, 20 * MS}};
    assert_choice(sched_batcher_choose(&rule, c, 4), 1, 3);
}

static void equal_loss_drops_nobody_now(void **state)
{
    (void)state;
    sched_candidate_t c[2] = {{1, 11 * MS}, {1, 13 * MS}};
    assert_choice(sched_batcher_choose(&rule, c, 2), 0, 1);
}

static void never_more_than_the_limits(void **state)
{
    (void)state;
    sched_candidate_t c[40];
    for (int i = 0; i < 40; i++)
        c[i] = (sched_candidate_t){1, UINT64_MAX};
    assert_choice(sched_batcher_choose(&rule, c, 40), 0, 16);
    rule.count_max = 5;
    assert_choice(sched_batcher_choose(&rule, c, 40), 0, 5);
}

static void requests_are_indivisible(void **state)
{
    (void)state;
    sched_candidate_t c[3] = {{6, UINT64_MAX}, {6, UINT64_MAX}, {6, UINT64_MAX}};
    sched_choice_t choice = sched_batcher_choose(&rule, c, 3);
    assert_choice(choice, 0, 2);
    assert_int_equal(choice.items, 12);
}

static void more_items_than_planned_run_alone(void **state)
{
    (void)state;
    rule.alone_above = 4;
    sched_candidate_t c[3] = {{6, UINT64_MAX}, {1, UINT64_MAX}, {1, UINT64_MAX}};
    assert_choice(sched_batcher_choose(&rule, c, 3), 0, 1);
    sched_candidate_t d[3] = {{1, UINT64_MAX}, {1, UINT64_MAX}, {6, UINT64_MAX}};
    assert_choice(sched_batcher_choose(&rule, d, 3), 0, 2);
}

static void a_lower_priority_with_a_tighter_deadline_is_not_made_late(void **state)
{
    (void)state;
    sched_candidate_t c[3] = {{1, 60 * MS}, {1, 12 * MS}, {1, 60 * MS}};
    assert_choice(sched_batcher_choose(&rule, c, 3), 0, 2);
}

static void many_lanes_share_what_is_left(void **state)
{
    (void)state;
    sched_candidate_t c[4] = {{1, 11 * MS}, {1, 20 * MS}, {1, 20 * MS}, {1, 20 * MS}};
    rule.lanes = 4;
    assert_choice(sched_batcher_choose(&rule, c, 4), 0, 1); /* Another lane is free soon enough. */
}

static void counts_the_misses(void **state)
{
    (void)state;
    sched_candidate_t c[4] = {{1, 5 * MS}, {1, 20 * MS}, {1, 22 * MS}, {1, 100 * MS}};
    assert_int_equal(sched_batcher_misses(&rule, c, 4, 0, 0), 1);
    assert_int_equal(sched_batcher_misses(&rule, c, 4, 0, 15 * MS), 3);
    assert_int_equal(sched_batcher_misses(&rule, c, 4, 4, 0), 0);
}

/* Under overload every head is tight: the tightest deadline first would serve one by one. */
static void a_backlog_of_tight_heads_gives_a_full_batch(void **state)
{
    (void)state;
    sched_candidate_t c[60];
    for (uint32_t i = 0; i < 60; i++)
        c[i] = (sched_candidate_t){1, 11 * MS + i * MS / 2};
    sched_choice_t choice = sched_batcher_choose(&rule, c, 60);
    assert_true(choice.first > 0);
    assert_true(choice.count >= 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(takes_all_when_all_are_in_time, set_up),
        cmocka_unit_test_setup(a_tight_head_makes_a_small_batch_when_the_rest_can_wait, set_up),
        cmocka_unit_test_setup(a_tight_head_is_passed_over_when_it_would_cost_more_than_itself,
                               set_up),
        cmocka_unit_test_setup(equal_loss_drops_nobody_now, set_up),
        cmocka_unit_test_setup(never_more_than_the_limits, set_up),
        cmocka_unit_test_setup(requests_are_indivisible, set_up),
        cmocka_unit_test_setup(more_items_than_planned_run_alone, set_up),
        cmocka_unit_test_setup(a_lower_priority_with_a_tighter_deadline_is_not_made_late, set_up),
        cmocka_unit_test_setup(many_lanes_share_what_is_left, set_up),
        cmocka_unit_test_setup(counts_the_misses, set_up),
        cmocka_unit_test_setup(a_backlog_of_tight_heads_gives_a_full_batch, set_up),
    };
    return cmocka_run_group_tests_name("sched.batcher", tests, NULL, NULL);
}
