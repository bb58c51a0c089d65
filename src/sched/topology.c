/* Models and lanes come, change and go. */
#include "sched/internal.h"

#include <assert.h>
#include <stdlib.h>

gpulet_status_t gpulet_sched_model_set(gpulet_sched_t *s, uint32_t model,
                                       const gpulet_sched_model_t *value)
{
    if (model >= s->options.models_max || value->batch_max == 0 ||
        value->priority >= GPULET_SCHED_PRIORITIES || !(value->weight >= 0))
        return GPULET_E_INVALID;
    sched_model_t *m = &s->models[model];
    if (!m->known && m->stats.running == 0) /* the number may have been another's */
        m->stats = (gpulet_sched_model_stats_t){0};
    m->value = *value;
    if (!m->known)
        sched_admit_reset(m);
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
    sched_begin(s, now_ns);
    if (model >= s->options.models_max || !s->models[model].known)
        return sched_finish(s);
    sched_queue_reject_all(s, model, GPULET_REJECT_NOT_SERVED);
    for (uint32_t i = 0; i < s->options.lanes_max; i++) {
        if (s->lanes[i].state != SCHED_LANE_NONE)
            lane_forget_model(s, i, model);
    }
    sched_model_forget(s, model);
    return sched_finish(s);
}

static gpulet_status_t check_services(const gpulet_sched_t *s, const gpulet_sched_lane_t *value)
{
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

static gpulet_status_t check_lane(const gpulet_sched_t *s, uint32_t lane,
                                  const gpulet_sched_lane_t *value)
{
    if (lane >= s->options.lanes_max)
        return GPULET_E_INVALID;
    if (s->lanes[lane].state != SCHED_LANE_NONE)
        return GPULET_E_EXISTS;
    return check_services(s, value);
}

/* Services as the value has them, with all that linking them takes. */
static gpulet_status_t make_services(sched_service_t **out, gpulet_sched_t *s,
                                     const gpulet_sched_lane_t *value)
{
    sched_service_t *services = calloc(value->services_count + 1U, sizeof(*services));
    gpulet_status_t st = services != NULL ? GPULET_OK : GPULET_E_NOMEM;
    for (uint32_t i = 0; i < value->services_count && st == GPULET_OK; i++) {
        const gpulet_sched_service_t *from = &value->services[i];
        sched_service_t *to = &services[i];
        to->model = from->model;
        to->planned = to->batch = from->batch < 1 ? 1 : from->batch;
        to->rate_rps = from->rate_rps;
        to->estimate = sched_model_estimate(s, from->model, value->units);
        st = to->estimate != NULL ? sched_model_reserve(s, from->model) : GPULET_E_NOMEM;
    }
    if (st != GPULET_OK) {
        free(services);
        return st;
    }
    *out = services;
    return GPULET_OK;
}

/* The lane has its services: models hear of it. */
static void link_lane(gpulet_sched_t *s, uint32_t index, const gpulet_sched_lane_t *value)
{
    sched_lane_t *lane = &s->lanes[index];
    for (uint32_t i = 0; i < lane->services_count; i++) {
        const gpulet_sched_service_t *from = &value->services[i];
        sched_estimate_profile(lane->services[i].estimate, from->exec_ns,
                               from->exec_ns == NULL ? 0 : from->exec_count);
        sched_model_link(s, from->model, index, i);
    }
    sched_lane_refresh(s, lane);
    sched_lane_mark(s, index);
    for (uint32_t i = 0; i < lane->services_count; i++) {
        s->models[lane->services[i].model].back_ns = 0;
        sched_model_rebalance(s, lane->services[i].model);
        sched_model_mark_idle(s, lane->services[i].model);
    }
}

static void unlink_lane(gpulet_sched_t *s, uint32_t index)
{
    sched_lane_t *lane = &s->lanes[index];
    for (uint32_t i = 0; i < lane->services_count; i++)
        sched_model_unlink(s, lane->services[i].model, index);
}

/* The lane is no longer there for them. */
static void reject_unserved(gpulet_sched_t *s, const sched_service_t *services, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const sched_model_t *m = &s->models[services[i].model];
        if (m->lanes_count == 0 && m->back_ns <= s->now_ns)
            sched_queue_reject_all(s, services[i].model, GPULET_REJECT_NOT_SERVED);
    }
}

gpulet_status_t gpulet_sched_lane_add(gpulet_sched_t *s, uint64_t now_ns, uint32_t lane,
                                      const gpulet_sched_lane_t *value, gpulet_actions_t *out)
{
    sched_service_t *services = NULL;
    gpulet_status_t st = check_lane(s, lane, value);
    if (st == GPULET_OK)
        st = make_services(&services, s, value);
    if (st != GPULET_OK)
        return st;
    sched_begin(s, now_ns);
    sched_lane_t *l = &s->lanes[lane];
    l->units = value->units;
    l->services = services;
    l->services_count = value->services_count;
    l->state = SCHED_LANE_ACTIVE;
    link_lane(s, lane, value);
    *out = sched_finish(s);
    return GPULET_OK;
}

/* A model that stays keeps what it has been served so far. */
static void carry_over(sched_service_t *to, const sched_lane_t *lane)
{
    for (uint32_t i = 0; i < lane->services_count; i++) {
        const sched_service_t *from = &lane->services[i];
        if (from->model != to->model)
            continue;
        to->last_run = from->last_run;
        to->streak = from->streak;
        to->pace = from->pace;
    }
}

gpulet_status_t gpulet_sched_lane_serve(gpulet_sched_t *s, uint64_t now_ns, uint32_t lane,
                                        const gpulet_sched_lane_t *value, gpulet_actions_t *out)
{
    sched_service_t *services = NULL;
    if (lane >= s->options.lanes_max || s->lanes[lane].state != SCHED_LANE_ACTIVE)
        return GPULET_E_NOT_FOUND;
    sched_lane_t *l = &s->lanes[lane];
    assert(value->units == l->units);
    gpulet_status_t st = check_services(s, value);
    if (st == GPULET_OK)
        st = make_services(&services, s, value);
    if (st != GPULET_OK)
        return st;
    sched_begin(s, now_ns);
    sched_service_t *before = l->services;
    uint32_t before_count = l->services_count;
    for (uint32_t i = 0; i < value->services_count; i++)
        carry_over(&services[i], l);
    unlink_lane(s, lane);
    l->services = services;
    l->services_count = value->services_count;
    link_lane(s, lane, value);
    reject_unserved(s, before, before_count);
    free(before);
    *out = sched_finish(s);
    return GPULET_OK;
}

static gpulet_status_t resize_service(gpulet_sched_t *s, sched_service_t *service,
                                      const gpulet_sched_lane_t *value)
{
    for (uint32_t i = 0; i < value->services_count; i++) {
        const gpulet_sched_service_t *from = &value->services[i];
        if (from->model != service->model)
            continue;
        sched_estimate_t *estimate = sched_model_estimate(s, service->model, value->units);
        if (estimate == NULL)
            return GPULET_E_NOMEM;
        if (from->exec_ns != NULL)
            sched_estimate_profile(estimate, from->exec_ns, from->exec_count);
        /* Better the other speed's figures than none: a guess of nothing would admit everything. */
        if (sched_estimate_known(estimate))
            service->estimate = estimate;
        return GPULET_OK;
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_sched_lane_resize(gpulet_sched_t *s, uint64_t now_ns, uint32_t lane,
                                         const gpulet_sched_lane_t *value, gpulet_actions_t *out)
{
    gpulet_status_t st = GPULET_OK;
    if (lane >= s->options.lanes_max || s->lanes[lane].state != SCHED_LANE_ACTIVE)
        return GPULET_E_NOT_FOUND;
    sched_begin(s, now_ns);
    sched_lane_t *l = &s->lanes[lane];
    l->units = value->units;
    for (uint32_t i = 0; i < l->services_count && st == GPULET_OK; i++)
        st = resize_service(s, &l->services[i], value);
    sched_lane_refresh(s, l);
    sched_lane_mark(s, lane);
    *out = sched_finish(s);
    return st;
}

gpulet_actions_t gpulet_sched_model_expect(gpulet_sched_t *s, uint64_t now_ns, uint32_t model,
                                           uint64_t back_ns)
{
    assert(model < s->options.models_max);
    sched_begin(s, now_ns);
    s->models[model].back_ns = back_ns;
    if (s->models[model].lanes_count == 0 && back_ns == 0)
        sched_queue_reject_all(s, model, GPULET_REJECT_NOT_SERVED);
    return sched_finish(s);
}

void gpulet_sched_lane_rate(gpulet_sched_t *s, uint32_t lane, uint32_t model, double rate_rps)
{
    assert(lane < s->options.lanes_max);
    for (uint32_t i = 0; i < s->lanes[lane].services_count; i++) {
        if (s->lanes[lane].services[i].model != model)
            continue;
        s->lanes[lane].services[i].rate_rps = rate_rps;
        if (s->lanes[lane].state == SCHED_LANE_ACTIVE)
            sched_model_rebalance(s, model);
    }
}

gpulet_actions_t gpulet_sched_lane_drain(gpulet_sched_t *s, uint64_t now_ns, uint32_t lane)
{
    sched_begin(s, now_ns);
    if (lane >= s->options.lanes_max || s->lanes[lane].state != SCHED_LANE_ACTIVE)
        return sched_finish(s);
    sched_lane_t *l = &s->lanes[lane];
    unlink_lane(s, lane);
    l->state = SCHED_LANE_DRAINING;
    sched_heap_remove(&s->wakes, lane);
    reject_unserved(s, l->services, l->services_count);
    sched_lane_check_idle(s, lane);
    return sched_finish(s);
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

gpulet_actions_t gpulet_sched_lane_lost(gpulet_sched_t *s, uint64_t now_ns, uint32_t lane)
{
    sched_begin(s, now_ns);
    if (lane >= s->options.lanes_max || s->lanes[lane].state == SCHED_LANE_NONE)
        return sched_finish(s);
    sched_lane_t *l = &s->lanes[lane];
    if (l->state == SCHED_LANE_ACTIVE)
        unlink_lane(s, lane);
    uint32_t slots[2] = {l->running, l->waiting};
    sched_lane_free(s, lane);
    for (int i = 0; i < 2; i++) {
        if (slots[i] == SCHED_NONE)
            continue;
        const sched_model_t *m = &s->models[s->batches[slots[i]].model];
        return_batch(s, &s->batches[slots[i]]);
        for (uint32_t j = 0; j < m->lanes_count; j++)
            sched_lane_mark(s, m->lanes[j].lane);
    }
    return sched_finish(s);
}
