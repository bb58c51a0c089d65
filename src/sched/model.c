#include "sched/internal.h"

#include <assert.h>
#include <stdlib.h>

gpulet_status_t sched_model_reserve(gpulet_sched_t *s, uint32_t model)
{
    sched_model_t *m = &s->models[model];
    if (m->lanes_count < m->lanes_capacity)
        return GPULET_OK;
    uint32_t capacity = m->lanes_capacity == 0 ? 4 : m->lanes_capacity * 2;
    sched_lane_ref_t *grown = realloc(m->lanes, capacity * sizeof(*grown));
    if (grown == NULL)
        return GPULET_E_NOMEM;
    m->lanes = grown;
    m->lanes_capacity = capacity;
    return GPULET_OK;
}

void sched_model_link(gpulet_sched_t *s, uint32_t model, uint32_t lane, uint32_t service)
{
    sched_model_t *m = &s->models[model];
    assert(m->lanes_count < m->lanes_capacity);
    m->lanes[m->lanes_count++] = (sched_lane_ref_t){lane, service};
    uint32_t batch = s->lanes[lane].services[service].batch;
    m->planned_most = batch > m->planned_most ? batch : m->planned_most;
}

void sched_model_rebalance(gpulet_sched_t *s, uint32_t model)
{
    const sched_model_t *m = &s->models[model];
    for (uint32_t i = 0; i < m->lanes_count; i++)
        s->lanes[m->lanes[i].lane].services[m->lanes[i].service].served = 0;
}

double sched_model_weight(const sched_model_t *m)
{
    return m->value.weight > 0 ? m->value.weight : 1;
}

void sched_model_unlink(gpulet_sched_t *s, uint32_t model, uint32_t lane)
{
    sched_model_t *m = &s->models[model];
    uint32_t kept = 0;
    m->planned_most = 0;
    for (uint32_t i = 0; i < m->lanes_count; i++) {
        sched_lane_ref_t ref = m->lanes[i];
        if (ref.lane == lane)
            continue;
        m->lanes[kept++] = ref;
        uint32_t batch = s->lanes[ref.lane].services[ref.service].batch;
        m->planned_most = batch > m->planned_most ? batch : m->planned_most;
    }
    m->lanes_count = kept;
}

sched_estimate_t *sched_model_estimate(gpulet_sched_t *s, uint32_t model, uint32_t units)
{
    sched_model_t *m = &s->models[model];
    for (sched_estimate_t *e = m->estimates; e != NULL; e = e->next) {
        if (e->units == units)
            return e;
    }
    sched_estimate_t *e = calloc(1, sizeof(*e));
    if (e == NULL)
        return NULL;
    e->units = units;
    sched_estimate_profile(e, NULL, 0);
    e->next = m->estimates;
    m->estimates = e;
    return e;
}

void sched_model_forget(gpulet_sched_t *s, uint32_t model)
{
    sched_model_t *m = &s->models[model];
    while (m->estimates != NULL) {
        sched_estimate_t *next = m->estimates->next;
        free(m->estimates);
        m->estimates = next;
    }
    free(m->lanes);
    m->lanes = NULL;
    m->lanes_count = m->lanes_capacity = 0;
    m->planned_most = 0;
    m->rate = m->rate_admitted = 0;
    m->probe_ns = 0;
    m->known = false;
}

/* Rates are averaged over a few objectives: long enough to be steady, short enough to follow a
 * burst. */
static double averaging_ns(const sched_model_t *m)
{
    double tau = m->value.slo_ns == 0 ? 1e9 : 4 * (double)m->value.slo_ns;
    return tau < 1e8 ? 1e8 : tau > 2e9 ? 2e9 : tau;
}

void sched_model_offer(gpulet_sched_t *s, uint32_t model, uint32_t items)
{
    sched_model_t *m = &s->models[model];
    double tau = averaging_ns(m);
    double left = 1 / (1 + (double)(s->now_ns - m->rate_at_ns) / tau);
    m->rate = m->rate * left + items * 1e9 / tau;
    m->rate_admitted *= left;
    m->rate_at_ns = s->now_ns;
}

void sched_model_admitted(gpulet_sched_t *s, uint32_t model, int64_t items)
{
    sched_model_t *m = &s->models[model];
    m->rate_admitted += (double)items * 1e9 / averaging_ns(m);
    m->rate_admitted = m->rate_admitted > 0 ? m->rate_admitted : 0;
}

void sched_model_mark_idle(gpulet_sched_t *s, uint32_t model)
{
    const sched_model_t *m = &s->models[model];
    if (m->stats.waiting == 0)
        return;
    for (uint32_t i = 0; i < m->lanes_count; i++) {
        if (s->lanes[m->lanes[i].lane].running == SCHED_NONE)
            sched_lane_mark(s, m->lanes[i].lane);
    }
}

uint64_t sched_model_objective_ns(const sched_model_t *m)
{
    uint64_t limit = m->value.slo_ns != 0 ? m->value.slo_ns : SCHED_NEVER;
    if (m->value.timeout_ns != 0 && m->value.timeout_ns < limit)
        limit = m->value.timeout_ns;
    return limit;
}

uint64_t sched_model_limit_ns(const sched_model_t *m)
{
    return m->value.late_serve ? SCHED_NEVER : sched_model_objective_ns(m);
}
