#include "fixture.h"

static const gpulet_sched_request_t plain = {.model = 0};

static void a_request_to_an_idle_lane_runs_at_once_and_is_answered(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 100 * MS});
    add_lane(f, 1, 3, 1, 9, 8);
    assert_int_not_equal(arrive(f, 2, 77, plain), 0);
    uint64_t batch = sent(f, 0, 1);
    const gpulet_action_t *run = action_of(f, GPULET_ACTION_RUN);
    assert_int_equal(run->u.run.lane, 3);
    assert_int_equal(run->u.run.requests[0], 77);
    assert_int_equal(run->u.run.predicted_ns, 10 * MS);
    assert_false(gpulet_sched_idle(f->sched));
    done(f, 12, batch);
    const gpulet_action_t *reply = action_of(f, GPULET_ACTION_REPLY);
    assert_non_null(reply);
    assert_int_equal(reply->u.reply.request, 77);
    assert_true(reply->u.reply.in_time);
    assert_true(gpulet_sched_idle(f->sched));
}

static void what_waits_goes_together_when_the_lane_is_free(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 100 * MS});
    add_lane(f, 1, 0, 1, 9, 8);
    arrive(f, 1, 0, plain);
    uint64_t first = sent(f, 0, 1);
    for (uint64_t i = 1; i <= 3; i++) {
        arrive(f, 2, i, (gpulet_sched_request_t){.items = (uint32_t)i});
        assert_null(action_of(f, GPULET_ACTION_RUN));
    }
    done(f, 11, first);
    uint64_t second = sent(f, 0, 6);
    done(f, 26, second);
    assert_int_equal(count_of(f, GPULET_ACTION_REPLY), 3);
    const gpulet_action_t *last = NULL;
    for (size_t i = 0; i < f->actions.count; i++) {
        if (f->actions.items[i].kind == GPULET_ACTION_REPLY)
            last = &f->actions.items[i];
    }
    assert_int_equal(last->u.reply.index, 2);
    assert_int_equal(last->u.reply.row, 3);
    assert_int_equal(last->u.reply.queue_ns, 9 * MS);
}

static void a_second_batch_is_committed_shortly_before_the_first_ends(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 100 * MS});
    add_lane(f, 1, 0, 1, 9, 8);
    arrive(f, 1, 0, plain);
    arrive(f, 2, 1, plain);
    const gpulet_action_t *timer = action_of(f, GPULET_ACTION_TIMER);
    assert_non_null(timer); /* 1 + 10 ms, and half a millisecond before */
    assert_int_equal(timer->u.timer.at_ns, 10500002);
    f->actions = gpulet_sched_on_timer(f->sched, 10500002);
    sent(f, 0, 1);
    arrive(f, 11, 2, plain);
    assert_null(action_of(f, GPULET_ACTION_RUN)); /* one running, one waiting: no more */
}

static void requests_of_other_shapes_share_no_batch(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 200 * MS});
    add_lane(f, 1, 0, 1, 9, 8);
    arrive(f, 1, 0, plain);
    uint64_t batch = sent(f, 0, 1);
    arrive(f, 2, 1, (gpulet_sched_request_t){.shape_key = 5});
    arrive(f, 2, 2, (gpulet_sched_request_t){.shape_key = 6});
    arrive(f, 2, 3, (gpulet_sched_request_t){.shape_key = 5});
    done(f, 11, batch);
    batch = sent(f, 0, 2);
    done(f, 22, batch);
    sent(f, 0, 1);
}

static void late_at_arrival_is_refused_with_a_time_to_come_back(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 15 * MS});
    add_lane(f, 1, 0, 1, 9, 8);
    arrive(f, 1, 0, plain);
    assert_int_equal(arrive(f, 2, 1, plain), 0); /* 11 + 10 > 2 + 15 */
    assert_rejected(f, 1, GPULET_REJECT_PREDICTED_LATE);
    assert_true(action_of(f, GPULET_ACTION_REJECT)->u.reject.retry_after_ns >= 4 * MS);
}

static void other_refusals_say_their_reason(void **state)
{
    fixture_t *f = *state;
    arrive(f, 1, 1, plain);
    assert_rejected(f, 1, GPULET_REJECT_NOT_SERVED);
    set_model(f, 0, (gpulet_sched_model_t){.batch_max = 4, .queue_max = 1});
    arrive(f, 1, 2, plain);
    assert_rejected(f, 2, GPULET_REJECT_NOT_SERVED);
    add_lane(f, 1, 0, 1, 9, 4);
    arrive(f, 1, 3, (gpulet_sched_request_t){.items = 5});
    assert_rejected(f, 3, GPULET_REJECT_TOO_LARGE);
    arrive(f, 1, 4, plain);
    arrive(f, 1, 5, plain);
    arrive(f, 1, 6, plain);
    assert_rejected(f, 6, GPULET_REJECT_QUEUE_FULL);
    f->actions = gpulet_sched_shutdown(f->sched, 2 * MS, false);
    arrive(f, 2, 7, plain);
    assert_rejected(f, 7, GPULET_REJECT_SHUTDOWN);
    f->actions = gpulet_sched_shutdown(f->sched, 2 * MS, true);
    assert_rejected(f, 5, GPULET_REJECT_SHUTDOWN);
    assert_string_equal(gpulet_reject_text(GPULET_REJECT_QUEUE_FULL), "queue_full");
}

static void a_full_pool_refuses_and_keeps_a_quarter_for_deadlines(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 0});
    set_model(f, 1, (gpulet_sched_model_t){.slo_ns = 1000 * MS});
    add_lane(f, 1, 0, 2, 9, 8);
    for (uint64_t i = 0; i < 12; i++)
        assert_int_not_equal(arrive(f, 1, i, plain), 0);
    assert_int_equal(arrive(f, 1, 12, plain), 0);
    assert_rejected(f, 12, GPULET_REJECT_QUEUE_FULL);
    for (uint64_t i = 12; i < 16; i++)
        assert_int_not_equal(arrive(f, 1, i, (gpulet_sched_request_t){.model = 1}), 0);
    arrive(f, 1, 16, (gpulet_sched_request_t){.model = 1});
    assert_rejected(f, 16, GPULET_REJECT_QUEUE_FULL);
}

static void a_timer_that_goes_off_early_is_armed_again(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 100 * MS});
    add_lane(f, 1, 0, 1, 9, 8);
    arrive(f, 1, 0, plain);
    arrive(f, 2, 1, plain);
    f->actions = gpulet_sched_on_timer(f->sched, 10 * MS);
    assert_int_equal(action_of(f, GPULET_ACTION_TIMER)->u.timer.at_ns, 10500002);
}

static void what_can_no_longer_make_it_is_dropped_by_the_timer(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 40 * MS});
    add_lane(f, 1, 0, 1, 9, 8);
    arrive(f, 1, 0, plain);
    uint64_t stuck = sent(f, 0, 1);
    arrive(f, 2, 1, plain);
    arrive(f, 2, 2, (gpulet_sched_request_t){.timeout_ns = 30 * MS});
    f->actions =
        gpulet_sched_on_timer(f->sched, 10500002); /* The lane takes them both: they wait there. */
    sent(f, 0, 2);
    arrive(f, 11, 3, plain);
    arrive(f, 11, 4, (gpulet_sched_request_t){.timeout_ns = 33 * MS});
    const gpulet_action_t *timer = action_of(f, GPULET_ACTION_TIMER);
    assert_non_null(timer);
    assert_int_equal(timer->u.timer.at_ns,
                     34 * MS - 1); /* 44 - 10 - the overhead of 2 ns, and one */
    f->actions = gpulet_sched_on_timer(f->sched, 34 * MS - 1);
    assert_rejected(f, 4, GPULET_REJECT_TIMEOUT);
    f->actions = gpulet_sched_on_timer(f->sched, 42 * MS);
    assert_rejected(f, 3, GPULET_REJECT_DROPPED);
    done(f, 60, stuck);
    assert_int_equal(count_of(f, GPULET_ACTION_REPLY),
                     1); /* What was committed is answered, late or not. */
    assert_false(action_of(f, GPULET_ACTION_REPLY)->u.reply.in_time);
}

static void a_lost_batch_is_run_once_more_and_late_words_are_ignored(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 200 * MS});
    add_lane(f, 1, 0, 1, 9, 8);
    arrive(f, 1, 5, plain);
    uint64_t lost = sent(f, 0, 1);
    f->actions = gpulet_sched_lane_lost(f->sched, 3 * MS, 0);
    assert_null(action_of(f, GPULET_ACTION_REJECT));
    done(f, 4, lost);
    assert_null(action_of(f, GPULET_ACTION_REPLY));
    add_lane(f, 5, 0, 1, 9, 8);
    uint64_t again = sent(f, 0, 1);
    assert_int_not_equal(again, lost);
    f->actions = gpulet_sched_lane_lost(f->sched, 6 * MS, 0);
    assert_rejected(f, 5, GPULET_REJECT_WORKER_LOST);
    assert_true(gpulet_sched_idle(f->sched));
}

static void a_lost_batch_without_time_left_is_rejected(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 15 * MS});
    add_lane(f, 1, 0, 1, 9, 8);
    add_lane(f, 1, 1, 1, 9, 8);
    arrive(f, 1, 5, plain);
    uint32_t lane = action_of(f, GPULET_ACTION_RUN)->u.run.lane;
    f->actions = gpulet_sched_lane_lost(f->sched, 9 * MS, lane);
    assert_rejected(f, 5, GPULET_REJECT_WORKER_LOST);
}

static void cancelling_takes_out_what_waits_and_leaves_what_runs(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 200 * MS});
    add_lane(f, 1, 0, 1, 9, 8);
    gpulet_ticket_t running = arrive(f, 1, 5, plain);
    uint64_t batch = sent(f, 0, 1);
    gpulet_ticket_t waiting = arrive(f, 2, 6, plain);
    f->actions = gpulet_sched_on_cancel(f->sched, 3 * MS, waiting);
    assert_int_equal(action_of(f, GPULET_ACTION_CANCELLED)->u.cancelled.request, 6);
    f->actions = gpulet_sched_on_cancel(f->sched, 3 * MS, waiting);
    assert_null(action_of(f, GPULET_ACTION_CANCELLED));
    f->actions = gpulet_sched_on_cancel(f->sched, 3 * MS, running);
    assert_int_equal(count_of(f, GPULET_ACTION_CANCELLED), 0);
    done(f, 11, batch);
    assert_int_equal(count_of(f, GPULET_ACTION_REPLY), 1);
}

static void a_cancelled_request_is_not_run_again_after_a_loss(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 200 * MS});
    add_lane(f, 1, 0, 1, 9, 8);
    gpulet_ticket_t running = arrive(f, 1, 5, plain);
    f->actions = gpulet_sched_on_cancel(f->sched, 3 * MS, running);
    f->actions = gpulet_sched_lane_lost(f->sched, 4 * MS, 0);
    assert_non_null(action_of(f, GPULET_ACTION_CANCELLED));
    assert_true(gpulet_sched_idle(f->sched));
}

static void a_drained_lane_ends_its_batches_and_says_so(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 200 * MS});
    add_lane(f, 1, 0, 1, 9, 8);
    arrive(f, 1, 5, plain);
    uint64_t batch = sent(f, 0, 1);
    arrive(f, 2, 6, plain);
    f->actions = gpulet_sched_lane_drain(f->sched, 3 * MS, 0);
    assert_rejected(f, 6, GPULET_REJECT_NOT_SERVED);
    assert_null(action_of(f, GPULET_ACTION_LANE_IDLE));
    done(f, 11, batch);
    assert_int_equal(count_of(f, GPULET_ACTION_REPLY), 1);
    assert_int_equal(action_of(f, GPULET_ACTION_LANE_IDLE)->u.lane_idle.lane, 0);
    add_lane(f, 12, 0, 1, 9, 8);
    f->actions = gpulet_sched_lane_drain(f->sched, 13 * MS, 0);
    assert_non_null(action_of(f, GPULET_ACTION_LANE_IDLE));
}

static void make_before_break_loses_nothing(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 200 * MS});
    add_lane(f, 1, 0, 1, 9, 8);
    arrive(f, 1, 5, plain);
    arrive(f, 2, 6, plain);
    add_lane(f, 3, 1, 1, 9, 8);
    sent(f, 0, 1); /* The new lane takes what waits at once. */
    f->actions = gpulet_sched_lane_drain(f->sched, 3 * MS, 0);
    assert_null(action_of(f, GPULET_ACTION_REJECT));
}

static void a_removed_model_rejects_what_waits_and_answers_what_runs(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 200 * MS});
    add_lane(f, 1, 0, 1, 9, 8);
    arrive(f, 1, 5, plain);
    uint64_t batch = sent(f, 0, 1);
    arrive(f, 2, 6, plain);
    f->actions = gpulet_sched_model_remove(f->sched, 3 * MS, 0);
    assert_rejected(f, 6, GPULET_REJECT_NOT_SERVED);
    done(f, 11, batch);
    assert_int_equal(count_of(f, GPULET_ACTION_REPLY), 1);
}

static void estimates_survive_the_lane(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 200 * MS});
    add_lane(f, 1, 0, 1, 9, 8);
    uint64_t now = 1;
    for (int i = 0; i < 30; i++, now += 40) {
        arrive(f, now, 5, plain);
        uint64_t batch = sent(f, 0, 1);
        f->actions =
            gpulet_sched_on_batch_done(f->sched, (now + 30) * MS, batch, 30 * MS, GPULET_OK);
    }
    uint64_t learned = gpulet_sched_estimate_ns(f->sched, 0, 0, 1);
    assert_true(learned > 25 * MS && learned < 35 * MS);
    f->actions = gpulet_sched_lane_lost(f->sched, now * MS, 0);
    assert_int_equal(gpulet_sched_estimate_ns(f->sched, 0, 0, 1), 0);
    add_lane(f, now, 4, 1, 9, 8);
    assert_int_equal(gpulet_sched_estimate_ns(f->sched, 4, 0, 1), learned);
}

static void lanes_are_checked(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 0});
    add_lane(f, 1, 0, 1, 9, 8);
    gpulet_sched_service_t service = {.model = 0, .batch = 1};
    gpulet_sched_lane_t value = {10, 1, &service};
    assert_int_equal(gpulet_sched_lane_add(f->sched, MS, 0, &value, &f->actions), GPULET_E_EXISTS);
    assert_int_equal(gpulet_sched_lane_add(f->sched, MS, 8, &value, &f->actions), GPULET_E_INVALID);
    service.model = 3;
    assert_int_equal(gpulet_sched_lane_add(f->sched, MS, 1, &value, &f->actions),
                     GPULET_E_NOT_FOUND);
    gpulet_sched_model_t bad = {.batch_max = 0};
    assert_int_equal(gpulet_sched_model_set(f->sched, 0, &bad), GPULET_E_INVALID);
}

static void an_error_of_the_engine_is_the_answer_of_all_its_requests(void **state)
{
    fixture_t *f = *state;
    gpulet_sched_model_stats_t stats;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 200 * MS});
    add_lane(f, 1, 0, 1, 9, 8);
    arrive(f, 1, 5, plain);
    f->actions = gpulet_sched_on_batch_done(f->sched, 3 * MS, sent(f, 0, 1), MS, GPULET_E_INTERNAL);
    assert_int_equal(action_of(f, GPULET_ACTION_REPLY)->u.reply.status, GPULET_E_INTERNAL);
    gpulet_sched_model_stats(f->sched, 0, &stats);
    assert_int_equal(stats.failed, 1);
    assert_int_equal(stats.items, 0);
}

#define EVENT_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_up, fixture_down)

static void serve_models(fixture_t *f, uint64_t now_ms, uint32_t lane, uint32_t count,
                         const uint32_t *models)
{
    static uint64_t exec[32];
    gpulet_sched_service_t services[4];
    for (uint32_t b = 1; b <= 32; b++)
        exec[b - 1] = (9 + b) * MS;
    for (uint32_t i = 0; i < count; i++)
        services[i] = (gpulet_sched_service_t){models[i], 8, 0, exec, 32};
    gpulet_sched_lane_t value = {10, count, services};
    assert_int_equal(gpulet_sched_lane_serve(f->sched, now_ms * MS, lane, &value, &f->actions),
                     GPULET_OK);
}

static void a_lane_may_change_what_it_serves_while_it_runs(void **state)
{
    fixture_t *f = *state;
    static const uint32_t one[] = {1};
    static const uint32_t both[] = {1, 0};
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 100 * MS});
    set_model(f, 1, (gpulet_sched_model_t){.slo_ns = 100 * MS});
    add_lane(f, 1, 0, 1, 9, 8);
    arrive(f, 1, 0, plain);
    uint64_t batch = sent(f, 0, 1);
    arrive(f, 2, 1, plain);
    serve_models(f, 3, 0, 2, both);
    assert_null(action_of(f, GPULET_ACTION_REJECT)); /* both are served */
    arrive(f, 4, 2, (gpulet_sched_request_t){.model = 1});
    serve_models(f, 5, 0, 1, one);
    assert_rejected(f, 1, GPULET_REJECT_NOT_SERVED); /* nobody serves model 0 any more … */
    done(f, 11, batch);
    assert_true(
        action_of(f, GPULET_ACTION_REPLY)->u.reply.in_time); /* … but what ran is answered */
    done(f, 21, sent(f, 1, 1));
    assert_int_equal(action_of(f, GPULET_ACTION_REPLY)->u.reply.request, 2);
    assert_true(gpulet_sched_idle(f->sched));
    assert_int_equal(arrive(f, 22, 3, plain), 0);
    assert_rejected(f, 3, GPULET_REJECT_NOT_SERVED);
}

static void a_lane_serves_nothing_that_is_not_known_or_twice(void **state)
{
    fixture_t *f = *state;
    gpulet_sched_service_t services[2] = {{.model = 0, .batch = 1}, {.model = 0, .batch = 1}};
    gpulet_sched_lane_t twice = {10, 2, services};
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 100 * MS});
    assert_int_equal(gpulet_sched_lane_serve(f->sched, MS, 0, &twice, &f->actions),
                     GPULET_E_NOT_FOUND);
    add_lane(f, 1, 0, 1, 9, 8);
    assert_int_equal(gpulet_sched_lane_serve(f->sched, MS, 0, &twice, &f->actions),
                     GPULET_E_INVALID);
    services[1].model = 5;
    assert_int_equal(gpulet_sched_lane_serve(f->sched, MS, 0, &twice, &f->actions),
                     GPULET_E_NOT_FOUND);
    arrive(f, 2, 0, plain);
    sent(f, 0, 1); /* as it was */
}

static void a_deadline_of_its_own_stands_in_the_place_of_the_objective(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 15 * MS});
    add_lane(f, 1, 0, 1, 9, 1);
    arrive(f, 1, 0, plain);
    uint64_t first = sent(f, 0, 1);
    /* Behind the one that runs it is done at 21 ms: too late for the objective, 16 ms. */
    assert_int_equal(arrive(f, 1, 1, plain), 0);
    assert_non_null(action_of(f, GPULET_ACTION_REJECT));
    assert_int_equal(arrive(f, 1, 2, (gpulet_sched_request_t){.deadline_ns = 20 * MS}), 0);
    assert_int_not_equal(arrive(f, 1, 3, (gpulet_sched_request_t){.deadline_ns = 24 * MS}), 0);
    /* A deadline that has passed is refused, none at all and one that is not kept to are not. */
    assert_int_equal(arrive(f, 2, 4, (gpulet_sched_request_t){.deadline_ns = MS}), 0);
    assert_int_not_equal(arrive(f, 2, 5, (gpulet_sched_request_t){.deadline_ns = UINT64_MAX}), 0);
    assert_int_not_equal(
        arrive(f, 2, 6, (gpulet_sched_request_t){.deadline_ns = 3 * MS, .late_serve = true}), 0);
    done(f, 11, first);
    const gpulet_action_t *run = action_of(f, GPULET_ACTION_RUN);
    assert_non_null(run);
    assert_int_equal(run->u.run.requests[0], 6); /* the nearest deadline, though it has passed */
}

static void the_least_time_is_that_of_the_smallest_planned_batch_or_of_its_items(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 100 * MS});
    assert_int_equal(gpulet_sched_least_ns(f->sched, 0, 1), 0);
    add_lane(f, 1, 0, 1, 20, 4);
    assert_int_equal(gpulet_sched_least_ns(f->sched, 0, 1), 24 * MS + 2);
    add_lane(f, 1, 1, 1, 9, 8);
    assert_int_equal(gpulet_sched_least_ns(f->sched, 0, 1), 13 * MS + 2);
    assert_int_equal(gpulet_sched_least_ns(f->sched, 0, 10), 19 * MS + 2);
}

static void a_group_is_admitted_as_a_whole(void **state)
{
    fixture_t *f = *state;
    gpulet_ticket_t tickets[3] = {0};
    gpulet_sched_model_stats_t stats;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 100 * MS});
    set_model(f, 1, (gpulet_sched_model_t){.slo_ns = 100 * MS});
    add_lane(f, 1, 0, 2, 9, 8);
    gpulet_sched_request_t group[3] = {{.id = 1, .model = 0, .items = 1, .arrival_ns = MS},
                                       {.id = 2, .model = 1, .items = 1, .arrival_ns = MS},
                                       {.id = 3, .model = 0, .items = 1, .arrival_ns = MS}};
    f->actions = gpulet_sched_on_requests(f->sched, MS, group, 3, tickets);
    assert_int_equal(count_of(f, GPULET_ACTION_REJECT), 0);
    uint64_t first =
        sent(f, 0, 2); /* both of one model in one batch: none began before the other came */
    assert_true(tickets[0] != 0 && tickets[1] != 0 && tickets[2] != 0);
    done(f, 12, first);
    done(f, 22, sent(f, 1, 1));
    assert_true(gpulet_sched_idle(f->sched));
    /* The last one could not be in time: none of them runs, though the lane is idle. */
    group[2].deadline_ns = 25 * MS;
    for (int i = 0; i < 3; i++)
        group[i].arrival_ns = 22 * MS;
    f->actions = gpulet_sched_on_requests(f->sched, 22 * MS, group, 3, tickets);
    assert_null(action_of(f, GPULET_ACTION_RUN));
    assert_int_equal(count_of(f, GPULET_ACTION_REJECT), 3);
    assert_int_equal(action_of(f, GPULET_ACTION_REJECT)->u.reject.request, 3);
    assert_int_equal(action_of(f, GPULET_ACTION_REJECT)->u.reject.reason,
                     GPULET_REJECT_PREDICTED_LATE);
    assert_true(tickets[0] == 0 && tickets[1] == 0 && tickets[2] == 0);
    assert_true(gpulet_sched_idle(f->sched));
    gpulet_sched_model_stats(f->sched, 0, &stats);
    assert_int_equal(stats.offered, 4);
    assert_int_equal(stats.rejected[GPULET_REJECT_PREDICTED_LATE], 2);
    assert_int_equal(stats.waiting, 0);
    gpulet_sched_model_stats(f->sched, 1, &stats);
    assert_int_equal(stats.offered, 2);
    assert_int_equal(stats.rejected[GPULET_REJECT_PREDICTED_LATE], 1);
    /* A model that is not known takes the others with it, in whatever place it stands. */
    group[2].deadline_ns = 0;
    group[0].model = 7;
    f->actions = gpulet_sched_on_requests(f->sched, 23 * MS, group, 3, tickets);
    assert_int_equal(count_of(f, GPULET_ACTION_REJECT), 3);
    assert_int_equal(action_of(f, GPULET_ACTION_REJECT)->u.reject.reason, GPULET_REJECT_NOT_SERVED);
    assert_true(gpulet_sched_idle(f->sched));
}

static void what_is_predicted_is_when_it_is_answered(void **state)
{
    fixture_t *f = *state;
    const gpulet_sched_request_t r = {.model = 0, .items = 1, .arrival_ns = MS};
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 15 * MS});
    assert_true(gpulet_sched_predict_ns(f->sched, MS, &r) == UINT64_MAX);
    f->actions = gpulet_sched_model_expect(f->sched, MS, 0, 9 * MS);
    assert_int_equal(gpulet_sched_predict_ns(f->sched, MS, &r), 9 * MS);
    add_lane(f, 1, 0, 1, 9, 1);
    uint64_t idle = gpulet_sched_predict_ns(f->sched, MS, &r);
    assert_in_range(idle, 11 * MS, 12 * MS);
    arrive(f, 1, 0, plain);
    const size_t actions = f->actions.count;
    /* Behind the one that runs, though its objective would not allow that. */
    assert_in_range(gpulet_sched_predict_ns(f->sched, MS, &r), 21 * MS, 23 * MS);
    assert_int_equal(f->actions.count, actions);
    sent(f, 0, 1);
    gpulet_sched_model_stats_t stats;
    gpulet_sched_model_stats(f->sched, 0, &stats);
    assert_int_equal(stats.offered, 1);
}

static void what_is_called_off_was_no_load(void **state)
{
    fixture_t *f = *state;
    set_model(f, 0, (gpulet_sched_model_t){.slo_ns = 1000 * MS});
    set_model(f, 1, (gpulet_sched_model_t){.slo_ns = 40 * MS});
    add_lane(f, 1, 0, 2, 9, 1);
    arrive(f, 1, 0, (gpulet_sched_request_t){.model = 1});
    /* A great many arrive and go again: the co-resident need not reckon with more of them. */
    for (uint64_t i = 1; i <= 200; i++) {
        gpulet_ticket_t ticket = arrive(f, 2, i, plain);
        assert_int_not_equal(ticket, 0);
        f->actions = gpulet_sched_on_cancel(f->sched, 2 * MS, ticket);
    }
    assert_int_not_equal(arrive(f, 2, 999, (gpulet_sched_request_t){.model = 1}), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVENT_TEST(a_request_to_an_idle_lane_runs_at_once_and_is_answered),
        EVENT_TEST(what_waits_goes_together_when_the_lane_is_free),
        EVENT_TEST(a_second_batch_is_committed_shortly_before_the_first_ends),
        EVENT_TEST(requests_of_other_shapes_share_no_batch),
        EVENT_TEST(late_at_arrival_is_refused_with_a_time_to_come_back),
        EVENT_TEST(other_refusals_say_their_reason),
        EVENT_TEST(a_full_pool_refuses_and_keeps_a_quarter_for_deadlines),
        EVENT_TEST(a_timer_that_goes_off_early_is_armed_again),
        EVENT_TEST(what_can_no_longer_make_it_is_dropped_by_the_timer),
        EVENT_TEST(a_lost_batch_is_run_once_more_and_late_words_are_ignored),
        EVENT_TEST(a_lost_batch_without_time_left_is_rejected),
        EVENT_TEST(cancelling_takes_out_what_waits_and_leaves_what_runs),
        EVENT_TEST(a_cancelled_request_is_not_run_again_after_a_loss),
        EVENT_TEST(a_drained_lane_ends_its_batches_and_says_so),
        EVENT_TEST(make_before_break_loses_nothing),
        EVENT_TEST(a_removed_model_rejects_what_waits_and_answers_what_runs),
        EVENT_TEST(estimates_survive_the_lane),
        EVENT_TEST(lanes_are_checked),
        EVENT_TEST(a_lane_may_change_what_it_serves_while_it_runs),
        EVENT_TEST(a_lane_serves_nothing_that_is_not_known_or_twice),
        EVENT_TEST(an_error_of_the_engine_is_the_answer_of_all_its_requests),
        EVENT_TEST(a_deadline_of_its_own_stands_in_the_place_of_the_objective),
        EVENT_TEST(the_least_time_is_that_of_the_smallest_planned_batch_or_of_its_items),
        EVENT_TEST(a_group_is_admitted_as_a_whole),
        EVENT_TEST(what_is_predicted_is_when_it_is_answered),
        EVENT_TEST(what_is_called_off_was_no_load),
    };
    return cmocka_run_group_tests_name("sched.events", tests, NULL, NULL);
}
