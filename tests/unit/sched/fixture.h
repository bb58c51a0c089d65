/* A brain with a few helpers for tests of single events; times in milliseconds, L(b) = fixed + each
 * × b. */
#ifndef GPULET_TESTS_SCHED_FIXTURE_H
#define GPULET_TESTS_SCHED_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sched/sched.h"

#define MS 1000000ULL

typedef struct fixture {
    gpulet_sched_t *sched;
    gpulet_actions_t actions;
} fixture_t;

static inline int fixture_up(void **state)
{
    static const gpulet_sched_options_t options = {8, 8, 16, MS / 2, 2};
    fixture_t *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(gpulet_sched_create(&f->sched, &options), GPULET_OK);
    *state = f;
    return 0;
}

static inline int fixture_down(void **state)
{
    fixture_t *f = *state;
    gpulet_sched_destroy(f->sched);
    free(f);
    return 0;
}

static inline void set_model(fixture_t *f, uint32_t model, gpulet_sched_model_t value)
{
    value.batch_max = value.batch_max != 0 ? value.batch_max : 16;
    assert_int_equal(gpulet_sched_model_set(f->sched, model, &value), GPULET_OK);
}

/* Models 0 … count-1, at most 4, on 10 units. */
typedef struct fixture_lane {
    gpulet_sched_service_t services[4];
    uint64_t exec[32];
    gpulet_sched_lane_t value;
} fixture_lane_t;

static inline void make_lane(fixture_lane_t *out, uint32_t count, uint32_t fixed_ms, uint32_t batch)
{
    for (uint32_t b = 1; b <= 32; b++)
        out->exec[b - 1] = (fixed_ms + b) * MS;
    for (uint32_t i = 0; i < count; i++)
        out->services[i] = (gpulet_sched_service_t){i, batch, 0, out->exec, 32};
    out->value = (gpulet_sched_lane_t){10, count, out->services};
}

static inline void add_lane(fixture_t *f, uint64_t now_ms, uint32_t lane, uint32_t count,
                            uint32_t fixed_ms, uint32_t batch)
{
    fixture_lane_t made;
    make_lane(&made, count, fixed_ms, batch);
    assert_int_equal(gpulet_sched_lane_add(f->sched, now_ms * MS, lane, &made.value, &f->actions),
                     GPULET_OK);
}

/* The same for a lane that is there. */
static inline void serve_lane(fixture_t *f, uint64_t now_ms, uint32_t lane, uint32_t count,
                              uint32_t fixed_ms, uint32_t batch)
{
    fixture_lane_t made;
    make_lane(&made, count, fixed_ms, batch);
    assert_int_equal(gpulet_sched_lane_serve(f->sched, now_ms * MS, lane, &made.value, &f->actions),
                     GPULET_OK);
}

static inline gpulet_ticket_t arrive(fixture_t *f, uint64_t now_ms, uint64_t id,
                                     gpulet_sched_request_t r)
{
    gpulet_ticket_t ticket = 0;
    r.id = id;
    r.items = r.items != 0 ? r.items : 1;
    r.arrival_ns = now_ms * MS;
    f->actions = gpulet_sched_on_request(f->sched, now_ms * MS, &r, &ticket);
    return ticket;
}

static inline void done(fixture_t *f, uint64_t now_ms, uint64_t batch)
{
    f->actions = gpulet_sched_on_batch_done(f->sched, now_ms * MS, batch, 0, GPULET_OK);
}

/* The first action of the kind among the last event's; NULL. */
static inline const gpulet_action_t *action_of(const fixture_t *f, gpulet_action_kind_t kind)
{
    for (size_t i = 0; i < f->actions.count; i++) {
        if (f->actions.items[i].kind == kind)
            return &f->actions.items[i];
    }
    return NULL;
}

static inline size_t count_of(const fixture_t *f, gpulet_action_kind_t kind)
{
    size_t count = 0;
    for (size_t i = 0; i < f->actions.count; i++)
        count += f->actions.items[i].kind == kind;
    return count;
}

/* The batch that the last event sent; the test fails without one. */
static inline uint64_t sent(const fixture_t *f, uint32_t model, uint32_t items)
{
    const gpulet_action_t *run = action_of(f, GPULET_ACTION_RUN);
    assert_non_null(run);
    assert_int_equal(run->u.run.model, model);
    assert_int_equal(run->u.run.items, items);
    return run->u.run.batch;
}

static inline void assert_rejected(const fixture_t *f, uint64_t id, gpulet_reject_t reason)
{
    const gpulet_action_t *reject = action_of(f, GPULET_ACTION_REJECT);
    assert_non_null(reject);
    assert_int_equal(reject->u.reject.request, id);
    assert_int_equal(reject->u.reject.reason, reason);
}

#endif
