/* Batches on lanes. A batch starts half the host's time after it was sent, or when the one before
 * it ends; its end is heard of half the host's time later. Its time alone is drawn when it starts;
 * while a neighbour runs it advances the slower, so whenever a batch starts or ends the ends of
 * those beside it are put off or brought forward: an event that says another time than its batch
 * expects means nothing any more. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim/internal.h"

/* What batches hold is only kept for the checks. */
static bool reserve_requests(sim_batch_t *batch)
{
    if (batch->requests == NULL)
        batch->requests = malloc(GPULET_SCHED_BATCH_REQUESTS_MAX * sizeof(*batch->requests));
    return batch->requests != NULL;
}

uint32_t sim_lane_take(sim_t *sim, uint32_t gpulet, uint32_t ordinal)
{
    if (sim->lanes_free_count == 0) {
        sim_fail(sim,
                 gpulet_fail(sim->err, GPULET_E_TOO_LARGE,
                             "the plan: expected at most %d gpu-lets at a time", SIM_LANES_MAX));
        return SIM_NONE;
    }
    uint32_t index = sim->lanes_free[sim->lanes_free_count - 1];
    sim_lane_t *lane = &sim->lanes[index];
    if (sim->o->check && !(reserve_requests(&lane->running) && reserve_requests(&lane->waiting))) {
        sim_fail(sim, gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory"));
        return SIM_NONE;
    }
    sim->lanes_free_count--;
    lane->gpulet = gpulet;
    lane->ordinal = ordinal;
    lane->draining = false;
    lane->ran_until_ns = 0;
    return index;
}

void sim_lane_free(sim_t *sim, uint32_t index)
{
    sim_lane_t *lane = &sim->lanes[index];
    lane->gpulet = SIM_NONE;
    lane->running.id = lane->waiting.id = 0;
    lane->served_count = 0;
    sim->lanes_free[sim->lanes_free_count++] = index;
}

/* The slowdown by what runs beside it at this moment: that of the worst neighbour. */
static double disturbance(sim_t *sim, const sim_lane_t *lane)
{
    const sim_gpulet_t *own = sim->gpulets[lane->gpulet];
    const sim_device_t *device = &sim->devices[own->device];
    double most = 1;
    if (sim->truth == NULL || sim->o->planning.devices->types[device->type].isolated)
        return most;
    for (size_t i = 0; i < device->gpulets_count; i++) {
        const sim_gpulet_t *g = sim->gpulets[device->gpulets[i]];
        for (size_t k = 0; g != own && k < g->lanes_count; k++) {
            const sim_batch_t *beside = &sim->lanes[g->lanes[k]].running;
            double factor = 1;
            if (beside->id == 0 || !beside->started)
                continue;
            gpulet_status_t st =
                sim_truth_factor(&factor, sim->truth, lane->running.curve, lane->running.items,
                                 beside->curve, beside->items, sim->err);
            if (st != GPULET_OK)
                sim_fail(sim, st);
            most = factor > most ? factor : most;
        }
    }
    return most;
}

/* When the batch ends as things stand. One that takes longer than the run limit is its worker's
 * death, whatever becomes of its neighbours. */
static void expect_end(sim_t *sim, uint32_t index, sim_batch_t *b)
{
    uint64_t host_ns = sim->o->host_ns;
    double left_ns = b->left_ns * b->slowdown;
    uint64_t end_ns = b->reached_ns + (left_ns > 1e17 ? (uint64_t)1e17 : (uint64_t)left_ns);
    if (end_ns - b->begin_ns > sim->o->run_limit_ns) {
        uint64_t death_ns = b->begin_ns + sim->o->run_limit_ns;
        b->end_ns = b->heard_ns = SIM_NEVER;
        sim_add_event(sim, SIM_EVENT_DEATH, death_ns > sim->now_ns ? death_ns : sim->now_ns, index,
                      b->id);
    } else if (end_ns != b->end_ns) {
        b->end_ns = end_ns;
        b->heard_ns = end_ns + (host_ns - host_ns / 2);
        sim_add_event(sim, SIM_EVENT_DONE, b->heard_ns, index, b->id);
    }
}

void sim_lanes_change_speeds(sim_t *sim, uint32_t device_index)
{
    const sim_device_t *device = &sim->devices[device_index];
    if (sim->truth == NULL || sim->o->planning.devices->types[device->type].isolated)
        return;
    for (size_t i = 0; i < device->gpulets_count; i++) {
        const sim_gpulet_t *g = sim->gpulets[device->gpulets[i]];
        for (size_t k = 0; k < g->lanes_count; k++) {
            sim_batch_t *b = &sim->lanes[g->lanes[k]].running;
            /* One that has ended, and is not heard of yet, is left alone. */
            if (b->id == 0 || !b->started || b->end_ns == SIM_NEVER || b->end_ns <= sim->now_ns)
                continue;
            double slowdown = disturbance(sim, &sim->lanes[g->lanes[k]]);
            if (slowdown == b->slowdown)
                continue;
            if (sim->now_ns > b->reached_ns) {
                b->left_ns -= (double)(sim->now_ns - b->reached_ns) / b->slowdown;
                b->left_ns = b->left_ns > 0 ? b->left_ns : 0;
                b->reached_ns = sim->now_ns;
            }
            b->slowdown = slowdown;
            expect_end(sim, g->lanes[k], b);
        }
    }
}

/* It finds neither code nor weights in the caches: the core was idle, or ran another model. */
static bool is_cold(const sim_lane_t *lane, uint32_t model, uint64_t at_ns)
{
    return lane->ran_until_ns == 0 || lane->ran_model != model ||
           at_ns > lane->ran_until_ns + GPULET_PROFILE_COLD_AFTER_NS;
}

static void start_batch(sim_t *sim, uint32_t index, uint64_t at_ns)
{
    sim_lane_t *lane = &sim->lanes[index];
    sim_batch_t *b = &lane->running;
    double factor = 1;
    if (sim_fault_strikes(sim, GPULET_FAULT_SLOW))
        factor = sim->o->faults.size[GPULET_FAULT_SLOW];
    uint64_t alone_ns =
        sim_curve_draw_ns(b->curve, b->items, factor, &sim->models[b->model].service);
    if (is_cold(lane, b->model, at_ns))
        alone_ns += b->curve->cold_ns;
    b->started = true;
    b->begin_ns = b->reached_ns = at_ns;
    b->left_ns = (double)alone_ns;
    b->slowdown = disturbance(sim, lane);
    b->end_ns = b->heard_ns = 0;
    bool dies = sim_fault_strikes(sim, GPULET_FAULT_WORKER_DEATH);
    bool silent = sim_fault_strikes(sim, GPULET_FAULT_LOST_DONE);
    uint64_t limit_ns = sim->o->run_limit_ns;
    if (dies) {
        double part = gpulet_rng_f64(&sim->fault_rngs[GPULET_FAULT_WORKER_DEATH]);
        uint64_t after_ns = (uint64_t)(part * (double)alone_ns * b->slowdown);
        uint64_t death_ns = at_ns + (after_ns < limit_ns ? after_ns : limit_ns);
        b->end_ns = b->heard_ns = SIM_NEVER;
        /* The start itself may be a little while ago. */
        sim_add_event(sim, SIM_EVENT_DEATH, death_ns > sim->now_ns ? death_ns : sim->now_ns, index,
                      b->id);
    } else if (silent) {
        b->end_ns = b->heard_ns = SIM_NEVER;
        sim_add_event(sim, SIM_EVENT_DEATH, at_ns + limit_ns, index, b->id);
    } else {
        expect_end(sim, index, b);
    }
}

static const sim_curve_t *served_curve(const sim_lane_t *lane, uint32_t model)
{
    for (uint32_t i = 0; i < lane->served_count; i++) {
        if (lane->served[i].model == model)
            return lane->served[i].curve;
    }
    return NULL;
}

static void take_requests(sim_t *sim, sim_batch_t *b, const gpulet_action_t *action)
{
    for (uint32_t i = 0; i < b->count; i++) {
        uint32_t place = (uint32_t)action->u.run.requests[i];
        b->requests[i] = place;
        sim->requests[place].state = SIM_REQUEST_RUNNING;
        sim->requests[place].batch = b->id;
    }
}

void sim_lane_run(sim_t *sim, const gpulet_action_t *action)
{
    if (sim->o->check)
        sim_check_run(sim, action);
    sim_lane_t *lane = &sim->lanes[action->u.run.lane];
    sim_batch_t *b = lane->running.id == 0 ? &lane->running : &lane->waiting;
    assert(lane->gpulet != SIM_NONE && b->id == 0);
    b->id = action->u.run.batch;
    b->model = action->u.run.model;
    b->items = action->u.run.items;
    b->count = action->u.run.requests_count;
    b->commit_ns = sim->now_ns;
    b->started = false;
    b->curve = served_curve(lane, b->model);
    assert(b->curve != NULL);
    if (sim->o->check)
        take_requests(sim, b, action);
    sim_gpulet_t *g = sim->gpulets[lane->gpulet];
    if (g->lost)
        return; /* The brain hears of the loss at the end of the event, and has the batch back. */
    if (sim_fault_strikes(sim, GPULET_FAULT_RING_FULL)) {
        g->lost = true;
        sim->restless = true;
        return;
    }
    if (b == &lane->running) {
        start_batch(sim, action->u.run.lane, sim->now_ns + sim->o->host_ns / 2);
        sim_lanes_change_speeds(sim, g->device);
    }
}

/* The waiting batch is the running one from now on. */
static void move_up(sim_lane_t *lane)
{
    uint32_t *requests = lane->running.requests;
    lane->running = lane->waiting;
    lane->waiting.id = 0;
    lane->waiting.requests = requests;
}

void sim_lane_done(sim_t *sim, uint32_t index, uint64_t batch)
{
    uint32_t requests[GPULET_SCHED_BATCH_REQUESTS_MAX];
    sim_lane_t *lane = &sim->lanes[index];
    if (lane->running.id != batch || lane->running.heard_ns != sim->now_ns)
        return; /* it was lost with its worker, or ends at another time */
    sim_batch_t done = lane->running;
    if (sim->o->check) {
        memcpy(requests, done.requests, done.count * sizeof(requests[0]));
        done.requests = requests;
    }
    lane->ran_model = done.model;
    lane->ran_until_ns = done.end_ns;
    move_up(lane);
    if (lane->running.id != 0) {
        uint64_t there_ns = lane->running.commit_ns + sim->o->host_ns / 2;
        start_batch(sim, index, there_ns > done.end_ns ? there_ns : done.end_ns);
    }
    sim_lanes_change_speeds(sim, sim->gpulets[lane->gpulet]->device);
    sim->answering = &done;
    sim_apply(sim, gpulet_sched_on_batch_done(sim->sched, sim->now_ns, done.id,
                                              done.end_ns - done.begin_ns, GPULET_OK));
    sim->answering = NULL;
}
