/* Carries out what the brain decides. Batches are sent to workers at once; answers are queued and
 * carried out one after the other, since answering may read the connection's next request, which
 * may make the brain decide again. */
#include <assert.h>
#include <stdlib.h>
#include <sys/timerfd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/internal.h"

static server_infer_t *infer_of(uint64_t id)
{
    return (server_infer_t *)(uintptr_t)id; /* the brain gives back our own address */
}

static void run_batch(gpulet_server_t *server, const gpulet_action_t *action)
{
    gpulet_wire_span_t spans[GPULET_WIRE_REQUESTS_MAX];
    gpulet_worker_large_t large[GPULET_WIRE_REQUESTS_MAX];
    uint32_t large_count = 0;
    uint32_t count = action->u.run.requests_count;
    assert(action->u.run.lane < server->lanes_max && count <= GPULET_WIRE_REQUESTS_MAX);
    server_gpulet_t *g = server->lanes[action->u.run.lane];
    assert(g != NULL);
    if (g->worker == NULL || g->lost)
        return; /* The loss is told to the brain at the end of the turn, and the batch comes back.
                 */
    for (uint32_t i = 0; i < count; i++)
        server_infer_span(infer_of(action->u.run.requests[i]), &spans[i], large, &large_count);
    gpulet_status_t st = gpulet_worker_run(g->worker, action->u.run.batch, action->u.run.model,
                                           action->u.run.items, spans, count, large, large_count);
    if (st != GPULET_OK) {
        GPULET_LOG(ERROR, "event=run_failed gpulet=%s batch=%llu status=%s", g->name,
                   (unsigned long long)action->u.run.batch, gpulet_status_name(st));
        g->lost = true;
        g->lost_count++;
        server->gpulets_dirty = true;
    }
}

/* Setting a timer costs a system call, and the time wanted moves with every batch: a timer that is
 * armed for earlier is left alone, and armed again for what is then wanted when it has fired. */
void server_brain_arm(gpulet_server_t *server)
{
    uint64_t at_ns = server->timer_wanted_ns;
    if (at_ns >= server->timer_armed_ns)
        return;
    /* A moment that has passed would never fire as 0, which means "off". */
    struct itimerspec when = {{0, 0},
                              {(time_t)(at_ns / GPULET_NS_PER_S), (long)(at_ns % GPULET_NS_PER_S)}};
    if (at_ns == 0)
        when.it_value.tv_nsec = 1;
    server->timer_armed_ns = at_ns;
    (void)timerfd_settime(server->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static bool queue_answer(gpulet_server_t *server, const gpulet_action_t *action)
{
    if (server->answers_count == server->answers_capacity) {
        size_t capacity = server->answers_capacity == 0 ? 256 : server->answers_capacity * 2;
        server_answer_t *grown = realloc(server->answers, capacity * sizeof(*grown));
        if (grown == NULL)
            return false;
        server->answers = grown;
        server->answers_capacity = capacity;
    }
    server->answers[server->answers_count++].action = *action;
    return true;
}

static void carry_out(gpulet_server_t *server, const gpulet_action_t *action)
{
    switch (action->kind) {
    case GPULET_ACTION_REPLY:
        assert(server->result != NULL);
        server_infer_answer(infer_of(action->u.reply.request), action, server->result,
                            server->result_output);
        break;
    case GPULET_ACTION_REJECT:
        server_infer_reject(infer_of(action->u.reject.request), action->u.reject.reason,
                            action->u.reject.retry_after_ns);
        break;
    case GPULET_ACTION_CANCELLED:
        server_infer_cancelled(infer_of(action->u.cancelled.request));
        break;
    default:
        break;
    }
}

void server_brain_apply(gpulet_server_t *server, gpulet_actions_t actions)
{
    for (size_t i = 0; i < actions.count; i++) {
        const gpulet_action_t *action = &actions.items[i];
        switch (action->kind) {
        case GPULET_ACTION_RUN:
            run_batch(server, action);
            break;
        case GPULET_ACTION_TIMER:
            server->timer_wanted_ns = action->u.timer.at_ns;
            server_brain_arm(server);
            break;
        case GPULET_ACTION_LANE_IDLE:
            server_gpulets_lane_idle(server, action->u.lane_idle.lane);
            break;
        case GPULET_ACTION_REPLY:
        case GPULET_ACTION_REJECT:
        case GPULET_ACTION_CANCELLED:
            if (!queue_answer(server, action))
                abort(); /* An answer must not be lost; without memory for 48 bytes nothing would go
                            on anyway. */
            break;
        }
    }
    if (server->answering)
        return;
    server->answering = true;
    for (server->answers_next = 0; server->answers_next < server->answers_count;
         server->answers_next++) {
        gpulet_action_t action =
            server->answers[server->answers_next].action; /* the array may move */
        carry_out(server, &action);
    }
    server->answers_count = 0;
    server->answering = false;
}

void server_output_unref(void *output)
{
    server_output_t *shared = output;
    if (--shared->refs > 0)
        return;
    gpulet_worker_release(shared->handle);
    free(shared);
}

void server_brain_done(const server_gpulet_t *g, const gpulet_worker_result_t *result)
{
    gpulet_server_t *server = g->server;
    assert(!server->answering);
    server->result = result;
    server->result_gpulet = g;
    if (result->output != NULL) {
        server->result_output = malloc(sizeof(*server->result_output));
        if (server->result_output == NULL)
            abort();
        *server->result_output = (server_output_t){result->output, 1};
    }
    server_brain_apply(server,
                       gpulet_sched_on_batch_done(server->sched, gpulet_clock_ns(), result->batch,
                                                  result->exec_ns, result->status));
    if (server->result_output != NULL)
        server_output_unref(server->result_output);
    server->result = NULL;
    server->result_gpulet = NULL;
    server->result_output = NULL;
}
