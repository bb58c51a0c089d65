/* Where gpu-lets may start on a device whose sizes cover slots (MIG): a small exact search, largest
 * size first. */
#include <stdlib.h>
#include <string.h>

#include "plan/workspace.h"

enum { SEARCH_STEPS_MAX = 20000, SLOTS_STACK_MAX = 256, GPULETS_STACK_MAX = 64 };

typedef struct search {
    const gpulet_device_type_t *type;
    const uint32_t *sizes; /* as given */
    uint32_t *order;       /* indices into sizes, longest placement first */
    size_t count;
    int32_t *slots;
    unsigned char *taken;
    uint32_t steps;
} search_t;

static bool slots_free(const search_t *s, uint32_t start, uint32_t length)
{
    if (start + length > s->type->slots)
        return false;
    for (uint32_t i = 0; i < length; i++) {
        if (s->taken[start + i])
            return false;
    }
    return true;
}

/* Depth is the number of gpu-lets on one device, at most GPULETS_STACK_MAX. */
static bool place_next(search_t *s, size_t next)
{
    if (next == s->count)
        return true;
    uint32_t which = s->order[next];
    const gpulet_placement_t *p = &s->type->placements[s->sizes[which]];
    bool same = next > 0 && s->sizes[s->order[next - 1]] == s->sizes[which];
    for (uint32_t i = 0; i < p->starts_count; i++) {
        uint32_t start = p->starts[i];
        /* Equal sizes are interchangeable: only ascending starts are tried. */
        if (same && (int32_t)start < s->slots[s->order[next - 1]])
            continue;
        if (++s->steps > SEARCH_STEPS_MAX || !slots_free(s, start, p->length))
            continue;
        memset(s->taken + start, 1, p->length);
        s->slots[which] = (int32_t)start;
        if (place_next(s, next + 1))
            return true;
        memset(s->taken + start, 0, p->length);
    }
    return false;
}

static void sort_longest_first(search_t *s)
{
    for (size_t i = 0; i < s->count; i++) {
        size_t k = i;
        uint32_t length = s->type->placements[s->sizes[i]].length;
        for (; k > 0; k--) {
            uint32_t before = s->sizes[s->order[k - 1]];
            uint32_t other = s->type->placements[before].length;
            if (other > length || (other == length && before >= s->sizes[i]))
                break;
            s->order[k] = s->order[k - 1];
        }
        s->order[k] = (uint32_t)i;
    }
}

bool gpulet_placement_find(const gpulet_device_type_t *type, const uint32_t *sizes, size_t count,
                           int32_t *slots)
{
    uint64_t units = 0;
    for (size_t i = 0; i < count; i++)
        units += type->sizes[sizes[i]];
    if (units > type->units || count > type->gpulets_max)
        return false;
    if (type->slots == 0) {
        for (size_t i = 0; slots != NULL && i < count; i++)
            slots[i] = -1;
        return true;
    }
    if (type->slots > SLOTS_STACK_MAX || count > GPULETS_STACK_MAX)
        return false;
    uint32_t order[GPULETS_STACK_MAX];
    int32_t found[GPULETS_STACK_MAX];
    unsigned char taken[SLOTS_STACK_MAX] = {0};
    search_t search = {type, sizes, order, count, found, taken, 0};
    sort_longest_first(&search);
    if (!place_next(&search, 0))
        return false;
    if (slots != NULL && count > 0)
        memcpy(slots, found, count * sizeof(*slots));
    return true;
}
