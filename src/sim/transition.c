/* From one plan to the next, make before break: what the new plan adds is started and loaded beside
 * what runs, then lanes are added and changed in one step, then what it has not is drained. Where a
 * device has not the room for both, the least that makes room is drained first; from then on there
 * is no way back. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/plan_movement.h"
#include "plan/serving.h"
#include "sim/internal.h"

static uint32_t device_of(sim_t *sim, const gpulet_plan_device_t *planned)
{
    int type = gpulet_device_set_find(sim->o->planning.devices, planned->type);
    assert(type >= 0); /* plans are checked before */
    return sim_device_get(sim, (uint32_t)type, planned->index);
}

/* ---- the first plan ---- */

static void adopt(sim_t *sim, gpulet_plan_t *plan)
{
    gpulet_plan_destroy(sim->plan);
    sim->plan = plan;
    for (size_t i = 0; i < sim->models_count; i++)
        sim->models[i].planned_rps =
            gpulet_plan_covers_rps(plan, sim->o->planning.workload->demands[i].model);
    sim_apps_share(sim, plan);
}

static void place_all(sim_t *sim, const gpulet_plan_device_t *planned)
{
    uint32_t device = device_of(sim, planned);
    for (size_t i = 0; i < planned->gpulets_count && sim->status == GPULET_OK; i++) {
        sim_gpulet_t *g = NULL;
        gpulet_status_t st = sim_gpulet_create(&g, sim, device, &planned->gpulets[i]);
        if (st != GPULET_OK)
            sim_fail(sim, st);
        else
            sim_gpulet_add_lanes(sim, g);
    }
}

void sim_transition_first(sim_t *sim, gpulet_plan_t *plan)
{
    for (size_t d = 0; d < plan->devices_count && sim->status == GPULET_OK; d++)
        place_all(sim, &plan->devices[d]);
    sim_device_check_truth(sim);
    adopt(sim, plan);
}

/* ---- beginning ---- */

static sim_gpulet_t *planned_at(const sim_t *sim, uint32_t device, size_t index)
{
    for (size_t i = 0; i < sim->devices[device].gpulets_count; i++) {
        sim_gpulet_t *g = sim->gpulets[sim->devices[device].gpulets[i]];
        if (g->retired && g->planned_at == index)
            return g;
    }
    return NULL;
}

/* Goes on with what the new plan wants of it, unless the device has no room for the models of
 * both. */
static bool keep(sim_t *sim, sim_gpulet_t *g, const gpulet_plan_gpulet_t *planned)
{
    gpulet_status_t st = sim_gpulet_services(&g->wanted, sim, g->device, planned);
    if (st != GPULET_OK) {
        sim_fail(sim, st);
        return true;
    }
    g->wanted_count = planned->shares_count;
    g->duty_next_ms = planned->duty_ms;
    if (!sim_device_fits(sim, g, NULL)) {
        bool grows = false;
        for (size_t i = 0; i < g->wanted_count; i++)
            grows = grows || !sim_gpulet_holds(g, g->wanted[i].model);
        if (grows) {
            free(g->wanted);
            g->wanted = NULL;
            g->wanted_count = 0;
            return false;
        }
    }
    g->retired = false;
    g->heir = true;
    if (g->state == SIM_GPULET_SERVING)
        sim_gpulet_load_wanted(sim, g);
    return true;
}

static void begin_gpulet(sim_t *sim, uint32_t device, const gpulet_plan_gpulet_t *planned,
                         size_t from)
{
    sim_gpulet_t *g = from != SIZE_MAX ? planned_at(sim, device, from) : NULL;
    if (g != NULL && keep(sim, g, planned))
        return;
    gpulet_status_t st = sim_gpulet_create(&g, sim, device, planned);
    if (st != GPULET_OK) {
        sim_fail(sim, st);
        return;
    }
    g->heir = g->fresh = true;
}

static void begin_device(sim_t *sim, const gpulet_plan_t *running,
                         const gpulet_plan_device_t *planned)
{
    static const gpulet_plan_device_t nothing;
    const gpulet_plan_device_t *from = &nothing;
    uint32_t device = device_of(sim, planned);
    size_t *from_of = calloc(planned->gpulets_count + 1, sizeof(*from_of));
    if (from_of == NULL || device == SIM_NONE) {
        free(from_of);
        sim_fail(sim, gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory"));
        return;
    }
    for (size_t d = 0; d < running->devices_count; d++) {
        if (strcmp(running->devices[d].type, planned->type) == 0 &&
            running->devices[d].index == planned->index)
            from = &running->devices[d];
    }
    gpulet_plan_device_match(from_of, from, planned);
    for (size_t i = 0; i < planned->gpulets_count && sim->status == GPULET_OK; i++)
        begin_gpulet(sim, device, &planned->gpulets[i], from_of[i]);
    free(from_of);
}

/* The most that either plan puts on the device: a plan from elsewhere may itself be too large. */
static void note_memory(sim_t *sim)
{
    for (size_t d = 0; d < sim->devices_count; d++) {
        sim_device_t *device = &sim->devices[d];
        double old_mb = 0;
        double new_mb = 0;
        for (size_t i = 0; i < device->gpulets_count; i++) {
            const sim_gpulet_t *g = sim->gpulets[device->gpulets[i]];
            double mb = sim_gpulet_memory_mb(sim, g);
            old_mb += g->fresh ? 0 : mb;
            new_mb += g->heir ? mb : 0;
        }
        device->planned_mb = fmax(old_mb, new_mb);
    }
}

void sim_transition_begin(sim_t *sim, gpulet_plan_t *plan, uint64_t wanted_ns)
{
    sim_transition_t *t = &sim->transition;
    gpulet_plan_t *running = sim_planning_running(sim);
    assert(!t->active);
    *t = (sim_transition_t){
        .active = true, .number = t->number + 1, .wanted_ns = wanted_ns, .plan = plan};
    if (running == NULL)
        return;
    for (size_t i = 0; i < sim->gpulets_count; i++) {
        if (sim->gpulets[i] != NULL)
            sim->gpulets[i]->retired = sim->gpulets[i]->state != SIM_GPULET_DRAINING;
    }
    for (size_t d = 0; d < plan->devices_count && sim->status == GPULET_OK; d++)
        begin_device(sim, running, &plan->devices[d]);
    gpulet_plan_destroy(running);
    note_memory(sim);
    sim_device_check_truth(sim);
    sim_add_event(sim, SIM_EVENT_LIMIT, sim_after_s(sim, sim->o->transition_limit_s), 0, t->number);
    sim->restless = true;
}

/* ---- making room ---- */

/* Requests of models that no lane is left for wait until their gpu-let is there, where their
 * deadlines allow. */
static void expect(sim_t *sim, const sim_gpulet_t *gone)
{
    for (size_t i = 0; i < gone->services_count; i++) {
        uint32_t model = gone->services[i].model;
        size_t loads = 0;
        for (size_t k = 0; k < sim->gpulets_count; k++) {
            const sim_gpulet_t *g = sim->gpulets[k];
            if (g != NULL && g->heir && g->fresh && sim_gpulet_holds(g, model))
                loads = g->services_count;
        }
        double back_s = sim->o->start_s.max + sim->o->load_s * (double)loads;
        sim_apply(sim, gpulet_sched_model_expect(sim->sched, sim->now_ns, model,
                                                 loads > 0 ? sim_after_s(sim, back_s) : 0));
    }
}

/* Chooses what has to go before `blocked` can start. */
static void choose(const sim_t *sim, const sim_gpulet_t *blocked, bool *going)
{
    const sim_device_t *device = &sim->devices[blocked->device];
    const gpulet_device_type_t *type = sim_device_type(sim, blocked->device);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < device->gpulets_count; i++) {
            const sim_gpulet_t *g = sim->gpulets[device->gpulets[i]];
            if (sim_device_fits(sim, blocked, going))
                return;
            if (g->retired && sim_gpulet_takes_room(g) &&
                (pass == 1 || sim_device_slots_overlap(type, g, blocked)))
                going[g->id] = true;
        }
    }
}

static void make_room(sim_t *sim)
{
    bool *going = calloc(sim->gpulets_count + 1, sizeof(*going));
    bool any = false;
    if (going == NULL) {
        sim_fail(sim, gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory"));
        return;
    }
    sim->transition.broke = true;
    for (size_t i = 0; i < sim->gpulets_count; i++) {
        sim_gpulet_t *g = sim->gpulets[i];
        if (g == NULL || !g->fresh || g->state != SIM_GPULET_READY)
            continue;
        g->early = true;
        sim_gpulet_add_lanes(sim, g);
    }
    for (size_t i = 0; i < sim->gpulets_count; i++) {
        if (sim->gpulets[i] != NULL && sim->gpulets[i]->state == SIM_GPULET_BLOCKED)
            choose(sim, sim->gpulets[i], going);
    }
    for (size_t i = 0; i < sim->gpulets_count; i++) {
        sim_gpulet_t *g = sim->gpulets[i];
        if (g == NULL || !going[i])
            continue;
        any = true;
        sim_gpulet_drain(sim, g);
        expect(sim, g);
    }
    /* Nothing can make room: the plan itself is larger than the device. */
    for (size_t i = 0; i < sim->gpulets_count && !any; i++) {
        if (sim->gpulets[i] != NULL && sim->gpulets[i]->state == SIM_GPULET_BLOCKED)
            sim_gpulet_start(sim, sim->gpulets[i]);
    }
    free(going);
    sim->restless = true;
}

/* ---- switching over ---- */

static void change_services(sim_t *sim, sim_gpulet_t *g)
{
    sim_service_t *before = g->services;
    size_t before_count = g->services_count;
    g->services = g->wanted;
    g->services_count = g->wanted_count;
    g->wanted = before; /* until the second step */
    g->wanted_count = before_count;
    g->duty_ms = g->duty_next_ms;
    sim_gpulet_serve(sim, g, before, before_count);
}

static void drop_services(sim_t *sim, sim_gpulet_t *g)
{
    bool leaves = false;
    uint32_t instances = 1;
    for (size_t i = 0; i < g->wanted_count; i++)
        leaves =
            leaves || !sim_gpulet_holds(g, g->wanted[i].model) || g->wanted[i].share.instances > 1;
    free(g->wanted);
    g->wanted = NULL;
    g->wanted_count = 0;
    if (leaves)
        sim_gpulet_serve(sim, g, NULL, 0);
    for (size_t i = 0; i < g->services_count; i++)
        instances =
            g->services[i].share.instances > instances ? g->services[i].share.instances : instances;
    for (size_t i = g->lanes_count; i-- > 0;) {
        sim_lane_t *lane = &sim->lanes[g->lanes[i]];
        if (lane->ordinal < instances || lane->draining)
            continue;
        lane->draining = true;
        sim_apply(sim, gpulet_sched_lane_drain(sim->sched, sim->now_ns, g->lanes[i]));
    }
}

/* Models whose gpu-lets are about to go are served by their heirs already, so nothing that waits is
 * refused. */
static void switch_over(sim_t *sim)
{
    sim_transition_t *t = &sim->transition;
    size_t count = sim->gpulets_count;
    for (size_t i = 0; i < count; i++) {
        if (sim->gpulets[i] != NULL && sim->gpulets[i]->fresh)
            sim_gpulet_add_lanes(sim, sim->gpulets[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (sim->gpulets[i] != NULL && sim->gpulets[i]->wanted != NULL)
            change_services(sim, sim->gpulets[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (sim->gpulets[i] != NULL && sim->gpulets[i]->wanted != NULL)
            drop_services(sim, sim->gpulets[i]);
    }
    for (size_t i = 0; i < count; i++) {
        sim_gpulet_t *g = sim->gpulets[i];
        if (g == NULL)
            continue;
        g->heir = g->early = false;
        if (g->retired && g->state != SIM_GPULET_DRAINING)
            sim_gpulet_drain(sim, g);
    }
    t->active = false;
    adopt(sim, t->plan);
    t->plan = NULL;
    sim->result->replans++;
    sim->result->breaks += t->broke;
    sim_follow_reached(sim, true);
}

static bool is_prepared(const sim_gpulet_t *g)
{
    return g->state == SIM_GPULET_READY || (g->state == SIM_GPULET_SERVING && !g->loading);
}

void sim_transition_progress(sim_t *sim)
{
    bool waiting = false;
    bool blocked = false;
    if (!sim->transition.active)
        return;
    for (size_t i = 0; i < sim->gpulets_count; i++) {
        sim_gpulet_t *g = sim->gpulets[i];
        if (g == NULL)
            continue;
        if (g->state == SIM_GPULET_BLOCKED && sim_device_fits(sim, g, NULL))
            sim_gpulet_start(sim, g);
        blocked = blocked || g->state == SIM_GPULET_BLOCKED;
        waiting = waiting || g->state == SIM_GPULET_DRAINING ||
                  (g->heir && g->state != SIM_GPULET_BLOCKED && !is_prepared(g));
    }
    if (waiting)
        return;
    if (blocked)
        make_room(sim);
    else
        switch_over(sim);
}

/* What serves already for a plan that is given up goes on where there is room beside what ran
 * before. */
static void drop_early(sim_t *sim)
{
    for (size_t i = 0; i < sim->gpulets_count; i++) {
        sim_gpulet_t *g = sim->gpulets[i];
        if (g == NULL || !g->early)
            continue;
        g->early = false;
        if (g->state != SIM_GPULET_DRAINING &&
            (sim_device_units(sim, g->device) > sim_device_type(sim, g->device)->units ||
             !sim_device_fits(sim, g, NULL)))
            sim_gpulet_drain(sim, g);
    }
}

void sim_transition_give_up(sim_t *sim)
{
    sim_transition_t *t = &sim->transition;
    if (!t->active)
        return;
    for (size_t i = 0; i < sim->gpulets_count; i++) {
        sim_gpulet_t *g = sim->gpulets[i];
        if (g == NULL)
            continue;
        if (g->fresh) {
            sim_gpulet_destroy(sim, g);
            continue;
        }
        if (g->loading)
            g->epoch = 0;
        free(g->wanted);
        g->wanted = NULL;
        g->wanted_count = 0;
        g->loading = g->heir = false;
        bool dead = g->retired && g->state == SIM_GPULET_DEAD;
        g->retired = false;
        if (dead && !sim->devices[g->device].gone)
            sim_gpulet_start(sim, g); /* its heir does not come */
    }
    drop_early(sim);
    gpulet_plan_destroy(t->plan);
    t->plan = NULL;
    t->active = false;
    sim->result->rollbacks++;
    sim_follow_reached(sim, false);
}
