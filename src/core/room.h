/* Making room: which of those that are about to go must go first. Plain values. */
#ifndef GPULET_CORE_ROOM_H
#define GPULET_CORE_ROOM_H

#include <stdbool.h>
#include <stddef.h>

/* Chooses as few of the sizes as possible whose sum is `need` or more, and among the last of them
 * the smallest that will do; all of them when even that is not enough. chosen: count entries.
 * Returns how many were chosen. */
size_t gpulet_room_choose(bool *chosen, const double *sizes, size_t count, double need);

#endif
