#include "core/plan_movement.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

uint32_t gpulet_plan_gpulet_common(const gpulet_plan_gpulet_t *a, const gpulet_plan_gpulet_t *b)
{
    uint32_t common = 0;
    for (size_t i = 0; i < a->shares_count; i++) {
        for (size_t k = 0; k < b->shares_count; k++)
            common += strcmp(a->shares[i].model, b->shares[k].model) == 0 ? 1 : 0;
    }
    return common;
}

static bool alike(const gpulet_plan_gpulet_t *a, const gpulet_plan_gpulet_t *b)
{
    return a->units == b->units && a->slot == b->slot;
}

void gpulet_plan_device_match(size_t *from_of, const gpulet_plan_device_t *from,
                              const gpulet_plan_device_t *to)
{
    const size_t most_count = GPULET_MOVEMENT_GPULETS_MAX;
    bool claimed[GPULET_MOVEMENT_GPULETS_MAX] = {false};
    size_t from_count = from->gpulets_count < most_count ? from->gpulets_count : most_count;
    size_t to_count = to->gpulets_count < most_count ? to->gpulets_count : most_count;
    for (size_t i = 0; i < to->gpulets_count; i++)
        from_of[i] = SIZE_MAX;
    for (;;) { /* the pair with most in common first */
        uint32_t most = 0;
        size_t most_from = 0;
        size_t most_to = 0;
        for (size_t i = 0; i < to_count; i++) {
            for (size_t k = 0; from_of[i] == SIZE_MAX && k < from_count; k++) {
                if (claimed[k] || !alike(&to->gpulets[i], &from->gpulets[k]))
                    continue;
                uint32_t common = gpulet_plan_gpulet_common(&to->gpulets[i], &from->gpulets[k]);
                if (common > most) {
                    most = common;
                    most_from = k;
                    most_to = i;
                }
            }
        }
        if (most == 0)
            return;
        claimed[most_from] = true;
        from_of[most_to] = most_from;
    }
}

void gpulet_plan_device_overlap(const gpulet_plan_device_t *from, const gpulet_plan_device_t *to,
                                uint32_t *gpulets, uint32_t *models)
{
    size_t from_of[GPULET_MOVEMENT_GPULETS_MAX];
    gpulet_plan_device_t within = *to;
    if (within.gpulets_count > GPULET_MOVEMENT_GPULETS_MAX)
        within.gpulets_count = GPULET_MOVEMENT_GPULETS_MAX;
    gpulet_plan_device_match(from_of, from, &within);
    *gpulets = 0;
    *models = 0;
    for (size_t i = 0; i < within.gpulets_count; i++) {
        if (from_of[i] == SIZE_MAX)
            continue;
        (*gpulets)++;
        *models += gpulet_plan_gpulet_common(&from->gpulets[from_of[i]], &to->gpulets[i]);
    }
}

/* Looks behind the device that was found last first, as plans list their devices in one order. */
static const gpulet_plan_device_t *find_device(const gpulet_plan_t *plan,
                                               const gpulet_plan_device_t *like, size_t *next)
{
    size_t count = plan != NULL ? plan->devices_count : 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = *next + i < count ? *next + i : *next + i - count;
        if (plan->devices[at].index == like->index &&
            strcmp(plan->devices[at].type, like->type) == 0) {
            *next = at + 1 < count ? at + 1 : 0;
            return &plan->devices[at];
        }
    }
    return NULL;
}

gpulet_plan_movement_t gpulet_plan_movement(const gpulet_plan_t *from, const gpulet_plan_t *to)
{
    gpulet_plan_movement_t m = {0};
    uint32_t go_on = 0;
    size_t next_from = 0;
    size_t next_to = 0;
    for (size_t i = 0; i < to->devices_count; i++) {
        const gpulet_plan_device_t *device = &to->devices[i];
        const gpulet_plan_device_t *before = find_device(from, device, &next_from);
        uint32_t gpulets = 0;
        uint32_t models = 0;
        if (before != NULL)
            gpulet_plan_device_overlap(before, device, &gpulets, &models);
        m.devices_added += before == NULL ? 1 : 0;
        m.gpulets_started += (uint32_t)device->gpulets_count - gpulets;
        go_on += gpulets;
        for (size_t k = 0; k < device->gpulets_count; k++)
            m.models_loaded += (uint32_t)device->gpulets[k].shares_count;
        m.models_loaded -= models;
    }
    for (size_t i = 0; from != NULL && i < from->devices_count; i++) {
        m.gpulets_stopped += (uint32_t)from->devices[i].gpulets_count;
        m.devices_removed += find_device(to, &from->devices[i], &next_to) == NULL ? 1 : 0;
    }
    m.gpulets_stopped -= go_on;
    return m;
}

double gpulet_plan_movement_weight(const gpulet_plan_movement_t *m)
{
    return GPULET_MOVEMENT_WEIGHT_MODEL * (double)m->models_loaded +
           GPULET_MOVEMENT_WEIGHT_GPULET * (double)m->gpulets_started +
           GPULET_MOVEMENT_WEIGHT_DEVICE * (double)m->devices_added;
}
