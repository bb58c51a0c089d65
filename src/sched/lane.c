#include "sched/internal.h"

#include <stdlib.h>

sched_curve_t sched_service_curve(const gpulet_sched_t *s, const sched_service_t *service,
                                  uint32_t size_class)
{
    return sched_curve(service->estimate, size_class, s->models[service->model].value.batch_fixed);
}

/* A batch that is overdue will last a while longer, the longer it already is: half of its delay. So
 * nothing is committed behind a run that hangs. */
static uint64_t running_end(const gpulet_sched_t *s, const sched_lane_t *lane)
{
    if (lane->end_ns >= s->now_ns)
        return lane->end_ns;
    return s->now_ns + (s->now_ns - lane->end_ns) / 2;
}

uint64_t sched_lane_ready_ns(const gpulet_sched_t *s, const sched_lane_t *lane)
{
    uint64_t soonest = s->now_ns + s->options.overhead_ns;
    if (lane->running == SCHED_NONE)
        return soonest;
    uint64_t end = running_end(s, lane);
    if (lane->waiting != SCHED_NONE)
        end += s->batches[lane->waiting].predicted_ns;
    return end > soonest ? end : soonest;
}

bool sched_lane_accepts(const gpulet_sched_t *s, const sched_lane_t *lane)
{
    if (lane->state != SCHED_LANE_ACTIVE || lane->waiting != SCHED_NONE)
        return false;
    return lane->running == SCHED_NONE ||
           running_end(s, lane) - s->now_ns <= s->options.commit_ahead_ns;
}

/* What co-resident i leaves: arriving now it still needs its own planned run; and what of it waits
 * keeps its deadline. */
static uint64_t leaves_ns(const gpulet_sched_t *s, const sched_service_t *other, uint64_t start_ns)
{
    const sched_model_t *m = &s->models[other->model];
    uint64_t limit = sched_model_objective_ns(m);
    if (limit == SCHED_NEVER)
        return SCHED_NEVER;
    sched_curve_t curve = sched_service_curve(s, other, other->estimate->class_last);
    uint64_t needed = start_ns + sched_curve_safe_ns(&curve, other->batch);
    uint64_t deadline = s->now_ns + limit;
    uint64_t leaves = deadline > needed ? deadline - needed : 0;
    if (m->groups.count == 0)
        return leaves;
    const sched_request_t *head = &s->requests[s->groups[m->groups.first].requests.first];
    if (head->deadline_ns == SCHED_NEVER || head->probe)
        return leaves;
    uint64_t run = start_ns + sched_curve_safe_ns(&curve, head->items);
    if (head->deadline_ns < run) /* It is lost here whatever runs now. */
        return leaves;
    return head->deadline_ns - run < leaves ? head->deadline_ns - run : leaves;
}

uint64_t sched_lane_allowance_ns(const gpulet_sched_t *s, const sched_lane_t *lane,
                                 uint32_t service, uint64_t start_ns)
{
    uint64_t least = SCHED_NEVER;
    for (uint32_t i = 0; i < lane->services_count; i++) {
        if (i == service)
            continue;
        uint64_t leaves = leaves_ns(s, &lane->services[i], start_ns);
        least = leaves < least ? leaves : least;
    }
    return least;
}

/* What co-resident i, arriving when the lane is free, leaves to a batch of another. */
static uint64_t idle_allowance(const gpulet_sched_t *s, const sched_lane_t *lane, uint32_t service)
{
    uint64_t least = SCHED_NEVER;
    for (uint32_t i = 0; i < lane->services_count; i++) {
        const sched_service_t *other = &lane->services[i];
        uint64_t limit = sched_model_objective_ns(&s->models[other->model]);
        if (i == service || limit == SCHED_NEVER)
            continue;
        sched_curve_t curve = sched_service_curve(s, other, other->estimate->class_last);
        uint64_t needed = s->options.overhead_ns + sched_curve_safe_ns(&curve, other->batch);
        uint64_t leaves = limit > needed ? limit - needed : 0;
        least = leaves < least ? leaves : least;
    }
    return least;
}

/* Under load a request waits for one run and then has its own: twice the time of the batch within
 * the objective. */
static void refresh_service(gpulet_sched_t *s, const sched_lane_t *lane, uint32_t index)
{
    sched_service_t *service = &lane->services[index];
    const sched_model_t *m = &s->models[service->model];
    sched_curve_t curve = sched_service_curve(s, service, service->estimate->class_last);
    uint32_t most = m->value.batch_max;
    uint64_t limit = sched_model_limit_ns(m);
    if (limit != SCHED_NEVER) {
        uint64_t overhead = s->options.overhead_ns;
        most = sched_curve_fit(&curve, limit > overhead ? (limit - overhead) / 2 : 0, most);
    }
    uint64_t allowance = idle_allowance(s, lane, index);
    uint32_t protects = sched_curve_fit(&curve, allowance, m->value.batch_max);
    if (protects == 0)
        protects = service->batch;
    most = most < protects ? most : protects;
    most = most > 0 ? sched_curve_best(&curve, most) : 1;
    if (most > GPULET_SCHED_BATCH_REQUESTS_MAX)
        most = GPULET_SCHED_BATCH_REQUESTS_MAX;
    service->sustained = most;
    service->sustained_ns = sched_curve_mean_ns(&curve, most);
    if (service->pace < 1 || service->pace > most)
        service->pace = most;
}

void sched_lane_refresh(gpulet_sched_t *s, sched_lane_t *lane)
{
    for (uint32_t i = 0; i < lane->services_count; i++) {
        sched_service_t *service = &lane->services[i];
        uint32_t batch_max = s->models[service->model].value.batch_max;
        service->batch = service->planned < batch_max ? service->planned : batch_max;
    }
    for (uint32_t i = 0; i < lane->services_count; i++)
        refresh_service(s, lane, i);
}

void sched_lane_watch(gpulet_sched_t *s, uint32_t index)
{
    const sched_lane_t *lane = &s->lanes[index];
    if (lane->state != SCHED_LANE_ACTIVE || lane->running == SCHED_NONE ||
        lane->waiting != SCHED_NONE) {
        sched_heap_remove(&s->wakes, index);
        return;
    }
    if (sched_heap_has(&s->wakes, index))
        return;
    uint64_t ahead = s->options.commit_ahead_ns;
    uint64_t at = lane->end_ns > ahead ? lane->end_ns - ahead : 0;
    if (at <= s->now_ns)
        return; /* Its time has come already: arrivals are offered to it, or the end of its run. */
    for (uint32_t i = 0; i < lane->services_count; i++) {
        if (s->models[lane->services[i].model].stats.waiting > 0) {
            sched_heap_set(&s->wakes, index, at);
            return;
        }
    }
}

void sched_lane_mark(gpulet_sched_t *s, uint32_t index)
{
    sched_lane_t *lane = &s->lanes[index];
    if (lane->dirty)
        return;
    lane->dirty = true;
    s->dirty[s->dirty_count++] = index;
}

void sched_lane_free(gpulet_sched_t *s, uint32_t index)
{
    sched_lane_t *lane = &s->lanes[index];
    sched_heap_remove(&s->wakes, index);
    free(lane->services);
    bool dirty = lane->dirty;
    *lane = (sched_lane_t){.dirty = dirty, .running = SCHED_NONE, .waiting = SCHED_NONE};
}

void sched_lane_check_idle(gpulet_sched_t *s, uint32_t index)
{
    const sched_lane_t *lane = &s->lanes[index];
    if (lane->state != SCHED_LANE_DRAINING || lane->running != SCHED_NONE)
        return;
    sched_emit(s, GPULET_ACTION_LANE_IDLE)->u.lane_idle.lane = index;
    sched_lane_free(s, index);
}
