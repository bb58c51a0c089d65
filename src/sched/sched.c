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
    s->actions_capacity = o->requests_max + 3 * o->lanes_max + 4;
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

static void begin(gpulet_sched_t *s, uint64_t now_ns)
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
static gpulet_actions_t finish(gpulet_sched_t *s)
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

gpulet_status_t gpulet_sched_model_set(gpulet_sched_t *s, uint32_t model, const gpulet_sched_model_t *value)
{
    if (model >= s->options.models_max || value->batch_max == 0 ||
        value->priority >= GPULET_SCHED_PRIORITIES)
        return GPULET_E_INVALID;
    sched_model_t *m = &s->models[model];
    m->value = *value;
    m->known = true;
    for (uint32_t i = 0; i < m->lanes_count; i++) {
        sched_lane_refresh(s, &s->lanes[m->lanes[i].lane]);
        sched_lane_mark(s, m->lanes[i].lane); /* The next event looks at what the change allows. */
    }
    return GPULET_OK;
}

/* Takes the model out of the lane; the batches under way are answered without it. */
static void lane_forget_model(gpulet_sched_t *s, uint32_t index, uint32_t model)
{
    sched_lane_t *lane = &s->lanes[index];
    uint32_t kept = 0;
    for (uint32_t slot = 2 * index; slot < 2 * index + 2; slot++) {
        if (s->batches[slot].id != 0 && s->batches[slot].model == model)
            s->batches[slot].estimate = NULL;
    }
    for (uint32_t i = 0; i < lane->services_count; i++) {
        sched_service_t service = lane->services[i];
        if (service.model == model)
            continue;
        sched_model_t *m = &s->models[service.model];
        for (uint32_t j = 0; j < m->lanes_count; j++) {
            if (m->lanes[j].lane == index)
                m->lanes[j].service = kept;
        }
        lane->services[kept++] = service;
    }
    lane->services_count = kept;
    sched_lane_refresh(s, lane);
}

gpulet_actions_t gpulet_sched_model_remove(gpulet_sched_t *s, uint64_t now_ns, uint32_t model)
{
    begin(s, now_ns);
    if (model >= s->options.models_max || !s->models[model].known)
        return finish(s);
    sched_queue_reject_all(s, model, GPULET_REJECT_NOT_SERVED);
    for (uint32_t i = 0; i < s->options.lanes_max; i++) {
        if (s->lanes[i].state != SCHED_LANE_NONE)
            lane_forget_model(s, i, model);
    }
    sched_model_forget(s, model);
    return finish(s);
}

/* A new estimate may let an idle lane serve what it could not before. */
static void mark_idle(gpulet_sched_t *s, uint32_t model)
{
    const sched_model_t *m = &s->models[model];
    if (m->stats.waiting == 0)
        return;
    for (uint32_t i = 0; i < m->lanes_count; i++) {
        if (s->lanes[m->lanes[i].lane].running == SCHED_NONE)
            sched_lane_mark(s, m->lanes[i].lane);
    }
}

static gpulet_status_t check_lane(const gpulet_sched_t *s, uint32_t lane, const gpulet_sched_lane_t *value)
{
    if (lane >= s->options.lanes_max)
        return GPULET_E_INVALID;
    if (s->lanes[lane].state != SCHED_LANE_NONE)
        return GPULET_E_EXISTS;
    for (uint32_t i = 0; i < value->services_count; i++) {
        uint32_t model = value->services[i].model;
        if (model >= s->options.models_max || !s->models[model].known)
            return GPULET_E_NOT_FOUND;
        for (uint32_t j = 0; j < i; j++) {
            if (value->services[j].model == model)
                return GPULET_E_INVALID;
        }
    }
    return GPULET_OK;
}

static gpulet_status_t fill_lane(gpulet_sched_t *s, uint32_t index, const gpulet_sched_lane_t *value)
{
    sched_lane_t *lane = &s->lanes[index];
    lane->units = value->units;
    lane->services = calloc(value->services_count + 1U, sizeof(*lane->services));
    if (lane->services == NULL)
        return GPULET_E_NOMEM;
    for (uint32_t i = 0; i < value->services_count; i++) {
        const gpulet_sched_service_t *from = &value->services[i];
        sched_service_t *to = &lane->services[i];
        to->model = from->model;
        to->planned = to->batch = from->batch < 1 ? 1 : from->batch;
        to->rate_rps = from->rate_rps;
        to->estimate = sched_model_estimate(s, from->model, value->units);
        if (to->estimate == NULL)
            return GPULET_E_NOMEM;
        sched_estimate_profile(to->estimate, from->exec_ns, from->exec_ns == NULL ? 0 : from->exec_count);
        gpulet_status_t st = sched_model_link(s, from->model, index, i);
        if (st != GPULET_OK)
            return st;
        lane->services_count++;
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_sched_lane_add(gpulet_sched_t *s, uint64_t now_ns, uint32_t index,
                                      const gpulet_sched_lane_t *value, gpulet_actions_t *out)
{
    gpulet_status_t st = check_lane(s, index, value);
    if (st != GPULET_OK)
        return st;
    begin(s, now_ns);
    st = fill_lane(s, index, value);
    if (st != GPULET_OK) {
        for (uint32_t i = 0; i < s->lanes[index].services_count; i++)
            sched_model_unlink(s, s->lanes[index].services[i].model, index);
        sched_lane_free(s, index);
        return st;
    }
    s->lanes[index].state = SCHED_LANE_ACTIVE;
    sched_lane_refresh(s, &s->lanes[index]);
    sched_lane_mark(s, index);
    for (uint32_t i = 0; i < value->services_count; i++)
        mark_idle(s, value->services[i].model);
    *out = finish(s);
    return GPULET_OK;
}

static void unlink_lane(gpulet_sched_t *s, uint32_t index)
{
    sched_lane_t *lane = &s->lanes[index];
    for (uint32_t i = 0; i < lane->services_count; i++)
        sched_model_unlink(s, lane->services[i].model, index);
}

gpulet_actions_t gpulet_sched_lane_drain(gpulet_sched_t *s, uint64_t now_ns, uint32_t index)
{
    begin(s, now_ns);
    if (index >= s->options.lanes_max || s->lanes[index].state != SCHED_LANE_ACTIVE)
        return finish(s);
    sched_lane_t *lane = &s->lanes[index];
    unlink_lane(s, index);
    lane->state = SCHED_LANE_DRAINING;
    sched_heap_remove(&s->wakes, index);
    for (uint32_t i = 0; i < lane->services_count; i++) {
        uint32_t model = lane->services[i].model;
        if (s->models[model].lanes_count == 0)
            sched_queue_reject_all(s, model, GPULET_REJECT_NOT_SERVED);
    }
    sched_lane_check_idle(s, index);
    return finish(s);
}

/* The batch died with its lane. Each request goes back once. */
static void return_batch(gpulet_sched_t *s, sched_batch_t *batch)
{
    sched_model_t *m = &s->models[batch->model];
    for (uint32_t request = batch->first, next; request != SCHED_NONE; request = next) {
        sched_request_t *r = &s->requests[request];
        next = r->next;
        m->stats.running--;
        bool hopeless = sched_request_droppable(s, r) && sched_request_latest_ns(s, r) < s->now_ns;
        if (r->gone) {
            sched_cancelled(s, request);
        } else if (r->retried || hopeless || !m->known) {
            sched_reject(s, request, GPULET_REJECT_WORKER_LOST);
        } else {
            r->retried = true;
            sched_queue_add(s, request);
        }
    }
    *batch = (sched_batch_t){0};
}

gpulet_actions_t gpulet_sched_lane_lost(gpulet_sched_t *s, uint64_t now_ns, uint32_t index)
{
    begin(s, now_ns);
    if (index >= s->options.lanes_max || s->lanes[index].state == SCHED_LANE_NONE)
        return finish(s);
    sched_lane_t *lane = &s->lanes[index];
    if (lane->state == SCHED_LANE_ACTIVE)
        unlink_lane(s, index);
    uint32_t slots[2] = {lane->running, lane->waiting};
    sched_lane_free(s, index);
    for (int i = 0; i < 2; i++) {
        if (slots[i] == SCHED_NONE)
            continue;
        const sched_model_t *m = &s->models[s->batches[slots[i]].model];
        return_batch(s, &s->batches[slots[i]]);
        for (uint32_t j = 0; j < m->lanes_count; j++)
            sched_lane_mark(s, m->lanes[j].lane);
    }
    return finish(s);
}

static sched_request_t describe(const gpulet_sched_t *s, const gpulet_sched_request_t *in)
{
    const sched_model_t *m = &s->models[in->model];
    uint64_t limit = m->value.slo_ns != 0 ? m->value.slo_ns : SCHED_NEVER;
    bool own = false;
    if (m->value.timeout_ns != 0 && m->value.timeout_ns < limit)
        limit = m->value.timeout_ns;
    if (in->timeout_ns != 0 && in->timeout_ns < limit) {
        limit = in->timeout_ns;
        own = true;
    }
    uint64_t arrival = in->arrival_ns < s->now_ns ? in->arrival_ns : s->now_ns;
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
        .own_timeout = own};
}

/* Offers the request to the lane that would answer it first, then to every other that takes a batch now. */
static void offer(gpulet_sched_t *s, uint32_t request)
{
    const sched_request_t *r = &s->requests[request];
    uint64_t generation = r->generation;
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

gpulet_actions_t gpulet_sched_on_request(gpulet_sched_t *s, uint64_t now_ns, const gpulet_sched_request_t *in,
                                         gpulet_ticket_t *ticket_out)
{
    begin(s, now_ns);
    *ticket_out = 0;
    assert(in->items >= 1);
    if (in->model >= s->options.models_max || !s->models[in->model].known) {
        sched_refuse(s, in, GPULET_REJECT_NOT_SERVED, 0);
        if (in->model < s->options.models_max)
            s->models[in->model].stats.offered++;
        return finish(s);
    }
    sched_queue_expire(s);
    s->models[in->model].stats.offered++;
    sched_model_offer(s, in->model, in->items);
    sched_request_t wanted = describe(s, in);
    sched_verdict_t verdict = {.admitted = false};
    if (s->closing)
        verdict.reason = GPULET_REJECT_SHUTDOWN;
    else if (in->items > s->models[in->model].value.batch_max)
        verdict.reason = GPULET_REJECT_TOO_LARGE;
    else
        verdict = sched_admit(s, &wanted);
    uint32_t request = verdict.admitted ? sched_request_take(s) : SCHED_NONE;
    if (request == SCHED_NONE) {
        gpulet_reject_t reason = verdict.admitted ? GPULET_REJECT_QUEUE_FULL : verdict.reason;
        sched_refuse(s, in, reason, verdict.retry_after_ns);
        return finish(s);
    }
    wanted.generation = s->requests[request].generation;
    wanted.probe = verdict.probe;
    s->requests[request] = wanted;
    *ticket_out = wanted.generation << SCHED_TICKET_BITS | (request + 1);
    sched_queue_add(s, request);
    offer(s, request);
    return finish(s);
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

gpulet_actions_t gpulet_sched_on_batch_done(gpulet_sched_t *s, uint64_t now_ns, uint64_t id, uint64_t exec_ns,
                                            gpulet_status_t status)
{
    begin(s, now_ns);
    sched_batch_t *batch = find_batch(s, id);
    if (batch == NULL)
        return finish(s);
    uint32_t index = batch->lane;
    uint32_t model = batch->model;
    sched_lane_t *lane = &s->lanes[index];
    sched_reply(s, batch, id, status);
    if (status == GPULET_OK && batch->estimate != NULL)
        sched_estimate_learn(batch->estimate, batch->size_class, batch->cost_items, exec_ns);
    *batch = (sched_batch_t){0};
    lane_advance(s, lane, (uint32_t)(id % (2 * (uint64_t)s->options.lanes_max)));
    sched_heap_remove(&s->wakes, index);
    sched_lane_refresh(s, lane);
    sched_lane_mark(s, index);
    mark_idle(s, model);
    sched_lane_check_idle(s, index);
    return finish(s);
}

gpulet_actions_t gpulet_sched_on_timer(gpulet_sched_t *s, uint64_t now_ns)
{
    begin(s, now_ns);
    return finish(s);
}

gpulet_actions_t gpulet_sched_on_cancel(gpulet_sched_t *s, uint64_t now_ns, gpulet_ticket_t ticket)
{
    begin(s, now_ns);
    uint64_t place = ticket & ((1U << SCHED_TICKET_BITS) - 1);
    if (place == 0 || place > s->options.requests_max)
        return finish(s);
    uint32_t request = (uint32_t)place - 1;
    sched_request_t *r = &s->requests[request];
    if (r->state == SCHED_REQUEST_FREE || r->generation != ticket >> SCHED_TICKET_BITS)
        return finish(s);
    if (r->state == SCHED_REQUEST_RUNNING) {
        r->gone = true;
    } else {
        sched_queue_remove(s, request);
        sched_cancelled(s, request);
    }
    return finish(s);
}

gpulet_actions_t gpulet_sched_shutdown(gpulet_sched_t *s, uint64_t now_ns, bool now)
{
    begin(s, now_ns);
    s->closing = true;
    for (uint32_t i = 0; now && i < s->options.models_max; i++)
        sched_queue_reject_all(s, i, GPULET_REJECT_SHUTDOWN);
    return finish(s);
}

void gpulet_sched_model_stats(const gpulet_sched_t *s, uint32_t model, gpulet_sched_model_stats_t *out)
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

uint64_t gpulet_sched_estimate_ns(const gpulet_sched_t *s, uint32_t lane, uint32_t model, uint32_t items)
{
    const sched_service_t *service = find_service(s, lane, model);
    if (service == NULL)
        return 0;
    return gpulet_sched_estimate_class_ns(s, lane, model, items, service->estimate->class_last);
}

uint64_t gpulet_sched_estimate_class_ns(const gpulet_sched_t *s, uint32_t lane, uint32_t model, uint32_t items,
                                        uint32_t size_class)
{
    const sched_service_t *service = find_service(s, lane, model);
    if (service == NULL)
        return 0;
    sched_curve_t curve = sched_service_curve(s, service, size_class);
    return sched_curve_mean_ns(&curve, items > 0 ? items : 1);
}

bool gpulet_sched_idle(const gpulet_sched_t *s)
{
    return s->requests_used == 0;
}
