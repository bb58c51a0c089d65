#include "core/room.h"

static size_t largest_left(const bool *chosen, const double *sizes, size_t count)
{
    size_t best = count;
    for (size_t i = 0; i < count; i++) {
        if (!chosen[i] && (best == count || sizes[i] > sizes[best]))
            best = i;
    }
    return best;
}

static size_t smallest_enough(const bool *chosen, const double *sizes, size_t count, double need)
{
    size_t best = count;
    for (size_t i = 0; i < count; i++) {
        if (!chosen[i] && sizes[i] >= need && (best == count || sizes[i] < sizes[best]))
            best = i;
    }
    return best;
}

/* The largest first takes the fewest. */
size_t gpulet_room_choose(bool *chosen, const double *sizes, size_t count, double need)
{
    size_t chosen_count = 0;
    for (size_t i = 0; i < count; i++)
        chosen[i] = false;
    while (need > 0 && chosen_count < count) {
        size_t next = smallest_enough(chosen, sizes, count, need);
        if (next == count)
            next = largest_left(chosen, sizes, count);
        chosen[next] = true;
        chosen_count++;
        need -= sizes[next];
    }
    return chosen_count;
}
