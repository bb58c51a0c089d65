/* The promises of the brain and of the simulator's own moves. A broken one ends the program: what
 * comes after it would be worth nothing, and the seed tells how to see it again. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/internal.h"

enum { SMALL_WORLD = 64, RARELY = 64 };

#define CHECK(sim, condition)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            broken((sim), #condition, __LINE__);                                                   \
    } while (0)

/* What there was, for whoever looks into it. */
static void put_gpulets(const sim_t *sim)
{
    static const char *const states[] = {"blocked", "starting", "loading", "ready",
                                         "serving", "draining", "dead"};
    for (size_t i = 0; i < sim->gpulets_count; i++) {
        const sim_gpulet_t *g = sim->gpulets[i];
        if (g == NULL)
            continue;
        const sim_device_t *device = &sim->devices[g->device];
        (void)fprintf(stderr, "  %s %u%s: %u units, slot %d, %s%s%s%s, %zu lanes\n",
                      sim->o->planning.devices->types[device->type].name, device->index,
                      device->gone ? " (gone)" : "", g->units, g->slot, states[g->state],
                      g->heir ? ", heir" : "", g->retired ? ", retired" : "",
                      g->loading ? ", loading" : "", g->lanes_count);
    }
}

static _Noreturn void broken(const sim_t *sim, const char *condition, int line)
{
    (void)fprintf(stderr, "seed=%llu t=%.9f s: broken promise: %s (check.c:%d)\n",
                  (unsigned long long)sim->o->seed,
                  ((double)sim->now_ns - (double)sim->count_from_ns) / 1e9, condition, line);
    put_gpulets(sim);
    abort();
}

/* The request of an action; it must be one that has not ended. */
static const sim_request_t *request_of(const sim_t *sim, uint64_t id)
{
    CHECK(sim, (uint32_t)id < sim->requests_count);
    const sim_request_t *r = &sim->requests[(uint32_t)id];
    CHECK(sim, r->state != SIM_REQUEST_FREE && r->generation == (uint32_t)(id >> 32));
    return r;
}

void sim_check_run(const sim_t *sim, const gpulet_action_t *action)
{
    CHECK(sim, action->u.run.lane < SIM_LANES_MAX);
    const sim_lane_t *lane = &sim->lanes[action->u.run.lane];
    bool served = false;
    uint32_t items = 0;
    CHECK(sim, lane->gpulet != SIM_NONE && !lane->draining && lane->waiting.id == 0);
    const sim_gpulet_t *g = sim->gpulets[lane->gpulet];
    CHECK(sim, g != NULL);
    /* Of what was lost in this event the brain may not have heard yet. */
    CHECK(sim, g->lost || (g->state == SIM_GPULET_SERVING && !sim->devices[g->device].gone));
    for (uint32_t i = 0; i < lane->served_count; i++)
        served = served || lane->served[i].model == action->u.run.model;
    CHECK(sim, served);
    CHECK(sim, action->u.run.requests_count >= 1 &&
                   action->u.run.requests_count <= GPULET_SCHED_BATCH_REQUESTS_MAX);
    for (uint32_t i = 0; i < action->u.run.requests_count; i++) {
        const sim_request_t *r = request_of(sim, action->u.run.requests[i]);
        CHECK(sim, r->state == SIM_REQUEST_WAITING && r->asked.subject == action->u.run.model);
        CHECK(sim, sim->o->late_serve || sim->now_ns <= r->deadline_ns);
        items += r->asked.items;
    }
    CHECK(sim, items == action->u.run.items);
    CHECK(sim, items <= sim_curves_batch_max(&sim->curves, action->u.run.model) ||
                   action->u.run.requests_count == 1);
}

void sim_check_reply(const sim_t *sim, const gpulet_action_t *action)
{
    const sim_request_t *r = request_of(sim, action->u.reply.request);
    const sim_batch_t *b = sim->answering;
    CHECK(sim, b != NULL && b->id == action->u.reply.batch);
    CHECK(sim, r->state == SIM_REQUEST_RUNNING && r->batch == b->id);
    CHECK(sim, action->u.reply.index < b->count &&
                   b->requests[action->u.reply.index] == (uint32_t)action->u.reply.request);
    CHECK(sim, action->u.reply.in_time == (sim->now_ns <= r->deadline_ns));
}

void sim_check_reject(const sim_t *sim, const gpulet_action_t *action)
{
    const sim_request_t *r = request_of(sim, action->u.reject.request);
    CHECK(sim, r->state == SIM_REQUEST_WAITING);
    CHECK(sim, action->u.reject.reason != GPULET_REJECT_WORKER_LOST || r->returned);
}

void sim_check_cancelled(const sim_t *sim, uint64_t id)
{
    const sim_request_t *r = request_of(sim, id);
    CHECK(sim, r->cancelled && r->state == SIM_REQUEST_WAITING);
}

/* ---- applications ---- */

void sim_check_stage(const sim_t *sim, const sim_run_t *run, uint32_t stage, uint64_t deadline_ns)
{
    const gpulet_app_t *app = sim->apps.items[run->app].app;
    CHECK(sim, run->taken && !run->over && stage < app->stages_count);
    CHECK(sim, (run->submitted >> stage & 1) == 0);
    CHECK(sim, (app->stages[stage].before & ~run->done) == 0);
    CHECK(sim, deadline_ns <= run->deadline_ns);
}

void sim_check_done(const sim_t *sim, const sim_run_t *run)
{
    CHECK(sim, run->done == sim->apps.items[run->app].app->all && run->under_way == 0);
}

/* Each request of an application ends once. */
static void check_apps(const sim_t *sim)
{
    uint64_t running = 0;
    for (uint32_t i = 0; i < sim->apps.count; i++) {
        const sim_app_t *a = &sim->apps.items[i];
        CHECK(sim, a->offered == a->ended + a->running);
        running += a->running;
    }
    CHECK(sim, sim->apps.count == 0 || running == gpulet_app_runs_count(sim->apps.running));
    CHECK(sim, sim->apps.ends_first == sim->apps.ends_count);
}

/* ---- after every event ---- */

static void check_counts(const sim_t *sim, uint32_t model)
{
    const sim_model_t *m = &sim->models[model];
    gpulet_sched_model_stats_t s;
    gpulet_sched_model_stats(sim->sched, model, &s);
    uint64_t ended = s.in_time + s.late + s.failed + s.cancelled;
    for (int i = 0; i < GPULET_REJECT_COUNT; i++)
        ended += s.rejected[i];
    CHECK(sim, s.offered == ended + s.waiting + s.running);
    CHECK(sim, s.offered == m->offered && ended == m->ended);
}

static void check_lane(const sim_t *sim, const sim_gpulet_t *g, size_t index)
{
    CHECK(sim, g->lanes[index] < SIM_LANES_MAX);
    const sim_lane_t *lane = &sim->lanes[g->lanes[index]];
    CHECK(sim, lane->gpulet == g->id);
    CHECK(sim, lane->waiting.id == 0 || lane->running.id != 0);
    CHECK(sim, lane->running.id == 0 || lane->running.started || g->lost);
}

/* Slots of hardware belong to one. */
static void check_slots(const sim_t *sim, const sim_device_t *device,
                        const gpulet_device_type_t *type)
{
    uint64_t taken = 0; /* at most 64 slots a device */
    for (size_t i = 0; i < device->gpulets_count; i++) {
        const sim_gpulet_t *g = sim->gpulets[device->gpulets[i]];
        int size = gpulet_device_type_size_index(type, g->units);
        if (g->state == SIM_GPULET_BLOCKED || g->state == SIM_GPULET_DEAD || g->slot < 0 ||
            size < 0)
            continue;
        for (uint32_t k = 0; k < type->placements[size].length; k++) {
            uint64_t slot = UINT64_C(1) << ((uint32_t)g->slot + k);
            CHECK(sim, (taken & slot) == 0);
            taken |= slot;
        }
    }
}

/* Units and memory within the device's, but for what a transition lets overlap: units of types that
 * are not cut in hardware, never memory. */
static void check_device(const sim_t *sim, const sim_device_t *device)
{
    const gpulet_device_type_t *type = &sim->o->planning.devices->types[device->type];
    uint64_t units = 0;
    double memory = 0;
    bool leaving = false;
    for (size_t i = 0; i < device->gpulets_count; i++) {
        const sim_gpulet_t *g = sim->gpulets[device->gpulets[i]];
        CHECK(sim, g != NULL);
        CHECK(sim, !device->gone || (g->lanes_count == 0 && g->state == SIM_GPULET_DEAD));
        for (size_t k = 0; k < g->lanes_count; k++)
            check_lane(sim, g, k);
        leaving = leaving || g->state == SIM_GPULET_DRAINING;
        if (g->state == SIM_GPULET_BLOCKED || g->state == SIM_GPULET_DEAD)
            continue;
        units += g->units;
        memory += sim_gpulet_memory_mb(sim, g);
    }
    if (type->slots > 0)
        check_slots(sim, device, type);
    bool hard = type->isolated || type->slots > 0;
    CHECK(sim, units <= type->units || (!hard && (sim->transition.active || leaving)));
    CHECK(sim, type->memory_mb_by_size != NULL ||
                   memory <= fmax(type->memory_mb, device->planned_mb) * (1 + 1e-9));
}

void sim_check_event(sim_t *sim)
{
    bool small = sim->models_count * sim->devices_count <= SMALL_WORLD;
    /* Large worlds are looked at whole now and then, or a day would not be enough. */
    if (!small && ++sim->checks % RARELY != 0)
        return;
    for (size_t i = 0; i < sim->models_count; i++)
        check_counts(sim, (uint32_t)i);
    check_apps(sim);
    for (size_t i = 0; i < sim->devices_count; i++)
        check_device(sim, &sim->devices[i]);
}

void sim_check_end(const sim_t *sim)
{
    CHECK(sim, gpulet_sched_idle(sim->sched)); /* liveness: nothing waits for ever */
    for (size_t i = 0; i < sim->models_count; i++) {
        CHECK(sim, sim->models[i].offered == sim->models[i].ended);
        check_counts(sim, (uint32_t)i);
    }
    check_apps(sim);
    for (uint32_t i = 0; i < sim->apps.count; i++)
        CHECK(sim, sim->apps.items[i].offered == sim->apps.items[i].ended);
    for (uint32_t i = 0; i < sim->apps.runs_count; i++)
        CHECK(sim, !sim->apps.runs[i].taken);
    for (uint32_t i = 0; i < sim->requests_count; i++)
        CHECK(sim, sim->requests[i].state == SIM_REQUEST_FREE);
    for (size_t i = 0; i < sim->gpulets_count; i++)
        CHECK(sim, sim->gpulets[i] == NULL || sim->gpulets[i]->state == SIM_GPULET_SERVING);
    CHECK(sim, !sim->transition.active);
}
