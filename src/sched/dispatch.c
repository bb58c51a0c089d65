#include "sched/internal.h"

#include <assert.h>

/* What one attempt to fill a lane from one group works with. */
typedef struct attempt {
    gpulet_sched_t *s;
    uint32_t lane;
    uint32_t service;
    uint64_t start_ns;
    uint64_t allowance_ns; /* that co-residents leave */
    bool holding;          /* the rule of taking turns is in force */
    sched_curve_t curve;
    uint32_t size_class;
    uint32_t count; /* candidates gathered */
    bool more;      /* than were gathered */
} attempt_t;

static sched_service_t *service_of(const attempt_t *a)
{
    return &a->s->lanes[a->lane].services[a->service];
}

/* Whether another lane than this one could still answer the request in time. */
static bool other_lane_makes_it(const gpulet_sched_t *s, uint32_t lane, const sched_request_t *r)
{
    const sched_model_t *m = &s->models[r->model];
    for (uint32_t i = 0; i < m->lanes_count; i++) {
        if (m->lanes[i].lane == lane)
            continue;
        const sched_lane_t *other = &s->lanes[m->lanes[i].lane];
        sched_curve_t curve =
            sched_service_curve(s, &other->services[m->lanes[i].service], r->size_class);
        if (sched_lane_ready_ns(s, other) + sched_curve_safe_ns(&curve, r->items) <= r->deadline_ns)
            return true;
    }
    return false;
}

/* The deadline as the batch rule sees it: none for what is served late anyway, once it is late. */
static uint64_t binding_deadline(const attempt_t *a, const sched_request_t *r)
{
    if (r->probe || r->deadline_ns == SCHED_NEVER)
        return SCHED_NEVER;
    if (sched_request_droppable(a->s, r))
        return r->deadline_ns;
    return a->start_ns + sched_curve_safe_ns(&a->curve, r->items) <= r->deadline_ns ? r->deadline_ns
                                                                                    : SCHED_NEVER;
}

/* Collects up to `most` candidates of the group in order. What this lane cannot answer in time is
 * left to a lane that can, or dropped. */
static void gather(attempt_t *a, uint32_t group, uint32_t most)
{
    gpulet_sched_t *s = a->s;
    uint32_t next;
    a->count = 0;
    a->more = false;
    for (uint32_t i = s->groups[group].requests.first; i != SCHED_NONE; i = next) {
        const sched_request_t *r = &s->requests[i];
        next = s->request_nodes[i].next;
        bool alone = a->count > 0 && (r->probe || s->requests[s->candidate_requests[0]].probe);
        if (a->count == most || alone) {
            a->more = true;
            return;
        }
        uint64_t deadline = binding_deadline(a, r);
        if (deadline != SCHED_NEVER &&
            a->start_ns + sched_curve_safe_ns(&a->curve, r->items) > deadline) {
            if (!other_lane_makes_it(s, a->lane, r))
                sched_queue_drop(s, i); /* Its group may be gone with it; then next is none. */
            continue;
        }
        s->candidates[a->count] = (sched_candidate_t){r->items, deadline};
        s->candidate_requests[a->count++] = i;
    }
}

/* Whether `other`, which waits, goes before `own`: own ran since it last did, and as often as own
 * weighs more; or it ran last and weighs more than its turns so far. */
static bool goes_before(const gpulet_sched_t *s, const sched_service_t *other,
                        const sched_service_t *own)
{
    double other_weight = sched_model_weight(&s->models[other->model]);
    double own_weight = sched_model_weight(&s->models[own->model]);
    if (own->last_run > other->last_run)
        return (own->streak > 0 ? own->streak : 1) * other_weight >= own_weight;
    return other->streak > 0 && other->streak * own_weight < other_weight;
}

/* Whether a co-resident that waits has its turn first. */
static bool must_yield(const attempt_t *a)
{
    const sched_lane_t *lane = &a->s->lanes[a->lane];
    for (uint32_t i = 0; i < lane->services_count; i++) {
        const sched_service_t *other = &lane->services[i];
        const sched_model_t *m = &a->s->models[other->model];
        if (i != a->service && m->stats.waiting > 0 && sched_model_objective_ns(m) != SCHED_NEVER &&
            goes_before(a->s, other, service_of(a)))
            return true;
    }
    return false;
}

static void send(attempt_t *a, const sched_choice_t *choice)
{
    gpulet_sched_t *s = a->s;
    sched_lane_t *lane = &s->lanes[a->lane];
    sched_service_t *service = service_of(a);
    uint32_t slot = 2 * a->lane;
    slot += s->batches[slot].id != 0;
    sched_batch_t *batch = &s->batches[slot];
    sched_model_t *m = &s->models[service->model];
    assert(batch->id == 0);
    uint32_t fixed = m->value.batch_fixed;
    *batch = (sched_batch_t){.id = ++s->batches_next * 2 * s->options.lanes_max + slot,
                             .lane = a->lane,
                             .model = service->model,
                             .estimate = service->estimate,
                             .items = choice->items,
                             .cost_items = choice->items > fixed ? choice->items : fixed,
                             .size_class = a->size_class,
                             .first = s->candidate_requests[choice->first],
                             .count = choice->count,
                             .commit_ns = s->now_ns,
                             .predicted_ns = sched_curve_mean_ns(&a->curve, choice->items)};
    gpulet_action_t *action = sched_emit(s, GPULET_ACTION_RUN);
    action->u.run.batch = batch->id;
    action->u.run.lane = a->lane;
    action->u.run.model = service->model;
    action->u.run.items = choice->items;
    action->u.run.requests_count = choice->count;
    action->u.run.requests = &s->ids[s->ids_count];
    action->u.run.predicted_ns = batch->predicted_ns;
    for (uint32_t i = 0; i < choice->count; i++) {
        uint32_t request = s->candidate_requests[choice->first + i];
        sched_queue_remove(s, request);
        sched_request_t *r = &s->requests[request];
        r->state = SCHED_REQUEST_RUNNING;
        r->next = i + 1 < choice->count ? s->candidate_requests[choice->first + i + 1] : SCHED_NONE;
        s->ids[s->ids_count++] = r->id;
    }
    m->stats.batches++;
    m->stats.running += choice->count;
    for (uint32_t i = 0; i < lane->services_count; i++)
        lane->services[i].streak = i == a->service ? service->streak + 1 : 0;
    service->last_run = ++lane->runs;
    service->served += choice->items;
    if (lane->running == SCHED_NONE) {
        lane->running = slot;
        lane->end_ns = a->start_ns + batch->predicted_ns;
    } else {
        lane->waiting = slot;
    }
}

/* Where old heads keep batches small the queue drains more slowly than full batches would.
 * Admission must see that, or it keeps the queue so long that the next heads are as old: small
 * batches would breed small batches. */
static void note_pace(attempt_t *a, const sched_choice_t *choice, uint32_t most)
{
    sched_service_t *service = service_of(a);
    bool left = a->more || choice->first + choice->count < a->count;
    double seen = left && choice->items < most ? choice->items : service->sustained;
    service->pace += 0.25 * (seen - service->pace);
    if (service->pace > service->sustained)
        service->pace = service->sustained;
}

/* Heads that were passed over for a larger batch: left to another lane that makes them, else
 * dropped. */
static void pass_over(attempt_t *a, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t request = a->s->candidate_requests[i];
        const sched_request_t *r = &a->s->requests[request];
        if (sched_request_droppable(a->s, r) && !other_lane_makes_it(a->s, a->lane, r))
            sched_queue_drop(a->s, request);
    }
}

/* The largest batch that protects the co-residents; the planned one where none does, and then in
 * turns. 0: not its turn. A single request larger than that runs alone. */
static uint32_t items_most(const attempt_t *a, uint32_t head_items)
{
    const gpulet_sched_t *s = a->s;
    const sched_service_t *service = service_of(a);
    uint32_t batch_max = s->models[service->model].value.batch_max;
    if (a->allowance_ns == SCHED_NEVER)
        return batch_max;
    uint32_t fit = sched_curve_fit(&a->curve, a->allowance_ns, batch_max);
    if (fit >= head_items)
        return fit;
    if (a->holding && must_yield(a))
        return 0;
    return service->batch > head_items ? service->batch : head_items;
}

static bool try_group(attempt_t *a, uint32_t group)
{
    gpulet_sched_t *s = a->s;
    const sched_request_t *head = &s->requests[s->groups[group].requests.first];
    const sched_service_t *service = service_of(a);
    const sched_model_t *m = &s->models[service->model];
    a->size_class = head->size_class;
    a->curve = sched_service_curve(s, service, head->size_class);
    uint32_t batch_max = m->value.batch_max;
    gather(a, group, batch_max < SCHED_WINDOW - 1 ? batch_max + 1 : SCHED_WINDOW);
    uint32_t most = a->count > 0 ? items_most(a, s->candidates[0].items) : 0;
    if (most == 0)
        return false;
    if (s->requests[s->candidate_requests[0]].probe && s->lanes[a->lane].running != SCHED_NONE)
        return false; /* It measures alone. */
    sched_batcher_t rule = {
        &a->curve,     a->start_ns, most, service->batch, GPULET_SCHED_BATCH_REQUESTS_MAX,
        m->lanes_count};
    sched_choice_t choice = sched_batcher_prefix(&rule, s->candidates, a->count, 0);
    if (choice.count < a->count && choice.items < most && a->more)
        gather(a, group, SCHED_WINDOW); /* Whether to pass heads over depends on all that waits. */
    choice = sched_batcher_choose(&rule, s->candidates, a->count);
    if (choice.count == 0)
        return false;
    send(a, &choice);
    note_pace(a, &choice, most);
    pass_over(a, choice.first);
    return true;
}

static bool try_service(attempt_t *a)
{
    gpulet_sched_t *s = a->s;
    const sched_model_t *m = &s->models[service_of(a)->model];
    a->allowance_ns = sched_lane_allowance_ns(s, &s->lanes[a->lane], a->service, a->start_ns);
    uint32_t next;
    for (uint32_t group = m->groups.first; group != SCHED_NONE; group = next) {
        next = s->group_nodes[group].next;
        if (try_group(a, group))
            return true;
    }
    return false;
}

/* Whether a service whose head is late goes by its deadline all the same. Lateness puts it behind
 * what can be in time, but not for ever: the others that wait have gone before it since it ran
 * last, each as often as it weighs. */
static bool late_turn(const attempt_t *a, const sched_service_t *service)
{
    const sched_lane_t *lane = &a->s->lanes[a->lane];
    double before = 0;
    for (uint32_t i = 0; i < lane->services_count; i++) {
        const sched_model_t *m = &a->s->models[lane->services[i].model];
        if (&lane->services[i] != service && m->stats.waiting > 0 &&
            sched_model_objective_ns(m) != SCHED_NEVER)
            before += sched_model_weight(m);
    }
    double runs = (double)(lane->runs - service->last_run);
    return runs * sched_model_weight(&a->s->models[service->model]) >= before;
}

/* The place of a service's most urgent request among those of the lane: in time, or late and its
 * turn; then late but served, then best effort. */
static bool urgency(const attempt_t *a, const sched_service_t *service, sched_node_t *out)
{
    const gpulet_sched_t *s = a->s;
    uint32_t group = s->models[service->model].groups.first;
    if (group == SCHED_NONE)
        return false;
    *out = s->group_nodes[group];
    const sched_request_t *r = &s->requests[s->groups[group].requests.first];
    bool late = r->deadline_ns < a->start_ns && !sched_request_droppable(s, r);
    uint64_t rank = r->deadline_ns == SCHED_NEVER ? 2 : late && !late_turn(a, service) ? 1 : 0;
    out->major = rank << 40 | r->priority;
    return true;
}

/* The most urgent service after `last` (its major UINT64_MAX at first: any). */
static bool next_service(attempt_t *a, sched_node_t *last, bool first)
{
    const sched_lane_t *lane = &a->s->lanes[a->lane];
    sched_node_t best = {0}, own;
    bool found = false;
    for (uint32_t i = 0; i < lane->services_count; i++) {
        if (!urgency(a, &lane->services[i], &own) || (!first && !sched_node_before(last, &own)))
            continue;
        if (!found || sched_node_before(&own, &best)) {
            best = own;
            a->service = i;
            found = true;
        }
    }
    *last = best;
    return found;
}

static bool commit_one(gpulet_sched_t *s, uint32_t index)
{
    attempt_t a = {.s = s, .lane = index, .start_ns = sched_lane_ready_ns(s, &s->lanes[index])};
    for (int pass = 0; pass < 2; pass++) {
        sched_node_t last = {0};
        a.holding = pass == 0;
        for (bool first = true; next_service(&a, &last, first); first = false) {
            if (try_service(&a))
                return true;
        }
    }
    return false;
}

void sched_dispatch(gpulet_sched_t *s, uint32_t index)
{
    while (sched_lane_accepts(s, &s->lanes[index]) && commit_one(s, index))
        continue;
    sched_lane_watch(s, index);
}

uint32_t sched_dispatch_best_lane(const gpulet_sched_t *s, const sched_request_t *r)
{
    const sched_model_t *m = &s->models[r->model];
    uint32_t best = SCHED_NONE;
    uint64_t soonest = 0;
    double least_load = 0;
    for (uint32_t i = 0; i < m->lanes_count; i++) {
        const sched_lane_t *lane = &s->lanes[m->lanes[i].lane];
        if (!sched_lane_accepts(s, lane) || (r->probe && lane->running != SCHED_NONE))
            continue;
        const sched_service_t *service = &lane->services[m->lanes[i].service];
        sched_curve_t curve = sched_service_curve(s, service, r->size_class);
        uint64_t end = sched_lane_ready_ns(s, lane) + sched_curve_mean_ns(&curve, r->items);
        double load = (double)service->served / (service->rate_rps > 0 ? service->rate_rps : 1.0);
        if (best == SCHED_NONE || end < soonest || (end == soonest && load < least_load)) {
            best = m->lanes[i].lane;
            soonest = end;
            least_load = load;
        }
    }
    return best;
}
