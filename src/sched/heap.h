/* A binary heap of (time, id) with ids 0 … capacity-1, each at most once: the next thing that needs
 * the timer. Ties go to the smaller id, so that equal events give equal actions. All memory at
 * init; one owner. */
#ifndef GPULET_SCHED_HEAP_H
#define GPULET_SCHED_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct sched_heap_item {
    uint64_t at_ns;
    uint32_t id;
} sched_heap_item_t;

typedef struct sched_heap {
    sched_heap_item_t *items;
    uint32_t *positions; /* by id: 0 is absent, else its place + 1 */
    uint32_t count;
} sched_heap_t;

gpulet_status_t sched_heap_init(sched_heap_t *heap, uint32_t capacity) GPULET_MUST_USE;
void sched_heap_deinit(sched_heap_t *heap);
bool sched_heap_has(const sched_heap_t *heap, uint32_t id);
/* Adds the id or moves it to the new time. */
void sched_heap_set(sched_heap_t *heap, uint32_t id, uint64_t at_ns);
/* Nothing when it is absent. */
void sched_heap_remove(sched_heap_t *heap, uint32_t id);

#endif
