#include <assert.h>
#include <math.h>

#include "base/duration.h"
#include "sim/internal.h"

/* ---- small things ---- */

void sim_fail(sim_t *sim, gpulet_status_t status)
{
    if (sim->status == GPULET_OK)
        sim->status = status;
    if (sim->err->text[0] == '\0')
        (void)gpulet_fail(sim->err, status, "%s", gpulet_status_text(status));
}

uint64_t sim_after_s(const sim_t *sim, double seconds)
{
    double ns = (double)sim->now_ns + seconds * 1e9;
    return ns < 9e18 ? (uint64_t)ns : SIM_NEVER;
}

void sim_add_event(sim_t *sim, sim_event_kind_t kind, uint64_t at_ns, uint32_t index, uint64_t arg)
{
    sim_event_t event = {.at_ns = at_ns, .arg = arg, .index = index, .kind = (uint32_t)kind};
    if (at_ns == SIM_NEVER)
        return;
    if (sim_events_add(&sim->events, event) != GPULET_OK) {
        sim_fail(sim, gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory"));
    }
}

void sim_mix(sim_t *sim, uint64_t value)
{
    if (sim->answered)
        return;
    sim->hash = (sim->hash ^ value) * 0x100000001b3U;
    sim->hash ^= sim->hash >> 29;
}

/* ---- requests ---- */

static uint32_t take_request(sim_t *sim)
{
    uint32_t place = sim->request_free;
    assert(place != SIM_NONE); /* the brain holds one fewer */
    sim->request_free = sim->requests[place].next;
    return place;
}

static void free_request(sim_t *sim, uint32_t place)
{
    sim_request_t *r = &sim->requests[place];
    r->state = SIM_REQUEST_FREE;
    r->generation++;
    r->next = sim->request_free;
    sim->request_free = place;
}

uint32_t sim_subjects_count(const sim_t *sim)
{
    return (uint32_t)sim->models_count + sim->apps.count;
}

uint32_t sim_request_make(sim_t *sim, gpulet_sched_request_t *out, const sim_request_t *value)
{
    uint32_t place = take_request(sim);
    sim_request_t *r = &sim->requests[place];
    const uint32_t generation = r->generation;
    *r = *value;
    r->generation = generation;
    r->state = SIM_REQUEST_WAITING;
    *out = (gpulet_sched_request_t){.id = (uint64_t)generation << 32 | place,
                                    .model = r->asked.subject,
                                    .items = r->asked.items,
                                    .arrival_ns = sim->now_ns};
    sim->result->requests++;
    sim->models[r->asked.subject].offered++;
    sim_stats_arrived(sim, &r->asked);
    if (sim->follow != NULL)
        gpulet_follow_arrived(sim->follow, r->asked.subject, r->asked.items);
    return place;
}

static void arrive_at_model(sim_t *sim, uint32_t model, uint32_t items)
{
    const sim_model_t *m = &sim->models[model];
    const double slo_ms = m->slo_ms;
    const sim_request_t value = {
        .asked = {.arrival_ns = sim->now_ns, .subject = model, .items = items},
        .deadline_ns = sim->now_ns + gpulet_duration_ns(slo_ms),
        .run = SIM_NONE};
    gpulet_sched_request_t request;
    gpulet_ticket_t ticket = 0;
    uint32_t place = sim_request_make(sim, &request, &value);
    /* The brain holds the model to the smallest objective of those who use it. */
    request.deadline_ns = m->staged ? value.deadline_ns : 0;
    gpulet_actions_t actions = gpulet_sched_on_request(sim->sched, sim->now_ns, &request, &ticket);
    sim->requests[place].ticket = ticket;
    if (ticket != 0 && sim_fault_strikes(sim, GPULET_FAULT_CLIENT_GONE)) {
        double part = gpulet_rng_f64(&sim->fault_rngs[GPULET_FAULT_CLIENT_GONE]);
        sim_add_event(sim, SIM_EVENT_CANCEL, sim_after_s(sim, part * slo_ms / 1e3), place, ticket);
    }
    sim_apply(sim, actions);
}

void sim_arrive(sim_t *sim, uint32_t subject, uint32_t items)
{
    if (subject < sim->models_count)
        arrive_at_model(sim, subject, items);
    else
        sim_app_arrive(sim, subject - (uint32_t)sim->models_count, items);
}

void sim_request_cancel(sim_t *sim, uint32_t place, uint64_t ticket)
{
    sim_request_t *r = &sim->requests[place];
    if (r->state != SIM_REQUEST_FREE && r->ticket == ticket)
        r->cancelled = true;
    sim_apply(sim, gpulet_sched_on_cancel(sim->sched, sim->now_ns, ticket));
}

/* ---- what the brain decides ---- */

/* The request has its answer. */
static void end_request(sim_t *sim, uint32_t place, sim_stage_how_t how)
{
    const sim_request_t *r = &sim->requests[place];
    sim->models[r->asked.subject].ended++;
    if (r->run != SIM_NONE)
        sim_stage_ended(sim, r, how);
    free_request(sim, place);
}

static void reply(sim_t *sim, const gpulet_action_t *action)
{
    uint32_t place = (uint32_t)action->u.reply.request;
    if (sim->o->check)
        sim_check_reply(sim, action);
    sim_mix(sim, action->u.reply.request);
    sim_stats_replied(sim, &sim->requests[place].asked, action->u.reply.in_time,
                      action->u.reply.status);
    end_request(sim, place,
                action->u.reply.status == GPULET_OK ? SIM_STAGE_ANSWERED : SIM_STAGE_FAILED);
}

static void reject(sim_t *sim, const gpulet_action_t *action)
{
    uint32_t place = (uint32_t)action->u.reject.request;
    if (sim->o->check)
        sim_check_reject(sim, action);
    sim_mix(sim, action->u.reject.request ^ (uint64_t)action->u.reject.reason << 56);
    sim_stats_rejected(sim, &sim->requests[place].asked);
    end_request(sim, place, SIM_STAGE_REJECTED);
}

static void cancelled(sim_t *sim, uint64_t id)
{
    if (sim->o->check)
        sim_check_cancelled(sim, id);
    sim_mix(sim, id);
    sim_stats_cancelled(sim, &sim->requests[(uint32_t)id].asked);
    end_request(sim, (uint32_t)id, SIM_STAGE_CANCELLED);
}

void sim_apply(sim_t *sim, gpulet_actions_t actions)
{
    sim_mix(sim, sim->now_ns);
    for (size_t i = 0; i < actions.count; i++) {
        const gpulet_action_t *a = &actions.items[i];
        switch (a->kind) {
        case GPULET_ACTION_RUN:
            sim_mix(sim, a->u.run.batch ^ (uint64_t)a->u.run.lane << 40);
            sim_lane_run(sim, a);
            break;
        case GPULET_ACTION_REPLY:
            reply(sim, a);
            break;
        case GPULET_ACTION_REJECT:
            reject(sim, a);
            break;
        case GPULET_ACTION_CANCELLED:
            cancelled(sim, a->u.cancelled.request);
            break;
        case GPULET_ACTION_TIMER:
            sim->timer_ns = a->u.timer.at_ns;
            break;
        case GPULET_ACTION_LANE_IDLE:
            sim_mix(sim, ~(uint64_t)a->u.lane_idle.lane);
            sim_gpulet_lane_idle(sim, a->u.lane_idle.lane);
            break;
        }
    }
}

/* ---- arrivals ---- */

static gpulet_arrivals_t *stream_of(sim_t *sim, uint32_t subject)
{
    return subject < sim->models_count ? &sim->models[subject].stream
                                       : &sim->apps.items[subject - sim->models_count].stream;
}

void sim_schedule_arrival(sim_t *sim, uint32_t subject)
{
    double at_s = gpulet_arrivals_next_s(stream_of(sim, subject));
    double ns = (double)SIM_BEGIN_NS + (at_s + sim->o->warmup_s) * 1e9;
    if (ns < (double)sim->arrivals_until_ns)
        sim_add_event(sim, SIM_EVENT_ARRIVAL, (uint64_t)ns, subject, 0);
}

void sim_schedule_trace(sim_t *sim)
{
    const gpulet_sim_trace_t *trace = sim->o->trace;
    if (sim->trace_next == trace->count)
        return;
    double ns = (double)sim->count_from_ns + trace->arrivals[sim->trace_next].time_s * 1e9;
    if (ns < (double)sim->arrivals_until_ns)
        sim_add_event(sim, SIM_EVENT_TRACE, (uint64_t)ns, 0, 0);
}

static void arrive_from_trace(sim_t *sim)
{
    const gpulet_sim_arrival_t *arrival = &sim->o->trace->arrivals[sim->trace_next++];
    sim_arrive(sim, arrival->model, arrival->items);
    sim_schedule_trace(sim);
}

/* ---- the loop ---- */

static void handle(sim_t *sim, const sim_event_t *event)
{
    switch ((sim_event_kind_t)event->kind) {
    case SIM_EVENT_ARRIVAL:
        sim_arrive(sim, event->index, 1);
        sim_schedule_arrival(sim, event->index);
        break;
    case SIM_EVENT_TRACE:
        arrive_from_trace(sim);
        break;
    case SIM_EVENT_DONE:
        sim_lane_done(sim, event->index, event->arg);
        break;
    case SIM_EVENT_DEATH:
        if (sim->lanes[event->index].running.id == event->arg)
            sim_gpulet_lose(sim, sim->gpulets[sim->lanes[event->index].gpulet]);
        break;
    case SIM_EVENT_GPULET:
        sim_gpulet_step(sim, event->index, event->arg);
        break;
    case SIM_EVENT_CANCEL:
        sim_request_cancel(sim, event->index, event->arg);
        break;
    case SIM_EVENT_APP_GONE:
        sim_app_gone(sim, event->index, event->arg);
        break;
    case SIM_EVENT_LIMIT:
        if (sim->transition.active && sim->transition.number == event->arg &&
            !sim->transition.broke)
            sim_transition_give_up(sim);
        break;
    case SIM_EVENT_BURST:
        sim_fault_burst(sim);
        break;
    case SIM_EVENT_DEVICE_GONE:
        sim_fault_device_gone(sim);
        break;
    case SIM_EVENT_DEVICE_BACK:
        sim_fault_device_back(sim, event->index);
        break;
    case SIM_EVENT_WINDOW:
        sim_stats_window(sim);
        break;
    case SIM_EVENT_CALM:
        sim_faults_end(sim);
        break;
    case SIM_EVENT_TICK:
        sim_follow_tick(sim);
        break;
    case SIM_EVENT_PLANNED:
        sim_follow_planned(sim, event->arg);
        break;
    }
}

/* What an event brought about beside the brain's answers. */
static void settle(sim_t *sim)
{
    while (sim->restless && sim->status == GPULET_OK) {
        sim->restless = false;
        for (size_t i = 0; i < sim->gpulets_count; i++) {
            sim_gpulet_t *g = sim->gpulets[i];
            if (g != NULL && g->lost)
                sim_gpulet_lose(sim, g);
            else if (g != NULL && g->state == SIM_GPULET_DRAINING && g->lanes_count == 0)
                sim_gpulet_destroy(sim, g);
        }
        sim_apps_progress(sim);
        if (sim->hopeless)
            sim_transition_give_up(sim);
        sim->hopeless = false;
        sim_transition_progress(sim);
    }
}

/* Every gpu-let is as planned: what checks wait for after all is answered. */
static bool is_quiet(const sim_t *sim)
{
    for (size_t i = 0; i < sim->gpulets_count && sim->o->check; i++) {
        if (sim->gpulets[i] != NULL && sim->gpulets[i]->state != SIM_GPULET_SERVING)
            return false;
    }
    return !sim->o->check || !sim->transition.active;
}

/* How long after the last arrival everything must be quiet: the slowest batch, death and start of
 * each of them, and a plan under way, twice. */
static uint64_t patience_ns(const sim_t *sim)
{
    double seconds = sim->o->start_s.max * SIM_START_TRIES + sim->o->plan_s +
                     sim->o->load_s * (double)(sim->models_count + 1) + 60 +
                     sim->o->transition_limit_s;
    for (size_t i = 0; i < sim->models_count; i++)
        seconds = fmax(seconds, sim->models[i].slo_ms / 1e3 * 2);
    for (size_t i = 0; i < sim->apps.count; i++)
        seconds = fmax(seconds, sim->apps.items[i].app->slo_ms / 1e3 * 2);
    return gpulet_duration_ns(2 * seconds * 1e3) + 4 * sim->o->run_limit_ns;
}

static bool step(sim_t *sim)
{
    uint64_t next_ns = sim_events_next_ns(&sim->events);
    bool timer = sim->timer_ns <= next_ns;
    if (timer)
        next_ns = sim->timer_ns;
    if (next_ns == SIM_NEVER)
        return false;
    assert(next_ns >= sim->now_ns || timer);
    sim->now_ns = next_ns > sim->now_ns ? next_ns : sim->now_ns;
    if (timer) {
        sim->timer_ns = SIM_NEVER;
        sim_apply(sim, gpulet_sched_on_timer(sim->sched, sim->now_ns));
    } else {
        sim_event_t event = sim_events_take(&sim->events);
        handle(sim, &event);
    }
    sim->result->events++;
    settle(sim);
    return true;
}

void sim_run_all(sim_t *sim)
{
    uint64_t limit_ns = sim->arrivals_until_ns + patience_ns(sim);
    bool bounded = sim->o->check && !sim->o->late_serve;
    settle(sim);
    while (sim->status == GPULET_OK) {
        if (sim->now_ns >= sim->arrivals_until_ns &&
            sim_events_next_ns(&sim->events) > sim->now_ns && gpulet_sched_idle(sim->sched)) {
            if (is_quiet(sim))
                break;
            sim->answered = true;
        }
        if ((bounded && sim->now_ns > limit_ns) || !step(sim))
            break;
        if (sim->o->check && sim->status == GPULET_OK)
            sim_check_event(sim);
    }
    if (sim->status == GPULET_OK && sim->o->check)
        sim_check_end(sim);
}
