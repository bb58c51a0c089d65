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

/* Size and models in common, whatever the slots; each gpu-let of b goes on at most once. */
static uint32_t score_of(const gpulet_plan_device_t *a, const gpulet_plan_device_t *b)
{
    uint64_t claimed = 0; /* those beyond its bits are few, and may count twice */
    uint32_t score = 0;
    if (strcmp(a->type, b->type) != 0)
        return 0;
    for (size_t i = 0; i < a->gpulets_count; i++) {
        uint32_t best = 0;
        uint64_t best_bit = 0;
        for (size_t k = 0; k < b->gpulets_count; k++) {
            uint64_t bit = k < 64 ? UINT64_C(1) << k : 0;
            if (a->gpulets[i].units != b->gpulets[k].units || (claimed & bit) != 0)
                continue;
            uint32_t c = gpulet_plan_gpulet_common(&a->gpulets[i], &b->gpulets[k]);
            if (c > 0 && 2 + c > best) {
                best = 2 + c;
                best_bit = bit;
            }
        }
        claimed |= best_bit;
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
            if (gpulet_plan_gpulet_common(g, old) > most) {
                most = gpulet_plan_gpulet_common(g, old);
                wanted = k;
            }
        }
        if (wanted < device->gpulets_count && holder < device->gpulets_count && wanted != holder &&
            gpulet_plan_gpulet_common(&device->gpulets[holder], old) < most) {
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

/* ---- candidates: devices that have a model in common ---- */

typedef struct holder {
    const char *model;
    uint32_t device; /* of from */
} holder_t;

static int compare_holders(const void *a, const void *b)
{
    const holder_t *x = a;
    const holder_t *y = b;
    int names = strcmp(x->model, y->model);
    return names != 0 ? names : x->device < y->device ? -1 : x->device > y->device;
}

static size_t count_shares(const gpulet_plan_t *plan)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->devices_count; i++) {
        for (size_t k = 0; k < plan->devices[i].gpulets_count; k++)
            count += plan->devices[i].gpulets[k].shares_count;
    }
    return count;
}

static size_t list_holders(holder_t *holders, const gpulet_plan_t *from)
{
    size_t count = 0;
    for (uint32_t i = 0; i < from->devices_count; i++) {
        for (size_t k = 0; k < from->devices[i].gpulets_count; k++) {
            const gpulet_plan_gpulet_t *g = &from->devices[i].gpulets[k];
            for (size_t j = 0; j < g->shares_count; j++)
                holders[count++] = (holder_t){g->shares[j].model, i};
        }
    }
    if (count > 1)
        qsort(holders, count, sizeof(*holders), compare_holders);
    return count;
}

typedef struct aligner {
    gpulet_plan_t *plan;
    const gpulet_plan_t *from;
    const gpulet_plan_input_t *input;
    holder_t *holders; /* owned; by model */
    size_t holders_count;
    uint32_t *seen; /* owned; by device of from: 1 + the last device it was paired with */
    pair_t *pairs;  /* owned */
    size_t count;
    size_t room;
} aligner_t;

static gpulet_status_t add_pair(aligner_t *a, uint32_t device, uint32_t before)
{
    if (a->seen[before] == device + 1)
        return GPULET_OK;
    a->seen[before] = device + 1;
    uint32_t score = score_of(&a->plan->devices[device], &a->from->devices[before]);
    if (score == 0 || !exists(a->input, &a->from->devices[before]))
        return GPULET_OK;
    if (a->count == a->room) {
        size_t wanted = a->room * 2 + 64;
        pair_t *more = realloc(a->pairs, wanted * sizeof(*more));
        if (more == NULL)
            return GPULET_E_NOMEM;
        a->pairs = more;
        a->room = wanted;
    }
    a->pairs[a->count++] = (pair_t){score, device, before};
    return GPULET_OK;
}

static gpulet_status_t pair_device(aligner_t *a, uint32_t device)
{
    const gpulet_plan_device_t *d = &a->plan->devices[device];
    gpulet_status_t st = GPULET_OK;
    for (size_t k = 0; k < d->gpulets_count; k++) {
        for (size_t j = 0; j < d->gpulets[k].shares_count; j++) {
            const char *model = d->gpulets[k].shares[j].model;
            size_t low = 0;
            size_t high = a->holders_count;
            while (low < high) {
                size_t mid = low + (high - low) / 2;
                if (strcmp(a->holders[mid].model, model) < 0)
                    low = mid + 1;
                else
                    high = mid;
            }
            for (; st == GPULET_OK && low < a->holders_count &&
                   strcmp(a->holders[low].model, model) == 0;
                 low++)
                st = add_pair(a, device, a->holders[low].device);
        }
    }
    return st;
}

gpulet_status_t gpulet_plan_align(gpulet_plan_t *plan, const gpulet_plan_t *from,
                                  const gpulet_plan_input_t *input)
{
    aligner_t a = {.plan = plan, .from = from, .input = input};
    unsigned char *named = calloc(plan->devices_count + from->devices_count + 1, 1);
    a.holders = malloc((count_shares(from) + 1) * sizeof(*a.holders));
    a.seen = calloc(from->devices_count + 1, sizeof(*a.seen));
    gpulet_status_t st =
        named != NULL && a.holders != NULL && a.seen != NULL ? GPULET_OK : GPULET_E_NOMEM;
    if (st == GPULET_OK)
        a.holders_count = list_holders(a.holders, from);
    for (uint32_t i = 0; st == GPULET_OK && i < plan->devices_count; i++)
        st = pair_device(&a, i);
    if (st == GPULET_OK) {
        if (a.count > 1)
            qsort(a.pairs, a.count, sizeof(*a.pairs), compare_pairs);
        name_pairs(plan, from, a.pairs, a.count, named);
        for (size_t i = 0; i < plan->devices_count; i++) {
            if (named[i])
                continue;
            plan->devices[i].index = free_index(plan, named, i);
            named[i] = 1;
        }
        if (plan->devices_count > 1)
            qsort(plan->devices, plan->devices_count, sizeof(*plan->devices), compare_devices);
    }
    free(a.holders);
    free(a.seen);
    free(a.pairs);
    free(named);
    return st;
}
