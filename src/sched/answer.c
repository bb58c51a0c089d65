#include "sched/internal.h"

#include <assert.h>

gpulet_action_t *sched_emit(gpulet_sched_t *s, gpulet_action_kind_t kind)
{
    assert(s->actions_count < s->actions_capacity);
    gpulet_action_t *action = &s->actions[s->actions_count++];
    action->kind = kind;
    return action;
}

/* When a place in the queue could be free: the sooner of the lanes' ends, and no sooner than a
 * millisecond. */
static uint64_t retry_after(const gpulet_sched_t *s, uint32_t model)
{
    const sched_model_t *m = &s->models[model];
    uint64_t least = 0;
    for (uint32_t i = 0; i < m->lanes_count; i++) {
        const sched_lane_t *lane = &s->lanes[m->lanes[i].lane];
        uint64_t wait = sched_lane_ready_ns(s, lane) - s->now_ns +
                        lane->services[m->lanes[i].service].sustained_ns;
        least = least == 0 || wait < least ? wait : least;
    }
    return least == 0 || least > 1000000 ? least : 1000000;
}

static void emit_reject(gpulet_sched_t *s, uint32_t model, uint64_t id, gpulet_reject_t reason,
                        uint64_t after_ns)
{
    gpulet_action_t *action = sched_emit(s, GPULET_ACTION_REJECT);
    action->u.reject.request = id;
    action->u.reject.reason = reason;
    action->u.reject.retry_after_ns = after_ns;
    if (model < s->options.models_max)
        s->models[model].stats.rejected[reason]++;
}

void sched_reject(gpulet_sched_t *s, uint32_t request, gpulet_reject_t reason)
{
    const sched_request_t *r = &s->requests[request];
    bool again = reason == GPULET_REJECT_DROPPED || reason == GPULET_REJECT_TIMEOUT ||
                 reason == GPULET_REJECT_WORKER_LOST;
    emit_reject(s, r->model, r->id, reason, again ? retry_after(s, r->model) : 0);
    sched_request_free(s, request);
}

void sched_refuse(gpulet_sched_t *s, const gpulet_sched_request_t *request, gpulet_reject_t reason,
                  uint64_t retry_after_ns)
{
    if (reason == GPULET_REJECT_QUEUE_FULL)
        retry_after_ns = retry_after(s, request->model);
    emit_reject(s, request->model, request->id, reason, retry_after_ns);
}

void sched_cancelled(gpulet_sched_t *s, uint32_t request)
{
    const sched_request_t *r = &s->requests[request];
    sched_emit(s, GPULET_ACTION_CANCELLED)->u.cancelled.request = r->id;
    s->models[r->model].stats.cancelled++;
    sched_request_free(s, request);
}

static void count_answer(sched_model_t *m, const sched_request_t *r, bool ok, bool in_time)
{
    m->stats.running--;
    if (!ok) {
        m->stats.failed++;
        return;
    }
    m->stats.items += r->items;
    if (in_time)
        m->stats.in_time++;
    else
        m->stats.late++;
}

void sched_reply(gpulet_sched_t *s, const sched_batch_t *batch, uint64_t id, gpulet_status_t status)
{
    uint32_t index = 0, row = 0;
    for (uint32_t request = batch->first; request != SCHED_NONE; index++) {
        const sched_request_t *r = &s->requests[request];
        uint32_t next = r->next;
        bool in_time = s->now_ns <= r->deadline_ns;
        gpulet_action_t *action = sched_emit(s, GPULET_ACTION_REPLY);
        action->u.reply.request = r->id;
        action->u.reply.status = status;
        action->u.reply.batch = id;
        action->u.reply.index = index;
        action->u.reply.row = row;
        action->u.reply.in_time = in_time;
        action->u.reply.queue_ns = batch->commit_ns - r->arrival_ns;
        row += r->items;
        count_answer(&s->models[r->model], r, status == GPULET_OK, in_time);
        sched_promise_ended(s, r, in_time);
        sched_request_free(s, request);
        request = next;
    }
}
