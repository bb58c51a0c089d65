#include "sched/internal.h"

#include <assert.h>
#include <stdlib.h>

enum { ROUNDS_MAX = 4 };

static const uint64_t retry_least_ns = 1000000;

/* ---- keeping promises ----
 *
 * A request that is refused at arrival goes elsewhere at once; one that is admitted and dropped
 * later has lost its time as well. While a model is refusing anyway there is no lack of requests to
 * take the place of one that is refused in doubt, so its predicted waits are then stretched by
 * `caution`, which rises when a promise is broken and falls slowly while they are kept: in balance
 * about one admitted request in five hundred is broken. Where nobody is refused the stretch is
 * nothing: there a request in doubt has more to gain than to lose. Idle lanes have no waits, so
 * caution alone never shuts a model out. On shared lanes waits are the co-residents' as well, and a
 * model within its share would pay for a neighbour's overload: there is no stretch. */
static const double caution_first = 0.1;
static const double caution_rise = 0.05;
static const double caution_rise_most = 0.2; /* in a quarter of an objective */
static const double caution_fall = 0.05 / 500;
static const double caution_most = 1.0;
static const double refused_full = 0.2; /* the share of refusals from which it counts whole */
static const double refused_step = 1.0 / 64;

void sched_admit_reset(sched_model_t *m)
{
    m->refused = 0;
    m->caution = caution_first;
    m->broken_ns = 0;
}

void sched_promise_ended(gpulet_sched_t *s, const sched_request_t *r, bool kept)
{
    sched_model_t *m = &s->models[r->model];
    if (!sched_request_droppable(s, r) || r->probe || r->retried)
        return;
    if (kept) {
        m->caution = m->caution > caution_fall ? m->caution - caution_fall : 0;
        return;
    }
    /* What breaks together has one cause. */
    if (s->now_ns >= m->broken_ns) {
        m->broken_ns = s->now_ns + (r->deadline_ns - r->arrival_ns) / 4;
        m->caution_limit = m->caution + caution_rise_most;
    }
    m->caution += caution_rise;
    double limit = m->caution_limit < caution_most ? m->caution_limit : caution_most;
    m->caution = m->caution < limit ? m->caution : limit;
}

static uint64_t stretched(const gpulet_sched_t *s, const sched_model_t *m, uint64_t start_ns)
{
    double part = m->refused < refused_full ? m->refused / refused_full : 1;
    return start_ns + (uint64_t)((double)(start_ns - s->now_ns) * m->caution * part);
}

/* One lane as admission sees it: free for the model from free_ns on, a batch every batch_ns. */
typedef struct sched_forecast {
    uint64_t free_ns;
    uint64_t batch_ns;
    uint32_t batch; /* items of it: what batches have been of late */
    bool shared;    /* with other models */
    const sched_service_t *service;
} sched_forecast_t;

gpulet_status_t sched_admit_init(gpulet_sched_t *s)
{
    s->forecasts = calloc(s->options.lanes_max, sizeof(*s->forecasts));
    return s->forecasts == NULL ? GPULET_E_NOMEM : GPULET_OK;
}

void sched_admit_deinit(gpulet_sched_t *s)
{
    free(s->forecasts);
}

static uint64_t time_of(const gpulet_sched_t *s, const sched_service_t *service, uint32_t items)
{
    if (items == 0)
        return 0;
    if (items >= service->sustained)
        return (uint64_t)((double)service->sustained_ns * items / service->sustained);
    sched_curve_t curve = sched_service_curve(s, service, service->estimate->class_last);
    return sched_curve_mean_ns(&curve, items);
}

/* What of `items` of a model that serves late answers goes before the request: of what is late
 * already a batch a turn, as many turns as own batches go first. */
static uint32_t late_items(const gpulet_sched_t *s, const sched_service_t *own,
                           const sched_service_t *other, const sched_request_t *r, uint32_t items)
{
    uint32_t ahead = sched_queue_ahead(s, own->model, r->priority, r->deadline_ns);
    double part =
        sched_model_weight(&s->models[other->model]) / sched_model_weight(&s->models[own->model]);
    uint32_t turns = ahead / own->sustained;
    double most = (1 + part * turns) * other->sustained;
    return items < most ? items : (uint32_t)most;
}

/* Time that co-residents of higher urgency take on the lane before the request: what waits, and
 * what will arrive before it starts. */
static uint64_t others_ns(const gpulet_sched_t *s, const sched_lane_t *lane,
                          const sched_service_t *own, const sched_request_t *r, uint64_t start_ns)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < lane->services_count; i++) {
        const sched_service_t *other = &lane->services[i];
        const sched_model_t *m = &s->models[other->model];
        if (other == own || m->value.slo_ns == 0)
            continue;
        uint32_t items = sched_queue_ahead(s, other->model, r->priority, r->deadline_ns);
        if (m->value.late_serve)
            items = late_items(s, own, other, r, items);
        items = (items + m->lanes_count - 1) / m->lanes_count;
        uint64_t limit = sched_model_limit_ns(m);
        uint64_t until =
            limit != SCHED_NEVER && r->deadline_ns > limit ? r->deadline_ns - limit : 0;
        until = until < start_ns ? until : start_ns;
        if (until > s->now_ns) {
            double rate = m->rate_admitted / m->lanes_count;
            if (other->rate_rps > 0 && other->rate_rps < rate)
                rate = other->rate_rps;
            items += (uint32_t)(rate * (double)(until - s->now_ns) / 1e9);
        }
        total += time_of(s, other, items);
    }
    return total;
}

static sched_forecast_t forecast(const gpulet_sched_t *s, const sched_lane_ref_t *ref,
                                 const sched_request_t *r)
{
    const sched_lane_t *lane = &s->lanes[ref->lane];
    const sched_service_t *service = &lane->services[ref->service];
    uint64_t ready = sched_lane_ready_ns(s, lane);
    if (lane->services_count > 1)
        ready += others_ns(s, lane, service, r, ready);
    uint32_t pace = (uint32_t)(service->pace + 0.5);
    uint64_t batch_ns =
        pace < service->sustained ? time_of(s, service, pace) : service->sustained_ns;
    return (sched_forecast_t){ready, batch_ns, pace, lane->services_count > 1, service};
}

/* Items that share no batch cost more than the fluid sees: their time beyond that of as many items
 * in full batches. */
static uint64_t alone_extra_ns(const gpulet_sched_t *s, const sched_model_t *m,
                               const sched_forecast_t *f)
{
    if (m->alone_count == 0)
        return 0;
    uint32_t each = m->alone_items / m->alone_count;
    uint64_t time = time_of(s, f->service, each) * m->alone_count;
    uint64_t fluid = (uint64_t)((double)f->batch_ns * m->alone_items / f->batch);
    return (time > fluid ? time - fluid : 0) / m->lanes_count;
}

/* The size of a batch under load; many shapes in the queue make small ones. */
static uint32_t batch_of(const sched_model_t *m, const sched_forecast_t *f, uint32_t ahead)
{
    uint32_t batch = f->batch;
    assert(batch > 0);
    if (m->groups.count > 1) {
        uint32_t each = ahead / m->groups.count;
        batch = each < 1 ? 1 : each < batch ? each : batch;
    }
    return batch;
}

/* The end of the request's batch on a lane where `ahead` items go first; it will not run alone if
 * others arrive till it starts. */
static uint64_t finish_on(const gpulet_sched_t *s, const sched_forecast_t *f,
                          const sched_request_t *r, uint32_t ahead, uint64_t start_ns)
{
    const sched_model_t *m = &s->models[r->model];
    sched_curve_t curve = sched_service_curve(s, f->service, r->size_class);
    uint32_t batch = batch_of(m, f, ahead);
    uint32_t before = ahead % batch;
    uint64_t rounds = ahead / batch;
    bool alone = r->items > f->service->batch;
    if (before > 0 && (alone || before + r->items > batch)) {
        rounds++;
        before = 0;
    }
    uint64_t each = batch == f->batch ? f->batch_ns : time_of(s, f->service, batch);
    start_ns += rounds * each;
    if (!f->shared)
        start_ns = stretched(s, m, start_ns);
    if (alone || start_ns <= s->now_ns + s->options.overhead_ns)
        return start_ns + sched_curve_safe_ns(&curve, alone ? r->items : before + r->items);
    double coming = m->rate / m->lanes_count * (double)(start_ns - s->now_ns) / 1e9;
    double filled = before + r->items + coming;
    uint32_t most = f->service->sustained;
    uint32_t items = filled > most ? most : (uint32_t)filled;
    items = items < before + r->items ? before + r->items : items;
    return start_ns + sched_curve_safe_ns(&curve, items);
}

/* The time by which the lanes together have begun `ahead` items. */
static double level_of(const sched_forecast_t *f, uint32_t count, uint32_t ahead)
{
    double level = 1e19;
    for (int round = 0; round < ROUNDS_MAX; round++) {
        double speed = 0, offset = 0;
        for (uint32_t i = 0; i < count; i++) {
            if ((double)f[i].free_ns >= level)
                continue;
            double mu = (double)f[i].batch / (double)(f[i].batch_ns + 1);
            speed += mu;
            offset += mu * (double)f[i].free_ns;
        }
        if (speed <= 0)
            break;
        double next = (offset + ahead) / speed;
        if (next >= level)
            break;
        level = next;
    }
    return level;
}

/* Several lanes: the soonest free one when its next batch has room, else the lanes drain the queue
 * together and the request goes with the last batch that begins before that. */
static uint64_t finish_shared(gpulet_sched_t *s, const sched_request_t *r, uint32_t ahead)
{
    const sched_model_t *m = &s->models[r->model];
    sched_forecast_t *f = s->forecasts;
    uint64_t best = SCHED_NEVER;
    for (uint32_t i = 0; i < m->lanes_count; i++) {
        f[i] = forecast(s, &m->lanes[i], r);
        if (ahead + r->items > batch_of(m, &f[i], ahead) && ahead > 0)
            continue;
        uint64_t end = finish_on(s, &f[i], r, ahead, f[i].free_ns);
        best = end < best ? end : best;
    }
    if (ahead == 0 || best <= r->deadline_ns)
        return best;
    double level = level_of(f, m->lanes_count, ahead);
    uint64_t latest = 0, end = best;
    for (uint32_t i = 0; i < m->lanes_count; i++) {
        if ((double)f[i].free_ns > level)
            continue;
        uint64_t rounds = (uint64_t)((level - (double)f[i].free_ns) / (double)(f[i].batch_ns + 1));
        uint64_t start = f[i].free_ns + rounds * f[i].batch_ns + alone_extra_ns(s, m, &f[i]);
        if (start < latest)
            continue;
        latest = start;
        end = finish_on(s, &f[i], r, 0, start);
    }
    return end < best ? end : best;
}

static uint64_t finish_ns(gpulet_sched_t *s, const sched_request_t *r)
{
    const sched_model_t *m = &s->models[r->model];
    uint32_t ahead = sched_queue_ahead(s, r->model, r->priority, r->deadline_ns);
    if (m->lanes_count > 1)
        return finish_shared(s, r, ahead);
    sched_forecast_t f = forecast(s, &m->lanes[0], r);
    return finish_on(s, &f, r, ahead, f.free_ns + alone_extra_ns(s, m, &f));
}

uint64_t sched_admit_finish_ns(gpulet_sched_t *s, const sched_request_t *r)
{
    const sched_model_t *m = &s->models[r->model];
    if (m->lanes_count > 0)
        return finish_ns(s, r);
    if (m->back_ns == 0)
        return SCHED_NEVER;
    return m->back_ns > s->now_ns ? m->back_ns : s->now_ns;
}

/* An estimate that refuses everybody would never be corrected: now and then one request of a model
 * that has nothing else goes to an idle lane all the same. */
static bool probe_allowed(gpulet_sched_t *s, const sched_request_t *r)
{
    sched_model_t *m = &s->models[r->model];
    if (m->stats.waiting > 0 || m->stats.running > 0 || s->now_ns < m->probe_ns)
        return false;
    for (uint32_t i = 0; i < m->lanes_count; i++) {
        const sched_lane_t *lane = &s->lanes[m->lanes[i].lane];
        bool idle = lane->running == SCHED_NONE;
        for (uint32_t j = 0; idle && j < lane->services_count; j++)
            idle = s->models[lane->services[j].model].stats.waiting == 0;
        if (!idle)
            continue;
        uint64_t pause = 4 * (r->deadline_ns - s->now_ns);
        pause = pause < 100000000 ? 100000000 : pause > 1000000000 ? 1000000000 : pause;
        m->probe_ns = s->now_ns + pause;
        return true;
    }
    return false;
}

/* No lane serves the model now. What can wait for the one that is expected does. */
static sched_verdict_t await_lane(const gpulet_sched_t *s, const sched_request_t *r)
{
    const sched_model_t *m = &s->models[r->model];
    sched_verdict_t verdict = {.admitted = false, .reason = GPULET_REJECT_NOT_SERVED};
    uint32_t most = m->value.queue_max > 0 && m->value.queue_max < GPULET_SCHED_AWAITING_MAX
                        ? m->value.queue_max
                        : GPULET_SCHED_AWAITING_MAX;
    bool in_time = !sched_request_droppable(s, r) || r->deadline_ns > m->back_ns;
    if (m->back_ns > s->now_ns)
        verdict.retry_after_ns = m->back_ns - s->now_ns;
    verdict.admitted = m->back_ns > 0 && in_time && m->stats.waiting < most;
    return verdict;
}

sched_verdict_t sched_admit(gpulet_sched_t *s, const sched_request_t *r)
{
    sched_model_t *m = &s->models[r->model];
    sched_verdict_t verdict = {.admitted = false, .reason = GPULET_REJECT_PREDICTED_LATE};
    if (m->lanes_count == 0)
        return await_lane(s, r);
    if (m->value.queue_max > 0 && m->stats.waiting >= m->value.queue_max) {
        verdict.reason = GPULET_REJECT_QUEUE_FULL;
        return verdict;
    }
    verdict.admitted = true;
    if (!sched_request_droppable(s, r)) {
        /* Nothing but the pool bounds these: a flood of them must not shut out what has a deadline.
         */
        uint32_t most = s->options.requests_max - s->options.requests_max / 4;
        verdict.admitted = s->requests_used < most;
        verdict.reason = GPULET_REJECT_QUEUE_FULL;
        return verdict;
    }
    uint64_t finish = finish_ns(s, r);
    m->refused += refused_step * ((finish > r->deadline_ns) - m->refused);
    if (finish <= r->deadline_ns)
        return verdict;
    if (r->deadline_ns > s->now_ns && probe_allowed(s, r)) {
        verdict.probe = true;
        return verdict;
    }
    uint64_t late = finish - r->deadline_ns;
    verdict.admitted = false;
    verdict.retry_after_ns = late < retry_least_ns ? retry_least_ns : late;
    return verdict;
}
