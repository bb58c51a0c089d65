/* Names that go on: which device of a new plan is which of the old one. */
#include <stdlib.h>
#include <string.h>

#include "core/plan_movement.h"
#include "plan/incremental.h"

typedef struct pair {
    uint32_t score;
    uint32_t device; /* of the plan */
    uint32_t before; /* of from */
} pair_t;

static int compare_pairs(const void *a, const void *b)
{
    const pair_t *x = a;
    const pair_t *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    return x->before < y->before ? -1 : x->before > y->before;
}

static uint32_t common(const gpulet_plan_gpulet_t *a, const gpulet_plan_gpulet_t *b)
{
    uint32_t count = 0;
    for (size_t i = 0; i < a->shares_count; i++) {
        for (size_t k = 0; k < b->shares_count; k++)
            count += strcmp(a->shares[i].model, b->shares[k].model) == 0 ? 1 : 0;
    }
    return count;
}

/* Size and models in common, whatever the slots. */
static uint32_t score_of(const gpulet_plan_device_t *a, const gpulet_plan_device_t *b)
{
    uint32_t score = 0;
    if (strcmp(a->type, b->type) != 0)
        return 0;
    for (size_t i = 0; i < a->gpulets_count; i++) {
        uint32_t best = 0;
        for (size_t k = 0; k < b->gpulets_count; k++) {
            uint32_t c = common(&a->gpulets[i], &b->gpulets[k]);
            if (a->gpulets[i].units == b->gpulets[k].units && c > 0 && 2 + c > best)
                best = 2 + c;
        }
        score += best;
    }
    return score;
}

/* Gpu-lets of one size may change places: each goes to the slot of the one it continues. */
static void align_slots(gpulet_plan_device_t *device, const gpulet_plan_device_t *before)
{
    for (size_t i = 0; i < before->gpulets_count; i++) {
        const gpulet_plan_gpulet_t *old = &before->gpulets[i];
        size_t holder = device->gpulets_count;
        size_t wanted = device->gpulets_count;
        uint32_t most = 0;
        for (size_t k = 0; k < device->gpulets_count; k++) {
            const gpulet_plan_gpulet_t *g = &device->gpulets[k];
            if (g->units != old->units)
                continue;
            if (g->slot == old->slot)
                holder = k;
            if (common(g, old) > most) {
                most = common(g, old);
                wanted = k;
            }
        }
        if (wanted < device->gpulets_count && holder < device->gpulets_count &&
            wanted != holder && common(&device->gpulets[holder], old) < most) {
            int32_t slot = device->gpulets[holder].slot;
            device->gpulets[holder].slot = device->gpulets[wanted].slot;
            device->gpulets[wanted].slot = slot;
        }
    }
}

static uint32_t free_index(const gpulet_plan_t *plan, const unsigned char *named, size_t device)
{
    for (uint32_t index = 0;; index++) {
        bool taken = false;
        for (size_t i = 0; i < plan->devices_count && !taken; i++)
            taken = named[i] != 0 && plan->devices[i].index == index &&
                    strcmp(plan->devices[i].type, plan->devices[device].type) == 0;
        if (!taken)
            return index;
    }
}

static int compare_devices(const void *a, const void *b)
{
    const gpulet_plan_device_t *x = a;
    const gpulet_plan_device_t *y = b;
    int types = strcmp(x->type, y->type);
    return types != 0 ? types : x->index < y->index ? -1 : x->index > y->index;
}

static bool exists(const gpulet_plan_input_t *input, const gpulet_plan_device_t *device)
{
    int type = gpulet_device_set_find(input->devices, device->type);
    return type >= 0 && (input->devices->counts[type] < 0 ||
                         device->index < (uint32_t)input->devices->counts[type]);
}

/* Gives the best pairs their old number first. */
static void name_pairs(gpulet_plan_t *plan, const gpulet_plan_t *from, const pair_t *pairs,
                       size_t count, unsigned char *named)
{
    unsigned char *used = named + plan->devices_count;
    for (size_t i = 0; i < count; i++) {
        const pair_t *p = &pairs[i];
        if (named[p->device] || used[p->before])
            continue;
        named[p->device] = 1;
        used[p->before] = 1;
        plan->devices[p->device].index = from->devices[p->before].index;
        align_slots(&plan->devices[p->device], &from->devices[p->before]);
    }
}

gpulet_status_t gpulet_plan_align(gpulet_plan_t *plan, const gpulet_plan_t *from,
                                  const gpulet_plan_input_t *input)
{
    size_t room = 0;
    size_t count = 0;
    pair_t *pairs = NULL;
    unsigned char *named = calloc(plan->devices_count + from->devices_count + 1, 1);
    gpulet_status_t st = named != NULL ? GPULET_OK : GPULET_E_NOMEM;
    for (uint32_t i = 0; i < plan->devices_count; i++) {
        for (uint32_t k = 0; st == GPULET_OK && k < from->devices_count; k++) {
            uint32_t score = score_of(&plan->devices[i], &from->devices[k]);
            if (score == 0 || !exists(input, &from->devices[k]))
                continue;
            if (count == room) {
                room = room * 2 + 64;
                pair_t *more = realloc(pairs, room * sizeof(*more));
                st = more != NULL ? GPULET_OK : GPULET_E_NOMEM;
                pairs = more != NULL ? more : pairs;
            }
            if (st == GPULET_OK)
                pairs[count++] = (pair_t){score, i, k};
        }
    }
    if (st == GPULET_OK) {
        if (count > 1)
            qsort(pairs, count, sizeof(*pairs), compare_pairs);
        name_pairs(plan, from, pairs, count, named);
        for (size_t i = 0; i < plan->devices_count; i++) {
            if (named[i])
                continue;
            plan->devices[i].index = free_index(plan, named, i);
            named[i] = 1;
        }
        if (plan->devices_count > 1)
            qsort(plan->devices, plan->devices_count, sizeof(*plan->devices), compare_devices);
    }
    free(pairs);
    free(named);
    return st;
}
