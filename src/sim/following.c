/* The loop that follows the load (sched/follow.h): arrivals in, a plan when one is wanted, and over
 * to it when it is worth that. */
#include <math.h>
#include <stdlib.h>

#include "plan/serving.h"
#include "sim/internal.h"

/* What of a plan counts for following; *covers is the caller's, an entry a model. */
static gpulet_follow_plan_t seen_by_follow(const sim_t *sim, const gpulet_plan_t *plan,
                                           double *covers)
{
    for (size_t i = 0; i < sim->models_count; i++)
        covers[i] = gpulet_plan_covers_rps(plan, sim->o->planning.workload->demands[i].model);
    return (gpulet_follow_plan_t){.covers_rps = covers,
                                  .count = (uint32_t)sim->models_count,
                                  .cost = isnan(plan->cost) ? plan->devices_used : plan->cost,
                                  .gap_rps = plan->movement.gap_rps};
}

static void schedule_tick(sim_t *sim)
{
    uint64_t next_ns = gpulet_follow_next_ns(sim->follow);
    if (next_ns <= sim->now_ns)
        next_ns = sim->now_ns + 1;
    if (next_ns < sim->arrivals_until_ns)
        sim_add_event(sim, SIM_EVENT_TICK, next_ns, 0, 0);
}

/* Planning begins now and is done a while later. */
static void want_plan(sim_t *sim)
{
    double *rates = calloc(sim->models_count + 1, sizeof(*rates));
    if (rates == NULL) {
        sim_fail(sim, gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory"));
        return;
    }
    if (sim->transition.active)
        sim_transition_give_up(sim);
    for (uint32_t i = 0; i < sim->models_count; i++) {
        gpulet_follow_rate_t rate;
        gpulet_follow_rate(sim->follow, i, &rate);
        rates[i] = rate.planned_rps;
    }
    gpulet_plan_destroy(sim->plan_next);
    sim->plan_next = sim_planning_make(sim, rates, true);
    sim->plan_wanted_ns = sim->now_ns;
    free(rates);
    sim_add_event(sim, SIM_EVENT_PLANNED, sim_after_s(sim, sim->o->plan_s), 0, sim->now_ns);
}

void sim_follow_tick(sim_t *sim)
{
    if (gpulet_follow_tick(sim->follow, sim->now_ns) != GPULET_FOLLOW_NONE)
        want_plan(sim);
    schedule_tick(sim);
}

void sim_follow_begin(sim_t *sim)
{
    sim->covers = calloc(sim->models_count + 1, sizeof(*sim->covers));
    gpulet_status_t st =
        sim->covers == NULL
            ? GPULET_E_NOMEM
            : gpulet_follow_create(&sim->follow, &sim->o->following, (uint32_t)sim->models_count);
    if (st != GPULET_OK) {
        sim_fail(sim, gpulet_fail(sim->err, st, "out of memory"));
        return;
    }
    double *rates = sim_planning_rates(sim);
    for (uint32_t i = 0; rates != NULL && i < sim->models_count; i++)
        gpulet_follow_model_add(sim->follow, i, rates[i]);
    free(rates);
    gpulet_follow_plan_t plan = seen_by_follow(sim, sim->plan, sim->covers);
    gpulet_follow_reached(sim->follow, sim->now_ns, 0, &plan);
    sim_follow_tick(sim); /* samples begin here */
}

/* A device came or went while the plan was made: it may count on what is not there. */
static bool is_stale(const sim_t *sim, const gpulet_plan_t *plan)
{
    for (size_t d = 0; d < plan->devices_count; d++) {
        int type = gpulet_device_set_find(sim->o->planning.devices, plan->devices[d].type);
        for (size_t i = 0; i < sim->devices_count; i++) {
            const sim_device_t *device = &sim->devices[i];
            if (device->gone && (int)device->type == type &&
                device->index == plan->devices[d].index)
                return true;
        }
    }
    return false;
}

void sim_follow_planned(sim_t *sim, uint64_t wanted_ns)
{
    gpulet_plan_t *plan = sim->plan_next;
    if (wanted_ns != sim->plan_wanted_ns)
        return;
    sim->plan_next = NULL;
    if (plan != NULL && is_stale(sim, plan)) {
        gpulet_plan_destroy(plan);
        plan = NULL;
    }
    if (plan == NULL) {
        (void)gpulet_follow_answered(sim->follow, sim->now_ns, NULL);
        return;
    }
    gpulet_follow_plan_t seen = seen_by_follow(sim, plan, sim->covers);
    if (gpulet_follow_answered(sim->follow, sim->now_ns, &seen))
        sim_transition_begin(sim, plan, wanted_ns);
    else
        gpulet_plan_destroy(plan);
}

void sim_follow_reached(sim_t *sim, bool there)
{
    if (sim->follow == NULL)
        return;
    if (!there) {
        gpulet_follow_reached(sim->follow, sim->now_ns, 0, NULL);
        return;
    }
    gpulet_follow_plan_t plan = seen_by_follow(sim, sim->plan, sim->covers);
    gpulet_follow_reached(sim->follow, sim->now_ns, sim->now_ns - sim->transition.wanted_ns, &plan);
}
