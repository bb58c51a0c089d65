/* The rules by which a free lane chooses: order across models, protection of co-residents, turns,
 * late serving, probes. */
#include "fixture.h"

static const gpulet_sched_request_t first = {.model = 0}, second = {.model = 1},
                                    third = {.model = 2};

/* Occupies lane 0 with one request of model 0 from 1 to 11 ms. */
static uint64_t occupied(fixture_t *f, uint32_t services)
{
    add_lane(f, 1, 0, services, 9, 8);
    arrive(f, 1, 1000, first);
    return sent(f, 0, 1);
}

static void the_earliest_deadline_goes_first_across_models(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 200 * MS});
    set_model(f, 1, (gpulet_sched_model_t){.slo_ns = 100 * MS});
    uint64_t batch = occupied(f, 2);
    arrive(f, 2, 1, first);
    arrive(f, 3, 2, second);
    done(f, 11, batch);
    sent(f, 1, 1);
}

static void priority_beats_the_deadline_and_best_effort_comes_last(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 0});
    set_model(f, 1, (gpulet_sched_model_t){.slo_ns = 100 * MS, .priority = 3});
    set_model(f, 2, (gpulet_sched_model_t){.slo_ns = 300 * MS, .priority = 1});
    uint64_t batch = occupied(f, 3);
    arrive(f, 2, 1, first);
    arrive(f, 2, 2, second);
    arrive(f, 2, 3, third);
    done(f, 11, batch);
    batch = sent(f, 2, 1);
    done(f, 21, batch);
    batch = sent(f, 1, 1);
    done(f, 31, batch);
    sent(f, 0, 1);
}

static void a_request_of_higher_priority_overtakes_in_its_own_queue(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 300 * MS, .priority = 5, .batch_max = 1});
    uint64_t batch = occupied(f, 1);
    arrive(f, 2, 1, first);
    arrive(f, 3, 2, (gpulet_sched_request_t){.priority_given = true, .priority = 2});
    done(f, 11, batch);
    sent(f, 0, 1);
    assert_int_equal(action_of(f, GPULET_ACTION_RUN)->u.run.requests[0], 2);
}

static void a_batch_leaves_time_for_a_co_resident_that_might_arrive(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 500 * MS});
    set_model(f, 1, (gpulet_sched_model_t){.slo_ns = 31 * MS});
    uint64_t batch = occupied(f, 2);
    for (uint64_t i = 1; i <= 10; i++)
        arrive(f, 2, i, first);
    done(f, 11, batch);
    /* Model 1, arriving now, needs 17 ms for its planned 8: 31 - 17 = 14 ms are left, which is a
     * batch of 5, less the overhead of 2 ns. */
    sent(f, 0, 4);
}

static void a_co_resident_that_serves_late_answers_is_left_its_time_too(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 500 * MS});
    set_model(f, 1, (gpulet_sched_model_t){.slo_ns = 31 * MS, .late_serve = true});
    uint64_t batch = occupied(f, 2);
    for (uint64_t i = 1; i <= 10; i++)
        arrive(f, 2, i, first);
    done(f, 11, batch);
    sent(f, 0, 4);
}

static void where_nothing_protects_the_models_take_turns_with_planned_batches(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 100 * MS});
    set_model(f, 1, (gpulet_sched_model_t){.slo_ns = 200 * MS, .timeout_ns = 200 * MS});
    add_lane(f, 1, 0, 2, 40, 2); /* 41 ms and 42: 42 + 42 + what runs does not fit into 100 */
    arrive(f, 1, 1000, first);
    uint64_t batch = sent(f, 0, 1);
    arrive(f, 2, 1, second);
    arrive(f, 2, 2, first);
    done(f, 42, batch);
    assert_non_null(action_of(f, GPULET_ACTION_RUN));
    assert_true(action_of(f, GPULET_ACTION_RUN)->u.run.items <= 2);
}

/* Both models always wait, and a batch of the second never leaves the first its time: runs of each.
 * `again`: before every choice the lane is told anew what it serves, which is what it was. */
static void overload(fixture_t *f, double weight, bool again, uint32_t runs[2])
{
    uint64_t now = 1, id = 1;
    runs[0] = runs[1] = 0;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 100 * MS, .weight = weight});
    set_model(f, 1, (gpulet_sched_model_t){.slo_ns = 200 * MS});
    add_lane(f, now, 0, 2, 40, 1);
    arrive(f, now, id++, first);
    for (int i = 0; i < 80; i++) {
        const gpulet_action_t *run = action_of(f, GPULET_ACTION_RUN);
        assert_non_null(run);
        uint64_t batch = run->u.run.batch;
        runs[run->u.run.model]++;
        for (int k = 0; k < 4; k++) {
            now += 10;
            arrive(f, now, id++, k % 2 == 0 ? first : second);
        }
        if (again)
            serve_lane(f, now, 0, 2, 40, 1);
        done(f, ++now, batch);
    }
}

static void turns_in_overload_are_as_many_as_models_weigh(void **state)
{
    fixture_t *f = *state;
    uint32_t runs[2];
    overload(f, 0, false, runs);
    assert_in_range(runs[0], 38, 46);
    (void)fixture_down(state);
    (void)fixture_up(state);
    overload(*state, 3, false, runs);
    assert_in_range(runs[0], 58, 63);
}

static void a_new_plan_for_the_lane_does_not_begin_the_turns_anew(void **state)
{
    uint32_t kept[2];
    uint32_t runs[2];
    overload(*state, 3, false, kept);
    (void)fixture_down(state);
    (void)fixture_up(state);
    overload(*state, 3, true, runs);
    assert_int_equal(runs[0], kept[0]);
    assert_int_equal(runs[1], kept[1]);
}

static void a_new_rate_shifts_the_balance_at_once(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 500 * MS});
    uint64_t exec[1] = {2 * MS};
    uint32_t served[2] = {0, 0};
    gpulet_sched_service_t service = {0, 8, 100, exec, 1};
    gpulet_sched_lane_t lane = {20, 1, &service};
    for (uint32_t l = 0; l < 2; l++)
        assert_int_equal(gpulet_sched_lane_add(f->sched, MS, l, &lane, &f->actions), GPULET_OK);
    for (uint64_t now = 10; now < 1210; now += 4) {
        if (now == 410)
            gpulet_sched_lane_rate(f->sched, 0, 0, 300);
        arrive(f, now, now, first);
        uint64_t batch = sent(f, 0, 1);
        served[action_of(f, GPULET_ACTION_RUN)->u.run.lane] += now >= 410;
        done(f, now + 2, batch);
    }
    gpulet_sched_lane_rate(f->sched, 0, 7, 1); /* a model that the lane does not serve */
    assert_int_equal(served[0], 150);
    assert_int_equal(served[1], 50);
}

static void late_serving_drops_and_refuses_nobody(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 15 * MS, .late_serve = true});
    uint64_t batch = occupied(f, 1);
    for (uint64_t i = 1; i <= 5; i++)
        assert_int_not_equal(arrive(f, 2, i, first), 0);
    f->actions = gpulet_sched_on_timer(f->sched, 40 * MS);
    assert_null(action_of(f, GPULET_ACTION_REJECT));
    done(f, 50, batch);
    batch = sent(f, 0, 5);
    done(f, 70, batch);
    assert_int_equal(count_of(f, GPULET_ACTION_REPLY), 5);
    assert_false(action_of(f, GPULET_ACTION_REPLY)->u.reply.in_time);
}

static void a_late_backlog_does_not_stand_before_what_can_be_in_time(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 15 * MS, .late_serve = true});
    set_model(f, 1, (gpulet_sched_model_t){.slo_ns = 100 * MS});
    uint64_t batch = occupied(f, 2);
    arrive(f, 2, 1, first);
    f->actions = gpulet_sched_on_timer(f->sched, 30 * MS);
    arrive(f, 30, 2, second);
    done(f, 50, batch);
    batch = sent(f, 1, 1);
    done(f, 60, batch);
    sent(f, 0, 1);
}

/* The first model's requests are all late; of the second more wait than can be served. Both run one
 * at a time, 10 ms each. */
static void set_late_backlog(fixture_t *f, double weight)
{
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 15 * MS, .batch_max = 1, .late_serve = true});
    set_model(f, 1, (gpulet_sched_model_t){.slo_ns = 100 * MS, .batch_max = 1, .weight = weight});
}

static void a_late_backlog_has_its_turns_beside_an_overloaded_neighbour(void **state)
{
    static const double weights[] = {0, 3};
    static const uint32_t least[] = {16, 8};
    for (int w = 0; w < 2; w++) {
        fixture_t *f = *state;
        uint32_t runs[2] = {0, 0};
        set_late_backlog(f, weights[w]);
        uint64_t batch = occupied(f, 2);
        uint64_t now = 2;
        uint64_t id = 1;
        arrive(f, now, id++, first);
        arrive(f, now, id++, first);
        for (int i = 0; i < 40; i++) {
            arrive(f, now, id++, second);
            arrive(f, now, id++, second);
            if (i % 2 == 0)
                arrive(f, now, id++, first);
            done(f, now += 10, batch);
            const gpulet_action_t *run = action_of(f, GPULET_ACTION_RUN);
            assert_non_null(run);
            runs[run->u.run.model]++;
            batch = run->u.run.batch;
        }
        assert_in_range(runs[0], least[w], 20);
        (void)fixture_down(state);
        (void)fixture_up(state);
    }
}

static void a_late_backlogs_turns_are_foreseen(void **state)
{
    fixture_t *f = *state;
    set_late_backlog(f, 0);
    uint64_t batch = occupied(f, 2);
    for (uint64_t i = 1; i <= 6; i++)
        arrive(f, 2, i, first);
    done(f, 11, batch);
    batch = sent(f, 0, 1);
    for (uint64_t i = 11; i <= 13; i++)
        assert_int_not_equal(arrive(f, 20, i, second), 0);
    gpulet_sched_request_t last = {.id = 14, .model = 1, .items = 1, .arrival_ns = 20 * MS};
    uint64_t foreseen = gpulet_sched_predict_ns(f->sched, 20 * MS, &last);
    assert_int_not_equal(arrive(f, 20, 14, second), 0);
    uint64_t end = 21;
    for (bool sent_last = false; !sent_last; end += 10) {
        done(f, end, batch);
        const gpulet_action_t *run = action_of(f, GPULET_ACTION_RUN);
        assert_non_null(run);
        batch = run->u.run.batch;
        sent_last = run->u.run.requests[0] == 14;
    }
    assert_in_range(foreseen, end * MS, (end + 11) * MS);
}

static void an_estimate_that_refuses_all_is_probed_now_and_then(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 5 * MS});
    add_lane(f, 1, 0, 1, 99, 1); /* 100 ms, says the profile; 2 ms is the truth */
    uint64_t now = 1, probes = 0;
    bool healed = false;
    for (int i = 0; i < 400 && !healed; i++, now += 10) {
        arrive(f, now, 1, first);
        if (action_of(f, GPULET_ACTION_RUN) == NULL) {
            assert_rejected(f, 1, GPULET_REJECT_PREDICTED_LATE);
            continue;
        }
        uint64_t batch = sent(f, 0, 1);
        probes++;
        f->actions = gpulet_sched_on_batch_done(f->sched, (now + 2) * MS, batch, 2 * MS, GPULET_OK);
        healed = gpulet_sched_estimate_ns(f->sched, 0, 0, 1) < 4 * MS;
    }
    assert_true(healed);
    assert_true(probes <= 20);
}

static void nothing_is_committed_behind_a_run_that_hangs(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 500 * MS});
    occupied(f, 1);
    f->actions = gpulet_sched_on_timer(f->sched, 100 * MS);
    arrive(f, 100, 1, first);
    assert_null(action_of(f, GPULET_ACTION_RUN));
}

static void the_lane_that_answers_first_is_taken(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 500 * MS});
    add_lane(f, 1, 0, 1, 9, 8);
    uint64_t exec[1] = {3 * MS};
    gpulet_sched_service_t service = {0, 8, 0, exec, 1};
    gpulet_sched_lane_t fast = {20, 1, &service};
    assert_int_equal(gpulet_sched_lane_add(f->sched, MS, 1, &fast, &f->actions), GPULET_OK);
    arrive(f, 2, 1, first);
    assert_int_equal(action_of(f, GPULET_ACTION_RUN)->u.run.lane, 1);
    arrive(f, 2, 2, first);
    assert_int_equal(action_of(f, GPULET_ACTION_RUN)->u.run.lane, 0);
}

static void equal_lanes_share_by_their_planned_rates(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 500 * MS});
    uint64_t exec[1] = {2 * MS};
    uint32_t served[2] = {0, 0};
    for (uint32_t l = 0; l < 2; l++) {
        gpulet_sched_service_t service = {0, 8, l == 0 ? 300 : 100, exec, 1};
        gpulet_sched_lane_t lane = {20, 1, &service};
        assert_int_equal(gpulet_sched_lane_add(f->sched, MS, l, &lane, &f->actions), GPULET_OK);
    }
    for (uint64_t now = 10; now < 1610; now += 4) {
        arrive(f, now, now, first);
        uint64_t batch = sent(f, 0, 1);
        served[action_of(f, GPULET_ACTION_RUN)->u.run.lane]++;
        done(f, now + 2, batch);
    }
    assert_int_equal(served[0], 300);
    assert_int_equal(served[1], 100);
}

/* A lane that is lent units: the brain predicts by the speed that the lane has, and keeps what it
 * learns of each apart. */
static void a_resized_lane_is_predicted_at_its_new_speed(void **state)
{
    fixture_t *f = *state;
    uint64_t fast[1] = {4 * MS}, none[1] = {0};
    gpulet_sched_service_t service = {.model = 0, .exec_ns = fast, .exec_count = 1};
    gpulet_sched_lane_t value = {.units = 20, .services_count = 1, .services = &service};
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 100 * MS});
    assert_int_equal(gpulet_sched_lane_resize(f->sched, MS, 0, &value, &f->actions),
                     GPULET_E_NOT_FOUND);
    add_lane(f, 1, 0, 1, 9, 8);
    assert_int_equal(gpulet_sched_estimate_ns(f->sched, 0, 0, 1), 10 * MS);
    arrive(f, 2, 1, first);
    uint64_t batch = sent(f, 0, 1);
    assert_int_equal(gpulet_sched_lane_resize(f->sched, 3 * MS, 0, &value, &f->actions), GPULET_OK);
    assert_int_equal(gpulet_sched_estimate_ns(f->sched, 0, 0, 1), 4 * MS);
    /* What was sent before is learned as what it was. */
    f->actions = gpulet_sched_on_batch_done(f->sched, 12 * MS, batch, 10 * MS, GPULET_OK);
    assert_int_equal(gpulet_sched_estimate_ns(f->sched, 0, 0, 1), 4 * MS);
    arrive(f, 13, 2, first);
    assert_int_equal(action_of(f, GPULET_ACTION_RUN)->u.run.predicted_ns, 4 * MS);
    done(f, 17, sent(f, 0, 1));
    /* Of a speed that nothing is known of the figures so far are kept. */
    value.units = 30;
    service.exec_ns = none;
    assert_int_equal(gpulet_sched_lane_resize(f->sched, 18 * MS, 0, &value, &f->actions),
                     GPULET_OK);
    assert_int_equal(gpulet_sched_estimate_ns(f->sched, 0, 0, 1), 4 * MS);
    value.units = 10;
    service.exec_ns = NULL;
    service.exec_count = 0;
    assert_int_equal(gpulet_sched_lane_resize(f->sched, 19 * MS, 0, &value, &f->actions),
                     GPULET_OK);
    assert_int_equal(gpulet_sched_estimate_ns(f->sched, 0, 0, 1), 10 * MS);
    f->actions = gpulet_sched_lane_drain(f->sched, 20 * MS, 0);
    assert_int_equal(gpulet_sched_lane_resize(f->sched, 21 * MS, 0, &value, &f->actions),
                     GPULET_E_NOT_FOUND);
}

#define RULE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_up, fixture_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE_TEST(the_earliest_deadline_goes_first_across_models),
        RULE_TEST(priority_beats_the_deadline_and_best_effort_comes_last),
        RULE_TEST(a_request_of_higher_priority_overtakes_in_its_own_queue),
        RULE_TEST(a_batch_leaves_time_for_a_co_resident_that_might_arrive),
        RULE_TEST(a_co_resident_that_serves_late_answers_is_left_its_time_too),
        RULE_TEST(where_nothing_protects_the_models_take_turns_with_planned_batches),
        RULE_TEST(late_serving_drops_and_refuses_nobody),
        RULE_TEST(a_late_backlog_does_not_stand_before_what_can_be_in_time),
        RULE_TEST(a_late_backlog_has_its_turns_beside_an_overloaded_neighbour),
        RULE_TEST(a_late_backlogs_turns_are_foreseen),
        RULE_TEST(an_estimate_that_refuses_all_is_probed_now_and_then),
        RULE_TEST(nothing_is_committed_behind_a_run_that_hangs),
        RULE_TEST(the_lane_that_answers_first_is_taken),
        RULE_TEST(equal_lanes_share_by_their_planned_rates),
        RULE_TEST(a_resized_lane_is_predicted_at_its_new_speed),
        RULE_TEST(turns_in_overload_are_as_many_as_models_weigh),
        RULE_TEST(a_new_plan_for_the_lane_does_not_begin_the_turns_anew),
        RULE_TEST(a_new_rate_shifts_the_balance_at_once),
    };
    return cmocka_run_group_tests_name("sched.rules", tests, NULL, NULL);
}
