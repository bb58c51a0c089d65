/* What goes wrong, each kind with random numbers of its own. Nothing is drawn where a fault is off,
 * so that one fault does not shift another. */
#include "sim/internal.h"

bool sim_fault_strikes(sim_t *sim, gpulet_fault_t fault)
{
    double chance = sim->o->faults.chance[fault];
    if (!sim->faulty || chance <= 0 || gpulet_rng_f64(&sim->fault_rngs[fault]) >= chance)
        return false;
    sim->result->faults[fault]++;
    return true;
}

/* The next of those that come by themselves. */
static void schedule(sim_t *sim, gpulet_fault_t fault, sim_event_kind_t kind)
{
    double rate = sim->o->faults.chance[fault];
    if (sim->faulty && rate > 0)
        sim_add_event(sim, kind,
                      sim_after_s(sim, gpulet_rng_exponential(&sim->fault_rngs[fault], 1 / rate)),
                      0, 0);
}

void sim_faults_begin(sim_t *sim)
{
    sim->faulty = gpulet_faults_any(&sim->o->faults);
    for (int i = 0; i < GPULET_FAULT_COUNT; i++)
        gpulet_rng_init(&sim->fault_rngs[i], gpulet_rng_seed(sim->o->seed, "fault",
                                                             gpulet_fault_name((gpulet_fault_t)i)));
    schedule(sim, GPULET_FAULT_BURST, SIM_EVENT_BURST);
    schedule(sim, GPULET_FAULT_DEVICE_GONE, SIM_EVENT_DEVICE_GONE);
}

void sim_fault_burst(sim_t *sim)
{
    gpulet_rng_t *rng = &sim->fault_rngs[GPULET_FAULT_BURST];
    if (!sim->faulty)
        return;
    uint32_t subject = (uint32_t)gpulet_rng_below(rng, sim_subjects_count(sim));
    uint32_t count = (uint32_t)sim->o->faults.size[GPULET_FAULT_BURST];
    sim->result->faults[GPULET_FAULT_BURST]++;
    for (uint32_t i = 0; i < count; i++)
        sim_arrive(sim, subject, 1);
    schedule(sim, GPULET_FAULT_BURST, SIM_EVENT_BURST);
}

void sim_fault_device_gone(sim_t *sim)
{
    gpulet_rng_t *rng = &sim->fault_rngs[GPULET_FAULT_DEVICE_GONE];
    if (!sim->faulty)
        return;
    if (sim->devices_count == 0) { /* no plan has needed one yet */
        schedule(sim, GPULET_FAULT_DEVICE_GONE, SIM_EVENT_DEVICE_GONE);
        return;
    }
    uint32_t at = (uint32_t)gpulet_rng_below(rng, sim->devices_count);
    sim_device_t *device = &sim->devices[at];
    schedule(sim, GPULET_FAULT_DEVICE_GONE, SIM_EVENT_DEVICE_GONE);
    if (device->gone || device->gpulets_count == 0)
        return;
    sim->result->faults[GPULET_FAULT_DEVICE_GONE]++;
    sim_transition_give_up(sim); /* whatever it counted on */
    device->gone = true;
    for (size_t i = 0; i < device->gpulets_count; i++)
        sim->gpulets[device->gpulets[i]]->lost = true;
    for (size_t i = device->gpulets_count; i-- > 0;)
        sim_gpulet_lose(sim, sim->gpulets[device->gpulets[i]]);
    if (sim->follow != NULL)
        gpulet_follow_ask(sim->follow, GPULET_FOLLOW_LOST);
    sim_add_event(sim, SIM_EVENT_DEVICE_BACK,
                  sim_after_s(sim, sim->o->faults.size[GPULET_FAULT_DEVICE_GONE]), at, 0);
}

void sim_fault_device_back(sim_t *sim, uint32_t index)
{
    sim_device_t *device = &sim->devices[index];
    if (!device->gone)
        return;
    device->gone = false;
    if (sim->follow != NULL)
        gpulet_follow_ask(sim->follow, GPULET_FOLLOW_LOST);
    for (size_t i = 0; i < device->gpulets_count; i++) {
        sim_gpulet_t *g = sim->gpulets[device->gpulets[i]];
        if (g->state == SIM_GPULET_DEAD && !g->retired)
            sim_gpulet_start(sim, g);
    }
}

void sim_faults_end(sim_t *sim)
{
    sim->faulty = false;
    for (size_t i = 0; i < sim->devices_count; i++)
        sim_fault_device_back(sim, (uint32_t)i);
}
