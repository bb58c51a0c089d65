/* Devices: which gpu-lets stand on them, what room there is, and who disturbs whom. */
#include <assert.h>
#include <stdlib.h>

#include "sim/internal.h"

uint32_t sim_device_get(sim_t *sim, uint32_t type, uint32_t index)
{
    for (size_t i = 0; i < sim->devices_count; i++) {
        if (sim->devices[i].type == type && sim->devices[i].index == index)
            return (uint32_t)i;
    }
    if (sim->devices_count == sim->devices_capacity) {
        size_t capacity = sim->devices_capacity == 0 ? 16 : sim->devices_capacity * 2;
        sim_device_t *grown = reallocarray(sim->devices, capacity, sizeof(*grown));
        if (grown == NULL) {
            sim_fail(sim, gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory"));
            return SIM_NONE;
        }
        sim->devices = grown;
        sim->devices_capacity = capacity;
    }
    sim->devices[sim->devices_count] = (sim_device_t){.type = type, .index = index};
    return (uint32_t)sim->devices_count++;
}

/* ---- room ---- */

const gpulet_device_type_t *sim_device_type(const sim_t *sim, uint32_t device)
{
    return &sim->o->planning.devices->types[sim->devices[device].type];
}

bool sim_gpulet_takes_room(const sim_gpulet_t *g)
{
    return g->state != SIM_GPULET_BLOCKED && g->state != SIM_GPULET_DEAD;
}

bool sim_device_slots_overlap(const gpulet_device_type_t *type, const sim_gpulet_t *a,
                              const sim_gpulet_t *b)
{
    int size_a = gpulet_device_type_size_index(type, a->units);
    int size_b = gpulet_device_type_size_index(type, b->units);
    if (type->slots == 0 || a->slot < 0 || b->slot < 0 || size_a < 0 || size_b < 0)
        return false;
    int64_t end_a = a->slot + (int64_t)type->placements[size_a].length;
    int64_t end_b = b->slot + (int64_t)type->placements[size_b].length;
    return a->slot < end_b && b->slot < end_a;
}

bool sim_device_fits(const sim_t *sim, const sim_gpulet_t *wanted, const bool *without)
{
    const gpulet_device_type_t *type = sim_device_type(sim, wanted->device);
    const sim_device_t *device = &sim->devices[wanted->device];
    double memory = sim_gpulet_memory_mb(sim, wanted);
    uint64_t units = wanted->units;
    for (size_t i = 0; i < device->gpulets_count; i++) {
        const sim_gpulet_t *g = sim->gpulets[device->gpulets[i]];
        if (g == wanted || !sim_gpulet_takes_room(g) || (without != NULL && without[g->id]))
            continue;
        if (sim_device_slots_overlap(type, wanted, g))
            return false;
        memory += sim_gpulet_memory_mb(sim, g);
        units += g->units;
    }
    /* What is cut in hardware has its own memory, and cannot overlap. */
    if ((type->isolated || type->slots > 0) && units > type->units)
        return false;
    return type->memory_mb_by_size != NULL || memory <= type->memory_mb;
}

uint64_t sim_device_units(const sim_t *sim, uint32_t device)
{
    uint64_t units = 0;
    for (size_t i = 0; i < sim->devices[device].gpulets_count; i++) {
        const sim_gpulet_t *g = sim->gpulets[sim->devices[device].gpulets[i]];
        units += g->state != SIM_GPULET_DRAINING ? g->units : 0;
    }
    return units;
}

/* ---- what disturbs what ---- */

static void check_two(sim_t *sim, const sim_service_t *self, size_t self_count,
                      const sim_service_t *other, size_t other_count)
{
    for (size_t i = 0; i < self_count * other_count && sim->status == GPULET_OK; i++) {
        double factor = 1;
        gpulet_status_t st = sim_truth_factor(&factor, sim->truth, self[i % self_count].curve, 1,
                                              other[i / self_count].curve, 1, sim->err);
        if (st != GPULET_OK)
            sim_fail(sim, st);
    }
}

void sim_device_check_truth(sim_t *sim)
{
    for (size_t d = 0; d < sim->devices_count && sim->truth != NULL; d++) {
        const sim_device_t *device = &sim->devices[d];
        size_t count = device->gpulets_count;
        if (sim_device_type(sim, (uint32_t)d)->isolated)
            continue;
        for (size_t i = 0; i < count * count; i++) {
            const sim_gpulet_t *self = sim->gpulets[device->gpulets[i % count]];
            const sim_gpulet_t *other = sim->gpulets[device->gpulets[i / count]];
            if (self == other || self->retired || other->retired)
                continue;
            check_two(sim, self->wanted != NULL ? self->wanted : self->services,
                      self->wanted != NULL ? self->wanted_count : self->services_count,
                      other->wanted != NULL ? other->wanted : other->services,
                      other->wanted != NULL ? other->wanted_count : other->services_count);
        }
    }
}
