#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEVER UINT64_MAX

enum { EVENTS_MAX = 4096, BATCH_MAX = 256 };

typedef struct request {
    gpulet_sched_request_t value;
    gpulet_ticket_t ticket;
    uint64_t deadline_ns;
    uint64_t batch;
    char outcome;
    bool cancelled; /* asked for */
    bool returned;  /* its batch was lost */
    gpulet_reject_t reason;
} request_t;

typedef struct batch {
    uint64_t id;
    uint32_t lane, model, items, count;
    uint64_t exec_ns;
    uint64_t done_ns; /* NEVER: has not started */
    bool lost;
    bool silent;
    uint32_t requests[BATCH_MAX];
} batch_t;

typedef struct lane {
    bool there, draining;
    uint32_t units, count;
    uint32_t models[WORLD_SERVICES];
    batch_t *running, *waiting;
} lane_t;

struct world {
    uint64_t seed, now_ns, timer_ns, hash;
    gpulet_rng_t rng;
    gpulet_sched_t *sched;
    gpulet_sched_options_t options;
    gpulet_sched_model_t models[WORLD_MODELS];
    bool known[WORLD_MODELS];
    world_truth_t truths[WORLD_MODELS];
    world_stats_t stats[WORLD_MODELS];
    gpulet_sched_model_stats_t base[WORLD_MODELS];
    lane_t lanes[WORLD_LANES];
    batch_t *flying[4 * WORLD_LANES + 64];
    uint32_t flying_count;
    request_t *requests;
    uint32_t requests_count, requests_capacity;
    double slow, failing, stuck;
    const batch_t *answering;
    bool closing;
};

#define CHECK(w, condition)                                                                        \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "seed=0x%llx t=%llu ns: broken promise: %s (line %d)\n",               \
                    (unsigned long long)(w)->seed, (unsigned long long)(w)->now_ns, #condition,    \
                    __LINE__);                                                                     \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static void mix(world_t *w, uint64_t value)
{
    w->hash = (w->hash ^ value) * 0x100000001b3U;
    w->hash ^= w->hash >> 29;
}

world_t *world_create(uint64_t seed, const gpulet_sched_options_t *options)
{
    world_t *w = calloc(1, sizeof(*w));
    if (w == NULL)
        abort();
    w->seed = seed;
    w->now_ns = 1000000000;
    w->timer_ns = NEVER;
    w->slow = 1;
    w->options = *options;
    gpulet_rng_init(&w->rng, seed);
    if (gpulet_sched_create(&w->sched, options) != GPULET_OK)
        abort();
    return w;
}

void world_destroy(world_t *w)
{
    for (uint32_t i = 0; i < w->flying_count; i++)
        free(w->flying[i]);
    gpulet_sched_destroy(w->sched);
    free(w->requests);
    free(w);
}

gpulet_rng_t *world_rng(world_t *w)
{
    return &w->rng;
}

uint64_t world_now(const world_t *w)
{
    return w->now_ns;
}

gpulet_sched_t *world_sched(world_t *w)
{
    return w->sched;
}

static uint64_t true_ns(const world_t *w, uint32_t model, uint32_t units, uint32_t items)
{
    const world_truth_t *t = &w->truths[model];
    uint32_t fixed = w->models[model].batch_fixed;
    uint32_t cost = items > fixed ? items : fixed;
    return (uint64_t)((t->fixed_ns + t->each_ns * cost) * (100.0 / units));
}

static bool serves(const lane_t *lane, uint32_t model)
{
    for (uint32_t i = 0; i < lane->count; i++) {
        if (lane->models[i] == model)
            return true;
    }
    return false;
}

static void start_batch(world_t *w, batch_t *b, uint64_t at_ns)
{
    double factor = w->slow * (1 + w->truths[b->model].noise * (2 * gpulet_rng_f64(&w->rng) - 1));
    if (w->stuck > 0 && gpulet_rng_f64(&w->rng) < w->stuck)
        factor *= 10;
    b->exec_ns =
        (uint64_t)((double)true_ns(w, b->model, w->lanes[b->lane].units, b->items) * factor);
    b->exec_ns = b->exec_ns > 0 ? b->exec_ns : 1;
    b->done_ns = at_ns + b->exec_ns + w->options.overhead_ns / 2;
}

/* A request that runs against the prediction must be a probe: alone, on a lane that had nothing
 * else. */
static void check_in_time(world_t *w, const gpulet_action_t *a, const request_t *r)
{
    if (r->deadline_ns == NEVER || w->models[r->value.model].late_serve)
        return;
    uint64_t run = gpulet_sched_estimate_class_ns(w->sched, a->u.run.lane, a->u.run.model,
                                                  a->u.run.items, r->value.size_class);
    if (w->now_ns + run <= r->deadline_ns)
        return;
    CHECK(w, a->u.run.requests_count == 1 && w->lanes[a->u.run.lane].running == NULL);
    w->stats[r->value.model].probes++;
}

static void on_run(world_t *w, const gpulet_action_t *a)
{
    CHECK(w, a->u.run.lane < WORLD_LANES);
    lane_t *lane = &w->lanes[a->u.run.lane];
    CHECK(w, lane->there && !lane->draining && lane->waiting == NULL);
    CHECK(w, serves(lane, a->u.run.model) && a->u.run.requests_count >= 1);
    CHECK(w, a->u.run.items <= w->models[a->u.run.model].batch_max || a->u.run.requests_count == 1);
    batch_t *b = calloc(1, sizeof(*b));
    if (b == NULL)
        abort();
    *b = (batch_t){
        .id = a->u.run.batch, .lane = a->u.run.lane, .model = a->u.run.model, .done_ns = NEVER};
    for (uint32_t i = 0; i < w->flying_count; i++)
        CHECK(w, w->flying[i]->id != b->id);
    b->count = a->u.run.requests_count;
    CHECK(w, b->count <= BATCH_MAX);
    for (uint32_t i = 0; i < b->count; i++) {
        b->requests[i] = (uint32_t)a->u.run.requests[i];
        request_t *r = &w->requests[b->requests[i]];
        CHECK(w, r->outcome == 'w' && r->value.model == b->model);
        CHECK(w, r->value.shape_key == w->requests[b->requests[0]].value.shape_key);
        check_in_time(w, a, r);
        r->outcome = 'r';
        r->batch = b->id;
        b->items += r->value.items;
        mix(w, r->value.id);
    }
    CHECK(w, b->items == a->u.run.items);
    CHECK(w, w->flying_count < sizeof(w->flying) / sizeof(w->flying[0]));
    w->flying[w->flying_count++] = b;
    w->stats[b->model].batches++;
    if (lane->running == NULL) {
        lane->running = b;
        start_batch(w, b, w->now_ns + w->options.overhead_ns / 2);
    } else {
        lane->waiting = b;
    }
}

static void on_reply(world_t *w, const gpulet_action_t *a)
{
    request_t *r = &w->requests[a->u.reply.request];
    const batch_t *b = w->answering;
    CHECK(w, r->outcome == 'r' && b != NULL && r->batch == b->id && a->u.reply.batch == b->id);
    CHECK(w, a->u.reply.index < b->count && b->requests[a->u.reply.index] == a->u.reply.request);
    uint32_t row = 0;
    for (uint32_t i = 0; i < a->u.reply.index; i++)
        row += w->requests[b->requests[i]].value.items;
    CHECK(w, row == a->u.reply.row && a->u.reply.in_time == (w->now_ns <= r->deadline_ns));
    world_stats_t *s = &w->stats[r->value.model];
    r->outcome = a->u.reply.status != GPULET_OK ? 'f' : a->u.reply.in_time ? 'i' : 'l';
    s->failed += r->outcome == 'f';
    s->in_time += r->outcome == 'i';
    s->late += r->outcome == 'l';
    s->items += r->outcome == 'f' ? 0 : r->value.items;
}

static void on_reject(world_t *w, const gpulet_action_t *a)
{
    request_t *r = &w->requests[a->u.reject.request];
    gpulet_reject_t reason = a->u.reject.reason;
    CHECK(w, r->outcome == 'w');
    CHECK(w, reason != GPULET_REJECT_WORKER_LOST || r->returned);
    if (reason == GPULET_REJECT_DROPPED || reason == GPULET_REJECT_TIMEOUT ||
        reason == GPULET_REJECT_PREDICTED_LATE)
        CHECK(w, r->deadline_ns != NEVER && !w->models[r->value.model].late_serve);
    r->outcome = 'x';
    r->reason = reason;
    w->stats[r->value.model].rejected++;
    w->stats[r->value.model].dropped +=
        reason == GPULET_REJECT_DROPPED || reason == GPULET_REJECT_TIMEOUT;
}

static void apply_one(world_t *w, const gpulet_action_t *a)
{
    mix(w, (uint64_t)a->kind);
    switch (a->kind) {
    case GPULET_ACTION_RUN:
        mix(w, a->u.run.batch ^ (uint64_t)a->u.run.lane << 56);
        on_run(w, a);
        break;
    case GPULET_ACTION_REPLY:
        mix(w, a->u.reply.request);
        on_reply(w, a);
        break;
    case GPULET_ACTION_REJECT:
        mix(w, a->u.reject.request ^ (uint64_t)a->u.reject.reason << 56);
        on_reject(w, a);
        break;
    case GPULET_ACTION_CANCELLED: {
        request_t *r = &w->requests[a->u.cancelled.request];
        CHECK(w, r->cancelled && r->outcome == 'w');
        r->outcome = 'c';
        w->stats[r->value.model].cancelled++;
        break;
    }
    case GPULET_ACTION_TIMER:
        CHECK(w, a->u.timer.at_ns != w->timer_ns && a->u.timer.at_ns > w->now_ns);
        w->timer_ns = a->u.timer.at_ns;
        mix(w, w->timer_ns);
        break;
    case GPULET_ACTION_LANE_IDLE: {
        lane_t *lane = &w->lanes[a->u.lane_idle.lane];
        CHECK(w, lane->there && lane->draining && lane->running == NULL && lane->waiting == NULL);
        lane->there = false;
        break;
    }
    }
}

/* No lane is free while a request waits that it could answer in time. */
static void check_conserving(world_t *w)
{
    for (uint32_t i = 0; i < w->requests_count; i++) {
        const request_t *r = &w->requests[i];
        if (r->outcome != 'w')
            continue;
        for (uint32_t l = 0; l < WORLD_LANES; l++) {
            const lane_t *lane = &w->lanes[l];
            if (!lane->there || lane->draining || lane->running != NULL ||
                !serves(lane, r->value.model))
                continue;
            uint64_t run = gpulet_sched_estimate_class_ns(w->sched, l, r->value.model,
                                                          r->value.items, r->value.size_class);
            uint64_t sure = w->now_ns + w->options.overhead_ns + 2 * run;
            CHECK(w, r->deadline_ns != NEVER && !w->models[r->value.model].late_serve);
            CHECK(w, run == 0 || sure > r->deadline_ns); /* 0: nothing is known yet */
        }
    }
}

static void check_stats(world_t *w)
{
    bool idle = true;
    for (uint32_t m = 0; m < WORLD_MODELS; m++) {
        gpulet_sched_model_stats_t s;
        gpulet_sched_model_stats(w->sched, m, &s);
        uint64_t ended = s.in_time + s.late + s.failed + s.cancelled;
        for (int r = 0; r < GPULET_REJECT_COUNT; r++)
            ended += s.rejected[r];
        CHECK(w, s.offered == ended + s.waiting + s.running);
        idle = idle && s.waiting == 0 && s.running == 0;
    }
    CHECK(w, gpulet_sched_idle(w->sched) == idle);
}

static void apply(world_t *w, gpulet_actions_t actions)
{
    mix(w, w->now_ns);
    for (size_t i = 0; i < actions.count; i++)
        apply_one(w, &actions.items[i]);
    if (w->requests_count < 400)
        check_conserving(w);
    check_stats(w);
}

void world_model(world_t *w, uint32_t model, const gpulet_sched_model_t *value,
                 const world_truth_t *truth)
{
    w->models[model] = *value;
    w->models[model].weight = model % 3; /* 0 is the default of 1 */
    w->truths[model] = *truth;
    w->known[model] = true;
    CHECK(w, gpulet_sched_model_set(w->sched, model, &w->models[model]) == GPULET_OK);
}

void world_model_remove(world_t *w, uint32_t model)
{
    w->known[model] = false;
    for (uint32_t l = 0; l < WORLD_LANES; l++) {
        lane_t *lane = &w->lanes[l];
        uint32_t kept = 0;
        for (uint32_t i = 0; i < lane->count; i++) {
            if (lane->models[i] != model)
                lane->models[kept++] = lane->models[i];
        }
        lane->count = kept;
    }
    apply(w, gpulet_sched_model_remove(w->sched, w->now_ns, model));
}

/* What the lane is told; the checker expects the same from here on. The caller adds or changes it.
 */
static gpulet_sched_lane_t plan_lane(world_t *w, lane_t *lane, uint32_t count,
                                     const uint32_t *models, const uint32_t *batches)
{
    static uint64_t exec[WORLD_SERVICES][WORLD_EXEC];
    static gpulet_sched_service_t services[WORLD_SERVICES];
    lane->count = count;
    for (uint32_t i = 0; i < count; i++) {
        lane->models[i] = models[i];
        double off = w->truths[models[i]].profile_off;
        for (uint32_t b = 1; b <= WORLD_EXEC; b++)
            exec[i][b - 1] = (uint64_t)((double)true_ns(w, models[i], lane->units, b) * off);
        services[i] =
            (gpulet_sched_service_t){models[i], batches[i], 0, exec[i], off > 0 ? WORLD_EXEC : 0};
    }
    return (gpulet_sched_lane_t){lane->units, count, services};
}

void world_lane(world_t *w, uint32_t index, uint32_t units, uint32_t count, const uint32_t *models,
                const uint32_t *batches)
{
    gpulet_actions_t actions;
    w->lanes[index] = (lane_t){.there = true, .units = units};
    gpulet_sched_lane_t value = plan_lane(w, &w->lanes[index], count, models, batches);
    CHECK(w, gpulet_sched_lane_add(w->sched, w->now_ns, index, &value, &actions) == GPULET_OK);
    apply(w, actions);
}

void world_serve(world_t *w, uint32_t index, uint32_t count, const uint32_t *models,
                 const uint32_t *batches)
{
    gpulet_actions_t actions;
    gpulet_sched_lane_t value = plan_lane(w, &w->lanes[index], count, models, batches);
    CHECK(w, gpulet_sched_lane_serve(w->sched, w->now_ns, index, &value, &actions) == GPULET_OK);
    apply(w, actions);
}

void world_drain(world_t *w, uint32_t lane)
{
    w->lanes[lane].draining = true;
    apply(w, gpulet_sched_lane_drain(w->sched, w->now_ns, lane));
}

void world_lose(world_t *w, uint32_t index, bool speaks)
{
    lane_t *lane = &w->lanes[index];
    batch_t *lost[2] = {lane->running, lane->waiting};
    for (int i = 0; i < 2; i++) {
        if (lost[i] == NULL)
            continue;
        lost[i]->lost = true;
        lost[i]->silent = !speaks;
        if (lost[i]->done_ns == NEVER)
            lost[i]->done_ns = w->now_ns + 1000000;
        for (uint32_t j = 0; j < lost[i]->count; j++) {
            request_t *r = &w->requests[lost[i]->requests[j]];
            r->returned = true;
            r->outcome = 'w';
        }
    }
    *lane = (lane_t){0};
    apply(w, gpulet_sched_lane_lost(w->sched, w->now_ns, index));
}

bool world_lane_there(const world_t *w, uint32_t lane)
{
    return w->lanes[lane].there;
}

bool world_lane_draining(const world_t *w, uint32_t lane)
{
    return w->lanes[lane].draining;
}

void world_slow(world_t *w, double factor)
{
    w->slow = factor;
}

void world_faults(world_t *w, double failing, double stuck)
{
    w->failing = failing;
    w->stuck = stuck;
}

void world_shutdown(world_t *w, bool now)
{
    w->closing = true;
    apply(w, gpulet_sched_shutdown(w->sched, w->now_ns, now));
}

static uint64_t deadline_of(const world_t *w, const gpulet_sched_request_t *r)
{
    const gpulet_sched_model_t *m = &w->models[r->model];
    uint64_t limit = m->slo_ns != 0 ? m->slo_ns : NEVER;
    if (m->timeout_ns != 0 && m->timeout_ns < limit)
        limit = m->timeout_ns;
    if (r->timeout_ns != 0 && r->timeout_ns < limit)
        limit = r->timeout_ns;
    return limit == NEVER ? NEVER : r->arrival_ns + limit;
}

uint32_t world_arrive(world_t *w, const gpulet_sched_request_t *request)
{
    if (w->requests_count == w->requests_capacity) {
        w->requests_capacity = w->requests_capacity == 0 ? 1024 : 2 * w->requests_capacity;
        w->requests = realloc(w->requests, w->requests_capacity * sizeof(*w->requests));
        if (w->requests == NULL)
            abort();
    }
    uint32_t number = w->requests_count++;
    request_t *r = &w->requests[number];
    *r = (request_t){.value = *request, .outcome = 'w'};
    r->value.id = number;
    r->value.items = request->items > 0 ? request->items : 1;
    r->value.arrival_ns = request->arrival_ns != 0 ? request->arrival_ns : w->now_ns;
    r->deadline_ns = deadline_of(w, &r->value);
    w->stats[request->model].offered++;
    gpulet_ticket_t ticket = 99;
    gpulet_sched_request_t value = r->value;
    gpulet_actions_t actions = gpulet_sched_on_request(w->sched, w->now_ns, &value, &ticket);
    r->ticket = ticket;
    apply(w, actions);
    CHECK(w, (ticket != 0) || w->requests[number].outcome == 'x');
    return number;
}

void world_cancel(world_t *w, uint32_t number)
{
    w->requests[number].cancelled = true;
    apply(w, gpulet_sched_on_cancel(w->sched, w->now_ns, w->requests[number].ticket));
    CHECK(w, w->requests[number].outcome != 'w');
}

void world_cancel_any(world_t *w, uint32_t number)
{
    char before = w->requests[number].outcome;
    w->requests[number].cancelled = w->requests[number].cancelled || before == 'w' || before == 'r';
    apply(w, gpulet_sched_on_cancel(w->sched, w->now_ns, w->requests[number].ticket));
    CHECK(w, w->requests[number].outcome == (before == 'w' ? 'c' : before));
}

void world_check_ended(world_t *w)
{
    for (uint32_t i = 0; i < w->requests_count; i++)
        CHECK(w, w->requests[i].outcome != 'w' && w->requests[i].outcome != 'r');
}

uint32_t world_requests(const world_t *w)
{
    return w->requests_count;
}

static void finish_batch(world_t *w, uint32_t place)
{
    batch_t *b = w->flying[place];
    w->flying[place] = w->flying[--w->flying_count];
    w->now_ns = b->done_ns;
    gpulet_status_t status = GPULET_OK;
    if (w->failing > 0 && gpulet_rng_f64(&w->rng) < w->failing)
        status = GPULET_E_INTERNAL;
    if (b->lost && b->silent) {
        free(b);
        return;
    }
    if (!b->lost) {
        lane_t *lane = &w->lanes[b->lane];
        lane->running = lane->waiting;
        lane->waiting = NULL;
        if (lane->running != NULL)
            start_batch(w, lane->running, w->now_ns - w->options.overhead_ns / 2);
        w->answering = b;
    }
    apply(w, gpulet_sched_on_batch_done(w->sched, w->now_ns, b->id, b->exec_ns, status));
    w->answering = NULL;
    for (uint32_t i = 0; !b->lost && i < b->count; i++)
        CHECK(w, w->requests[b->requests[i]].outcome != 'r' ||
                     w->requests[b->requests[i]].batch != b->id);
    free(b);
}

/* The next thing that happens by itself; false: nothing up to the time. */
static bool step(world_t *w, uint64_t until_ns)
{
    uint32_t place = UINT32_MAX;
    uint64_t soonest = until_ns;
    for (uint32_t i = 0; i < w->flying_count; i++) {
        if (w->flying[i]->done_ns <= soonest &&
            (place == UINT32_MAX || w->flying[i]->done_ns < soonest ||
             w->flying[i]->id < w->flying[place]->id)) {
            soonest = w->flying[i]->done_ns;
            place = i;
        }
    }
    if (w->timer_ns <= soonest) {
        w->now_ns = w->timer_ns > w->now_ns ? w->timer_ns : w->now_ns;
        w->timer_ns = NEVER;
        apply(w, gpulet_sched_on_timer(w->sched, w->now_ns));
        return true;
    }
    if (place == UINT32_MAX)
        return false;
    finish_batch(w, place);
    return true;
}

void world_run(world_t *w, uint64_t until_ns)
{
    while (step(w, until_ns))
        continue;
    w->now_ns = until_ns > w->now_ns ? until_ns : w->now_ns;
}

void world_poisson(world_t *w, const double *rates, uint64_t until_ns)
{
    double next[WORLD_MODELS];
    for (uint32_t m = 0; m < WORLD_MODELS; m++)
        next[m] = rates[m] > 0 ? (double)w->now_ns + gpulet_rng_exponential(&w->rng, 1e9 / rates[m])
                               : 1e19;
    for (;;) {
        uint32_t model = 0;
        for (uint32_t m = 1; m < WORLD_MODELS; m++)
            model = next[m] < next[model] ? m : model;
        if (next[model] >= (double)until_ns)
            break;
        world_run(w, (uint64_t)next[model]);
        gpulet_sched_request_t request = {.model = model};
        world_arrive(w, &request);
        next[model] += gpulet_rng_exponential(&w->rng, 1e9 / rates[model]);
    }
    world_run(w, until_ns);
}

bool world_settle(world_t *w, uint64_t at_most_ns)
{
    uint64_t until = w->now_ns + at_most_ns;
    while (!gpulet_sched_idle(w->sched)) {
        if (!step(w, until))
            return false;
    }
    return true;
}

const world_stats_t *world_stats(const world_t *w, uint32_t model)
{
    return &w->stats[model];
}

void world_stats_clear(world_t *w)
{
    memset(w->stats, 0, sizeof(w->stats));
}

uint64_t world_hash(const world_t *w)
{
    return w->hash;
}

char world_outcome(const world_t *w, uint32_t number)
{
    return w->requests[number].outcome;
}

gpulet_reject_t world_reason(const world_t *w, uint32_t number)
{
    return w->requests[number].reason;
}
