/* Runs of random applications, several at a time, with faults: the promises of sched/app.h hold
 * after every event, and deadlines are those of the longest way, found by walking all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../seeds.h"
#include "base/rng.h"
#include "sched/app.h"

enum { SEEDS = 3000, RUNS_MAX = 5, STARTS = 12, STAGES_MAX = 9, EVENTS_MAX = 4000 };

/* What has been seen of one run. */
typedef struct seen {
    gpulet_app_run_t run;
    const gpulet_app_t *app;
    gpulet_app_set_t submitted;
    gpulet_app_set_t answered; /* with a result */
    bool ended;
} seen_t;

typedef struct world {
    gpulet_rng_t rng;
    gpulet_app_runs_t *runs;
    gpulet_app_t *apps[3];
    seen_t seen[STARTS];
    uint32_t started;
    uint32_t alive;
} world_t;

static gpulet_app_t *random_app(gpulet_rng_t *rng)
{
    gpulet_app_t *app = NULL;
    uint32_t stages = 1 + (uint32_t)gpulet_rng_below(rng, STAGES_MAX);
    uint32_t density = (uint32_t)gpulet_rng_below(rng, 5);
    assert_int_equal(gpulet_app_create(&app, "a", NULL), GPULET_OK);
    for (uint32_t i = 0; i < stages; i++) {
        uint32_t index = 0;
        assert_int_equal(gpulet_app_add_stage(app, &index, NULL, "m", NULL), GPULET_OK);
    }
    /* Edges lead up or, in every other application, down, so that the order is not that of the
     * list. */
    bool down = gpulet_rng_below(rng, 2) == 0;
    for (uint32_t i = 0; i < stages; i++) {
        for (uint32_t j = 0; j < i; j++) {
            if (gpulet_rng_below(rng, 8) < density)
                gpulet_app_add_after(app, down ? j : i, down ? i : j);
        }
    }
    assert_int_equal(gpulet_app_finish(app, NULL), GPULET_OK);
    return app;
}

static void check_step(world_t *w, seen_t *s, gpulet_app_step_t step, uint64_t seed)
{
    const gpulet_app_set_t outstanding = s->submitted & ~s->answered;
    if (s->ended && (step.end != GPULET_APP_GOES_ON || step.submit != 0 || step.cancel != 0))
        fail_msg("seed %llu: something is done after the end", (unsigned long long)seed);
    if ((step.submit & s->submitted) != 0)
        fail_msg("seed %llu: a stage is submitted twice", (unsigned long long)seed);
    for (gpulet_app_set_t left = step.submit; left != 0; left &= left - 1) {
        if ((s->app->stages[__builtin_ctzll(left)].before & ~s->answered) != 0)
            fail_msg("seed %llu: a stage is submitted early", (unsigned long long)seed);
    }
    s->submitted |= step.submit;
    if (step.end == GPULET_APP_GOES_ON) {
        assert_int_equal(step.cancel, 0);
        if (!s->ended)
            assert_int_equal(gpulet_app_runs_outstanding(w->runs, s->run),
                             s->submitted & ~s->answered);
        /* Whatever could be submitted has been: a run that goes on is never stuck. */
        for (uint32_t i = 0; !s->ended && i < s->app->stages_count; i++) {
            bool ready = (s->app->stages[i].before & ~s->answered) == 0;
            assert_int_equal(ready, s->submitted >> i & 1);
        }
        return;
    }
    assert_int_equal(step.submit, 0);
    assert_int_equal(step.cancel, outstanding);
    assert_int_equal(step.end == GPULET_APP_DONE, s->answered == s->app->all);
    assert_int_equal(gpulet_app_runs_outstanding(w->runs, s->run), 0);
    s->ended = true;
    w->alive--;
}

static void start(world_t *w, uint64_t seed)
{
    seen_t *s = &w->seen[w->started];
    gpulet_app_step_t step;
    s->app = w->apps[gpulet_rng_below(&w->rng, 3)];
    gpulet_status_t st = gpulet_app_runs_start(w->runs, &s->run, &step, s->app);
    if (w->alive == RUNS_MAX) {
        assert_int_equal(st, GPULET_E_FULL);
        return;
    }
    assert_int_equal(st, GPULET_OK);
    assert_int_not_equal(s->run, 0);
    for (uint32_t i = 0; i < w->started; i++)
        assert_true(w->seen[i].run != s->run);
    w->started++;
    w->alive++;
    assert_int_equal(gpulet_app_runs_count(w->runs), w->alive);
    assert_int_not_equal(step.submit, 0);
    check_step(w, s, step, seed);
}

/* An answer of any stage, also of one that is not under way, and of runs that have ended. */
static void event(world_t *w, uint64_t seed, bool faults)
{
    seen_t *s = &w->seen[gpulet_rng_below(&w->rng, w->started)];
    uint32_t stage = (uint32_t)gpulet_rng_below(&w->rng, s->app->stages_count + 1);
    bool under_way = ((s->submitted & ~s->answered) >> stage & 1) != 0 && !s->ended;
    uint64_t kind = gpulet_rng_below(&w->rng, 40);
    if (faults && kind == 0) {
        bool was_ended = s->ended;
        gpulet_app_step_t step = gpulet_app_runs_cancel(w->runs, s->run);
        assert_int_equal(step.end, was_ended ? GPULET_APP_GOES_ON : GPULET_APP_GONE);
        check_step(w, s, step, seed);
        return;
    }
    if (faults && kind == 1) {
        gpulet_app_step_t step = gpulet_app_runs_stage_failed(w->runs, s->run, stage);
        assert_int_equal(step.end, under_way ? GPULET_APP_FAILED : GPULET_APP_GOES_ON);
        if (under_way)
            s->submitted &= ~(UINT64_C(1) << stage); /* it has its answer, as far as that goes */
        check_step(w, s, step, seed);
        return;
    }
    gpulet_app_step_t step = gpulet_app_runs_stage_done(w->runs, s->run, stage);
    if (under_way)
        s->answered |= UINT64_C(1) << stage;
    else
        assert_int_equal(step.submit, 0);
    check_step(w, s, step, seed);
}

static void every_run_ends_exactly_once(void **state)
{
    (void)state;
    uint64_t done = 0;
    uint64_t first = 1;
    uint64_t count = SEEDS;
    seeds_choose(&first, &count);
    for (uint64_t seed = first; seed < first + count; seed++) {
        world_t w;
        memset(&w, 0, sizeof(w));
        gpulet_rng_init(&w.rng, seed);
        bool faults = seed % 3 != 0;
        assert_int_equal(gpulet_app_runs_create(&w.runs, RUNS_MAX), GPULET_OK);
        for (int i = 0; i < 3; i++)
            w.apps[i] = random_app(&w.rng);
        for (uint32_t n = 0; n < EVENTS_MAX && (w.started < STARTS || w.alive > 0); n++) {
            if (w.started == 0 || (w.started < STARTS && gpulet_rng_below(&w.rng, 6) == 0))
                start(&w, seed);
            else
                event(&w, seed, faults);
        }
        if (w.alive > 0)
            fail_msg("seed %llu: %u runs never end", (unsigned long long)seed, w.alive);
        for (uint32_t i = 0; i < STARTS; i++)
            done += w.seen[i].answered == w.seen[i].app->all;
        gpulet_app_runs_destroy(w.runs);
        for (int i = 0; i < 3; i++)
            gpulet_app_destroy(w.apps[i]);
    }
    print_message("%llu of %llu runs went through\n", (unsigned long long)done,
                  (unsigned long long)(count * STARTS));
    assert_true(done > count * STARTS / 3);
}

/* By walking every way, without the order that the code under test relies on. */
static uint64_t longest_behind(const gpulet_app_t *app, uint32_t stage, const uint64_t *cost)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < app->stages_count; i++) {
        if ((app->stages[i].before >> stage & 1) == 0)
            continue;
        uint64_t way = cost[i] + longest_behind(app, i, cost);
        most = way > most ? way : most;
    }
    return most;
}

static void a_stage_must_be_done_while_the_rest_still_fits(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        gpulet_rng_t rng;
        uint64_t cost[STAGES_MAX];
        uint64_t deadline[STAGES_MAX];
        gpulet_rng_init(&rng, seed);
        gpulet_app_t *app = random_app(&rng);
        for (uint32_t i = 0; i < app->stages_count; i++)
            cost[i] = gpulet_rng_below(&rng, 100);
        gpulet_app_deadlines(deadline, app, 250, cost);
        for (uint32_t i = 0; i < app->stages_count; i++) {
            uint64_t rest = longest_behind(app, i, cost);
            assert_int_equal(deadline[i], rest < 250 ? 250 - rest : 0);
        }
        gpulet_app_deadlines(deadline, app, UINT64_MAX, cost);
        for (uint32_t i = 0; i < app->stages_count; i++)
            assert_true(deadline[i] == UINT64_MAX);
        gpulet_app_destroy(app);
    }
}

static void only_what_can_be_in_time_is_let_in_and_now_and_then_another(void **state)
{
    (void)state;
    gpulet_app_gate_t gate = {0};
    gpulet_app_t *app = NULL;
    uint64_t retry = 1;
    uint32_t index = 0;
    const uint64_t ms = 1000000;
    const uint64_t needed[] = {30 * ms, 40 * ms, 50 * ms}; /* 0, then 1 beside 2 */
    assert_int_equal(gpulet_app_create(&app, "a", NULL), GPULET_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(gpulet_app_add_stage(app, &index, NULL, "m", NULL), GPULET_OK);
    gpulet_app_add_after(app, 1, 0);
    gpulet_app_add_after(app, 2, 0);
    assert_int_equal(gpulet_app_finish(app, NULL), GPULET_OK);
    assert_int_equal(gpulet_app_admit(&gate, app, ms, UINT64_MAX, needed, false, &retry),
                     GPULET_APP_ADMITTED);
    assert_int_equal(gpulet_app_admit(&gate, app, ms, 81 * ms, needed, false, &retry),
                     GPULET_APP_ADMITTED);
    assert_int_equal(retry, 0);
    assert_int_equal(gpulet_app_admit(&gate, app, ms, 78 * ms, needed, false, &retry),
                     GPULET_APP_REFUSED);
    assert_int_equal(retry, 3 * ms);
    assert_int_equal(gpulet_app_admit(&gate, app, ms, 78 * ms, needed, true, &retry),
                     GPULET_APP_PROBE);
    assert_int_equal(gpulet_app_admit(&gate, app, 308 * ms, 385 * ms, needed, true, &retry),
                     GPULET_APP_REFUSED);
    assert_int_equal(gpulet_app_admit(&gate, app, 309 * ms, 386 * ms, needed, true, &retry),
                     GPULET_APP_PROBE);
    assert_int_equal(gpulet_app_admit(&gate, app, 9000 * ms, 8999 * ms, needed, true, &retry),
                     GPULET_APP_REFUSED);
    gpulet_app_destroy(app);
}

static void limits_are_kept(void **state)
{
    (void)state;
    gpulet_app_runs_t *runs = NULL;
    assert_int_equal(gpulet_app_runs_create(&runs, 0), GPULET_E_INVALID);
    assert_int_equal(gpulet_app_runs_create(&runs, GPULET_APP_RUNS_MAX + 1), GPULET_E_INVALID);
    assert_int_equal(gpulet_app_runs_create(&runs, 1), GPULET_OK);
    assert_int_equal(gpulet_app_runs_stage_done(runs, 0, 0).end, GPULET_APP_GOES_ON);
    assert_int_equal(gpulet_app_runs_cancel(runs, UINT64_MAX).end, GPULET_APP_GOES_ON);
    gpulet_app_runs_destroy(runs);
    gpulet_app_runs_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_run_ends_exactly_once),
        cmocka_unit_test(a_stage_must_be_done_while_the_rest_still_fits),
        cmocka_unit_test(only_what_can_be_in_time_is_let_in_and_now_and_then_another),
        cmocka_unit_test(limits_are_kept),
    };
    return cmocka_run_group_tests_name("prop.sched.apps", tests, NULL, NULL);
}
