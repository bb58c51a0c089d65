#include "sched/sched.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sched/internal.h"

static const gpulet_sched_options_t defaults = {10000, 1024, 16384, 500000, 200000};

const char *gpulet_reject_text(gpulet_reject_t reason)
{
    static const char *const texts[] = {
#define REJECT_TEXT(name, text) text,
        GPULET_REJECT_MAP(REJECT_TEXT)
#undef REJECT_TEXT
    };
    return (unsigned)reason < GPULET_REJECT_COUNT ? texts[reason] : "unknown";
}

static void set_options(gpulet_sched_t *s, const gpulet_sched_options_t *options)
{
    gpulet_sched_options_t *o = &s->options;
    *o = options != NULL ? *options : defaults;
    o->models_max = o->models_max != 0 ? o->models_max : defaults.models_max;
    o->lanes_max = o->lanes_max != 0 ? o->lanes_max : defaults.lanes_max;
    o->requests_max = o->requests_max != 0 ? o->requests_max : defaults.requests_max;
    o->commit_ahead_ns = o->commit_ahead_ns != 0 ? o->commit_ahead_ns : defaults.commit_ahead_ns;
    o->overhead_ns = o->overhead_ns != 0 ? o->overhead_ns : defaults.overhead_ns;
}

static gpulet_status_t allocate(gpulet_sched_t *s)
{
    const gpulet_sched_options_t *o = &s->options;
    s->actions_capacity = o->requests_max + 3 * o->lanes_max + GPULET_SCHED_GROUP_MAX + 4;
    s->models = calloc(o->models_max, sizeof(*s->models));
    s->lanes = calloc(o->lanes_max, sizeof(*s->lanes));
    s->batches = calloc(2 * (size_t)o->lanes_max, sizeof(*s->batches));
    s->dirty = calloc(o->lanes_max, sizeof(*s->dirty));
    s->actions = calloc(s->actions_capacity, sizeof(*s->actions));
    s->ids = calloc(o->requests_max, sizeof(*s->ids));
    s->candidates = calloc(SCHED_WINDOW, sizeof(*s->candidates));
    s->candidate_requests = calloc(SCHED_WINDOW, sizeof(*s->candidate_requests));
    if (s->models == NULL || s->lanes == NULL || s->batches == NULL || s->dirty == NULL ||
        s->actions == NULL || s->ids == NULL || s->candidates == NULL ||
        s->candidate_requests == NULL)
        return GPULET_E_NOMEM;
    for (uint32_t i = 0; i < o->models_max; i++)
        sched_tree_init(&s->models[i].groups);
    for (uint32_t i = 0; i < o->lanes_max; i++)
        s->lanes[i].running = s->lanes[i].waiting = SCHED_NONE;
    gpulet_status_t st = sched_queue_init(s);
    if (st == GPULET_OK)
        st = sched_heap_init(&s->wakes, o->lanes_max);
    if (st == GPULET_OK)
        st = sched_admit_init(s);
    return st;
}

gpulet_status_t gpulet_sched_create(gpulet_sched_t **out, const gpulet_sched_options_t *options)
{
    gpulet_sched_t *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return GPULET_E_NOMEM;
    set_options(s, options);
    if (s->options.requests_max >= 1U << SCHED_TICKET_BITS) {
        free(s);
        return GPULET_E_INVALID;
    }
    s->timer_ns = SCHED_NEVER;
    s->order_next = 1;
    gpulet_status_t st = allocate(s);
    if (st != GPULET_OK) {
        gpulet_sched_destroy(s);
        return st;
    }
    *out = s;
    return GPULET_OK;
}

void gpulet_sched_destroy(gpulet_sched_t *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; s->models != NULL && i < s->options.models_max; i++)
        sched_model_forget(s, i);
    for (uint32_t i = 0; s->lanes != NULL && i < s->options.lanes_max; i++)
        free(s->lanes[i].services);
    free(s->models);
    free(s->lanes);
    free(s->batches);
    free(s->dirty);
    free(s->actions);
    free(s->ids);
    free(s->candidates);
    free(s->candidate_requests);
    sched_queue_deinit(s);
    sched_heap_deinit(&s->wakes);
    sched_admit_deinit(s);
    free(s);
}

void sched_begin(gpulet_sched_t *s, uint64_t now_ns)
{
    if (now_ns > s->now_ns)
        s->now_ns = now_ns;
    s->actions_count = 0;
    s->ids_count = 0;
}

static void set_timer(gpulet_sched_t *s)
{
    uint64_t at = SCHED_NEVER;
    if (s->expiries.count > 0)
        at = s->expiries.items[0].at_ns + 1;
    if (s->wakes.count > 0 && s->wakes.items[0].at_ns < at)
        at = s->wakes.items[0].at_ns;
    if (at == s->timer_ns)
        return;
    s->timer_ns = at;
    sched_emit(s, GPULET_ACTION_TIMER)->u.timer.at_ns = at;
}

/* Ends every event: drops what is lost, fills the lanes that changed, arms the timer. */
gpulet_actions_t sched_finish(gpulet_sched_t *s)
{
    sched_queue_expire(s);
    while (s->wakes.count > 0 && s->wakes.items[0].at_ns <= s->now_ns) {
        uint32_t lane = s->wakes.items[0].id;
        sched_heap_remove(&s->wakes, lane);
        sched_lane_mark(s, lane);
    }
    for (uint32_t i = 0; i < s->dirty_count; i++) {
        s->lanes[s->dirty[i]].dirty = false;
        sched_dispatch(s, s->dirty[i]);
    }
    s->dirty_count = 0;
    set_timer(s);
    return (gpulet_actions_t){s->actions, s->actions_count};
}

/* From arrival to the deadline that an objective sets. */
static uint64_t objective_ns(const sched_model_t *m, const gpulet_sched_request_t *in,
                             uint64_t arrival_ns)
{
    if (in->deadline_ns == SCHED_NEVER || (in->deadline_ns == 0 && m->value.slo_ns == 0))
        return SCHED_NEVER;
    if (in->deadline_ns == 0)
        return m->value.slo_ns;
    return in->deadline_ns > arrival_ns ? in->deadline_ns - arrival_ns : 0;
}

static sched_request_t describe(const gpulet_sched_t *s, const gpulet_sched_request_t *in)
{
    const sched_model_t *m = &s->models[in->model];
    uint64_t arrival = in->arrival_ns < s->now_ns ? in->arrival_ns : s->now_ns;
    uint64_t limit = objective_ns(m, in, arrival);
    bool own = false;
    if (m->value.timeout_ns != 0 && m->value.timeout_ns < limit)
        limit = m->value.timeout_ns;
    if (in->timeout_ns != 0 && in->timeout_ns < limit) {
        limit = in->timeout_ns;
        own = true;
    }
    uint32_t priority = in->priority_given ? in->priority : m->value.priority;
    return (sched_request_t){
        .id = in->id,
        .arrival_ns = arrival,
        .deadline_ns = limit >= SCHED_NEVER - arrival ? SCHED_NEVER : arrival + limit,
        .shape_key = in->shape_key,
        .model = in->model,
        .items = in->items,
        .size_class = in->size_class < SCHED_CLASSES ? in->size_class : SCHED_CLASSES - 1,
        .priority = priority < GPULET_SCHED_PRIORITIES ? priority : GPULET_SCHED_PRIORITIES - 1,
        .group = SCHED_NONE,
        .next = SCHED_NONE,
        .own_timeout = own,
        .late_serve = in->late_serve};
}

/* Offers the request to the lane that would answer it first, then to every other that takes a batch
 * now. It may be gone by now, with others that began a batch. */
static void offer(gpulet_sched_t *s, uint32_t request, uint64_t generation)
{
    const sched_request_t *r = &s->requests[request];
    if (r->generation != generation || r->state != SCHED_REQUEST_WAITING)
        return;
    uint32_t model = r->model;
    uint32_t best = sched_dispatch_best_lane(s, r);
    if (best == SCHED_NONE)
        return;
    sched_dispatch(s, best);
    if (r->generation != generation || r->state != SCHED_REQUEST_WAITING)
        return;
    const sched_model_t *m = &s->models[model];
    for (uint32_t i = 0; i < m->lanes_count; i++) {
        if (m->lanes[i].lane != best && sched_lane_accepts(s, &s->lanes[m->lanes[i].lane]))
            sched_lane_mark(s, m->lanes[i].lane);
    }
}

/* Whether the request may wait: then *slot holds it, and it has its ticket. It is in its queue, but
 * on no lane yet. */
static sched_verdict_t take_in(gpulet_sched_t *s, const gpulet_sched_request_t *request,
                               uint32_t *slot, gpulet_ticket_t *ticket_out)
{
    sched_verdict_t verdict = {.admitted = false, .reason = GPULET_REJECT_NOT_SERVED};
    assert(request->items >= 1);
    *ticket_out = 0;
    if (request->model >= s->options.models_max)
        return verdict;
    s->models[request->model].stats.offered++;
    if (!s->models[request->model].known)
        return verdict;
    sched_model_offer(s, request->model, request->items);
    sched_request_t wanted = describe(s, request);
    if (s->closed || (s->closing && !request->continues))
        verdict.reason = GPULET_REJECT_SHUTDOWN;
    else if (request->items > s->models[request->model].value.batch_max)
        verdict.reason = GPULET_REJECT_TOO_LARGE;
    else
        verdict = sched_admit(s, &wanted);
    *slot = verdict.admitted ? sched_request_take(s) : SCHED_NONE;
    if (verdict.admitted && *slot == SCHED_NONE)
        verdict = (sched_verdict_t){.admitted = false, .reason = GPULET_REJECT_QUEUE_FULL};
    if (!verdict.admitted)
        return verdict;
    wanted.generation = s->requests[*slot].generation;
    wanted.probe = verdict.probe;
    s->requests[*slot] = wanted;
    sched_model_admitted(s, request->model, (int64_t)request->items);
    *ticket_out = wanted.generation << SCHED_TICKET_BITS | (*slot + 1);
    sched_queue_add(s, *slot);
    return verdict;
}

/* As if it had never been admitted. */
static void take_out(gpulet_sched_t *s, uint32_t slot)
{
    const sched_request_t *r = &s->requests[slot];
    sched_queue_remove(s, slot);
    sched_model_admitted(s, r->model, -(int64_t)r->items);
}

gpulet_actions_t gpulet_sched_on_requests(gpulet_sched_t *s, uint64_t now_ns,
                                          const gpulet_sched_request_t *requests, uint32_t count,
                                          gpulet_ticket_t *tickets_out)
{
    sched_verdict_t verdict = {.admitted = true};
    uint32_t slot = SCHED_NONE;
    uint32_t taken = 0;
    assert(count >= 1 && count <= GPULET_SCHED_GROUP_MAX);
    sched_begin(s, now_ns);
    sched_queue_expire(s);
    while (taken < count && verdict.admitted) {
        verdict = take_in(s, &requests[taken], &slot, &tickets_out[taken]);
        taken += verdict.admitted;
    }
    if (verdict.admitted) {
        for (uint32_t i = 0; i < count; i++)
            offer(s, (uint32_t)(tickets_out[i] & ((1U << SCHED_TICKET_BITS) - 1)) - 1,
                  tickets_out[i] >> SCHED_TICKET_BITS);
        return sched_finish(s);
    }
    sched_refuse(s, &requests[taken], verdict.reason, verdict.retry_after_ns);
    tickets_out[taken] = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i == taken)
            continue;
        if (i < taken) {
            slot = (uint32_t)(tickets_out[i] & ((1U << SCHED_TICKET_BITS) - 1)) - 1;
            take_out(s, slot);
            sched_request_free(s, slot);
        } else if (requests[i].model < s->options.models_max) {
            s->models[requests[i].model].stats.offered++;
        }
        tickets_out[i] = 0;
        sched_refuse(s, &requests[i], verdict.reason, verdict.retry_after_ns);
    }
    return sched_finish(s);
}

gpulet_actions_t gpulet_sched_on_request(gpulet_sched_t *s, uint64_t now_ns,
                                         const gpulet_sched_request_t *request,
                                         gpulet_ticket_t *ticket_out)
{
    return gpulet_sched_on_requests(s, now_ns, request, 1, ticket_out);
}

uint64_t gpulet_sched_predict_ns(gpulet_sched_t *s, uint64_t now_ns,
                                 const gpulet_sched_request_t *request)
{
    if (now_ns > s->now_ns)
        s->now_ns = now_ns;
    if (request->model >= s->options.models_max || !s->models[request->model].known)
        return SCHED_NEVER;
    sched_request_t wanted = describe(s, request);
    return sched_admit_finish_ns(s, &wanted);
}

static sched_batch_t *find_batch(gpulet_sched_t *s, uint64_t id)
{
    sched_batch_t *batch = &s->batches[id % (2 * (uint64_t)s->options.lanes_max)];
    return id != 0 && batch->id == id ? batch : NULL;
}

/* The lane goes on with its waiting batch, if it has one. */
static void lane_advance(gpulet_sched_t *s, sched_lane_t *lane, uint32_t slot)
{
    if (lane->waiting == slot) { /* Out of turn: the lane answered the second one first. */
        lane->waiting = SCHED_NONE;
        return;
    }
    lane->running = lane->waiting;
    lane->waiting = SCHED_NONE;
    if (lane->running != SCHED_NONE)
        lane->end_ns = s->now_ns + s->batches[lane->running].predicted_ns;
}

gpulet_actions_t gpulet_sched_on_batch_done(gpulet_sched_t *s, uint64_t now_ns, uint64_t batch,
                                            uint64_t exec_ns, gpulet_status_t status)
{
    sched_begin(s, now_ns);
    sched_batch_t *done = find_batch(s, batch);
    if (done == NULL)
        return sched_finish(s);
    uint32_t index = done->lane;
    uint32_t model = done->model;
    sched_lane_t *lane = &s->lanes[index];
    sched_reply(s, done, batch, status);
    if (status == GPULET_OK && done->estimate != NULL)
        sched_estimate_learn(done->estimate, done->size_class, done->cost_items, exec_ns);
    *done = (sched_batch_t){0};
    lane_advance(s, lane, (uint32_t)(batch % (2 * (uint64_t)s->options.lanes_max)));
    sched_heap_remove(&s->wakes, index);
    sched_lane_refresh(s, lane);
    sched_lane_mark(s, index);
    sched_model_mark_idle(s, model);
    sched_lane_check_idle(s, index);
    return sched_finish(s);
}

gpulet_actions_t gpulet_sched_on_timer(gpulet_sched_t *s, uint64_t now_ns)
{
    sched_begin(s, now_ns);
    s->timer_ns = SCHED_NEVER; /* It has gone off, perhaps a little early: what is still needed is
                                  armed anew. */
    return sched_finish(s);
}

gpulet_actions_t gpulet_sched_on_cancel(gpulet_sched_t *s, uint64_t now_ns, gpulet_ticket_t ticket)
{
    sched_begin(s, now_ns);
    uint64_t place = ticket & ((1U << SCHED_TICKET_BITS) - 1);
    if (place == 0 || place > s->options.requests_max)
        return sched_finish(s);
    uint32_t request = (uint32_t)place - 1;
    sched_request_t *r = &s->requests[request];
    if (r->state == SCHED_REQUEST_FREE || r->generation != ticket >> SCHED_TICKET_BITS)
        return sched_finish(s);
    if (r->state == SCHED_REQUEST_RUNNING) {
        r->gone = true;
    } else {
        take_out(s, request); /* It took nothing: what it was expected to take is left to others. */
        sched_cancelled(s, request);
    }
    return sched_finish(s);
}

gpulet_actions_t gpulet_sched_shutdown(gpulet_sched_t *s, uint64_t now_ns, bool now)
{
    sched_begin(s, now_ns);
    s->closing = true;
    s->closed = s->closed || now;
    for (uint32_t i = 0; now && i < s->options.models_max; i++)
        sched_queue_reject_all(s, i, GPULET_REJECT_SHUTDOWN);
    return sched_finish(s);
}

void gpulet_sched_model_stats(const gpulet_sched_t *s, uint32_t model,
                              gpulet_sched_model_stats_t *out)
{
    assert(model < s->options.models_max);
    *out = s->models[model].stats;
}

static const sched_service_t *find_service(const gpulet_sched_t *s, uint32_t lane, uint32_t model)
{
    if (lane >= s->options.lanes_max)
        return NULL;
    for (uint32_t i = 0; i < s->lanes[lane].services_count; i++) {
        const sched_service_t *service = &s->lanes[lane].services[i];
        if (service->model == model && sched_estimate_known(service->estimate))
            return service;
    }
    return NULL;
}

uint64_t gpulet_sched_estimate_ns(const gpulet_sched_t *s, uint32_t lane, uint32_t model,
                                  uint32_t items)
{
    const sched_service_t *service = find_service(s, lane, model);
    if (service == NULL)
        return 0;
    return gpulet_sched_estimate_class_ns(s, lane, model, items, service->estimate->class_last);
}

uint64_t gpulet_sched_estimate_class_ns(const gpulet_sched_t *s, uint32_t lane, uint32_t model,
                                        uint32_t items, uint32_t size_class)
{
    const sched_service_t *service = find_service(s, lane, model);
    if (service == NULL)
        return 0;
    sched_curve_t curve = sched_service_curve(s, service, size_class);
    return sched_curve_mean_ns(&curve, items > 0 ? items : 1);
}

uint64_t gpulet_sched_least_ns(const gpulet_sched_t *s, uint32_t model, uint32_t items)
{
    const sched_model_t *m = &s->models[model];
    uint64_t least = SCHED_NEVER;
    assert(model < s->options.models_max);
    for (uint32_t i = 0; i < m->lanes_count; i++) {
        const sched_service_t *service = &s->lanes[m->lanes[i].lane].services[m->lanes[i].service];
        if (!sched_estimate_known(service->estimate))
            continue;
        sched_curve_t curve = sched_service_curve(s, service, service->estimate->class_last);
        uint64_t run = sched_curve_mean_ns(&curve, items > service->batch ? items : service->batch);
        least = run < least ? run : least;
    }
    return least == SCHED_NEVER ? 0 : least + s->options.overhead_ns;
}

bool gpulet_sched_idle(const gpulet_sched_t *s)
{
    return s->requests_used == 0;
}
