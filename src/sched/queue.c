#include "sched/internal.h"

#include <assert.h>
#include <stdlib.h>

gpulet_status_t sched_queue_init(gpulet_sched_t *s)
{
    uint32_t count = s->options.requests_max;
    uint32_t buckets = 16;
    while (buckets < count)
        buckets *= 2;
    s->requests = calloc(count, sizeof(*s->requests));
    s->request_nodes = calloc(count, sizeof(*s->request_nodes));
    s->groups = calloc(count, sizeof(*s->groups));
    s->group_nodes = calloc(count, sizeof(*s->group_nodes));
    s->buckets = calloc(buckets, sizeof(*s->buckets));
    if (s->requests == NULL || s->request_nodes == NULL || s->groups == NULL ||
        s->group_nodes == NULL || s->buckets == NULL)
        return GPULET_E_NOMEM;
    s->buckets_mask = buckets - 1;
    for (uint32_t i = 0; i < buckets; i++)
        s->buckets[i] = SCHED_NONE;
    for (uint32_t i = 0; i < count; i++) {
        s->requests[i].next = i + 1 < count ? i + 1 : SCHED_NONE;
        s->groups[i].hash_next = i + 1 < count ? i + 1 : SCHED_NONE;
    }
    return sched_heap_init(&s->expiries, count);
}

void sched_queue_deinit(gpulet_sched_t *s)
{
    free(s->requests);
    free(s->request_nodes);
    free(s->groups);
    free(s->group_nodes);
    free(s->buckets);
    sched_heap_deinit(&s->expiries);
}

uint32_t sched_request_take(gpulet_sched_t *s)
{
    uint32_t index = s->request_free;
    if (index == SCHED_NONE || s->requests_used >= s->options.requests_max)
        return SCHED_NONE;
    sched_request_t *r = &s->requests[index];
    s->request_free = r->next;
    s->requests_used++;
    *r =
        (sched_request_t){.generation = r->generation + 1, .next = SCHED_NONE, .group = SCHED_NONE};
    return index;
}

void sched_request_free(gpulet_sched_t *s, uint32_t request)
{
    sched_request_t *r = &s->requests[request];
    r->state = SCHED_REQUEST_FREE;
    r->next = s->request_free;
    s->request_free = request;
    s->requests_used--;
}

uint64_t sched_request_major(const sched_request_t *r)
{
    return ((uint64_t)(r->deadline_ns == SCHED_NEVER) << 32) | r->priority;
}

static uint32_t *bucket_of(gpulet_sched_t *s, uint32_t model, uint64_t shape_key)
{
    uint64_t z = (shape_key ^ ((uint64_t)model << 40)) * 0x9e3779b97f4a7c15U;
    return &s->buckets[(uint32_t)(z >> 32) & s->buckets_mask];
}

/* The group of the request, made when there is none. Every group holds a request, so the pool of
 * groups cannot run dry. */
static uint32_t group_for(gpulet_sched_t *s, const sched_request_t *r)
{
    uint32_t *bucket = bucket_of(s, r->model, r->shape_key);
    for (uint32_t g = *bucket; g != SCHED_NONE; g = s->groups[g].hash_next) {
        if (s->groups[g].model == r->model && s->groups[g].shape_key == r->shape_key)
            return g;
    }
    uint32_t index = s->group_free;
    assert(index != SCHED_NONE);
    sched_group_t *group = &s->groups[index];
    s->group_free = group->hash_next;
    *group = (sched_group_t){.shape_key = r->shape_key, .model = r->model, .hash_next = *bucket};
    sched_tree_init(&group->requests);
    *bucket = index;
    return index;
}

static void group_release(gpulet_sched_t *s, uint32_t index)
{
    sched_group_t *group = &s->groups[index];
    uint32_t *link = bucket_of(s, group->model, group->shape_key);
    while (*link != index)
        link = &s->groups[*link].hash_next;
    *link = group->hash_next;
    group->hash_next = s->group_free;
    s->group_free = index;
}

/* The group stands among the model's groups by the key of its first request. */
static void group_place(gpulet_sched_t *s, uint32_t index)
{
    sched_group_t *group = &s->groups[index];
    const sched_node_t *head = &s->request_nodes[group->requests.first];
    sched_node_t *node = &s->group_nodes[index];
    node->major = head->major;
    node->deadline_ns = head->deadline_ns;
    node->order = head->order;
    sched_tree_insert(&s->models[group->model].groups, s->group_nodes, index);
}

static void count_in(gpulet_sched_t *s, sched_request_t *r)
{
    sched_model_t *m = &s->models[r->model];
    if (m->stats.waiting++ == 0)
        m->deadline_last_ns = 0;
    if (r->deadline_ns != SCHED_NEVER && r->deadline_ns > m->deadline_last_ns)
        m->deadline_last_ns = r->deadline_ns;
    if (r->deadline_ns != SCHED_NEVER)
        m->waiting_items[r->priority] += r->items;
    m->waiting_total += r->items;
    r->alone = m->lanes_count > 0 && r->items > m->planned_most;
    m->alone_count += r->alone;
    m->alone_items += r->alone ? r->items : 0;
}

static void count_out(gpulet_sched_t *s, sched_request_t *r)
{
    sched_model_t *m = &s->models[r->model];
    m->stats.waiting--;
    if (r->deadline_ns != SCHED_NEVER)
        m->waiting_items[r->priority] -= r->items;
    m->waiting_total -= r->items;
    m->alone_count -= r->alone;
    m->alone_items -= r->alone ? r->items : 0;
}

bool sched_request_droppable(const gpulet_sched_t *s, const sched_request_t *r)
{
    return r->deadline_ns != SCHED_NEVER && !r->late_serve && !s->models[r->model].value.late_serve;
}

uint64_t sched_request_latest_ns(const gpulet_sched_t *s, const sched_request_t *r)
{
    const sched_model_t *m = &s->models[r->model];
    uint64_t least = SCHED_NEVER;
    const sched_estimate_t *seen = NULL;
    if (r->probe)
        return r->deadline_ns;
    for (uint32_t i = 0; i < m->lanes_count; i++) {
        const sched_lane_t *lane = &s->lanes[m->lanes[i].lane];
        const sched_service_t *service = &lane->services[m->lanes[i].service];
        if (service->estimate == seen) /* Most lanes of a model are of one size. */
            continue;
        seen = service->estimate;
        sched_curve_t curve = sched_service_curve(s, service, r->size_class);
        uint64_t run = sched_curve_safe_ns(&curve, r->items);
        least = run < least ? run : least;
    }
    least = least == SCHED_NEVER ? 0 : least + s->options.overhead_ns;
    return r->deadline_ns > least ? r->deadline_ns - least : 0;
}

void sched_queue_add(gpulet_sched_t *s, uint32_t request)
{
    sched_request_t *r = &s->requests[request];
    sched_node_t *node = &s->request_nodes[request];
    r->state = SCHED_REQUEST_WAITING;
    r->group = group_for(s, r);
    node->major = sched_request_major(r);
    node->deadline_ns = r->deadline_ns;
    node->order = s->order_next++;
    sched_group_t *group = &s->groups[r->group];
    if (group->requests.count > 0 &&
        sched_node_before(node, &s->request_nodes[group->requests.first]))
        sched_tree_remove(&s->models[r->model].groups, s->group_nodes, r->group);
    sched_tree_insert(&group->requests, s->request_nodes, request);
    if (group->requests.first == request)
        group_place(s, r->group);
    count_in(s, r);
    if (sched_request_droppable(s, r))
        sched_heap_set(&s->expiries, request, sched_request_latest_ns(s, r));
    const sched_model_t *m = &s->models[r->model];
    for (uint32_t i = 0; i < m->lanes_count; i++)
        sched_lane_watch(s, m->lanes[i].lane);
}

void sched_queue_remove(gpulet_sched_t *s, uint32_t request)
{
    sched_request_t *r = &s->requests[request];
    sched_group_t *group = &s->groups[r->group];
    assert(r->state == SCHED_REQUEST_WAITING);
    bool head = group->requests.first == request;
    if (head)
        sched_tree_remove(&s->models[r->model].groups, s->group_nodes, r->group);
    sched_tree_remove(&group->requests, s->request_nodes, request);
    if (group->requests.count == 0)
        group_release(s, r->group);
    else if (head)
        group_place(s, r->group);
    count_out(s, r);
    sched_heap_remove(&s->expiries, request);
    r->group = SCHED_NONE;
}

uint32_t sched_queue_head_group(const gpulet_sched_t *s, uint32_t model)
{
    return s->models[model].groups.first;
}

/* Deadlines among the waiting are taken to be spread evenly from the first to the last: exact when
 * all are alike. */
uint32_t sched_queue_ahead(const gpulet_sched_t *s, uint32_t model, uint32_t priority,
                           uint64_t deadline_ns)
{
    const sched_model_t *m = &s->models[model];
    uint32_t ahead = 0;
    if (m->waiting_total == 0)
        return 0;
    for (uint32_t p = 0; p < priority; p++)
        ahead += m->waiting_items[p];
    uint32_t equal = m->waiting_items[priority];
    uint64_t first = s->group_nodes[m->groups.first].deadline_ns;
    if (deadline_ns >= m->deadline_last_ns)
        return ahead + equal;
    if (deadline_ns <= first || m->deadline_last_ns <= first)
        return ahead;
    double part = (double)(deadline_ns - first) / (double)(m->deadline_last_ns - first);
    return ahead + (uint32_t)(part * equal + 0.5);
}

void sched_queue_drop(gpulet_sched_t *s, uint32_t request)
{
    gpulet_reject_t reason =
        s->requests[request].own_timeout ? GPULET_REJECT_TIMEOUT : GPULET_REJECT_DROPPED;
    sched_queue_remove(s, request);
    sched_promise_ended(s, &s->requests[request], false);
    sched_reject(s, request, reason);
}

void sched_queue_reject_all(gpulet_sched_t *s, uint32_t model, gpulet_reject_t reason)
{
    while (s->models[model].groups.count > 0) {
        uint32_t request = s->groups[s->models[model].groups.first].requests.first;
        sched_queue_remove(s, request);
        sched_reject(s, request, reason);
    }
}

void sched_queue_expire(gpulet_sched_t *s)
{
    while (s->expiries.count > 0 && s->expiries.items[0].at_ns < s->now_ns) {
        uint32_t request = s->expiries.items[0].id;
        const sched_request_t *r = &s->requests[request];
        if (!sched_request_droppable(s, r)) {
            sched_heap_remove(&s->expiries, request);
            continue;
        }
        uint64_t latest = sched_request_latest_ns(s, r); /* Estimates moved meanwhile. */
        if (latest >= s->now_ns)
            sched_heap_set(&s->expiries, request, latest);
        else
            sched_queue_drop(s, request);
    }
}
